//! Rules 1 to 6 and L over arbitrary bytes.

use std::net::SocketAddr;

use proptest::prelude::*;
use wallclock::protocol::{
    ErrorReason, IgnoreReason, MAX_REQUEST_LEN, MAX_RESPONSE_LEN, Response, is_blank,
    max_response_len, respond,
};
use wallclock::time::LocalTime;

fn moment() -> LocalTime {
    LocalTime::new(1_783_213_507, 987_654_321, 28_800, "CST")
}

fn peer(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], port))
}

fn say(question: &[u8]) -> (Response, Vec<u8>) {
    let mut room = [0; MAX_RESPONSE_LEN];
    let verdict = respond(question, peer(40_000), &moment(), &mut room);
    (verdict, room[..verdict.length()].to_vec())
}

fn said(question: &[u8]) -> String {
    String::from_utf8(say(question).1).expect("UTF-8")
}

fn percents(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'%').count()
}

#[test]
fn who_has_no_address_gets_silence() {
    let mut room = [0; MAX_RESPONSE_LEN];
    for nobody in ["0.0.0.0:9527", "[::]:9527", "[::ffff:0.0.0.0]:9527"] {
        let nobody = nobody.parse().expect("an address");
        assert_eq!(
            respond(b"%T", nobody, &moment(), &mut room),
            Response::Ignored(IgnoreReason::UnspecifiedSource)
        );
    }
}

#[test]
fn a_source_port_below_1024_gets_silence() {
    let mut room = [0; MAX_RESPONSE_LEN];
    for (port, silent) in [
        (0, true),
        (7, true),
        (123, true),
        (1023, true),
        (1024, false),
        (9527, false),
        (65_535, false),
    ] {
        for question in [&b"%T"[..], b"", b"%Q", &[b'%'; 2000]] {
            let verdict = respond(question, peer(port), &moment(), &mut room);
            assert_eq!(
                verdict == Response::Ignored(IgnoreReason::LowPort),
                silent,
                "port {port}"
            );
        }
    }
}

#[test]
fn a_blank_question_is_the_default_one() {
    for question in [&b""[..], b"\n", b"\r\n", b" \t\n\x0b\x0c\r", &[b' '; 1024]] {
        assert_eq!(said(question), "2026-07-05 09:05:07");
    }
}

#[test]
fn what_holds_no_percent_sign_gets_silence() {
    for question in [
        &b"hello"[..],
        b"\0",
        b"\xff\xfe",
        b"2026-07-05 09:05:07",
        b"error: answer too long",
        &[b'a'; 9000],
        // What is longer than 1024 bytes is never blank.
        &[b' '; 1025],
        &[b'\n'; 9000],
        // Nothing beyond the first 1024 bytes counts.
        &[&[b'a'; 1024][..], b"%T"].concat(),
    ] {
        assert_eq!(
            say(question),
            (Response::Ignored(IgnoreReason::NoPercent), Vec::new())
        );
    }
}

#[test]
fn errors_come_in_the_order_of_the_contract() {
    let long = |tail: &[u8]| [&b"%d \xff\0"[..], &[b'a'; MAX_REQUEST_LEN], tail].concat();
    assert_eq!(said(&long(b"%Q")), "error: question longer than 1024 bytes");
    assert_eq!(
        said(&[&[b'a'; 1023][..], b"%", &[b'a'; 60_000]].concat()),
        "error: question longer than 1024 bytes"
    );
    assert_eq!(said(b"%Q\0\xff"), "error: byte 3: not UTF-8");
    assert_eq!(said(b"%Q %J\0"), "error: byte 5: NUL");
    assert_eq!(said(b"%d %J %Q"), "error: byte 3: unknown conversion J");
    assert_eq!(said(b"%Y/%m/%d %Q"), "error: byte 9: unknown conversion Q");
    assert_eq!(
        said(b"%d %999d %"),
        "error: byte 9: conversion ends too early"
    );
    assert_eq!(said(b"%999d"), "error: answer too long");
}

#[test]
fn a_question_of_1024_bytes_is_answered_and_one_more_is_not() {
    let question = |length: usize| [&b"%d"[..], &vec![b'.'; length - 2]].concat();
    assert!(matches!(
        say(&question(1024)).0,
        Response::Answered { length: 1024, .. }
    ));
    assert!(matches!(
        say(&question(1025)).0,
        Response::Refused {
            reason: ErrorReason::RequestTooLong,
            ..
        }
    ));
}

#[test]
fn an_answer_fills_its_limit_and_no_more() {
    // 6 bytes asked: 3 x 6 + 56 = 74.
    assert_eq!(said(b"%074d ").len(), "error: answer too long".len());
    assert_eq!(say(b"%0074d").1.len(), 74);
    assert_eq!(said(b"%0075d"), "error: answer too long");
    assert_eq!(said(b"%999999999d"), "error: answer too long");
    // The other limit: one datagram within IPv6's smallest MTU.
    let wide = |width: usize| format!("{}%{width}d", ".".repeat(500));
    assert_eq!(say(wide(732).as_bytes()).1.len(), 1232);
    assert_eq!(said(wide(733).as_bytes()), "error: answer too long");
    assert_eq!(
        (
            max_response_len(0),
            max_response_len(392),
            max_response_len(393),
            max_response_len(usize::MAX)
        ),
        (56, 1232, 1232, 1232)
    );
}

#[test]
fn every_error_fits_behind_the_shortest_question_that_gets_it() {
    for question in [
        &b"%"[..],
        b"%Q",
        b"%\0",
        b"%\xff",
        "%\u{10ffff}".as_bytes(),
        "%\u{e0001}".as_bytes(),
    ] {
        let (verdict, text) = say(question);
        assert!(matches!(verdict, Response::Refused { .. }));
        assert!(
            text.len() <= max_response_len(question.len()),
            "{question:?}"
        );
    }
}

/// Bytes as a stranger sends them: format-like soup, widths, UTF-8 whole and cut, noise, and long ones.
fn question() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => prop::sample::select((b' '..=b'~').collect::<Vec<u8>>()).prop_map(|letter| vec![b'%', letter]),
        3 => "%[_0^#-]{0,3}[0-9]{0,4}[EO]?[:.]{0,3}[a-zA-Z%+]".prop_map(String::into_bytes),
        2 => "%[0-9]{1,30}[a-zA-Z]".prop_map(String::into_bytes),
        2 => prop::collection::vec(Just(b'%'), 0..64),
        2 => "\\PC{0,4}".prop_map(String::into_bytes),
        1 => prop::sample::select(vec![&b"\xff"[..], b"\xc3", b"\xe2\x86", b"\xf4\x90\x80\x80", b"\xed\xa0\x80", b"\0", b"%\xf0\x9f"]).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..32),
        1 => prop::sample::select(vec![b" ", b"\n", b"\t"]).prop_map(|blank| blank.to_vec()),
    ];
    prop_oneof![
        12 => prop::collection::vec(piece.clone(), 0..12).prop_map(|pieces| pieces.concat()),
        3 => prop::collection::vec(piece, 0..400).prop_map(|pieces| pieces.concat()),
        1 => prop::collection::vec(any::<u8>(), 0..9000),
        1 => (0..9000_usize).prop_map(|length| vec![b'%'; length]),
        1 => (0..9000_usize, "%[a-zA-Z]").prop_map(|(length, conversion)| conversion.repeat(length / 2).into_bytes()),
    ]
}

/// What must hold of every question and its answer.
fn check_rules(question: &[u8]) -> Result<Vec<u8>, TestCaseError> {
    let (verdict, text) = say(question);
    prop_assert!(text.len() <= (3 * question.len() + 56).min(1232));
    prop_assert!(text.len() + 28 <= 3 * (question.len() + 28));
    prop_assert!(
        2 * percents(&text) <= percents(question),
        "k {} to {}",
        percents(question),
        percents(&text)
    );
    prop_assert!(std::str::from_utf8(&text).is_ok());
    // What lies beyond byte 1025 changes nothing: a receive may cut it off.
    let cut = &question[..question.len().min(MAX_REQUEST_LEN + 1)];
    prop_assert_eq!(&say(cut).1, &text);
    match verdict {
        Response::Answered { .. } => {
            prop_assert!(!text.starts_with(b"error: ") || question.starts_with(b"error: "));
            prop_assert!(
                is_blank(question) || percents(question) > 0 && question.len() <= MAX_REQUEST_LEN
            );
        }
        Response::Refused { .. } => {
            prop_assert!(text.starts_with(b"error: ") && text.len() > b"error: ".len());
            prop_assert_eq!(percents(&text), 0);
            prop_assert!(!text.iter().any(u8::is_ascii_control));
        }
        Response::Ignored(_) => {
            prop_assert!(text.is_empty());
            let head = &question[..question.len().min(MAX_REQUEST_LEN)];
            prop_assert!(percents(head) == 0);
            prop_assert!(!is_blank(question) || question.len() > MAX_REQUEST_LEN);
        }
    }
    Ok(text)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_answered_by_the_rules(question in question()) {
        check_rules(&question)?;
    }

    #[test]
    fn answers_followed_as_questions_end_within_the_bound(question in question()) {
        let bound = (percents(&question).max(1).ilog2() + 2) as usize;
        let mut datagram = question;
        for turn in 0.. {
            let answer = check_rules(&datagram)?;
            if answer.is_empty() {
                break;
            }
            prop_assert!(turn < bound, "still talking after {bound} answers");
            datagram = answer;
        }
    }
}

//! The wire contract: each rule by itself, and rules 1 to 6 and L over arbitrary bytes.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use wallclock::protocol::{
    ALLOW_ALL, Destination, ErrorReason, IgnoreReason, MAX_REQUEST_LEN, MAX_RESPONSE_LEN, Response,
    ignored_addresses, is_blank, max_response_len, respond,
};
use wallclock::time::LocalTime;

const TOO_LONG: &str = "error: question longer than 1024 bytes";

fn respond_to(request: &[u8], source: &str) -> (Response, Vec<u8>) {
    let now = LocalTime::new(1_783_213_507, 987_654_321, 28_800, "CST");
    let source: SocketAddr = source.parse().expect("an address");
    let mut buf = [0; MAX_RESPONSE_LEN];
    let to = Some(Destination::from(IpAddr::from([192, 0, 2, 1])));
    let response = respond(request, source, to, ALLOW_ALL, &now, &mut buf);
    (response, buf[..response.length()].to_vec())
}

/// The response to a source that rule 1 admits.
fn response(request: &[u8]) -> (Response, Vec<u8>) {
    respond_to(request, "192.0.2.7:40000")
}

fn text(request: &[u8]) -> String {
    String::from_utf8(response(request).1).expect("UTF-8")
}

fn percents(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'%').count()
}

#[test]
fn rule_1_source_that_is_not_unicast_is_ignored() {
    for source in [
        "0.0.0.0:9527",
        "[::]:9527",
        "[::ffff:0.0.0.0]:9527",
        "255.255.255.255:9527",
        "224.0.0.251:9527",
        "[::ffff:224.0.0.251]:9527",
        "[ff02::1]:9527",
    ] {
        let (response, _) = respond_to(b"%T", source);
        let expected = Response::Ignored(IgnoreReason::SourceNotUnicast);
        assert_eq!(response, expected, "{source}");
    }
}

#[test]
fn rule_1_source_port_below_1024_is_ignored() {
    for (port, is_ignored) in [
        (0, true),
        (7, true),
        (123, true),
        (1023, true),
        (1024, false),
        (9527, false),
        (65_535, false),
    ] {
        for request in [&b"%T"[..], b"", b"%Q", &[b'%'; 2000]] {
            let (response, _) = respond_to(request, &format!("192.0.2.7:{port}"));
            let is_low_port = response == Response::Ignored(IgnoreReason::LowPort);
            assert_eq!(is_low_port, is_ignored, "port {port}");
        }
    }
}

proptest! {
    // A request is answered only if its destination is an address of this host, and its source in
    // an allowed network. The networks are a list of prefixes, written as integers here.
    #[test]
    fn rule_1_holds_for_arbitrary_addresses(
        source in any::<[u8; 16]>(),
        is_mapped in any::<bool>(),
        port in any::<u16>(),
        address in any::<[u8; 4]>(),
        is_broadcast in any::<bool>(),
        prefix in 0..=32_u8,
    ) {
        let mut source = source;
        if is_mapped {
            source[..12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        }
        let ip = IpAddr::from(source).to_canonical();
        let network = format!("10.32.0.0/{prefix}").parse().expect("a network");
        let local = IpAddr::from([address[0], address[1], address[2], address[3] ^ 1]);
        let address = IpAddr::from(address);
        let local = if is_broadcast { local } else { address };
        let to = Some(Destination { address, local });
        let is_unicast = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => !matches!(ip.octets(), [224..=239, ..] | [0, 0, 0, 0] | [255, 255, 255, 255]),
            IpAddr::V6(ip) => ip.octets()[0] != 0xff && u128::from(ip) != 0,
        };
        let is_allowed = match ip {
            IpAddr::V4(ip) => (u32::from(ip) ^ 0x0a20_0000)
                .checked_shr(32 - u32::from(prefix))
                .is_none_or(|rest| rest == 0),
            IpAddr::V6(_) => false,
        };
        let is_answered =
            port >= 1024 && is_unicast(ip) && !is_broadcast && is_unicast(address) && is_allowed;
        let ignored = ignored_addresses(SocketAddr::new(source.into(), port), to, &[network]);
        prop_assert_eq!(ignored.is_none(), is_answered, "{:?}", ignored);
    }
}

#[test]
fn rule_2_blank_request_gets_the_default_format() {
    for request in [
        &b""[..],
        b"\n",
        b"\r\n",
        b" \t\n\x0b\x0c\r",
        &[b' '; MAX_REQUEST_LEN],
    ] {
        assert_eq!(text(request), "2026-07-05 09:05:07");
    }
}

#[test]
fn rule_3_request_without_percent_is_ignored() {
    for request in [
        &b"hello"[..],
        b"\0",
        b"\xff\xfe",
        b"2026-07-05 09:05:07",
        b"error: answer too long",
        &[b'a'; 9000],
        // A request longer than 1024 bytes is never blank.
        &[b' '; MAX_REQUEST_LEN + 1],
        &[b'\n'; 9000],
        // Only the first 1024 bytes count.
        &[&[b'a'; MAX_REQUEST_LEN][..], b"%T"].concat(),
    ] {
        let ignored = Response::Ignored(IgnoreReason::NoPercent);
        assert_eq!(response(request), (ignored, Vec::new()));
    }
}

// Longer than 1024 bytes; not UTF-8; NUL; then the first bad directive.
#[test]
fn rule_4_errors_come_in_order() {
    let long = |end: &[u8]| [&b"%d \xff\0"[..], &[b'a'; MAX_REQUEST_LEN], end].concat();
    assert_eq!(text(&long(b"%Q")), TOO_LONG);
    let percent_at_byte_1024 = [&[b'a'; MAX_REQUEST_LEN - 1][..], b"%", &[b'a'; 60_000]].concat();
    assert_eq!(text(&percent_at_byte_1024), TOO_LONG);
    for (request, error) in [
        (&b"%Q\0\xff"[..], "error: byte 3: not UTF-8"),
        (b"%Q %J\0", "error: byte 5: NUL"),
        (b"%d %J %Q", "error: byte 3: unknown conversion J"),
        (b"%Y/%m/%d %Q", "error: byte 9: unknown conversion Q"),
        (b"%d %999d %", "error: byte 9: conversion ends too early"),
    ] {
        assert_eq!(text(request), error);
    }
}

#[test]
fn rule_4_longest_request_has_1024_bytes() {
    let request = |length: usize| [&b"%d"[..], &vec![b'.'; length - 2]].concat();
    let length = 1024;
    assert_eq!(response(&request(1024)).0, Response::Answered { length });
    let (response, _) = response(&request(1025));
    let reason = ErrorReason::RequestTooLong;
    let length = TOO_LONG.len();
    assert_eq!(response, Response::Refused { length, reason });
}

#[test]
fn rule_5_response_is_the_formatted_time() {
    assert_eq!(
        text(b"%Y/%m/%d %H:%M:%S.%3N %Z"),
        "2026/07/05 09:05:07.987 CST"
    );
    assert_eq!(text(b"100%%\n"), "100%\n");
}

#[test]
fn rule_6_response_fills_its_limit_and_no_more() {
    let too_long = "error: answer too long";
    // 6 bytes: 3 x 6 + 56 = 74.
    assert_eq!(text(b"%0074d").len(), 74);
    assert_eq!(text(b"%0075d"), too_long);
    assert_eq!(text(b"%074d "), too_long);
    assert_eq!(text(b"%999d"), too_long);
    assert_eq!(text(b"%999999999d"), too_long);
    // The other limit: one datagram within the smallest MTU of IPv6.
    let wide = |width: usize| format!("{}%{width}d", ".".repeat(500));
    assert_eq!(text(wide(732).as_bytes()).len(), 1232);
    assert_eq!(text(wide(733).as_bytes()), too_long);
    let limits = [0, 392, 393, usize::MAX].map(max_response_len);
    assert_eq!(limits, [56, 1232, 1232, 1232]);
}

#[test]
fn rule_6_shortest_refused_requests_get_whole_errors() {
    for request in [
        &b"%"[..],
        b"%Q",
        b"%\0",
        b"%\xff",
        "%\u{10ffff}".as_bytes(),
        "%\u{e0001}".as_bytes(),
    ] {
        let (response, text) = response(request);
        assert!(matches!(response, Response::Refused { .. }));
        let limit = max_response_len(request.len());
        assert!(text.len() <= limit, "{request:?}");
    }
}

/// Requests as a hostile client sends them: pieces of formats, widths, UTF-8 complete and cut off,
/// noise, and long requests.
fn any_request() -> impl Strategy<Value = Vec<u8>> {
    let letters: Vec<u8> = (b' '..=b'~').collect();
    let not_utf8 = vec![
        &b"\xff"[..],
        b"\xc3",
        b"\xe2\x86",
        b"\xf4\x90\x80\x80",
        b"\xed\xa0\x80",
        b"\0",
        b"%\xf0\x9f",
    ];
    let piece = prop_oneof![
        6 => prop::sample::select(letters).prop_map(|letter| vec![b'%', letter]),
        3 => "%[_0^#+-]{0,3}[0-9]{0,4}[EO]?[:.]{0,3}[a-zA-Z%+]".prop_map(String::into_bytes),
        2 => "%[0-9]{1,30}[a-zA-Z]".prop_map(String::into_bytes),
        2 => prop::collection::vec(Just(b'%'), 0..64),
        2 => "\\PC{0,4}".prop_map(String::into_bytes),
        1 => prop::sample::select(not_utf8).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..32),
        1 => prop::sample::select(vec![b' ', b'\n', b'\t']).prop_map(|blank| vec![blank]),
    ];
    let repeated = (0..9000_usize, "%[a-zA-Z]")
        .prop_map(|(length, directive)| directive.repeat(length / 2).into_bytes());
    prop_oneof![
        12 => prop::collection::vec(piece.clone(), 0..12).prop_map(|pieces| pieces.concat()),
        3 => prop::collection::vec(piece, 0..400).prop_map(|pieces| pieces.concat()),
        1 => prop::collection::vec(any::<u8>(), 0..9000),
        1 => (0..9000_usize).prop_map(|length| vec![b'%'; length]),
        1 => repeated,
    ]
}

/// Checks the rules on a request and its response. Returns the response.
fn check_rules(request: &[u8]) -> Result<Vec<u8>, TestCaseError> {
    let (response, text) = response(request);
    let head = &request[..request.len().min(MAX_REQUEST_LEN)];
    let is_too_long = request.len() > MAX_REQUEST_LEN;
    // Rule 6.
    prop_assert!(text.len() <= (3 * request.len() + 56).min(1232));
    prop_assert!(text.len() + 28 <= 3 * (request.len() + 28));
    // Rule L.
    prop_assert!(
        2 * percents(&text) <= percents(request),
        "k {} to {}",
        percents(request),
        percents(&text)
    );
    prop_assert!(std::str::from_utf8(&text).is_ok());
    // The bytes after byte 1025 change nothing: the receive buffer has no space for them.
    let received = &request[..request.len().min(MAX_REQUEST_LEN + 1)];
    prop_assert_eq!(&self::response(received).1, &text);
    match response {
        // Rules 2 and 5.
        Response::Answered { .. } => {
            prop_assert!(!text.starts_with(b"error: ") || request.starts_with(b"error: "));
            prop_assert!(!is_too_long && (is_blank(request) || percents(request) > 0));
        }
        // Rules 4 and 6.
        Response::Refused { .. } => {
            prop_assert!(text.starts_with(b"error: ") && text.len() > b"error: ".len());
            prop_assert_eq!(percents(&text), 0);
            prop_assert!(!text.iter().any(u8::is_ascii_control));
        }
        // Rule 3.
        Response::Ignored(_) => {
            prop_assert!(text.is_empty());
            prop_assert_eq!(percents(head), 0);
            prop_assert!(!is_blank(request) || is_too_long);
        }
    }
    Ok(text)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn rules_2_to_6_hold_for_arbitrary_bytes(request in any_request()) {
        check_rules(&request)?;
    }

    #[test]
    fn rule_l_responses_sent_back_as_requests_end(request in any_request()) {
        let limit = (percents(&request).max(1).ilog2() + 2) as usize;
        let mut datagram = request;
        for responses in 0.. {
            datagram = check_rules(&datagram)?;
            if datagram.is_empty() {
                break;
            }
            prop_assert!(responses < limit, "more than {limit} responses");
        }
    }
}

//! The client as a process: what it prints, what it says, how it ends and how long it takes.

use std::net::{ToSocketAddrs, UdpSocket};
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use support::{closed_port, daemon, patient_wallclock, skip, wallclock};

/// So many tries as a client needs on no machine to hear an answer.
const MANY: [&str; 2] = ["-r", "500"];

fn run(command: &mut Command) -> (Output, Duration) {
    let start = Instant::now();
    let output = command.output().expect("it runs");
    (output, start.elapsed())
}

fn said(output: &Output) -> (Option<i32>, &str, &str) {
    let text = |bytes| std::str::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// A server that answers each question as it is told to: all answers go back to whom asked, in
/// order. The receiver has a message for each question, sent after its answers; it is closed where
/// the server is wrong.
fn server(
    mut answers: impl FnMut(usize, &[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> (String, Receiver<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("an address").to_string();
    let (asked, questions) = channel();
    // It ends with this process, or with the first question after the test.
    thread::spawn(move || {
        let mut room = [0; 2048];
        for number in 0.. {
            let (length, peer) = socket.recv_from(&mut room).expect("a question");
            for answer in answers(number, &room[..length]) {
                socket.send_to(&answer, peer).expect("it is sent");
            }
            if asked.send(()).is_err() {
                return;
            }
        }
    });
    (address, questions)
}

/// A server that never answers.
fn silent_server() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_nonblocking(true).expect("it is a socket");
    let address = socket.local_addr().expect("an address").to_string();
    (socket, address)
}

/// How many questions have come to a silent server.
fn questions(server: &UdpSocket) -> usize {
    (0..)
        .take_while(|_| server.recv(&mut [0; 2048]).is_ok())
        .count()
}

/// The nonce and its bar.
fn nonce(question: &[u8]) -> &[u8] {
    let (nonce, _) = question.split_at(17);
    assert!(
        nonce[..16].iter().all(u8::is_ascii_hexdigit) && nonce[16] == b'|',
        "{question:?}"
    );
    nonce
}

#[test]
fn an_answer_is_printed_as_date_would() {
    let (_daemon, address) = daemon();
    let address = address.to_string();
    for (format, expected) in [
        (&["+%Z"][..], "UTC\n"),
        (&["%Z"], "UTC\n"),
        (&["+%Z%n%t%Z"], "UTC\n\tUTC\n"),
        (&["+100%%%Z \u{2192}"], "100%UTC \u{2192}\n"),
        (&["++%Z"], "+UTC\n"),
        (&["--", "-%Z"], "-UTC\n"),
    ] {
        let (output, _) = run(patient_wallclock().args(["-s", &address]).args(format));
        assert_eq!(said(&output), (Some(0), expected, ""));
    }
    for format in [&[][..], &[""], &["+"], &[" "]] {
        let mut command = patient_wallclock();
        let (output, _) = run(command.env("WALLCLOCK_SERVER", &address).args(format));
        let (status, printed, _) = said(&output);
        assert_eq!(status, Some(0));
        chrono::NaiveDateTime::parse_from_str(printed, "%Y-%m-%d %H:%M:%S\n").expect(printed);
    }
}

#[test]
fn a_refusal_of_the_server_is_status_1() {
    let (_daemon, address) = daemon();
    let (output, _) = run(patient_wallclock().args(["-s", &address.to_string(), "%500d"]));
    assert_eq!(
        said(&output),
        (
            Some(1),
            "",
            &*format!("wallclock: {address}: answer too long\n")
        )
    );

    let (address, _questions) = server(|_, _| vec![b"error: clock\x1b[2J not \xff well".to_vec()]);
    let (output, _) = run(patient_wallclock().args(["-s", &address]));
    let (status, printed, told) = said(&output);
    assert_eq!((status, printed), (Some(1), ""));
    assert!(
        told.contains("clock\u{fffd}[2J not") && !told.contains('\x1b'),
        "{told:?}"
    );
}

#[test]
fn a_bad_format_is_status_2_and_never_sent() {
    let (silent, address) = silent_server();
    let long = format!("%d{}", "x".repeat(1006));
    for (format, named) in [
        ("%Y %Q", "byte 3: unknown conversion Q"),
        ("+%Y %Q", "byte 3: unknown conversion Q"),
        ("%H:%", "byte 3: conversion ends too early"),
        ("hello", "no conversion"),
        (&long, "longer than 1007 bytes"),
    ] {
        let (output, _) = run(wallclock().args(["-s", &address, format]));
        let (status, printed, told) = said(&output);
        assert_eq!((status, printed), (Some(2), ""));
        assert!(
            told.starts_with("wallclock: bad format") && told.contains(named),
            "{told}"
        );
        assert_eq!(told.lines().count(), 1);
    }
    assert_eq!(questions(&silent), 0);
}

#[test]
fn wrong_usage_is_status_2() {
    for (arguments, named) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["-t", "0"], "not a time"),
        (&["-t", "-1"], "-1"),
        (&["-t", "soon"], "soon"),
        (&["-t", "nan"], "not a time"),
        (&["-r", "-1"], "-1"),
        (&["-r", "4000000000"], "4000000000"),
        (&["-s", "host:port"], "port"),
        (&["-4", "-6"], "-6"),
        (&["%d", "%m"], "%m"),
    ] {
        let (output, _) = run(wallclock().args(arguments));
        let (status, printed, told) = said(&output);
        assert_eq!((status, printed), (Some(2), ""), "{arguments:?}");
        assert!(told.contains(named), "{told}");
    }
}

#[test]
fn an_empty_variable_is_as_good_as_none() {
    let mut command = wallclock();
    let (output, _) = run(command.env("WALLCLOCK_SERVER", "").arg("%Q"));
    let (status, _, told) = said(&output);
    assert_eq!(status, Some(2), "{told}");
    assert!(told.contains("unknown conversion Q"), "{told}");
}

#[test]
fn a_closed_port_is_status_3_without_a_wait() {
    let (_closed, address) = closed_port();
    let address = address.to_string();
    let (output, took) = run(wallclock().args(["-s", &address, "-t", "100"]));
    let (status, printed, told) = said(&output);
    assert_eq!((status, printed), (Some(3), ""));
    assert!(
        told.contains(&address) && told.contains("Connection refused"),
        "{told}"
    );
    // Not even the first try was waited for to its end.
    assert!(took < Duration::from_secs(100), "{took:?}");
}

#[test]
fn a_silent_server_is_status_3_after_all_its_tries() {
    let (silent, address) = silent_server();
    let (output, took) = run(wallclock().args(["-s", &address, "-t", "0.1", "-r", "3"]));
    let (status, printed, told) = said(&output);
    assert_eq!((status, printed), (Some(3), ""));
    assert!(
        told.contains(&format!("{address}: no answer within 0.1 s")),
        "{told}"
    );
    assert_eq!(questions(&silent), 4);
    assert!(took >= Duration::from_millis(400), "{took:?}");
}

#[test]
fn an_answer_to_the_second_try_is_an_answer() {
    let (address, questions) = server(|number, question| match number {
        0 => Vec::new(),
        _ => vec![[nonce(question), b"second"].concat()],
    });
    let (output, _) = run(wallclock().args(["-s", &address, "-t", "0.2"]).args(MANY));
    assert_eq!(said(&output), (Some(0), "second\n", ""));
    (0..2).for_each(|_| questions.recv().expect("asked twice"));
}

#[test]
fn late_stray_and_forged_answers_are_never_printed() {
    let mut late = Vec::new();
    let (address, questions) = server(move |number, question| {
        if number == 0 {
            late = [nonce(question), b"late"].concat();
            return Vec::new();
        }
        let answer = [nonce(question), b"right"].concat();
        vec![
            late.clone(),
            b"2026-07-05 01:05:07".to_vec(),
            b"0123456789abcdef|forged".to_vec(),
            nonce(question)[..16].to_vec(),
            Vec::new(),
            answer,
        ]
    });
    let (output, _) = run(wallclock().args(["-s", &address, "-t", "0.3"]).args(MANY));
    assert_eq!(said(&output), (Some(0), "right\n", ""));
    (0..2).for_each(|_| questions.recv().expect("asked twice"));
}

#[test]
fn stray_answers_do_not_lengthen_the_wait() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("an address").to_string();
    let (over, told) = channel::<()>();
    let thread = thread::spawn(move || {
        let (_, peer) = socket.recv_from(&mut [0; 2048]).expect("a question");
        // Without end: had each a time-out of its own, so would the wait be.
        while told.recv_timeout(Duration::from_millis(20)).is_err() {
            let _ = socket.send_to(b"stray", peer);
        }
    });
    let (output, _) = run(wallclock().args(["-s", &address, "-t", "0.2", "-r", "0"]));
    over.send(()).expect("the thread waits for it");
    thread.join().expect("asked once");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn an_answer_from_another_port_is_not_heard() {
    let asked = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = asked.local_addr().expect("an address").to_string();
    let thread = thread::spawn(move || {
        let mut room = [0; 2048];
        let (length, peer) = asked.recv_from(&mut room).expect("a question");
        let answer = [nonce(&room[..length]), b"overheard"].concat();
        let liar = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        liar.send_to(&answer, peer).expect("it is sent");
    });
    let (output, _) = run(wallclock().args(["-s", &address, "-t", "0.2", "-r", "0"]));
    thread.join().expect("asked once");
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(3), &b""[..])
    );
}

#[test]
fn servers_are_tried_in_order_until_one_answers() {
    let (_daemon, address) = daemon();
    let (silent, silent_address) = silent_server();
    let (_closed, closed) = closed_port();
    let closed = closed.to_string();
    let mut command = wallclock();
    command.args(["-s", &closed, "-s", &silent_address]);
    command.args(["-s", &address.to_string(), "-t", "0.2", "%Z"]);
    let (output, took) = run(command.args(MANY));
    assert_eq!(said(&output), (Some(0), "UTC\n", ""));
    assert!(
        took >= Duration::from_millis(200) && questions(&silent) >= 1,
        "the silent one was asked first: {took:?}"
    );

    let list = format!("{closed},{address}");
    let mut command = patient_wallclock();
    let (output, _) = run(command.env("WALLCLOCK_SERVER", list).arg("%Z"));
    assert_eq!(said(&output), (Some(0), "UTC\n", ""));
}

#[test]
fn a_server_whose_clock_nobody_keeps_gives_way_to_the_next() {
    let unsynchronised = || server(|_, _| vec![b"error: clock not synchronised".to_vec()]);
    let (first, questions) = unsynchronised();
    let (_daemon, address) = daemon();
    let mut command = patient_wallclock();
    let (output, _) = run(command.args(["-s", &first, "-s", &address.to_string(), "%Z"]));
    assert_eq!(said(&output), (Some(0), "UTC\n", ""));
    questions.recv().expect("asked once");

    // Where it is all there is, that is the answer, and it is asked only once.
    let (first, questions) = unsynchronised();
    let (_closed, closed) = closed_port();
    let mut command = patient_wallclock();
    let (output, _) = run(command.args(["-s", &first, "-s", &closed.to_string(), "%Z"]));
    let expected = format!("wallclock: {first}: clock not synchronised\n");
    assert_eq!(said(&output), (Some(1), "", expected.as_str()));
    questions.recv().expect("asked once");
    assert!(questions.try_recv().is_err(), "asked twice");
}

#[test]
fn a_name_stands_for_all_its_addresses() {
    // localhost is 127.0.0.1, and ::1 where the host says so; the daemon is on the first only.
    let (_daemon, address) = daemon();
    let name = format!("localhost:{}", address.port());
    if name.to_socket_addrs().is_err() {
        return skip("no address for the name localhost");
    }
    for family in [&[][..], &["-4"]] {
        let (output, _) = run(patient_wallclock().args(["-s", &name, "%Z"]).args(family));
        assert_eq!(said(&output), (Some(0), "UTC\n", ""));
    }
}

#[test]
fn a_family_that_a_server_lacks_is_named() {
    for (host, family, named) in [
        ("127.0.0.1", "-6", "no IPv6 address"),
        ("[::1]", "-4", "no IPv4 address"),
    ] {
        let (output, _) = run(wallclock().args(["-s", host, family]));
        let (status, _, told) = said(&output);
        assert_eq!(status, Some(3));
        assert!(told.contains(named), "{told}");
    }
}

#[test]
fn a_name_that_cannot_be_resolved_fails_only_alone() {
    let (_daemon, address) = daemon();
    let (output, _) = run(wallclock().args(["-s", "no-such-host.invalid"]));
    let (status, printed, told) = said(&output);
    assert_eq!((status, printed), (Some(3), ""));
    assert!(told.contains("no-such-host.invalid"), "{told}");

    let (output, _) = run(patient_wallclock().args([
        "-s",
        "no-such-host.invalid",
        "-s",
        &address.to_string(),
        "%Z",
    ]));
    let (status, printed, told) = said(&output);
    assert_eq!((status, printed), (Some(0), "UTC\n"));
    assert!(told.contains("no-such-host.invalid"), "{told}");
}

#[test]
fn an_answer_that_cannot_be_written_is_status_1() {
    let (_daemon, address) = daemon();
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let (output, _) = run(patient_wallclock()
        .args(["-s", &address.to_string()])
        .stdout(full));
    let (status, _, told) = said(&output);
    assert_eq!(status, Some(1));
    assert!(told.contains("standard output"), "{told}");
}

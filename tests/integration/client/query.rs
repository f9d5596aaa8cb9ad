//! One request: what is printed, the exit status, and which server is tried when.

use std::net::{ToSocketAddrs, UdpSocket};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use support::{closed_port, skip, start_daemon, wallclock, wallclock_long_timeout};

use super::{count_requests, parts, run, silent_server, start_server, tag};

/// More tries than a client needs on any machine.
const MANY_TRIES: [&str; 2] = ["-r", "500"];

#[test]
fn response_is_printed_as_by_date() {
    let (_daemon, address) = start_daemon();
    let address = address.to_string();
    for (format, expected) in [
        (&["+%Z"][..], "UTC\n"),
        (&["%Z"], "UTC\n"),
        (&["+%Z%n%t%Z"], "UTC\n\tUTC\n"),
        (&["+100%%%Z \u{2192}"], "100%UTC \u{2192}\n"),
        (&["++%Z"], "+UTC\n"),
        (&["--", "-%Z"], "-UTC\n"),
    ] {
        let (output, _) = run(wallclock_long_timeout().args(["-s", &address]).args(format));
        assert_eq!(parts(&output), (Some(0), expected, ""));
    }
    for format in [&[][..], &[""], &["+"], &[" "]] {
        let mut command = wallclock_long_timeout();
        let (output, _) = run(command.env("WALLCLOCK_SERVER", &address).args(format));
        let (status, stdout, _) = parts(&output);
        assert_eq!(status, Some(0));
        chrono::NaiveDateTime::parse_from_str(stdout, "%Y-%m-%d %H:%M:%S\n").expect(stdout);
    }
}

#[test]
fn error_response_is_status_1() {
    let (_daemon, address) = start_daemon();
    let (output, _) = run(wallclock_long_timeout().args(["-s", &address.to_string(), "%500d"]));
    assert_eq!(
        parts(&output),
        (
            Some(1),
            "",
            &*format!("wallclock: {address}: refused: answer too long\n")
        )
    );

    let (address, _requests) =
        start_server(|_, _| vec![b"error: clock\x1b[2J not \xff well".to_vec()]);
    let (output, _) = run(wallclock_long_timeout().args(["-s", &address]));
    let (status, stdout, stderr) = parts(&output);
    assert_eq!((status, stdout), (Some(1), ""));
    assert!(
        stderr.contains(r"clock\x1b[2J not \xff well") && !stderr.contains('\x1b'),
        "{stderr:?}"
    );
}

#[test]
fn response_with_directives_is_status_1() {
    let (address, _requests) = start_server(|_, request| vec![request.to_vec()]);
    let (output, _) = run(wallclock_long_timeout().args(["-s", &address, "%T %q"]));
    let (status, stdout, stderr) = parts(&output);
    assert_eq!((status, stdout), (Some(1), ""));
    assert!(stderr.ends_with("its response is \"%T %q\"\n"), "{stderr}");
}

#[test]
fn bad_format_is_status_2_and_is_not_sent() {
    let (silent, address) = silent_server();
    let long = format!("%d{}", "x".repeat(1006));
    for (format, expected) in [
        ("%Y %Q", "byte 3: unknown conversion Q"),
        ("+%Y %Q", "byte 3: unknown conversion Q"),
        ("%H:%", "byte 3: conversion ends too early"),
        ("hello", " in it"),
        (&long, "longer than 1007 bytes"),
    ] {
        let (output, _) = run(wallclock().args(["-s", &address, format]));
        let (status, stdout, stderr) = parts(&output);
        assert_eq!((status, stdout), (Some(2), ""));
        assert!(
            stderr.starts_with("wallclock: bad format") && stderr.contains(expected),
            "{stderr}"
        );
        assert_eq!(stderr.lines().count(), 1);
    }
    assert_eq!(count_requests(&silent), 0);
}

#[test]
fn usage_error_is_status_2() {
    for (arguments, expected) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["-t", "0"], "not a number of seconds above 0"),
        (&["-t", "-1"], "-1"),
        (&["-t", "soon"], "soon"),
        (&["-t", "nan"], "not a number of seconds above 0"),
        (&["-r", "-1"], "-1"),
        (&["-r", "4000000000"], "4000000000"),
        (&["-s", "host:port"], "port"),
        (&["-4", "-6"], "-6"),
        (&["%d", "%m"], "%m"),
    ] {
        let (output, _) = run(wallclock().args(arguments));
        let (status, stdout, stderr) = parts(&output);
        assert_eq!((status, stdout), (Some(2), ""), "{arguments:?}");
        assert!(stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn empty_environment_variable_counts_as_unset() {
    let mut command = wallclock();
    let (output, _) = run(command.env("WALLCLOCK_SERVER", "").arg("%Q"));
    let (status, _, stderr) = parts(&output);
    assert_eq!(status, Some(2), "{stderr}");
    assert!(stderr.contains("unknown conversion Q"), "{stderr}");
}

#[test]
fn closed_port_is_status_3_without_a_wait() {
    let (_closed, address) = closed_port();
    let address = address.to_string();
    let (output, took) = run(wallclock().args(["-s", &address, "-t", "100"]));
    let (status, stdout, stderr) = parts(&output);
    assert_eq!((status, stdout), (Some(3), ""));
    assert!(
        stderr.contains(&address) && stderr.contains("Connection refused"),
        "{stderr}"
    );
    // The client did not even wait for the first time-out.
    assert!(took < Duration::from_secs(100), "{took:?}");
}

#[test]
fn silent_server_is_status_3_after_all_tries() {
    let (silent, address) = silent_server();
    let (output, took) = run(wallclock().args(["-s", &address, "-t", "0.1", "-r", "3"]));
    let (status, stdout, stderr) = parts(&output);
    assert_eq!((status, stdout), (Some(3), ""));
    assert!(
        stderr.contains(" within ") && stderr.contains(&format!("{address}: 4 tries")),
        "{stderr}"
    );
    assert_eq!(count_requests(&silent), 4);
    // Half of the time-out three times, and all of it once.
    assert!(took >= Duration::from_millis(250), "{took:?}");
}

#[test]
fn response_to_the_second_try_is_printed() {
    let (address, requests) = start_server(|number, request| match number {
        0 => Vec::new(),
        _ => vec![[tag(request), b"second"].concat()],
    });
    let (output, _) = run(wallclock()
        .args(["-s", &address, "-t", "0.2"])
        .args(MANY_TRIES));
    assert_eq!(parts(&output), (Some(0), "second\n", ""));
    (0..2).for_each(|_| requests.recv().expect("two requests"));
}

#[test]
fn late_stray_and_forged_responses_are_ignored() {
    let mut late = Vec::new();
    let (address, requests) = start_server(move |number, request| {
        if number == 0 {
            late = [tag(request), b"late"].concat();
            return Vec::new();
        }
        let correct = [tag(request), b"right"].concat();
        vec![
            late.clone(),
            b"2026-07-05 01:05:07".to_vec(),
            b"0123456789abcdef|forged".to_vec(),
            tag(request)[..16].to_vec(),
            Vec::new(),
            correct,
        ]
    });
    let (output, _) = run(wallclock()
        .args(["-s", &address, "-t", "0.3"])
        .args(MANY_TRIES));
    assert_eq!(parts(&output), (Some(0), "right\n", ""));
    (0..2).for_each(|_| requests.recv().expect("two requests"));
}

#[test]
fn stray_responses_do_not_extend_the_timeout() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("an address").to_string();
    let (stop, stopped) = channel::<()>();
    let thread = thread::spawn(move || {
        let (_, source) = socket.recv_from(&mut [0; 2048]).expect("a request");
        // Until the client ends: if each restarted the time-out, the client would never end.
        while stopped.recv_timeout(Duration::from_millis(20)).is_err() {
            let _ = socket.send_to(b"stray", source);
        }
    });
    let (output, _) = run(wallclock().args(["-s", &address, "-t", "0.2", "-r", "0"]));
    stop.send(()).expect("the thread waits for this");
    thread.join().expect("one request");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn response_from_another_port_is_ignored() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = server.local_addr().expect("an address").to_string();
    let thread = thread::spawn(move || {
        let mut buf = [0; 2048];
        let (length, source) = server.recv_from(&mut buf).expect("a request");
        let response = [tag(&buf[..length]), b"forged"].concat();
        let other = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        other
            .send_to(&response, source)
            .expect("the response is sent");
    });
    let (output, _) = run(wallclock().args(["-s", &address, "-t", "0.2", "-r", "0"]));
    thread.join().expect("one request");
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(3), &b""[..])
    );
}

#[test]
fn servers_are_tried_in_order_until_one_responds() {
    let (_daemon, address) = start_daemon();
    let (silent, silent_address) = silent_server();
    let (_closed, closed) = closed_port();
    let closed = closed.to_string();
    let mut command = wallclock();
    command.args(["-s", &closed, "-s", &silent_address]);
    command.args(["-s", &address.to_string(), "-t", "0.2", "%Z"]);
    let (output, took) = run(command.args(MANY_TRIES));
    assert_eq!(parts(&output), (Some(0), "UTC\n", ""));
    assert!(
        took >= Duration::from_millis(100) && count_requests(&silent) >= 1,
        "the silent server is tried first: {took:?}"
    );

    let list = format!("{closed},{address}");
    let mut command = wallclock_long_timeout();
    let (output, _) = run(command.env("WALLCLOCK_SERVER", list).arg("%Z"));
    assert_eq!(parts(&output), (Some(0), "UTC\n", ""));
}

#[test]
fn after_an_unsynchronised_server_the_next_is_tried() {
    let unsynchronised = || start_server(|_, _| vec![b"error: clock not synchronised".to_vec()]);
    let (first, requests) = unsynchronised();
    let (_daemon, address) = start_daemon();
    let mut command = wallclock_long_timeout();
    let (output, _) = run(command.args(["-s", &first, "-s", &address.to_string(), "%Z"]));
    assert_eq!(parts(&output), (Some(0), "UTC\n", ""));
    requests.recv().expect("a request");

    // If no other server responds, its error response is printed. It gets one request.
    let (first, requests) = unsynchronised();
    let (_closed, closed) = closed_port();
    let mut command = wallclock_long_timeout();
    let (output, _) = run(command.args(["-s", &first, "-s", &closed.to_string(), "%Z"]));
    let expected = format!("wallclock: {first}: refused: clock not synchronised\n");
    assert_eq!(parts(&output), (Some(1), "", expected.as_str()));
    requests.recv().expect("a request");
    assert!(requests.try_recv().is_err(), "two requests");
}

#[test]
fn all_addresses_of_a_name_are_tried() {
    // localhost is 127.0.0.1, on some hosts ::1 as well. The daemon listens on the first one only.
    let (_daemon, address) = start_daemon();
    let name = format!("localhost:{}", address.port());
    if name.to_socket_addrs().is_err() {
        return skip("no address for the name localhost");
    }
    for family in [&[][..], &["-4"]] {
        let (output, _) = run(wallclock_long_timeout()
            .args(["-s", &name, "%Z"])
            .args(family));
        assert_eq!(parts(&output), (Some(0), "UTC\n", ""));
    }
}

#[test]
fn missing_address_family_is_named() {
    for (host, family, expected) in [
        ("127.0.0.1", "-6", "no IPv6 address"),
        ("[::1]", "-4", "no IPv4 address"),
    ] {
        let (output, _) = run(wallclock().args(["-s", host, family]));
        let (status, _, stderr) = parts(&output);
        assert_eq!(status, Some(3));
        assert!(stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn unresolvable_name_does_not_stop_the_others() {
    let (_daemon, address) = start_daemon();
    let (output, _) = run(wallclock().args(["-s", "no-such-host.invalid"]));
    let (status, stdout, stderr) = parts(&output);
    assert_eq!((status, stdout), (Some(3), ""));
    assert!(stderr.contains("no-such-host.invalid"), "{stderr}");

    let (output, _) = run(wallclock_long_timeout().args([
        "-s",
        "no-such-host.invalid",
        "-s",
        &address.to_string(),
        "%Z",
    ]));
    // The name may still be unresolved when the other server has responded.
    assert_eq!(parts(&output), (Some(0), "UTC\n", ""));
}

#[test]
fn write_error_is_status_1() {
    let (_daemon, address) = start_daemon();
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let (output, _) = run(wallclock_long_timeout()
        .args(["-s", &address.to_string()])
        .stdout(full));
    let (status, _, stderr) = parts(&output);
    assert_eq!(status, Some(1));
    assert!(stderr.contains("standard output"), "{stderr}");
}

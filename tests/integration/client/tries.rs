//! Tries: error responses that are forged, and time-outs that spread.

use std::net::UdpSocket;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::{
    HANG_TIMEOUT, preload_random_or_skip, process_state, wait_until, wallclock,
    wallclock_long_timeout,
};
use wallclock::client::query::{QueryError, RetryPolicy, UdpClient};
use wallclock::strftime::Format;

use super::{parts, run, silent_server, start_server, tag};

#[test]
fn forged_error_does_not_hide_the_response() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = server.local_addr().expect("an address").to_string();
    let mut command = wallclock_long_timeout();
    command
        .args(["-s", &address])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let client = command.spawn().expect("wallclock starts");
    let mut buf = [0; 2048];
    let (length, source) = server.recv_from(&mut buf).expect("a request");
    // Both responses are there before the client reads the first one.
    let id = Pid::from_raw(client.id().cast_signed()).expect("a process id");
    kill_process(id, Signal::STOP).expect("a child can be signalled");
    wait_until("the client does not stop", || {
        process_state(client.id()) == 'T'
    });
    let right = [tag(&buf[..length]), b"right"].concat();
    for response in [&b"error: forged"[..], b"error: forged again", &right] {
        server
            .send_to(response, source)
            .expect("a response is sent");
    }
    kill_process(id, Signal::CONT).expect("a child can be signalled");
    let output = client.wait_with_output().expect("a child");
    assert_eq!(parts(&output), (Some(0), "right\n", ""));
}

#[test]
fn tag_is_what_getrandom_returns() {
    let mut command = wallclock_long_timeout();
    if !preload_random_or_skip(&mut command) {
        return;
    }
    // The library returns 1 in each byte.
    let (address, _requests) = start_server(|_, request| {
        assert_eq!(tag(request), b"1010101010101010|");
        vec![[tag(request), b"right"].concat()]
    });
    let (output, _) = run(command.args(["-s", &address, "%T"]));
    assert_eq!(parts(&output), (Some(0), "right\n", ""));
}

#[test]
fn error_is_believed_after_50_ms() {
    let (address, _requests) = start_server(|_, _| vec![b"error: honest".to_vec()]);
    let client = UdpClient::connect(address.parse().expect("an address")).expect("a socket");
    let format = Format::parse(b"%T").expect("a format");
    let start = Instant::now();
    let result = client.query(&format, HANG_TIMEOUT);
    assert!(matches!(result, Err(QueryError::Refused(_))), "{result:?}");
    assert!(start.elapsed() >= Duration::from_millis(50));
    // A shorter time-out is kept.
    let result = client.query(&format, Duration::from_millis(1));
    assert!(result.is_err(), "{result:?}");
}

#[test]
fn error_is_doubted_for_the_longest_round_trip() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = server.local_addr().expect("an address");
    let thread = thread::spawn(move || {
        let mut buf = [0; 2048];
        for responses in [[None, Some("slow")], [Some("error: forged"), Some("right")]] {
            let (length, source) = server.recv_from(&mut buf).expect("a request");
            let [error, right] = responses;
            if let Some(error) = error {
                server
                    .send_to(error.as_bytes(), source)
                    .expect("it is sent");
                thread::sleep(Duration::from_millis(100));
            } else {
                thread::sleep(Duration::from_secs(3));
            }
            let text = right.expect("a text").as_bytes();
            let right = [tag(&buf[..length]), text].concat();
            server.send_to(&right, source).expect("it is sent");
        }
    });
    let client = UdpClient::connect(address).expect("a socket");
    let format = Format::parse(b"%T").expect("a format");
    for expected in ["slow", "right"] {
        let response = client.query(&format, HANG_TIMEOUT).expect(expected);
        assert_eq!(response.text, expected.as_bytes());
    }
    thread.join().expect("two requests");
}

#[test]
fn waits_of_tries_are_random_but_for_the_last() {
    let timeout = Duration::from_millis(1000);
    let policy = RetryPolicy {
        timeout,
        attempts: 3,
    };
    assert_eq!(policy.wait(1), timeout);
    let waits: Vec<_> = (0..1000).map(|_| policy.wait(2)).collect();
    assert!(
        waits
            .iter()
            .all(|wait| (timeout / 2..=timeout).contains(wait))
    );
    // Each twelfth of the range has some: none of 1,000 is in one with a probability of 1e-37.
    for twelfth in 0..12 {
        let start = timeout / 2 + timeout / 24 * twelfth;
        let range = start..start + timeout / 24 + Duration::from_millis(1);
        assert!(waits.iter().any(|wait| range.contains(wait)), "{range:?}");
    }
}

#[test]
fn silent_server_takes_less_than_all_time_outs() {
    let (_silent, address) = silent_server();
    // Each run takes 0.8 s on average and at most 1 s, unless the machine is busy. Without random
    // times it takes 1 s at least.
    let is_shorter = |_| {
        let (output, took) = run(wallclock().args(["-s", &address, "-t", "0.2", "-r", "4"]));
        assert_eq!(output.status.code(), Some(3));
        took < Duration::from_secs(1)
    };
    assert!((0..50).any(is_shorter));
}

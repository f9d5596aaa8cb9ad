//! An idle daemon, and its end at SIGTERM and SIGINT.

use std::thread;
use std::time::Duration;

use support::{
    connected_socket, context_switches, parse_counters, process_state, query, request_counters,
    skip_without_ipv6, start_daemon_with, wait_until,
};

use super::RequestFlood;

#[test]
fn idle_daemon_makes_no_system_calls() {
    thread::scope(|scope| {
        for arguments in [
            &["-l", "127.0.0.1:0"][..],
            &["-l", "127.0.0.1:0", "-l", "127.0.0.1:0"],
        ] {
            scope.spawn(|| assert_idle(arguments));
        }
    });
}

fn assert_idle(arguments: &[&str]) {
    let (process, address) = start_daemon_with(arguments);
    query(address, b"%s");
    wait_until("the daemon does not sleep", || {
        process_state(process.id()) == 'S'
    });
    let before = context_switches(process.id());
    // A timer of the daemon would have a period of a second or so.
    thread::sleep(Duration::from_secs(3));
    assert_eq!(context_switches(process.id()), before, "context switches");
}

#[test]
fn idle_daemon_stops_at_sigterm_and_sigint() {
    if skip_without_ipv6() {
        return;
    }
    for (signal, more) in [
        ("TERM", &[][..]),
        ("INT", &[]),
        ("TERM", &["-l", "127.0.0.1:0"]),
        ("INT", &["-l", "[::1]:0"]),
    ] {
        let (mut process, _) = start_daemon_with(&[&["-l", "127.0.0.1:0"], more].concat());
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(0), "{signal}");
        let last = process.log.last().expect("a last line");
        assert_eq!(parse_counters(last), [0; 5], "{last}");
    }
}

/// All requests queued before SIGTERM get responses. Requests that keep arriving afterwards do not
/// keep the daemon from ending.
#[test]
fn stop_answers_queued_requests_despite_a_flood() {
    for more in [&[][..], &["-l", "127.0.0.1:0"]] {
        let (mut process, address) = start_daemon_with(&[&["-l", "127.0.0.1:0"], more].concat());
        let client = connected_socket(address);
        process.signal("STOP");
        for number in 0..200 {
            client
                .send(format!("{number} %s").as_bytes())
                .expect("the request is queued");
        }
        process.signal("TERM");
        let flood = RequestFlood::start(address);
        process.signal("CONT");
        assert_eq!(process.wait().code(), Some(0));
        drop(flood);
        let mut buf = [0; 64];
        for number in 0..200 {
            let length = client.recv(&mut buf).expect("a response");
            let response = std::str::from_utf8(&buf[..length]).expect("UTF-8");
            assert_eq!(
                response.split(' ').next(),
                Some(number.to_string().as_str())
            );
        }
        let [answered, _, _, unsent, _] = parse_counters(process.log.last().expect("a last line"));
        assert!(answered >= 200 && unsent == 0, "{answered}, {unsent}");
    }
}

#[test]
fn flooded_daemon_stops_at_sigterm() {
    assert_stops_while_flooded(&[]);
    assert_stops_while_flooded(&["-l", "127.0.0.1:0"]);
}

fn assert_stops_while_flooded(more: &[&str]) {
    let arguments = &["-l", "127.0.0.1:0", "--receive-buffer", "212992"][..];
    let (mut process, address) = start_daemon_with(&[arguments, more].concat());
    let flood = RequestFlood::start(address);
    wait_until("the daemon does not respond", || {
        request_counters(&mut process)[0] >= 1_000
    });
    let [answered, _, _, unsent, _] = parse_counters(process.terminate());
    drop(flood);
    assert!(
        answered >= 1_000 && unsent == 0,
        "{answered} answered, {unsent} unsent"
    );
}

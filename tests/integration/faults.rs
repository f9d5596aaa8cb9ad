//! System calls that fail: no fault stops the daemon's loop or makes it spin, and the daemon works
//! again as soon as the call does.
//!
//! A preloaded library makes the calls of the released program fail. Unlike a seccomp filter it can
//! end a fault and count; unlike a fake in the program it tests the real calls.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use support::faults::{Call, ClockStatus, Faults};
use support::{
    HANG_TIMEOUT, Process, assert_response_becomes, assert_response_stays, connected_socket,
    parse_counter, query, request_counters, skip, wait_until, wallclockd,
};

/// Arguments of a daemon with one socket.
const ONE_SOCKET: &[&str] = &[];
/// Arguments of a daemon with two sockets.
const TWO_SOCKETS: &[&str] = &["-l", "127.0.0.1:0"];

/// A daemon whose system calls can be made to fail.
struct FaultyDaemon {
    process: Process,
    address: SocketAddr,
    faults: Faults,
}

/// Starts a daemon with the faults that `prepare` sets. Skips the test without a C compiler.
fn start_or_skip(arguments: &[&str], prepare: impl Fn(&Faults)) -> Option<FaultyDaemon> {
    let mut command = wallclockd();
    command.args(["-l", "127.0.0.1:0", "--utc"]).args(arguments);
    let Some(faults) = Faults::preload(&mut command) else {
        skip("no cc (Debian package gcc) or static programs");
        return None;
    };
    prepare(&faults);
    let mut process = Process::start(&mut command);
    let address = process.wait_for_address();
    Some(FaultyDaemon {
        process,
        address,
        faults,
    })
}

impl FaultyDaemon {
    /// Sends a request from a new socket, which does not wait for the response.
    fn send(&self, request: &[u8]) {
        connected_socket(self.address)
            .send(request)
            .expect("the request is sent");
    }

    fn query(&self, request: &[u8]) -> Vec<u8> {
        query(self.address, request)
    }

    fn unsent(&mut self) -> u64 {
        let [_, _, _, unsent, _] = request_counters(&mut self.process);
        unsent
    }

    /// The line with counters and status that the daemon logs at SIGUSR1.
    fn status_line(&mut self) -> String {
        self.process.signal("USR1");
        self.process.wait_for(" answered=")
    }
}

#[test]
fn failed_send_is_counted_and_the_next_succeeds() {
    let Some(mut daemon) = start_or_skip(ONE_SOCKET, |_| {}) else {
        return;
    };
    let mut failed = 0;
    for errno in [
        libc::ENOBUFS,
        libc::ENOMEM,
        libc::EPERM,
        libc::EHOSTUNREACH,
        libc::ENETDOWN,
        libc::EMSGSIZE,
        libc::ECONNREFUSED,
        libc::EIO,
    ] {
        daemon.faults.fail(Call::Send, errno, 1);
        daemon.send(b"%s");
        wait_until("the daemon does not send", || {
            daemon.faults.failures(Call::Send) > failed
        });
        daemon.faults.clear(Call::Send);
        assert_eq!(daemon.query(b"%Z"), b"UTC", "after errno {errno}");
        failed += 1;
        assert_eq!(daemon.unsent(), failed as u64, "errno {errno}");
    }
}

/// The destination of a request may be no valid source by the time of the response. From another
/// address the response would not be that of the requested server.
#[test]
fn invalid_source_leaves_the_response_unsent() {
    let Some(mut daemon) = start_or_skip(&["-l", "0.0.0.0:0"], |_| {}) else {
        return;
    };
    // The second socket: only on a wildcard address does the daemon set the source.
    daemon.address = daemon.process.wait_for_address();
    let mut unsent = 0;
    for errno in [libc::EINVAL, libc::EADDRNOTAVAIL, libc::ENETUNREACH] {
        daemon.faults.fail(Call::Send, errno, 1);
        daemon.send(b"%s");
        assert_eq!(daemon.query(b"%Z"), b"UTC", "errno {errno}");
        unsent += 1;
        assert_eq!(daemon.unsent(), unsent, "errno {errno}");
    }
}

#[test]
fn interrupted_call_is_repeated_and_not_counted() {
    for (sockets, call) in [
        (ONE_SOCKET, Call::Receive),
        (TWO_SOCKETS, Call::Receive),
        (ONE_SOCKET, Call::Send),
        (TWO_SOCKETS, Call::Send),
        (TWO_SOCKETS, Call::Poll),
    ] {
        let Some(mut daemon) = start_or_skip(sockets, |_| {}) else {
            return;
        };
        daemon.faults.fail(call, libc::EINTR, 5);
        // A call that is blocked now fails the next time, so one request is not enough.
        assert_eq!(daemon.query(b"%Z"), b"UTC", "{call:?}");
        assert_eq!(daemon.query(b"%Z"), b"UTC", "{call:?}");
        wait_until("the call does not fail five times", || {
            daemon.faults.failures(call) == 5
        });
        assert_eq!(request_counters(&mut daemon.process), [2, 0, 0, 0, 0]);
    }
}

#[test]
fn full_send_buffer_is_waited_for_once_per_batch() {
    let Some(mut daemon) = start_or_skip(ONE_SOCKET, |_| {}) else {
        return;
    };
    daemon.faults.fail(Call::Send, libc::EAGAIN, 1);
    assert_eq!(daemon.query(b"%Z"), b"UTC");
    assert_eq!(daemon.unsent(), 0);
    daemon.faults.fail_always(Call::Send, libc::EAGAIN);
    daemon.send(b"%s");
    wait_until("the send does not fail", || {
        daemon.faults.failures(Call::Send) == 3
    });
    // That wait ended in a time-out, and the second try failed. The next batches are dropped
    // without a wait: if each had one of its own, the twenty would take twice the limit of this
    // test.
    daemon.faults.set_min_send_wait(HANG_TIMEOUT / 10);
    let start = Instant::now();
    for number in 1..=20 {
        daemon.send(b"%s");
        wait_until("the send does not fail", || {
            daemon.faults.failures(Call::Send) == 3 + number
        });
    }
    assert!(start.elapsed() < HANG_TIMEOUT);
    daemon.faults.clear(Call::Send);
    assert_eq!(daemon.query(b"%Z"), b"UTC");
    assert_eq!(daemon.unsent(), 21);
}

/// poll(2) reports space only when half of the buffer is free. The send after the time-out finds
/// space all the same.
#[test]
fn response_is_sent_after_a_send_wait_timed_out() {
    let Some(mut daemon) = start_or_skip(ONE_SOCKET, |_| {}) else {
        return;
    };
    daemon.faults.set_min_send_wait(HANG_TIMEOUT / 20);
    let client = connected_socket(daemon.address);
    // After a successful second try the daemon may wait again.
    for round in 0..2 {
        let before = daemon.faults.failures(Call::Send);
        daemon.faults.fail_always(Call::Send, libc::EAGAIN);
        client.send(b"%Z").expect("the request is sent");
        wait_until("the send does not fail", || {
            daemon.faults.failures(Call::Send) > before
        });
        daemon.faults.clear(Call::Send);
        let received = client.recv(&mut [0; 64]);
        assert!(received.is_ok(), "round {round}: {received:?}");
    }
    assert_eq!(daemon.unsent(), 0);
}

/// Each socket has its own send buffer: what the one can send does not allow the other to wait.
#[test]
fn full_send_buffer_of_one_socket_does_not_delay_another() {
    let Some(mut daemon) = start_or_skip(TWO_SOCKETS, |_| {}) else {
        return;
    };
    let other = daemon.process.wait_for_address();
    daemon.faults.set_send_port(daemon.address.port());
    daemon.faults.fail_always(Call::Send, libc::EAGAIN);
    daemon.send(b"%s");
    wait_until("the send does not fail", || {
        daemon.faults.failures(Call::Send) == 2
    });
    // If each of the next twenty had a wait of its own, they would take twice the limit.
    daemon.faults.set_min_send_wait(HANG_TIMEOUT / 10);
    let start = Instant::now();
    for number in 1..=20 {
        assert_eq!(query(other, b"%Z"), b"UTC");
        daemon.send(b"%s");
        wait_until("the send does not fail", || {
            daemon.faults.failures(Call::Send) == 2 + number
        });
    }
    assert!(start.elapsed() < HANG_TIMEOUT);
    daemon.faults.clear(Call::Send);
    assert_eq!(daemon.unsent(), 21);
}

/// An error at a receive, such as one that ICMP reported, does not mean that the queue is empty.
#[test]
fn failed_receive_does_not_end_the_answers_at_sigterm() {
    for sockets in [ONE_SOCKET, TWO_SOCKETS] {
        let Some(mut daemon) = start_or_skip(sockets, |_| {}) else {
            return;
        };
        daemon.process.signal("STOP");
        let client = connected_socket(daemon.address);
        for _ in 0..100 {
            client.send(b"%s").expect("the request is queued");
        }
        daemon.faults.fail(Call::Receive, libc::ECONNREFUSED, 4);
        daemon.process.signal("TERM");
        daemon.process.signal("CONT");
        assert!(daemon.process.wait().success());
        let last = daemon.process.log.last().expect("a last line");
        assert_eq!(parse_counter(last, "answered="), 100, "{last}");
    }
}

/// The daemon tries each socket once and then pauses for 10 ms. Only a receive that finds nothing
/// may occur in normal operation: the first 64 of those cause no pause.
#[test]
fn lasting_fault_does_not_spin_and_ends_at_once() {
    for (sockets, call, errno) in [
        (ONE_SOCKET, Call::Receive, libc::ENOMEM),
        (TWO_SOCKETS, Call::Receive, libc::ENOMEM),
        (ONE_SOCKET, Call::Receive, libc::ENETDOWN),
        (TWO_SOCKETS, Call::Receive, libc::EIO),
        (ONE_SOCKET, Call::Receive, libc::ECONNREFUSED),
        (ONE_SOCKET, Call::Receive, libc::EAGAIN),
        (TWO_SOCKETS, Call::Receive, libc::EAGAIN),
        (TWO_SOCKETS, Call::Poll, libc::ENOMEM),
        (TWO_SOCKETS, Call::Poll, libc::EINVAL),
        (ONE_SOCKET, Call::Send, libc::ENETDOWN),
        (ONE_SOCKET, Call::Send, libc::EAGAIN),
    ] {
        let Some(mut daemon) = start_or_skip(sockets, |_| {}) else {
            return;
        };
        let case = format!("{call:?} errno {errno}");
        daemon.query(b"%s");
        let client = connected_socket(daemon.address);
        daemon.faults.fail_always(call, errno);
        // The signal ends a call that is blocked now, so that the daemon makes it again.
        daemon.process.signal("USR1");
        client.send(b"%Z").expect("the request is sent");
        wait_until("the call does not fail", || {
            daemon.faults.failures(call) > 0
        });
        let (start, before) = (Instant::now(), daemon.faults.failures(call));
        std::thread::sleep(Duration::from_millis(300));
        let failures = daemon.faults.failures(call) - before;
        let without_pause = if errno == libc::EAGAIN { 64 } else { 0 };
        let turns = start.elapsed().as_millis() / 10 + 2 + without_pause;
        let limit = turns * if sockets == TWO_SOCKETS { 2 } else { 1 };
        assert!(
            u128::from(failures.unsigned_abs()) <= limit,
            "{case}: {failures} failures, the limit is {limit}"
        );
        daemon.faults.clear(call);
        assert_eq!(daemon.query(b"%Z"), b"UTC", "{case}");
        let last = daemon.process.terminate();
        let counter = if call == Call::Send {
            "unsent="
        } else {
            "failed="
        };
        assert!(parse_counter(last, counter) > 0, "{case}: {last}");
        let log = &daemon.process.log;
        assert!(!log.iter().any(|line| line.contains("ERROR")), "{log:#?}");
    }
}

#[test]
fn sigterm_stops_a_daemon_whose_calls_fail() {
    for (sockets, call, errno) in [
        (ONE_SOCKET, Call::Receive, libc::ENOMEM),
        (TWO_SOCKETS, Call::Receive, libc::ENOMEM),
        (TWO_SOCKETS, Call::Poll, libc::ENOMEM),
        (ONE_SOCKET, Call::Send, libc::ENOBUFS),
    ] {
        let Some(mut daemon) = start_or_skip(sockets, |_| {}) else {
            return;
        };
        daemon.faults.fail_always(call, errno);
        daemon.send(b"%s");
        wait_until("the call does not fail", || {
            daemon.faults.failures(call) > 0
        });
        daemon.process.terminate();
    }
}

#[test]
fn sigterm_stops_a_daemon_with_a_full_send_buffer() {
    for sockets in [ONE_SOCKET, TWO_SOCKETS] {
        let Some(mut daemon) = start_or_skip(sockets, |_| {}) else {
            return;
        };
        daemon.faults.fail_always(Call::Send, libc::EAGAIN);
        daemon.process.signal("STOP");
        let client = connected_socket(daemon.address);
        for _ in 0..400 {
            client.send(b"%s").expect("the request is queued");
        }
        daemon.process.signal("TERM");
        daemon.process.signal("CONT");
        assert!(daemon.process.wait().success());
        let last = daemon.process.log.last().expect("a last line");
        assert_eq!(
            parse_counter(last, "answered="),
            parse_counter(last, "unsent=")
        );
    }
}

#[test]
fn signal_during_a_send_wait_loses_no_response() {
    let Some(daemon) = start_or_skip(ONE_SOCKET, |_| {}) else {
        return;
    };
    // Only the signal ends the wait before the client's time-out.
    daemon.faults.set_min_send_wait(2 * HANG_TIMEOUT);
    let client = connected_socket(daemon.address);
    for _ in 0..5 {
        // After a complete batch the daemon may wait again.
        daemon.query(b"%Z");
        daemon.faults.fail_always(Call::Send, libc::EAGAIN);
        let before = daemon.faults.failures(Call::Send);
        client.send(b"%Z").expect("the request is sent");
        wait_until("the daemon does not wait", || {
            daemon.faults.failures(Call::Send) > before
        });
        daemon.faults.clear(Call::Send);
        daemon.process.signal("USR1");
        client.recv(&mut [0; 64]).expect("a response");
    }
}

#[test]
fn clock_status_changes_are_logged() {
    let unsynchronised = |faults: &Faults| faults.set_clock_status(ClockStatus::Unsynchronised);
    let Some(mut daemon) = start_or_skip(ONE_SOCKET, unsynchronised) else {
        return;
    };
    let warning = daemon.process.wait_for("WARN");
    assert!(
        warning.contains("not synchronised") && warning.contains("since 20"),
        "{warning}"
    );
    let status = daemon.status_line();
    assert!(
        status.contains(" clock=unsynchronised since=20"),
        "{status}"
    );
    daemon.faults.set_clock_status(ClockStatus::Synchronised);
    assert_response_stays(daemon.address, b"%Z", b"UTC", Instant::now());
    let line = daemon.process.wait_for("synchronised again");
    assert!(line.contains("1500 us"), "{line}");
    let status = daemon.status_line();
    assert!(
        status.contains(" clock=synchronised error=1500us"),
        "{status}"
    );
    daemon.process.terminate();
    let is_warning = |line: &&String| line.contains("WARN");
    let warnings = daemon.process.log.iter().filter(is_warning).count();
    assert_eq!(warnings, 1, "{:#?}", daemon.process.log);
}

#[test]
fn unknown_clock_status_is_logged_once() {
    let forbidden = |faults: &Faults| faults.fail_always(Call::Clock, libc::EPERM);
    let Some(mut daemon) = start_or_skip(ONE_SOCKET, forbidden) else {
        return;
    };
    let line = daemon.process.wait_for("is unknown");
    assert!(
        line.contains("WARN")
            && line.contains("Operation not permitted")
            && line.contains("SystemCallFilter=adjtimex clock_adjtime clock_adjtime64"),
        "{line}"
    );
    // The daemon reads the status at least twice more.
    for _ in 0..2 {
        assert_response_stays(daemon.address, b"%Z", b"UTC", Instant::now());
    }
    let last = daemon.process.terminate();
    assert!(last.ends_with(" clock=unknown"), "{last}");
    let is_warning = |line: &&String| line.contains("is unknown");
    let warnings = daemon.process.log.iter().filter(is_warning).count();
    assert_eq!(warnings, 1, "{:#?}", daemon.process.log);
}

#[test]
fn rule_5_require_sync_refuses_if_not_synchronised() {
    const REFUSAL: &[u8] = b"error: clock not synchronised";
    let synchronised = |faults: &Faults| faults.set_clock_status(ClockStatus::Synchronised);
    let Some(daemon) = start_or_skip(&["--require-sync"], synchronised) else {
        return;
    };
    let assert_becomes = |expected: &[u8]| {
        assert_response_becomes(daemon.address, b"%Z", expected, Instant::now());
    };
    assert_eq!(daemon.query(b"%Z"), b"UTC");
    daemon.faults.set_clock_status(ClockStatus::Unsynchronised);
    assert_becomes(REFUSAL);
    assert_eq!(daemon.query(b""), REFUSAL);
    assert_eq!(daemon.query(b"%s.%N"), REFUSAL);
    // Rule 4 comes first.
    assert_eq!(daemon.query(b"%Q"), b"error: byte 0: unknown conversion Q");
    // A chronyd without rtcsync sets the clock, and leaves STA_UNSYNC set.
    daemon.faults.set_clock_status(ClockStatus::WithoutRtcsync);
    assert_becomes(b"UTC");
    // A status that the daemon may not read counts as not synchronised.
    daemon.faults.fail_always(Call::Clock, libc::EPERM);
    assert_becomes(REFUSAL);
}

#[test]
fn max_error_limits_what_counts_as_synchronised() {
    for (sync, refusal) in [
        (&["--max-error", "0.002"][..], &b"UTC"[..]),
        (
            &["--max-error", "0.002", "--require-sync"],
            b"error: clock not synchronised",
        ),
    ] {
        let above = |faults: &Faults| faults.set_clock_status(ClockStatus::WithoutRtcsync);
        let Some(mut daemon) = start_or_skip(sync, above) else {
            return;
        };
        let line = daemon.process.wait_for("not synchronised");
        assert!(
            line.contains("WARN") && line.contains("maximum error 2500 us, must be below 2000 us"),
            "{line}"
        );
        assert_eq!(daemon.query(b"%Z"), refusal);
        daemon.faults.set_clock_status(ClockStatus::Synchronised);
        assert_response_becomes(daemon.address, b"%Z", b"UTC", Instant::now());
        if sync.len() > 2 {
            daemon.process.wait_for("synchronised again");
        }
    }
}

//! A kernel that fails: no fault stops the loop, none makes it spin, and it is over as soon as the kernel recovers.
//!
//! The calls fail in a preloaded library, in front of the very binary that is shipped: unlike a seccomp filter it can heal
//! and count, and unlike a fake in the batch's place it tries the real batch.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use support::faults::{Call, Discipline, Faults};
use support::{
    PATIENCE, Process, ask, counters, follows, line_to, read_counter, skip, stays, until,
    wallclockd,
};

const ONE: &[&str] = &[];
const TWO: &[&str] = &["-l", "127.0.0.1:0"];

struct Failing {
    process: Process,
    address: SocketAddr,
    faults: Faults,
}

/// A daemon in front of a kernel that can be made to fail.
fn failing(arguments: &[&str], prepare: impl Fn(&Faults)) -> Option<Failing> {
    let mut command = wallclockd();
    command.args(["-l", "127.0.0.1:0", "--utc"]).args(arguments);
    let Some(faults) = Faults::of(&mut command) else {
        skip("no cc (Debian package gcc)");
        return None;
    };
    prepare(&faults);
    let mut process = Process::start(&mut command);
    let address = process.wait_for_address();
    Some(Failing {
        process,
        address,
        faults,
    })
}

#[test]
fn an_answer_that_the_kernel_refuses_is_counted_as_unsent_and_the_next_one_goes() {
    let Some(mut daemon) = failing(ONE, |_| {}) else {
        return;
    };
    let mut expected = 0;
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
        line_to(daemon.address).send(b"%s").expect("it is sent");
        until("the answer is not tried", || {
            daemon.faults.failed(Call::Send) > expected
        });
        daemon.faults.heal(Call::Send);
        assert_eq!(ask(daemon.address, b"%Z"), b"UTC", "after errno {errno}");
        expected += 1;
        assert_eq!(
            counters(&mut daemon.process)[3],
            expected as u64,
            "errno {errno}"
        );
    }
}

#[test]
fn an_address_that_is_no_source_any_more_is_replaced_by_the_routes() {
    let Some(mut daemon) = failing(&["-l", "0.0.0.0:0"], |_| {}) else {
        return;
    };
    // Only a socket on a wildcard address says where it answers from.
    daemon.address = daemon.process.wait_for_address();
    for errno in [libc::EINVAL, libc::EADDRNOTAVAIL, libc::ENETUNREACH] {
        daemon.faults.fail(Call::Send, errno, 1);
        assert_eq!(ask(daemon.address, b"%Z"), b"UTC", "errno {errno}");
        // Where the second try fails too, the answer stays here.
        daemon.faults.fail(Call::Send, errno, 2);
        line_to(daemon.address).send(b"%s").expect("it is sent");
        assert_eq!(ask(daemon.address, b"%Z"), b"UTC");
    }
    assert_eq!(counters(&mut daemon.process)[3], 3);
}

#[test]
fn an_interrupted_call_is_made_again_and_counts_as_nothing() {
    for (sockets, call) in [
        (ONE, Call::Receive),
        (TWO, Call::Receive),
        (ONE, Call::Send),
        (TWO, Call::Send),
        (TWO, Call::Poll),
    ] {
        let Some(mut daemon) = failing(sockets, |_| {}) else {
            return;
        };
        daemon.faults.fail(call, libc::EINTR, 5);
        // The call that sleeps fails when it is made next.
        assert_eq!(ask(daemon.address, b"%Z"), b"UTC", "{call:?}");
        assert_eq!(ask(daemon.address, b"%Z"), b"UTC", "{call:?}");
        until("it fails five times", || daemon.faults.failed(call) == 5);
        assert_eq!(counters(&mut daemon.process), [2, 0, 0, 0, 0]);
    }
}

#[test]
fn a_full_send_buffer_is_waited_for_once_a_batch() {
    let Some(mut daemon) = failing(ONE, |_| {}) else {
        return;
    };
    daemon.faults.fail(Call::Send, libc::EAGAIN, 1);
    assert_eq!(ask(daemon.address, b"%Z"), b"UTC");
    assert_eq!(counters(&mut daemon.process)[3], 0);
    daemon.faults.fail_for_ever(Call::Send, libc::EAGAIN);
    line_to(daemon.address).send(b"%s").expect("it is sent");
    until("it fails", || daemon.faults.failed(Call::Send) == 2);
    // That wait was in vain, so the next batch is given up without one, and for the time being all
    // that follow. Had each a wait of its own, the twenty would take twice as long as anything is
    // waited for here.
    daemon.faults.stretch(PATIENCE / 10);
    let given_up = Instant::now();
    for number in 1..=20 {
        line_to(daemon.address).send(b"%s").expect("it is sent");
        until("it fails", || {
            daemon.faults.failed(Call::Send) == 2 + number
        });
    }
    assert!(given_up.elapsed() < PATIENCE);
    daemon.faults.heal(Call::Send);
    assert_eq!(ask(daemon.address, b"%Z"), b"UTC");
    assert_eq!(counters(&mut daemon.process)[3], 21);
}

#[test]
fn a_lasting_fault_does_not_make_it_spin_and_the_first_question_after_it_is_answered() {
    for (sockets, call, errno) in [
        (ONE, Call::Receive, libc::ENOMEM),
        (TWO, Call::Receive, libc::ENOMEM),
        (ONE, Call::Receive, libc::ENETDOWN),
        (TWO, Call::Receive, libc::EIO),
        (ONE, Call::Receive, libc::ECONNREFUSED),
        (ONE, Call::Receive, libc::EAGAIN),
        (TWO, Call::Receive, libc::EAGAIN),
        (TWO, Call::Poll, libc::ENOMEM),
        (TWO, Call::Poll, libc::EINVAL),
        (ONE, Call::Send, libc::ENETDOWN),
        (ONE, Call::Send, libc::EAGAIN),
    ] {
        let Some(mut daemon) = failing(sockets, |_| {}) else {
            return;
        };
        ask(daemon.address, b"%s");
        let client = line_to(daemon.address);
        daemon.faults.fail_for_ever(call, errno);
        // Wakes it up: poll(2) fails when it is entered next.
        daemon.process.signal("USR1");
        client.send(b"%Z").expect("it is sent");
        until("the call fails", || daemon.faults.failed(call) > 0);
        // It looks at each socket, then pauses for 10 ms, but for the first 64 times that a look in
        // vain may be in order.
        let (start, before) = (Instant::now(), daemon.faults.failed(call));
        std::thread::sleep(Duration::from_millis(300));
        let calls = daemon.faults.failed(call) - before;
        let in_order = if errno == libc::EAGAIN { 64 } else { 0 };
        let turns = start.elapsed().as_millis() / 10 + 2 + in_order;
        let due = turns * if sockets == TWO { 2 } else { 1 };
        assert!(
            calls.unsigned_abs() as u128 <= due,
            "{call:?} errno {errno}: {calls} calls where {due} were due"
        );
        daemon.faults.heal(call);
        assert_eq!(ask(daemon.address, b"%Z"), b"UTC", "{call:?} errno {errno}");
        daemon.process.signal("TERM");
        assert!(daemon.process.wait().success());
        let last = daemon.process.log.last().expect("a last line");
        let counter = if call == Call::Send {
            "unsent="
        } else {
            "failed="
        };
        assert!(
            read_counter(last, counter) > 0,
            "{call:?} errno {errno}: {last}"
        );
        assert!(
            !daemon.process.log.iter().any(|line| line.contains("ERROR")),
            "{:#?}",
            daemon.process.log
        );
    }
}

#[test]
fn the_order_to_stop_is_heard_while_the_kernel_fails() {
    for (sockets, call, errno) in [
        (ONE, Call::Receive, libc::ENOMEM),
        (TWO, Call::Receive, libc::ENOMEM),
        (TWO, Call::Poll, libc::ENOMEM),
        (ONE, Call::Send, libc::ENOBUFS),
    ] {
        let Some(mut daemon) = failing(sockets, |_| {}) else {
            return;
        };
        daemon.faults.fail_for_ever(call, errno);
        line_to(daemon.address).send(b"%s").expect("it is sent");
        until("the call fails", || daemon.faults.failed(call) > 0);
        daemon.process.signal("TERM");
        assert!(daemon.process.wait().success(), "{call:?}");
    }
}

#[test]
fn synchronised_and_unsynchronised_kernels_are_told_apart() {
    let Some(mut daemon) = failing(ONE, |faults| faults.discipline(Discipline::Unsynchronised))
    else {
        return;
    };
    let warning = daemon.process.wait_for("WARN");
    assert!(
        warning.contains("unsynchronised") && warning.contains("since 20"),
        "{warning}"
    );
    daemon.process.signal("USR1");
    assert!(
        daemon
            .process
            .wait_for(" answered=")
            .contains(" clock=unsynchronised since=20")
    );
    daemon.faults.discipline(Discipline::Synchronised);
    stays(daemon.address, b"%Z", b"UTC", Instant::now());
    let line = daemon.process.wait_for("synchronised again");
    assert!(line.contains("1500 us"), "{line}");
    daemon.process.signal("USR1");
    assert!(
        daemon
            .process
            .wait_for(" answered=")
            .contains(" clock=synchronised error=1500us")
    );
    daemon.process.signal("TERM");
    assert!(daemon.process.wait().success());
    let warnings = daemon
        .process
        .log
        .iter()
        .filter(|line| line.contains("WARN"))
        .count();
    assert_eq!(warnings, 1, "{:#?}", daemon.process.log);
}

#[test]
fn a_daemon_that_requires_a_synchronised_clock_tells_no_time_without() {
    let Some(daemon) = failing(&["--require-sync"], |faults| {
        faults.discipline(Discipline::Synchronised)
    }) else {
        return;
    };
    assert_eq!(ask(daemon.address, b"%Z"), b"UTC");
    daemon.faults.discipline(Discipline::Unsynchronised);
    follows(
        daemon.address,
        b"%Z",
        b"error: clock not synchronised",
        Instant::now(),
    );
    assert_eq!(ask(daemon.address, b""), b"error: clock not synchronised");
    assert_eq!(
        ask(daemon.address, b"%s.%N"),
        b"error: clock not synchronised"
    );
    assert_eq!(
        ask(daemon.address, b"%Q"),
        b"error: byte 0: unknown conversion Q"
    );
    daemon.faults.discipline(Discipline::Synchronised);
    follows(daemon.address, b"%Z", b"UTC", Instant::now());
    // Who may not ask the kernel does not know either.
    daemon.faults.fail_for_ever(Call::Clock, libc::EPERM);
    follows(
        daemon.address,
        b"%Z",
        b"error: clock not synchronised",
        Instant::now(),
    );
}

#[test]
fn a_kernel_that_may_not_be_asked_is_said_to_be_unknown_once() {
    let Some(mut daemon) = failing(ONE, |faults| faults.fail_for_ever(Call::Clock, libc::EPERM))
    else {
        return;
    };
    let line = daemon.process.wait_for("is unknown");
    assert!(
        line.contains("WARN")
            && line.contains("Operation not permitted")
            && line.contains("SystemCallFilter=adjtimex clock_adjtime clock_adjtime64"),
        "{line}"
    );
    // Two looks more.
    for _ in 0..2 {
        stays(daemon.address, b"%Z", b"UTC", Instant::now());
    }
    daemon.process.signal("TERM");
    assert!(daemon.process.wait().success());
    assert_eq!(
        daemon
            .process
            .log
            .iter()
            .filter(|line| line.contains("is unknown"))
            .count(),
        1
    );
    assert!(
        daemon
            .process
            .log
            .last()
            .is_some_and(|line| line.ends_with(" clock=unknown"))
    );
}

#[test]
fn told_to_stop_with_a_full_send_buffer_it_ends() {
    for sockets in [ONE, TWO] {
        let Some(mut daemon) = failing(sockets, |_| {}) else {
            return;
        };
        daemon.faults.fail_for_ever(Call::Send, libc::EAGAIN);
        daemon.process.signal("STOP");
        let client = line_to(daemon.address);
        for _ in 0..400 {
            client.send(b"%s").expect("it is queued");
        }
        daemon.process.signal("TERM");
        daemon.process.signal("CONT");
        assert!(daemon.process.wait().success());
        let last = daemon.process.log.last().expect("a last line");
        assert_eq!(
            read_counter(last, "answered="),
            read_counter(last, "unsent=")
        );
    }
}

#[test]
fn a_signal_while_a_full_send_buffer_is_waited_for_costs_no_answer() {
    let Some(daemon) = failing(ONE, |_| {}) else {
        return;
    };
    // Nothing but the signal ends the wait in time.
    daemon.faults.stretch(2 * PATIENCE);
    let client = line_to(daemon.address);
    for _ in 0..5 {
        // What went out whole makes it patient again.
        ask(daemon.address, b"%Z");
        daemon.faults.fail_for_ever(Call::Send, libc::EAGAIN);
        let failed = daemon.faults.failed(Call::Send);
        client.send(b"%Z").expect("it is sent");
        until("it waits", || daemon.faults.failed(Call::Send) > failed);
        daemon.faults.heal(Call::Send);
        daemon.process.signal("USR1");
        client.recv(&mut [0; 64]).expect("an answer");
    }
}

//! `--wait-sync`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::{Process, closed_port, start_daemon};
use wallclock::offset::SECOND;

use super::{client, stderr};
use crate::offset::servers::{scripted_server, wall_clock, with_nanoseconds};

#[test]
fn a_clock_within_the_limit_needs_no_wait() {
    let (_daemon, address) = start_daemon();
    let mut command = client(&[address]);
    command.args(["--wait-sync", "30", "--", "echo", "synchronised"]);
    let output = command.output().expect("wallclock runs");
    assert_eq!(output.stdout, b"synchronised\n", "{output:?}");
    assert_eq!(
        (output.status.code(), stderr(&output)),
        (Some(0), String::new())
    );
}

#[test]
fn it_waits_until_the_clock_is_within_the_limit() {
    let is_right = Arc::new(AtomicBool::new(false));
    let shared = Arc::clone(&is_right);
    let server = scripted_server("127.0.0.1:0", move |request, _| {
        let ahead = if shared.load(Ordering::Relaxed) {
            0
        } else {
            3_600
        };
        Some(with_nanoseconds(request, wall_clock() + ahead * SECOND))
    });
    let mut command = client(&[server]);
    let mut process = Process::start(command.args(["--wait-sync", "30"]));
    let line = process.wait_for("waiting for an offset within 30.0 s: ");
    assert!(line.contains(" s ± "), "{line}");
    is_right.store(true, Ordering::Relaxed);
    let status = process.wait();
    assert!(status.success(), "{status}: {:?}", process.log);
}

// The bound is part of it.
#[test]
fn a_deadline_ends_it_with_3() {
    let (_daemon, right) = start_daemon();
    let (_socket, closed) = closed_port();
    for (server, limit, text) in [
        (right, "0.000000001", " s ± "),
        (closed, "30", "Connection refused"),
    ] {
        for (arguments, status) in [(&[][..], 3), (&["--", "true"], 125)] {
            let mut command = support::wallclock();
            command.args([
                "-s",
                &server.to_string(),
                "--wait-sync",
                limit,
                "--deadline",
                "2",
            ]);
            let output = command.args(arguments).output().expect("wallclock runs");
            assert_eq!(output.status.code(), Some(status), "{output:?}");
            let log = stderr(&output);
            assert!(log.contains(text), "{log}");
            assert!(log.contains("until the deadline"), "{log}");
        }
    }
}

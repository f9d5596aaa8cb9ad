//! Exit statuses of the modes that measure, where no other test has them; tests/README.md has all.

use std::fs::OpenOptions;
use std::sync::Mutex;

use support::{closed_port, start_daemon, wallclock_long_timeout};
use wallclock::offset::SECOND;

use super::clients::{run, stdout};
use super::servers::{scripted_server, wall_clock, with_nanoseconds};

#[test]
fn output_that_is_full_is_status_1() {
    let (_server, address) = start_daemon();
    for arguments in [
        &["--offset"][..],
        &["--json"],
        &["--watch"],
        &["--watch", "--json"],
        &["--watch", "--count", "1"],
    ] {
        let full = OpenOptions::new().write(true).open("/dev/full");
        let mut command = wallclock_long_timeout();
        command
            .args(["-s", &address.to_string(), "--deadline", "60"])
            .args(arguments)
            .stdout(full.expect("/dev/full"));
        let output = command.output().expect("wallclock starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        let expected = "wallclock: write to standard output: No space left on device\n";
        assert_eq!(error, expected, "{arguments:?}");
    }
}

#[test]
fn server_that_contradicts_itself_is_status_1() {
    let is_ahead = Mutex::new(false);
    let server = scripted_server("127.0.0.1:0", move |request, _| {
        let mut is_ahead = is_ahead.lock().expect("a clock");
        *is_ahead = !*is_ahead;
        let step = if *is_ahead { 100_000 * SECOND } else { 0 };
        Some(with_nanoseconds(request, wall_clock() + step))
    });
    for (arguments, status) in [
        (&["--offset"][..], 1),
        (&["--json"], 1),
        (&["-w", "1000000"], 3),
        (&["--watch=0.01", "--count", "2"], 3),
    ] {
        let output = run(&[server], arguments);
        assert_eq!(
            output.status.code(),
            Some(status),
            "{arguments:?}: {output:?}"
        );
    }
}

#[test]
fn reason_is_printed_once() {
    let (_closed, closed) = closed_port();
    let reason = "Connection refused";
    let output = run(&[closed, closed], &["--offset"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(error, format!("wallclock: {closed}: {reason}\n"));
    assert!(output.stdout.is_empty(), "{output:?}");
    for (arguments, lines) in [
        (&["--json"][..], 1),
        (&["-c", "1"], 1),
        (&["--watch=0.01", "--count", "3"], 3),
        (&["--watch=0.01", "--count", "3", "--json"], 3),
    ] {
        let output = run(&[closed, closed], arguments);
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {text}");
        assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
        let reasons = text
            .lines()
            .filter(|line| line.matches(reason).count() == 1);
        assert_eq!(reasons.count(), lines, "{arguments:?}: {text}");
        assert_eq!(text.matches(reason).count(), lines, "{arguments:?}: {text}");
        assert!(
            !text.contains(|c: char| c != '\n' && c.is_control()),
            "{text:?}"
        );
    }
}

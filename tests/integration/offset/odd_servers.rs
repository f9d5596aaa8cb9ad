//! Servers with a coarse clock, with newlines in their responses, and on a network with losses.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use support::wallclock;

use super::clients::{contains, run, run_json, stdout};
use super::servers::{scripted_server, wall_clock, with_nanoseconds, with_seconds};

const MILLI: i128 = 1_000_000;

// CLOCK_REALTIME_COARSE with nine digits, of a kernel with ticks of 4 ms. It is recognised where
// the round trip is short enough, which it may not be on a busy machine.
#[test]
fn a_coarse_clock_is_recognised_and_measured_with_a_tick() {
    let server = scripted_server("127.0.0.1:0", |request, _| {
        let time = wall_clock();
        Some(with_nanoseconds(request, time - time % (4 * MILLI)))
    });
    // The ticks are not in phase with the measurements.
    for _ in 0..20 {
        let (json, _) = run_json(&[server]);
        let round_trip = json["servers"][0]["round_trip"].as_f64().expect("a time");
        if round_trip >= 0.0001 {
            println!("a round trip of {round_trip} s");
            continue;
        }
        assert!(contains(&json, 0.0), "{json}");
        assert_eq!(json["servers"][0]["resolution"], 0.010000001, "{json}");
    }
}

#[test]
fn a_coarse_clock_is_named() {
    // All responses have the same time.
    let time = wall_clock();
    let server = scripted_server("127.0.0.1:0", move |request, _| {
        Some(with_nanoseconds(request, time))
    });
    let output = run(&[server], &["--offset", "--tick", "1"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    assert!(text.contains(" samples of a coarse clock"), "{text}");
}

#[test]
fn a_newline_after_the_time_is_ignored() {
    for newline in ["\n", "\r\n"] {
        let server = scripted_server("127.0.0.1:0", move |request, _| {
            Some(with_nanoseconds(request, wall_clock()) + newline)
        });
        let (json, status) = run_json(&[server]);
        assert_eq!(status, Some(0), "{json}");
        assert_eq!(json["servers"][0]["resolution"], 1e-9, "{json}");
    }
}

#[test]
fn a_tick_of_more_than_a_second_is_refused() {
    for (tick, status) in [("1", 3), ("1.000000001", 2), ("1e9", 2)] {
        let mut command = wallclock();
        command.args(["--server", "host.invalid", "--tick", tick]);
        let output = command.output().expect("wallclock starts");
        assert_eq!(output.status.code(), Some(status), "{tick}: {output:?}");
    }
}

// Each tenth response is lost. A lost request is tried again, so the number of samples is reached.
#[test]
fn lost_responses_do_not_end_a_measurement() {
    let server = scripted_server("127.0.0.1:0", |request, number| {
        (number % 10 != 0).then(|| with_nanoseconds(request, wall_clock()))
    });
    let arguments = [
        "--json",
        "--samples",
        "40",
        "--timeout",
        "1",
        "--retries",
        "1",
    ];
    let output = run(&[server], &arguments);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["servers"][0]["samples"], 40, "{json}");
}

// Each third response is lost. Two passes take at least seven requests, whatever is lost: with one
// retry for the whole measurement it would end at the sixth.
#[test]
fn whole_seconds_with_losses_are_measured_to_the_end() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let server = scripted_server("127.0.0.1:0", move |request, _| {
        let number = count.fetch_add(1, Relaxed) + 1;
        (!number.is_multiple_of(3)).then(|| with_seconds(request, wall_clock()))
    });
    let output = run(&[server], &["--json", "--timeout", "1", "--retries", "1"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(contains(&json, 0.0), "{json}");
    assert!(requests.load(Relaxed) >= 7, "{json}");
}

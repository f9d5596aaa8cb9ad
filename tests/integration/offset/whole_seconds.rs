//! Servers that respond with whole seconds, among them the Python server.

use std::thread;
use std::time::Duration;

use support::{libfaketime_or_skip, skip_without};
use wallclock::offset::{MeasurementConfig, Nanos, SECOND, TICK};

use super::clients::{measure, run, run_on_terminal, run_on_terminal_after, stdout};
use super::servers::{python_server, whole_second_server};

const MILLI: Nanos = 1_000_000;

fn with_tick(tick: Nanos) -> MeasurementConfig {
    MeasurementConfig {
        tick,
        ..MeasurementConfig::default()
    }
}

#[test]
fn seconds_up_to_a_tick_late_are_in_the_bound() {
    let tick = Duration::from_nanos(TICK.try_into().expect("some milliseconds"));
    let check = |lag: Duration, config: MeasurementConfig| {
        let measured = measure(whole_second_server(lag), config);
        let lag = Nanos::try_from(lag.as_nanos()).expect("some milliseconds");
        assert!(measured.offset.contains(0), "{lag}: {measured:?}");
        assert_eq!(measured.clock.resolution(), SECOND + config.tick);
        // The time that the server reports is behind by as much as its seconds begin late.
        let reported = measured.clock.reported(measured.offset);
        let reported = reported.expect("all seconds begin equally late");
        assert!(reported.contains(-lag), "{lag}: {measured:?}");
        assert!(measured.clock.samples >= 2, "{measured:?}");
    };
    thread::scope(|scope| {
        for lag in [Duration::ZERO, tick / 2, tick] {
            scope.spawn(move || check(lag, MeasurementConfig::default()));
        }
        scope.spawn(|| check(Duration::ZERO, with_tick(0)));
    });
}

#[test]
fn python_server_is_measured_with_a_tick() {
    let Some((_server, address)) = python_server(None) else {
        return;
    };
    // Its seconds begin late because it calls time(2), on a virtual machine by more than the
    // kernel's tick, but not by as much as this.
    let measured = measure(address, with_tick(SECOND / 4));
    assert!(measured.offset.contains(0), "{measured:?}");
    assert_eq!(measured.clock.resolution(), SECOND + SECOND / 4);
}

// Under libfaketime time(2) reads the clock, so no second begins late.
#[test]
fn python_server_without_a_tick_under_faketime() {
    let Some(library) = libfaketime_or_skip() else {
        return;
    };
    let shifts = [("+3.5", 3_500 * MILLI), ("-0.25", -250 * MILLI)];
    let servers = shifts.map(|(shift, offset)| (python_server(Some((&library, shift))), offset));
    thread::scope(|scope| {
        for (server, offset) in &servers {
            let Some((_, address)) = server else { return };
            scope.spawn(move || {
                let measured = measure(*address, with_tick(0));
                assert!(measured.offset.contains(*offset), "{measured:?}");
                assert_eq!(measured.clock.resolution(), SECOND);
            });
        }
    });
}

/// A bound as the programs print it, in seconds.
fn parse_bound(text: &str) -> f64 {
    let (number, unit) = text.split_once(' ').expect("number and unit");
    let scale = match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => panic!("{text}"),
    };
    number.parse::<f64>().expect("a number") * scale
}

#[test]
fn progress_on_a_terminal_shows_narrowing_bounds() {
    if skip_without(&["script"]) {
        return;
    }
    let server = whole_second_server(Duration::ZERO);
    let arguments = format!("--server {server} --offset --timeout 60");
    let (screen, status) = run_on_terminal(&arguments, |_| false);
    assert_eq!(status, Some(0));
    // Each bound overwrites the one before. At the end the last is erased, and the line is printed.
    let (progress, line) = screen.rsplit_once("\r\x1b[K").expect("erased progress");
    let start = format!("{server}  ± ");
    let bounds: Vec<f64> = progress
        .split("\r\x1b[K")
        .filter(|drawn| !drawn.is_empty())
        .map(|drawn| parse_bound(drawn.strip_prefix(&start).expect(&screen)))
        .collect();
    assert!(!bounds.is_empty(), "{screen:?}");
    // A bound may grow by the drift of the clocks between two edges, and by rounding to three
    // digits.
    for pair in bounds.windows(2) {
        assert!(pair[1] <= 1.01 * pair[0] + 500e-6, "{bounds:?}");
    }
    assert!(line.starts_with(&server.to_string()), "{screen:?}");
    assert!(
        line.contains(" samples of whole seconds, as reported "),
        "{screen:?}"
    );
}

#[test]
fn progress_is_narrower_than_the_terminal() {
    if skip_without(&["script"]) {
        return;
    }
    let server = whole_second_server(Duration::ZERO);
    let arguments = format!("--server {server} --offset --samples 3 --timeout 60");
    let (screen, status) = run_on_terminal_after("stty columns 16", &arguments, |_| false);
    assert_eq!(status, Some(0));
    // A line that wraps could not be deleted.
    let (progress, _) = screen.rsplit_once("\r\x1b[K").expect("erased progress");
    assert!(progress.contains("± "), "{screen:?}");
    for drawn in progress.split("\r\x1b[K") {
        assert!(drawn.chars().count() < 16, "{screen:?}");
    }
}

#[test]
fn progress_is_on_a_terminal_alone() {
    let server = whole_second_server(Duration::ZERO);
    for arguments in [&["--offset"][..], &["--watch", "--count=1"], &["-w", "9"]] {
        let output = run(&[server], &[arguments, &["--samples", "3"]].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        assert!(!stdout(&output).contains(['\r', '\x1b']), "{output:?}");
    }
}

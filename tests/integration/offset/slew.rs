//! Servers whose clocks are slewed.

use serde_json::Value;
use support::wallclock;

use super::clients::{run, run_json};
use super::servers::{SlewedClock, scripted_server, with_nanoseconds, with_seconds};

/// The test computes with floating-point numbers, and this machine's own clock may be slewed by
/// some ppm while it runs.
const TOLERANCE: f64 = 5e-6;

/// How far the clock's offset is outside the printed interval, in seconds.
fn outside(json: &Value, clock: SlewedClock) -> f64 {
    let number = |key: &str| {
        json[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key}: {json}"))
    };
    let offset = clock.offset_at(number("time"));
    (number("low") - offset).max(offset - number("high"))
}

#[test]
fn nanosecond_server_slewed_by_10_percent_is_in_the_bound() {
    for ppm in [100_000, -100_000] {
        let clock = SlewedClock::new(ppm);
        let server = scripted_server("127.0.0.1:0", move |request, _| {
            Some(with_nanoseconds(request, clock.read()))
        });
        for _ in 0..20 {
            let (json, status) = run_json(&[server]);
            assert_eq!(status, Some(0), "{json}");
            let outside = outside(&json, clock);
            assert!(outside <= TOLERANCE, "{ppm}: by {outside}: {json}");
            assert_eq!(json["servers"][0]["restarts"], 0, "{json}");
        }
    }
}

// 500 ppm are assumed of whole seconds. On a machine that is too busy to send a request in time the
// contradiction may not show; unit tests of the measurement have no such machine.
#[test]
fn whole_second_server_slewed_too_fast_is_noticed() {
    std::thread::scope(|scope| {
        for ppm in [50_000, -50_000, 100_000] {
            scope.spawn(move || {
                let clock = SlewedClock::new(ppm);
                let server = scripted_server("127.0.0.1:0", move |request, _| {
                    Some(with_seconds(request, clock.read()))
                });
                let is_noticed = |_| {
                    let output = run(&[server], &["--json", "--tick", "0"]);
                    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
                    println!("{json}");
                    let error = json["servers"][0]["error"].as_str();
                    let contradicts = error.is_some_and(|it| it.contains("contradict"));
                    assert_eq!(output.status.code() == Some(1), contradicts, "{json}");
                    contradicts
                };
                assert!((0..10).any(is_noticed), "{ppm}");
            });
        }
    });
}

#[test]
fn max_slew_makes_a_fast_whole_second_server_fit() {
    let clock = SlewedClock::new(20_000);
    let server = scripted_server("127.0.0.1:0", move |request, _| {
        Some(with_seconds(request, clock.read()))
    });
    let arguments = ["--json", "--tick", "0", "--max-slew", "20200"];
    let output = run(&[server], &arguments);
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(0), "{json}");
    assert!(outside(&json, clock) <= TOLERANCE, "{json}");
    assert_eq!(json["servers"][0]["max_slew"], 20_200);
}

#[test]
fn max_slew_is_a_number_of_ppm_below_a_million() {
    for (value, status) in [
        ("0", 2),
        ("1", 3),
        ("999999", 3),
        ("1000000", 2),
        ("1.5", 2),
    ] {
        let mut command = wallclock();
        command.args(["--server", "host.invalid", "--max-slew", value]);
        let output = command.output().expect("wallclock starts");
        assert_eq!(output.status.code(), Some(status), "{value}: {output:?}");
    }
}

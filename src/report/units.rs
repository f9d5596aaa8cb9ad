//! Times and offsets as text. A bound is never rounded down.

use crate::offset::{Interval, Nanos, SECOND};

/// Parses seconds to nanoseconds: `-0.25`, `1e-3`. Returns `None` for what is no number, and for
/// more than 1,000,000,000 s.
pub fn parse_seconds(text: &str) -> Option<Nanos> {
    let seconds: f64 = text.parse().ok()?;
    (seconds.abs() <= 1e9).then(|| (seconds * 1e9).round() as Nanos)
}

/// Formats nanoseconds as seconds with nine decimals: `-0.250000000`.
pub fn format_seconds(nanos: Nanos) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    format!("{sign}{}.{:09}", nanos.abs() / SECOND, nanos.abs() % SECOND)
}

/// Formats nanoseconds as seconds with nine decimals and a sign: `+0.250000000`.
pub(super) fn format_offset(nanos: Nanos) -> String {
    let sign = if nanos < 0 { "" } else { "+" };
    format!("{sign}{}", format_seconds(nanos))
}

/// Formats nanoseconds as seconds with as few decimals as possible: `0.25`.
pub(super) fn format_seconds_trimmed(nanos: Nanos) -> String {
    format_seconds(nanos)
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

/// Formats a duration with three digits, rounded up: `5.13 us`.
pub fn format_duration(nanos: Nanos) -> String {
    let (mut unit, mut name) = (1, "ns");
    for (larger_unit, larger_name) in [(1_000, "us"), (1_000_000, "ms"), (SECOND, "s")] {
        if nanos >= larger_unit {
            (unit, name) = (larger_unit, larger_name);
        }
    }
    let mut step = 1;
    while nanos > 999 * step {
        step *= 10;
    }
    // What is rounded up to the next unit keeps its unit: 999.6 us gives 1000 us, not 1.00 ms.
    let nanos = (nanos + step - 1) / step * step;
    let decimals = (unit / step).checked_ilog10().unwrap_or(0) as usize;
    match decimals {
        0 => format!("{} {name}", nanos / unit),
        _ => format!("{}.{:0decimals$} {name}", nanos / unit, nanos % unit / step),
    }
}

/// Formats an offset with its bound: `+3.499999720 s ± 5.13 us`. `sign` goes between the two.
pub(super) fn format_interval(interval: Interval, sign: &str) -> String {
    let offset = format_offset(interval.middle());
    format!("{offset} s {sign} {}", format_duration(interval.bound()))
}

/// Formats a number with a noun: `1 sample`, `8 samples`, `2 addresses`.
pub(super) fn plural(count: usize, noun: &str) -> String {
    let ending = match count {
        1 => "",
        _ if noun.ends_with('s') => "es",
        _ => "s",
    };
    format!("{count} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_rounded_up_to_three_digits() {
        for (nanos, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 us"),
            (5_121, "5.13 us"),
            (9_990, "9.99 us"),
            (9_991, "10.0 us"),
            (51_210, "51.3 us"),
            (512_100, "513 us"),
            (999_600, "1000 us"),
            (1_000_000, "1.00 ms"),
            (1_000_001, "1.01 ms"),
            (499_999_999, "500 ms"),
            (SECOND, "1.00 s"),
            (86_400 * SECOND + 1, "86500 s"),
        ] {
            assert_eq!(format_duration(nanos), text);
        }
    }

    #[test]
    fn seconds_in_three_forms() {
        for (nanos, seconds, offset, trimmed) in [
            (0, "0.000000000", "+0.000000000", "0"),
            (1, "0.000000001", "+0.000000001", "0.000000001"),
            (-250_000_000, "-0.250000000", "-0.250000000", "-0.25"),
            (10 * SECOND, "10.000000000", "+10.000000000", "10"),
        ] {
            assert_eq!(format_seconds(nanos), seconds);
            assert_eq!(format_offset(nanos), offset);
            assert_eq!(format_seconds_trimmed(nanos), trimmed);
        }
    }

    #[test]
    fn seconds_are_parsed_to_nanoseconds() {
        for (text, nanos) in [
            ("0.1", Some(100_000_000)),
            ("-2", Some(-2 * SECOND)),
            ("1e-9", Some(1)),
            ("1e9", Some(SECOND * SECOND)),
            ("1.1e9", None),
            ("-inf", None),
            ("NaN", None),
            ("1 s", None),
            ("", None),
        ] {
            assert_eq!(parse_seconds(text), nanos, "{text}");
        }
    }

    #[test]
    fn only_one_is_singular() {
        let plurals = [0, 1, 2].map(|count| plural(count, "server"));
        assert_eq!(plurals, ["0 servers", "1 server", "2 servers"]);
        let plurals = [1, 2].map(|count| plural(count, "address"));
        assert_eq!(plurals, ["1 address", "2 addresses"]);
    }

    proptest! {
        #[test]
        fn offsets_are_exact(nanos in -10i128.pow(20)..10i128.pow(20)) {
            let text = format_offset(nanos);
            let (whole, fraction) = text.split_once('.').unwrap();
            let digits: Nanos = format!("{whole}{fraction}").parse().unwrap();
            prop_assert_eq!((digits, fraction.len()), (nanos, 9));
        }

        // The tolerances are for the test's own floating-point arithmetic.
        #[test]
        fn durations_are_at_most_1_percent_longer(nanos in 0..10i128.pow(13)) {
            let text = format_duration(nanos);
            let (number, unit) = text.split_once(' ').unwrap();
            let unit = match unit { "ns" => 1e0, "us" => 1e3, "ms" => 1e6, _ => 1e9 };
            let (shown, nanos) = (number.parse::<f64>().unwrap() * unit, nanos as f64);
            prop_assert!(shown >= nanos * (1.0 - 1e-12), "{}", text);
            prop_assert!(shown <= nanos * 1.011 + 1e-6, "{}", text);
        }
    }
}

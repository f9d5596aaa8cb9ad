//! Times and offsets in words. Rounding never makes a bound tighter than it is.

use crate::offset::{Interval, Nanos, SECOND};

/// Nanoseconds as seconds, exactly: `-0.250000000`.
pub(super) fn seconds(nanos: Nanos) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    format!("{sign}{}.{:09}", nanos.abs() / SECOND, nanos.abs() % SECOND)
}

/// The same with its sign always shown: an offset.
pub(crate) fn signed(nanos: Nanos) -> String {
    let sign = if nanos < 0 { "" } else { "+" };
    format!("{sign}{}", seconds(nanos))
}

/// Nanoseconds as seconds, exactly, without idle zeros: `0.1`.
pub(super) fn format_seconds(nanos: Nanos) -> String {
    seconds(nanos)
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

/// A length of time to three digits, rounded up: `5.13 us`.
pub fn format_duration(nanos: Nanos) -> String {
    let (mut unit, mut name) = (1, "ns");
    for (larger, its_name) in [(1_000, "us"), (1_000_000, "ms"), (SECOND, "s")] {
        if nanos >= larger {
            (unit, name) = (larger, its_name);
        }
    }
    let mut step = 1;
    while nanos > 999 * step {
        step *= 10;
    }
    let nanos = (nanos + step - 1) / step * step;
    // Rounded up over the unit's edge (999.6 us) it stays in its unit: 1000 us is as true as 1.00 ms.
    let decimals = (unit / step).checked_ilog10().unwrap_or(0) as usize;
    match decimals {
        0 => format!("{} {name}", nanos / unit),
        _ => format!("{}.{:0decimals$} {name}", nanos / unit, nanos % unit / step),
    }
}

pub(crate) fn plural(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

/// An offset and its bound: `+3.499999720 s ± 5.13 us`.
pub(super) fn plus_minus(interval: Interval, sign: &str) -> String {
    format!(
        "{} s {sign} {}",
        signed(interval.middle()),
        format_duration(interval.bound())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_of_time_are_rounded_up_to_three_digits() {
        for (nanos, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 us"),
            (5_121, "5.13 us"),
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

    proptest! {
        #[test]
        fn seconds_are_exact(nanos in -10i128.pow(20)..10i128.pow(20)) {
            let text = signed(nanos);
            let (whole, fraction) = text.split_once('.').unwrap();
            let digits: Nanos = format!("{whole}{fraction}").parse().unwrap();
            prop_assert_eq!((digits, fraction.len()), (nanos, 9));
        }

        #[test]
        fn a_length_of_time_is_never_shown_shorter_than_it_is(nanos in 0..10i128.pow(13)) {
            let text = format_duration(nanos);
            let (number, unit) = text.split_once(' ').unwrap();
            let unit = match unit { "ns" => 1e0, "us" => 1e3, "ms" => 1e6, _ => 1e9 };
            let shown = number.parse::<f64>().unwrap() * unit;
            prop_assert!(shown >= nanos as f64 * (1.0 - 1e-12) && shown <= nanos as f64 * 1.011 + 1e-6, "{}", text);
        }
    }
}

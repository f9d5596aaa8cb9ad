//! The report as a monitoring plugin's line.

use std::fmt;

use super::Report;
use super::units::{format_seconds, plus_minus, seconds};
use crate::offset::{Estimate, Interval, Nanos};

/// How far off is too far, in nanoseconds either way.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Beyond this is a warning.
    pub warn: Option<Nanos>,
    /// Beyond this is critical.
    pub critical: Option<Nanos>,
}

/// A monitoring plugin's verdict; its number is the exit status (Monitoring Plugins Development Guidelines).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Certainly within the lowest limit.
    Ok = 0,
    /// Certainly beyond the warning limit, and not certainly beyond the critical one.
    Warning = 1,
    /// Certainly beyond the critical limit.
    Critical = 2,
    /// Nothing is certain: no answer, no majority, or a bound that straddles the lowest limit.
    Unknown = 3,
}

impl Limits {
    /// Judges by the bound: what is said is certain, whatever the true offset in the interval.
    ///
    /// A bound that straddles the lowest limit is [`Status::Unknown`], not OK: OK would be a guess. To get rid of it,
    /// allow more than the network's round trip, or ask nearer by.
    pub fn judge(&self, offset: Interval) -> Status {
        let beyond = |limit: Option<Nanos>| limit.is_some_and(|limit| offset.min_abs() > limit);
        let within = |limit: Option<Nanos>| limit.is_none_or(|limit| offset.max_abs() <= limit);
        if beyond(self.critical) {
            Status::Critical
        } else if beyond(self.warn) {
            Status::Warning
        } else if within(self.warn) && within(self.critical) {
            Status::Ok
        } else {
            Status::Unknown
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Ok => "OK",
            Status::Warning => "WARNING",
            Status::Critical => "CRITICAL",
            Status::Unknown => "UNKNOWN",
        })
    }
}

impl Report {
    /// A monitoring plugin's line, without the newline, and its verdict.
    ///
    /// The grammar is that of the Monitoring Plugins Development Guidelines: text, `|`, and performance data as
    /// `label=value;warn;critical;minimum`, the limits as ranges because an offset has a sign.
    pub fn check(&self, limits: Limits) -> (Status, String) {
        let Some(Estimate { interval, .. }) = self.agreed() else {
            let (_, why) = self.line();
            return (Status::Unknown, unknown(&why));
        };
        let status = limits.judge(interval);
        let (limit, word) = match status {
            Status::Ok => (None, ""),
            Status::Warning => (limits.warn, "certainly"),
            Status::Critical => (limits.critical, "certainly"),
            Status::Unknown => (
                limits.warn.or(limits.critical),
                "too wide a bound to tell if",
            ),
        };
        let why = limit.map_or(String::new(), |limit| {
            format!(", {word} beyond {} s", format_seconds(limit))
        });
        let range = |limit: Option<Nanos>| {
            limit.map_or(String::new(), |l| format!("-{0}:{0}", format_seconds(l)))
        };
        let line = format!(
            "WALLCLOCK {status}: offset {}{why}, {} | offset={}s;{};{} bound={}s;;;0",
            plus_minus(interval, "+/-"),
            plain(&self.verdict()),
            seconds(interval.middle()),
            range(limits.warn),
            range(limits.critical),
            seconds(interval.bound()),
        );
        (status, line)
    }
}

/// The line of a plugin that can't tell, for whatever reason.
pub fn unknown(why: &str) -> String {
    format!("WALLCLOCK {}: {}", Status::Unknown, plain(why))
}

/// What the plugin's grammar lets stand in its text: no bar, no line end.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c == '|' || c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MILLI, measured, report};
    use super::*;
    use proptest::prelude::*;

    fn limits(warn: Option<Nanos>, critical: Option<Nanos>) -> Limits {
        Limits {
            warn: warn.map(|w| w * MILLI),
            critical: critical.map(|c| c * MILLI),
        }
    }

    #[test]
    fn only_what_is_certain_is_said() {
        let both = limits(Some(100), Some(1_000));
        for (low, high, status) in [
            (-100, 100, Status::Ok),
            (-100, 101, Status::Unknown),
            (100, 100, Status::Ok),
            (101, 1_000, Status::Warning),
            (-5_000, -101, Status::Warning),
            (1_001, 1_002, Status::Critical),
            (-1_002, -1_001, Status::Critical),
            (-5_000, 5_000, Status::Unknown),
        ] {
            let interval = Interval::new(low * MILLI, high * MILLI).unwrap();
            assert_eq!(both.judge(interval), status, "{low} to {high}");
        }
        let far = Interval::around(5_000 * MILLI, 1);
        assert_eq!(limits(Some(100), None).judge(far), Status::Warning);
        assert_eq!(limits(None, Some(100)).judge(far), Status::Critical);
        assert_eq!(limits(None, Some(5_000)).judge(far), Status::Unknown);
    }

    #[test]
    fn the_plugin_says_its_verdict_and_why_in_one_line() {
        let check = |low, high| {
            report(vec![measured(low, high)])
                .check(limits(Some(100), Some(1_000)))
                .1
        };
        assert_eq!(
            check(-4_000, 6_000),
            "WALLCLOCK OK: offset +0.000001000 s +/- 5.00 us, from 10.0.0.1:9527 \
             | offset=0.000001000s;-0.1:0.1;-1:1 bound=0.000005000s;;;0"
        );
        assert_eq!(
            check(-1_500 * MILLI, -1_400 * MILLI),
            "WALLCLOCK CRITICAL: offset -1.450000000 s +/- 50.0 ms, certainly beyond 1 s, from 10.0.0.1:9527 \
             | offset=-1.450000000s;-0.1:0.1;-1:1 bound=0.050000000s;;;0"
        );
        assert!(check(50 * MILLI, 150 * MILLI).contains("UNKNOWN"));
    }

    proptest! {
        #[test]
        fn no_verdict_is_wrong_wherever_in_the_interval_the_truth_is(
            low in -300..300i128, width in 0..300i128, at in 0.0..=1.0f64, warn in 0..100i128, more in 0..100i128,
        ) {
            let truth = low + (width as f64 * at) as i128;
            let (warn, critical) = (warn, warn + more);
            let limits = Limits { warn: Some(warn), critical: Some(critical) };
            match limits.judge(Interval::new(low, low + width).unwrap()) {
                Status::Ok => prop_assert!(truth.abs() <= warn),
                Status::Warning => prop_assert!(truth.abs() > warn),
                Status::Critical => prop_assert!(truth.abs() > critical),
                Status::Unknown => prop_assert!(width > 0),
            }
        }
    }
}

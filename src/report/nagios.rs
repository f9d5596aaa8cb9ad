//! The report as the output of a monitoring plugin (Monitoring Plugins Development Guidelines).

use std::fmt;

use super::results::Report;
use super::units::{format_interval, format_seconds, format_seconds_trimmed};
use crate::offset::{Interval, Nanos};

/// Limits of the offset's absolute value, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A larger offset is a warning.
    pub warn: Option<Nanos>,
    /// A larger offset is critical.
    pub critical: Option<Nanos>,
}

/// The status of a monitoring plugin. Its number is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The offset is certainly within the lowest limit.
    Ok = 0,
    /// The offset is certainly beyond the warning limit, and not certainly beyond the critical one.
    Warning = 1,
    /// The offset is certainly beyond the critical limit.
    Critical = 2,
    /// Nothing is certain: there is no offset, no majority, a contradiction between servers, or the
    /// interval contains the lowest limit.
    Unknown = 3,
}

impl Limits {
    /// Returns the status of an offset. It is right wherever in the interval the offset is.
    ///
    /// An interval that contains the lowest limit is [`Status::Unknown`], because OK would be a
    /// guess. Remedies are a limit above the round trip, or a server that is nearer.
    pub fn status(&self, offset: Interval) -> Status {
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

impl Status {
    /// Returns the line of a plugin with this status, without a newline.
    ///
    /// In `text` a bar, which would begin performance data, and control characters become `?`.
    pub fn plugin_line(self, text: &str) -> String {
        let replace = |c: char| if c == '|' || c.is_control() { '?' } else { c };
        let text: String = text.chars().map(replace).collect();
        format!("WALLCLOCK {self}: {text}")
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
    /// Returns the status of a monitoring plugin, and its line without a newline.
    ///
    /// The line is a text, `|`, and performance data as `label=value;warn;critical;minimum`. The
    /// limits are ranges because an offset has a sign.
    pub fn check(&self, limits: Limits) -> (Status, String) {
        let Some(interval) = self.agreed() else {
            let (_, reason) = self.offset_and_remark();
            return (Status::Unknown, Status::Unknown.plugin_line(&reason));
        };
        let status = limits.status(interval);
        let text = format!(
            "offset {}{}, {}",
            format_interval(interval, "+/-"),
            reason(status, limits),
            self.agreement_text(),
        );
        let line = format!(
            "{} | offset={}s;{};{} bound={}s;;;0",
            status.plugin_line(&text),
            format_seconds(interval.middle()),
            range(limits.warn),
            range(limits.critical),
            format_seconds(interval.bound()),
        );
        (status, line)
    }
}

/// Returns the limit that decides on the status, as text; empty for OK.
fn reason(status: Status, limits: Limits) -> String {
    let (limit, word) = match status {
        Status::Ok => (None, ""),
        Status::Warning => (limits.warn, "certainly"),
        Status::Critical => (limits.critical, "certainly"),
        Status::Unknown => (
            limits.warn.or(limits.critical),
            "too wide a bound to tell if",
        ),
    };
    limit.map_or(String::new(), |limit| {
        format!(", {word} beyond {} s", format_seconds_trimmed(limit))
    })
}

/// Returns the range of performance data from `-limit` to `limit`; empty without a limit.
fn range(limit: Option<Nanos>) -> String {
    limit.map_or(String::new(), |limit| {
        format!("-{0}:{0}", format_seconds_trimmed(limit))
    })
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::{MILLI, NOW, measured, report};
    use super::super::results::{AddressResult, HostResult};
    use super::*;
    use proptest::prelude::*;

    fn limits(warn: Option<Nanos>, critical: Option<Nanos>) -> Limits {
        Limits {
            warn: warn.map(|w| w * MILLI),
            critical: critical.map(|c| c * MILLI),
        }
    }

    #[test]
    fn status_is_what_is_certain() {
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
            assert_eq!(both.status(interval), status, "{low} to {high}");
        }
    }

    #[test]
    fn status_with_a_single_limit() {
        let offset = Interval::around(5_000 * MILLI, 1);
        for (warn, critical, status) in [
            (Some(100), None, Status::Warning),
            (None, Some(100), Status::Critical),
            (None, Some(5_000), Status::Unknown),
            (Some(5_001), None, Status::Ok),
            (None, Some(5_001), Status::Ok),
        ] {
            assert_eq!(limits(warn, critical).status(offset), status);
        }
    }

    #[test]
    fn line_has_the_reason_and_performance_data() {
        let both = limits(Some(100), Some(1_000));
        for (low, high, limits, line) in [
            (
                -4_000,
                6_000,
                both,
                "WALLCLOCK OK: offset +0.000001000 s +/- 5.00 us, from 10.0.0.1:9527 \
                 | offset=0.000001000s;-0.1:0.1;-1:1 bound=0.000005000s;;;0",
            ),
            (
                -1_500 * MILLI,
                -1_400 * MILLI,
                both,
                "WALLCLOCK CRITICAL: offset -1.450000000 s +/- 50.0 ms, certainly beyond 1 s, \
                 from 10.0.0.1:9527 \
                 | offset=-1.450000000s;-0.1:0.1;-1:1 bound=0.050000000s;;;0",
            ),
            (
                400 * MILLI - 1,
                400 * MILLI + 1,
                limits(Some(100), None),
                "WALLCLOCK WARNING: offset +0.400000000 s +/- 1 ns, certainly beyond 0.1 s, \
                 from 10.0.0.1:9527 | offset=0.400000000s;-0.1:0.1; bound=0.000000001s;;;0",
            ),
            (
                50 * MILLI,
                150 * MILLI,
                both,
                "WALLCLOCK UNKNOWN: offset +0.100000000 s +/- 50.0 ms, \
                 too wide a bound to tell if beyond 0.1 s, from 10.0.0.1:9527 \
                 | offset=0.100000000s;-0.1:0.1;-1:1 bound=0.050000000s;;;0",
            ),
            (
                50 * MILLI,
                150 * MILLI,
                limits(None, Some(100)),
                "WALLCLOCK UNKNOWN: offset +0.100000000 s +/- 50.0 ms, \
                 too wide a bound to tell if beyond 0.1 s, from 10.0.0.1:9527 \
                 | offset=0.100000000s;;-0.1:0.1 bound=0.050000000s;;;0",
            ),
        ] {
            let (status, printed) = report(vec![measured(low, high)]).check(limits);
            assert_eq!(printed, line);
            assert!(line.starts_with(&format!("WALLCLOCK {status}: ")));
        }
    }

    #[test]
    fn without_a_majority_the_status_is_unknown() {
        let servers = [0, 1, 2_000, 2_001].map(|at| measured(at, at + 100));
        assert_eq!(
            report(servers.to_vec()).check(limits(Some(1), None)),
            (
                Status::Unknown,
                "WALLCLOCK UNKNOWN: no majority among 4 servers".to_owned()
            )
        );
    }

    // Even if all places are within the limits: a server is certainly wrong.
    #[test]
    fn with_a_contradiction_the_status_is_unknown() {
        let report = report(vec![measured(0, 2), measured(5, 7), measured(-9, 9)]);
        let line = "WALLCLOCK UNKNOWN: contradiction between 10.0.0.1:9527 and 10.0.0.2:9527";
        let expected = (Status::Unknown, line.to_owned());
        assert_eq!(report.check(limits(Some(1), None)), expected);
    }

    // A bar begins performance data, and a newline ends the line.
    #[test]
    fn bars_and_control_characters_are_replaced() {
        assert_eq!(
            Status::Critical.plugin_line("a|b\nc\x1bd|é"),
            "WALLCLOCK CRITICAL: a?b?c?d?é"
        );
        let (name, outcome) = ("a|b".to_owned(), measured(0, 2));
        let host = HostResult {
            name: name.clone(),
            addresses: vec![AddressResult { name, outcome }],
        };
        let report = Report::new(vec![host], NOW);
        let (_, line) = report.check(limits(Some(1), None));
        assert!(line.contains(", from a?b | offset="), "{line}");
    }

    proptest! {
        #[test]
        fn status_is_right_for_any_offset_in_the_interval(
            low in -300..300i128,
            width in 0..300i128,
            position in 0.0..=1.0f64,
            warn in 0..100i128,
            more in 0..100i128,
        ) {
            let offset = low + (width as f64 * position) as i128;
            let (warn, critical) = (warn, warn + more);
            let limits = Limits { warn: Some(warn), critical: Some(critical) };
            match limits.status(Interval::new(low, low + width).unwrap()) {
                Status::Ok => prop_assert!(offset.abs() <= warn),
                Status::Warning => prop_assert!(offset.abs() > warn),
                Status::Critical => prop_assert!(offset.abs() > critical),
                Status::Unknown => prop_assert!(width > 0),
            }
        }
    }
}

//! The report as the output of a monitoring plugin (Monitoring Plugins Development Guidelines).

use std::fmt;
use std::str::FromStr;

use super::results::Report;
use super::units::{format_interval, format_seconds, format_seconds_trimmed, parse_seconds};
use crate::offset::{Interval, Nanos};

/// The maximum length of a line in bytes, its newline included: what all monitoring systems take.
const MAX_LINE_LEN: usize = 4096;

/// Stands where a text is cut off.
const CUT: &str = "...";

/// Which offsets raise an alert: a range of the guidelines, in nanoseconds.
///
/// In one point it differs from theirs: a bare `N` is `-N:N` instead of `0:N`, because an offset is
/// judged by its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// `None` for minus infinity.
    low: Option<Nanos>,
    /// `None` for infinity.
    high: Option<Nanos>,
    /// Whether offsets within the range raise the alert, not those outside of it.
    inverted: bool,
}

/// Why a text is no [`Range`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Neither of the forms.
    #[error("not a limit in seconds or a range: N, LOW:HIGH, LOW:, ~:HIGH or @RANGE")]
    Syntax,
    /// A bare number below 0.
    #[error("a limit is not negative; the range from it is written with a colon")]
    Negative,
    /// The ends are in the wrong order.
    #[error("the lower end of the range is greater than the upper one")]
    Order,
}

impl FromStr for Range {
    type Err = RangeError;

    /// Parses `N` (from -N to N), `LOW:HIGH`, `LOW:`, `~:HIGH`, and any of these after `@`.
    fn from_str(text: &str) -> Result<Self, RangeError> {
        let end = |text: &str| parse_seconds(text).ok_or(RangeError::Syntax);
        let (inverted, range) = match text.strip_prefix('@') {
            Some(range) => (true, range),
            None => (false, text),
        };
        let (low, high) = match range.split_once(':') {
            None => match end(range)? {
                limit @ 0.. => (Some(-limit), Some(limit)),
                _ => return Err(RangeError::Negative),
            },
            Some((low, high)) => (
                (low != "~").then(|| end(low)).transpose()?,
                (!high.is_empty()).then(|| end(high)).transpose()?,
            ),
        };
        if low.zip(high).is_some_and(|(low, high)| low > high) {
            return Err(RangeError::Order);
        }
        Ok(Self {
            low,
            high,
            inverted,
        })
    }
}

impl fmt::Display for Range {
    /// Formats the range as performance data has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.inverted { "@" } else { "" };
        let low = self.low.map_or("~".to_owned(), format_seconds_trimmed);
        let high = self.high.map_or(String::new(), format_seconds_trimmed);
        write!(f, "{at}{low}:{high}")
    }
}

impl Range {
    /// Returns whether each value of the interval is in the range.
    fn covers(&self, interval: Interval) -> bool {
        self.low.is_none_or(|low| low <= interval.low())
            && self.high.is_none_or(|high| interval.high() <= high)
    }

    /// Returns whether no value of the interval is in the range.
    fn excludes(&self, interval: Interval) -> bool {
        self.low.is_some_and(|low| interval.high() < low)
            || self.high.is_some_and(|high| high < interval.low())
    }

    /// Returns whether an alert is right wherever in the interval the offset is.
    fn is_certain_alert(&self, offset: Interval) -> bool {
        match self.inverted {
            false => self.excludes(offset),
            true => self.covers(offset),
        }
    }

    /// Returns whether no alert is right wherever in the interval the offset is.
    fn is_certainly_fine(&self, offset: Interval) -> bool {
        match self.inverted {
            false => self.covers(offset),
            true => self.excludes(offset),
        }
    }

    /// Returns whether each value of the other range is in this one.
    fn contains(&self, other: &Self) -> bool {
        let low = |low| other.low.is_some_and(|other| low <= other);
        let high = |high| other.high.is_some_and(|other| other <= high);
        self.low.is_none_or(low) && self.high.is_none_or(high)
    }

    /// Returns which offsets raise the alert, in words.
    fn alert_text(&self) -> String {
        let range = Self {
            inverted: false,
            ..*self
        };
        match (self.inverted, self.low, self.high) {
            (true, ..) => format!("within {range} s"),
            (false, Some(low), Some(high)) if low == -high => {
                format!("beyond {} s", format_seconds_trimmed(high))
            }
            (false, ..) => format!("outside {range} s"),
        }
    }
}

/// Which offsets are alerts of a monitoring plugin.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// What raises a warning.
    pub warning: Option<Range>,
    /// What is critical.
    pub critical: Option<Range>,
}

/// The status of a monitoring plugin. Its number is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The offset certainly raises no alert.
    Ok = 0,
    /// The offset certainly raises a warning, and is not certainly critical.
    Warning = 1,
    /// The offset is certainly critical.
    Critical = 2,
    /// Nothing is certain: there is no offset, no majority, a contradiction between servers, or the
    /// interval contains an end of a range.
    Unknown = 3,
}

impl Limits {
    /// Returns the status of an offset. It is right wherever in the interval the offset is.
    ///
    /// An interval that contains an end of a range is [`Status::Unknown`], unless the other range
    /// decides: OK would be a guess. Remedies are a limit above the round trip, or a server that is
    /// nearer.
    pub fn status(&self, offset: Interval) -> Status {
        let ranges = [self.warning, self.critical];
        let is_alert = |range: Option<Range>| range.is_some_and(|it| it.is_certain_alert(offset));
        if is_alert(self.critical) {
            Status::Critical
        } else if is_alert(self.warning) {
            Status::Warning
        } else if ranges
            .iter()
            .flatten()
            .all(|it| it.is_certainly_fine(offset))
        {
            Status::Ok
        } else {
            Status::Unknown
        }
    }

    /// Returns whether there is no offset with the status WARNING, because each that raises a
    /// warning is critical, and more offsets are.
    pub fn hide_warnings(&self) -> bool {
        let (Some(warning), Some(critical)) = (self.warning, self.critical) else {
            return false;
        };
        warning != critical
            && match (warning.inverted, critical.inverted) {
                (false, false) => warning.contains(&critical),
                (true, true) => critical.contains(&warning),
                _ => false,
            }
    }

    /// Returns the range that decides on the status; `None` for OK.
    fn decisive(&self, status: Status, offset: Interval) -> Option<Range> {
        match status {
            Status::Ok => None,
            Status::Warning => self.warning,
            Status::Critical => self.critical,
            Status::Unknown => {
                let mut ranges = [self.warning, self.critical].into_iter().flatten();
                ranges.find(|range| !range.is_certainly_fine(offset))
            }
        }
    }
}

impl Status {
    /// Returns the line of a plugin with this status, without a newline: at most 4 KB.
    ///
    /// In `text` a bar, which would begin performance data, and control characters become `?`.
    pub fn plugin_line(self, text: &str) -> String {
        self.line_with(text, "")
    }

    /// Returns a line of a plugin. Its text is cut off where it leaves no space for `data`.
    fn line_with(self, text: &str, data: &str) -> String {
        let replace = |c: char| if c == '|' || c.is_control() { '?' } else { c };
        let text: String = text.chars().map(replace).collect();
        let mut line = format!("WALLCLOCK {self}: {text}");
        let max_len = MAX_LINE_LEN - "\n".len() - data.len();
        if line.len() > max_len {
            let mut end = max_len - CUT.len();
            while !line.is_char_boundary(end) {
                end -= 1;
            }
            line.replace_range(end.., CUT);
        }
        line + data
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
    /// The line is a text, `|`, and performance data as `label=value;warning;critical;minimum`.
    pub fn check(&self, limits: Limits) -> (Status, String) {
        let Some(interval) = self.agreed() else {
            let (_, reason) = self.offset_and_remark();
            return (Status::Unknown, Status::Unknown.plugin_line(&reason));
        };
        let status = limits.status(interval);
        let certainty = match status {
            Status::Unknown => "too wide a bound to tell if",
            _ => "certainly",
        };
        let reason = limits.decisive(status, interval);
        let reason = reason.map(|range| format!(", {certainty} {}", range.alert_text()));
        let text = format!(
            "offset {}{}, {}",
            format_interval(interval, "+/-"),
            reason.unwrap_or_default(),
            self.agreement_text(),
        );
        let range = |range: Option<Range>| range.map_or(String::new(), |it| it.to_string());
        let data = format!(
            " | offset={}s;{};{} bound={}s;;;0",
            format_seconds(interval.middle()),
            range(limits.warning),
            range(limits.critical),
            format_seconds(interval.bound()),
        );
        (status, status.line_with(&text, &data))
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::{MILLI, NOW, measured, report};
    use super::super::results::{AddressResult, HostResult};
    use super::*;
    use proptest::prelude::*;

    /// The range from `-limit` to `limit`.
    fn up_to(limit: Nanos) -> Range {
        Range {
            low: Some(-limit),
            high: Some(limit),
            inverted: false,
        }
    }

    fn limits(warning: Option<Nanos>, critical: Option<Nanos>) -> Limits {
        Limits {
            warning: warning.map(|limit| up_to(limit * MILLI)),
            critical: critical.map(|limit| up_to(limit * MILLI)),
        }
    }

    fn ranges(warning: &str, critical: &str) -> Limits {
        let range = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        Limits {
            warning: range(warning),
            critical: range(critical),
        }
    }

    #[test]
    fn ranges_are_those_of_the_guidelines() {
        for (text, low, high, shown) in [
            ("0.25", Some(-250), Some(250), "-0.25:0.25"),
            ("0", Some(0), Some(0), "0:0"),
            ("-0.1:0.2", Some(-100), Some(200), "-0.1:0.2"),
            ("10:", Some(10_000), None, "10:"),
            ("~:0.5", None, Some(500), "~:0.5"),
            ("~:", None, None, "~:"),
            ("1:1", Some(1_000), Some(1_000), "1:1"),
            ("+1:2e0", Some(1_000), Some(2_000), "1:2"),
        ] {
            for (prefix, inverted) in [("", false), ("@", true)] {
                let range: Range = format!("{prefix}{text}").parse().expect(text);
                let (low, high) = (low.map(|it| it * MILLI), high.map(|it| it * MILLI));
                assert_eq!(
                    range,
                    Range {
                        low,
                        high,
                        inverted
                    }
                );
                assert_eq!(range.to_string(), format!("{prefix}{shown}"));
            }
        }
        for (text, error) in [
            ("", RangeError::Syntax),
            ("-w", RangeError::Syntax),
            ("@", RangeError::Syntax),
            ("@@1", RangeError::Syntax),
            (":1", RangeError::Syntax),
            (":", RangeError::Syntax),
            ("~", RangeError::Syntax),
            ("1:~", RangeError::Syntax),
            ("1:2:3", RangeError::Syntax),
            ("1,5", RangeError::Syntax),
            ("NaN", RangeError::Syntax),
            ("inf:", RangeError::Syntax),
            ("1e10", RangeError::Syntax),
            ("-1", RangeError::Negative),
            ("@-1", RangeError::Negative),
            ("2:1", RangeError::Order),
        ] {
            assert_eq!(text.parse::<Range>(), Err(error), "{text}");
        }
    }

    #[test]
    fn status_by_signed_open_and_inverted_ranges() {
        for (warning, critical, low, high, status) in [
            ("-0.1:0.2", "", -100, 200, Status::Ok),
            ("-0.1:0.2", "", -101, 0, Status::Unknown),
            ("-0.1:0.2", "", -200, -101, Status::Warning),
            ("-0.1:0.2", "-1:1", 1_001, 1_002, Status::Critical),
            ("-0.1:0.2", "-1:1", 999, 1_001, Status::Warning),
            ("1:", "", 1_000, 9_000, Status::Ok),
            ("1:", "", -9_000, 999, Status::Warning),
            ("", "~:1", -9_000, 1_000, Status::Ok),
            ("", "~:1", 1_001, 1_001, Status::Critical),
            ("@1:2", "", 1_000, 2_000, Status::Warning),
            ("@1:2", "", 2_001, 9_000, Status::Ok),
            ("@1:2", "", -9_000, 999, Status::Ok),
            ("@1:2", "", 0, 1_000, Status::Unknown),
            ("@1:2", "", 0, 9_000, Status::Unknown),
            // The warning is decided, the critical range is not.
            ("1", "@5:9", 0, 500, Status::Ok),
            ("10", "@5:9", 4_000, 6_000, Status::Unknown),
        ] {
            let interval = Interval::new(low * MILLI, high * MILLI).unwrap();
            let found = ranges(warning, critical).status(interval);
            assert_eq!(found, status, "{warning} {critical}: {low} to {high}");
        }
    }

    #[test]
    fn critical_range_hides_warnings() {
        for (warning, critical, hides) in [
            ("0.1", "1", false),
            ("1", "1", false),
            ("1", "0.1", true),
            ("-1:1", "0:1", true),
            ("~:", "1", true),
            ("~:10", "-100:100", false),
            ("1", "~:", false),
            ("@1:5", "@2:3", false),
            ("@2:3", "@1:5", true),
            ("@2:3", "1", false),
            ("1", "", false),
            ("", "1", false),
        ] {
            assert_eq!(
                ranges(warning, critical).hide_warnings(),
                hides,
                "{warning} {critical}"
            );
        }
    }

    #[test]
    fn line_names_the_range_that_decides() {
        for (warning, critical, low, high, reason) in [
            ("-0.1:0.2", "1", 300, 300, ", certainly outside -0.1:0.2 s,"),
            ("0.1", "~:0.2", 300, 300, ", certainly outside ~:0.2 s,"),
            ("@0:0.5", "", 300, 300, ", certainly within 0:0.5 s,"),
            (
                "10",
                "@5:",
                4_000,
                6_000,
                ", too wide a bound to tell if within 5: s,",
            ),
        ] {
            let limits = ranges(warning, critical);
            let (_, line) = report(vec![measured(low * MILLI - 1, high * MILLI + 1)]).check(limits);
            assert!(line.contains(reason), "{line}");
        }
        let (_, line) = report(vec![measured(0, 2)]).check(ranges("@5:", "~:0.2"));
        assert!(line.contains("s;@5:;~:0.2 bound="), "{line}");
    }

    // Whatever is cut off, the status and the performance data stay.
    #[test]
    fn line_has_at_most_4_kb() {
        let host = |name: String| HostResult {
            name: name.clone(),
            addresses: vec![AddressResult {
                name,
                outcome: measured(0, 2),
            }],
        };
        for (length, is_cut) in [(3_000, false), (4_096, true), (9_999, true)] {
            for letter in ["a", "é", "\u{1f550}"] {
                let name = letter.repeat(length / letter.len());
                let report = Report::new(vec![host(name.clone())], NOW);
                let (_, line) = report.check(limits(Some(1), None));
                assert!(line.len() < 4_096, "{}", line.len());
                let data = " | offset=0.000000001s;-0.001:0.001; bound=0.000000001s;;;0";
                let text = line.strip_suffix(data).expect("performance data");
                assert!(text.starts_with("WALLCLOCK OK: offset "), "{line}");
                assert_eq!(text.ends_with("..."), is_cut, "{length}: {line}");
                let line = Status::Unknown.plugin_line(&name);
                assert!(line.len() < 4_096, "{}", line.len());
                assert_eq!(line.ends_with("..."), is_cut, "{length}: {line}");
                assert!(!is_cut || line.len() > 4_090, "{}", line.len());
            }
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
            [warning, critical] in prop::array::uniform2(any_range()),
        ) {
            let offset = low + (width as f64 * position) as i128;
            let is_alert = |range: Range| {
                let is_within = range.low.is_none_or(|low| low <= offset)
                    && range.high.is_none_or(|high| offset <= high);
                is_within == range.inverted
            };
            let limits = Limits { warning: Some(warning), critical: Some(critical) };
            match limits.status(Interval::new(low, low + width).unwrap()) {
                Status::Ok => prop_assert!(!is_alert(warning) && !is_alert(critical)),
                Status::Warning => prop_assert!(is_alert(warning)),
                Status::Critical => prop_assert!(is_alert(critical)),
                Status::Unknown => prop_assert!(width > 0),
            }
        }

        #[test]
        fn printed_range_is_parsed_as_itself(range in any_range()) {
            prop_assert_eq!(range.to_string().parse(), Ok(range));
        }
    }

    fn any_range() -> impl Strategy<Value = Range> {
        let end = || prop::option::of(-300..300i128);
        (end(), end(), any::<bool>()).prop_map(|(low, high, inverted)| match (low, high) {
            (Some(low), Some(high)) if low > high => Range {
                low: Some(high),
                high: Some(low),
                inverted,
            },
            (low, high) => Range {
                low,
                high,
                inverted,
            },
        })
    }
}

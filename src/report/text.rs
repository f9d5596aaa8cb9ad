//! The report as text.

use super::results::{Report, ServerResult};
use super::units::{format_duration, format_interval, plural};
use crate::offset::{Offset, SECOND};

/// Name of the line for all servers.
const TOGETHER: &str = "together";

impl Report {
    /// Returns one line for each server with an offset and, with several servers, one for the
    /// majority.
    pub fn text(&self) -> String {
        let names = self.servers.iter().map(|s| s.name.as_str());
        let width = match self.servers.len() {
            1 => 0,
            _ => names
                .chain([TOGETHER])
                .map(|name| name.chars().count())
                .max()
                .unwrap_or(0),
        };
        let mut text = String::new();
        for ServerResult { name, outcome } in &self.servers {
            if let Ok(offset) = outcome {
                text += &format!("{name:width$}  {}\n", self.offset_text(offset));
            }
        }
        if self.servers.len() > 1 && self.any_offset() {
            let offset = self.agreed().map_or(String::new(), |estimate| {
                format_interval(estimate.interval, "±") + "  "
            });
            text += &format!("{TOGETHER:width$}  {offset}{}\n", self.agreement_text());
        }
        text
    }

    /// Returns the offset of one server, and how it was measured.
    fn offset_text(&self, offset: &Offset) -> String {
        let interval = offset.estimate.interval;
        let mut text = format!(
            "{}  round trip {}  {}",
            format_interval(interval, "±"),
            format_duration(offset.round_trip),
            plural(offset.samples as usize, "sample"),
        );
        if offset.resolution >= SECOND {
            text += " of whole seconds";
            if let Some(reported) = offset.reported().filter(|reported| *reported != interval) {
                text += &format!(", as reported {}", format_interval(reported, "±"));
            }
        }
        if offset.restarts > 0 {
            let times = plural(offset.restarts as usize, "time");
            text += &format!("  restarted {times}: a clock was stepped");
        }
        if self.agrees(offset) == Some(false) {
            text += "  disagrees";
        }
        text
    }

    /// Returns how many servers agree and which do not (`agreed by 2 of 3 servers, not NAME`), or
    /// the name of the only server (`from NAME`).
    pub(super) fn agreement_text(&self) -> String {
        let count = self.offset_count();
        let Some(consensus) = self.consensus else {
            return match count {
                0 => format!("no offset from {}", plural(self.servers.len(), "server")),
                _ => format!("no majority among {}", plural(count, "server")),
            };
        };
        if let [ServerResult { name, .. }] = &self.servers[..] {
            return format!("from {name}");
        }
        let servers = plural(count, "server");
        let mut text = format!("agreed by {} of {servers}", consensus.count);
        let liars = self.liars();
        if !liars.is_empty() {
            text += &format!(", not {}", liars.join(", "));
        }
        if count < self.servers.len() {
            text += &format!(", no offset from {}", self.servers.len() - count);
        }
        text
    }

    /// Returns the offset with its bound, and a remark. Each is empty if there is none.
    ///
    /// The remark is how many servers agree; without an offset it is the reason.
    pub fn offset_and_remark(&self) -> (String, String) {
        let Some(estimate) = self.agreed() else {
            let failures = self
                .failures()
                .map(|(name, why)| format!("; {name}: {why}"));
            return (
                String::new(),
                self.agreement_text() + &failures.collect::<String>(),
            );
        };
        let remark = match self.servers.len() {
            1 => String::new(),
            _ => self.agreement_text(),
        };
        (format_interval(estimate.interval, "±"), remark)
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::{MILLI, measured, offset, report};
    use super::*;

    fn failed() -> Result<Offset, String> {
        Err("no response within 6 s".to_owned())
    }

    #[test]
    fn one_server_is_one_line() {
        assert_eq!(
            report(vec![measured(3_499_994_000, 3_500_006_000)]).text(),
            "10.0.0.1:9527  +3.500000000 s ± 6.00 us  round trip 10.3 us  8 samples\n"
        );
        assert_eq!(report(vec![failed()]).text(), "");
    }

    // The second line is shown only if it differs: with a tick, and if there is such an interval.
    #[test]
    fn whole_seconds_with_a_tick_are_shown_as_reported() {
        let text = |low, high, tick| {
            let resolution = SECOND + tick * MILLI;
            let offset = offset(low * MILLI, high * MILLI);
            report(vec![Ok(Offset {
                resolution,
                ..offset
            })])
            .text()
        };
        assert_eq!(
            text(-4, 7, 10),
            "10.0.0.1:9527  +0.001500000 s ± 5.50 ms  round trip 10.3 us  8 samples \
             of whole seconds, as reported -0.003500000 s ± 500 us\n"
        );
        for text in [text(-4, 5, 10), text(-4, -3, 0)] {
            assert!(text.ends_with(" samples of whole seconds\n"), "{text}");
        }
    }

    #[test]
    fn restarts_are_shown() {
        for (restarts, shown) in [
            (0, "8 samples\n"),
            (1, "8 samples  restarted 1 time: a clock was stepped\n"),
            (2, "8 samples  restarted 2 times: a clock was stepped\n"),
        ] {
            let offset = offset(0, 1);
            let text = report(vec![Ok(Offset { restarts, ..offset })]).text();
            assert!(text.ends_with(shown), "{text}");
        }
    }

    #[test]
    fn a_liar_is_named_on_its_line_and_on_the_last() {
        let report = report(vec![
            measured(-6_000, 8_000),
            measured(2 * SECOND, 2 * SECOND + 9),
            measured(-7_000, 5_000),
            failed(),
        ]);
        assert_eq!(
            report.text(),
            "10.0.0.1:9527  +0.000001000 s ± 7.00 us  round trip 10.3 us  8 samples\n\
             10.0.0.2:9527  +2.000000004 s ± 5 ns  round trip 10.3 us  8 samples  disagrees\n\
             10.0.0.3:9527  -0.000001000 s ± 6.00 us  round trip 10.3 us  8 samples\n\
             together       -0.000000500 s ± 5.50 us  agreed by 2 of 3 servers, \
             not 10.0.0.2:9527, no offset from 1\n"
        );
    }

    #[test]
    fn without_a_majority_the_last_line_says_so() {
        let text = report(vec![measured(0, 1), measured(5, 6)]).text();
        let last = text.lines().last();
        assert_eq!(last, Some("together       no majority among 2 servers"));
        // Without any offset there is no line at all.
        assert_eq!(report(vec![failed(), failed()]).text(), "");
    }

    // Columns are counted in characters, and are as wide as the longest name. With one server there
    // is no other line to align with.
    #[test]
    fn names_are_padded_to_one_width() {
        let server = |name: &str| ServerResult {
            name: name.to_owned(),
            outcome: measured(0, 2),
        };
        assert!(Report::new(vec![server("a")]).text().starts_with("a  +"));
        for (names, columns) in [(["é", "b"], 8), (["0123456789", "é"], 10)] {
            let text = Report::new(names.map(server).to_vec()).text();
            for line in text.lines() {
                let before = line.split_once('+').unwrap().0;
                assert_eq!(before.chars().count(), columns + 2, "{line}");
            }
        }
    }

    #[test]
    fn offset_and_remark() {
        let offset = "+0.000000001 s ± 1 ns";
        for (outcomes, expected) in [
            (vec![measured(0, 2)], (offset, "")),
            (
                vec![measured(0, 2), measured(0, 2)],
                (offset, "agreed by 2 of 2 servers"),
            ),
            (
                vec![measured(0, 2), failed()],
                (offset, "agreed by 1 of 1 server, no offset from 1"),
            ),
            (
                vec![measured(0, 2), measured(5, 6), failed()],
                (
                    "",
                    "no majority among 2 servers; 10.0.0.3:9527: no response within 6 s",
                ),
            ),
            (
                vec![failed()],
                (
                    "",
                    "no offset from 1 server; 10.0.0.1:9527: no response within 6 s",
                ),
            ),
        ] {
            let (offset, remark) = report(outcomes).offset_and_remark();
            assert_eq!((offset.as_str(), remark.as_str()), expected);
        }
    }
}

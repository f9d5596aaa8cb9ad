//! The report as text.

use super::results::{AddressResult, HostResult, Report};
use super::units::{format_duration, format_interval, plural};
use crate::offset::{Interval, Precision, ServerClock};

/// Name of the line for all servers.
const TOGETHER: &str = "together";

impl Report {
    /// Returns one line for each address with an offset, one for each of several hosts that has
    /// several addresses and, with several servers, one for the majority.
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        for (host, voter) in self.hosts.iter().zip(&self.voters) {
            for AddressResult { name, outcome } in &host.addresses {
                if let Ok(clock) = outcome {
                    lines.push((name.as_str(), self.clock_text(clock)));
                }
            }
            if self.hosts.len() > 1
                && host.addresses.len() > 1
                && let Some(offset) = voter.offset
            {
                lines.push((&host.name, self.host_text(host, offset)));
            }
        }
        if self.voters.len() > 1 && self.any_offset() {
            let offset = self
                .agreed()
                .map_or(String::new(), |offset| format_interval(offset, "±") + "  ");
            lines.push((TOGETHER, offset + &self.agreement_text()));
        }
        let width = match self.voters.len() {
            1 => 0,
            _ => {
                let names = lines.iter().map(|(name, _)| name.chars().count());
                names.max().unwrap_or(0)
            }
        };
        let lines = lines.iter();
        lines
            .map(|(name, text)| format!("{name:width$}  {text}\n"))
            .collect()
    }

    /// Returns the offset of one address, and how it was measured.
    fn clock_text(&self, clock: &ServerClock) -> String {
        let offset = self.offset(clock);
        let mut text = format!(
            "{}  round trip {}  {}",
            format_interval(offset, "±"),
            format_duration(clock.round_trip),
            plural(clock.samples as usize, "sample"),
        );
        text += match clock.precision {
            Precision::Nanoseconds => "",
            Precision::Coarse => " of a coarse clock",
            Precision::Seconds => " of whole seconds",
        };
        if let Some(reported) = clock.reported(offset).filter(|it| *it != offset) {
            text += &format!(", as reported {}", format_interval(reported, "±"));
        }
        if clock.restarts > 0 {
            let times = plural(clock.restarts as usize, "time");
            text += &format!("  restarted {times}: its responses contradicted each other");
        }
        if self.agrees(offset) == Some(false) {
            text += "  disagrees";
        }
        text
    }

    /// Returns the offset that the addresses of one host agree on, and how many do.
    fn host_text(&self, host: &HostResult, offset: Interval) -> String {
        let clocks = host
            .addresses
            .iter()
            .filter_map(|it| it.outcome.as_ref().ok());
        let offsets: Vec<_> = clocks.map(|clock| self.offset(clock)).collect();
        let agree = offsets
            .iter()
            .filter(|it| it.intersection(offset).is_some());
        let mut text = format!(
            "{}  agreed by {} of {}",
            format_interval(offset, "±"),
            agree.count(),
            plural(offsets.len(), "address"),
        );
        if self.agrees(offset) == Some(false) {
            text += "  disagrees";
        }
        text
    }

    /// Returns how many servers agree and which do not (`agreed by 2 of 3 servers, not NAME`), or
    /// the name of the only server (`from NAME`).
    pub(super) fn agreement_text(&self) -> String {
        let count = self.answered();
        let noun = match (self.hosts.len(), self.voters.len()) {
            (1, 2..) => "address",
            _ => "server",
        };
        let contradicting = self.contradicting();
        if let Some((last, others)) = contradicting.split_last() {
            return format!("contradiction between {} and {last}", others.join(", "));
        }
        if self.agreed().is_none() {
            return match count {
                0 => format!("no offset from {}", plural(self.voters.len(), noun)),
                _ => format!("no majority among {}", plural(count, noun)),
            };
        }
        if let [voter] = &self.voters[..] {
            return format!("from {}", voter.name);
        }
        let agree = self.voters_that_agree(true).len();
        let mut text = format!("agreed by {agree} of {}", plural(count, noun));
        let liars = self.voters_that_agree(false);
        if !liars.is_empty() {
            text += &format!(", not {}", liars.join(", "));
        }
        let dead = self.voters.iter().filter(|voter| voter.offset.is_none());
        let dead: Vec<_> = dead.map(|voter| voter.name.as_str()).collect();
        if !dead.is_empty() {
            text += &format!(", no offset from {}", dead.join(", "));
        }
        text
    }

    /// Returns the offset with its bound, and a remark. Each is empty if there is none.
    ///
    /// The remark is how many servers agree; without an offset it is the reason.
    pub fn offset_and_remark(&self) -> (String, String) {
        let Some(offset) = self.agreed() else {
            let failures = self.failures();
            let failures = failures
                .iter()
                .map(|(name, why)| format!("; {name}: {why}"));
            return (
                String::new(),
                self.agreement_text() + &failures.collect::<String>(),
            );
        };
        let remark = match self.voters.len() {
            1 => String::new(),
            _ => self.agreement_text(),
        };
        (format_interval(offset, "±"), remark)
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::{
        MILLI, NOW, clock, failed, measured, report, report_of_hosts,
    };
    use super::*;
    use crate::offset::SECOND;

    #[test]
    fn one_server_is_one_line() {
        assert_eq!(
            report(vec![measured(3_499_994_000, 3_500_006_000)]).text(),
            "10.0.0.1:9527  +3.500000000 s ± 6.00 us  round trip 10.3 us  8 samples\n"
        );
        assert_eq!(report(vec![failed()]).text(), "");
    }

    // What is reported is shown only if it differs: with a tick, and if there is such an interval.
    #[test]
    fn whole_seconds_with_a_tick_are_shown_as_reported() {
        let text = |low, high, tick| {
            let clock = ServerClock {
                precision: Precision::Seconds,
                tick: tick * MILLI,
                ..clock(low * MILLI, high * MILLI)
            };
            report(vec![Ok(clock)]).text()
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
    fn a_coarse_clock_is_shown() {
        let precision = Precision::Coarse;
        let clock = ServerClock {
            precision,
            ..clock(0, 2)
        };
        let text = report(vec![Ok(clock)]).text();
        assert!(text.ends_with("  8 samples of a coarse clock\n"), "{text}");
    }

    #[test]
    fn restarts_are_shown() {
        let contradicted = "its responses contradicted each other\n";
        for (restarts, shown) in [
            (0, "8 samples\n".to_owned()),
            (1, format!("8 samples  restarted 1 time: {contradicted}")),
            (2, format!("8 samples  restarted 2 times: {contradicted}")),
        ] {
            let clock = clock(0, 2);
            let text = report(vec![Ok(ServerClock { restarts, ..clock })]).text();
            assert!(text.ends_with(&shown), "{text}");
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
             not 10.0.0.2:9527, no offset from 10.0.0.4:9527\n"
        );
    }

    #[test]
    fn a_host_with_several_addresses_has_a_line() {
        let report = report_of_hosts(vec![
            (
                "clock.example:9527",
                vec![measured(0, 20), measured(10, 30)],
            ),
            (
                "liar.example:9527",
                vec![measured(SECOND, SECOND + 2), failed()],
            ),
            ("10.0.0.5:9527", vec![measured(0, 16)]),
        ]);
        let sample = "round trip 10.3 us  8 samples";
        assert_eq!(
            report.text(),
            format!(
                "10.0.0.1:9527       +0.000000010 s ± 10 ns  {sample}\n\
                 10.0.0.2:9527       +0.000000020 s ± 10 ns  {sample}\n\
                 clock.example:9527  +0.000000015 s ± 5 ns  agreed by 2 of 2 addresses\n\
                 10.0.0.3:9527       +1.000000001 s ± 1 ns  {sample}  disagrees\n\
                 liar.example:9527   +1.000000001 s ± 1 ns  agreed by 1 of 1 address  disagrees\n\
                 10.0.0.5:9527       +0.000000008 s ± 8 ns  {sample}\n\
                 together            +0.000000013 s ± 3 ns  agreed by 2 of 3 servers, \
                 not liar.example:9527\n"
            )
        );
    }

    #[test]
    fn the_addresses_of_one_host_are_counted() {
        let report = report_of_hosts(vec![("host", vec![measured(0, 2), measured(0, 2)])]);
        let text = report.text();
        assert!(text.ends_with("  agreed by 2 of 2 addresses\n"), "{text}");
    }

    #[test]
    fn without_a_majority_the_last_line_says_so() {
        let text = report(vec![measured(0, 2), measured(5, 7)]).text();
        let last = text.lines().last();
        assert_eq!(last, Some("together       no majority among 2 servers"));
        // Without any offset there is no line at all.
        assert_eq!(report(vec![failed(), failed()]).text(), "");
    }

    #[test]
    fn servers_that_contradict_each_other_are_named() {
        for (outcomes, names) in [
            (
                vec![measured(0, 2), measured(5, 7), measured(-9, 9)],
                "10.0.0.1:9527 and 10.0.0.2:9527",
            ),
            (
                vec![
                    measured(0, 2),
                    measured(0, 2),
                    measured(5, 7),
                    measured(5, 7),
                    measured(-9, 9),
                ],
                "10.0.0.1:9527, 10.0.0.2:9527, 10.0.0.3:9527 and 10.0.0.4:9527",
            ),
        ] {
            let text = report(outcomes).text();
            let expected = format!("together       contradiction between {names}");
            assert_eq!(text.lines().last(), Some(expected.as_str()));
        }
    }

    // Columns are counted in characters, and are as wide as the longest name. With one server there
    // is no other line to align with.
    #[test]
    fn names_are_padded_to_one_width() {
        let host = |name: &str| HostResult {
            name: name.to_owned(),
            addresses: vec![AddressResult {
                name: name.to_owned(),
                outcome: measured(0, 2),
            }],
        };
        let one = Report::new(vec![host("a")], NOW);
        assert!(one.text().starts_with("a  +"));
        for (names, columns) in [(["é", "b"], 8), (["0123456789", "é"], 10)] {
            let text = Report::new(names.map(host).to_vec(), NOW).text();
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
                (
                    offset,
                    "agreed by 1 of 1 server, no offset from 10.0.0.2:9527",
                ),
            ),
            (
                vec![measured(0, 2), measured(5, 7), failed()],
                (
                    "",
                    "no majority among 2 servers; 10.0.0.3:9527: no response within 6 s",
                ),
            ),
            (
                vec![failed(), failed()],
                (
                    "",
                    "no offset from 2 servers; 10.0.0.1:9527: no response within 6 s; \
                     10.0.0.2:9527: no response within 6 s",
                ),
            ),
        ] {
            let (offset, remark) = report(outcomes).offset_and_remark();
            assert_eq!((offset.as_str(), remark.as_str()), expected);
        }
    }
}

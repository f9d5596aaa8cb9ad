//! What several servers' offsets amount to, in words: text, JSON, a monitoring plugin's line.
//!
//! Pure: measurements in, strings out. Rounding never makes a bound tighter than it is.

mod json;
mod nagios;
pub mod plot;
mod summary;
mod text;
pub mod units;

pub use nagios::{Limits, Status, unknown};
pub use summary::Summary;

use crate::offset::{Consensus, Estimate, Offset, marzullo};

/// One server and what became of its measurement.
#[derive(Clone, Debug)]
pub struct ServerResult {
    /// As it is shown: where it was asked.
    pub name: String,
    /// The offset, or why there is none.
    pub outcome: Result<Offset, String>,
}

/// What was measured of all servers, at about one time.
#[derive(Clone, Debug)]
pub struct Report {
    servers: Vec<ServerResult>,
    agreement: Option<Consensus>,
}

impl Report {
    /// Puts the servers together and finds what they marzullo on.
    pub fn new(servers: Vec<ServerResult>) -> Self {
        let estimates: Vec<_> = servers
            .iter()
            .filter_map(|s| s.outcome.as_ref().ok())
            .map(|o| o.estimate)
            .collect();
        Self {
            agreement: marzullo(&estimates),
            servers,
        }
    }

    /// What the majority of those that answered says; of one server what it says.
    pub fn agreed(&self) -> Option<Estimate> {
        self.agreement.map(|a| a.estimate)
    }

    /// Whether any server answered.
    pub fn any_answer(&self) -> bool {
        self.answered() > 0
    }

    /// The servers that gave no offset, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.servers
            .iter()
            .filter_map(|s| Some((s.name.as_str(), s.outcome.as_ref().err()?.as_str())))
    }

    fn answered(&self) -> usize {
        self.servers.iter().filter(|s| s.outcome.is_ok()).count()
    }

    /// Whether this offset has a point in common with what the majority says; `None` without a majority.
    fn agrees(&self, offset: &Offset) -> Option<bool> {
        let Consensus { estimate, .. } = self.agreement?;
        Some(
            offset
                .estimate
                .aged_to(estimate.as_of)
                .intersection(estimate.interval)
                .is_some(),
        )
    }

    fn liars(&self) -> Vec<&str> {
        let lies = |s: &&ServerResult| {
            s.outcome
                .as_ref()
                .is_ok_and(|offset| self.agrees(offset) == Some(false))
        };
        self.servers
            .iter()
            .filter(lies)
            .map(|s| s.name.as_str())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset::{Interval, Nanos, SECOND};

    pub(super) const MILLI: Nanos = 1_000_000;

    pub(super) fn measured(low: Nanos, high: Nanos) -> Result<Offset, String> {
        Ok(Offset {
            estimate: Estimate {
                interval: Interval::new(low, high).unwrap(),
                as_of: 1_783_213_507 * SECOND + 7,
            },
            round_trip: 10_250,
            samples: 8,
            resolution: 1,
            restarts: 0,
        })
    }

    pub(super) fn report(outcomes: Vec<Result<Offset, String>>) -> Report {
        let server = |(number, outcome)| ServerResult {
            name: format!("10.0.0.{number}:9527"),
            outcome,
        };
        Report::new(
            outcomes
                .into_iter()
                .enumerate()
                .map(|(n, o)| (n + 1, o))
                .map(server)
                .collect(),
        )
    }

    #[test]
    fn one_server_is_one_line() {
        assert_eq!(
            report(vec![measured(3_499_994_000, 3_500_006_000)]).text(),
            "10.0.0.1:9527  +3.500000000 s ± 6.00 us  round trip 10.3 us  8 samples\n"
        );
    }

    #[test]
    fn whole_seconds_that_may_begin_late_are_shown_as_told_too() {
        let whole = |low, high, tick| {
            let offset = measured(low * MILLI, high * MILLI).map(|found| Offset {
                resolution: SECOND + tick * MILLI,
                ..found
            });
            report(vec![offset]).text()
        };
        assert_eq!(
            whole(-4, 7, 10),
            "10.0.0.1:9527  +0.001500000 s ± 5.50 ms  round trip 10.3 us  8 samples of whole seconds, \
             as told -0.003500000 s ± 500 us\n"
        );
        for nothing_to_add in [whole(-4, 5, 10), whole(-4, -3, 0)] {
            assert!(
                nothing_to_add.ends_with(" samples of whole seconds\n"),
                "{nothing_to_add}"
            );
        }
    }

    #[test]
    fn a_liar_is_named_on_its_line_and_on_the_last() {
        let two_seconds = 2 * SECOND;
        let honest = measured(-6_000, 8_000);
        let report = report(vec![
            honest.clone(),
            measured(two_seconds, two_seconds + 9),
            measured(-7_000, 5_000),
            Err("no answer within 6s".to_owned()),
        ]);
        assert_eq!(
            report.text(),
            "10.0.0.1:9527  +0.000001000 s ± 7.00 us  round trip 10.3 us  8 samples\n\
             10.0.0.2:9527  +2.000000004 s ± 5 ns  round trip 10.3 us  8 samples  disagrees\n\
             10.0.0.3:9527  -0.000001000 s ± 6.00 us  round trip 10.3 us  8 samples\n\
             together       -0.000000500 s ± 5.50 us  agreed by 2 of 3 servers, not 10.0.0.2:9527, no offset from 1\n"
        );
        assert_eq!(
            report.failures().collect::<Vec<_>>(),
            [("10.0.0.4:9527", "no answer within 6s")]
        );
    }

    #[test]
    fn two_against_two_is_no_majority() {
        let report = report(
            [0, 1, 2_000, 2_001]
                .map(|at| measured(at, at + 100))
                .to_vec(),
        );
        assert_eq!(report.agreed(), None);
        assert!(
            report
                .text()
                .ends_with("together       no majority among 4 servers\n"),
            "{}",
            report.text()
        );
        assert_eq!(
            report.check(Limits {
                warn: Some(MILLI),
                critical: None
            }),
            (
                Status::Unknown,
                "WALLCLOCK UNKNOWN: no majority among 4 servers".to_owned()
            )
        );
    }
}

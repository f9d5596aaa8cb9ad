//! The results of one measurement of all servers.

use crate::offset::{Consensus, Estimate, Nanos, Offset, marzullo};

/// The measurement of one server.
#[derive(Clone, Debug)]
pub struct ServerResult {
    /// The server's address, as the output shows it.
    pub name: String,
    /// The offset, or why there is none.
    pub outcome: Result<Offset, String>,
}

/// One measurement of all servers.
#[derive(Clone, Debug)]
pub struct Report {
    pub(super) servers: Vec<ServerResult>,
    pub(super) consensus: Option<Consensus>,
}

impl Report {
    /// Makes a report of the servers' results and finds the majority among them.
    pub fn new(servers: Vec<ServerResult>) -> Self {
        let estimates: Vec<_> = servers
            .iter()
            .filter_map(|server| Some(server.outcome.as_ref().ok()?.estimate))
            .collect();
        Self {
            consensus: marzullo(&estimates),
            servers,
        }
    }

    /// Returns the estimate that the majority of the servers with an offset agrees on; with one
    /// server that server's. `None` if there is no majority.
    pub fn agreed(&self) -> Option<Estimate> {
        self.consensus.map(|consensus| consensus.estimate)
    }

    /// Returns whether there is an offset of any server.
    pub fn any_offset(&self) -> bool {
        self.offset_count() > 0
    }

    /// Returns the servers without an offset: name and reason.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.servers
            .iter()
            .filter_map(|s| Some((s.name.as_str(), s.outcome.as_ref().err()?.as_str())))
    }

    /// Returns the finest resolution among the servers with an offset.
    pub fn finest_resolution(&self) -> Option<Nanos> {
        let offsets = self.servers.iter().filter_map(|s| s.outcome.as_ref().ok());
        offsets.map(|offset| offset.resolution).min()
    }

    /// Returns the number of servers with an offset.
    pub(super) fn offset_count(&self) -> usize {
        self.servers.iter().filter(|s| s.outcome.is_ok()).count()
    }

    /// Returns whether an offset overlaps the interval of the majority; `None` without a majority.
    pub(super) fn agrees(&self, offset: &Offset) -> Option<bool> {
        let Consensus { estimate, .. } = self.consensus?;
        let interval = offset.estimate.aged_to(estimate.as_of);
        Some(interval.intersection(estimate.interval).is_some())
    }

    /// Returns the names of the servers that do not agree with the majority.
    pub(super) fn liars(&self) -> Vec<&str> {
        let lies = |server: &&ServerResult| {
            let offset = server.outcome.as_ref();
            offset.is_ok_and(|offset| self.agrees(offset) == Some(false))
        };
        let liars = self.servers.iter().filter(lies);
        liars.map(|server| server.name.as_str()).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::offset::{Interval, SECOND};

    pub(in crate::report) const MILLI: Nanos = 1_000_000;

    pub(in crate::report) fn offset(low: Nanos, high: Nanos) -> Offset {
        Offset {
            estimate: Estimate {
                interval: Interval::new(low, high).unwrap(),
                as_of: 1_783_213_507 * SECOND + 7,
            },
            round_trip: 10_250,
            samples: 8,
            resolution: 1,
            restarts: 0,
        }
    }

    pub(in crate::report) fn measured(low: Nanos, high: Nanos) -> Result<Offset, String> {
        Ok(offset(low, high))
    }

    /// Makes a report of servers named 10.0.0.1:9527, 10.0.0.2:9527 and so on.
    pub(in crate::report) fn report(outcomes: Vec<Result<Offset, String>>) -> Report {
        let server = |(number, outcome)| ServerResult {
            name: format!("10.0.0.{}:9527", number + 1),
            outcome,
        };
        Report::new(outcomes.into_iter().enumerate().map(server).collect())
    }

    #[test]
    fn agreed_is_the_estimate_of_the_majority() {
        let one = report(vec![measured(-5, 5)]);
        assert_eq!(one.agreed(), Some(offset(-5, 5).estimate));
        let three = report(vec![measured(-5, 5), measured(0, 9), measured(50, 60)]);
        assert_eq!(three.agreed(), Some(offset(0, 5).estimate));
        let two_against_two = [0, 1, 2_000, 2_001].map(|at| measured(at, at + 100));
        assert_eq!(report(two_against_two.to_vec()).agreed(), None);
    }

    #[test]
    fn failures_are_the_servers_without_an_offset() {
        let failed = || Err("no response within 6 s".to_owned());
        for (outcomes, any_offset, failures) in [
            (vec![measured(0, 1), failed()], true, &["10.0.0.2:9527"][..]),
            (vec![failed()], false, &["10.0.0.1:9527"]),
            (vec![measured(0, 1)], true, &[]),
            (vec![], false, &[]),
        ] {
            let report = report(outcomes);
            assert_eq!(report.any_offset(), any_offset);
            let expected = failures
                .iter()
                .map(|&name| (name, "no response within 6 s"));
            assert!(report.failures().eq(expected));
        }
    }

    #[test]
    fn finest_resolution_is_that_of_one_server() {
        let mut whole_seconds = offset(0, 1);
        whole_seconds.resolution = SECOND + 5;
        let failed = || Err("failed".to_owned());
        let finest = |outcomes| report(outcomes).finest_resolution();
        assert_eq!(finest(vec![failed()]), None);
        assert_eq!(finest(vec![failed(), Ok(whole_seconds)]), Some(SECOND + 5));
        assert_eq!(finest(vec![measured(0, 1), Ok(whole_seconds)]), Some(1));
    }

    #[test]
    fn a_server_without_overlap_is_a_liar() {
        let lie = offset(101, 200);
        let report = report(vec![
            measured(0, 100),
            Ok(lie),
            measured(0, 90),
            Err("failed".to_owned()),
        ]);
        assert_eq!(report.liars(), ["10.0.0.2:9527"]);
        assert_eq!(report.agrees(&offset(0, 90)), Some(true));
        assert_eq!(report.agrees(&offset(90, 99)), Some(true));
        assert_eq!(report.agrees(&offset(91, 99)), Some(false));
        // An estimate that is 200 us older is 100 ns wider on each side.
        let mut old = offset(190, 200);
        old.estimate.as_of -= 200_000;
        assert_eq!(report.agrees(&old), Some(true));
    }

    #[test]
    fn without_a_majority_there_are_no_liars() {
        let report = report(vec![measured(0, 1), measured(5, 6)]);
        assert_eq!(report.agrees(&offset(0, 1)), None);
        assert!(report.liars().is_empty());
    }
}

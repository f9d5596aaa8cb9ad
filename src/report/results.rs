//! The results of one measurement of all servers, and what the majority of them agrees on.

use crate::offset::{ClockPair, Election, Interval, Nanos, ServerClock};

/// Why there is no offset of a server.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The error in one line.
    pub reason: String,
    /// Whether the server responded, and its responses contradict each other.
    pub is_contradiction: bool,
}

/// The measurement of one address of a server.
#[derive(Clone, Debug)]
pub struct AddressResult {
    /// The address, as the output shows it.
    pub name: String,
    /// The server's clock, or why it is not known.
    pub outcome: Result<ServerClock, Failure>,
}

/// The measurements of all addresses of one host.
#[derive(Clone, Debug)]
pub struct HostResult {
    /// The host, as the user writes it.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<AddressResult>,
}

/// One measurement of all servers.
#[derive(Clone, Debug)]
pub struct Report {
    pub(super) hosts: Vec<HostResult>,
    now: ClockPair,
    pub(super) voters: Vec<Voter>,
    election: Election,
}

/// One of those that elect the offset: a host, or an address if there is only one host.
#[derive(Clone, Debug)]
pub(super) struct Voter {
    pub(super) name: String,
    pub(super) offset: Option<Interval>,
}

impl AddressResult {
    /// Returns the offset of its clock from the wall clock.
    fn offset(&self, now: ClockPair) -> Option<Interval> {
        self.outcome.as_ref().ok().map(|clock| offset(clock, now))
    }
}

impl HostResult {
    /// Returns the name of the only address, or of the host if it has several.
    pub(super) fn short_name(&self) -> &str {
        match &self.addresses[..] {
            [address] => &address.name,
            _ => &self.name,
        }
    }
}

/// Returns the offset of a server's clock from the wall clock.
fn offset(clock: &ServerClock, now: ClockPair) -> Interval {
    clock
        .estimate
        .aged_to(now.after)
        .minus(now.wall_minus_raw())
}

impl Report {
    /// Makes a report of the results and of the local clocks after the last of them, and finds the
    /// majority.
    pub fn new(hosts: Vec<HostResult>, now: ClockPair) -> Self {
        let offsets = |host: &HostResult| {
            let addresses = host.addresses.iter();
            addresses.map(|address| address.offset(now)).collect()
        };
        let election = Election::new(hosts.iter().map(offsets).collect());
        let names: Vec<_> = match &hosts[..] {
            [host] => host.addresses.iter().map(|it| it.name.as_str()).collect(),
            hosts => hosts.iter().map(HostResult::short_name).collect(),
        };
        let voters = names.into_iter().zip(&election.voters);
        let voters = voters.map(|(name, offset)| Voter {
            name: name.to_owned(),
            offset: *offset,
        });
        Self {
            voters: voters.collect(),
            hosts,
            now,
            election,
        }
    }

    /// Returns the offset that the majority agrees on; with one server that server's. `None` if
    /// there is no majority, or if it may be at several places.
    pub fn agreed(&self) -> Option<Interval> {
        self.election.agreed()
    }

    /// Returns an interval that covers all places where the offset may be; `None` without a
    /// majority.
    pub(super) fn union(&self) -> Option<Interval> {
        self.election.places.iter().copied().reduce(Interval::hull)
    }

    /// Returns the local clocks as of the offsets.
    pub fn now(&self) -> ClockPair {
        self.now
    }

    /// Returns the local time as of the offsets.
    pub fn time(&self) -> Nanos {
        self.now.wall
    }

    /// Returns whether there is an offset of any address.
    pub fn any_offset(&self) -> bool {
        self.addresses().any(|(_, address)| address.outcome.is_ok())
    }

    /// Returns whether servers contradict themselves or each other, or there is no majority of
    /// those that were measured.
    pub fn is_contradictory(&self) -> bool {
        let contradicts = |(_, address): (&str, &AddressResult)| {
            let failure = address.outcome.as_ref();
            failure.is_err_and(|failure| failure.is_contradiction)
        };
        self.agreed().is_none() && (self.any_offset() || self.addresses().any(contradicts))
    }

    /// Returns the addresses and hosts without an offset: name and reason.
    pub fn failures(&self) -> Vec<(&str, &str)> {
        let mut failures = Vec::new();
        for (_, AddressResult { name, outcome }) in self.addresses() {
            if let Err(failure) = outcome {
                failures.push((name.as_str(), failure.reason.as_str()));
            }
        }
        for (host, voter) in self.hosts.iter().zip(&self.voters) {
            let is_measured = host.addresses.iter().any(|it| it.outcome.is_ok());
            if self.hosts.len() > 1 && is_measured && voter.offset.is_none() {
                failures.push((&voter.name, "its addresses contradict each other"));
            }
        }
        failures
    }

    /// Returns the clocks of all addresses that were measured.
    pub fn clocks(&self) -> impl Iterator<Item = &ServerClock> {
        self.addresses()
            .filter_map(|(_, address)| address.outcome.as_ref().ok())
    }

    /// Returns all addresses, each with the name of its host.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&str, &AddressResult)> {
        self.hosts.iter().flat_map(|host| {
            let addresses = host.addresses.iter();
            addresses.map(|address| (host.name.as_str(), address))
        })
    }

    /// Returns the offset of one server from the wall clock.
    pub(super) fn offset(&self, clock: &ServerClock) -> Interval {
        offset(clock, self.now)
    }

    /// Returns the number of voters with an offset.
    pub(super) fn answered(&self) -> usize {
        self.voters.iter().filter(|it| it.offset.is_some()).count()
    }

    /// Returns whether an offset overlaps with that of the majority; `None` without one.
    pub(super) fn agrees(&self, offset: Interval) -> Option<bool> {
        Some(self.agreed()?.intersection(offset).is_some())
    }

    /// Returns the names of the voters that do, or do not, agree with the majority.
    pub(super) fn voters_that_agree(&self, agree: bool) -> Vec<&str> {
        let is_counted =
            |voter: &&Voter| voter.offset.and_then(|it| self.agrees(it)) == Some(agree);
        let voters = self.voters.iter().filter(is_counted);
        voters.map(|voter| voter.name.as_str()).collect()
    }

    /// Returns the names of the voters that contradict each other, if the offset may be at several
    /// places: those that are at some of them and not at others.
    pub(super) fn contradicting(&self) -> Vec<&str> {
        let contradicts = |voter: &&Voter| {
            let Some(offset) = voter.offset else {
                return false;
            };
            let is_at = |place: &Interval| place.intersection(offset).is_some();
            let places = &self.election.places;
            places.iter().any(is_at) && !places.iter().all(is_at)
        };
        let voters = self.voters.iter().filter(contradicts);
        voters.map(|voter| voter.name.as_str()).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::offset::{Estimate, Precision, SECOND};

    pub(in crate::report) const MILLI: Nanos = 1_000_000;

    /// The local clocks of all tests. The wall clock is read without any uncertainty but 1 ns.
    pub(in crate::report) const NOW: ClockPair = ClockPair {
        before: 90 * SECOND,
        wall: 1_783_213_507 * SECOND + 7,
        after: 90 * SECOND,
    };

    pub(in crate::report) type Outcome = Result<ServerClock, Failure>;

    /// A server whose offset from the wall clock is in this interval, which has a width of 2 ns at
    /// least.
    pub(in crate::report) fn clock(low: Nanos, high: Nanos) -> ServerClock {
        let wall_minus_raw = NOW.wall - NOW.before;
        let (low, high) = (low + 1 + wall_minus_raw, high - 1 + wall_minus_raw);
        ServerClock {
            estimate: Estimate {
                interval: Interval::new(low, high).unwrap(),
                as_of: NOW.after,
                max_slew: 100_000,
            },
            round_trip: 10_250,
            samples: 8,
            precision: Precision::Nanoseconds,
            tick: 10 * MILLI,
            restarts: 0,
            duration: 90_000,
            utc_offset: None,
        }
    }

    pub(in crate::report) fn measured(low: Nanos, high: Nanos) -> Outcome {
        Ok(clock(low, high))
    }

    pub(in crate::report) fn failed() -> Outcome {
        Err(Failure {
            reason: "no response within 6 s".to_owned(),
            is_contradiction: false,
        })
    }

    fn interval(low: Nanos, high: Nanos) -> Interval {
        Interval::new(low, high).unwrap()
    }

    /// Makes a report of hosts with these names and the outcomes of their addresses, which are
    /// named 10.0.0.1:9527, 10.0.0.2:9527 and so on.
    pub(in crate::report) fn report_of_hosts(hosts: Vec<(&str, Vec<Outcome>)>) -> Report {
        let mut number = 0;
        let mut to_address = |outcome| {
            number += 1;
            AddressResult {
                name: format!("10.0.0.{number}:9527"),
                outcome,
            }
        };
        let hosts = hosts.into_iter().map(|(name, outcomes)| HostResult {
            name: name.to_owned(),
            addresses: outcomes.into_iter().map(&mut to_address).collect(),
        });
        Report::new(hosts.collect(), NOW)
    }

    /// Makes a report of hosts with one address each.
    pub(in crate::report) fn report(outcomes: Vec<Outcome>) -> Report {
        let hosts = outcomes.into_iter().map(|outcome| ("host", vec![outcome]));
        report_of_hosts(hosts.collect())
    }

    #[test]
    fn agreed_is_what_more_than_half_have_in_common() {
        let one = report(vec![measured(-5, 5)]);
        assert_eq!(one.agreed(), Some(interval(-5, 5)));
        let three = report(vec![measured(-5, 5), measured(0, 9), measured(50, 60)]);
        assert_eq!(three.agreed(), Some(interval(0, 5)));
        let two_against_two = [0, 1, 2_000, 2_001].map(|at| measured(at, at + 100));
        assert_eq!(report(two_against_two.to_vec()).agreed(), None);
    }

    // 10 % of 300 us are 30 us on both sides. The reading of the wall clock took 200 ns.
    #[test]
    fn offsets_are_those_at_the_last_reading_of_the_clocks() {
        let mut server = clock(-10, 10);
        server.estimate.as_of -= 300_000;
        let host = HostResult {
            name: "host".to_owned(),
            addresses: vec![AddressResult {
                name: "10.0.0.1:9527".to_owned(),
                outcome: Ok(server),
            }],
        };
        let now = ClockPair {
            before: NOW.before - 200,
            ..NOW
        };
        let report = Report::new(vec![host], now);
        assert_eq!(report.agreed(), Some(interval(-30_210, 30_010)));
        assert_eq!((report.now(), report.time()), (now, now.wall));
    }

    // Two addresses of a liar are one vote, and so are three of an honest host.
    #[test]
    fn each_host_has_one_vote() {
        let lie = || measured(5_000, 5_010);
        let against_one = report_of_hosts(vec![
            ("liar", vec![lie(), lie()]),
            ("honest", vec![measured(0, 10)]),
        ]);
        assert_eq!(against_one.agreed(), None);
        assert_eq!(against_one.answered(), 2);
        let against_two = report_of_hosts(vec![
            ("liar", vec![lie(), lie(), lie()]),
            ("a", vec![measured(0, 10)]),
            ("b", vec![measured(3, 20), failed()]),
        ]);
        assert_eq!(against_two.agreed(), Some(interval(3, 10)));
        assert_eq!(against_two.voters_that_agree(false), ["liar"]);
        assert_eq!(against_two.voters_that_agree(true), ["10.0.0.4:9527", "b"]);
    }

    #[test]
    fn addresses_elect_the_interval_of_their_host() {
        let host = |outcomes| report_of_hosts(vec![("host", outcomes), ("b", vec![failed()])]);
        for (outcomes, expected) in [
            (vec![measured(0, 10)], Some((0, 10))),
            (vec![measured(0, 10), measured(5, 20)], Some((5, 10))),
            (vec![measured(0, 10), failed()], Some((0, 10))),
            (
                vec![measured(0, 10), measured(5_000, 5_010), measured(3, 9)],
                Some((3, 9)),
            ),
            (vec![measured(0, 10), measured(5_000, 5_010)], None),
            (vec![failed()], None),
        ] {
            let expected = expected.map(|(low, high)| interval(low, high));
            assert_eq!(host(outcomes).voters[0].offset, expected);
        }
    }

    #[test]
    fn a_host_whose_addresses_contradict_each_other_has_no_vote() {
        let report = report_of_hosts(vec![
            ("odd", vec![measured(0, 10), measured(5_000, 5_010)]),
            ("good", vec![measured(0, 10)]),
        ]);
        assert_eq!(report.agreed(), Some(interval(0, 10)));
        assert_eq!(report.answered(), 1);
        let reason = "its addresses contradict each other";
        assert_eq!(report.failures(), [("odd", reason)]);
    }

    // With one host the addresses are those that vote.
    #[test]
    fn the_addresses_of_the_only_host_vote() {
        let outcomes = vec![measured(0, 10), measured(5_000, 5_010), failed()];
        let report = report_of_hosts(vec![("host", outcomes)]);
        assert_eq!((report.voters.len(), report.answered()), (3, 2));
        assert_eq!(report.agreed(), None);
        assert_eq!(
            report.failures(),
            [("10.0.0.3:9527", "no response within 6 s")]
        );
    }

    #[test]
    fn failures_are_the_servers_without_an_offset() {
        for (outcomes, any_offset, failures) in [
            (vec![measured(0, 2), failed()], true, &["10.0.0.2:9527"][..]),
            (vec![failed()], false, &["10.0.0.1:9527"]),
            (vec![measured(0, 2)], true, &[]),
            (vec![], false, &[]),
        ] {
            let report = report(outcomes);
            assert_eq!(report.any_offset(), any_offset);
            let expected: Vec<_> = failures
                .iter()
                .map(|&name| (name, "no response within 6 s"))
                .collect();
            assert_eq!(report.failures(), expected);
        }
    }

    #[test]
    fn contradictions_are_noticed_without_a_majority() {
        let contradiction = || {
            Err(Failure {
                reason: "its responses contradict each other".to_owned(),
                is_contradiction: true,
            })
        };
        for (outcomes, expected) in [
            (vec![failed()], false),
            (vec![contradiction()], true),
            (vec![failed(), contradiction()], true),
            (vec![measured(0, 2), contradiction()], false),
            (vec![measured(0, 2)], false),
            (vec![measured(0, 2), measured(5, 7)], true),
        ] {
            assert_eq!(report(outcomes).is_contradictory(), expected);
        }
    }

    #[test]
    fn a_server_without_overlap_disagrees() {
        let report = report(vec![
            measured(0, 100),
            measured(101, 200),
            measured(0, 90),
            failed(),
        ]);
        assert_eq!(report.voters_that_agree(false), ["10.0.0.2:9527"]);
        for (low, high, agrees) in [(0, 90, true), (90, 99, true), (91, 99, false)] {
            assert_eq!(report.agrees(interval(low, high)), Some(agrees));
        }
        assert!(report.contradicting().is_empty());
    }

    #[test]
    fn without_a_majority_nobody_disagrees() {
        let report = report(vec![measured(0, 2), measured(5, 7)]);
        assert_eq!(report.agrees(interval(0, 2)), None);
        assert!(report.voters_that_agree(false).is_empty());
        assert_eq!(report.union(), None);
    }

    // A slow server overlaps with an honest one and with a liar, which contradict each other.
    #[test]
    fn two_places_are_a_contradiction() {
        let report = report(vec![
            measured(-10, 10),
            measured(-200, -190),
            measured(-300, 20),
        ]);
        assert_eq!(report.agreed(), None);
        assert_eq!(report.contradicting(), ["10.0.0.1:9527", "10.0.0.2:9527"]);
        assert_eq!(report.union(), Some(interval(-200, 10)));
        assert!(report.is_contradictory());
    }
}

//! What a majority of the servers agrees on. Marzullo's algorithm finds where their intervals
//! overlap.

use super::interval::Interval;
use super::nanos::Nanos;

/// Returns each place where more than half of the intervals overlap, in order.
///
/// > **Theorem.** If more than half of the servers are right, the offset is in one of the places.
///
/// With none there is no majority. With several a majority agrees on each of them, and some servers
/// contradict others.
///
/// RFC 5905 (section 11.2.1) searches for the place where the most intervals overlap. That is
/// narrower and less certain: one wrong interval that overlaps with two right ones would exclude
/// all of what only the right ones have in common.
pub fn marzullo(intervals: &[Interval]) -> Vec<Interval> {
    let mut edges: Vec<(Nanos, bool)> = intervals
        .iter()
        .flat_map(|i| [(i.low(), false), (i.high(), true)])
        .collect();
    // Intervals are closed: at one point those that begin come before those that end
    // (false < true).
    edges.sort_unstable();
    let majority = intervals.len() / 2 + 1;
    let (mut places, mut depth, mut low) = (Vec::new(), 0, 0);
    for (point, is_end) in edges {
        if is_end {
            if depth == majority {
                places.extend(Interval::new(low, point));
            }
            depth -= 1;
        } else {
            depth += 1;
            if depth == majority {
                low = point;
            }
        }
    }
    places
}

/// What a majority of the servers agrees on.
#[derive(Clone, Debug)]
pub struct Election {
    /// The interval of each voter, `None` if it has none. The voters are the hosts, or the
    /// addresses if there is only one host.
    pub voters: Vec<Option<Interval>>,
    /// Where more than half of these intervals overlap.
    pub places: Vec<Interval>,
}

impl Election {
    /// Holds an election of these hosts. Of each it takes the intervals of the addresses, `None`
    /// for one without. The vote of a host is the place where more than half of them overlap.
    pub fn new(hosts: Vec<Vec<Option<Interval>>>) -> Self {
        let places = |intervals: &[Option<Interval>]| {
            let intervals: Vec<_> = intervals.iter().copied().flatten().collect();
            marzullo(&intervals)
        };
        let voters = match <[_; 1]>::try_from(hosts) {
            Ok([addresses]) => addresses,
            Err(hosts) => {
                let vote = |addresses: &Vec<_>| only(&places(addresses));
                hosts.iter().map(vote).collect()
            }
        };
        Self {
            places: places(&voters),
            voters,
        }
    }

    /// Returns the interval that the majority agrees on; with one voter that voter's. `None` if
    /// there is no majority, or if it may be at several places.
    pub fn agreed(&self) -> Option<Interval> {
        only(&self.places)
    }

    /// Returns the number of voters that agree with the majority.
    pub fn agreeing(&self) -> usize {
        let agrees = |voter: &Interval| {
            self.agreed()
                .is_some_and(|agreed| agreed.intersection(*voter).is_some())
        };
        self.voters.iter().flatten().filter(|it| agrees(it)).count()
    }
}

/// Returns the place if there is only one.
fn only(places: &[Interval]) -> Option<Interval> {
    match *places {
        [place] => Some(place),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn interval(low: Nanos, high: Nanos) -> Interval {
        Interval::new(low, high).unwrap()
    }

    /// Returns the ends of each place.
    fn places(intervals: &[(Nanos, Nanos)]) -> Vec<(Nanos, Nanos)> {
        let intervals = intervals.iter().map(|&(low, high)| interval(low, high));
        let places = marzullo(&intervals.collect::<Vec<_>>());
        places.iter().map(|i| (i.low(), i.high())).collect()
    }

    #[test]
    fn places_are_where_more_than_half_overlap() {
        for (intervals, expected) in [
            (&[][..], &[][..]),
            (&[(1, 5)], &[(1, 5)]),
            (&[(1, 5), (4, 9)], &[(4, 5)]),
            (&[(1, 5), (5, 9)], &[(5, 5)]),
            (&[(1, 5), (6, 9)], &[]),
            // A point that all three have in common may be wrong; one of them may.
            (&[(1, 5), (4, 9), (3, 20)], &[(3, 9)]),
            (&[(1, 5), (2000, 2005), (3, 20)], &[(3, 5)]),
            (&[(1, 5), (2, 6), (101, 105), (102, 106)], &[]),
            // The example that most texts on Marzullo's algorithm give.
            (&[(8, 12), (11, 13), (14, 15)], &[(11, 12)]),
            (&[(0, 10), (1, 2), (8, 9)], &[(1, 2), (8, 9)]),
            // Four in one place, three in another.
            (
                &[(0, 10), (0, 10), (1, 2), (1, 2), (8, 9)],
                &[(1, 2), (8, 9)],
            ),
        ] {
            assert_eq!(places(intervals), expected, "{intervals:?}");
        }
    }

    // The addresses of a liar are one vote. Of a single host each address has one.
    #[test]
    fn each_host_has_one_vote() {
        let host = |addresses: &[Option<(Nanos, Nanos)>]| -> Vec<_> {
            let addresses = addresses.iter();
            addresses
                .map(|it| it.map(|(low, high)| interval(low, high)))
                .collect()
        };
        let liar = host(&[Some((50, 60)), Some((50, 61)), Some((50, 62)), None]);
        let honest = || host(&[Some((0, 9))]);
        let election = Election::new(vec![liar.clone(), honest(), honest(), host(&[None])]);
        assert_eq!(election.agreed(), Some(interval(0, 9)));
        assert_eq!(election.agreeing(), 2);
        let votes = [Some(interval(50, 61)), Some(interval(0, 9))];
        assert_eq!(election.voters[..2], votes);
        assert_eq!(election.voters[3], None);
        let election = Election::new(vec![liar]);
        assert_eq!((election.voters.len(), election.agreeing()), (4, 3));
        // One against one, one and a host without an address, and no host.
        for hosts in [
            vec![honest(), host(&[Some((50, 60))])],
            vec![honest(), host(&[])],
            vec![],
        ] {
            let election = Election::new(hosts.clone());
            let is_agreed = hosts.len() == 2 && hosts[1].is_empty();
            assert_eq!(election.agreed().is_some(), is_agreed, "{hosts:?}");
        }
    }

    proptest! {
        // The theorem, and that no point outside is in more than half of the intervals.
        #[test]
        fn places_are_exactly_the_points_of_a_majority(
            intervals in prop::collection::vec((-30..30i128, 0..30i128), 0..9),
            shift in 0..9usize,
        ) {
            let mut all: Vec<_> = intervals.iter().map(|(low, width)| (*low, low + width)).collect();
            let found = places(&all);
            for point in -40..70 {
                let count = all.iter().filter(|(low, high)| (*low..=*high).contains(&point)).count();
                let is_inside = found.iter().any(|(low, high)| (*low..=*high).contains(&point));
                prop_assert_eq!(is_inside, 2 * count > all.len(), "{}", point);
            }
            let rotation = shift % all.len().max(1);
            all.rotate_left(rotation);
            prop_assert_eq!(places(&all), found);
        }
    }
}

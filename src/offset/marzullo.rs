//! What several servers' intervals amount to.

use super::{Estimate, Interval, Nanos};

/// What the largest set of servers that marzullo says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consensus {
    /// Holds the offset if no more servers err than are outside the set; aged to the latest of the estimates.
    pub estimate: Estimate,
    /// How many agree.
    pub count: usize,
}

/// Marzullo's algorithm: where most of the intervals overlap; `None` unless they are more than half.
///
/// > **Theorem.** If at most `n - count` of the `n` servers err, the offset is in the result: it is then in at least
/// > `count` of the intervals, and the result runs from the first to the last point that is in so many.
///
/// This is the selection of RFC 5905 (section 11.2.1, code in A.5.5.1), with as few falsetickers as will do, and without
/// its count of midpoints: our intervals hold the truth for certain, wherever in them it is. Like there the result is
/// one interval even if the best overlap is reached in two places (B and C apart, both touching A): one of B and C errs,
/// and nobody can tell which.
pub fn marzullo(estimates: &[Estimate]) -> Option<Consensus> {
    let as_of = estimates.iter().map(|e| e.as_of).max()?;
    let mut edges: Vec<(Nanos, bool)> = estimates
        .iter()
        .map(|e| e.aged_to(as_of))
        .flat_map(|i| [(i.low(), false), (i.high(), true)])
        .collect();
    // The intervals are closed: at one point all that begin come before all that end (false < true).
    edges.sort_unstable();
    let (mut depth, mut count, mut low, mut high) = (0, 0, 0, 0);
    for (point, ends) in edges {
        if ends {
            if depth == count {
                high = point;
            }
            depth -= 1;
        } else {
            depth += 1;
            if depth > count {
                (count, low) = (depth, point);
            }
        }
    }
    let interval = Interval::new(low, high)?;
    (2 * count > estimates.len()).then_some(Consensus {
        estimate: Estimate { interval, as_of },
        count,
    })
}

#[cfg(test)]
mod tests {
    use super::super::SECOND;
    use super::*;
    use proptest::prelude::*;

    fn interval(low: Nanos, high: Nanos) -> Interval {
        Interval::new(low, high).unwrap()
    }

    fn estimates(intervals: &[(Nanos, Nanos)]) -> Vec<Estimate> {
        intervals
            .iter()
            .map(|&(low, high)| Estimate {
                interval: interval(low, high),
                as_of: 0,
            })
            .collect()
    }

    fn agreed(intervals: &[(Nanos, Nanos)]) -> Option<(Nanos, Nanos, usize)> {
        marzullo(&estimates(intervals)).map(|a| {
            (
                a.estimate.interval.low(),
                a.estimate.interval.high(),
                a.count,
            )
        })
    }

    #[test]
    fn the_largest_set_that_agrees_wins_and_a_tie_wins_nothing() {
        assert_eq!(agreed(&[]), None);
        assert_eq!(agreed(&[(1, 5)]), Some((1, 5, 1)));
        assert_eq!(agreed(&[(1, 5), (4, 9), (3, 20)]), Some((4, 5, 3)));
        assert_eq!(agreed(&[(1, 5), (2000, 2005), (3, 20)]), Some((3, 5, 2)));
        assert_eq!(agreed(&[(1, 5), (5, 9)]), Some((5, 5, 2)));
        assert_eq!(agreed(&[(1, 5), (6, 9)]), None);
        assert_eq!(agreed(&[(1, 5), (2, 6), (101, 105), (102, 106)]), None);
        // RFC 5905 figure and Marzullo's own: 8-12, 11-13, 14-15 has two of three in 11-12.
        assert_eq!(agreed(&[(8, 12), (11, 13), (14, 15)]), Some((11, 12, 2)));
        // The best overlap in two places: nobody can tell which, so the result runs over both.
        assert_eq!(agreed(&[(0, 10), (1, 2), (8, 9)]), Some((1, 9, 2)));
    }

    #[test]
    fn estimates_of_different_moments_are_aged_before_they_are_compared() {
        let early = Estimate {
            interval: interval(400_000, 400_010),
            as_of: 0,
        };
        let late = Estimate {
            interval: interval(0, 10),
            as_of: SECOND,
        };
        // 500 ppm of a second are 500 us: 400 us apart is no contradiction between them.
        let agreement = marzullo(&[early, late]).unwrap();
        assert_eq!(
            (agreement.count, agreement.estimate.interval),
            (2, interval(0, 10))
        );
    }

    proptest! {
        #[test]
        fn what_a_majority_of_true_intervals_agrees_on_holds_the_truth_if_no_more_err_than_are_left_out(
            truth in -1000..1000i128,
            honest in prop::collection::vec((0..500i128, 0..500i128), 1..6),
            liars in prop::collection::vec((-3000..3000i128, 0..500i128), 0..6),
        ) {
            let all: Vec<_> = honest.iter().map(|(below, above)| (truth - below, truth + above))
                .chain(liars.iter().map(|(low, width)| (*low, low + width))).collect();
            let wrong = liars.iter().filter(|(low, width)| !interval(*low, low + width).contains(truth)).count();
            match marzullo(&estimates(&all)) {
                Some(a) if wrong <= all.len() - a.count => prop_assert!(a.estimate.interval.contains(truth)),
                // More err than marzullo leaves out: they marzullo among themselves with some honest ones, by chance or plot.
                Some(a) => prop_assert!(a.count > honest.len()),
                None => prop_assert!(2 * honest.len() <= all.len()),
            }
        }

        #[test]
        fn agreement_does_not_depend_on_the_order(
            intervals in prop::collection::vec((-50..50i128, 0..50i128), 1..7), turn in 0..7usize,
        ) {
            let all: Vec<_> = intervals.iter().map(|(low, width)| (*low, low + width)).collect();
            let mut turned = all.clone();
            turned.rotate_left(turn % all.len());
            prop_assert_eq!(agreed(&all), agreed(&turned));
        }
    }
}

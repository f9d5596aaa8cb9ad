//! Marzullo's algorithm: one interval from those of several servers.

use super::interval::{Estimate, Interval};
use super::nanos::Nanos;

/// The result of [`marzullo`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consensus {
    /// Contains the offset unless more servers than those outside the majority are wrong. It is as
    /// of the latest of the estimates.
    pub estimate: Estimate,
    /// Number of servers in the majority: the most whose intervals have a point in common.
    pub count: usize,
}

/// Finds where most of the intervals overlap; `None` unless more than half of them do.
///
/// > **Theorem.** If at most `n - count` of the `n` servers are wrong, the result contains the
/// > offset.
///
/// *Proof.* The offset is in the intervals of all other servers, which are at least `count`. No
/// point is in more than `count` intervals, so the offset is in exactly `count`. The result extends
/// from the first to the last such point. ∎
///
/// This is the selection algorithm of RFC 5905 (section 11.2.1, code in appendix A.5.5.1) with as
/// few falsetickers as possible. Its condition on the midpoints is left out: it is for intervals
/// whose middle is more likely than their ends, and here the offset may be anywhere in an interval.
/// As in RFC 5905 the result is a single interval. If `count` is reached in two places (B and C
/// apart, A overlaps both), either B or C is wrong; as it is not known which, the result covers
/// both places.
pub fn marzullo(estimates: &[Estimate]) -> Option<Consensus> {
    let as_of = estimates.iter().map(|e| e.as_of).max()?;
    let mut edges: Vec<(Nanos, bool)> = estimates
        .iter()
        .map(|e| e.aged_to(as_of))
        .flat_map(|i| [(i.low(), false), (i.high(), true)])
        .collect();
    // Intervals are closed: at one point those that begin come before those that end
    // (false < true).
    edges.sort_unstable();
    let (mut depth, mut count, mut low, mut high) = (0, 0, 0, 0);
    for (point, is_end) in edges {
        if is_end {
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
    use super::super::nanos::SECOND;
    use super::*;
    use proptest::prelude::*;

    fn interval(low: Nanos, high: Nanos) -> Interval {
        Interval::new(low, high).unwrap()
    }

    /// Returns the ends of the consensus, and its count.
    fn consensus(intervals: &[(Nanos, Nanos)]) -> Option<(Nanos, Nanos, usize)> {
        let estimates: Vec<_> = intervals
            .iter()
            .map(|&(low, high)| Estimate {
                interval: interval(low, high),
                as_of: 0,
            })
            .collect();
        let Consensus { estimate, count } = marzullo(&estimates)?;
        Some((estimate.interval.low(), estimate.interval.high(), count))
    }

    #[test]
    fn the_largest_overlap_wins_if_it_is_a_majority() {
        for (intervals, expected) in [
            (&[][..], None),
            (&[(1, 5)], Some((1, 5, 1))),
            (&[(1, 5), (4, 9), (3, 20)], Some((4, 5, 3))),
            (&[(1, 5), (2000, 2005), (3, 20)], Some((3, 5, 2))),
            (&[(1, 5), (5, 9)], Some((5, 5, 2))),
            (&[(1, 5), (6, 9)], None),
            (&[(1, 5), (2, 6), (101, 105), (102, 106)], None),
            // The example that most texts on Marzullo's algorithm give.
            (&[(8, 12), (11, 13), (14, 15)], Some((11, 12, 2))),
            // The largest overlap in two places: the result covers both.
            (&[(0, 10), (1, 2), (8, 9)], Some((1, 9, 2))),
        ] {
            assert_eq!(consensus(intervals), expected, "{intervals:?}");
        }
    }

    // 500 ppm of a second are 500 us: intervals that are 400 us apart do not contradict each other.
    #[test]
    fn estimates_are_aged_before_they_are_compared() {
        let early = Estimate {
            interval: interval(400_000, 400_010),
            as_of: 0,
        };
        let late = Estimate {
            interval: interval(0, 10),
            as_of: SECOND,
        };
        let consensus = marzullo(&[early, late]).unwrap();
        assert_eq!((consensus.count, consensus.estimate), (2, late));
    }

    proptest! {
        // The theorem; if more servers are wrong than it allows, anything is possible.
        #[test]
        fn consensus_contains_the_offset(
            offset in -1000..1000i128,
            right in prop::collection::vec((0..500i128, 0..500i128), 1..6),
            others in prop::collection::vec((-3000..3000i128, 0..500i128), 0..6),
        ) {
            let right = right.iter().map(|(below, above)| (offset - below, offset + above));
            let others = others.iter().map(|(low, width)| (*low, low + width));
            let wrong = others.clone().filter(|&(l, h)| !interval(l, h).contains(offset)).count();
            let all: Vec<_> = right.chain(others).collect();
            match consensus(&all) {
                Some((low, high, count)) if wrong <= all.len() - count => {
                    prop_assert!(interval(low, high).contains(offset));
                }
                Some(_) => {}
                None => prop_assert!(2 * (all.len() - wrong) <= all.len()),
            }
        }

        #[test]
        fn consensus_does_not_depend_on_the_order(
            intervals in prop::collection::vec((-50..50i128, 0..50i128), 1..7),
            shift in 0..7usize,
        ) {
            let all: Vec<_> = intervals.iter().map(|(low, width)| (*low, low + width)).collect();
            let mut rotated = all.clone();
            rotated.rotate_left(shift % all.len());
            prop_assert_eq!(consensus(&all), consensus(&rotated));
        }
    }
}

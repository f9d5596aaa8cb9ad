//! The result of measuring one server.

use super::interval::{Estimate, Interval};
use super::nanos::{Nanos, SECOND};

/// The result of measuring one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// An interval that contains the offset, and the time at which it does.
    pub estimate: Estimate,
    /// The shortest round trip of all samples.
    pub round_trip: Nanos,
    /// Number of samples in this result.
    pub samples: u32,
    /// Resolution of the server's responses: 1 ns, or one second and a tick.
    pub resolution: Nanos,
    /// How often the measurement was restarted because a clock was stepped.
    pub restarts: u32,
}

impl Offset {
    /// Returns an interval that contains the offset of the time that the server *reports*, without
    /// the allowance for a [`TICK`](super::TICK).
    ///
    /// A whole-second server whose seconds begin late reports a time behind its own clock. Clients
    /// of that server see only the reported time.
    ///
    /// `None` if there is no single such offset, because some seconds began later than others.
    pub fn reported(&self) -> Option<Interval> {
        let tick = (self.resolution - SECOND).max(0);
        let Interval { low, high } = self.estimate.interval;
        Interval::new(low, high - tick)
    }

    /// Combines the result so far with that of a further sample; `None` if they contradict each
    /// other.
    pub(super) fn intersection(self, sample: Self) -> Option<Self> {
        Some(Self {
            estimate: self.estimate.intersection(sample.estimate)?,
            round_trip: self.round_trip.min(sample.round_trip),
            samples: self.samples + sample.samples,
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(low: Nanos, high: Nanos, resolution: Nanos) -> Offset {
        Offset {
            estimate: Estimate {
                interval: Interval::new(low, high).unwrap(),
                as_of: 0,
            },
            round_trip: 7,
            samples: 1,
            resolution,
            restarts: 0,
        }
    }

    #[test]
    fn reported_interval_is_without_the_tick() {
        for (low, high, resolution, expected) in [
            (-5, 20, 1, Some((-5, 20))),
            (-5, 20, SECOND, Some((-5, 20))),
            (-5, 20, SECOND + 12, Some((-5, 8))),
            (-5, 20, SECOND + 25, Some((-5, -5))),
            (-5, 20, SECOND + 26, None),
        ] {
            let reported = offset(low, high, resolution).reported();
            assert_eq!(reported.map(|i| (i.low(), i.high())), expected);
        }
    }

    #[test]
    fn intersection_sums_samples_and_keeps_the_rest() {
        let first = Offset {
            restarts: 2,
            ..offset(0, 10, 1)
        };
        let second = Offset {
            round_trip: 5,
            samples: 3,
            ..offset(4, 20, 1)
        };
        let both = first.intersection(second).unwrap();
        assert_eq!(both.estimate.interval, Interval::new(4, 10).unwrap());
        assert_eq!((both.round_trip, both.samples, both.restarts), (5, 4, 2));
        assert_eq!(first.intersection(offset(11, 20, 1)), None);
    }
}

//! Intervals that hold the offset, and how they age.

use super::Nanos;

/// How fast two clocks may run apart, in parts per million.
///
/// 500 is the fastest the Linux kernel slews a clock (adjtime(3), and the frequency limit of adjtimex(2), also that of
/// RFC 5905, section 11.3); a bare crystal stays within a fifth of it. The one common thing beyond it is chronyd working
/// off a large offset by slewing (its `maxslewrate`), a time in which nobody should ask how far off the clock *is*.
pub const DRIFT_PPM: Nanos = 500;

/// A closed interval, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    pub(super) low: Nanos,
    pub(super) high: Nanos,
}

impl Interval {
    /// From `low` to `high`, both included; `None` if that is empty.
    pub fn new(low: Nanos, high: Nanos) -> Option<Self> {
        (low <= high).then_some(Self { low, high })
    }

    /// As far from `middle` either way.
    pub fn around(middle: Nanos, distance: Nanos) -> Self {
        Self {
            low: middle - distance.abs(),
            high: middle + distance.abs(),
        }
    }

    /// The smallest that covers both.
    pub fn hull(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
        }
    }

    /// The lower end.
    pub fn low(self) -> Nanos {
        self.low
    }

    /// The upper end.
    pub fn high(self) -> Nanos {
        self.high
    }

    /// Upper minus lower end.
    pub fn width(self) -> Nanos {
        self.high - self.low
    }

    /// The middle, rounded down.
    pub fn middle(self) -> Nanos {
        self.low + self.width() / 2
    }

    /// The error bound of [`middle`](Self::middle): half the width, rounded up, so that `middle ± bound` covers all of it.
    pub fn bound(self) -> Nanos {
        self.high - self.middle()
    }

    /// Whether `value` is inside.
    pub fn contains(self, value: Nanos) -> bool {
        self.low <= value && value <= self.high
    }

    /// What two intervals share.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.low.max(other.low), self.high.min(other.high))
    }

    /// The same with `by` more on both sides (`by` is never negative).
    pub(super) fn widened(self, by: Nanos) -> Self {
        Self {
            low: self.low - by,
            high: self.high + by,
        }
    }

    /// The smallest distance from zero in the interval: the offset is **certainly** no nearer than this.
    pub fn min_abs(self) -> Nanos {
        if self.contains(0) {
            0
        } else {
            self.low.abs().min(self.high.abs())
        }
    }

    /// The largest distance from zero in the interval: the offset is **certainly** no further off than this.
    pub fn max_abs(self) -> Nanos {
        self.low.abs().max(self.high.abs())
    }
}

/// An interval that held the offset at one moment. It ages: two clocks drift apart, at most by [`DRIFT_PPM`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Holds the offset (server minus ours) as of that moment.
    pub interval: Interval,
    /// The moment, of our clock.
    pub as_of: Nanos,
}

impl Estimate {
    /// The interval that still holds the offset at another moment of our clock.
    pub fn aged_to(self, moment: Nanos) -> Interval {
        self.interval.widened(drift(moment - self.as_of))
    }

    /// What both together say, as of the later; `None` if they contradict each other.
    pub(super) fn intersection(self, other: Self) -> Option<Self> {
        let as_of = self.as_of.max(other.as_of);
        Some(Self {
            interval: self.aged_to(as_of).intersection(other.aged_to(as_of))?,
            as_of,
        })
    }
}

/// How far apart two clocks may have drifted in `elapsed`, rounded up.
pub(super) fn drift(elapsed: Nanos) -> Nanos {
    (elapsed.abs() * DRIFT_PPM + 999_999) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(low: Nanos, high: Nanos) -> Interval {
        Interval::new(low, high).unwrap()
    }

    #[test]
    fn middle_and_bound_cover_the_whole_interval_even_if_its_width_is_odd() {
        for (low, high) in [(-3, 4), (-4, 3), (0, 1), (5, 5), (-1, 0)] {
            let i = interval(low, high);
            assert!(
                i.middle() - i.bound() <= low && high <= i.middle() + i.bound(),
                "{i:?}"
            );
            assert!(2 * i.bound() <= i.width() + 1, "{i:?}");
        }
    }

    #[test]
    fn least_and_most_are_what_is_certain_of_the_distance_from_zero() {
        for (low, high, least, most) in [(-2, 5, 0, 5), (2, 5, 2, 5), (-5, -2, 2, 5), (0, 0, 0, 0)]
        {
            assert_eq!(
                (interval(low, high).min_abs(), interval(low, high).max_abs()),
                (least, most)
            );
        }
    }
}

//! Intervals that contain the offset, and how they widen with time.

use super::nanos::{Nanos, Ppm};

/// A closed interval. It is never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    pub(super) low: Nanos,
    pub(super) high: Nanos,
}

impl Interval {
    /// Returns the interval from `low` to `high`, both included; `None` if `low > high`.
    pub fn new(low: Nanos, high: Nanos) -> Option<Self> {
        (low <= high).then_some(Self { low, high })
    }

    /// Returns the interval that extends from `middle` by `distance` to both sides.
    pub fn around(middle: Nanos, distance: Nanos) -> Self {
        Self {
            low: middle - distance.abs(),
            high: middle + distance.abs(),
        }
    }

    /// Returns the smallest interval that covers both.
    pub fn hull(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
        }
    }

    /// Returns the lower end.
    pub fn low(self) -> Nanos {
        self.low
    }

    /// Returns the upper end.
    pub fn high(self) -> Nanos {
        self.high
    }

    /// Returns the upper end minus the lower end.
    pub fn width(self) -> Nanos {
        self.high - self.low
    }

    /// Returns the middle, rounded down.
    pub fn middle(self) -> Nanos {
        self.low + self.width() / 2
    }

    /// Returns the error bound of [`middle`](Self::middle): half the width, rounded up, so that
    /// `middle ± bound` covers the interval.
    pub fn bound(self) -> Nanos {
        self.high - self.middle()
    }

    /// Returns whether `value` is in the interval.
    pub fn contains(self, value: Nanos) -> bool {
        self.low <= value && value <= self.high
    }

    /// Returns the interval that both have in common; `None` if they have no point in common.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.low.max(other.low), self.high.min(other.high))
    }

    /// Returns the interval extended by `margin` on both sides; `margin` is not negative.
    pub fn widened(self, margin: Nanos) -> Self {
        Self {
            low: self.low - margin,
            high: self.high + margin,
        }
    }

    /// Returns the interval of the differences of a value in this interval and one in `other`.
    pub fn minus(self, other: Self) -> Self {
        Self {
            low: self.low - other.high,
            high: self.high - other.low,
        }
    }

    /// Returns the minimum of the absolute values in the interval. An offset in the interval is
    /// certainly not smaller.
    pub fn min_abs(self) -> Nanos {
        if self.contains(0) {
            0
        } else {
            self.low.abs().min(self.high.abs())
        }
    }

    /// Returns the maximum of the absolute values in the interval. An offset in the interval is
    /// certainly not larger.
    pub fn max_abs(self) -> Nanos {
        self.low.abs().max(self.high.abs())
    }
}

/// An interval that contains the difference of two clocks at one moment, and how fast the
/// difference changes at most.
///
/// A [`Measurement`](super::Measurement) gives the server's clock minus the raw clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Contains the difference at the time `as_of`.
    pub interval: Interval,
    /// A time of the raw clock.
    pub as_of: Nanos,
    /// Maximum change of the difference in a million units of time.
    pub max_slew: Ppm,
}

impl Estimate {
    /// Returns an interval that contains the difference when the raw clock reads `time`, which may
    /// be before or after `as_of`.
    pub fn aged_to(self, time: Nanos) -> Interval {
        self.interval.widened(self.max_change(time - self.as_of))
    }

    /// Returns by how much the difference changes in `elapsed` at most, rounded up.
    pub(super) fn max_change(self, elapsed: Nanos) -> Nanos {
        (elapsed.abs() * Nanos::from(self.max_slew) + 999_999) / 1_000_000
    }

    /// Combines two estimates of one difference, as of the later of them; `None` if they contradict
    /// each other.
    pub(super) fn intersection(self, other: Self) -> Option<Self> {
        let as_of = self.as_of.max(other.as_of);
        Some(Self {
            interval: self.aged_to(as_of).intersection(other.aged_to(as_of))?,
            as_of,
            max_slew: self.max_slew.max(other.max_slew),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::nanos::SECOND;
    use super::*;

    fn interval(low: Nanos, high: Nanos) -> Interval {
        Interval::new(low, high).unwrap()
    }

    #[test]
    fn interval_is_closed_and_not_empty() {
        assert_eq!(Interval::new(3, 2), None);
        for (value, inside) in [(1, false), (2, true), (3, true), (4, false)] {
            assert_eq!(interval(2, 3).contains(value), inside, "{value}");
        }
        assert_eq!(interval(-7, 4).width(), 11);
    }

    #[test]
    fn around_takes_a_distance_of_either_sign() {
        assert_eq!(Interval::around(10, 3), interval(7, 13));
        assert_eq!(Interval::around(10, -3), interval(7, 13));
    }

    #[test]
    fn hull_covers_both_and_intersection_is_common() {
        for (a, b, hull, common) in [
            ((0, 5), (3, 9), (0, 9), Some((3, 5))),
            ((0, 9), (3, 5), (0, 9), Some((3, 5))),
            ((0, 3), (3, 5), (0, 5), Some((3, 3))),
            ((0, 2), (3, 5), (0, 5), None),
        ] {
            for (a, b) in [(a, b), (b, a)] {
                let (a, b) = (interval(a.0, a.1), interval(b.0, b.1));
                assert_eq!(a.hull(b), interval(hull.0, hull.1));
                assert_eq!(a.intersection(b), common.map(|(l, h)| interval(l, h)));
            }
        }
    }

    #[test]
    fn minus_covers_all_differences() {
        assert_eq!(interval(10, 13).minus(interval(1, 5)), interval(5, 12));
    }

    // Widths that are odd too: the middle is rounded down, so the bound must be rounded up.
    #[test]
    fn middle_and_bound_cover_the_interval() {
        for (low, high, middle, bound) in [
            (-3, 4, 0, 4),
            (-4, 3, -1, 4),
            (0, 1, 0, 1),
            (5, 5, 5, 0),
            (-1, 0, -1, 1),
            (10, 20, 15, 5),
        ] {
            let i = interval(low, high);
            assert_eq!((i.middle(), i.bound()), (middle, bound), "{i:?}");
            assert!(middle - bound <= low && high <= middle + bound, "{i:?}");
        }
    }

    #[test]
    fn min_abs_and_max_abs() {
        for (low, high, min_abs, max_abs) in [
            (-2, 5, 0, 5),
            (-7, 5, 0, 7),
            (2, 5, 2, 5),
            (-5, -2, 2, 5),
            (0, 0, 0, 0),
        ] {
            let i = interval(low, high);
            assert_eq!((i.min_abs(), i.max_abs()), (min_abs, max_abs), "{i:?}");
        }
    }

    #[test]
    fn an_estimate_ages_by_the_slew_rounded_up_both_ways() {
        let estimate = Estimate {
            interval: interval(-10, 30),
            as_of: 5 * SECOND,
            max_slew: 500,
        };
        for (elapsed, change) in [
            (0, 0),
            (1, 1),
            (2_000, 1),
            (2_001, 2),
            (SECOND, 500_000),
            (-SECOND, 500_000),
        ] {
            let aged = estimate.aged_to(5 * SECOND + elapsed);
            assert_eq!(aged, interval(-10 - change, 30 + change), "{elapsed}");
        }
        let fast = Estimate {
            max_slew: 100_000,
            ..estimate
        };
        assert_eq!(fast.aged_to(5 * SECOND + 70), interval(-17, 37));
    }

    #[test]
    fn estimates_combine_as_of_the_later_with_the_larger_slew() {
        let early = Estimate {
            interval: interval(0, 100),
            as_of: 0,
            max_slew: 500,
        };
        let late = Estimate {
            interval: interval(90, 2_000),
            as_of: 2_000_000,
            max_slew: 700,
        };
        let combined = Estimate {
            interval: interval(90, 1_100),
            ..late
        };
        for both in [early.intersection(late), late.intersection(early)] {
            assert_eq!(both, Some(combined));
        }
        let far = Estimate {
            interval: interval(1_101, 2_000),
            ..late
        };
        assert_eq!(early.intersection(far), None);
    }
}

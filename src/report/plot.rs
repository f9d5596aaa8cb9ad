//! The axis and the bars of `--watch` on a terminal.

use super::units::format_offset;
use crate::offset::{Interval, Nanos};

/// A plot of intervals, one bar in each line, on an axis that changes as rarely as possible.
#[derive(Debug, Default)]
pub(super) struct Plot {
    axis: Option<Interval>,
    recent: Vec<Interval>,
}

impl Plot {
    /// Number of recent intervals that the axis has to cover.
    const RECENT: usize = 20;

    /// An axis that is more than this many times as wide as the recent intervals is replaced.
    const MAX_ZOOM: Nanos = 12;

    /// Adds one more interval. Returns the axis, which covers it.
    pub(super) fn add(&mut self, interval: Interval) -> Interval {
        if self.recent.len() == Self::RECENT {
            self.recent.remove(0);
        }
        self.recent.push(interval);
        let range = self.recent.iter().fold(interval, |a, b| a.hull(*b));
        let axis = match self.axis.filter(|axis| fits(*axis, range)) {
            Some(axis) => axis,
            None => axis_for(range),
        };
        self.axis = Some(axis);
        axis
    }
}

/// Returns whether `axis` covers `range` and is not too wide for it.
fn fits(axis: Interval, range: Interval) -> bool {
    range.hull(axis) == axis && axis.width() <= Plot::MAX_ZOOM * range.width().max(1)
}

/// Returns an axis for `range`: two to five times as wide, with round numbers at its ends.
fn axis_for(range: Interval) -> Interval {
    let mut step = 1;
    // The steps are 1, 2, 5, 10, 20, 50 and so on: each is twice the one before, and two and a half
    // times if that begins with a 2.
    while 2 * step < range.width() {
        step = if step.to_string().starts_with('2') {
            step / 2 * 5
        } else {
            2 * step
        };
    }
    let middle = (range.middle() + step / 2).div_euclid(step) * step;
    Interval::around(middle, 2 * step)
}

/// Returns the ends of an axis as text.
pub(super) fn labels(axis: Interval) -> [String; 2] {
    [format_offset(axis.low()), format_offset(axis.high())]
}

/// Returns an interval as a bar on an axis so many columns wide: `--o--` with its middle, and `|`
/// for zero if the axis covers it.
pub(super) fn bar(axis: Interval, interval: Interval, columns: usize) -> String {
    let last = columns.saturating_sub(1) as Nanos;
    let column = |value: Nanos| {
        let column = ((value - axis.low()) * last + axis.width() / 2).div_euclid(axis.width());
        column.clamp(0, last) as usize
    };
    let mut bar = vec![' '; last as usize + 1];
    if axis.contains(0) {
        bar[column(0)] = '|';
    }
    bar[column(interval.low())..=column(interval.high())].fill('-');
    bar[column(interval.middle())] = 'o';
    bar.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset::SECOND;
    use proptest::prelude::*;

    fn interval(low: Nanos, high: Nanos) -> Interval {
        Interval::new(low, high).unwrap()
    }

    #[test]
    fn axis_stays_until_an_interval_leaves_it() {
        let mut plot = Plot::default();
        for (interval, labels, bar) in [
            (
                Interval::around(0, 5_000),
                ["-0.000010000", "+0.000010000"],
                "         ---------o---------         ",
            ),
            (
                Interval::around(4_000, 2_000),
                ["-0.000010000", "+0.000010000"],
                "                  |   ---o----       ",
            ),
            (
                Interval::around(3_500_000_000, 2_000),
                ["-2.000000000", "+6.000000000"],
                "         |               o           ",
            ),
        ] {
            let axis = plot.add(interval);
            assert_eq!(super::labels(axis), labels);
            assert_eq!(super::bar(axis, interval, 37), bar);
        }
    }

    // The axis has to cover the last 20 intervals: the outlier is one of them 19 times more.
    #[test]
    fn axis_narrows_after_an_outlier_of_20_lines_ago() {
        let mut plot = Plot::default();
        let mut axis = plot.add(Interval::around(SECOND, 5_000));
        let mut is_new = || {
            let before = axis;
            axis = plot.add(Interval::around(0, 5_000));
            axis != before
        };
        let changes: Vec<_> = (1..=30).filter(|_| is_new()).collect();
        assert_eq!(changes, [1, 20]);
    }

    #[test]
    fn axis_is_kept_up_to_twelve_times_the_range() {
        let axis = interval(-60, 60);
        for (low, high, kept) in [
            (-5, 5, true),
            (0, 9, false),
            (-60, 60, true),
            (-61, 60, false),
            (-60, 61, false),
        ] {
            assert_eq!(fits(axis, interval(low, high)), kept, "{low} to {high}");
        }
        // A range without width counts as 1 ns.
        assert!(fits(interval(0, 12), interval(3, 3)));
        assert!(!fits(interval(0, 13), interval(3, 3)));
    }

    #[test]
    fn axis_has_round_ends() {
        for (low, high, axis) in [
            (7, 7, (5, 9)),
            (0, 2, (-1, 3)),
            (0, 3, (-2, 6)),
            (0, 5, (-10, 10)),
            (10, 14, (8, 16)),
            (-3, 17, (-10, 30)),
            (100, 121, (80, 160)),
            (0, 90, (-50, 150)),
        ] {
            let (low_end, high_end) = axis;
            assert_eq!(
                axis_for(interval(low, high)),
                interval(low_end, high_end),
                "{low} to {high}"
            );
        }
    }

    // Positions are rounded to the nearest column; what is outside is drawn at the end.
    #[test]
    fn bar_is_drawn_to_scale() {
        let axis = interval(-18, 18);
        for (low, high, expected) in [
            (-18, 18, format!("{}o{}", "-".repeat(18), "-".repeat(18))),
            (-18, -18, format!("o{}|{}", " ".repeat(17), " ".repeat(18))),
            (18, 18, format!("{}|{}o", " ".repeat(18), " ".repeat(17))),
            (2, 4, format!("{}| -o-{}", " ".repeat(18), " ".repeat(14))),
            (90, 99, format!("{}|{}o", " ".repeat(18), " ".repeat(17))),
        ] {
            assert_eq!(
                bar(axis, interval(low, high), 37),
                expected,
                "{low} to {high}"
            );
        }
        // Zero is not on the axis.
        assert!(!bar(interval(10, 82), interval(46, 46), 37).contains('|'));
        // Two nanoseconds are one column: 47 is nearer to the column of 48 than to that of 46.
        let column = bar(interval(10, 82), interval(47, 47), 37).find('o');
        assert_eq!(column, Some(19));
    }

    proptest! {
        #[test]
        fn bar_fills_the_columns(
            intervals in prop::collection::vec(
                (-10i128.pow(19)..10i128.pow(19), 0..10i128.pow(10)),
                1..50,
            ),
            columns in 1..300usize,
        ) {
            let mut plot = Plot::default();
            for (low, width) in intervals {
                let interval = interval(low, low + width);
                let axis = plot.add(interval);
                prop_assert_eq!(axis.hull(interval), axis);
                prop_assert_eq!(bar(axis, interval, columns).chars().count(), columns);
            }
        }
    }
}

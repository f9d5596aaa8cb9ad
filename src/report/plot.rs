//! A look at the offset again and again: the running plot, and the summary at the end.
//!
//! Pure, like [`report`](crate::report): estimates in, strings out.

use super::units::signed;
use crate::offset::{Interval, Nanos};

/// The running plot: each interval a bar on a common axis, one below the other.
#[derive(Debug, Default)]
pub struct Plot {
    axis: Option<Interval>,
    recent: Vec<Interval>,
}

impl Plot {
    /// How wide it is, in columns.
    pub const COLUMNS: usize = 37;

    /// How many of the last intervals decide on the axis.
    const RECENT: usize = 20;

    /// The bar of one more interval, and the axis to print above it where that is a new one.
    pub fn draw(&mut self, interval: Interval) -> (Option<String>, String) {
        if self.recent.len() == Self::RECENT {
            self.recent.remove(0);
        }
        self.recent.push(interval);
        let seen = self
            .recent
            .iter()
            .fold(interval, |hull, next| hull.hull(*next));
        let fits =
            |axis: &Interval| seen.hull(*axis) == *axis && axis.width() <= 12 * seen.width().max(1);
        if let Some(axis) = self.axis.filter(fits) {
            return (None, bar(axis, interval));
        }
        let axis = axis(seen);
        self.axis = Some(axis);
        (Some(ruler(axis)), bar(axis, interval))
    }
}

/// Round numbers for its ends, and room around: two to five times as wide as what was seen.
fn axis(seen: Interval) -> Interval {
    let mut step = 1;
    // 1, 2, 5, 10, 20, 50: the next of the series is twice the last, or two and a half times where it began with a 2.
    while 2 * step < seen.width() {
        step = if step.to_string().starts_with('2') {
            step / 2 * 5
        } else {
            2 * step
        };
    }
    let middle = (seen.middle() + step / 2).div_euclid(step) * step;
    Interval::around(middle, 2 * step)
}

fn ruler(axis: Interval) -> String {
    let (low, high) = (signed(axis.low()), signed(axis.high()));
    format!("{low}{high:>0$}", Plot::COLUMNS.saturating_sub(low.len()))
}

fn bar(axis: Interval, interval: Interval) -> String {
    let last = Plot::COLUMNS as Nanos - 1;
    let column = |value: Nanos| {
        let column = ((value - axis.low()) * last + axis.width() / 2).div_euclid(axis.width());
        column.clamp(0, last) as usize
    };
    let mut bar = [' '; Plot::COLUMNS];
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

    #[test]
    fn the_axis_stays_until_an_interval_leaves_it() {
        let mut plot = Plot::default();
        let (ruler, bar) = plot.draw(Interval::around(0, 5_000));
        assert_eq!(
            ruler.as_deref(),
            Some("-0.000010000             +0.000010000")
        );
        assert_eq!(bar, "         ---------o---------         ");
        let (ruler, bar) = plot.draw(Interval::around(4_000, 2_000));
        assert_eq!(ruler, None);
        assert_eq!(bar, "                  |   ---o----       ");
        let (ruler, bar) = plot.draw(Interval::around(3_500_000_000, 2_000));
        assert_eq!(
            ruler.as_deref(),
            Some("-2.000000000             +6.000000000")
        );
        assert_eq!(bar, "         |               o           ");
    }

    #[test]
    fn the_axis_narrows_again_once_an_outlier_is_long_past() {
        let mut plot = Plot::default();
        plot.draw(Interval::around(SECOND, 5_000));
        let mut rulers = 0;
        for _ in 0..30 {
            rulers += usize::from(plot.draw(Interval::around(0, 5_000)).0.is_some());
        }
        assert_eq!(rulers, 2);
    }

    proptest! {
        #[test]
        fn a_bar_is_as_wide_as_the_picture_and_its_ruler_too(
            intervals in prop::collection::vec((-10i128.pow(14)..10i128.pow(14), 0..10i128.pow(10)), 1..50),
        ) {
            let mut plot = Plot::default();
            for (low, width) in intervals {
                let (ruler, bar) = plot.draw(Interval::new(low, low + width).unwrap());
                prop_assert_eq!(bar.chars().count(), Plot::COLUMNS);
                prop_assert!(ruler.is_none_or(|r| r.chars().count() >= Plot::COLUMNS));
                prop_assert!(plot.axis.unwrap().hull(Interval::new(low, low + width).unwrap()) == plot.axis.unwrap());
            }
        }
    }
}

//! A look at the offset again and again: the running picture, and the summary at the end.
//!
//! Pure, like [`report`](crate::report): estimates in, strings out.

use crate::offset::{Estimate, Interval, Nanos, SECOND};
use crate::report::units::{about, plural, signed};

/// The running picture: each interval a bar on a common axis, one below the other.
#[derive(Debug, Default)]
pub struct Picture {
    axis: Option<Interval>,
    recent: Vec<Interval>,
}

impl Picture {
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
    format!(
        "{low}{high:>0$}",
        Picture::COLUMNS.saturating_sub(low.len())
    )
}

fn bar(axis: Interval, interval: Interval) -> String {
    let last = Picture::COLUMNS as Nanos - 1;
    let column = |value: Nanos| {
        let column = ((value - axis.low()) * last + axis.width() / 2).div_euclid(axis.width());
        column.clamp(0, last) as usize
    };
    let mut bar = [' '; Picture::COLUMNS];
    if axis.contains(0) {
        bar[column(0)] = '|';
    }
    bar[column(interval.low())..=column(interval.high())].fill('-');
    bar[column(interval.middle())] = 'o';
    bar.into_iter().collect()
}

/// What is kept of all the looks.
#[derive(Debug, Default)]
pub struct Summary {
    looks: usize,
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    times: usize,
    all: Interval,
    narrowest: Nanos,
    first: Estimate,
    last: Estimate,
}

impl Summary {
    /// One more look, and what it found.
    pub fn add(&mut self, found: Option<Estimate>) {
        self.looks += 1;
        let Some(found) = found else { return };
        let (all, narrowest) = (found.interval, found.interval.bound());
        let seen = self.seen.get_or_insert(Seen {
            times: 0,
            all,
            narrowest,
            first: found,
            last: found,
        });
        seen.times += 1;
        seen.all = seen.all.hull(found.interval);
        seen.narrowest = seen.narrowest.min(narrowest);
        seen.last = found;
    }

    /// Whether any look found an offset.
    pub fn any(&self) -> bool {
        self.seen.is_some()
    }

    /// Two lines: how many looks, the offset's range, the narrowest bound; and how fast the clocks ran apart, which is
    /// certain too: the offset went from somewhere in the first interval to somewhere in the last.
    pub fn text(&self) -> String {
        let looks = plural(self.looks, "look");
        let Some(Seen {
            times,
            all,
            narrowest,
            first,
            last,
        }) = &self.seen
        else {
            return format!("{looks}, no offset\n");
        };
        let (low, high) = (signed(all.low()), signed(all.high()));
        let mut text = format!(
            "{looks}, {times} with an offset: {low} to {high} s, at best ± {}\n",
            about(*narrowest)
        );
        let elapsed = last.as_of - first.as_of;
        if elapsed >= SECOND {
            // Nanoseconds in a second, to a thousandth: parts per billion are enough digits for any clock.
            let rate = |change: Nanos| change as f64 * 1e6 / elapsed as f64;
            let slowest = rate(last.interval.low() - first.interval.high());
            let fastest = rate(last.interval.high() - first.interval.low());
            text += &format!(
                "in {}: the clocks ran apart by {slowest:+.3} to {fastest:+.3} ppm\n",
                about(elapsed)
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn estimate(low: Nanos, high: Nanos, as_of: Nanos) -> Estimate {
        Estimate {
            interval: Interval::new(low, high).unwrap(),
            as_of,
        }
    }

    #[test]
    fn the_axis_stays_until_an_interval_leaves_it() {
        let mut picture = Picture::default();
        let (ruler, bar) = picture.draw(Interval::around(0, 5_000));
        assert_eq!(
            ruler.as_deref(),
            Some("-0.000010000             +0.000010000")
        );
        assert_eq!(bar, "         ---------o---------         ");
        let (ruler, bar) = picture.draw(Interval::around(4_000, 2_000));
        assert_eq!(ruler, None);
        assert_eq!(bar, "                  |   ---o----       ");
        let (ruler, bar) = picture.draw(Interval::around(3_500_000_000, 2_000));
        assert_eq!(
            ruler.as_deref(),
            Some("-2.000000000             +6.000000000")
        );
        assert_eq!(bar, "         |               o           ");
    }

    #[test]
    fn the_axis_narrows_again_once_an_outlier_is_long_past() {
        let mut picture = Picture::default();
        picture.draw(Interval::around(SECOND, 5_000));
        let mut rulers = 0;
        for _ in 0..30 {
            rulers += usize::from(picture.draw(Interval::around(0, 5_000)).0.is_some());
        }
        assert_eq!(rulers, 2);
    }

    #[test]
    fn the_summary_tells_the_range_the_narrowest_bound_and_how_fast_the_clocks_ran_apart() {
        let mut summary = Summary::default();
        assert!(!summary.any());
        assert_eq!(summary.text(), "0 looks, no offset\n");
        summary.add(Some(estimate(-1_000, 1_000, 0)));
        summary.add(None);
        summary.add(Some(estimate(9_500, 10_500, 10 * SECOND)));
        assert!(summary.any());
        assert_eq!(
            summary.text(),
            "3 looks, 2 with an offset: -0.000001000 to +0.000010500 s, at best ± 500 ns\n\
             in 10.0 s: the clocks ran apart by +0.850 to +1.150 ppm\n"
        );
    }

    proptest! {
        #[test]
        fn a_bar_is_as_wide_as_the_picture_and_its_ruler_too(
            intervals in prop::collection::vec((-10i128.pow(14)..10i128.pow(14), 0..10i128.pow(10)), 1..50),
        ) {
            let mut picture = Picture::default();
            for (low, width) in intervals {
                let (ruler, bar) = picture.draw(Interval::new(low, low + width).unwrap());
                prop_assert_eq!(bar.chars().count(), Picture::COLUMNS);
                prop_assert!(ruler.is_none_or(|r| r.chars().count() >= Picture::COLUMNS));
                prop_assert!(picture.axis.unwrap().hull(Interval::new(low, low + width).unwrap()) == picture.axis.unwrap());
            }
        }
    }
}

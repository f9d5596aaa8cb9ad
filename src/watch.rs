//! A look at the offset again and again: the running picture, and the summary at the end.
//!
//! Pure, like [`report`](crate::report): estimates in, strings out.

use crate::offset::{Estimate, Interval, Nanos, SECOND};
use crate::report::{about, plural, signed};

/// The running picture: each interval a bar on a common axis, one below the other.
#[derive(Debug, Default)]
pub struct Picture {
    axis: Option<Interval>,
    recent: Vec<Interval>,
}

impl Picture {
    /// How wide it is, in columns.
    pub const COLUMNS: usize = 31;

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
            "{looks}, {times} with an offset: {low} to {high} s, narrowest bound {}\n",
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

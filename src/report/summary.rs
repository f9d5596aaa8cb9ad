//! The summary at the end of `--watch`.

use super::units::{format_duration, plural, signed};
use crate::offset::{Estimate, Interval, Nanos, SECOND};

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
            format_duration(*narrowest)
        );
        let elapsed = last.as_of - first.as_of;
        if elapsed >= SECOND {
            // Nanoseconds in a second, to a thousandth: parts per billion are enough digits for any clock.
            let rate = |change: Nanos| change as f64 * 1e6 / elapsed as f64;
            let slowest = rate(last.interval.low() - first.interval.high());
            let fastest = rate(last.interval.high() - first.interval.low());
            text += &format!(
                "in {}: the clocks ran apart by {slowest:+.3} to {fastest:+.3} ppm\n",
                format_duration(elapsed)
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(low: Nanos, high: Nanos, as_of: Nanos) -> Estimate {
        Estimate {
            interval: Interval::new(low, high).unwrap(),
            as_of,
        }
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
}

//! The summary at the end of `--watch`.

use super::units::{format_duration, format_offset, plural};
use crate::offset::{Estimate, Interval, Nanos, SECOND};

/// Collects the measurements of `--watch` for the summary.
#[derive(Debug, Default)]
pub struct Summary {
    measurements: usize,
    offsets: Option<Offsets>,
}

/// What the summary says of the measurements that gave an offset.
#[derive(Debug)]
struct Offsets {
    count: usize,
    /// Covers all intervals.
    range: Interval,
    min_bound: Nanos,
    first: Estimate,
    last: Estimate,
}

impl Summary {
    /// Adds a measurement and its result.
    pub fn add(&mut self, estimate: Option<Estimate>) {
        self.measurements += 1;
        let Some(estimate) = estimate else { return };
        let (range, min_bound) = (estimate.interval, estimate.interval.bound());
        let offsets = self.offsets.get_or_insert(Offsets {
            count: 0,
            range,
            min_bound,
            first: estimate,
            last: estimate,
        });
        offsets.count += 1;
        offsets.range = offsets.range.hull(range);
        offsets.min_bound = offsets.min_bound.min(min_bound);
        offsets.last = estimate;
    }

    /// Returns whether any measurement gave an offset.
    pub fn any_offset(&self) -> bool {
        self.offsets.is_some()
    }

    /// Returns one or two lines: the number of measurements, the range of the offset and the
    /// smallest bound; then, after a second at least, how fast the clocks drifted apart. The drift
    /// is an interval like the offset and as certain: from any offset in the first interval to any
    /// in the last.
    pub fn text(&self) -> String {
        let measurements = plural(self.measurements, "measurement");
        let Some(offsets) = &self.offsets else {
            return format!("{measurements}, no offset\n");
        };
        let Offsets {
            count,
            range,
            min_bound,
            first,
            last,
        } = offsets;
        let (low, high) = (format_offset(range.low()), format_offset(range.high()));
        let mut text = format!(
            "{measurements}, {count} with an offset: {low} to {high} s, at best ± {}\n",
            format_duration(*min_bound)
        );
        let elapsed = last.as_of - first.as_of;
        if elapsed >= SECOND {
            // Three decimals are parts per billion, enough for any clock.
            let ppm = |change: Nanos| change as f64 * 1e6 / elapsed as f64;
            let min = ppm(last.interval.low() - first.interval.high());
            let max = ppm(last.interval.high() - first.interval.low());
            text += &format!(
                "in {}: the clocks ran apart by {min:+.3} to {max:+.3} ppm\n",
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
    fn summary_has_range_smallest_bound_and_drift() {
        let mut summary = Summary::default();
        assert!(!summary.any_offset());
        assert_eq!(summary.text(), "0 measurements, no offset\n");
        summary.add(Some(estimate(-1_000, 1_000, 0)));
        summary.add(None);
        summary.add(Some(estimate(9_500, 10_500, 10 * SECOND)));
        assert!(summary.any_offset());
        assert_eq!(
            summary.text(),
            "3 measurements, 2 with an offset: -0.000001000 to +0.000010500 s, at best ± 500 ns\n\
             in 10.0 s: the clocks ran apart by +0.850 to +1.150 ppm\n"
        );
    }

    // The drift is that from the first to the last measurement, whenever the first was.
    #[test]
    fn drift_is_shown_after_one_second() {
        for (elapsed, drift) in [
            (SECOND - 1, None),
            (
                SECOND,
                Some("in 1.00 s: the clocks ran apart by -4.000 to -1.000 ppm"),
            ),
        ] {
            let mut summary = Summary::default();
            summary.add(Some(estimate(1_000, 3_000, 7 * SECOND)));
            summary.add(Some(estimate(-1_000, 0, 7 * SECOND + elapsed)));
            assert_eq!(summary.text().lines().nth(1), drift);
        }
    }
}

//! The summary at the end of `--watch`.

use super::units::{format_duration, format_interval, format_offset, plural};
use crate::offset::{ClockPair, Interval, Nanos, SECOND};

/// A change of a clock by more than this between two measurements is a step, and no drift: 500 ppm,
/// the range of the frequency that NTP corrects (RFC 5905, section 11.3).
const MAX_DRIFT_PPM: Nanos = 500;

/// Collects the measurements of `--watch` for the summary.
#[derive(Debug, Default)]
pub struct Summary {
    measurements: usize,
    offsets: Option<Offsets>,
    steps: usize,
    last_step: Option<Step>,
}

/// What the summary says of the measurements that gave an offset.
#[derive(Debug)]
struct Offsets {
    count: usize,
    /// Covers all intervals.
    range: Interval,
    min_bound: Nanos,
    /// The first after the last step.
    first: Measured,
    last: Measured,
}

/// An offset and the local clocks of its time.
#[derive(Clone, Copy, Debug)]
struct Measured {
    offset: Interval,
    clocks: ClockPair,
}

/// A sudden change of the offset.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// Contains the change of the clock that was stepped.
    change: Interval,
    is_local: bool,
}

impl Measured {
    /// Returns the step between the two measurements, if there was one.
    fn step_since(self, earlier: Self) -> Option<Step> {
        let elapsed = self.clocks.after - earlier.clocks.before;
        let drift = (elapsed * MAX_DRIFT_PPM + 999_999) / 1_000_000;
        let wall_minus_raw = self.clocks.wall_minus_raw();
        let local = wall_minus_raw.minus(earlier.clocks.wall_minus_raw());
        let change = self.offset.minus(earlier.offset);
        // What the server's clock changed by is the change of the offset and of the local clock.
        let (low, high) = (change.low() + local.low(), change.high() + local.high());
        let server = Interval::new(low, high).unwrap_or(change);
        if local.min_abs() > drift {
            Some(Step {
                change: local,
                is_local: true,
            })
        } else if server.min_abs() > drift {
            Some(Step {
                change: server,
                is_local: false,
            })
        } else {
            None
        }
    }
}

impl Summary {
    /// Adds a measurement: its result, and the local clocks of its time.
    pub fn add(&mut self, offset: Option<Interval>, clocks: ClockPair) {
        self.measurements += 1;
        let Some(offset) = offset else { return };
        let new = Measured { offset, clocks };
        let min_bound = offset.bound();
        let offsets = self.offsets.get_or_insert(Offsets {
            count: 0,
            range: offset,
            min_bound,
            first: new,
            last: new,
        });
        if let Some(step) = new.step_since(offsets.last) {
            self.steps += 1;
            self.last_step = Some(step);
            offsets.first = new;
        }
        offsets.count += 1;
        offsets.range = offsets.range.hull(offset);
        offsets.min_bound = offsets.min_bound.min(min_bound);
        offsets.last = new;
    }

    /// Returns the exit status of `--watch`: 0 if any measurement gave an offset, else 3.
    pub fn status(&self) -> u8 {
        if self.offsets.is_some() { 0 } else { 3 }
    }

    /// Returns one to three lines: the number of measurements, the range of the offset and the
    /// smallest bound; then the steps; then, after a second at least without a step, how fast the
    /// clocks drifted apart since. The drift is an interval like the offset and as certain: from
    /// any offset in the first interval to any in the last.
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
        if let Some(Step { change, is_local }) = self.last_step {
            let clock = if is_local {
                "this machine"
            } else {
                "the server"
            };
            let (change, last) = (
                format_interval(change, "±"),
                if self.steps > 1 { ", the last" } else { "" },
            );
            let steps = plural(self.steps, "step");
            text += &format!("{steps}{last}: {clock}'s clock was stepped or slewed by {change}\n");
        }
        let elapsed = last.clocks.after - first.clocks.after;
        if elapsed >= SECOND {
            // Three decimals are parts per billion, enough for any clock.
            let ppm = |change: Nanos| change as f64 * 1e6 / elapsed as f64;
            let min = ppm(last.offset.low() - first.offset.high());
            let max = ppm(last.offset.high() - first.offset.low());
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

    fn interval(low: Nanos, high: Nanos) -> Interval {
        Interval::new(low, high).unwrap()
    }

    /// The local clocks when the raw clock reads `raw` and the wall clock was stepped by `step`.
    fn clocks(raw: Nanos, step: Nanos) -> ClockPair {
        ClockPair {
            before: raw,
            wall: raw + 1_000 * SECOND + step,
            after: raw,
        }
    }

    #[test]
    fn summary_has_range_smallest_bound_and_drift() {
        let mut summary = Summary::default();
        assert_eq!(summary.status(), 3);
        assert_eq!(summary.text(), "0 measurements, no offset\n");
        summary.add(Some(interval(-1_000, 1_000)), clocks(0, 0));
        summary.add(None, clocks(SECOND, 0));
        summary.add(Some(interval(9_500, 10_500)), clocks(10 * SECOND, 0));
        assert_eq!(summary.status(), 0);
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
            summary.add(Some(interval(1_000, 3_000)), clocks(7 * SECOND, 0));
            summary.add(Some(interval(-1_000, 0)), clocks(7 * SECOND + elapsed, 0));
            assert_eq!(summary.text().lines().nth(1), drift);
        }
    }

    // The drift is that since the step.
    #[test]
    fn a_step_is_named_and_no_drift() {
        for (local_step, offset_step, named) in [
            (
                10 * SECOND,
                -10 * SECOND,
                "this machine's clock was stepped or slewed by +10.000000000 s ± 2 ns",
            ),
            (
                0,
                -10 * SECOND,
                "the server's clock was stepped or slewed by -10.000000000 s ± 202 ns",
            ),
        ] {
            let mut summary = Summary::default();
            let offset = |step| Some(interval(step - 100, step + 100));
            for second in 0..4 {
                summary.add(offset(0), clocks(second * SECOND, 0));
            }
            summary.add(offset(offset_step), clocks(4 * SECOND, local_step));
            let without_drift = summary.text();
            assert_eq!(without_drift.lines().count(), 2, "{without_drift}");
            summary.add(offset(offset_step), clocks(5 * SECOND, local_step));
            let text = summary.text();
            let lines: Vec<_> = text.lines().skip(1).collect();
            let drift = "in 1.00 s: the clocks ran apart by -0.200 to +0.200 ppm";
            assert_eq!(lines, [format!("1 step: {named}"), drift.to_owned()]);
            summary.add(offset(0), clocks(6 * SECOND, 0));
            assert!(summary.text().contains("\n2 steps, the last: "));
        }
    }

    // 500 ppm of a second, and the uncertainty of both offsets and all clocks.
    #[test]
    fn a_change_of_up_to_500_ppm_is_drift() {
        for (change, steps) in [(500_202, 0), (500_203, 1)] {
            let mut summary = Summary::default();
            summary.add(Some(interval(-100, 100)), clocks(0, 0));
            let later = interval(change - 100, change + 100);
            summary.add(Some(later), clocks(SECOND, 0));
            assert_eq!(summary.steps, steps, "{change}");
        }
    }
}

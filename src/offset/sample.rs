//! One question and its answer: what was said, and when that was by our clocks.

use super::interval::drift;
use super::{Estimate, Interval, Nanos, Offset, SECOND};

/// What a server said its clock reads: at least `time`, and less than `time + resolution`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerTime {
    /// Nanoseconds since the Unix epoch.
    pub time: Nanos,
    /// One nanosecond; or one second and a tick.
    pub resolution: Nanos,
}

impl ServerTime {
    /// Reads the answer to `%s.%N` or `%s`.
    ///
    /// Nine digits behind the point are nanoseconds. Anything else there is how one strftime or another passes on a
    /// conversion that it does not know (`%N` in glibc, `N` in the BSDs), and the seconds before it are as good as ever.
    /// These may be late by a `tick` (see [`TICK`](super::TICK)). `None` for what does not begin with whole seconds.
    pub fn parse(answer: &str, tick: Nanos) -> Option<Self> {
        let (seconds, fraction) = match answer.split_once('.') {
            Some((seconds, fraction)) => (seconds, Some(fraction)),
            None => (answer, None),
        };
        if seconds.starts_with('+') {
            return None;
        }
        let time = Nanos::from(seconds.parse::<i64>().ok()?) * SECOND;
        Some(match fraction {
            Some(digits) if digits.len() == 9 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                Self {
                    time: time + digits.parse::<Nanos>().ok()?,
                    resolution: 1,
                }
            }
            _ => Self {
                time,
                resolution: SECOND + tick,
            },
        })
    }
}

/// Our two clocks, looked at together: monotonic, wall, monotonic again.
#[derive(Clone, Copy, Debug)]
pub struct ClockPair {
    /// CLOCK_MONOTONIC before the wall clock was read, from any origin that stays the same.
    pub before: Nanos,
    /// CLOCK_REALTIME.
    pub wall: Nanos,
    /// CLOCK_MONOTONIC after the wall clock was read.
    pub after: Nanos,
}

impl ClockPair {
    /// Wall minus monotonic clock, which only a step of the wall clock (or a suspended machine) changes: slewing moves
    /// both alike, clock_gettime(2). An interval for the same reason as the offset, so a step shows as soon as it is
    /// larger than a look takes; 1 ns more for the digits cut off.
    pub(super) fn wall_minus_mono(self) -> Interval {
        Interval {
            low: self.wall - self.after.max(self.before),
            high: self.wall - self.before,
        }
        .widened(1)
    }
}

/// One question and its answer.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Our clocks, some time before.
    pub before: ClockPair,
    /// CLOCK_MONOTONIC when the question went out, at the earliest.
    pub sent_at: Nanos,
    /// CLOCK_MONOTONIC when the answer was in, at the latest.
    pub received_at: Nanos,
    /// Our clocks, some time after.
    pub after: ClockPair,
    /// What the server said.
    pub server_time: ServerTime,
}

impl Sample {
    /// The theorem, with `t1` and `t4` on our wall clock as early and as late as the difference of our clocks allows.
    ///
    /// It gives the offset at a moment within the round trip; to hold at its end, the interval is widened by what the
    /// two clocks may drift apart in it.
    pub(super) fn offset(&self, base: Interval, restarts: u32) -> Offset {
        let (t1, t4) = (self.sent_at + base.low(), self.received_at + base.high());
        let ServerTime { time, resolution } = self.server_time;
        // Never empty: t1 <= t4, as `base` is no empty interval and the monotonic clock never runs back.
        let interval = Interval {
            low: time - t4,
            high: time + resolution - t1,
        };
        let estimate = Estimate {
            interval: interval.widened(drift(t4 - t1)),
            as_of: t4,
        };
        Offset {
            estimate,
            round_trip: self.received_at - self.sent_at,
            samples: 1,
            resolution,
            restarts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::TICK;
    use super::*;
    use proptest::prelude::*;

    const MILLI: Nanos = 1_000_000;

    #[test]
    fn nine_digits_are_nanoseconds_and_all_else_behind_the_point_is_a_conversion_unknown_to_the_server()
     {
        let read = |answer| ServerTime::parse(answer, 5).map(|r| (r.time, r.resolution));
        assert_eq!(
            read("1783213507.000000042"),
            Some((1_783_213_507 * SECOND + 42, 1))
        );
        assert_eq!(read("-2.500000000"), Some((-1_500 * MILLI, 1)));
        for whole in [
            "1783213507",
            "1783213507.%N",
            "1783213507.N",
            "1783213507.",
            "1783213507.12345678x",
        ] {
            assert_eq!(
                read(whole),
                Some((1_783_213_507 * SECOND, SECOND + 5)),
                "{whole}"
            );
        }
        for other in [
            "",
            "%s.%N",
            "+5",
            "12:30",
            ".5",
            "s",
            " 7",
            "99999999999999999999",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_whatever_its_bytes_makes_the_reading_panic(answer in ".{0,40}") {
            let _ = ServerTime::parse(&answer, TICK);
        }
    }
}

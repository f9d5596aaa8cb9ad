//! One request and its response: the time in it, and the times of the local clocks around it.

use super::interval::{Estimate, Interval, max_drift};
use super::nanos::{Nanos, SECOND};
use super::result::Offset;

/// What a response says of the server's clock: it read at least `time`, and less than
/// `time + resolution`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerTime {
    /// Nanoseconds since the Unix epoch.
    pub time: Nanos,
    /// 1 ns, or one second and a tick.
    pub resolution: Nanos,
}

impl ServerTime {
    /// Parses the response to `%s.%N` or `%s`.
    ///
    /// Exactly nine digits after the point are nanoseconds. Anything else after the point comes
    /// from a strftime that does not know `%N` and copies it (glibc `%N`, the BSDs `N`). Then only
    /// the seconds count, and they may be late by `tick` (see [`TICK`](super::TICK)).
    ///
    /// `None` if the response does not begin with whole seconds.
    pub fn parse(response: &str, tick: Nanos) -> Option<Self> {
        let (seconds, fraction) = match response.split_once('.') {
            Some((seconds, fraction)) => (seconds, Some(fraction)),
            None => (response, None),
        };
        // i64::from_str accepts a plus sign, which no strftime writes.
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

/// A reading of both local clocks: the wall clock between two readings of the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct ClockPair {
    /// CLOCK_MONOTONIC before the wall clock was read. Its origin is the same in all readings.
    pub before: Nanos,
    /// CLOCK_REALTIME.
    pub wall: Nanos,
    /// CLOCK_MONOTONIC after the wall clock was read.
    pub after: Nanos,
}

impl ClockPair {
    /// Returns an interval that contains the difference of the clocks, wall minus monotonic.
    ///
    /// Only a step of the wall clock or a suspended machine changes the difference: slewing changes
    /// the rate of both clocks (clock_gettime(2)). A step is detected if it is larger than the time
    /// between the two readings of the monotonic clock. The interval is wider by 1 ns on both sides
    /// because the clocks cut off what is below a nanosecond.
    pub(super) fn wall_minus_mono(self) -> Interval {
        Interval {
            low: self.wall - self.after.max(self.before),
            high: self.wall - self.before,
        }
        .widened(1)
    }
}

/// One request and its response.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The local clocks before the request was sent.
    pub before: ClockPair,
    /// A time of CLOCK_MONOTONIC not after the request was sent.
    pub sent_at: Nanos,
    /// A time of CLOCK_MONOTONIC not before the response was received.
    pub received_at: Nanos,
    /// The local clocks after the response was received.
    pub after: ClockPair,
    /// The time in the response.
    pub server_time: ServerTime,
}

impl Sample {
    /// Applies the [theorem](super). `T1` is as early and `T4` as late as `wall_minus_mono` allows.
    ///
    /// The theorem is about a moment within the round trip, and the estimate is as of `T4`, so the
    /// interval is widened by the drift of the clocks in between.
    pub(super) fn offset(&self, wall_minus_mono: Interval, restarts: u32) -> Offset {
        let t1 = self.sent_at + wall_minus_mono.low();
        let t4 = self.received_at + wall_minus_mono.high();
        let ServerTime { time, resolution } = self.server_time;
        // Not empty: t1 <= t4, because the monotonic clock does not go backwards.
        let interval = Interval {
            low: time - t4,
            high: time + resolution - t1,
        };
        let estimate = Estimate {
            interval: interval.widened(max_drift(t4 - t1)),
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
    use super::super::nanos::TICK;
    use super::super::simulation::{MICRO, MILLI};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nine_digits_after_the_point_are_nanoseconds() {
        for (response, time) in [
            ("1783213507.000000042", 1_783_213_507 * SECOND + 42),
            ("0.000000000", 0),
            ("-2.500000000", -1_500 * MILLI),
        ] {
            let resolution = 1;
            assert_eq!(
                ServerTime::parse(response, 5),
                Some(ServerTime { time, resolution })
            );
        }
    }

    #[test]
    fn any_other_fraction_is_ignored() {
        for response in [
            "1783213507",
            "1783213507.%N",
            "1783213507.N",
            "1783213507.",
            "1783213507.12345678x",
            "1783213507.12345678",
            "1783213507.1234567890",
        ] {
            let server_time = ServerTime {
                time: 1_783_213_507 * SECOND,
                resolution: SECOND + 5,
            };
            assert_eq!(
                ServerTime::parse(response, 5),
                Some(server_time),
                "{response}"
            );
        }
    }

    #[test]
    fn a_response_without_seconds_is_no_time() {
        for response in [
            "",
            "%s.%N",
            "+5",
            "12:30",
            ".5",
            "s",
            " 7",
            "99999999999999999999",
        ] {
            assert_eq!(ServerTime::parse(response, TICK), None, "{response}");
        }
    }

    #[test]
    fn clock_difference_covers_the_reading_and_1_ns() {
        for (before, wall, after, low, high) in [
            (10, 1_000, 10, 989, 991),
            (10, 1_000, 14, 985, 991),
            // The interval is not empty even if the monotonic clock goes backwards.
            (10, 1_000, 9, 989, 991),
        ] {
            let pair = ClockPair {
                before,
                wall,
                after,
            };
            assert_eq!(pair.wall_minus_mono(), Interval { low, high });
        }
    }

    // T1 and T4 by the wall clock: the monotonic clock plus the ends of the difference.
    #[test]
    fn offset_is_that_of_the_theorem_and_the_drift() {
        let clocks = ClockPair {
            before: 0,
            wall: 0,
            after: 0,
        };
        let sample = Sample {
            before: clocks,
            sent_at: 1_000,
            received_at: 1_000 + 20 * MICRO,
            after: clocks,
            server_time: ServerTime {
                time: 70 * MICRO,
                resolution: 50,
            },
        };
        let offset = sample.offset(
            Interval {
                low: 100,
                high: 107,
            },
            3,
        );
        // From T1 = 1100 to T4 = 21107 the clocks drift by 10.0035 ns at most.
        let (t1, t4, drift) = (1_100, 21_107, 11);
        assert_eq!(
            offset,
            Offset {
                estimate: Estimate {
                    interval: Interval {
                        low: 70_000 - t4 - drift,
                        high: 70_050 - t1 + drift
                    },
                    as_of: t4,
                },
                round_trip: 20 * MICRO,
                samples: 1,
                resolution: 50,
                restarts: 3,
            }
        );
    }

    proptest! {
        #[test]
        fn parse_does_not_panic(response in ".{0,40}") {
            let _ = ServerTime::parse(&response, TICK);
        }
    }
}

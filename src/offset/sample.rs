//! One request and its response, and what several of them show of the server's clock.

use super::interval::{Estimate, Interval};
use super::nanos::{Nanos, Ppm, SECOND};

/// The time in a response: the server's clock read at least `time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerTime {
    /// Nanoseconds since the Unix epoch.
    pub time: Nanos,
    /// Whether `time` is a number of seconds, and so may be late by a second.
    pub whole_seconds: bool,
}

impl ServerTime {
    /// Parses the response to `%s.%N` or `%s`. A newline at its end is ignored.
    ///
    /// Exactly nine digits after the point are nanoseconds. Anything else after the point comes
    /// from a strftime that does not know `%N` and copies it (glibc `%N`, the BSDs `N`). Then only
    /// the seconds count.
    ///
    /// `None` if the response does not begin with whole seconds.
    pub fn parse(response: &str) -> Option<Self> {
        let response = response.trim_end_matches(['\r', '\n']);
        let (seconds, fraction) = match response.split_once('.') {
            Some((seconds, fraction)) => (seconds, fraction),
            None => (response, ""),
        };
        // i64::from_str accepts a plus sign, which no strftime writes.
        if seconds.starts_with('+') {
            return None;
        }
        let time = Nanos::from(seconds.parse::<i64>().ok()?) * SECOND;
        let nanos = (fraction.len() == 9 && fraction.bytes().all(|b| b.is_ascii_digit()))
            .then(|| fraction.parse::<Nanos>().ok())
            .flatten();
        Some(Self {
            time: time + nanos.unwrap_or(0),
            whole_seconds: nanos.is_none(),
        })
    }
}

/// How precisely a server reports its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// To the nanosecond.
    Nanoseconds,
    /// In nanoseconds, of a clock that only advances once in a tick.
    Coarse,
    /// In whole seconds, which may begin a tick late.
    Seconds,
}

/// A reading of both local clocks: the wall clock between two readings of the raw clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockPair {
    /// The raw clock before the wall clock was read.
    pub before: Nanos,
    /// CLOCK_REALTIME.
    pub wall: Nanos,
    /// The raw clock after the wall clock was read.
    pub after: Nanos,
}

impl ClockPair {
    /// Returns an interval that contains the wall clock minus the raw clock.
    ///
    /// It is wider by 1 ns on both sides because the clocks cut off what is below a nanosecond.
    pub fn wall_minus_raw(self) -> Interval {
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
    /// A time of the raw clock not after the request was sent.
    pub sent_at: Nanos,
    /// A time of the raw clock not before the response was received.
    pub received_at: Nanos,
    /// The time in the response.
    pub server_time: ServerTime,
}

impl Sample {
    /// Applies the [theorem](super), as of `R4`, to a clock that is read with this precision.
    pub(super) fn estimate(&self, precision: Precision, tick: Nanos, max_slew: Ppm) -> Estimate {
        let time = self.server_time.time;
        // Not empty: the raw clock does not go backwards.
        let interval = Interval {
            low: time - self.received_at,
            high: time + precision.resolution(tick) - self.sent_at,
        };
        let estimate = Estimate {
            interval,
            as_of: self.received_at,
            max_slew,
        };
        Estimate {
            interval: estimate.aged_to(self.sent_at),
            ..estimate
        }
    }
}

impl Precision {
    /// Returns by how much the server's clock may be ahead of a time that it reports.
    pub fn resolution(self, tick: Nanos) -> Nanos {
        match self {
            Precision::Nanoseconds => 1,
            Precision::Coarse => 1 + tick,
            Precision::Seconds => SECOND + tick,
        }
    }
}

/// What the samples of one server show of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerClock {
    /// The server's clock minus the raw clock.
    pub estimate: Estimate,
    /// The shortest round trip of all samples.
    pub round_trip: Nanos,
    /// Number of samples in this result.
    pub samples: u32,
    /// How precisely the server reports its clock.
    pub precision: Precision,
    /// The allowance for late seconds, and for a coarse clock.
    pub tick: Nanos,
    /// How often the measurement was restarted because samples contradicted each other.
    pub restarts: u32,
    /// Time from the first request to the last response.
    pub duration: Nanos,
}

impl ServerClock {
    /// Returns by how much the server's clock may be ahead of a time that it reports.
    pub fn resolution(&self) -> Nanos {
        self.precision.resolution(self.tick)
    }

    /// Removes the allowance for a [`TICK`](super::TICK) from an interval of this server. What
    /// remains contains the offset of the time that a server with whole seconds *reports*.
    ///
    /// If its seconds begin late it reports a time behind its own clock. Its clients see only the
    /// reported time.
    ///
    /// `None` if there is no single such offset, because some seconds began later than others, or
    /// because the server does not report whole seconds.
    pub fn reported(&self, interval: Interval) -> Option<Interval> {
        let Interval { low, high } = interval;
        match self.precision {
            Precision::Seconds => Interval::new(low, high - self.tick),
            Precision::Nanoseconds | Precision::Coarse => None,
        }
    }

    /// Returns whether another measurement is worth its time when the raw clock reads `now`: the
    /// bound has grown to more than the double, and samples of nanoseconds follow each other at
    /// once, or the measurement took less time than has passed.
    pub fn is_outdated(&self, now: Nanos) -> bool {
        let Estimate {
            interval, as_of, ..
        } = self.estimate;
        let growth = self.estimate.max_change(now - as_of);
        let is_quick = self.precision != Precision::Seconds || now - as_of > self.duration;
        growth > interval.bound().max(MIN_GROWTH) && is_quick
    }
}

/// Growth of a bound that is not worth another measurement: 20 us, 200 us of
/// [`DEFAULT_MAX_SLEW`](super::DEFAULT_MAX_SLEW).
const MIN_GROWTH: Nanos = 20_000;

#[cfg(test)]
mod tests {
    use super::super::simulation::{MICRO, MILLI};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nine_digits_after_the_point_are_nanoseconds() {
        for (response, time) in [
            ("1783213507.000000042", 1_783_213_507 * SECOND + 42),
            ("1783213507.000000042\n", 1_783_213_507 * SECOND + 42),
            ("1783213507.000000042\r\n", 1_783_213_507 * SECOND + 42),
            ("0.000000000", 0),
            ("-2.500000000", -1_500 * MILLI),
        ] {
            let expected = ServerTime {
                time,
                whole_seconds: false,
            };
            assert_eq!(ServerTime::parse(response), Some(expected), "{response}");
        }
    }

    #[test]
    fn any_other_fraction_is_ignored() {
        for response in [
            "1783213507",
            "1783213507\n",
            "1783213507.%N",
            "1783213507.N",
            "1783213507.",
            "1783213507.12345678x",
            "1783213507.12345678",
            "1783213507.1234567890",
        ] {
            let expected = ServerTime {
                time: 1_783_213_507 * SECOND,
                whole_seconds: true,
            };
            assert_eq!(ServerTime::parse(response), Some(expected), "{response}");
        }
    }

    #[test]
    fn a_response_without_seconds_is_no_time() {
        for response in [
            "",
            "\n",
            "%s.%N",
            "+5",
            "12:30",
            ".5",
            "s",
            " 7",
            "\n7",
            "99999999999999999999",
        ] {
            assert_eq!(ServerTime::parse(response), None, "{response}");
        }
    }

    #[test]
    fn clock_difference_covers_the_reading_and_1_ns() {
        for (before, wall, after, low, high) in [
            (10, 1_000, 10, 989, 991),
            (10, 1_000, 14, 985, 991),
            // The interval is not empty even if the raw clock goes backwards.
            (10, 1_000, 9, 989, 991),
        ] {
            let pair = ClockPair {
                before,
                wall,
                after,
            };
            assert_eq!(pair.wall_minus_raw(), Interval { low, high });
        }
    }

    #[test]
    fn estimate_is_that_of_the_theorem() {
        let (sent_at, received_at) = (1_000, 1_000 + 20 * MICRO);
        let sample = Sample {
            sent_at,
            received_at,
            server_time: ServerTime {
                time: 70 * MICRO,
                whole_seconds: false,
            },
        };
        for (precision, resolution) in [
            (Precision::Nanoseconds, 1),
            (Precision::Coarse, 51),
            (Precision::Seconds, SECOND + 50),
        ] {
            // In 20 us the clocks drift apart by 10.02 ns at most.
            let estimate = sample.estimate(precision, 50, 501);
            assert_eq!(
                estimate,
                Estimate {
                    interval: Interval {
                        low: 70_000 - received_at - 11,
                        high: 70_000 + resolution - sent_at + 11,
                    },
                    as_of: received_at,
                    max_slew: 501,
                }
            );
        }
    }

    fn server_clock(precision: Precision, bound: Nanos) -> ServerClock {
        ServerClock {
            estimate: Estimate {
                interval: Interval::around(0, bound),
                as_of: 7 * SECOND,
                max_slew: 100_000,
            },
            round_trip: 7,
            samples: 1,
            precision,
            tick: 12,
            restarts: 0,
            duration: MILLI,
        }
    }

    #[test]
    fn reported_interval_is_without_the_tick() {
        for (precision, low, high, expected) in [
            (Precision::Nanoseconds, -5, 20, None),
            (Precision::Coarse, -5, 20, None),
            (Precision::Seconds, -5, 20, Some((-5, 8))),
            (Precision::Seconds, -5, 7, Some((-5, -5))),
            (Precision::Seconds, -5, 6, None),
        ] {
            let interval = Interval::new(low, high).unwrap();
            let reported = server_clock(precision, 0).reported(interval);
            assert_eq!(reported.map(|i| (i.low(), i.high())), expected);
        }
    }

    #[test]
    fn a_result_is_outdated_when_its_bound_has_doubled() {
        let (quick, slow) = (Precision::Nanoseconds, Precision::Seconds);
        for (precision, bound, age, outdated) in [
            // 10 % of 0.2 ms are 20 us, which is never worth it.
            (quick, MICRO, 200 * MICRO, false),
            (quick, MICRO, 200 * MICRO + 1, true),
            (quick, 200 * MICRO, 2 * MILLI, false),
            (quick, 200 * MICRO, 2 * MILLI + 1, true),
            // The measurement took 1 ms.
            (slow, MICRO, MILLI, false),
            (slow, MICRO, MILLI + 1, true),
            (slow, 200 * MICRO, 2 * MILLI, false),
            (slow, 200 * MICRO, 2 * MILLI + 1, true),
        ] {
            let clock = server_clock(precision, bound);
            let now = clock.estimate.as_of + age;
            assert_eq!(clock.is_outdated(now), outdated, "{bound} {age}");
        }
    }

    proptest! {
        #[test]
        fn parse_does_not_panic(response in ".{0,40}") {
            let _ = ServerTime::parse(&response);
        }
    }
}

//! How far a server's clock is from the local one: intervals that contain the offset, and the plan
//! of a measurement. Pure: no clock is read and no socket is used here, see
//! [`client::measure`](crate::client::measure) for that.
//!
//! # The theorem
//!
//! In the terms of RFC 5905, section 8: the client sends a request at `T1` and receives the
//! response at `T4`, both by its own clock. Between the two the server reads its clock, once, so
//! that `T2` and `T3` are one time `T`. The response gives `T` cut off at a resolution `r`: 1 ns
//! for `%s.%N`, one second and a [tick](TICK) for `%s`.
//!
//! > **Theorem.** The offset, server's clock minus client's clock, is in `[T - T4, T + r - T1]`.
//!
//! *Proof.* At the moment of the reading, let the server's clock be at `s` and the client's at `c`.
//! The server reads after the request is sent and before the response is received, so
//! `T1 <= c <= T4`. The response is cut off, so `T <= s < T + r`. Subtract: `T - T4 <= s - c` and
//! `s - c < T + r - T1`. ∎
//!
//! For `r = 0` the middle of the interval is the offset of RFC 5905, and half its width is half of
//! the round-trip delay. RFC 5905 takes the middle as an estimate, which is good if both directions
//! take equally long. The interval assumes nothing of the network. It assumes
//!
//! * that the response belongs to the request (the tag in each request makes sure of that);
//! * that the server reports its own clock and no other time;
//! * that the two clocks drift apart by at most [`DRIFT_PPM`], because the offset of one moment is
//!   used at another.
//!
//! Each sample gives an interval. The offset is in all of them, so it is in their intersection. The
//! programs print its middle and half its width: the offset and its bound.
//!
//! # Conventions
//!
//! The sign of an offset is that of RFC 5905: what would have to be added to the local clock. Times
//! and offsets are whole nanoseconds ([`Nanos`]). Readings of a wall clock count from the Unix
//! epoch.

mod interval;
mod marzullo;
mod measurement;
mod sample;
#[cfg(test)]
mod simulation;

pub use interval::{DRIFT_PPM, Estimate, Interval};
pub use marzullo::{Consensus, marzullo};
pub use measurement::{Action, Measurement, MeasurementConfig, SampleOutcome};
pub use sample::{ClockPair, Sample, ServerTime};

/// Signed nanoseconds. With 128 bits no time that a server may report overflows the arithmetic.
pub type Nanos = i128;

/// One second.
pub const SECOND: Nanos = 1_000_000_000;

/// Default for how late the seconds of a whole-second server may begin: 10 ms.
///
/// time(2) of glibc, and with it Python's `time.strftime`, returns the time of the kernel's last
/// tick (CLOCK_REALTIME_COARSE), not that of the clock. A tick is 1 to 10 ms long (CONFIG_HZ), most
/// often 4 ms; on a virtual machine with ticks of 4 ms the reported time was up to 7.5 ms late. A
/// response does not show whether its server reads the clock or the tick. Without this allowance
/// the bound would be narrow and false for a server that reads the tick.
pub const TICK: Nanos = 10_000_000;

/// The result of measuring one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// An interval that contains the offset, and the time at which it does.
    pub estimate: Estimate,
    /// The shortest round trip of all samples.
    pub round_trip: Nanos,
    /// Number of samples in this result.
    pub samples: u32,
    /// Resolution of the server's responses: 1 ns, or one second and a tick.
    pub resolution: Nanos,
    /// How often the measurement was restarted because a clock was stepped.
    pub restarts: u32,
}

impl Offset {
    /// Returns an interval that contains the offset of the time that the server *reports*, without
    /// the allowance for a [`TICK`].
    ///
    /// A whole-second server whose seconds begin late reports a time behind its own clock. Clients
    /// of that server see only the reported time.
    ///
    /// `None` if there is no single such offset, because some seconds began later than others.
    pub fn reported(&self) -> Option<Interval> {
        let tick = (self.resolution - SECOND).max(0);
        let Interval { low, high } = self.estimate.interval;
        Interval::new(low, high - tick)
    }

    /// Combines the result so far with that of a further sample; `None` if they contradict each
    /// other.
    fn intersection(self, sample: Self) -> Option<Self> {
        Some(Self {
            estimate: self.estimate.intersection(sample.estimate)?,
            round_trip: self.round_trip.min(sample.round_trip),
            samples: self.samples + sample.samples,
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(low: Nanos, high: Nanos, resolution: Nanos) -> Offset {
        Offset {
            estimate: Estimate {
                interval: Interval::new(low, high).unwrap(),
                as_of: 0,
            },
            round_trip: 7,
            samples: 1,
            resolution,
            restarts: 0,
        }
    }

    #[test]
    fn reported_interval_is_without_the_tick() {
        for (low, high, resolution, expected) in [
            (-5, 20, 1, Some((-5, 20))),
            (-5, 20, SECOND, Some((-5, 20))),
            (-5, 20, SECOND + 12, Some((-5, 8))),
            (-5, 20, SECOND + 25, Some((-5, -5))),
            (-5, 20, SECOND + 26, None),
        ] {
            let reported = offset(low, high, resolution).reported();
            assert_eq!(reported.map(|i| (i.low(), i.high())), expected);
        }
    }

    #[test]
    fn intersection_sums_samples_and_keeps_the_rest() {
        let first = Offset {
            restarts: 2,
            ..offset(0, 10, 1)
        };
        let second = Offset {
            round_trip: 5,
            samples: 3,
            ..offset(4, 20, 1)
        };
        let both = first.intersection(second).unwrap();
        assert_eq!(both.estimate.interval, Interval::new(4, 10).unwrap());
        assert_eq!((both.round_trip, both.samples, both.restarts), (5, 4, 2));
        assert_eq!(first.intersection(offset(11, 20, 1)), None);
    }
}

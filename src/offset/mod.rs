//! How far a server's clock is from ours: intervals that hold the truth, and the plan of what to ask next.
//!
//! One idea carries all of it. We asked at `t1` and heard at `t4` of our own clock; the answer says that the server's
//! clock read `T`, cut off at a resolution `r` (1 ns for `%s.%N`, 1 s and a [tick](TICK) for `%s`). The server read its clock somewhere in
//! between, so it stood at `s` with `T <= s < T + r` while ours stood at `c` with `t1 <= c <= t4`. Hence
//!
//! > **Theorem.** The offset `s - c` lies in `[T - t4, T + r - t1]`.
//!
//! It is a fact, not an estimate: it asks nothing of the network (no symmetric delays), only that the answer belongs to
//! the question, which the nonce sees to, and that the server means what it says. Each further answer gives a further
//! interval; the truth is in all of them, so it is in their intersection. What is printed is its middle, and the
//! half-width beside it.
//!
//! Offsets have NTP's sign (RFC 5905, section 8): the server's clock minus ours, what would have to be added to ours.
//! All times and offsets here are whole nanoseconds, clock readings counted from the Unix epoch. Nothing here reads a
//! clock or a socket: see [`measure`](crate::client::measure) for the hands.

mod interval;
mod marzullo;
mod measurement;
mod sample;

pub use interval::{DRIFT_PPM, Estimate, Interval};
pub use marzullo::{Consensus, marzullo};
pub use measurement::{Action, Measurement, MeasurementConfig, SampleOutcome};
pub use sample::{ClockPair, Sample, ServerTime};

/// Signed nanoseconds. 128 bits, so that no time a server could claim overflows the arithmetic.
pub type Nanos = i128;

/// One second.
pub const SECOND: Nanos = 1_000_000_000;

/// How late a server that tells only whole seconds may begin them, unless told otherwise: 10 ms.
///
/// time(2) of glibc, and with it Python's `time.strftime`, does not look at the clock but at what the kernel's last tick
/// left (CLOCK_REALTIME_COARSE). A tick is 1 to 10 ms (CONFIG_HZ), most often 4; on a virtual machine with 4 that lag
/// was seen to be up to 7.5 ms. No answer tells such a server from one that looks at its clock and is that much behind,
/// so without this the bound would be narrow and false. (It is also why our own daemon looks at the clock.)
pub const TICK: Nanos = 10_000_000;

/// What a measurement of one server found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// The interval, and when it held.
    pub estimate: Estimate,
    /// The shortest round trip among the samples.
    pub round_trip: Nanos,
    /// How many answers are in it.
    pub samples: u32,
    /// What the server can tell: 1 ns, or 1 s and a tick.
    pub resolution: Nanos,
    /// How often it was begun anew because a clock was stepped.
    pub restarts: u32,
}

impl Offset {
    /// Holds the offset of what the server *tells*: as if there were no [`TICK`] to allow for. A server whose seconds begin late tells
    /// a time that is behind its own clock, by as much every second; nobody can ask it for anything else.
    ///
    /// `None` where there is no such offset, because the seconds began late by more at one time than at another.
    pub fn reported(&self) -> Option<Interval> {
        let tick = (self.resolution - SECOND).max(0);
        let Interval { low, high } = self.estimate.interval;
        Interval::new(low, high - tick)
    }

    /// What both together say; `None` if they contradict each other.
    fn intersection(self, fresh: Self) -> Option<Self> {
        Some(Self {
            estimate: self.estimate.intersection(fresh.estimate)?,
            round_trip: self.round_trip.min(fresh.round_trip),
            samples: self.samples + fresh.samples,
            ..self
        })
    }
}

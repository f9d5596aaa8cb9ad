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
mod nanos;
mod result;
mod sample;
#[cfg(test)]
mod simulation;

pub use interval::{DRIFT_PPM, Estimate, Interval};
pub use marzullo::{Consensus, marzullo};
pub use measurement::{Action, Measurement, MeasurementConfig, SampleOutcome};
pub use nanos::{Nanos, SECOND, TICK};
pub use result::Offset;
pub use sample::{ClockPair, Sample, ServerTime};

//! How far a server's clock is from the local one: intervals that contain the offset, and the plan
//! of a measurement. Pure: no clock is read and no socket is used here, see
//! [`client::measure`](crate::client::measure) for that.
//!
//! # The clocks
//!
//! Samples are timed with CLOCK_MONOTONIC_RAW, below the **raw clock**: it is neither stepped nor
//! slewed. What is measured is the server's clock minus the raw clock. The wall clock is read once,
//! at the end, between two readings of the raw clock; whatever was done to it before then is in no
//! sample. The offset is the difference of the two.
//!
//! # The theorem
//!
//! The client sends a request at `R1` and receives the response at `R4`, both by the raw clock.
//! Between the two the server reads its clock, once. The response gives this time as `T`, cut off
//! at a resolution `r`: 1 ns for `%s.%N`, one second and a [tick](TICK) for `%s`.
//!
//! > **Theorem.** If the server's clock runs at most by the fraction `d` faster or slower than the
//! > raw clock, then at any time `R >= R4` the server's clock minus the raw clock is in
//! > `[T - R4 - d (R - R1), T + r - R1 + d (R - R1)]`.
//!
//! *Proof.* At the moment of the reading, let the server's clock be at `s` and the raw clock at
//! `c`. The server reads after the request is sent and before the response is received, so
//! `R1 <= c <= R4`. The response is cut off, so `T <= s < T + r`. Subtract: `T - R4 <= s - c` and
//! `s - c < T + r - R1`. From `c` to `R` the difference changes by at most `d (R - c)`, which is at
//! most `d (R - R1)`. ∎
//!
//! For `r = d = 0` the middle of the interval is the offset of RFC 5905, section 8, and half its
//! width is half of the round-trip delay. The interval assumes nothing of the network. It assumes
//!
//! 1. that the response belongs to the request (the tag in each request makes sure of that);
//! 2. that the server reports its own clock, and whole seconds at most a tick late;
//! 3. that the rate of the server's clock differs from that of the raw clock by at most `d`
//!    (`--max-slew`, see [`DEFAULT_MAX_SLEW`]);
//! 4. that the server's clock is not stepped between the first sample and the last.
//!
//! Each sample gives an interval. The difference is in all of them, so it is in their intersection.
//! If that is empty, one of the assumptions 2 to 4 is wrong: the samples contradict each other, and
//! the [`Measurement`] is restarted with the last of them. A step is certainly found if it is at
//! least as large as the intervals before and after it are wide together.
//!
//! A server that reports nanoseconds may read a clock that only advances once in a tick
//! (CLOCK_REALTIME_COARSE). It is recognised by two responses in a row with the same time, and
//! gets a tick added to its resolution. That takes round trips that are short compared with its
//! tick. If the shortest round trip is below 0.1 ms, the clock has to show that it is not coarse:
//! it reports more different times than there are ticks in between. So losses hide no coarse clock
//! there.
//!
//! # Several servers
//!
//! > **Theorem.** If more than half of the servers are right, the offset is where more than half of
//! > their intervals overlap.
//!
//! *Proof.* It is in the interval of each server that is right. ∎
//!
//! So [`marzullo`] returns these places. If there are several, the result is certain of none: a
//! wrong server contradicts a right one, and it is not known which is which. The addresses of one
//! host elect its interval first, in the same way, so that each host has one vote.
//!
//! # Conventions
//!
//! The sign of an offset is that of RFC 5905: what would have to be added to the local clock. Times
//! and offsets are whole nanoseconds ([`Nanos`]). Readings of a wall clock count from the Unix
//! epoch, those of the raw clock from any origin.

mod interval;
mod marzullo;
mod measurement;
mod nanos;
mod sample;
#[cfg(test)]
mod simulation;

pub use interval::{Estimate, Interval};
pub use marzullo::{Election, marzullo};
pub use measurement::{
    Action, Measurement, MeasurementConfig, SINGLE_PASS_PARTS, SLOW_WINDOW_PARTS, SampleOutcome,
};
pub use nanos::{DEFAULT_MAX_SLEW, DEFAULT_MAX_SLEW_SECONDS, Nanos, Ppm, SECOND, TICK};
pub use sample::{ClockPair, Precision, Sample, ServerClock, ServerTime};

//! Waiting until a server's clock reads a time: what the user writes, and the plan of the wait.
//! Pure: no clock is read and no socket is used here.
//!
//! # What is promised
//!
//! The target is a time of one clock: UTC, or the server's wall clock (UTC plus what its zone
//! adds). A reading gives an interval that contains this clock minus the local one, see
//! [`offset`](crate::offset). Until the next reading it widens by the maximum slew. The wait is
//! over when the *low* end of the interval reaches the target:
//!
//! > **Theorem.** If the server's clock is not stepped after the last reading, and runs at most by
//! > the maximum slew faster or slower than the local clock, then the wait is never over before the
//! > server's clock reads the target, and at the latest when it is past the target by the width of
//! > the interval.
//!
//! *Proof.* The server's clock is at the local time plus a value in the interval. When the low end
//! is at the target, the clock is at it or past it by at most the width. ∎
//!
//! A change of the server's zone is a step of its wall clock. So nothing has to be known of its
//! zone: a wall time that is skipped is over at the first reading after the step, one that is
//! repeated is over the first time, and any other is where the last reading puts it. Each reading
//! replaces the one before; combined with an older one, a small step would go unnoticed.
//!
//! # The local clock
//!
//! It counts the time that passes, also while the machine is suspended (see
//! [`client::until`](crate::client::until)); the wall clock of the machine is not used. How long a
//! suspend takes is known to a second or so, so the interval is widened after one.

mod moment;
mod plan;
#[cfg(test)]
mod simulation;

pub use moment::{Moment, MomentError, format_civil};
pub use plan::{Action, Plan, PlanConfig, Reading};

//! `wallclock --offset` and what builds on it, with servers whose clocks are off by a known amount.

mod arguments;
mod bound;
mod chrony;
pub(crate) mod clients;
mod deadline;
mod hosts;
mod majority;
mod odd_servers;
mod plugin;
pub(crate) mod servers;
mod simulation;
mod slew;
mod statuses;
mod step;
mod watch;
mod whole_seconds;

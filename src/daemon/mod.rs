//! The daemon: sockets, allowed networks, the loop, signals, counters and the service manager.
//!
//! [`server`] receives a batch, calls [`protocol::respond`](crate::protocol::respond) for each
//! request in it, and sends the responses under the policy of [`send`].

pub mod allow;
pub mod counters;
pub mod drops;
pub mod notify;
pub mod send;
pub mod server;
pub mod signals;
pub mod socket;

//! The daemon: sockets, the loop, and what goes on around it.
//!
//! [`server`] receives a batch, calls [`protocol::respond`](crate::protocol::respond) for each request
//! in it, and sends the responses by the rules of [`send`].

pub mod counters;
pub mod notify;
pub mod send;
pub mod server;
pub mod signals;
pub mod socket;

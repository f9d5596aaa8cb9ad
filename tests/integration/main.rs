//! Tests that need no process of their own, one module a subject.

mod addresses;
mod client;
mod clock_steps;
mod contract;
mod daemon;
mod documents;
mod faults;
mod hostile;
mod inherited;
mod language;
mod licences;
mod offset;
mod reuse_port;
mod zone;

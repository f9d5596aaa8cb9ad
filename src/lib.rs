//! The clock on the wall of the machine room.
#![warn(missing_docs)]
pub mod chrony;
pub mod measure;
pub mod offset;
pub mod report;
pub mod watch;

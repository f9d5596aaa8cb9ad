//! The clock on the wall of the machine room.
pub mod offset;

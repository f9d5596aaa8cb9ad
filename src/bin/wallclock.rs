//! wallclock
fn main() {}

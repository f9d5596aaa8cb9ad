//! wallclockd
fn main() {}

//! Prints how many tests of this `cargo test` run were skipped, and why.
//!
//! Cargo runs test programs in the order of their names; this name makes it the last.

use support::skipped;

fn main() {
    // With --list no test runs, and this program has none to list.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    match skipped::take() {
        Ok(line) => println!("{line}"),
        Err(error) => println!("skipped tests: not counted: {error}"),
    }
}

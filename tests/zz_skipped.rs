//! Prints how many tests of this `cargo test` run were skipped, and why. Its name makes it the last
//! test program.

use support::skipped;

fn main() {
    // Whoever lists the tests runs none: this program has no test to list.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    match skipped::take() {
        Ok(line) => println!("{line}"),
        Err(error) => println!("skipped tests: not counted: {error}"),
    }
}

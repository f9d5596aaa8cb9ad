//! Waiting, and how long.

use std::thread;
use std::time::{Duration, Instant};

/// A wait that takes longer than this fails its test. It bounds a hang and nothing else: no
/// machine is so busy that it needs this long.
pub const HANG_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum age of what the daemon knows of a zone file or of the kernel's clock status. It reads
/// them again after one second; the rest is for a clock that is slewed meanwhile.
pub const MAX_STALENESS: Duration = Duration::from_millis(1_010);

/// Waits until a condition holds. Panics with `failure` after [`HANG_TIMEOUT`].
#[track_caller]
pub fn wait_until(failure: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG_TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "{failure}");
        thread::sleep(Duration::from_millis(1));
    }
}

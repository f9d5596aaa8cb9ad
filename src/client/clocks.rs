//! The local clocks of a measurement.

use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::offset::{ClockPair, Nanos, SECOND};

/// The raw clock of [`offset`](crate::offset): neither stepped nor slewed.
#[cfg(any(target_os = "linux", target_os = "android"))]
const RAW: ClockId = ClockId::MonotonicRaw;
/// Systems without such a clock slew this one together with the wall clock, so `--max-slew` has to
/// allow for that too.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const RAW: ClockId = ClockId::Monotonic;

/// Minimum and maximum of the spin at the end of a wait, which takes a 32nd of the wait.
///
/// A sleep ends 60 to 200 us late, on a busy machine some milliseconds. If the server's second
/// begins in that time, this edge gives no sample.
const SPIN_RANGE: (Nanos, Nanos) = (150_000, 4_000_000);

/// Number of readings from which [`read_clocks`] takes the shortest.
const READINGS: u32 = 4;

/// Reads the raw clock.
pub fn raw_time() -> Nanos {
    to_nanos(clock_gettime(RAW))
}

/// Reads the wall clock, and the raw clock before and after it.
pub fn read_clocks() -> ClockPair {
    let read = |_| ClockPair {
        before: raw_time(),
        wall: to_nanos(clock_gettime(ClockId::Realtime)),
        after: raw_time(),
    };
    let first = read(0);
    // The process may be preempted during a reading.
    (1..READINGS).map(read).fold(first, |best, pair| {
        let is_shorter = pair.after - pair.before <= best.after - best.before;
        if is_shorter { pair } else { best }
    })
}

fn to_nanos(time: Timespec) -> Nanos {
    Nanos::from(time.tv_sec) * SECOND + Nanos::from(time.tv_nsec)
}

/// Waits until the raw clock reads `time`. Sleeps first, then spins for the end of the wait.
pub(super) fn sleep_until(time: Nanos) {
    let (min, max) = SPIN_RANGE;
    let spin = ((time - raw_time()) / 32).clamp(min, max);
    loop {
        let left = time - raw_time();
        if left <= 0 {
            return;
        }
        // Sleeps end by CLOCK_MONOTONIC, which may run slower than the raw clock by a tenth.
        let sleep = (left - spin).min(left / 8 * 7);
        match u64::try_from(sleep) {
            Ok(nanos @ 1..) => thread::sleep(Duration::from_nanos(nanos)),
            _ => std::hint::spin_loop(),
        }
    }
}

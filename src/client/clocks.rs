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

/// A wait up to this long is a spin. A sleep ends 60 to 200 us late, too late for the requests that
/// are that close to each other. It includes the time that
/// [`offset`](crate::offset) allows for a late end before them.
const MAX_SPIN: Nanos = 400_000;

/// A wait up to this long is a single sleep, a longer one consists of several. Sleeps end by
/// CLOCK_MONOTONIC, which may run slower than the raw clock. A sleep of this length ends 60 us late
/// at 500 ppm. At a tenth, the most that the kernel allows, it ends 14 ms late, and a pass that it
/// comes before fails: the measurement takes some passes more.
const MAX_SINGLE_SLEEP: Nanos = 125_000_000;

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

pub(super) fn to_nanos(time: Timespec) -> Nanos {
    Nanos::from(time.tv_sec) * SECOND + Nanos::from(time.tv_nsec)
}

/// Waits until the raw clock reads `time`: spins if that is soon. A sleep may end late.
pub(super) fn sleep_until(time: Nanos) {
    let wait = time - raw_time();
    loop {
        let left = time - raw_time();
        if left <= 0 {
            return;
        }
        let sleep = match left {
            ..=MAX_SINGLE_SLEEP => left,
            _ => left / 8 * 7,
        };
        match u64::try_from(sleep) {
            Ok(nanos) if wait > MAX_SPIN => thread::sleep(Duration::from_nanos(nanos)),
            _ => std::hint::spin_loop(),
        }
    }
}

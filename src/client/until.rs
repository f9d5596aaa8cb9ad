//! Carries out the plan of a wait: reads the local clocks and sleeps in the kernel.
//!
//! [`until`](crate::until) decides when to read the server's clock, and when the wait is over.

use std::io;

use super::clocks::raw_time;
use crate::offset::{Interval, Nanos, SECOND};
use crate::until::{Action, Plan, Reading};

/// The end of the wait for the target, in which this process spins: a sleep ends 60 to 200 us late.
const SPIN: Nanos = 150_000;

/// No suspend is shorter than this: 1 ms.
const MIN_SUSPEND: Nanos = 1_000_000;

/// The clock of a wait: the raw clock plus the time that the machine was suspended, which that does
/// not count.
#[derive(Debug)]
pub struct ElapsedClock {
    suspended: Nanos,
}

impl ElapsedClock {
    /// Starts the clock.
    pub fn new() -> Self {
        Self {
            suspended: kernel::suspended_time().low(),
        }
    }

    /// Reads the clock. Returns also whether the machine was suspended since the last reading.
    pub fn read(&mut self) -> (Nanos, bool) {
        let suspended = kernel::suspended_time();
        // The two clocks that it is the difference of can't be read at the same moment.
        let change = suspended.minus(Interval::around(self.suspended, MIN_SUSPEND));
        let has_resumed = !change.contains(0);
        if has_resumed {
            self.suspended = suspended.low();
        }
        (raw_time() + self.suspended, has_resumed)
    }

    /// Converts a time of this clock to one of the raw clock.
    fn to_raw(&self, time: Nanos) -> Nanos {
        time - self.suspended
    }

    /// Converts a reading that was made by the raw clock.
    pub fn convert(&self, reading: Reading) -> Reading {
        let suspended = Interval::around(self.suspended, 0);
        Reading {
            interval: reading.interval.minus(suspended),
            as_of: reading.as_of + self.suspended,
            since: reading.since + self.suspended,
            ..reading
        }
    }
}

impl Default for ElapsedClock {
    fn default() -> Self {
        Self::new()
    }
}

/// How a wait ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitEnd {
    /// The server's clock certainly reads the target.
    Due {
        /// The raw clock when that was certain.
        at: Nanos,
        /// The time since then.
        late: Nanos,
        /// The maximum error of the moment when it was.
        bound: Nanos,
    },
    /// Too little is known of the server's clock.
    NoAnswer {
        /// The maximum error.
        bound: Nanos,
    },
}

/// What a wait asks of its caller.
pub trait WaitHandler {
    /// Reads the servers' clocks by the raw clock, until that reads `deadline` at the latest: as
    /// precisely as possible if `full` is set, otherwise with one response of each.
    fn read(&mut self, full: bool, deadline: Nanos) -> Option<Reading>;

    /// Shows the time that is left.
    fn show_time_left(&mut self, left: Nanos);

    /// Whether [`show_time_left`](Self::show_time_left) is to be called, each second.
    fn shows_time_left(&self) -> bool;
}

/// Waits until the plan is at its end.
///
/// # Errors
///
/// The kernel has no timer for this process.
pub fn wait(
    plan: &mut Plan,
    clock: &mut ElapsedClock,
    handler: &mut impl WaitHandler,
) -> io::Result<WaitEnd> {
    let sleeper = kernel::Sleeper::new()?;
    loop {
        let (now, has_resumed) = clock.read();
        if has_resumed {
            plan.has_resumed(now);
        }
        match plan.next_action(now) {
            Action::Read { full, deadline } => {
                let reading = handler.read(full, clock.to_raw(deadline));
                let (now, has_resumed) = clock.read();
                if has_resumed {
                    plan.has_resumed(now);
                }
                let reading = reading.filter(|_| !has_resumed);
                match reading {
                    Some(reading) => plan.add_reading(clock.convert(reading), full),
                    None => plan.add_failure(now),
                }
            }
            Action::Sleep { until, slack } => {
                let due = plan.due_at();
                let left = until - now;
                let mut step = if until < due {
                    // The clock of the timer may be slewed by a tenth, and so the last of several
                    // steps is too long by less than an eighth.
                    left.min((left / 8 * 7).max(8 * slack))
                } else if left > 2 * SPIN {
                    // What execve(2) has to wait for otherwise, while other clients are due too.
                    #[cfg(target_os = "linux")]
                    crate::sys::tlb::flush();
                    (left - SPIN).min(left / 8 * 7)
                } else {
                    while clock.read().0 < until {
                        std::hint::spin_loop();
                    }
                    continue;
                };
                if handler.shows_time_left() {
                    let time_left = plan.time_left(now);
                    handler.show_time_left(time_left);
                    step = step.min((time_left - 1).rem_euclid(SECOND) + 1);
                }
                if sleeper.sleep(step)? {
                    plan.clock_was_set(clock.read().0);
                }
            }
            Action::Due { at, bound } => {
                let late = now - at;
                let at = clock.to_raw(at);
                return Ok(WaitEnd::Due { at, late, bound });
            }
            Action::NoAnswer { bound } => return Ok(WaitEnd::NoAnswer { bound }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without a suspend the difference of the clocks is always the same.
    #[test]
    fn an_elapsed_clock_runs_like_the_raw_clock() {
        let mut clock = ElapsedClock::new();
        for _ in 0..100_000 {
            let before = raw_time() + clock.suspended;
            let (now, has_resumed) = clock.read();
            assert!(!has_resumed && now >= before);
            assert!(now <= raw_time() + clock.suspended);
        }
        clock.suspended -= 2 * MIN_SUSPEND;
        assert!(clock.read().1);
        assert!(!clock.read().1);
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod kernel {
    //! Timers that count the time of a suspend, and report that the wall clock was set.

    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::{Errno, read};
    use rustix::time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec,
        clock_gettime, timerfd_create, timerfd_settime,
    };

    use crate::client::clocks::to_nanos;
    use crate::offset::{Interval, Nanos, SECOND};

    /// A time of CLOCK_REALTIME that does not come: in the year 2242.
    const NEVER: i64 = 1 << 33;

    /// Returns for how long the machine was suspended since its start.
    pub fn suspended_time() -> Interval {
        let before = to_nanos(clock_gettime(ClockId::Monotonic));
        let boot = to_nanos(clock_gettime(ClockId::Boottime));
        let after = to_nanos(clock_gettime(ClockId::Monotonic));
        Interval::around(boot - before, 0).hull(Interval::around(boot - after, 0))
    }

    pub struct Sleeper {
        timer: OwnedFd,
        /// Its reads fail once the wall clock was set.
        wall_clock: OwnedFd,
    }

    impl Sleeper {
        pub fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
            let sleeper = Self {
                timer: timerfd_create(TimerfdClockId::Boottime, flags)?,
                wall_clock: timerfd_create(TimerfdClockId::Realtime, flags)?,
            };
            sleeper.watch_wall_clock()?;
            Ok(sleeper)
        }

        fn watch_wall_clock(&self) -> io::Result<()> {
            let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
            timerfd_settime(&self.wall_clock, flags, &once(NEVER, 0))?;
            Ok(())
        }

        /// Sleeps for this time or less. Returns whether the wall clock was set meanwhile.
        pub fn sleep(&self, time: Nanos) -> io::Result<bool> {
            // Not 0, which would disarm the timer.
            let time = time.max(1);
            let seconds = i64::try_from(time / SECOND).unwrap_or(NEVER);
            let nanos = u32::try_from(time % SECOND).unwrap_or(0);
            let flags = TimerfdTimerFlags::empty();
            timerfd_settime(&self.timer, flags, &once(seconds, nanos.into()))?;
            let mut fds = [&self.timer, &self.wall_clock].map(|fd| PollFd::new(fd, PollFlags::IN));
            match poll(&mut fds, None) {
                Ok(_) => {}
                // A signal, such as SIGCONT.
                Err(Errno::INTR) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            let is_readable = fds[1].revents().contains(PollFlags::IN);
            let was_set =
                is_readable && read(&self.wall_clock, &mut [0_u8; 8]) == Err(Errno::CANCELED);
            if was_set {
                self.watch_wall_clock()?;
            }
            Ok(was_set)
        }
    }

    fn once(tv_sec: i64, tv_nsec: i64) -> Itimerspec {
        Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec,
                // A C long, which has 32 bits on some systems.
                tv_nsec: tv_nsec as _,
            },
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod kernel {
    //! A plain sleep. A suspend is not noticed before the next reading.

    use std::io;
    use std::thread;
    use std::time::Duration;

    use crate::offset::{Interval, Nanos};

    /// Returns 0: the raw clock counts what it counts.
    pub fn suspended_time() -> Interval {
        Interval::around(0, 0)
    }

    pub struct Sleeper;

    impl Sleeper {
        pub fn new() -> io::Result<Self> {
            Ok(Self)
        }

        /// Sleeps for this time. Returns `false`: that the wall clock was set is not reported.
        pub fn sleep(&self, time: Nanos) -> io::Result<bool> {
            thread::sleep(Duration::from_nanos(u64::try_from(time).unwrap_or(0)));
            Ok(false)
        }
    }
}

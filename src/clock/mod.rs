//! [`Clock`]: reads the system clock, in one time zone, and tracks whether it is synchronised.
//!
//! UTC offset and abbreviation come from one table (TZif, RFC 8536, or a POSIX TZ string), so they
//! always belong together. The first reading in each second checks the zone's file for changes: a
//! replaced link, a rewritten file and an upgrade of the tables show within a second, without a
//! timer.

pub mod sync;
#[cfg(test)]
mod test_log;
mod zone;

use std::env;
use std::ffi::OsStr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::LocalTime;
use sync::{SyncMonitor, SyncStatus};
use zone::Zone;
pub use zone::{ZoneError, ZonePaths};

/// The system's real-time clock in one time zone.
#[derive(Debug)]
pub struct Clock {
    zone: Zone,
    sync_monitor: SyncMonitor,
    last: LocalTime,
}

impl Clock {
    /// The clock in the host's zone: TZ, else `/etc/localtime` (tzset(3)).
    ///
    /// # Errors
    ///
    /// The zone cannot be read or is wrong; there is no fallback to UTC, because no clock is better
    /// than a wrong one.
    pub fn local() -> Result<Clock, ZoneError> {
        Clock::in_zone(env::var_os("TZ").as_deref(), &ZonePaths::from_env())
    }

    /// The clock in the zone that the value `tz` of TZ names.
    ///
    /// # Errors
    ///
    /// Those of [`Clock::local`].
    pub fn in_zone(tz: Option<&OsStr>, paths: &ZonePaths) -> Result<Clock, ZoneError> {
        Zone::from_tz(tz, paths).map(Clock::new)
    }

    /// The clock in UTC.
    pub fn utc() -> Clock {
        Clock::new(Zone::utc())
    }

    fn new(zone: Zone) -> Clock {
        Clock {
            zone,
            sync_monitor: SyncMonitor::default(),
            // No reading returns this time, so the first one begins a new second.
            last: LocalTime::new(i64::MIN, 0, 0, ""),
        }
    }

    /// Replaces the monitor of the clock's synchronisation.
    #[must_use]
    pub fn with_sync_monitor(self, sync_monitor: SyncMonitor) -> Clock {
        Clock {
            sync_monitor,
            ..self
        }
    }

    /// Whether the system clock is synchronised, checked by the first reading in each second.
    pub fn sync_status(&self) -> SyncStatus {
        self.sync_monitor.status()
    }

    /// Reads the clock (clock_gettime(2), `CLOCK_REALTIME`).
    pub fn now(&mut self) -> LocalTime {
        let (unix_seconds, nanosecond) = unix_now();
        self.last = if self.last.unix_seconds() == unix_seconds {
            self.last.with_nanosecond(nanosecond)
        } else {
            // A later second, or an earlier one after the clock was stepped back.
            self.begin_second(unix_seconds, nanosecond)
        };
        self.last
    }

    /// The first reading in a second: checks the zone's file and the synchronisation.
    fn begin_second(&mut self, unix_seconds: i64, nanosecond: u32) -> LocalTime {
        self.zone.refresh();
        self.sync_monitor.poll(unix_seconds);
        let now = self.at(unix_seconds, nanosecond);
        if self.sync_monitor.accepts() {
            now
        } else {
            now.with_untrusted()
        }
    }

    /// Converts an instant to the clock's zone.
    pub fn at(&self, unix_seconds: i64, nanosecond: u32) -> LocalTime {
        let (utc_offset, abbreviation) = self.zone.at(unix_seconds);
        LocalTime::new(unix_seconds, nanosecond, utc_offset, abbreviation)
    }
}

/// Seconds since the Epoch, and nanoseconds within the second.
pub(crate) fn unix_now() -> (i64, u32) {
    unix_time(SystemTime::now())
}

fn unix_time(time: SystemTime) -> (i64, u32) {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => (since.as_secs().cast_signed(), since.subsec_nanos()),
        Err(error) => {
            let before = error.duration();
            let seconds = -before.as_secs().cast_signed();
            match before.subsec_nanos() {
                0 => (seconds, 0),
                nanoseconds => (seconds - 1, 1_000_000_000 - nanoseconds),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn nanoseconds_count_up_before_the_epoch() {
        let before = |seconds, nanos| unix_time(UNIX_EPOCH - Duration::new(seconds, nanos));
        assert_eq!(before(0, 1), (-1, 999_999_999));
        assert_eq!(before(2, 0), (-2, 0));
        assert_eq!(before(2, 400_000_000), (-3, 600_000_000));
        let after = UNIX_EPOCH + Duration::new(2, 3);
        assert_eq!(unix_time(after), (2, 3));
    }

    #[test]
    fn a_reading_is_between_two_of_the_system_clock() {
        let mut clock = Clock::utc();
        // More than one attempt, because the machine's clock may be stepped back in between.
        assert!((0..100).any(|_| {
            let before = unix_time(SystemTime::now());
            let now = clock.now();
            let after = unix_time(SystemTime::now());
            (before..=after).contains(&(now.unix_seconds(), now.nanosecond()))
        }));
    }

    #[test]
    fn rule_5_an_unsynchronised_clock_is_not_trusted() {
        let mut clock =
            Clock::utc().with_sync_monitor(SyncMonitor::new(true, sync::DEFAULT_MAX_ERROR));
        assert_eq!(clock.sync_status(), SyncStatus::Unknown);
        let is_trusted = clock.now().is_trusted();
        assert_eq!(clock.sync_status(), clock.sync_monitor.status());
        let synchronised = matches!(clock.sync_status(), SyncStatus::Synchronised { .. });
        assert_eq!(is_trusted, synchronised);
    }
}

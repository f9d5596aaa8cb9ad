//! [`Clock`]: reads the system clock, in one time zone, and tracks whether it is synchronised.
//!
//! UTC offset and abbreviation come from one table (TZif, RFC 8536, or a POSIX TZ string), so they
//! never disagree across a change. The zone's file is checked for changes when a new second begins:
//! a replaced link, a rewritten file and an upgrade of the tables show within a second, without a
//! timer.

pub mod sync;
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
    /// The zone can't be understood: a wrong clock is worse than none.
    pub fn local() -> Result<Clock, ZoneError> {
        Clock::in_zone(env::var_os("TZ").as_deref(), &ZonePaths::from_env())
    }

    /// The clock in the zone that this value of TZ names.
    ///
    /// # Errors
    ///
    /// As [`Clock::local`].
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
            // No clock shows this time, so the first reading begins a new second.
            last: LocalTime::new(i64::MIN, 0, 0, ""),
        }
    }

    /// The same clock with another monitor of its synchronisation.
    #[must_use]
    pub fn with_sync_monitor(self, sync_monitor: SyncMonitor) -> Clock {
        Clock {
            sync_monitor,
            ..self
        }
    }

    /// Whether the system clock is synchronised, as of the first reading in the current second.
    pub fn sync_status(&self) -> SyncStatus {
        self.sync_monitor.status()
    }

    /// Reads the clock (clock_gettime(2), `CLOCK_REALTIME`).
    pub fn now(&mut self) -> LocalTime {
        let (unix_seconds, nanosecond) = unix_now();
        self.last = if self.last.unix_seconds() == unix_seconds {
            self.last.with_nanosecond(nanosecond)
        } else {
            // Any other second, also an earlier one after a step back.
            self.begin_second(unix_seconds, nanosecond)
        };
        self.last
    }

    /// The first reading in a second: picks up changes of the zone and of the synchronisation.
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

    /// Another instant in this clock's zone.
    pub fn at(&self, unix_seconds: i64, nanosecond: u32) -> LocalTime {
        let (utc_offset, abbreviation) = self.zone.at(unix_seconds);
        LocalTime::new(unix_seconds, nanosecond, utc_offset, abbreviation)
    }
}

/// Seconds since the Epoch, and nanoseconds within the second.
pub(crate) fn unix_now() -> (i64, u32) {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => (since.as_secs().cast_signed(), since.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            match before.subsec_nanos() {
                0 => (-before.as_secs().cast_signed(), 0),
                nanos => (-before.as_secs().cast_signed() - 1, 1_000_000_000 - nanos),
            }
        }
    }
}

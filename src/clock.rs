//! The moment: one look at the clock gives the instant, the zone's offset and its abbreviation together.
//!
//! Offset and abbreviation come from one table (TZif, RFC 8536, or a POSIX TZ string), so they never disagree across a
//! change. The files behind the zone are looked at when a new second begins, so a replaced link, a rewritten file and
//! an upgrade of the tables all show within a second, and nothing wakes up for them.

mod zone;

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike, NaiveDateTime, Timelike};

use crate::sync;
use zone::Zone;
pub use zone::{ZoneError, ZonePaths};

/// All that the text of a format without sub-second parts depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Second {
    /// Seconds since 1970-01-01 00:00:00 UTC, leap seconds not counted (POSIX "seconds since the Epoch").
    unix: i64,
    /// Seconds east of UTC.
    offset: i32,
    abbreviation: Abbreviation,
    doubtful: bool,
}

/// The longest abbreviation, in bytes.
pub(crate) const ABBREVIATION: usize = 15;

/// The zone's abbreviation, `%Z`. TZif and POSIX hold 3 to 6 letters; a longer one is cut.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Abbreviation {
    bytes: [u8; ABBREVIATION],
    length: u8,
}

impl Abbreviation {
    fn of(text: &str) -> Abbreviation {
        let mut bytes = [0; ABBREVIATION];
        let mut length = 0;
        for character in text.chars() {
            // The one rule that rule L needs of a zone: its name is no conversion.
            let (true, Some(slot)) = (
                character.is_ascii_graphic() && character != '%',
                bytes.get_mut(length),
            ) else {
                break;
            };
            *slot = character as u8;
            length += 1;
        }
        Abbreviation {
            bytes,
            length: length as u8,
        }
    }

    fn as_str(&self) -> &str {
        // Only ASCII gets in.
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for Abbreviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// An instant as a wall clock of one zone shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    second: Second,
    nanosecond: u32,
    local: BrokenDown,
}

/// Date and time of day as a zone's clocks show them (like `struct tm` of time.h). Worked out once a second, because a
/// question may hold 512 conversions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenDown {
    /// The year, negative before year 0.
    pub year: i32,
    /// Months since January, 0 to 11.
    pub month0: u8,
    /// Day of the month, 1 to 31.
    pub day: u8,
    /// Days since January 1, 0 to 365.
    pub ordinal0: u16,
    /// Days since Sunday, 0 to 6.
    pub weekday: u8,
    /// The year that the week belongs to (ISO 8601).
    pub iso_year: i32,
    /// The week of that year, 1 to 53.
    pub iso_week: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

impl BrokenDown {
    fn new(local: NaiveDateTime) -> BrokenDown {
        // Each of these numbers fits: the ranges are those above.
        BrokenDown {
            year: local.year(),
            month0: local.month0() as u8,
            day: local.day() as u8,
            ordinal0: local.ordinal0() as u16,
            weekday: local.weekday().num_days_from_sunday() as u8,
            iso_year: local.iso_week().year(),
            iso_week: local.iso_week().week() as u8,
            hour: local.hour() as u8,
            minute: local.minute() as u8,
            second: local.second() as u8,
        }
    }
}

impl Moment {
    /// The instant `unix_seconds` (seconds since the Epoch) and `nanosecond` (0 to 999,999,999), seen where the clocks
    /// are `offset` seconds east of UTC and the zone is abbreviated so.
    ///
    /// An instant beyond chrono's calendar (some 262,000 years either way; no kernel's clock holds one) is shown as
    /// 1970-01-01 00:00:00.
    pub fn new(unix_seconds: i64, nanosecond: u32, offset: i32, abbreviation: &str) -> Moment {
        let shown = unix_seconds
            .checked_add(i64::from(offset))
            .and_then(|shown| DateTime::from_timestamp(shown, 0));
        Moment {
            second: Second {
                unix: unix_seconds,
                offset,
                abbreviation: Abbreviation::of(abbreviation),
                doubtful: false,
            },
            nanosecond,
            local: BrokenDown::new(shown.unwrap_or_default().naive_utc()),
        }
    }

    /// The same moment by a clock that must not be believed: nobody is told the time then.
    pub fn doubted(mut self) -> Moment {
        self.second.doubtful = true;
        self
    }

    /// Whether the clock that showed it must not be believed.
    pub fn is_doubtful(&self) -> bool {
        self.second.doubtful
    }

    /// Seconds since 1970-01-01 00:00:00 UTC (POSIX "seconds since the Epoch").
    pub fn unix_seconds(&self) -> i64 {
        self.second.unix
    }

    /// Nanoseconds within the second, 0 to 999,999,999.
    pub fn nanosecond(&self) -> u32 {
        self.nanosecond
    }

    /// Seconds east of UTC.
    pub fn offset(&self) -> i32 {
        self.second.offset
    }

    /// The zone's abbreviation, for `%Z`.
    pub fn abbreviation(&self) -> &str {
        self.second.abbreviation.as_str()
    }

    /// The abbreviation in the front of an array, and how long it is.
    pub(crate) fn abbreviation_bytes(&self) -> ([u8; ABBREVIATION], usize) {
        let Abbreviation { bytes, length } = self.second.abbreviation;
        (bytes, usize::from(length))
    }

    /// The second this moment lies in: two moments of one second have the same text, sub-second parts aside.
    pub fn second(&self) -> &Second {
        &self.second
    }

    /// Date and time of day as the zone shows them, whole seconds.
    pub fn local(&self) -> &BrokenDown {
        &self.local
    }
}

/// The host's real-time clock in one zone, and whether anybody keeps it.
#[derive(Debug)]
pub struct Clock {
    zone: Zone,
    watch: sync::Watch,
    /// What the last look showed.
    last: Moment,
}

impl Clock {
    /// The clock in the host's zone: TZ, else `/etc/localtime` (tzset(3)).
    ///
    /// # Errors
    ///
    /// A zone that can't be understood: a wrong clock is worse than none.
    pub fn local() -> Result<Clock, ZoneError> {
        Clock::in_zone(env::var_os("TZ").as_deref(), &ZonePaths::of_host())
    }

    /// The clock in the zone that this value of TZ names.
    ///
    /// # Errors
    ///
    /// As [`Clock::local`].
    pub fn in_zone(tz: Option<&OsStr>, paths: &ZonePaths) -> Result<Clock, ZoneError> {
        Zone::of(tz, paths).map(Clock::of_zone)
    }

    /// The clock in UTC.
    pub fn utc() -> Clock {
        Clock::of_zone(Zone::utc())
    }

    fn of_zone(zone: Zone) -> Clock {
        Clock {
            zone,
            watch: sync::Watch::default(),
            // No clock shows this one, so the first look is a fresh one.
            last: Moment::new(i64::MIN, 0, 0, ""),
        }
    }

    /// The same, with another eye on whether anybody keeps it.
    #[must_use]
    pub fn watched(self, watch: sync::Watch) -> Clock {
        Clock { watch, ..self }
    }

    /// Whether the kernel's clock is synchronised, as it was when a second last began under our eyes.
    pub fn synchronisation(&self) -> sync::State {
        self.watch.state()
    }

    /// Now (clock_gettime(2), `CLOCK_REALTIME`).
    pub fn now(&mut self) -> Moment {
        let (unix_seconds, nanosecond) = unix_now();
        if self.last.second.unix == unix_seconds {
            self.last.nanosecond = nanosecond;
        } else {
            // Any other second, an earlier one after a step back included.
            self.last = self.begin(unix_seconds, nanosecond);
        }
        self.last
    }

    /// The first look in a second.
    fn begin(&mut self, unix_seconds: i64, nanosecond: u32) -> Moment {
        self.zone.refresh();
        self.watch.look(unix_seconds);
        let moment = self.at(unix_seconds, nanosecond);
        if self.watch.believes() {
            moment
        } else {
            moment.doubted()
        }
    }

    /// Another instant as this clock's zone shows it.
    pub fn at(&self, unix_seconds: i64, nanosecond: u32) -> Moment {
        let (offset, abbreviation) = self.zone.at(unix_seconds);
        Moment::new(unix_seconds, nanosecond, offset, abbreviation)
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

/// A time in UTC as RFC 3339 writes it, without fractions; one beyond chrono's calendar is shown as 1970.
pub(crate) fn rfc3339(unix_seconds: i64) -> impl fmt::Display {
    DateTime::from_timestamp(unix_seconds, 0)
        .unwrap_or_default()
        .format("%Y-%m-%dT%H:%M:%SZ")
}

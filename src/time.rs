//! [`LocalTime`]: an instant as the wall clock of one time zone shows it.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDateTime, Timelike};

/// The longest abbreviation of a zone, in bytes.
pub(crate) const MAX_ABBREVIATION_LEN: usize = 15;

/// An instant as the wall clock of one time zone shows it. A value; nothing here reads a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Seconds since the Epoch.
    unix_seconds: i64,
    nanosecond: u32,
    /// Seconds east of UTC.
    utc_offset: i32,
    abbreviation: Abbreviation,
    trusted: bool,
    fields: BrokenDownTime,
}

impl LocalTime {
    /// The instant `unix_seconds` (seconds since the Epoch) and `nanosecond` (0 to 999,999,999), in
    /// a zone that is `utc_offset` seconds east of UTC and abbreviated as `abbreviation`.
    ///
    /// An instant outside chrono's calendar (about 262,000 years before and after year 0; the
    /// kernel's clock never gets there) is shown as 1970-01-01 00:00:00.
    pub fn new(
        unix_seconds: i64,
        nanosecond: u32,
        utc_offset: i32,
        abbreviation: &str,
    ) -> LocalTime {
        let local = unix_seconds
            .checked_add(i64::from(utc_offset))
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        LocalTime {
            unix_seconds,
            nanosecond,
            utc_offset,
            abbreviation: Abbreviation::new(abbreviation),
            trusted: true,
            fields: BrokenDownTime::new(local.unwrap_or_default().naive_utc()),
        }
    }

    /// The same time, from a clock that is not trusted: requests for it are refused (rule 5).
    #[must_use]
    pub fn with_untrusted(self) -> LocalTime {
        LocalTime {
            trusted: false,
            ..self
        }
    }

    /// The same second at another nanosecond.
    #[must_use]
    pub(crate) fn with_nanosecond(self, nanosecond: u32) -> LocalTime {
        LocalTime { nanosecond, ..self }
    }

    /// Whether the clock is trusted, that is known to be right or not required to be.
    pub fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Seconds since 1970-01-01 00:00:00 UTC, leap seconds not counted (POSIX "seconds since the
    /// Epoch").
    pub fn unix_seconds(&self) -> i64 {
        self.unix_seconds
    }

    /// Nanoseconds within the second, 0 to 999,999,999.
    pub fn nanosecond(&self) -> u32 {
        self.nanosecond
    }

    /// Seconds east of UTC.
    pub fn utc_offset(&self) -> i32 {
        self.utc_offset
    }

    /// The zone's abbreviation, for `%Z`.
    pub fn abbreviation(&self) -> &str {
        self.abbreviation.as_str()
    }

    /// The abbreviation as the first bytes of an array, and its length.
    pub(crate) fn abbreviation_bytes(&self) -> ([u8; MAX_ABBREVIATION_LEN], usize) {
        let Abbreviation { bytes, length } = self.abbreviation;
        (bytes, usize::from(length))
    }

    /// Date and time of day.
    pub fn fields(&self) -> &BrokenDownTime {
        &self.fields
    }
}

/// Date and time of day (POSIX "broken-down time", `struct tm`). Computed once, because a request
/// can hold 512 directives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenDownTime {
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
    /// The week of `iso_year`, 1 to 53.
    pub iso_week: u8,
    /// Hour of the day, 0 to 23.
    pub hour: u8,
    /// Minute of the hour, 0 to 59.
    pub minute: u8,
    /// Second of the minute, 0 to 59.
    pub second: u8,
}

impl BrokenDownTime {
    fn new(local: NaiveDateTime) -> BrokenDownTime {
        // No cast changes a value: the ranges are those of the fields above.
        BrokenDownTime {
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

/// A zone's abbreviation. POSIX and TZif have 3 to 6 characters; a longer one is cut off.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Abbreviation {
    bytes: [u8; MAX_ABBREVIATION_LEN],
    length: u8,
}

impl Abbreviation {
    fn new(text: &str) -> Abbreviation {
        let mut bytes = [0; MAX_ABBREVIATION_LEN];
        let mut length = 0;
        for character in text.chars() {
            // Rule L needs this: `%Z` must not produce a `%`.
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
        // All bytes are ASCII.
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for Abbreviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Displays a time in UTC in the form of RFC 3339, in whole seconds. An instant outside chrono's
/// calendar is shown as 1970-01-01T00:00:00Z.
pub fn rfc3339(unix_seconds: i64) -> impl fmt::Display {
    DateTime::from_timestamp(unix_seconds, 0)
        .unwrap_or_default()
        .format("%Y-%m-%dT%H:%M:%SZ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_the_zone() {
        let time = LocalTime::new(1_783_213_507, 7, 28_800, "CST");
        assert_eq!(
            (time.unix_seconds(), time.nanosecond(), time.utc_offset()),
            (1_783_213_507, 7, 28_800)
        );
        assert_eq!(time.with_nanosecond(8).nanosecond(), 8);
        assert!(time.is_trusted() && !time.with_untrusted().is_trusted());
        let expected = BrokenDownTime {
            year: 2026,
            month0: 6,
            day: 5,
            ordinal0: 185,
            weekday: 0,
            iso_year: 2026,
            iso_week: 27,
            hour: 9,
            minute: 5,
            second: 7,
        };
        assert_eq!(*time.fields(), expected);
    }

    #[test]
    fn instants_outside_the_calendar_are_1970() {
        for (seconds, offset) in [(i64::MIN, 0), (i64::MAX, 0), (i64::MAX, 1), (i64::MIN, -1)] {
            let time = LocalTime::new(seconds, 0, offset, "X");
            assert_eq!((time.fields().year, time.unix_seconds()), (1970, seconds));
            assert_eq!(rfc3339(seconds).to_string(), "1970-01-01T00:00:00Z");
        }
    }

    #[test]
    fn rule_l_abbreviations_hold_no_percent() {
        for (given, kept) in [
            ("CST", "CST"),
            ("+0530", "+0530"),
            ("A%B", "A"),
            ("%", ""),
            ("A B", "A"),
            ("A\u{e9}", "A"),
            ("", ""),
            ("ABCDEFGHIJKLMNOP", "ABCDEFGHIJKLMNO"),
        ] {
            let time = LocalTime::new(0, 0, 0, given);
            assert_eq!(time.abbreviation(), kept);
            let (bytes, length) = time.abbreviation_bytes();
            assert_eq!(&bytes[..length], kept.as_bytes());
            assert!(format!("{time:?}").contains(&format!("abbreviation: {kept:?}")));
        }
    }

    #[test]
    fn rfc3339_shows_whole_seconds() {
        assert_eq!(rfc3339(1_783_213_507).to_string(), "2026-07-05T01:05:07Z");
    }
}

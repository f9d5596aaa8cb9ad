//! The time that the user waits for, as text.

use chrono::{DateTime, NaiveDate};

use crate::offset::{Nanos, SECOND};

const DAY: Nanos = 86_400 * SECOND;

/// A time to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A time in UTC: nanoseconds since 1970.
    Utc(Nanos),
    /// A date and time of the server's wall clock: what a clock in UTC that shows the same would
    /// have counted since 1970.
    Wall(Nanos),
    /// A time of day of the server's wall clock, the next one: nanoseconds since midnight.
    TimeOfDay(Nanos),
}

/// Why a text is no time to wait for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// It has none of the forms that [`Moment::parse`] accepts.
    #[error(
        "not a time as HH:MM[:SS[.f]], YYYY-MM-DD HH:MM[:SS[.f]], YYYY-MM-DDTHH:MM:SS[.f]+HH:MM \
         or @SECONDS[.f]"
    )]
    Form,
    /// It has one of the forms, but there is no such hour, or no such day.
    #[error("there is no such time")]
    NoSuchTime,
    /// It is a number.
    #[error("a number of seconds since 1970 begins with @: @{0}")]
    Number(String),
}

impl Moment {
    /// Parses `HH:MM[:SS[.f]]`, `YYYY-MM-DD HH:MM[:SS[.f]]` (or with a `T`), RFC 3339 with an
    /// offset, or `@SECONDS[.f]`. What is below a nanosecond is rounded up.
    ///
    /// # Errors
    ///
    /// The text has another form, or there is no such date or time of day.
    pub fn parse(text: &str) -> Result<Moment, MomentError> {
        parse(text).ok_or_else(|| match parse(&format!("@{text}")) {
            Some(_) => MomentError::Number(text.to_owned()),
            None if has_form(text) => MomentError::NoSuchTime,
            None => MomentError::Form,
        })
    }

    /// Returns whether the moment is a time of the server's wall clock, not of UTC.
    pub fn is_wall_time(self) -> bool {
        match self {
            Moment::Utc(_) => false,
            Moment::Wall(_) | Moment::TimeOfDay(_) => true,
        }
    }

    /// Returns the time to wait for, when the clock certainly reads `now` or later. A time of day
    /// is the first one after `now`.
    pub fn target(self, now: Nanos) -> Nanos {
        match self {
            Moment::Utc(time) | Moment::Wall(time) => time,
            Moment::TimeOfDay(time) => now + (time - now - 1).rem_euclid(DAY) + 1,
        }
    }
}

fn parse(text: &str) -> Option<Moment> {
    if let Some(seconds) = text.strip_prefix('@') {
        return Some(Moment::Utc(seconds_and_fraction(seconds, 1..=12)?));
    }
    if text.get(2..3) == Some(":") {
        let (time, _) = time_of_day(text)?;
        return Some(Moment::TimeOfDay(time));
    }
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let midnight = date_midnight(date)?;
    let rest = rest.strip_prefix([' ', 'T', 't'])?;
    let Some((time, offset)) = split_offset(rest) else {
        return Some(Moment::Wall(midnight + time_of_day(rest)?.0));
    };
    match time_of_day(time)? {
        (time, true) => Some(Moment::Utc(midnight + time - offset?)),
        // RFC 3339 requires the seconds.
        (_, false) => None,
    }
}

/// Whether a text has one of the forms with `HH:MM`, whatever the digits are.
fn has_form(text: &str) -> bool {
    let zeros = text.replace(|character: char| character.is_ascii_digit(), "0");
    let possible = zeros.replace("-00", "-01");
    parse(&possible).is_some()
}

/// Splits `HH:MM:SS+HH:MM` or `HH:MM:SSZ` before the offset; `None` without one. The offset is
/// `None` if it is not valid.
fn split_offset(text: &str) -> Option<(&str, Option<Nanos>)> {
    if let Some(time) = text.strip_suffix(['Z', 'z']) {
        return Some((time, Some(0)));
    }
    let (time, offset) = text.split_at_checked(text.find(['+', '-'])?)?;
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let parsed = match offset.get(1..) {
        Some(hours) if hours.len() == 5 => time_of_day(hours).map(|(it, _)| sign * it),
        _ => None,
    };
    Some((time, parsed))
}

/// Parses `YYYY-MM-DD` to the nanoseconds from 1970 until this day begins.
fn date_midnight(text: &str) -> Option<Nanos> {
    let mut parts = text.split('-');
    let mut part = |length| digits(parts.next()?, length..=length);
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    if parts.next().is_some() {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(
        i32::try_from(year).ok()?,
        u32::try_from(month).ok()?,
        u32::try_from(day).ok()?,
    )?;
    let midnight = date.and_hms_opt(0, 0, 0)?.and_utc();
    Some(Nanos::from(midnight.timestamp()) * SECOND)
}

/// Parses `HH:MM[:SS[.f]]` to nanoseconds since midnight, and whether it has seconds.
fn time_of_day(text: &str) -> Option<(Nanos, bool)> {
    let (hour, rest) = text.split_once(':')?;
    let (minute, second) = match rest.split_once(':') {
        Some((minute, second)) => (minute, Some(second)),
        None => (rest, None),
    };
    let below = |value: Nanos, limit| (value < limit).then_some(value);
    let hour = below(digits(hour, 2..=2)?, 24)?;
    let minute = below(digits(minute, 2..=2)?, 60)?;
    let seconds = match second {
        // 59.9999999999 is rounded up to 60 s.
        Some(second) => {
            below(digits(second.get(..2)?, 2..=2)?, 60)?;
            seconds_and_fraction(second, 2..=2)?
        }
        None => 0,
    };
    Some((
        (hour * 60 + minute) * 60 * SECOND + seconds,
        second.is_some(),
    ))
}

/// Parses `SECONDS[.f]` to nanoseconds, rounded up.
fn seconds_and_fraction(text: &str, length: std::ops::RangeInclusive<usize>) -> Option<Nanos> {
    let (seconds, fraction) = match text.split_once('.') {
        Some((seconds, fraction)) => (seconds, Some(fraction)),
        None => (text, None),
    };
    let nanos = match fraction {
        Some(fraction) => {
            // Its bytes are characters then.
            if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let (shown, rest) = fraction.split_at(fraction.len().min(9));
            let is_more = rest.bytes().any(|byte| byte != b'0');
            let scale = 10_i128.pow(u32::try_from(9 - shown.len()).ok()?);
            digits(shown, 1..=9)? * scale + Nanos::from(is_more)
        }
        None => 0,
    };
    Some(digits(seconds, length)? * SECOND + nanos)
}

/// Parses a number of so many decimal digits.
fn digits(text: &str, length: std::ops::RangeInclusive<usize>) -> Option<Nanos> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && length.contains(&text.len())).then(|| text.parse().ok())?
}

/// Formats a time of a wall clock as date and time, with as few decimals as possible, followed by
/// what its zone adds to UTC, as in RFC 3339: `2026-07-05 00:00:00+02:00`.
pub fn format_civil(time: Nanos, utc_offset: Nanos) -> String {
    let (seconds, nanos) = (time.div_euclid(SECOND), time.rem_euclid(SECOND));
    let civil = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    // Beyond the years that chrono knows.
    let Some(civil) = civil else {
        return format!("@{seconds}");
    };
    let fraction = match nanos {
        0 => String::new(),
        nanos => format!(".{nanos:09}").trim_end_matches('0').to_owned(),
    };
    let sign = if utc_offset < 0 { '-' } else { '+' };
    let minutes = utc_offset.abs() / (60 * SECOND);
    format!(
        "{}{fraction}{sign}{:02}:{:02}",
        civil.format("%Y-%m-%d %H:%M:%S"),
        minutes / 60,
        minutes % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Nanos = 3_600 * SECOND;
    /// 2026-07-05 00:00:00.
    const MIDNIGHT: Nanos = 1_783_209_600 * SECOND;

    #[test]
    fn each_form_is_parsed() {
        for (text, moment) in [
            ("00:00", Moment::TimeOfDay(0)),
            ("23:59", Moment::TimeOfDay(DAY - 60 * SECOND)),
            ("00:00:00", Moment::TimeOfDay(0)),
            ("01:02:03", Moment::TimeOfDay(3_723 * SECOND)),
            ("00:00:59.5", Moment::TimeOfDay(59_500_000_000)),
            ("00:00:00.000000001", Moment::TimeOfDay(1)),
            ("2026-07-05 01:00", Moment::Wall(MIDNIGHT + HOUR)),
            ("2026-07-05T01:00", Moment::Wall(MIDNIGHT + HOUR)),
            ("2026-07-05 00:00:01", Moment::Wall(MIDNIGHT + SECOND)),
            (
                "2026-07-05T00:00:00.25",
                Moment::Wall(MIDNIGHT + SECOND / 4),
            ),
            ("1970-01-01 00:00", Moment::Wall(0)),
            ("0000-02-29 00:00", Moment::Wall(-62_162_121_600 * SECOND)),
            ("2026-07-05T00:00:00Z", Moment::Utc(MIDNIGHT)),
            ("2026-07-05t00:00:00z", Moment::Utc(MIDNIGHT)),
            (
                "2026-07-05 00:00:00.5-00:00",
                Moment::Utc(MIDNIGHT + SECOND / 2),
            ),
            ("2026-07-05T02:00:00+02:00", Moment::Utc(MIDNIGHT)),
            ("2026-07-04T18:30:00-05:30", Moment::Utc(MIDNIGHT)),
            ("@0", Moment::Utc(0)),
            ("@1783209600", Moment::Utc(MIDNIGHT)),
            ("@1783209600.000000007", Moment::Utc(MIDNIGHT + 7)),
        ] {
            assert_eq!(Moment::parse(text), Ok(moment), "{text}");
        }
    }

    // Rounded down, the wait would end early.
    #[test]
    fn what_is_below_a_nanosecond_is_rounded_up() {
        for (text, nanos) in [
            ("@1.0000000001", SECOND + 1),
            ("@1.0000000000", SECOND),
            (
                "@1.00000000000000000000000000000000000000000000001",
                SECOND + 1,
            ),
            ("@1.9999999999", 2 * SECOND),
        ] {
            assert_eq!(Moment::parse(text), Ok(Moment::Utc(nanos)), "{text}");
        }
        let minute = Moment::TimeOfDay(60 * SECOND);
        assert_eq!(Moment::parse("00:00:59.9999999999"), Ok(minute));
    }

    #[test]
    fn everything_else_is_an_error() {
        for text in [
            "",
            " ",
            "now",
            "12",
            "1:00",
            "01:0",
            "001:00",
            "24:00",
            "00:60",
            "00:00:60",
            "00:00:0",
            "00:00:00.",
            "00:00:00,5",
            "00:00:00.5x",
            "00:00:00.12345678é",
            "00:00:00.0000000000x",
            "-1:00",
            "+1:00",
            " 00:00",
            "00:00 ",
            "00:00Z",
            "00:00:00+01:00",
            "00:00:00 2026-07-05",
            "2026-07-05",
            "2026-07-05 ",
            "2026-07-05 1:00",
            "2026-07-05  01:00",
            "2026-07-05_01:00",
            "2026-7-5 01:00",
            "26-07-05 01:00",
            "2026-02-29 00:00",
            "2026-13-01 00:00",
            "2026-00-01 00:00",
            "2026-01-00 00:00",
            "12026-01-01 00:00",
            "-2026-01-01 00:00",
            "2026-07-05T01:00Z",
            "2026-07-05T01:00+02:00",
            "2026-07-05T01:00:00+02",
            "2026-07-05T01:00:00+0200",
            "2026-07-05T01:00:00+24:00",
            "2026-07-05T01:00:00+02:60",
            "2026-07-05T01:00:00 +02:00",
            "2026-07-05T01:00:60Z",
            "2026-07-05T24:00:00Z",
            "@",
            "@-1",
            "@+1",
            "@1.",
            "@.5",
            "@1e3",
            "@1783209600000000000",
            "@ 1",
            "1783209600",
            "２０:00",
            "2026-07-05é01:00",
            "00:00:０0",
        ] {
            assert!(Moment::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_error_says_what_is_wrong() {
        for (text, error) in [
            ("7:00", MomentError::Form),
            ("5s", MomentError::Form),
            ("2026-07-05", MomentError::Form),
            ("2026-07-05T01:00:00+0200", MomentError::Form),
            ("24:00", MomentError::NoSuchTime),
            ("18:60", MomentError::NoSuchTime),
            ("2026-11-31 00:00", MomentError::NoSuchTime),
            ("2026-13-01T00:00:00.5Z", MomentError::NoSuchTime),
            ("2026-07-05T01:00:00+24:00", MomentError::NoSuchTime),
            ("1783209600", MomentError::Number("1783209600".to_owned())),
        ] {
            assert_eq!(Moment::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_time_of_day_is_the_next_one() {
        for (now, time, target) in [
            (MIDNIGHT, 1, MIDNIGHT + 1),
            (MIDNIGHT, 0, MIDNIGHT + DAY),
            (MIDNIGHT + 1, 0, MIDNIGHT + DAY),
            (MIDNIGHT - 1, 0, MIDNIGHT),
            (MIDNIGHT + HOUR, 2 * HOUR, MIDNIGHT + 2 * HOUR),
            // One second too late.
            (MIDNIGHT + HOUR + SECOND, HOUR, MIDNIGHT + DAY + HOUR),
            (-HOUR, 0, 0),
        ] {
            assert_eq!(Moment::TimeOfDay(time).target(now), target);
        }
        for moment in [Moment::Utc(7), Moment::Wall(7)] {
            assert_eq!(moment.target(100), 7);
        }
    }

    #[test]
    fn civil_time_has_date_and_zone() {
        for (time, offset, text) in [
            (MIDNIGHT, 0, "2026-07-05 00:00:00+00:00"),
            (
                MIDNIGHT + SECOND / 4,
                2 * HOUR,
                "2026-07-05 00:00:00.25+02:00",
            ),
            (
                MIDNIGHT - 1,
                -5 * HOUR - HOUR / 2,
                "2026-07-04 23:59:59.999999999-05:30",
            ),
            (10i128.pow(24), 0, "@1000000000000000"),
        ] {
            assert_eq!(format_civil(time, offset), text);
        }
    }

    proptest! {
        #[test]
        fn parse_does_not_panic(text in ".{0,40}") {
            let _ = Moment::parse(&text);
        }

        #[test]
        fn parse_does_not_panic_near_a_time(text in "[0-9TZ:.+@ -]{0,32}") {
            let _ = Moment::parse(&text);
        }

        #[test]
        fn civil_time_is_parsed_as_it_is_formatted(seconds in -62_167_219_200..253_402_300_800i64) {
            let time = Nanos::from(seconds) * SECOND;
            let text = format_civil(time, 0);
            prop_assert_eq!(Moment::parse(&text), Ok(Moment::Utc(time)));
        }
    }
}

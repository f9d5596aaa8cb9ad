//! Writes the text of each directive.

use super::parse::{Directive, FieldSpec};
use super::writer::{SliceWriter, WriteResult};
use crate::time::{BrokenDownTime, LocalTime};

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Enough for the longest composite, `%c`, in any year of chrono's calendar.
const COMPOSITE_BUF_SIZE: usize = 64;

impl SliceWriter<'_> {
    /// Writes the text of one directive.
    pub(super) fn directive(
        &mut self,
        directive: Directive,
        spec: &FieldSpec,
        time: &LocalTime,
    ) -> WriteResult {
        match directive {
            Directive::Letter(letter) => self.letter(letter, spec, time),
            Directive::Percent => self.padded(b"%", spec),
            Directive::UtcOffset(colons) => {
                self.utc_offset_with_colons(colons, spec, time.utc_offset())
            }
            Directive::Quarter => {
                self.gnu_date_number(b"", &[b'1' + time.fields().month0 / 3], 1, spec)
            }
            Directive::Nanoseconds => self.nanoseconds(time.nanosecond(), spec),
            Directive::Fraction(digits) => self.fraction(time.nanosecond(), digits),
            Directive::DottedFraction(0) => self.shortest_fraction(time.nanosecond()),
            Directive::DottedFraction(digits) => {
                self.push(b".")?;
                self.fraction(time.nanosecond(), digits)
            }
            Directive::Rfc3339 => {
                let local = time.fields();
                self.number(local.year, 4, &FieldSpec::PLAIN)?;
                self.month_and_day(local)?;
                self.push(b"T")?;
                self.time_of_day(local)?;
                self.shortest_fraction(time.nanosecond())?;
                self.utc_offset_with_colons(1, &FieldSpec::PLAIN, time.utc_offset())
            }
            Directive::VmsDate => {
                let local = time.fields();
                self.space_padded_number(local.day, &FieldSpec::PLAIN)?;
                self.push(b"-")?;
                self.push(&MONTHS[usize::from(local.month0)].as_bytes()[..3])?;
                self.push(b"-")?;
                self.number(local.year, 4, &FieldSpec::PLAIN)
            }
        }
    }

    /// Writes the text of one of glibc's directives.
    fn letter(&mut self, letter: u8, spec: &FieldSpec, time: &LocalTime) -> WriteResult {
        let local = time.fields();
        let hour12 = || (local.hour + 11) % 12 + 1;
        let days_since_monday = || (local.weekday + 6) % 7;
        let weekday = || WEEKDAYS[usize::from(local.weekday)];
        let month = || MONTHS[usize::from(local.month0)];
        match letter {
            b'a' => self.name(&weekday()[..3], spec),
            b'A' => self.name(weekday(), spec),
            b'b' | b'h' => self.name(&month()[..3], spec),
            b'B' => self.name(month(), spec),
            b'C' => self.number(local.year.div_euclid(100), 1, spec),
            b'd' => self.number(local.day.into(), 2, spec),
            b'e' => self.space_padded_number(local.day, spec),
            b'g' => self.number(local.iso_year.rem_euclid(100), 2, spec),
            b'G' => self.number(local.iso_year, 1, spec),
            b'H' => self.number(local.hour.into(), 2, spec),
            b'I' => self.number(hour12().into(), 2, spec),
            b'j' => self.number(i32::from(local.ordinal0) + 1, 3, spec),
            b'k' => self.space_padded_number(local.hour, spec),
            b'l' => self.space_padded_number(hour12(), spec),
            b'm' => self.number(i32::from(local.month0) + 1, 2, spec),
            b'M' => self.number(local.minute.into(), 2, spec),
            b'n' => self.padded(b"\n", spec),
            b'p' => self.am_pm(local.hour >= 12, spec.swap_case, spec),
            b'P' => self.am_pm(local.hour >= 12, true, spec),
            b's' => self.unix_seconds(time.unix_seconds(), spec),
            b'S' => self.number(local.second.into(), 2, spec),
            b't' => self.padded(b"\t", spec),
            b'u' => self.number(i32::from(days_since_monday()) + 1, 1, spec),
            b'U' => self.week_of_year(local.weekday, local.ordinal0, spec),
            b'V' => self.number(local.iso_week.into(), 2, spec),
            b'w' => self.number(local.weekday.into(), 1, spec),
            b'W' => self.week_of_year(days_since_monday(), local.ordinal0, spec),
            b'y' => self.number(local.year.rem_euclid(100), 2, spec),
            b'Y' => self.number(local.year, 1, spec),
            b'z' => self.utc_offset(time.utc_offset(), spec),
            b'Z' => self.abbreviation(time, spec),
            b'D' | b'x' => self.composite(spec, |w| {
                let year = local.year.rem_euclid(100) as u8;
                w.three_numbers([local.month0 + 1, local.day, year], b'/')
            }),
            b'F' => self.composite(spec, |w| {
                w.number(local.year, 1, &FieldSpec::PLAIN)?;
                w.month_and_day(local)
            }),
            b'R' => self.composite(spec, |w| w.two_numbers([local.hour, local.minute], b':')),
            b'T' | b'X' => self.composite(spec, |w| w.time_of_day(local)),
            b'r' => self.composite(spec, |w| {
                w.three_numbers([hour12(), local.minute, local.second], b':')?;
                w.push(if local.hour >= 12 { b" PM" } else { b" AM" })
            }),
            b'c' => self.composite(spec, |w| {
                w.push(&weekday().as_bytes()[..3])?;
                w.push(b" ")?;
                w.push(&month().as_bytes()[..3])?;
                w.push(b" ")?;
                w.space_padded_number(local.day, &FieldSpec::PLAIN)?;
                w.push(b" ")?;
                w.time_of_day(local)?;
                w.push(b" ")?;
                w.number(local.year, 1, &FieldSpec::PLAIN)
            }),
            // `Directive::from_byte` makes a `Letter` of no other byte.
            _ => unreachable!("no letter of glibc's"),
        }
    }

    /// `HH:MM:SS`
    fn time_of_day(&mut self, local: &BrokenDownTime) -> WriteResult {
        self.three_numbers([local.hour, local.minute, local.second], b':')
    }

    /// `-MM-DD`, what follows the year in ISO 8601.
    fn month_and_day(&mut self, local: &BrokenDownTime) -> WriteResult {
        self.push(b"-")?;
        self.two_numbers([local.month0 + 1, local.day], b'-')
    }

    /// A directive that stands for several: width and `^` apply to the whole text that `write`
    /// writes, and no flag to its parts.
    fn composite(
        &mut self,
        spec: &FieldSpec,
        write: impl FnOnce(&mut SliceWriter<'_>) -> WriteResult,
    ) -> WriteResult {
        if spec.width == 0 && !spec.uppercase {
            return write(self);
        }
        let mut buf = [0; COMPOSITE_BUF_SIZE];
        let mut writer = SliceWriter::new(&mut buf);
        write(&mut writer)?;
        let length = writer.length();
        if spec.uppercase {
            buf[..length].make_ascii_uppercase();
        }
        self.padded(&buf[..length], spec)
    }

    /// The name of a day or month: `^` and `#` both make it upper case.
    fn name(&mut self, name: &str, spec: &FieldSpec) -> WriteResult {
        let start = self.length();
        self.padded(name.as_bytes(), spec)?;
        if spec.uppercase || spec.swap_case {
            self.make_uppercase_from(start);
        }
        Ok(())
    }

    /// `%p` and `%P`; `^` does not change lower case.
    fn am_pm(&mut self, is_pm: bool, lowercase: bool, spec: &FieldSpec) -> WriteResult {
        self.padded(
            match (is_pm, lowercase) {
                (false, false) => b"AM",
                (false, true) => b"am",
                (true, false) => b"PM",
                (true, true) => b"pm",
            },
            spec,
        )
    }

    /// The zone's abbreviation: `#` makes it lower case, even if `^` is given too.
    fn abbreviation(&mut self, time: &LocalTime, spec: &FieldSpec) -> WriteResult {
        let (mut bytes, length) = time.abbreviation_bytes();
        if spec.swap_case {
            bytes.make_ascii_lowercase();
        } else if spec.uppercase {
            bytes.make_ascii_uppercase();
        }
        if spec.width == 0 {
            self.push_front(&bytes, length)
        } else {
            self.padded(&bytes[..length], spec)
        }
    }

    /// `%U` and `%W`: the number of weeks that began in this year. `days_into_week` is the number
    /// of days since the present one began.
    fn week_of_year(&mut self, days_into_week: u8, ordinal0: u16, spec: &FieldSpec) -> WriteResult {
        let week = (ordinal0 + 7 - u16::from(days_into_week)) / 7;
        self.number(week.into(), 2, spec)
    }
}

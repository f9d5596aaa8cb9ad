//! Writes the text of each directive.

use super::parse::{Directive, FieldSpec};
use super::writer::{SliceWriter, WriteResult};
use crate::time::LocalTime;

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
                self.four_digit_year(time)?;
                self.push(b"-")?;
                self.letters(b"mdHMS", b"-T::", time)?;
                self.shortest_fraction(time.nanosecond())?;
                self.utc_offset_with_colons(1, &FieldSpec::PLAIN, time.utc_offset())
            }
            Directive::VmsDate => {
                self.letters(b"eb", b"--", time)?;
                self.four_digit_year(time)
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
            b'D' | b'x' => self.composite(b"mdy", b"//", spec, time),
            b'F' => self.composite(b"Ymd", b"--", spec, time),
            b'R' => self.composite(b"HM", b":", spec, time),
            b'T' | b'X' => self.composite(b"HMS", b"::", spec, time),
            b'r' => self.composite(b"IMSp", b":: ", spec, time),
            b'c' => self.composite(b"abeTY", b"    ", spec, time),
            // `Directive::from_byte` makes a `Letter` of no other byte.
            _ => unreachable!("no letter of glibc's"),
        }
    }

    /// A year of at least four digits, as in RFC 3339 and in chrono; glibc does not pad a year.
    fn four_digit_year(&mut self, time: &LocalTime) -> WriteResult {
        self.number(time.fields().year, 4, &FieldSpec::PLAIN)
    }

    /// Directives without flags, each followed by its separator if it has one.
    fn letters(&mut self, letters: &[u8], separators: &[u8], time: &LocalTime) -> WriteResult {
        for (index, &letter) in letters.iter().enumerate() {
            self.letter(letter, &FieldSpec::PLAIN, time)?;
            if let Some(&separator) = separators.get(index) {
                self.push(&[separator])?;
            }
        }
        Ok(())
    }

    /// A directive that stands for several: width and `^` apply to the whole text, and no flag to
    /// its parts.
    fn composite(
        &mut self,
        letters: &[u8],
        separators: &[u8],
        spec: &FieldSpec,
        time: &LocalTime,
    ) -> WriteResult {
        if spec.width == 0 && !spec.uppercase {
            return self.letters(letters, separators, time);
        }
        let mut buf = [0; COMPOSITE_BUF_SIZE];
        let mut writer = SliceWriter::new(&mut buf);
        writer.letters(letters, separators, time)?;
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

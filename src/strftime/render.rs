//! The text of each directive, written into the buf that the caller has.

use super::BufferTooSmall;
use super::parse::{Directive, FieldSpec, Padding};
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

/// `00` to `99`.
static TWO_DIGITS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut value = 0;
    while value < 100 {
        pairs[value] = [b'0' + value as u8 / 10, b'0' + value as u8 % 10];
        value += 1;
    }
    pairs
};

/// Room for the longest composite, `%c`, in any year that chrono holds.
const COMPOSITE: usize = 64;

/// The longest short number, its filling included.
const SHORT: usize = 16;

/// The text as far as it is written.
pub(super) struct SliceWriter<'b> {
    buf: &'b mut [u8],
    length: usize,
}

/// What became of a piece of text.
pub(super) type WriteResult = Result<(), BufferTooSmall>;

impl<'b> SliceWriter<'b> {
    pub(super) fn new(buf: &'b mut [u8]) -> SliceWriter<'b> {
        SliceWriter { buf, length: 0 }
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> WriteResult {
        let end = self.length + bytes.len();
        self.buf
            .get_mut(self.length..end)
            .ok_or(BufferTooSmall)?
            .copy_from_slice(bytes);
        self.length = end;
        Ok(())
    }

    /// The first `length` bytes of an array; all of it is copied where there is buf, which costs less.
    pub(super) fn push_front<const N: usize>(
        &mut self,
        bytes: &[u8; N],
        length: usize,
    ) -> WriteResult {
        match self.buf[self.length..].first_chunk_mut() {
            Some(buf) => {
                *buf = *bytes;
                self.length += length;
                Ok(())
            }
            None => self.push(&bytes[..length]),
        }
    }

    fn fill(&mut self, byte: u8, count: usize) -> WriteResult {
        if count == 0 {
            return Ok(());
        }
        let end = self.length.checked_add(count).ok_or(BufferTooSmall)?;
        self.buf
            .get_mut(self.length..end)
            .ok_or(BufferTooSmall)?
            .fill(byte);
        self.length = end;
        Ok(())
    }

    /// Writes one directive.
    pub(super) fn convert(
        &mut self,
        directive: Directive,
        spec: &FieldSpec,
        time: &LocalTime,
    ) -> WriteResult {
        match directive {
            Directive::Letter(letter) => self.letter(letter, spec, time),
            Directive::Percent => self.padded(b"%", spec),
            Directive::UtcOffset(colons) => self.offset(colons, spec, time.utc_offset()),
            Directive::Quarter => {
                self.date_padded(b"", &[b'1' + time.fields().month0 / 3], 1, spec)
            }
            Directive::Nanoseconds => self.nanoseconds(time.nanosecond(), spec),
            Directive::Fraction(digits) => {
                self.push_front(&nine_digits(time.nanosecond()), usize::from(digits))
            }
            Directive::DottedFraction(0) => self.shortest_fraction(time.nanosecond()),
            Directive::DottedFraction(digits) => {
                self.push(b".")?;
                self.push_front(&nine_digits(time.nanosecond()), usize::from(digits))
            }
            Directive::Rfc3339 => {
                self.four_digit_year(time)?;
                self.push(b"-")?;
                self.letters(b"mdHMS", b"-T::", time)?;
                self.shortest_fraction(time.nanosecond())?;
                self.offset(1, &FieldSpec::PLAIN, time.utc_offset())
            }
            Directive::VmsDate => {
                self.letters(b"eb", b"--", time)?;
                self.four_digit_year(time)
            }
        }
    }

    /// Writes one of glibc's directives.
    fn letter(&mut self, letter: u8, spec: &FieldSpec, time: &LocalTime) -> WriteResult {
        let local = time.fields();
        let hour12 = || (local.hour + 11) % 12 + 1;
        let weekday = || WEEKDAYS[usize::from(local.weekday)];
        let month = || MONTHS[usize::from(local.month0)];
        match letter {
            b'a' => self.name(&weekday()[..3], spec),
            b'A' => self.name(weekday(), spec),
            b'b' | b'h' => self.name(&month()[..3], spec),
            b'B' => self.name(month(), spec),
            b'C' => self.number(local.year.div_euclid(100), 1, spec),
            b'd' => self.number(local.day.into(), 2, spec),
            b'e' => self.spaced_number(local.day, spec),
            b'g' => self.number(local.iso_year.rem_euclid(100), 2, spec),
            b'G' => self.number(local.iso_year, 1, spec),
            b'H' => self.number(local.hour.into(), 2, spec),
            b'I' => self.number(hour12().into(), 2, spec),
            b'j' => self.number(i32::from(local.ordinal0) + 1, 3, spec),
            b'k' => self.spaced_number(local.hour, spec),
            b'l' => self.spaced_number(hour12(), spec),
            b'm' => self.number(i32::from(local.month0) + 1, 2, spec),
            b'M' => self.number(local.minute.into(), 2, spec),
            b'n' => self.padded(b"\n", spec),
            b'p' => self.am_pm(local.hour >= 12, spec.swap, spec),
            b'P' => self.am_pm(local.hour >= 12, true, spec),
            b's' => self.seconds(time.unix_seconds(), spec),
            b'S' => self.number(local.second.into(), 2, spec),
            b't' => self.padded(b"\t", spec),
            b'u' => self.number(i32::from((local.weekday + 6) % 7) + 1, 1, spec),
            b'U' => self.week_since(local.weekday, local.ordinal0, spec),
            b'V' => self.number(local.iso_week.into(), 2, spec),
            b'w' => self.number(local.weekday.into(), 1, spec),
            b'W' => self.week_since((local.weekday + 6) % 7, local.ordinal0, spec),
            b'y' => self.number(local.year.rem_euclid(100), 2, spec),
            b'Y' => self.number(local.year, 1, spec),
            b'z' => self.posix_offset(time.utc_offset(), spec),
            b'Z' => self.abbreviation(time, spec),
            b'D' | b'x' => self.composite(b"mdy", b"//", spec, time),
            b'F' => self.composite(b"Ymd", b"--", spec, time),
            b'R' => self.composite(b"HM", b":", spec, time),
            b'T' | b'X' => self.composite(b"HMS", b"::", spec, time),
            b'r' => self.composite(b"IMSp", b":: ", spec, time),
            b'c' => self.composite(b"abeTY", b"    ", spec, time),
            _ => unreachable!("Directive::bare names the letters"),
        }
    }

    /// A year as chrono has it, and RFC 3339: glibc would not fill it.
    fn four_digit_year(&mut self, time: &LocalTime) -> WriteResult {
        self.number(time.fields().year, 4, &FieldSpec::PLAIN)
    }

    /// Plain directives, each followed by its byte, where there is one left for it: what composites are made of.
    fn letters(&mut self, letters: &[u8], between: &[u8], time: &LocalTime) -> WriteResult {
        for (index, &letter) in letters.iter().enumerate() {
            self.letter(letter, &FieldSpec::PLAIN, time)?;
            if let Some(&byte) = between.get(index) {
                self.push(&[byte])?;
            }
        }
        Ok(())
    }

    /// A composite is filled to its width as a whole and hands no flag down; `^` holds for all of it.
    fn composite(
        &mut self,
        letters: &[u8],
        between: &[u8],
        spec: &FieldSpec,
        time: &LocalTime,
    ) -> WriteResult {
        if spec.width == 0 && !spec.upper {
            return self.letters(letters, between, time);
        }
        let mut buf = [0; COMPOSITE];
        let mut whole = SliceWriter::new(&mut buf);
        whole.letters(letters, between, time)?;
        let length = whole.length;
        if spec.upper {
            buf[..length].make_ascii_uppercase();
        }
        self.padded(&buf[..length], spec)
    }

    /// glibc's filling of all that is no number: to the width, with spaces, under `0` with zeros.
    fn padded(&mut self, bytes: &[u8], spec: &FieldSpec) -> WriteResult {
        if spec.width > bytes.len() {
            self.fill(
                if spec.padding == Padding::Zero {
                    b'0'
                } else {
                    b' '
                },
                spec.width - bytes.len(),
            )?;
        }
        self.push(bytes)
    }

    /// The name of a day or month: upper case under `^` and `#` alike.
    fn name(&mut self, name: &str, spec: &FieldSpec) -> WriteResult {
        let start = self.length;
        self.padded(name.as_bytes(), spec)?;
        if spec.upper || spec.swap {
            self.buf[start..self.length].make_ascii_uppercase();
        }
        Ok(())
    }

    /// `%p` and `%P`: lower case beats `^`.
    fn am_pm(&mut self, pm: bool, lower: bool, spec: &FieldSpec) -> WriteResult {
        self.padded(
            match (pm, lower) {
                (false, false) => b"AM",
                (false, true) => b"am",
                (true, false) => b"PM",
                (true, true) => b"pm",
            },
            spec,
        )
    }

    /// The zone's abbreviation: `#` makes it lower case, and beats `^`.
    fn abbreviation(&mut self, time: &LocalTime, spec: &FieldSpec) -> WriteResult {
        let (mut bytes, length) = time.abbreviation_bytes();
        if spec.swap {
            bytes.make_ascii_lowercase();
        } else if spec.upper {
            bytes.make_ascii_uppercase();
        }
        if spec.width == 0 {
            self.push_front(&bytes, length)
        } else {
            self.padded(&bytes[..length], spec)
        }
    }

    /// The week of the year by the day that weeks begin with, `since_first` days ago: days before its first are in week 0.
    fn week_since(&mut self, since_first: u8, ordinal0: u16, spec: &FieldSpec) -> WriteResult {
        let week = (ordinal0 + 7 - u16::from(since_first)) / 7;
        self.number(week.into(), 2, spec)
    }

    /// A number of at least `digits` digits as glibc has it.
    fn number(&mut self, value: i32, digits: usize, spec: &FieldSpec) -> WriteResult {
        // Nearly every number is one of two digits without a width.
        if spec.width == 0 && digits <= 2 && (0..100).contains(&value) {
            let filler = match spec.padding {
                _ if digits == 1 => None,
                Padding::None => None,
                Padding::Space => Some(b' '),
                Padding::Default | Padding::Zero => Some(b'0'),
            };
            return self.two_digits(value as u8, filler);
        }
        if (0..10_000).contains(&value) && spec.width <= SHORT {
            return self.short_number(value as u16, digits, spec);
        }
        self.padded_number(i64::from(value), digits, spec)
    }

    /// A number below 100; the filler stands for the tens where there are none.
    fn two_digits(&mut self, value: u8, filler: Option<u8>) -> WriteResult {
        match filler {
            Some(b'0') => self.push(&TWO_DIGITS[usize::from(value)]),
            _ if value >= 10 => self.push(&TWO_DIGITS[usize::from(value)]),
            Some(filler) => {
                self.push(&[filler])?;
                self.push(&[b'0' + value])
            }
            None => self.push(&[b'0' + value]),
        }
    }

    /// Two digits that glibc fills with a space unless a flag says otherwise.
    fn spaced_number(&mut self, value: u8, spec: &FieldSpec) -> WriteResult {
        let padding = if spec.padding == Padding::Default {
            Padding::Space
        } else {
            spec.padding
        };
        self.number(value.into(), 2, &FieldSpec { padding, ..*spec })
    }

    /// `%s`: a number that glibc fills like a text, its sign included.
    fn seconds(&mut self, value: i64, spec: &FieldSpec) -> WriteResult {
        let decimal = Decimal::of(value.unsigned_abs());
        let mut buf = [b'-'; 21];
        let start = usize::from(value < 0);
        let end = start + decimal.digits().len();
        buf[start..end].copy_from_slice(decimal.digits());
        self.padded(&buf[..end], spec)
    }

    /// A width widens the number itself, but under `-` it is a text filled with spaces.
    fn padded_number(&mut self, value: i64, digits: usize, spec: &FieldSpec) -> WriteResult {
        let decimal = Decimal::of(value.unsigned_abs());
        let shown = decimal.digits();
        let sign: &[u8] = if value < 0 { b"-" } else { b"" };
        let length = sign.len() + shown.len();
        match spec.padding {
            Padding::None => {
                self.fill(b' ', spec.width.saturating_sub(length))?;
                self.push(sign)?;
            }
            Padding::Space => {
                self.fill(b' ', digits.max(spec.width).saturating_sub(length))?;
                self.push(sign)?;
            }
            Padding::Default | Padding::Zero => {
                self.push(sign)?;
                self.fill(b'0', digits.max(spec.width).saturating_sub(length))?;
            }
        }
        self.push(shown)
    }

    /// The same for what hundreds of directives in one question can ask for: below 10,000, and no wider than [`SHORT`].
    fn short_number(&mut self, value: u16, digits: usize, spec: &FieldSpec) -> WriteResult {
        let shown = 1 + usize::from(value > 9) + usize::from(value > 99) + usize::from(value > 999);
        let (filler, least) = match spec.padding {
            Padding::None => (b' ', spec.width),
            Padding::Space => (b' ', digits.max(spec.width)),
            Padding::Default | Padding::Zero => (b'0', digits.max(spec.width)),
        };
        let length = shown.max(least);
        // All of a buf of fixed size is filled, which costs less than as much as is needed.
        let write = |buf: &mut [u8; SHORT]| {
            buf.fill(filler);
            let mut rest = value;
            for digit in buf[length - shown..length].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        };
        if let Some(buf) = self.buf[self.length..].first_chunk_mut() {
            write(buf);
            self.length += length;
            return Ok(());
        }
        let mut buf = [0; SHORT];
        write(&mut buf);
        self.push(&buf[..length])
    }

    /// `%z`: glibc fills sign and number each for itself, and cuts seconds off.
    fn posix_offset(&mut self, offset: i32, spec: &FieldSpec) -> WriteResult {
        self.padded(if offset < 0 { b"-" } else { b"+" }, spec)?;
        let minutes = (offset.unsigned_abs() / 60).cast_signed();
        self.number(minutes / 60 * 100 + minutes % 60, 4, spec)
    }

    /// `%:z` and its longer sisters, as GNU date has them: the width counts the sign and replaces the usual one.
    fn offset(&mut self, colons: u8, spec: &FieldSpec, offset: i32) -> WriteResult {
        let seconds = offset.unsigned_abs();
        let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let with_seconds = colons == 2 || colons == 3 && rest != 0;
        let with_minutes = with_seconds || colons == 1 || minutes != 0;
        let mut buf = [0; 32];
        let mut shown = SliceWriter::new(&mut buf);
        shown.push(Decimal::of(u64::from(hours)).digits())?;
        for (part, wanted) in [(minutes, with_minutes), (rest, with_seconds)] {
            if wanted {
                shown.push(b":")?;
                shown.two_digits(part as u8, Some(b'0'))?;
            }
        }
        let length = shown.length;
        let usual = 3 + 3 * (usize::from(with_minutes) + usize::from(with_seconds));
        self.date_padded(
            if offset < 0 { b"-" } else { b"+" },
            &buf[..length],
            usual,
            spec,
        )
    }

    /// A number as GNU date fills it: a width replaces the usual one, and `-` cancels it.
    fn date_padded(
        &mut self,
        sign: &[u8],
        digits: &[u8],
        usual: usize,
        spec: &FieldSpec,
    ) -> WriteResult {
        let width = if spec.width == 0 { usual } else { spec.width };
        let missing = width.saturating_sub(sign.len() + digits.len());
        match spec.padding {
            Padding::None => self.push(sign)?,
            Padding::Space => {
                self.fill(b' ', missing)?;
                self.push(sign)?;
            }
            Padding::Default | Padding::Zero => {
                self.push(sign)?;
                self.fill(b'0', missing)?;
            }
        }
        self.push(digits)
    }

    /// `%N`, as GNU date has it: the width is a precision, cut and not rounded, and filled on the right. Under `_`, and
    /// under `-` with a width, zeros at the end give way.
    fn nanoseconds(&mut self, nanosecond: u32, spec: &FieldSpec) -> WriteResult {
        let width = if spec.width == 0 { 9 } else { spec.width };
        let all = nine_digits(nanosecond);
        if width <= all.len() && matches!(spec.padding, Padding::Default | Padding::Zero) {
            return self.push_front(&all, width);
        }
        let mut digits = &all[..width.min(9)];
        if spec.padding == Padding::Space || spec.padding == Padding::None && spec.width > 0 {
            while let [rest @ .., b'0'] = digits
                && !rest.is_empty()
            {
                digits = rest;
            }
        }
        self.push(digits)?;
        match spec.padding {
            Padding::None => Ok(()),
            Padding::Space => self.fill(b' ', width - digits.len()),
            Padding::Default | Padding::Zero => self.fill(b'0', width - digits.len()),
        }
    }

    /// chrono's `%.f`: nothing for a whole second, else a dot and 3, 6 or 9 digits, the fewest that lose nothing.
    fn shortest_fraction(&mut self, nanosecond: u32) -> WriteResult {
        let digits = match nanosecond {
            0 => return Ok(()),
            _ if nanosecond.is_multiple_of(1_000_000) => 3,
            _ if nanosecond.is_multiple_of(1_000) => 6,
            _ => 9,
        };
        self.push(b".")?;
        self.push_front(&nine_digits(nanosecond), digits)
    }
}

fn four_digits(value: u16) -> [u8; 4] {
    [value / 1000, value / 100 % 10, value / 10 % 10, value % 10].map(|digit| b'0' + digit as u8)
}

fn nine_digits(nanosecond: u32) -> [u8; 9] {
    let group = |value: u32| four_digits((value % 1000) as u16);
    let [_, a, b, c] = group(nanosecond / 1_000_000);
    let [_, d, e, f] = group(nanosecond / 1_000);
    let [_, g, h, i] = group(nanosecond);
    [a, b, c, d, e, f, g, h, i]
}

/// A number's decimal digits, at least one.
struct Decimal {
    bytes: [u8; 20],
    start: usize,
}

impl Decimal {
    fn of(mut value: u64) -> Decimal {
        let mut decimal = Decimal {
            bytes: [0; 20],
            start: 20,
        };
        loop {
            decimal.start -= 1;
            decimal.bytes[decimal.start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                return decimal;
            }
        }
    }

    fn digits(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

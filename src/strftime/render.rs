//! The text of each conversion, written into the room that the caller has.

use super::{Kind, Pad, Shape, TextTooLong};
use crate::clock::Moment;

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
pub(super) struct Text<'b> {
    room: &'b mut [u8],
    length: usize,
}

/// What became of a piece of text.
pub(super) type Written = Result<(), TextTooLong>;

impl<'b> Text<'b> {
    pub(super) fn new(room: &'b mut [u8]) -> Text<'b> {
        Text { room, length: 0 }
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Written {
        let end = self.length + bytes.len();
        self.room
            .get_mut(self.length..end)
            .ok_or(TextTooLong)?
            .copy_from_slice(bytes);
        self.length = end;
        Ok(())
    }

    /// The first `length` bytes of an array; all of it is copied where there is room, which costs less.
    pub(super) fn push_front<const N: usize>(&mut self, bytes: &[u8; N], length: usize) -> Written {
        match self.room[self.length..].first_chunk_mut() {
            Some(room) => {
                *room = *bytes;
                self.length += length;
                Ok(())
            }
            None => self.push(&bytes[..length]),
        }
    }

    fn fill(&mut self, byte: u8, count: usize) -> Written {
        if count == 0 {
            return Ok(());
        }
        let end = self.length.checked_add(count).ok_or(TextTooLong)?;
        self.room
            .get_mut(self.length..end)
            .ok_or(TextTooLong)?
            .fill(byte);
        self.length = end;
        Ok(())
    }

    /// Writes one conversion.
    pub(super) fn convert(&mut self, kind: Kind, shape: &Shape, moment: &Moment) -> Written {
        match kind {
            Kind::Letter(letter) => self.letter(letter, shape, moment),
            Kind::Percent => self.padded(b"%", shape),
            Kind::Offset(colons) => self.offset(colons, shape, moment.offset()),
            Kind::Quarter => self.date_padded(b"", &[b'1' + moment.local().month0 / 3], 1, shape),
            Kind::Nanoseconds => self.nanoseconds(moment.nanosecond(), shape),
            Kind::Fraction(digits) => {
                self.push_front(&nine_digits(moment.nanosecond()), usize::from(digits))
            }
            Kind::DottedFraction(0) => self.shortest_fraction(moment.nanosecond()),
            Kind::DottedFraction(digits) => {
                self.push(b".")?;
                self.push_front(&nine_digits(moment.nanosecond()), usize::from(digits))
            }
            Kind::Rfc3339 => {
                self.four_digit_year(moment)?;
                self.push(b"-")?;
                self.letters(b"mdHMS", b"-T::", moment)?;
                self.shortest_fraction(moment.nanosecond())?;
                self.offset(1, &Shape::PLAIN, moment.offset())
            }
            Kind::VmsDate => {
                self.letters(b"eb", b"--", moment)?;
                self.four_digit_year(moment)
            }
        }
    }

    /// Writes one of glibc's conversions.
    fn letter(&mut self, letter: u8, shape: &Shape, moment: &Moment) -> Written {
        let local = moment.local();
        let hour12 = || (local.hour + 11) % 12 + 1;
        let weekday = || WEEKDAYS[usize::from(local.weekday)];
        let month = || MONTHS[usize::from(local.month0)];
        match letter {
            b'a' => self.name(&weekday()[..3], shape),
            b'A' => self.name(weekday(), shape),
            b'b' | b'h' => self.name(&month()[..3], shape),
            b'B' => self.name(month(), shape),
            b'C' => self.number(local.year.div_euclid(100), 1, shape),
            b'd' => self.number(local.day.into(), 2, shape),
            b'e' => self.spaced_number(local.day, shape),
            b'g' => self.number(local.iso_year.rem_euclid(100), 2, shape),
            b'G' => self.number(local.iso_year, 1, shape),
            b'H' => self.number(local.hour.into(), 2, shape),
            b'I' => self.number(hour12().into(), 2, shape),
            b'j' => self.number(i32::from(local.ordinal0) + 1, 3, shape),
            b'k' => self.spaced_number(local.hour, shape),
            b'l' => self.spaced_number(hour12(), shape),
            b'm' => self.number(i32::from(local.month0) + 1, 2, shape),
            b'M' => self.number(local.minute.into(), 2, shape),
            b'n' => self.padded(b"\n", shape),
            b'p' => self.half_of_day(local.hour >= 12, shape.swap, shape),
            b'P' => self.half_of_day(local.hour >= 12, true, shape),
            b's' => self.seconds(moment.unix_seconds(), shape),
            b'S' => self.number(local.second.into(), 2, shape),
            b't' => self.padded(b"\t", shape),
            b'u' => self.number(i32::from((local.weekday + 6) % 7) + 1, 1, shape),
            b'U' => self.week_since(local.weekday, local.ordinal0, shape),
            b'V' => self.number(local.iso_week.into(), 2, shape),
            b'w' => self.number(local.weekday.into(), 1, shape),
            b'W' => self.week_since((local.weekday + 6) % 7, local.ordinal0, shape),
            b'y' => self.number(local.year.rem_euclid(100), 2, shape),
            b'Y' => self.number(local.year, 1, shape),
            b'z' => self.posix_offset(moment.offset(), shape),
            b'Z' => self.abbreviation(moment, shape),
            b'D' | b'x' => self.composite(b"mdy", b"//", shape, moment),
            b'F' => self.composite(b"Ymd", b"--", shape, moment),
            b'R' => self.composite(b"HM", b":", shape, moment),
            b'T' | b'X' => self.composite(b"HMS", b"::", shape, moment),
            b'r' => self.composite(b"IMSp", b":: ", shape, moment),
            b'c' => self.composite(b"abeTY", b"    ", shape, moment),
            _ => unreachable!("Kind::bare names the letters"),
        }
    }

    /// A year as chrono has it, and RFC 3339: glibc would not fill it.
    fn four_digit_year(&mut self, moment: &Moment) -> Written {
        self.number(moment.local().year, 4, &Shape::PLAIN)
    }

    /// Plain conversions, each followed by its byte, where there is one left for it: what composites are made of.
    fn letters(&mut self, letters: &[u8], between: &[u8], moment: &Moment) -> Written {
        for (index, &letter) in letters.iter().enumerate() {
            self.letter(letter, &Shape::PLAIN, moment)?;
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
        shape: &Shape,
        moment: &Moment,
    ) -> Written {
        if shape.width == 0 && !shape.upper {
            return self.letters(letters, between, moment);
        }
        let mut room = [0; COMPOSITE];
        let mut whole = Text::new(&mut room);
        whole.letters(letters, between, moment)?;
        let length = whole.length;
        if shape.upper {
            room[..length].make_ascii_uppercase();
        }
        self.padded(&room[..length], shape)
    }

    /// glibc's filling of all that is no number: to the width, with spaces, under `0` with zeros.
    fn padded(&mut self, bytes: &[u8], shape: &Shape) -> Written {
        if shape.width > bytes.len() {
            self.fill(
                if shape.pad == Pad::Zero { b'0' } else { b' ' },
                shape.width - bytes.len(),
            )?;
        }
        self.push(bytes)
    }

    /// The name of a day or month: upper case under `^` and `#` alike.
    fn name(&mut self, name: &str, shape: &Shape) -> Written {
        let start = self.length;
        self.padded(name.as_bytes(), shape)?;
        if shape.upper || shape.swap {
            self.room[start..self.length].make_ascii_uppercase();
        }
        Ok(())
    }

    /// `%p` and `%P`: lower case beats `^`.
    fn half_of_day(&mut self, pm: bool, lower: bool, shape: &Shape) -> Written {
        self.padded(
            match (pm, lower) {
                (false, false) => b"AM",
                (false, true) => b"am",
                (true, false) => b"PM",
                (true, true) => b"pm",
            },
            shape,
        )
    }

    /// The zone's abbreviation: `#` makes it lower case, and beats `^`.
    fn abbreviation(&mut self, moment: &Moment, shape: &Shape) -> Written {
        let (mut bytes, length) = moment.abbreviation_bytes();
        if shape.swap {
            bytes.make_ascii_lowercase();
        } else if shape.upper {
            bytes.make_ascii_uppercase();
        }
        if shape.width == 0 {
            self.push_front(&bytes, length)
        } else {
            self.padded(&bytes[..length], shape)
        }
    }

    /// The week of the year by the day that weeks begin with, `since_first` days ago: days before its first are in week 0.
    fn week_since(&mut self, since_first: u8, ordinal0: u16, shape: &Shape) -> Written {
        let week = (ordinal0 + 7 - u16::from(since_first)) / 7;
        self.number(week.into(), 2, shape)
    }

    /// A number of at least `digits` digits as glibc has it.
    fn number(&mut self, value: i32, digits: usize, shape: &Shape) -> Written {
        // Nearly every number is one of two digits without a width.
        if shape.width == 0 && digits <= 2 && (0..100).contains(&value) {
            let filler = match shape.pad {
                _ if digits == 1 => None,
                Pad::Without => None,
                Pad::Space => Some(b' '),
                Pad::Own | Pad::Zero => Some(b'0'),
            };
            return self.two_digits(value as u8, filler);
        }
        if (0..10_000).contains(&value) && shape.width <= SHORT {
            return self.short_number(value as u16, digits, shape);
        }
        self.shaped_number(i64::from(value), digits, shape)
    }

    /// A number below 100; the filler stands for the tens where there are none.
    fn two_digits(&mut self, value: u8, filler: Option<u8>) -> Written {
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
    fn spaced_number(&mut self, value: u8, shape: &Shape) -> Written {
        let pad = if shape.pad == Pad::Own {
            Pad::Space
        } else {
            shape.pad
        };
        self.number(value.into(), 2, &Shape { pad, ..*shape })
    }

    /// `%s`: a number that glibc fills like a text, its sign included.
    fn seconds(&mut self, value: i64, shape: &Shape) -> Written {
        let decimal = Decimal::of(value.unsigned_abs());
        let mut room = [b'-'; 21];
        let start = usize::from(value < 0);
        let end = start + decimal.digits().len();
        room[start..end].copy_from_slice(decimal.digits());
        self.padded(&room[..end], shape)
    }

    /// A width widens the number itself, but under `-` it is a text filled with spaces.
    fn shaped_number(&mut self, value: i64, digits: usize, shape: &Shape) -> Written {
        let decimal = Decimal::of(value.unsigned_abs());
        let shown = decimal.digits();
        let sign: &[u8] = if value < 0 { b"-" } else { b"" };
        let length = sign.len() + shown.len();
        match shape.pad {
            Pad::Without => {
                self.fill(b' ', shape.width.saturating_sub(length))?;
                self.push(sign)?;
            }
            Pad::Space => {
                self.fill(b' ', digits.max(shape.width).saturating_sub(length))?;
                self.push(sign)?;
            }
            Pad::Own | Pad::Zero => {
                self.push(sign)?;
                self.fill(b'0', digits.max(shape.width).saturating_sub(length))?;
            }
        }
        self.push(shown)
    }

    /// The same for what hundreds of conversions in one question can ask for: below 10,000, and no wider than [`SHORT`].
    fn short_number(&mut self, value: u16, digits: usize, shape: &Shape) -> Written {
        let shown = 1 + usize::from(value > 9) + usize::from(value > 99) + usize::from(value > 999);
        let (filler, least) = match shape.pad {
            Pad::Without => (b' ', shape.width),
            Pad::Space => (b' ', digits.max(shape.width)),
            Pad::Own | Pad::Zero => (b'0', digits.max(shape.width)),
        };
        let length = shown.max(least);
        // All of a room of fixed size is filled, which costs less than as much as is needed.
        let write = |room: &mut [u8; SHORT]| {
            room.fill(filler);
            let mut rest = value;
            for digit in room[length - shown..length].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        };
        if let Some(room) = self.room[self.length..].first_chunk_mut() {
            write(room);
            self.length += length;
            return Ok(());
        }
        let mut room = [0; SHORT];
        write(&mut room);
        self.push(&room[..length])
    }

    /// `%z`: glibc fills sign and number each for itself, and cuts seconds off.
    fn posix_offset(&mut self, offset: i32, shape: &Shape) -> Written {
        self.padded(if offset < 0 { b"-" } else { b"+" }, shape)?;
        let minutes = (offset.unsigned_abs() / 60).cast_signed();
        self.number(minutes / 60 * 100 + minutes % 60, 4, shape)
    }

    /// `%:z` and its longer sisters, as GNU date has them: the width counts the sign and replaces the usual one.
    fn offset(&mut self, colons: u8, shape: &Shape, offset: i32) -> Written {
        let seconds = offset.unsigned_abs();
        let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let with_seconds = colons == 2 || colons == 3 && rest != 0;
        let with_minutes = with_seconds || colons == 1 || minutes != 0;
        let mut room = [0; 32];
        let mut shown = Text::new(&mut room);
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
            &room[..length],
            usual,
            shape,
        )
    }

    /// A number as GNU date fills it: a width replaces the usual one, and `-` cancels it.
    fn date_padded(&mut self, sign: &[u8], digits: &[u8], usual: usize, shape: &Shape) -> Written {
        let width = if shape.width == 0 { usual } else { shape.width };
        let missing = width.saturating_sub(sign.len() + digits.len());
        match shape.pad {
            Pad::Without => self.push(sign)?,
            Pad::Space => {
                self.fill(b' ', missing)?;
                self.push(sign)?;
            }
            Pad::Own | Pad::Zero => {
                self.push(sign)?;
                self.fill(b'0', missing)?;
            }
        }
        self.push(digits)
    }

    /// `%N`, as GNU date has it: the width is a precision, cut and not rounded, and filled on the right. Under `_`, and
    /// under `-` with a width, zeros at the end give way.
    fn nanoseconds(&mut self, nanosecond: u32, shape: &Shape) -> Written {
        let width = if shape.width == 0 { 9 } else { shape.width };
        let all = nine_digits(nanosecond);
        if width <= all.len() && matches!(shape.pad, Pad::Own | Pad::Zero) {
            return self.push_front(&all, width);
        }
        let mut digits = &all[..width.min(9)];
        if shape.pad == Pad::Space || shape.pad == Pad::Without && shape.width > 0 {
            while let [rest @ .., b'0'] = digits
                && !rest.is_empty()
            {
                digits = rest;
            }
        }
        self.push(digits)?;
        match shape.pad {
            Pad::Without => Ok(()),
            Pad::Space => self.fill(b' ', width - digits.len()),
            Pad::Own | Pad::Zero => self.fill(b'0', width - digits.len()),
        }
    }

    /// chrono's `%.f`: nothing for a whole second, else a dot and 3, 6 or 9 digits, the fewest that lose nothing.
    fn shortest_fraction(&mut self, nanosecond: u32) -> Written {
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

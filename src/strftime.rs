//! The language: a strftime format in, its text for a moment out.
//!
//! What glibc defines is rendered byte for byte as glibc's `strftime(3)` does in the C locale; what only GNU `date(1)`
//! or chrono define follows them; everything else is a [`FormatError`], never passed through as text.
//!
//! chrono does the calendar. Around it stands what it lacks: glibc's flags, widths, modifiers and refusals, and a
//! rendering that needs no memory of its own.
//!
//! ```
//! use wallclock::clock::Moment;
//! use wallclock::strftime::{Format, FormatError};
//!
//! let moment = Moment::new(1_783_213_507, 120_000_000, 28_800, "CST");
//! let format = Format::parse(b"%Y/%m/%d %H:%M:%S.%3N %Z (%10A)")?;
//! let mut text = [0; 64];
//! let length = format.render(&moment, &mut text).expect("64 bytes are enough");
//! assert_eq!(&text[..length], b"2026/07/05 09:05:07.120 CST (    Sunday)");
//!
//! assert_eq!(Format::parse(b"%H:%M %Q"), Err(FormatError::Unknown { at: 6, character: 'Q' }));
//! # Ok::<(), FormatError>(())
//! ```

use std::fmt::{self, Write as _};

use chrono::{Datelike, Timelike};

use crate::clock::Moment;

/// A format that holds only conversions we know: UTF-8 without NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format<'a> {
    bytes: &'a [u8],
    conversions: usize,
    percents: usize,
    sub_second: bool,
}

/// Why some bytes are no format. Positions count bytes from 0; that of a conversion is its `%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// Not UTF-8 from this byte on.
    NotUtf8 {
        /// The first byte that is not UTF-8.
        at: usize,
    },
    /// A NUL byte, which no C string can hold.
    Nul {
        /// The NUL.
        at: usize,
    },
    /// A conversion, or a pair of modifier or flag and conversion, that nobody defines.
    Unknown {
        /// The conversion's `%`.
        at: usize,
        /// The character where a known conversion would have stood.
        character: char,
    },
    /// The format ends within a conversion.
    CutOff {
        /// The conversion's `%`.
        at: usize,
    },
}

impl fmt::Display for FormatError {
    /// Never writes a `%`: an error must not read as a question (rule L).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            FormatError::NotUtf8 { at } => write!(f, "byte {at}: not UTF-8"),
            FormatError::Nul { at } => write!(f, "byte {at}: NUL"),
            FormatError::CutOff { at } => write!(f, "byte {at}: conversion ends too early"),
            FormatError::Unknown { at, character } => {
                write!(f, "byte {at}: unknown conversion ")?;
                match character {
                    '%' => write!(f, "{}", character.escape_unicode()),
                    '\'' | '"' | '\\' => f.write_char(character),
                    _ => write!(f, "{}", character.escape_debug()),
                }
            }
        }
    }
}

impl std::error::Error for FormatError {}

/// The text does not fit into the room it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextTooLong;

impl fmt::Display for TextTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text too long")
    }
}

impl std::error::Error for TextTooLong {}

impl<'a> Format<'a> {
    /// Checks a format as a whole, so that rendering can fail for want of room only.
    ///
    /// # Errors
    ///
    /// The first thing wrong: not UTF-8, then a NUL, then the leftmost conversion that is unknown or cut off.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        if let Err(error) = std::str::from_utf8(bytes) {
            return Err(FormatError::NotUtf8 {
                at: error.valid_up_to(),
            });
        }
        if bytes.contains(&0)
            && let Some(at) = bytes.iter().position(|&byte| byte == 0)
        {
            return Err(FormatError::Nul { at });
        }
        let mut format = Format {
            bytes,
            conversions: 0,
            percents: 0,
            sub_second: false,
        };
        let mut at = 0;
        while let Some(conversion_at) = find_percent(bytes, at) {
            let (conversion, end) = Conversion::read(bytes, conversion_at)?;
            format.conversions += 1;
            match conversion.kind {
                Kind::Percent => format.percents += 1,
                Kind::Nanoseconds | Kind::Fraction(_) | Kind::DottedFraction(_) | Kind::Rfc3339 => {
                    format.sub_second = true;
                }
                _ => {}
            }
            at = end;
        }
        Ok(format)
    }

    /// The format as it was given.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many conversions it holds, `%%` included.
    pub fn conversions(&self) -> usize {
        self.conversions
    }

    /// How many of the conversions are `%%`: the number of `%` in every text of this format.
    pub fn percents(&self) -> usize {
        self.percents
    }

    /// Whether its text changes within a second.
    pub fn sub_second(&self) -> bool {
        self.sub_second
    }

    /// Writes the text of a moment to the front of `room` and says how long it is, in bytes.
    ///
    /// # Errors
    ///
    /// [`TextTooLong`] where it does not fit; `room` then holds the part that did. A width is held against the room
    /// before anything is filled, so a vast one costs nothing.
    pub fn render(&self, moment: &Moment, room: &mut [u8]) -> Result<usize, TextTooLong> {
        let mut text = Text { room, length: 0 };
        let mut at = 0;
        while let Some(conversion_at) = find_percent(self.bytes, at) {
            text.push(&self.bytes[at..conversion_at])?;
            let Ok((conversion, end)) = Conversion::read(self.bytes, conversion_at) else {
                unreachable!("parse has read the same bytes")
            };
            text.convert(&conversion, moment)?;
            at = end;
        }
        text.push(&self.bytes[at..])?;
        Ok(text.length)
    }
}

fn find_percent(bytes: &[u8], from: usize) -> Option<usize> {
    bytes[from..]
        .iter()
        .position(|&byte| byte == b'%')
        .map(|ahead| from + ahead)
}

/// How a field is filled up to its width: the last of the flags `_`, `-` and `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pad {
    /// No flag: as the conversion does by itself.
    Own,
    /// `_`
    Space,
    /// `-`
    Without,
    /// `0`
    Zero,
}

/// One conversion: `%[_-0^#]*[width][E|O]kind`.
#[derive(Clone, Copy, Debug)]
struct Conversion {
    pad: Pad,
    /// `^`
    upper: bool,
    /// `#`
    swap: bool,
    /// 0 where none is given: a leading 0 is a flag.
    width: usize,
    kind: Kind,
}

/// The letter of a conversion, or what stands in a letter's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One of glibc's letters.
    Letter(u8),
    /// `%%`
    Percent,
    /// `%:z`, `%::z`, `%:::z`: the number of colons (GNU date)
    Offset(u8),
    /// `%q` (GNU date)
    Quarter,
    /// `%N` (GNU date)
    Nanoseconds,
    /// `%f`, `%3f`, `%6f`, `%9f`: the number of digits (chrono)
    Fraction(u8),
    /// `%.3f`, `%.6f`, `%.9f`, and 0 for `%.f`, as many groups of three as it takes (chrono)
    DottedFraction(u8),
    /// `%+` (chrono)
    Rfc3339,
    /// `%v` (chrono)
    VmsDate,
}

/// The letters glibc refuses after `E`, then after `O`; it accepts and (in the C locale) ignores every other pair.
const NOT_AFTER_E: &[u8] = b"aAbBdDeFgGhHIjklmMSUVwW";
const NOT_AFTER_O: &[u8] = b"aAcDFxXY";

impl Conversion {
    /// Reads the conversion whose `%` is at `start`; also says where it ends. `bytes` are UTF-8.
    fn read(bytes: &[u8], start: usize) -> Result<(Conversion, usize), FormatError> {
        let mut at = start + 1;
        let mut conversion = Conversion {
            pad: Pad::Own,
            upper: false,
            swap: false,
            width: 0,
            kind: Kind::Percent,
        };
        let peek = |at: usize| {
            bytes
                .get(at)
                .copied()
                .ok_or(FormatError::CutOff { at: start })
        };
        // Nearly every conversion is a bare letter.
        if let Some(&letter) = bytes.get(at)
            && let Some(kind) = Kind::of(letter, None)
        {
            conversion.kind = kind;
            return Ok((conversion, at + 1));
        }
        loop {
            match peek(at)? {
                b'_' => conversion.pad = Pad::Space,
                b'-' => conversion.pad = Pad::Without,
                b'0' => conversion.pad = Pad::Zero,
                b'^' => conversion.upper = true,
                b'#' => conversion.swap = true,
                _ => break,
            }
            at += 1;
        }
        let flagged = at > start + 1;
        while let digit @ b'0'..=b'9' = peek(at)? {
            conversion.width = conversion
                .width
                .saturating_mul(10)
                .saturating_add(usize::from(digit - b'0'));
            at += 1;
        }
        let modifier = match peek(at)? {
            letter @ (b'E' | b'O') => {
                at += 1;
                Some(letter)
            }
            _ => None,
        };
        // chrono knows no flags, no modifiers and no widths but its own.
        let bare = !flagged && modifier.is_none();
        let letter = peek(at)?;
        let (kind, length) = match letter {
            b':' => {
                let mut colons = 1;
                while colons < 4 && peek(at + colons)? == b':' {
                    colons += 1;
                }
                let kind = (colons < 4 && modifier != Some(b'O') && peek(at + colons)? == b'z')
                    .then_some(Kind::Offset(colons as u8));
                (kind, colons + 1)
            }
            b'.' if bare && conversion.width == 0 => match peek(at + 1)? {
                b'f' => (Some(Kind::DottedFraction(0)), 2),
                digit @ (b'3' | b'6' | b'9') if peek(at + 2)? == b'f' => {
                    (Some(Kind::DottedFraction(digit - b'0')), 3)
                }
                _ => (None, 1),
            },
            b'f' if bare => match conversion.width {
                0 => (Some(Kind::Fraction(9)), 1),
                digits @ (3 | 6 | 9) => (Some(Kind::Fraction(digits as u8)), 1),
                _ => (None, 1),
            },
            b'+' if bare && conversion.width == 0 => (Some(Kind::Rfc3339), 1),
            b'v' if bare && conversion.width == 0 => (Some(Kind::VmsDate), 1),
            b'f' | b'v' => (None, 1),
            _ => (Kind::of(letter, modifier), 1),
        };
        match kind {
            Some(kind) => {
                conversion.kind = kind;
                Ok((conversion, at + length))
            }
            None => Err(FormatError::Unknown {
                at: start,
                character: character_at(bytes, at),
            }),
        }
    }
}

impl Kind {
    /// The conversions of one byte that need no look at their flags and width.
    fn of(letter: u8, modifier: Option<u8>) -> Option<Kind> {
        let kind = match letter {
            b'%' => Kind::Percent,
            b'N' if modifier != Some(b'E') => Kind::Nanoseconds,
            b'q' if modifier != Some(b'O') => Kind::Quarter,
            b'f' if modifier.is_none() => Kind::Fraction(9),
            b'v' if modifier.is_none() => Kind::VmsDate,
            b'a' | b'A' | b'b' | b'B' | b'c' | b'C' | b'd' | b'D' | b'e' | b'F' | b'g' | b'G'
            | b'h' | b'H' | b'I' | b'j' | b'k' | b'l' | b'm' | b'M' | b'n' | b'p' | b'P' | b'r'
            | b'R' | b's' | b'S' | b't' | b'T' | b'u' | b'U' | b'V' | b'w' | b'W' | b'x' | b'X'
            | b'y' | b'Y' | b'z' | b'Z' => Kind::Letter(letter),
            _ => return None,
        };
        let refused = match modifier {
            Some(b'E') => NOT_AFTER_E.contains(&letter),
            Some(_) => NOT_AFTER_O.contains(&letter),
            None => false,
        };
        (!refused).then_some(kind)
    }
}

/// The character that starts at a byte of UTF-8.
fn character_at(bytes: &[u8], at: usize) -> char {
    let end = (at + 4).min(bytes.len());
    let valid = match std::str::from_utf8(&bytes[at..end]) {
        Ok(text) => text,
        // The window may cut the next character short; what stands before that cut is sound.
        Err(error) => std::str::from_utf8(&bytes[at..at + error.valid_up_to()]).unwrap_or_default(),
    };
    valid.chars().next().unwrap_or(char::REPLACEMENT_CHARACTER)
}

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

/// The longest text of a composite (`%c`), with room for any year that chrono holds.
const COMPOSITE: usize = 64;

/// The text as far as it is written.
struct Text<'b> {
    room: &'b mut [u8],
    length: usize,
}

impl Text<'_> {
    fn push(&mut self, bytes: &[u8]) -> Result<(), TextTooLong> {
        let end = self.length + bytes.len();
        self.room
            .get_mut(self.length..end)
            .ok_or(TextTooLong)?
            .copy_from_slice(bytes);
        self.length = end;
        Ok(())
    }

    fn fill(&mut self, byte: u8, count: usize) -> Result<(), TextTooLong> {
        let end = self.length.checked_add(count).ok_or(TextTooLong)?;
        self.room
            .get_mut(self.length..end)
            .ok_or(TextTooLong)?
            .fill(byte);
        self.length = end;
        Ok(())
    }

    fn convert(&mut self, conversion: &Conversion, moment: &Moment) -> Result<(), TextTooLong> {
        let letter = match conversion.kind {
            Kind::Letter(letter) => letter,
            Kind::Percent => return self.padded(b"%", conversion),
            Kind::Offset(colons) => return self.offset(colons, conversion, moment.offset()),
            Kind::Quarter => {
                return self.date_number(i64::from(moment.local().month0() / 3 + 1), conversion);
            }
            Kind::Nanoseconds => return self.nanoseconds(moment.nanosecond(), conversion),
            Kind::Fraction(digits) => return self.fraction(moment.nanosecond(), digits),
            Kind::DottedFraction(0) => return self.shortest_fraction(moment.nanosecond()),
            Kind::DottedFraction(digits) => {
                self.push(b".")?;
                return self.fraction(moment.nanosecond(), digits);
            }
            Kind::Rfc3339 => {
                self.bare_letters(b"YmdHMS", b"--T::", moment)?;
                self.shortest_fraction(moment.nanosecond())?;
                return self.offset(1, &BARE, moment.offset());
            }
            Kind::VmsDate => return self.bare_letters(b"ebY", b"--", moment),
        };
        let local = moment.local();
        let weekday = local.weekday().num_days_from_sunday();
        match letter {
            b'a' => self.name(&WEEKDAYS[weekday as usize][..3], conversion),
            b'A' => self.name(WEEKDAYS[weekday as usize], conversion),
            b'b' | b'h' => self.name(&MONTHS[local.month0() as usize][..3], conversion),
            b'B' => self.name(MONTHS[local.month0() as usize], conversion),
            b'C' => self.number(i64::from(local.year().div_euclid(100)), 1, conversion),
            b'd' => self.number(i64::from(local.day()), 2, conversion),
            b'e' => self.spaced_number(local.day(), conversion),
            b'g' => self.number(
                i64::from(local.iso_week().year().rem_euclid(100)),
                2,
                conversion,
            ),
            b'G' => self.number(i64::from(local.iso_week().year()), 1, conversion),
            b'H' => self.number(i64::from(local.hour()), 2, conversion),
            b'I' => self.number(i64::from(local.hour12().1), 2, conversion),
            b'j' => self.number(i64::from(local.ordinal()), 3, conversion),
            b'k' => self.spaced_number(local.hour(), conversion),
            b'l' => self.spaced_number(local.hour12().1, conversion),
            b'm' => self.number(i64::from(local.month()), 2, conversion),
            b'M' => self.number(i64::from(local.minute()), 2, conversion),
            b'n' => self.padded(b"\n", conversion),
            b'p' | b'P' => {
                let (pm, _) = local.hour12();
                let lower = letter == b'P' || conversion.swap;
                self.padded(
                    if pm { [b"PM", b"pm"] } else { [b"AM", b"am"] }[usize::from(lower)],
                    conversion,
                )
            }
            b's' => self.text_number(moment.unix_seconds(), conversion),
            b'S' => self.number(i64::from(local.second()), 2, conversion),
            b't' => self.padded(b"\t", conversion),
            b'u' => self.number(
                i64::from(local.weekday().number_from_monday()),
                1,
                conversion,
            ),
            b'U' => self.number(
                i64::from((local.ordinal0() + 7 - weekday) / 7),
                2,
                conversion,
            ),
            b'V' => self.number(i64::from(local.iso_week().week()), 2, conversion),
            b'w' => self.number(i64::from(weekday), 1, conversion),
            b'W' => {
                let since_monday = local.weekday().num_days_from_monday();
                self.number(
                    i64::from((local.ordinal0() + 7 - since_monday) / 7),
                    2,
                    conversion,
                )
            }
            b'y' => self.number(i64::from(local.year().rem_euclid(100)), 2, conversion),
            b'Y' => self.number(i64::from(local.year()), 1, conversion),
            b'z' => self.posix_offset(moment.offset(), conversion),
            b'Z' => self.abbreviation(moment.abbreviation(), conversion),
            b'D' | b'x' => self.composite(b"mdy", b"//", conversion, moment),
            b'F' => self.composite(b"Ymd", b"--", conversion, moment),
            b'R' => self.composite(b"HM", b":", conversion, moment),
            b'T' | b'X' => self.composite(b"HMS", b"::", conversion, moment),
            b'r' => self.composite(b"IMSp", b":: ", conversion, moment),
            b'c' => self.composite(b"abeTY", b"    ", conversion, moment),
            _ => unreachable!("Kind::of names the letters"),
        }
    }

    /// Conversions without flags, each but the last followed by one byte: what composites are made of.
    fn bare_letters(
        &mut self,
        letters: &[u8],
        between: &[u8],
        moment: &Moment,
    ) -> Result<(), TextTooLong> {
        for (index, &letter) in letters.iter().enumerate() {
            self.convert(
                &Conversion {
                    kind: Kind::Letter(letter),
                    ..BARE
                },
                moment,
            )?;
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
        conversion: &Conversion,
        moment: &Moment,
    ) -> Result<(), TextTooLong> {
        if conversion.width == 0 && !conversion.upper {
            return self.bare_letters(letters, between, moment);
        }
        let mut room = [0; COMPOSITE];
        let mut whole = Text {
            room: &mut room,
            length: 0,
        };
        whole.bare_letters(letters, between, moment)?;
        let length = whole.length;
        if conversion.upper {
            room[..length].make_ascii_uppercase();
        }
        self.padded(&room[..length], conversion)
    }

    /// glibc's filling of all that is no number: to the width, with spaces, under `0` with zeros.
    fn padded(&mut self, bytes: &[u8], conversion: &Conversion) -> Result<(), TextTooLong> {
        if conversion.width > bytes.len() {
            let filler = if conversion.pad == Pad::Zero {
                b'0'
            } else {
                b' '
            };
            self.fill(filler, conversion.width - bytes.len())?;
        }
        self.push(bytes)
    }

    /// The name of a day or month: upper case under `^` and `#` alike.
    fn name(&mut self, name: &str, conversion: &Conversion) -> Result<(), TextTooLong> {
        let start = self.length;
        self.padded(name.as_bytes(), conversion)?;
        if conversion.upper || conversion.swap {
            self.room[start..self.length].make_ascii_uppercase();
        }
        Ok(())
    }

    /// The zone's abbreviation: `#` makes it lower case, and beats `^`.
    fn abbreviation(
        &mut self,
        abbreviation: &str,
        conversion: &Conversion,
    ) -> Result<(), TextTooLong> {
        let start = self.length;
        self.padded(abbreviation.as_bytes(), conversion)?;
        if conversion.swap {
            self.room[start..self.length].make_ascii_lowercase();
        } else if conversion.upper {
            self.room[start..self.length].make_ascii_uppercase();
        }
        Ok(())
    }

    /// A number of at least `digits` digits, as glibc does it: a width widens the number itself, but under `-` it is
    /// a text filled with spaces.
    fn number(
        &mut self,
        value: i64,
        digits: usize,
        conversion: &Conversion,
    ) -> Result<(), TextTooLong> {
        let decimal = Decimal::of(value.unsigned_abs());
        let shown = decimal.digits();
        let sign: &[u8] = if value < 0 { b"-" } else { b"" };
        let missing = digits
            .max(conversion.width)
            .saturating_sub(sign.len() + shown.len());
        match conversion.pad {
            Pad::Without => {
                self.fill(
                    b' ',
                    conversion.width.saturating_sub(sign.len() + shown.len()),
                )?;
                self.push(sign)?;
            }
            Pad::Space => {
                self.fill(b' ', missing)?;
                self.push(sign)?;
            }
            Pad::Own | Pad::Zero => {
                self.push(sign)?;
                self.fill(b'0', missing)?;
            }
        }
        self.push(shown)
    }

    /// Two digits that glibc fills with spaces unless a flag says otherwise.
    fn spaced_number(&mut self, value: u32, conversion: &Conversion) -> Result<(), TextTooLong> {
        let pad = if conversion.pad == Pad::Own {
            Pad::Space
        } else {
            conversion.pad
        };
        self.number(i64::from(value), 2, &Conversion { pad, ..*conversion })
    }

    /// `%s`: glibc fills it like a text.
    fn text_number(&mut self, value: i64, conversion: &Conversion) -> Result<(), TextTooLong> {
        let pad = if conversion.pad == Pad::Zero {
            Pad::Zero
        } else {
            Pad::Without
        };
        self.number(value, 1, &Conversion { pad, ..*conversion })
    }

    /// `%z`: glibc fills sign and number each for itself, and cuts seconds off.
    fn posix_offset(&mut self, offset: i32, conversion: &Conversion) -> Result<(), TextTooLong> {
        self.padded(if offset < 0 { b"-" } else { b"+" }, conversion)?;
        let minutes = i64::from(offset.unsigned_abs() / 60);
        self.number(minutes / 60 * 100 + minutes % 60, 4, conversion)
    }

    /// `%:z` and its longer sisters, as GNU date has them: the width counts the sign and replaces the usual one.
    fn offset(
        &mut self,
        colons: u8,
        conversion: &Conversion,
        offset: i32,
    ) -> Result<(), TextTooLong> {
        let seconds = offset.unsigned_abs();
        let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let with_seconds = colons == 2 || colons == 3 && rest != 0;
        let with_minutes = with_seconds || colons == 1 || minutes != 0;
        let mut room = [0; 16];
        let mut shown = Text {
            room: &mut room,
            length: 0,
        };
        shown.push(Decimal::of(u64::from(hours)).digits())?;
        for (part, wanted) in [(minutes, with_minutes), (rest, with_seconds)] {
            if wanted {
                shown.push(b":")?;
                shown.number(i64::from(part), 2, &BARE)?;
            }
        }
        let length = shown.length;
        let usual = 3 + 3 * (usize::from(with_minutes) + usize::from(with_seconds));
        let sign = if offset < 0 { b"-" } else { b"+" };
        self.date_padded(sign, &room[..length], usual, conversion)
    }

    /// A number as GNU date fills it: `-` cancels a width.
    fn date_number(&mut self, value: i64, conversion: &Conversion) -> Result<(), TextTooLong> {
        self.date_padded(
            b"",
            Decimal::of(value.unsigned_abs()).digits(),
            1,
            conversion,
        )
    }

    fn date_padded(
        &mut self,
        sign: &[u8],
        digits: &[u8],
        usual: usize,
        conversion: &Conversion,
    ) -> Result<(), TextTooLong> {
        let width = if conversion.width == 0 {
            usual
        } else {
            conversion.width
        };
        let missing = width.saturating_sub(sign.len() + digits.len());
        match conversion.pad {
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

    /// `%N`, as GNU date has it: the width is a precision, cut and not rounded; it is filled on the right. Under `_`,
    /// and under `-` with a width, zeros at the end give way.
    fn nanoseconds(&mut self, nanosecond: u32, conversion: &Conversion) -> Result<(), TextTooLong> {
        let width = if conversion.width == 0 {
            9
        } else {
            conversion.width
        };
        let all = nine_digits(nanosecond);
        let mut digits = &all[..width.min(9)];
        if conversion.pad == Pad::Space || conversion.pad == Pad::Without && conversion.width > 0 {
            while let [rest @ .., b'0'] = digits
                && !rest.is_empty()
            {
                digits = rest;
            }
        }
        self.push(digits)?;
        match conversion.pad {
            Pad::Without => Ok(()),
            Pad::Space => self.fill(b' ', width - digits.len()),
            Pad::Own | Pad::Zero => self.fill(b'0', width - digits.len()),
        }
    }

    fn fraction(&mut self, nanosecond: u32, digits: u8) -> Result<(), TextTooLong> {
        self.push(&nine_digits(nanosecond)[..usize::from(digits)])
    }

    /// chrono's `%.f`: nothing for a whole second, else a dot and 3, 6 or 9 digits, the fewest that lose nothing.
    fn shortest_fraction(&mut self, nanosecond: u32) -> Result<(), TextTooLong> {
        let digits = match nanosecond {
            0 => return Ok(()),
            _ if nanosecond.is_multiple_of(1_000_000) => 3,
            _ if nanosecond.is_multiple_of(1_000) => 6,
            _ => 9,
        };
        self.push(b".")?;
        self.fraction(nanosecond, digits)
    }
}

/// A conversion without flags or width; the kind is to be set.
const BARE: Conversion = Conversion {
    pad: Pad::Own,
    upper: false,
    swap: false,
    width: 0,
    kind: Kind::Percent,
};

fn nine_digits(nanosecond: u32) -> [u8; 9] {
    let mut rest = nanosecond;
    let mut digits = [b'0'; 9];
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    digits
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

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

mod render;

use std::fmt::{self, Write as _};

use crate::clock::Moment;

use render::{Text, Written};

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
        let mut count = Counting::default();
        walk(bytes, &mut count)?;
        let Counting {
            conversions,
            percents,
            sub_second,
        } = count;
        Ok(Format {
            bytes,
            conversions,
            percents,
            sub_second,
        })
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
        match render(self.bytes, moment, room) {
            Ok(length) => Ok(length),
            Err(RenderError::TooLong(error)) => Err(error),
            Err(RenderError::Format(_)) => unreachable!("parse has read the same bytes"),
        }
    }
}

/// Why [`render`] wrote no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The bytes are no format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The room is too small.
    #[error(transparent)]
    TooLong(#[from] TextTooLong),
}

/// [`Format::parse`] and [`Format::render`] in one go over the bytes, for a format that is used once.
///
/// # Errors
///
/// Those of both; bytes that are no format are told of even where the text would not have fitted.
pub fn render(format: &[u8], moment: &Moment, room: &mut [u8]) -> Result<usize, RenderError> {
    let mut writing = Writing {
        text: Text::new(room),
        moment,
        written: Ok(()),
    };
    walk(format, &mut writing)?;
    writing.written?;
    Ok(writing.text.length())
}

/// Takes the pieces of a format as they are read.
trait Sink {
    /// Bytes that stand for themselves; never none.
    fn literal(&mut self, bytes: &[u8]);

    /// A conversion.
    fn conversion(&mut self, kind: Kind, shape: &Shape);
}

/// The one reader of formats.
fn walk(bytes: &[u8], sink: &mut impl Sink) -> Result<(), FormatError> {
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
    let mut at = 0;
    while let Some(start) = find_percent(bytes, at) {
        if at < start {
            sink.literal(&bytes[at..start]);
        }
        let (conversion, end) = Conversion::read(bytes, start)?;
        sink.conversion(conversion.kind, &conversion.shape);
        at = end;
    }
    if at < bytes.len() {
        sink.literal(&bytes[at..]);
    }
    Ok(())
}

/// Counts what a format holds.
#[derive(Default)]
struct Counting {
    conversions: usize,
    percents: usize,
    sub_second: bool,
}

impl Sink for Counting {
    fn literal(&mut self, _bytes: &[u8]) {}

    fn conversion(&mut self, kind: Kind, _shape: &Shape) {
        self.conversions += 1;
        self.percents += usize::from(kind == Kind::Percent);
        self.sub_second |= kind.is_sub_second();
    }
}

/// Writes the text of a moment.
struct Writing<'m, 'b> {
    text: Text<'b>,
    moment: &'m Moment,
    written: Written,
}

impl<'b> Writing<'_, 'b> {
    /// Goes on, unless the room is full already: what follows is only read then.
    fn write(&mut self, write: impl FnOnce(&mut Text<'b>) -> Written) {
        if self.written.is_ok() {
            self.written = write(&mut self.text);
        }
    }
}

impl Sink for Writing<'_, '_> {
    fn literal(&mut self, bytes: &[u8]) {
        self.write(|text| text.push(bytes));
    }

    fn conversion(&mut self, kind: Kind, shape: &Shape) {
        let moment = self.moment;
        self.write(|text| text.convert(kind, shape, moment));
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

/// What flags and width ask of a field.
#[derive(Clone, Copy, Debug)]
struct Shape {
    pad: Pad,
    /// `^`
    upper: bool,
    /// `#`
    swap: bool,
    /// 0 where none is given: a leading 0 is a flag.
    width: usize,
}

impl Shape {
    /// Nothing at all.
    const PLAIN: Shape = Shape {
        pad: Pad::Own,
        upper: false,
        swap: false,
        width: 0,
    };
}

/// One conversion: `%[_-0^#]*[width][E|O]kind`.
#[derive(Clone, Copy, Debug)]
struct Conversion {
    shape: Shape,
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

/// The letters that glibc refuses after `E`, then after `O`, with that of GNU date at the end; every other
/// pair is accepted and, in the C locale, means nothing.
const NOT_AFTER_E: u128 = letters(b"aAbBdDeFgGhHIjklmMSUVwWN");
const NOT_AFTER_O: u128 = letters(b"aAcDFxXYq");

/// A set of ASCII letters, a bit each.
const fn letters(list: &[u8]) -> u128 {
    let mut set = 0;
    let mut index = 0;
    while index < list.len() {
        set |= 1 << list[index];
        index += 1;
    }
    set
}

/// What a byte is as a flag, in bits, 0 for none: how to fill, upper case, swapped case. A table, because hundreds of flags in one
/// question are too much for a branch predictor.
static FLAGS: [u8; 256] = {
    let mut flags = [0; 256];
    flags[b'_' as usize] = 1;
    flags[b'-' as usize] = 2;
    flags[b'0' as usize] = 3;
    flags[b'^' as usize] = UPPER;
    flags[b'#' as usize] = SWAP;
    flags
};
const FILLED: u8 = 3;
const UPPER: u8 = 4;
const SWAP: u8 = 8;

/// By the bits of [`FILLED`].
const PADS: [Pad; 4] = [Pad::Own, Pad::Space, Pad::Without, Pad::Zero];

impl Conversion {
    /// Reads the conversion whose `%` is at `start`; also says where it ends. `bytes` are UTF-8.
    #[inline(always)]
    fn read(bytes: &[u8], start: usize) -> Result<(Conversion, usize), FormatError> {
        // Nearly every conversion is a letter without flags.
        if let Some(&letter) = bytes.get(start + 1)
            && let Some(kind) = KINDS[usize::from(letter)]
        {
            return Ok((
                Conversion {
                    shape: Shape::PLAIN,
                    kind,
                },
                start + 2,
            ));
        }
        let mut at = start + 1;
        let mut flags = 0;
        let peek = |at: usize| {
            bytes
                .get(at)
                .copied()
                .ok_or(FormatError::CutOff { at: start })
        };
        loop {
            match FLAGS[usize::from(peek(at)?)] {
                0 => break,
                // The last one says how to fill.
                flag if flag & FILLED != 0 => flags = flags & !FILLED | flag,
                flag => flags |= flag,
            }
            at += 1;
        }
        let mut width: usize = 0;
        while let digit @ b'0'..=b'9' = peek(at)? {
            width = width
                .saturating_mul(10)
                .saturating_add(usize::from(digit - b'0'));
            at += 1;
        }
        let shape = Shape {
            pad: PADS[usize::from(flags & FILLED)],
            upper: flags & UPPER != 0,
            swap: flags & SWAP != 0,
            width,
        };
        let (modifier, refused) = match peek(at)? {
            b'E' => (Some(b'E'), NOT_AFTER_E),
            b'O' => (Some(b'O'), NOT_AFTER_O),
            _ => (None, 0),
        };
        at += usize::from(modifier.is_some());
        let letter = peek(at)?;
        match KINDS[usize::from(letter)] {
            Some(kind) if !kind.is_chronos() && refused >> (letter & 127) & 1 == 0 => {
                Ok((Conversion { shape, kind }, at + 1))
            }
            _ => {
                let extension = Extension {
                    start,
                    at,
                    shaped: at > start + 1,
                    modifier,
                    width,
                };
                let (kind, end) = extension.read(bytes)?;
                Ok((Conversion { shape, kind }, end))
            }
        }
    }
}

/// What is no letter of glibc's, as far as it was read: what stands between `start` and `at`.
struct Extension {
    start: usize,
    at: usize,
    /// Whether anything stands between them.
    shaped: bool,
    modifier: Option<u8>,
    width: usize,
}

impl Extension {
    /// Reads the rest of what GNU date and chrono define with more than a letter; says where it ends.
    fn read(self, bytes: &[u8]) -> Result<(Kind, usize), FormatError> {
        let Extension {
            start,
            at,
            shaped,
            modifier,
            width,
        } = self;
        let peek = |at: usize| {
            bytes
                .get(at)
                .copied()
                .ok_or(FormatError::CutOff { at: start })
        };
        let (kind, length) = match peek(at)? {
            b':' => {
                let mut colons = 1;
                while colons < 4 && peek(at + colons)? == b':' {
                    colons += 1;
                }
                let kind = (colons < 4 && modifier != Some(b'O') && peek(at + colons)? == b'z')
                    .then_some(Kind::Offset(colons as u8));
                (kind, colons + 1)
            }
            // chrono knows no flags, no modifiers, and no widths but those of %3f, %6f and %9f.
            b'.' if !shaped => match peek(at + 1)? {
                b'f' => (Some(Kind::DottedFraction(0)), 2),
                digit @ (b'3' | b'6' | b'9') if peek(at + 2)? == b'f' => {
                    (Some(Kind::DottedFraction(digit - b'0')), 3)
                }
                _ => (None, 1),
            },
            b'f' if modifier.is_none() && at == start + 2 && matches!(width, 3 | 6 | 9) => {
                (Some(Kind::Fraction(width as u8)), 1)
            }
            _ => (None, 1),
        };
        match kind {
            Some(kind) => Ok((kind, at + length)),
            None => Err(FormatError::Unknown {
                at: start,
                character: character_at(bytes, at),
            }),
        }
    }
}

impl Kind {
    /// Whether only chrono defines it, and so only as it stands, without flags, modifier or width.
    fn is_chronos(self) -> bool {
        matches!(
            self,
            Kind::Fraction(_) | Kind::DottedFraction(_) | Kind::Rfc3339 | Kind::VmsDate
        )
    }

    /// Whether its text changes within a second.
    fn is_sub_second(self) -> bool {
        matches!(
            self,
            Kind::Nanoseconds | Kind::Fraction(_) | Kind::DottedFraction(_) | Kind::Rfc3339
        )
    }

    const fn bare(letter: u8) -> Option<Kind> {
        Some(match letter {
            b'%' => Kind::Percent,
            b'N' => Kind::Nanoseconds,
            b'q' => Kind::Quarter,
            b'f' => Kind::Fraction(9),
            b'v' => Kind::VmsDate,
            b'+' => Kind::Rfc3339,
            b'a' | b'A' | b'b' | b'B' | b'c' | b'C' | b'd' | b'D' | b'e' | b'F' | b'g' | b'G'
            | b'h' | b'H' | b'I' | b'j' | b'k' | b'l' | b'm' | b'M' | b'n' | b'p' | b'P' | b'r'
            | b'R' | b's' | b'S' | b't' | b'T' | b'u' | b'U' | b'V' | b'w' | b'W' | b'x' | b'X'
            | b'y' | b'Y' | b'z' | b'Z' => Kind::Letter(letter),
            _ => return None,
        })
    }
}

/// Each byte's conversion where it follows the `%` at once, as nearly every one does.
static KINDS: [Option<Kind>; 256] = {
    let mut kinds = [None; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = Kind::bare(byte as u8);
        byte += 1;
    }
    kinds
};

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

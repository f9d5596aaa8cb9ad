//! The language: a strftime format in, its text for a time out.
//!
//! What glibc defines is rendered byte for byte as glibc's `strftime(3)` does in the C locale; what only GNU `date(1)`
//! or chrono define follows them; everything else is a [`FormatError`], never passed through as text.
//!
//! chrono does the calendar. Around it stands what it lacks: glibc's flags, widths, modifiers and refusals, and a
//! rendering that needs no memory of its own.
//!
//! ```
//! use wallclock::time::LocalTime;
//! use wallclock::strftime::{Format, FormatError};
//!
//! let time = LocalTime::new(1_783_213_507, 120_000_000, 28_800, "CST");
//! let format = Format::parse(b"%Y/%m/%d %H:%M:%S.%3N %Z (%10A)")?;
//! let mut text = [0; 64];
//! let length = format.render(&time, &mut text).expect("64 bytes are enough");
//! assert_eq!(&text[..length], b"2026/07/05 09:05:07.120 CST (    Sunday)");
//!
//! assert_eq!(Format::parse(b"%H:%M %Q"), Err(FormatError::Unknown { at: 6, character: 'Q' }));
//! # Ok::<(), FormatError>(())
//! ```

mod parse;
mod render;

use std::fmt::{self, Write as _};

use crate::time::LocalTime;

use parse::{Directive, FieldSpec, Visitor, parse};
use render::{SliceWriter, WriteResult};

/// A format that holds only directives we know: UTF-8 without NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format<'a> {
    bytes: &'a [u8],
    directives: usize,
    percents: usize,
    sub_second: bool,
}

/// Why some bytes are no format. Positions count bytes from 0; that of a directive is its `%`.
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
    /// A directive, or a pair of modifier or flag and directive, that nobody defines.
    Unknown {
        /// The directive's `%`.
        at: usize,
        /// The character where a known directive would have stood.
        character: char,
    },
    /// The format ends within a directive.
    CutOff {
        /// The directive's `%`.
        at: usize,
    },
}

impl fmt::Display for FormatError {
    /// Never writes a `%`: an error must not read as a request (rule L).
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

/// The text does not fit into the buffer it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferTooSmall;

impl fmt::Display for BufferTooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text too long")
    }
}

impl std::error::Error for BufferTooSmall {}

impl<'a> Format<'a> {
    /// Checks a format as a whole, so that rendering can fail for lack of space only.
    ///
    /// # Errors
    ///
    /// The first thing wrong: not UTF-8, then a NUL, then the leftmost directive that is unknown or cut off.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let mut count = Counter::default();
        parse(bytes, &mut count)?;
        let Counter {
            directives,
            percents,
            sub_second,
        } = count;
        Ok(Format {
            bytes,
            directives,
            percents,
            sub_second,
        })
    }

    /// The format as it was given.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many directives it holds, `%%` included.
    pub fn directives(&self) -> usize {
        self.directives
    }

    /// How many of the directives are `%%`: the number of `%` in every text of this format.
    pub fn percents(&self) -> usize {
        self.percents
    }

    /// Whether its text changes within a second.
    pub fn sub_second(&self) -> bool {
        self.sub_second
    }

    /// Writes the text of a time to the front of `buf` and says how long it is, in bytes.
    ///
    /// # Errors
    ///
    /// [`BufferTooSmall`] where it does not fit; `buf` then holds the part that did. A width is held against the buffer
    /// before anything is filled, so a vast one costs nothing.
    pub fn render(&self, time: &LocalTime, buf: &mut [u8]) -> Result<usize, BufferTooSmall> {
        match render(self.bytes, time, buf) {
            Ok(length) => Ok(length),
            Err(RenderError::TooSmall(error)) => Err(error),
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
    /// The buffer is too small.
    #[error(transparent)]
    TooSmall(#[from] BufferTooSmall),
}

/// [`Format::parse`] and [`Format::render`] in one go over the bytes, for a format that is used once.
///
/// # Errors
///
/// Those of both; bytes that are no format are told of even where the text would not have fitted.
pub fn render(format: &[u8], time: &LocalTime, buf: &mut [u8]) -> Result<usize, RenderError> {
    let mut formatter = Formatter {
        text: SliceWriter::new(buf),
        time,
        written: Ok(()),
    };
    parse(format, &mut formatter)?;
    formatter.written?;
    Ok(formatter.text.length())
}

/// Counts what a format holds.
#[derive(Default)]
struct Counter {
    directives: usize,
    percents: usize,
    sub_second: bool,
}

impl Visitor for Counter {
    fn literal(&mut self, _bytes: &[u8]) {}

    fn directive(&mut self, directive: Directive, _spec: &FieldSpec) {
        self.directives += 1;
        self.percents += usize::from(directive == Directive::Percent);
        self.sub_second |= directive.is_sub_second();
    }
}

/// Writes the text of a time.
struct Formatter<'m, 'b> {
    text: SliceWriter<'b>,
    time: &'m LocalTime,
    written: WriteResult,
}

impl<'b> Formatter<'_, 'b> {
    /// Goes on, unless the buffer is full already: what follows is only read then.
    fn write(&mut self, write: impl FnOnce(&mut SliceWriter<'b>) -> WriteResult) {
        if self.written.is_ok() {
            self.written = write(&mut self.text);
        }
    }
}

impl Visitor for Formatter<'_, '_> {
    fn literal(&mut self, bytes: &[u8]) {
        self.write(|text| text.push(bytes));
    }

    fn directive(&mut self, directive: Directive, spec: &FieldSpec) {
        let time = self.time;
        self.write(|text| text.convert(directive, spec, time));
    }
}

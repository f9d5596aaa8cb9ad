//! The format language: parses strftime formats and renders times in them.
//!
//! Directives that glibc defines are rendered byte for byte as glibc's `strftime(3)` does in the C
//! locale; those that only GNU `date(1)` or chrono define follow these. Everything else is a
//! [`FormatError`], never copied to the text.
//!
//! chrono computes the calendar. This module adds what chrono's formatter lacks: glibc's flags,
//! widths, modifiers and errors, and rendering without allocation.
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

mod error;
mod number;
mod parse;
mod render;
mod writer;

pub use error::{BufferTooSmall, FormatError, RenderError};

use crate::time::LocalTime;

use parse::{Directive, FieldSpec, Visitor, parse};
use writer::{SliceWriter, WriteResult};

/// A checked format: UTF-8 without NUL, every directive known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format<'a> {
    bytes: &'a [u8],
    directives: usize,
    percents: usize,
    sub_second: bool,
}

impl<'a> Format<'a> {
    /// Checks a format. Rendering it can then fail only if the text does not fit.
    ///
    /// # Errors
    ///
    /// The first of: not UTF-8; a NUL; the leftmost directive that is unknown or cut off.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let mut counter = Counter::default();
        parse(bytes, &mut counter)?;
        let Counter {
            directives,
            percents,
            sub_second,
        } = counter;
        Ok(Format {
            bytes,
            directives,
            percents,
            sub_second,
        })
    }

    /// The bytes that were parsed.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The number of directives, `%%` included.
    pub fn directives(&self) -> usize {
        self.directives
    }

    /// The number of `%%` directives: each text of this format holds as many `%`.
    pub fn percents(&self) -> usize {
        self.percents
    }

    /// Whether the text changes within a second.
    pub fn sub_second(&self) -> bool {
        self.sub_second
    }

    /// Writes the text of `time` to the front of `buf` and returns its length in bytes.
    ///
    /// # Errors
    ///
    /// [`BufferTooSmall`] if the text does not fit; `buf` then holds the start of it. A width is
    /// compared with the buffer before padding is written, so a huge width costs nothing.
    pub fn render(&self, time: &LocalTime, buf: &mut [u8]) -> Result<usize, BufferTooSmall> {
        match render(self.bytes, time, buf) {
            Ok(length) => Ok(length),
            Err(RenderError::TooSmall(error)) => Err(error),
            // `parse` accepted the same bytes.
            Err(RenderError::Format(_)) => unreachable!("a parsed format"),
        }
    }
}

/// Parses and renders a format in one pass: [`Format::parse`] and [`Format::render`] for a format
/// that is used once.
///
/// # Errors
///
/// Those of both. If the format is wrong and the text does not fit, the format's error is returned.
pub fn render(format: &[u8], time: &LocalTime, buf: &mut [u8]) -> Result<usize, RenderError> {
    let mut formatter = Formatter {
        writer: SliceWriter::new(buf),
        time,
        result: Ok(()),
    };
    parse(format, &mut formatter)?;
    formatter.result?;
    Ok(formatter.writer.length())
}

/// Counts the directives of a format.
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
struct Formatter<'t, 'b> {
    writer: SliceWriter<'b>,
    time: &'t LocalTime,
    result: WriteResult,
}

impl<'b> Formatter<'_, 'b> {
    /// Calls `write`, unless an earlier call failed: then the rest of the format is only checked.
    fn write(&mut self, write: impl FnOnce(&mut SliceWriter<'b>) -> WriteResult) {
        if self.result.is_ok() {
            self.result = write(&mut self.writer);
        }
    }
}

impl Visitor for Formatter<'_, '_> {
    fn literal(&mut self, bytes: &[u8]) {
        self.write(|writer| writer.push(bytes));
    }

    fn directive(&mut self, directive: Directive, spec: &FieldSpec) {
        let time = self.time;
        self.write(|writer| writer.directive(directive, spec, time));
    }
}

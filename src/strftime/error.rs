//! What can be wrong with a format, and with the buffer for its text.

use std::fmt::{self, Write as _};

/// Why some bytes are no format. Positions count bytes from 0; the position of a directive is that
/// of its `%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// Not UTF-8.
    NotUtf8 {
        /// The first byte that is not UTF-8.
        at: usize,
    },
    /// A NUL byte, which no C string can hold.
    Nul {
        /// The NUL.
        at: usize,
    },
    /// An unknown directive, or a known one with a flag, width or modifier that it does not take.
    Unknown {
        /// The directive's `%`.
        at: usize,
        /// The first character that does not belong to a known directive.
        character: char,
    },
    /// `%+` directly before a digit or one of `CFGY`: there it is a flag of POSIX and GNU date.
    PlusFlag {
        /// The directive's `%`.
        at: usize,
    },
    /// The format ends within a directive.
    CutOff {
        /// The directive's `%`.
        at: usize,
    },
}

impl fmt::Display for FormatError {
    /// Never writes a `%`, because no error response may hold one (rule L).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            FormatError::NotUtf8 { at } => write!(f, "byte {at}: not UTF-8"),
            FormatError::Nul { at } => write!(f, "byte {at}: NUL"),
            FormatError::CutOff { at } => write!(f, "byte {at}: conversion ends too early"),
            FormatError::PlusFlag { at } => write!(f, "byte {at}: the flag + is not supported"),
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

/// The text does not fit into the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("text too long")]
pub struct BufferTooSmall;

/// Why [`render`](super::render) returns no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The bytes are no format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The text does not fit into the buffer.
    #[error(transparent)]
    TooSmall(#[from] BufferTooSmall),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_4_errors_are_printable() {
        let unknown = |character| FormatError::Unknown { at: 9, character };
        for (error, expected) in [
            (FormatError::NotUtf8 { at: 2 }, "byte 2: not UTF-8"),
            (FormatError::Nul { at: 3 }, "byte 3: NUL"),
            (
                FormatError::CutOff { at: 4 },
                "byte 4: conversion ends too early",
            ),
            (
                FormatError::PlusFlag { at: 5 },
                "byte 5: the flag + is not supported",
            ),
            (unknown('Q'), "byte 9: unknown conversion Q"),
            (unknown('\u{e9}'), "byte 9: unknown conversion \u{e9}"),
            (unknown('\n'), "byte 9: unknown conversion \\n"),
            (unknown('\u{202e}'), "byte 9: unknown conversion \\u{202e}"),
            (unknown('\''), "byte 9: unknown conversion '"),
            (unknown('"'), "byte 9: unknown conversion \""),
            (unknown('\\'), "byte 9: unknown conversion \\"),
        ] {
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn rule_l_errors_hold_no_percent() {
        let error = FormatError::Unknown {
            at: 0,
            character: '%',
        };
        assert_eq!(error.to_string(), "byte 0: unknown conversion \\u{25}");
    }
}

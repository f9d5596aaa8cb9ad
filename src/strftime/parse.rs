//! Parses a format: finds its directives and checks them.

use super::FormatError;

/// Takes the pieces of a format as they are read.
pub(super) trait Visitor {
    /// Bytes that stand for themselves; never none.
    fn literal(&mut self, bytes: &[u8]);

    /// A directive.
    fn directive(&mut self, directive: Directive, spec: &FieldSpec);
}

/// The one reader of formats.
pub(super) fn parse(bytes: &[u8], visitor: &mut impl Visitor) -> Result<(), FormatError> {
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
            visitor.literal(&bytes[at..start]);
        }
        let (specifier, end) = Specifier::read(bytes, start)?;
        visitor.directive(specifier.directive, &specifier.spec);
        at = end;
    }
    if at < bytes.len() {
        visitor.literal(&bytes[at..]);
    }
    Ok(())
}

fn find_percent(bytes: &[u8], from: usize) -> Option<usize> {
    bytes[from..]
        .iter()
        .position(|&byte| byte == b'%')
        .map(|ahead| from + ahead)
}

/// How a field is filled up to its width: the last of the flags `_`, `-` and `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Padding {
    /// No flag: as the directive does by itself.
    Default,
    /// `_`
    Space,
    /// `-`
    None,
    /// `0`
    Zero,
}

/// What flags and width ask of a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldSpec {
    pub(super) padding: Padding,
    /// `^`
    pub(super) upper: bool,
    /// `#`
    pub(super) swap: bool,
    /// 0 where none is given: a leading 0 is a flag.
    pub(super) width: usize,
}

impl FieldSpec {
    /// Nothing at all.
    pub(super) const PLAIN: FieldSpec = FieldSpec {
        padding: Padding::Default,
        upper: false,
        swap: false,
        width: 0,
    };
}

/// One directive: `%[_-0^#]*[width][E|O]directive`.
#[derive(Clone, Copy, Debug)]
struct Specifier {
    spec: FieldSpec,
    directive: Directive,
}

/// The letter of a directive, or what stands in a letter's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Directive {
    /// One of glibc's letters.
    Letter(u8),
    /// `%%`
    Percent,
    /// `%:z`, `%::z`, `%:::z`: the number of colons (GNU date)
    UtcOffset(u8),
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
const PADDINGS: [Padding; 4] = [
    Padding::Default,
    Padding::Space,
    Padding::None,
    Padding::Zero,
];

impl Specifier {
    /// Reads the directive whose `%` is at `start`; also says where it ends. `bytes` are UTF-8.
    #[inline(always)]
    fn read(bytes: &[u8], start: usize) -> Result<(Specifier, usize), FormatError> {
        // Nearly every directive is a letter without flags.
        if let Some(&letter) = bytes.get(start + 1)
            && let Some(directive) = DIRECTIVES[usize::from(letter)]
        {
            return Ok((
                Specifier {
                    spec: FieldSpec::PLAIN,
                    directive,
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
        let spec = FieldSpec {
            padding: PADDINGS[usize::from(flags & FILLED)],
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
        match DIRECTIVES[usize::from(letter)] {
            Some(directive)
                if !directive.is_chrono_only() && refused >> (letter & 127) & 1 == 0 =>
            {
                Ok((Specifier { spec, directive }, at + 1))
            }
            _ => {
                let extension = Extension {
                    start,
                    at,
                    has_spec: at > start + 1,
                    modifier,
                    width,
                };
                let (directive, end) = extension.read(bytes)?;
                Ok((Specifier { spec, directive }, end))
            }
        }
    }
}

/// What is no letter of glibc's, as far as it was read: what stands between `start` and `at`.
struct Extension {
    start: usize,
    at: usize,
    /// Whether anything stands between them.
    has_spec: bool,
    modifier: Option<u8>,
    width: usize,
}

impl Extension {
    /// Reads the rest of what GNU date and chrono define with more than a letter; says where it ends.
    fn read(self, bytes: &[u8]) -> Result<(Directive, usize), FormatError> {
        let Extension {
            start,
            at,
            has_spec,
            modifier,
            width,
        } = self;
        let peek = |at: usize| {
            bytes
                .get(at)
                .copied()
                .ok_or(FormatError::CutOff { at: start })
        };
        let (directive, length) = match peek(at)? {
            b':' => {
                let mut colons = 1;
                while colons < 4 && peek(at + colons)? == b':' {
                    colons += 1;
                }
                let directive =
                    (colons < 4 && modifier != Some(b'O') && peek(at + colons)? == b'z')
                        .then_some(Directive::UtcOffset(colons as u8));
                (directive, colons + 1)
            }
            // chrono knows no flags, no modifiers, and no widths but those of %3f, %6f and %9f.
            b'.' if !has_spec => match peek(at + 1)? {
                b'f' => (Some(Directive::DottedFraction(0)), 2),
                digit @ (b'3' | b'6' | b'9') if peek(at + 2)? == b'f' => {
                    (Some(Directive::DottedFraction(digit - b'0')), 3)
                }
                _ => (None, 1),
            },
            b'f' if modifier.is_none() && at == start + 2 && matches!(width, 3 | 6 | 9) => {
                (Some(Directive::Fraction(width as u8)), 1)
            }
            _ => (None, 1),
        };
        match directive {
            Some(directive) => Ok((directive, at + length)),
            None => Err(FormatError::Unknown {
                at: start,
                character: character_at(bytes, at),
            }),
        }
    }
}

impl Directive {
    /// Whether only chrono defines it, and so only as it stands, without flags, modifier or width.
    fn is_chrono_only(self) -> bool {
        matches!(
            self,
            Directive::Fraction(_)
                | Directive::DottedFraction(_)
                | Directive::Rfc3339
                | Directive::VmsDate
        )
    }

    /// Whether its text changes within a second.
    pub(super) fn is_sub_second(self) -> bool {
        matches!(
            self,
            Directive::Nanoseconds
                | Directive::Fraction(_)
                | Directive::DottedFraction(_)
                | Directive::Rfc3339
        )
    }

    const fn bare(letter: u8) -> Option<Directive> {
        Some(match letter {
            b'%' => Directive::Percent,
            b'N' => Directive::Nanoseconds,
            b'q' => Directive::Quarter,
            b'f' => Directive::Fraction(9),
            b'v' => Directive::VmsDate,
            b'+' => Directive::Rfc3339,
            b'a' | b'A' | b'b' | b'B' | b'c' | b'C' | b'd' | b'D' | b'e' | b'F' | b'g' | b'G'
            | b'h' | b'H' | b'I' | b'j' | b'k' | b'l' | b'm' | b'M' | b'n' | b'p' | b'P' | b'r'
            | b'R' | b's' | b'S' | b't' | b'T' | b'u' | b'U' | b'V' | b'w' | b'W' | b'x' | b'X'
            | b'y' | b'Y' | b'z' | b'Z' => Directive::Letter(letter),
            _ => return None,
        })
    }
}

/// Each byte's directive where it follows the `%` at once, as nearly every one does.
static DIRECTIVES: [Option<Directive>; 256] = {
    let mut directives = [None; 256];
    let mut byte = 0;
    while byte < 256 {
        directives[byte] = Directive::bare(byte as u8);
        byte += 1;
    }
    directives
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

//! Parses a format: finds its directives and checks them.

use super::error::FormatError;

/// Receives the parts of a format in their order.
pub(super) trait Visitor {
    /// Bytes that are copied as they are, at least one.
    fn literal(&mut self, bytes: &[u8]);

    /// A directive.
    fn directive(&mut self, directive: Directive, spec: &FieldSpec);
}

/// Parses a format and passes its parts to `visitor`.
///
/// # Errors
///
/// Those of [`Format::parse`](super::Format::parse). Before the error of a directive, `visitor` has
/// received everything to the left of it.
pub(super) fn parse(bytes: &[u8], visitor: &mut impl Visitor) -> Result<(), FormatError> {
    let text = std::str::from_utf8(bytes).map_err(|error| FormatError::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    // `contains` compares many bytes at once; `position` does not.
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
        let (specifier, end) = Specifier::parse(text, start)?;
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
        .map(|distance| from + distance)
}

/// One directive with its flags and width: `%[_-0^#]*[width][E|O]directive`.
#[derive(Clone, Copy, Debug)]
struct Specifier {
    spec: FieldSpec,
    directive: Directive,
}

/// The flags and the width of a directive.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldSpec {
    pub(super) padding: Padding,
    /// `^`
    pub(super) uppercase: bool,
    /// `#`
    pub(super) swap_case: bool,
    /// 0 if none is given (a leading 0 is a flag).
    pub(super) width: usize,
}

impl FieldSpec {
    /// No flags, no width.
    pub(super) const PLAIN: FieldSpec = FieldSpec {
        padding: Padding::Default,
        uppercase: false,
        swap_case: false,
        width: 0,
    };
}

/// How a field is padded to its width: the last of the flags `_`, `-` and `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Padding {
    /// No flag: the directive's own padding.
    Default,
    /// `_`
    Space,
    /// `-`
    None,
    /// `0`
    Zero,
}

/// What a directive stands for.
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
    /// `%.3f`, `%.6f`, `%.9f`: the number of digits; `%.f`: 0, as many groups of three as needed
    /// (chrono)
    DottedFraction(u8),
    /// `%+` (chrono)
    Rfc3339,
    /// `%v` (chrono)
    VmsDate,
}

impl Directive {
    /// The directive that this byte is directly after the `%`.
    const fn from_byte(byte: u8) -> Option<Directive> {
        Some(match byte {
            b'%' => Directive::Percent,
            b'N' => Directive::Nanoseconds,
            b'q' => Directive::Quarter,
            b'f' => Directive::Fraction(9),
            b'v' => Directive::VmsDate,
            b'a' | b'A' | b'b' | b'B' | b'c' | b'C' | b'd' | b'D' | b'e' | b'F' | b'g' | b'G'
            | b'h' | b'H' | b'I' | b'j' | b'k' | b'l' | b'm' | b'M' | b'n' | b'p' | b'P' | b'r'
            | b'R' | b's' | b'S' | b't' | b'T' | b'u' | b'U' | b'V' | b'w' | b'W' | b'x' | b'X'
            | b'y' | b'Y' | b'z' | b'Z' => Directive::Letter(byte),
            _ => return None,
        })
    }

    /// Whether only chrono defines it: such a directive takes no flags and no modifier, and no
    /// width but those of `%3f`, `%6f` and `%9f`.
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
}

/// [`Directive::from_byte`] of each byte.
static DIRECTIVES: [Option<Directive>; 256] = {
    let mut directives = [None; 256];
    let mut byte = 0;
    while byte < 256 {
        directives[byte] = Directive::from_byte(byte as u8);
        byte += 1;
    }
    directives
};

/// `E` or `O`, which change nothing in the C locale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Modifier {
    None,
    E,
    O,
}

impl Modifier {
    /// Whether the modifier must not stand before this ASCII character. glibc rejects the pairs of
    /// its own letters, GNU date those of `N` and `q`.
    fn forbids(self, byte: u8) -> bool {
        const NOT_AFTER_E: u128 = ascii_set(b"aAbBdDeFgGhHIjklmMSUVwWN");
        const NOT_AFTER_O: u128 = ascii_set(b"aAcDFxXYq");
        let forbidden = match self {
            Modifier::None => return false,
            Modifier::E => NOT_AFTER_E,
            Modifier::O => NOT_AFTER_O,
        };
        forbidden >> (byte & 127) & 1 == 1
    }
}

/// A set of ASCII characters, one bit each.
const fn ascii_set(characters: &[u8]) -> u128 {
    let mut set = 0;
    let mut index = 0;
    while index < characters.len() {
        set |= 1 << characters[index];
        index += 1;
    }
    set
}

/// The bits of each byte that is a flag, 0 for others. A table, because a request can hold hundreds
/// of flags, and branches on them are mispredicted.
static FLAG_BITS: [u8; 256] = {
    let mut bits = [0; 256];
    bits[b'_' as usize] = 1;
    bits[b'-' as usize] = 2;
    bits[b'0' as usize] = 3;
    bits[b'^' as usize] = UPPERCASE;
    bits[b'#' as usize] = SWAP_CASE;
    bits
};
const PADDING_MASK: u8 = 3;
const UPPERCASE: u8 = 4;
const SWAP_CASE: u8 = 8;

/// The padding of each value of [`PADDING_MASK`]'s bits.
const PADDINGS: [Padding; 4] = [
    Padding::Default,
    Padding::Space,
    Padding::None,
    Padding::Zero,
];

impl Specifier {
    /// Parses the directive whose `%` is at `start`; also returns where it ends.
    #[inline(always)]
    fn parse(text: &str, start: usize) -> Result<(Specifier, usize), FormatError> {
        // Fast path: nearly every directive is one letter without flags.
        if let Some(&byte) = text.as_bytes().get(start + 1)
            && let Some(directive) = DIRECTIVES[usize::from(byte)]
        {
            let specifier = Specifier {
                spec: FieldSpec::PLAIN,
                directive,
            };
            return Ok((specifier, start + 2));
        }
        let mut parser = SpecifierParser {
            text,
            start,
            at: start + 1,
        };
        let spec = parser.field_spec()?;
        let modifier = parser.modifier()?;
        let directive = parser.directive(&spec, modifier)?;
        let end = parser.at;
        // GNU date replaces exactly these three bytes by `%9N` before it looks at flags.
        let spec = if directive == Directive::Nanoseconds && &text[start..end] == "%-N" {
            FieldSpec::PLAIN
        } else {
            spec
        };
        Ok((Specifier { spec, directive }, end))
    }
}

/// Parses one directive from left to right.
struct SpecifierParser<'a> {
    text: &'a str,
    /// The directive's `%`.
    start: usize,
    /// The next byte.
    at: usize,
}

impl SpecifierParser<'_> {
    /// The byte `distance` bytes ahead.
    fn peek(&self, distance: usize) -> Result<u8, FormatError> {
        self.text
            .as_bytes()
            .get(self.at + distance)
            .copied()
            .ok_or(FormatError::CutOff { at: self.start })
    }

    /// Parses flags and width.
    fn field_spec(&mut self) -> Result<FieldSpec, FormatError> {
        let mut flags = 0;
        loop {
            match FLAG_BITS[usize::from(self.peek(0)?)] {
                0 => break,
                // The last padding flag replaces those before it.
                flag if flag & PADDING_MASK != 0 => flags = flags & !PADDING_MASK | flag,
                flag => flags |= flag,
            }
            self.at += 1;
        }
        let mut width: usize = 0;
        while let digit @ b'0'..=b'9' = self.peek(0)? {
            width = width
                .saturating_mul(10)
                .saturating_add(usize::from(digit - b'0'));
            self.at += 1;
        }
        Ok(FieldSpec {
            padding: PADDINGS[usize::from(flags & PADDING_MASK)],
            uppercase: flags & UPPERCASE != 0,
            swap_case: flags & SWAP_CASE != 0,
            width,
        })
    }

    fn modifier(&mut self) -> Result<Modifier, FormatError> {
        let modifier = match self.peek(0)? {
            b'E' => Modifier::E,
            b'O' => Modifier::O,
            _ => return Ok(Modifier::None),
        };
        self.at += 1;
        Ok(modifier)
    }

    fn directive(
        &mut self,
        spec: &FieldSpec,
        modifier: Modifier,
    ) -> Result<Directive, FormatError> {
        let byte = self.peek(0)?;
        let (directive, length) = match DIRECTIVES[usize::from(byte)] {
            Some(directive) if !directive.is_chrono_only() && !modifier.forbids(byte) => {
                (directive, 1)
            }
            _ => self
                .extension(byte, spec, modifier)?
                .ok_or_else(|| self.unknown())?,
        };
        self.at += length;
        Ok(directive)
    }

    /// A directive of GNU date or chrono that is more than a letter, and the length of what follows
    /// flags, width and modifier in it.
    fn extension(
        &self,
        byte: u8,
        spec: &FieldSpec,
        modifier: Modifier,
    ) -> Result<Option<(Directive, usize)>, FormatError> {
        // The number of bytes of flags, width and modifier.
        let prefix = self.at - self.start - 1;
        Ok(match byte {
            b':' => {
                let mut colons = 1;
                while colons < 4 && self.peek(colons)? == b':' {
                    colons += 1;
                }
                (colons < 4 && modifier != Modifier::O && self.peek(colons)? == b'z')
                    .then_some((Directive::UtcOffset(colons as u8), colons + 1))
            }
            // A later `+` is unknown as a flag and as a directive.
            b'+' if prefix == 0 => match self.peek(1) {
                Ok(b'0'..=b'9' | b'C' | b'F' | b'G' | b'Y') => {
                    return Err(FormatError::PlusFlag { at: self.start });
                }
                _ => Some((Directive::Rfc3339, 1)),
            },
            b'.' if prefix == 0 => match self.peek(1)? {
                b'f' => Some((Directive::DottedFraction(0), 2)),
                digit @ (b'3' | b'6' | b'9') if self.peek(2)? == b'f' => {
                    Some((Directive::DottedFraction(digit - b'0'), 3))
                }
                _ => None,
            },
            // With a prefix of one byte and a width, the prefix is the width.
            b'f' if prefix == 1 && matches!(spec.width, 3 | 6 | 9) => {
                Some((Directive::Fraction(spec.width as u8), 1))
            }
            _ => None,
        })
    }

    /// The error for the character at the present position, up to which all is ASCII.
    fn unknown(&self) -> FormatError {
        FormatError::Unknown {
            at: self.start,
            character: self
                .text
                .get(self.at..)
                .and_then(|rest| rest.chars().next())
                .unwrap_or(char::REPLACEMENT_CHARACTER),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of a format, separated by spaces.
    #[derive(Default)]
    struct Parts(String);

    impl Visitor for Parts {
        fn literal(&mut self, bytes: &[u8]) {
            self.0 += &format!("[{}] ", String::from_utf8_lossy(bytes));
        }

        fn directive(&mut self, directive: Directive, spec: &FieldSpec) {
            self.0 += &format!("{directive:?}/{} ", spec.width);
        }
    }

    #[test]
    fn literals_are_not_empty() {
        for (format, expected) in [
            ("", ""),
            ("abc", "[abc] "),
            ("%5q", "Quarter/5 "),
            ("%N%%", "Nanoseconds/0 Percent/0 "),
            ("a%Nb%Nc", "[a] Nanoseconds/0 [b] Nanoseconds/0 [c] "),
        ] {
            let mut parts = Parts::default();
            assert_eq!(parse(format.as_bytes(), &mut parts), Ok(()));
            assert_eq!(parts.0, expected);
        }
    }
}

//! Writes numbers, padded as glibc or GNU date pads them.

use super::parse::{FieldSpec, Padding};
use super::writer::{SliceWriter, WriteResult};

/// The widest number that [`SliceWriter::short_number`] writes.
const MAX_SHORT_WIDTH: usize = 16;

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

impl SliceWriter<'_> {
    /// A number of at least `digits` digits, padded as glibc does.
    pub(super) fn number(&mut self, value: i32, digits: usize, spec: &FieldSpec) -> WriteResult {
        // Fast path: nearly every number has two digits and no width.
        if spec.width == 0 && digits <= 2 && (0..100).contains(&value) {
            let pad = match spec.padding {
                _ if digits == 1 => None,
                Padding::None => None,
                Padding::Space => Some(b' '),
                Padding::Default | Padding::Zero => Some(b'0'),
            };
            return self.two_digits(value as u8, pad);
        }
        if (0..10_000).contains(&value) && spec.width <= MAX_SHORT_WIDTH {
            return self.short_number(value as u16, digits, spec);
        }
        self.long_number(i64::from(value), digits, spec)
    }

    /// Two digits, padded with a space unless a flag says otherwise.
    pub(super) fn space_padded_number(&mut self, value: u8, spec: &FieldSpec) -> WriteResult {
        let padding = if spec.padding == Padding::Default {
            Padding::Space
        } else {
            spec.padding
        };
        self.number(value.into(), 2, &FieldSpec { padding, ..*spec })
    }

    /// A number below 100; `pad` replaces the tens if there are none.
    fn two_digits(&mut self, value: u8, pad: Option<u8>) -> WriteResult {
        match pad {
            Some(b'0') => self.push(&TWO_DIGITS[usize::from(value)]),
            _ if value >= 10 => self.push(&TWO_DIGITS[usize::from(value)]),
            Some(pad) => {
                self.push(&[pad])?;
                self.push(&[b'0' + value])
            }
            None => self.push(&[b'0' + value]),
        }
    }

    /// Two numbers below 100, of two digits each, with a separator.
    pub(super) fn two_numbers(&mut self, numbers: [u8; 2], separator: u8) -> WriteResult {
        let [a, b] = numbers.map(|number| TWO_DIGITS[usize::from(number)]);
        self.push_with(5, |array: &mut [u8; 5]| {
            *array = [a[0], a[1], separator, b[0], b[1]];
        })
    }

    /// Three numbers below 100, of two digits each, with separators.
    pub(super) fn three_numbers(&mut self, numbers: [u8; 3], separator: u8) -> WriteResult {
        let [a, b, c] = numbers.map(|number| TWO_DIGITS[usize::from(number)]);
        self.push_with(8, |array: &mut [u8; 8]| {
            *array = [a[0], a[1], separator, b[0], b[1], separator, c[0], c[1]];
        })
    }

    /// [`long_number`](Self::long_number) for a value below 10,000 and a width of at most
    /// [`MAX_SHORT_WIDTH`]: faster, because a request can hold hundreds of these.
    fn short_number(&mut self, value: u16, digits: usize, spec: &FieldSpec) -> WriteResult {
        let shown = 1 + usize::from(value > 9) + usize::from(value > 99) + usize::from(value > 999);
        let (pad, width) = match spec.padding {
            Padding::None => (b' ', spec.width),
            Padding::Space => (b' ', digits.max(spec.width)),
            Padding::Default | Padding::Zero => (b'0', digits.max(spec.width)),
        };
        let length = shown.max(width);
        self.push_with(length, |array: &mut [u8; MAX_SHORT_WIDTH]| {
            array.fill(pad);
            let mut rest = value;
            for digit in array[length - shown..length].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        })
    }

    /// A width replaces `digits` if it is larger; under the flag `-` it pads with spaces.
    fn long_number(&mut self, value: i64, digits: usize, spec: &FieldSpec) -> WriteResult {
        let decimal = Decimal::new(value.unsigned_abs());
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

    /// `%s`, which glibc pads as text, its sign included.
    pub(super) fn unix_seconds(&mut self, value: i64, spec: &FieldSpec) -> WriteResult {
        let decimal = Decimal::new(value.unsigned_abs());
        let mut buf = [b'-'; 21];
        let start = usize::from(value < 0);
        let end = start + decimal.digits().len();
        buf[start..end].copy_from_slice(decimal.digits());
        self.padded(&buf[..end], spec)
    }

    /// `%z`: glibc applies the width to the sign and to the number, and cuts seconds off.
    pub(super) fn utc_offset(&mut self, offset: i32, spec: &FieldSpec) -> WriteResult {
        self.padded(if offset < 0 { b"-" } else { b"+" }, spec)?;
        let minutes = (offset.unsigned_abs() / 60).cast_signed();
        self.number(minutes / 60 * 100 + minutes % 60, 4, spec)
    }

    /// `%:z` (`+hh:mm`), `%::z` (`+hh:mm:ss`) and `%:::z` (as short as the offset allows), as GNU
    /// date writes them: the width includes the sign.
    pub(super) fn utc_offset_with_colons(
        &mut self,
        colons: u8,
        spec: &FieldSpec,
        offset: i32,
    ) -> WriteResult {
        let total = offset.unsigned_abs();
        let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
        let with_seconds = colons == 2 || colons == 3 && seconds != 0;
        let with_minutes = with_seconds || colons == 1 || minutes != 0;
        let mut buf = [0; 32];
        let mut writer = SliceWriter::new(&mut buf);
        writer.push(Decimal::new(u64::from(hours)).digits())?;
        for (part, is_shown) in [(minutes, with_minutes), (seconds, with_seconds)] {
            if is_shown {
                writer.push(b":")?;
                writer.two_digits(part as u8, Some(b'0'))?;
            }
        }
        let length = writer.length();
        let default_width = 3 + 3 * (usize::from(with_minutes) + usize::from(with_seconds));
        let sign = if offset < 0 { b"-" } else { b"+" };
        self.gnu_date_number(sign, &buf[..length], default_width, spec)
    }

    /// A number as GNU date pads it: a width replaces the default one, and `-` removes the padding.
    pub(super) fn gnu_date_number(
        &mut self,
        sign: &[u8],
        digits: &[u8],
        default_width: usize,
        spec: &FieldSpec,
    ) -> WriteResult {
        let width = if spec.width == 0 {
            default_width
        } else {
            spec.width
        };
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

    /// `%N` as GNU date writes it: the width is a precision; the value is truncated, not rounded,
    /// and padded on the right. Under `_` and `-`, zeros at the end are removed.
    pub(super) fn nanoseconds(&mut self, nanosecond: u32, spec: &FieldSpec) -> WriteResult {
        let width = if spec.width == 0 { 9 } else { spec.width };
        let all = nine_digits(nanosecond);
        if width <= all.len() && matches!(spec.padding, Padding::Default | Padding::Zero) {
            return self.push_front(&all, width);
        }
        let mut digits = &all[..width.min(9)];
        if matches!(spec.padding, Padding::Space | Padding::None) {
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

    /// chrono's `%f`: the first `digits` digits of the nanoseconds.
    pub(super) fn fraction(&mut self, nanosecond: u32, digits: u8) -> WriteResult {
        self.push_front(&nine_digits(nanosecond), usize::from(digits))
    }

    /// chrono's `%.f`: nothing for a whole second, else a dot and 3, 6 or 9 digits, the fewest that
    /// lose nothing.
    pub(super) fn shortest_fraction(&mut self, nanosecond: u32) -> WriteResult {
        let digits = match nanosecond {
            0 => return Ok(()),
            _ if nanosecond.is_multiple_of(1_000_000) => 3,
            _ if nanosecond.is_multiple_of(1_000) => 6,
            _ => 9,
        };
        self.push(b".")?;
        self.fraction(nanosecond, digits)
    }

    /// Bytes that glibc does not pad as a number: with spaces, or zeros under the flag `0`.
    pub(super) fn padded(&mut self, bytes: &[u8], spec: &FieldSpec) -> WriteResult {
        let pad = match spec.padding {
            Padding::Zero => b'0',
            Padding::Default | Padding::Space | Padding::None => b' ',
        };
        self.fill(pad, spec.width.saturating_sub(bytes.len()))?;
        self.push(bytes)
    }
}

/// The last three digits of a number.
fn three_digits(value: u32) -> [u8; 3] {
    [value / 100 % 10, value / 10 % 10, value % 10].map(|digit| b'0' + digit as u8)
}

fn nine_digits(nanosecond: u32) -> [u8; 9] {
    let [a, b, c] = three_digits(nanosecond / 1_000_000);
    let [d, e, f] = three_digits(nanosecond / 1_000);
    let [g, h, i] = three_digits(nanosecond);
    [a, b, c, d, e, f, g, h, i]
}

/// The decimal digits of a number, at least one.
struct Decimal {
    bytes: [u8; 20],
    start: usize,
}

impl Decimal {
    fn new(mut value: u64) -> Decimal {
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

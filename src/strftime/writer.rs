//! Writes bytes to a buffer of fixed size.

use super::error::BufferTooSmall;

/// Writes to the front of a slice. A write that does not fit fails and writes nothing.
pub(super) struct SliceWriter<'b> {
    buf: &'b mut [u8],
    length: usize,
}

/// Whether a write fitted.
pub(super) type WriteResult = Result<(), BufferTooSmall>;

impl<'b> SliceWriter<'b> {
    pub(super) fn new(buf: &'b mut [u8]) -> SliceWriter<'b> {
        SliceWriter { buf, length: 0 }
    }

    /// The number of bytes written.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Appends bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> WriteResult {
        let end = self.length + bytes.len();
        self.buf
            .get_mut(self.length..end)
            .ok_or(BufferTooSmall)?
            .copy_from_slice(bytes);
        self.length = end;
        Ok(())
    }

    /// Appends the first `length` bytes of an array.
    ///
    /// If the whole array fits, it is copied as a whole: a copy whose size the compiler knows costs
    /// less than one of `length` bytes.
    pub(super) fn push_front<const N: usize>(
        &mut self,
        bytes: &[u8; N],
        length: usize,
    ) -> WriteResult {
        match self.buf[self.length..].first_chunk_mut() {
            Some(array) => {
                *array = *bytes;
                self.length += length;
                Ok(())
            }
            None => self.push(&bytes[..length]),
        }
    }

    /// Appends the first `length` bytes of an array that `write` fills.
    ///
    /// If the whole array fits, `write` fills the buffer itself, without a copy.
    pub(super) fn push_with<const N: usize>(
        &mut self,
        length: usize,
        write: impl Fn(&mut [u8; N]),
    ) -> WriteResult {
        if let Some(array) = self.buf[self.length..].first_chunk_mut() {
            write(array);
            self.length += length;
            return Ok(());
        }
        let mut array = [0; N];
        write(&mut array);
        self.push(&array[..length])
    }

    /// Appends a byte `count` times.
    pub(super) fn fill(&mut self, byte: u8, count: usize) -> WriteResult {
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

    /// Makes the bytes from `start` on upper case.
    pub(super) fn make_uppercase_from(&mut self, start: usize) {
        self.buf[start..self.length].make_ascii_uppercase();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `write` makes of a buffer of 8 dots, and the length written.
    fn written(write: impl FnOnce(&mut SliceWriter<'_>) -> WriteResult) -> (WriteResult, String) {
        let mut buf = [b'.'; 8];
        let mut writer = SliceWriter::new(&mut buf);
        let result = write(&mut writer);
        let length = writer.length();
        let text = String::from_utf8_lossy(&buf);
        (result, format!("{}|{}", &text[..length], &text[length..]))
    }

    #[test]
    fn a_write_fills_the_buffer_and_no_more() {
        let fits = |text: &str| (Ok(()), text.to_owned());
        let fails = |text: &str| (Err(BufferTooSmall), text.to_owned());
        assert_eq!(written(|w| w.push(b"12345678")), fits("12345678|"));
        assert_eq!(written(|w| w.push(b"123456789")), fails("|........"));
        assert_eq!(written(|w| w.fill(b'x', 8)), fits("xxxxxxxx|"));
        assert_eq!(written(|w| w.fill(b'x', 9)), fails("|........"));
        assert_eq!(written(|w| w.fill(b'x', usize::MAX)), fails("|........"));
        // The array fits as a whole, in part, and not at all.
        assert_eq!(written(|w| w.push_front(b"1234", 2)), fits("12|34...."));
        let after_six = |length| {
            written(|w| {
                w.fill(b'x', 6)?;
                w.push_front(b"1234", length)
            })
        };
        assert_eq!(after_six(2), fits("xxxxxx12|"));
        assert_eq!(after_six(3), fails("xxxxxx|.."));
    }

    #[test]
    fn upper_case_begins_at_the_start_given() {
        let result = written(|w| {
            w.push(b"abcd")?;
            w.make_uppercase_from(2);
            Ok(())
        });
        assert_eq!(result, (Ok(()), "abCD|....".to_owned()));
        let overflow = written(|w| {
            w.push(b"a")?;
            w.fill(b'x', usize::MAX)
        });
        assert_eq!(overflow, (Err(BufferTooSmall), "a|.......".to_owned()));
    }
}

//! The face of the clock: what each short conversion reads now.

use super::{Kind, RenderError, Rendered, Shape, Sink, Writing, walk};
use crate::clock::{Moment, Second};

/// The longest text that is kept, in bytes. One size for all: a copy of a length known to the compiler costs less.
const TEXT: usize = 31;

/// What may stand between `%` and the letter of a conversion of three bytes.
const MIDDLES: &[u8] = b"_-0^#123456789EO:";

/// Letters have six low bits of their own, from `@` to DEL.
const LETTERS: usize = 64;

/// The row of each middle; 0 is the row of the conversions without one, and what is no middle has none.
static ROWS: [Option<u8>; 256] = {
    let mut rows = [None; 256];
    let mut index = 0;
    while index < MIDDLES.len() {
        rows[MIDDLES[index] as usize] = Some(index as u8 + 1);
        index += 1;
    }
    rows
};

/// The texts of conversions of two and three bytes, kept for the second they were rendered in; those of fractions, for their moment.
///
/// A question may hold hundreds of them, and no two questions need be alike: rendered each time, they would make the
/// dearest question cost half as much again. A text gets in when its conversion was read and rendered once.
#[derive(Debug)]
pub struct Face {
    now: Option<(Second, u32)>,
    /// Counts the moments, so that a new one forgets all texts at no cost.
    moment: u64,
    /// The first moment of the second.
    second: u64,
    texts: Box<[Kept]>,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    /// When it was rendered; 0 is never.
    moment: u64,
    length: u8,
    text: [u8; TEXT],
}

impl Default for Face {
    fn default() -> Face {
        Face::new()
    }
}

impl Face {
    /// A clock that nobody has looked at; its memory (45 KiB) is all that it will ever have.
    pub fn new() -> Face {
        let never = Kept {
            moment: 0,
            length: 0,
            text: [0; TEXT],
        };
        Face {
            now: None,
            moment: 0,
            second: 1,
            texts: vec![never; (1 + MIDDLES.len()) * LETTERS].into_boxed_slice(),
        }
    }

    /// What [`render`](super::render()) does, from memory where that goes.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn render(
        &mut self,
        format: &[u8],
        moment: &Moment,
        room: &mut [u8],
    ) -> Result<Rendered, RenderError> {
        let now = Some((*moment.second(), moment.nanosecond()));
        if self.now != now {
            self.moment += 1;
            if self
                .now
                .is_none_or(|(second, _)| second != *moment.second())
            {
                self.second = self.moment;
            }
            self.now = now;
        }
        let mut sink = Looking {
            face: self,
            writing: Writing::new(room, moment),
        };
        walk(format, &mut sink)?;
        sink.writing.end()
    }

    fn place(row: u8, letter: u8) -> Option<usize> {
        // A byte above ASCII is a piece of a character, and no letter's double.
        matches!(letter, b'@'..=0x7f)
            .then(|| usize::from(row) * LETTERS + usize::from(letter) % LETTERS)
    }

    fn kept(&self, row: u8, letter: u8) -> Option<&Kept> {
        let kept = &self.texts[Face::place(row, letter)?];
        let since = if is_fraction(letter) {
            self.moment
        } else {
            self.second
        };
        (kept.moment >= since).then_some(kept)
    }

    /// Keeps the text of a conversion, where it is short on both sides.
    fn keep(&mut self, conversion: &[u8], text: &[u8]) {
        let place = match *conversion {
            [_, letter] => Face::place(0, letter),
            [_, middle, letter] => {
                ROWS[usize::from(middle)].and_then(|row| Face::place(row, letter))
            }
            _ => None,
        };
        if let Some(place) = place
            && text.len() <= TEXT
        {
            let kept = &mut self.texts[place];
            kept.moment = self.moment;
            kept.length = text.len() as u8;
            kept.text[..text.len()].copy_from_slice(text);
        }
    }
}

/// Whether a text with this letter changes within a second, whatever stands before it.
fn is_fraction(letter: u8) -> bool {
    matches!(letter, b'N' | b'f')
}

/// Writes what it knows and remembers what it did not.
struct Looking<'f, 'm, 'b> {
    face: &'f mut Face,
    writing: Writing<'m, 'b>,
}

impl Sink for Looking<'_, '_, '_> {
    fn literal(&mut self, bytes: &[u8]) {
        self.writing.literal(bytes);
    }

    fn known(&mut self, bytes: &[u8]) -> Option<usize> {
        let &[_, first, ref rest @ ..] = bytes else {
            return None;
        };
        let (kept, letter, length) = match self.face.kept(0, first) {
            Some(kept) => (kept, first, 2),
            None => {
                let letter = *rest.first()?;
                (
                    self.face.kept(ROWS[usize::from(first)]?, letter)?,
                    letter,
                    3,
                )
            }
        };
        self.writing.sub_second |= is_fraction(letter);
        self.writing
            .write(|text| text.push_front(&kept.text, usize::from(kept.length)));
        Some(length)
    }

    fn conversion(&mut self, bytes: &[u8], kind: Kind, shape: &Shape) {
        let start = self.writing.text.length();
        self.writing.conversion(bytes, kind, shape);
        if self.writing.written.is_ok() {
            self.face.keep(bytes, self.writing.text.since(start));
        }
    }
}

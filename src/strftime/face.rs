//! The face of the clock: what every plain conversion reads in one second.

use std::fmt;

use super::render::Text;
use super::{Kind, Shape};
use crate::clock::Moment;

/// The longest text that is kept, `%c` in a year of four digits. The one size lets a copy be of a length known to the compiler.
const TEXT: usize = 24;

/// The letters from `@` on; what falls into one slot by its low bits is told apart when the face is made.
const SLOTS: usize = 64;

/// The texts of the conversions that are one letter and stay as they are within a second.
///
/// Made once a second, so that a question of hundreds of conversions costs no more than some copies.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Face {
    texts: [[u8; TEXT]; SLOTS],
    /// 0 where there is none.
    lengths: [u8; SLOTS],
}

impl Face {
    /// A clock without hands.
    pub(crate) const BLANK: Face = Face {
        texts: [[0; TEXT]; SLOTS],
        lengths: [0; SLOTS],
    };

    /// What a moment's clock shows.
    pub(crate) fn of(moment: &Moment) -> Face {
        let mut face = Face::BLANK;
        for letter in b'@'..=b'\x7f' {
            let slot = usize::from(letter) % SLOTS;
            let mut text = Text::new(&mut face.texts[slot]);
            if let Some(kind) = Kind::bare(letter)
                && !kind.is_sub_second()
                && text.convert(kind, &Shape::PLAIN, moment).is_ok()
            {
                face.lengths[slot] = text.length() as u8;
            }
        }
        face
    }

    /// The text of a conversion of this one byte; `None` where it is to be rendered.
    pub(super) fn text(&self, byte: u8) -> Option<(&[u8; TEXT], usize)> {
        let slot = usize::from(byte) % SLOTS;
        let length = usize::from(self.lengths[slot]);
        (byte >= b'@' && length > 0).then(|| (&self.texts[slot], length))
    }
}

impl fmt::Debug for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Face")
    }
}

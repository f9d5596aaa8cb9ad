//! The texts of the current second, kept: at midnight the whole room asks the same few formats.
//!
//! A text without sub-second parts depends on nothing but its question and its [`Second`] (instant, offset and abbreviation), so those are
//! the key and no event has to clear anything: a new second, a step of the clock either way, a change of the zone each
//! make another key. Memory is fixed whatever is asked; two questions that fall into one slot only cost each other a rendering.

use std::net::SocketAddr;

use crate::answer::{MAX_ANSWER, Verdict, reply_by, silence_towards};
use crate::clock::{Moment, Second};
use crate::strftime::Face;

/// A power of two; 64 formats in turn mostly find a slot of their own.
const SLOTS: usize = 256;
/// Longer questions and longer answers than these are rendered each time.
const QUESTION: usize = 96;
const ANSWER: usize = 128;

/// The texts rendered last, one a slot.
#[derive(Debug)]
pub struct Memo {
    slots: Box<[Slot]>,
    face: Face,
}

#[derive(Clone, Debug)]
struct Slot {
    second: Option<Second>,
    question_length: usize,
    answer_length: usize,
    question: [u8; QUESTION],
    answer: [u8; ANSWER],
}

impl Default for Memo {
    fn default() -> Memo {
        Memo::new()
    }
}

impl Memo {
    /// An empty memo; its memory (about 120 KiB) is all that it will ever have.
    pub fn new() -> Memo {
        let empty = Slot {
            second: None,
            question_length: 0,
            answer_length: 0,
            question: [0; QUESTION],
            answer: [0; ANSWER],
        };
        Memo {
            slots: vec![empty; SLOTS].into_boxed_slice(),
            face: Face::new(),
        }
    }

    /// What [`answer`](crate::answer::answer) says, at the price of a look-up where it was said in this second already.
    pub fn answer(
        &mut self,
        question: &[u8],
        peer: SocketAddr,
        moment: &Moment,
        room: &mut [u8; MAX_ANSWER],
    ) -> Verdict {
        if let Some(silence) = silence_towards(peer) {
            return Verdict::Ignored(silence);
        }
        let Memo { slots, face } = self;
        let mut reply = |room: &mut _| {
            reply_by(question, moment, room, |format, moment, room| {
                face.render(format, moment, room)
            })
        };
        if question.len() > QUESTION {
            return reply(room);
        }
        let slot = &mut slots[slot_of(question)];
        if slot.second.as_ref() == Some(moment.second())
            && slot.question[..slot.question_length] == *question
        {
            let length = slot.answer_length;
            room[..length].copy_from_slice(&slot.answer[..length]);
            return Verdict::Answered {
                length,
                sub_second: false,
            };
        }
        let verdict = reply(room);
        if let Verdict::Answered {
            length,
            sub_second: false,
        } = verdict
            && length <= ANSWER
        {
            slot.second = Some(*moment.second());
            slot.question_length = question.len();
            slot.question[..question.len()].copy_from_slice(question);
            slot.answer_length = length;
            slot.answer[..length].copy_from_slice(&room[..length]);
        }
        verdict
    }
}

/// Any spread will do: who makes questions collide only has them rendered.
fn slot_of(question: &[u8]) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = question.len() as u64;
    let mut words = question.chunks_exact(8);
    for word in &mut words {
        let word = word
            .iter()
            .fold(0, |word, &byte| word << 8 | u64::from(byte));
        hash = (hash.rotate_left(5) ^ word).wrapping_mul(ODD);
    }
    let rest = words
        .remainder()
        .iter()
        .fold(0, |word, &byte| word << 8 | u64::from(byte));
    hash = (hash.rotate_left(5) ^ rest).wrapping_mul(ODD);
    (hash >> 32) as usize % SLOTS
}

//! The contract: what is answered to whom, rules 1 to 6 and L.
//!
//! A *question* is the payload of one datagram, an *answer* the payload sent back. In this order:
//!
//! 1. From a source port below 1024: silence. Echo, chargen, daytime, time and NTP live there. From no address (`::`, `0.0.0.0`): silence,
//!    too, as the answer would come to this very machine.
//! 2. Empty, or nothing but ASCII white space: the text of [`DEFAULT_FORMAT`].
//! 3. No `%` in it: silence. It is no question. This and the second rule look at the first [`MAX_QUESTION`] bytes: what
//!    is longer is never blank.
//! 4. Longer than [`MAX_QUESTION`], not UTF-8, a NUL in it, or a conversion that is unknown or cut off: an *error
//!    answer*, `error: ` and the reason ([`Refusal`]), which holds no `%`.
//! 5. Otherwise the text, exactly as the format says. (Or, where the daemon was told to require a synchronised clock and has
//!    none, `error: clock not synchronised`.)
//! 6. An answer is at most [`answer_limit`] bytes; what would be longer gets an error answer.
//!
//! # Rule L: no loop can live
//!
//! Let k be the number of `%` in a datagram. Every conversion of a question takes at least one `%`, and none gives one
//! back but `%%`, which takes two: no name, number or abbreviation holds a `%`, and a literal is by definition without.
//! So **k(answer) <= k(question) / 2**, and k(error answer) = 0. A datagram with k = 0 is met with silence, unless it is
//! blank; then it gets one default answer, whose k is 0 and which is not blank. A datagram forged between two of us, or between us and
//! anything that repeats what it hears, therefore ends after at most log2(k) + 2 answers. It takes no clock, no table
//! and no port to see to that.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use crate::clock::Moment;
use crate::strftime::{FormatError, RenderError, render};

/// The format of a blank question.
pub const DEFAULT_FORMAT: &str = "%Y-%m-%d %X";

/// The longest question, in bytes.
pub const MAX_QUESTION: usize = 1024;

/// The longest answer, in bytes: one datagram within IPv6's smallest MTU, 1280 (RFC 8200) less 48 of headers.
pub const MAX_ANSWER: usize = 1232;

/// The first source port that gets an answer.
pub const FIRST_ANSWERED_PORT: u16 = 1024;

/// Rule 6: how long the answer to a question of this length may be, in bytes.
///
/// With the 28 bytes of IPv4 and UDP headers on both sides it is three times what came in, the limit that RFC 9000
/// section 8.1 sets towards an address that nobody has proved.
pub const fn answer_limit(question: usize) -> usize {
    let limit = question.saturating_mul(3).saturating_add(56);
    if limit < MAX_ANSWER {
        limit
    } else {
        MAX_ANSWER
    }
}

/// What becomes of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The text of the format.
    Answered {
        /// Bytes of the answer.
        length: usize,
    },
    /// An error answer.
    Refused {
        /// Bytes of the answer.
        length: usize,
        /// What it says.
        reason: Refusal,
    },
    /// Silence.
    Ignored(Silence),
}

impl Verdict {
    /// How many bytes of the room are the answer: 0 for silence, and for a text that is empty.
    pub fn length(&self) -> usize {
        match *self {
            Verdict::Answered { length } | Verdict::Refused { length, .. } => length,
            Verdict::Ignored(_) => 0,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Answered { .. } => f.write_str("answered"),
            Verdict::Refused { reason, .. } => write!(f, "refused, {reason}"),
            Verdict::Ignored(silence) => write!(f, "ignored, {silence}"),
        }
    }
}

/// Why a question gets an error answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Longer than [`MAX_QUESTION`].
    QuestionTooLong,
    /// Not a format.
    Format(FormatError),
    /// The text would be longer than [`answer_limit`].
    AnswerTooLong,
    /// The clock must not be believed ([`Moment::is_doubtful`]).
    NotSynchronised,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::QuestionTooLong => write!(f, "question longer than {MAX_QUESTION} bytes"),
            Refusal::Format(error) => error.fmt(f),
            Refusal::AnswerTooLong => f.write_str("answer too long"),
            Refusal::NotSynchronised => f.write_str("clock not synchronised"),
        }
    }
}

/// Why a datagram gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// From a port below [`FIRST_ANSWERED_PORT`].
    LowPort,
    /// From no address at all (`::` or `0.0.0.0`).
    NoAddress,
    /// No `%` in it.
    NoConversion,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Silence::LowPort => write!(f, "source port below {FIRST_ANSWERED_PORT}"),
            Silence::NoAddress => f.write_str("no source address"),
            Silence::NoConversion => f.write_str("no conversion in it"),
        }
    }
}

/// The answer to a question from a peer at a moment, written to the front of `room`.
///
/// ```
/// use wallclock::answer::{MAX_ANSWER, Verdict, answer};
/// use wallclock::clock::Moment;
///
/// let moment = Moment::new(1_783_213_507, 0, 0, "UTC");
/// let mut room = [0; MAX_ANSWER];
/// let peer = "192.0.2.7:40000".parse().unwrap();
///
/// let verdict = answer(b"%F %T %Z", peer, &moment, &mut room);
/// assert!(matches!(verdict, Verdict::Answered { .. }));
/// assert_eq!(&room[..verdict.length()], b"2026-07-05 01:05:07 UTC");
///
/// let verdict = answer(b"%Y/%m/%d %Q", peer, &moment, &mut room);
/// assert_eq!(&room[..verdict.length()], b"error: byte 9: unknown conversion Q");
/// ```
pub fn answer(
    question: &[u8],
    peer: SocketAddr,
    moment: &Moment,
    room: &mut [u8; MAX_ANSWER],
) -> Verdict {
    match silence_towards(peer) {
        Some(silence) => Verdict::Ignored(silence),
        None => reply(question, moment, room),
    }
}

/// Rule 1, the only one that looks at the peer.
pub fn silence_towards(peer: SocketAddr) -> Option<Silence> {
    if peer.port() < FIRST_ANSWERED_PORT {
        Some(Silence::LowPort)
    } else if peer.ip().to_canonical().is_unspecified() {
        // Nobody is there. The kernel would take it for this very machine, and a stranger's words to its own services.
        Some(Silence::NoAddress)
    } else {
        None
    }
}

/// Rules 2 to 6: the answer to whoever asked. Of a question longer than [`MAX_QUESTION`] any bytes beyond one more may be
/// missing: they change nothing.
pub fn reply(question: &[u8], moment: &Moment, room: &mut [u8; MAX_ANSWER]) -> Verdict {
    let limit = answer_limit(question.len());
    let too_long = question.len() > MAX_QUESTION;
    let format = if is_blank(question) && !too_long {
        DEFAULT_FORMAT.as_bytes()
    } else if !question.iter().take(MAX_QUESTION).any(|&byte| byte == b'%') {
        return Verdict::Ignored(Silence::NoConversion);
    } else if too_long {
        return refuse(Refusal::QuestionTooLong, room);
    } else {
        question
    };
    match render(format, moment, &mut room[..limit]) {
        Ok(_) if moment.is_doubtful() => refuse(Refusal::NotSynchronised, room),
        Ok(length) => Verdict::Answered { length },
        Err(RenderError::Format(error)) => refuse(Refusal::Format(error), room),
        Err(RenderError::TooLong(_)) => refuse(Refusal::AnswerTooLong, room),
    }
}

/// Rule 2's white space: what isspace(3) takes for it in the C locale.
pub fn is_blank(question: &[u8]) -> bool {
    question
        .iter()
        .all(|byte| matches!(byte, b' ' | b'\t'..=b'\r'))
}

/// What every error answer starts with.
pub const ERROR_PREFIX: &str = "error: ";

fn refuse(reason: Refusal, room: &mut [u8; MAX_ANSWER]) -> Verdict {
    let mut line = Line { room, length: 0 };
    // The longest error answer has 47 bytes; rule 6 allows 56 even where the question is empty.
    let _ = write!(line, "{ERROR_PREFIX}{reason}");
    Verdict::Refused {
        length: line.length,
        reason,
    }
}

/// Formatted text into a fixed room; what does not fit is left off.
struct Line<'b> {
    room: &'b mut [u8],
    length: usize,
}

impl fmt::Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.room
            .get_mut(self.length..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

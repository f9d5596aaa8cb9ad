//! One question to one server: a random literal ahead of it, tries, and a deadline.
//!
//! The literal (the *nonce*) comes back at the head of the answer by the nature of strftime, from any server that speaks it. What does not
//! start with the nonce of this very try is an answer to somebody or something else, and is not heard.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::answer::{ERROR_PREFIX, MAX_QUESTION, Refusal};
use crate::strftime::Format;

/// Bytes that a nonce takes at the head of a question.
pub const NONCE: usize = 17;

/// The longest format that can be asked for, in bytes.
pub const MAX_FORMAT: usize = MAX_QUESTION - NONCE;

/// Room for any answer: another server's may be longer than ours.
const ANSWER_ROOM: usize = 65_536;

/// Why one try brought no time.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    /// The server's error answer.
    #[error("{0}")]
    Refused(String),
    /// An answer with a `%` in it that was not asked for: the server passes on what it does not know.
    #[error("it does not know this format and answered {0:?}")]
    Foreign(String),
    /// Nothing that belongs to this try came in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Silent(Duration),
    /// The kernel would not send, or brought word that nobody is there.
    #[error(transparent)]
    Socket(#[from] io::Error),
}

impl TryError {
    /// Whether the server would tell the time, had it a clock that somebody keeps.
    fn is_not_synchronised(&self) -> bool {
        matches!(self, TryError::Refused(reason) if *reason == Refusal::NotSynchronised.to_string())
    }
}

/// A socket connected to one server: the kernel keeps strangers' datagrams out and tells when the port is closed.
#[derive(Debug)]
pub struct Line {
    socket: UdpSocket,
    server: SocketAddr,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The text of the format; whatever bytes the server sent.
    pub text: Vec<u8>,
    /// When the question went out, at the earliest.
    pub asked: Instant,
    /// When the answer was in, at the latest.
    pub heard: Instant,
}

impl Line {
    /// Connects to a server. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// Those of socket(2) and connect(2): no such family, no route.
    pub fn open(server: SocketAddr) -> io::Result<Line> {
        let any = match server {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(server)?;
        Ok(Line { socket, server })
    }

    /// The server's address.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Asks once and waits for the answer to this very question.
    ///
    /// # Errors
    ///
    /// Each way to go without; only [`TryError::Silent`] and a broken line leave hope for another try.
    pub fn ask(&self, format: &Format<'_>, patience: Duration) -> Result<Heard, TryError> {
        let nonce = nonce();
        let question = [&nonce[..], format.bytes()].concat();
        let mut room = vec![0; ANSWER_ROOM];
        let asked = Instant::now();
        self.socket.send(&question)?;
        loop {
            let left = patience.saturating_sub(asked.elapsed());
            if left.is_zero() {
                return Err(TryError::Silent(patience));
            }
            self.socket.set_read_timeout(Some(left))?;
            let length = match self.socket.recv(&mut room) {
                Ok(length) => length,
                // The kernel's clock for time-outs is coarser than ours: the loop's head decides.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) =>
                {
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let heard = Instant::now();
            let answer = &room[..length];
            if let Some(text) = read_answer(answer, &nonce, format) {
                return text.map(|text| Heard {
                    text: text.to_owned(),
                    asked,
                    heard,
                });
            }
        }
    }
}

/// What a server's datagram is to the try that led with this nonce: the text of the format, or a refusal; `None` where it belongs to
/// somebody or something else.
pub fn read_answer<'a>(
    answer: &'a [u8],
    nonce: &[u8; NONCE],
    format: &Format<'_>,
) -> Option<Result<&'a [u8], TryError>> {
    if let Some(text) = answer.strip_prefix(nonce) {
        return Some(
            if text.iter().filter(|&&byte| byte == b'%').count() > format.percents() {
                Err(TryError::Foreign(printable(text)))
            } else {
                Ok(text)
            },
        );
    }
    // An error answer holds nothing of the question, not even the nonce. A late one of an earlier try says the same as this try's would.
    let reason = answer.strip_prefix(ERROR_PREFIX.as_bytes())?;
    Some(Err(TryError::Refused(printable(reason))))
}

/// A server's bytes as they may go to a terminal.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// 64 random bits in hexadecimal and a bar. The standard library keys its hash maps from the kernel's random numbers; its keyed hash
/// (SipHash, a pseudo-random function) of anything is as hard to guess as they are.
fn nonce() -> [u8; NONCE] {
    let mut nonce = [b'|'; NONCE];
    let bits = RandomState::new().hash_one(Instant::now());
    for (index, digit) in nonce[..NONCE - 1].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(bits >> (4 * index) & 15) as usize];
    }
    nonce
}

/// How often and how long to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For one try.
    pub per_try: Duration,
    /// Tries in all at each address, at least 1.
    pub tries: u32,
}

/// Why nobody gave the time: what each address had to say last.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(|(server, error)| format!("{server}: {error}")).collect::<Vec<_>>().join("; "))]
pub struct NoAnswer(pub Vec<(SocketAddr, TryError)>);

/// What asking a list of servers came to.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// A server is there and refuses this format.
    #[error("{server}: {reason}")]
    Refused {
        /// The server.
        server: SocketAddr,
        /// Its word.
        reason: TryError,
    },
    /// No server answered.
    #[error("no answer: {0}")]
    NoAnswer(NoAnswer),
}

/// Asks the servers in their order, round by round: one try at each, then the next round, until one answers. A server
/// that can't be reached, or has no synchronised clock, is asked no more; a silent one costs `per_try` a round, so all in all at most
/// servers x tries x `per_try`.
///
/// # Errors
///
/// The first refusal, or what became of every server.
pub fn ask(
    servers: &[SocketAddr],
    format: &Format<'_>,
    patience: Patience,
) -> Result<Heard, AskError> {
    let mut lines = Vec::new();
    let mut failed = Vec::new();
    let mut unsynchronised = None;
    for &server in servers {
        match Line::open(server) {
            Ok(line) => lines.push((line, None)),
            Err(error) => failed.push((server, error.into())),
        }
    }
    for _ in 0..patience.tries {
        let mut next = 0;
        while next < lines.len() {
            let (line, last) = &mut lines[next];
            let server = line.server();
            match line.ask(format, patience.per_try) {
                Ok(heard) => return Ok(heard),
                // This one says nothing about the question: another server may well have a clock that somebody keeps.
                Err(reason) if reason.is_not_synchronised() => {
                    unsynchronised.get_or_insert(AskError::Refused { server, reason });
                    lines.remove(next);
                }
                Err(reason @ (TryError::Refused(_) | TryError::Foreign(_))) => {
                    return Err(AskError::Refused { server, reason });
                }
                Err(silent @ TryError::Silent(_)) => {
                    *last = Some(silent);
                    next += 1;
                }
                Err(error @ TryError::Socket(_)) => {
                    failed.push((server, error));
                    lines.remove(next);
                }
            }
        }
    }
    failed.extend(
        lines
            .into_iter()
            .filter_map(|(line, last)| Some((line.server(), last?))),
    );
    Err(unsynchronised.unwrap_or(AskError::NoAnswer(NoAnswer(failed))))
}

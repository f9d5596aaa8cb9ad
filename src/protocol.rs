//! The wire contract: which response each request gets, rules 1 to 6 and L.
//!
//! A *request* is the payload of one datagram, a *response* the payload sent back to where it came
//! from. The rules, in this order:
//!
//! 1. Ignored: a source port below 1024 (echo, chargen, daytime, time and NTP live there); the
//!    unspecified source address (`::`, `0.0.0.0`), because the kernel routes a response to it to the
//!    local host.
//! 2. Empty, or nothing but ASCII white space: the time in [`DEFAULT_FORMAT`].
//! 3. No `%` in it: ignored. Rules 2 and 3 look at the first [`MAX_REQUEST_LEN`] bytes; a longer
//!    request is never blank.
//! 4. Longer than [`MAX_REQUEST_LEN`], not UTF-8, a NUL in it, or a directive that is unknown or cut
//!    off: an *error response*, `error: ` and the reason ([`ErrorReason`]), which holds no `%`.
//! 5. Otherwise the formatted time. (Or, where the clock is [not trusted](LocalTime::is_trusted),
//!    `error: clock not synchronised`.)
//! 6. A response is at most [`max_response_len`] bytes; what would be longer gets an error response.
//!
//! # Rule L: no loop can live
//!
//! Let k be the number of `%` in a datagram. Every directive of a request takes at least one `%`, and
//! only `%%`, which takes two, gives one back: no name, number or abbreviation holds a `%`, and
//! literal text holds none by definition. So **k(response) <= k(request) / 2**, and
//! k(error response) = 0. A datagram with k = 0 is ignored, unless it is blank; then it gets one
//! default response, whose k is 0 and which is not blank. So a datagram forged between two daemons,
//! or between a daemon and anything that echoes, ends after at most log2(k) + 2 responses. This needs
//! no clock, no table and no port.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use crate::strftime::{self, FormatError, RenderError};
use crate::time::LocalTime;

/// The format of a blank request.
pub const DEFAULT_FORMAT: &str = "%Y-%m-%d %X";

/// The longest request, in bytes.
pub const MAX_REQUEST_LEN: usize = 1024;

/// The longest response, in bytes: one datagram within IPv6's smallest MTU, 1280 (RFC 8200), less 48
/// bytes of headers.
pub const MAX_RESPONSE_LEN: usize = 1232;

/// The lowest source port that gets a response.
pub const MIN_SOURCE_PORT: u16 = 1024;

/// What every error response starts with.
pub const ERROR_PREFIX: &str = "error: ";

/// Rule 6: the longest response, in bytes, to a request of this length.
///
/// With the 28 bytes of IPv4 and UDP headers on both sides this is three times what came in, the limit
/// of RFC 9000 section 8.1 towards an address that is not validated.
pub const fn max_response_len(request_len: usize) -> usize {
    let limit = request_len.saturating_mul(3).saturating_add(56);
    if limit < MAX_RESPONSE_LEN {
        limit
    } else {
        MAX_RESPONSE_LEN
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// The formatted time.
    Answered {
        /// Bytes of the response.
        length: usize,
    },
    /// An error response.
    Refused {
        /// Bytes of the response.
        length: usize,
        /// What it says.
        reason: ErrorReason,
    },
    /// None.
    Ignored(IgnoreReason),
}

impl Response {
    /// How many bytes of the buffer are the response: 0 for an ignored request, and for a text that is
    /// empty.
    pub fn length(&self) -> usize {
        match *self {
            Response::Answered { length } | Response::Refused { length, .. } => length,
            Response::Ignored(_) => 0,
        }
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Response::Answered { .. } => f.write_str("answered"),
            Response::Refused { reason, .. } => write!(f, "refused, {reason}"),
            Response::Ignored(reason) => write!(f, "ignored, {reason}"),
        }
    }
}

/// Why a request gets an error response. Displayed, it is the text of that response: programs parse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorReason {
    /// Longer than [`MAX_REQUEST_LEN`].
    RequestTooLong,
    /// Not a format.
    Format(FormatError),
    /// The text would be longer than [`max_response_len`].
    ResponseTooLong,
    /// The clock is [not trusted](LocalTime::is_trusted).
    NotSynchronised,
}

impl fmt::Display for ErrorReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ErrorReason::RequestTooLong => {
                write!(f, "question longer than {MAX_REQUEST_LEN} bytes")
            }
            ErrorReason::Format(error) => error.fmt(f),
            ErrorReason::ResponseTooLong => f.write_str("answer too long"),
            ErrorReason::NotSynchronised => f.write_str("clock not synchronised"),
        }
    }
}

/// Why a datagram gets no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoreReason {
    /// From a port below [`MIN_SOURCE_PORT`].
    LowPort,
    /// From the unspecified address (`::` or `0.0.0.0`).
    UnspecifiedSource,
    /// No `%` in it.
    NoPercent,
}

impl fmt::Display for IgnoreReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IgnoreReason::LowPort => write!(f, "source port below {MIN_SOURCE_PORT}"),
            IgnoreReason::UnspecifiedSource => f.write_str("unspecified source address"),
            IgnoreReason::NoPercent => f.write_str("no % in it"),
        }
    }
}

/// Writes the response to a request to the front of `buf`.
///
/// Of a request longer than [`MAX_REQUEST_LEN`] all bytes but the first `MAX_REQUEST_LEN + 1` may be
/// missing: they change nothing.
///
/// ```
/// use wallclock::protocol::{MAX_RESPONSE_LEN, Response, respond};
/// use wallclock::time::LocalTime;
///
/// let now = LocalTime::new(1_783_213_507, 0, 0, "UTC");
/// let source = "192.0.2.7:40000".parse().unwrap();
/// let mut buf = [0; MAX_RESPONSE_LEN];
///
/// let response = respond(b"%F %T %Z", source, &now, &mut buf);
/// assert!(matches!(response, Response::Answered { .. }));
/// assert_eq!(&buf[..response.length()], b"2026-07-05 01:05:07 UTC");
///
/// let response = respond(b"%Y/%m/%d %Q", source, &now, &mut buf);
/// assert_eq!(&buf[..response.length()], b"error: byte 9: unknown conversion Q");
/// ```
pub fn respond(
    request: &[u8],
    source: SocketAddr,
    now: &LocalTime,
    buf: &mut [u8; MAX_RESPONSE_LEN],
) -> Response {
    // Rule 1.
    if let Some(reason) = ignored_source(source) {
        return Response::Ignored(reason);
    }
    let head = &request[..request.len().min(MAX_REQUEST_LEN)];
    let too_long = request.len() > MAX_REQUEST_LEN;
    let format = if is_blank(head) && !too_long {
        // Rule 2.
        DEFAULT_FORMAT.as_bytes()
    } else if !head.contains(&b'%') {
        // Rule 3.
        return Response::Ignored(IgnoreReason::NoPercent);
    } else if too_long {
        // Rule 4, the length.
        return refuse(ErrorReason::RequestTooLong, buf);
    } else {
        request
    };
    // Rule 6: there is no space for more.
    let limit = max_response_len(request.len());
    match strftime::render(format, now, &mut buf[..limit]) {
        // Rule 5.
        Ok(_) if !now.is_trusted() => refuse(ErrorReason::NotSynchronised, buf),
        Ok(length) => Response::Answered { length },
        // Rule 4, the format.
        Err(RenderError::Format(error)) => refuse(ErrorReason::Format(error), buf),
        // Rule 6.
        Err(RenderError::TooSmall(_)) => refuse(ErrorReason::ResponseTooLong, buf),
    }
}

/// Rule 1: why requests from this address are ignored, if they are.
pub fn ignored_source(source: SocketAddr) -> Option<IgnoreReason> {
    if source.port() < MIN_SOURCE_PORT {
        Some(IgnoreReason::LowPort)
    } else if source.ip().to_canonical().is_unspecified() {
        // The kernel routes packets for the unspecified address to the local host: a response to a
        // spoofed `::` would reach a local service.
        Some(IgnoreReason::UnspecifiedSource)
    } else {
        None
    }
}

/// Rule 2's white space: what isspace(3) accepts in the C locale.
pub fn is_blank(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|byte| matches!(byte, b' ' | b'\t'..=b'\r'))
}

/// Writes an error response.
fn refuse(reason: ErrorReason, buf: &mut [u8; MAX_RESPONSE_LEN]) -> Response {
    let mut writer = SliceWriter { buf, length: 0 };
    // Can't fail: the longest error response has 47 bytes, and rule 6 allows 56 to an empty request.
    let _ = write!(writer, "{ERROR_PREFIX}{reason}");
    Response::Refused {
        length: writer.length,
        reason,
    }
}

/// Writes formatted text to a slice; fails where it does not fit.
struct SliceWriter<'b> {
    buf: &'b mut [u8],
    length: usize,
}

impl fmt::Write for SliceWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.buf
            .get_mut(self.length..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

//! The wire contract: which response each request gets, rules 1 to 6 and L.
//!
//! A *request* is the payload of one datagram, a *response* the payload sent back to its source.
//! The rules, in this order:
//!
//! 1. Ignored, without a response: a source port below 1024 (the ports of echo, chargen, daytime,
//!    time and NTP); a source that is not a unicast address (the kernel routes a response to `::`
//!    or `0.0.0.0` to the local host); a destination that is not a unicast address of this host
//!    (several sockets and hosts receive a broadcast or multicast request, and their responses
//!    together would exceed the limit of rule 6); a source outside the allowed networks, where
//!    there are any.
//! 2. Empty, or nothing but ASCII white space: the time in [`DEFAULT_FORMAT`].
//! 3. No `%` in it: ignored. Rules 2 and 3 read the first [`MAX_REQUEST_LEN`] bytes only; a longer
//!    request is never blank.
//! 4. Longer than [`MAX_REQUEST_LEN`], not UTF-8, a NUL in it, or a directive that is unknown or
//!    cut off: an *error response*, `error: ` and the reason ([`ErrorReason`]), which holds no `%`.
//! 5. Otherwise the formatted time; if the clock is [not trusted](LocalTime::is_trusted),
//!    `error: clock not synchronised`.
//! 6. A response is at most [`max_response_len`] bytes; instead of a longer one the source gets an
//!    error response.
//!
//! # Rule L: every loop ends
//!
//! Let k be the number of `%` in a datagram. Each directive of a request takes at least one `%`.
//! Only `%%`, which takes two, writes one: no name, number or abbreviation holds a `%`, and literal
//! text holds none by definition. So **k(response) <= k(request) / 2**, and k(error response) = 0.
//! A datagram with k = 0 is ignored, unless it is blank; then it gets one default response, whose k
//! is 0 and which is not blank. So if a forged datagram makes two daemons, or a daemon and an echo
//! service, respond to each other, they stop after at most log2(k) + 2 responses. This needs no
//! clock, no table and no port number.

use std::fmt;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::strftime::{self, FormatError, RenderError};
use crate::time::LocalTime;

/// The format of a blank request.
pub const DEFAULT_FORMAT: &str = "%Y-%m-%d %X";

/// The longest request, in bytes.
pub const MAX_REQUEST_LEN: usize = 1024;

/// The longest response, in bytes: one datagram within IPv6's smallest MTU, 1280 (RFC 8200), less
/// 48 bytes of headers.
pub const MAX_RESPONSE_LEN: usize = 1232;

/// The lowest source port that gets a response.
pub const MIN_SOURCE_PORT: u16 = 1024;

/// The allowed networks of a server that answers every source: the empty list.
pub const ALLOW_ALL: &[IpNet] = &[];

/// What every error response starts with.
pub const ERROR_PREFIX: &str = "error: ";

/// Rule 6: the longest response, in bytes, to a request of this length.
///
/// With the 28 bytes of IPv4 and UDP headers on both sides this is three times what was received,
/// the limit of RFC 9000 section 8.1 for an address that is not validated.
pub fn max_response_len(request_len: usize) -> usize {
    request_len
        .saturating_mul(3)
        .saturating_add(56)
        .min(MAX_RESPONSE_LEN)
}

/// The response to a request.
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
        /// The reason that it states.
        reason: ErrorReason,
    },
    /// No response.
    Ignored(IgnoreReason),
}

impl Response {
    /// The number of bytes of the buffer that are the response: 0 for an ignored request, and for
    /// an empty text.
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

/// Why a request gets an error response. `Display` writes the text of that response after
/// [`ERROR_PREFIX`]; programs parse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorReason {
    /// Longer than [`MAX_REQUEST_LEN`].
    RequestTooLong,
    /// Not a format: not UTF-8, a NUL, or a directive that is unknown or cut off.
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

/// Why a request gets no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoreReason {
    /// From a port below [`MIN_SOURCE_PORT`].
    LowPort,
    /// From an address that is not unicast.
    SourceNotUnicast,
    /// To an address that is not unicast, or not known to be.
    DestinationNotUnicast,
    /// From an address that is in none of the allowed networks.
    SourceNotAllowed,
    /// No `%` in it.
    NoPercent,
}

impl fmt::Display for IgnoreReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IgnoreReason::LowPort => write!(f, "source port below {MIN_SOURCE_PORT}"),
            IgnoreReason::SourceNotUnicast => f.write_str("source address not unicast"),
            IgnoreReason::DestinationNotUnicast => f.write_str("destination address not unicast"),
            IgnoreReason::SourceNotAllowed => f.write_str("source address not allowed"),
            IgnoreReason::NoPercent => f.write_str("no % in it"),
        }
    }
}

/// The addresses that a request was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The destination address of the datagram.
    pub address: IpAddr,
    /// The address of this host that received it: for a broadcast, and for an IPv4 multicast,
    /// another one than `address`.
    pub local: IpAddr,
}

impl From<IpAddr> for Destination {
    /// A request to an address of this host.
    fn from(address: IpAddr) -> Destination {
        Destination {
            address,
            local: address,
        }
    }
}

/// Writes the response to a request to the front of `buf`. A `destination` of `None` is unknown;
/// `allow` holds the allowed networks.
///
/// Of a request longer than [`MAX_REQUEST_LEN`] the caller may pass the first `MAX_REQUEST_LEN + 1`
/// bytes only: the rest changes nothing.
///
/// ```
/// use std::net::IpAddr;
/// use wallclock::protocol::{ALLOW_ALL, Destination, MAX_RESPONSE_LEN, Response, respond};
/// use wallclock::time::LocalTime;
///
/// let now = LocalTime::new(1_783_213_507, 0, 0, "UTC");
/// let source = "192.0.2.7:40000".parse().unwrap();
/// let to = Some(Destination::from(IpAddr::from([192, 0, 2, 1])));
/// let mut buf = [0; MAX_RESPONSE_LEN];
///
/// let response = respond(b"%F %T %Z", source, to, ALLOW_ALL, &now, &mut buf);
/// assert!(matches!(response, Response::Answered { .. }));
/// assert_eq!(&buf[..response.length()], b"2026-07-05 01:05:07 UTC");
///
/// let response = respond(b"%Y/%m/%d %Q", source, to, ALLOW_ALL, &now, &mut buf);
/// assert_eq!(&buf[..response.length()], b"error: byte 9: unknown conversion Q");
/// ```
pub fn respond(
    request: &[u8],
    source: SocketAddr,
    destination: Option<Destination>,
    allow: &[IpNet],
    now: &LocalTime,
    buf: &mut [u8; MAX_RESPONSE_LEN],
) -> Response {
    // Rule 1.
    if let Some(reason) = ignored_addresses(source, destination, allow) {
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
    // Rule 6: the buffer ends where the longest response ends.
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

/// Rule 1: returns why a request from this source to this destination is ignored, or `None` if it
/// is not.
pub fn ignored_addresses(
    source: SocketAddr,
    destination: Option<Destination>,
    allow: &[IpNet],
) -> Option<IgnoreReason> {
    // `::ffff:10.1.2.3` is in 10.0.0.0/8.
    let ip = source.ip().to_canonical();
    if source.port() < MIN_SOURCE_PORT {
        Some(IgnoreReason::LowPort)
    } else if !is_unicast(ip) {
        Some(IgnoreReason::SourceNotUnicast)
    } else if !destination.is_some_and(|to| to.address == to.local && is_unicast(to.address)) {
        Some(IgnoreReason::DestinationNotUnicast)
    } else if !allow.is_empty() && !allow.iter().any(|network| network.contains(&ip)) {
        Some(IgnoreReason::SourceNotAllowed)
    } else {
        None
    }
}

/// Returns whether this is a unicast address. That of a subnet's broadcasts looks like one.
fn is_unicast(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    }
}

/// Rule 2: returns whether all bytes are white space, as isspace(3) defines it in the C locale.
pub fn is_blank(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|byte| matches!(byte, b' ' | b'\t'..=b'\r'))
}

/// Writes an error response.
fn refuse(reason: ErrorReason, buf: &mut [u8; MAX_RESPONSE_LEN]) -> Response {
    let mut rest = &mut buf[..];
    // Cannot fail: the longest error response has 47 bytes. Rule 6 allows 56 for an empty request.
    let _ = write!(rest, "{ERROR_PREFIX}{reason}");
    Response::Refused {
        length: MAX_RESPONSE_LEN - rest.len(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(ip: &str) -> Option<Destination> {
        let ip: IpAddr = ip.parse().expect("an address");
        Some(ip.into())
    }

    fn response_from(source: &str, request: &[u8]) -> (Response, String) {
        let now = LocalTime::new(1_783_213_507, 0, 28_800, "CST");
        let mut buf = [0; MAX_RESPONSE_LEN];
        let source = source.parse().expect("an address");
        let response = respond(request, source, to("192.0.2.1"), ALLOW_ALL, &now, &mut buf);
        let text = String::from_utf8_lossy(&buf[..response.length()]);
        (response, text.into_owned())
    }

    fn response(request: &[u8]) -> (Response, String) {
        response_from("192.0.2.7:40000", request)
    }

    fn rule_1(source: &str, to: Option<Destination>, allow: &[&str]) -> Option<IgnoreReason> {
        let allow: Vec<IpNet> = allow
            .iter()
            .map(|n| n.parse().expect("a network"))
            .collect();
        ignored_addresses(source.parse().expect("an address"), to, &allow)
    }

    #[test]
    fn rule_1_sources_are_ignored() {
        for (source, expected) in [
            ("192.0.2.7:0", Some(IgnoreReason::LowPort)),
            ("192.0.2.7:1023", Some(IgnoreReason::LowPort)),
            ("192.0.2.7:1024", None),
            ("[::1]:9527", None),
            ("0.0.0.0:9527", Some(IgnoreReason::SourceNotUnicast)),
            ("[::]:9527", Some(IgnoreReason::SourceNotUnicast)),
            (
                "[::ffff:0.0.0.0]:9527",
                Some(IgnoreReason::SourceNotUnicast),
            ),
            ("255.255.255.255:9527", Some(IgnoreReason::SourceNotUnicast)),
            ("224.0.0.1:9527", Some(IgnoreReason::SourceNotUnicast)),
            (
                "[::ffff:239.255.255.255]:9527",
                Some(IgnoreReason::SourceNotUnicast),
            ),
            ("[ff02::1]:9527", Some(IgnoreReason::SourceNotUnicast)),
        ] {
            assert_eq!(rule_1(source, to("192.0.2.1"), &[]), expected, "{source}");
        }
        // `respond` applies the rule, before all others.
        let (response, text) = response_from("192.0.2.7:7", b"%Q");
        assert_eq!(response, Response::Ignored(IgnoreReason::LowPort));
        assert_eq!(text, "");
    }

    #[test]
    fn rule_1_destination_has_to_be_unicast() {
        for ip in [
            "192.0.2.1",
            "127.0.0.1",
            "::1",
            "fe80::1",
            "::ffff:192.0.2.1",
        ] {
            assert_eq!(rule_1("192.0.2.7:40000", to(ip), &[]), None, "{ip}");
        }
        let ignored = Some(IgnoreReason::DestinationNotUnicast);
        for ip in [
            "224.0.0.1",
            "::ffff:224.0.0.1",
            "ff02::1",
            "ff0e::1",
            "255.255.255.255",
            "::",
        ] {
            assert_eq!(rule_1("192.0.2.7:40000", to(ip), &[]), ignored, "{ip}");
        }
        // A broadcast of the subnet.
        let broadcast = Destination {
            address: [10, 9, 0, 255].into(),
            local: [10, 9, 0, 1].into(),
        };
        assert_eq!(rule_1("192.0.2.7:40000", Some(broadcast), &[]), ignored);
        assert_eq!(rule_1("192.0.2.7:40000", None, &[]), ignored);
    }

    #[test]
    fn rule_1_source_has_to_be_in_an_allowed_network() {
        let ignored = Some(IgnoreReason::SourceNotAllowed);
        for (source, allow, expected) in [
            ("10.1.2.3:40000", &["10.0.0.0/8"][..], None),
            ("[::ffff:10.1.2.3]:40000", &["10.0.0.0/8"], None),
            ("11.0.0.0:40000", &["10.0.0.0/8"], ignored),
            ("9.255.255.255:40000", &["10.0.0.0/8"], ignored),
            ("[::ffff:11.0.0.0]:40000", &["10.0.0.0/8", "::/0"], ignored),
            ("[fd00:7::1]:40000", &["10.0.0.0/8", "fd00:7::/64"], None),
            (
                "[fd00:7:0:1::]:40000",
                &["10.0.0.0/8", "fd00:7::/64"],
                ignored,
            ),
            ("192.0.2.7:40000", &["192.0.2.7/32"], None),
            ("192.0.2.8:40000", &["192.0.2.7/32"], ignored),
            ("192.0.2.8:40000", &["0.0.0.0/0"], None),
            // A network of one family holds no address of the other one.
            ("[2001:db8::1]:40000", &["0.0.0.0/0"], ignored),
        ] {
            assert_eq!(
                rule_1(source, to("192.0.2.1"), allow),
                expected,
                "{source} {allow:?}"
            );
        }
    }

    #[test]
    fn rule_2_blank_requests_get_the_default() {
        for request in [&b""[..], b" \t\n\x0b\x0c\r", &[b' '; MAX_REQUEST_LEN]] {
            assert_eq!(response(request).1, "2026-07-05 09:05:07");
        }
        assert!(!is_blank(b" a") && !is_blank(b"\x08") && !is_blank(b"\x0e"));
    }

    #[test]
    fn rule_3_without_percent_is_ignored() {
        for request in [
            &b"hello"[..],
            b"\xff",
            &[b' '; MAX_REQUEST_LEN + 1],
            // Only the first 1024 bytes count.
            &[&[b'a'; MAX_REQUEST_LEN][..], b"%T"].concat(),
        ] {
            let ignored = Response::Ignored(IgnoreReason::NoPercent);
            assert_eq!(response(request), (ignored, String::new()));
        }
    }

    #[test]
    fn rule_4_errors_have_an_order() {
        let long = |length: usize| [&b"%d"[..], &vec![b'.'; length - 2]].concat();
        for (request, expected) in [
            (&long(1025)[..], "error: question longer than 1024 bytes"),
            (b"%Q\0\xff", "error: byte 3: not UTF-8"),
            (b"%Q\0", "error: byte 2: NUL"),
            (b"%999d %J", "error: byte 6: unknown conversion J"),
            (b"%999d %", "error: byte 6: conversion ends too early"),
        ] {
            assert_eq!(response(request).1, expected);
        }
        assert_eq!(response(&long(1024)).0.length(), 1024);
    }

    #[test]
    fn rule_5_an_untrusted_clock_is_refused() {
        let now = LocalTime::new(0, 0, 0, "UTC").with_untrusted();
        let source = "192.0.2.7:40000".parse().expect("an address");
        let mut buf = [0; MAX_RESPONSE_LEN];
        let mut reason = |request: &[u8]| match respond(
            request,
            source,
            to("192.0.2.1"),
            ALLOW_ALL,
            &now,
            &mut buf,
        ) {
            Response::Refused { reason, .. } => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(b"%T"), ErrorReason::NotSynchronised);
        assert_eq!(reason(b""), ErrorReason::NotSynchronised);
        // The errors of rules 4 and 6 have precedence.
        assert!(matches!(reason(b"%Q"), ErrorReason::Format(_)));
        assert_eq!(reason(b"%999d"), ErrorReason::ResponseTooLong);
    }

    #[test]
    fn rule_6_a_response_fills_its_limit() {
        for (request_len, limit) in [(0, 56), (1, 59), (391, 1229), (392, 1232), (393, 1232)] {
            assert_eq!(max_response_len(request_len), limit, "{request_len}");
        }
        assert_eq!(max_response_len(usize::MAX), 1232);
        // 3 x 6 + 56 = 74.
        assert_eq!(response(b"%0074d").1.len(), 74);
        assert_eq!(response(b"%0075d").1, "error: answer too long");
    }

    #[test]
    fn rule_l_percents_are_halved() {
        for (request, expected) in [
            (&b"%%%%%%"[..], "%%%"),
            (b"%%d %5%", "%d     %"),
            (b"%%%", "error: byte 2: conversion ends too early"),
            (b"%#%%", "error: byte 3: conversion ends too early"),
        ] {
            assert_eq!(response(request).1, expected);
        }
    }

    #[test]
    fn a_response_names_its_reason() {
        for (source, request, expected) in [
            ("192.0.2.7:40000", "%T", "answered"),
            (
                "192.0.2.7:40000",
                "%Q",
                "refused, byte 0: unknown conversion Q",
            ),
            ("192.0.2.7:40000", "%99d", "refused, answer too long"),
            ("192.0.2.7:40000", "quiet", "ignored, no % in it"),
            ("192.0.2.7:7", "%T", "ignored, source port below 1024"),
            ("[::]:40000", "%T", "ignored, source address not unicast"),
        ] {
            let (response, _) = response_from(source, request.as_bytes());
            assert_eq!(response.to_string(), expected);
        }
        let reasons = [
            IgnoreReason::DestinationNotUnicast,
            IgnoreReason::SourceNotAllowed,
        ];
        assert_eq!(
            reasons.map(|reason| Response::Ignored(reason).to_string()),
            [
                "ignored, destination address not unicast",
                "ignored, source address not allowed",
            ]
        );
        let untrusted = ErrorReason::NotSynchronised.to_string();
        assert_eq!(untrusted, "clock not synchronised");
    }
}

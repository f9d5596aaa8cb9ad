//! Rules 1 to 6 and L over arbitrary bytes, while the clock changes between requests.
//!
//! Input: eight steps of a byte each, then requests, separated by two bytes that are not UTF-8. A
//! step selects a request, what happens to the clock before it, and how the request is lengthened.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use wallclock::protocol::{
    ALLOW_ALL, DEFAULT_FORMAT, Destination, ErrorReason, IgnoreReason, MAX_RESPONSE_LEN, Response,
    max_response_len, respond,
};
use wallclock::strftime::{Format, FormatError};
use wallclock::time::LocalTime;

const STEPS: usize = 8;
const SEPARATOR: &[u8] = b"\xfe\xfe";

fn percents(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'%').count()
}

/// The response that the manual demands, written without the code of the library; `None` if the
/// request is ignored.
fn expected_response(request: &[u8], port: u16, now: &LocalTime) -> Option<Vec<u8>> {
    // Rule 1.
    if port < 1024 {
        return None;
    }
    // Rule 2.
    let is_space = |byte: &u8| [b' ', b'\t', b'\n', 0x0b, 0x0c, b'\r'].contains(byte);
    let is_blank = request.len() <= 1024 && request.iter().all(is_space);
    let format = if is_blank {
        DEFAULT_FORMAT.as_bytes()
    } else {
        request
    };
    // Rule 3.
    if percents(&format[..format.len().min(1024)]) == 0 {
        return None;
    }
    // Rule 4.
    let error = |reason: String| Some(format!("error: {reason}").into_bytes());
    if request.len() > 1024 {
        return error("question longer than 1024 bytes".into());
    }
    if let Err(not_utf8) = std::str::from_utf8(format) {
        return error(format!("byte {}: not UTF-8", not_utf8.valid_up_to()));
    }
    if let Some(at) = format.iter().position(|&byte| byte == 0) {
        return error(format!("byte {at}: NUL"));
    }
    let format = match Format::parse(format) {
        Ok(format) => format,
        Err(FormatError::CutOff { at }) => {
            return error(format!("byte {at}: conversion ends too early"));
        }
        Err(FormatError::PlusFlag { at }) => {
            assert!(request[at..].starts_with(b"%+"));
            return error(format!("byte {at}: the flag + is not supported"));
        }
        Err(FormatError::Unknown { at, character }) => {
            assert_eq!(request[at], b'%');
            let escaped = match character {
                '%' => "\\u{25}".into(),
                '"' | '\'' | '\\' => character.to_string(),
                _ => character.escape_debug().to_string(),
            };
            return error(format!("byte {at}: unknown conversion {escaped}"));
        }
        Err(other) => panic!("{other}: checked above"),
    };
    // Rules 5 and 6. The buffer is longer than any response.
    let mut buf = [0; 2 * MAX_RESPONSE_LEN];
    let limit = (3 * request.len() + 56).min(1232);
    match format.render(now, &mut buf) {
        Ok(length) if length <= limit && !now.is_trusted() => {
            error("clock not synchronised".into())
        }
        Ok(length) if length <= limit => Some(buf[..length].to_vec()),
        _ => error("answer too long".into()),
    }
}

/// Checks the response to a request. Returns it; empty if the request is ignored.
fn check(request: &[u8], port: u16, now: &LocalTime) -> Vec<u8> {
    let source = SocketAddr::from(([192, 0, 2, 7], port));
    let mut buf = [0xa5; MAX_RESPONSE_LEN];
    let to = Some(Destination::from(IpAddr::from([192, 0, 2, 1])));
    let response = respond(request, source, to, ALLOW_ALL, now, &mut buf);
    let text = &buf[..response.length()];

    // Rules 6 and L.
    assert!(text.len() <= max_response_len(request.len()));
    assert!(text.len() <= MAX_RESPONSE_LEN && text.len() + 28 <= 3 * (request.len() + 28));
    assert!(2 * percents(text) <= percents(request), "rule L");
    assert!(std::str::from_utf8(text).is_ok());
    match response {
        Response::Answered { .. } => assert!(now.is_trusted()),
        Response::Refused { reason, .. } => {
            assert!(text.starts_with(b"error: ") && percents(text) == 0);
            assert!(!text.iter().any(u8::is_ascii_control));
            assert_eq!(text[7..], *reason.to_string().as_bytes());
            let is_not_synchronised = text.ends_with(b"clock not synchronised");
            assert_eq!(reason == ErrorReason::NotSynchronised, is_not_synchronised);
        }
        Response::Ignored(reason) => {
            assert!(text.is_empty());
            assert_eq!(reason == IgnoreReason::LowPort, port < 1024);
        }
    }
    // A response may be empty: that to `%Z` without an abbreviation.
    let sent = (!matches!(response, Response::Ignored(_))).then_some(text);
    let expected = expected_response(request, port, now);
    assert_eq!(sent, expected.as_deref(), "{}", request.escape_ascii());
    text.to_vec()
}

fuzz_target!(|data: &[u8]| {
    let Some((steps, mut rest)) = data.split_at_checked(STEPS) else {
        return;
    };
    let mut requests = Vec::new();
    while let Some(at) = rest.windows(2).position(|two| two == SEPARATOR) {
        requests.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    requests.push(rest);

    let start = 1_783_213_507;
    let (mut seconds, mut nanosecond, mut zone, mut is_trusted) = (start, 0, 0, true);
    for &step in steps {
        let request = requests[usize::from(step & 3) % requests.len()];
        let mut port = 40_000;
        match step >> 2 & 7 {
            0 => {}
            1 => seconds += 1,
            2 => seconds -= 1,
            3 => nanosecond = (nanosecond + 333_333_333) % 1_000_000_000,
            4 => zone ^= 1,
            5 => seconds += 3600 * 24 * 181,
            6 => (seconds, is_trusted) = (start, !is_trusted),
            _ => port = 1000 + u16::from(step),
        }
        let (offset, abbreviation) = [(28_800, "CST"), (-18_000, "CST")][zone];
        let mut now = LocalTime::new(seconds, nanosecond, offset, abbreviation);
        if !is_trusted {
            now = now.with_untrusted();
        }
        let request = match step >> 5 {
            0..=4 => request.to_vec(),
            5 => request.repeat(8),
            6 => request.repeat(64),
            _ => [&[b' '; 1020], request].concat(),
        };
        // Rule L: sent back as requests, the responses end.
        let limit = percents(&request).max(1).ilog2() + 2;
        let mut datagram = check(&request, port, &now);
        let mut responses = 0;
        while !datagram.is_empty() {
            responses += 1;
            assert!(responses <= limit, "more than {limit} responses");
            datagram = check(&datagram, port, &now);
        }
    }
});

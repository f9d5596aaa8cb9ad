//! The rules of the protocol, written a second time to check responses by.
//!
//! Only the formatted text itself comes from the library, whose rendering other tests compare with
//! that of glibc and chrono.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use wallclock::clock::Clock;
use wallclock::protocol::{
    ALLOW_ALL, DEFAULT_FORMAT, Destination, MAX_RESPONSE_LEN, Response, max_response_len, respond,
};
use wallclock::strftime::{Format, FormatError};
use wallclock::time::LocalTime;

use super::{QueryTimes, unix_time};

/// The number of percent signs.
pub fn count_percents(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'%').count()
}

/// Returns whether a request has nothing but ASCII white space.
pub fn is_blank(request: &[u8]) -> bool {
    request
        .iter()
        .all(|byte| [b' ', b'\t', b'\n', 0x0b, 0x0c, b'\r'].contains(byte))
}

/// Rules 2 and 3: returns whether a request must be ignored.
pub fn is_ignored(request: &[u8]) -> bool {
    // Both rules read the first 1024 bytes only, and a longer request is never blank.
    let head = &request[..request.len().min(1024)];
    count_percents(head) == 0 && (request.len() > 1024 || !is_blank(request))
}

/// The library's response at a given time to a request that rule 1 admits.
pub fn library_response(
    request: &[u8],
    now: &LocalTime,
    buf: &mut [u8; MAX_RESPONSE_LEN],
) -> Response {
    respond(
        request,
        SocketAddr::from(([192, 0, 2, 7], 40_000)),
        Some(Destination::from(IpAddr::from([192, 0, 2, 1]))),
        ALLOW_ALL,
        now,
        buf,
    )
}

/// The library's response at the start of the current second, and its bytes.
pub fn library_response_now(request: &[u8], clock: &Clock) -> (Response, Vec<u8>) {
    let mut buf = [0; MAX_RESPONSE_LEN];
    let now = clock.at(unix_time().as_secs() as i64, 0);
    let response = library_response(request, &now, &mut buf);
    (response, buf[..response.length()].to_vec())
}

/// Checks a response by rules 4 to 6 and rule L, and its text by the library's rendering of a time
/// between request and response. Fails with a description of what is wrong.
pub fn check_response(
    request: &[u8],
    response: &[u8],
    times: QueryTimes,
    clock: &Clock,
) -> Result<(), String> {
    // Rule 6.
    if response.len() > (3 * request.len() + 56).min(1232) {
        return Err(format!("{} bytes", response.len()));
    }
    // Rule L.
    if 2 * count_percents(response) > count_percents(request) {
        return Err(format!("{} percent signs", count_percents(response)));
    }
    // Rule 2.
    let blank = is_blank(request) && request.len() <= 1024;
    let format = if blank {
        DEFAULT_FORMAT.as_bytes()
    } else {
        request
    };
    match Format::parse(format) {
        Ok(format) if request.len() <= 1024 => {
            check_text(&format, request.len(), response, times, clock)
        }
        parsed => check_error_response(request, parsed.err(), response),
    }
}

/// Rule 4.
fn check_error_response(
    request: &[u8],
    error: Option<FormatError>,
    response: &[u8],
) -> Result<(), String> {
    let expected = match error {
        _ if request.len() > 1024 => "error: question longer than 1024 bytes".into(),
        Some(FormatError::NotUtf8 { at }) => format!("error: byte {at}: not UTF-8"),
        Some(FormatError::Nul { at }) => format!("error: byte {at}: NUL"),
        Some(FormatError::CutOff { at }) => format!("error: byte {at}: conversion ends too early"),
        Some(FormatError::PlusFlag { at }) if request[at..].starts_with(b"%+") => {
            format!("error: byte {at}: the flag + is not supported")
        }
        Some(error @ FormatError::Unknown { at, .. }) if request[at] == b'%' => {
            format!("error: {error}")
        }
        other => format!("{other:?}"),
    };
    let correct = response == expected.as_bytes()
        && count_percents(response) == 0
        && !response.iter().any(u8::is_ascii_control);
    if correct {
        Ok(())
    } else {
        Err(format!("not {expected:?}"))
    }
}

/// Rules 5 and 6: the text of a time between request and response, or an error response if that
/// text is too long.
fn check_text(
    format: &Format,
    request_len: usize,
    response: &[u8],
    times: QueryTimes,
    clock: &Clock,
) -> Result<(), String> {
    const TOO_LONG: &[u8] = b"error: answer too long";
    let limit = max_response_len(request_len);
    let mut buf = [0; 2 * MAX_RESPONSE_LEN];
    for second in times.seconds() {
        // No time of this second has a longer text: this fraction has nine digits and no zeros at
        // its end to leave off.
        let mut longest = || format.render(&clock.at(second, 123_456_789), &mut buf);
        if response == TOO_LONG && !longest().is_ok_and(|length| length <= limit) {
            return Ok(());
        }
        let nanoseconds = if format.sub_second() {
            possible_nanoseconds(response, second, times)
        } else {
            BTreeSet::from([0])
        };
        for nanosecond in nanoseconds {
            let text = format.render(&clock.at(second, nanosecond), &mut buf);
            if text.is_ok_and(|length| response == &buf[..length]) {
                return Ok(());
            }
        }
    }
    Err("not the text of a time between request and response".into())
}

/// The nanoseconds of this second at which a response may have been rendered. Its text contains
/// them: the first few of nine digits, possibly without the zeros at their end; or nothing, if
/// `%.f` renders a whole second.
fn possible_nanoseconds(response: &[u8], second: i64, times: QueryTimes) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut consider = |nanosecond: u32, unknown: u32| {
        let from = Duration::new(second.cast_unsigned(), nanosecond);
        let to = from + Duration::from_nanos(unknown.into());
        if from <= times.received_at && to >= times.sent_at {
            found.insert(nanosecond);
        }
    };
    consider(0, 0);
    for start in 0..response.len() {
        let (mut nanosecond, mut unit) = (0, 1_000_000_000);
        for digit in response[start..].iter().take(9) {
            if !digit.is_ascii_digit() {
                break;
            }
            unit /= 10;
            nanosecond += unit * u32::from(digit - b'0');
            consider(nanosecond, unit - 1);
        }
    }
    found
}

//! The option `--utc`: the server is asked for its clock, and the text is made here.

use chrono::DateTime;
use wallclock::error::printable;
use wallclock::offset::{SECOND, ServerTime};
use wallclock::protocol::MAX_RESPONSE_LEN;
use wallclock::strftime::Format;
use wallclock::time::LocalTime;

use crate::error::Error;

/// Returns what to ask for: nanoseconds, and whole seconds where these are unknown.
pub fn formats() -> Result<Vec<Format<'static>>, Error> {
    Ok(vec![Format::parse(b"%s.%N")?, Format::parse(b"%s")?])
}

/// Applies a format to the time in a response to one of [`formats`].
///
/// # Errors
///
/// The response is no time, or the text is longer than a response of wallclockd.
pub fn render(response: &[u8], format: &Format<'_>) -> Result<Vec<u8>, Error> {
    let time = parse(response).ok_or_else(|| Error::NoSeconds(printable(response)))?;
    let mut text = vec![0; MAX_RESPONSE_LEN];
    let length = format.render(&time, &mut text);
    text.truncate(length.map_err(|_| Error::TextTooLong)?);
    Ok(text)
}

/// Parses seconds since 1970. `None` for a time that no calendar has.
fn parse(response: &[u8]) -> Option<LocalTime> {
    let response = std::str::from_utf8(response).ok()?;
    let nanos = ServerTime::parse(response)?.time;
    let seconds = nanos.div_euclid(SECOND).try_into().ok()?;
    DateTime::from_timestamp(seconds, 0)?;
    let nanosecond = nanos.rem_euclid(SECOND) as u32;
    Some(LocalTime::new(seconds, nanosecond, 0, "UTC"))
}

//! The requests, and the checks of their responses.

use std::ffi::CString;
use std::time::{SystemTime, UNIX_EPOCH};

use wallclock::protocol::DEFAULT_FORMAT;

use crate::sys;

/// The length of the number that makes each request a new one.
pub const SERIAL_LEN: usize = 10;

/// A stream of requests, numbered from 0 over the whole run, and the check of their responses.
pub struct Workload {
    requests: Vec<Vec<u8>>,
    /// Whether each request begins with its number in `SERIAL_LEN` digits.
    numbered: bool,
    check: Check,
}

enum Check {
    /// The response is these bytes.
    Exact(Vec<u8>),
    /// An NTP response to this very request.
    Ntp,
    /// What strftime writes, for each request in turn.
    Text(Vec<Expected>),
    /// The second, a point and nine digits.
    Nanoseconds,
    /// An error response, without `%`.
    Error,
    /// For each request in turn, these bytes, but for the values of digits.
    Shape(Vec<Vec<u8>>),
}

/// The text of a format in one second.
struct Expected {
    format: CString,
    second: i64,
    text: Vec<u8>,
}

/// # Panics
/// If there is a NUL in it, which no format of the benchmark holds.
pub fn c_string(format: &[u8]) -> CString {
    CString::new(format).expect("no NUL in a format")
}

impl Expected {
    fn new(format: &[u8]) -> Self {
        // Rule 2.
        let blank = format.iter().all(u8::is_ascii_whitespace);
        Self {
            format: c_string(if blank {
                DEFAULT_FORMAT.as_bytes()
            } else {
                format
            }),
            second: i64::MIN,
            text: Vec::new(),
        }
    }

    /// Whether `text` is right in this second, the one before or the one after.
    fn matches(&mut self, now: i64, text: &[u8]) -> bool {
        if self.second == now && self.text == text {
            return true;
        }
        self.second = now;
        self.text = sys::local_text(now, &self.format);
        self.text == text
            || [now - 1, now + 1]
                .iter()
                .any(|&second| sys::local_text(second, &self.format) == text)
    }
}

impl Workload {
    fn new(requests: Vec<Vec<u8>>, check: Check) -> Self {
        Self {
            requests,
            numbered: false,
            check,
        }
    }

    /// The formats in turn. The responses must be what strftime writes.
    pub fn formats<F: AsRef<[u8]>>(formats: &[F]) -> Self {
        let formats = formats.iter().map(AsRef::as_ref);
        let expected = formats.clone().map(Expected::new).collect();
        Self::new(formats.map(<[u8]>::to_vec).collect(), Check::Text(expected))
    }

    /// One request with one fixed response.
    pub fn exact(request: &[u8], response: &[u8]) -> Self {
        Self::new(vec![request.to_vec()], Check::Exact(response.to_vec()))
    }

    /// NTP client packets.
    pub fn ntp() -> Self {
        Self::new(vec![Vec::new()], Check::Ntp)
    }

    /// `%s.%N`, whose response is different each time.
    pub fn nanoseconds() -> Self {
        Self::new(vec![b"%s.%N".to_vec()], Check::Nanoseconds)
    }

    /// The request's number, then one of `tails`. The responses must be what strftime writes.
    pub fn numbered(tails: &[Vec<u8>]) -> Self {
        Self {
            numbered: true,
            ..Self::formats(tails)
        }
    }

    /// The same for formats that strftime does not know: the responses must be the examples, but
    /// for the values of digits.
    pub fn numbered_shape(tails: &[Vec<u8>], examples: &[Vec<u8>]) -> Self {
        let shapes = examples
            .iter()
            .map(|example| example.get(SERIAL_LEN..).unwrap_or_default().to_vec());
        Self {
            numbered: true,
            ..Self::new(tails.to_vec(), Check::Shape(shapes.collect()))
        }
    }

    /// The same with error responses.
    pub fn numbered_error(tails: &[Vec<u8>]) -> Self {
        Self {
            numbered: true,
            ..Self::new(tails.to_vec(), Check::Error)
        }
    }

    /// The same with one fixed response.
    pub fn numbered_exact(tails: &[Vec<u8>], response: &[u8]) -> Self {
        Self {
            numbered: true,
            ..Self::new(tails.to_vec(), Check::Exact(response.to_vec()))
        }
    }

    /// Writes the request with this number.
    pub fn write_request(&self, serial: u64, buf: &mut Vec<u8>) {
        buf.clear();
        if matches!(self.check, Check::Ntp) {
            buf.extend_from_slice(&ntp_request(serial));
            return;
        }
        if self.numbered {
            buf.extend_from_slice(&digits(serial));
        }
        buf.extend_from_slice(&self.requests[self.index(serial)]);
    }

    /// Returns the request with the number 0.
    pub fn first(&self) -> Vec<u8> {
        let mut request = Vec::new();
        self.write_request(0, &mut request);
        request
    }

    /// Whether `response` is right for the request with this number, in the second `now`, the one
    /// before or the one after.
    pub fn accepts(&mut self, serial: u64, now: i64, response: &[u8]) -> bool {
        let index = self.index(serial);
        let repeats_serial = matches!(self.check, Check::Text(_) | Check::Shape(_));
        let text = if self.numbered && repeats_serial {
            match response.strip_prefix(&digits(serial)) {
                Some(text) => text,
                None => return false,
            }
        } else {
            response
        };
        match &mut self.check {
            Check::Exact(expected) => text == expected,
            Check::Ntp => {
                // Server mode, version 4, and the request's transmit time as origin time.
                text.len() == 48
                    && text[0] & 0x3f == 0x24
                    && text[24..32] == ntp_request(serial)[40..48]
            }
            Check::Text(expected) => expected[index].matches(now, text),
            Check::Nanoseconds => is_nanoseconds(text, now),
            Check::Error => text.starts_with(b"error: ") && !text.contains(&b'%'),
            Check::Shape(examples) => {
                let example = &examples[index];
                text.len() == example.len()
                    && text
                        .iter()
                        .zip(example)
                        .all(|(a, b)| a == b || a.is_ascii_digit() && b.is_ascii_digit())
            }
        }
    }

    fn index(&self, serial: u64) -> usize {
        match self.requests.len() {
            1 => 0,
            many => (serial % many as u64) as usize,
        }
    }
}

fn is_nanoseconds(text: &[u8], now: i64) -> bool {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let Some((second, fraction)) = text.split_once('.') else {
        return false;
    };
    let second = second.parse::<i64>();
    second.is_ok_and(|second| (second - now).abs() <= 1)
        && fraction.len() == 9
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
}

fn digits(mut serial: u64) -> [u8; SERIAL_LEN] {
    let mut digits = [b'0'; SERIAL_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (serial % 10) as u8;
        serial /= 10;
    }
    digits
}

/// Returns an NTP version 4 client packet whose transmit time is made of `serial`.
pub fn ntp_request(serial: u64) -> [u8; 48] {
    let mut packet = [0; 48];
    packet[0] = 0x23;
    packet[40..].copy_from_slice(&(serial + 1).to_be_bytes());
    packet
}

/// Returns the current second.
pub fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}

/// Returns 64 common formats.
pub fn common_formats() -> Vec<String> {
    let dates = "%Y-%m-%d|%Y/%m/%d|%d.%m.%Y|%F|%D|%a %d %b %Y|%Y%m%d|%G-W%V-%u";
    let times = "%H:%M:%S|%X|%T|%R|%I:%M:%S %p|%H%M%S|%s|%H:%M:%S %z";
    dates
        .split('|')
        .flat_map(|date| times.split('|').map(move |time| format!("{date} {time}")))
        .collect()
}

/// Returns `count` formats that all differ.
pub fn different_formats(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{number:05} %Y/%m/%d %H:%M:%S"))
        .collect()
}

/// Returns a format of glibc's directives in turn, as many as fit into a response.
pub fn glibc_format() -> Vec<u8> {
    // Below the 1232 bytes of rule 6, because some names are longer on another day.
    const MAX_TEXT_LEN: usize = 1100;
    let (mut format, mut text_len) = (String::new(), 0);
    for directive in GLIBC_DIRECTIVES.split_whitespace().cycle() {
        text_len += sys::local_text(now(), &c_string(directive.as_bytes())).len();
        if text_len > MAX_TEXT_LEN {
            break;
        }
        format.push_str(directive);
    }
    format.into_bytes()
}

/// Directives that glibc defines.
pub const GLIBC_DIRECTIVES: &str = "%a %A %b %B %c %C %d %D %e %F %g %G %h %H %I %j %k %l %m %M \
    %n %p %P %r %R %s %S %t %T %u %U %V %w %W %x %X %y %Y %z %Z %_d %-d %3d %^a %^B %#Z %#p %Ey \
    %Od %EY %Oe %9s %9z %_3d %-3j %03U %^#b %-OV %_Og %4Oy %-_H";

/// Directives that glibc does not define.
pub const OTHER_DIRECTIVES: &str = "%N %3N %q %:z %::z %f %.f %3f %.3f %v %+";

//! The requests of the long run, and the check of their responses.

use std::ffi::OsStr;
use std::ops::Range;
use std::time::Duration;

use support::flood::{Between, Questions, Random, hostile, is_blank, is_silent, judge, verdict};
use wallclock::clock::{Clock, ZonePaths};
use wallclock::protocol::{DEFAULT_FORMAT, MAX_RESPONSE_LEN, Response};
use wallclock::strftime::{Format, render};

/// A zone that needs no files.
pub const ZONE: &str = "EST5EDT,M3.2.0,M11.1.0";

const FORMATS: usize = 10_000;
const HOSTILE: usize = 10_000;

/// What is right for a request.
enum Expected {
    Ignored,
    /// These bytes in every second.
    Error(Vec<u8>),
    /// This text in this second, the last one that it was needed for.
    Text(i64, Vec<u8>),
    /// `%s.%N`: the time itself.
    Timestamp,
    /// The text changes within a second, or its length does from day to day.
    ByRules,
}

struct Request {
    bytes: Vec<u8>,
    expected: Expected,
}

/// Requests in random order, with a fixed share for each kind.
pub struct SoakRequests {
    random: Random,
    clock: Clock,
    requests: Vec<Request>,
    /// The kind of each of a hundred requests, as a range of `requests`.
    kinds: Vec<Range<usize>>,
}

impl SoakRequests {
    pub fn new() -> SoakRequests {
        let zone = Clock::in_zone(Some(OsStr::new(ZONE)), &ZonePaths::from_env());
        let mut all = SoakRequests {
            random: Random(0x9e37_79b9_7f4a_7c15),
            clock: zone.expect("ZONE is a valid zone"),
            requests: Vec::new(),
            kinds: Vec::new(),
        };
        all.add(45, common_formats());
        all.add(25, (0..FORMATS).map(different_format));
        all.add(4, [b"%s.%N".to_vec()]);
        let blank: [&[u8]; 4] = [b"", b"\n", b" \t\r\n", b"   "];
        all.add(4, blank.map(<[u8]>::to_vec));
        all.add(4, (0..500).map(|n| format!("{n} o'clock").into_bytes()));
        all.add(8, (0..2_000).map(invalid_format));
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        let datagrams = (0..HOSTILE).map(|_| {
            let mut datagram = Vec::new();
            hostile(&mut random, &mut datagram);
            datagram
        });
        all.add(10, datagrams);
        assert_eq!(all.kinds.len(), 100);
        all
    }

    /// Returns the number of different requests.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    fn add(&mut self, share: usize, requests: impl IntoIterator<Item = Vec<u8>>) {
        let start = self.requests.len();
        for bytes in requests {
            let expected = self.expected(&bytes);
            self.requests.push(Request { bytes, expected });
        }
        let kind = start..self.requests.len();
        self.kinds.extend(std::iter::repeat_n(kind, share));
    }

    fn expected(&self, request: &[u8]) -> Expected {
        if request == b"%s.%N" {
            return Expected::Timestamp;
        }
        if is_silent(request) {
            return Expected::Ignored;
        }
        let sub_second = Format::parse(request).is_ok_and(|format| format.sub_second());
        match verdict(request, &self.clock) {
            (Response::Answered { .. }, text) if !sub_second => Expected::Text(0, text),
            // Names of days and months make a text longer on one day than on another.
            (Response::Refused { .. }, text) if text != b"error: answer too long" => {
                Expected::Error(text)
            }
            _ => Expected::ByRules,
        }
    }
}

fn common_formats() -> impl Iterator<Item = Vec<u8>> {
    let dates = "%Y-%m-%d|%Y/%m/%d|%d.%m.%Y|%F|%D|%a %d %b %Y|%Y%m%d|%G-W%V-%u";
    let times = "%H:%M:%S|%X|%T|%R|%I:%M:%S %p|%H%M%S %Z|%s|%T %z";
    dates.split('|').flat_map(move |date| {
        times
            .split('|')
            .map(move |time| format!("{date} {time}").into_bytes())
    })
}

fn different_format(n: usize) -> Vec<u8> {
    let format = match n % 4 {
        0 => format!("{n:05} %Y/%m/%d %H:%M:%S"),
        1 => format!("{n:05}: %{}A %-d %^b %c", n % 30),
        2 => format!("%0{}s|{n}|%j %U %%", n % 40),
        _ => format!("{} %s {n}", "%F %T ".repeat(n % 60)),
    };
    format.into_bytes()
}

fn invalid_format(n: usize) -> Vec<u8> {
    match n % 5 {
        0 => format!("%H %{}", ['Q', 'J', 'i', '!', 'é'][n / 5 % 5]).into_bytes(),
        1 => format!("{n} %T %_{}", n % 9).into_bytes(),
        2 => format!("%{}d", 100 * n).into_bytes(),
        3 => [format!("{n} %d ").as_bytes(), b"\xff"].concat(),
        _ => format!("%d\0{n}").into_bytes(),
    }
}

impl Questions for SoakRequests {
    fn draw(&mut self) -> usize {
        let kind = &self.kinds[self.random.below(100)];
        kind.start + self.random.below(kind.len())
    }

    fn bytes(&self, number: usize) -> &[u8] {
        &self.requests[number].bytes
    }

    fn silent(&self, number: usize) -> bool {
        matches!(self.requests[number].expected, Expected::Ignored)
    }

    fn judge(&mut self, number: usize, response: &[u8], times: Between) -> Result<(), String> {
        let Request { bytes, expected } = &mut self.requests[number];
        match expected {
            Expected::Error(text) if text == response => Ok(()),
            Expected::Ignored | Expected::Error(_) => Err("unexpected".into()),
            Expected::Timestamp => check_timestamp(response, times),
            Expected::ByRules => judge(bytes, response, times, &self.clock),
            Expected::Text(second, text) => {
                for now in times.seconds() {
                    if *second != now {
                        if !render_into(text, bytes, &self.clock, now) {
                            break;
                        }
                        *second = now;
                    }
                    if text == response {
                        return Ok(());
                    }
                }
                // The text may have become too long since the start.
                judge(bytes, response, times, &self.clock)
            }
        }
    }
}

/// Renders a request into `text`. Returns whether the text is short enough for a response.
fn render_into(text: &mut Vec<u8>, request: &[u8], clock: &Clock, second: i64) -> bool {
    // Rule 2.
    let format = if is_blank(request) {
        DEFAULT_FORMAT.as_bytes()
    } else {
        request
    };
    let mut buf = [0; MAX_RESPONSE_LEN];
    let Ok(length) = render(format, &clock.at(second, 0), &mut buf) else {
        return false;
    };
    text.clear();
    text.extend_from_slice(&buf[..length]);
    true
}

fn check_timestamp(response: &[u8], times: Between) -> Result<(), String> {
    let timestamp = std::str::from_utf8(response)
        .ok()
        .and_then(|text| text.split_once('.'))
        .filter(|(_, nanoseconds)| nanoseconds.len() == 9)
        .and_then(|(s, ns)| Some(Duration::new(s.parse().ok()?, ns.parse().ok()?)));
    match timestamp {
        Some(time) if times.asked <= time && time <= times.heard => Ok(()),
        _ => Err(format!("not within {times:?}")),
    }
}

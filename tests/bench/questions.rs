//! What is asked, and how an answer is told from a wrong one.

use std::ffi::CString;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::sys;

/// The longest question there is.
pub const LONGEST: usize = 1024;

/// The digits that make a question one never seen before.
const SERIAL: usize = 10;

/// A stream of questions, numbered from 0 across the whole run, and the answers that are right.
pub struct Workload {
    questions: Vec<Vec<u8>>,
    numbered: bool,
    check: Check,
}

enum Check {
    /// These bytes.
    Exact(Vec<u8>),
    /// An NTP answer to this very question.
    Ntp,
    /// What strftime says, for each question in turn.
    Text(Vec<Expected>),
    /// The second, a point and nine digits.
    Nanoseconds,
    /// An error answer, without `%`.
    Refused,
    /// For each question in turn, the same bytes as this but for the digits.
    Shape(Vec<Vec<u8>>),
}

/// The text of a format in the second it was last needed in.
struct Expected {
    format: CString,
    second: i64,
    text: Vec<u8>,
}

/// # Panics
/// Where there is a NUL in it, which no format here holds.
pub fn c_string(format: &[u8]) -> CString {
    CString::new(format).expect("no NUL in a format")
}

impl Expected {
    fn new(format: &[u8]) -> Self {
        // A blank question asks for the default.
        let blank = format.iter().all(u8::is_ascii_whitespace);
        let format = if blank { b"%Y-%m-%d %X" } else { format };
        Self {
            format: c_string(format),
            second: i64::MIN,
            text: Vec::new(),
        }
    }

    /// Whether `text` is right now, or was a second ago, or will be in one.
    fn allows(&mut self, now: i64, text: &[u8]) -> bool {
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
    /// The formats in turn, each answered as strftime does.
    pub fn formats<F: AsRef<[u8]>>(formats: &[F]) -> Self {
        Self {
            questions: formats
                .iter()
                .map(|format| format.as_ref().to_vec())
                .collect(),
            numbered: false,
            check: Check::Text(
                formats
                    .iter()
                    .map(|format| Expected::new(format.as_ref()))
                    .collect(),
            ),
        }
    }

    /// `question`, always answered with `answer`.
    pub fn exact(question: &[u8], answer: &[u8]) -> Self {
        Self {
            questions: vec![question.to_vec()],
            numbered: false,
            check: Check::Exact(answer.to_vec()),
        }
    }

    /// NTP client packets.
    pub fn ntp() -> Self {
        Self {
            questions: vec![Vec::new()],
            numbered: false,
            check: Check::Ntp,
        }
    }

    /// `%s.%N`, another answer each time.
    pub fn nanoseconds() -> Self {
        Self {
            questions: vec![b"%s.%N".to_vec()],
            numbered: false,
            check: Check::Nanoseconds,
        }
    }

    /// Ten digits never seen before, then one of the `tails`, answered as strftime does.
    pub fn unseen(tails: &[Vec<u8>]) -> Self {
        Self {
            numbered: true,
            ..Self::formats(tails)
        }
    }

    /// Ten digits never seen before, then one of the `tails`, answered like its example but for the digits.
    pub fn unseen_shaped(tails: &[Vec<u8>], examples: &[Vec<u8>]) -> Self {
        let shapes = examples
            .iter()
            .map(|example| example.get(SERIAL..).unwrap_or_default().to_vec());
        Self {
            questions: tails.to_vec(),
            numbered: true,
            check: Check::Shape(shapes.collect()),
        }
    }

    /// Ten digits never seen before, then one of the `tails`, answered with an error.
    pub fn unseen_refused(tails: &[Vec<u8>]) -> Self {
        Self {
            questions: tails.to_vec(),
            numbered: true,
            check: Check::Refused,
        }
    }

    /// Ten digits never seen before, then one of the `tails`, to a server that always says `answer`.
    pub fn unseen_exact(tails: &[Vec<u8>], answer: &[u8]) -> Self {
        Self {
            questions: tails.to_vec(),
            numbered: true,
            check: Check::Exact(answer.to_vec()),
        }
    }

    /// Writes the question with the number `serial`.
    pub fn question(&self, serial: u64, into: &mut Vec<u8>) {
        into.clear();
        if matches!(self.check, Check::Ntp) {
            into.extend_from_slice(&ntp_question(serial));
            return;
        }
        if self.numbered {
            into.extend_from_slice(&digits(serial));
        }
        into.extend_from_slice(&self.questions[self.turn(serial)]);
    }

    /// A question to try a server with.
    pub fn first(&self) -> Vec<u8> {
        let mut question = Vec::new();
        self.question(0, &mut question);
        question
    }

    /// Whether `answer` is a right one to the question `serial`, in the second `now` give or take one.
    pub fn allows(&mut self, serial: u64, now: i64, answer: &[u8]) -> bool {
        let turn = self.turn(serial);
        let text = if !self.numbered || matches!(self.check, Check::Exact(_) | Check::Refused) {
            answer
        } else {
            match answer.strip_prefix(&digits(serial)) {
                Some(text) => text,
                None => return false,
            }
        };
        match &mut self.check {
            Check::Exact(expected) => text == expected,
            Check::Ntp => {
                // Server mode, version 4, and our transmit time handed back as the origin.
                text.len() == 48
                    && text[0] & 0x3f == 0x24
                    && text[24..32] == ntp_question(serial)[40..48]
            }
            Check::Text(expected) => expected[turn].allows(now, text),
            Check::Nanoseconds => is_nanoseconds(text, now),
            Check::Refused => text.starts_with(b"error: ") && !text.contains(&b'%'),
            Check::Shape(examples) => {
                let example = &examples[turn];
                text.len() == example.len()
                    && text
                        .iter()
                        .zip(example)
                        .all(|(a, b)| a == b || a.is_ascii_digit() && b.is_ascii_digit())
            }
        }
    }

    fn turn(&self, serial: u64) -> usize {
        match self.questions.len() {
            1 => 0,
            many => (serial % many as u64) as usize,
        }
    }
}

fn is_nanoseconds(text: &[u8], now: i64) -> bool {
    let Some((second, fraction)) = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.split_once('.'))
    else {
        return false;
    };
    let right = second
        .parse::<i64>()
        .is_ok_and(|second| (second - now).abs() <= 1);
    right && fraction.len() == 9 && fraction.bytes().all(|byte| byte.is_ascii_digit())
}

fn digits(mut serial: u64) -> [u8; SERIAL] {
    let mut digits = [b'0'; SERIAL];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (serial % 10) as u8;
        serial /= 10;
    }
    digits
}

/// A version 4 client packet whose transmit time is `serial`.
pub fn ntp_question(serial: u64) -> [u8; 48] {
    let mut packet = [0; 48];
    packet[0] = 0x23;
    packet[40..].copy_from_slice(&(serial + 1).to_be_bytes());
    packet
}

/// The second it is.
pub fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}

/// 64 formats of the kind that a room asks.
pub fn sixty_four() -> Vec<String> {
    let dates = [
        "%Y-%m-%d",
        "%Y/%m/%d",
        "%d.%m.%Y",
        "%F",
        "%D",
        "%a %d %b %Y",
        "%Y%m%d",
        "%G-W%V-%u",
    ];
    let times = [
        "%H:%M:%S",
        "%X",
        "%T",
        "%R",
        "%I:%M:%S %p",
        "%H%M%S",
        "%s",
        "%H:%M:%S %z",
    ];
    dates
        .iter()
        .flat_map(|date| times.iter().map(move |time| format!("{date} {time}")))
        .collect()
}

/// As many formats as a hostile or a careless room can think of.
pub fn different(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{number:05} %Y/%m/%d %H:%M:%S"))
        .collect()
}

/// Every conversion of glibc, again and again, for as long as they fit into the longest answer. Some names are longer
/// on another day, so there is room left for that.
pub fn all_of_glibc() -> Vec<u8> {
    const ROOM: usize = 1100;
    let (mut format, mut answered) = (String::new(), 0);
    for conversion in GLIBC.split_whitespace().cycle() {
        answered += sys::local_text(now(), &c_string(conversion.as_bytes())).len();
        if answered > ROOM {
            break;
        }
        format.push_str(conversion);
    }
    format.into_bytes()
}

/// What a search for the dearest question tries: each conversion of glibc, and those that glibc does not know.
pub const GLIBC: &str = "%a %A %b %B %c %C %d %D %e %F %g %G %h %H %I %j %k %l %m %M %n %p %P %r %R %s %S %t %T %u %U \
     %V %w %W %x %X %y %Y %z %Z %_d %-d %3d %^a %^B %#Z %#p %Ey %Od %EY %Oe %9s %9z %_3d %-3j %03U %^#b %-OV %_Og %4Oy %-_H";
pub const BEYOND: &str = "%N %3N %q %:z %::z %f %.f %3f %.3f %v %+";

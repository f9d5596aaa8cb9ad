//! Rules 1 to 6 and L over arbitrary bytes, while the moment moves.
//!
//! Input: eight steps (a byte each), then the questions, parted by two bytes that no UTF-8 holds. A step says which question is asked, what
//! the clock did before, and how the question is stretched.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use wallclock::answer::{
    DEFAULT_FORMAT, MAX_ANSWER, Refusal, Silence, Verdict, answer, answer_limit,
};
use wallclock::clock::Moment;
use wallclock::strftime::{Format, FormatError};

const STEPS: usize = 8;
const BETWEEN: &[u8] = b"\xfe\xfe";

fn percents(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'%').count()
}

/// The answer by the manual's rules, written without a look at the code: `None` for silence.
fn by_the_rules(question: &[u8], port: u16, moment: &Moment) -> Option<Vec<u8>> {
    if port < 1024 {
        return None;
    }
    let blank = question.len() <= 1024
        && question
            .iter()
            .all(|byte| [b' ', b'\t', b'\n', 0x0b, 0x0c, b'\r'].contains(byte));
    let format = if blank {
        DEFAULT_FORMAT.as_bytes()
    } else {
        question
    };
    if percents(&format[..format.len().min(1024)]) == 0 {
        return None;
    }
    let error = |reason: String| Some(format!("error: {reason}").into_bytes());
    if !blank && question.len() > 1024 {
        return error("question longer than 1024 bytes".into());
    }
    if let Err(bad) = std::str::from_utf8(format) {
        return error(format!("byte {}: not UTF-8", bad.valid_up_to()));
    }
    if let Some(at) = format.iter().position(|&byte| byte == 0) {
        return error(format!("byte {at}: NUL"));
    }
    let format = match Format::parse(format) {
        Ok(format) => format,
        Err(FormatError::CutOff { at }) => {
            return error(format!("byte {at}: conversion ends too early"));
        }
        Err(FormatError::Unknown { at, character }) => {
            assert_eq!(question[at], b'%');
            let escaped = match character {
                '%' => "\\u{25}".into(),
                '"' | '\'' | '\\' => character.to_string(),
                _ => character.escape_debug().to_string(),
            };
            return error(format!("byte {at}: unknown conversion {escaped}"));
        }
        Err(other) => panic!("{other}: looked for before"),
    };
    // More room than any answer has: what is longer, is too long.
    let mut room = [0; 2 * MAX_ANSWER];
    let limit = (3 * question.len() + 56).min(1232);
    match format.render(moment, &mut room) {
        Ok(length) if length <= limit && moment.is_doubtful() => {
            error("clock not synchronised".into())
        }
        Ok(length) if length <= limit => Some(room[..length].to_vec()),
        _ => error("answer too long".into()),
    }
}

fn check(question: &[u8], port: u16, moment: &Moment) -> Vec<u8> {
    let peer = SocketAddr::from(([192, 0, 2, 7], port));
    let mut room = [0xa5; MAX_ANSWER];
    let verdict = answer(question, peer, moment, &mut room);
    let text = &room[..verdict.length()];

    assert!(text.len() <= answer_limit(question.len()));
    assert!(text.len() <= MAX_ANSWER && text.len() + 28 <= 3 * (question.len() + 28));
    assert!(2 * percents(text) <= percents(question), "rule L");
    assert!(std::str::from_utf8(text).is_ok());
    match verdict {
        Verdict::Answered { .. } => assert!(!moment.is_doubtful()),
        Verdict::Refused { reason, .. } => {
            assert!(text.starts_with(b"error: ") && percents(text) == 0);
            assert!(!text.iter().any(u8::is_ascii_control));
            assert_eq!(text[7..], *reason.to_string().as_bytes());
            assert_eq!(
                reason == Refusal::NotSynchronised,
                text.ends_with(b"clock not synchronised")
            );
        }
        Verdict::Ignored(silence) => {
            assert!(text.is_empty());
            assert_eq!(silence == Silence::LowPort, port < 1024);
        }
    }
    let expected = by_the_rules(question, port, moment);
    let heard = (!matches!(verdict, Verdict::Ignored(_))).then_some(text);
    // An answer of no bytes is none: %Z may be empty.
    assert_eq!(heard, expected.as_deref(), "{}", question.escape_ascii());
    text.to_vec()
}

fuzz_target!(|data: &[u8]| {
    let Some((steps, rest)) = data.split_at_checked(STEPS) else {
        return;
    };
    let mut questions = Vec::new();
    let mut rest = rest;
    while let Some(at) = rest.windows(2).position(|two| two == BETWEEN) {
        questions.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    questions.push(rest);

    let start = 1_783_213_507;
    let (mut seconds, mut nanosecond, mut zone, mut doubted) = (start, 0, 0, false);
    for &step in steps {
        let question = questions[usize::from(step & 3) % questions.len()];
        let mut port = 40_000;
        match step >> 2 & 7 {
            0 => {}
            1 => seconds += 1,
            2 => seconds -= 1,
            3 => nanosecond = (nanosecond + 333_333_333) % 1_000_000_000,
            4 => zone ^= 1,
            5 => seconds += 3600 * 24 * 181,
            6 => (seconds, doubted) = (start, !doubted),
            _ => port = 1000 + u16::from(step),
        }
        let (offset, abbreviation) = [(28_800, "CST"), (-18_000, "CST")][zone];
        let mut moment = Moment::new(seconds, nanosecond, offset, abbreviation);
        if doubted {
            moment = moment.doubted();
        }
        let stretched;
        let question = match step >> 5 {
            0..=4 => question,
            times @ 5..=6 => {
                stretched = question.repeat(8 << (3 * (times - 5)));
                &stretched
            }
            _ => {
                stretched = [&vec![b' '; 1020][..], question].concat();
                &stretched
            }
        };
        // Rule L: followed as questions for ever, answers end within the bound.
        let bound = percents(question).max(1).ilog2() + 2;
        let mut datagram = check(question, port, &moment);
        let mut answers = 0;
        while !datagram.is_empty() {
            answers += 1;
            assert!(answers <= bound, "still talking after {bound} answers");
            datagram = check(&datagram, port, &moment);
        }
    }
});

//! The format language, compared with libc::strftime, with chrono, and with a second parser that is
//! written from the manual.
//!
//! Input: zone (1 byte), instant (8), nanosecond (4), UTC offset (3), abbreviation (1), format.
#![no_main]

use std::cell::Cell;
use std::ffi::{CString, OsStr};
use std::mem;

use chrono::{DateTime, FixedOffset};
use libfuzzer_sys::fuzz_target;
use wallclock::clock::{Clock, ZonePaths};
use wallclock::strftime::{BufferTooSmall, Format, FormatError, RenderError, render};
use wallclock::time::LocalTime;

unsafe extern "C" {
    fn tzset();
}

/// Zones that glibc knows too. With arbitrary UTC offsets it is in the first.
const ZONES: [&str; 12] = [
    "UTC0",
    "Asia/Shanghai",
    "America/New_York",
    "Asia/Kolkata",
    "Pacific/Chatham",
    "Europe/Dublin",
    "Africa/Monrovia",
    "America/St_Johns",
    "CST-8",
    "<+0530>-5:30",
    "EST5EDT,M3.2.0,M11.1.0",
    "America/Nuuk",
];

const ABBREVIATIONS: [&std::ffi::CStr; 8] = [
    c"UTC",
    c"CST",
    c"+0530",
    c"-00",
    c"lmt",
    c"AbC",
    c"x",
    c"LongestOfThem15",
];

/// Instants of the years -260000 to 260000.
const ALL_INSTANTS: i64 = 8_200_000_000_000;
/// Instants until the year 2223, which zones are compared at.
const NEAR_INSTANTS: i64 = 8_000_000_000;

/// Bytes of a buffer for text.
const BUF_LEN: usize = 4096;

/// Sets the zone of the process, unless it is the current one.
fn set_zone(zone: usize) {
    thread_local!(static CURRENT: Cell<usize> = const { Cell::new(usize::MAX) });
    if CURRENT.replace(zone) != zone {
        let name = CString::new(ZONES[zone]).expect("no NUL in it");
        // SAFETY: both strings end with NUL. The fuzzer runs one input at a time on one thread, and
        // no other thread reads the environment.
        unsafe { libc::setenv(c"TZ".as_ptr(), name.as_ptr(), 1) };
        // SAFETY: the same; tzset reads the environment.
        unsafe { tzset() };
    }
}

fn clock(zone: usize) -> Clock {
    Clock::in_zone(Some(OsStr::new(ZONES[zone])), &ZonePaths::from_env()).expect("a known zone")
}

/// glibc's gmtime(3).
fn gmtime(instant: i64) -> libc::tm {
    // SAFETY: a C structure of integers and a raw pointer, for which all zeros is a valid value.
    let mut tm: libc::tm = unsafe { mem::zeroed() };
    // SAFETY: both pointers are valid during the call, for a time_t and a tm.
    let filled_in = unsafe { libc::gmtime_r(&raw const instant, &raw mut tm) };
    assert!(!filled_in.is_null());
    tm
}

/// glibc's localtime(3).
fn localtime(instant: i64) -> libc::tm {
    // SAFETY: a C structure of integers and a raw pointer, for which all zeros is a valid value.
    let mut tm: libc::tm = unsafe { mem::zeroed() };
    // SAFETY: both pointers are valid during the call, for a time_t and a tm.
    let filled_in = unsafe { libc::localtime_r(&raw const instant, &raw mut tm) };
    assert!(!filled_in.is_null());
    tm
}

/// Formats a piece with glibc; `None` if the text and its NUL are longer than [`BUF_LEN`].
fn glibc(piece: &[u8], tm: &libc::tm, buf: &mut [u8; BUF_LEN + 1]) -> Option<usize> {
    // strftime returns 0 if the text is too long and if it is empty. With a letter before it, it is
    // never empty.
    let mut format = [0; 1100];
    format[0] = b'x';
    format[1..=piece.len()].copy_from_slice(piece);
    // SAFETY: the buffer has the given length. The format ends with a NUL, because it is shorter
    // than its array. tm is valid.
    let length = unsafe {
        libc::strftime(
            buf.as_mut_ptr().cast(),
            buf.len(),
            format.as_ptr().cast(),
            tm,
        )
    };
    (length > 0).then(|| {
        buf.copy_within(1..length, 0);
        length - 1
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Literal,
    /// A directive of glibc, by its letter.
    Glibc(u8),
    /// A directive of chrono, without flags and width.
    Chrono,
    /// A directive of GNU date, by its letter or colon.
    Date(u8),
}

#[derive(Debug, PartialEq, Eq)]
enum PieceError {
    Unknown(char),
    PlusFlag,
    CutOff,
}

/// Parses the first piece of a format: text, or `%[_-0^#]*[width][E|O]directive`. Returns it with
/// its length.
fn first_piece(format: &str) -> Result<(Piece, usize), PieceError> {
    let bytes = format.as_bytes();
    if bytes[0] != b'%' {
        return Ok((Piece::Literal, format.find('%').unwrap_or(bytes.len())));
    }
    let rest = &format[1..];
    if let Some(after) = rest.strip_prefix('+')
        && after.starts_with(|c: char| c.is_ascii_digit() || "CFGY".contains(c))
    {
        return Err(PieceError::PlusFlag);
    }
    // Directives of chrono take no flags, no modifiers and no other widths.
    for known in ["f", "3f", "6f", "9f", ".f", ".3f", ".6f", ".9f", "+", "v"] {
        if rest.starts_with(known) {
            return Ok((Piece::Chrono, 1 + known.len()));
        }
    }
    let unflagged = rest.trim_start_matches(['_', '-', '0', '^', '#']);
    let narrow = unflagged.trim_start_matches(|c: char| c.is_ascii_digit());
    let modifier = narrow.chars().next().filter(|c| matches!(c, 'E' | 'O'));
    let last = &narrow[modifier.map_or(0, char::len_utf8)..];
    let end = |tail: &str| format.len() - tail.len();
    let Some(letter) = last.chars().next() else {
        return Err(PieceError::CutOff);
    };
    let after = &last[letter.len_utf8()..];
    if letter == ':' {
        let tail = last.trim_start_matches(':');
        let colons = last.len() - tail.len();
        if colons <= 3 {
            return match tail.chars().next() {
                None => Err(PieceError::CutOff),
                Some('z') if modifier != Some('O') => Ok((Piece::Date(b':'), end(&tail[1..]))),
                Some(_) => Err(PieceError::Unknown(':')),
            };
        }
        return Err(PieceError::Unknown(':'));
    }
    // At the end of the format, a dot could still begin a directive of chrono.
    if letter == '.'
        && unflagged.len() == rest.len()
        && narrow.len() == rest.len()
        && modifier.is_none()
        && matches!(after, "" | "3" | "6" | "9")
    {
        return Err(PieceError::CutOff);
    }
    let refused = match modifier {
        None => "",
        Some('E') => "aAbBdDeFgGhHIjklmMSUVwWN",
        Some(_) => "aAcDFxXYq",
    };
    if refused.contains(letter) {
        return Err(PieceError::Unknown(letter));
    }
    match letter {
        'N' | 'q' => Ok((Piece::Date(letter as u8), end(after))),
        '%' => Ok((Piece::Glibc(b'%'), end(after))),
        _ if "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ".contains(letter) => {
            Ok((Piece::Glibc(letter as u8), end(after)))
        }
        _ => Err(PieceError::Unknown(letter)),
    }
}

/// The result of parsing that rule 4 demands.
fn expected_result(format: &[u8]) -> Result<(), FormatError> {
    let text = std::str::from_utf8(format).map_err(|error| FormatError::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    if let Some(at) = text.find('\0') {
        return Err(FormatError::Nul { at });
    }
    let mut at = 0;
    while at < text.len() {
        match first_piece(&text[at..]) {
            Ok((_, length)) => at += length,
            Err(PieceError::CutOff) => return Err(FormatError::CutOff { at }),
            Err(PieceError::PlusFlag) => return Err(FormatError::PlusFlag { at }),
            Err(PieceError::Unknown(character)) => {
                return Err(FormatError::Unknown { at, character });
            }
        }
    }
    Ok(())
}

fn run(data: &[u8]) {
    let Some((head, format)) = data.split_at_checked(17) else {
        return;
    };
    if format.len() > 1024 {
        return;
    }
    let eight = |at: usize| i64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes"));
    let instant = if head[0] & 0x80 == 0 {
        eight(1).rem_euclid(NEAR_INSTANTS)
    } else {
        eight(1) % ALL_INSTANTS
    };
    let nanosecond = u32::from_le_bytes(head[9..13].try_into().expect("4 bytes")) % 1_000_000_000;
    let zone = usize::from(head[0] & 0x7f);
    let (time, tm) = if (1..ZONES.len()).contains(&zone) && head[0] & 0x80 == 0 {
        set_zone(zone);
        thread_local!(static CLOCKS: Vec<Clock> = (0..ZONES.len()).map(clock).collect());
        let time = CLOCKS.with(|clocks| clocks[zone].at(instant, nanosecond));
        let tm = localtime(instant);
        // SAFETY: tm_zone points to a string that glibc never frees.
        let abbreviation = unsafe { std::ffi::CStr::from_ptr(tm.tm_zone) };
        assert_eq!(
            (i64::from(time.utc_offset()), time.abbreviation()),
            (tm.tm_gmtoff, abbreviation.to_str().expect("ASCII")),
            "instant {instant} in {}",
            ZONES[zone]
        );
        (time, tm)
    } else {
        set_zone(0);
        // A little more than POSIX allows, which is 24:59:59.
        let offset = i32::from_le_bytes([head[13], head[14], head[15], 0]) % 93_600
            * if head[16] & 0x80 == 0 { 1 } else { -1 };
        let abbreviation = ABBREVIATIONS[usize::from(head[16] & 7)];
        let mut tm = gmtime(instant + i64::from(offset));
        tm.tm_gmtoff = offset.into();
        tm.tm_zone = abbreviation.as_ptr();
        (
            LocalTime::new(
                instant,
                nanosecond,
                offset,
                abbreviation.to_str().expect("ASCII"),
            ),
            tm,
        )
    };
    let parsed = Format::parse(format);
    let mut buf = [0; BUF_LEN];
    // strftime also writes a NUL.
    let rendered = render(format, &time, &mut buf[..BUF_LEN - 1]);
    match (expected_result(format), parsed) {
        (Err(expected), Err(found)) => {
            assert_eq!(expected, found, "{}", format.escape_ascii());
            assert_eq!(rendered, Err(RenderError::Format(found)));
            if let FormatError::Unknown { at, .. } = found {
                check_copied_by_glibc(&format[at..], &tm);
            }
            let shown = found.to_string();
            assert!(
                !shown.contains('%') && !shown.contains(char::is_control),
                "{shown:?}"
            );
            return;
        }
        (expected, found) => assert_eq!(expected, found.map(drop), "{}", format.escape_ascii()),
    }
    let format = parsed.expect("as expected");
    let text = std::str::from_utf8(format.bytes()).expect("parsed");
    let context = || format!("{text:?} at {time:?}");

    let (mut at, mut length, mut percents, mut directives, mut sub_second) = (0, 0, 0, 0, false);
    let mut expected = [0; BUF_LEN + 1];
    let mut fits = true;
    while at < text.len() {
        let (piece, size) = first_piece(&text[at..]).expect("parsed before");
        let source = &text[at..at + size];
        at += size;
        directives += usize::from(piece != Piece::Literal);
        percents += usize::from(piece == Piece::Glibc(b'%'));
        sub_second |= source == "%+"
            || source.ends_with('f') && piece == Piece::Chrono
            || piece == Piece::Date(b'N');
        if !fits {
            continue;
        }
        let rest = if rendered.is_ok() {
            &buf[length..]
        } else {
            &[]
        };
        let taken = match piece {
            Piece::Literal | Piece::Glibc(_) => {
                let written = if piece == Piece::Glibc(b's') && tm.tm_gmtoff != 0 {
                    // glibc computes `%s` from the calendar in the zone of the process, here UTC.
                    set_zone(0);
                    glibc(source.as_bytes(), &gmtime(instant), &mut expected)
                } else {
                    glibc(source.as_bytes(), &tm, &mut expected)
                };
                match written {
                    Some(written) => {
                        if rendered.is_ok() {
                            assert_eq!(
                                rest[..written].escape_ascii().to_string(),
                                expected[..written].escape_ascii().to_string(),
                                "{source:?} of {}",
                                context()
                            );
                        }
                        written
                    }
                    None => {
                        fits = false;
                        continue;
                    }
                }
            }
            Piece::Chrono | Piece::Date(_) => {
                // Rendered alone, which gives its length.
                let mut alone = [0; BUF_LEN];
                match render(source.as_bytes(), &time, &mut alone[..BUF_LEN - 1]) {
                    Ok(found) => {
                        let alone = &alone[..found];
                        assert!(!alone.contains(&b'%'), "{}", context());
                        if let Some(expected) = render_with_chrono(source, &time) {
                            assert_eq!(expected.as_bytes(), alone, "{source:?} of {}", context());
                        }
                        if rendered.is_ok() {
                            assert_eq!(&rest[..alone.len()], alone, "{}", context());
                        }
                        alone.len()
                    }
                    Err(_) => {
                        fits = false;
                        continue;
                    }
                }
            }
        };
        length += taken;
    }
    assert_eq!(
        (format.directives(), format.percents(), format.sub_second()),
        (directives, percents, sub_second),
        "{}",
        context()
    );
    match rendered {
        Ok(found) => {
            assert!(fits, "{} should not fit", context());
            assert_eq!(found, length, "{}", context());
            // A buffer of the exact length is large enough, and one byte less is not.
            let mut exact = [0; BUF_LEN];
            assert_eq!(format.render(&time, &mut exact[..length]), Ok(length));
            assert_eq!(exact[..length], buf[..length]);
            if length > 0 {
                assert_eq!(
                    format.render(&time, &mut exact[..length - 1]),
                    Err(BufferTooSmall)
                );
            }
            let percents_written = buf[..length].iter().filter(|&&byte| byte == b'%').count();
            assert_eq!(percents_written, percents, "{}", context());
        }
        Err(RenderError::TooSmall(_)) => {
            assert!(!fits || length >= BUF_LEN, "{} fits in {length}", context());
        }
        Err(RenderError::Format(_)) => panic!("{} was parsed", context()),
    }
}

/// Checks that glibc copies a directive that is refused here, in upper case after `^`, padded to
/// its width.
fn check_copied_by_glibc(directive: &[u8], tm: &libc::tm) {
    let text = std::str::from_utf8(directive).expect("rule 4 checks UTF-8 first");
    let shape = text[1..].trim_start_matches(['_', '-', '0', '^', '#']);
    let narrow = shape.trim_start_matches(|c: char| c.is_ascii_digit());
    let letter = narrow.trim_start_matches(['E', 'O']);
    // glibc takes the second of two modifiers as the directive. Huge widths fill the buffer.
    if narrow.len() - letter.len() > 1 || shape.len() - narrow.len() > 3 {
        return;
    }
    let Some(letter) = letter.chars().next().filter(char::is_ascii_graphic) else {
        return;
    };
    if letter == ':' || letter == '.' {
        return;
    }
    let length = directive.len() - narrow.len() + narrow.find(letter).unwrap_or(0) + 1;
    let directive = &directive[..length];
    let mut expected = [0; BUF_LEN + 1];
    if let Some(written) = glibc(directive, tm, &mut expected) {
        let raw = &expected[written.saturating_sub(length)..written];
        assert!(
            raw.eq_ignore_ascii_case(directive),
            "refused {}, glibc writes {}",
            directive.escape_ascii(),
            raw.escape_ascii()
        );
    }
}

/// Formats a directive with chrono; `None` where it differs on purpose: chrono rounds UTC offsets
/// to minutes, glibc and GNU date cut them off.
fn render_with_chrono(source: &str, time: &LocalTime) -> Option<String> {
    let has_offset = source.ends_with('z') || source == "%+";
    if has_offset && time.utc_offset() % 60 != 0 {
        return None;
    }
    if !matches!(
        source,
        "%f" | "%3f"
            | "%6f"
            | "%9f"
            | "%.f"
            | "%.3f"
            | "%.6f"
            | "%.9f"
            | "%+"
            | "%v"
            | "%q"
            | "%:z"
            | "%::z"
    ) {
        return None;
    }
    let instant = DateTime::from_timestamp(time.unix_seconds(), time.nanosecond())?;
    let zone = FixedOffset::east_opt(time.utc_offset())?;
    // Before a year of more than four digits chrono writes a sign, and glibc does not.
    if !(0..=9999).contains(&time.fields().year) {
        return None;
    }
    Some(instant.with_timezone(&zone).format(source).to_string())
}

fuzz_target!(|data: &[u8]| run(data));

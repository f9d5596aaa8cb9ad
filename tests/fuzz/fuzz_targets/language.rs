//! The language beside its oracles: what glibc defines against libc::strftime, what chrono defines against chrono, and what is a
//! format at all against a second reader of the grammar, written from the words of the manual and not from the parser.
//!
//! Input: zone (1 byte), instant (8), nanosecond (4), offset (3), abbreviation (1), then the format.
#![no_main]

use std::cell::Cell;
use std::ffi::{CString, OsStr};
use std::mem;

use chrono::{DateTime, FixedOffset};
use libfuzzer_sys::fuzz_target;
use wallclock::clock::{Clock, Moment, ZonePaths};
use wallclock::strftime::{Format, FormatError, RenderError, TextTooLong, render};

unsafe extern "C" {
    fn tzset();
}

/// Zones that glibc looks up as well as we do; the first is also that of the made-up offsets.
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

/// Instants of every calendar year from -260000 to 260000, or of those that a kernel's clock will see.
const ALL: i64 = 8_200_000_000_000;
const SOON: i64 = 8_000_000_000;

const ROOM: usize = 4096;

/// Sets the process's zone; a look-up of the files only where it changes.
fn enter(zone: usize) {
    thread_local!(static CURRENT: Cell<usize> = const { Cell::new(usize::MAX) });
    if CURRENT.replace(zone) != zone {
        let name = CString::new(ZONES[zone]).expect("no NUL in it");
        // SAFETY: the fuzzer runs one input at a time on one thread, and nothing else reads the environment meanwhile.
        unsafe {
            libc::setenv(c"TZ".as_ptr(), name.as_ptr(), 1);
            tzset();
        }
    }
}

fn clock(zone: usize) -> Clock {
    Clock::in_zone(Some(OsStr::new(ZONES[zone])), &ZonePaths::of_host()).expect("a sound zone")
}

/// glibc's calendar of UTC.
fn universal(instant: i64) -> libc::tm {
    // SAFETY: tm is integers and a pointer, for which zeros are a value; both references outlive the call.
    unsafe {
        let mut tm: libc::tm = mem::zeroed();
        assert!(!libc::gmtime_r(&instant, &mut tm).is_null());
        tm
    }
}

fn localtime(instant: i64) -> libc::tm {
    // SAFETY: as above.
    unsafe {
        let mut tm: libc::tm = mem::zeroed();
        assert!(!libc::localtime_r(&instant, &mut tm).is_null());
        tm
    }
}

/// glibc's text of a piece; `None` where it and its NUL are longer than [`ROOM`].
fn glibc(piece: &[u8], tm: &libc::tm, room: &mut [u8; ROOM + 1]) -> Option<usize> {
    // strftime returns 0 for "too long" and for "nothing" alike: a letter ahead tells them apart.
    let mut format = [0; 1100];
    format[0] = b'x';
    format[1..=piece.len()].copy_from_slice(piece);
    // SAFETY: the format ends with a NUL, as it is shorter than its array; the room's length is given; tm is valid.
    let length = unsafe {
        libc::strftime(
            room.as_mut_ptr().cast(),
            room.len(),
            format.as_ptr().cast(),
            tm,
        )
    };
    (length > 0).then(|| {
        room.copy_within(1..length, 0);
        length - 1
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Literal,
    /// One that glibc defines, by its letter.
    Glibc(u8),
    /// One that chrono defines, without flags and width.
    Chrono,
    /// One that GNU date defines.
    Date(u8),
}

#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    Unknown(char),
    CutOff,
}

/// The next piece of a format and its length; `%[_-0^#]*[width][E|O]conversion`.
fn next(format: &str) -> Result<(Piece, usize), Wrong> {
    let bytes = format.as_bytes();
    if bytes[0] != b'%' {
        return Ok((Piece::Literal, format.find('%').unwrap_or(bytes.len())));
    }
    let rest = &format[1..];
    // Those of chrono have no flags, widths (but their own) and modifiers.
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
        return Err(Wrong::CutOff);
    };
    let behind = &last[letter.len_utf8()..];
    if letter == ':' {
        let tail = last.trim_start_matches(':');
        let colons = last.len() - tail.len();
        if colons <= 3 {
            return match tail.chars().next() {
                None => Err(Wrong::CutOff),
                Some('z') if modifier != Some('O') => Ok((Piece::Date(b':'), end(&tail[1..]))),
                Some(_) => Err(Wrong::Unknown(':')),
            };
        }
        return Err(Wrong::Unknown(':'));
    }
    // A dot that a chrono conversion may still follow ends too early, where the format ends there.
    if letter == '.'
        && unflagged.len() == rest.len()
        && narrow.len() == rest.len()
        && modifier.is_none()
        && matches!(behind, "" | "3" | "6" | "9")
    {
        return Err(Wrong::CutOff);
    }
    let refused = match modifier {
        None => "",
        Some('E') => "aAbBdDeFgGhHIjklmMSUVwWN",
        Some(_) => "aAcDFxXYq",
    };
    if refused.contains(letter) {
        return Err(Wrong::Unknown(letter));
    }
    match letter {
        'N' | 'q' => Ok((Piece::Date(letter as u8), end(behind))),
        '%' => Ok((Piece::Glibc(b'%'), end(behind))),
        _ if "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ".contains(letter) => {
            Ok((Piece::Glibc(letter as u8), end(behind)))
        }
        _ => Err(Wrong::Unknown(letter)),
    }
}

/// Whether these bytes are a format, and if not, why: the first thing wrong, in the contract's order.
fn expected(format: &[u8]) -> Result<(), FormatError> {
    let text = std::str::from_utf8(format).map_err(|error| FormatError::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    if let Some(at) = text.find('\0') {
        return Err(FormatError::Nul { at });
    }
    let mut at = 0;
    while at < text.len() {
        match next(&text[at..]) {
            Ok((_, length)) => at += length,
            Err(Wrong::CutOff) => return Err(FormatError::CutOff { at }),
            Err(Wrong::Unknown(character)) => return Err(FormatError::Unknown { at, character }),
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
        eight(1).rem_euclid(SOON)
    } else {
        eight(1) % ALL
    };
    let nanosecond = u32::from_le_bytes(head[9..13].try_into().expect("4 bytes")) % 1_000_000_000;
    let zone = usize::from(head[0] & 0x7f);
    let (moment, tm) = if (1..ZONES.len()).contains(&zone) && head[0] & 0x80 == 0 {
        enter(zone);
        thread_local!(static CLOCKS: Vec<Clock> = (0..ZONES.len()).map(clock).collect());
        let moment = CLOCKS.with(|clocks| clocks[zone].at(instant, nanosecond));
        let tm = localtime(instant);
        // SAFETY: tm_zone points to a string that glibc keeps for ever, whatever TZ becomes later.
        let abbreviation = unsafe { std::ffi::CStr::from_ptr(tm.tm_zone) };
        assert_eq!(
            (i64::from(moment.offset()), moment.abbreviation()),
            (tm.tm_gmtoff, abbreviation.to_str().expect("ASCII")),
            "instant {instant} in {}",
            ZONES[zone]
        );
        (moment, tm)
    } else {
        enter(0);
        // As far as POSIX lets a zone be: 24:59:59 either way, and some.
        let offset = i32::from_le_bytes([head[13], head[14], head[15], 0]) % 93_600
            * if head[16] & 0x80 == 0 { 1 } else { -1 };
        let abbreviation = ABBREVIATIONS[usize::from(head[16] & 7)];
        let mut tm = universal(instant + i64::from(offset));
        tm.tm_gmtoff = offset.into();
        tm.tm_zone = abbreviation.as_ptr();
        (
            Moment::new(
                instant,
                nanosecond,
                offset,
                abbreviation.to_str().expect("ASCII"),
            ),
            tm,
        )
    };
    let parsed = Format::parse(format);
    let mut room = [0; ROOM];
    // strftime wants room for its NUL.
    let rendered = render(format, &moment, &mut room[..ROOM - 1]);
    match (expected(format), parsed) {
        (Err(expected), Err(found)) => {
            assert_eq!(expected, found, "{}", format.escape_ascii());
            assert_eq!(rendered, Err(RenderError::Format(found)));
            if let FormatError::Unknown { at, .. } = found {
                passed_through(&format[at..], &tm);
            }
            let said = found.to_string();
            assert!(
                !said.contains('%') && !said.contains(char::is_control),
                "{said:?}"
            );
            return;
        }
        (expected, found) => assert_eq!(expected, found.map(drop), "{}", format.escape_ascii()),
    }
    let format = parsed.expect("both say so");
    let text = std::str::from_utf8(format.bytes()).expect("parsed");
    let context = || format!("{text:?} at {moment:?}");

    let (mut at, mut length, mut percents, mut conversions, mut sub_second) = (0, 0, 0, 0, false);
    let mut theirs = [0; ROOM + 1];
    let mut fits = true;
    while at < text.len() {
        let (piece, size) = next(&text[at..]).expect("looked at before");
        let source = &text[at..at + size];
        at += size;
        conversions += usize::from(piece != Piece::Literal);
        percents += usize::from(piece == Piece::Glibc(b'%'));
        sub_second |= source == "%+"
            || source.ends_with('f') && piece == Piece::Chrono
            || piece == Piece::Date(b'N');
        if !fits {
            continue;
        }
        let ours = if rendered.is_ok() {
            &room[length..]
        } else {
            &[]
        };
        let taken = match piece {
            Piece::Literal | Piece::Glibc(_) => {
                let written = if piece == Piece::Glibc(b's') && tm.tm_gmtoff != 0 {
                    // glibc makes seconds of the calendar by the process's zone: have it do so in UTC.
                    enter(0);
                    glibc(source.as_bytes(), &universal(instant), &mut theirs)
                } else {
                    glibc(source.as_bytes(), &tm, &mut theirs)
                };
                match written {
                    Some(written) => {
                        if rendered.is_ok() {
                            assert_eq!(
                                ours[..written].escape_ascii().to_string(),
                                theirs[..written].escape_ascii().to_string(),
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
                // Rendered alone, so that its length is known; beside chrono where that defines it and is right.
                let mut alone = [0; ROOM];
                match render(source.as_bytes(), &moment, &mut alone[..ROOM - 1]) {
                    Ok(found) => {
                        let alone = &alone[..found];
                        assert!(!alone.contains(&b'%'), "{}", context());
                        if let Some(theirs) = by_chrono(source, &moment) {
                            assert_eq!(theirs.as_bytes(), alone, "{source:?} of {}", context());
                        }
                        if rendered.is_ok() {
                            assert_eq!(&ours[..alone.len()], alone, "{}", context());
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
        (format.conversions(), format.percents(), format.sub_second()),
        (conversions, percents, sub_second),
        "{}",
        context()
    );
    match rendered {
        Ok(found) => {
            assert!(fits, "{} should not fit", context());
            assert_eq!(found, length, "{}", context());
            // A room that is just large enough is, and one byte less is not.
            let mut exact = [0; ROOM];
            assert_eq!(format.render(&moment, &mut exact[..length]), Ok(length));
            assert_eq!(exact[..length], room[..length]);
            if length > 0 {
                assert_eq!(
                    format.render(&moment, &mut exact[..length - 1]),
                    Err(TextTooLong)
                );
            }
            let given_back = room[..length].iter().filter(|&&byte| byte == b'%').count();
            assert_eq!(given_back, percents, "{}", context());
        }
        Err(RenderError::TooLong(_)) => {
            assert!(!fits || length >= ROOM, "{} fits in {length}", context());
        }
        Err(RenderError::Format(_)) => panic!("{} was parsed", context()),
    }
}

/// What we refuse, glibc passes through as it stands (under `^` in upper case, and filled to the width).
fn passed_through(conversion: &[u8], tm: &libc::tm) {
    let text = std::str::from_utf8(conversion).expect("an unknown conversion is in UTF-8");
    let shape = text[1..].trim_start_matches(['_', '-', '0', '^', '#']);
    let narrow = shape.trim_start_matches(|c: char| c.is_ascii_digit());
    let letter = narrow.trim_start_matches(['E', 'O']);
    // Of two modifiers glibc takes the second for the letter; widths that fill all room say nothing.
    if narrow.len() - letter.len() > 1 || shape.len() - narrow.len() > 3 {
        return;
    }
    let Some(letter) = letter.chars().next().filter(char::is_ascii_graphic) else {
        return;
    };
    if letter == ':' || letter == '.' {
        return;
    }
    let length = conversion.len() - narrow.len() + narrow.find(letter).unwrap_or(0) + 1;
    let conversion = &conversion[..length];
    let mut theirs = [0; ROOM + 1];
    if let Some(written) = glibc(conversion, tm, &mut theirs) {
        let raw = &theirs[written.saturating_sub(length)..written];
        assert!(
            raw.eq_ignore_ascii_case(conversion),
            "refused {}, glibc says {}",
            conversion.escape_ascii(),
            raw.escape_ascii()
        );
    }
}

/// chrono's text of a bare conversion, where it is ours too: chrono rounds offsets to minutes, glibc and GNU date cut.
fn by_chrono(source: &str, moment: &Moment) -> Option<String> {
    let has_offset = source.ends_with('z') || source == "%+";
    if has_offset && moment.offset() % 60 != 0 {
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
    let instant = DateTime::from_timestamp(moment.unix_seconds(), moment.nanosecond())?;
    let zone = FixedOffset::east_opt(moment.offset())?;
    // Beyond four digits chrono puts a sign ahead of the year; ours is glibc's everywhere.
    if !(0..=9999).contains(&moment.local().year) {
        return None;
    }
    Some(instant.with_timezone(&zone).format(source).to_string())
}

fuzz_target!(|data: &[u8]| run(data));

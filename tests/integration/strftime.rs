//! The format language beyond glibc's: extensions, and what is refused at which byte. What glibc
//! defines is in `tests/glibc.rs`.

use std::process::Command;

use support::{query, skip, start_daemon, wallclock_long_timeout};
use wallclock::clock::{Clock, ZonePaths};
use wallclock::strftime::{BufferTooSmall, Format, FormatError};
use wallclock::time::LocalTime;

fn render(format: &str, time: &LocalTime) -> String {
    let mut buf = [0; 512];
    let format = Format::parse(format.as_bytes()).expect(format);
    let length = format.render(time, &mut buf).expect("512 bytes are enough");
    String::from_utf8(buf[..length].to_vec()).expect("UTF-8")
}

fn parse_error(format: &[u8]) -> FormatError {
    Format::parse(format).expect_err("not a format")
}

/// 2026-07-05 06:35:07.0123456 in India.
fn kolkata() -> LocalTime {
    LocalTime::new(1_783_213_507, 12_345_600, 19_800, "IST")
}

#[test]
fn extensions_of_gnu_date_match_date() {
    // As printed by date of GNU coreutils 9.1 with TZ=Asia/Kolkata, -d @1783213507.0123456.
    for (format, expected) in [
        ("%N", "012345600"),
        ("%1N", "0"),
        ("%3N", "012"),
        ("%6N", "012345"),
        ("%9N", "012345600"),
        ("%12N", "012345600000"),
        ("%012N", "012345600000"),
        ("%-N", "012345600"),
        ("%_N", "0123456  "),
        ("%-3N", "012"),
        ("%_3N", "012"),
        ("%-9N", "0123456"),
        ("%-12N", "0123456"),
        ("%_12N", "0123456     "),
        ("%^N", "012345600"),
        ("%#N", "012345600"),
        ("%ON", "012345600"),
        ("%q", "3"),
        ("%5q", "00003"),
        ("%012q", "000000000003"),
        ("%_5q", "    3"),
        ("%-5q", "3"),
        ("%-q", "3"),
        ("%^q", "3"),
        ("%Eq", "3"),
        ("%:z", "+05:30"),
        ("%::z", "+05:30:00"),
        ("%:::z", "+05:30"),
        ("%10:z", "+000005:30"),
        ("%010:z", "+000005:30"),
        ("%_10:z", "     +5:30"),
        ("%-10:z", "+5:30"),
        ("%-:z", "+5:30"),
        ("%_:z", " +5:30"),
        ("%#:z", "+05:30"),
        ("%E:z", "+05:30"),
        ("%1:z", "+5:30"),
        ("%5::z", "+5:30:00"),
        ("%10::z", "+005:30:00"),
        ("%_::z", " +5:30:00"),
        ("%-::z", "+5:30:00"),
        ("%_10:::z", "     +5:30"),
    ] {
        assert_eq!(render(format, &kolkata()), expected, "{format}");
    }
    let utc = LocalTime::new(1_783_213_507, 0, 0, "UTC");
    for (format, expected) in [
        ("%:::z", "+00"),
        ("%_:::z", " +0"),
        ("%-:::z", "+0"),
        ("%10:::z", "+000000000"),
        ("%-:z", "+0:00"),
        ("%_:z", " +0:00"),
        ("%-9N", "0"),
        ("%_9N", "0        "),
        ("%_N", "0        "),
    ] {
        assert_eq!(render(format, &utc), expected, "{format}");
    }
    // `%-N` alone keeps the zeros at the end; else the last padding flag decides.
    let fraction = LocalTime::new(0, 120_000_000, 0, "UTC");
    for (expected, formats) in [
        (
            "120000000",
            "%N %-N %0N %00N %-0N %_0N %^0N %#0N %0^N %0#N %^N %#N %^#N %_-0N %ON",
        ),
        (
            "12",
            "%--N %_-N %0-N %^-N %#-N %-^N %-#N %_0-N %0_-N %-_-N %0-^N %^#-N %-^#N %-ON",
        ),
        (
            "12       ",
            "%_N %__N %-_N %0_N %^_N %#_N %_^N %_#N %-0_N %0-_N %_-_N %_ON",
        ),
        ("120", "%3N %03N %-03N %_03N %^3N"),
        ("12", "%-3N %--3N %_-3N %0-3N %^-3N %-^3N %-9N %-11N %0-11N"),
        ("12 ", "%_3N %-_3N %0_3N %^_3N"),
    ] {
        for format in formats.split(' ') {
            assert_eq!(render(format, &fraction), expected, "{format}");
        }
    }
}

#[test]
fn n_with_any_flags_matches_date() {
    let flags = ["", "-", "_", "0", "^", "#"];
    let mut formats = Vec::new();
    for number in 0..6 * 6 * 6 {
        let [a, b, c] = [number / 36, number / 6 % 6, number % 6].map(|index| flags[index]);
        formats.extend(["", "1", "3", "9", "11"].map(|width| format!("%{a}{b}{c}{width}N")));
    }
    for nanosecond in [0, 7, 120_000_000, 123_456_700, 999_999_999] {
        let output = Command::new("date")
            .args(["-u", "-d", &format!("@5.{nanosecond:09}")])
            .arg(format!("+{}", formats.join("|")))
            .output();
        let output = output.expect("date runs").stdout;
        let texts = String::from_utf8(output).expect("ASCII");
        let texts: Vec<_> = texts.trim_end_matches('\n').split('|').collect();
        // Another date than that of GNU has no %N.
        if !texts.contains(&format!("{nanosecond:09}").as_str()) {
            return skip("no date of GNU coreutils");
        }
        assert_eq!(texts.len(), formats.len());
        let time = LocalTime::new(5, nanosecond, 0, "UTC");
        for (format, text) in formats.iter().zip(texts) {
            assert_eq!(render(format, &time), text, "{format} of {nanosecond} ns");
        }
    }
}

#[test]
fn utc_offset_with_seconds_is_cut_in_short_forms() {
    let monrovia = LocalTime::new(0, 0, -2_670, "MMT");
    for (format, expected) in [
        ("%z", "-0044"),
        ("%:z", "-00:44"),
        ("%::z", "-00:44:30"),
        ("%:::z", "-00:44:30"),
        ("%T", "23:15:30"),
    ] {
        assert_eq!(render(format, &monrovia), expected, "{format}");
    }
    assert_eq!(
        render("%z %:::z", &LocalTime::new(0, 0, -30, "X")),
        "-0000 -00:00:30"
    );
}

#[test]
fn quarter_is_that_of_the_month() {
    let clock = Clock::utc();
    for (day, quarter) in [
        (0, "1"),
        (58, "1"),
        (90, "2"),
        (180, "2"),
        (181, "3"),
        (272, "3"),
        (273, "4"),
        (364, "4"),
    ] {
        assert_eq!(
            render("%q", &clock.at(day * 86_400, 0)),
            quarter,
            "day {day} of 1970"
        );
    }
}

#[test]
fn extensions_of_chrono_match_chrono() {
    let fractions = [0, 7, 120_000_000, 120_450_000, 999_999_999];
    for nanosecond in fractions {
        let time = LocalTime::new(1_783_213_507, nanosecond, 19_800, "IST");
        let offset = chrono::FixedOffset::east_opt(19_800).expect("an offset");
        let chrono_time = chrono::DateTime::from_timestamp(1_783_213_507, nanosecond)
            .expect("a time")
            .with_timezone(&offset);
        for format in [
            "%f", "%3f", "%6f", "%9f", "%.f", "%.3f", "%.6f", "%.9f", "%+", "%v", "%S%.f|",
            "%s%.3f",
        ] {
            assert_eq!(
                render(format, &time),
                chrono_time.format(format).to_string(),
                "{format} at {nanosecond}"
            );
        }
    }
    assert_eq!(
        render("%+", &kolkata()),
        "2026-07-05T06:35:07.012345600+05:30"
    );
    assert_eq!(render("%v", &kolkata()), " 5-Jul-2026");
    assert_eq!(render("%.f|%f", &kolkata()), ".012345600|012345600");
}

#[test]
fn year_in_chrono_extensions_has_four_digits() {
    // 987-06-05
    let time = LocalTime::new(-31_007_059_200, 0, 0, "UTC");
    assert_eq!(render("%v", &time), " 5-Jun-0987");
    assert_eq!(render("%+", &time), "0987-06-05T00:00:00+00:00");
    assert_eq!(render("%Y", &time), "987");
}

#[test]
fn negative_seconds_are_padded_before_the_sign() {
    // glibc pads %s as a text, not as a number.
    let time = LocalTime::new(-42, 0, 0, "UTC");
    assert_eq!(
        render("%s %08s %8s %_8s %-8s", &time),
        "-42 00000-42      -42      -42      -42"
    );
}

#[test]
fn rule_4_unknown_directive_is_located() {
    for (format, at, character) in [
        ("%Q", 0, 'Q'),
        ("%Y/%m/%d %Q", 9, 'Q'),
        ("%Y-%m-%d %H:%M:%S %J%d", 18, 'J'),
        ("\u{e9}%%\u{e9}%!", 6, '!'),
        ("%\u{e9}", 0, '\u{e9}'),
        ("%\u{1f552}%d", 0, '\u{1f552}'),
        ("%\n", 0, '\n'),
        ("% d", 0, ' '),
        ("%5-d", 0, '-'),
        ("%+d%i", 3, 'i'),
        ("%Ed", 0, 'd'),
        ("%OY", 0, 'Y'),
        ("%EEc", 0, 'E'),
        ("%EOc", 0, 'O'),
        ("%E5c", 0, '5'),
        ("%E_c", 0, '_'),
        ("%:Z", 0, ':'),
        ("%::d", 0, ':'),
        ("%::::z", 0, ':'),
        ("%O:z", 0, ':'),
        ("%Oq", 0, 'q'),
        ("%EN", 0, 'N'),
        ("%.d", 0, '.'),
        ("%.4f", 0, '.'),
        ("%.3N", 0, '.'),
        ("%3.3f", 0, '.'),
        ("%-.f", 0, '.'),
        ("%4f", 0, 'f'),
        ("%03f", 0, 'f'),
        ("%-f", 0, 'f'),
        ("%Ef", 0, 'f'),
        ("%5v", 0, 'v'),
        ("%^v", 0, 'v'),
        ("%Ov", 0, 'v'),
        ("%5+", 0, '+'),
        ("%-+", 0, '+'),
        ("%E+", 0, '+'),
        ("%-+4Y", 0, '+'),
    ] {
        assert_eq!(
            parse_error(format.as_bytes()),
            FormatError::Unknown { at, character },
            "{format:?}"
        );
    }
}

// There it is a flag of POSIX 2008 and of GNU date. As the directive of chrono it would give
// another text than the one that was asked for.
#[test]
fn rule_4_plus_before_digit_or_cfgy_is_refused() {
    for byte in 1..=0x7f {
        let format = [b'%', b'+', byte, b'%', b'd'];
        let result = Format::parse(&format).map_err(|error| error.to_string());
        let expected = match byte {
            b'0'..=b'9' | b'C' | b'F' | b'G' | b'Y' => Err("byte 0: the flag + is not supported"),
            _ => Ok(()),
        };
        let result = result.as_ref().map(drop).map_err(String::as_str);
        assert_eq!(result, expected, "{}", format.escape_ascii());
    }
    for format in ["%+", "%+%Y", "%+ 4Y", "%+\u{e9}4", "%+-4Y"] {
        assert!(Format::parse(format.as_bytes()).is_ok(), "{format}");
    }
    let second = parse_error(b"%d %+4Y%Q").to_string();
    assert_eq!(second, "byte 3: the flag + is not supported");
}

#[test]
fn rule_4_plus_flag_is_refused_by_both_programs() {
    let (_daemon, address) = start_daemon();
    let response = query(address, b"at %+4Y");
    assert_eq!(
        String::from_utf8_lossy(&response),
        "error: byte 3: the flag + is not supported"
    );
    let server = address.to_string();
    let output = wallclock_long_timeout()
        .args(["-s", &server, "at %+4Y"])
        .output()
        .expect("wallclock");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "wallclock: bad format: byte 3: the flag + is not supported\n"
    );
}

#[test]
fn rule_4_cut_off_directive_is_located() {
    for (format, at) in [
        ("%", 0),
        ("%%%", 2),
        ("%d %", 3),
        ("%-", 0),
        ("%_0^#", 0),
        ("%12", 0),
        ("%E", 0),
        ("%-5O", 0),
        ("%:", 0),
        ("%:::", 0),
        ("%.", 0),
        ("%.3", 0),
        ("\u{2192}%", 3),
    ] {
        assert_eq!(
            parse_error(format.as_bytes()),
            FormatError::CutOff { at },
            "{format:?}"
        );
    }
}

#[test]
fn rule_4_first_bad_byte_of_text_is_located() {
    assert_eq!(parse_error(b"%d\xff"), FormatError::NotUtf8 { at: 2 });
    assert_eq!(parse_error(b"%Q \xe2\x86"), FormatError::NotUtf8 { at: 3 });
    assert_eq!(parse_error(b"%Q\0"), FormatError::Nul { at: 2 });
    assert_eq!(parse_error(b"%\xc3"), FormatError::NotUtf8 { at: 1 });
}

#[test]
fn rule_4_errors_show_printable_characters_only() {
    for (format, expected) in [
        (&b"%Q"[..], "byte 0: unknown conversion Q"),
        (b"%\n", "byte 0: unknown conversion \\n"),
        (b"%\x1b", "byte 0: unknown conversion \\u{1b}"),
        (b"%\x7f", "byte 0: unknown conversion \\u{7f}"),
        (
            "%\u{202e}".as_bytes(),
            "byte 0: unknown conversion \\u{202e}",
        ),
        (b"%'", "byte 0: unknown conversion '"),
        (b"%\"", "byte 0: unknown conversion \""),
        (b"%\\", "byte 0: unknown conversion \\"),
        ("%\u{e9}".as_bytes(), "byte 0: unknown conversion \u{e9}"),
        (b"%5", "byte 0: conversion ends too early"),
        (b"%d\xff", "byte 2: not UTF-8"),
        (b"%d\0", "byte 2: NUL"),
    ] {
        assert_eq!(parse_error(format).to_string(), expected);
    }
    assert!(
        !FormatError::Unknown {
            at: 7,
            character: '%'
        }
        .to_string()
        .contains('%')
    );
}

#[test]
fn huge_width_is_too_long_for_the_buffer() {
    let mut buf = [0; 16];
    for format in [
        "%17d",
        "%999999999d",
        "%99999999999999999999999999d",
        "%17a",
        "%17c",
        "%17z",
        "%_17N",
        "%17q",
        "%17:z",
    ] {
        let format = Format::parse(format.as_bytes()).expect(format);
        assert_eq!(format.render(&kolkata(), &mut buf), Err(BufferTooSmall));
    }
    assert_eq!(
        Format::parse(b"%16d")
            .expect("a format")
            .render(&kolkata(), &mut buf),
        Ok(16)
    );
}

#[test]
fn format_counts_directives_and_percents() {
    let counts = |format: &str| {
        let format = Format::parse(format.as_bytes()).expect("a format");
        (format.directives(), format.percents(), format.sub_second())
    };
    assert_eq!(counts("no directive"), (0, 0, false));
    assert_eq!(counts("%Y%%%5%%E%"), (4, 3, false));
    for sub_second in ["%N", "%3N", "%f", "%6f", "%.f", "%.3f", "%+", "%_5N", "%ON"] {
        assert_eq!(counts(sub_second), (1, 0, true), "{sub_second}");
    }
}

#[test]
fn dst_switches_at_its_exact_second() {
    let zone =
        |name: &str| Clock::in_zone(Some(name.as_ref()), &ZonePaths::from_env()).expect(name);
    for (tz, instant, before, after) in [
        (
            "EST5EDT,M3.2.0,M11.1.0",
            1_772_953_200,
            "01:59:59 EST -0500",
            "03:00:00 EDT -0400",
        ),
        (
            "EST5EDT,M3.2.0,M11.1.0",
            1_793_512_800,
            "01:59:59 EDT -0400",
            "01:00:00 EST -0500",
        ),
    ] {
        let clock = zone(tz);
        assert_eq!(
            render("%T %Z %z", &clock.at(instant - 1, 999_999_999)),
            before
        );
        assert_eq!(render("%T %Z %z", &clock.at(instant, 0)), after);
    }
}

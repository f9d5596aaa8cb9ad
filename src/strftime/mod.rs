//! The format language: parses strftime formats and renders times in them.
//!
//! Directives that glibc defines are rendered byte for byte as glibc's `strftime(3)` does in the C
//! locale; those that only GNU `date(1)` or chrono define follow these. Everything else is a
//! [`FormatError`], never copied to the text.
//!
//! chrono computes the calendar. This module adds what chrono's formatter lacks: glibc's flags,
//! widths, modifiers and errors, and rendering without allocation.
//!
//! ```
//! use wallclock::time::LocalTime;
//! use wallclock::strftime::{Format, FormatError};
//!
//! let time = LocalTime::new(1_783_213_507, 120_000_000, 28_800, "CST");
//! let format = Format::parse(b"%Y/%m/%d %H:%M:%S.%3N %Z (%10A)")?;
//! let mut text = [0; 64];
//! let length = format.render(&time, &mut text).expect("64 bytes are enough");
//! assert_eq!(&text[..length], b"2026/07/05 09:05:07.120 CST (    Sunday)");
//!
//! assert_eq!(Format::parse(b"%H:%M %Q"), Err(FormatError::Unknown { at: 6, character: 'Q' }));
//! # Ok::<(), FormatError>(())
//! ```

mod error;
mod number;
mod parse;
mod render;
mod writer;

pub use error::{BufferTooSmall, FormatError, RenderError};

use crate::time::LocalTime;

use parse::{Directive, FieldSpec, Visitor, parse};
use writer::{SliceWriter, WriteResult};

/// A checked format: UTF-8 without NUL, every directive known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format<'a> {
    bytes: &'a [u8],
    directives: usize,
    percents: usize,
    sub_second: bool,
}

impl<'a> Format<'a> {
    /// Checks a format. Rendering it can then fail only if the text does not fit.
    ///
    /// # Errors
    ///
    /// The first of: not UTF-8; a NUL; the leftmost directive that is unknown, cut off or a `%+`
    /// that would be a flag elsewhere.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let mut counter = Counter::default();
        parse(bytes, &mut counter)?;
        let Counter {
            directives,
            percents,
            sub_second,
        } = counter;
        Ok(Format {
            bytes,
            directives,
            percents,
            sub_second,
        })
    }

    /// The bytes that were parsed.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The number of directives, `%%` included.
    pub fn directives(&self) -> usize {
        self.directives
    }

    /// The number of `%%` directives: each text of this format holds as many `%`.
    pub fn percents(&self) -> usize {
        self.percents
    }

    /// Whether the text changes within a second.
    pub fn sub_second(&self) -> bool {
        self.sub_second
    }

    /// Writes the text of `time` to the front of `buf` and returns its length in bytes.
    ///
    /// # Errors
    ///
    /// [`BufferTooSmall`] if the text does not fit; `buf` then holds the start of it. A width is
    /// compared with the buffer before padding is written, so a huge width costs nothing.
    pub fn render(&self, time: &LocalTime, buf: &mut [u8]) -> Result<usize, BufferTooSmall> {
        match render(self.bytes, time, buf) {
            Ok(length) => Ok(length),
            Err(RenderError::TooSmall(error)) => Err(error),
            // `parse` accepted the same bytes.
            Err(RenderError::Format(_)) => unreachable!("a parsed format"),
        }
    }
}

/// Parses and renders a format in one pass: [`Format::parse`] and [`Format::render`] for a format
/// that is used once.
///
/// # Errors
///
/// Those of both. If the format is wrong and the text does not fit, the format's error is returned.
pub fn render(format: &[u8], time: &LocalTime, buf: &mut [u8]) -> Result<usize, RenderError> {
    let mut formatter = Formatter {
        writer: SliceWriter::new(buf),
        time,
        result: Ok(()),
    };
    parse(format, &mut formatter)?;
    formatter.result?;
    Ok(formatter.writer.length())
}

/// Counts the directives of a format.
#[derive(Default)]
struct Counter {
    directives: usize,
    percents: usize,
    sub_second: bool,
}

impl Visitor for Counter {
    fn literal(&mut self, _bytes: &[u8]) {}

    fn directive(&mut self, directive: Directive, _spec: &FieldSpec) {
        self.directives += 1;
        self.percents += usize::from(directive == Directive::Percent);
        self.sub_second |= directive.is_sub_second();
    }
}

/// Writes the text of a time.
struct Formatter<'t, 'b> {
    writer: SliceWriter<'b>,
    time: &'t LocalTime,
    result: WriteResult,
}

impl<'b> Formatter<'_, 'b> {
    /// Calls `write`, unless an earlier call failed: then the rest of the format is only checked.
    fn write(&mut self, write: impl FnOnce(&mut SliceWriter<'b>) -> WriteResult) {
        if self.result.is_ok() {
            self.result = write(&mut self.writer);
        }
    }
}

impl Visitor for Formatter<'_, '_> {
    fn literal(&mut self, bytes: &[u8]) {
        self.write(|writer| writer.push(bytes));
    }

    fn directive(&mut self, directive: Directive, spec: &FieldSpec) {
        let time = self.time;
        self.write(|writer| writer.directive(directive, spec, time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(format: &str, time: &LocalTime) -> String {
        let mut buf = [0; 512];
        let length = render(format.as_bytes(), time, &mut buf).expect(format);
        String::from_utf8_lossy(&buf[..length]).into_owned()
    }

    fn utc(unix_seconds: i64) -> LocalTime {
        LocalTime::new(unix_seconds, 0, 0, "UTC")
    }

    // The texts of this test and the next three are those of glibc 2.36.
    #[test]
    fn flags_and_widths_are_those_of_glibc() {
        let time = LocalTime::new(1_783_213_507, 0, 28_800, "CST");
        for (format, expected) in [
            (
                "%d|%_d|%-d|%0d|%5d|%_5d|%-5d|%05d",
                "05| 5|5|05|00005|    5|    5|00005",
            ),
            (
                "%16d|%17d|%_16Y|%_17Y",
                "0000000000000005|00000000000000005|            2026|             2026",
            ),
            (
                "%e|%_e|%-e|%0e|%5e|%-5e|%05e",
                " 5| 5|5|05|    5|    5|00005",
            ),
            ("%k|%l|%I|%H|%M|%S|%m", " 9| 9|09|09|05|07|07"),
            ("%j|%_j|%-j|%5j|%-5j", "186|186|186|00186|  186"),
            (
                "%u|%w|%_u|%0u|%3u|%_3u|%17w",
                "7|0|7|7|007|  7|00000000000000000",
            ),
            ("%p|%P|%#p|%^P|%^p|%4p|%04P", "AM|am|am|am|AM|  AM|00am"),
            (
                "%a|%A|%b|%B|%h|%^a|%#B|%6a|%06a|%_6a",
                "Sun|Sunday|Jul|July|Jul|SUN|JULY|   Sun|000Sun|   Sun",
            ),
            ("%n|%t|%%|%3n|%03t|%5%", "\n|\t|%|  \n|00\t|    %"),
            (
                "%s|%12s|%012s|%_12s|%-12s",
                "1783213507|  1783213507|001783213507|  1783213507|  1783213507",
            ),
            (
                "%z|%_z|%-z|%8z|%_8z|%08z",
                "+0800|+ 800|+800|       +00000800|       +     800|0000000+00000800",
            ),
            ("%Z|%#Z|%^Z|%5Z|%05Z|%#5Z", "CST|cst|CST|  CST|00CST|  cst"),
            (
                "%c|%D|%x|%F",
                "Sun Jul  5 09:05:07 2026|07/05/26|07/05/26|2026-07-05",
            ),
            ("%R|%T|%X|%r", "09:05|09:05:07|09:05:07|09:05:07 AM"),
            ("%^c", "SUN JUL  5 09:05:07 2026"),
            (
                "%30c|%030c",
                "      Sun Jul  5 09:05:07 2026|000000Sun Jul  5 09:05:07 2026",
            ),
            (
                "%^30c|%12F|%^r|%10D",
                "      SUN JUL  5 09:05:07 2026|  2026-07-05|09:05:07 AM|  07/05/26",
            ),
            (
                "%Ec|%EY|%Ez|%Od|%Oz|%5Ey|%OS",
                "Sun Jul  5 09:05:07 2026|2026|+0800|05|+0800|00026|07",
            ),
            ("%_-0d|%0-_d|%^#a|%0^6a", "05| 5|SUN|000SUN"),
        ] {
            assert_eq!(text(format, &time), expected, "{format}");
        }
        assert_eq!(text("%s", &utc(0)), "0");
        let time = LocalTime::new(-42, 0, -2_670, "Lmt");
        assert_eq!(
            text("%s|%8s|%08s|%Z|%^Z|%#^Z|%z", &time),
            "-42|     -42|00000-42|Lmt|LMT|lmt|-0044"
        );
    }

    #[test]
    fn weeks_are_those_of_glibc() {
        let format = "%j %U %W %V %G %g %u %w %a";
        for (unix_seconds, expected) in [
            (1_672_444_800, "365 52 52 52 2022 22 6 6 Sat"),
            (1_672_531_200, "001 01 00 52 2022 22 7 0 Sun"),
            (1_672_617_600, "002 01 01 01 2023 23 1 1 Mon"),
            (1_673_049_600, "007 01 01 01 2023 23 6 6 Sat"),
            (1_673_136_000, "008 02 01 01 2023 23 7 0 Sun"),
            (1_735_430_400, "364 52 52 52 2024 24 7 0 Sun"),
            (1_735_516_800, "365 52 53 01 2025 25 1 1 Mon"),
            (1_735_603_200, "366 52 53 01 2025 25 2 2 Tue"),
            (1_609_632_000, "003 01 00 53 2020 20 7 0 Sun"),
            (1_609_718_400, "004 01 01 01 2021 21 1 1 Mon"),
            (1_609_372_800, "366 52 52 53 2020 20 4 4 Thu"),
        ] {
            assert_eq!(text(format, &utc(unix_seconds)), expected);
        }
    }

    #[test]
    fn years_are_those_of_glibc() {
        let format = "%Y|%C|%y|%g|%G|%6Y|%_6Y|%-6Y|%06Y|%4C|%_4C|%-4y|%_4y|%3y|%_y|%-y";
        for (unix_seconds, expected) in [
            (
                -61_932_902_400,
                "7|0|07|07|7|000007|     7|     7|000007|0000|   0|   7|   7|007| 7|7",
            ),
            (
                -61_838_208_000,
                "10|0|10|10|10|000010|    10|    10|000010|0000|   0|  10|  10|010|10|10",
            ),
            (
                -59_029_603_200,
                "99|0|99|99|99|000099|    99|    99|000099|0000|   0|  99|  99|099|99|99",
            ),
            (
                -58_998_067_200,
                "100|1|00|00|100|000100|   100|   100|000100|0001|   1|   0|   0|000| 0|0",
            ),
            (
                -31_007_059_200,
                "987|9|87|87|987|000987|   987|   987|000987|0009|   9|  87|  87|087|87|87",
            ),
            (
                -30_628_368_000,
                "999|9|99|99|999|000999|   999|   999|000999|0009|   9|  99|  99|099|99|99",
            ),
            (
                -30_596_832_000,
                "1000|10|00|00|1000|001000|  1000|  1000|001000|0010|  10|   0|   0|000| 0|0",
            ),
            (
                1_780_617_600,
                "2026|20|26|26|2026|002026|  2026|  2026|002026|0020|  20|  26|  26|026|26|26",
            ),
            (
                253_384_156_800,
                "9999|99|99|99|9999|009999|  9999|  9999|009999|0099|  99|  99|  99|099|99|99",
            ),
            (
                253_415_779_200,
                "10000|100|00|00|10000|010000| 10000| 10000|010000|0100| 100|   0|   0|000| 0|0",
            ),
            (
                327_416_774_400,
                "12345|123|45|45|12345|012345| 12345| 12345|012345|0123| 123|  45|  45|045|45|45",
            ),
            (
                -62_153_740_800,
                "0|0|00|00|0|000000|     0|     0|000000|0000|   0|   0|   0|000| 0|0",
            ),
            (
                -62_311_593_600,
                "-5|-1|95|95|-5|-00005|    -5|    -5|-00005|-001|  -1|  95|  95|095|95|95",
            ),
            (
                -66_035_260_800,
                "-123|-2|77|77|-123|-00123|  -123|  -123|-00123|-002|  -2|  77|  77|077|77|77",
            ),
        ] {
            assert_eq!(text(format, &utc(unix_seconds)), expected);
        }
    }

    #[test]
    fn hours_are_those_of_glibc() {
        for (hour, expected) in [
            (0, "00 12  0|12 AM am 12:00:00 AM"),
            (1, "01 01  1| 1 AM am 01:00:00 AM"),
            (11, "11 11 11|11 AM am 11:00:00 AM"),
            (12, "12 12 12|12 PM pm 12:00:00 PM"),
            (13, "13 01 13| 1 PM pm 01:00:00 PM"),
            (23, "23 11 23|11 PM pm 11:00:00 PM"),
        ] {
            assert_eq!(text("%H %I %k|%l %p %P %r", &utc(3600 * hour)), expected);
        }
    }

    #[test]
    fn months_and_quarters_of_1970() {
        for (day, expected) in [
            (0, "Jan January 1"),
            (31, "Feb February 1"),
            (59, "Mar March 1"),
            (90, "Apr April 2"),
            (120, "May May 2"),
            (151, "Jun June 2"),
            (181, "Jul July 3"),
            (212, "Aug August 3"),
            (243, "Sep September 3"),
            (273, "Oct October 4"),
            (304, "Nov November 4"),
            (334, "Dec December 4"),
        ] {
            assert_eq!(text("%b %B %q", &utc(86_400 * day)), expected);
        }
    }

    // The texts of this test are those of GNU date 9.1.
    #[test]
    fn extensions_of_gnu_date() {
        let time = LocalTime::new(1_783_213_507, 12_345_600, 19_800, "IST");
        for (format, expected) in [
            (
                "%N|%1N|%3N|%9N|%12N|%012N|%^N",
                "012345600|0|012|012345600|012345600000|012345600000|012345600",
            ),
            (
                "%-N|%_N|%-3N|%_3N|%-9N|%-12N|%_12N|",
                "012345600|0123456  |012|012|0123456|0123456|0123456     |",
            ),
            ("%q|%5q|%_5q|%-5q|%Eq", "3|00003|    3|3|3"),
            ("%:z|%::z|%:::z|%E:z", "+05:30|+05:30:00|+05:30|+05:30"),
            (
                "%10:z|%_10:z|%-10:z|%-:z|%_:z|%1:z",
                "+000005:30|     +5:30|+5:30|+5:30| +5:30|+5:30",
            ),
            ("%10::z|%_::z|%_10:::z", "+005:30:00| +5:30:00|     +5:30"),
        ] {
            assert_eq!(text(format, &time), expected, "{format}");
        }
        assert_eq!(
            text("%:::z|%_:::z|%10:::z|%_9N|%-9N", &utc(0)),
            "+00| +0|+000000000|0        |0"
        );
        for (offset, expected) in [
            (0, "+0000 +00:00 +00:00:00 +00"),
            (-2_670, "-0044 -00:44 -00:44:30 -00:44:30"),
            (-30, "-0000 -00:00 -00:00:30 -00:00:30"),
            (39_661, "+1101 +11:01 +11:01:01 +11:01:01"),
            (-43_200, "-1200 -12:00 -12:00:00 -12"),
        ] {
            let time = LocalTime::new(0, 0, offset, "X");
            assert_eq!(text("%z %:z %::z %:::z", &time), expected);
        }
    }

    #[test]
    fn extensions_of_chrono() {
        for (nanosecond, expected) in [
            (0, "000000000|000|000000|000000000||.000|.000000|.000000000"),
            (
                7,
                "000000007|000|000000|000000007|.000000007|.000|.000000|.000000007",
            ),
            (
                120_000_000,
                "120000000|120|120000|120000000|.120|.120|.120000|.120000000",
            ),
            (
                120_450_000,
                "120450000|120|120450|120450000|.120450|.120|.120450|.120450000",
            ),
            (
                987_654_321,
                "987654321|987|987654|987654321|.987654321|.987|.987654|.987654321",
            ),
        ] {
            let time = LocalTime::new(0, nanosecond, 0, "UTC");
            assert_eq!(text("%f|%3f|%6f|%9f|%.f|%.3f|%.6f|%.9f", &time), expected);
        }
        let time = LocalTime::new(1_783_213_507, 12_345_600, 19_800, "IST");
        assert_eq!(
            text("%+|%v", &time),
            "2026-07-05T06:35:07.012345600+05:30| 5-Jul-2026"
        );
        // chrono pads a year to four digits, glibc does not.
        assert_eq!(text("%v %Y", &utc(-31_007_059_200)), " 5-Jun-0987 987");
    }

    #[test]
    fn rule_4_unknown_directives_are_errors() {
        for (format, at, character) in [
            ("%Y/%m/%d %Q", 9, 'Q'),
            ("%d%\u{e9}%d", 2, '\u{e9}'),
            ("%\u{1f552}", 0, '\u{1f552}'),
            ("%5-d", 0, '-'),
            ("%Ed", 0, 'd'),
            ("%OY", 0, 'Y'),
            ("%EOc", 0, 'O'),
            ("%E5c", 0, '5'),
            ("%:Z", 0, ':'),
            ("%::d", 0, ':'),
            ("%::::z", 0, ':'),
            ("%::::", 0, ':'),
            ("%O:z", 0, ':'),
            ("%Oq", 0, 'q'),
            ("%EN", 0, 'N'),
            ("%.d", 0, '.'),
            ("%.4f", 0, '.'),
            ("%.3N", 0, '.'),
            ("%3.3f", 0, '.'),
            ("%-.f", 0, '.'),
            ("%E.f", 0, '.'),
            ("%4f", 0, 'f'),
            ("%03f", 0, 'f'),
            ("%-f", 0, 'f'),
            ("%E3f", 0, '3'),
            ("%3Ef", 0, 'f'),
            ("%5v", 0, 'v'),
            ("%Ov", 0, 'v'),
            ("%-+", 0, '+'),
        ] {
            assert_eq!(
                Format::parse(format.as_bytes()),
                Err(FormatError::Unknown { at, character }),
                "{format}"
            );
        }
    }

    #[test]
    fn rule_4_plus_is_a_directive_where_it_is_no_flag() {
        let refused: String = (' '..='~')
            .filter(|next| {
                let result = Format::parse(format!("%d%+{next}%d").as_bytes()).map(drop);
                assert!(matches!(
                    result,
                    Ok(()) | Err(FormatError::PlusFlag { at: 2 })
                ));
                result.is_err()
            })
            .collect();
        assert_eq!(refused, "0123456789CFGY");
    }

    #[test]
    fn rule_4_modifiers_are_those_of_glibc() {
        let accepted = |modifier: char| -> String {
            let is_known =
                |letter: &char| Format::parse(format!("%{modifier}{letter}").as_bytes()).is_ok();
            ('!'..='~').filter(is_known).collect()
        };
        assert_eq!(accepted('E'), "%CPRTXYZcnpqrstuxyz");
        assert_eq!(accepted('O'), "%BCGHIMNPRSTUVWZbdeghjklmnprstuwyz");
    }

    #[test]
    fn rule_4_cut_off_directives_are_errors() {
        for (format, at) in [
            ("%", 0),
            ("%d %", 3),
            ("%_0^#", 0),
            ("%12", 0),
            ("%E", 0),
            ("%:", 0),
            ("%:::", 0),
            ("%O:", 0),
            ("%.", 0),
            ("%.3", 0),
        ] {
            let error = Err(FormatError::CutOff { at });
            assert_eq!(Format::parse(format.as_bytes()), error, "{format}");
        }
    }

    #[test]
    fn rule_4_other_bytes_are_errors() {
        for (format, error) in [
            (&b"%Q \xff"[..], FormatError::NotUtf8 { at: 3 }),
            (b"%Q\0", FormatError::Nul { at: 2 }),
        ] {
            assert_eq!(Format::parse(format), Err(error));
        }
    }

    #[test]
    fn a_format_counts_its_directives() {
        let counts = |format: &'static str| {
            let format = Format::parse(format.as_bytes()).expect(format);
            (format.directives(), format.percents(), format.sub_second())
        };
        assert_eq!(counts("no directive"), (0, 0, false));
        assert_eq!(counts("%Y%%%5%%E%"), (4, 3, false));
        assert_eq!(counts("%3N%d"), (2, 0, true));
        for sub_second in ["%N", "%f", "%6f", "%.f", "%.3f", "%+"] {
            assert_eq!(counts(sub_second), (1, 0, true), "{sub_second}");
        }
        assert_eq!(
            Format::parse(b"%d").map(|format| format.bytes()),
            Ok(&b"%d"[..])
        );
    }

    #[test]
    fn a_text_that_does_not_fit_is_an_error() {
        let mut buf = [0; 16];
        for format in [
            "%17d",
            "%99999999999999999999999999d",
            "%17a",
            "%17c",
            "%17z",
            "%_17N",
            "%17q",
            "%17:z",
            "%16d.",
            "%16d%d",
        ] {
            let parsed = Format::parse(format.as_bytes()).expect(format);
            assert_eq!(
                parsed.render(&utc(0), &mut buf),
                Err(BufferTooSmall),
                "{format}"
            );
        }
        let format = Format::parse(b"%15d.").expect("a format");
        assert_eq!(format.render(&utc(0), &mut buf), Ok(16));
        assert_eq!(&buf, b"000000000000001.");
        // An error of the format has precedence.
        let error = FormatError::Unknown {
            at: 4,
            character: 'Q',
        };
        assert_eq!(
            render(b"%17d%Q", &utc(0), &mut buf),
            Err(RenderError::Format(error))
        );
    }
}

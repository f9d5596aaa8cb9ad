//! The format language compared with strftime(3) of this machine, over random formats, instants and
//! zones.
//!
//! It has only one test, because TZ is for the whole process.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(unsafe_code, reason = "strftime(3) and its relatives")]

use std::env;
use std::ffi::{CString, OsStr};
use std::mem;

use support::skip;
use wallclock::clock::{Clock, ZonePaths};
use wallclock::strftime::{Format, FormatError};

// Where time_t has 32 bits, glibc has functions with 64 bits beside those that libc declares.
unsafe extern "C" {
    fn tzset();

    #[cfg_attr(target_pointer_width = "32", link_name = "__localtime64_r")]
    fn localtime_r(instant: *const i64, tm: *mut libc::tm) -> *mut libc::tm;

    #[cfg_attr(target_pointer_width = "32", link_name = "__mktime64")]
    fn mktime(tm: *mut libc::tm) -> i64;
}

const ZONES: [&str; 13] = [
    "UTC",
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
    // Hours below 0 and above 24, as in the footers of Nuuk and Jerusalem.
    "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
    "IST-2IDT,M3.4.4/26,M10.5.0",
];

/// How many triples of format, instant and zone are compared.
const TRIPLES: usize = 400_000;

/// The number of zones that need no files.
const ZONES_WITHOUT_FILES: usize = 6;

/// 1970-01-01 to 2100-12-31.
const INSTANTS: std::ops::Range<i64> = 0..4_133_980_800;

const LETTERS: &[u8] = b"aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%";

/// xorshift64*: the same seed gives the same triples on each machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 32) as usize % end
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// glibc's localtime(3).
fn localtime(instant: i64) -> libc::tm {
    // SAFETY: a C structure of integers and a raw pointer, for which all zeros is a valid value.
    let mut tm: libc::tm = unsafe { mem::zeroed() };
    // SAFETY: both pointers are valid during the call, for a time_t and a tm.
    let filled_in = unsafe { localtime_r(&raw const instant, &raw mut tm) };
    assert!(!filled_in.is_null());
    tm
}

/// glibc's strftime(3). Returns the length of the text.
fn strftime(format: &[u8], tm: &libc::tm, buf: &mut [u8]) -> usize {
    let format = CString::new(format).expect("a format without NUL");
    // SAFETY: the buffer has the given length. The format ends with a NUL, and tm is valid.
    unsafe { libc::strftime(buf.as_mut_ptr().cast(), buf.len(), format.as_ptr(), tm) }
}

/// Whether glibc's `%s` returns this instant, whose local time is `tm`: it uses mktime(3) with
/// time_t, which may return another instant where the local time repeats.
fn has_seconds(tm: &libc::tm, instant: i64) -> bool {
    let mut copy = *tm;
    // SAFETY: the copy is a valid tm.
    let seconds = unsafe { mktime(&raw mut copy) };
    seconds == instant && (size_of::<libc::time_t>() == 8 || i32::try_from(instant).is_ok())
}

/// A directive of glibc, or a `%+` that is refused. (Elsewhere `%+` is a directive of chrono.)
fn draw_directive(random: &mut Random) -> Vec<u8> {
    if random.below(64) == 0 {
        return vec![b'%', b'+', random.one_of(b"0123456789CFGY"), b'Y'];
    }
    let mut directive = vec![b'%'];
    for _ in 0..random.one_of(&[0, 0, 0, 1, 1, 2, 3]) {
        directive.push(random.one_of(b"_-0^#"));
    }
    match random.below(4) {
        0 => directive.extend((1 + random.below(14)).to_string().bytes()),
        1 if random.below(8) == 0 => directive.extend((1 + random.below(120)).to_string().bytes()),
        _ => {}
    }
    if random.below(5) == 0 {
        directive.push(random.one_of(b"EO"));
    }
    directive.push(random.one_of(LETTERS));
    directive
}

/// Half of the instants are where something changes: the UTC offset, the year or the day.
fn draw_instant(random: &mut Random, edges: &[i64]) -> i64 {
    let around = |edge: i64, random: &mut Random| edge + random.below(7) as i64 - 3;
    match random.below(4) {
        0 if !edges.is_empty() => around(random.one_of(edges), random),
        1 => {
            let year = 1971 + random.below(129) as i32;
            let day = 28 + random.below(8) as i64;
            let start = chrono::NaiveDate::from_ymd_opt(year, 12, 1)
                .expect("a date")
                .and_time(chrono::NaiveTime::MIN);
            around(start.and_utc().timestamp() + day * 86_400, random)
        }
        _ => INSTANTS.start + (random.next() >> 8) as i64 % (INSTANTS.end - INSTANTS.start),
    }
}

/// The instants at which glibc changes the UTC offset or the abbreviation.
fn changes() -> Vec<i64> {
    let zone_at = |instant| {
        let tm = localtime(instant);
        (tm.tm_gmtoff, tm.tm_isdst)
    };
    let step = 7 * 86_400;
    let mut edges = Vec::new();
    let mut from = INSTANTS.start;
    while from + step < INSTANTS.end {
        if zone_at(from) != zone_at(from + step) {
            let (mut before, mut after) = (from, from + step);
            while after - before > 1 {
                let middle = before.midpoint(after);
                if zone_at(middle) == zone_at(before) {
                    before = middle
                } else {
                    after = middle
                }
            }
            edges.push(after);
        }
        from += step;
    }
    edges
}

#[test]
fn texts_equal_those_of_glibc() {
    let seed = match env::var("WALLCLOCK_TEST_SEED") {
        Ok(seed) => seed.parse().expect("WALLCLOCK_TEST_SEED is a number"),
        Err(_) => 0x5eed_0000_0009_5270,
    };
    let mut random = Random(seed);
    let (mut compared, mut refused, mut changing, mut zones) = (0, 0, 0, 0);
    for zone in ZONES {
        let paths = ZonePaths::from_env();
        let is_file = zone.contains('/') && !zone.contains(',');
        if is_file && !paths.directory.join(zone).exists() {
            continue;
        }
        zones += 1;
        // SAFETY: no other thread reads the environment, because this is the only test.
        unsafe { env::set_var("TZ", zone) };
        // SAFETY: the same; tzset reads the environment.
        unsafe { tzset() };
        let clock = Clock::in_zone(Some(OsStr::new(zone)), &paths).expect(zone);
        let edges = changes();
        changing += edges.len();
        for _ in 0..TRIPLES.div_ceil(ZONES.len()) {
            let instant = draw_instant(&mut random, &edges);
            let tm = localtime(instant);
            let mut format = Vec::new();
            let mut is_valid = true;
            for _ in 0..1 + random.below(4) {
                let directive = draw_directive(&mut random);
                is_valid &= Format::parse(&directive).is_ok();
                format.extend_from_slice(&directive);
                format.extend_from_slice(
                    random
                        .one_of(&["", " ", "-", ":", "\u{2192}", "x"])
                        .as_bytes(),
                );
            }
            let context = || {
                let format = String::from_utf8_lossy(&format);
                format!(
                    "format {format:?}, instant {instant}, zone {zone}; WALLCLOCK_TEST_SEED={seed}"
                )
            };
            let (mut expected, mut buf) = ([0; 2048], [0; 2048]);
            let glibc_length = strftime(&format, &tm, &mut expected);
            match Format::parse(&format) {
                Ok(parsed) => {
                    assert!(is_valid, "{}", context());
                    if format.contains(&b's') && !has_seconds(&tm, instant) {
                        continue;
                    }
                    let length = parsed
                        .render(&clock.at(instant, 0), &mut buf)
                        .expect("2048 bytes are enough");
                    assert_eq!(
                        String::from_utf8_lossy(&buf[..length]),
                        String::from_utf8_lossy(&expected[..glibc_length]),
                        "{}",
                        context()
                    );
                    compared += 1;
                }
                // glibc copies what is refused here, in upper case after `^`, padded to its width.
                Err(error @ (FormatError::Unknown { at, .. } | FormatError::PlusFlag { at })) => {
                    let is_plus = format[at..].starts_with(b"%+");
                    assert_eq!(
                        is_plus,
                        error == FormatError::PlusFlag { at },
                        "{}",
                        context()
                    );
                    assert!(!is_valid, "{}", context());
                    let directive = &format[at..];
                    let length = 1 + directive
                        .iter()
                        .position(|byte| LETTERS[..LETTERS.len() - 1].contains(byte))
                        .expect("it ends");
                    let directive = &directive[..length];
                    let glibc_length = strftime(directive, &tm, &mut expected);
                    let raw = &expected[glibc_length.saturating_sub(length)..glibc_length];
                    assert!(raw.eq_ignore_ascii_case(directive), "{}", context());
                    refused += 1;
                }
                Err(error) => panic!("{error}: {}", context()),
            }
        }
    }
    println!(
        "{compared} texts are equal, {refused} refused; around {changing} changes of UTC offset"
    );
    if zones < ZONES.len() {
        skip("no zone files (Debian package tzdata)");
    }
    // At least half: some of the random formats are refused.
    let drawn = TRIPLES / ZONES.len() * zones;
    assert!(
        zones >= ZONES_WITHOUT_FILES && compared >= drawn / 2 && refused >= drawn / 400,
        "{zones} zones, {compared} compared, {refused} refused"
    );
}

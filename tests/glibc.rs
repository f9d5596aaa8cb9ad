//! The language beside the machine's own strftime(3), over random triples of format, instant and zone.
//!
//! One test only: TZ belongs to the whole process.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(unsafe_code, reason = "strftime(3) and its relatives")]

use std::env;
use std::ffi::{CString, OsStr};
use std::mem;

use support::skip;
use wallclock::clock::{Clock, ZonePaths};
use wallclock::strftime::{Format, FormatError};

unsafe extern "C" {
    fn tzset();
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

const TRIPLES: usize = 400_000;

/// Of the zones, those that need no files.
const RULES: usize = 6;

/// 1970-01-01 to 2100-12-31.
const INSTANTS: std::ops::Range<i64> = 0..4_133_980_800;

const LETTERS: &[u8] = b"aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%";

/// xorshift64*: the same triples for the same seed, everywhere.
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

/// glibc's view of an instant in the zone that TZ names.
fn broken_down(instant: i64) -> libc::tm {
    // SAFETY: a C structure of integers and a raw pointer, for which all zeros is a valid value.
    let mut tm: libc::tm = unsafe { mem::zeroed() };
    // SAFETY: both pointers are valid during the call, for a time_t and a tm.
    let filled_in = unsafe { libc::localtime_r(&raw const instant, &raw mut tm) };
    assert!(!filled_in.is_null());
    tm
}

fn glibc(format: &[u8], tm: &libc::tm, room: &mut [u8]) -> usize {
    let format = CString::new(format).expect("no NUL is drawn");
    // SAFETY: the room's length is given, format and tm are valid and outlive the call.
    unsafe { libc::strftime(room.as_mut_ptr().cast(), room.len(), format.as_ptr(), tm) }
}

/// What glibc's own `%s` says: it goes the way back from the calendar, and may come out in another branch of an overlap.
fn mktime(tm: &libc::tm) -> i64 {
    let mut copy = *tm;
    // SAFETY: the copy is a valid tm.
    unsafe { libc::mktime(&raw mut copy) }
}

fn draw_conversion(random: &mut Random) -> Vec<u8> {
    let mut conversion = vec![b'%'];
    for _ in 0..random.one_of(&[0, 0, 0, 1, 1, 2, 3]) {
        conversion.push(random.one_of(b"_-0^#"));
    }
    match random.below(4) {
        0 => conversion.extend((1 + random.below(14)).to_string().bytes()),
        1 if random.below(8) == 0 => conversion.extend((1 + random.below(120)).to_string().bytes()),
        _ => {}
    }
    if random.below(5) == 0 {
        conversion.push(random.one_of(b"EO"));
    }
    conversion.push(random.one_of(LETTERS));
    conversion
}

/// Half of the instants fall where something changes: a DST switch, a year's end, a day's end.
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

/// The instants at which glibc changes the offset or the abbreviation, to the second.
fn changes() -> Vec<i64> {
    let look = |instant| {
        let tm = broken_down(instant);
        (tm.tm_gmtoff, tm.tm_isdst)
    };
    let step = 7 * 86_400;
    let mut edges = Vec::new();
    let mut from = INSTANTS.start;
    while from + step < INSTANTS.end {
        if look(from) != look(from + step) {
            let (mut before, mut after) = (from, from + step);
            while after - before > 1 {
                let middle = before.midpoint(after);
                if look(middle) == look(before) {
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
fn every_text_is_glibcs_own() {
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
        // SAFETY: the only test of this process, which has no other thread that reads the environment.
        unsafe { env::set_var("TZ", zone) };
        // SAFETY: the same; tzset reads the environment.
        unsafe { tzset() };
        let clock = Clock::in_zone(Some(OsStr::new(zone)), &paths).expect(zone);
        let edges = changes();
        changing += edges.len();
        for _ in 0..TRIPLES.div_ceil(ZONES.len()) {
            let instant = draw_instant(&mut random, &edges);
            let tm = broken_down(instant);
            let mut format = Vec::new();
            let mut sound = true;
            for _ in 0..1 + random.below(4) {
                let conversion = draw_conversion(&mut random);
                sound &= Format::parse(&conversion).is_ok();
                format.extend_from_slice(&conversion);
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
            let (mut theirs, mut ours) = ([0; 2048], [0; 2048]);
            let theirs_length = glibc(&format, &tm, &mut theirs);
            match Format::parse(&format) {
                Ok(parsed) => {
                    assert!(sound, "{}", context());
                    if format.contains(&b's') && mktime(&tm) != instant {
                        continue;
                    }
                    let ours_length = parsed
                        .render(&clock.at(instant, 0), &mut ours)
                        .expect("2048 bytes are enough");
                    assert_eq!(
                        String::from_utf8_lossy(&ours[..ours_length]),
                        String::from_utf8_lossy(&theirs[..theirs_length]),
                        "{}",
                        context()
                    );
                    compared += 1;
                }
                // What we refuse, glibc passes through as it stands, modifier, flags, width and all
                // (under ^ in upper case, and filled to the width).
                Err(FormatError::Unknown { at, .. }) => {
                    assert!(!sound, "{}", context());
                    let conversion = &format[at..];
                    let length = 1 + conversion
                        .iter()
                        .position(|byte| LETTERS[..LETTERS.len() - 1].contains(byte))
                        .expect("it ends");
                    let conversion = &conversion[..length];
                    let theirs_length = glibc(conversion, &tm, &mut theirs);
                    let raw = &theirs[theirs_length.saturating_sub(length)..theirs_length];
                    assert!(raw.eq_ignore_ascii_case(conversion), "{}", context());
                    refused += 1;
                }
                Err(error) => panic!("{error}: {}", context()),
            }
        }
    }
    println!(
        "{compared} texts equal, {refused} refusals passed through by glibc, around {changing} changes of offset"
    );
    if zones < ZONES.len() {
        skip("no zone files (Debian package tzdata)");
    }
    // Half of the texts that were drawn; some formats of each draw are none.
    let drawn = TRIPLES / ZONES.len() * zones;
    assert!(
        zones >= RULES && compared >= drawn / 2 && refused >= drawn / 400,
        "{zones} zones, {compared} compared, {refused} refused"
    );
}

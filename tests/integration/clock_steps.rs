//! A clock that jumps, under a real daemon: libfaketime stands between it and the kernel's clock.
//!
//! It reads its instruction anew at each look at the clock, so a step is in force from the next look on. What it can't play is a kernel's own leap
//! second; the second that is lived twice, which is what POSIX time makes of one, it can.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::{Folder, Process, faketime, line_to, state, switches, until, wallclockd};
use wallclock::clock::{Clock, ZonePaths};
use wallclock::strftime::Format;
use wallclock::time::LocalTime;

/// Zones that need no files: an hour of summer time, half an hour of it south of the equator, and none.
const ZONES: [&str; 3] = [
    "EST5EDT,M3.2.0,M11.1.0",
    "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
    "UTC0",
];

/// All that a text can depend on.
const FORMAT: &str = "%s.%N|%c %Z %z|%G-W%V-%u %j %U|%I %p %y %C";

/// libfaketime reckons offsets as floating point numbers: a microsecond is lost at most.
const ROUNDING: i128 = 1_000;

struct Faked {
    process: Process,
    clock: Clock,
    line: UdpSocket,
    instruction: PathBuf,
}

impl Faked {
    /// A daemon in this zone whose clock is ours to set; `None` without libfaketime.
    fn start(zone: &str, prepare: impl FnOnce(&mut std::process::Command)) -> Option<Faked> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let library = faketime()?;
        let name = format!(
            "clock-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let instruction = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        write(&instruction, "+0");
        let mut command = wallclockd();
        command
            .args(["--listen", "127.0.0.1:0"])
            .env("TZ", zone)
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &instruction)
            .env("FAKETIME_FMT", "%s")
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
        prepare(&mut command);
        let mut process = Process::start(&mut command);
        let address = process.wait_for_address();
        let clock = Clock::in_zone(Some(OsStr::new(zone)), &ZonePaths::from_env());
        Some(Faked {
            process,
            clock: clock.expect("a sound zone"),
            line: line_to(address),
            instruction,
        })
    }

    /// The clock stands at this instant.
    fn freeze(&self, seconds: i64, nanosecond: u32) {
        write(&self.instruction, &format!("{seconds}.{nanosecond:09}"));
    }

    /// The clock runs, so many nanoseconds ahead of the real one.
    fn shift(&self, nanos: i128) {
        let sign = if nanos < 0 { '-' } else { '+' };
        let nanos = nanos.unsigned_abs();
        write(
            &self.instruction,
            &format!(
                "{sign}{}.{:09}",
                nanos / 1_000_000_000,
                nanos % 1_000_000_000
            ),
        );
    }

    fn ask(&self, format: &str) -> String {
        self.line.send(format.as_bytes()).expect("it is sent");
        let mut answer = [0; 2048];
        // A daemon that overslept would take an hour.
        let length = self.line.recv(&mut answer).expect("an answer");
        String::from_utf8(answer[..length].to_vec()).expect("UTF-8")
    }

    fn text(&self, format: &str, moment: &LocalTime) -> String {
        let mut room = [0; 2048];
        let format = Format::parse(format.as_bytes()).expect("a format");
        let length = format.render(moment, &mut room).expect("it fits");
        String::from_utf8(room[..length].to_vec()).expect("UTF-8")
    }

    /// Holds the answers to several formats, those that are remembered for a second among them, against this instant.
    fn check_frozen(&self, seconds: i64, nanosecond: u32) {
        self.freeze(seconds, nanosecond);
        // The second of whole seconds is the same whatever libfaketime makes of the nanoseconds.
        let moment = self.clock.at(seconds, nanosecond);
        for format in ["%c %Z %z", "%F %T", "%s", "%c %Z %z", "%G-W%V-%u %j %U"] {
            assert_eq!(
                self.ask(format),
                self.text(format, &moment),
                "{format} at {moment:?}"
            );
        }
        self.check(seconds as i128 * 1_000_000_000 + i128::from(nanosecond), 0);
    }

    /// Asks for everything: the text is all of one moment, and that is no further than `within` behind `earliest`.
    fn check(&self, earliest: i128, within: i128) -> i128 {
        let answer = self.ask(FORMAT);
        let moment = answer
            .split_once('|')
            .and_then(|(moment, _)| moment.split_once('.'));
        let (seconds, nanosecond) = moment.expect("seconds and nanoseconds");
        let seconds: i64 = seconds.parse().expect("seconds");
        let nanosecond: u32 = nanosecond.parse().expect("nanoseconds");
        assert_eq!(
            answer,
            self.text(FORMAT, &self.clock.at(seconds, nanosecond))
        );
        let shown = i128::from(seconds) * 1_000_000_000 + i128::from(nanosecond);
        assert!(
            (earliest - ROUNDING..=earliest + within + ROUNDING).contains(&shown),
            "{answer} is {} ns after the earliest, {within} are allowed",
            shown - earliest
        );
        shown
    }

    /// As the clock runs so far ahead of the real one.
    fn check_shifted(&self, nanos: i128) -> i128 {
        let asked = real();
        let answer = self.ask("%s.%N");
        let within = real() - asked;
        let (seconds, nanosecond) = answer.split_once('.').expect("seconds and nanoseconds");
        let shown = seconds.parse::<i128>().expect("seconds") * 1_000_000_000
            + nanosecond.parse::<i128>().expect("nanoseconds");
        let earliest = asked + nanos;
        assert!(
            (earliest - ROUNDING..=earliest + within + ROUNDING).contains(&shown),
            "{answer} is {} ns after the earliest, {within} are allowed",
            shown - earliest
        );
        // What is remembered within its second, between two looks at it.
        let before = real() + nanos - ROUNDING;
        let answer = self.ask("%s %c %Z");
        let after = real() + nanos + ROUNDING;
        let second: i64 = answer
            .split(' ')
            .next()
            .and_then(|second| second.parse().ok())
            .expect("a second");
        let seconds = before.div_euclid(1_000_000_000)..=after.div_euclid(1_000_000_000);
        assert!(
            seconds.contains(&i128::from(second)),
            "{answer}: {seconds:?}"
        );
        assert_eq!(answer, self.text("%s %c %Z", &self.clock.at(second, 0)));
        shown
    }
}

impl Drop for Faked {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.instruction);
    }
}

/// Whole at any time: the daemon may read it at any.
fn write(path: &Path, instruction: &str) {
    let fresh = path.with_extension("new");
    fs::write(&fresh, instruction).expect("it is written");
    fs::rename(&fresh, path).expect("it is put in place");
}

fn real() -> i128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is after 1970")
        .as_nanos() as i128
}

/// xorshift64: the same steps each time.
fn random(state: &mut u64) -> i64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 1).cast_signed()
}

/// Where something changes: summer time in 2026, years, 2038, 2106, a leap day, a day that is none.
fn edges(clock: &Clock) -> Vec<i64> {
    let year = 1_767_225_600..1_798_761_600;
    let mut edges: Vec<i64> = year
        .step_by(1800)
        .filter(|&instant| {
            clock.at(instant - 1, 0).utc_offset() != clock.at(instant, 0).utc_offset()
        })
        .collect();
    let offset = i64::from(clock.at(1_798_761_600, 0).utc_offset());
    // Midnights of the zone: 2027-01-01, 2028-02-29, 2100-03-01.
    edges.extend([1_798_761_600, 1_835_395_200, 4_107_542_400].map(|midnight| midnight - offset));
    edges.extend([1 << 31, 1 << 32]);
    edges
}

#[test]
fn each_second_around_an_edge_has_its_own_text_whichever_way_the_clock_steps() {
    for zone in ZONES {
        let Some(daemon) = Faked::start(zone, |_| {}) else {
            return;
        };
        let edges = edges(&daemon.clock);
        assert_eq!(edges.len(), if zone == "UTC0" { 5 } else { 7 }, "{zone}");
        for &edge in &edges {
            for instant in (-2..=2).chain((-2..=2).rev()) {
                daemon.check_frozen(edge + instant, 0);
            }
            // The last and the first nanosecond that a double holds of them, and hours there and back.
            daemon.check_frozen(edge - 1, 999_999_000);
            daemon.check_frozen(edge, 0);
            for hours in [-1, 1, -3, 12, -24] {
                daemon.check_frozen(edge + 3600 * hours, 500_000_000);
                daemon.check_frozen(edge, 0);
            }
        }
        let mut state = 0x9e37_79b9_7f4a_7c15;
        for _ in 0..200 {
            let edge = edges[random(&mut state) as usize % edges.len()];
            daemon.check_frozen(edge + random(&mut state) % 7300 - 3650, 0);
        }
    }
}

#[test]
fn the_hour_that_summer_time_gives_back_is_told_twice() {
    let Some(daemon) = Faked::start(ZONES[0], |_| {}) else {
        return;
    };
    // 2026-11-01 06:00:00 UTC. The same digits an hour apart, and an hour back again: never the other's abbreviation.
    let edge = 1_793_512_800;
    for (instant, text) in [
        (edge - 1, "01:59:59 EDT -0400"),
        (edge, "01:00:00 EST -0500"),
        (edge - 3600, "01:00:00 EDT -0400"),
        (edge, "01:00:00 EST -0500"),
        (edge + 3599, "01:59:59 EST -0500"),
        (edge - 1, "01:59:59 EDT -0400"),
        (edge + 3600, "02:00:00 EST -0500"),
    ] {
        daemon.freeze(instant, 0);
        for _ in 0..2 {
            assert_eq!(daemon.ask("%T %Z %z"), text, "{instant}");
        }
    }
}

#[test]
fn a_second_lived_twice_is_told_twice() {
    let Some(daemon) = Faked::start("UTC0", |_| {}) else {
        return;
    };
    // 2016-12-31 23:59:60 was the second 1483228800 for the first time, or 1483228799 for the second: Linux has it so.
    let leap = 1_483_228_800;
    for (seconds, nanosecond, text) in [
        (leap - 2, 500_000_000, "2016-12-31 23:59:58"),
        (leap - 1, 0, "2016-12-31 23:59:59"),
        (leap - 1, 999_000_000, "2016-12-31 23:59:59"),
        (leap - 1, 0, "2016-12-31 23:59:59"),
        (leap - 1, 999_000_000, "2016-12-31 23:59:59"),
        (leap, 0, "2017-01-01 00:00:00"),
        (leap, 500_000_000, "2017-01-01 00:00:00"),
        (leap - 1, 500_000_000, "2016-12-31 23:59:59"),
        (leap, 0, "2017-01-01 00:00:00"),
    ] {
        daemon.freeze(seconds, nanosecond);
        assert_eq!(daemon.ask("%F %T"), text);
        assert_eq!(daemon.ask(" "), text);
        daemon.check_frozen(seconds, nanosecond);
    }
    // The same with a clock that runs: from 0.2 s before midnight over it, back by a second, and over it again.
    let mut shift = i128::from(leap) * 1_000_000_000 - 200_000_000 - real();
    for repeated in [false, true] {
        if repeated {
            shift -= 1_000_000_000;
        }
        daemon.shift(shift);
        let until = i128::from(leap) * 1_000_000_000 + 200_000_000;
        let mut highest = i128::MIN;
        while highest < until {
            let shown = daemon.check_shifted(shift);
            assert!(shown + ROUNDING >= highest, "back within a run");
            highest = shown;
        }
    }
}

#[test]
fn a_smeared_second_is_followed_all_the_way() {
    let Some(daemon) = Faked::start("UTC0", |_| {}) else {
        return;
    };
    // A second's worth of slewing in a second and a half, a millisecond at a time: the clock goes at a third of its
    // pace for the half second about midnight.
    let start = real();
    let begin = i128::from(1_483_228_800) * 1_000_000_000 - 250_000_000 - start;
    loop {
        let progress = (real() - start) * 2 / 3 / 1_000_000 * 1_000_000;
        let shift = begin - progress.min(1_000_000_000);
        daemon.shift(shift);
        daemon.check_shifted(shift);
        if progress > 1_000_000_000 {
            break;
        }
    }
}

#[test]
fn steps_of_hours_either_way_show_in_the_very_next_answer() {
    for zone in ZONES {
        let Some(mut daemon) = Faked::start(zone, |_| {}) else {
            return;
        };
        let mut state = 0x2545_f491_4f6c_dd1d;
        for _ in 0..300 {
            let shift = i128::from(random(&mut state) % 86_400_000 - 43_200_000) * 1_000_000;
            daemon.shift(shift);
            for _ in 0..5 {
                daemon.check_shifted(shift);
            }
        }
        daemon.shift(0);
        daemon.check_shifted(0);
        daemon.process.signal("TERM");
        assert!(daemon.process.wait().success());
        let bad = |line: &&String| line.contains("ERROR") || line.contains("panicked");
        assert_eq!(daemon.process.log.iter().find(bad), None);
    }
}

#[test]
fn a_stepping_clock_does_not_wake_a_daemon_that_nobody_asks() {
    let Some(daemon) = Faked::start("UTC0", |_| {}) else {
        return;
    };
    daemon.check_shifted(0);
    let id = daemon.process.id();
    until("it does not go to sleep", || state(id) == 'S');
    let before = switches(id);
    for step in 0..50 {
        daemon.shift([3600, -3600, 86_400, 0, -7][step % 5] * 1_000_000_000);
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(switches(id), before, "context switches while nobody asked");
    daemon.shift(7_200_000_000_000);
    daemon.check_shifted(7_200_000_000_000);
}

#[test]
fn the_watchdog_is_fed_while_the_clock_steps() {
    let folder = Folder::new("notify");
    let path = folder.0.join("socket");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    let Some(daemon) = Faked::start("UTC0", |command| {
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "200000");
    }) else {
        return;
    };
    manager.set_nonblocking(true).expect("it is a socket");
    let take = || {
        let mut room = [0; 512];
        let mut fed = 0;
        loop {
            match manager.recv(&mut room) {
                Ok(length) => {
                    fed += usize::from(room[..length].starts_with(b"WATCHDOG=1"));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return fed,
                Err(error) => panic!("{error}"),
            }
        }
    };
    daemon.check_shifted(0);
    take();
    let (start, before) = (Instant::now(), daemon.process.on_cpu());
    // Half of 200 ms is what is due; were the steps to count, it would be hours. Nothing may make
    // it early.
    let (mut fed, mut step) = (0, 0);
    until("it is not fed", || {
        let shift = [3600, -3600, 86_400, 0, -7][step % 5] * 1_000_000_000;
        daemon.shift(shift);
        if step % 100 == 0 {
            daemon.check_shifted(shift);
        }
        step += 1;
        fed += take();
        fed >= 10
    });
    let elapsed = start.elapsed();
    let spent = daemon.process.on_cpu() - before;
    assert!(
        fed as u128 <= elapsed.as_millis() / 100 + 1,
        "{fed} times in {elapsed:?}"
    );
    // A loop that spins takes all that it gets.
    assert!(spent < elapsed / 4, "{spent:?} of {elapsed:?} on a core");
}

#[test]
fn a_text_that_is_empty_is_an_answer_that_is_empty() {
    let Some(faked) = Faked::start("UTC0", |_| {}) else {
        return;
    };
    // chrono's %.f shows no fraction in a second's first nanosecond.
    faked.freeze(1_783_213_507, 0);
    assert_eq!(faked.ask("%.f"), "");
    faked.freeze(1_783_213_507, 500_000_000);
    assert_eq!(faked.ask("%.f"), ".500");
}

//! A daemon whose clock the test sets by libfaketime.

use std::ffi::OsStr;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use support::{Process, connected_socket, libfaketime_or_skip, wallclockd};
use wallclock::clock::{Clock, ZonePaths};
use wallclock::strftime::Format;
use wallclock::time::LocalTime;

/// A format whose text depends on all fields of a time.
const FORMAT: &str = "%s.%N|%c %Z %z|%G-W%V-%u %j %U|%I %p %y %C";

/// libfaketime computes with floating point numbers, whose error is at most this many nanoseconds.
pub(super) const ROUNDING: i128 = 1_000;

pub(super) const SECOND: i128 = 1_000_000_000;

/// A daemon whose clock the test sets.
pub(super) struct FaketimeDaemon {
    pub(super) process: Process,
    /// A clock in the same zone.
    pub(super) clock: Clock,
    client: UdpSocket,
    /// The file with libfaketime's setting.
    setting: PathBuf,
}

impl FaketimeDaemon {
    /// Starts a daemon in this zone, after `prepare` has changed its command. Skips the test
    /// without libfaketime.
    pub(super) fn start_or_skip(
        zone: &str,
        prepare: impl FnOnce(&mut std::process::Command),
    ) -> Option<FaketimeDaemon> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let library = libfaketime_or_skip()?;
        let name = format!(
            "clock-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let setting = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        write_setting(&setting, "+0");
        let mut command = wallclockd();
        command
            .args(["--listen", "127.0.0.1:0"])
            .env("TZ", zone)
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &setting)
            .env("FAKETIME_FMT", "%s")
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
        prepare(&mut command);
        let mut process = Process::start(&mut command);
        let address = process.wait_for_address();
        let clock = Clock::in_zone(Some(OsStr::new(zone)), &ZonePaths::from_env());
        Some(FaketimeDaemon {
            process,
            clock: clock.expect("a zone"),
            client: connected_socket(address),
            setting,
        })
    }

    /// Stops the clock at this time.
    pub(super) fn freeze(&self, seconds: i64, nanosecond: u32) {
        write_setting(&self.setting, &format!("{seconds}.{nanosecond:09}"));
    }

    /// Lets the clock run with this offset from the real one.
    pub(super) fn set_offset(&self, nanos: i128) {
        let sign = if nanos < 0 { '-' } else { '+' };
        let nanos = nanos.unsigned_abs();
        write_setting(
            &self.setting,
            &format!(
                "{sign}{}.{:09}",
                nanos / 1_000_000_000,
                nanos % 1_000_000_000
            ),
        );
    }

    pub(super) fn query(&self, format: &str) -> String {
        self.client
            .send(format.as_bytes())
            .expect("the request is sent");
        let mut buf = [0; 2048];
        // A daemon that sleeps by its stepped clock would take an hour.
        let length = self.client.recv(&mut buf).expect("a response");
        String::from_utf8(buf[..length].to_vec()).expect("UTF-8")
    }

    /// The library's text of this time.
    fn text(&self, format: &str, time: &LocalTime) -> String {
        let mut buf = [0; 2048];
        let format = Format::parse(format.as_bytes()).expect("a format");
        let length = format.render(time, &mut buf).expect("the text fits");
        String::from_utf8(buf[..length].to_vec()).expect("UTF-8")
    }

    /// Stops the clock at this time and checks the responses to several formats.
    pub(super) fn check_frozen(&self, seconds: i64, nanosecond: u32) {
        self.freeze(seconds, nanosecond);
        // These formats show whole seconds, which libfaketime's rounding does not change.
        let time = self.clock.at(seconds, nanosecond);
        for format in ["%c %Z %z", "%F %T", "%s", "%c %Z %z", "%G-W%V-%u %j %U"] {
            assert_eq!(
                self.query(format),
                self.text(format, &time),
                "{format} at {time:?}"
            );
        }
        self.check(i128::from(seconds) * SECOND + i128::from(nanosecond), 0);
    }

    /// Checks that all of a response is the text of one time, which is at most `within` nanoseconds
    /// after `earliest`. Returns that time.
    fn check(&self, earliest: i128, within: i128) -> i128 {
        let response = self.query(FORMAT);
        let time = response
            .split_once('|')
            .and_then(|(time, _)| time.split_once('.'));
        let (seconds, nanosecond) = time.expect("seconds and nanoseconds");
        let seconds: i64 = seconds.parse().expect("seconds");
        let nanosecond: u32 = nanosecond.parse().expect("nanoseconds");
        assert_eq!(
            response,
            self.text(FORMAT, &self.clock.at(seconds, nanosecond))
        );
        let shown = i128::from(seconds) * SECOND + i128::from(nanosecond);
        assert!(
            (earliest - ROUNDING..=earliest + within + ROUNDING).contains(&shown),
            "{response} is {} ns after the earliest time, {within} are allowed",
            shown - earliest
        );
        shown
    }

    /// Checks two responses while the clock runs with this offset from the real one. Returns the
    /// time of the first.
    pub(super) fn check_running(&self, nanos: i128) -> i128 {
        let sent_at = real_time();
        let response = self.query("%s.%N");
        let within = real_time() - sent_at;
        let (seconds, nanosecond) = response.split_once('.').expect("seconds and nanoseconds");
        let shown = seconds.parse::<i128>().expect("seconds") * SECOND
            + nanosecond.parse::<i128>().expect("nanoseconds");
        let earliest = sent_at + nanos;
        assert!(
            (earliest - ROUNDING..=earliest + within + ROUNDING).contains(&shown),
            "{response} is {} ns after the earliest time, {within} are allowed",
            shown - earliest
        );
        // A format of whole seconds shows a second between two readings of the clock.
        let before = real_time() + nanos - ROUNDING;
        let response = self.query("%s %c %Z");
        let after = real_time() + nanos + ROUNDING;
        let second: i64 = response
            .split(' ')
            .next()
            .and_then(|second| second.parse().ok())
            .expect("a second");
        let seconds = before.div_euclid(SECOND)..=after.div_euclid(SECOND);
        assert!(
            seconds.contains(&i128::from(second)),
            "{response}: {seconds:?}"
        );
        assert_eq!(response, self.text("%s %c %Z", &self.clock.at(second, 0)));
        shown
    }
}

impl Drop for FaketimeDaemon {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.setting);
    }
}

/// Replaces the setting by rename, so that the daemon never reads half of it.
fn write_setting(path: &Path, setting: &str) {
    let new_path = path.with_extension("new");
    fs::write(&new_path, setting).expect("the setting is written");
    fs::rename(&new_path, path).expect("renamed");
}

/// Nanoseconds since 1970 by the real clock.
pub(super) fn real_time() -> i128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is after 1970")
        .as_nanos() as i128
}

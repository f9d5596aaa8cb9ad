//! A daemon whose clock steps. libfaketime, between the daemon and the kernel's clock, steps it.
//!
//! libfaketime reads its setting at each reading of the clock, so a step takes effect at the next
//! one. It cannot simulate a leap second of the kernel, but the repeated second that POSIX time
//! makes of one.

mod faketime;

use std::io;
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::{Duration, Instant};

use support::{TempDir, context_switches, process_state, wait_until};
use wallclock::clock::Clock;

use faketime::{FaketimeDaemon, ROUNDING, SECOND, real_time};

/// Zones that need no files: with an hour of summer time, with half an hour of it in the southern
/// hemisphere, and without.
const ZONES: [&str; 3] = [
    "EST5EDT,M3.2.0,M11.1.0",
    "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
    "UTC0",
];

/// The next number of xorshift64: the same steps in each run.
fn random(state: &mut u64) -> i64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 1).cast_signed()
}

/// Times at which a field changes: summer time in 2026, a year, a leap day, the missing leap day of
/// 2100, and the limits of 32-bit seconds in 2038 and 2106.
fn transitions(clock: &Clock) -> Vec<i64> {
    let year = 1_767_225_600..1_798_761_600;
    let mut transitions: Vec<i64> = year
        .step_by(1800)
        .filter(|&time| clock.at(time - 1, 0).utc_offset() != clock.at(time, 0).utc_offset())
        .collect();
    let offset = i64::from(clock.at(1_798_761_600, 0).utc_offset());
    // Midnights in the zone: 2027-01-01, 2028-02-29, 2100-03-01.
    transitions
        .extend([1_798_761_600, 1_835_395_200, 4_107_542_400].map(|midnight| midnight - offset));
    transitions.extend([1 << 31, 1 << 32]);
    transitions
}

#[test]
fn seconds_around_transitions_are_exact_after_steps() {
    for zone in ZONES {
        let Some(daemon) = FaketimeDaemon::start_or_skip(zone, |_| {}) else {
            return;
        };
        let transitions = transitions(&daemon.clock);
        assert_eq!(
            transitions.len(),
            if zone == "UTC0" { 5 } else { 7 },
            "{zone}"
        );
        for &transition in &transitions {
            for seconds in (-2..=2).chain((-2..=2).rev()) {
                daemon.check_frozen(transition + seconds, 0);
            }
            // The last nanosecond before it that libfaketime can represent, the first one after
            // it, and steps of hours away and back.
            daemon.check_frozen(transition - 1, 999_999_000);
            daemon.check_frozen(transition, 0);
            for hours in [-1, 1, -3, 12, -24] {
                daemon.check_frozen(transition + 3600 * hours, 500_000_000);
                daemon.check_frozen(transition, 0);
            }
        }
        let mut state = 0x9e37_79b9_7f4a_7c15;
        for _ in 0..200 {
            let transition = transitions[random(&mut state) as usize % transitions.len()];
            daemon.check_frozen(transition + random(&mut state) % 7300 - 3650, 0);
        }
    }
}

#[test]
fn repeated_hour_shows_the_right_abbreviation() {
    let Some(daemon) = FaketimeDaemon::start_or_skip(ZONES[0], |_| {}) else {
        return;
    };
    // 2026-11-01 06:00:00 UTC, the end of summer time: the same local time twice, an hour apart.
    let end = 1_793_512_800;
    for (time, text) in [
        (end - 1, "01:59:59 EDT -0400"),
        (end, "01:00:00 EST -0500"),
        (end - 3600, "01:00:00 EDT -0400"),
        (end, "01:00:00 EST -0500"),
        (end + 3599, "01:59:59 EST -0500"),
        (end - 1, "01:59:59 EDT -0400"),
        (end + 3600, "02:00:00 EST -0500"),
    ] {
        daemon.freeze(time, 0);
        for _ in 0..2 {
            assert_eq!(daemon.query("%T %Z %z"), text, "{time}");
        }
    }
}

#[test]
fn repeated_second_is_shown_twice() {
    let Some(daemon) = FaketimeDaemon::start_or_skip("UTC0", |_| {}) else {
        return;
    };
    // At 2016-12-31 23:59:60, a leap second, Linux repeats the second 1483228799.
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
        assert_eq!(daemon.query("%F %T"), text);
        assert_eq!(daemon.query(" "), text);
        daemon.check_frozen(seconds, nanosecond);
    }
    // The same with a running clock: from 0.2 s before midnight past it, back by a second, and past
    // it again.
    let mut offset = i128::from(leap) * SECOND - 200_000_000 - real_time();
    for repeated in [false, true] {
        if repeated {
            offset -= SECOND;
        }
        daemon.set_offset(offset);
        let end = i128::from(leap) * SECOND + 200_000_000;
        let mut highest = i128::MIN;
        while highest < end {
            let shown = daemon.check_running(offset);
            assert!(shown + ROUNDING >= highest, "the time goes back");
            highest = shown;
        }
    }
}

#[test]
fn smeared_second_is_followed() {
    let Some(daemon) = FaketimeDaemon::start_or_skip("UTC0", |_| {}) else {
        return;
    };
    // One second slewed within a second and a half, in steps of a millisecond: the clock runs at a
    // third of its speed around midnight.
    let start = real_time();
    let begin = i128::from(1_483_228_800) * SECOND - 250_000_000 - start;
    loop {
        let progress = (real_time() - start) * 2 / 3 / 1_000_000 * 1_000_000;
        let offset = begin - progress.min(SECOND);
        daemon.set_offset(offset);
        daemon.check_running(offset);
        if progress > SECOND {
            break;
        }
    }
}

#[test]
fn steps_of_hours_show_in_the_next_response() {
    for zone in ZONES {
        let Some(mut daemon) = FaketimeDaemon::start_or_skip(zone, |_| {}) else {
            return;
        };
        let mut state = 0x2545_f491_4f6c_dd1d;
        for _ in 0..300 {
            let offset = i128::from(random(&mut state) % 86_400_000 - 43_200_000) * 1_000_000;
            daemon.set_offset(offset);
            for _ in 0..5 {
                daemon.check_running(offset);
            }
        }
        daemon.set_offset(0);
        daemon.check_running(0);
        daemon.process.terminate();
        let bad = |line: &&String| line.contains("ERROR") || line.contains("panicked");
        assert_eq!(daemon.process.log.iter().find(bad), None);
    }
}

#[test]
fn clock_steps_do_not_wake_an_idle_daemon() {
    let Some(daemon) = FaketimeDaemon::start_or_skip("UTC0", |_| {}) else {
        return;
    };
    daemon.check_running(0);
    let id = daemon.process.id();
    wait_until("the daemon does not sleep", || process_state(id) == 'S');
    let before = context_switches(id);
    for step in 0..50 {
        daemon.set_offset([3600, -3600, 86_400, 0, -7][step % 5] * SECOND);
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(context_switches(id), before, "context switches");
    daemon.set_offset(7_200 * SECOND);
    daemon.check_running(7_200 * SECOND);
}

#[test]
fn clock_steps_do_not_disturb_the_watchdog() {
    let dir = TempDir::new("notify");
    let path = dir.path().join("socket");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    let Some(daemon) = FaketimeDaemon::start_or_skip("UTC0", |command| {
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "200000");
    }) else {
        return;
    };
    manager.set_nonblocking(true).expect("non-blocking");
    let count_notifications = || {
        let mut buf = [0; 512];
        let mut count = 0;
        loop {
            match manager.recv(&mut buf) {
                Ok(length) => {
                    count += usize::from(buf[..length].starts_with(b"WATCHDOG=1"));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return count,
                Err(error) => panic!("{error}"),
            }
        }
    };
    daemon.check_running(0);
    count_notifications();
    let (start, before) = (Instant::now(), daemon.process.cpu_time());
    // The daemon notifies the watchdog after half of the 200 ms. A timer that the steps change
    // would expire hours later, or at once.
    let (mut notifications, mut step) = (0, 0);
    wait_until("the watchdog is not notified", || {
        let offset = [3600, -3600, 86_400, 0, -7][step % 5] * SECOND;
        daemon.set_offset(offset);
        if step % 100 == 0 {
            daemon.check_running(offset);
        }
        step += 1;
        notifications += count_notifications();
        notifications >= 10
    });
    let elapsed = start.elapsed();
    let cpu_time = daemon.process.cpu_time() - before;
    assert!(
        notifications as u128 <= elapsed.as_millis() / 100 + 1,
        "{notifications} notifications in {elapsed:?}"
    );
    // A loop that spins uses all the CPU time that it gets.
    assert!(cpu_time < elapsed / 4, "{cpu_time:?} of {elapsed:?}");
}

#[test]
fn rule_5_empty_text_is_an_empty_response() {
    let Some(daemon) = FaketimeDaemon::start_or_skip("UTC0", |_| {}) else {
        return;
    };
    // chrono's %.f is empty at a whole second.
    daemon.freeze(1_783_213_507, 0);
    assert_eq!(daemon.query("%.f"), "");
    daemon.freeze(1_783_213_507, 500_000_000);
    assert_eq!(daemon.query("%.f"), ".500");
}

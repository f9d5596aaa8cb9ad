//! The zone: a daemon follows its files, and keeps its head where they go bad.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use support::{Folder, LOOK, Process, ask, follows, stays, tzif, wallclockd};
use wallclock::clock::{Clock, ZoneError, ZonePaths};

/// Puts a link in place of another by rename, as ln -sf and package managers do.
fn relink(target: &Path, link: &Path) {
    let fresh = link.with_extension("new");
    symlink(target, &fresh).expect("a link");
    fs::rename(fresh, link).expect("renamed");
}

#[test]
fn a_daemon_follows_the_zones_file_however_it_changes() {
    let folder = Folder::new("follows");
    let (aaa, bbb) = (
        folder.file("AAA", &tzif("AAA", 3600)),
        folder.file("BBB", &tzif("BBB", 7200)),
    );
    let localtime = folder.0.join("localtime");
    relink(&aaa, &localtime);
    let mut process = Process::start(
        wallclockd()
            .args(["-l", "127.0.0.1:0"])
            .env("TZ", format!(":{}", localtime.display())),
    );
    let address = process.wait_for_address();
    assert_eq!(ask(address, b"%Z%z"), b"AAA+0100");
    let follows = |expected: &str| follows(address, b"%Z%z", expected.as_bytes(), Instant::now());
    // The link replaced.
    relink(&bbb, &localtime);
    follows("BBB+0200");
    // The file behind the link rewritten, then replaced.
    rewrite(&bbb, &tzif("CCC", 10_800));
    follows("CCC+0300");
    let upgraded = folder.file("upgraded", &tzif("DDD", 14_400));
    fs::rename(upgraded, &bbb).expect("renamed");
    follows("DDD+0400");
    // The link become a file, and that rewritten.
    fs::remove_file(&localtime).expect("removed");
    folder.file("localtime", &tzif("EEE", -3600));
    follows("EEE-0100");
    rewrite(&localtime, &tzif("FFF", -7200));
    follows("FFF-0200");

    // A file gone or gone bad: the last good rules stay, with one warning each time, until a good one is there.
    rewrite(&localtime, b"TZif2 no more");
    stays(address, b"%Z%z", b"FFF-0200", Instant::now());
    let warning = process.wait_for("WARN  wallclock::clock");
    assert!(warning.contains(&*localtime.to_string_lossy()), "{warning}");
    fs::remove_file(&localtime).expect("removed");
    stays(address, b"%Z%z", b"FFF-0200", Instant::now());
    relink(&aaa, &localtime);
    follows("AAA+0100");
    process.signal("TERM");
    assert!(process.wait().success());
    assert_eq!(
        process
            .log
            .iter()
            .filter(|line| line.contains("WARN  wallclock::clock"))
            .count(),
        1,
        "{:#?}",
        process.log
    );
}

/// Writes a file anew, until its time of modification is another than before: the kernel's clock
/// for that ticks slowly, and a change within one tick to a text of the same length is none that a
/// look at the file could see.
fn rewrite(path: &Path, contents: &[u8]) {
    let modified = || fs::metadata(path).and_then(|about| about.modified());
    let before = modified().expect("a file");
    while modified().expect("a file") == before {
        fs::write(path, contents).expect("rewritten");
    }
}

fn zone(tz: Option<&str>, paths: &ZonePaths) -> Result<String, ZoneError> {
    Clock::in_zone(tz.map(AsRef::as_ref), paths).map(|clock| {
        let moment = clock.at(1_783_213_507, 0);
        format!("{}{:+}", moment.abbreviation(), moment.utc_offset())
    })
}

#[test]
fn tz_is_read_as_tzset_does() {
    let folder = Folder::new("tzset");
    folder.file("localtime", &tzif("LOC", 3600));
    folder.file("Room", &tzif("ROM", 7200));
    let absolute = folder.file("elsewhere", &tzif("ABS", 10_800));
    let paths = ZonePaths {
        localtime: folder.0.join("localtime"),
        directory: folder.0.clone(),
    };
    let absolute = absolute.to_string_lossy();
    for (tz, expected) in [
        (None, "LOC+3600"),
        (Some(""), "UTC+0"),
        (Some(":"), "UTC+0"),
        (Some("Room"), "ROM+7200"),
        (Some(":Room"), "ROM+7200"),
        (Some(&*absolute), "ABS+10800"),
        (Some("CST-8"), "CST+28800"),
        (Some("<+0530>-5:30"), "+0530+19800"),
        (Some("EST5EDT,M3.2.0,M11.1.0"), "EDT-14400"),
        (Some("<-02>2<-01>,M3.5.0/-1,M10.5.0/0"), "-01-3600"),
        (Some("UTC"), "UTC+0"),
        (Some("GMT"), "GMT+0"),
        (Some("UTC0"), "UTC+0"),
    ] {
        assert_eq!(zone(tz, &paths).expect("a zone"), expected, "{tz:?}");
    }
    let missing = ZonePaths {
        localtime: folder.0.join("missing"),
        directory: folder.0.clone(),
    };
    assert_eq!(zone(None, &missing).expect("a zone"), "UTC+0");
}

#[test]
fn a_zone_that_is_missing_at_the_start_is_utc_until_it_is_there() {
    let folder = Folder::new("missing");
    let paths = ZonePaths {
        localtime: folder.0.join("localtime"),
        directory: folder.0.clone(),
    };
    let mut clock = Clock::in_zone(None, &paths).expect("a zone");
    assert_eq!(clock.now().abbreviation(), "UTC");
    folder.file("localtime", &tzif("LATE", 3600));
    let made = Instant::now();
    loop {
        let looked = Instant::now();
        if clock.now().abbreviation() == "LATE" {
            break;
        }
        assert!(looked - made <= LOOK, "not seen");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_zone_that_cannot_be_understood_is_an_error() {
    let folder = Folder::new("errors");
    folder.file("localtime", b"not a zone");
    let mut right = tzif("RGT", 0);
    // One leap second, in both blocks of the file: its count in the header, its record behind the characters.
    let block = 44 + 6 + 4;
    right[28..32].copy_from_slice(&1_u32.to_be_bytes());
    right[block + 28..block + 32].copy_from_slice(&1_u32.to_be_bytes());
    let second = [&78_796_800_i64.to_be_bytes()[..], &1_i32.to_be_bytes()].concat();
    let first = [&78_796_800_i32.to_be_bytes()[..], &1_i32.to_be_bytes()].concat();
    let end_of_second = 2 * block;
    right.splice(end_of_second..end_of_second, second);
    right.splice(block..block, first);
    folder.file("right", &right);
    let paths = ZonePaths {
        localtime: folder.0.join("localtime"),
        directory: folder.0.clone(),
    };
    assert!(matches!(zone(None, &paths), Err(ZoneError::Parse { .. })));
    assert!(matches!(
        zone(Some("right"), &paths),
        Err(ZoneError::LeapSeconds { .. })
    ));
    for tz in [
        "Mars/Olympus",
        "NZST-12NZDT",
        "EST5EDT4",
        "garbage",
        "%d",
        "CST+99",
        "AB5",
        "<a>5",
        "CST6C",
    ] {
        let error = zone(Some(tz), &paths).expect_err(tz);
        assert!(
            matches!(error, ZoneError::Unknown { .. }),
            "{tz}: {error:?}"
        );
        assert!(error.to_string().contains(tz), "{error}");
    }
}

#[test]
fn the_clock_goes_on_within_its_second_and_over_its_edge() {
    let mut clock = Clock::utc();
    let start = Instant::now();
    let mut last = clock.now();
    while start.elapsed() < Duration::from_millis(1200) {
        let now = clock.now();
        let order =
            |moment: &wallclock::time::LocalTime| (moment.unix_seconds(), moment.nanosecond());
        assert!(order(&now) >= order(&last) || now.unix_seconds() == last.unix_seconds());
        assert_eq!(
            now.fields() == last.fields(),
            now.unix_seconds() == last.unix_seconds()
        );
        let local = now.fields();
        let [hour, minute, second] = [local.hour, local.minute, local.second].map(i64::from);
        assert_eq!(
            hour * 3600 + minute * 60 + second,
            now.unix_seconds() % 86_400
        );
        last = now;
    }
}

//! The time zone: the daemon follows the files that it comes from, and keeps the last good rules if
//! they become invalid.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use support::{
    HANG_TIMEOUT, MAX_STALENESS, Process, TempDir, assert_response_becomes, assert_response_stays,
    query, tzif, wallclockd,
};
use wallclock::clock::{Clock, ZoneError, ZonePaths};

/// Replaces a link by rename, as ln -sf and package managers do.
fn replace_link(target: &Path, link: &Path) {
    let new_link = link.with_extension("new");
    symlink(target, &new_link).expect("a link");
    fs::rename(new_link, link).expect("renamed");
}

/// Rewrites a file until its modification time changes. The kernel's clock for that has coarse
/// ticks: within one tick, new contents of the same length leave the file's metadata as they were.
fn rewrite(path: &Path, contents: &[u8]) {
    let modified = || fs::metadata(path).and_then(|metadata| metadata.modified());
    let before = modified().expect("a file");
    while modified().expect("a file") == before {
        fs::write(path, contents).expect("rewritten");
    }
}

#[test]
fn daemon_follows_changes_of_the_zone_file() {
    let dir = TempDir::new("follows");
    let (aaa, bbb) = (
        dir.write_file("AAA", &tzif("AAA", 3600)),
        dir.write_file("BBB", &tzif("BBB", 7200)),
    );
    let localtime = dir.path().join("localtime");
    replace_link(&aaa, &localtime);
    let mut process = Process::start(
        wallclockd()
            .args(["-l", "127.0.0.1:0"])
            .env("TZ", format!(":{}", localtime.display())),
    );
    let address = process.wait_for_address();
    assert_eq!(query(address, b"%Z%z"), b"AAA+0100");
    let assert_becomes = |zone: &str| {
        assert_response_becomes(address, b"%Z%z", zone.as_bytes(), Instant::now());
    };
    let assert_stays = |zone: &str| {
        assert_response_stays(address, b"%Z%z", zone.as_bytes(), Instant::now());
    };
    // The link is replaced.
    replace_link(&bbb, &localtime);
    assert_becomes("BBB+0200");
    // The file behind the link is rewritten, then replaced.
    rewrite(&bbb, &tzif("CCC", 10_800));
    assert_becomes("CCC+0300");
    let upgraded = dir.write_file("upgraded", &tzif("DDD", 14_400));
    fs::rename(upgraded, &bbb).expect("renamed");
    assert_becomes("DDD+0400");
    // The link is replaced by a file, and that is rewritten.
    fs::remove_file(&localtime).expect("removed");
    dir.write_file("localtime", &tzif("EEE", -3600));
    assert_becomes("EEE-0100");
    rewrite(&localtime, &tzif("FFF", -7200));
    assert_becomes("FFF-0200");

    // The file becomes invalid, then disappears: the last good rules stay in force until there is
    // a good file, with one warning for each of both changes.
    rewrite(&localtime, b"TZif2 no more");
    assert_stays("FFF-0200");
    let path = localtime.to_string_lossy();
    let warning = process.wait_for("last good rules");
    assert!(
        warning.contains("WARN") && warning.contains(&*path),
        "{warning}"
    );
    fs::remove_file(&localtime).expect("removed");
    assert_stays("FFF-0200");
    replace_link(&aaa, &localtime);
    assert_becomes("AAA+0100");
    process.terminate();
    // Whether the machine's clock is synchronised is another warning.
    let is_warning = |line: &&String| line.contains("WARN") && line.contains(&*path);
    let warnings = process.log.iter().filter(is_warning).count();
    assert_eq!(warnings, 2, "{:#?}", process.log);
}

/// Makes a FIFO without a writer: who opens it for reading is blocked.
fn make_fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
}

#[test]
fn zone_file_that_becomes_a_fifo_does_not_stop_the_daemon() {
    let dir = TempDir::new("becomes-fifo");
    // Its name is two lines, of which the second could be taken for another message.
    let file = dir.write_file("zone\nfile", &tzif("AAA", 3600));
    let fifo = dir.path().join("fifo");
    make_fifo(&fifo);
    let mut process = Process::start(
        wallclockd()
            .args(["-l", "127.0.0.1:0"])
            .env("TZ", format!(":{}", file.display())),
    );
    let address = process.wait_for_address();
    assert_eq!(query(address, b"%Z"), b"AAA");
    fs::rename(fifo, &file).expect("renamed");
    assert_response_stays(address, b"%Z", b"AAA", Instant::now());
    let warning = process.wait_for("last good rules");
    assert!(
        warning.contains("zone\\x0afile: it is no regular file"),
        "{warning}"
    );
    let good = dir.write_file("good", &tzif("BBB", 7200));
    fs::rename(good, &file).expect("renamed");
    assert_response_becomes(address, b"%Z", b"BBB", Instant::now());
    let news = process.wait_for("its new rules");
    assert!(news.contains("zone\\x0afile changed"), "{news}");
    process.terminate();
}

#[test]
fn zone_file_that_cannot_be_one_is_an_error() {
    let dir = TempDir::new("no-zone-file");
    make_fifo(&dir.path().join("fifo"));
    fs::create_dir(dir.path().join("directory")).expect("a directory");
    symlink("/dev/null", dir.path().join("device")).expect("a link");
    // A file of procfs, too, has the size 0.
    dir.write_file("empty", b"");
    let mut large = tzif("AAA", 3600);
    large.resize((1 << 20) + 1, b'\n');
    dir.write_file("large", &large);
    for (name, expected) in [
        ("fifo", "no regular file"),
        ("directory", "no regular file"),
        ("device", "no regular file"),
        ("empty", "empty"),
        ("large", "larger than 1 MiB"),
    ] {
        let paths = ZonePaths {
            localtime: dir.path().join(name),
            directory: dir.path().to_owned(),
        };
        let (sender, result) = channel();
        thread::spawn(move || sender.send(zone(None, &paths)));
        let result = result
            .recv_timeout(HANG_TIMEOUT)
            .expect("it does not block");
        let Err(ZoneError::Read { source, .. }) = &result else {
            panic!("{name}: {result:?}");
        };
        assert!(source.to_string().contains(expected), "{name}: {source}");
    }
}

/// The abbreviation and offset in seconds of the zone that this TZ means.
fn zone(tz: Option<&str>, paths: &ZonePaths) -> Result<String, ZoneError> {
    Clock::in_zone(tz.map(AsRef::as_ref), paths).map(|clock| {
        let time = clock.at(1_783_213_507, 0);
        format!("{}{:+}", time.abbreviation(), time.utc_offset())
    })
}

#[test]
fn tz_means_the_zone_that_tzset_reads() {
    let dir = TempDir::new("tzset");
    dir.write_file("localtime", &tzif("LOC", 3600));
    dir.write_file("Hall", &tzif("HAL", 7200));
    let absolute = dir.write_file("elsewhere", &tzif("ABS", 10_800));
    let paths = ZonePaths {
        localtime: dir.path().join("localtime"),
        directory: dir.path().to_owned(),
    };
    let absolute = absolute.to_string_lossy();
    for (tz, expected) in [
        (None, "LOC+3600"),
        (Some(""), "UTC+0"),
        (Some(":"), "UTC+0"),
        (Some("Hall"), "HAL+7200"),
        (Some(":Hall"), "HAL+7200"),
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
        localtime: dir.path().join("missing"),
        directory: dir.path().to_owned(),
    };
    assert_eq!(zone(None, &missing).expect("a zone"), "UTC+0");
}

#[test]
fn missing_zone_file_is_utc_until_it_appears() {
    let dir = TempDir::new("missing");
    let paths = ZonePaths {
        localtime: dir.path().join("localtime"),
        directory: dir.path().to_owned(),
    };
    let mut clock = Clock::in_zone(None, &paths).expect("a zone");
    assert_eq!(clock.now().abbreviation(), "UTC");
    dir.write_file("localtime", &tzif("LATE", 3600));
    let created = Instant::now();
    loop {
        let read_at = Instant::now();
        if clock.now().abbreviation() == "LATE" {
            break;
        }
        assert!(read_at - created <= MAX_STALENESS, "still UTC");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn invalid_zone_is_an_error() {
    let dir = TempDir::new("errors");
    dir.write_file("localtime", b"not a zone");
    let mut right = tzif("RGT", 0);
    // One leap second in both blocks of the file: its count is in the header, its record after the
    // characters.
    let block = 44 + 6 + 4;
    right[28..32].copy_from_slice(&1_u32.to_be_bytes());
    right[block + 28..block + 32].copy_from_slice(&1_u32.to_be_bytes());
    let second = [&78_796_800_i64.to_be_bytes()[..], &1_i32.to_be_bytes()].concat();
    let first = [&78_796_800_i32.to_be_bytes()[..], &1_i32.to_be_bytes()].concat();
    let end_of_second = 2 * block;
    right.splice(end_of_second..end_of_second, second);
    right.splice(block..block, first);
    dir.write_file("right", &right);
    let paths = ZonePaths {
        localtime: dir.path().join("localtime"),
        directory: dir.path().to_owned(),
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
fn clock_fields_follow_the_system_clock() {
    fn system_seconds() -> i64 {
        let since_1970 = std::time::UNIX_EPOCH.elapsed();
        since_1970.expect("the clock is after 1970").as_secs() as i64
    }
    let mut clock = Clock::utc();
    let start = Instant::now();
    let mut last = clock.now();
    // Long enough to pass the end of a second.
    while start.elapsed() < Duration::from_millis(1200) {
        let before = system_seconds();
        let now = clock.now();
        let after = system_seconds();
        // `before` is later than `after` only if the system clock was stepped back in between.
        if before <= after {
            assert!((before..=after).contains(&now.unix_seconds()));
        }
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

//! A time zone: its rules, and the file that they are read from, again after each change.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use tz::timezone::{LocalTimeType, TimeZone, TransitionRule};

use crate::error::{error_chain, printable};

/// The largest zone file that is read. A real one has less than 10 KiB.
const MAX_FILE_SIZE: u64 = 1 << 20;

/// Why a time zone cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ZoneError {
    /// The zone's file cannot be read.
    #[error("zone file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// The zone's file is not TZif (RFC 8536).
    #[error("zone file {}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with its contents.
        source: tz::TzError,
    },
    /// The zone's file counts leap seconds (those in `right/` do), but POSIX time does not.
    #[error(
        "zone file {}: it counts leap seconds (a \"right\" zone), which this clock does not",
        path.display()
    )]
    LeapSeconds {
        /// The file.
        path: PathBuf,
    },
    /// TZ names no file and is no POSIX TZ string.
    #[error(
        "TZ={}: no such file in {} and no POSIX TZ string",
        tz.display(),
        directory.display()
    )]
    Unknown {
        /// The value of TZ.
        tz: OsString,
        /// The directory of the zone files.
        directory: PathBuf,
        /// What is wrong with it as a POSIX TZ string; `None` if an abbreviation in it is too
        /// short.
        source: Option<tz::TzError>,
    },
}

/// The paths of the zone files.
#[derive(Clone, Debug)]
pub struct ZonePaths {
    /// The host's zone, used if TZ is not set: `/etc/localtime`.
    pub localtime: PathBuf,
    /// The directory of the files that TZ names: TZDIR, else `/usr/share/zoneinfo`.
    pub directory: PathBuf,
}

impl ZonePaths {
    /// The paths of this host (tzset(3)).
    pub fn from_env() -> ZonePaths {
        ZonePaths::new(env::var_os("TZDIR"))
    }

    fn new(tzdir: Option<OsString>) -> ZonePaths {
        ZonePaths {
            localtime: PathBuf::from("/etc/localtime"),
            directory: tzdir
                .filter(|directory| !directory.is_empty())
                .map_or_else(|| PathBuf::from("/usr/share/zoneinfo"), PathBuf::from),
        }
    }
}

/// A zone's rules and the file that they were read from.
#[derive(Debug)]
pub(super) struct Zone {
    /// `None` for UTC.
    rules: Option<TimeZone>,
    /// `None` if no file is used: UTC, or a POSIX TZ string.
    file: Option<ZoneFile>,
}

impl Zone {
    /// UTC, without a file.
    pub(super) fn utc() -> Zone {
        Zone {
            rules: None,
            file: None,
        }
    }

    /// Reads the zone that TZ names, as tzset(3) does: the host's zone if TZ is not set, UTC if it
    /// is empty, else a file, else a POSIX TZ string.
    pub(super) fn from_tz(tz: Option<&OsStr>, paths: &ZonePaths) -> Result<Zone, ZoneError> {
        let Some(tz) = tz else {
            return Zone::localtime(&paths.localtime);
        };
        let bytes = tz.as_encoded_bytes();
        let name = bytes.strip_prefix(b":").unwrap_or(bytes);
        if name.is_empty() {
            return Ok(Zone::utc());
        }
        let text = String::from_utf8_lossy(name);
        // join() returns an absolute name unchanged.
        let path = paths.directory.join(&*text);
        if path.is_file() {
            return Zone::from_path(path);
        }
        // glibc knows these two names without zone files.
        let rule = match &*text {
            "UTC" | "GMT" => format!("{text}0"),
            _ => text.into_owned(),
        };
        match parse_posix_tz(&rule) {
            Ok(rules) => Ok(Zone {
                rules: Some(rules),
                file: None,
            }),
            Err(source) => Err(ZoneError::Unknown {
                tz: tz.to_owned(),
                directory: paths.directory.clone(),
                source,
            }),
        }
    }

    /// Reads the host's zone; UTC while the file is missing (localtime(5)). That is a warning,
    /// because the tables that the link needs may not be installed yet.
    fn localtime(path: &Path) -> Result<Zone, ZoneError> {
        match Zone::from_path(path.to_owned()) {
            Err(ZoneError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                log::warn!(
                    "zone file {} is missing: the zone is UTC until it is there",
                    path.display()
                );
                Ok(Zone {
                    rules: None,
                    file: Some(ZoneFile {
                        path: path.to_owned(),
                        stamp: None,
                    }),
                })
            }
            result => result,
        }
    }

    fn from_path(path: PathBuf) -> Result<Zone, ZoneError> {
        // The stamp comes first: a change between the two calls is then found by the next refresh.
        let stamp = FileStamp::new(&path).ok();
        let rules = Some(load_tzif(&path)?);
        Ok(Zone {
            rules,
            file: Some(ZoneFile { path, stamp }),
        })
    }

    /// Reads the zone's file again if it has changed. If that fails, the last good rules stay in
    /// force, because any other zone would be a guess.
    pub(super) fn refresh(&mut self) {
        let Some(file) = &mut self.file else { return };
        match file.read_if_changed() {
            Ok(Some(rules)) if self.rules.as_ref() != Some(&rules) => {
                log::info!(
                    "zone file {} changed: its new rules are in force",
                    printable(file.path.as_os_str().as_bytes())
                );
                self.rules = Some(rules);
            }
            Ok(_) => {}
            Err(error) => log::warn!("{}: the last good rules stay in force", error_chain(&error)),
        }
    }

    /// The offset from UTC in seconds, and the abbreviation, at an instant.
    pub(super) fn at(&self, unix_seconds: i64) -> (i32, &str) {
        let Some(rules) = &self.rules else {
            return (0, "UTC");
        };
        let local_time_type = rules
            .find_local_time_type(unix_seconds)
            .unwrap_or_else(|_| last_local_time_type(rules));
        (
            local_time_type.ut_offset(),
            local_time_type.time_zone_designation(),
        )
    }
}

/// The local time type after the last transition. glibc too uses it for all that follows if the
/// file has no rule for that.
fn last_local_time_type(rules: &TimeZone) -> &LocalTimeType {
    let table = rules.as_ref();
    let index = table
        .transitions()
        .last()
        .map_or(0, |transition| transition.local_time_type_index());
    &table.local_time_types()[index]
}

/// The file of a zone, and what was found when it was last read.
#[derive(Debug)]
struct ZoneFile {
    path: PathBuf,
    /// `None` if the file was missing.
    stamp: Option<FileStamp>,
}

impl ZoneFile {
    /// Reads the file if it has changed since the last call.
    ///
    /// # Errors
    ///
    /// The file cannot be used. That is returned once for each change, not once a second.
    fn read_if_changed(&mut self) -> Result<Option<TimeZone>, ZoneError> {
        let stamp = FileStamp::new(&self.path).ok();
        if stamp == self.stamp {
            return Ok(None);
        }
        self.stamp = stamp;
        load_tzif(&self.path).map(Some)
    }
}

/// What differs after a file, or a link to it, was replaced or rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    fn new(path: &Path) -> io::Result<FileStamp> {
        let metadata = fs::metadata(path)?;
        Ok(FileStamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Parses a POSIX TZ string. The error is `None` if an abbreviation in it has fewer than the three
/// characters that POSIX requires.
///
/// It is parsed as the footer of a file without a table (RFC 8536, version 3), because tz-rs
/// accepts the hours -167 to 167 in the rules of a footer only; glibc accepts them in TZ too.
fn parse_posix_tz(rule: &str) -> Result<TimeZone, Option<tz::TzError>> {
    // No transitions, no leap seconds, and one local time type, which a table must have.
    let mut table = b"TZif3".to_vec();
    table.extend([0; 15]);
    for count in [0_u32, 0, 0, 0, 1, 4] {
        table.extend(count.to_be_bytes());
    }
    table.extend([0; 6]);
    table.extend(b"UTC\0");
    let file = [&table, &table, &b"\n"[..], rule.as_bytes(), b"\n"].concat();
    let zone = TimeZone::from_tz_data(&file).map_err(Some)?;
    let is_named = |time: &LocalTimeType| time.time_zone_designation().len() >= 3;
    let all_named = match zone.as_ref().extra_rule() {
        Some(TransitionRule::Fixed(time)) => is_named(time),
        Some(TransitionRule::Alternate(rule)) => is_named(rule.std()) && is_named(rule.dst()),
        None => false,
    };
    if all_named { Ok(zone) } else { Err(None) }
}

/// Reads a regular file, without waiting for a writer and never more than [`MAX_FILE_SIZE`], which
/// also cuts a file that grows meanwhile.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // Before it is opened, because opening alone affects some devices, and again for the case that
    // the file is replaced in between.
    check_file(&fs::metadata(path)?)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    check_file(&file.metadata()?)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_SIZE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Checks that a file can be a zone file. Those of procfs, of which some block, have the size 0.
fn check_file(metadata: &fs::Metadata) -> io::Result<()> {
    let error = match metadata.len() {
        _ if !metadata.is_file() => "it is no regular file",
        0 => "it is empty",
        1..=MAX_FILE_SIZE => return Ok(()),
        _ => "it is larger than 1 MiB",
    };
    Err(io::Error::other(error))
}

/// Reads a TZif file.
fn load_tzif(path: &Path) -> Result<TimeZone, ZoneError> {
    let bytes = read_file(path).map_err(|source| ZoneError::Read {
        path: path.to_owned(),
        source,
    })?;
    let rules = TimeZone::from_tz_data(&bytes).map_err(|source| ZoneError::Parse {
        path: path.to_owned(),
        source,
    })?;
    if rules.as_ref().leap_seconds().is_empty() {
        Ok(rules)
    } else {
        Err(ZoneError::LeapSeconds {
            path: path.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::test_log;

    /// A directory of the test's own, removed at its end.
    struct TempDir(PathBuf);

    impl TempDir {
        fn new(name: &str) -> TempDir {
            let name = format!("wallclock-zone-{name}-{}", std::process::id());
            let path = env::temp_dir().join(name);
            fs::create_dir_all(&path).expect("a directory");
            TempDir(path)
        }

        fn write(&self, name: &str, contents: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, contents).expect("written");
            path
        }

        fn paths(&self) -> ZonePaths {
            ZonePaths {
                localtime: self.0.join("localtime"),
                directory: self.0.clone(),
            }
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A TZif file with these transitions (time, index of the type), types (offset, abbreviation of
    /// three characters) and leap seconds, and with this footer.
    fn tzif(
        transitions: &[(i64, u8)],
        types: &[(i32, &str)],
        leap_seconds: u32,
        footer: &str,
    ) -> Vec<u8> {
        let header = |counts: [u32; 6]| {
            let mut bytes = b"TZif2".to_vec();
            bytes.extend([0; 15]);
            bytes.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
            bytes
        };
        // The first block, for readers of version 1, is not read: it has one type and no
        // transitions.
        let mut file = header([0, 0, 0, 0, 1, 4]);
        file.extend(*b"\0\0\0\0\0\0UTC\0");
        let (times, count) = (transitions.len() as u32, types.len() as u32);
        file.extend(header([0, 0, leap_seconds, times, count, 4 * count]));
        file.extend(transitions.iter().flat_map(|(time, _)| time.to_be_bytes()));
        file.extend(transitions.iter().map(|(_, index)| index));
        for (index, (offset, _)) in types.iter().enumerate() {
            file.extend(offset.to_be_bytes());
            file.extend([0, 4 * index as u8]);
        }
        for (_, abbreviation) in types {
            file.extend(abbreviation.as_bytes());
            file.push(0);
        }
        for second in 1..=leap_seconds {
            file.extend((i64::from(second) * 78_796_800).to_be_bytes());
            file.extend(second.to_be_bytes());
        }
        file.extend(format!("\n{footer}\n").into_bytes());
        file
    }

    fn fixed(abbreviation: &str, hours: i32) -> Vec<u8> {
        let footer = format!("{abbreviation}{}", -hours);
        tzif(&[], &[(3600 * hours, abbreviation)], 0, &footer)
    }

    fn shown(zone: &Zone) -> String {
        let (offset, abbreviation) = zone.at(1_783_213_507);
        format!("{abbreviation}{offset:+}")
    }

    #[test]
    fn an_empty_tzdir_is_ignored() {
        for (tzdir, expected) in [
            (None, "/usr/share/zoneinfo"),
            (Some(""), "/usr/share/zoneinfo"),
            (Some("/srv/zones"), "/srv/zones"),
        ] {
            let paths = ZonePaths::new(tzdir.map(OsString::from));
            assert_eq!(paths.directory, Path::new(expected));
        }
    }

    #[test]
    fn tz_is_read_as_tzset_does() {
        let directory = TempDir::new("tzset");
        directory.write("localtime", &fixed("LOC", 1));
        directory.write("Region", &fixed("REG", 2));
        let absolute = directory.write("absolute", &fixed("ABS", 3));
        for (tz, expected) in [
            (None, "LOC+3600"),
            (Some(""), "UTC+0"),
            (Some(":"), "UTC+0"),
            (Some("Region"), "REG+7200"),
            (Some(":Region"), "REG+7200"),
            (absolute.to_str(), "ABS+10800"),
            (Some("UTC"), "UTC+0"),
            (Some("GMT"), "GMT+0"),
            (Some("CST-8"), "CST+28800"),
            (Some("EST5EDT,M3.2.0,M11.1.0"), "EDT-14400"),
            // Hours beyond 24, in the rules of version 3.
            (Some("EST5EDT,M3.2.0/-160,M11.1.0/160"), "EDT-14400"),
        ] {
            let zone = Zone::from_tz(tz.map(OsStr::new), &directory.paths());
            assert_eq!(shown(&zone.expect("a zone")), expected, "{tz:?}");
        }
    }

    #[test]
    fn a_wrong_tz_is_an_error() {
        let directory = TempDir::new("wrong");
        for (tz, too_short) in [
            ("Mars/Olympus", false),
            ("EST5EDT4", false),
            // tz-rs takes it for a footer without a rule.
            (" ", true),
            ("AB5", true),
            ("<a>5", true),
            ("AB5CDE,M3.2.0,M11.1.0", true),
            ("ABC5DE,M3.2.0,M11.1.0", true),
        ] {
            let result = Zone::from_tz(Some(OsStr::new(tz)), &directory.paths());
            let Err(ZoneError::Unknown { source, .. }) = result else {
                panic!("{tz}: {result:?}");
            };
            assert_eq!(source.is_none(), too_short, "{tz}");
        }
    }

    #[test]
    fn a_wrong_file_is_an_error() {
        let directory = TempDir::new("files");
        let load = |name: &str, contents: &[u8]| {
            Zone::from_path(directory.write(name, contents)).expect_err(name)
        };
        let right = tzif(&[], &[(0, "RGT")], 1, "");
        assert!(matches!(load("bad", b"bad"), ZoneError::Parse { .. }));
        assert!(matches!(
            load("right", &right),
            ZoneError::LeapSeconds { .. }
        ));
        let error = Zone::localtime(&directory.0).expect_err("a directory");
        assert!(matches!(error, ZoneError::Read { .. }));
    }

    #[test]
    fn the_last_type_holds_after_the_table() {
        let directory = TempDir::new("table");
        let types = [(3600, "AAA"), (7200, "BBB")];
        let two = directory.write("two", &tzif(&[(100, 0), (200, 1)], &types, 0, ""));
        let none = directory.write("none", &tzif(&[], &types[1..], 0, ""));
        let two = Zone::from_path(two).expect("a zone");
        assert_eq!(two.at(150), (3600, "AAA"));
        assert_eq!(two.at(1_783_213_507), (7200, "BBB"));
        let none = Zone::from_path(none).expect("a zone");
        assert_eq!(none.at(1_783_213_507), (7200, "BBB"));
    }

    #[test]
    fn a_missing_localtime_is_utc_until_it_is_there() {
        test_log::start();
        let directory = TempDir::new("missing");
        let mut zone = Zone::from_tz(None, &directory.paths()).expect("a zone");
        zone.refresh();
        assert_eq!(shown(&zone), "UTC+0");
        let path = directory.write("localtime", &fixed("NEW", 1));
        zone.refresh();
        assert_eq!(shown(&zone), "NEW+3600");
        let path = path.display();
        assert_eq!(
            test_log::take(),
            [
                format!("WARN zone file {path} is missing: the zone is UTC until it is there"),
                format!("INFO zone file {path} changed: its new rules are in force"),
            ]
        );
    }

    #[test]
    fn garbage_after_a_missing_localtime_is_reported() {
        test_log::start();
        let directory = TempDir::new("garbage");
        let mut zone = Zone::from_tz(None, &directory.paths()).expect("a zone");
        test_log::take();
        directory.write("localtime", b"bad");
        for expected in [1, 0] {
            zone.refresh();
            let log = test_log::take();
            assert_eq!(log.len(), expected, "{log:?}");
            assert!(log.iter().all(|line| line.starts_with("WARN ")));
        }
        assert_eq!(shown(&zone), "UTC+0");
    }

    #[test]
    fn a_changed_file_is_read_again() {
        test_log::start();
        let directory = TempDir::new("changed");
        let path = directory.write("zone", &fixed("OLD", 1));
        let mut zone = Zone::from_path(path.clone()).expect("a zone");
        let refreshed = |zone: &mut Zone, contents: &[u8]| {
            // A new file, renamed: its inode differs, however coarse the file system's time is.
            fs::rename(directory.write("new", contents), &path).expect("renamed");
            zone.refresh();
            (shown(zone), test_log::take())
        };
        let log = |text: &str| vec![format!("INFO zone file {}{text}", path.display())];
        let changed = log(" changed: its new rules are in force");
        assert_eq!(
            refreshed(&mut zone, &fixed("NEW", 2)),
            ("NEW+7200".to_owned(), changed.clone())
        );
        // The same rules in another file are no news.
        assert_eq!(
            refreshed(&mut zone, &fixed("NEW", 2)),
            ("NEW+7200".to_owned(), vec![])
        );
        // An error is logged once for each change.
        for _ in 0..2 {
            let (shown, log) = refreshed(&mut zone, b"bad");
            assert_eq!((shown.as_str(), log.len()), ("NEW+7200", 1), "{log:?}");
            assert!(log[0].starts_with("WARN ") && log[0].ends_with("rules stay in force"));
            fs::remove_file(&path).expect("removed");
            for expected in [1, 0] {
                zone.refresh();
                let log = test_log::take();
                assert_eq!(log.len(), expected, "{log:?}");
                assert!(log.iter().all(|line| line.starts_with("WARN ")));
            }
            assert_eq!(
                refreshed(&mut zone, &fixed("NEW", 2)),
                ("NEW+7200".to_owned(), vec![])
            );
        }
    }

    #[test]
    fn an_unchanged_file_is_not_read_again() {
        let directory = TempDir::new("unchanged");
        let mut file = ZoneFile {
            path: directory.write("zone", &fixed("OLD", 1)),
            stamp: None,
        };
        assert!(file.read_if_changed().expect("read").is_some());
        assert!(file.read_if_changed().expect("not read").is_none());
    }
}

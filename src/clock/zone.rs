//! The zone: its rules, the file they come from, and the file's changes.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tz::timezone::{LocalTimeType, TimeZone, TransitionRule};

/// A zone that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ZoneError {
    /// The zone's file is there but can't be read.
    #[error("zone file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The zone's file is no TZif (RFC 8536).
    #[error("zone file {}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: tz::TzError,
    },
    /// The zone's file counts leap seconds ("right/…"), which a clock of POSIX time does not.
    #[error("zone file {}: it counts leap seconds (a \"right\" zone), which this clock does not", path.display())]
    LeapSeconds {
        /// The file.
        path: PathBuf,
    },
    /// TZ names no file and is no POSIX TZ string.
    #[error("TZ={}: no such file in {} and no POSIX TZ string", tz.display(), directory.display())]
    Unknown {
        /// The value of TZ.
        tz: OsString,
        /// Where zones are looked up.
        directory: PathBuf,
        /// What is wrong with it as a POSIX TZ string; `None` where a name in it is too short.
        source: Option<tz::TzError>,
    },
}

/// Where zones are found: tests and odd systems have their own places.
#[derive(Clone, Debug)]
pub struct ZonePaths {
    /// The host's zone where TZ does not say: `/etc/localtime`.
    pub localtime: PathBuf,
    /// Where TZ's names are looked up: TZDIR, else `/usr/share/zoneinfo`.
    pub directory: PathBuf,
}

impl ZonePaths {
    /// The usual places of this host (tzset(3)).
    pub fn from_env() -> ZonePaths {
        ZonePaths {
            localtime: PathBuf::from("/etc/localtime"),
            directory: env::var_os("TZDIR")
                .filter(|directory| !directory.is_empty())
                .map_or_else(|| PathBuf::from("/usr/share/zoneinfo"), PathBuf::from),
        }
    }
}

/// A zone's rules and the file they came from.
#[derive(Debug)]
pub(super) struct Zone {
    /// `None` for UTC.
    rules: Option<TimeZone>,
    file: Option<ZoneFile>,
}

#[derive(Debug)]
struct ZoneFile {
    path: PathBuf,
    /// What the file looked like when it was last read, or tried.
    stamp: Option<FileStamp>,
    /// The last trouble is told once, not once a second.
    error_logged: bool,
}

/// What changes when a file is replaced or rewritten, the links before it included.
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
        let about = fs::metadata(path)?;
        Ok(FileStamp {
            device: about.dev(),
            inode: about.ino(),
            size: about.size(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        })
    }
}

impl Zone {
    pub(super) fn utc() -> Zone {
        Zone {
            rules: None,
            file: None,
        }
    }

    /// Reads TZ as tzset(3) does: unset for the host's zone, empty for UTC, else a file, else a POSIX TZ string.
    pub(super) fn from_tz(tz: Option<&OsStr>, paths: &ZonePaths) -> Result<Zone, ZoneError> {
        let Some(tz) = tz else {
            return match Zone::from_path(paths.localtime.clone()) {
                // localtime(5): where the file is missing, the zone is UTC.
                Err(ZoneError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    log::info!("{} is missing: the zone is UTC", paths.localtime.display());
                    Ok(Zone {
                        rules: None,
                        file: Some(ZoneFile {
                            path: paths.localtime.clone(),
                            stamp: None,
                            error_logged: true,
                        }),
                    })
                }
                read => read,
            };
        };
        let bytes = tz.as_encoded_bytes();
        let name = bytes.strip_prefix(b":").unwrap_or(bytes);
        if name.is_empty() {
            return Ok(Zone::utc());
        }
        let text = String::from_utf8_lossy(name);
        // An absolute name stays itself under join().
        let path = paths.directory.join(&*text);
        if path.is_file() {
            return Zone::from_path(path);
        }
        // The two names that need no tables are understood on a host without any, as by glibc.
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

    fn from_path(path: PathBuf) -> Result<Zone, ZoneError> {
        // Looked at before it is read: a change in between is then seen at the next look.
        let stamp = FileStamp::new(&path).ok();
        let rules = Some(load_tzif(&path)?);
        Ok(Zone {
            rules,
            file: Some(ZoneFile {
                path,
                stamp,
                error_logged: false,
            }),
        })
    }

    /// Takes up a change of the zone's file. While there is no sound file the last rules stay in force, since any other
    /// zone would be a guess.
    pub(super) fn refresh(&mut self) {
        let Some(file) = &mut self.file else { return };
        let fresh = match FileStamp::new(&file.path) {
            Ok(stamp) if file.stamp == Some(stamp) => return,
            Ok(stamp) => {
                file.stamp = Some(stamp);
                load_tzif(&file.path)
            }
            Err(source) => {
                file.stamp = None;
                Err(ZoneError::Read {
                    path: file.path.clone(),
                    source,
                })
            }
        };
        match fresh {
            Ok(rules) => {
                file.error_logged = false;
                let rules = Some(rules);
                if rules != self.rules {
                    log::info!(
                        "zone file {} changed: its new rules are in force",
                        file.path.display()
                    );
                    self.rules = rules;
                }
            }
            Err(error) if !file.error_logged => {
                file.error_logged = true;
                log::warn!(
                    "{}: the last good rules stay in force",
                    crate::error::error_chain(&error)
                );
            }
            Err(_) => {}
        }
    }

    pub(super) fn at(&self, unix_seconds: i64) -> (i32, &str) {
        let Some(rules) = &self.rules else {
            return (0, "UTC");
        };
        match rules.find_local_time_type(unix_seconds) {
            Ok(kind) => (kind.ut_offset(), kind.time_zone_designation()),
            // A table that ends without a rule for what follows: its last entry goes on, as glibc does it.
            Err(_) => {
                let table = rules.as_ref();
                let last = table
                    .transitions()
                    .last()
                    .map_or(0, |transition| transition.local_time_type_index());
                let kind = &table.local_time_types()[last];
                (kind.ut_offset(), kind.time_zone_designation())
            }
        }
    }
}

/// Reads a POSIX TZ string; an error of `None` where a name in it is shorter than the three characters that POSIX demands.
///
/// It is read as the footer of a file without a table (RFC 8536, version 3), because there the hours of its rules may be those that glibc
/// takes in TZ as well, -167 to 167.
fn parse_posix_tz(rule: &str) -> Result<TimeZone, Option<tz::TzError>> {
    // No transitions, no leap seconds, and one local time, which never is.
    let mut table = b"TZif3".to_vec();
    table.extend([0; 15]);
    for count in [0_u32, 0, 0, 0, 1, 4] {
        table.extend(count.to_be_bytes());
    }
    table.extend([0; 6]);
    table.extend(b"UTC\0");
    let file = [&table, &table, &b"\n"[..], rule.as_bytes(), b"\n"].concat();
    let zone = TimeZone::from_tz_data(&file).map_err(Some)?;
    let named = |time: &LocalTimeType| time.time_zone_designation().len() >= 3;
    let all_named = match zone.as_ref().extra_rule() {
        Some(TransitionRule::Fixed(time)) => named(time),
        Some(TransitionRule::Alternate(rule)) => named(rule.std()) && named(rule.dst()),
        None => false,
    };
    if all_named { Ok(zone) } else { Err(None) }
}

fn load_tzif(path: &Path) -> Result<TimeZone, ZoneError> {
    let bytes = fs::read(path).map_err(|source| ZoneError::Read {
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

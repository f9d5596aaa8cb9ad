//! The moment: one look at the clock gives the instant, the zone's offset and its abbreviation together.
//!
//! Offset and abbreviation come from one table (TZif, RFC 8536, or a POSIX TZ string), so they never disagree across a
//! change. The files behind the zone are looked at when a new second begins, so a replaced link, a rewritten file and
//! an upgrade of the tables all show within a second, and nothing wakes up for them.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, NaiveDateTime};
use tz::timezone::{LocalTimeType, TimeZone, TransitionRule};

use crate::sync;

/// All that the text of a format without sub-second parts depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Second {
    /// Seconds since 1970-01-01 00:00:00 UTC, leap seconds not counted (POSIX "seconds since the Epoch").
    unix: i64,
    /// Seconds east of UTC.
    offset: i32,
    abbreviation: Abbreviation,
    doubtful: bool,
}

/// The longest abbreviation, in bytes.
pub(crate) const ABBREVIATION: usize = 15;

/// The zone's abbreviation, `%Z`. TZif and POSIX hold 3 to 6 letters; a longer one is cut.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Abbreviation {
    bytes: [u8; ABBREVIATION],
    length: u8,
}

impl Abbreviation {
    fn of(text: &str) -> Abbreviation {
        let mut bytes = [0; ABBREVIATION];
        let mut length = 0;
        for character in text.chars() {
            // The one rule that rule L needs of a zone: its name is no conversion.
            let (true, Some(slot)) = (
                character.is_ascii_graphic() && character != '%',
                bytes.get_mut(length),
            ) else {
                break;
            };
            *slot = character as u8;
            length += 1;
        }
        Abbreviation {
            bytes,
            length: length as u8,
        }
    }

    fn as_str(&self) -> &str {
        // Only ASCII gets in.
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for Abbreviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// An instant as a wall clock of one zone shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    second: Second,
    nanosecond: u32,
    local: NaiveDateTime,
}

impl Moment {
    /// The instant `unix_seconds` (seconds since the Epoch) and `nanosecond` (0 to 999,999,999), seen where the clocks
    /// are `offset` seconds east of UTC and the zone is abbreviated so.
    ///
    /// An instant beyond chrono's calendar (some 262,000 years either way; no kernel's clock holds one) is shown as
    /// 1970-01-01 00:00:00.
    pub fn new(unix_seconds: i64, nanosecond: u32, offset: i32, abbreviation: &str) -> Moment {
        let shown = unix_seconds
            .checked_add(i64::from(offset))
            .and_then(|shown| DateTime::from_timestamp(shown, 0));
        Moment {
            second: Second {
                unix: unix_seconds,
                offset,
                abbreviation: Abbreviation::of(abbreviation),
                doubtful: false,
            },
            nanosecond,
            local: shown.unwrap_or_default().naive_utc(),
        }
    }

    /// The same moment by a clock that must not be believed: nobody is told the time then.
    pub fn doubted(mut self) -> Moment {
        self.second.doubtful = true;
        self
    }

    /// Whether the clock that showed it must not be believed.
    pub fn is_doubtful(&self) -> bool {
        self.second.doubtful
    }

    /// Seconds since 1970-01-01 00:00:00 UTC (POSIX "seconds since the Epoch").
    pub fn unix_seconds(&self) -> i64 {
        self.second.unix
    }

    /// Nanoseconds within the second, 0 to 999,999,999.
    pub fn nanosecond(&self) -> u32 {
        self.nanosecond
    }

    /// Seconds east of UTC.
    pub fn offset(&self) -> i32 {
        self.second.offset
    }

    /// The zone's abbreviation, for `%Z`.
    pub fn abbreviation(&self) -> &str {
        self.second.abbreviation.as_str()
    }

    /// The abbreviation in the front of an array, and how long it is.
    pub(crate) fn abbreviation_bytes(&self) -> ([u8; ABBREVIATION], usize) {
        let Abbreviation { bytes, length } = self.second.abbreviation;
        (bytes, usize::from(length))
    }

    /// The second this moment lies in: two moments of one second have the same text, sub-second parts aside.
    pub fn second(&self) -> &Second {
        &self.second
    }

    /// Date and time of day as the zone shows them, whole seconds.
    pub fn local(&self) -> &NaiveDateTime {
        &self.local
    }
}

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
        /// What is wrong with it as a POSIX TZ string.
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
    pub fn of_host() -> ZonePaths {
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
struct Zone {
    /// `None` for UTC.
    rules: Option<TimeZone>,
    file: Option<ZoneFile>,
}

#[derive(Debug)]
struct ZoneFile {
    path: PathBuf,
    /// What the file looked like when it was last read, or tried.
    stamp: Option<Stamp>,
    /// The last trouble is told once, not once a second.
    troubled: bool,
}

/// What changes when a file is replaced or rewritten, the links before it included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Stamp> {
        let about = fs::metadata(path)?;
        Ok(Stamp {
            device: about.dev(),
            inode: about.ino(),
            size: about.size(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        })
    }
}

impl Zone {
    fn utc() -> Zone {
        Zone {
            rules: None,
            file: None,
        }
    }

    /// Reads TZ as tzset(3) does: unset for the host's zone, empty for UTC, else a file, else a POSIX TZ string.
    fn of(tz: Option<&OsStr>, paths: &ZonePaths) -> Result<Zone, ZoneError> {
        let Some(tz) = tz else {
            return match Zone::of_file(paths.localtime.clone()) {
                // localtime(5): where the file is missing, the zone is UTC.
                Err(ZoneError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    log::info!("{} is missing: the zone is UTC", paths.localtime.display());
                    Ok(Zone {
                        rules: None,
                        file: Some(ZoneFile {
                            path: paths.localtime.clone(),
                            stamp: None,
                            troubled: true,
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
            return Zone::of_file(path);
        }
        // The two names that need no tables are understood on a host without any, as by glibc.
        let rule = match &*text {
            "UTC" | "GMT" => format!("{text}0"),
            _ => text.into_owned(),
        };
        match read_rule(&rule) {
            Some(Ok(rules)) => Ok(Zone {
                rules: Some(rules),
                file: None,
            }),
            refused => Err(ZoneError::Unknown {
                tz: tz.to_owned(),
                directory: paths.directory.clone(),
                source: refused.and_then(Result::err),
            }),
        }
    }

    fn of_file(path: PathBuf) -> Result<Zone, ZoneError> {
        // Looked at before it is read: a change in between is then seen at the next look.
        let stamp = Stamp::of(&path).ok();
        let rules = Some(read_rules(&path)?);
        Ok(Zone {
            rules,
            file: Some(ZoneFile {
                path,
                stamp,
                troubled: false,
            }),
        })
    }

    /// Takes up a change of the zone's file. While there is no sound file the last rules stay in force, since any other
    /// zone would be a guess.
    fn refresh(&mut self) {
        let Some(file) = &mut self.file else { return };
        let fresh = match Stamp::of(&file.path) {
            Ok(stamp) if file.stamp == Some(stamp) => return,
            Ok(stamp) => {
                file.stamp = Some(stamp);
                read_rules(&file.path)
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
                file.troubled = false;
                let rules = Some(rules);
                if rules != self.rules {
                    log::info!(
                        "zone file {} changed: its new rules are in force",
                        file.path.display()
                    );
                    self.rules = rules;
                }
            }
            Err(error) if !file.troubled => {
                file.troubled = true;
                log::warn!(
                    "{}: the last good rules stay in force",
                    crate::chain(&error)
                );
            }
            Err(_) => {}
        }
    }

    fn at(&self, unix_seconds: i64) -> (i32, &str) {
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

/// Reads a POSIX TZ string; `None` where a name in it is shorter than the three characters that POSIX demands.
///
/// It is read as the footer of a file without a table (RFC 8536, version 3), because there the hours of its rules may be those that glibc
/// takes in TZ as well, -167 to 167.
fn read_rule(rule: &str) -> Option<Result<TimeZone, tz::TzError>> {
    // No transitions, no leap seconds, and one local time, which never is.
    let mut table = b"TZif3".to_vec();
    table.extend([0; 15]);
    for count in [0_u32, 0, 0, 0, 1, 4] {
        table.extend(count.to_be_bytes());
    }
    table.extend([0; 6]);
    table.extend(b"UTC\0");
    let file = [&table, &table, &b"\n"[..], rule.as_bytes(), b"\n"].concat();
    let zone = match TimeZone::from_tz_data(&file) {
        Ok(zone) => zone,
        Err(error) => return Some(Err(error)),
    };
    let named = |time: &LocalTimeType| time.time_zone_designation().len() >= 3;
    let all_named = match zone.as_ref().extra_rule() {
        Some(TransitionRule::Fixed(time)) => named(time),
        Some(TransitionRule::Alternate(rule)) => named(rule.std()) && named(rule.dst()),
        None => false,
    };
    all_named.then_some(Ok(zone))
}

fn read_rules(path: &Path) -> Result<TimeZone, ZoneError> {
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

/// The host's real-time clock in one zone, and whether anybody keeps it.
#[derive(Debug)]
pub struct Clock {
    zone: Zone,
    watch: sync::Watch,
    /// What the last look showed.
    last: Moment,
}

impl Clock {
    /// The clock in the host's zone: TZ, else `/etc/localtime` (tzset(3)).
    ///
    /// # Errors
    ///
    /// A zone that can't be understood: a wrong clock is worse than none.
    pub fn local() -> Result<Clock, ZoneError> {
        Clock::in_zone(env::var_os("TZ").as_deref(), &ZonePaths::of_host())
    }

    /// The clock in the zone that this value of TZ names.
    ///
    /// # Errors
    ///
    /// As [`Clock::local`].
    pub fn in_zone(tz: Option<&OsStr>, paths: &ZonePaths) -> Result<Clock, ZoneError> {
        Zone::of(tz, paths).map(Clock::of_zone)
    }

    /// The clock in UTC.
    pub fn utc() -> Clock {
        Clock::of_zone(Zone::utc())
    }

    fn of_zone(zone: Zone) -> Clock {
        Clock {
            zone,
            watch: sync::Watch::default(),
            // No clock shows this one, so the first look is a fresh one.
            last: Moment::new(i64::MIN, 0, 0, ""),
        }
    }

    /// The same, with another eye on whether anybody keeps it.
    #[must_use]
    pub fn watched(self, watch: sync::Watch) -> Clock {
        Clock { watch, ..self }
    }

    /// Whether the kernel's clock is synchronised, as it was when a second last began under our eyes.
    pub fn synchronisation(&self) -> sync::State {
        self.watch.state()
    }

    /// Now (clock_gettime(2), `CLOCK_REALTIME`).
    pub fn now(&mut self) -> Moment {
        let (unix_seconds, nanosecond) = unix_now();
        if self.last.second.unix == unix_seconds {
            self.last.nanosecond = nanosecond;
        } else {
            // Any other second, an earlier one after a step back included.
            self.last = self.begin(unix_seconds, nanosecond);
        }
        self.last
    }

    /// The first look in a second.
    fn begin(&mut self, unix_seconds: i64, nanosecond: u32) -> Moment {
        self.zone.refresh();
        self.watch.look(unix_seconds);
        let moment = self.at(unix_seconds, nanosecond);
        if self.watch.believes() {
            moment
        } else {
            moment.doubted()
        }
    }

    /// Another instant as this clock's zone shows it.
    pub fn at(&self, unix_seconds: i64, nanosecond: u32) -> Moment {
        let (offset, abbreviation) = self.zone.at(unix_seconds);
        Moment::new(unix_seconds, nanosecond, offset, abbreviation)
    }
}

/// Seconds since the Epoch, and nanoseconds within the second.
fn unix_now() -> (i64, u32) {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => (since.as_secs().cast_signed(), since.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            match before.subsec_nanos() {
                0 => (-before.as_secs().cast_signed(), 0),
                nanos => (-before.as_secs().cast_signed() - 1, 1_000_000_000 - nanos),
            }
        }
    }
}

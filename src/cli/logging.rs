//! Sets up env_logger for a terminal or for the journal.

use std::env;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};

use env_logger::{Builder, Target};
use log::{Level, LevelFilter};

use crate::clock::unix_now;
use crate::time::rfc3339;

/// Starts logging to stderr at this level. RUST_LOG (env_logger's syntax) takes precedence; a wrong
/// one is ignored, with a warning.
///
/// If stderr is the journal's stream (systemd.exec(5), `JOURNAL_STREAM`), each line starts with its
/// priority (sd-daemon(3)) and has no time stamp, because the journal adds one.
pub fn start(level: LevelFilter) {
    let mut builder = Builder::new();
    builder.target(Target::Stderr).filter_level(level);
    let filters = env::var("RUST_LOG").unwrap_or_default();
    let wrong = env_filter::Builder::new().try_parse(&filters).err();
    if wrong.is_none() && !filters.is_empty() {
        builder.parse_filters(&filters);
    }
    if is_journal(io::stderr().as_fd()) {
        builder
            .format(|line, record| writeln!(line, "{}{}", priority(record.level()), record.args()));
    } else {
        builder.format(|line, record| {
            let (seconds, _) = unix_now();
            writeln!(
                line,
                "[{} {:5} {}] {}",
                rfc3339(seconds),
                record.level(),
                record.target(),
                record.args()
            )
        });
    }
    builder.init();
    if let Some(error) = wrong {
        log::warn!("RUST_LOG={} is ignored: {error}", filters.escape_debug());
    }
}

/// Writes a usage error, which comes before [`start`], to stderr: as a line of the journal or, if
/// stderr is another file, after the name of the program. A stderr that takes nothing is no error.
pub fn write_usage_error(program: &str, line: &str) {
    let mut stderr = io::stderr();
    let _ = if is_journal(stderr.as_fd()) {
        writeln!(stderr, "{}{line}", priority(Level::Error))
    } else {
        writeln!(stderr, "{program}: {line}")
    };
}

/// Returns the level for a verbosity: the number of `-v` minus the number of `-q`.
pub fn level(verbosity: i16) -> LevelFilter {
    match verbosity {
        ..=-2 => LevelFilter::Error,
        -1 => LevelFilter::Warn,
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        2.. => LevelFilter::Trace,
    }
}

/// Returns the prefix of a line of this level: its priority (sd-daemon(3)) if the stream is the
/// journal's (systemd.exec(5), `JOURNAL_STREAM`), otherwise nothing.
pub fn journal_prefix(stream: BorrowedFd<'_>, level: Level) -> &'static str {
    match is_journal(stream) {
        true => priority(level),
        false => "",
    }
}

/// Returns the priority of a level, as in sd-daemon(3).
fn priority(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}

/// Whether this descriptor is the stream that JOURNAL_STREAM names by device and inode.
///
/// The variable alone proves nothing: a process inherits it even if its streams are redirected.
fn is_journal(stream: BorrowedFd<'_>) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(journal) = env::var("JOURNAL_STREAM") else {
        return false;
    };
    let Ok(stream) = stream.try_clone_to_owned() else {
        return false;
    };
    std::fs::File::from(stream)
        .metadata()
        .is_ok_and(|metadata| journal == format!("{}:{}", metadata.dev(), metadata.ino()))
}

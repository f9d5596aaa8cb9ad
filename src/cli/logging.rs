//! Sets up env_logger for a terminal or for the journal.

use std::env;
use std::fmt;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};

use env_logger::{Builder, Target};
use log::{Level, LevelFilter};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock::unix_now;
use crate::error::printable;
use crate::time::rfc3339;

/// Starts logging to stderr at this level. RUST_LOG (env_logger's syntax) takes precedence; a wrong
/// one is ignored, with a warning.
///
/// If stderr is the journal's stream (systemd.exec(5), `JOURNAL_STREAM`), each line starts with its
/// priority (sd-daemon(3)) and has no time stamp, because the journal adds one.
pub fn start(level: LevelFilter) {
    let journal = is_journal(io::stderr().as_fd());
    let mut builder = Builder::new();
    builder
        .target(Target::Pipe(Box::new(Stderr { journal, lost: 0 })))
        .filter_level(level)
        .format(move |line, record| {
            write_line(
                line,
                journal,
                record.level(),
                record.target(),
                *record.args(),
            )
        });
    let filters = env::var("RUST_LOG").unwrap_or_default();
    let wrong = env_filter::Builder::new().try_parse(&filters).err();
    if wrong.is_none() && !filters.is_empty() {
        builder.parse_filters(&filters);
    }
    builder.init();
    if let Some(error) = wrong {
        let line = format!("RUST_LOG={filters} is ignored: {error}");
        log::warn!("{}", printable(line.as_bytes()));
    }
}

/// Writes a usage error, which comes before [`start`], to stderr: as a line of the journal or, if
/// stderr is another file, after the name of the program. A stderr that takes nothing is no error.
pub fn write_usage_error(program: &str, line: &str) {
    let line = if is_journal(io::stderr().as_fd()) {
        format!("{}{line}\n", priority(Level::Error))
    } else {
        format!("{program}: {line}\n")
    };
    write_at_once(line.as_bytes());
}

/// Formats a line of the log.
fn write_line(
    line: &mut dyn io::Write,
    journal: bool,
    level: Level,
    target: &str,
    text: fmt::Arguments<'_>,
) -> io::Result<()> {
    if journal {
        return writeln!(line, "{}{text}", priority(level));
    }
    let (seconds, _) = unix_now();
    writeln!(line, "[{} {level:5} {target}] {text}", rfc3339(seconds))
}

/// Writes log lines to stderr, and loses those that it does not take at once: a reader that stalls
/// must not stop the daemon.
struct Stderr {
    journal: bool,
    /// Lines lost since the last one that was written.
    lost: u64,
}

impl io::Write for Stderr {
    /// Takes one line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lost > 0 {
            let mut note = Vec::new();
            write_line(
                &mut note,
                self.journal,
                Level::Warn,
                module_path!(),
                format_args!("{} log lines are lost: stderr was full", self.lost),
            )?;
            if write_at_once(&note) {
                self.lost = 0;
            }
        }
        if !write_at_once(line) {
            self.lost += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a line to stderr if that takes it without blocking. Returns whether it did.
///
/// O_NONBLOCK would hold for all processes that share this stderr. A pipe that poll(2) reports as
/// writable takes PIPE_BUF bytes (pipe(7)), so a longer line is cut to that.
fn write_at_once(line: &[u8]) -> bool {
    const PIPE_BUF: usize = 4096;
    let mut stderr = io::stderr();
    let writable = poll(
        &mut [PollFd::new(&stderr, PollFlags::OUT)],
        Some(&Timespec::default()),
    );
    if !writable.is_ok_and(|count| count > 0) {
        return false;
    }
    match line.get(..PIPE_BUF - 1) {
        Some(start) if line.len() > PIPE_BUF => stderr.write(&[start, b"\n"].concat()),
        _ => stderr.write(line),
    }
    .is_ok()
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

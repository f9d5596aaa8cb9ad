//! Standard output, and warnings on standard error.

use std::io::{self, Write as _};
use std::os::fd::AsFd;

use log::Level;
use wallclock::cli::logging::journal_prefix;

use crate::error::Error;

/// Writes a line to standard output, with the priority of this level if that is the journal.
pub fn print_line_at(level: Level, text: &str) -> Result<(), Error> {
    let prefix = journal_prefix(io::stdout().as_fd(), level);
    print_line(format!("{prefix}{text}").as_bytes())
}

/// Writes a warning to standard error, with its priority if that is the journal.
pub fn print_warning(text: &str) {
    let prefix = journal_prefix(io::stderr().as_fd(), Level::Warn);
    eprintln!("{prefix}wallclock: {text}");
}

/// Writes a line to standard output.
pub fn print_line(text: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map_err(Error::Write)
}

//! The errors of `wallclock` and their exit statuses.

use std::io;
use std::path::PathBuf;

use wallclock::cli::args::USAGE_STATUS;
use wallclock::client::query::{ClientError, MAX_FORMAT_LEN};
use wallclock::clock::ZoneError;
use wallclock::strftime::FormatError;

/// Why the program fails, one variant for each step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("bad format")]
    Format(#[from] FormatError),
    #[error("bad format: no directive in it")]
    NoDirective,
    #[error("bad format: longer than {MAX_FORMAT_LEN} bytes")]
    FormatTooLong,
    #[error("a measurement of the offset takes no format")]
    FormatWithOffset,
    #[error("--warn is greater than --critical")]
    WarnAboveCritical,
    #[error("connect to chronyd at {}", path.display())]
    Chrony { path: PathBuf, source: io::Error },
    #[error("read the local time zone")]
    Zone(#[from] ZoneError),
    #[error(transparent)]
    Query(#[from] ClientError),
    #[error("catch signals")]
    Signals(#[source] io::Error),
    #[error("write to standard output")]
    Write(#[source] io::Error),
}

impl Error {
    /// Returns the exit status, as in the manual page.
    pub fn status(&self) -> u8 {
        match self {
            Error::Query(ClientError::Refused { .. }) | Error::Signals(_) | Error::Write(_) => 1,
            Error::Format(_)
            | Error::NoDirective
            | Error::FormatTooLong
            | Error::FormatWithOffset
            | Error::WarnAboveCritical
            | Error::Chrony { .. }
            | Error::Zone(_) => USAGE_STATUS,
            Error::Query(ClientError::NoResponse(_)) => 3,
        }
    }
}

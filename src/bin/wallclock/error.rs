//! The errors of `wallclock` and their exit statuses.

use std::io;
use std::path::PathBuf;

use wallclock::cli::args::USAGE_STATUS;
use wallclock::client::query::{ClientError, MAX_FORMAT_LEN};
use wallclock::clock::ZoneError;
use wallclock::protocol::MAX_RESPONSE_LEN;
use wallclock::strftime::FormatError;

/// Why the program fails, one variant for each step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("bad format")]
    Format(#[from] FormatError),
    #[error("bad format: no directive in it")]
    NoDirective,
    #[error("bad format: no directive in it; to query this server, write -s {0}")]
    HostAsFormat(String),
    #[error("bad format: the text is longer than {MAX_RESPONSE_LEN} bytes")]
    TextTooLong,
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
    /// A failure of the default server. Its text is that of the first error.
    #[error("{0}; name a server with -s or WALLCLOCK_SERVER")]
    NoServerNamed(ClientError),
    #[error("the response \"{0}\" is not a number of seconds")]
    NoSeconds(String),
    #[error("catch signals")]
    Signals(#[source] io::Error),
    #[error("write to standard output")]
    Write(#[source] io::Error),
}

impl Error {
    /// Returns the exit status, as in the manual page.
    pub fn status(&self) -> u8 {
        match self {
            Error::Query(ClientError::Refused { .. })
            | Error::NoSeconds(_)
            | Error::Signals(_)
            | Error::Write(_) => 1,
            Error::Format(_)
            | Error::NoDirective
            | Error::HostAsFormat(_)
            | Error::TextTooLong
            | Error::FormatTooLong
            | Error::FormatWithOffset
            | Error::WarnAboveCritical
            | Error::Chrony { .. }
            | Error::Zone(_) => USAGE_STATUS,
            Error::NoServerNamed(_) | Error::Query(ClientError::NoResponse { .. }) => 3,
        }
    }
}

//! The errors of `wallclock` and their exit statuses.

use std::io;
use std::path::PathBuf;

use wallclock::cli::args::USAGE_STATUS;
use wallclock::client::query::{ClientError, MAX_FORMAT_LEN};
use wallclock::clock::ZoneError;
use wallclock::protocol::MAX_RESPONSE_LEN;
use wallclock::strftime::FormatError;

use crate::command::CommandError;

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
    #[error(
        "a measurement of the offset takes no format; --json, --deadline, --samples, --tick and \
         --max-slew are for the offset"
    )]
    FormatWithOffset,
    #[error("a wait takes no format; a command follows --")]
    FormatWithWait,
    #[error("a command needs --until or --wait-sync")]
    CommandWithoutWait,
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Holds the time, and for how long it is past.
    #[error("{0} is past, by {1}")]
    Past(String, String),
    /// Holds the reason, and what to add to it.
    #[error("the servers' clock is not known: {0}{1}")]
    NoClock(String, &'static str),
    #[error("the servers' clock is only known to ± {0}, which is more than --max-bound")]
    BoundTooLarge(String),
    #[error("create a timer")]
    Timer(#[source] io::Error),
    /// Holds the limit, and what the last measurement shows.
    #[error("the offset was not within {0} until the deadline: {1}")]
    NotSynchronised(String, String),
    #[error("--watch takes its value with =: --watch={0}")]
    WatchValue(String),
    #[error("--warning has no effect: each offset that raises it is CRITICAL by --critical")]
    NoWarning,
    #[error("connect to chronyd at {}", path.display())]
    Chrony { path: PathBuf, source: io::Error },
    #[error("read the local time zone")]
    Zone(#[from] ZoneError),
    #[error(transparent)]
    Refused(ClientError),
    /// No server responded. Holds what to add to the text.
    #[error("{0}{1}")]
    NoResponse(ClientError, &'static str),
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
            Error::Refused(_)
            | Error::NoSeconds(_)
            | Error::Past(..)
            | Error::Signals(_)
            | Error::Write(_) => 1,
            Error::Format(_)
            | Error::NoDirective
            | Error::HostAsFormat(_)
            | Error::TextTooLong
            | Error::FormatTooLong
            | Error::FormatWithOffset
            | Error::FormatWithWait
            | Error::CommandWithoutWait
            | Error::WatchValue(_)
            | Error::NoWarning
            | Error::Chrony { .. }
            | Error::Zone(_) => USAGE_STATUS,
            Error::NoResponse(..)
            | Error::NoClock(..)
            | Error::BoundTooLarge(_)
            | Error::Timer(_)
            | Error::NotSynchronised(..) => 3,
            Error::Command(error) => error.status(),
        }
    }
}

//! Whether anybody keeps the clock: a room's standard that nobody synchronises is worse than none, and should say so.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::batch::{Discipline, discipline};
use crate::clock::rfc3339;

/// What is known of the kernel's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing: the kernel was not asked yet, or may not be asked in this sandbox.
    #[default]
    Unknown,
    /// Nobody keeps it.
    Unsynchronised {
        /// When that was first seen, in seconds since the Epoch by that very clock.
        since: i64,
    },
    /// Somebody keeps it.
    Synchronised {
        /// How far off it is at most, as the kernel has it.
        max_error: Duration,
    },
}

impl fmt::Display for State {
    /// Words for the counters' line, without a space: `clock=` and what is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Unknown => f.write_str("clock=unknown"),
            State::Unsynchronised { since } => {
                write!(f, "clock=unsynchronised since={}", rfc3339(*since))
            }
            State::Synchronised { max_error } => {
                write!(f, "clock=synchronised error={}us", max_error.as_micros())
            }
        }
    }
}

/// Keeps an eye on the kernel's clock and tells of changes, each once.
#[derive(Debug, Default)]
pub struct Watch {
    required: bool,
    state: State,
    /// Kept while nothing is known: it may be the same time without.
    unsynchronised_since: Option<i64>,
    unknown: bool,
}

impl Watch {
    /// With `required` a clock is believed only if it is known to be synchronised.
    pub fn new(required: bool) -> Watch {
        Watch {
            required,
            ..Watch::default()
        }
    }

    /// What was seen last.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether the clock is to be believed.
    pub fn believes(&self) -> bool {
        !self.required || matches!(self.state, State::Synchronised { .. })
    }

    /// Asks at this second of the clock (adjtimex(2)).
    pub fn look(&mut self, unix_seconds: i64) {
        self.see(discipline(), unix_seconds);
    }

    fn see(&mut self, seen: io::Result<Discipline>, unix_seconds: i64) {
        let was_unknown = std::mem::replace(&mut self.unknown, seen.is_err());
        self.state = match seen {
            Ok(Discipline {
                synchronised: true,
                max_error,
            }) => {
                let within = max_error.as_micros();
                match self.unsynchronised_since.take() {
                    Some(since) => log::info!(
                        "the kernel's clock is synchronised again, to within {within} us (it was not since {})",
                        rfc3339(since)
                    ),
                    None if was_unknown => log::info!(
                        "whether the clock is synchronised is known again: it is, to within {within} us"
                    ),
                    None => {}
                }
                State::Synchronised { max_error }
            }
            Ok(_) => {
                let since = *self.unsynchronised_since.get_or_insert_with(|| {
                    log::warn!(
                        "the kernel calls its clock unsynchronised (seen since {}): is chrony, ntpd or systemd-timesyncd running?",
                        rfc3339(unix_seconds)
                    );
                    unix_seconds
                });
                State::Unsynchronised { since }
            }
            Err(error) => {
                if !was_unknown {
                    let so = if self.required {
                        ", so no time is given"
                    } else {
                        ""
                    };
                    log::warn!(
                        "whether the clock is synchronised is unknown{so}: adjtimex: {error}; under systemd it takes \
                         ProtectClock=no and SystemCallFilter=adjtimex clock_adjtime clock_adjtime64"
                    );
                }
                State::Unknown
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(synchronised: bool) -> io::Result<Discipline> {
        Ok(Discipline {
            synchronised,
            max_error: Duration::from_micros(1500),
        })
    }

    #[test]
    fn a_clock_is_unsynchronised_since_it_was_first_seen_so() {
        let mut watch = Watch::default();
        assert_eq!(watch.state().to_string(), "clock=unknown");
        watch.see(seen(false), 1_783_213_507);
        watch.see(seen(false), 1_783_213_600);
        assert_eq!(
            watch.state().to_string(),
            "clock=unsynchronised since=2026-07-05T01:05:07Z"
        );
        watch.see(seen(true), 1_783_213_700);
        assert_eq!(watch.state().to_string(), "clock=synchronised error=1500us");
        watch.see(seen(false), 1_783_213_800);
        assert_eq!(
            watch.state(),
            State::Unsynchronised {
                since: 1_783_213_800
            }
        );
        let unknown = || Err(io::Error::from_raw_os_error(libc::EPERM));
        watch.see(unknown(), 1_783_213_900);
        assert_eq!(watch.state(), State::Unknown);
        // Not to have known for a while is no news of the clock.
        watch.see(seen(false), 1_783_214_000);
        assert_eq!(
            watch.state(),
            State::Unsynchronised {
                since: 1_783_213_800
            }
        );
    }
}

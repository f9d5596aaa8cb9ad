//! Tracks whether the kernel reports the system clock as synchronised (adjtimex(2)).

use std::fmt;
use std::io;
use std::time::Duration;

use crate::sys::timex::{ClockStatus, clock_status};
use crate::time::rfc3339;

/// What is known of the system clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncStatus {
    /// Nothing: the kernel was not asked yet, or a system call filter forbids it.
    #[default]
    Unknown,
    /// Not synchronised.
    Unsynchronised {
        /// When that was first seen, in seconds since the Epoch by that very clock.
        since: i64,
    },
    /// Synchronised.
    Synchronised {
        /// The largest error of the clock, as the kernel reports it.
        max_error: Duration,
    },
}

impl fmt::Display for SyncStatus {
    /// The last words of the status line: `clock=` and what is known. Programs parse it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyncStatus::Unknown => f.write_str("clock=unknown"),
            SyncStatus::Unsynchronised { since } => {
                write!(f, "clock=unsynchronised since={}", rfc3339(*since))
            }
            SyncStatus::Synchronised { max_error } => {
                write!(f, "clock=synchronised error={}us", max_error.as_micros())
            }
        }
    }
}

/// Reads the status of the system clock and logs each change once.
#[derive(Debug, Default)]
pub struct SyncMonitor {
    required: bool,
    status: SyncStatus,
    /// Kept while the status is unknown: the clock may be unsynchronised all the while.
    unsynchronised_since: Option<i64>,
    unknown: bool,
}

impl SyncMonitor {
    /// With `required` the clock is accepted only while it is known to be synchronised.
    pub fn new(required: bool) -> SyncMonitor {
        SyncMonitor {
            required,
            ..SyncMonitor::default()
        }
    }

    /// The status as of the last [`poll`](Self::poll).
    pub fn status(&self) -> SyncStatus {
        self.status
    }

    /// Whether the clock is good enough to answer requests.
    pub fn accepts(&self) -> bool {
        !self.required || matches!(self.status, SyncStatus::Synchronised { .. })
    }

    /// Asks the kernel. `unix_seconds` is the present time of the clock.
    pub fn poll(&mut self, unix_seconds: i64) {
        self.update(clock_status(), unix_seconds);
    }

    fn update(&mut self, reported: io::Result<ClockStatus>, unix_seconds: i64) {
        let was_unknown = std::mem::replace(&mut self.unknown, reported.is_err());
        self.status = match reported {
            Ok(ClockStatus {
                synchronised: true,
                max_error,
            }) => {
                self.log_synchronised(was_unknown, max_error);
                SyncStatus::Synchronised { max_error }
            }
            Ok(_) => {
                let since = *self.unsynchronised_since.get_or_insert_with(|| {
                    log::warn!(
                        "the system clock is not synchronised (since {}): is chrony, ntpd or \
                         systemd-timesyncd running?",
                        rfc3339(unix_seconds)
                    );
                    unix_seconds
                });
                SyncStatus::Unsynchronised { since }
            }
            Err(error) => {
                if !was_unknown {
                    self.log_unknown(&error);
                }
                SyncStatus::Unknown
            }
        };
    }

    fn log_synchronised(&mut self, was_unknown: bool, max_error: Duration) {
        let max_error = max_error.as_micros();
        if let Some(since) = self.unsynchronised_since.take() {
            log::info!(
                "the system clock is synchronised again, maximum error {max_error} us (it was not \
                 since {})",
                rfc3339(since)
            );
        } else if was_unknown {
            log::info!("the system clock is synchronised, maximum error {max_error} us");
        }
    }

    fn log_unknown(&self, error: &io::Error) {
        let consequence = if self.required {
            "; requests are refused until it is known"
        } else {
            ""
        };
        log::warn!(
            "whether the system clock is synchronised is unknown: adjtimex: {error}; under systemd \
             this takes ProtectClock=no and SystemCallFilter=adjtimex clock_adjtime \
             clock_adjtime64{consequence}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(synchronised: bool) -> io::Result<ClockStatus> {
        Ok(ClockStatus {
            synchronised,
            max_error: Duration::from_micros(1500),
        })
    }

    #[test]
    fn unsynchronised_since_the_first_report() {
        let mut monitor = SyncMonitor::default();
        assert_eq!(monitor.status().to_string(), "clock=unknown");
        monitor.update(reported(false), 1_783_213_507);
        monitor.update(reported(false), 1_783_213_600);
        assert_eq!(
            monitor.status().to_string(),
            "clock=unsynchronised since=2026-07-05T01:05:07Z"
        );
        monitor.update(reported(true), 1_783_213_700);
        assert_eq!(
            monitor.status().to_string(),
            "clock=synchronised error=1500us"
        );
        monitor.update(reported(false), 1_783_213_800);
        let since = SyncStatus::Unsynchronised {
            since: 1_783_213_800,
        };
        assert_eq!(monitor.status(), since);
        // A while without reports says nothing about the clock.
        let refused = Err(io::Error::from_raw_os_error(libc::EPERM));
        monitor.update(refused, 1_783_213_900);
        assert_eq!(monitor.status(), SyncStatus::Unknown);
        monitor.update(reported(false), 1_783_214_000);
        assert_eq!(monitor.status(), since);
    }

    #[test]
    fn a_required_clock_is_accepted_only_while_synchronised() {
        let refused = || Err(io::Error::from_raw_os_error(libc::EPERM));
        for (required, accepted) in [(false, [true, true, true]), (true, [true, false, false])] {
            let mut monitor = SyncMonitor::new(required);
            let statuses = [reported(true), reported(false), refused()];
            let accepts = statuses.map(|status| {
                monitor.update(status, 0);
                monitor.accepts()
            });
            assert_eq!(accepts, accepted);
        }
    }
}

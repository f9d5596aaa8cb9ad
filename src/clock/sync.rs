//! Tracks whether the kernel reports the system clock as synchronised (adjtimex(2)).

use std::fmt;
use std::io;
use std::time::Duration;

use crate::sys::timex::{ClockStatus, clock_status};
use crate::time::rfc3339;

/// Whether the system clock is synchronised, as far as that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncStatus {
    /// Not known: the kernel was not queried yet, or adjtimex(2) failed.
    #[default]
    Unknown,
    /// Not synchronised.
    Unsynchronised {
        /// The time of the first such report, in seconds since the Epoch by this clock.
        since: i64,
    },
    /// Synchronised.
    Synchronised {
        /// The maximum error of the clock, as the kernel reports it.
        max_error: Duration,
    },
}

impl fmt::Display for SyncStatus {
    /// Writes the end of the status line, `clock=…`, which programs parse.
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

/// Reads the status of the system clock and logs each change.
#[derive(Debug, Default)]
pub struct SyncMonitor {
    required: bool,
    status: SyncStatus,
    /// Kept while the status is unknown, because the clock may still be unsynchronised.
    unsynchronised_since: Option<i64>,
    /// The last read failed.
    failed: bool,
}

impl SyncMonitor {
    /// If `required`, the clock is accepted only while it is known to be synchronised.
    pub fn new(required: bool) -> SyncMonitor {
        SyncMonitor {
            required,
            ..SyncMonitor::default()
        }
    }

    /// The status at the last [`poll`](Self::poll).
    pub fn status(&self) -> SyncStatus {
        self.status
    }

    /// Whether requests are answered with the time of this clock (rule 5).
    pub fn accepts(&self) -> bool {
        !self.required || matches!(self.status, SyncStatus::Synchronised { .. })
    }

    /// Reads the status from the kernel. `unix_seconds` is the clock's present time.
    pub fn poll(&mut self, unix_seconds: i64) {
        self.update(clock_status(), unix_seconds);
    }

    fn update(&mut self, reported: io::Result<ClockStatus>, unix_seconds: i64) {
        let had_failed = std::mem::replace(&mut self.failed, reported.is_err());
        self.status = match reported {
            Ok(ClockStatus {
                synchronised: true,
                max_error,
            }) => {
                self.log_synchronised(had_failed, max_error);
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
                if !had_failed {
                    self.log_unknown(&error);
                }
                SyncStatus::Unknown
            }
        };
    }

    fn log_synchronised(&mut self, had_failed: bool, max_error: Duration) {
        let max_error = max_error.as_micros();
        if let Some(since) = self.unsynchronised_since.take() {
            log::info!(
                "the system clock is synchronised again, maximum error {max_error} us (it was not \
                 since {})",
                rfc3339(since)
            );
        } else if had_failed {
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
            "the status of the system clock is unknown: adjtimex: {error}; under systemd, \
             ProtectClock=no and SystemCallFilter=adjtimex clock_adjtime clock_adjtime64 allow the \
             call{consequence}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::test_log;

    fn reported(synchronised: bool) -> io::Result<ClockStatus> {
        Ok(ClockStatus {
            synchronised,
            max_error: Duration::from_micros(1500),
        })
    }

    fn forbidden() -> io::Result<ClockStatus> {
        Err(io::Error::from_raw_os_error(libc::EPERM))
    }

    #[test]
    fn each_change_is_logged_once() {
        test_log::start();
        let mut monitor = SyncMonitor::default();
        assert_eq!(monitor.status().to_string(), "clock=unknown");
        let unsynchronised = "clock=unsynchronised since=2026-07-05T01:05:07Z";
        let synchronised = "clock=synchronised error=1500us";
        for (status, seconds, expected, logged) in [
            (reported(true), 0, synchronised, ""),
            (
                reported(false),
                7,
                unsynchronised,
                "WARN the system clock is not synchronised (since 2026-07-05T01:05:07Z): is \
                 chrony, ntpd or systemd-timesyncd running?",
            ),
            (reported(false), 8, unsynchronised, ""),
            // While the status is unknown, the clock may still be unsynchronised.
            (forbidden(), 9, "clock=unknown", "adjtimex"),
            (forbidden(), 10, "clock=unknown", ""),
            (reported(false), 11, unsynchronised, ""),
            (
                reported(true),
                12,
                synchronised,
                "INFO the system clock is synchronised again, maximum error 1500 us (it was not \
                 since 2026-07-05T01:05:07Z)",
            ),
            (reported(true), 13, synchronised, ""),
            (forbidden(), 14, "clock=unknown", "adjtimex"),
            (
                reported(true),
                15,
                synchronised,
                "INFO the system clock is synchronised, maximum error 1500 us",
            ),
        ] {
            monitor.update(status, 1_783_213_500 + seconds);
            assert_eq!(monitor.status().to_string(), expected, "{seconds}");
            let log = test_log::take().concat();
            if logged == "adjtimex" {
                assert!(
                    log.starts_with("WARN ") && log.contains("adjtimex: "),
                    "{log}"
                );
            } else {
                assert_eq!(log, logged, "{seconds}");
            }
        }
    }

    #[test]
    fn rule_5_a_required_clock_must_be_synchronised() {
        test_log::start();
        for (required, accepted) in [(false, [true; 3]), (true, [true, false, false])] {
            let mut monitor = SyncMonitor::new(required);
            assert_eq!(monitor.accepts(), !required);
            let accepts = [reported(true), reported(false), forbidden()].map(|status| {
                monitor.update(status, 0);
                monitor.accepts()
            });
            assert_eq!(accepts, accepted);
            let consequence = "; requests are refused until it is known";
            let log = test_log::take().concat();
            assert_eq!(log.ends_with(consequence), required, "{log}");
        }
    }

    #[test]
    fn a_poll_replaces_the_status() {
        let mut monitor = SyncMonitor::default();
        monitor.poll(0);
        // The status of the machine that runs the test is not known, but a poll is noted either
        // way.
        assert!(monitor.failed || monitor.status() != SyncStatus::Unknown);
    }
}

//! Tracks whether the system clock is synchronised: whether the maximum error that the kernel
//! reports (adjtimex(2)) is below a limit.
//!
//! The flag STA_UNSYNC is not used, because chronyd clears it only with `rtcsync`.

use std::fmt;
use std::io;
use std::time::Duration;

#[cfg(target_os = "linux")]
use crate::sys::timex::clock_max_error;
use crate::time::rfc3339;

/// The status of the clock of other systems is not read.
#[cfg(not(target_os = "linux"))]
fn clock_max_error() -> io::Result<Duration> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The maximum error from which on a clock is not synchronised. The kernel reports this value for a
/// clock that nothing sets, and systemd's timedated has the same limit.
pub const DEFAULT_MAX_ERROR: Duration = Duration::from_secs(16);

/// Whether the system clock is synchronised, as far as that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncStatus {
    /// Not known: the kernel was not queried yet, or adjtimex(2) failed.
    #[default]
    Unknown,
    /// Not synchronised: the maximum error is not below the limit.
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
#[derive(Debug)]
pub struct SyncMonitor {
    required: bool,
    limit: Duration,
    status: SyncStatus,
    /// Kept while the status is unknown, because the clock may still be unsynchronised.
    unsynchronised_since: Option<i64>,
    /// The last read failed.
    failed: bool,
}

impl Default for SyncMonitor {
    fn default() -> SyncMonitor {
        SyncMonitor::new(false, DEFAULT_MAX_ERROR)
    }
}

impl SyncMonitor {
    /// The clock is synchronised while its maximum error is below `limit`. If `required`, it is
    /// accepted only while it is known to be synchronised.
    pub fn new(required: bool, limit: Duration) -> SyncMonitor {
        SyncMonitor {
            required,
            limit,
            status: SyncStatus::default(),
            unsynchronised_since: None,
            failed: false,
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
        self.update(clock_max_error(), unix_seconds);
    }

    fn update(&mut self, reported: io::Result<Duration>, unix_seconds: i64) {
        let had_failed = std::mem::replace(&mut self.failed, reported.is_err());
        self.status = match reported {
            Ok(max_error) if max_error < self.limit => {
                self.log_synchronised(had_failed, max_error);
                SyncStatus::Synchronised { max_error }
            }
            Ok(max_error) => {
                let limit = self.limit;
                let since = *self.unsynchronised_since.get_or_insert_with(|| {
                    let limit = in_us(limit);
                    log::warn!(
                        "the system clock is not synchronised (since {}): maximum error {}, \
                         must be below {limit}: is chronyd, ntpd or systemd-timesyncd running?",
                        rfc3339(unix_seconds),
                        in_us(max_error)
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

/// Shows a maximum error or a limit, which may have a fraction of a microsecond.
fn in_us(max_error: Duration) -> String {
    match max_error {
        // As the clock reports a negative one.
        Duration::MAX => "negative".to_owned(),
        _ => format!("{} us", max_error.as_nanos() as f64 / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::test_log;

    fn reported(max_error_us: u64) -> io::Result<Duration> {
        Ok(Duration::from_micros(max_error_us))
    }

    fn forbidden() -> io::Result<Duration> {
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
            (reported(1500), 0, synchronised, ""),
            (
                reported(16_000_000),
                7,
                unsynchronised,
                "WARN the system clock is not synchronised (since 2026-07-05T01:05:07Z): maximum \
                 error 16000000 us, must be below 16000000 us: is chronyd, ntpd or \
                 systemd-timesyncd running?",
            ),
            (reported(17_000_000), 8, unsynchronised, ""),
            // While the status is unknown, the clock may still be unsynchronised.
            (forbidden(), 9, "clock=unknown", "adjtimex"),
            (forbidden(), 10, "clock=unknown", ""),
            (reported(16_000_000), 11, unsynchronised, ""),
            (
                reported(1500),
                12,
                synchronised,
                "INFO the system clock is synchronised again, maximum error 1500 us (it was not \
                 since 2026-07-05T01:05:07Z)",
            ),
            (reported(1500), 13, synchronised, ""),
            (forbidden(), 14, "clock=unknown", "adjtimex"),
            (
                reported(1500),
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
            let mut monitor = SyncMonitor::new(required, DEFAULT_MAX_ERROR);
            assert_eq!(monitor.accepts(), !required);
            let accepts = [reported(15_999_999), reported(16_000_000), forbidden()].map(|status| {
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
    fn rule_5_clock_must_be_within_the_limit() {
        let mut monitor = SyncMonitor::new(true, Duration::from_micros(1500));
        for (max_error, accepted) in [
            (reported(1499), true),
            (reported(1500), false),
            // A negative maximum error.
            (Ok(Duration::MAX), false),
            (reported(0), true),
        ] {
            monitor.update(max_error, 0);
            assert_eq!(monitor.accepts(), accepted);
        }
    }

    #[test]
    fn log_shows_a_fraction_and_a_negative_error() {
        test_log::start();
        for (limit, status, expected) in [
            (
                Duration::from_nanos(100),
                reported(1),
                "maximum error 1 us, must be below 0.1 us:",
            ),
            (
                DEFAULT_MAX_ERROR,
                Ok(Duration::MAX),
                "maximum error negative, must be below 16000000 us:",
            ),
        ] {
            SyncMonitor::new(false, limit).update(status, 0);
            let log = test_log::take().concat();
            assert!(log.contains(expected), "{log}");
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

//! Notifications to the service manager (sd_notify(3)): READY=1, STOPPING=1, WATCHDOG=1 and
//! STATUS=.
//!
//! Without a service manager there is no timer, and an idle daemon sleeps without a time-out.

use std::env;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Minimum interval between two STATUS=, which are sent only after a change.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);

/// Sends notifications to the service manager when they are due.
#[derive(Debug, Default)]
pub struct ServiceNotifier {
    watchdog: Option<Timer>,
    status: Option<Timer>,
    last_status: String,
    error_logged: bool,
}

#[derive(Debug)]
struct Timer {
    interval: Duration,
    next: Instant,
}

impl Timer {
    fn new(interval: Duration) -> Timer {
        Timer {
            interval,
            next: Instant::now() + interval,
        }
    }

    /// Returns whether the timer has expired; if so, restarts it.
    fn take_expired(&mut self, now: Instant) -> bool {
        let expired = now >= self.next;
        if expired {
            self.next = now + self.interval;
        }
        expired
    }
}

impl ServiceNotifier {
    /// Reads NOTIFY_SOCKET and WATCHDOG_USEC. Without NOTIFY_SOCKET nothing is ever sent.
    pub fn from_env() -> ServiceNotifier {
        if env::var_os("NOTIFY_SOCKET").is_none() {
            return ServiceNotifier::default();
        }
        ServiceNotifier {
            // Half the period, as sd_watchdog_enabled(3) recommends.
            watchdog: sd_notify::watchdog_enabled()
                .filter(|period| !period.is_zero())
                .map(|period| Timer::new(period / 2)),
            status: Some(Timer::new(STATUS_INTERVAL)),
            ..ServiceNotifier::default()
        }
    }

    /// Reports that the daemon answers requests from now on.
    pub fn ready(&mut self) {
        if self.status.is_some() {
            self.notify(&[NotifyState::Ready]);
        }
    }

    /// Reports that the daemon has begun to stop.
    pub fn stopping(&mut self) {
        if self.status.is_some() {
            self.notify(&[NotifyState::Stopping]);
        }
    }

    /// Sends what is due. Returns how long the loop may sleep, `None` for no limit.
    ///
    /// `changed` says whether the status may have changed since the last STATUS=; it is cleared
    /// when the status is sent. `status_line` formats the status.
    pub fn tick(
        &mut self,
        changed: &mut bool,
        status_line: impl FnOnce() -> String,
    ) -> Option<Duration> {
        let status = self.status.as_mut()?;
        let now = Instant::now();
        let status_due = *changed && status.take_expired(now);
        if let Some(watchdog) = &mut self.watchdog
            && watchdog.take_expired(now)
        {
            self.notify(&[NotifyState::Watchdog]);
        }
        if status_due {
            *changed = false;
            let status = status_line();
            if status != self.last_status {
                self.notify(&[NotifyState::Status(&status)]);
                self.last_status = status;
            }
        }
        let status = self.status.as_ref().filter(|_| *changed);
        let next = self
            .watchdog
            .iter()
            .chain(status)
            .map(|timer| timer.next)
            .min()?;
        Some(next.saturating_duration_since(now))
    }

    fn notify(&mut self, state: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(state)
            && !self.error_logged
        {
            self.error_logged = true;
            log::warn!("sd_notify failed: {error}");
        }
    }
}

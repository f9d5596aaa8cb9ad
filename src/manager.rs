//! The service manager's side of the daemon (sd_notify(3)): ready, stopping, the watchdog, the figures in `systemctl status`.
//!
//! Without a manager nothing here asks for a timer, and an idle daemon sleeps for ever.

use std::env;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The figures are told anew this often at most, and only if they changed.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);

/// What is owed to the service manager, and when.
#[derive(Debug, Default)]
pub struct Manager {
    watchdog: Option<Due>,
    status: Option<Due>,
    shown: String,
    troubled: bool,
}

#[derive(Debug)]
struct Due {
    interval: Duration,
    next: Instant,
}

impl Due {
    fn every(interval: Duration) -> Due {
        Due {
            interval,
            next: Instant::now() + interval,
        }
    }

    /// Whether its time has come; then the next one is set.
    fn take(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + self.interval;
        }
        due
    }
}

impl Manager {
    /// The manager that started this process: NOTIFY_SOCKET and WATCHDOG_USEC say whether there is one and what it wants.
    pub fn of_process() -> Manager {
        if env::var_os("NOTIFY_SOCKET").is_none() {
            return Manager::default();
        }
        Manager {
            // Half the period, as sd_watchdog_enabled(3) recommends.
            watchdog: sd_notify::watchdog_enabled().map(|period| Due::every(period / 2)),
            status: Some(Due::every(STATUS_INTERVAL)),
            ..Manager::default()
        }
    }

    /// Whether there is one, to be told things in time.
    pub fn is_there(&self) -> bool {
        self.watchdog.is_some() || self.status.is_some()
    }

    /// Questions are answered from now on.
    pub fn ready(&mut self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// The end has begun.
    pub fn stopping(&mut self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// To be called at each turn of the loop: tells what is due, and how long the loop may sleep (`None`: for ever).
    /// `busy` says whether there was anything to count since the last turn, `figures` makes the status line.
    pub fn turn(&mut self, busy: &mut bool, figures: impl FnOnce() -> String) -> Option<Duration> {
        if !self.is_there() {
            return None;
        }
        let now = Instant::now();
        if self.watchdog.as_mut().is_some_and(|due| due.take(now)) {
            self.tell(&[NotifyState::Watchdog]);
        }
        if *busy && self.status.as_mut().is_some_and(|due| due.take(now)) {
            *busy = false;
            let figures = figures();
            if figures != self.shown {
                self.tell(&[NotifyState::Status(&figures)]);
                self.shown = figures;
            }
        }
        let status = self.status.as_ref().filter(|_| *busy);
        let next = self
            .watchdog
            .iter()
            .chain(status)
            .map(|due| due.next)
            .min()?;
        Some(next.saturating_duration_since(now))
    }

    fn tell(&mut self, state: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(state)
            && !self.troubled
        {
            self.troubled = true;
            log::warn!("the service manager does not hear us: {error}");
        }
    }
}

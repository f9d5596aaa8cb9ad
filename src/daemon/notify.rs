//! Notifications to the service manager (sd_notify(3)): READY=1, STOPPING=1, WATCHDOG=1 and
//! STATUS=.
//!
//! No call blocks. What the manager does not take is kept, and sent together when it reads again.
//! Without a service manager there is no timer, and an idle daemon sleeps without a time-out.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::signals::Signals;

/// Minimum interval between two STATUS=, which are sent only after a change, and pause after a
/// notification that failed.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);

/// Maximum length of a status in characters. systemd ignores messages of more than 4096 bytes.
const MAX_STATUS_LEN: usize = 800;

/// Sends notifications to the service manager when they are due; without one, does nothing.
#[derive(Debug, Default)]
pub struct ServiceNotifier(Option<Manager>);

/// The service manager, and what it is to be sent.
#[derive(Debug)]
struct Manager {
    address: SocketAddr,
    socket: Arc<UnixDatagram>,
    unsent: Unsent,
    /// After a failure, no send before this time.
    retry_at: Option<Instant>,
    error_logged: bool,
    watchdog: Option<Timer>,
    status: Timer,
    last_status: String,
}

/// The notifications that the manager has not taken yet.
#[derive(Debug, Default)]
struct Unsent {
    /// READY=1 or STOPPING=1.
    state: Option<&'static str>,
    watchdog: bool,
    status: Option<String>,
}

impl Unsent {
    fn is_empty(&self) -> bool {
        self.state.is_none() && !self.watchdog && self.status.is_none()
    }

    /// All of them as one message.
    fn message(&self) -> String {
        let mut message = String::new();
        if let Some(state) = self.state {
            message += state;
            message += "\n";
        }
        if self.watchdog {
            message += "WATCHDOG=1\n";
        }
        if let Some(status) = &self.status {
            message += "STATUS=";
            // A line break would begin another assignment.
            let status = status.chars().take(MAX_STATUS_LEN);
            message.extend(status.map(|c| if c.is_control() { ' ' } else { c }));
            message += "\n";
        }
        message
    }
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
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return ServiceNotifier::default();
        };
        // Half the period, as sd_watchdog_enabled(3) recommends.
        let watchdog = sd_notify::watchdog_enabled()
            .filter(|period| !period.is_zero())
            .map(|period| Timer::new(period / 2));
        let manager = Manager::new(&name, watchdog);
        if let Err(error) = &manager {
            log::warn!("NOTIFY_SOCKET={}: {error}", name.display());
        }
        ServiceNotifier(manager.ok())
    }

    /// Reports that the daemon answers requests from now on.
    pub fn ready(&mut self) {
        self.send_state("READY=1");
    }

    /// Reports that the daemon has begun to stop.
    pub fn stopping(&mut self) {
        self.send_state("STOPPING=1");
    }

    fn send_state(&mut self, state: &'static str) {
        if let Some(manager) = &mut self.0 {
            manager.unsent.state = Some(state);
            manager.send_unsent(Instant::now());
        }
    }

    /// The socket to which the manager is connected.
    pub fn socket(&self) -> Option<Arc<UnixDatagram>> {
        self.0.as_ref().map(|manager| Arc::clone(&manager.socket))
    }

    /// Whether a notification is kept until the [socket](Self::socket) is writable.
    pub fn is_blocked(&self) -> bool {
        self.0.as_ref().is_some_and(Manager::is_blocked)
    }

    /// Sends what the manager has not taken yet.
    pub fn retry(&mut self) {
        if let Some(manager) = &mut self.0 {
            manager.send_unsent(Instant::now());
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
        let manager = self.0.as_mut()?;
        let now = Instant::now();
        if let Some(watchdog) = &mut manager.watchdog
            && watchdog.take_expired(now)
        {
            manager.unsent.watchdog = true;
        }
        if *changed && manager.status.take_expired(now) {
            *changed = false;
            manager.unsent.status =
                Some(status_line()).filter(|status| *status != manager.last_status);
        }
        manager.send_unsent(now);
        let watchdog = manager.watchdog.as_ref().map(|timer| timer.next);
        let status = changed.then_some(manager.status.next);
        let next = [watchdog, status, manager.retry_at]
            .into_iter()
            .flatten()
            .min()?;
        Some(next.saturating_duration_since(now))
    }

    /// Shows an error as the status, and waits for this time or until a signal requests a stop.
    /// Without a service manager, returns at once.
    pub fn show_error(&mut self, error: &str, signals: &Signals, wait: Duration) {
        let Some(manager) = &mut self.0 else {
            return;
        };
        manager.unsent.status = Some(error.to_owned());
        let socket = Arc::clone(&manager.socket);
        let mut descriptors = [
            PollFd::new(signals, PollFlags::IN),
            PollFd::new(&socket, PollFlags::OUT),
        ];
        let start = Instant::now();
        while !signals.stop_requested() {
            let now = Instant::now();
            manager.send_unsent(now);
            let left = wait.saturating_sub(now - start);
            if left.is_zero() {
                return;
            }
            let polled = 1 + usize::from(manager.is_blocked());
            match poll(
                &mut descriptors[..polled],
                Timespec::try_from(left).ok().as_ref(),
            ) {
                Ok(_) | Err(Errno::INTR) => signals.drain_wake_pipe(),
                Err(_) => return,
            }
        }
    }
}

impl Manager {
    /// Creates a socket for the manager at this address: a path, or `@` and an abstract name.
    fn new(name: &OsStr, watchdog: Option<Timer>) -> io::Result<Manager> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Manager {
            address,
            socket: Arc::new(socket),
            unsent: Unsent::default(),
            retry_at: None,
            error_logged: false,
            watchdog,
            status: Timer::new(STATUS_INTERVAL),
            last_status: String::new(),
        })
    }

    fn is_blocked(&self) -> bool {
        !self.unsent.is_empty() && self.retry_at.is_none()
    }

    /// Sends all that is unsent. If the manager's queue is full, keeps it until the socket is
    /// writable; after another error, until the next try.
    fn send_unsent(&mut self, now: Instant) {
        if self.unsent.is_empty() || self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.retry_at = None;
        match self.send(self.unsent.message().as_bytes()) {
            Ok(()) => {
                let sent = std::mem::take(&mut self.unsent);
                self.last_status = sent.status.unwrap_or(std::mem::take(&mut self.last_status));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.retry_at = Some(now + STATUS_INTERVAL);
                if !self.error_logged {
                    self.error_logged = true;
                    log::warn!("sd_notify failed: {error}");
                }
            }
        }
    }

    /// Sends a message. Connects the socket first if it is not connected, or if the manager has
    /// replaced its socket.
    fn send(&self, message: &[u8]) -> io::Result<()> {
        match self.socket.send(message) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::NotConnected
                ) => {}
            sent => return sent.map(drop),
        }
        self.socket.connect_addr(&self.address)?;
        self.socket.send(message).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manager with an abstract address, and a notifier that is connected to it.
    fn start(name: &str) -> (UnixDatagram, ServiceNotifier) {
        let name = format!("wallclock-test-{}-{name}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        let name = format!("@{name}");
        let mut manager = Manager::new(name.as_ref(), None).expect("an address");
        manager.status.interval = Duration::ZERO;
        manager.status.next = Instant::now();
        (socket, ServiceNotifier(Some(manager)))
    }

    /// Fills the queue of the manager from another socket.
    fn fill(manager: &UnixDatagram) {
        let sender = UnixDatagram::unbound().expect("a socket");
        sender.set_nonblocking(true).expect("a socket");
        let address = manager.local_addr().expect("an address");
        while sender.send_to_addr(b"other", &address).is_ok() {}
    }

    /// Receives what is in the queue, but for the messages of [`fill`].
    fn received(manager: &UnixDatagram) -> Vec<String> {
        let mut buf = [0; 8192];
        let messages = std::iter::from_fn(|| {
            let length = manager.recv(&mut buf).ok()?;
            Some(String::from_utf8_lossy(&buf[..length]).into_owned())
        });
        messages.filter(|message| message != "other").collect()
    }

    #[test]
    fn full_queue_delays_notifications() {
        let (manager, mut notifier) = start("full");
        fill(&manager);
        notifier.ready();
        assert!(notifier.is_blocked());
        notifier.tick(&mut true, || "one".into());
        // STOPPING=1 replaces READY=1, a new status the one before.
        notifier.stopping();
        notifier.tick(&mut true, || "two".into());
        assert_eq!(received(&manager), [""; 0]);
        assert!(notifier.is_blocked());
        notifier.retry();
        assert_eq!(received(&manager), ["STOPPING=1\nSTATUS=two\n"]);
        assert!(!notifier.is_blocked());
        notifier.retry();
        assert_eq!(received(&manager), [""; 0]);
    }

    #[test]
    fn status_that_was_not_sent_is_sent_again() {
        let (manager, mut notifier) = start("status");
        fill(&manager);
        notifier.tick(&mut true, || "one".into());
        assert_eq!(received(&manager), [""; 0]);
        notifier.tick(&mut true, || "one".into());
        assert_eq!(received(&manager), ["STATUS=one\n"]);
        notifier.tick(&mut true, || "one".into());
        assert_eq!(received(&manager), [""; 0]);
    }

    #[test]
    fn manager_that_replaces_its_socket_is_found_again() {
        let (manager, mut notifier) = start("replaced");
        notifier.ready();
        assert_eq!(received(&manager), ["READY=1\n"]);
        let address = manager.local_addr().expect("an address");
        drop(manager);
        notifier.tick(&mut true, || "one".into());
        // There is nobody to wait for but after a pause.
        assert!(!notifier.is_blocked());
        let manager = UnixDatagram::bind_addr(&address).expect("a socket");
        manager.set_nonblocking(true).expect("a socket");
        assert!(notifier.tick(&mut false, String::new).is_some());
        notifier.0.as_mut().expect("a manager").retry_at = None;
        notifier.retry();
        assert_eq!(received(&manager), ["STATUS=one\n"]);
    }

    #[test]
    fn status_is_one_line_that_systemd_takes() {
        let (manager, mut notifier) = start("line");
        let status = format!("a\nREADY=1\r\u{1b}é{}", "x".repeat(10_000));
        notifier.tick(&mut true, || status);
        let messages = received(&manager);
        assert!(
            messages[0].starts_with("STATUS=a READY=1  éx"),
            "{messages:?}"
        );
        assert!(messages[0].lines().count() == 1 && messages[0].len() < 4096);
    }

    #[test]
    fn stop_ends_the_wait_after_an_error() {
        let (manager, mut notifier) = start("error");
        let (signals, handle) = Signals::with_handle().expect("a pipe");
        let thread = std::thread::spawn(move || {
            notifier.show_error("broken", &signals, Duration::from_secs(3600));
        });
        manager.set_nonblocking(false).expect("a socket");
        let mut buf = [0; 64];
        let length = manager.recv(&mut buf).expect("a status");
        assert_eq!(&buf[..length], b"STATUS=broken\n");
        handle.stop();
        thread.join().expect("the wait ends");
    }

    #[test]
    fn error_is_shown_once_the_manager_reads() {
        let (manager, mut notifier) = start("late");
        fill(&manager);
        let (signals, handle) = Signals::with_handle().expect("a pipe");
        let thread = std::thread::spawn(move || {
            notifier.show_error("broken", &signals, Duration::from_secs(3600));
        });
        manager.set_nonblocking(false).expect("a socket");
        let mut buf = [0; 64];
        while manager.recv(&mut buf).expect("a message") != b"STATUS=broken\n".len() {}
        assert!(buf.starts_with(b"STATUS=broken\n"));
        handle.stop();
        thread.join().expect("the wait ends");
        // Without a manager there is no wait.
        let (signals, _handle) = Signals::with_handle().expect("a pipe");
        ServiceNotifier::default().show_error("broken", &signals, Duration::from_secs(3600));
    }
}

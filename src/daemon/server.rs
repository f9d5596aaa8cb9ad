//! The loop: receive, respond, send; sleep when there is nothing to receive.
//!
//! There is one thread and one way to sleep: poll(2), on the sockets and on a pipe that signals
//! write to, called only after a receive on each socket found nothing. The only timers are those of
//! the service manager.

use std::fmt;
use std::io;
use std::mem::discriminant;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::counters::Counters;
use super::drops::DropMonitor;
use super::notify::ServiceNotifier;
use super::send::{Outgoing, SendPolicy};
use super::signals::Signals;
use super::socket::Listener;
use crate::clock::Clock;
use crate::protocol::{Destination, MAX_REQUEST_LEN, MAX_RESPONSE_LEN, Response, respond};
use crate::sys::mmsg::{BATCH_SIZE, DatagramBatch};

/// One byte more than the longest request: a request that fills the buffer is too long (rule 4),
/// and rules 2 and 3 read no byte after the first 1024.
const RECV_BUF_SIZE: usize = MAX_REQUEST_LEN + 1;

type Batch = DatagramBatch<RECV_BUF_SIZE, MAX_RESPONSE_LEN>;

/// Maximum number of batches from one socket before the other sockets, the signals and the service
/// manager are served.
const MAX_BATCHES_PER_WAKEUP: usize = 16;

/// Pause after a system call failed unexpectedly, so that a lasting fault can't make the loop spin.
const ERROR_BACKOFF: Duration = Duration::from_millis(10);

/// How long queued requests are answered after the request to stop: less than WatchdogSec= and
/// TimeoutStopSec= of the units. In an inherited socket the rest stays queued for the next process.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum wait for the full send buffer of one socket after the request to stop, all batches
/// together.
const DRAIN_SEND_TIMEOUT: Duration = Duration::from_millis(50);

/// How many times in a row poll(2) may report a datagram that no receive finds before that counts
/// as a failure. (A datagram with a wrong checksum causes one such report.)
const MAX_EMPTY_WAKEUPS: u32 = 64;

/// The daemon, ready to run.
pub struct Server {
    listeners: Vec<Listener>,
    signals: Signals,
    state: State,
}

/// A socket, and what the loop knows of its buffers.
struct ServedSocket<'a> {
    listener: &'a Listener,
    send_policy: SendPolicy,
    drop_monitor: DropMonitor,
}

impl<'a> ServedSocket<'a> {
    fn new(listener: &'a Listener) -> ServedSocket<'a> {
        let drops = listener.memory().map_or(0, |memory| memory.drops);
        ServedSocket {
            listener,
            send_policy: SendPolicy::default(),
            drop_monitor: DropMonitor::new(drops),
        }
    }

    /// Warns if the kernel drops requests because the receive buffer is full.
    fn warn_about_drops(&mut self) {
        let Ok(memory) = self.listener.memory() else {
            return;
        };
        if let Some(dropped) = self.drop_monitor.check(memory, Instant::now()) {
            let address = self.listener.address();
            log::warn!(
                "{address}: receive buffer full, {dropped} requests dropped since the last such \
                 warning: for short bursts set a larger ReceiveBuffer= (socket unit) or \
                 --receive-buffer, against floods load wallclockd.nft"
            );
        }
    }
}

/// What the loop changes. The sockets and the signals are apart: the loop borrows them to sleep.
struct State {
    clock: Clock,
    /// The networks whose requests are answered; empty for all.
    allow: Vec<IpNet>,
    notifier: ServiceNotifier,
    batch: Batch,
    counters: Counters,
    /// Whether anything was counted since the last STATUS=.
    status_changed: bool,
    empty_wakeups: u32,
}

impl Server {
    /// Makes a daemon that answers requests to these sockets, from these networks, with the time of
    /// this clock. An empty list of networks is all.
    pub fn new(
        listeners: Vec<Listener>,
        allow: Vec<IpNet>,
        clock: Clock,
        signals: Signals,
        notifier: ServiceNotifier,
    ) -> Server {
        Server {
            listeners,
            signals,
            state: State {
                clock,
                allow,
                notifier,
                batch: Batch::new(),
                counters: Counters::default(),
                status_changed: true,
                empty_wakeups: 0,
            },
        }
    }

    /// Answers requests until a signal requests a stop, then those that are queued. Returns the
    /// counters.
    pub fn run(self) -> Counters {
        let Server {
            listeners,
            signals,
            mut state,
        } = self;
        // Before clients learn that they can send: drops from then on are warned about.
        let mut sockets: Vec<_> = listeners.iter().map(ServedSocket::new).collect();
        for listener in &listeners {
            log::info!("listening on {}", listener.address());
        }
        // Warns about an unsynchronised clock now, not at the first request.
        state.clock.now();
        state.notifier.ready();
        let mut descriptors = vec![PollFd::new(&signals, PollFlags::IN)];
        descriptors.extend(listeners.iter().map(|l| PollFd::new(l, PollFlags::IN)));
        let manager = state.notifier.socket();
        descriptors.extend(manager.iter().map(|m| PollFd::new(m, PollFlags::OUT)));
        while !signals.stop_requested() {
            if signals.take_report_request() {
                log::info!("{}", state.status_line(&listeners));
            }
            let mut all_empty = true;
            for socket in &mut sockets {
                all_empty &= state.serve(socket);
            }
            // After the requests, because they change what is due.
            let timeout = state.notify(&listeners);
            if all_empty {
                // The manager comes last, and counts only while a notification waits for it.
                let unpolled = manager.is_some() && !state.notifier.is_blocked();
                let polled = descriptors.len() - usize::from(unpolled);
                state.sleep(&mut descriptors[..polled], timeout);
                if !descriptors[0].revents().is_empty() {
                    signals.drain_wake_pipe();
                }
            }
        }
        state.notifier.stopping();
        state.drain(&mut sockets);
        log::info!("stopped: {}", state.status_line(&listeners));
        with_drops(&state.counters, &listeners)
    }
}

impl State {
    /// Receives from one socket until it is empty, at most [`MAX_BATCHES_PER_WAKEUP`] batches, and
    /// responds. Returns whether the loop may sleep until poll(2) reports this socket.
    fn serve(&mut self, socket: &mut ServedSocket<'_>) -> bool {
        for _ in 0..MAX_BATCHES_PER_WAKEUP {
            match self.serve_batch(socket) {
                // Only here, because requests are dropped only if many are queued.
                Ok(BATCH_SIZE) => socket.warn_about_drops(),
                // A batch that is not full has emptied the socket.
                Ok(_) => return true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) => {
                    self.receive_failed(socket, &error);
                    return true;
                }
            }
        }
        false
    }

    /// Receives a batch, responds, sends. Returns how many datagrams it received.
    fn serve_batch(&mut self, socket: &mut ServedSocket<'_>) -> io::Result<usize> {
        let listener = socket.listener;
        let State {
            clock,
            allow,
            batch,
            counters,
            ..
        } = self;
        let received = batch.receive(listener.as_fd())?;
        // Read after the last request arrived and before the first response leaves, so that the
        // time is right for each of them.
        let now = clock.now();
        let bound = listener.bound_ip().map(Destination::from);
        batch.for_each_request(|request, source, pktinfo, buf| {
            let reported = pktinfo.and_then(|pktinfo| pktinfo.addresses());
            let destination = reported
                .map(|(address, local)| Destination { address, local })
                .or(bound);
            let response = respond(request, source, destination, allow, &now, buf);
            log::debug!("{source}: request {}: {response}", Escaped(request));
            match response {
                Response::Answered { length } => {
                    counters.answered += 1;
                    Some(length)
                }
                Response::Refused { length, .. } => {
                    counters.refused += 1;
                    Some(length)
                }
                Response::Ignored(_) => {
                    counters.ignored += 1;
                    None
                }
            }
        });
        let unsent = socket.send_policy.send_all(&mut Sending {
            batch,
            socket: listener.as_fd(),
        });
        counters.unsent += unsent as u64;
        self.status_changed = true;
        self.empty_wakeups = 0;
        Ok(received)
    }

    /// Sleeps until a socket is readable, a signal arrives, the service manager takes the
    /// notification that waits for it, or the time-out expires; `None` is no time-out.
    fn sleep(&mut self, descriptors: &mut [PollFd<'_>], timeout: Option<Duration>) {
        // A time-out too long for a timespec is none.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let is_ready = |descriptor: Option<&PollFd<'_>>| {
            descriptor.is_some_and(|descriptor| !descriptor.revents().is_empty())
        };
        match poll(descriptors, timeout.as_ref()) {
            Ok(0) => self.refresh_clock(),
            Ok(_) if self.notifier.is_blocked() && is_ready(descriptors.last()) => {}
            Ok(_) if !is_ready(descriptors.first()) => {
                self.empty_wakeups += 1;
                if self.empty_wakeups > MAX_EMPTY_WAKEUPS {
                    log::debug!("poll: reported a datagram that no receive found");
                    self.back_off();
                }
            }
            // A signal: its byte is in the pipe, so the next poll(2) reports it if this one did
            // not.
            Ok(_) | Err(Errno::INTR) => {}
            // The receives continue without poll(2), one round for each pause.
            Err(error) => {
                log::debug!("poll: {error}");
                self.back_off();
            }
        }
    }

    /// Reads the clock, so that STATUS= shows a change of its synchronisation while no requests
    /// arrive.
    fn refresh_clock(&mut self) {
        let before = discriminant(&self.clock.sync_status());
        self.clock.now();
        self.status_changed |= discriminant(&self.clock.sync_status()) != before;
    }

    fn receive_failed(&mut self, socket: &ServedSocket<'_>, error: &io::Error) {
        log::debug!("{}: receive: {error}", socket.listener.address());
        self.back_off();
    }

    /// Counts a failed call and pauses.
    fn back_off(&mut self) {
        self.counters.failed += 1;
        self.status_changed = true;
        thread::sleep(ERROR_BACKOFF);
    }

    /// Answers the queued requests, one batch of each socket in turn, until all sockets are empty
    /// or [`DRAIN_TIMEOUT`] has passed.
    fn drain(&mut self, sockets: &mut [ServedSocket<'_>]) {
        for socket in &mut *sockets {
            socket.send_policy.limit_send_wait(DRAIN_SEND_TIMEOUT);
        }
        let start = Instant::now();
        let mut all_empty = false;
        while !all_empty && start.elapsed() < DRAIN_TIMEOUT {
            self.notifier.retry();
            all_empty = true;
            for socket in &mut *sockets {
                match self.serve_batch(socket) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Ok(_) => all_empty = false,
                    // Requests may be queued behind an error, for example one that ICMP reported.
                    Err(error) => {
                        self.receive_failed(socket, &error);
                        all_empty = false;
                    }
                }
            }
        }
    }

    /// Notifies the service manager of what is due. Returns how long the loop may sleep.
    fn notify(&mut self, listeners: &[Listener]) -> Option<Duration> {
        let State {
            clock,
            notifier,
            counters,
            status_changed,
            ..
        } = self;
        notifier.tick(status_changed, || status_line(counters, listeners, clock))
    }

    fn status_line(&mut self, listeners: &[Listener]) -> String {
        status_line(&self.counters, listeners, &mut self.clock)
    }
}

/// Formats the counters and the status of the clock as one line.
fn status_line(counters: &Counters, listeners: &[Listener], clock: &mut Clock) -> String {
    // Updates the status if the clock was not read in this second yet.
    clock.now();
    format!(
        "{} {}",
        with_drops(counters, listeners),
        clock.sync_status()
    )
}

/// Adds the drops that the kernel counts to the counters.
fn with_drops(counters: &Counters, listeners: &[Listener]) -> Counters {
    let dropped = listeners
        .iter()
        .filter_map(|listener| listener.memory().ok())
        .map(|memory| u64::from(memory.drops));
    Counters {
        dropped: dropped.sum(),
        ..*counters
    }
}

/// The responses of a batch and the socket to send them from.
struct Sending<'a> {
    batch: &'a mut Batch,
    socket: BorrowedFd<'a>,
}

impl Outgoing for Sending<'_> {
    fn count(&self) -> usize {
        self.batch.pending()
    }

    fn send(&mut self, first: usize) -> io::Result<usize> {
        self.batch.send(self.socket, first)
    }

    fn wait_writable(&mut self, timeout: Duration) -> (bool, Duration) {
        let start = Instant::now();
        let mut descriptors = [PollFd::from_borrowed_fd(self.socket, PollFlags::OUT)];
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            let writable = match poll(&mut descriptors, Timespec::try_from(left).ok().as_ref()) {
                Ok(ready) => ready > 0,
                // A signal, which the loop handles after the batch.
                Err(Errno::INTR) => continue,
                Err(_) => false,
            };
            return (writable, start.elapsed());
        }
    }

    fn unsent(&mut self, response: usize, error: &io::Error) {
        if let Some(destination) = self.batch.destination(response) {
            log::debug!("{destination}: send: {error}");
        }
    }
}

/// Displays a request in the log: at most [`MAX_REQUEST_LEN`] bytes, escaped, on one line.
struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(MAX_REQUEST_LEN)];
        write!(f, "\"{}\"", shown.escape_ascii())?;
        if shown.len() < self.0.len() {
            f.write_str(" and more")?;
        }
        Ok(())
    }
}

//! The loop: take, answer, send, and wait where there was nothing to take.
//!
//! One thread, one straight corridor: a datagram is taken in by [`Batch`], judged by [`answer`](mod@crate::answer), and its answer leaves
//! through the same batch.
//!
//! There is one way to sleep: poll(2), on a pipe that signals write to and on the sockets, and only after a receive on each socket
//! found nothing. There is no timer but the service manager's.

use std::fmt;
use std::io::{self, Read, Write};
use std::mem::discriminant;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::{flag, low_level::pipe};

use crate::answer::{MAX_QUESTION, Verdict, answer};
use crate::batch::Batch;
use crate::clock::Clock;
use crate::listen::Listener;
use crate::manager::Manager;

/// Batches taken from one socket before the others, the signals and the service manager get their turn.
const TURN: usize = 16;

/// After the kernel failed us in a way we do not know, so that a lasting fault can't make the loop spin.
const PAUSE: Duration = Duration::from_millis(10);

/// How long full send buffers are waited for at the end, all in all.
const LAST_PATIENCE: Duration = Duration::from_millis(50);

/// How long what is queued is answered after the order to stop: less than the units' WatchdogSec= and TimeoutStopSec=. What a
/// flood has queued beyond that stays in an inherited socket, for the next daemon.
const DRAIN: Duration = Duration::from_secs(1);

/// So many times in a row poll(2) may promise a datagram that is not there before the kernel is taken to have failed us.
const IN_VAIN: u32 = 64;

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Questions that were told the time.
    pub answered: u64,
    /// Questions that got an error answer.
    pub refused: u64,
    /// Datagrams met with silence.
    pub ignored: u64,
    /// Of the answers to both, those that the kernel would not take.
    pub unsent: u64,
    /// Datagrams that the kernel dropped at the sockets since they were made: because the receive buffer was full, or because of a filter
    /// (IPAddressAllow=) or a wrong checksum.
    pub dropped: u64,
    /// Waits and receives that the kernel failed, ICMP errors that it kept for a receive among them.
    pub failed: u64,
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counters {
            answered,
            refused,
            ignored,
            unsent,
            dropped,
            failed,
        } = self;
        write!(
            f,
            "answered={answered} refused={refused} ignored={ignored} unsent={unsent} dropped={dropped} failed={failed}"
        )
    }
}

/// What reaches the loop from outside: stop, and tell the counters.
#[derive(Debug)]
pub struct Signals {
    wake: UnixStream,
    stop: Arc<AtomicBool>,
    report: Arc<AtomicBool>,
}

/// Does by call what the signals do.
#[derive(Debug)]
pub struct Handle {
    far_end: UnixStream,
    stop: Arc<AtomicBool>,
}

impl Handle {
    /// As SIGTERM: answer what is queued and end.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        // A pipe that is full already wakes the loop as well.
        let _ = (&self.far_end).write(b"X");
    }
}

impl Signals {
    /// SIGTERM and SIGINT stop the loop, SIGUSR1 makes it log its counters.
    ///
    /// # Errors
    ///
    /// Those of socketpair(2) and sigaction(2).
    pub fn of_process() -> io::Result<Signals> {
        let (signals, handle) = Signals::by_handle()?;
        for (signal, flag) in [
            (SIGTERM, &signals.stop),
            (SIGINT, &signals.stop),
            (SIGUSR1, &signals.report),
        ] {
            // The flag is registered first, so it is up when the pipe wakes the loop.
            flag::register(signal, Arc::clone(flag))?;
            pipe::register(signal, handle.far_end.try_clone()?)?;
        }
        Ok(signals)
    }

    /// No signals, but a handle: for a loop within another program.
    ///
    /// # Errors
    ///
    /// Those of socketpair(2).
    pub fn by_handle() -> io::Result<(Signals, Handle)> {
        let (wake, far_end) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        far_end.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let handle = Handle {
            far_end,
            stop: Arc::clone(&stop),
        };
        Ok((
            Signals {
                wake,
                stop,
                report: Arc::default(),
            },
            handle,
        ))
    }

    fn take_wake_ups(&self) {
        // One byte a signal; whatever stays is taken at the next turn.
        let _ = (&self.wake).read(&mut [0; 64]);
    }
}

/// The daemon, ready to run.
pub struct Server {
    listeners: Vec<Listener>,
    signals: Signals,
    loop_state: Loop,
}

/// What the loop works with and on, beside the sockets and signals that it sleeps on.
struct Loop {
    clock: Clock,
    manager: Manager,
    batch: Batch,
    counters: Counters,
    /// Whether anything was counted since the status was told.
    busy: bool,
    /// Waits in a row that promised a datagram where there was none.
    in_vain: u32,
}

impl Server {
    /// A daemon that answers what comes to these sockets with the time of this clock.
    pub fn new(
        listeners: Vec<Listener>,
        clock: Clock,
        signals: Signals,
        manager: Manager,
    ) -> Server {
        Server {
            listeners,
            signals,
            loop_state: Loop {
                clock,
                manager,
                batch: Batch::new(),
                counters: Counters::default(),
                busy: true,
                in_vain: 0,
            },
        }
    }

    /// Answers until it is told to stop, then what is queued by then; returns what it counted.
    pub fn run(self) -> Counters {
        let Server {
            listeners,
            signals,
            loop_state: mut state,
        } = self;
        for listener in &listeners {
            log::info!("listening on {}", listener.address());
        }
        // A clock that nobody keeps is told of at the start, not at the first question.
        state.clock.now();
        state.manager.ready();
        let wake = PollFd::new(&signals.wake, PollFlags::IN);
        let mut descriptors: Vec<_> = [wake]
            .into_iter()
            .chain(
                listeners
                    .iter()
                    .map(|l| PollFd::from_borrowed_fd(l.as_fd(), PollFlags::IN)),
            )
            .collect();
        while !signals.stop.load(Ordering::Acquire) {
            if signals.report.swap(false, Ordering::AcqRel) {
                log::info!("{}", state.figures(&listeners));
            }
            let patience = state.manage(&listeners);
            let mut taken = 0;
            for listener in &listeners {
                taken += state.socket_turn(listener);
            }
            if taken == 0 {
                state.sleep(&mut descriptors, patience);
                if !descriptors[0].revents().is_empty() {
                    signals.take_wake_ups();
                }
            }
        }
        state.manager.stopping();
        state.drain(&listeners);
        log::info!("stopped: {}", state.figures(&listeners));
        with_drops(&state.counters, &listeners)
    }
}

impl Loop {
    /// Tells the service manager what is due; says how long the loop may sleep.
    fn manage(&mut self, listeners: &[Listener]) -> Option<Duration> {
        let Loop {
            clock,
            manager,
            counters,
            busy,
            ..
        } = self;
        manager.turn(busy, || figures(counters, listeners, clock))
    }

    /// Sleeps until a socket has a datagram, a signal came, or the service manager is to be told something.
    fn sleep(&mut self, descriptors: &mut [PollFd<'_>], patience: Option<Duration>) {
        // A time that no timespec holds is for ever.
        let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
        match poll(descriptors, patience.as_ref()) {
            Ok(0) => self.idle_turn(),
            // Now and then nothing comes of it: a datagram with a bad checksum.
            Ok(_) if descriptors[0].revents().is_empty() => {
                self.in_vain += 1;
                if self.in_vain > IN_VAIN {
                    log::debug!("poll: a datagram that is not there");
                    self.failed();
                }
            }
            // A signal: it is in the pipe, and the next wait sees it there.
            Ok(_) | Err(Errno::INTR) => {}
            // Without poll(2) the receives go on, now and then.
            Err(error) => {
                log::debug!("poll: {error}");
                self.failed();
            }
        }
    }

    /// Awake for the service manager only, and so for a look at the clock: whether anybody keeps it is news even if nobody asks.
    fn idle_turn(&mut self) {
        let before = discriminant(&self.clock.synchronisation());
        self.clock.now();
        self.busy |= discriminant(&self.clock.synchronisation()) != before;
    }

    /// One socket's turn: batches until it is empty, but not without end; says how many datagrams it brought.
    fn socket_turn(&mut self, listener: &Listener) -> usize {
        let mut taken = 0;
        for _ in 0..TURN {
            match self.one_batch(listener) {
                Ok(more) => taken += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    log::debug!("{}: receive: {error}", listener.address());
                    self.failed();
                    break;
                }
            }
        }
        taken
    }

    /// The kernel failed us: counted, and slept over. A lasting fault must not make the loop spin.
    fn failed(&mut self) {
        self.counters.failed += 1;
        self.busy = true;
        thread::sleep(PAUSE);
    }

    /// Answers what is queued, each socket a batch in turn, until all are empty or [`DRAIN`] is over.
    fn drain(&mut self, listeners: &[Listener]) {
        self.batch.hurry(LAST_PATIENCE);
        let begun = Instant::now();
        let mut taken = 1;
        while taken > 0 && begun.elapsed() < DRAIN {
            taken = listeners
                .iter()
                .filter_map(|listener| self.one_batch(listener).ok())
                .sum();
        }
    }

    /// Takes a batch, answers it, sends it; says how many were taken.
    fn one_batch(&mut self, listener: &Listener) -> io::Result<usize> {
        let Loop {
            clock,
            batch,
            counters,
            ..
        } = self;
        let taken = batch.receive(listener.as_fd())?;
        // After every question of the batch came, before any answer goes: one look is true for all of them.
        let moment = clock.now();
        let (mut answered, mut refused, mut ignored) = (0, 0, 0);
        batch.answer_each(|question, peer, room| {
            let verdict = answer(question, peer, &moment, room);
            log::debug!("{peer} asked {}: {verdict}", Escaped(question));
            match verdict {
                Verdict::Answered { length } => {
                    answered += 1;
                    Some(length)
                }
                Verdict::Refused { length, .. } => {
                    refused += 1;
                    Some(length)
                }
                Verdict::Ignored(_) => {
                    ignored += 1;
                    None
                }
            }
        });
        let sent = batch.send(listener.as_fd(), |peer, error| {
            log::debug!("{peer}: send: {error}");
        });
        counters.answered += answered;
        counters.refused += refused;
        counters.ignored += ignored;
        counters.unsent += sent.unsent as u64;
        self.busy = true;
        self.in_vain = 0;
        Ok(taken)
    }

    fn figures(&mut self, listeners: &[Listener]) -> String {
        figures(&self.counters, listeners, &mut self.clock)
    }
}

/// The line that tells how it goes.
fn figures(counters: &Counters, listeners: &[Listener], clock: &mut Clock) -> String {
    // Looks at the kernel's clock where the last look is older than this second.
    clock.now();
    format!(
        "{} {}",
        with_drops(counters, listeners),
        clock.synchronisation()
    )
}

/// The counters with what the kernel counts.
fn with_drops(counters: &Counters, listeners: &[Listener]) -> Counters {
    let dropped = listeners
        .iter()
        .filter_map(|listener| listener.queue().ok())
        .map(|queue| u64::from(queue.dropped));
    Counters {
        dropped: dropped.sum(),
        ..*counters
    }
}

/// A stranger's bytes in the log: on one line, printable, and not without end.
struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(MAX_QUESTION)];
        write!(f, "\"{}\"", shown.escape_ascii())?;
        if shown.len() < self.0.len() {
            f.write_str(" and more")?;
        }
        Ok(())
    }
}

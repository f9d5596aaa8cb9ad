//! The loop: wait, take, answer, send.
//!
//! One thread, one straight corridor: a datagram is taken in by [`Batch`], judged by [`Memo`] (which is
//! [`answer`](mod@crate::answer) with a memory), and its answer leaves through the same batch.
//!
//! With one socket and nobody to report to, the daemon sleeps in the receive itself, which a signal ends ([`end_wait_at`]); that is the
//! least a question can cost. With several sockets, or a service manager that wants to hear from us in time, it sleeps in
//! poll(2), where signals come through a pipe. Either way there is no timer nobody asked for, and no signal is missed between a look and
//! the sleep.

use std::fmt;
use std::io::{self, Read, Write};
use std::mem::discriminant;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::{flag, low_level::pipe};

use crate::answer::Verdict;
use crate::batch::{BATCH, Batch, Ready, Wait, end_wait_at, wait};
use crate::clock::Clock;
use crate::listen::Listener;
use crate::manager::Manager;
use crate::memo::Memo;

/// Full batches taken from one socket before the others, and the signals, get their turn.
const TURN: usize = 16;

/// After the kernel failed us in a way we do not know, so that a lasting fault can't make the loop spin.
const PAUSE: Duration = Duration::from_millis(10);

/// How long full send buffers are waited for at the end, all in all.
const LAST_PATIENCE: Duration = Duration::from_millis(50);

/// So many looks in a row may bring nothing before the kernel is taken to have failed us.
const IN_VAIN: u32 = 64;

/// The least kernel memory a queued datagram takes, in bytes: what a queue weighs, divided by it, is the most datagrams it can hold.
const LEAST_DATAGRAM: u32 = 704;

/// A question in the debug log is cut after this many bytes.
const LOGGED: usize = 1024;

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
    far_end: UnixStream,
    stop: Arc<AtomicBool>,
    report: Arc<AtomicBool>,
    /// By a handle alone no receive is ended.
    real: bool,
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
        let (mut signals, _) = Signals::by_handle()?;
        signals.real = true;
        for (signal, flag) in signals.meanings() {
            flag::register(signal, Arc::clone(flag))?;
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
            far_end: far_end.try_clone()?,
            stop: Arc::clone(&stop),
        };
        Ok((
            Signals {
                wake,
                far_end,
                stop,
                report: Arc::default(),
                real: false,
            },
            handle,
        ))
    }

    /// Each signal and the flag it raises.
    fn meanings(&self) -> [(libc::c_int, &Arc<AtomicBool>); 3] {
        [
            (SIGTERM, &self.stop),
            (SIGINT, &self.stop),
            (SIGUSR1, &self.report),
        ]
    }

    /// The signals end a wait in poll(2). The flags were registered before, so they are up by then.
    fn end_poll(&self) -> io::Result<()> {
        if self.real {
            for (signal, _) in self.meanings() {
                pipe::register(signal, self.far_end.try_clone()?)?;
            }
        }
        Ok(())
    }

    /// The signals end a wait in the receive.
    fn end_receive(&self, listener: &Listener) -> io::Result<()> {
        for (signal, _) in self.meanings() {
            end_wait_at(signal, listener.as_fd())?;
        }
        listener.set_blocking()
    }

    fn take_wake_ups(&mut self) {
        // One byte a signal; whatever stays is taken at the next turn.
        let _ = self.wake.read(&mut [0; 64]);
    }
}

/// Where the loop sleeps.
enum Sleep {
    /// In the receive of the one socket.
    InReceive,
    /// In poll(2): on the signals' pipe, then on the sockets in their order.
    InPoll(Vec<Ready>),
}

/// The daemon, ready to run.
pub struct Server {
    listeners: Vec<Listener>,
    clock: Clock,
    signals: Signals,
    manager: Manager,
    memo: Memo,
    batch: Batch,
    counters: Counters,
    /// Whether anything was counted since the status was told.
    busy: bool,
    /// Looks in a row that brought nothing.
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
            clock,
            signals,
            manager,
            memo: Memo::new(),
            batch: Batch::new(),
            counters: Counters::default(),
            busy: true,
            in_vain: 0,
        }
    }

    /// Answers until it is told to stop, then what is queued by then; returns what it counted.
    ///
    /// # Errors
    ///
    /// Only at the start, where the signals can't be set up.
    pub fn run(mut self) -> io::Result<Counters> {
        let mut sleep = self.sleep()?;
        for listener in &self.listeners {
            log::info!("listening on {}", listener.address());
        }
        // A clock that nobody keeps is told of at the start, not at the first question.
        self.clock.now();
        self.manager.ready();
        while !self.signals.stop.load(Ordering::Acquire) {
            if self.signals.report.swap(false, Ordering::AcqRel) {
                // The look that it ended was no failure.
                self.in_vain = 0;
                log::info!(
                    "{}",
                    figures(&self.counters, &self.listeners, &mut self.clock)
                );
            }
            match &mut sleep {
                Sleep::InReceive => self.receive_turn(),
                Sleep::InPoll(descriptors) => self.poll_turn(descriptors),
            }
        }
        self.manager.stopping();
        self.drain();
        log::info!(
            "stopped: {}",
            figures(&self.counters, &self.listeners, &mut self.clock)
        );
        Ok(with_drops(&self.counters, &self.listeners))
    }

    /// Where to sleep, with the signals set up for it.
    fn sleep(&self) -> io::Result<Sleep> {
        if let [listener] = &self.listeners[..]
            && self.signals.real
            && !self.manager.is_there()
        {
            self.signals.end_receive(listener)?;
            return Ok(Sleep::InReceive);
        }
        self.signals.end_poll()?;
        let mut descriptors = vec![Ready::to_read(self.signals.wake.as_fd())];
        descriptors.extend(
            self.listeners
                .iter()
                .map(|listener| Ready::to_read(listener.as_fd())),
        );
        Ok(Sleep::InPoll(descriptors))
    }

    /// Sleeps in the receive of the one socket, and answers what it brings.
    fn receive_turn(&mut self) {
        if let Err(error) = self.one_batch(0, Wait::ForOne) {
            self.trouble(0, &error);
            // If it was a signal, the flag that ended the wait is to end no other.
            if let Err(error) = self.listeners[0].set_blocking() {
                self.trouble(0, &error);
            }
        }
    }

    /// Sleeps in poll(2), and gives each socket with questions its turn.
    fn poll_turn(&mut self, descriptors: &mut [Ready]) {
        let patience = {
            let Server {
                listeners,
                clock,
                counters,
                manager,
                busy,
                ..
            } = self;
            manager.turn(busy, || figures(counters, listeners, clock))
        };
        let blind = match wait(descriptors, patience) {
            Ok(()) => false,
            // The signal is in the pipe, and the next wait sees it there.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            // Without poll(2) we look everywhere now and then: what does not wait may well work.
            Err(error) => {
                log::debug!("poll: {error}");
                self.failed();
                true
            }
        };
        if !blind && !descriptors.iter().any(Ready::is_ready) {
            return self.idle_turn();
        }
        let (signals, sockets) = descriptors.split_at(1);
        if blind || signals[0].is_ready() {
            self.signals.take_wake_ups();
        }
        for (index, ready) in sockets.iter().enumerate() {
            if blind || ready.is_ready() {
                self.socket_turn(index);
            }
        }
    }

    /// Awake for the service manager only, and so for a look at the clock: whether anybody keeps it is news even if nobody asks.
    fn idle_turn(&mut self) {
        let before = discriminant(&self.clock.synchronisation());
        self.clock.now();
        self.busy |= discriminant(&self.clock.synchronisation()) != before;
    }

    /// One socket's turn: full batches, but not without end.
    fn socket_turn(&mut self, index: usize) {
        for _ in 0..TURN {
            match self.one_batch(index, Wait::Never) {
                Ok(BATCH) => {}
                Ok(_) => return,
                Err(error) => return self.trouble(index, &error),
            }
        }
    }

    /// A receive that brought nothing. A lasting fault must not make the loop spin.
    fn trouble(&mut self, index: usize, error: &io::Error) {
        self.in_vain += 1;
        // Now and then that is in order: a signal, or a datagram with a bad checksum that poll(2) had promised.
        if error.kind() != io::ErrorKind::WouldBlock || self.in_vain > IN_VAIN {
            log::debug!("{}: receive: {error}", self.listeners[index].address());
            self.failed();
        }
    }

    /// The kernel failed us: counted, and slept over.
    fn failed(&mut self) {
        self.counters.failed += 1;
        self.busy = true;
        thread::sleep(PAUSE);
    }

    /// Answers what was queued when the order to stop came. What comes after it is left, so that a flood can't keep us.
    fn drain(&mut self) {
        self.batch.hurry(LAST_PATIENCE);
        for index in 0..self.listeners.len() {
            let queue = self.listeners[index].queue().unwrap_or_default();
            let mut left = (queue.bytes / LEAST_DATAGRAM) as usize + BATCH;
            while left > 0 {
                match self.one_batch(index, Wait::Never) {
                    Ok(taken) if taken > 0 => left = left.saturating_sub(taken),
                    _ => break,
                }
            }
        }
    }

    /// Takes a batch, answers it, sends it; says how many were taken.
    fn one_batch(&mut self, index: usize, wait: Wait) -> io::Result<usize> {
        let Server {
            listeners,
            clock,
            memo,
            batch,
            counters,
            ..
        } = self;
        let socket = listeners[index].as_fd();
        let taken = batch.receive(socket, wait)?;
        // After every question of the batch came, before any answer goes: one look is true for all of them.
        let moment = clock.now();
        let (mut answered, mut refused, mut ignored) = (0, 0, 0);
        batch.answer_each(|question, peer, room| {
            let verdict = memo.answer(question, peer, &moment, room);
            log::debug!("{peer} asked {}: {verdict}", Escaped(question));
            match verdict {
                Verdict::Answered { length, .. } => {
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
        let sent = batch.send(socket, |peer, error| log::debug!("{peer}: send: {error}"));
        counters.answered += answered;
        counters.refused += refused;
        counters.ignored += ignored;
        counters.unsent += sent.unsent as u64;
        self.busy = true;
        self.in_vain = 0;
        Ok(taken)
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
        let shown = &self.0[..self.0.len().min(LOGGED)];
        write!(f, "\"{}\"", shown.escape_ascii())?;
        match self.0.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} bytes more"),
        }
    }
}

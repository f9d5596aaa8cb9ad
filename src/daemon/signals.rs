//! Signals: SIGTERM and SIGINT stop the loop, SIGUSR1 makes it log its counters.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::{flag, low_level::pipe};

/// A flag for each request to the loop, and a pipe that ends its sleep.
#[derive(Debug)]
pub struct Signals {
    wake_rx: UnixStream,
    stop: Arc<AtomicBool>,
    report: Arc<AtomicBool>,
}

/// Stops a loop within this process, as SIGTERM does.
#[derive(Debug)]
pub struct StopHandle {
    wake_tx: UnixStream,
    stop: Arc<AtomicBool>,
}

impl StopHandle {
    /// Makes the loop answer the queued requests and end.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        // Fails only if the pipe is full, and a full pipe wakes the loop, too.
        let _ = (&self.wake_tx).write(b"X");
    }
}

impl Signals {
    /// Installs the signal handlers.
    ///
    /// # Errors
    ///
    /// Those of socketpair(2) and sigaction(2).
    pub fn install() -> io::Result<Signals> {
        let (signals, handle) = Signals::with_handle()?;
        for (signal, flag) in [
            (SIGTERM, &signals.stop),
            (SIGINT, &signals.stop),
            (SIGUSR1, &signals.report),
        ] {
            // Actions run in the order of registration: the flag is set before the pipe wakes the
            // loop.
            flag::register(signal, Arc::clone(flag))?;
            pipe::register(signal, handle.wake_tx.try_clone()?)?;
        }
        Ok(signals)
    }

    /// Installs no signal handlers; the handle stops the loop. For a loop within another program.
    ///
    /// # Errors
    ///
    /// Those of socketpair(2).
    pub fn with_handle() -> io::Result<(Signals, StopHandle)> {
        let (wake_rx, wake_tx) = UnixStream::pair()?;
        wake_rx.set_nonblocking(true)?;
        wake_tx.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let signals = Signals {
            wake_rx,
            stop: Arc::clone(&stop),
            report: Arc::default(),
        };
        Ok((signals, StopHandle { wake_tx, stop }))
    }

    /// Returns whether a stop was requested.
    pub fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Returns whether the counters were requested since the last call.
    pub fn take_report_request(&self) -> bool {
        self.report.swap(false, Ordering::AcqRel)
    }

    /// Empties the pipe, which has a byte for each signal. Beyond 64 bytes, the next call reads the
    /// rest.
    pub fn drain_wake_pipe(&self) {
        let _ = (&self.wake_rx).read(&mut [0; 64]);
    }
}

impl AsFd for Signals {
    /// Readable after a signal.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake_rx.as_fd()
    }
}

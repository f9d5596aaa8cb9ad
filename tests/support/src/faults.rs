//! Makes the system calls of one process fail (see faults.c): which call, with which errno, how
//! often.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::preload;

/// The system calls of the daemon's loop, in the order of faults.c.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// recvmmsg(2)
    Receive,
    /// sendmmsg(2)
    Send,
    /// ppoll(2)
    Poll,
    /// adjtimex(2)
    Clock,
}

const CALLS: u64 = 4;

/// The clock status that adjtimex(2) reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockStatus {
    /// Synchronised, with a maximum error of 1500 us.
    Synchronised = 1,
    /// Not synchronised: a maximum error of 16 s, and STA_UNSYNC.
    Unsynchronised = 2,
    /// As chronyd without `rtcsync` leaves it: a maximum error of 2500 us, and STA_UNSYNC.
    WithoutRtcsync = 3,
}

/// The path of the preloaded library, compiled once; `None` without a C compiler.
pub fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    LIBRARY
        .get_or_init(|| preload::compile("faults.c"))
        .as_deref()
}

/// The faults of one process, in a file that it maps.
pub struct Faults {
    path: PathBuf,
    file: File,
}

impl Faults {
    /// Preloads the library into a command. Returns `None` without a C compiler.
    pub fn preload(command: &mut Command) -> Option<Faults> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let library = library()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = library.with_extension(format!("{}-{number}", std::process::id()));
        command.env("LD_PRELOAD", library).env("FAULTS", &path);
        Some(Faults::new(path))
    }

    /// Creates the file at this path, without faults.
    pub fn new(path: PathBuf) -> Faults {
        fs::write(&path, [0; 128]).expect("a file");
        let file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .expect("a file");
        Faults { path, file }
    }

    fn set(&self, index: u64, value: i32) {
        self.file
            .write_all_at(&value.to_ne_bytes(), 4 * index)
            .expect("the file is written");
    }

    fn get(&self, index: u64) -> i32 {
        let mut value = [0; 4];
        self.file
            .read_exact_at(&mut value, 4 * index)
            .expect("the file is read");
        i32::from_ne_bytes(value)
    }

    /// Makes a call fail with this errno, the next `times` times.
    pub fn fail(&self, call: Call, errno: i32, times: i32) {
        self.set(CALLS + call as u64, times);
        self.set(call as u64, errno);
    }

    /// Makes a call fail with this errno until [`Faults::clear`].
    pub fn fail_always(&self, call: Call, errno: i32) {
        self.fail(call, errno, -1);
    }

    /// Passes a call on to the kernel again.
    pub fn clear(&self, call: Call) {
        self.set(call as u64, 0);
    }

    /// The number of times that a call has failed.
    pub fn failures(&self, call: Call) -> i32 {
        self.get(2 * CALLS + call as u64)
    }

    /// Sets the minimum time of a wait for space in a full send buffer. A signal still ends it.
    pub fn set_min_send_wait(&self, wait: Duration) {
        self.set(3 * CALLS + 1, wait.as_millis() as i32);
    }

    /// Makes only the sends from this local port fail.
    pub fn set_send_port(&self, port: u16) {
        self.set(3 * CALLS + 4, port.into());
    }

    /// Makes the process an unprivileged one on a host with this net.core.rmem_max and wmem_max.
    pub fn set_buffer_limit(&self, bytes: i32) {
        self.set(3 * CALLS + 2, bytes);
    }

    /// Makes socket(2) fail with this errno for the Internet protocols.
    pub fn set_socket_error(&self, errno: i32) {
        self.set(3 * CALLS + 3, errno);
    }

    /// Sets the clock status that adjtimex(2) reports.
    pub fn set_clock_status(&self, status: ClockStatus) {
        self.set(3 * CALLS, status as i32);
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

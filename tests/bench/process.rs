//! What the kernel knows of a process: the time it was on a core, its memory, its sleeps.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// The two times of /proc/PID/schedstat, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Scheduled {
    pub on_cpu: u64,
    /// Runnable, but somebody else had the core.
    pub waiting: u64,
}

pub fn scheduled(pid: u32) -> Scheduled {
    let text = read(pid, "schedstat");
    let mut fields = text.split_whitespace().map_while(|it| it.parse().ok());
    let mut field = || {
        fields
            .next()
            .unwrap_or_else(|| panic!("two times in /proc/{pid}/schedstat: {text:?}"))
    };
    Scheduled {
        on_cpu: field(),
        waiting: field(),
    }
}

/// The on-CPU time of a process, read often: by one system call.
pub struct Meter(File);

impl Meter {
    pub fn of(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/schedstat")).map(Self)
    }

    /// Nanoseconds so far.
    ///
    /// # Panics
    /// Where it can't be read, as [`scheduled`].
    pub fn on_cpu(&self) -> u64 {
        let mut text = [0; 64];
        let length = self.0.read_at(&mut text, 0).expect("schedstat is read");
        let digits = text[..length].split(|byte| *byte == b' ').next();
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        digits
            .and_then(|digits| digits.parse().ok())
            .expect("a time in schedstat")
    }
}

/// Resident memory in KiB.
pub fn resident(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

/// How often the process gave up its core, of its own will or not.
pub fn switches(pid: u32) -> u64 {
    status(pid, "voluntary_ctxt_switches:") + status(pid, "nonvoluntary_ctxt_switches:")
}

fn status(pid: u32, field: &str) -> u64 {
    alive(pid);
    let text = read(pid, "status");
    text.lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("no number at {field} in /proc/{pid}/status"))
}

/// Waits until the process sleeps: only then has the kernel booked all of its time.
pub fn settle(pid: u32) {
    let deadline = Instant::now() + Duration::from_millis(200);
    while alive(pid) != 'S' && Instant::now() < deadline {
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// The state of a process. One that ended keeps its files in /proc until it is waited for, and has nothing more to say in them.
fn alive(pid: u32) -> char {
    let text = read(pid, "stat");
    // The first field behind the name, which stands in brackets and may hold anything.
    let state = text
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim_start().chars().next())
        .unwrap_or_else(|| panic!("no state in /proc/{pid}/stat: {text:?}"));
    assert!(!"ZX".contains(state), "process {pid} has ended");
    state
}

/// # Panics
/// Where it can't be read: a nought in its place would be the best of all measurements.
fn read(pid: u32, file: &str) -> String {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

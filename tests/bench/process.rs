//! What /proc says of a process: on-CPU time, memory, context switches.
//!
//! The functions panic where a figure cannot be read: a 0 in its place would be the best of all
//! results.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// The two times of /proc/PID/schedstat, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct SchedTimes {
    pub on_cpu: u64,
    /// Runnable while another process had the core.
    pub waiting: u64,
}

/// Reads both times.
pub fn sched_times(pid: u32) -> SchedTimes {
    let text = read(pid, "schedstat");
    let mut fields = text.split_whitespace().map_while(|it| it.parse().ok());
    let mut field = || {
        fields
            .next()
            .unwrap_or_else(|| panic!("two times in /proc/{pid}/schedstat: {text:?}"))
    };
    SchedTimes {
        on_cpu: field(),
        waiting: field(),
    }
}

/// Reads the on-CPU time of one process with one system call.
pub struct CpuMeter(File);

impl CpuMeter {
    pub fn new(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/schedstat")).map(Self)
    }

    /// Returns the on-CPU time so far, in nanoseconds.
    pub fn on_cpu(&self) -> u64 {
        let mut buf = [0; 64];
        let length = self.0.read_at(&mut buf, 0).expect("schedstat is readable");
        let digits = buf[..length].split(|byte| *byte == b' ').next();
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        digits
            .and_then(|digits| digits.parse().ok())
            .expect("schedstat begins with a time")
    }
}

/// Returns resident memory in KiB.
pub fn resident(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

/// Returns the number of context switches, voluntary or not.
pub fn context_switches(pid: u32) -> u64 {
    status(pid, "voluntary_ctxt_switches:") + status(pid, "nonvoluntary_ctxt_switches:")
}

fn status(pid: u32, field: &str) -> u64 {
    // Of a process that has ended, /proc keeps the files but not the figures.
    state(pid);
    let text = read(pid, "status");
    text.lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("no number at {field} in /proc/{pid}/status"))
}

/// Waits until the process sleeps: only then has the kernel accounted all of its time.
pub fn wait_until_asleep(pid: u32) {
    let deadline = Instant::now() + Duration::from_millis(200);
    while state(pid) != 'S' && Instant::now() < deadline {
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Returns the state of a process (proc(5)), which must not have ended.
fn state(pid: u32) -> char {
    let text = read(pid, "stat");
    // The first field after the name, which is in parentheses and may hold anything.
    let state = text
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim_start().chars().next())
        .unwrap_or_else(|| panic!("no state in /proc/{pid}/stat: {text:?}"));
    assert!(!"ZX".contains(state), "process {pid} has ended");
    state
}

fn read(pid: u32, file: &str) -> String {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

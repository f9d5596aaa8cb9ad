//! What the kernel knows of a process: the time it was on a core, its memory, its sleeps.

use std::fs;
use std::time::{Duration, Instant};

/// The two times of /proc/PID/schedstat, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Scheduled {
    pub on_cpu: u64,
    /// Runnable, but somebody else had the core.
    pub waiting: u64,
}

pub fn scheduled(pid: u32) -> Scheduled {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let mut fields = text
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0));
    Scheduled {
        on_cpu: fields.next().unwrap_or(0),
        waiting: fields.next().unwrap_or(0),
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
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .unwrap_or_default();
    line.split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// Waits until the process sleeps: only then has the kernel booked all of its time.
pub fn settle(pid: u32) {
    let deadline = Instant::now() + Duration::from_millis(200);
    while Instant::now() < deadline {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The state is the first field behind the name, which stands in brackets and may hold anything.
        if text
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('S'))
        {
            return;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

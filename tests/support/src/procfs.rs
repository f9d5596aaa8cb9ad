//! What the kernel reports of a process (proc(5)). All functions panic if there is no such process.

use std::fs;
use std::time::Duration;

/// The CPU time that a process has used so far.
pub fn cpu_time(pid: u32) -> Duration {
    let text = read(pid, "schedstat");
    let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

/// The state of a process: R is running or runnable, S is sleeping, T is stopped.
pub fn process_state(pid: u32) -> char {
    let fields = stat_fields(pid);
    fields.chars().next().expect("a state")
}

/// The fields of /proc/PID/stat after the name of the program, which may have spaces: first the
/// state.
fn stat_fields(pid: u32) -> String {
    let stat = read(pid, "stat");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    fields.to_owned()
}

/// The number of context switches of a process so far, voluntary or not.
pub fn context_switches(pid: u32) -> u64 {
    let status = read(pid, "status");
    let lines = status
        .lines()
        .filter_map(|line| line.split_once("_ctxt_switches:"));
    lines
        .map(|(_, count)| count.trim().parse::<u64>().expect("a number"))
        .sum()
}

/// The number of page faults of a process so far that waited for a disk.
pub fn major_faults(pid: u32) -> u64 {
    let fields = stat_fields(pid);
    let count = fields.split(' ').nth(9).and_then(|it| it.parse().ok());
    count.expect("a number")
}

/// The resident memory of a process in KiB.
///
/// From its pages: VmRSS of /proc/PID/status is, on some kernels, a sum of counters that each lag
/// behind by as much as a small leak.
pub fn resident_kib(pid: u32) -> u64 {
    let text = read(pid, "smaps_rollup");
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .expect("a number")
}

/// The number of open file descriptors of a process.
pub fn open_descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("the process exists")
        .count()
}

fn read(pid: u32, name: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{name}")).expect("the process exists")
}

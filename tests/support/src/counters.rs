//! The counters that the daemon logs at SIGUSR1 and at its end.

use crate::Process;

/// Makes a daemon log its counters. Returns answered, refused, ignored, unsent, dropped.
pub fn request_counters(process: &mut Process) -> [u64; 5] {
    process.signal("USR1");
    parse_counters(&process.wait_for(" answered="))
}

/// Returns answered, refused, ignored, unsent and dropped of a log line.
pub fn parse_counters(line: &str) -> [u64; 5] {
    let names = ["answered=", "refused=", "ignored=", "unsent=", "dropped="];
    names.map(|name| parse_counter(line, name))
}

/// Returns one counter of a log line. The name includes the equals sign.
pub fn parse_counter(line: &str, name: &str) -> u64 {
    let value = line.split(' ').find_map(|word| word.strip_prefix(name));
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("{name} in {line:?}"))
}

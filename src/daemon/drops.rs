//! When to warn about requests that the kernel drops because a receive buffer is full.
//!
//! Nothing here makes a system call or reads a clock, so the tests need neither.

use std::time::{Duration, Instant};

use crate::sys::sockopt::SockMemInfo;

/// Minimum time between two warnings. Drops are due to a full buffer if the queue was more than
/// half full within this time: the kernel also counts what a filter (IPAddressAllow=) refused.
const PERIOD: Duration = Duration::from_secs(60);

/// What is known of the drops of one socket.
#[derive(Debug)]
pub struct DropMonitor {
    /// The kernel's count at the start, at the last warning, or when it was found to be due to a
    /// filter.
    known: u32,
    half_full_at: Option<Instant>,
    warned_at: Option<Instant>,
}

impl DropMonitor {
    /// Starts at a count of drops: those of an inherited socket from before are not warned about.
    pub fn new(drops: u32) -> DropMonitor {
        DropMonitor {
            known: drops,
            half_full_at: None,
            warned_at: None,
        }
    }

    /// Looks at the socket, at this time. Returns how many drops to warn about.
    pub fn check(&mut self, memory: SockMemInfo, now: Instant) -> Option<u32> {
        let recently = |time: Option<Instant>| time.is_some_and(|time| now - time < PERIOD);
        if memory.recv_queue > memory.recv_buffer / 2 {
            self.half_full_at = Some(now);
        }
        // The kernel's counter wraps around.
        let dropped = memory.drops.wrapping_sub(self.known);
        if dropped == 0 || recently(self.warned_at) {
            return None;
        }
        self.known = memory.drops;
        if !recently(self.half_full_at) {
            return None;
        }
        self.warned_at = Some(now);
        Some(dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(recv_queue: u32, drops: u32) -> SockMemInfo {
        SockMemInfo {
            recv_queue,
            recv_buffer: 1000,
            drops,
        }
    }

    /// The warnings of a new socket whose memory is looked at in these seconds.
    fn warnings<const N: usize>(looks: [(u64, SockMemInfo); N]) -> [Option<u32>; N] {
        let (start, mut monitor) = (Instant::now(), DropMonitor::new(0));
        looks.map(|(second, memory)| monitor.check(memory, start + Duration::from_secs(second)))
    }

    #[test]
    fn drops_warn_at_once_and_then_once_a_minute() {
        let found = warnings([
            (0, memory(900, 0)),
            (1, memory(900, 5)),
            (2, memory(900, 100)),
            (60, memory(900, 1_000)),
            (61, memory(900, 2_000)),
            (62, memory(900, 3_000)),
            (121, memory(900, 3_001)),
            (181, memory(900, 3_001)),
        ]);
        let expected = [
            None,
            Some(5),
            None,
            None,
            Some(1_995),
            None,
            Some(1_001),
            None,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn drops_at_a_queue_less_than_half_full_are_ignored() {
        let found = warnings([
            (0, memory(500, 10)),
            (1, memory(0, 20)),
            // The buffer fills: the earlier drops are still those of the filter.
            (2, memory(501, 20)),
            (3, memory(100, 23)),
        ]);
        assert_eq!(found, [None, None, None, Some(3)]);
    }

    #[test]
    fn a_full_queue_of_more_than_a_minute_ago_does_not_count() {
        let found = warnings([(0, memory(900, 0)), (59, memory(0, 0)), (60, memory(0, 7))]);
        assert_eq!(found, [None, None, None]);
    }

    #[test]
    fn earlier_drops_do_not_count_and_the_counter_wraps_around() {
        let mut monitor = DropMonitor::new(u32::MAX);
        let dropped = monitor.check(memory(900, 2), Instant::now());
        assert_eq!(dropped, Some(3));
    }
}

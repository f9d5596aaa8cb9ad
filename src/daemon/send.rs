//! What to do when the kernel does not accept a response: wait, try again, or leave it unsent.
//!
//! Nothing here makes a system call, so the tests need no kernel.

use std::io;
use std::time::Duration;

/// Maximum wait for space in a full send buffer. Then the rest of the batch is tried once more:
/// poll(2) reports space only when half of the buffer is free, but a batch needs less.
///
/// If that fails after a time-out, no batch waits until a complete one was sent: responses to
/// forged addresses of the local network fill the buffer for seconds, while the kernel tries to
/// resolve the neighbour, and must not delay all others.
const SEND_TIMEOUT: Duration = Duration::from_millis(10);

/// A batch of responses and the socket to send them from.
pub trait Outgoing {
    /// Returns how many responses there are.
    fn count(&self) -> usize;

    /// Sends the responses from number `first` on. Returns how many were sent, at least one.
    ///
    /// # Errors
    ///
    /// Why response `first` was not sent.
    fn send(&mut self, first: usize) -> io::Result<usize>;

    /// Waits until half of the send buffer is free. Returns whether it is, and how long that took.
    fn wait_writable(&mut self, timeout: Duration) -> (bool, Duration);

    /// Logs a response that is left unsent.
    fn unsent(&mut self, response: usize, error: &io::Error);
}

/// Decides whether to wait for a full send buffer, and for how long. Each socket has its own, so
/// that a full buffer of one does not change how another is served.
#[derive(Debug)]
pub struct SendPolicy {
    may_wait: bool,
    /// How long all waits together may last.
    wait_left: Duration,
}

impl Default for SendPolicy {
    fn default() -> SendPolicy {
        SendPolicy {
            may_wait: true,
            wait_left: Duration::MAX,
        }
    }
}

impl SendPolicy {
    /// Limits the total of all waits from now on.
    pub fn limit_send_wait(&mut self, total: Duration) {
        self.wait_left = total;
    }

    /// Sends a batch. Returns how many responses are left unsent.
    pub fn send_all(&mut self, batch: &mut impl Outgoing) -> usize {
        let (mut next, mut unsent) = (0, 0);
        let (mut waited, mut timed_out) = (false, false);
        while next < batch.count() {
            let error = match batch.send(next) {
                Ok(sent) => {
                    next += sent;
                    continue;
                }
                Err(error) => error,
            };
            let skipped = match error.raw_os_error() {
                // The send buffer is full: wait once in a batch and try again, then skip the rest.
                Some(libc::EAGAIN) if self.may_wait && !waited => {
                    waited = true;
                    timed_out = !self.wait_writable(batch);
                    continue;
                }
                Some(libc::EAGAIN) => batch.count() - next,
                // This response can't be sent; the others may go elsewhere.
                _ => 1,
            };
            for response in next..next + skipped {
                batch.unsent(response, &error);
            }
            unsent += skipped;
            next += skipped;
        }
        if next > 0 && unsent == 0 {
            self.may_wait = true;
        } else if timed_out {
            self.may_wait = false;
        }
        unsent
    }

    /// Waits for space in the send buffer. Returns whether half of it is free.
    fn wait_writable(&mut self, batch: &mut impl Outgoing) -> bool {
        let (writable, took) = batch.wait_writable(SEND_TIMEOUT.min(self.wait_left));
        self.wait_left = self.wait_left.saturating_sub(took);
        writable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Records the calls. `sends` has the results of the calls of send(); after these, all is sent.
    #[derive(Default)]
    struct FakeSocket {
        count: usize,
        sends: VecDeque<Result<usize, i32>>,
        writable: bool,
        waits: Vec<Duration>,
        first: Vec<usize>,
        unsent: Vec<usize>,
    }

    impl Outgoing for FakeSocket {
        fn count(&self) -> usize {
            self.count
        }

        fn send(&mut self, first: usize) -> io::Result<usize> {
            self.first.push(first);
            let all = self.count - first;
            let result = self.sends.pop_front().unwrap_or(Ok(all));
            result.map_err(io::Error::from_raw_os_error)
        }

        fn wait_writable(&mut self, timeout: Duration) -> (bool, Duration) {
            self.waits.push(timeout);
            (self.writable, timeout)
        }

        fn unsent(&mut self, response: usize, _error: &io::Error) {
            self.unsent.push(response);
        }
    }

    fn socket<const N: usize>(count: usize, sends: [Result<usize, i32>; N]) -> FakeSocket {
        FakeSocket {
            count,
            sends: sends.into(),
            writable: true,
            ..FakeSocket::default()
        }
    }

    #[test]
    fn partial_sends_are_continued() {
        let mut batch = socket(5, [Ok(2), Ok(1)]);
        assert_eq!(SendPolicy::default().send_all(&mut batch), 0);
        assert_eq!(batch.first, [0, 2, 3]);
    }

    #[test]
    fn a_failed_response_is_skipped_alone() {
        let mut batch = socket(3, [Ok(1), Err(libc::EHOSTUNREACH)]);
        assert_eq!(SendPolicy::default().send_all(&mut batch), 1);
        assert_eq!((batch.first, batch.unsent), (vec![0, 1, 2], vec![1]));
    }

    #[test]
    fn a_full_buffer_is_waited_for_once_in_a_batch() {
        let mut policy = SendPolicy::default();
        let mut batch = socket(4, [Ok(1), Err(libc::EAGAIN), Ok(1), Err(libc::EAGAIN)]);
        assert_eq!(policy.send_all(&mut batch), 2);
        assert_eq!(batch.waits, [SEND_TIMEOUT]);
        assert_eq!(batch.unsent, [2, 3]);
    }

    /// Less than half of the buffer is free, which poll(2) does not report, but that suffices.
    #[test]
    fn the_rest_is_tried_once_more_after_a_timeout() {
        let mut policy = SendPolicy::default();
        for _ in 0..2 {
            let mut slow = socket(4, [Ok(1), Err(libc::EAGAIN), Ok(2)]);
            slow.writable = false;
            assert_eq!(policy.send_all(&mut slow), 0);
            assert_eq!(slow.first, [0, 1, 1, 3]);
            // What the second try sends in full allows the next batch to wait.
            assert_eq!(slow.waits, [SEND_TIMEOUT]);
        }
        let mut slower = socket(4, [Ok(1), Err(libc::EAGAIN), Ok(1), Err(libc::EAGAIN)]);
        slower.writable = false;
        assert_eq!(policy.send_all(&mut slower), 2);
        assert_eq!((slower.waits.len(), slower.unsent), (1, vec![2, 3]));
    }

    #[test]
    fn after_a_failed_try_only_a_complete_batch_allows_waits() {
        let mut policy = SendPolicy::default();
        let mut stuck = socket(2, [Err(libc::EAGAIN), Err(libc::EAGAIN)]);
        stuck.writable = false;
        assert_eq!(policy.send_all(&mut stuck), 2);
        assert_eq!(stuck.waits.len(), 1);
        let mut full = socket(2, [Err(libc::EAGAIN)]);
        assert_eq!(policy.send_all(&mut full), 2);
        assert_eq!(full.waits.len(), 0);
        // Neither an empty batch nor one with an unsent response is a complete one.
        assert_eq!(policy.send_all(&mut socket(0, [])), 0);
        assert_eq!(policy.send_all(&mut socket(2, [Err(libc::EPERM)])), 1);
        let mut full = socket(2, [Err(libc::EAGAIN)]);
        assert_eq!((policy.send_all(&mut full), full.waits.len()), (2, 0));
        assert_eq!(policy.send_all(&mut socket(2, [])), 0);
        let mut full = socket(2, [Err(libc::EAGAIN)]);
        assert_eq!((policy.send_all(&mut full), full.waits.len()), (0, 1));
    }

    #[test]
    fn the_waits_together_stay_within_the_limit() {
        let mut policy = SendPolicy::default();
        policy.limit_send_wait(SEND_TIMEOUT * 3 / 2);
        let mut waits = Vec::new();
        for _ in 0..3 {
            let mut batch = socket(1, [Err(libc::EAGAIN)]);
            policy.send_all(&mut batch);
            waits.extend(batch.waits);
        }
        assert_eq!(waits, [SEND_TIMEOUT, SEND_TIMEOUT / 2, Duration::ZERO]);
    }
}

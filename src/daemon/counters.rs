//! The counters of the daemon.

use std::fmt;

/// Counts of events since the start of the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that got the formatted time.
    pub answered: u64,
    /// Requests that got an error response.
    pub refused: u64,
    /// Datagrams that got no response.
    pub ignored: u64,
    /// Responses, error responses included, that the kernel did not accept.
    pub unsent: u64,
    /// Datagrams that the kernel dropped at the sockets since these were created: the receive
    /// buffer was full, a filter (IPAddressAllow=) refused them, or a checksum was wrong.
    pub dropped: u64,
    /// Calls of poll(2) and recvmmsg(2) that failed, those that report an ICMP error included.
    pub failed: u64,
}

impl fmt::Display for Counters {
    /// Formats the first part of the status line. Programs parse it.
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
            "answered={answered} refused={refused} ignored={ignored} unsent={unsent} \
             dropped={dropped} failed={failed}"
        )
    }
}

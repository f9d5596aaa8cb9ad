//! Sends measured offsets to chronyd as samples of a SOCK reference clock. chronyd disciplines the
//! local clock; this program never sets it.
//!
//! chrony.conf(5) describes `refclock SOCK`; the datagram is `struct sock_sample` of chrony's
//! refclock_sock.c.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::offset::{Interval, Nanos, Precision, SECOND, ServerClock};

/// The last field of each sample: `SOCK` in ASCII.
const MAGIC: i32 = 0x534f_434b;

/// The default of `--max-bound` for a server whose times have nanoseconds. chrony.conf(5) gets the
/// round trip, which is twice as long, as `delay 0.001`.
const MAX_BOUND: Nanos = 500_000;

/// The same for servers of whole seconds and coarse clocks, to which their tick is added: `delay
/// 0.03` with the default tick.
const MAX_BOUND_WITH_TICK: Nanos = 5_000_000;

/// How long there may be nothing to send before a warning.
const OUTAGE: Duration = Duration::from_secs(60);

/// Returns the default of the maximum bound of a sample: that of the most precise of these servers.
///
/// chronyd takes the middle of the interval for the offset, and adds its own constant for the error
/// (half of `delay`). So an interval that is wider than this constant must not be sent.
pub fn max_bound<'a>(servers: impl Iterator<Item = &'a ServerClock>) -> Nanos {
    let max_bound = |server: &ServerClock| match server.precision {
        Precision::Nanoseconds => MAX_BOUND,
        Precision::Coarse | Precision::Seconds => MAX_BOUND_WITH_TICK + server.tick,
    };
    servers.map(max_bound).min().unwrap_or(MAX_BOUND)
}

/// Decides when to warn that there is nothing to send.
#[derive(Debug)]
pub struct Outage {
    last_sample: Instant,
    is_reported: bool,
}

impl Outage {
    /// Begins to wait for the first sample.
    pub fn new(now: Instant) -> Outage {
        Outage {
            last_sample: now,
            is_reported: false,
        }
    }

    /// Ends the outage: there is a sample.
    pub fn end(&mut self, now: Instant) {
        *self = Outage::new(now);
    }

    /// Returns how long there was no sample, once in each outage that lasts a minute.
    pub fn warning_is_due(&mut self, now: Instant) -> Option<Duration> {
        let length = now.saturating_duration_since(self.last_sample);
        if self.is_reported || length < OUTAGE {
            return None;
        }
        self.is_reported = true;
        Some(length)
    }
}

/// Encodes an offset at this time of the local clock as `struct sock_sample` of a 64-bit machine,
/// in native byte order.
///
/// The fields are the local time (`struct timeval`), the offset (true time minus local time, in
/// seconds), pulse, leap, padding and magic.
pub fn sample(offset: Interval, time: Nanos) -> [u8; 40] {
    let (seconds, nanos) = (time.div_euclid(SECOND), time.rem_euclid(SECOND));
    let mut bytes = [0; 40];
    bytes[0..8].copy_from_slice(&(seconds as i64).to_ne_bytes());
    bytes[8..16].copy_from_slice(&((nanos / 1000) as i64).to_ne_bytes());
    bytes[16..24].copy_from_slice(&to_seconds(offset.middle()).to_ne_bytes());
    bytes[36..40].copy_from_slice(&MAGIC.to_ne_bytes());
    bytes
}

/// Converts to a float, because the datagram holds one. An offset of one day is off by 0.01 ns.
fn to_seconds(nanos: Nanos) -> f64 {
    nanos as f64 / SECOND as f64
}

/// Sends samples to one chronyd.
#[derive(Debug)]
pub struct ChronyFeed {
    socket: UnixDatagram,
    path: PathBuf,
}

impl ChronyFeed {
    /// Checks that a process listens on the socket at this path. Sends nothing.
    ///
    /// # Errors
    ///
    /// The socket does not exist, no process listens on it, or this process may not write to it.
    pub fn new(path: PathBuf) -> io::Result<Self> {
        UnixDatagram::unbound()?.connect(&path)?;
        let socket = UnixDatagram::unbound()?;
        // With a blocking socket a chronyd that hangs would stop this process too.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path })
    }

    /// Sends one sample.
    ///
    /// The path is resolved each time, because a chronyd that restarts makes a new socket.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new), or the socket's queue is full. A later sample may succeed.
    pub fn send(&self, offset: Interval, time: Nanos) -> io::Result<()> {
        let sample = sample(offset, time);
        self.socket.send_to(&sample, &self.path).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset::Estimate;

    #[test]
    fn sample_has_the_layout_of_sock_sample() {
        let offset = Interval::around(-250_000_000, 4_000);
        let bytes = sample(offset, 1_783_213_507_123_456_789);
        assert_eq!(bytes[0..8], 1_783_213_507i64.to_ne_bytes());
        assert_eq!(bytes[8..16], 123_456i64.to_ne_bytes());
        assert_eq!(bytes[16..24], (-0.25f64).to_ne_bytes());
        assert_eq!(bytes[24..36], [0; 12]);
        assert_eq!(bytes[36..40], 0x534f_434bi32.to_ne_bytes());
    }

    #[test]
    fn maximum_bound_is_that_of_the_most_precise_server() {
        let server = |precision| ServerClock {
            estimate: Estimate {
                interval: Interval::around(0, 1),
                as_of: 0,
                max_slew: 0,
            },
            round_trip: 1,
            samples: 1,
            precision,
            tick: 10_000_000,
            restarts: 0,
            duration: 1,
        };
        for (precisions, expected) in [
            (&[Precision::Nanoseconds][..], 500_000),
            (&[Precision::Coarse], 15_000_000),
            (&[Precision::Seconds], 15_000_000),
            (&[Precision::Seconds, Precision::Nanoseconds], 500_000),
        ] {
            let servers: Vec<_> = precisions.iter().copied().map(server).collect();
            assert_eq!(max_bound(servers.iter()), expected, "{precisions:?}");
        }
    }

    #[test]
    fn warning_is_due_once_in_an_outage_of_a_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut outage = Outage::new(start);
        assert_eq!(outage.warning_is_due(at(59)), None);
        assert_eq!(outage.warning_is_due(at(60)), Some(OUTAGE));
        assert_eq!(outage.warning_is_due(at(200)), None);
        outage.end(at(300));
        assert_eq!(outage.warning_is_due(at(359)), None);
        let seconds = Some(Duration::from_secs(61));
        assert_eq!(outage.warning_is_due(at(361)), seconds);
        assert_eq!(outage.warning_is_due(at(362)), None);
    }

    #[test]
    fn a_missing_socket_is_an_error_of_new() {
        let error = ChronyFeed::new("/nonexistent/wall.sock".into()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}

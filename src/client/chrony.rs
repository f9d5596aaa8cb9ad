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

/// Whether chronyd's `struct timeval` has two fields of 64 bits, if it is built with the C library
/// of this program. (Since 1.2 musl has 64 bits everywhere, whatever the libc crate says.)
const HAS_LONG_TIME: bool = size_of::<libc::timeval>() == 16 || cfg!(target_env = "musl");

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

/// Encodes an offset at this time of the local clock as `struct sock_sample`, in native byte order:
/// with 40 bytes where time_t has 64 bits, otherwise with 32.
///
/// The fields are the local time (`struct timeval`), the offset (true time minus local time, in
/// seconds), pulse, leap, padding and magic. A time that 32 bits do not hold has 64 bits anyway: a
/// chronyd that works after 2038 has them too.
pub fn sample(offset: Interval, time: Nanos, has_long_time: bool) -> Vec<u8> {
    let (seconds, micros) = (time.div_euclid(SECOND), time.rem_euclid(SECOND) / 1000);
    let mut bytes = Vec::with_capacity(40);
    match i32::try_from(seconds) {
        Ok(seconds) if !has_long_time => {
            bytes.extend(seconds.to_ne_bytes());
            bytes.extend((micros as i32).to_ne_bytes());
        }
        _ => {
            bytes.extend((seconds as i64).to_ne_bytes());
            bytes.extend((micros as i64).to_ne_bytes());
        }
    }
    bytes.extend(to_seconds(offset.middle()).to_ne_bytes());
    bytes.extend([0; 12]);
    bytes.extend(MAGIC.to_ne_bytes());
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
        let sample = sample(offset, time, HAS_LONG_TIME);
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
        let rest = [
            &(-0.25f64).to_ne_bytes()[..],
            &[0; 12],
            &0x534f_434bi32.to_ne_bytes(),
        ]
        .concat();
        let long = |seconds: i64| [seconds.to_ne_bytes(), 123_456i64.to_ne_bytes()].concat();
        let short = |seconds: i32| [seconds.to_ne_bytes(), 123_456i32.to_ne_bytes()].concat();
        for (has_long_time, seconds, timeval) in [
            (true, 1_783_213_507, long(1_783_213_507)),
            (false, 1_783_213_507, short(1_783_213_507)),
            (true, 0x7fff_ffff, long(0x7fff_ffff)),
            (false, 0x7fff_ffff, short(0x7fff_ffff)),
            // 2038-01-19T03:14:08Z
            (true, 0x8000_0000, long(0x8000_0000)),
            (false, 0x8000_0000, long(0x8000_0000)),
        ] {
            let time = seconds * SECOND + 123_456_789;
            let expected = [&timeval[..], &rest].concat();
            assert_eq!(sample(offset, time, has_long_time), expected, "{seconds}");
        }
    }

    // glibc's time_t is a long. That of musl has 64 bits.
    #[test]
    fn sample_has_the_length_of_this_systems_sock_sample() {
        #[repr(C)]
        struct SockSample {
            time: [libc::c_long; 2],
            offset: f64,
            rest: [i32; 4],
        }
        let expected = match cfg!(target_env = "musl") {
            true => 40,
            false => size_of::<SockSample>(),
        };
        let bytes = sample(Interval::around(0, 1), 0, HAS_LONG_TIME);
        assert_eq!(bytes.len(), expected);
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
            utc_offset: None,
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

//! Sends measured offsets to chronyd as samples of a SOCK reference clock. chronyd disciplines the
//! local clock; this program never sets it.
//!
//! chrony.conf(5) describes `refclock SOCK`; the datagram is `struct sock_sample` of chrony's
//! refclock_sock.c.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use crate::offset::{Interval, Nanos, SECOND};

/// The last field of each sample: `SOCK` in ASCII.
const MAGIC: i32 = 0x534f_434b;

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
    fn a_missing_socket_is_an_error_of_new() {
        let error = ChronyFeed::new("/nonexistent/wall.sock".into()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}

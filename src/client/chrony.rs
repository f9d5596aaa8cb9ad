//! Samples for chronyd's SOCK reference clock: it disciplines our clock, we only tell it the offset.
//!
//! chrony.conf(5), `refclock SOCK`; the datagram is `struct sock_sample` of chrony's refclock_sock.c.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use crate::offset::{Estimate, Nanos, SECOND};

/// `SOCK` in ASCII.
const MAGIC: i32 = 0x534f_434b;

/// One sample as chronyd reads it on a 64-bit machine, native byte order: the local time (`struct timeval`), the offset
/// (true time less local time, seconds), pulse, leap, padding, magic.
pub fn sample(found: Estimate) -> [u8; 40] {
    let (seconds, nanos) = (
        found.as_of.div_euclid(SECOND),
        found.as_of.rem_euclid(SECOND),
    );
    let mut bytes = [0; 40];
    bytes[0..8].copy_from_slice(&(seconds as i64).to_ne_bytes());
    bytes[8..16].copy_from_slice(&((nanos / 1000) as i64).to_ne_bytes());
    bytes[16..24].copy_from_slice(&in_seconds(found.interval.middle()).to_ne_bytes());
    bytes[36..40].copy_from_slice(&MAGIC.to_ne_bytes());
    bytes
}

/// The one place where an offset becomes a float, because the datagram holds one: off by 0.01 ns at a day's offset.
fn in_seconds(nanos: Nanos) -> f64 {
    nanos as f64 / SECOND as f64
}

/// A chronyd to feed.
#[derive(Debug)]
pub struct ChronyFeed {
    socket: UnixDatagram,
    path: PathBuf,
}

impl ChronyFeed {
    /// Checks that a chronyd listens there.
    ///
    /// # Errors
    ///
    /// There is no such socket, nobody listens on it, or we may not write to it.
    pub fn new(path: PathBuf) -> io::Result<Self> {
        UnixDatagram::unbound()?.connect(&path)?;
        let socket = UnixDatagram::unbound()?;
        // A chronyd that hangs must not hang us.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path })
    }

    /// Sends one sample. By path each time: a chronyd that was restarted has made a new socket there.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new); the next sample may well get through.
    pub fn send(&self, found: Estimate) -> io::Result<()> {
        self.socket.send_to(&sample(found), &self.path).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset::Interval;

    #[test]
    fn a_sample_is_laid_out_as_struct_sock_sample() {
        let found = Estimate {
            interval: Interval::around(-250_000_000, 4_000),
            as_of: 1_783_213_507_123_456_789,
        };
        let bytes = sample(found);
        assert_eq!(bytes[0..8], 1_783_213_507i64.to_ne_bytes());
        assert_eq!(bytes[8..16], 123_456i64.to_ne_bytes());
        assert_eq!(bytes[16..24], (-0.25f64).to_ne_bytes());
        assert_eq!(bytes[24..36], [0; 12]);
        assert_eq!(bytes[36..40], 0x534f_434bi32.to_ne_bytes());
    }

    #[test]
    fn a_socket_that_is_not_there_is_told_at_once() {
        let error = ChronyFeed::new("/nonexistent/wall.sock".into()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}

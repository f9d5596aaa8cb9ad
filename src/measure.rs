//! One server's offset, over a socket: the hands of [`offset`](crate::offset).

use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::offset::{Exchange, Heard, Look, Measurement, Nanos, Next, Offset, Reading};

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many answers to take; `None` for as many as the server's resolution calls for.
    pub samples: Option<u32>,
    /// How long to wait for one answer.
    pub timeout: Duration,
    /// How many questions may go unanswered before a server is given up.
    pub retries: u32,
}

/// Sleeping wakes some 60 us late, so the last stretch of a wait is spent awake.
const AWAKE: Duration = Duration::from_micros(150);

/// Our two clocks.
struct Clocks {
    origin: Instant,
}

impl Clocks {
    fn look(&self) -> Look {
        let before = self.origin.elapsed().as_nanos() as Nanos;
        let wall = wall();
        let after = self.origin.elapsed().as_nanos() as Nanos;
        Look { before, wall, after }
    }
}

/// CLOCK_REALTIME, nanoseconds since the Unix epoch.
fn wall() -> Nanos {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => since.as_nanos() as Nanos,
        Err(before) => -(before.duration().as_nanos() as Nanos),
    }
}

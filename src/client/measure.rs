//! Measures offsets over the network: one socket and one thread for each server. What to ask, when,
//! and what it means is decided by [`offset`](crate::offset).

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::query::{QueryError, QueryResponse, RetryPolicy, UdpClient};
use crate::offset::{
    Action, ClockPair, Measurement, MeasurementConfig, Nanos, Offset, Sample, SampleOutcome,
};
use crate::strftime::{Format, FormatError};

/// Why there is no offset of a server.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// No socket could be connected to it.
    #[error(transparent)]
    Connect(io::Error),
    /// The last request failed.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The response to `%s` is not a number of seconds.
    #[error("it answered {0:?}, which is no count of seconds")]
    NoSeconds(String),
    /// The measurement was started again too often.
    #[error("a clock is being stepped again and again, ours or the server's")]
    Unstable,
    /// The format of [`Measurement::request`] is wrong.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// How much of a wait spins instead of sleeping, at its end: a 32nd of it, within these limits. A sleep
/// ends 60 to 200 us late, and some milliseconds late on a busy machine; a second of the server that
/// begins meanwhile can't be measured.
const SPIN_RANGE: (Duration, Duration) = (Duration::from_micros(150), Duration::from_millis(4));

/// Measures all servers at once, in the order given. It takes as long as the slowest of them.
///
/// `progress` is called after each accepted sample.
pub fn measure_all(
    servers: &[SocketAddr],
    config: MeasurementConfig,
    policy: RetryPolicy,
    progress: &(dyn Fn(SocketAddr, Offset) + Sync),
) -> Vec<Result<Offset, MeasureError>> {
    let measure_one = |server| measure(server, config, policy, &|offset| progress(server, offset));
    thread::scope(|scope| {
        let threads: Vec<_> = servers
            .iter()
            .map(|&server| scope.spawn(move || measure_one(server)))
            .collect();
        threads
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    })
}

/// Measures one server.
///
/// At most `policy.attempts` requests may time out. If a server stops responding after some samples,
/// the result is that of these samples.
///
/// # Errors
///
/// There is no sample at all, or a clock is not stable.
pub fn measure(
    server: SocketAddr,
    config: MeasurementConfig,
    policy: RetryPolicy,
    progress: &dyn Fn(Offset),
) -> Result<Offset, MeasureError> {
    let origin = Instant::now();
    let client = UdpClient::connect(server).map_err(MeasureError::Connect)?;
    let mut measurement = Measurement::new(config).same_host(server.ip().is_loopback());
    let mut attempts = policy.attempts;
    loop {
        let mut before = read_clocks(origin);
        match measurement.next_action(before.wall) {
            Action::Done => break,
            Action::SendAt(at) if at > before.wall => {
                sleep_precisely(at - before.wall);
                before = read_clocks(origin);
            }
            Action::SendAt(_) => {}
        }
        let format = Format::parse(measurement.request().as_bytes())?;
        let response = match client.query(&format, policy.timeout) {
            Ok(response) => response,
            Err(QueryError::Refused(_) | QueryError::UnexpandedFormat(_))
                if measurement.fall_back() =>
            {
                continue;
            }
            Err(QueryError::Timeout(_)) if attempts > 1 => {
                attempts -= 1;
                continue;
            }
            Err(error) => return measurement.result().ok_or(error.into()),
        };
        let after = read_clocks(origin);
        let text = String::from_utf8_lossy(&response.text);
        let Some(server_time) = measurement.parse(&text) else {
            if measurement.fall_back() {
                continue;
            }
            return Err(MeasureError::NoSeconds(text.into_owned()));
        };
        let QueryResponse {
            sent_at,
            received_at,
            ..
        } = response;
        match measurement.add_sample(&Sample {
            before,
            sent_at: nanos(sent_at.duration_since(origin)),
            received_at: nanos(received_at.duration_since(origin)),
            after,
            server_time,
        }) {
            SampleOutcome::Unstable => return Err(MeasureError::Unstable),
            SampleOutcome::Accepted | SampleOutcome::Restarted => {
                measurement.result().into_iter().for_each(progress);
            }
        }
    }
    measurement.result().ok_or(MeasureError::Unstable)
}

/// Reads both of our clocks. The monotonic clock counts from `origin`.
fn read_clocks(origin: Instant) -> ClockPair {
    let before = nanos(origin.elapsed());
    let wall = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => nanos(since),
        Err(until) => -nanos(until.duration()),
    };
    ClockPair {
        before,
        wall,
        after: nanos(origin.elapsed()),
    }
}

fn nanos(duration: Duration) -> Nanos {
    // Can't overflow: some 5e11 years of nanoseconds fit.
    duration.as_nanos() as Nanos
}

/// Waits so many nanoseconds by the monotonic clock, the last of them without sleeping.
fn sleep_precisely(nanos: Nanos) {
    let Ok(nanos) = u64::try_from(nanos) else {
        return;
    };
    let (start, length) = (Instant::now(), Duration::from_nanos(nanos));
    let (min, max) = SPIN_RANGE;
    thread::sleep(length.saturating_sub((length / 32).clamp(min, max)));
    while start.elapsed() < length {
        std::hint::spin_loop();
    }
}

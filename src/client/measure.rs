//! Measures offsets over the network, with one socket and one thread for each server.
//!
//! [`offset`](crate::offset) decides what to send when, and what the responses mean.

use std::io;
use std::net::SocketAddr;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant, SystemTime};

use super::query::{QueryError, RetryPolicy, UdpClient};
use super::resolve::{ResolveError, Resolver};
use crate::endpoint::Endpoint;
use crate::offset::{
    Action, ClockPair, Measurement, MeasurementConfig, Nanos, Offset, Sample, SampleOutcome,
};
use crate::strftime::{Format, FormatError};

/// Why there is no offset of a server.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// No socket could be connected to the server.
    #[error(transparent)]
    Connect(io::Error),
    /// The last request failed.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The response to `%s` is not a number of seconds.
    #[error("the response {0:?} is not a number of seconds")]
    NoSeconds(String),
    /// No sample before the deadline.
    #[error("no offset before the deadline")]
    Deadline,
    /// The thread that measures the server could not be created.
    #[error("create a thread to measure it")]
    Thread(#[source] io::Error),
    /// The measurement was restarted too often.
    #[error("a clock is stepped repeatedly, this machine's or the server's")]
    Unstable,
    /// The format of [`Measurement::request`] is wrong.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Minimum and maximum of the spin at the end of a wait, which takes a 32nd of the wait.
///
/// A sleep ends 60 to 200 us late, on a busy machine some milliseconds. If the server's second
/// begins in that time, this edge gives no sample.
const SPIN_RANGE: (Duration, Duration) = (Duration::from_micros(150), Duration::from_millis(4));

/// The addresses of one server, and the offset of each.
#[derive(Debug)]
pub struct ServerOffsets {
    /// The server.
    pub endpoint: Endpoint,
    /// The addresses with their results; an error if the server has none.
    pub offsets: Result<Vec<(SocketAddr, Result<Offset, MeasureError>)>, ResolveError>,
}

/// Measures all servers at the same time, each as soon as its name is resolved. Returns the results
/// in the order of the servers. An address of several servers is measured for the first one.
///
/// It takes as long as the slowest server, and ends at the deadline. `progress` is called with each
/// new result. A server of which an address does not respond is resolved again for the next call.
pub fn measure_all(
    servers: &mut Resolver,
    config: MeasurementConfig,
    policy: RetryPolicy,
    deadline: Instant,
    progress: &(dyn Fn(SocketAddr, Offset) + Sync),
) -> Vec<ServerOffsets> {
    let not_resolved = |endpoint: &Endpoint| ServerOffsets {
        endpoint: endpoint.clone(),
        offsets: Err(ResolveError::Timeout),
    };
    let mut results: Vec<_> = servers.endpoints().map(not_resolved).collect();
    servers.begin();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        let mut known = Vec::new();
        while let Some((number, addresses)) = servers.next(deadline) {
            results[number].offsets = addresses.map(|addresses| {
                for address in addresses {
                    if known.contains(&address) {
                        continue;
                    }
                    known.push(address);
                    let measure_one = move || {
                        let progress = |offset| progress(address, offset);
                        measure(address, config, policy, deadline, &progress)
                    };
                    let thread = thread::Builder::new().spawn_scoped(scope, measure_one);
                    threads.push((number, address, thread));
                }
                Vec::new()
            });
        }
        for (number, address, thread) in threads {
            let result = match thread.map(ScopedJoinHandle::join) {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(error) => Err(MeasureError::Thread(error)),
            };
            if let Ok(offsets) = &mut results[number].offsets {
                offsets.push((address, result));
            }
        }
    });
    for (number, server) in results.iter().enumerate() {
        if let Ok(offsets) = &server.offsets
            && offsets.iter().any(|(_, result)| result.is_err())
        {
            servers.refresh(number);
        }
    }
    results
}

/// Measures one server. `progress` is called with each new result.
///
/// At most `policy.attempts` requests may time out. If a server stops responding after some
/// samples, or at the deadline, the result is that of these samples.
///
/// # Errors
///
/// There is no sample, the server's responses are no times, or a clock is not stable.
pub fn measure(
    server: SocketAddr,
    config: MeasurementConfig,
    policy: RetryPolicy,
    deadline: Instant,
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
                let wait = at - before.wall;
                if wait >= to_nanos(deadline.saturating_duration_since(Instant::now())) {
                    return measurement.result().ok_or(MeasureError::Deadline);
                }
                sleep_precisely(wait);
                before = read_clocks(origin);
            }
            Action::SendAt(_) => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return measurement.result().ok_or(MeasureError::Deadline);
        }
        let timeout = policy.wait(attempts).min(left);
        match take_sample(&client, &measurement, before, timeout, origin) {
            Ok(sample) => {
                if measurement.add_sample(&sample) == SampleOutcome::Unstable {
                    return Err(MeasureError::Unstable);
                }
                measurement.result().into_iter().for_each(progress);
            }
            // The next request asks for whole seconds.
            Err(error) if is_format_error(&error) && measurement.fall_back() => {}
            Err(MeasureError::Query(QueryError::Timeout(_))) if attempts > 1 => attempts -= 1,
            Err(error @ MeasureError::Query(_)) => return measurement.result().ok_or(error),
            Err(error) => return Err(error),
        }
    }
    measurement.result().ok_or(MeasureError::Unstable)
}

/// Sends the measurement's next request and waits for the response. `before` was read just before.
fn take_sample(
    client: &UdpClient,
    measurement: &Measurement,
    before: ClockPair,
    timeout: Duration,
    origin: Instant,
) -> Result<Sample, MeasureError> {
    let format = Format::parse(measurement.request().as_bytes())?;
    let response = client.query(&format, timeout)?;
    let after = read_clocks(origin);
    let text = String::from_utf8_lossy(&response.text);
    let Some(server_time) = measurement.parse(&text) else {
        return Err(MeasureError::NoSeconds(text.into_owned()));
    };
    Ok(Sample {
        before,
        sent_at: to_nanos(response.sent_at.duration_since(origin)),
        received_at: to_nanos(response.received_at.duration_since(origin)),
        after,
        server_time,
    })
}

/// Whether the server does not support the format, so that another one may succeed.
fn is_format_error(error: &MeasureError) -> bool {
    matches!(
        error,
        MeasureError::Query(QueryError::Refused(_) | QueryError::UnexpandedFormat(_))
            | MeasureError::NoSeconds(_)
    )
}

/// Reads the wall clock, and the monotonic clock before and after it, counted from `origin`.
fn read_clocks(origin: Instant) -> ClockPair {
    let before = to_nanos(origin.elapsed());
    let wall = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => to_nanos(since),
        Err(until) => -to_nanos(until.duration()),
    };
    ClockPair {
        before,
        wall,
        after: to_nanos(origin.elapsed()),
    }
}

fn to_nanos(duration: Duration) -> Nanos {
    // Can't overflow: a `Duration` has fewer than 2^64 seconds, 2^94 nanoseconds.
    duration.as_nanos() as Nanos
}

/// Waits by the monotonic clock. Sleeps first, then spins for the end of the wait.
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

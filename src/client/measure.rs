//! Measures clocks over the network, with one socket and one thread for each server.
//!
//! [`offset`](crate::offset) decides what to send when, and what the responses mean.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use super::clocks::{raw_time, read_clocks, sleep_until};
use super::query::{QueryError, UdpClient};
use crate::offset::{
    Action, ClockPair, Measurement, MeasurementConfig, Nanos, Ppm, Sample, SampleOutcome,
    ServerClock, ServerTime,
};
use crate::strftime::{Format, FormatError};

/// Why a server could not be measured.
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
    /// The deadline was over before the first response.
    #[error("no response before the deadline")]
    Deadline,
    /// The measurement was restarted too often.
    #[error(
        "its responses contradict each other: its clock is stepped repeatedly, runs faster or \
         slower than this machine's oscillator by more than {max_slew} ppm (--max-slew), or is \
         late by more than {} s (--tick)", *tick as f64 / 1e9
    )]
    Contradiction {
        /// The maximum slew that was assumed.
        max_slew: Ppm,
        /// The tick that was assumed.
        tick: Nanos,
    },
    /// The format of [`Measurement::request`] is wrong.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Maximum number of times that servers are measured again, because their results became outdated
/// while others were measured. With a deadline that limits it too.
const MAX_REPETITIONS: u32 = 5;

/// Measures all servers at the same time. Returns the results in the order of the servers, and the
/// local clocks after the last of them.
///
/// It takes as long as the slowest server. Then those are measured again that are
/// [outdated](ServerClock::is_outdated). `progress` is called with each new result.
pub fn measure_all(
    servers: &[SocketAddr],
    config: MeasurementConfig,
    progress: &(dyn Fn(SocketAddr, ServerClock) + Sync),
) -> (Vec<Result<ServerClock, MeasureError>>, ClockPair) {
    let mut results = measure_each(servers, config, progress);
    let mut repetitions = 0;
    loop {
        let now = read_clocks();
        let is_outdated = |result: &Result<ServerClock, _>| {
            let clock = result.as_ref();
            clock.is_ok_and(|clock| clock.is_outdated(now.after))
        };
        let outdated: Vec<_> = (0..servers.len())
            .filter(|&index| is_outdated(&results[index]))
            .collect();
        let is_over = config
            .deadline
            .is_some_and(|deadline| now.after >= deadline);
        if outdated.is_empty() || is_over || repetitions == MAX_REPETITIONS {
            return (results, now);
        }
        repetitions += 1;
        let again: Vec<_> = outdated.iter().map(|&index| servers[index]).collect();
        let new_results = measure_each(&again, config, progress);
        for (index, result) in outdated.into_iter().zip(new_results) {
            // If the server no longer responds, the earlier result is as true as before.
            match result {
                Ok(_) | Err(MeasureError::Contradiction { .. }) => results[index] = result,
                Err(_) => {}
            }
        }
    }
}

/// Measures all servers at the same time, once.
fn measure_each(
    servers: &[SocketAddr],
    config: MeasurementConfig,
    progress: &(dyn Fn(SocketAddr, ServerClock) + Sync),
) -> Vec<Result<ServerClock, MeasureError>> {
    let measure_one = |server| measure(server, config, &|clock| progress(server, clock));
    // With one server there is no other thread, whose end would be noticed late.
    let Some((&last, others)) = servers.split_last() else {
        return Vec::new();
    };
    thread::scope(|scope| {
        let threads: Vec<_> = others
            .iter()
            .map(|&server| scope.spawn(move || measure_one(server)))
            .collect();
        let last = measure_one(last);
        let results = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        results.chain([last]).collect()
    })
}

/// Measures one server. `progress` is called with each new result.
///
/// If a server stops responding after some samples, the result is that of these samples.
///
/// # Errors
///
/// There is no sample, the server's responses are no times, or they contradict each other.
pub fn measure(
    server: SocketAddr,
    config: MeasurementConfig,
    progress: &dyn Fn(ServerClock),
) -> Result<ServerClock, MeasureError> {
    let client = UdpClient::connect(server).map_err(MeasureError::Connect)?;
    let mut measurement = Measurement::new(config);
    let mut last_error = MeasureError::Deadline;
    while let Action::Send { at, timeout } = measurement.next_action(raw_time()) {
        sleep_until(at);
        match take_sample(&client, &measurement, to_duration(timeout)) {
            Ok(sample) => {
                let outcome = measurement.add_sample(&sample);
                if let Some(clock) = measurement.result() {
                    if outcome == SampleOutcome::Unstable {
                        let (max_slew, tick) = (clock.estimate.max_slew, clock.tick);
                        return Err(MeasureError::Contradiction { max_slew, tick });
                    }
                    progress(clock);
                }
            }
            // The next request asks for whole seconds.
            Err(error) if is_format_error(&error) && measurement.fall_back() => {}
            Err(error @ MeasureError::Query(QueryError::Timeout(_))) => {
                measurement.add_loss();
                last_error = error;
            }
            Err(error @ MeasureError::Query(_)) => return measurement.result().ok_or(error),
            Err(error) => return Err(error),
        }
    }
    measurement.result().ok_or(last_error)
}

/// Sends the measurement's next request and waits for the response.
fn take_sample(
    client: &UdpClient,
    measurement: &Measurement,
    timeout: Duration,
) -> Result<Sample, MeasureError> {
    let format = Format::parse(measurement.request().as_bytes())?;
    let response = client.query(&format, timeout)?;
    let text = String::from_utf8_lossy(&response.text);
    let Some(server_time) = ServerTime::parse(&text) else {
        return Err(MeasureError::NoSeconds(text.into_owned()));
    };
    Ok(Sample {
        sent_at: response.sent_at,
        received_at: response.received_at,
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

/// Converts a time-out, which is positive and at most a day.
fn to_duration(nanos: Nanos) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

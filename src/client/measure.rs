//! Measures clocks over the network, with one socket and one thread for each server.
//!
//! [`offset`](crate::offset) decides what to send when, and what the responses mean.

use std::io;
use std::iter;
use std::net::SocketAddr;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::clocks::{raw_time, read_clocks, sleep_until};
use super::query::{QueryError, UdpClient, random_wait, within};
use super::resolve::{Host, LookupResult, ResolveError, Resolver, add_host};
use crate::error::printable;
use crate::offset::{
    Action, ClockPair, Measurement, MeasurementConfig, Nanos, Ppm, Precision, Sample,
    SampleOutcome, ServerClock,
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
    #[error("the response \"{0}\" is not a number of seconds")]
    NoSeconds(String),
    /// No request was responded to in time.
    #[error("no response{}: {tries}", within(*waited))]
    NoResponse {
        /// The time since the first request.
        waited: Duration,
        /// How many requests there were.
        tries: String,
    },
    /// The deadline was over before the first request.
    #[error("no time to measure it before the deadline")]
    Deadline,
    /// The thread that measures the server could not be created.
    #[error("create a thread to measure it")]
    Thread(#[source] io::Error),
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

/// The part of the time until the deadline in which servers are only measured again.
const REPETITION_PART: Nanos = 4;

/// How long names are resolved without a deadline.
const MAX_RESOLVE_TIME: Duration = Duration::from_secs(60);

/// One address and what was measured there.
pub type AddressResult = (SocketAddr, Result<ServerClock, MeasureError>);

/// One server, and what was measured at its addresses.
#[derive(Debug)]
pub struct HostClocks {
    /// The number of the server.
    pub server: usize,
    /// The results of its addresses; an error if it has none.
    pub addresses: Result<Vec<AddressResult>, ResolveError>,
}

/// Measures all servers at the same time, each as soon as its name is resolved. Returns the results
/// in the order of the servers, and the local clocks after the last of them. Servers that share an
/// address are one, with the number of the first.
///
/// It takes as long as the slowest server. Then those are measured again that are
/// [outdated](ServerClock::is_outdated). `progress` is called with each new result. A server of
/// which an address fails is resolved again for the next call.
///
/// Of the addresses in `whole_seconds` nanoseconds are not requested.
pub fn measure_all(
    servers: &mut Resolver,
    config: MeasurementConfig,
    whole_seconds: &[SocketAddr],
    progress: &(dyn Fn(SocketAddr, ServerClock) + Sync),
) -> (Vec<HostClocks>, ClockPair) {
    // A server that does not respond takes all of the time. Meanwhile the results of the others
    // become outdated, so a part of the time is left for these.
    let has_others = servers.endpoints().count() > 1;
    let first_deadline = config.deadline.map(|deadline| match has_others {
        true => deadline - (deadline - raw_time()).max(0) / REPETITION_PART,
        false => deadline,
    });
    let first = MeasurementConfig {
        deadline: first_deadline,
        ..config
    };
    let (resolved, mut results) = measure_resolved(servers, first, whole_seconds, progress);
    let mut repetitions = 0;
    let now = loop {
        let now = read_clocks();
        let is_outdated = |result: &Result<ServerClock, _>| {
            let clock = result.as_ref();
            clock.is_ok_and(|clock| clock.is_outdated(now.after))
        };
        let outdated: Vec<_> = (0..results.len())
            .filter(|&index| is_outdated(&results[index].1))
            .collect();
        let is_over = config
            .deadline
            .is_some_and(|deadline| now.after >= deadline);
        if outdated.is_empty() || is_over || repetitions == MAX_REPETITIONS {
            break now;
        }
        repetitions += 1;
        let again: Vec<_> = outdated.iter().map(|&index| results[index].0).collect();
        let new_results = measure_each(again.into_iter(), config, whole_seconds, progress);
        for (index, new) in outdated.into_iter().zip(new_results) {
            // If the server no longer responds, the earlier result is as true as before.
            match new.1 {
                Ok(_) | Err(MeasureError::Contradiction { .. }) => results[index] = new,
                Err(_) => {}
            }
        }
    };
    let failed = |address| results.iter().any(|it| it.0 == address && it.1.is_err());
    for (number, addresses) in resolved.iter().enumerate() {
        if let Ok(addresses) = addresses
            && addresses.iter().copied().any(failed)
        {
            servers.refresh(number);
        }
    }
    (group(servers, resolved, results), now)
}

/// Measures all servers once. Returns their addresses, in the order of the servers, and the result
/// of each address.
fn measure_resolved(
    servers: &mut Resolver,
    config: MeasurementConfig,
    whole_seconds: &[SocketAddr],
    progress: &(dyn Fn(SocketAddr, ServerClock) + Sync),
) -> (Vec<LookupResult>, Vec<AddressResult>) {
    let time_left = config
        .deadline
        .map_or(MAX_RESOLVE_TIME, |it| to_duration((it - raw_time()).max(0)));
    let until = Instant::now() + time_left;
    let timeout = || Err(ResolveError::Timeout);
    let mut resolved: Vec<_> = servers.endpoints().map(|_| timeout()).collect();
    let is_alone = resolved.len() == 1;
    let mut known = Vec::new();
    servers.begin();
    // Each address is measured when it is known, while this waits for the other names.
    let arriving = iter::from_fn(|| {
        let (number, result) = servers.next(until)?;
        let mut new = Vec::new();
        for &address in result.iter().flatten() {
            if !known.contains(&address) {
                known.push(address);
                new.push(address);
            }
        }
        resolved[number] = result;
        Some(new)
    })
    .flatten();
    let results = if is_alone {
        let known: Vec<_> = arriving.collect();
        measure_each(known.into_iter(), config, whole_seconds, progress)
    } else {
        measure_each(arriving, config, whole_seconds, progress)
    };
    (resolved, results)
}

/// Groups the results of addresses by their servers.
fn group(
    servers: &Resolver,
    resolved: Vec<LookupResult>,
    mut results: Vec<AddressResult>,
) -> Vec<HostClocks> {
    let mut hosts = Vec::new();
    let mut errors = Vec::new();
    for (endpoint, result) in servers.endpoints().zip(resolved) {
        // A server that is given twice is one.
        let server = servers.endpoints().take_while(|it| *it != endpoint).count();
        let addresses = result.unwrap_or_else(|error| {
            errors.push((server, error));
            Vec::new()
        });
        add_host(&mut hosts, Host { server, addresses });
    }
    let mut take_result = |address| {
        let position = results.iter().position(|(it, _)| *it == address)?;
        Some(results.swap_remove(position))
    };
    let to_clocks = |Host { server, addresses }| {
        let error = errors.iter().position(|(of, _)| *of == server);
        HostClocks {
            server,
            addresses: match error.filter(|_| addresses.is_empty()) {
                Some(error) => Err(errors.swap_remove(error).1),
                None => Ok(addresses.into_iter().filter_map(&mut take_result).collect()),
            },
        }
    };
    hosts.into_iter().map(to_clocks).collect()
}

/// Measures all servers at the same time, once. The next server may take its time to be known.
fn measure_each(
    servers: impl Iterator<Item = SocketAddr>,
    config: MeasurementConfig,
    whole_seconds: &[SocketAddr],
    progress: &(dyn Fn(SocketAddr, ServerClock) + Sync),
) -> Vec<AddressResult> {
    let measure_one = |server| {
        let precision = match whole_seconds.contains(&server) {
            true => Precision::Seconds,
            false => config.precision,
        };
        let config = MeasurementConfig {
            precision,
            ..config
        };
        measure(server, config, &|clock| progress(server, clock))
    };
    // With one server there is no other thread, whose end would be noticed late.
    if servers.size_hint() == (1, Some(1)) {
        return servers
            .map(|server| (server, measure_one(server)))
            .collect();
    }
    thread::scope(|scope| {
        let start = |server| {
            let thread = thread::Builder::new().spawn_scoped(scope, move || measure_one(server));
            (server, thread)
        };
        let threads: Vec<_> = servers.map(start).collect();
        let end = |(server, thread): (_, io::Result<ScopedJoinHandle<'_, _>>)| {
            let result = match thread.map(ScopedJoinHandle::join) {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(error) => Err(MeasureError::Thread(error)),
            };
            (server, result)
        };
        threads.into_iter().map(end).collect()
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
    let start = Instant::now();
    while let Action::Send { at, timeout } = measurement.next_action(raw_time()) {
        sleep_until(at);
        let timeout = match measurement.may_shorten_timeout() {
            true => random_wait(to_duration(timeout)),
            false => to_duration(timeout),
        };
        match take_sample(&client, &measurement, timeout) {
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
            Err(MeasureError::Query(QueryError::Timeout)) => {
                measurement.add_loss();
                last_error = MeasureError::NoResponse {
                    waited: start.elapsed(),
                    tries: client.describe_tries(),
                };
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
    let text = std::str::from_utf8(&response.text).ok();
    let Some(server_time) = text.and_then(|text| measurement.parse(text)) else {
        return Err(MeasureError::NoSeconds(printable(&response.text)));
    };
    Ok(Sample {
        sent_at: response.sent_at,
        received_at: response.received_at,
        server_time,
    })
}

/// Whether the server does not support the format, so that another one may succeed.
fn is_format_error(error: &MeasureError) -> bool {
    match error {
        MeasureError::Query(error) => error.is_about_the_format(),
        MeasureError::NoSeconds(_) => true,
        _ => false,
    }
}

/// Converts a time-out, which is positive and at most a day.
fn to_duration(nanos: Nanos) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

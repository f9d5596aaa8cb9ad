//! One server under a closed loop: what a response costs it.

use std::io;
use std::time::Instant;

use crate::load::{Load, Until};
use crate::process;
use crate::requests::Workload;
use crate::servers::Server;

/// The result of one turn of a server.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// On-CPU nanoseconds of the server per response.
    pub cost: f64,
    /// Responses per second of wall clock.
    pub rate: f64,
    /// The share of the wall clock in which the server was runnable. Near 1 it is the bottleneck.
    pub server_busy: f64,
    /// The share of the wall clock in which the load paused. Near 0 it is the bottleneck.
    pub load_idle: f64,
    pub wrong: u64,
    pub lost: u64,
}

/// Measures `server` under a closed loop.
pub fn closed_loop(
    load: &mut Load,
    server: &Server,
    workload: &mut Workload,
    until: Until,
) -> io::Result<Sample> {
    process::wait_until_asleep(server.pid());
    let (before, start) = (process::sched_times(server.pid()), Instant::now());
    let result = load.closed_loop(server.address, workload, until)?;
    let wall = start.elapsed();
    process::wait_until_asleep(server.pid());
    let after = process::sched_times(server.pid());
    let on_cpu = (after.on_cpu - before.on_cpu) as f64;
    let waiting = (after.waiting - before.waiting) as f64;
    Ok(Sample {
        // A wrong response has its cost too; it is reported elsewhere.
        cost: on_cpu / (result.answered + result.wrong).max(1) as f64,
        rate: result.answered as f64 / wall.as_secs_f64(),
        server_busy: ((on_cpu + waiting) / wall.as_nanos() as f64).min(1.0),
        load_idle: result.paused.as_secs_f64() / wall.as_secs_f64(),
        wrong: result.wrong,
        lost: result.lost,
    })
}

/// Returns the median of the values that are numbers, or NaN.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let values = values.into_iter().filter(|value| !value.is_nan());
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[odd / 2],
        even => (values[even / 2 - 1] + values[even / 2]) / 2.0,
    }
}

/// Returns the median of the quotients of pairs.
pub fn median_ratio(pairs: impl IntoIterator<Item = (f64, f64)>) -> f64 {
    median(
        pairs
            .into_iter()
            .map(|(value, reference)| value / reference),
    )
}

/// Returns the 99th percentile of sorted values, or NaN.
pub fn p99(sorted: &[u64]) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        count => sorted[(count * 99 / 100).min(count - 1)] as f64,
    }
}

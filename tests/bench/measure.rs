//! One server under one load: what an answer cost it.

use std::io;
use std::time::{Duration, Instant};

use crate::load::{Flow, Load, Until};
use crate::peers::Server;
use crate::process;
use crate::questions::Workload;

/// What one slice of a run showed.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// On-CPU nanoseconds of the server per answer.
    pub cost: f64,
    /// Answers per second of wall clock.
    pub rate: f64,
    /// The share of the wall clock in which the server ran or was ready to: 1 is a server with no pause.
    pub busy: f64,
    /// The share of the wall clock in which the load found no answer waiting for it.
    pub spare: f64,
    pub wrong: u64,
    pub missing: u64,
}

impl Sample {
    fn of(flow: Flow, server: &Server, before: process::Scheduled, wall: Duration) -> Self {
        process::settle(server.pid());
        let after = process::scheduled(server.pid());
        let on_cpu = (after.on_cpu - before.on_cpu) as f64;
        let waiting = (after.waiting - before.waiting) as f64;
        Self {
            // A wrong answer is told elsewhere; it has its price too.
            cost: on_cpu / (flow.answered + flow.wrong).max(1) as f64,
            rate: flow.answered as f64 / wall.as_secs_f64(),
            busy: ((on_cpu + waiting) / wall.as_nanos() as f64).min(1.0),
            spare: flow.spare.as_secs_f64() / wall.as_secs_f64(),
            wrong: flow.wrong,
            missing: flow.lost,
        }
    }
}

/// The closed loop.
pub fn crowd(
    load: &mut Load,
    server: &Server,
    workload: &mut Workload,
    until: Until,
) -> io::Result<Sample> {
    process::settle(server.pid());
    let (before, start) = (process::scheduled(server.pid()), Instant::now());
    let flow = load.closed_loop(server.address, workload, until)?;
    Ok(Sample::of(flow, server, before, start.elapsed()))
}

/// One question at a time.
pub fn lonely(
    load: &mut Load,
    server: &Server,
    workload: &mut Workload,
    limit: Duration,
) -> io::Result<Sample> {
    process::settle(server.pid());
    let (before, start) = (process::scheduled(server.pid()), Instant::now());
    let flow = load.lonely(server.address, workload, limit, || ())?;
    Ok(Sample::of(flow, server, before, start.elapsed()))
}

/// One question at a time: adds the on-CPU nanoseconds of each answer to `costs`. Asker and server share a core, so that
/// the server sleeps whenever the time is read.
pub fn each_lonely(
    load: &mut Load,
    server: &Server,
    workload: &mut Workload,
    limit: Duration,
    costs: &mut Vec<u64>,
) -> io::Result<()> {
    process::settle(server.pid());
    let meter = process::Meter::of(server.pid())?;
    let mut before = meter.on_cpu();
    load.lonely(server.address, workload, limit, || {
        let now = meter.on_cpu();
        costs.push(now - before);
        before = now;
    })?;
    Ok(())
}

/// The middle of the values: of what a neighbour did to some of them it knows nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[odd / 2],
        even => (values[even / 2 - 1] + values[even / 2]) / 2.0,
    }
}

/// The value below which `share` of the sorted values lie.
pub fn quantile(sorted: &[u64], share: f64) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        count => sorted[((count as f64 * share) as usize).min(count - 1)] as f64,
    }
}

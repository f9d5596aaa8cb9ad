//! One server under one load: what an answer cost it.

use std::io;
use std::time::{Duration, Instant};

use crate::load::{Flow, Load, Until};
use crate::peers::Server;
use crate::process;
use crate::questions::Workload;
use crate::sys;

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

/// One question at a time, asker and server on one core: what a round of short turns showed.
///
/// A turn counts only where the two of them had the core to themselves. Somebody else's time on it is no time of the
/// server's, but it leaves cold caches behind, and these it is charged for.
#[derive(Default)]
pub struct Lonely {
    /// On-CPU nanoseconds of the server, answer by answer.
    costs: Vec<u64>,
    answered: u64,
    elapsed: Duration,
    wrong: u64,
    missing: u64,
}

impl Lonely {
    /// Long enough for hundreds of answers, shorter than the scheduler leaves a core to anybody else's process.
    pub const TURN: Duration = Duration::from_millis(3);
    /// Answers at the start of a turn that only warm the caches.
    const WARM_UP: usize = 20;
    /// The least share of a turn's time in which asker and server had the core.
    const OURS: f64 = 0.97;

    /// One turn.
    pub fn turn(
        &mut self,
        load: &mut Load,
        server: &Server,
        workload: &mut Workload,
    ) -> io::Result<()> {
        process::settle(server.pid());
        let meter = process::Meter::of(server.pid())?;
        let (start, asker, server) = (Instant::now(), sys::thread_time(), server.address);
        let before = meter.on_cpu();
        let (mut last, mut costs) = (before, Vec::with_capacity(1024));
        let flow = load.lonely(server, workload, Self::TURN, || {
            let now = meter.on_cpu();
            costs.push(now - last);
            last = now;
        })?;
        let ours = sys::thread_time() - asker + (last - before) as f64;
        if ours >= Self::OURS * start.elapsed().as_nanos() as f64 {
            self.costs.extend(costs.iter().skip(Self::WARM_UP));
        }
        self.answered += flow.answered;
        self.elapsed += flow.elapsed;
        self.wrong += flow.wrong;
        self.missing += flow.lost;
        Ok(())
    }

    /// The mean of a round, not a number where no turn counted.
    pub fn sample(&self) -> Sample {
        let on_cpu = self.costs.iter().sum::<u64>() as f64;
        Sample {
            cost: on_cpu / self.costs.len() as f64,
            rate: self.answered as f64 / self.elapsed.as_secs_f64(),
            busy: f64::NAN,
            spare: f64::NAN,
            wrong: self.wrong,
            missing: self.missing,
        }
    }

    /// What all but the dearest hundredth of the answers cost at most.
    pub fn p99(mut self) -> f64 {
        self.costs.sort_unstable();
        quantile(&self.costs, 0.99)
    }
}

/// The middle of those values that are numbers: of what a neighbour did to some of them it knows nothing.
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

/// The value below which `share` of the sorted values lie.
pub fn quantile(sorted: &[u64], share: f64) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        count => sorted[((count as f64 * share) as usize).min(count - 1)] as f64,
    }
}

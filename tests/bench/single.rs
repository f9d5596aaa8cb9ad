//! One request at a time, client and server on one core.

use std::io;
use std::time::{Duration, Instant};

use crate::echo::Echo;
use crate::load::Load;
use crate::measure::{Sample, p99};
use crate::process::{self, CpuMeter};
use crate::requests::Workload;
use crate::results::{Row, ServerKind};
use crate::servers::{Build, Server};
use crate::setup::{Host, Plan, ROOT_BUFFER};
use crate::sys;

/// The servers. The first one is the reference of the others.
const SERVERS: [(SingleServer, &str); 8] = [
    (SingleServer::Echo(Echo::Plain), "echo, recvfrom + sendto"),
    (
        SingleServer::Echo(Echo::PollPlain),
        "echo, poll + recvfrom + sendto",
    ),
    (SingleServer::Echo(Echo::Floor), "echo, recvmmsg + sendmmsg"),
    (
        SingleServer::Echo(Echo::PollFloor),
        "echo, poll + recvmmsg + sendmmsg",
    ),
    (
        SingleServer::Echo(Echo::DualFloor),
        "echo, recvmmsg + sendmmsg on [::]",
    ),
    (
        SingleServer::Echo(Echo::PollDualFloor),
        "echo, poll + recvmmsg + sendmmsg on [::]",
    ),
    (SingleServer::Daemon, "wallclockd"),
    (SingleServer::Installed, "wallclockd, as installed"),
];

#[derive(Clone, Copy)]
enum SingleServer {
    Echo(Echo),
    Daemon,
    Installed,
}

impl SingleServer {
    fn kind(self) -> ServerKind {
        match self {
            SingleServer::Echo(Echo::Plain | Echo::PollPlain) => ServerKind::Plain,
            SingleServer::Echo(Echo::Floor | Echo::PollFloor) => ServerKind::Floor,
            SingleServer::Echo(Echo::DualFloor | Echo::PollDualFloor) => ServerKind::DualFloor,
            SingleServer::Daemon => ServerKind::Daemon,
            SingleServer::Installed => ServerKind::Installed,
        }
    }

    fn start(self) -> io::Result<Server> {
        match self {
            SingleServer::Echo(echo) => Server::echo(echo, Some(ROOT_BUFFER)),
            SingleServer::Daemon => Server::daemon(&Build::Current, None),
            SingleServer::Installed => Server::installed(&Build::Current),
        }
    }
}

/// Returns the rows of the table, still empty.
pub fn rows() -> Vec<Row> {
    SERVERS
        .map(|(server, name)| Row::new(server.kind(), name, server.kind().workload()))
        .into()
}

/// Measures one round: all servers in short turns.
pub fn round(load: &mut Load, plan: &Plan, host: &Host, rows: &mut [Row]) -> io::Result<()> {
    let mut servers = Vec::new();
    for (server, _) in SERVERS {
        servers.push(server.start()?.on_core(host.load_core));
    }
    let mut measured: [SingleCosts; SERVERS.len()] = Default::default();
    for _ in 0..turns(plan) {
        for ((server, row), costs) in servers.iter().zip(&mut *rows).zip(&mut measured) {
            costs.turn(load, server, &mut row.workload)?;
        }
    }
    let reference = measured[0].sample().cost;
    for (costs, row) in measured.into_iter().zip(rows) {
        row.reference.push(reference);
        row.samples.push(costs.sample());
        row.p99.push(costs.p99());
    }
    Ok(())
}

/// Returns how many turns a server has in a round.
pub fn turns(plan: &Plan) -> u128 {
    plan.slice.as_nanos().div_ceil(SingleCosts::TURN.as_nanos())
}

/// What each response of one server cost in one round.
///
/// A turn counts only if client and server had the core to themselves. The time of another process
/// is not accounted to the server, but the caches that it leaves cold are.
#[derive(Default)]
pub struct SingleCosts {
    /// On-CPU nanoseconds of the server, response by response.
    costs: Vec<u64>,
    answered: u64,
    elapsed: Duration,
    wrong: u64,
    lost: u64,
}

impl SingleCosts {
    /// Long enough for hundreds of responses, and shorter than a scheduler's time slice.
    const TURN: Duration = Duration::from_millis(3);
    /// Responses at the start of a turn that only warm the caches.
    const WARM_UP: usize = 20;
    /// The least share of a turn in which client and server had the core.
    const MIN_SHARE: f64 = 0.97;

    /// Measures one turn.
    pub fn turn(
        &mut self,
        load: &mut Load,
        server: &Server,
        workload: &mut Workload,
    ) -> io::Result<()> {
        process::wait_until_asleep(server.pid());
        let meter = CpuMeter::new(server.pid())?;
        let (start, client_before) = (Instant::now(), sys::thread_time());
        let before = meter.on_cpu();
        let (mut last, mut costs) = (before, Vec::with_capacity(1024));
        let result = load.one_at_a_time(server.address, workload, Self::TURN, || {
            let now = meter.on_cpu();
            costs.push(now - last);
            last = now;
        })?;
        let used = sys::thread_time() - client_before + (last - before) as f64;
        if used >= Self::MIN_SHARE * start.elapsed().as_nanos() as f64 {
            self.costs.extend(costs.iter().skip(Self::WARM_UP));
        }
        self.answered += result.answered;
        self.elapsed += result.elapsed;
        self.wrong += result.wrong;
        self.lost += result.lost;
        Ok(())
    }

    /// Returns the mean of the round, NaN if no turn counted.
    pub fn sample(&self) -> Sample {
        let on_cpu = self.costs.iter().sum::<u64>() as f64;
        Sample {
            cost: on_cpu / self.costs.len() as f64,
            rate: self.answered as f64 / self.elapsed.as_secs_f64(),
            server_busy: f64::NAN,
            load_idle: f64::NAN,
            wrong: self.wrong,
            lost: self.lost,
        }
    }

    fn p99(mut self) -> f64 {
        self.costs.sort_unstable();
        p99(&self.costs)
    }
}

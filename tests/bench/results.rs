//! The results of a run.

use crate::echo;
use crate::load::Burst;
use crate::measure::{Sample, median, median_ratio};
use crate::processes::{Memory, Offsets, StartTimes};
use crate::requests::Workload;
use crate::worst_case::WorstCases;

/// What the rows of the first table are called after the server's name.
pub const DEFAULT: &str = "%Y-%m-%d %X";
pub const BLANK: &str = "a blank request";
pub const SLASHES: &str = "%Y/%m/%d %H:%M:%S";
pub const NANOSECONDS: &str = "%s.%N";
pub const COMMON: &str = "64 formats in turn";
pub const DIFFERENT: &str = "10,000 formats in turn";
pub const BESIDE_DUAL_FLOOR: &str = "beside the floor on [::]";
pub const LONGEST: &str = "1024 bytes";
pub const GLIBC: &str = "all directives of glibc";
pub const WORST_CASE: &str = "1024 bytes: the worst case";
pub const TOO_LONG: &str = "1024 bytes: too long at the end";
pub const UNKNOWN: &str = "1024 bytes: unknown directive at the end";

/// The servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    Floor,
    /// The floor on a socket as the socket unit makes it.
    DualFloor,
    Plain,
    Daemon,
    /// wallclockd on an unspecified address and another one.
    TwoSockets,
    /// wallclockd as its units start it.
    Installed,
    Chronyd,
    Python,
}

/// All servers, in the order of the table.
pub const SERVERS: [ServerKind; 8] = [
    ServerKind::Floor,
    ServerKind::DualFloor,
    ServerKind::Plain,
    ServerKind::Daemon,
    ServerKind::TwoSockets,
    ServerKind::Installed,
    ServerKind::Chronyd,
    ServerKind::Python,
];

impl ServerKind {
    pub fn name(self) -> &'static str {
        match self {
            ServerKind::Floor => "echo, recvmmsg + sendmmsg: the floor",
            ServerKind::DualFloor => "echo, recvmmsg + sendmmsg on [::]",
            ServerKind::Plain => "echo, recvfrom + sendto",
            ServerKind::Daemon => "wallclockd",
            ServerKind::TwoSockets => "wallclockd, on [::] and 127.0.0.1",
            ServerKind::Installed => "wallclockd, as installed",
            ServerKind::Chronyd => "chronyd (NTP)",
            ServerKind::Python => "the Python server",
        }
    }

    pub fn is_wallclockd(self) -> bool {
        matches!(
            self,
            ServerKind::Daemon | ServerKind::TwoSockets | ServerKind::Installed
        )
    }

    /// Returns the workload in which the servers are compared with each other.
    pub fn workload(self) -> Workload {
        match self {
            ServerKind::Floor | ServerKind::DualFloor | ServerKind::Plain => {
                Workload::exact(DEFAULT.as_bytes(), echo::RESPONSE)
            }
            ServerKind::Chronyd => Workload::ntp(),
            _ => Workload::formats(&[DEFAULT]),
        }
    }
}

/// One row of a table: a server with a workload, and the result of each turn.
pub struct Row {
    pub server: ServerKind,
    pub request: &'static str,
    pub workload: Workload,
    pub samples: Vec<Sample>,
    /// The floor that this row is measured beside.
    pub floor: ServerKind,
    /// The cost of the floor (or of what takes its place) right before or after each sample.
    pub reference: Vec<f64>,
    /// The 99th percentile of on-CPU nanoseconds in each round, for one request at a time.
    pub p99: Vec<f64>,
}

impl Row {
    pub fn new(server: ServerKind, request: &'static str, workload: Workload) -> Self {
        Self {
            server,
            request,
            workload,
            samples: Vec::new(),
            floor: ServerKind::Floor,
            reference: Vec::new(),
            p99: Vec::new(),
        }
    }

    pub fn name(&self) -> String {
        match self.request {
            "" => self.server.name().into(),
            request => format!("{}, {request}", self.server.name()),
        }
    }

    /// On-CPU nanoseconds per response.
    pub fn cost(&self) -> f64 {
        self.median(|sample| sample.cost)
    }

    /// On-CPU nanoseconds per response of the floor beside this row.
    pub fn reference(&self) -> f64 {
        median(self.reference.iter().copied())
    }

    /// The median of the ratios to the floor.
    pub fn ratio(&self) -> f64 {
        let costs = self.samples.iter().map(|sample| sample.cost);
        median_ratio(costs.zip(self.reference.iter().copied()))
    }

    /// The median of the ratios to another row of the same rounds.
    pub fn ratio_to(&self, other: &Row) -> f64 {
        let pairs = self.samples.iter().zip(&other.samples);
        median_ratio(pairs.map(|(sample, other)| (sample.cost, other.cost)))
    }

    /// The median of the ratios to another row's p99 in the same rounds.
    pub fn p99_to(&self, other: &Row) -> f64 {
        median_ratio(self.p99.iter().copied().zip(other.p99.iter().copied()))
    }

    pub fn median(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(of))
    }
}

/// What is measured of a server beside the cost of its responses, a value for each round.
#[derive(Default)]
pub struct ServerResults {
    /// The 99th percentile of the round trips at half load, in microseconds.
    pub p99: Vec<f64>,
    pub lost: u64,
    pub wrong: u64,
    /// With the receive buffer that root gets.
    pub root_bursts: Vec<Burst>,
    /// With the receive buffer that a user gets.
    pub user_bursts: Vec<Burst>,
    /// KiB.
    pub resident: Vec<f64>,
}

/// All results.
pub struct Results {
    pub rows: Vec<Row>,
    /// On-CPU nanoseconds of the C library's strftime for the format of [`GLIBC`], in each round.
    pub strftime: Vec<f64>,
    /// Current build beside the base; empty without one.
    pub base: Vec<Row>,
    pub servers: [ServerResults; SERVERS.len()],
    /// One request at a time; the first row is the reference.
    pub single: Vec<Row>,
    /// Context switches of wallclockd without requests.
    pub idle_switches: u64,
    pub memory: Memory,
    pub starts: StartTimes,
    pub offsets: Offsets,
    pub worst_cases: WorstCases,
}

impl Results {
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, server: ServerKind, request: &str) -> &Row {
        let found = self
            .rows
            .iter()
            .find(|row| row.server == server && row.request == request);
        found.expect("a row for each name")
    }

    pub fn of(&self, server: ServerKind) -> &ServerResults {
        &self.servers[server as usize]
    }

    fn samples(&self) -> impl Iterator<Item = (ServerKind, &Sample)> {
        let rows = self.rows.iter().chain(&self.single).chain(&self.base);
        rows.flat_map(|row| row.samples.iter().map(|sample| (row.server, sample)))
    }

    /// The number of wrong responses.
    pub fn wrong(&self) -> u64 {
        self.samples().map(|(_, sample)| sample.wrong).sum::<u64>()
            + self.servers.iter().map(|it| it.wrong).sum::<u64>()
            + self.memory.wrong
    }

    /// The number of requests without a response, bursts apart.
    pub fn lost(&self, server: ServerKind) -> u64 {
        let samples = self.samples().filter(|(kind, _)| *kind == server);
        samples.map(|(_, sample)| sample.lost).sum::<u64>() + self.of(server).lost
    }
}

//! What a run has shown, kept until it is told.

use crate::dearest::Dearest;
use crate::echo;
use crate::load::Burst;
use crate::measure::{Sample, median};
use crate::questions::Workload;

/// What is asked, where it takes a name.
pub const DEFAULT: &str = "%Y-%m-%d %X";
pub const BLANK: &str = "a blank line";
pub const SLASHES: &str = "%Y/%m/%d %H:%M:%S";
pub const NANOSECONDS: &str = "%s.%N";
pub const SIXTY_FOUR: &str = "64 formats in turn";
pub const DIFFERENT: &str = "10,000 formats in turn";
pub const LONGEST: &str = "1024 bytes";
pub const BESIDE_DUAL: &str = "x the floor on [::]";
pub const GLIBCS: &str = "every conversion of glibc, new";
pub const DEAREST: &str = "1024 bytes, new: the dearest";
pub const BASES_DEAREST: &str = "1024 bytes, new: the dearest of the base";
pub const ALONE_AS_INSTALLED: &str = "one at a time";
pub const OVERFLOWING: &str = "1024 bytes, new: too long at the end";
pub const BAD: &str = "1024 bytes, new: bad at the end";

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Floor,
    /// The floor on a socket like the one of the socket unit.
    DualFloor,
    Plain,
    Daemon,
    /// The daemon on a wildcard address and another one.
    Anywhere,
    /// The daemon as the units start it.
    Installed,
    Chronyd,
    Python,
}

/// Everybody, in the order of the table.
pub const PEERS: [Peer; 8] = [
    Peer::Floor,
    Peer::DualFloor,
    Peer::Plain,
    Peer::Daemon,
    Peer::Anywhere,
    Peer::Installed,
    Peer::Chronyd,
    Peer::Python,
];

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Peer::Floor => "echo, recvmmsg + sendmmsg: the floor",
            Peer::DualFloor => "the same on [::]",
            Peer::Plain => "echo, recvfrom + sendto",
            Peer::Daemon => "wallclockd",
            Peer::Anywhere => "wallclockd on [::] and more",
            Peer::Installed => "wallclockd as installed",
            Peer::Chronyd => "chronyd (NTP)",
            Peer::Python => "the Python original",
        }
    }

    /// What everybody is asked where they are compared with each other.
    pub fn workload(self) -> Workload {
        match self {
            Peer::Daemon | Peer::Anywhere | Peer::Installed | Peer::Python => {
                Workload::formats(&[DEFAULT])
            }
            Peer::Floor | Peer::DualFloor | Peer::Plain => {
                Workload::exact(DEFAULT.as_bytes(), echo::ANSWER)
            }
            Peer::Chronyd => Workload::ntp(),
        }
    }
}

/// One line of the table: a server under a workload, and what each round showed.
pub struct Row {
    pub peer: Peer,
    pub question: &'static str,
    pub workload: Workload,
    pub samples: Vec<Sample>,
    /// Which of the floors it is measured beside.
    pub beside: Peer,
    /// The floor's cost beside each sample.
    pub floor: Vec<f64>,
    /// On-CPU nanoseconds of all but the dearest hundredth of answers, in each round; only where one is asked for at a time.
    pub p99: Vec<f64>,
}

impl Row {
    pub fn new(peer: Peer, question: &'static str, workload: Workload) -> Self {
        Self {
            peer,
            question,
            workload,
            samples: Vec::new(),
            beside: Peer::Floor,
            floor: Vec::new(),
            p99: Vec::new(),
        }
    }

    pub fn name(&self) -> String {
        match self.question {
            "" => self.peer.name().into(),
            question => format!("{}, {question}", self.peer.name()),
        }
    }

    /// On-CPU nanoseconds per answer.
    pub fn cost(&self) -> f64 {
        self.middle(|sample| sample.cost)
    }

    /// On-CPU nanoseconds per answer of the floor, beside this row.
    pub fn floor(&self) -> f64 {
        median(self.floor.iter().copied())
    }

    /// The median of the rounds' ratios to the floor.
    pub fn ratio(&self) -> f64 {
        median(
            self.samples
                .iter()
                .zip(&self.floor)
                .map(|(sample, floor)| sample.cost / floor),
        )
    }

    /// The median of the rounds' ratios to another row of the same round.
    pub fn ratio_to(&self, other: &Row) -> f64 {
        let pairs = self.samples.iter().zip(&other.samples);
        median(pairs.map(|(sample, other)| sample.cost / other.cost))
    }

    /// The median of the rounds' ratios to another row's p99 in the same round.
    pub fn p99_to(&self, other: &Row) -> f64 {
        median(
            self.p99
                .iter()
                .zip(&other.p99)
                .map(|(p99, other)| p99 / other),
        )
    }

    pub fn middle(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(of))
    }
}

/// What is told of a peer beside its cost, a value for each round.
#[derive(Default)]
pub struct Manners {
    /// Microseconds from question to answer at half load.
    pub p50: Vec<f64>,
    pub p99: Vec<f64>,
    pub p999: Vec<f64>,
    pub missing: u64,
    pub wrong: u64,
    /// With the buffer that privileges give, and with the one of an unprivileged start.
    pub wide: Vec<Burst>,
    pub narrow: Vec<Burst>,
    /// KiB.
    pub resident: Vec<f64>,
    /// Context switches with nobody asking.
    pub switches: Option<u64>,
}

/// Resident memory in KiB of a daemon that was asked many different things.
pub struct Memory {
    pub at_start: u64,
    /// After so many questions.
    pub few: (u64, u64),
    pub many: (u64, u64),
    pub sample: Sample,
}

/// Whole processes, in milliseconds of wall clock.
#[derive(Default)]
pub struct Spawned {
    pub daemon: Vec<f64>,
    pub python_server: Vec<f64>,
    pub client: Vec<f64>,
    pub python_client: Vec<f64>,
}

/// All of it.
pub struct Results {
    pub rows: Vec<Row>,
    /// On-CPU nanoseconds of the C library's strftime for [`GLIBCS`], in each round.
    pub strftime: Vec<f64>,
    /// What the daemon costs beside another build of it, in place of the floor; empty where there is none.
    pub against: Vec<Row>,
    pub manners: [Manners; PEERS.len()],
    /// One question at a time; what is the floor to other rows is the first of these to them.
    pub lonely: Vec<Row>,
    pub memory: Memory,
    pub spawned: Spawned,
    pub dearest: Dearest,
}

impl Results {
    /// # Panics
    /// Where there is no such row, which would be a slip in this bench.
    pub fn row(&self, peer: Peer, question: &str) -> &Row {
        let row = self
            .rows
            .iter()
            .find(|row| row.peer == peer && row.question == question);
        row.expect("a row for each name")
    }

    pub fn of(&self, peer: Peer) -> &Manners {
        &self.manners[peer as usize]
    }

    /// Answers that were not right.
    pub fn wrong(&self) -> u64 {
        let rows = self
            .rows
            .iter()
            .chain(&self.lonely)
            .flat_map(|row| &row.samples);
        rows.chain([&self.memory.sample])
            .map(|sample| sample.wrong)
            .sum::<u64>()
            + self
                .manners
                .iter()
                .map(|manners| manners.wrong)
                .sum::<u64>()
    }

    /// Questions that got no answer, the bursts' apart.
    pub fn missing(&self, peer: Peer) -> u64 {
        let rows = self
            .rows
            .iter()
            .chain(&self.lonely)
            .filter(|row| row.peer == peer);
        rows.flat_map(|row| &row.samples)
            .map(|sample| sample.missing)
            .sum::<u64>()
            + self.of(peer).missing
    }
}

//! The run: who takes turns with whom, and what is told of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Options;
use crate::dearest::{self, Dearest};
use crate::echo::{self, Echo};
use crate::load::{BURST, Burst, IN_FLIGHT, Load, SOCKETS, Until};
use crate::measure::{self, Sample, median, quantile};
use crate::peers::{self, Server};
use crate::plot::{self, Bar};
use crate::process;
use crate::questions::{self, Workload};
use crate::sys;
use crate::table::{Table, number};

/// Asked for where privileges allow: 16 MiB once the kernel has doubled it.
const WIDE: i32 = 8 << 20;
/// What an unprivileged start gets on most hosts: their net.core.rmem_max, which the kernel doubles.
const NARROW: i32 = 212_992;

const DEFAULT: &str = "%Y-%m-%d %X";
const FORMATS: usize = 10_000;

/// How long each thing is looked at.
struct Plan {
    rounds: usize,
    slice: Duration,
    paced: Duration,
    idle: Duration,
    few: u64,
    many: u64,
    starts: usize,
}

impl Plan {
    fn of(options: &Options) -> Self {
        if options.quick {
            Self {
                rounds: options.rounds.min(3),
                slice: Duration::from_millis(50),
                paced: Duration::from_millis(100),
                idle: Duration::from_secs(2),
                few: 100_000,
                many: 1_000_000,
                starts: 5,
            }
        } else {
            Self {
                rounds: options.rounds.max(1),
                slice: Duration::from_millis(120),
                paced: Duration::from_millis(300),
                idle: Duration::from_secs(10),
                few: 1_000_000,
                many: 10_000_000,
                starts: 25,
            }
        }
    }
}

/// Everybody who is measured, and where.
struct Room {
    python: Option<PathBuf>,
    chronyd: Option<PathBuf>,
    load_core: usize,
    server_core: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Daemon,
    Floor,
    Plain,
    Python,
    Chronyd,
}

const PEERS: [Peer; 5] = [
    Peer::Floor,
    Peer::Plain,
    Peer::Daemon,
    Peer::Chronyd,
    Peer::Python,
];

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Peer::Daemon => "wallclockd",
            Peer::Floor => "echo, recvmmsg + sendmmsg (the floor)",
            Peer::Plain => "echo, recvfrom + sendto",
            Peer::Python => "the Python original",
            Peer::Chronyd => "chronyd (NTP)",
        }
    }

    /// What everybody is asked where they are compared with each other.
    fn workload(self) -> Workload {
        match self {
            Peer::Daemon | Peer::Python => Workload::formats(&[DEFAULT]),
            Peer::Floor | Peer::Plain => Workload::exact(DEFAULT.as_bytes(), echo::ANSWER),
            Peer::Chronyd => Workload::ntp(),
        }
    }
}

impl Room {
    /// Starts `peer` with `buffer` bytes of receive buffer asked for, or with what it asks for itself. None if it is not installed.
    fn start(&self, peer: Peer, buffer: Option<i32>) -> io::Result<Option<Server>> {
        let server = match peer {
            Peer::Daemon => match buffer {
                Some(bytes) => Server::daemon(&["--receive-buffer", &bytes.to_string()])?,
                None => Server::daemon(&[])?,
            },
            Peer::Floor => Server::echo(Echo::Floor, buffer)?,
            Peer::Plain => Server::echo(Echo::Plain, buffer)?,
            Peer::Python => match &self.python {
                Some(python) => Server::python(python)?,
                None => return Ok(None),
            },
            Peer::Chronyd => match &self.chronyd {
                Some(chronyd) => Server::chronyd(chronyd)?,
                None => return Ok(None),
            },
        };
        Ok(Some(server.on_core(self.server_core)))
    }
}

/// One line of the table: a server under a workload, and what each round showed.
struct Row {
    peer: Peer,
    name: String,
    workload: Workload,
    samples: Vec<Sample>,
    /// The floor's cost beside each sample.
    floor: Vec<f64>,
}

impl Row {
    fn new(peer: Peer, name: impl Into<String>, workload: Workload) -> Self {
        Self {
            peer,
            name: name.into(),
            workload,
            samples: Vec::new(),
            floor: Vec::new(),
        }
    }

    fn cost(&self) -> f64 {
        median(self.samples.iter().map(|sample| sample.cost))
    }

    fn ratio(&self) -> f64 {
        median(
            self.samples
                .iter()
                .zip(&self.floor)
                .map(|(sample, floor)| sample.cost / floor),
        )
    }

    /// The median over the rounds of this row's cost by the other's, each of the same round.
    fn ratio_to(&self, other: &Row) -> f64 {
        median(
            self.samples
                .iter()
                .zip(&other.samples)
                .map(|(sample, other)| sample.cost / other.cost),
        )
    }

    fn middle(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(of))
    }

    fn faults(&self) -> u64 {
        self.samples.iter().map(|sample| sample.faults).sum()
    }
}

/// What is told of a peer beside its cost.
#[derive(Default)]
struct Manners {
    p50: Vec<f64>,
    p99: Vec<f64>,
    p999: Vec<f64>,
    failed: u64,
    wide: Vec<Burst>,
    narrow: Vec<Burst>,
    resident: Vec<f64>,
    switches: Option<u64>,
}

/// Runs it all. Gives back whether every answer was right.
pub fn run(options: &Options) -> io::Result<bool> {
    let plan = Plan::of(options);
    let cores = sys::cores();
    let room = Room {
        python: peers::find_python(),
        chronyd: peers::find_chronyd(),
        load_core: cores[0],
        server_core: cores[cores.len() - 1],
    };
    // Where that is forbidden the numbers are worse, not wrong.
    let _ = sys::pin(0, room.load_core);
    let mut load = Load::new();

    note("searching for the dearest question");
    let searched = Server::daemon(&[])?.on_core(room.server_core);
    let dearest = dearest::search(&mut load, &searched)?;
    let mut rows = rows(&dearest, &searched)?;
    drop(searched);
    if options.dearest {
        for question in [&dearest.good, &dearest.overflowing, &dearest.bad] {
            println!(
                "{}\n{:?}\n",
                question.name,
                String::from_utf8_lossy(&question.tails[0])
            );
        }
        return Ok(true);
    }

    let mut manners: Vec<(Peer, Manners)> = PEERS.map(|peer| (peer, Manners::default())).into();
    let mut lonely = lonely_rows();
    for round in 0..plan.rounds {
        note(&format!("round {} of {}", round + 1, plan.rounds));
        let floor = room
            .start(Peer::Floor, Some(WIDE))?
            .expect("the floor is this very program");
        let mut servers = Vec::new();
        for peer in PEERS {
            let buffer = (peer != Peer::Daemon).then_some(WIDE);
            servers.push((peer, room.start(peer, buffer)?));
        }
        crowds(&mut load, &plan, round, &floor, &servers, &mut rows)?;
        half_load(&mut load, &plan, &servers, &rows, &mut manners)?;
        for (peer, server) in &servers {
            let resident = server
                .as_ref()
                .map(|server| process::resident(server.pid()) as f64);
            told(&mut manners, *peer).resident.extend(resident);
        }
        drop(servers);
        bursts(&mut load, &room, &mut manners)?;
        alone(&mut load, &plan, &room, &mut lonely)?;
    }
    idle(&plan, &room, &mut manners)?;
    let memory = memory(&mut load, &plan, &room)?;
    let spawned = spawned(&plan, &room)?;

    let tables = [
        main_table(&rows, &manners),
        lonely_table(&lonely),
        spawned.table(),
        memory.table(),
    ];
    for table in &tables {
        println!(
            "{}",
            if options.markdown {
                table.markdown()
            } else {
                table.text()
            }
        );
    }
    println!("{}", footnotes(&plan, &room, &dearest, &rows));
    let limits = limits(&rows, &manners, &lonely, &memory, &spawned);
    println!(
        "{}",
        if options.markdown {
            limits.markdown()
        } else {
            limits.text()
        }
    );
    draw(options, &rows)?;

    let faults = rows.iter().chain(&lonely).map(Row::faults).sum::<u64>()
        + manners.iter().map(|(_, told)| told.failed).sum::<u64>()
        + memory.faults;
    if faults > 0 {
        println!("{faults} answers were wrong or missing");
    }
    Ok(faults == 0)
}

fn note(what: &str) {
    eprintln!("bench: {what}");
}

fn told(manners: &mut [(Peer, Manners)], peer: Peer) -> &mut Manners {
    let index = PEERS.iter().position(|&other| other == peer).unwrap_or(0);
    &mut manners[index].1
}

fn rows(dearest: &Dearest, daemon: &Server) -> io::Result<Vec<Row>> {
    let mut rows: Vec<Row> = PEERS
        .iter()
        .filter(|&&peer| peer != Peer::Daemon)
        .map(|&peer| Row::new(peer, peer.name(), peer.workload()))
        .collect();
    let longest = Workload::unseen_exact(&dearest.good.tails, echo::ANSWER);
    rows.push(Row::new(
        Peer::Floor,
        "the floor, 1024-byte questions",
        longest,
    ));
    let mut ours = |name: &str, workload| {
        rows.push(Row::new(
            Peer::Daemon,
            format!("wallclockd, {name}"),
            workload,
        ))
    };
    ours(DEFAULT, Workload::formats(&[DEFAULT]));
    ours("a blank line", Workload::formats(&["\n"]));
    ours(
        "%Y/%m/%d %H:%M:%S",
        Workload::formats(&["%Y/%m/%d %H:%M:%S"]),
    );
    ours("%s.%N (never cached)", Workload::nanoseconds());
    ours(
        "64 formats in turn",
        Workload::formats(&questions::sixty_four()),
    );
    ours(
        "10,000 formats in turn",
        Workload::formats(&questions::different(FORMATS)),
    );
    ours("1024 bytes, new, dearest", dearest.good.workload(daemon)?);
    ours(
        "1024 bytes, new, overflows late",
        dearest.overflowing.workload(daemon)?,
    );
    ours(
        "1024 bytes, new, bad at the end",
        dearest.bad.workload(daemon)?,
    );
    Ok(rows)
}

/// Every row for a slice, each beside the floor.
fn crowds(
    load: &mut Load,
    plan: &Plan,
    round: usize,
    floor: &Server,
    servers: &[(Peer, Option<Server>)],
    rows: &mut [Row],
) -> io::Result<()> {
    let mut beside = Peer::Floor.workload();
    let until = Until::Elapsed(plan.slice);
    for row in rows {
        let Some(server) = servers
            .iter()
            .find(|(peer, _)| *peer == row.peer)
            .and_then(|(_, server)| server.as_ref())
        else {
            continue;
        };
        // Warm-up: what a process does for the first time is no part of what an answer costs.
        measure::crowd(
            load,
            server,
            &mut row.workload,
            Until::Elapsed(plan.slice / 10),
        )?;
        // Who goes first has the warmer core, or the colder: each does in turn.
        let (floor, sample) = if round.is_multiple_of(2) {
            let floor = measure::crowd(load, floor, &mut beside, until)?;
            (
                floor,
                measure::crowd(load, server, &mut row.workload, until)?,
            )
        } else {
            let sample = measure::crowd(load, server, &mut row.workload, until)?;
            (measure::crowd(load, floor, &mut beside, until)?, sample)
        };
        row.floor.push(floor.cost);
        row.samples.push(sample);
    }
    Ok(())
}

/// Everybody at half of what the bare echo answered in this round.
fn half_load(
    load: &mut Load,
    plan: &Plan,
    servers: &[(Peer, Option<Server>)],
    rows: &[Row],
    manners: &mut [(Peer, Manners)],
) -> io::Result<()> {
    let Some(sample) = rows
        .iter()
        .find(|row| row.peer == Peer::Plain)
        .and_then(|row| row.samples.last())
    else {
        return Ok(());
    };
    let rate = sample.rate / 2.0;
    for (peer, server) in servers {
        let Some(server) = server else { continue };
        let (trips, failed) = load.paced(server.address, &mut peer.workload(), rate, plan.paced)?;
        let told = told(manners, *peer);
        told.p50.push(quantile(&trips, 0.5) / 1000.0);
        told.p99.push(quantile(&trips, 0.99) / 1000.0);
        told.p999.push(quantile(&trips, 0.999) / 1000.0);
        told.failed += failed;
    }
    Ok(())
}

fn bursts(load: &mut Load, room: &Room, manners: &mut [(Peer, Manners)]) -> io::Result<()> {
    for peer in PEERS {
        for buffer in [WIDE, NARROW] {
            // The others can't be told what buffer to ask for, and ask for none.
            let theirs = matches!(peer, Peer::Python | Peer::Chronyd);
            if theirs && buffer == WIDE {
                continue;
            }
            let Some(server) = room.start(peer, Some(buffer))? else {
                continue;
            };
            let mut workload = peer.workload();
            server.wait_for_answer(&{
                let mut question = Vec::new();
                workload.question(0, &mut question);
                question
            })?;
            let burst = load.burst(server.address, &mut workload)?;
            let told = told(manners, peer);
            told.failed += burst.wrong;
            if buffer == WIDE {
                &mut told.wide
            } else {
                &mut told.narrow
            }
            .push(burst);
        }
    }
    Ok(())
}

fn lonely_rows() -> Vec<Row> {
    let echo = || Workload::exact(DEFAULT.as_bytes(), echo::ANSWER);
    vec![
        Row::new(Peer::Plain, "echo, recvfrom + sendto", echo()),
        Row::new(Peer::Plain, "echo, poll + recvfrom + sendto", echo()),
        Row::new(Peer::Floor, "echo, recvmmsg + sendmmsg", echo()),
        Row::new(Peer::Floor, "echo, poll + recvmmsg + sendmmsg", echo()),
        Row::new(Peer::Daemon, "wallclockd", Workload::formats(&[DEFAULT])),
    ]
}

/// One question at a time, asker and server on one core. `floor` of these rows is the first of them.
fn alone(load: &mut Load, plan: &Plan, room: &Room, rows: &mut [Row]) -> io::Result<()> {
    let echoes = [Echo::Plain, Echo::PollPlain, Echo::Floor, Echo::PollFloor];
    let mut servers = echoes
        .iter()
        .map(|&echo| Server::echo(echo, Some(WIDE)))
        .collect::<io::Result<Vec<_>>>()?;
    servers.push(Server::daemon(&[])?);
    let servers: Vec<Server> = servers
        .into_iter()
        .map(|server| server.on_core(room.load_core))
        .collect();
    for (server, row) in servers.iter().zip(&mut *rows) {
        measure::lonely(load, server, &mut row.workload, plan.slice / 10)?;
        row.samples.push(measure::lonely(
            load,
            server,
            &mut row.workload,
            plan.slice,
        )?);
    }
    let first = rows[0]
        .samples
        .last()
        .map_or(f64::NAN, |sample| sample.cost);
    rows.iter_mut().for_each(|row| row.floor.push(first));
    Ok(())
}

/// Everybody at once, with nobody asking.
fn idle(plan: &Plan, room: &Room, manners: &mut [(Peer, Manners)]) -> io::Result<()> {
    note("idle");
    let mut servers = Vec::new();
    for peer in PEERS {
        servers.extend(room.start(peer, None)?.map(|server| (peer, server)));
    }
    for (peer, server) in &servers {
        let mut question = Vec::new();
        peer.workload().question(0, &mut question);
        server.wait_for_answer(&question)?;
        process::settle(server.pid());
    }
    let before: Vec<u64> = servers
        .iter()
        .map(|(_, server)| process::switches(server.pid()))
        .collect();
    std::thread::sleep(plan.idle);
    for ((peer, server), before) in servers.iter().zip(before) {
        told(manners, *peer).switches = Some(process::switches(server.pid()) - before);
    }
    Ok(())
}

/// Resident memory of a daemon that was asked many different things, in KiB.
struct Memory {
    at_start: u64,
    few: (u64, u64),
    many: (u64, u64),
    faults: u64,
}

fn memory(load: &mut Load, plan: &Plan, room: &Room) -> io::Result<Memory> {
    note("memory");
    let daemon = Server::daemon(&[])?.on_core(room.server_core);
    let mut workload = Workload::formats(&questions::different(FORMATS));
    let at_start = process::resident(daemon.pid());
    let first = measure::crowd(load, &daemon, &mut workload, Until::Answered(plan.few))?;
    let few = process::resident(daemon.pid());
    let second = measure::crowd(
        load,
        &daemon,
        &mut workload,
        Until::Answered(plan.many - plan.few),
    )?;
    let many = process::resident(daemon.pid());
    Ok(Memory {
        at_start,
        few: (plan.few, few),
        many: (plan.many, many),
        faults: first.faults + second.faults,
    })
}

impl Memory {
    fn table(&self) -> Table {
        let mut table = Table::new(&["wallclockd, 10,000 formats", "resident, KiB"]);
        table.row(vec!["at start".into(), self.at_start.to_string()]);
        for (questions, resident) in [self.few, self.many] {
            table.row(vec![
                format!("after {} million questions", questions as f64 / 1e6),
                resident.to_string(),
            ]);
        }
        table
    }
}

/// Whole processes, in milliseconds of wall clock.
#[derive(Default)]
struct Spawned {
    daemon: Vec<f64>,
    python_server: Vec<f64>,
    client: Vec<f64>,
    python_client: Vec<f64>,
}

fn spawned(plan: &Plan, room: &Room) -> io::Result<Spawned> {
    note("starts");
    let mut spawned = Spawned::default();
    let timed = |what: &dyn Fn() -> io::Result<()>| {
        let start = Instant::now();
        what().map(|()| start.elapsed().as_secs_f64() * 1e3)
    };
    let serving = Server::daemon(&[])?.on_core(room.server_core);
    let checked = |output: std::process::Output| match output.stdout.len() {
        20 => Ok(()),
        _ => Err(io::Error::other(format!("the client said {output:?}"))),
    };
    for _ in 0..plan.starts {
        spawned.daemon.push(timed(&|| {
            Server::daemon(&[])?.wait_for_answer(DEFAULT.as_bytes())
        })?);
        spawned.client.push(timed(&|| {
            checked(peers::ask_with_client(serving.address)?)
        })?);
        if let Some(python) = room.python.as_deref().map(Path::new) {
            spawned
                .python_server
                .push(timed(&|| Server::python(python).map(drop))?);
            spawned.python_client.push(timed(&|| {
                checked(peers::ask_with_python(python, serving.address)?)
            })?);
        }
    }
    Ok(spawned)
}

impl Spawned {
    fn table(&self) -> Table {
        let mut table = Table::new(&["whole process, wall clock", "median, ms"]);
        for (name, times) in [
            ("wallclockd, start to first answer", &self.daemon),
            (
                "the Python original, start to first answer",
                &self.python_server,
            ),
            ("wallclock", &self.client),
            ("the Python client", &self.python_client),
        ] {
            table.row(vec![name.into(), number(median(times.iter().copied()), 2)]);
        }
        table
    }
}

fn main_table(rows: &[Row], manners: &[(Peer, Manners)]) -> Table {
    let mut table = Table::new(&[
        "server, question",
        "on-CPU, ns/answer",
        "x floor",
        "answers/s",
        "server busy, %",
        "p50, us",
        "p99, us",
        "p99.9, us",
        "of 10,000 at once, 16 MiB",
        "416 KiB",
        "resident, KiB",
        "switches, idle",
    ]);
    let mut seen = Vec::new();
    for row in rows {
        // What belongs to a server and not to a question is told once.
        let told = (!seen.contains(&row.peer)).then(|| {
            &manners
                .iter()
                .find(|(peer, _)| *peer == row.peer)
                .expect("all")
                .1
        });
        seen.push(row.peer);
        let middle = |of: fn(&Manners) -> &Vec<f64>| {
            told.map_or(f64::NAN, |told| median(of(told).iter().copied()))
        };
        let burst = |of: fn(&Manners) -> &Vec<Burst>| {
            told.map_or(f64::NAN, |told| {
                median(of(told).iter().map(|burst| burst.answered as f64))
            })
        };
        table.row(vec![
            row.name.clone(),
            number(row.cost(), 0),
            number(row.ratio(), 3),
            number(row.middle(|sample| sample.rate), 0),
            number(row.middle(|sample| sample.busy) * 100.0, 0),
            number(middle(|told| &told.p50), 1),
            number(middle(|told| &told.p99), 1),
            number(middle(|told| &told.p999), 1),
            number(burst(|told| &told.wide), 0),
            number(burst(|told| &told.narrow), 0),
            number(middle(|told| &told.resident), 0),
            told.and_then(|told| told.switches)
                .map_or("-".into(), |switches| switches.to_string()),
        ]);
    }
    table
}

fn lonely_table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "one lonely question, one core",
        "on-CPU, ns/answer",
        "x the first",
    ]);
    for row in rows {
        table.row(vec![
            row.name.clone(),
            number(row.cost(), 0),
            number(row.ratio(), 3),
        ]);
    }
    table
}

fn footnotes(plan: &Plan, room: &Room, dearest: &Dearest, rows: &[Row]) -> String {
    let spare = median(rows.iter().map(|row| row.middle(|sample| sample.spare)));
    format!(
        "Medians of {} rounds of {} ms. Load: {SOCKETS} sockets x {IN_FLIGHT} in flight on core {}, servers on core {}; the load was idle\n\
         {:.0} % of the time (median of the rows). Round trips at half of what the recvfrom/sendto echo answered in the same round,\n\
         at random instants. \"416 KiB\" is what an unprivileged start gets where net.core.rmem_max is 212,992; chronyd and the\n\
         Python original have 208 KiB, the default. Idle switches over {} s. Dearest: {}. Bad: {}.\n",
        plan.rounds,
        plan.slice.as_millis(),
        room.load_core,
        room.server_core,
        spare * 100.0,
        plan.idle.as_secs(),
        dearest.good.name,
        dearest.bad.name,
    )
}

/// What was promised, and whether it held in this run.
fn limits(
    rows: &[Row],
    manners: &[(Peer, Manners)],
    lonely: &[Row],
    memory: &Memory,
    spawned: &Spawned,
) -> Table {
    let mut table = Table::new(&["promise", "at most", "measured", "holds"]);
    let mut limit = |name: &str, most: f64, value: f64| {
        let holds = if value.is_nan() {
            "not measured"
        } else if value <= most {
            "yes"
        } else {
            "NO"
        };
        let digits = if most >= 100.0 { 0 } else { 3 };
        table.row(vec![
            name.into(),
            number(most, digits),
            number(value, digits),
            holds.into(),
        ]);
    };
    let row = |name: &str| {
        rows.iter()
            .find(|row| row.name.contains(name))
            .expect("a row of that name")
    };
    let (default, slashes) = (
        row(&format!("wallclockd, {DEFAULT}")),
        row("%Y/%m/%d %H:%M:%S"),
    );
    limit("default format, x floor", 1.05, default.ratio());
    limit("%Y/%m/%d %H:%M:%S, x floor", 1.05, slashes.ratio());
    limit(
        "default format, x chronyd",
        0.90,
        default.ratio_to(row("chronyd")),
    );
    limit(
        "default format, x the Python original",
        0.70,
        default.ratio_to(row("Python")),
    );
    limit("%s.%N, x floor", 1.12, row("%s.%N").ratio());
    limit("64 formats, x floor", 1.06, row("64 formats").ratio());
    for name in [
        "1024 bytes, new, dearest",
        "1024 bytes, new, overflows late",
        "1024 bytes, new, bad at the end",
    ] {
        limit(&format!("{name}, x floor"), 3.0, row(name).ratio());
        limit(
            &format!("{name}, x floor with the same question"),
            f64::INFINITY,
            row(name).ratio_to(row("1024-byte questions")),
        );
    }
    let told = |peer| {
        &manners
            .iter()
            .find(|(other, _)| *other == peer)
            .expect("all")
            .1
    };
    let (ours, bare) = (told(Peer::Daemon), told(Peer::Plain));
    let worst = ours.wide.iter().map(|burst| burst.answered).min();
    limit(
        "burst of 10,000 on 16 MiB, unanswered in the worst round",
        0.0,
        worst.map_or(f64::NAN, |worst| (BURST as u64 - worst) as f64),
    );
    let unanswered = |told: &Manners| {
        median(
            told.narrow
                .iter()
                .map(|burst| (BURST as u64 - burst.answered) as f64),
        )
    };
    limit(
        "burst of 10,000 on 416 KiB, unanswered, bare echo's is the limit",
        unanswered(bare),
        unanswered(ours),
    );
    limit(
        "p99 at half load, x bare echo",
        1.1,
        median(
            ours.p99
                .iter()
                .zip(&bare.p99)
                .map(|(ours, bare)| ours / bare),
        ),
    );
    let alone = &lonely[lonely.len() - 1];
    limit(
        "one lonely question, x recvfrom + sendto",
        1.15,
        alone.ratio(),
    );
    limit(
        "one lonely question, x poll + the floor",
        1.0,
        alone.ratio_to(&lonely[3]),
    );
    limit(
        "resident after the first questions, KiB",
        3072.0,
        memory.few.1 as f64,
    );
    limit(
        "resident after the last, KiB, the first's is the limit",
        memory.few.1 as f64,
        memory.many.1 as f64,
    );
    limit(
        "idle context switches",
        0.0,
        ours.switches.map_or(f64::NAN, |switches| switches as f64),
    );
    let middle = |times: &[f64]| median(times.iter().copied());
    limit("start to first answer, ms", 10.0, middle(&spawned.daemon));
    limit("wallclock, whole process, ms", 3.0, middle(&spawned.client));
    limit(
        "wallclock, x the Python client",
        0.1,
        middle(&spawned.client) / middle(&spawned.python_client),
    );
    table
}

fn draw(options: &Options, rows: &[Row]) -> io::Result<()> {
    let bars: Vec<Bar> = rows
        .iter()
        .filter(|row| !row.samples.is_empty())
        .map(|row| Bar {
            name: row.name.clone(),
            cost: row.cost(),
            ours: row.peer == Peer::Daemon,
        })
        .collect();
    let floor = median(rows.iter().flat_map(|row| row.floor.iter().copied()));
    let path = options.svg.clone().unwrap_or_else(|| {
        // The directory for temporaries is beside the one for benchmarks.
        Path::new(env!("CARGO_TARGET_TMPDIR"))
            .with_file_name("bench")
            .join("cost.svg")
    });
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(
        &path,
        plot::svg("On-CPU nanoseconds of the server per answer", &bars, floor),
    )?;
    println!("plot: {}", path.display());
    Ok(())
}

//! The run: who takes turns with whom.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use crate::Options;
use crate::dearest::{self, Dearest};
use crate::echo::{self, Echo};
use crate::load::{Load, Until};
use crate::measure::{self, Lonely, Sample, quantile};
use crate::peers::{self, Program, Server};
use crate::process;
use crate::questions::{self, Workload};
use crate::report;
use crate::results::*;
use crate::sys;
use crate::table::{Table, number};

/// Asked for where privileges allow: 16 MiB once the kernel has doubled it.
const WIDE: i32 = 8 << 20;
/// What an unprivileged start gets on most hosts: their net.core.rmem_max, which is doubled too.
const NARROW: i32 = 212_992;

const FORMATS: usize = 10_000;

/// Calls of the C library's strftime in each round: some 40 ms.
const STRFTIMES: u32 = 2000;
/// Those who are compared in pairs take turns this often in a slice.
const TURNS: u32 = 6;

/// How long each thing is looked at.
pub struct Plan {
    pub rounds: usize,
    pub slice: Duration,
    pub paced: Duration,
    pub idle: Duration,
    pub few: u64,
    pub many: u64,
    pub starts: usize,
}

impl Plan {
    fn of(options: &Options) -> Self {
        if options.quick {
            Self {
                rounds: options.rounds.unwrap_or(3),
                slice: Duration::from_millis(options.slice.unwrap_or(50)),
                paced: Duration::from_millis(100),
                idle: Duration::from_secs(2),
                few: 100_000,
                many: 1_000_000,
                starts: 5,
            }
        } else {
            Self {
                rounds: options.rounds.unwrap_or(9),
                slice: Duration::from_millis(options.slice.unwrap_or(120)),
                paced: Duration::from_millis(300),
                idle: Duration::from_secs(10),
                few: 1_000_000,
                many: 10_000_000,
                starts: 25,
            }
        }
    }
}

/// Where everybody is, and what of them is installed.
pub struct Room {
    python: Option<PathBuf>,
    /// None from the first time that it did not start.
    chronyd: RefCell<Option<PathBuf>>,
    pub load_core: usize,
    pub server_core: usize,
}

impl Room {
    fn new() -> Self {
        let cores = sys::cores();
        Self {
            python: peers::find_python(),
            chronyd: RefCell::new(peers::find_chronyd()),
            load_core: cores[0],
            server_core: cores[cores.len() - 1],
        }
    }

    /// Starts `peer` with `buffer` bytes of receive buffer asked for, or with what it asks for
    /// itself. None if it is not installed.
    fn start(&self, peer: Peer, buffer: Option<i32>) -> io::Result<Option<Server>> {
        let server = match peer {
            Peer::Floor => Some(Server::echo(Echo::Floor, buffer)?),
            Peer::DualFloor => Some(Server::echo(Echo::DualFloor, buffer)?),
            Peer::Plain => Some(Server::echo(Echo::Plain, buffer)?),
            Peer::Daemon => Some(Server::daemon(&Program::Built, &wide(buffer))?),
            Peer::Anywhere => Some(Server::daemon_anywhere(&Program::Built, &wide(buffer))?),
            Peer::Installed => Some(Server::installed(&Program::Built)?),
            Peer::Chronyd => self.chronyd(),
            Peer::Python => self.python.as_deref().map(Server::python).transpose()?,
        };
        Ok(server.map(|server| server.on_core(self.server_core)))
    }

    /// It may be installed and still not start, in a sandbox for one; the rest can be measured all the same.
    fn chronyd(&self) -> Option<Server> {
        let mut installed = self.chronyd.borrow_mut();
        match Server::chronyd(installed.as_deref()?) {
            Ok(server) => Some(server),
            Err(error) => {
                note(&format!("chronyd does not start, so without it: {error}"));
                *installed = None;
                None
            }
        }
    }
}

/// The daemon's options for a receive buffer.
fn wide(buffer: Option<i32>) -> Vec<String> {
    buffer.map_or_else(Vec::new, |bytes| {
        vec!["--receive-buffer".into(), bytes.to_string()]
    })
}

/// The servers of one round, in the order of [`PEERS`].
type Servers = [Option<Server>; PEERS.len()];

/// Runs it all and tells of it. Gives back whether every answer was right and every promise held; a glance is too short to hold
/// promises against.
pub fn run(options: &Options) -> io::Result<bool> {
    let (plan, room, mut load) = (Plan::of(options), Room::new(), Load::new());
    // Where that is forbidden the numbers are worse, not wrong.
    let _ = sys::pin(0, room.load_core);

    if options.only.as_deref() == Some("lonely") {
        let mut lonely = lonely_rows();
        (0..plan.rounds).try_for_each(|_| alone(&mut load, &plan, &room, &mut lonely))?;
        println!("{}", report::lonely(&lonely).text());
        return Ok(true);
    }
    note("searching for the dearest question");
    let searched = Server::daemon(&Program::Built, &wide(None))?.on_core(room.server_core);
    let dearest = dearest::search(&mut load, &searched)?;
    if options.dearest {
        print_dearest(&dearest);
        return Ok(true);
    }
    let mut rows = rows(&dearest, &searched)?;
    let base = options.base.clone().map(Program::Base);
    let mut against = match &base {
        Some(base) => against_rows(&mut load, &room, base, &dearest, &searched)?,
        None => Vec::new(),
    };
    drop(searched);
    let mut beside_base = |load: &mut Load| match &base {
        Some(base) => compare(load, &plan, &room, base, &mut against),
        None => Ok(()),
    };

    if options.only.as_deref() == Some("base") {
        (0..plan.rounds).try_for_each(|_| beside_base(&mut load))?;
        println!("{}", report::against(&against).text());
        return Ok(true);
    }

    if let Some(only) = &options.only {
        rows.retain(|row| row.name().contains(only));
        for round in 0..plan.rounds {
            let (floor, servers) = start_all(&room)?;
            crowds(&mut load, &plan, round, &floor, &servers, &mut rows)?;
        }
        println!("{}", report::only(&rows).text());
        return Ok(true);
    }

    let (mut manners, mut lonely) = (std::array::from_fn(|_| Manners::default()), lonely_rows());
    let (glibcs, mut strftime) = (questions::c_string(&questions::all_of_glibc()), Vec::new());
    for round in 0..plan.rounds {
        note(&format!("round {} of {}", round + 1, plan.rounds));
        let (floor, servers) = start_all(&room)?;
        crowds(&mut load, &plan, round, &floor, &servers, &mut rows)?;
        strftime.push(sys::strftime_cost(questions::now(), &glibcs, STRFTIMES));
        half_load(&mut load, &plan, &servers, &rows, &mut manners)?;
        for (server, manners) in servers.iter().zip(&mut manners) {
            let pid = server.as_ref().map(Server::pid);
            manners
                .resident
                .extend(pid.map(|pid| process::resident(pid) as f64));
        }
        drop((floor, servers));
        bursts(&mut load, &room, &mut manners)?;
        alone(&mut load, &plan, &room, &mut lonely)?;
        beside_base(&mut load)?;
    }
    idle(&plan, &room, &mut manners)?;
    let memory = memory(&mut load, &plan, &room)?;
    let spawned = spawned(&plan, &room)?;
    let results = Results {
        rows,
        strftime,
        against,
        manners,
        lonely,
        memory,
        spawned,
        dearest,
    };

    for table in report::tables(&results, options.markdown) {
        println!(
            "{}",
            if options.markdown {
                table.markdown()
            } else {
                table.text()
            }
        );
    }
    println!("{}", report::footnotes(&plan, &room, &results));
    let svg = options.svg.clone().unwrap_or_else(|| {
        // cargo's directory for temporaries lies beside the one for benchmarks.
        Path::new(env!("CARGO_TARGET_TMPDIR"))
            .with_file_name("bench")
            .join("cost.svg")
    });
    report::draw(&svg, &results)?;
    println!("Plot: {}", svg.display());
    let wrong = results.wrong();
    let broken = report::promises(&results)
        .iter()
        .filter(|promise| promise.is_broken() && !options.quick)
        .count();
    if wrong > 0 || broken > 0 {
        println!("FAILED: {wrong} wrong answers, {broken} promises that did not hold");
    }
    Ok(wrong == 0 && broken == 0)
}

fn note(what: &str) {
    eprintln!("bench: {what}");
}

/// The floor that everybody is measured beside, and everybody.
fn start_all(room: &Room) -> io::Result<(Server, Servers)> {
    let floor = Server::echo(Echo::Floor, Some(WIDE))?.on_core(room.server_core);
    let mut servers: Servers = Default::default();
    for (peer, server) in PEERS.into_iter().zip(&mut servers) {
        // The daemon is measured as a user starts it; what it asks for itself is enough.
        *server = room.start(
            peer,
            (!matches!(peer, Peer::Daemon | Peer::Anywhere | Peer::Installed)).then_some(WIDE),
        )?;
    }
    Ok((floor, servers))
}

fn print_dearest(dearest: &Dearest) {
    let mut prices = Table::new(&["conversion", "on-CPU, ns each"]);
    for &(conversion, cost) in &dearest.prices {
        prices.row(vec![conversion.into(), number(cost, 1)]);
    }
    println!("{}", prices.text());
    for question in [&dearest.good, &dearest.overflowing, &dearest.bad] {
        println!(
            "{}\n{:?}\n",
            question.name,
            String::from_utf8_lossy(&question.tails[0])
        );
    }
}

fn rows(dearest: &Dearest, daemon: &Server) -> io::Result<Vec<Row>> {
    let ours = |question, workload| Row::new(Peer::Daemon, question, workload);
    let alike = |peer: Peer| Row::new(peer, "", peer.workload());
    let longest = Workload::unseen_exact(&dearest.good.tails, echo::ANSWER);
    Ok(vec![
        alike(Peer::Floor),
        alike(Peer::DualFloor),
        alike(Peer::Plain),
        ours(DEFAULT, Workload::formats(&[DEFAULT])),
        ours(BLANK, Workload::formats(&["\n"])),
        ours(SLASHES, Workload::formats(&[SLASHES])),
        ours(NANOSECONDS, Workload::nanoseconds()),
        ours(SIXTY_FOUR, Workload::formats(&questions::sixty_four())),
        ours(DIFFERENT, Workload::formats(&questions::different(FORMATS))),
        alike(Peer::Anywhere),
        alike(Peer::Installed),
        Row {
            beside: Peer::DualFloor,
            question: BESIDE_DUAL,
            ..alike(Peer::Installed)
        },
        alike(Peer::Chronyd),
        alike(Peer::Python),
        Row::new(Peer::Floor, LONGEST, longest),
        ours(GLIBCS, Workload::unseen(&[questions::all_of_glibc()])),
        ours(DEAREST, dearest.good.workload(daemon)?),
        ours(OVERFLOWING, dearest.overflowing.workload(daemon)?),
        ours(BAD, dearest.bad.workload(daemon)?),
    ])
}

/// Every row for a slice, each beside the floor, in short turns: a neighbour that comes or goes meets few pairs.
fn crowds(
    load: &mut Load,
    plan: &Plan,
    round: usize,
    floor: &Server,
    servers: &Servers,
    rows: &mut [Row],
) -> io::Result<()> {
    let mut beside = Peer::Floor.workload();
    let (turn, warm_up) = (plan.slice / TURNS, Until::Elapsed(plan.slice / 10));
    for row in rows {
        let Some(server) = &servers[row.peer as usize] else {
            continue;
        };
        let floor = match (row.beside, &servers[Peer::DualFloor as usize]) {
            (Peer::DualFloor, Some(dual)) => dual,
            _ => floor,
        };
        // What a process does for the first time is no part of what an answer costs.
        measure::crowd(load, server, &mut row.workload, warm_up)?;
        for number in 0..TURNS as usize {
            let turn = Until::Elapsed(turn);
            let mut theirs =
                |load: &mut Load| measure::crowd(load, server, &mut row.workload, turn);
            let mut floors = |load: &mut Load| measure::crowd(load, floor, &mut beside, turn);
            // Who goes first may have the better of it: each does in turn.
            let (floor, sample) = if (round + number).is_multiple_of(2) {
                (floors(load)?, theirs(load)?)
            } else {
                let sample = theirs(load)?;
                (floors(load)?, sample)
            };
            row.floor.push(floor.cost);
            row.samples.push(sample);
        }
    }
    Ok(())
}

/// Everybody at half of what the bare echo answered in this round, or of what they did themselves.
fn half_load(
    load: &mut Load,
    plan: &Plan,
    servers: &Servers,
    rows: &[Row],
    manners: &mut [Manners],
) -> io::Result<()> {
    let rate = |peer| {
        let samples = rows
            .iter()
            .find(|row| row.peer == peer)
            .map(|row| &row.samples);
        samples
            .and_then(|samples| samples.last())
            .map_or(f64::INFINITY, |sample| sample.rate)
    };
    for (peer, server) in PEERS.into_iter().zip(servers) {
        let Some(server) = server else { continue };
        // Everybody who can keep up with the echo is asked at the echo's pace, to be comparable.
        let pace = match peer {
            Peer::Chronyd | Peer::Python => rate(peer).min(rate(Peer::Plain)) / 2.0,
            _ => rate(Peer::Plain) / 2.0,
        };
        // A slice in which nobody got a word in is no reason to ask nothing at all.
        let pace = pace.max(1.0);
        let paced = load.paced(server.address, &mut peer.workload(), pace, plan.paced)?;
        let manners = &mut manners[peer as usize];
        manners.p50.push(quantile(&paced.trips, 0.5) / 1e3);
        manners.p99.push(quantile(&paced.trips, 0.99) / 1e3);
        manners.p999.push(quantile(&paced.trips, 0.999) / 1e3);
        manners.missing += paced.missing;
        manners.wrong += paced.wrong;
    }
    Ok(())
}

fn bursts(load: &mut Load, room: &Room, manners: &mut [Manners]) -> io::Result<()> {
    for peer in PEERS {
        for buffer in [WIDE, NARROW] {
            // chronyd and the original can't be told what buffer to ask for, and ask for none; the socket unit
            // says it for the daemon as installed.
            match (peer, buffer) {
                (Peer::Chronyd | Peer::Python, WIDE) | (Peer::Installed, NARROW) => continue,
                _ => {}
            }
            let Some(server) = room.start(peer, Some(buffer))? else {
                continue;
            };
            let mut workload = peer.workload();
            server.wait_for_answer(&workload.first())?;
            let burst = load.burst(server.address, &mut workload)?;
            let manners = &mut manners[peer as usize];
            manners.wrong += burst.wrong;
            if buffer == WIDE {
                &mut manners.wide
            } else {
                &mut manners.narrow
            }
            .push(burst);
        }
    }
    Ok(())
}

/// Who is asked one question at a time, under which name. The first is what the others are compared with.
const ALONE: [(Alone, &str); 8] = [
    (Alone::Echo(Echo::Plain), "echo, recvfrom + sendto"),
    (
        Alone::Echo(Echo::PollPlain),
        "echo, poll + recvfrom + sendto",
    ),
    (Alone::Echo(Echo::Floor), "echo, recvmmsg + sendmmsg"),
    (
        Alone::Echo(Echo::PollFloor),
        "echo, poll + recvmmsg + sendmmsg",
    ),
    (Alone::Echo(Echo::DualFloor), "the same on [::], no poll"),
    (Alone::Echo(Echo::PollDualFloor), "the same on [::]"),
    (Alone::Daemon, "wallclockd"),
    (Alone::Installed, "wallclockd as installed"),
];

#[derive(Clone, Copy)]
enum Alone {
    Echo(Echo),
    Daemon,
    Installed,
}

impl Alone {
    fn peer(self) -> Peer {
        match self {
            Alone::Echo(Echo::Plain | Echo::PollPlain) => Peer::Plain,
            Alone::Echo(Echo::Floor | Echo::PollFloor) => Peer::Floor,
            Alone::Echo(Echo::DualFloor | Echo::PollDualFloor) => Peer::DualFloor,
            Alone::Daemon => Peer::Daemon,
            Alone::Installed => Peer::Installed,
        }
    }

    fn start(self) -> io::Result<Server> {
        match self {
            Alone::Echo(echo) => Server::echo(echo, Some(WIDE)),
            Alone::Daemon => Server::daemon(&Program::Built, &wide(None)),
            Alone::Installed => Server::installed(&Program::Built),
        }
    }
}

fn lonely_rows() -> Vec<Row> {
    ALONE
        .map(|(who, name)| Row::new(who.peer(), name, who.peer().workload()))
        .into()
}

/// One question at a time, asker and server on one core. All take short turns.
fn alone(load: &mut Load, plan: &Plan, room: &Room, rows: &mut [Row]) -> io::Result<()> {
    let start = |(who, _): (Alone, _)| Ok(who.start()?.on_core(room.load_core));
    let servers = ALONE
        .into_iter()
        .map(start)
        .collect::<io::Result<Vec<_>>>()?;
    let mut measured: [Lonely; ALONE.len()] = Default::default();
    for _ in 0..lonely_turns(plan) {
        for ((server, row), lonely) in servers.iter().zip(&mut *rows).zip(&mut measured) {
            lonely.turn(load, server, &mut row.workload)?;
        }
    }
    let first = measured[0].sample().cost;
    for (lonely, row) in measured.into_iter().zip(rows) {
        row.floor.push(first);
        row.samples.push(lonely.sample());
        row.p99.push(lonely.p99());
    }
    Ok(())
}

fn lonely_turns(plan: &Plan) -> u128 {
    plan.slice.as_nanos().div_ceil(Lonely::TURN.as_nanos())
}

/// What two builds of the daemon are compared in.
fn against_rows(
    load: &mut Load,
    room: &Room,
    base: &Program,
    ours: &Dearest,
    daemon: &Server,
) -> io::Result<Vec<Row>> {
    note("searching for the dearest question of the base");
    let searched = Server::daemon(base, &wide(None))?.on_core(room.server_core);
    let theirs = dearest::search(load, &searched)?;
    let plain = Peer::Daemon.workload();
    let installed = || Row::new(Peer::Installed, "", Peer::Installed.workload());
    let alone = Row {
        question: ALONE_AS_INSTALLED,
        ..installed()
    };
    Ok(vec![
        Row::new(Peer::Daemon, DEFAULT, plain),
        installed(),
        alone,
        Row::new(Peer::Daemon, DEAREST, ours.good.workload(daemon)?),
        Row::new(
            Peer::Daemon,
            BASES_DEAREST,
            theirs.good.workload(&searched)?,
        ),
    ])
}

/// This build and the base in short turns; what the floor is to other rows is the base to these.
fn compare(
    load: &mut Load,
    plan: &Plan,
    room: &Room,
    base: &Program,
    rows: &mut [Row],
) -> io::Result<()> {
    for row in rows {
        let alone = row.question == ALONE_AS_INSTALLED;
        let core = if alone {
            room.load_core
        } else {
            room.server_core
        };
        let start = |program| match row.peer {
            Peer::Installed => Server::installed(program),
            _ => Server::daemon(program, &wide(None)),
        };
        let (ours, bases) = (
            start(&Program::Built)?.on_core(core),
            start(base)?.on_core(core),
        );
        if alone {
            let mut measured = [Lonely::default(), Lonely::default()];
            for _ in 0..lonely_turns(plan) {
                for (lonely, server) in measured.iter_mut().zip([&bases, &ours]) {
                    lonely.turn(load, server, &mut row.workload)?;
                }
            }
            row.floor.push(measured[0].sample().cost);
            row.samples.push(measured[1].sample());
            continue;
        }
        let turn = Until::Elapsed(plan.slice / TURNS);
        let mut sample = |server| measure::crowd(load, server, &mut row.workload, turn);
        for server in [&ours, &bases] {
            sample(server)?;
        }
        for _ in 0..TURNS {
            row.floor.push(sample(&bases)?.cost);
            row.samples.push(sample(&ours)?);
        }
    }
    Ok(())
}

/// Everybody at once, with nobody asking.
fn idle(plan: &Plan, room: &Room, manners: &mut [Manners]) -> io::Result<()> {
    note("idle");
    let mut servers = Vec::new();
    for peer in PEERS {
        let Some(server) = room.start(peer, None)? else {
            continue;
        };
        server.wait_for_answer(&peer.workload().first())?;
        process::settle(server.pid());
        servers.push((peer, server));
    }
    let count = |server: &Server| process::switches(server.pid());
    let before: Vec<u64> = servers.iter().map(|(_, server)| count(server)).collect();
    std::thread::sleep(plan.idle);
    for ((peer, server), before) in servers.iter().zip(before) {
        manners[*peer as usize].switches = Some(count(server) - before);
    }
    Ok(())
}

fn memory(load: &mut Load, plan: &Plan, room: &Room) -> io::Result<Memory> {
    note("memory");
    let daemon = Server::daemon(&Program::Built, &wide(None))?.on_core(room.server_core);
    let mut workload = Workload::formats(&questions::different(FORMATS));
    let mut asked = |count| -> io::Result<(u64, Sample)> {
        let sample = measure::crowd(load, &daemon, &mut workload, Until::Answered(count))?;
        Ok((process::resident(daemon.pid()), sample))
    };
    let at_start = process::resident(daemon.pid());
    let (few, first) = asked(plan.few)?;
    let (many, second) = asked(plan.many - plan.few)?;
    let sample = Sample {
        wrong: first.wrong + second.wrong,
        ..second
    };
    Ok(Memory {
        at_start,
        few: (plan.few, few),
        many: (plan.many, many),
        sample,
    })
}

fn spawned(plan: &Plan, room: &Room) -> io::Result<Spawned> {
    note("starts");
    let timed = |what: &dyn Fn() -> io::Result<()>| {
        let start = Instant::now();
        what().map(|()| start.elapsed().as_secs_f64() * 1e3)
    };
    // 19 characters and a new line.
    let checked = |output: Output| match output.stdout.len() {
        20 => Ok(()),
        _ => Err(io::Error::other(format!("the client said {output:?}"))),
    };
    let serving = Server::daemon(&Program::Built, &wide(None))?.on_core(room.server_core);
    let mut spawned = Spawned::default();
    for _ in 0..plan.starts {
        let start =
            || Server::daemon(&Program::Built, &wide(None))?.wait_for_answer(DEFAULT.as_bytes());
        spawned.daemon.push(timed(&start)?);
        spawned.client.push(timed(&|| {
            checked(peers::ask_with_client(serving.address)?)
        })?);
        let Some(python) = &room.python else { continue };
        let start = || Server::python(python)?.wait_for_answer(DEFAULT.as_bytes());
        spawned.python_server.push(timed(&start)?);
        let ask = || checked(peers::ask_with_python(python, serving.address)?);
        spawned.python_client.push(timed(&ask)?);
    }
    Ok(spawned)
}

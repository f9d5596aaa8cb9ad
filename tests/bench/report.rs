//! What is told of a run: the tables, what was promised, the plot.

use std::fs;
use std::io;
use std::path::Path;

use crate::load::{BURST, Burst, IN_FLIGHT, SOCKETS};
use crate::measure::median;
use crate::plot::{self, Bar};
use crate::questions;
use crate::results::*;
use crate::rounds::{Plan, Room};
use crate::table::{Table, number};

/// Every table of the run, in the order of their weight; `compact` leaves off the columns that only
/// show that the run was sound.
pub fn tables(results: &Results, compact: bool) -> Vec<Table> {
    let cost = cost(results);
    let mut tables = vec![
        if compact { cost.without(&SOUND) } else { cost },
        longest(results),
        lonely(&results.lonely),
        spawned(&results.spawned),
        memory(&results.memory),
        promised(&promises(results)),
    ];
    if !results.against.is_empty() {
        tables.insert(2, against(&results.against));
    }
    tables
}

const SOUND: [&str; 3] = ["floor beside it, ns", "server busy, %", "load idle, %"];

fn cost(results: &Results) -> Table {
    let mut table = Table::new(&[
        "server, question",
        "on-CPU, ns/answer",
        SOUND[0],
        "x floor",
        "answers/s",
        SOUND[1],
        SOUND[2],
        "p50, us",
        "p99, us",
        "p99.9, us",
        "burst, 16 MiB, of 10,000",
        "416 KiB, of 10,000",
        "resident, KiB",
        "idle switches",
    ]);
    let mut seen = Vec::new();
    for row in &results.rows {
        // What belongs to a server and not to a question is told once.
        let manners = (!seen.contains(&row.peer)).then(|| results.of(row.peer));
        seen.push(row.peer);
        let middle = |of: fn(&Manners) -> &Vec<f64>| {
            manners.map_or(f64::NAN, |manners| median(of(manners).iter().copied()))
        };
        let burst = |of: fn(&Manners) -> &Vec<Burst>| {
            let answered = manners.map(|manners| of(manners).iter().map(|burst| burst.answered));
            answered.map_or(f64::NAN, |answered| {
                median(answered.map(|count| count as f64))
            })
        };
        table.row(vec![
            row.name(),
            number(row.cost(), 0),
            number(row.floor(), 0),
            number(row.ratio(), 3),
            number(row.middle(|sample| sample.rate), 0),
            number(row.middle(|sample| sample.busy) * 100.0, 0),
            number(row.middle(|sample| sample.spare) * 100.0, 0),
            number(middle(|manners| &manners.p50), 1),
            number(middle(|manners| &manners.p99), 1),
            number(middle(|manners| &manners.p999), 1),
            number(burst(|manners| &manners.wide), 0),
            number(burst(|manners| &manners.narrow), 0),
            number(middle(|manners| &manners.resident), 0),
            number(
                manners
                    .and_then(|manners| manners.switches)
                    .map_or(f64::NAN, |n| n as f64),
                0,
            ),
        ]);
    }
    table
}

/// A few of the rows, and nothing of their servers but the cost.
pub fn only(rows: &[Row]) -> Table {
    let header = [
        "server, question",
        "on-CPU, ns/answer",
        "x floor",
        "answers/s",
        "server busy, %",
    ];
    let mut table = Table::new(&header);
    for row in rows {
        table.row(vec![
            row.name(),
            number(row.cost(), 0),
            number(row.ratio(), 3),
            number(row.middle(|sample| sample.rate), 0),
            number(row.middle(|sample| sample.busy) * 100.0, 0),
        ]);
    }
    table
}

fn longest(results: &Results) -> Table {
    let mut table = Table::new(&[
        "question",
        "x floor",
        "x the floor asked the same",
        "answers per second of a core",
        "x what a gigabit link brings",
    ]);
    let floor = results.row(Peer::Floor, LONGEST);
    for question in [DEAREST, OVERFLOWING, BAD] {
        let row = results.row(Peer::Daemon, question);
        table.row(vec![
            row.name(),
            number(row.ratio(), 3),
            number(row.ratio_to(floor), 3),
            number(1e9 / row.cost(), 0),
            number(1e9 / row.cost() / WIRE, 3),
        ]);
    }
    table
}

/// How many of the longest questions a gigabit link brings in a second: each takes 1024 bytes, 8 of UDP, 20 of IPv4 and 38
/// of Ethernet (14 of header, 4 of checksum, 8 of preamble, 12 of gap), 1090 in all, so 114,679. (116,800 if preamble and
/// gap are left out, which no link does.)
const WIRE: f64 = 1e9 / 8.0 / (questions::LONGEST + 8 + 20 + 14 + 4 + 8 + 12) as f64;

/// This build of the daemon beside another one.
pub fn against(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "this build beside the base",
        "the base's, ns/answer",
        "on-CPU, ns/answer",
        "x the base",
    ]);
    for row in rows {
        table.row(vec![
            row.name(),
            number(row.floor(), 0),
            number(row.cost(), 0),
            number(row.ratio(), 3),
        ]);
    }
    table
}

/// What rendering every conversion of glibc costs the daemon, in units of the C library's strftime. What the kernel takes
/// for a question of that size is the floor's with one of 1024 bytes, and is taken off.
fn rendering(results: &Results) -> f64 {
    let (ours, kernel) = (
        results.row(Peer::Daemon, GLIBCS),
        results.row(Peer::Floor, LONGEST),
    );
    (ours.cost() - kernel.cost()) / median(results.strftime.iter().copied())
}

/// One question at a time.
pub fn lonely(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "one lonely question, one core",
        "on-CPU, ns/answer",
        "x the first",
        "p99 of it, ns",
        "x the first's",
    ]);
    for row in rows {
        table.row(vec![
            row.question.into(),
            number(row.cost(), 0),
            number(row.ratio(), 3),
            number(median(row.p99.iter().copied()), 0),
            number(row.p99_to(&rows[0]), 3),
        ]);
    }
    table
}

fn spawned(spawned: &Spawned) -> Table {
    let mut table = Table::new(&["whole process", "median wall clock, ms"]);
    for (name, times) in [
        ("wallclockd, start to first answer", &spawned.daemon),
        (
            "the Python original, start to first answer",
            &spawned.python_server,
        ),
        ("wallclock", &spawned.client),
        ("the Python client", &spawned.python_client),
    ] {
        table.row(vec![name.into(), number(median(times.iter().copied()), 2)]);
    }
    table
}

fn memory(memory: &Memory) -> Table {
    let mut table = Table::new(&["wallclockd, 10,000 different formats", "resident, KiB"]);
    table.row(vec!["at start".into(), memory.at_start.to_string()]);
    for (questions, resident) in [memory.few, memory.many] {
        let name = format!("after {} million questions", questions as f64 / 1e6);
        table.row(vec![name, resident.to_string()]);
    }
    table
}

/// Something that was to be at most so much in this run.
pub struct Promise {
    name: String,
    most: f64,
    measured: f64,
}

impl Promise {
    /// Where nothing was measured, nothing was broken.
    pub fn is_broken(&self) -> bool {
        self.measured > self.most
    }
}

fn promised(promises: &[Promise]) -> Table {
    let mut table = Table::new(&["promise", "at most", "measured", "holds"]);
    for promise in promises {
        let holds = match promise {
            _ if promise.is_broken() => "NO",
            _ if promise.measured <= promise.most => "yes",
            _ => "not measured",
        };
        let digits = if promise.most >= 100.0 { 0 } else { 3 };
        table.row(vec![
            promise.name.clone(),
            number(promise.most, digits),
            number(promise.measured, digits),
            holds.into(),
        ]);
    }
    table
}

/// What was promised, and what it came to in this run.
pub fn promises(results: &Results) -> Vec<Promise> {
    let mut promises = Vec::new();
    let mut promise = |name: &str, most: f64, measured: f64| {
        promises.push(Promise {
            name: name.into(),
            most,
            measured,
        });
    };
    let ours = |question| results.row(Peer::Daemon, question);
    let default = ours(DEFAULT);
    promise("default format, x floor", 1.05, default.ratio());
    promise("%Y/%m/%d %H:%M:%S, x floor", 1.05, ours(SLASHES).ratio());
    let chronyd = default.ratio_to(results.row(Peer::Chronyd, ""));
    promise("default format, x chronyd", 0.9, chronyd);
    let python = default.ratio_to(results.row(Peer::Python, ""));
    promise("default format, x the Python original", 0.7, python);
    promise("%s.%N, x floor", 1.12, ours(NANOSECONDS).ratio());
    promise(
        "64 formats in turn, x floor",
        1.06,
        ours(SIXTY_FOUR).ratio(),
    );
    let installed = results.row(Peer::Installed, BESIDE_DUAL);
    promise("as installed, x the floor on [::]", 1.03, installed.ratio());
    // What the dearest questions cost has no promise: most of it is rendering, which gets no cheaper where system calls do,
    // so neither the floor nor the wire bounds it on every machine. What can be promised is the rendering itself, beside
    // another one on the same core.
    promise(
        "rendering, x the C library's strftime",
        0.5,
        rendering(results),
    );

    let (daemon, bare) = (results.of(Peer::Daemon), results.of(Peer::Plain));
    let unanswered = |bursts: &[Burst]| {
        bursts
            .iter()
            .map(|burst| BURST as f64 - burst.answered as f64)
            .collect()
    };
    let wide: Vec<f64> = unanswered(&daemon.wide);
    let worst = wide.iter().copied().fold(f64::NAN, f64::max);
    promise("burst on 16 MiB, unanswered in the worst round", 0.0, worst);
    let (narrow, theirs): (Vec<f64>, Vec<f64>) =
        (unanswered(&daemon.narrow), unanswered(&bare.narrow));
    // A burst takes milliseconds, and whoever is preempted in it loses a tenth more or less.
    promise(
        "burst on 416 KiB, unanswered, x the bare echo's",
        1.1,
        median(narrow) / median(theirs),
    );
    let lonely = |peer| results.lonely.iter().rfind(|row| row.peer == peer);
    let (alone, first) = (lonely(Peer::Installed), results.lonely.first());
    promise(
        "one lonely question, as installed, x recvfrom + sendto",
        1.35,
        alone.map_or(f64::NAN, Row::ratio),
    );
    // A round trip has the scheduler in it: whoever else wants the cores decides on its p99. The p99 that is promised is of
    // the on-CPU time of single answers, which stands still while a process is preempted, and only in turns in which nobody
    // else had the core.
    promise(
        "one lonely question, as installed, p99 of on-CPU, x the echo's",
        1.5,
        alone
            .zip(first)
            .map_or(f64::NAN, |(ours, first)| ours.p99_to(first)),
    );
    let Memory { few, many, .. } = results.memory;
    promise(
        "resident after the first questions, KiB",
        3072.0,
        few.1 as f64,
    );
    promise(
        "resident after the last: the same, KiB",
        few.1 as f64,
        many.1 as f64,
    );
    promise(
        "idle switches",
        0.0,
        daemon.switches.map_or(f64::NAN, |switches| switches as f64),
    );
    let middle = |times: &[f64]| median(times.iter().copied());
    let Spawned {
        daemon,
        client,
        python_client,
        ..
    } = &results.spawned;
    promise("start to first answer, ms", 10.0, middle(daemon));
    promise("wallclock, whole process, ms", 3.0, middle(client));
    promise(
        "wallclock, x the Python client",
        0.1,
        middle(client) / middle(python_client),
    );
    promises
}

/// What one has to know to read the tables.
pub fn footnotes(plan: &Plan, room: &Room, results: &Results) -> String {
    let sending = PEERS.iter().flat_map(|&peer| {
        let manners = results.of(peer);
        manners
            .wide
            .iter()
            .chain(&manners.narrow)
            .map(|burst| burst.sending.as_secs_f64() * 1e3)
    });
    let missing: Vec<String> = PEERS
        .iter()
        .filter(|&&peer| results.missing(peer) > 0)
        .map(|&peer| format!("{} {}", peer.name(), results.missing(peer)))
        .collect();
    format!(
        "Medians of {} rounds of {} ms, fresh processes each. Closed loop of {SOCKETS} sockets x {IN_FLIGHT} in flight.\n\
         The load has core {}, the server core {}; the load is idle while it waits for answers.\n\
         Round trips at random instants, at half of what the recvfrom + sendto echo answered in that round\n\
         (half of their own rate for those that answer less). A burst is 10,000 questions sent in {:.0} ms.\n\
         416 KiB is what an unprivileged start gets where net.core.rmem_max is 212,992; chronyd and the\n\
         Python original ask for no buffer and have 208 KiB. Idle for {} s.\n\
         The dearest: {}. The bad: {}.\n\
         Wrong answers: {}. Missing answers, bursts apart: {}.\n",
        plan.rounds,
        plan.slice.as_millis(),
        room.load_core,
        room.server_core,
        median(sending),
        plan.idle.as_secs(),
        results.dearest.good.name,
        results.dearest.bad.name,
        results.wrong(),
        if missing.is_empty() {
            "0".into()
        } else {
            missing.join(", ")
        },
    )
}

/// Draws what an answer costs, in units of the floor beside it: nanoseconds differ from minute to
/// minute with the neighbours, the ratio does not.
pub fn draw(path: &Path, results: &Results) -> io::Result<()> {
    let measured = results.rows.iter().filter(|row| !row.samples.is_empty());
    let bars: Vec<Bar> = measured
        .map(|row| Bar {
            name: row.name(),
            ratio: row.ratio(),
            ours: matches!(row.peer, Peer::Daemon | Peer::Anywhere),
        })
        .collect();
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let floor = median(
        results
            .rows
            .iter()
            .flat_map(|row| row.floor.iter().copied()),
    );
    let title = format!(
        "On-CPU time of the server per answer, x the floor ({} ns)",
        number(floor, 0)
    );
    fs::write(path, plot::svg(&title, &bars))
}

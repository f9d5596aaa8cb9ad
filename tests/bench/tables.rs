//! The tables of a run, and the notes below them.

use wallclock::protocol::MAX_REQUEST_LEN;

use crate::load::{BURST, Burst, IN_FLIGHT, SOCKETS};
use crate::measure::median;
use crate::processes::{Memory, Offsets, StartTimes};
use crate::promise;
use crate::promises;
use crate::results::{
    LONGEST, Results, Row, SERVERS, ServerKind, ServerResults, TOO_LONG, UNKNOWN, WORST_CASE,
};
use crate::setup::{Host, Plan};
use crate::table::{Table, number};
use crate::worst_case::WorstCases;

/// Returns all tables. The Markdown ones, for tests/bench/README.md, are without the columns that
/// only show that a run was sound.
pub fn all(results: &Results, markdown: bool) -> Vec<Table> {
    let mut cost = cost(results);
    if markdown {
        cost = cost.without(&SOUNDNESS);
    }
    let mut tables = vec![
        cost,
        worst_cases(results),
        single(&results.single),
        start_times(&results.starts),
        offsets(&results.offsets),
        memory(&results.memory),
        promise::table("Promises", &promises::all(results)),
    ];
    if !results.base.is_empty() {
        tables.push(base(&results.base));
    }
    tables
}

const SOUNDNESS: [&str; 3] = ["floor beside it, ns", "server busy, %", "load idle, %"];

fn cost(results: &Results) -> Table {
    let header = [
        "server, request",
        "on-CPU, ns/response",
        SOUNDNESS[0],
        "x floor",
        "responses/s",
        SOUNDNESS[1],
        SOUNDNESS[2],
        "p99, us",
        "burst, 16 MiB, of 10,000",
        "416 KiB, of 10,000",
        "resident, KiB",
    ];
    let mut table = Table::new("Cost of a response", &header);
    let mut seen = Vec::new();
    for row in &results.rows {
        // What belongs to a server stands in the first of its rows.
        let server = (!seen.contains(&row.server)).then(|| results.of(row.server));
        seen.push(row.server);
        let of_server = |values: fn(&ServerResults) -> &Vec<f64>| {
            server.map_or(f64::NAN, |server| median(values(server).iter().copied()))
        };
        let answered = |bursts: fn(&ServerResults) -> &Vec<Burst>| {
            let bursts = server.map(bursts).into_iter().flatten();
            median(bursts.map(|burst| burst.answered as f64))
        };
        table.row(vec![
            row.name(),
            number(row.cost(), 0),
            number(row.reference(), 0),
            number(row.ratio(), 3),
            number(row.median(|sample| sample.rate), 0),
            number(row.median(|sample| sample.server_busy) * 100.0, 0),
            number(row.median(|sample| sample.load_idle) * 100.0, 0),
            number(of_server(|server| &server.p99), 1),
            number(answered(|server| &server.root_bursts), 0),
            number(answered(|server| &server.user_bursts), 0),
            number(of_server(|server| &server.resident), 0),
        ]);
    }
    table
}

/// Returns the table of `--only`: a few rows of the first table, and only the cost.
pub fn only(rows: &[Row]) -> Table {
    let header = [
        "server, request",
        "on-CPU, ns/response",
        "x floor",
        "responses/s",
        "server busy, %",
    ];
    let mut table = Table::new("Cost of a response", &header);
    for row in rows {
        table.row(vec![
            row.name(),
            number(row.cost(), 0),
            number(row.ratio(), 3),
            number(row.median(|sample| sample.rate), 0),
            number(row.median(|sample| sample.server_busy) * 100.0, 0),
        ]);
    }
    table
}

/// How many of the longest requests a gigabit link carries in a second: 114,679. Each takes 1090
/// bytes: 1024 of payload, 8 of UDP, 20 of IPv4 and 38 of Ethernet (header 14, checksum 4, preamble
/// 8, inter-frame gap 12).
const GIGABIT_LINK: f64 = 1e9 / 8.0 / (MAX_REQUEST_LEN + 8 + 20 + 14 + 4 + 8 + 12) as f64;

fn worst_cases(results: &Results) -> Table {
    let header = [
        "server, request",
        "x floor",
        "x floor with this request",
        "responses/s of one core",
        "x gigabit link",
        "found",
    ];
    let mut table = Table::new("The worst case", &header);
    let floor = results.row(ServerKind::Floor, LONGEST);
    let found = &results.worst_cases;
    for (name, request) in [
        (WORST_CASE, &found.answered),
        (TOO_LONG, &found.too_long),
        (UNKNOWN, &found.unknown),
    ] {
        let row = results.row(ServerKind::Daemon, name);
        table.row(vec![
            row.name(),
            number(row.ratio(), 3),
            number(row.ratio_to(floor), 3),
            number(1e9 / row.cost(), 0),
            number(1e9 / row.cost() / GIGABIT_LINK, 3),
            format!("`{}`", request.name),
        ]);
    }
    table
}

/// Returns the table of `--worst-case`.
pub fn directives(found: &WorstCases) -> Table {
    let mut table = Table::new("Directives", &["directive", "on-CPU, ns each"]);
    for &(directive, cost) in &found.directive_costs {
        table.row(vec![directive.into(), number(cost, 1)]);
    }
    table
}

/// Returns the table of one request at a time.
pub fn single(rows: &[Row]) -> Table {
    let header = [
        "server",
        "on-CPU, ns/response",
        "x the first",
        "p99 of on-CPU, ns",
        "p99, x the first",
    ];
    let mut table = Table::new(
        "One request at a time, client and server on one core",
        &header,
    );
    for row in rows {
        table.row(vec![
            row.request.into(),
            number(row.cost(), 0),
            number(row.ratio(), 3),
            number(median(row.p99.iter().copied()), 0),
            number(row.p99_to(&rows[0]), 3),
        ]);
    }
    table
}

fn start_times(times: &StartTimes) -> Table {
    let mut table = Table::new("Start-up", &["whole process", "median wall clock, ms"]);
    for (name, times) in [
        ("wallclockd, start to first response", &times.daemon),
        (
            "the Python server, start to first response",
            &times.python_server,
        ),
        ("wallclock", &times.client),
        ("the Python client", &times.python_client),
    ] {
        table.row(vec![name.into(), number(median(times.iter().copied()), 2)]);
    }
    table
}

/// The table of `--offset`, for a server with the same clock.
pub fn offsets(offsets: &Offsets) -> Table {
    let header = ["wallclock --json, loopback", "median"];
    let mut table = Table::new("Offset", &header);
    for (name, values) in [
        ("error of the offset, us", &offsets.error),
        ("bound, us", &offsets.bound),
        ("whole process, ms", &offsets.process),
    ] {
        table.row(vec![name.into(), number(median(values.iter().copied()), 2)]);
    }
    table
}

fn memory(memory: &Memory) -> Table {
    let header = ["wallclockd, 10,000 formats in turn", "resident, KiB"];
    let mut table = Table::new("Memory", &header);
    table.row(vec!["at start".into(), memory.at_start.to_string()]);
    for (requests, resident) in memory.after {
        let name = format!("after {} million requests", requests as f64 / 1e6);
        table.row(vec![name, resident.to_string()]);
    }
    table
}

/// Returns the table of `--base`.
pub fn base(rows: &[Row]) -> Table {
    let header = [
        "server, request",
        "base, ns/response",
        "this build, ns/response",
        "x the base",
    ];
    let mut table = Table::new("This build beside the base", &header);
    for row in rows {
        table.row(vec![
            row.name(),
            number(row.reference(), 0),
            number(row.cost(), 0),
            number(row.ratio(), 3),
        ]);
    }
    table
}

/// Returns the conditions of this run.
pub fn notes(plan: &Plan, host: &Host, results: &Results) -> String {
    let bursts = results
        .servers
        .iter()
        .flat_map(|server| server.root_bursts.iter().chain(&server.user_bursts));
    let sending = median(bursts.map(|burst| burst.sending.as_secs_f64() * 1e3));
    let lost: Vec<String> = SERVERS
        .iter()
        .filter(|&&server| results.lost(server) > 0)
        .map(|&server| format!("{} {}", server.name(), results.lost(server)))
        .collect();
    let lost = if lost.is_empty() {
        "0".into()
    } else {
        lost.join("; ")
    };
    format!(
        "Medians of {} rounds of {} ms. Closed loop: {SOCKETS} sockets with {IN_FLIGHT} requests \
         in flight each.\n\
         Load on core {}, servers on core {}. \
         A burst of {BURST} requests was sent in {sending:.0} ms.\n\
         Requests without a response, bursts apart: {lost}.\n\
         Wrong responses: {}.\n",
        plan.rounds,
        plan.slice.as_millis(),
        host.load_core,
        host.server_core,
        results.wrong(),
    )
}

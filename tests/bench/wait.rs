//! What a wait costs: `cargo bench --bench wait -- 600` starts clients that wait so many seconds,
//! and prints their on-CPU time until the end of COMMAND, which does next to nothing. The exit
//! status is 1 if one takes more than is promised for ten minutes.

mod promise;
#[allow(dead_code, reason = "the benchmark of the cost uses the rest")]
mod table;
mod until;

use std::env;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use support::{
    Process, context_switches, cpu_time, has_program, major_faults, python_server, start_daemon,
};

use promise::Promise;
use table::{Table, number};
use until::{START, START_OPTIONS, compile, now, sleep_until, spawn, start_client};

/// Clients of each server.
const CLIENTS: usize = 3;

/// The time from the start of one client to that of the next, and from the end of its wait to that
/// of the next.
const PAUSE: Duration = Duration::from_secs(5);

/// The time of a wait that is not counted.
const WARM_UP: Duration = Duration::from_secs(4);

/// The source of the program that has only the system calls.
const FLOOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/wait.c");

/// A kind of client: its name, and its server; none for the program with only the system calls.
type Row = (&'static str, Option<SocketAddr>);

/// The promised on-CPU time of a wait of ten minutes, in milliseconds.
const MAX_CPU: f64 = 10.0;

fn main() -> ExitCode {
    // Cargo passes --bench. A plain `cargo bench` must not take ten minutes more, and the options
    // of the other benchmarks are not for this one.
    let seconds = env::args().skip(1).find(|word| !word.starts_with('-'));
    let Some(seconds) = seconds.and_then(|seconds| seconds.parse().ok()) else {
        println!("wait: needs a number of seconds: cargo bench --bench wait -- 600");
        return ExitCode::SUCCESS;
    };
    match measure(Duration::from_secs(seconds)) {
        Ok(promises) => {
            println!("{}", promise::table("Promises of a wait", &promises).text());
            match promises.iter().any(Promise::is_broken) {
                true => ExitCode::FAILURE,
                false => ExitCode::SUCCESS,
            }
        }
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures clients that wait so long, and prints what they cost. Returns the promises.
fn measure(wait: Duration) -> io::Result<Vec<Promise>> {
    let command = compile(START, &START_OPTIONS)?;
    let floor = compile(FLOOR, &[])?;
    let (_daemon, server) = start_daemon();
    let mut python = has_program("python3").then(|| Process::start(&mut python_server()));
    if python.is_none() {
        eprintln!("bench: no python3, its server is left out");
    }
    let python = python
        .as_mut()
        .map(|server| (Ipv4Addr::LOCALHOST, server.wait_for_address().port()));
    let start = |row: &Row, moment: Duration| match row.1 {
        Some(server) => start_client(server, moment, &["--".as_ref(), &command]),
        None => spawn(
            Command::new(&floor)
                .arg(server.port().to_string())
                .arg(moment.as_secs().to_string())
                .arg(&command),
        ),
    };
    let mut rows: Vec<Row> = vec![
        ("the system calls, nanoseconds", None),
        ("wallclock, nanoseconds", Some(server)),
    ];
    let python = python.map(|address| ("wallclock, whole seconds", Some(address.into())));
    rows.extend(python);

    // The first process reads its program from the disk, which is not a part of its wait.
    for row in &rows {
        let moment = Duration::from_secs((now() + WARM_UP).as_secs());
        start(row, moment)?.wait_with_output()?;
    }
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        for row in &rows {
            let begin = now();
            let moment = Duration::from_secs((begin + wait).as_secs());
            clients.push((row, moment, start(row, moment)?));
            sleep_until(begin + PAUSE);
        }
    }
    let mut costs = Vec::new();
    for (row, moment, client) in clients {
        // COMMAND sleeps for half a second, and then it is a zombie, which has the same figures.
        sleep_until(moment + Duration::from_secs(1));
        costs.push((row, cost(client)?));
    }
    let header = [
        "client",
        "on-CPU, ms",
        "context switches",
        "reads from disk",
    ];
    let mut table = Table::new("The cost of a wait", &header);
    let mut promises = Vec::new();
    for row in &rows {
        let mut most = f64::NAN;
        for (_, cost) in costs.iter().filter(|(of, _)| *of == row) {
            let counts = [cost.switches, cost.major_faults].map(|count| count.to_string());
            table.row([vec![row.0.to_owned(), number(cost.cpu, 2)], counts.into()].concat());
            most = most.max(cost.cpu);
        }
        if row.1.is_some() {
            promises.push(Promise::new((row.0, MAX_CPU, most)));
        }
    }
    println!("{}", table.text());
    Ok(promises)
}

/// What a client has cost so far.
struct Cost {
    /// Its on-CPU time in milliseconds.
    cpu: f64,
    /// Its context switches.
    switches: u64,
    /// Its page faults that waited for a disk: this machine may drop what is not used.
    major_faults: u64,
}

/// Returns the cost of a client, and waits for its end.
fn cost(client: Child) -> io::Result<Cost> {
    let id = client.id();
    let cost = Cost {
        cpu: cpu_time(id).as_secs_f64() * 1e3,
        switches: context_switches(id),
        major_faults: major_faults(id),
    };
    let output = client.wait_with_output()?;
    match output.status.success() && output.stdout.len() == 16 {
        true => Ok(cost),
        false => {
            let log = String::from_utf8_lossy(&output.stderr);
            Err(io::Error::other(format!("a client fails: {log}")))
        }
    }
}

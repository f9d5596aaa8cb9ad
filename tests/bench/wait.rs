//! What a wait costs: `cargo bench --bench wait -- 600` starts clients that wait so many seconds,
//! and prints their on-CPU time from the start to the start of COMMAND. The exit status is 1 if a
//! client of ten minutes takes more than is promised.

mod promise;
#[allow(dead_code, reason = "the benchmark of the cost uses the rest")]
mod table;
#[allow(dead_code, reason = "the benchmark of the spread uses the rest")]
mod until;

use std::env;
use std::io;
use std::net::Ipv4Addr;
use std::process::{Child, ExitCode};
use std::time::Duration;

use support::{Process, context_switches, cpu_time, has_program, python_server, start_daemon};

use promise::Promise;
use table::{Table, number};
use until::{START, START_OPTIONS, compile, now, sleep_until, start_client};

/// Clients of each server.
const CLIENTS: usize = 3;

/// The time from the start of one client to that of the next, and from the end of its wait to that
/// of the next.
const PAUSE: Duration = Duration::from_secs(5);

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
    let (_daemon, nanoseconds) = start_daemon();
    let mut servers = vec![("wallclockd, nanoseconds", nanoseconds)];
    let mut python = has_program("python3").then(|| Process::start(&mut python_server()));
    match &mut python {
        Some(python) => {
            let address = (Ipv4Addr::LOCALHOST, python.wait_for_address().port());
            servers.push(("the Python server, whole seconds", address.into()));
        }
        None => eprintln!("bench: no python3, its server is left out"),
    }
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        for &(_, server) in &servers {
            let start = now();
            let moment = Duration::from_secs((start + wait).as_secs());
            let client = start_client(server, moment, &["--".as_ref(), &command])?;
            clients.push((moment, server, client));
            sleep_until(start + PAUSE);
        }
    }
    let mut costs = Vec::new();
    for (moment, server, client) in clients {
        // COMMAND sleeps for half a second, and then it is a zombie, which has the same figures.
        sleep_until(moment + Duration::from_secs(1));
        costs.push((server, cost(client)?));
    }
    let header = ["server", "on-CPU, ms", "context switches"];
    let mut table = Table::new("The cost of a wait", &header);
    let mut promises = Vec::new();
    for (name, server) in servers {
        let of_server = costs.iter().filter(|(address, _)| *address == server);
        let mut most = f64::NAN;
        for (_, (cpu, switches)) in of_server {
            table.row(vec![name.into(), number(*cpu, 2), switches.to_string()]);
            most = most.max(*cpu);
        }
        promises.push(Promise::new((name, MAX_CPU, most)));
    }
    println!("{}", table.text());
    Ok(promises)
}

/// Returns the on-CPU time of a client so far in milliseconds, and its context switches.
fn cost(client: Child) -> io::Result<(f64, u64)> {
    let id = client.id();
    let cost = (cpu_time(id).as_secs_f64() * 1e3, context_switches(id));
    let output = client.wait_with_output()?;
    match output.status.success() && output.stdout.len() == 16 {
        true => Ok(cost),
        false => {
            let log = String::from_utf8_lossy(&output.stderr);
            Err(io::Error::other(format!("a client fails: {log}")))
        }
    }
}

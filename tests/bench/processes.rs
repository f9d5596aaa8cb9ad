//! Whole processes: context switches of an idle daemon, resident memory, start-up times.

use std::io;
use std::process::Output;
use std::time::Instant;

use crate::load::{Load, Until};
use crate::measure;
use crate::process;
use crate::requests::{self, Workload};
use crate::results::DEFAULT;
use crate::servers::{self, Build, Server};
use crate::setup::{Host, Plan, note};

/// Formats of the memory measurement.
pub const FORMATS: usize = 10_000;

/// Resident memory of wallclockd, in KiB.
pub struct Memory {
    pub at_start: u64,
    /// Each after a number of requests.
    pub after: [(u64, u64); 2],
    pub wrong: u64,
}

/// Wall clock of whole processes, in milliseconds.
#[derive(Default)]
pub struct StartTimes {
    pub daemon: Vec<f64>,
    pub python_server: Vec<f64>,
    pub client: Vec<f64>,
    pub python_client: Vec<f64>,
}

/// Offsets that wallclock measures of a server with the same clock: the true offset is 0.
#[derive(Default)]
pub struct Offsets {
    /// Wall clock of the whole process, in milliseconds.
    pub process: Vec<f64>,
    /// Absolute value of the printed offset, in microseconds.
    pub error: Vec<f64>,
    /// The printed bound, in microseconds.
    pub bound: Vec<f64>,
}

/// Counts the context switches of wallclockd without requests.
pub fn idle_switches(plan: &Plan, host: &Host) -> io::Result<u64> {
    note("idle");
    let daemon = host.start_daemon(&Build::Current)?;
    daemon.wait_for_response(DEFAULT.as_bytes())?;
    process::wait_until_asleep(daemon.pid());
    let before = process::context_switches(daemon.pid());
    std::thread::sleep(plan.idle);
    Ok(process::context_switches(daemon.pid()) - before)
}

/// Measures resident memory over many requests with different formats.
pub fn memory(load: &mut Load, plan: &Plan, host: &Host) -> io::Result<Memory> {
    note("memory");
    let daemon = host.start_daemon(&Build::Current)?;
    let mut workload = Workload::formats(&requests::different_formats(FORMATS));
    let mut memory = Memory {
        at_start: process::resident(daemon.pid()),
        after: plan.memory_requests.map(|requests| (requests, 0)),
        wrong: 0,
    };
    let mut sent = 0;
    for (requests, resident) in &mut memory.after {
        let until = Until::Answered(*requests - sent);
        let sample = measure::closed_loop(load, &daemon, &mut workload, until)?;
        (sent, *resident) = (*requests, process::resident(daemon.pid()));
        memory.wrong += sample.wrong;
    }
    Ok(memory)
}

/// Measures the servers from their start to the first response, and the clients from start to end.
pub fn start_times(plan: &Plan, host: &Host) -> io::Result<StartTimes> {
    note("start-up times");
    let daemon = host.start_daemon(&Build::Current)?;
    let mut times = StartTimes::default();
    for _ in 0..plan.starts {
        times
            .daemon
            .push(time_server(|| Server::daemon(&Build::Current, None))?);
        times
            .client
            .push(time_client(|| servers::run_client(daemon.address))?);
        let Some(python) = &host.python else { continue };
        times
            .python_server
            .push(time_server(|| Server::python(python))?);
        let client = || servers::run_python_client(python, daemon.address);
        times.python_client.push(time_client(client)?);
    }
    Ok(times)
}

/// Measures the offset of a server on the same machine.
///
/// Both run on the core of the load, as the scheduler places them on an idle machine: from core to
/// core a request and its response take times that differ by some microseconds.
pub fn offsets(plan: &Plan) -> io::Result<Offsets> {
    note("offsets");
    let daemon = Server::daemon(&Build::Current, None)?;
    daemon.wait_for_response(DEFAULT.as_bytes())?;
    let mut offsets = Offsets::default();
    for _ in 0..10 * plan.starts {
        let start = Instant::now();
        let output = servers::run_client_offset(daemon.address)?;
        offsets.process.push(start.elapsed().as_secs_f64() * 1e3);
        let micros = |key: &str| {
            let json = std::str::from_utf8(&output.stdout).unwrap_or_default();
            let (_, value) = json.split_once(&format!("\"{key}\":"))?;
            let seconds: f64 = value.split(',').next()?.parse().ok()?;
            Some(seconds * 1e6)
        };
        let (Some(offset), Some(bound)) = (micros("offset"), micros("bound")) else {
            return Err(io::Error::other(format!("the client wrote {output:?}")));
        };
        if offset.abs() > bound + 0.001 {
            return Err(io::Error::other(format!("a wrong bound: {output:?}")));
        }
        offsets.error.push(offset.abs());
        offsets.bound.push(bound);
    }
    Ok(offsets)
}

fn time_server(start_server: impl Fn() -> io::Result<Server>) -> io::Result<f64> {
    let start = Instant::now();
    start_server()?.wait_for_response(DEFAULT.as_bytes())?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn time_client(run: impl Fn() -> io::Result<Output>) -> io::Result<f64> {
    let start = Instant::now();
    let output = run()?;
    let elapsed = start.elapsed();
    // 19 characters and a new line.
    if output.stdout.len() != 20 {
        return Err(io::Error::other(format!("the client wrote {output:?}")));
    }
    Ok(elapsed.as_secs_f64() * 1e3)
}

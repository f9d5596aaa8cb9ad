//! One round: throughput of each row beside the floor, round trips at half load, bursts.

use std::io;

use crate::echo::{self, Echo};
use crate::load::{Load, Until};
use crate::measure::{self, p99};
use crate::process;
use crate::processes::FORMATS;
use crate::requests::{self, Workload};
use crate::results::{
    BESIDE_DUAL_FLOOR, BLANK, COMMON, DEFAULT, DIFFERENT, GLIBC, LONGEST, NANOSECONDS, Row,
    SERVERS, SLASHES, ServerKind, ServerResults, TOO_LONG, UNKNOWN, WORST_CASE,
};
use crate::servers::Server;
use crate::setup::{Host, Plan, ROOT_BUFFER, USER_BUFFER};
use crate::worst_case::WorstCases;

/// A slice has so many turns of a row and of its floor.
pub const TURNS: u32 = 6;

/// The servers of one round.
pub struct RoundServers {
    /// What the rows are measured beside; [`ServerKind::Floor`] is a row itself.
    floor: Server,
    /// In the order of [`SERVERS`].
    servers: [Option<Server>; SERVERS.len()],
}

impl RoundServers {
    /// Starts all of them. New processes in each round average over their layouts in memory.
    pub fn start(host: &Host) -> io::Result<Self> {
        let floor = Server::echo(Echo::Floor, Some(ROOT_BUFFER))?.on_core(host.server_core);
        let mut servers: [Option<Server>; SERVERS.len()] = Default::default();
        for (kind, server) in SERVERS.into_iter().zip(&mut servers) {
            // wallclockd requests a buffer by default.
            *server = host.start(kind, (!kind.is_wallclockd()).then_some(ROOT_BUFFER))?;
        }
        Ok(Self { floor, servers })
    }

    /// Adds the resident memory of each server to its results.
    pub fn measure_memory(&self, results: &mut [ServerResults]) {
        for (server, results) in self.servers.iter().zip(results) {
            let resident = server.as_ref().map(|it| process::resident(it.pid()) as f64);
            results.resident.extend(resident);
        }
    }
}

/// Returns the rows of the first table, still empty.
pub fn rows(worst_cases: &WorstCases, daemon: &Server) -> io::Result<Vec<Row>> {
    let server = |server: ServerKind| Row::new(server, "", server.workload());
    let daemon_row = |request, workload| Row::new(ServerKind::Daemon, request, workload);
    let formats = |request, formats: &[String]| daemon_row(request, Workload::formats(formats));
    let longest = Workload::numbered_exact(&worst_cases.answered.tails, echo::RESPONSE);
    Ok(vec![
        server(ServerKind::Floor),
        server(ServerKind::DualFloor),
        server(ServerKind::Plain),
        daemon_row(DEFAULT, Workload::formats(&[DEFAULT])),
        daemon_row(BLANK, Workload::formats(&["\n"])),
        daemon_row(SLASHES, Workload::formats(&[SLASHES])),
        daemon_row(NANOSECONDS, Workload::nanoseconds()),
        formats(COMMON, &requests::common_formats()),
        formats(DIFFERENT, &requests::different_formats(FORMATS)),
        server(ServerKind::TwoSockets),
        server(ServerKind::Installed),
        Row {
            floor: ServerKind::DualFloor,
            request: BESIDE_DUAL_FLOOR,
            ..server(ServerKind::Installed)
        },
        server(ServerKind::Chronyd),
        server(ServerKind::Python),
        Row::new(ServerKind::Floor, LONGEST, longest),
        daemon_row(GLIBC, Workload::numbered(&[requests::glibc_format()])),
        daemon_row(WORST_CASE, worst_cases.answered.workload(daemon)?),
        daemon_row(TOO_LONG, worst_cases.too_long.workload(daemon)?),
        daemon_row(UNKNOWN, worst_cases.unknown.workload(daemon)?),
    ])
}

/// Measures each row for a slice beside its floor. The turns are short, so that other load on the
/// machine meets both or few pairs.
pub fn throughput(
    load: &mut Load,
    plan: &Plan,
    round: usize,
    running: &RoundServers,
    rows: &mut [Row],
) -> io::Result<()> {
    let mut floor_workload = ServerKind::Floor.workload();
    for row in rows {
        let Some(server) = &running.servers[row.server as usize] else {
            continue;
        };
        let floor = match (row.floor, &running.servers[ServerKind::DualFloor as usize]) {
            (ServerKind::DualFloor, Some(dual_floor)) => dual_floor,
            _ => &running.floor,
        };
        // What a process does only once is not part of the cost of a response.
        let warm_up = Until::Elapsed(plan.slice / 10);
        measure::closed_loop(load, server, &mut row.workload, warm_up)?;
        let until = Until::Elapsed(plan.slice / TURNS);
        for turn in 0..TURNS as usize {
            // They take turns in going first, too.
            let floor_first = (round + turn).is_multiple_of(2);
            for is_floor in [floor_first, !floor_first] {
                if is_floor {
                    let sample = measure::closed_loop(load, floor, &mut floor_workload, until)?;
                    row.reference.push(sample.cost);
                } else {
                    let sample = measure::closed_loop(load, server, &mut row.workload, until)?;
                    row.samples.push(sample);
                }
            }
        }
    }
    Ok(())
}

/// Measures round trips at half of the rate that the recvfrom + sendto echo had in this round, or,
/// for chronyd and the Python server, at half of their own.
pub fn half_load(
    load: &mut Load,
    plan: &Plan,
    running: &RoundServers,
    rows: &[Row],
    results: &mut [ServerResults],
) -> io::Result<()> {
    let rate = |server| {
        let row = rows.iter().find(|row| row.server == server);
        let sample = row.and_then(|row| row.samples.last());
        sample.map_or(f64::INFINITY, |sample| sample.rate)
    };
    for (kind, server) in SERVERS.into_iter().zip(&running.servers) {
        let Some(server) = server else { continue };
        let full = match kind {
            ServerKind::Chronyd | ServerKind::Python => rate(kind).min(rate(ServerKind::Plain)),
            _ => rate(ServerKind::Plain),
        };
        // The rate is 0 after a turn in which another process had the core.
        let rate = (full / 2.0).max(1.0);
        let paced = load.paced(server.address, &mut kind.workload(), rate, plan.half_load)?;
        let results = &mut results[kind as usize];
        results.p99.push(p99(&paced.round_trips) / 1e3);
        results.lost += paced.lost;
        results.wrong += paced.wrong;
    }
    Ok(())
}

/// Sends a burst to each server, with the receive buffer of root and with that of a user.
pub fn bursts(load: &mut Load, host: &Host, results: &mut [ServerResults]) -> io::Result<()> {
    for kind in SERVERS {
        for buffer in [ROOT_BUFFER, USER_BUFFER] {
            // chronyd and the Python server request no buffer, and the socket unit sets the one of
            // wallclockd as installed.
            match (kind, buffer) {
                (ServerKind::Chronyd | ServerKind::Python, ROOT_BUFFER)
                | (ServerKind::Installed, USER_BUFFER) => continue,
                _ => {}
            }
            let Some(server) = host.start(kind, Some(buffer))? else {
                continue;
            };
            let mut workload = kind.workload();
            server.wait_for_response(&workload.first())?;
            let burst = load.burst(server.address, &mut workload)?;
            let results = &mut results[kind as usize];
            results.wrong += burst.wrong;
            if buffer == ROOT_BUFFER {
                results.root_bursts.push(burst);
            } else {
                results.user_bursts.push(burst);
            }
        }
    }
    Ok(())
}

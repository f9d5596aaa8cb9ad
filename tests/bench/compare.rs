//! The current build beside another one (`--base`).

use std::io;

use crate::load::{Load, Until};
use crate::measure;
use crate::results::{DEFAULT, Row, ServerKind, WORST_CASE};
use crate::rounds::TURNS;
use crate::servers::{Build, Server};
use crate::setup::{Host, Plan, note};
use crate::single::{self, SingleCosts};
use crate::worst_case::{self, WorstCases};

const BASE_WORST_CASE: &str = "1024 bytes: the worst case of the base";
const ONE_AT_A_TIME: &str = "one request at a time";

/// Returns the rows of the table, still empty. Searches for the worst case of the base.
pub fn rows(
    load: &mut Load,
    host: &Host,
    base: &Build,
    worst_cases: &WorstCases,
    daemon: &Server,
) -> io::Result<Vec<Row>> {
    note("searching for the worst case of the base");
    let base = host.start_daemon(base)?;
    let base_cases = worst_case::search(load, &base)?;
    let installed = |request| {
        let kind = ServerKind::Installed;
        Row::new(kind, request, kind.workload())
    };
    let daemon_row = |request, workload| Row::new(ServerKind::Daemon, request, workload);
    Ok(vec![
        daemon_row(DEFAULT, ServerKind::Daemon.workload()),
        installed(""),
        installed(ONE_AT_A_TIME),
        daemon_row(WORST_CASE, worst_cases.answered.workload(daemon)?),
        daemon_row(BASE_WORST_CASE, base_cases.answered.workload(&base)?),
    ])
}

/// Measures one round: both builds in short turns. The base takes the place of the floor.
pub fn round(
    load: &mut Load,
    plan: &Plan,
    host: &Host,
    base: &Build,
    rows: &mut [Row],
) -> io::Result<()> {
    for row in rows {
        let single = row.request == ONE_AT_A_TIME;
        let core = if single {
            host.load_core
        } else {
            host.server_core
        };
        let start = |build| {
            let server = match row.server {
                ServerKind::Installed => Server::installed(build),
                _ => Server::daemon(build, None),
            };
            Ok::<_, io::Error>(server?.on_core(core))
        };
        let (current, base) = (start(&Build::Current)?, start(base)?);
        if single {
            let mut costs = [SingleCosts::default(), SingleCosts::default()];
            for _ in 0..single::turns(plan) {
                for (costs, server) in costs.iter_mut().zip([&base, &current]) {
                    costs.turn(load, server, &mut row.workload)?;
                }
            }
            row.reference.push(costs[0].sample().cost);
            row.samples.push(costs[1].sample());
            continue;
        }
        let until = Until::Elapsed(plan.slice / TURNS);
        let mut sample = |server| measure::closed_loop(load, server, &mut row.workload, until);
        // Warms both up.
        sample(&current)?;
        sample(&base)?;
        for _ in 0..TURNS {
            row.reference.push(sample(&base)?.cost);
            row.samples.push(sample(&current)?);
        }
    }
    Ok(())
}

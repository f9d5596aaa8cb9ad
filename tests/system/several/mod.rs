//! Several clocks: the recipes of systemd/README.md, each with hosts of its own.

mod recipes;
mod rooms;
mod takeover;

use std::process::Command;

use support::faults::{ClockStatus, Faults};
use support::{Process, program, skip_without, skip_without_namespaces};

use super::network::{Namespace, command_in};

/// Skips the test where there can be no hosts, or one of these programs is missing.
fn skip_without_hosts(programs: &[&str]) -> bool {
    skip_without_namespaces()
        || skip_without(&["ip", "nsenter", "setpriv"])
        || skip_without(programs)
}

/// A daemon on all addresses of a host, with these lines as settings. The abbreviation of its time
/// zone says who responded.
fn daemon(host: &Namespace, name: &str, settings: &str) -> Process {
    let mut process = Process::start(&mut daemon_command(host, name, settings));
    process.wait_for("listening on");
    process
}

/// The same with a status of its clock that the test sets. `None` without a C compiler.
fn daemon_with_clock(
    host: &Namespace,
    name: &str,
    settings: &str,
    status: ClockStatus,
) -> Option<(Process, Faults)> {
    let mut command = daemon_command(host, name, settings);
    let faults = Faults::preload(&mut command)?;
    faults.set_clock_status(status);
    let mut process = Process::start(&mut command);
    process.wait_for("listening on");
    Some((process, faults))
}

fn daemon_command(host: &Namespace, name: &str, settings: &str) -> Command {
    let mut command = command_in(host.pid(), program("wallclockd"));
    command
        .args(["--listen", "[::]:9527"])
        .env("TZ", format!("{name}0"))
        .envs(settings.lines().filter_map(|line| line.split_once('=')));
    command
}

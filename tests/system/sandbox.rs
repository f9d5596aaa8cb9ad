//! What the units permit the daemon, and what it can still read.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::machine::{INSTANCE, Machine, SERVICE, TEMPLATE, TIMEOUT, wait_for};
use super::network::{local_socket, query};

/// A program of its own, which runs in the daemon's place. It is a module here only so that it is
/// checked like the rest.
#[expect(dead_code, reason = "the test compiles it as a program")]
mod probe;

#[test]
fn exposure_rating_stays_below_its_limit() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    // The thresholds are in tenths. What remains of the socket-activated daemon's rating: AF_UNIX
    // 0.1, and 0.2 for each of ProtectClock=, ~@clock and ~@privileged, because adjtimex(2) also
    // sets the clock, for a process with CAP_SYS_TIME.
    let assert_exposure = |unit: &str, threshold: u32| {
        let threshold = format!("--threshold={threshold}");
        let rating = machine.run(&[
            "systemd-analyze",
            "security",
            "--no-pager",
            &threshold,
            unit,
        ]);
        eprintln!("{}", rating.lines().last().unwrap_or_default());
    };
    assert_exposure(SERVICE, 5);
    // These have the network.
    assert_exposure("wallclock-check.service", 11);
    assert_exposure("wallclock-chrony.service", 11);
    assert_exposure("wallclock-wait-sync.service", 11);
    machine.run(&["systemctl", "start", INSTANCE]);
    assert_exposure(INSTANCE, 13);
    machine.edit(
        "systemctl edit wallclockd@.service",
        "[Service]\nIPAddressDeny=\nIPAddressAllow=\n",
    );
    assert_exposure(INSTANCE, 14);
}

// Nothing can be written, executed, connected to or seen.
#[test]
fn sandbox_permits_nothing_that_the_probe_tries() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let inside = machine.copy_in(&compile_probe());

    // The control: without the sandbox, the same program can do every one of those things. It ends
    // as a shell.
    machine.run(&["mkdir", "/root/probed"]);
    machine.run(&["touch", "/root/probed/file"]);
    let outside = machine.sh(&format!(
        "timeout {} {inside} /root/probed",
        TIMEOUT.as_secs()
    ));
    for can in [
        "create /root/probed/",
        "write /root/probed/",
        "make an inet",
        "see process",
        "read /proc",
        "start a",
        "execute a",
    ] {
        assert!(
            outside.contains(&format!("could {can}")),
            "the probe does not report that it could {can}: {outside}"
        );
    }

    machine.sh(&format!("mv {inside} /usr/bin/wallclockd"));
    // The probe sends no keep-alive messages.
    let no_watchdog = "[Service]\nWatchdogSec=0\n";
    machine.drop_in(SERVICE, "no-watchdog.conf", no_watchdog);
    machine.drop_in(TEMPLATE, "no-watchdog.conf", no_watchdog);
    for (unit, network) in [(SERVICE, false), (INSTANCE, true)] {
        machine.run(&["systemctl", "restart", unit]);
        let log = wait_for("the end of the probe", TIMEOUT, || {
            Some(machine.journal(&["--unit", unit])).filter(|log| log.contains("probe: ends"))
        });
        let could: Vec<_> = log
            .lines()
            .filter(|line| line.contains("probe: could"))
            .collect();
        let allowed = |line: &&str| network && line.ends_with("make an inet socket");
        let found = log.lines().find(|line| line.contains("probe: found"));
        let tried = log.matches("probe: executes").count();
        eprintln!(
            "{unit}: {}; tried to execute {tried}",
            found.unwrap_or_default()
        );
        assert!(could.iter().all(allowed), "{unit}: {could:#?}");
    }
}

fn compile_probe() -> PathBuf {
    let probe = Path::new(env!("CARGO_TARGET_TMPDIR")).join("probe");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/sandbox/probe.rs");
    let compiled = Command::new("rustc")
        .args(["--edition", "2024", "-o"])
        .arg(&probe)
        .arg(source)
        .output()
        .expect("rustc");
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    probe
}

/// Changes the machine's zone files, and asserts which zone requests then get.
#[track_caller]
fn assert_zone_follows(machine: &Machine, sockets: &[UdpSocket], change: &str, abbreviation: &str) {
    machine.sh(change);
    // A change applies to requests that are sent more than a second later.
    std::thread::sleep(Duration::from_secs(1));
    for socket in sockets {
        let zone = query(socket, "%Z");
        assert_eq!(zone.as_deref(), Some(abbreviation), "after: {change}");
    }
}

/// Starts the instance too, and returns a socket for each daemon.
fn both_daemons(machine: &Machine) -> [UdpSocket; 2] {
    machine.run(&["systemctl", "start", INSTANCE]);
    ["127.0.0.1:9527", "127.0.0.9:9528"].map(|server| local_socket(machine, server))
}

#[test]
fn zone_follows_etc_localtime_into_the_sandbox() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let sockets = both_daemons(&machine);
    for (change, abbreviation) in [
        (
            "ln -sf /usr/share/zoneinfo/Asia/Tokyo /etc/localtime",
            "JST",
        ),
        (
            "ln -s /usr/share/zoneinfo/Asia/Kolkata /etc/new && mv -T /etc/new /etc/localtime",
            "IST",
        ),
        (
            "rm /etc/localtime && cp /usr/share/zoneinfo/Asia/Shanghai /etc/localtime",
            "CST",
        ),
        ("ln -sf ../usr/share/zoneinfo/Etc/UTC /etc/localtime", "UTC"),
    ] {
        assert_zone_follows(&machine, &sockets, change, abbreviation);
    }
}

#[test]
fn zone_tables_installed_after_the_start_are_read() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    machine.sh("mv /usr/share/zoneinfo /root/tables");
    machine.sh("ln -sf /usr/share/zoneinfo/Asia/Tokyo /etc/localtime");
    machine.install(&["wallclockd"], 1);
    machine.daemon(SERVICE);
    let sockets = both_daemons(&machine);
    assert_zone_follows(&machine, &sockets, "true", "UTC");
    // What is there first is no table.
    let garbage = "mkdir -p /usr/share/zoneinfo/Asia && echo bad >/usr/share/zoneinfo/Asia/Tokyo";
    assert_zone_follows(&machine, &sockets, garbage, "UTC");
    for unit in [SERVICE, INSTANCE] {
        let log = machine.journal(&["--unit", unit, "--priority", "warning"]);
        let warnings: Vec<_> = log
            .lines()
            .filter(|line| line.contains("/etc/localtime"))
            .collect();
        assert_eq!(warnings.len(), 2, "{unit}: {log}");
        assert!(
            warnings[0].contains("is missing: the zone is UTC"),
            "{unit}: {log}"
        );
        assert!(
            warnings[1].contains("last good rules stay in force"),
            "{unit}: {log}"
        );
    }
    let install = "cp -r /root/tables/. /usr/share/zoneinfo";
    assert_zone_follows(&machine, &sockets, install, "JST");
}

#[test]
fn zone_directory_made_again_is_read() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let sockets = both_daemons(&machine);
    let link = "ln -sf /usr/share/zoneinfo/Asia/Tokyo /etc/localtime";
    assert_zone_follows(&machine, &sockets, link, "JST");
    // Without the tables, the last good rules stay in force.
    let remove = "mv /usr/share/zoneinfo /root/tables";
    assert_zone_follows(&machine, &sockets, remove, "JST");
    let upgrade = "cp /root/tables/Asia/Kolkata /root/tables/Asia/Tokyo
        cp -r /root/tables /usr/share/zoneinfo";
    assert_zone_follows(&machine, &sockets, upgrade, "IST");
}

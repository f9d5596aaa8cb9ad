//! Units that wait: for a right clock, and for midnight of the server's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use super::documents::{self, Documented, assert_documented, block_with, run_documented};
use super::machine::{Machine, SERVICE, TIMEOUT, wait_for};

const WAIT_SYNC: &str = "wallclock-wait-sync.service";
const DATABASE: &str = "read-database.service";

/// Runs a documented `systemctl edit`, and enters the documented block with this line.
fn edit(machine: &Machine, command: Documented, line: &str) {
    assert_documented(command.line());
    machine.edit(command.line(), &block_with(line));
}

/// A property of a unit in microseconds of the monotonic clock.
fn time(machine: &Machine, unit: &str, property: &str) -> u64 {
    machine.property(unit, property).parse().expect(property)
}

#[test]
fn units_after_time_sync_start_when_the_clock_is_right() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    assert_eq!(machine.property(WAIT_SYNC, "UnitFileState"), "disabled");
    machine.write(
        "/etc/default/wallclock-wait-sync",
        "WALLCLOCK_SERVER=127.0.0.1\n",
    );
    let database = block_with("After=time-sync.target");
    machine.write(
        "/etc/systemd/system/database.service",
        &format!("{database}[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n"),
    );
    // Both in one transaction, as at boot. Until the server runs the clock is not known.
    machine.run(&["systemctl", "daemon-reload"]);
    machine.run(&["systemctl", "stop", "wallclockd.socket", SERVICE]);
    machine.run(&[
        "systemctl",
        "start",
        "--no-block",
        WAIT_SYNC,
        "database.service",
    ]);
    wait_for("a first measurement", TIMEOUT, || {
        let log = machine.journal(&["--unit", WAIT_SYNC]);
        log.contains("waiting for an offset within 100 ms")
            .then_some(())
    });
    for unit in [WAIT_SYNC, "database.service"] {
        assert_ne!(machine.property(unit, "ActiveState"), "active", "{unit}");
    }
    machine.run(&["systemctl", "start", "wallclockd.socket", SERVICE]);
    wait_for("the database", TIMEOUT, || {
        (machine.property("database.service", "ActiveState") == "active").then_some(())
    });
    let entered = time(&machine, WAIT_SYNC, "ActiveEnterTimestampMonotonic");
    let target = time(
        &machine,
        "time-sync.target",
        "ActiveEnterTimestampMonotonic",
    );
    let started = time(
        &machine,
        "database.service",
        "ExecMainStartTimestampMonotonic",
    );
    assert!(0 < entered && entered <= target && target <= started);
    run_documented(&machine, documents::ENABLE_WAIT_SYNC);
    assert_eq!(machine.property(WAIT_SYNC, "UnitFileState"), "enabled");
}

#[test]
fn without_a_server_the_wait_names_the_file() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    assert!(
        !machine
            .try_run(&["systemctl", "start", WAIT_SYNC])
            .status
            .success()
    );
    let log = machine.journal(&["--unit", WAIT_SYNC]);
    let is_named = |line: &str| {
        line.contains("WALLCLOCK_SERVER") && line.contains("/etc/default/wallclock-wait-sync")
    };
    assert!(log.lines().any(is_named), "{log}");
    // It is limited: the program's own deadline comes before the time-out of systemd.
    let limit = machine.property(WAIT_SYNC, "TimeoutStartUSec");
    assert_eq!(limit, "3min 20s");
}

// The zone of the server is one in which midnight is near.
#[test]
fn program_starts_at_midnight_of_the_servers_clock() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    machine.sh("ip address add 192.168.7.10/32 dev lo");
    machine.write(
        "/usr/local/bin/read-database",
        "#!/bin/sh\ndate +%s.%N >/run/read-database\n",
    );
    machine.sh("chmod 755 /usr/local/bin/read-database");
    edit(
        &machine,
        documents::EDIT_MIDNIGHT_SERVICE,
        "RestartForceExitStatus=125",
    );
    edit(&machine, documents::EDIT_MIDNIGHT_TIMER, "OnCalendar=23:50");
    run_documented(&machine, documents::ENABLE_MIDNIGHT);
    assert_eq!(
        machine.property("read-database.timer", "ActiveState"),
        "active"
    );
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time");
    let midnight = now.as_secs() + 20;
    // West of Greenwich, where POSIX has positive signs.
    let behind = midnight % 86_400;
    let zone = format!(
        "TZ=XXX{}:{:02}:{:02}\n",
        behind / 3_600,
        behind / 60 % 60,
        behind % 60
    );
    machine.write("/etc/default/wallclockd", &zone);
    machine.run(&["systemctl", "restart", SERVICE]);
    machine.run(&["systemctl", "start", DATABASE]);
    wait_for("the program", TIMEOUT, || {
        (machine.property(DATABASE, "ActiveState") == "inactive").then_some(())
    });
    assert_eq!(machine.property(DATABASE, "Result"), "success");
    let log = machine.journal(&["--unit", DATABASE]);
    assert!(
        log.contains("waiting until ") && log.contains(" 00:00:00-"),
        "{log}"
    );
    let started = machine.sh("cat /run/read-database");
    let second: u64 = started
        .split('.')
        .next()
        .and_then(|second| second.parse().ok())
        .expect("a time");
    assert!(
        (midnight..midnight + 60).contains(&second),
        "{midnight} {started}"
    );
}

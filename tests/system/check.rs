//! The check of a machine's clock.

use super::documents::{self, run_documented};
use super::machine::Machine;

const CHECK: &str = "wallclock-check.service";
const TIMER: &str = "wallclock-check.timer";

const SETTINGS: &str = "/etc/default/wallclock-check";

/// Starts the check with these settings. Returns whether it succeeds, and its result.
fn check(machine: &Machine, settings: &str) -> (bool, String) {
    machine.write(SETTINGS, settings);
    let started = machine.try_run(&["systemctl", "start", CHECK]);
    (started.status.success(), machine.property(CHECK, "Result"))
}

/// The lines of the check in the journal at this priority or a more urgent one.
fn journal(machine: &Machine, priority: &str) -> String {
    machine.journal(&["--unit", CHECK, "--priority", priority])
}

#[test]
fn check_of_the_clock_runs_and_its_failure_shows() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    assert_eq!(machine.property(TIMER, "UnitFileState"), "disabled");
    let installed = machine.sh(&format!("cat {SETTINGS}"));
    let server = "WALLCLOCK_SERVER=127.0.0.1:9527,[::1]\n";
    let (ok, result) = check(&machine, &format!("{installed}{server}"));
    assert_eq!((ok, result.as_str()), (true, "success"));
    assert_eq!(journal(&machine, "warning"), "");
    // Settings that are wrong are not ignored.
    let wrong = format!("{server}WALLCLOCK_CHECK=-w 1 --nonsense\n");
    assert!(!check(&machine, &wrong).0);
    assert_eq!(
        machine
            .run(&["systemctl", "--failed", "--plain", "--no-legend"])
            .split(' ')
            .next(),
        Some(CHECK)
    );
}

#[test]
fn check_without_a_server_or_limits_names_the_file() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let server = "WALLCLOCK_SERVER=127.0.0.1\n";
    for (settings, missing) in [
        (machine.sh(&format!("cat {SETTINGS}")), "WALLCLOCK_SERVER"),
        (server.to_owned(), "WALLCLOCK_CHECK"),
        (format!("{server}WALLCLOCK_CHECK=\n"), "WALLCLOCK_CHECK"),
        (
            format!("{server}WALLCLOCK_CHECK=--json\n"),
            "WALLCLOCK_CHECK",
        ),
        (
            format!("{server}WALLCLOCK_CHECK=--watch --tick 0.1\n"),
            "WALLCLOCK_CHECK",
        ),
    ] {
        let before = journal(&machine, "info");
        assert!(!check(&machine, &settings).0, "{settings}");
        let log = journal(&machine, "info");
        let new = log.strip_prefix(&before).expect("new lines");
        let names_both = |line: &str| line.contains(missing) && line.contains(SETTINGS);
        assert!(new.lines().any(names_both), "{settings}: {new}");
    }
    machine.sh(&format!("rm {SETTINGS}"));
    assert!(
        !machine
            .try_run(&["systemctl", "start", CHECK])
            .status
            .success()
    );
}

#[test]
fn check_without_a_result_fails() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    // Neither resolves or responds; each check takes 30 s.
    for server in ["misspelt.invalid", "127.0.0.1:9"] {
        let settings = format!("WALLCLOCK_SERVER={server}\nWALLCLOCK_CHECK=-c 1\n");
        let (ok, result) = check(&machine, &settings);
        assert_eq!((ok, result.as_str()), (false, "exit-code"), "{server}");
        let log = journal(&machine, "err");
        assert!(
            log.contains(&format!(
                "WALLCLOCK UNKNOWN: no offset from 1 server; {server}"
            )),
            "{log}"
        );
    }
}

#[test]
fn check_beyond_the_warning_limit_is_a_warning() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let Some(library) = support::libfaketime_or_skip() else {
        return;
    };
    let library = machine.copy_in(&library);
    machine.sh(&format!("mv {library} /usr/lib/faketime.so"));
    // libfaketime may write a message without a newline to stderr.
    let environment = "[Service]\nStandardError=null\nEnvironment=LD_PRELOAD=/usr/lib/faketime.so FAKETIME=+500 \
                       FAKETIME_DONT_FAKE_MONOTONIC=1\n";
    machine.drop_in(CHECK, "test.conf", environment);
    let server = "WALLCLOCK_SERVER=127.0.0.1\n";
    let limits = "WALLCLOCK_CHECK=--warning 100 --critical 1000\n";
    let (ok, result) = check(&machine, &format!("{server}{limits}"));
    assert_eq!((ok, result.as_str()), (true, "success"));
    let log = journal(&machine, "warning");
    assert!(log.starts_with("WALLCLOCK WARNING: offset -"), "{log}");
    assert_eq!(journal(&machine, "err"), "");
    // Beyond the critical limit it fails.
    let limits = "WALLCLOCK_CHECK=--warning=10 --critical=100\n";
    assert!(!check(&machine, &format!("{server}{limits}")).0);
    let log = journal(&machine, "err");
    assert!(log.starts_with("WALLCLOCK CRITICAL: offset -"), "{log}");
}

#[test]
fn check_timer_is_enabled_as_documented() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    run_documented(&machine, documents::ENABLE_CHECK);
    assert_eq!(machine.property(TIMER, "UnitFileState"), "enabled");
    assert_eq!(machine.property(TIMER, "ActiveState"), "active");
    assert_eq!(machine.property(TIMER, "Unit"), CHECK);
}

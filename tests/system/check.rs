//! The check of a machine's clock.

use super::documents::{self, run_documented};
use super::machine::Machine;

const CHECK: &str = "wallclock-check.service";
const TIMER: &str = "wallclock-check.timer";

#[test]
fn check_of_the_clock_runs_and_its_failure_shows() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let check_fails = || {
        let started = machine.try_run(&["systemctl", "start", CHECK]);
        !started.status.success()
    };
    assert_eq!(machine.property(TIMER, "UnitFileState"), "disabled");
    // No server is set yet.
    assert!(check_fails());
    machine.sh("echo WALLCLOCK_SERVER=127.0.0.1:9527,[::1] >>/etc/default/wallclock-check");
    machine.run(&["systemctl", "start", CHECK]);
    assert_eq!(machine.property(CHECK, "Result"), "success");
    // Settings that are wrong are not ignored.
    machine.sh("echo WALLCLOCK_CHECK=--nonsense >>/etc/default/wallclock-check");
    assert!(check_fails());
    assert_eq!(
        machine
            .run(&["systemctl", "--failed", "--plain", "--no-legend"])
            .split(' ')
            .next(),
        Some(CHECK)
    );
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

//! Other uses of the client on a machine: it feeds chronyd, and gives `date` a time to set.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::documents::{self, block_with, run_documented};
use super::machine::{Machine, SERVICE, SOCKET, TIMEOUT, wait_for};

/// Gives the machine the address of the server in the documented examples.
fn add_server_address(machine: &Machine) {
    machine.sh("ip address add 10.0.0.1/32 dev lo");
    machine.daemon(SERVICE);
}

/// The unit that feeds chronyd.
const FEED: &str = "wallclock-chrony.service";

/// Waits until `chronyc sources` shows the server in this state. Returns the table.
fn wait_for_source(machine: &Machine, what: &str, state: &str) -> String {
    // chronyd needs several samples, which it takes every 8 seconds, and forgets a source after 8
    // times without a sample.
    wait_for(what, 4 * TIMEOUT, || {
        let output = machine.try_run(&["chronyc", "-n", "sources"]);
        let sources = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = format!("#{state} WALL ");
        let found = sources.lines().any(|other| other.starts_with(&line));
        found.then_some(sources)
    })
}

/// Installs the documented line of chrony.conf and starts chronyd with it. It does not touch the
/// clock. Returns whether this host has chronyd; if not, the test is skipped.
fn start_chronyd(machine: &Machine) -> bool {
    if !Path::new("/usr/sbin/chronyd").exists() {
        support::skip("no chronyd (Debian package chrony)");
        return false;
    }
    // The test host may have masked its chronyd. Here it gets no permission to set the clock, which
    // its unit requires without this drop-in, and with -x it does not try.
    machine.sh("rm -f /etc/systemd/system/chrony.service");
    machine.drop_in(
        "chrony.service",
        "test.conf",
        "[Unit]\nConditionCapability=\n",
    );
    machine.write("/etc/default/chrony", "DAEMON_OPTS=\"-F 1 -x\"\n");
    let refclock = block_with("refclock SOCK /run/chrony.wall.sock refid WALL poll 3 delay 0.001");
    machine.write("/etc/chrony/conf.d/wallclock.conf", &refclock);
    run_documented(machine, documents::RESTART_CHRONY);
    true
}

#[test]
fn chronyd_follows_the_server_while_it_responds() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    if !start_chronyd(&machine) {
        return;
    }
    add_server_address(&machine);
    machine.sh("echo WALLCLOCK_SERVER=10.0.0.1 >>/etc/default/wallclock-chrony");
    run_documented(&machine, documents::ENABLE_CHRONY_FEED);
    let sources = wait_for_source(&machine, "chronyd to select the server", "*");
    // The document shows the same table.
    let header = sources.lines().next().unwrap_or_default().trim_end();
    let documented = block_with(header);
    assert!(documented.contains("\n#* WALL "), "{documented}");

    machine.run(&["systemctl", "stop", SOCKET, SERVICE]);
    wait_for_source(&machine, "chronyd to lose the server", "?");
    let warnings = || machine.journal(&["--unit", FEED, "--priority", "warning"]);
    let warning = "wallclock: no sample for chronyd for 6";
    let log = wait_for("a warning", TIMEOUT, || {
        Some(warnings()).filter(|log| log.contains(warning))
    });
    assert_eq!(log.matches("no sample").count(), 1, "{log}");
    assert!(log.contains("; 10.0.0.1:9527: "), "{log}");

    machine.run(&["systemctl", "start", SOCKET, SERVICE]);
    wait_for_source(&machine, "chronyd to select the server again", "*");
    // A chronyd that restarts makes a new socket.
    run_documented(&machine, documents::RESTART_CHRONY);
    wait_for_source(&machine, "the new chronyd to select the server", "*");
    assert_eq!(warnings(), log);
}

#[test]
fn feed_of_chronyd_without_a_server_names_the_file() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    if !start_chronyd(&machine) {
        return;
    }
    machine.try_run(&["systemctl", "start", FEED]);
    let settings = "/etc/default/wallclock-chrony";
    let expected = format!("WALLCLOCK_SERVER: is not set in {settings}");
    wait_for("the reason", TIMEOUT, || {
        let log = machine.journal(&["--unit", FEED]);
        log.contains(&expected).then_some(())
    });
    // It is tried five times in a minute.
    wait_for("the unit to fail", TIMEOUT, || {
        let state = machine.property(FEED, "ActiveState");
        (state == "failed").then_some(())
    });
}

#[test]
fn date_is_given_the_time_of_the_server() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    add_server_address(&machine);
    // Another program runs as `date` and records its arguments: a test never sets a clock. Commands
    // in the machine do not have the capability to set it either, CAP_SYS_TIME (25).
    let status = machine.sh("grep ^CapEff: /proc/self/status");
    let (_, capabilities) = status.split_once('\t').expect("CapEff:\tHEX");
    let capabilities = u64::from_str_radix(capabilities.trim(), 16).expect("hexadecimal");
    assert_eq!(capabilities & 1 << 25, 0, "{status}");
    machine.write(
        "/usr/local/sbin/date",
        "#!/bin/sh\nprintf '%s\\n' \"$@\" >/root/date-arguments\n",
    );
    machine.sh("chmod 755 /usr/local/sbin/date");
    let path = "/usr/local/sbin:$PATH";
    let found = machine.sh(&format!("PATH={path}; command -v date"));
    assert_eq!(found, "/usr/local/sbin/date\n");
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a time")
            .as_nanos()
    };
    let before = now();
    let command = documents::SET_CLOCK;
    documents::assert_documented(command.line());
    machine.sh(&format!("PATH={path}\n{}", command.line()));
    let after = now();

    let arguments = machine.sh("cat /root/date-arguments");
    let lines: Vec<_> = arguments.lines().collect();
    let ["-s", time] = lines[..] else {
        panic!("date was run with {lines:?}");
    };
    // Seconds, and nanoseconds in nine digits.
    let time = time.strip_prefix('@').and_then(|time| time.split_once('.'));
    let (seconds, nanoseconds) = time.expect("@SECONDS.NANOSECONDS");
    assert_eq!(nanoseconds.len(), 9, "{arguments}");
    let time: u128 = format!("{seconds}{nanoseconds}").parse().expect("digits");
    assert!(before <= time && time <= after, "{before} {time} {after}");
}

//! Other uses of the client on a machine: it feeds chronyd, and gives `date` a time to set.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::documents::{self, block_with, run_documented};
use super::machine::{Machine, SERVICE, TIMEOUT, wait_for};

/// Gives the machine the address of the server in the documented examples.
fn add_server_address(machine: &Machine) {
    machine.sh("ip address add 10.0.0.1/32 dev lo");
    machine.daemon(SERVICE);
}

#[test]
fn chronyd_selects_the_server_as_documented() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    if !Path::new("/usr/sbin/chronyd").exists() {
        return support::skip("no chronyd (Debian package chrony)");
    }
    add_server_address(&machine);
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
    let unit = block_with("ExecStart=/usr/bin/wallclock --watch 1 --chrony /run/chrony.wall.sock");
    machine.write("/etc/systemd/system/wallclock-chrony.service", &unit);
    run_documented(&machine, documents::DAEMON_RELOAD);
    run_documented(&machine, documents::RESTART_CHRONY);
    run_documented(&machine, documents::ENABLE_CHRONY_FEED);

    // chronyd needs several samples, which come every 8 seconds.
    let sources = wait_for("chronyd to select the server", 3 * TIMEOUT, || {
        let output = machine.try_run(&["chronyc", "-n", "sources"]);
        let sources = String::from_utf8_lossy(&output.stdout).into_owned();
        let selected = sources.lines().any(|line| line.starts_with("#* WALL "));
        selected.then_some(sources)
    });
    // The document shows the same table.
    let header = sources.lines().next().unwrap_or_default().trim_end();
    let documented = block_with(header);
    assert!(documented.contains("\n#* WALL "), "{documented}");
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

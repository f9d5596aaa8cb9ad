//! Settings of administrators: options, drop-ins, mistakes.

use std::fs;
use std::path::Path;
use std::time::Instant;

use super::documents::{self, run_documented};
use super::machine::{INSTANCE, Machine, SERVICE, SOCKET, TEMPLATE, TIMEOUT, wait_for};
use super::network::{local_socket, query};

#[test]
fn options_come_from_etc_default() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let socket = local_socket(&machine, "127.0.0.1:9527");
    machine.sh("ln -sf /usr/share/zoneinfo/Asia/Tokyo /etc/localtime");
    machine.sh("echo WALLCLOCKD_UTC=true >>/etc/default/wallclockd");
    run_documented(&machine, documents::RESTART);
    assert_eq!(query(&socket, "%Z").as_deref(), Some("UTC"));
    machine.sh("echo TZ=Asia/Kolkata >/etc/default/wallclockd");
    run_documented(&machine, documents::RESTART);
    assert_eq!(query(&socket, "%Z").as_deref(), Some("IST"));
}

#[test]
fn receive_buffer_of_the_socket_unit_is_kept() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    machine.edit(
        "systemctl edit wallclockd.socket",
        "[Socket]\nReceiveBuffer=4M\n",
    );
    machine.sh("echo WALLCLOCKD_RECEIVE_BUFFER=16777216 >>/etc/default/wallclockd");
    machine.run(&["systemctl", "restart", SOCKET]);
    machine.daemon(SERVICE);
    // More than net.core.rmem_max, the limit of what the daemon itself could set.
    let granted = "[::]:9527: receive buffer 8388608 bytes,";
    let log = machine.daemon_log();
    let last = log
        .lines()
        .rfind(|line| line.contains("receive buffer"))
        .unwrap_or_default();
    assert!(
        last.contains(granted)
            && last.ends_with("33554432 requested: set ReceiveBuffer=16777216 in its socket unit"),
        "{log}"
    );
    assert!(
        machine
            .run(&["ss", "-Hulnm", "sport = 9527"])
            .contains("rb8388608")
    );
}

#[test]
fn listen_beside_the_socket_unit_is_explained() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    machine.sh("echo WALLCLOCKD_LISTEN=127.0.0.9:9527 >>/etc/default/wallclockd");
    machine.run(&["systemctl", "restart", "--no-block", SERVICE]);
    wait_for("the error", TIMEOUT, || {
        let log = machine.daemon_log();
        let error = log.lines().find(|line| line.contains("127.0.0.9:9527"))?;
        assert!(
            error.contains("systemd holds the socket of this service, [::]:9527")
                && error.contains("ListenDatagram= in wallclockd.socket"),
            "{error}"
        );
        Some(())
    });
}

#[test]
fn unknown_variable_causes_one_warning() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    machine.sh("echo WALLCLOCKD_REQUIRE_SNYC=true >>/etc/default/wallclockd");
    machine.run(&["systemctl", "restart", SERVICE]);
    let response = query(&local_socket(&machine, "[::1]:9527"), "%%");
    assert_eq!(response.as_deref(), Some("%"));
    let warning = "WALLCLOCKD_REQUIRE_SNYC is ignored: no such option; WALLCLOCKD_REQUIRE_SYNC is";
    assert_eq!(machine.count_warnings(warning), 1);
}

/// The seconds of the journal's lines of priority err that contain a text.
fn error_times(machine: &Machine, text: &str) -> Vec<f64> {
    machine.run(&["journalctl", "--sync"]);
    let errors = machine.run(&[
        "journalctl",
        "--quiet",
        "--no-pager",
        "--output=short-unix",
        "--priority=err",
        "--identifier=wallclockd",
    ]);
    let lines = errors.lines().filter(|line| line.contains(text));
    lines
        .map(|line| line.split(' ').next().and_then(|time| time.parse().ok()))
        .map(|time| time.expect("a time"))
        .collect()
}

/// `systemctl restart` fails, the status and the journal say why, systemd tries again every five
/// seconds, and a request waits in the socket until the file is mended.
#[test]
fn wrong_option_is_shown_and_loses_no_request() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let socket = local_socket(&machine, "[::1]:9527");
    for (setting, expected) in [
        (
            "WALLCLOCKD_RECEIVE_BUFFER=8X",
            "WALLCLOCKD_RECEIVE_BUFFER=8X: not a size, such as 8388608, 8M or 8MiB",
        ),
        ("WALLCLOCKD_VERBOSE=-1", "WALLCLOCKD_VERBOSE=-1: "),
        (
            "TZ=Mars/Olympus",
            "load the time zone: TZ=Mars/Olympus: no such file",
        ),
    ] {
        machine.sh(&format!("echo {setting} >/etc/default/wallclockd"));
        let start = Instant::now();
        let restart = machine.try_run(&["systemctl", "restart", SERVICE]);
        eprintln!(
            "{setting}: systemctl restart ends after {:?}",
            start.elapsed()
        );
        assert!(!restart.status.success(), "{setting}");
        // It failed because the daemon ended, not because of TimeoutStartSec=.
        let stderr = String::from_utf8_lossy(&restart.stderr);
        assert!(stderr.contains("exited with error code"), "{stderr}");
        wait_for("the status", TIMEOUT, || {
            let status = machine.property(SERVICE, "StatusText");
            status.starts_with(expected).then_some(())
        });
        socket.send(b"%%").expect("the socket is systemd's");
        let times = wait_for("another try", TIMEOUT, || {
            Some(error_times(&machine, expected)).filter(|times| times.len() >= 2)
        });
        for pair in times.windows(2) {
            assert!(pair[1] - pair[0] >= 5.0, "{times:?}");
        }
        let log = machine.journal(&["--unit", SERVICE]);
        assert!(log.contains("code=exited, status=2/"), "{log}");
        machine.sh("echo WALLCLOCKD_RECEIVE_BUFFER=8MiB >/etc/default/wallclockd");
        machine.run(&["systemctl", "restart", SERVICE]);
        let mut buf = [0; 8];
        let length = socket.recv(&mut buf).expect("a response");
        assert_eq!(&buf[..length], b"%", "{setting}");
    }
}

/// Without a restart by the administrator, too, and an instance, which has no socket unit.
#[test]
fn mended_option_applies_at_the_next_try() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    machine.sh("echo WALLCLOCKD_UTC=perhaps >/etc/default/wallclockd");
    machine.run(&["systemctl", "restart", "--no-block", SERVICE, INSTANCE]);
    for unit in [SERVICE, INSTANCE] {
        wait_for("the error", TIMEOUT, || {
            machine
                .property(unit, "StatusText")
                .starts_with("WALLCLOCKD_UTC=perhaps: ")
                .then_some(())
        });
    }
    machine.sh("echo WALLCLOCKD_UTC=true >/etc/default/wallclockd");
    for (unit, server) in [(SERVICE, "[::1]:9527"), (INSTANCE, "127.0.0.9:9528")] {
        machine.daemon(unit);
        let response = query(&local_socket(&machine, server), "%%");
        assert_eq!(response.as_deref(), Some("%"), "{unit}");
    }
}

#[test]
fn drop_ins_add_to_the_lists_of_the_units() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    // The package installs the repository's files, and no drop-in that changes them.
    for unit in [SOCKET, SERVICE, TEMPLATE] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("systemd")
            .join(unit);
        let installed = machine.path("/usr/lib/systemd/system").join(unit);
        assert_eq!(
            fs::read_to_string(installed).expect("an installed unit"),
            fs::read_to_string(source).expect("a unit"),
            "{unit}"
        );
    }
    for unit in [SOCKET, SERVICE, INSTANCE] {
        assert_eq!(machine.property(unit, "DropInPaths"), "", "{unit}");
    }
    machine.sh("cp /usr/share/zoneinfo/Asia/Tokyo /root/zone");
    let local = "[Service]\nEnvironment=TZ=:/zone\nBindReadOnlyPaths=/root/zone:/zone\n";
    machine.drop_in(SERVICE, "10-local.conf", local);
    machine.drop_in(TEMPLATE, "10-local.conf", local);
    machine.run(&["systemctl", "restart", SERVICE, INSTANCE]);
    for server in ["[::1]:9527", "127.0.0.9:9528"] {
        let zone = query(&local_socket(&machine, server), "%Z");
        assert_eq!(zone.as_deref(), Some("JST"), "{server}");
    }
}

#[test]
fn stream_socket_is_refused_with_a_clear_error() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    machine.drop_in(
        SOCKET,
        "override.conf",
        "[Socket]\nListenDatagram=\nListenStream=9527\n",
    );
    machine.run(&["systemctl", "restart", SOCKET]);
    assert!(
        !machine
            .try_run(&["systemctl", "start", SERVICE])
            .status
            .success()
    );
    let errors = machine.journal(&[
        "--unit",
        SERVICE,
        "--identifier",
        "wallclockd",
        "--priority",
        "err",
    ]);
    assert!(
        errors.contains("not a datagram socket (use ListenDatagram=)"),
        "{errors}"
    );
    machine.run(&["systemctl", "stop", SERVICE, SOCKET]);
}

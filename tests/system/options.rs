//! Settings of administrators: options, drop-ins, mistakes.

use std::fs;
use std::path::Path;

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
fn leftover_sync_file_variable_causes_a_warning() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    machine.sh("echo WALLCLOCKD_SYNC_FILE=/sync >>/etc/default/wallclockd");
    machine.run(&["systemctl", "restart", SERVICE]);
    let response = query(&local_socket(&machine, "[::1]:9527"), "%%");
    assert_eq!(response.as_deref(), Some("%"));
    assert_eq!(machine.count_warnings("WALLCLOCKD_SYNC_FILE is ignored"), 1);
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

//! Networks, addresses and cores: which requests reach a daemon, and which daemon.

use super::documents::{self, assert_documented, block_with, run_documented};
use super::machine::{Machine, SERVICE, SOCKET, TIMEOUT, wait_for};
use super::network::{Lan, OTHER, V4, V6, assert_answered, assert_ignored, local_socket};

/// Edits the socket unit: the command and the entered text as documented.
fn edit_socket_as_documented(machine: &Machine, text: &str) {
    let command = documents::EDIT_SOCKET.line();
    assert_documented(command);
    machine.edit(command, text);
}

#[test]
fn only_listed_networks_get_responses() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let lan = Lan::new(&machine);
    let neighbour = lan.socket(1, &format!("{V4}:9527"));
    let neighbour_v6 = lan.socket(2, &format!("[{V6}]:9527"));
    let other = lan.socket(0, &format!("{OTHER}:9527"));
    let public = lan.public_socket();
    let local = local_socket(&machine, "127.0.0.1:9527");
    assert_answered(&neighbour, "a neighbour");
    assert_answered(&neighbour_v6, "a neighbour over IPv6");
    assert_answered(&other, "a host in another private network");
    assert_answered(&local, "localhost");
    assert_ignored(&public, &local, "a host with a public address");

    // The documented line: one room only.
    let line = block_with("WALLCLOCKD_ALLOW=localhost,192.168.7.0/24,fd00:7::/64");
    machine.write("/etc/default/wallclockd", &line);
    run_documented(&machine, documents::RESTART);
    assert_answered(&neighbour, "a neighbour, with the new list");
    assert_answered(&neighbour_v6, "a neighbour over IPv6, with the new list");
    assert_answered(&local, "localhost, with the new list");
    assert_ignored(&other, &local, "a network that is not in the new list");

    // Without the socket unit's list that of the daemon remains.
    let daemon = machine.daemon(SERVICE);
    let open = "[Socket]\nIPAddressAllow=any\n";
    machine.write(
        &format!("/etc/systemd/system/{SOCKET}.d/override.conf"),
        open,
    );
    machine.run(&["systemctl", "daemon-reload"]);
    assert_ignored(&public, &local, "a host that only the socket unit lists");
    assert_ignored(
        &other,
        &local,
        "a host that only the socket unit lists, too",
    );
    assert_eq!(machine.daemon(SERVICE), daemon, "the daemon was restarted");
}

#[test]
fn public_network_is_added_in_both_places() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let lan = Lan::new(&machine);
    let public = lan.public_socket();
    let local = local_socket(&machine, "127.0.0.1:9527");
    machine.write(
        "/etc/default/wallclockd",
        "WALLCLOCKD_ALLOW=localhost,203.0.113.0/24\n",
    );
    run_documented(&machine, documents::RESTART);
    assert_ignored(&public, &local, "a host that only the daemon lists");

    // The documented lines, with the test's network, in force without a restart.
    let daemon = machine.daemon(SERVICE);
    let list = block_with("IPAddressAllow=2001:db8:7::/64");
    edit_socket_as_documented(&machine, &list.replace("2001:db8:7::/64", "203.0.113.0/24"));
    assert_answered(&public, "a host that both list");
    assert_eq!(machine.daemon(SERVICE), daemon, "the daemon was restarted");
}

#[test]
fn socket_unit_listens_on_certain_addresses_only() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let lan = Lan::new(&machine);
    let listen = block_with("ListenDatagram=192.168.7.10:9527");
    edit_socket_as_documented(&machine, &listen);
    run_documented(&machine, documents::RESTART_SOCKET);
    for socket in lan.sockets() {
        assert_answered(&socket, "a host that uses a listed address");
    }
    let control = lan.socket(0, &format!("{V4}:9527"));
    let local = local_socket(&machine, "127.0.0.1:9527");
    assert_ignored(&local, &control, "127.0.0.1");
    let other = lan.socket(0, &format!("{OTHER}:9527"));
    assert_ignored(&other, &control, "an address that is not listed");
}

#[test]
fn instances_serve_one_address_each() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let lan = Lan::new(&machine);
    run_documented(&machine, documents::DISABLE);
    run_documented(&machine, documents::ENABLE_ADDRESSES);
    run_documented(&machine, documents::ENABLE_ESCAPED);
    for socket in lan.sockets() {
        assert_answered(&socket, "a host");
    }
    let other_port = lan.socket(1, &format!("[{V6}]:9528"));
    assert_answered(&other_port, "a host that uses the other port");
    let control = lan.socket(0, &format!("{V4}:9527"));
    let public = lan.public_socket();
    assert_ignored(&public, &control, "a host with a public address");
}

#[test]
fn instances_share_one_port_and_the_clients() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let lan = Lan::new(&machine);
    run_documented(&machine, documents::DISABLE);
    run_documented(&machine, documents::WRITE_CORE_OPTIONS);
    run_documented(&machine, documents::COPY_CORE_OPTIONS);
    run_documented(&machine, documents::ENABLE_CORES);
    // 120 sockets: the probability that one instance gets none of them is 2^-119.
    for _ in 0..20 {
        for socket in lan.sockets() {
            assert_answered(&socket, "a host");
        }
    }
    for core in ["wallclockd@core1", "wallclockd@core2"] {
        machine.run(&["systemctl", "kill", "--signal=USR1", core]);
        wait_for(&format!("responses of {core}"), TIMEOUT, || {
            let log = machine.journal(&["--unit", core]);
            let mut lines = log.lines().rev();
            let counters = lines.find(|line| line.contains("answered="))?;
            let [answered, ..] = support::parse_counters(counters);
            (answered > 0).then_some(())
        });
    }
}

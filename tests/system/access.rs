//! Networks, addresses and cores: which requests reach a daemon, and which daemon.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use socket2::{Domain, Socket, Type};
use support::{skip_without, within_network};
use wallclock::sys::mmsg::BATCH_SIZE;

use super::documents::{self, assert_documented, block_with, run_documented};
use super::load::{Load, SetOnDrop};
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

    // The kernel counts what the list refuses like requests that a full buffer dropped. A full
    // batch makes the daemon look at the count; this is no reason for a warning.
    assert!(
        machine.counters()[4] > 0,
        "the refused request is not counted"
    );
    let daemon = machine.daemon(SERVICE);
    machine.run(&["kill", "-STOP", &daemon]);
    for _ in 0..2 * BATCH_SIZE {
        local.send(b"%Y").expect("to send");
    }
    machine.run(&["kill", "-CONT", &daemon]);
    for _ in 0..2 * BATCH_SIZE {
        local.recv(&mut [0; 64]).expect("a response");
    }
    assert_eq!(machine.count_warnings("receive buffer full"), 0);

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

/// The number of packets that the rules of a listed table dropped.
fn dropped_by_table(listed: &str) -> u64 {
    let counts = listed.split("counter packets ").skip(1);
    let numbers = counts.map(|rest| rest.split(' ').next().and_then(|count| count.parse().ok()));
    numbers
        .map(|count: Option<u64>| count.expect("a count"))
        .sum()
}

/// Without the table this flood fills the receive buffer, and the other hosts lose requests.
#[test]
fn limit_for_each_source_protects_the_other_hosts() {
    if skip_without(&["nft"]) {
        return;
    }
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let lan = Lan::new(&machine);
    let show = || run_documented(&machine, documents::SHOW_TABLE);
    run_documented(&machine, documents::COPY_TABLE);
    run_documented(&machine, documents::LOAD_TABLE);
    for server in [format!("{V4}:9527"), format!("[{V6}]:9527")] {
        let before = dropped_by_table(&show());
        let flood = lan.socket(0, &server);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    // An error is a full queue on the way, which a flood causes.
                    let _ = flood.send(b"%H:%M:%S");
                }
            });
            let end = SetOnDrop(&over);
            wait_for("a flood that is limited", TIMEOUT, || {
                (dropped_by_table(&show()) > before).then_some(())
            });
            let load = Load::start(vec![lan.socket(1, &server), lan.socket(2, &server)], 200);
            std::thread::sleep(limited_flood_time());
            load.assert_none_lost();
            drop(end);
        });
        eprintln!(
            "{server}: {} dropped by the table",
            dropped_by_table(&show()) - before
        );
    }
    assert_eq!(machine.counters()[4], 0, "the receive buffer was full");

    // The table is there after a boot, too: the service loads its file then.
    run_documented(&machine, documents::INCLUDE_TABLE);
    run_documented(&machine, documents::ENABLE_TABLE);
    machine.run(&["systemctl", "restart", "nftables"]);
    assert_eq!(dropped_by_table(&show()), 0);
    run_documented(&machine, documents::DELETE_TABLE);
    assert!(!machine.sh("nft list tables").contains("wallclockd"));
}

/// How long the flood lasts: `WALLCLOCK_FLOOD_SECONDS`, or 5 s for each address family.
fn limited_flood_time() -> Duration {
    let seconds = std::env::var("WALLCLOCK_FLOOD_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(5))
}

/// Binds UDP port 9527 of the machine as an unprivileged user who asks to share it.
fn bind_as_stranger(machine: &Machine, address: &str) -> std::io::Result<Socket> {
    let address: SocketAddr = address.parse().expect("an address");
    within_network(machine.pid(), || {
        let nobody = Uid::from_raw(65534);
        // Of this thread alone.
        set_thread_res_uid(nobody, nobody, nobody).expect("root may");
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        Ok(socket)
    })
}

#[test]
fn port_of_the_service_is_refused_to_strangers() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let assert_refused = |when: &str| {
        for address in ["0.0.0.0:9527", "127.0.0.1:9527", "[::]:9527", "[::1]:9527"] {
            let error = bind_as_stranger(&machine, address).expect_err(when);
            assert_eq!(
                error.kind(),
                ErrorKind::AddrInUse,
                "{when}: {address}: {error}"
            );
        }
    };
    assert_refused("beside the service");
    run_documented(&machine, documents::RESTART);
    assert_refused("after a restart");
    // The socket without the daemon.
    machine.run(&["systemctl", "stop", SERVICE]);
    assert_refused("beside the socket");
    let sockets = || {
        run_documented(&machine, documents::SHOW_PORT)
            .matches(":9527")
            .count()
    };
    assert_eq!(sockets(), 1);
    // A new socket has SO_REUSEADDR until the service has run.
    machine.run(&["systemctl", "restart", SOCKET]);
    let _stranger = bind_as_stranger(&machine, "0.0.0.0:9527").expect("a shared port");
    assert_eq!(sockets(), 2);
}

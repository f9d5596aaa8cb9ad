//! The other recipes: a room at a glance, an island, a tunnel, settings of all machines, firewalls.

use std::io::Write;
use std::process::{Command, Stdio};

use support::faults::ClockStatus;
use support::{libfaketime_or_skip, skip_without};

use super::super::documents::{self, assert_documented, block_with, run_documented};
use super::super::machine::Machine;
use super::super::network::{
    Lan, Namespace, Switch, V4, assert_answered, assert_ignored, command_in, host_socket, ip,
    local_socket, query,
};
use super::super::quick_start::run_until_as_documented;
use super::{daemon, daemon_with_clock, skip_without_hosts};

/// Loads rules into a host's chain that drops all other packets but those of the link itself.
pub fn load_rules(host: &Namespace, rules: &str) {
    let table = format!(
        "flush ruleset
         table inet filter {{
             chain input {{
                 type filter hook input priority 0; policy drop;
                 iif lo accept
                 meta l4proto ipv6-icmp accept
                 {rules}
             }}
         }}"
    );
    let mut nft = command_in(host.pid(), "nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("nft");
    let mut input = nft.stdin.take().expect("piped");
    input.write_all(table.as_bytes()).expect("nft reads");
    drop(input);
    let status = nft.wait().expect("nft");
    assert!(status.success(), "{table}");
}

#[test]
fn room_is_measured_by_one_command() {
    let Some(library) = libfaketime_or_skip() else {
        return;
    };
    if skip_without_hosts(&[]) {
        return;
    }
    let switch = Switch::new();
    let servers: Vec<_> = [(11, "+0"), (12, "-3.2"), (13, "+0")]
        .map(|(number, shift)| {
            let host = switch.host(number);
            let mut command = super::daemon_command(&host, "UTC", "");
            command
                .env("LD_PRELOAD", &library)
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("FAKETIME", shift);
            let mut process = support::Process::start(&mut command);
            process.wait_for("listening on");
            (host, process)
        })
        .into();
    run_until_as_documented(&switch.host(21), documents::OFFSET_OF_ROOM);
    drop(servers);
}

#[test]
fn island_is_answered_with_a_warning_unless_sync_is_required() {
    if skip_without_hosts(&[]) {
        return;
    }
    let switch = Switch::new();
    let host = switch.host(11);
    let other = switch.host(21);
    for (settings, expected) in [
        ("", "UTC"),
        (
            "WALLCLOCKD_REQUIRE_SYNC=true",
            "error: clock not synchronised",
        ),
    ] {
        // What chronyd with `local` leaves: it never reports its clock as synchronised.
        let status = ClockStatus::Unsynchronised;
        let Some((mut daemon, _clock)) = daemon_with_clock(&host, "UTC", settings, status) else {
            return support::skip("no C compiler (Debian package gcc)");
        };
        let socket = host_socket(other.pid(), "192.168.7.11:9527");
        for _ in 0..3 {
            let response = query(&socket, "%Z");
            assert_eq!(response.as_deref(), Some(expected));
        }
        daemon.terminate();
        let warnings = daemon
            .log
            .iter()
            .filter(|line| line.contains("WARN") && line.contains("not synchronised"));
        assert_eq!(warnings.count(), 1, "{:#?}", daemon.log);
    }
}

#[test]
fn chronyd_accepts_the_lines_for_an_island() {
    if skip_without(&["chronyd"]) {
        return;
    }
    let lines = block_with("local stratum 10");
    let folder = support::TempDir::new("island");
    let file = folder.path().join("chrony.conf");
    std::fs::write(&file, &lines).expect("a file");
    // It prints the configuration and ends.
    let output = Command::new("chronyd")
        .arg("-p")
        .arg("-f")
        .arg(&file)
        .output();
    let output = output.expect("chronyd");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), lines);
}

/// A pair of Ethernet interfaces stands in for the tunnel: the server's side is the same.
#[test]
fn server_in_a_tunnel_answers_only_there() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let lan = Lan::new(&machine);
    let edit = documents::EDIT_SOCKET.line();
    assert_documented(edit);
    machine.edit(edit, &block_with("ListenDatagram=10.9.0.1:9527"));
    // The tunnel does not exist yet.
    run_documented(&machine, documents::RESTART_SOCKET);

    let peer = Namespace::new();
    let link = format!("link add wg0 type veth peer name wg0 netns {}", peer.pid());
    ip(machine.pid(), &link);
    machine.sh("ip addr add 10.9.0.1/24 dev wg0; ip link set wg0 up");
    peer.ip("addr add 10.9.0.2/24 dev wg0");
    peer.ip("link set wg0 up");
    let inside = host_socket(peer.pid(), "10.9.0.1:9527");
    assert_answered(&inside, "a host in the tunnel");
    let other = lan.socket(1, &format!("{V4}:9527"));
    assert_ignored(&other, &inside, "the address outside of the tunnel");

    // The kernel accepts packets to any of its addresses on each interface.
    ip(lan.pid(1), &format!("route add 10.9.0.1/32 via {V4}"));
    let outside = lan.socket(1, "10.9.0.1:9527");
    assert_answered(&outside, "a host outside of the tunnel, without a list");
    let allow = block_with("WALLCLOCKD_ALLOW=10.9.0.0/24");
    machine.write("/etc/default/wallclockd", &allow);
    run_documented(&machine, documents::RESTART_SOCKET);
    assert_answered(&inside, "a host in the tunnel, with the list");
    assert_ignored(&outside, &inside, "a host outside of the tunnel");
}

#[test]
fn sessions_and_services_get_the_server_of_all_machines() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let server = "192.168.7.10\n";
    let session = || machine.run(&["su", "--login", "--command", "echo $WALLCLOCK_SERVER"]);
    assert_eq!(session(), "\n");
    run_documented(&machine, documents::TELL_SESSIONS);
    assert_eq!(session(), server);

    let unit = "[Service]\nType=oneshot\nExecStart=sh -c 'echo $WALLCLOCK_SERVER >/root/server'\n";
    machine.write("/etc/systemd/system/show.service", unit);
    let service = || machine.sh("systemctl start show; cat /root/server");
    assert_eq!(service(), "\n");
    let file = "/etc/systemd/system.conf.d/wallclock.conf";
    let line = "DefaultEnvironment=WALLCLOCK_SERVER=192.168.7.10";
    machine.write(file, &block_with(line));
    run_documented(&machine, documents::DAEMON_RELOAD);
    assert_eq!(service(), server);
}

#[test]
fn firewall_admits_the_listed_networks() {
    if skip_without_hosts(&["nft"]) {
        return;
    }
    let switch = Switch::new();
    let server = switch.host(11);
    server.ip("addr add 192.168.8.11/24 dev eth0");
    server.ip("addr add fd00:8::11/64 dev eth0 nodad");
    let _daemon = daemon(&server, "UTC", "");
    load_rules(
        &server,
        &block_with("ip saddr 192.168.7.0/24 udp dport 9527 accept"),
    );
    let inside = switch.host(21);
    let outside = Namespace::new();
    let addresses = ["192.168.8.22/24".into(), "fd00:8::22/64 nodad".into()];
    switch.connect(outside.pid(), 22, &addresses);
    for (listed, other) in [
        ("192.168.7.11:9527", "192.168.8.11:9527"),
        ("[fd00:7::11]:9527", "[fd00:8::11]:9527"),
    ] {
        let inside = host_socket(inside.pid(), listed);
        assert_answered(&inside, listed);
        let outside = host_socket(outside.pid(), other);
        assert_ignored(&outside, &inside, other);
    }
}

#[test]
fn firewalld_admits_the_service_and_vrrp() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    if !machine.path("/usr/bin/firewall-cmd").exists() {
        return support::skip("no firewalld (Debian package firewalld)");
    }
    let lan = Lan::new(&machine);
    // Other tests need no D-Bus, so it is masked. The test host may have masked its firewalld.
    machine.sh("cd /etc/systemd/system; rm -f dbus.socket dbus.service firewalld.service");
    machine.sh("systemctl daemon-reload; systemctl start firewalld");
    // firewalld has its name on the bus before it has loaded its rules.
    assert_eq!(machine.run(&["firewall-cmd", "--state"]), "running\n");
    let host = lan.socket(1, &format!("{V4}:9527"));
    let local = local_socket(&machine, "127.0.0.1:9527");
    assert_ignored(&host, &local, "a host, before the service is added");
    for command in [
        documents::ADD_SERVICE,
        documents::ADD_VRRP,
        documents::RELOAD_FIREWALLD,
    ] {
        run_documented(&machine, command);
    }
    assert_answered(&host, "a host");
    let rules = machine.run(&["nft", "list", "ruleset"]);
    assert!(rules.contains("l4proto vrrp accept"), "{rules}");
}

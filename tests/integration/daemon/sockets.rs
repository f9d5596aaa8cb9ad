//! The addresses that a daemon listens on, and other sockets on its port.

use std::net::UdpSocket;
use std::process::Command;

use support::{Process, query, skip_without_ipv6, start_daemon, start_daemon_with, wallclockd};

use super::serves_time;

#[test]
fn response_comes_from_the_requested_address() {
    if skip_without_ipv6() {
        return;
    }
    let (_any, any) = start_daemon_with(&["-l", "[::]:0"]);
    let (_any_v4, any_v4) = start_daemon_with(&["-l", "0.0.0.0:0"]);
    let mut servers = vec![
        format!("127.0.0.1:{}", any_v4.port()),
        format!("127.0.0.2:{}", any_v4.port()),
    ];
    servers.extend(
        ["127.0.0.1", "127.0.0.2", "127.3.4.5", "[::1]"]
            .map(|host| format!("{host}:{}", any.port())),
    );
    for address in servers {
        // The client's socket is connected: it receives from this address only.
        let server = address.parse().expect("an address");
        assert!(serves_time(server), "{address}");
    }
    let (_one, one) = start_daemon_with(&["-l", "127.0.0.2:0"]);
    assert!(serves_time(one));
}

#[test]
fn one_daemon_serves_several_addresses() {
    if skip_without_ipv6() {
        return;
    }
    let mut process = Process::start(wallclockd().args([
        "-l",
        "127.0.0.1:0",
        "-l",
        "[::1]:0",
        "--listen=127.0.0.2:0",
    ]));
    for _ in 0..3 {
        let address = process.wait_for_address();
        assert!(serves_time(address), "{address}");
    }
}

#[test]
fn second_daemon_warns_and_takes_over_until_its_end() {
    let (_first, address) = start_daemon_with(&["-l", "127.0.0.1:0", "--utc"]);
    let mut second = Process::start(
        wallclockd()
            .args(["-l", &address.to_string()])
            .env("TZ", "CST-8"),
    );
    let warning = second.wait_for("another socket");
    assert!(
        warning.contains("WARN") && warning.contains(&address.to_string()),
        "{warning}"
    );
    second.wait_for_address();
    for _ in 0..20 {
        assert_eq!(query(address, b"%Z"), b"CST");
    }
    second.terminate();
    for _ in 0..20 {
        assert_eq!(query(address, b"%Z"), b"UTC");
    }
}

/// Ends a daemon and checks that it did not warn of another socket on its port.
fn assert_no_warning_of_another_socket(mut process: Process) {
    process.terminate();
    let warned = |line: &String| line.contains("another socket");
    assert!(!process.log.iter().any(warned), "{:#?}", process.log);
}

#[test]
fn daemon_alone_on_its_port_does_not_warn() {
    let (process, _) = start_daemon();
    assert_no_warning_of_another_socket(process);
}

#[test]
fn overlapping_own_addresses_do_not_warn() {
    if skip_without_ipv6() {
        return;
    }
    let port = UdpSocket::bind("[::]:0")
        .and_then(|socket| socket.local_addr())
        .expect("a free port")
        .port();
    let list = format!("127.0.0.1:{port},[::]:{port},localhost:{port}");
    let mut process = Process::start(wallclockd().env("WALLCLOCKD_LISTEN", list));
    process.wait_for_address();
    assert_no_warning_of_another_socket(process);
}

#[test]
fn instances_with_reuse_port_do_not_warn() {
    let (_first, address) = start_daemon_with(&["-l", "127.0.0.1:0", "--reuse-port"]);
    let (second, _) = start_daemon_with(&["-l", &address.to_string(), "--reuse-port"]);
    assert_no_warning_of_another_socket(second);
}

#[test]
fn missing_inherited_descriptor_is_an_error() {
    let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" 3<&-";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_wallclockd")]);
    let mut process = Process::start(&mut command);
    assert_eq!(process.wait().code(), Some(2));
    let log = process.log.join("\n");
    assert!(
        log.contains("LISTEN_FDS") && log.contains("Bad file descriptor"),
        "{log}"
    );
}

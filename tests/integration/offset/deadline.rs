//! `--deadline`: a measurement ends, whatever the servers do.

use std::net::UdpSocket;
use std::process::Stdio;
use std::time::Duration;

use support::{Process, start_daemon_with, wallclock, wallclock_long_timeout};

use super::servers::slow_server;

#[test]
fn slow_server_does_not_extend_the_deadline() {
    let address = slow_server(Duration::from_millis(20));
    for arguments in [
        &["--offset"][..],
        &["--json"],
        &["-w", "1"],
        &["--deadline", "0.5"],
    ] {
        let mut command = wallclock_long_timeout();
        // The samples would take half an hour.
        command.args(["-s", &address.to_string(), "--samples", "100000"]);
        let mut process = Process::start(command.args(arguments).stdout(Stdio::null()));
        assert_eq!(process.wait().code(), Some(0), "{:?}", process.log);
    }
}

#[test]
fn silent_server_does_not_extend_the_deadline() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("an address").to_string();
    let mut command = wallclock_long_timeout();
    command.args([
        "-s",
        &address,
        "-r",
        "1000",
        "--offset",
        "--deadline",
        "0.2",
    ]);
    let mut process = Process::start(&mut command);
    assert_eq!(process.wait().code(), Some(3));
    let expected = format!("wallclock: {address}: no ");
    assert!(process.log[0].starts_with(&expected), "{:?}", process.log);
}

#[test]
fn watch_starts_a_measurement_when_it_is_due() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("an address").to_string();
    let mut command = wallclock();
    command.args(["-s", &address, "--watch=0.1", "-t", "80000"]);
    let _process = Process::start(command.stdout(Stdio::null()));
    // Each measurement has a socket of its own. The first alone would wait for a day.
    let mut clients = Vec::new();
    while clients.len() < 3 {
        let (_, client) = silent.recv_from(&mut [0; 2048]).expect("a request");
        if !clients.contains(&client) {
            clients.push(client);
        }
    }
}

#[test]
fn plugin_with_a_deadline_measures_until_it_has_a_status() {
    let refusing = UdpSocket::bind("127.0.0.18:0").expect("a free port");
    let address = refusing.local_addr().expect("an address").to_string();
    let mut command = wallclock_long_timeout();
    command.args(["-s", &address, "--critical", "1000", "--deadline", "50"]);
    let mut process = Process::start(command.stdout(Stdio::null()));
    // Refused nanoseconds, it asks for whole seconds, and then it has no offset.
    for _ in 0..2 {
        let (_, client) = refusing.recv_from(&mut [0; 2048]).expect("a request");
        refusing
            .send_to(b"error: clock not synchronised", client)
            .expect("the response is sent");
    }
    drop(refusing);
    let (_daemon, _) = start_daemon_with(&["--listen", &address]);
    assert_eq!(process.wait().code(), Some(0));
}

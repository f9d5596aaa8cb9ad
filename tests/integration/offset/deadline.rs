//! `--deadline`: a measurement ends, whatever the servers do.

use std::net::UdpSocket;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::{Process, closed_port, start_daemon_with, wallclock, wallclock_long_timeout};

use super::servers::{scripted_server, slow_server, wall_clock, with_nanoseconds};

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
fn silence_is_reported_with_its_whole_time() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("an address").to_string();
    let (output, _) = run_for(wallclock().args(["-s", &address, "-t", "0.2", "--offset"]));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let seconds: f64 = stderr
        .strip_prefix(&format!("wallclock: {address}: no response within "))
        .and_then(|rest| rest.strip_suffix(" s: 3 tries\n"))
        .and_then(|seconds| seconds.parse().ok())
        .expect(&stderr);
    // Two tries of 0.1 s at least, then one of 0.2 s.
    assert!(seconds >= 0.4, "{stderr}");
}

#[test]
fn last_measurement_is_shortly_before_the_deadline() {
    let (_closed, closed) = closed_port();
    let deadline = Duration::from_secs(3);
    for arguments in [
        &["-w", "1", "--deadline", "3"][..],
        &["--wait-sync", "1", "--deadline", "3"],
    ] {
        let (output, took) = run_for(
            wallclock()
                .args(["-s", &closed.to_string()])
                .args(arguments),
        );
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(took >= deadline - Duration::from_millis(100), "{took:?}");
    }
}

// The server stops after the first measurement, whose interval is partly in the range.
#[test]
fn plugin_keeps_what_it_knows_at_the_deadline() {
    let address = scripted_server("127.0.0.1:0", |request, number| {
        thread::sleep(Duration::from_millis(5));
        (number <= 8).then(|| with_nanoseconds(request, wall_clock()))
    });
    let mut command = wallclock_long_timeout();
    command.args(["-s", &address.to_string(), "-w", "0.000001"]);
    let (output, _) = run_for(command.args(["--deadline", "5"]));
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{line}");
    assert!(line.starts_with("WALLCLOCK UNKNOWN: offset "), "{line}");
}

/// Runs a command. Returns how long that took, too.
fn run_for(command: &mut Command) -> (Output, Duration) {
    let start = Instant::now();
    let output = command.output().expect("wallclock runs");
    (output, start.elapsed())
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

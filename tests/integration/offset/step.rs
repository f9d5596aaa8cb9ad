//! A step of the local clock during a measurement.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::SystemTime;

use serde_json::Value;
use support::{TempDir, libfaketime_or_skip, wallclock_long_timeout};

use super::clients::contains;
use super::servers::{scripted_server, wall_clock, with_nanoseconds, with_seconds};

/// Runs a client with `--json` whose clock is off by what the file `shift` says. Returns the object
/// and the exit status.
fn run_shifted(mut command: Command, library: &Path, shift: &Path) -> (Value, Option<i32>) {
    command
        .arg("--json")
        .env("LD_PRELOAD", library)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_TIMESTAMP_FILE", shift)
        .env("FAKETIME_NO_CACHE", "1");
    let output = command.output().expect("wallclock starts");
    let json: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    println!("{json}");
    (json, output.status.code())
}

// The server steps the clock of the client by 5 s before it responds to the fourth request.
#[test]
fn step_of_the_local_clock_is_in_no_sample() {
    let Some(library) = libfaketime_or_skip() else {
        return;
    };
    let directory = TempDir::new("step");
    let shift = directory.write_file("faketime", b"+0");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let server = socket.local_addr().expect("a bound socket");
    let client_shift = shift.clone();
    thread::spawn(move || {
        let mut request = [0; 64];
        for number in 1.. {
            let Ok((length, client)) = socket.recv_from(&mut request) else {
                return;
            };
            if number == 4 {
                fs::write(&client_shift, "+5").expect("the shift is written");
            }
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let now = now.expect("a time after 1970");
            let time = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
            let response = String::from_utf8_lossy(&request[..length]).replace("%s.%N", &time);
            let _ = socket.send_to(response.as_bytes(), client);
        }
    });
    let mut command = wallclock_long_timeout();
    command.args(["--server", &server.to_string()]);
    let (json, _) = run_shifted(command, &library, &shift);
    assert_eq!(json["servers"][0]["restarts"], 0);
    assert!(contains(&json, -5.0), "{json}");
}

// The clock of the client is stepped by 0.5 s after a second: two servers have been measured by
// then, one of whole seconds has not.
#[test]
fn step_between_the_ends_of_two_servers_is_in_no_offset() {
    let Some(library) = libfaketime_or_skip() else {
        return;
    };
    let directory = TempDir::new("step-between");
    let shift = directory.write_file("faketime", b"+0");
    let client_shift = shift.clone();
    let start = std::time::Instant::now();
    let mut is_stepped = false;
    let seconds = scripted_server("127.0.0.1:0", move |request, _| {
        if !is_stepped && start.elapsed().as_secs() >= 1 {
            is_stepped = true;
            fs::write(&client_shift, "+0.5").expect("the shift is written");
        }
        Some(with_seconds(request, wall_clock()))
    });
    let nanoseconds = || {
        scripted_server("127.0.0.1:0", |request, _| {
            Some(with_nanoseconds(request, wall_clock()))
        })
    };
    let mut command = wallclock_long_timeout();
    for server in [nanoseconds(), nanoseconds(), seconds] {
        command.args(["--server", &server.to_string()]);
    }
    let (json, status) = run_shifted(command, &library, &shift);
    assert_eq!(status, Some(0), "{json}");
    assert_eq!(json["agree"], 3, "{json}");
    assert!(contains(&json, -0.5), "{json}");
}

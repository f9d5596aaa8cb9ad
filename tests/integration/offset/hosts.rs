//! One vote for each host, and hosts that contradict each other.

use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use support::{TempDir, program, skip_without, skip_without_namespaces, wallclock_long_timeout};

use super::clients::{contains, run, run_json, stdout};
use super::servers::{scripted_server, wall_clock, with_nanoseconds};

const MILLI: i128 = 1_000_000;

/// A server whose clock is off by so many milliseconds.
fn server_off_by(address: &str, millis: i128) -> SocketAddr {
    scripted_server(address, move |request, _| {
        Some(with_nanoseconds(request, wall_clock() + millis * MILLI))
    })
}

/// Runs `wallclock --json` with these servers as the user writes them.
fn run_json_with(servers: &[String]) -> (Value, Option<i32>) {
    let mut command = wallclock_long_timeout();
    for server in servers {
        command.args(["--server", server]);
    }
    let output = command.arg("--json").output().expect("wallclock starts");
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    (json, output.status.code())
}

// The name has two addresses, both of the liar.
#[test]
fn two_addresses_of_a_liar_are_one_vote() {
    if skip_without_namespaces() || skip_without(&["mount"]) {
        return;
    }
    let liar = server_off_by("127.0.0.3:0", 5_000);
    server_off_by(&format!("127.0.0.4:{}", liar.port()), 5_000);
    let honest = server_off_by("127.0.0.2:0", 0);
    let directory = TempDir::new("hosts");
    let names = b"127.0.0.3 liar.example\n127.0.0.4 liar.example\n";
    let names = directory.write_file("hosts", names);
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    command
        .args(["--mount", "sh", "-c", script])
        .arg(names)
        .arg(program("wallclock"))
        .args(["--json", "--timeout", "60", "--server"])
        .arg(format!("liar.example:{}", liar.port()))
        .args(["--server", &honest.to_string()])
        .env_remove("WALLCLOCK_SERVER");
    let output = command.output().expect("unshare starts");
    let json: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    println!("{json}");
    assert_eq!(json["servers"].as_array().map(Vec::len), Some(3), "{json}");
    assert_eq!(output.status.code(), Some(1), "{json}");
    assert_eq!(json["offset"], Value::Null, "{json}");
    assert_eq!((&json["agree"], &json["answered"]), (&0.into(), &2.into()));
}

#[test]
fn servers_that_share_an_address_are_one_host() {
    let liar = server_off_by("127.0.0.3:0", 5_000);
    let honest = server_off_by("127.0.0.2:0", 0);
    let mapped = format!("[::ffff:127.0.0.3]:{}", liar.port());
    let (json, status) = run_json_with(&[liar.to_string(), mapped, honest.to_string()]);
    assert_eq!(status, Some(1), "{json}");
    assert_eq!((&json["asked"], &json["answered"]), (&2.into(), &2.into()));
    assert_eq!(json["servers"].as_array().map(Vec::len), Some(2), "{json}");
}

/// A server whose responses take 0.2 s.
fn slow_server() -> SocketAddr {
    scripted_server("127.0.0.1:0", |request, _| {
        let response = with_nanoseconds(request, wall_clock());
        thread::sleep(Duration::from_millis(200));
        Some(response)
    })
}

#[test]
fn hosts_that_contradict_each_other_are_named() {
    let honest = server_off_by("127.0.0.1:0", 0);
    let liar = server_off_by("127.0.0.1:0", -190);
    let servers = [honest, liar, slow_server()];
    let output = run(&servers, &["--offset", "--samples", "2"]);
    let text = stdout(&output);
    println!("{text}");
    assert_eq!(output.status.code(), Some(1), "{text}");
    let last = text.lines().last().expect("a line");
    assert!(!last.contains('±'), "{text}");
    let ending = format!("  contradiction between {honest} and {liar}");
    assert!(last.ends_with(&ending), "{text}");

    let (json, status) = run_json(&servers);
    assert_eq!(status, Some(1), "{json}");
    assert_eq!(
        (&json["offset"], &json["bound"]),
        (&Value::Null, &Value::Null)
    );
    assert!(contains(&json, 0.0) && contains(&json, -0.19), "{json}");
    let names = [honest, liar].map(|server| Value::from(server.to_string()));
    assert_eq!(json["contradicting"], Value::from(names.to_vec()), "{json}");

    let output = run(&servers, &["--warn", "100"]);
    let line = stdout(&output);
    assert_eq!(output.status.code(), Some(3), "{line}");
    let text = format!("WALLCLOCK UNKNOWN: contradiction between {honest} and {liar}\n");
    assert_eq!(line, text);
}

// The liar is in the bound of the slow server and of the honest one, but only on one side of the
// truth: the intersection of all three is without it.
#[test]
fn a_liar_cannot_narrow_what_a_majority_agrees_on() {
    // A request takes 100 ms, so the offset is from 0 to 100 ms.
    let honest = || {
        scripted_server("127.0.0.1:0", |request, _| {
            thread::sleep(Duration::from_millis(100));
            Some(with_nanoseconds(request, wall_clock()))
        })
    };
    let liar = server_off_by("127.0.0.1:0", 50);
    let (json, status) = run_json(&[honest(), liar, honest()]);
    assert_eq!(status, Some(0), "{json}");
    assert!(contains(&json, 0.0), "{json}");
}

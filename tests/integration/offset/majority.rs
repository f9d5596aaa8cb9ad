//! Several servers: the majority, a liar, a server that does not respond.

use std::net::{ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{closed_port, libfaketime_or_skip, skip, start_daemon, wallclock_long_timeout};

use super::clients::{contains, run, run_json, stdout};
use super::servers::shifted_server;

#[test]
fn liar_among_three_servers_is_named() {
    let Some(library) = libfaketime_or_skip() else {
        return;
    };
    let (_one, one) = start_daemon();
    let (_liar, liar) = shifted_server(&library, "+2");
    let (_two, two) = start_daemon();
    let output = run(&[one, liar, two], &["--offset"]);
    let text = stdout(&output);
    println!("{text}");
    assert_eq!(output.status.code(), Some(0));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[1].starts_with(&liar.to_string()), "{text}");
    assert!(lines[1].ends_with("disagrees"), "{text}");
    assert!(lines[3].starts_with("together "), "{text}");
    let agreement = format!("agreed by 2 of 3 servers, not {liar}");
    assert!(lines[3].ends_with(&agreement), "{text}");

    let (json, status) = run_json(&[one, liar, two]);
    assert_eq!(status, Some(0));
    assert!(contains(&json, 0.0), "{json}");
    let agrees = [0, 1, 2].map(|n| json["servers"][n]["agrees"].as_bool());
    assert_eq!(agrees, [Some(true), Some(false), Some(true)]);
}

#[test]
fn two_against_two_is_no_majority() {
    let Some(library) = libfaketime_or_skip() else {
        return;
    };
    let (_one, one) = start_daemon();
    let (_two, two) = start_daemon();
    let (_three, three) = shifted_server(&library, "+2");
    let (_four, four) = shifted_server(&library, "+2");
    let servers = [one, three, two, four];
    let output = run(&servers, &["--offset"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.ends_with("  no majority among 4 servers\n"), "{text}");
    let (json, status) = run_json(&servers);
    assert_eq!(status, Some(1));
    assert_eq!((&json["offset"], &json["agree"]), (&Value::Null, &0.into()));
}

#[test]
fn silent_server_gets_all_tries_and_is_named() {
    let (_one, one) = start_daemon();
    let (_two, two) = start_daemon();
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("a bound socket");
    let start = Instant::now();
    let arguments = ["--offset", "--timeout", "2", "--retries", "1"];
    let output = run(&[one, address, two], &arguments);
    let elapsed = start.elapsed();
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    let agreement = format!("  agreed by 2 of 2 servers, no offset from {address}\n");
    assert!(text.ends_with(&agreement), "{text}");
    // Half of the time-out at least, then all of it.
    assert!(elapsed >= Duration::from_secs(3), "{elapsed:?}");
    silent.set_nonblocking(true).expect("a socket");
    let requests = (0..).take_while(|_| silent.recv(&mut [0; 64]).is_ok());
    assert_eq!(requests.count(), 2);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let waited: f64 = error
        .strip_prefix(&format!("wallclock: {address}: no response within "))
        .and_then(|rest| rest.strip_suffix(" s: 2 tries\n"))
        .and_then(|seconds| seconds.parse().ok())
        .expect(&error);
    let range = 3.0..=elapsed.as_secs_f64();
    assert!(range.contains(&waited), "{error}: {elapsed:?}");
}

// The kernel reports that the port is closed.
#[test]
fn closed_port_ends_a_measurement_before_its_time_out() {
    let (_closed, closed) = closed_port();
    let start = Instant::now();
    let output = run(&[closed], &["--offset", "--timeout", "100"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(stdout(&output), "");
    assert!(start.elapsed() < Duration::from_secs(100));
}

#[test]
fn addresses_of_the_only_server_vote() {
    let (_server, address) = start_daemon();
    let name = format!("localhost:{}", address.port());
    let Ok(addresses) = name.to_socket_addrs() else {
        return skip("no address for the name localhost");
    };
    let mut addresses: Vec<_> = addresses.collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut command = wallclock_long_timeout();
    let output = command.args(["--server", &name, "--json"]).output();
    let output = output.expect("wallclock starts");
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["asked"], addresses.len());
    assert_eq!(json["agree"], 1);
}

// It takes all of the time. The others are measured again, otherwise their bound would be 0.1 s for
// each second.
#[test]
fn a_silent_server_does_not_widen_the_bound() {
    let (_daemon, first) = start_daemon();
    let (_daemon, second) = start_daemon();
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let silent = silent.local_addr().expect("an address");
    let servers = [first, second, silent];
    let output = run(&servers, &["--json", "--deadline", "6", "-t", "60"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a JSON object");
    assert_eq!(json["agree"], 2, "{json}");
    let bound = json["bound"].as_f64().expect("a bound");
    assert!(bound < 0.2, "{json}");
}

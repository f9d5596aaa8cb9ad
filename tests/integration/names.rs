//! Names of servers that resolve late, never, or to another address than before.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{
    Process, Resolver, closed_port, start_daemon, start_daemon_with, wallclock,
    wallclock_long_timeout,
};

/// Runs a command whose names resolve to this text, and ends it if it hangs. Returns its exit
/// status and what it wrote to stderr. Skips without a C compiler.
fn run(command: &mut Command, resolves_to: &str) -> Option<(Option<i32>, String)> {
    let _resolver = Resolver::preload_or_skip(command, resolves_to)?;
    let mut process = Process::start(command.stdout(Stdio::null()));
    let status = process.wait();
    Some((status.code(), process.log.join("\n")))
}

#[test]
fn name_that_is_never_resolved_ends_the_query() {
    let mut command = wallclock();
    command.args(["-s", "name.test:5", "-t", "0.1", "-r", "2"]);
    let Some((status, stderr)) = run(&mut command, "hang") else {
        return;
    };
    assert_eq!(status, Some(3));
    let expected = "wallclock: no response: name.test:5: not resolved in time";
    assert_eq!(stderr, expected);
}

#[test]
fn name_that_is_never_resolved_does_not_delay_another_server() {
    let (_daemon, address) = start_daemon();
    let mut command = wallclock();
    command.args(["-s", "name.test", "-s", &address.to_string()]);
    // Longer than a test waits.
    let Some((status, stderr)) = run(command.args(["-t", "80000"]), "hang") else {
        return;
    };
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
}

#[test]
fn name_that_is_resolved_late_is_tried() {
    let (_daemon, address) = start_daemon();
    let (_closed, closed) = closed_port();
    let name = format!("name.test:{}", address.port());
    let mut command = wallclock_long_timeout();
    command.args(["-s", &closed.to_string(), "-s", &name]);
    let Some(resolver) = Resolver::preload_or_skip(&mut command, "hang") else {
        return;
    };
    let mut process = Process::start(command.stdout(Stdio::null()));
    resolver.set("127.0.0.1");
    let status = process.wait();
    assert_eq!(status.code(), Some(0), "{:?}", process.log);
}

#[test]
fn name_without_a_thread_is_a_failed_name() {
    let (_daemon, address) = start_daemon();
    let address = address.to_string();
    for (arguments, status, expected) in [
        (
            &["-s", "name.test"][..],
            3,
            "name.test:9527: create a thread to resolve it",
        ),
        (&["-s", "name.test", "-s", &address], 0, ""),
        (
            &["-s", "name.test", "--offset"],
            3,
            "name.test:9527: create a thread to resolve it",
        ),
        (
            &["-s", &address, "-s", "127.0.0.1:9", "--offset"],
            3,
            "create a thread to measure it",
        ),
    ] {
        let mut command = wallclock_long_timeout();
        command.args(arguments).env("NO_THREADS", "1");
        let Some((found, stderr)) = run(&mut command, "127.0.0.1") else {
            return;
        };
        assert_eq!(found, Some(status), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
        assert_eq!(stderr.is_empty(), status == 0, "{arguments:?}: {stderr}");
    }
}

// With the default of --deadline.
#[test]
fn offset_is_without_the_server_that_is_never_resolved() {
    let (_daemon, address) = start_daemon();
    let mut command = wallclock_long_timeout();
    command.args(["--json", "-s", "name.test:5", "-s", &address.to_string()]);
    let Some(_resolver) = Resolver::preload_or_skip(&mut command, "hang") else {
        return;
    };
    let output = command.output().expect("wallclock starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let json: Value = serde_json::from_slice(&output.stdout).expect(&text);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(json["servers"][0]["server"], "name.test:5", "{text}");
    assert_eq!(
        json["servers"][0]["error"], "not resolved in time",
        "{text}"
    );
    assert_eq!(json["servers"][1]["error"], Value::Null, "{text}");
}

#[test]
fn watch_resolves_a_name_again_if_its_address_fails() {
    let (_daemon, address) = start_daemon_with(&["--listen", "127.0.0.17:0"]);
    let mut command = wallclock();
    command
        .args(["-s", &format!("name.test:{}", address.port()), "--json"])
        .args(["--watch=0.1", "--deadline", "60", "--timeout", "60"])
        .stdout(Stdio::piped());
    // Nothing listens there.
    let Some(resolver) = Resolver::preload_or_skip(&mut command, "127.0.0.16") else {
        return;
    };
    let mut child = command.spawn().expect("wallclock starts");
    let stdout = child.stdout.take().expect("a pipe");
    let mut objects = serde_json::Deserializer::from_reader(stdout).into_iter();
    let mut next = || -> (SocketAddr, bool) {
        let object: Value = objects.next().expect("one more").expect("JSON");
        let server = object["servers"][0]["server"].as_str().expect("a server");
        let server = server.parse().expect("an address");
        (server, object["offset"].is_number())
    };
    assert_eq!(next(), (([127, 0, 0, 16], address.port()).into(), false));
    resolver.set("127.0.0.17");
    while next() != (address, true) {}
    child.kill().expect("a child");
    child.wait().expect("a child");
}

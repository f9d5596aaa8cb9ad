//! The quick start and the examples of the client, in a network namespace of their own.

use std::process::Command;
use std::time::Instant;

use support::Process;

use super::documents::{self, Documented, assert_documented, output_is_as_documented};
use super::machine::TIMEOUT;
use super::network::{Namespace, shell_in};
use super::package::build_environment;

/// A namespace with a loopback interface, or `None`, and a skipped test, where none can be made.
fn loopback() -> Option<Namespace> {
    if support::skip_without_namespaces() || support::skip_without(&["nsenter", "setpriv", "ip"]) {
        return None;
    }
    let namespace = Namespace::new();
    namespace.ip("link set lo up");
    Some(namespace)
}

/// The output of a command, standard error included.
fn output_of(command: &mut Command) -> String {
    let output = command.output().expect("nsenter");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// Runs a documented command until it prints what the document shows. On a busy host a response may
/// come too late for the time-out of a documented command, so it is tried again.
#[track_caller]
pub fn run_until_as_documented(namespace: &Namespace, command: Documented) {
    assert_documented(command.line());
    let start = Instant::now();
    loop {
        let mut shell = shell_in(namespace.pid(), command.line());
        let output = output_of(build_environment(&mut shell));
        if output_is_as_documented(command, &output) {
            return;
        }
        assert!(
            start.elapsed() < TIMEOUT,
            "{} printed: {output}",
            command.line()
        );
    }
}

#[test]
fn quick_start_works_as_printed() {
    if support::skip_without(&["nc", "python3"]) {
        return;
    }
    let Some(namespace) = loopback() else { return };
    // The build has no time limit; the commands below find it done.
    let mut build = shell_in(namespace.pid(), "cargo build --quiet --bins");
    let built = build_environment(&mut build).output().expect("nsenter");
    assert!(built.status.success(), "{built:?}");

    assert_documented(documents::CARGO_RUN.line());
    let mut shell = shell_in(namespace.pid(), documents::CARGO_RUN.line());
    let mut server = Process::start(build_environment(&mut shell));
    server.wait_for("listening on 127.0.0.1:9527");
    documents::assert_output_as_documented(documents::CARGO_RUN, &server.log.join("\n"));
    for command in [
        documents::CARGO_RUN_CLIENT,
        documents::CARGO_RUN_CLIENT_FORMAT,
        documents::NETCAT,
        documents::PYTHON_CLIENT,
    ] {
        run_until_as_documented(&namespace, command);
    }
}

#[test]
fn offset_examples_print_what_is_documented() {
    let Some(library) = support::libfaketime_or_skip() else {
        return;
    };
    let Some(namespace) = loopback() else { return };
    // The clocks of the examples: one 20 ms ahead, one 2 s ahead.
    let servers: Vec<_> = [
        ("127.0.0.21", "+0.02"),
        ("127.0.0.22", "+0"),
        ("127.0.0.23", "+2"),
        ("127.0.0.24", "+0"),
    ]
    .map(|(address, shift)| {
        let line = format!(
            "exec env LD_PRELOAD={} FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME={shift} \
             wallclockd --listen {address}:9527",
            library.display()
        );
        let mut server = Process::start(&mut shell_in(namespace.pid(), &line));
        server.wait_for("listening on");
        server
    })
    .into();
    for command in [
        documents::OFFSET,
        documents::OFFSET_OF_SEVERAL,
        documents::PLUGIN,
    ] {
        run_until_as_documented(&namespace, command);
    }
    drop(servers);
}

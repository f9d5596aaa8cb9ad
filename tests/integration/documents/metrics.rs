//! The scripts in systemd/README.md that write metrics.

use std::env;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use support::{
    TempDir, closed_port, parse_metrics, program, repository, skip_without, start_daemon,
    wait_until,
};

use crate::client::silent_server;

/// The code block that has this line.
fn block_with(line: &str) -> String {
    let page = fs::read_to_string(repository().join("systemd/README.md")).expect("a page");
    let mut blocks = page.split("```").skip(1).step_by(2);
    let block = blocks.find(|block| block.contains(line)).expect(line);
    block.split_once('\n').expect("a language").1.to_owned()
}

/// The script of the offsets as printed, with these servers.
fn script(directory: &TempDir, arguments: &[&str], servers: &str) -> Command {
    let script = directory.path().join("wallclock-metrics");
    fs::write(&script, block_with("# wallclock-metrics DIRECTORY:")).expect("a file");
    let programs = program("wallclock");
    let programs = programs.parent().expect("a directory").display();
    let path = env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    command
        .arg(script)
        .args(arguments)
        .env("PATH", format!("{programs}:{path}"))
        .env("WALLCLOCK_SERVER", servers)
        .stdin(Stdio::null());
    command
}

/// Runs the script of the offsets as printed.
fn write_metrics(directory: &TempDir, arguments: &[&str], servers: &str) -> Output {
    let mut command = script(directory, arguments, servers);
    command.output().expect("sh starts")
}

/// Writes a shell script that stands in for a program.
fn write_program(directory: &TempDir, name: &str, text: &str) {
    let source = directory.path().join("source");
    fs::write(&source, format!("#!/bin/sh\n{text}")).expect("a file");
    // The kernel executes no file that a process has open for writing, and a child of another test
    // may have inherited those of this process.
    let mut install = Command::new("install");
    install.arg(source).arg(directory.path().join(name));
    assert!(install.status().expect("install starts").success());
}

/// The names in a directory, in order.
fn names_in(directory: &TempDir) -> Vec<String> {
    let names = fs::read_dir(directory.path()).expect("a directory");
    let names = names.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = names.map(|name| name.display().to_string()).collect();
    names.sort();
    names
}

#[test]
fn metrics_of_the_offset_are_as_documented() {
    if skip_without(&["jq"]) {
        return;
    }
    let directory = TempDir::new("metrics");
    let directory_name = directory.path().display().to_string();
    let file = directory.path().join("wallclock.prom");
    let (_one, one) = start_daemon();
    let (_two, two) = start_daemon();
    let (_closed, dead) = closed_port();
    let servers = format!("{one},{two},{dead}");
    // On a busy machine a response may come too late.
    let mut attempts = (0..5).map(|_| {
        let output = write_metrics(&directory, &[&directory_name], &servers);
        assert!(output.status.success(), "{output:?}");
        parse_metrics(&fs::read_to_string(&file).expect("a file"))
    });
    let samples = attempts
        .find(|samples| samples.len() == 9)
        .expect("two offsets");
    let value = |name: &str, server| {
        let name = format!("wallclock_{name}{{server=\"{server}\"}}");
        let found = samples.iter().find(|(sample, _)| *sample == name);
        found.map(|(_, value)| *value)
    };
    for server in [one, two] {
        assert_eq!(value("up", server), Some(1.0));
        let [offset, bound, round_trip] = ["offset", "bound", "round_trip"]
            .map(|name| value(&format!("{name}_seconds"), server).expect(name));
        assert!(bound > 0.0 && offset.abs() <= bound, "{samples:?}");
        assert!(round_trip > 0.0, "{samples:?}");
    }
    assert_eq!(value("up", dead), Some(0.0));

    // Nothing but the file is left, and all users can read it.
    assert_eq!(
        names_in(&directory),
        ["wallclock-metrics", "wallclock.prom"]
    );
    let mode = fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o644);

    // What is wrong leaves the file as it is.
    let before = fs::read(&file).expect("a file");
    let output = write_metrics(&directory, &[&directory_name], "host:port");
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(fs::read(&file).expect("a file"), before);
    assert_eq!(
        names_in(&directory),
        ["wallclock-metrics", "wallclock.prom"]
    );
}

#[test]
fn metrics_without_any_offset_are_valid() {
    if skip_without(&["jq"]) {
        return;
    }
    let directory = TempDir::new("no-metrics");
    let name = directory.path().display().to_string();
    let (_closed, dead) = closed_port();
    let output = write_metrics(&directory, &[&name], &format!("{dead},host.invalid"));
    assert!(output.status.success(), "{output:?}");
    let text = fs::read_to_string(directory.path().join("wallclock.prom")).expect("a file");
    let samples = parse_metrics(&text);
    assert_eq!(
        samples,
        [
            (format!("wallclock_up{{server=\"{dead}\"}}"), 0.0),
            ("wallclock_up{server=\"host.invalid:9527\"}".to_owned(), 0.0),
        ]
    );
}

// node_exporter may read its directory at any time.
#[test]
fn metrics_replace_those_before_at_once() {
    if skip_without(&["jq"]) {
        return;
    }
    let directory = TempDir::new("new-metrics");
    let name = directory.path().display().to_string();
    let file = directory.path().join("wallclock.prom");
    fs::write(&file, "before\n").expect("a file");
    let mut before = File::open(&file).expect("a file");
    let (_silent, address) = silent_server();
    // The measurement begins when the test says so, and not at all if that fails.
    let programs = TempDir::new("waiting-client");
    let directory_of_programs = programs.path().display();
    let text = format!(
        "until [ -e '{directory_of_programs}/begin' ]; do\n\
         [ -d '{directory_of_programs}' ] || exit 1\n\
         sleep 0.01\n\
         done\n\
         exec '{}' \"$@\"",
        program("wallclock").display()
    );
    write_program(&programs, "wallclock", &text);
    let mut command = script(&directory, &[&name], &address);
    let path = env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", programs.path().display()));
    let mut child = command.spawn().expect("sh starts");
    // Until it ends, the new file has a name that node_exporter does not read.
    wait_until("there is no new file", || names_in(&directory).len() == 3);
    let mut names = names_in(&directory);
    names.retain(|name| name.ends_with(".prom"));
    assert_eq!(names, ["wallclock.prom"]);
    assert_eq!(fs::read(&file).expect("a file"), b"before\n");
    fs::write(programs.path().join("begin"), "").expect("a file");
    assert!(child.wait().expect("a child").success());
    // The file is another one: it was renamed, not written.
    let mut text = String::new();
    before.read_to_string(&mut text).expect("a file");
    assert_eq!(text, "before\n");
    assert_eq!(
        names_in(&directory),
        ["wallclock-metrics", "wallclock.prom"]
    );
    let samples = parse_metrics(&fs::read_to_string(&file).expect("a file"));
    let up = format!("wallclock_up{{server=\"{address}\"}}");
    assert_eq!(samples, [(up, 0.0)]);
}

// A stand-in for systemctl; system/status.rs has the real one.
#[test]
fn metrics_of_the_counters_replace_those_before_at_once() {
    if skip_without(&["awk"]) {
        return;
    }
    let directory = TempDir::new("counters");
    let programs = TempDir::new("systemctl");
    let status = "answered=12 refused=3 clock=unsynchronised since=2026-07-05T01:05:07Z";
    let text = format!(
        "[ \"$*\" = 'show -P StatusText wallclockd' ] || exit 1\n\
         ls -A '{}' >'{}/names'\n\
         echo '{status}'\n",
        directory.path().display(),
        programs.path().display()
    );
    write_program(&programs, "systemctl", &text);
    let file = directory.path().join("wallclockd.prom");
    fs::write(&file, "before\n").expect("a file");
    let mut before = File::open(&file).expect("a file");
    let path = env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    command
        .args(["-c", &block_with("# wallclockd-metrics DIRECTORY:"), "sh"])
        .arg(directory.path())
        .env("PATH", format!("{}:{path}", programs.path().display()));
    assert!(command.status().expect("sh starts").success());
    let mut old = String::new();
    before.read_to_string(&mut old).expect("a file");
    assert_eq!(old, "before\n");
    // What was there while the counters were read.
    let names = fs::read_to_string(programs.path().join("names")).expect("a file");
    let mut names = names.lines().filter(|name| name.ends_with(".prom"));
    assert_eq!(
        (names.next(), names.next()),
        (Some("wallclockd.prom"), None)
    );
    assert_eq!(names_in(&directory), ["wallclockd.prom"]);
    let samples = parse_metrics(&fs::read_to_string(&file).expect("a file"));
    let expected = [
        ("wallclockd_answered_total", 12.0),
        ("wallclockd_refused_total", 3.0),
        ("wallclockd_synchronised", 0.0),
    ];
    assert_eq!(
        samples,
        expected.map(|(name, value)| (name.to_owned(), value))
    );
}

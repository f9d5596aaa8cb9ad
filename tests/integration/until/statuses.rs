//! Usage errors and exit statuses.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use support::{TempDir, closed_port, start_daemon, wallclock, wallclock_long_timeout};

use super::{client, second_in, stderr};
use crate::client::{count_requests, silent_server};

#[test]
fn a_wrong_use_is_an_error_before_anything_is_sent() {
    let (server, address) = silent_server();
    for arguments in [
        &["--until", "24:00"][..],
        &["--until", "now"],
        &["--until", ""],
        &["--until", "2026-02-30 00:00"],
        &["--until", "00:00:60"],
        &["--until", "00:00", "%T"],
        &["--until", "00:00", "--wait-sync", "1"],
        &["--until", "00:00", "--offset"],
        &["--until", "00:00", "--samples", "3"],
        &["--until", "00:00", "--watch"],
        &["--wait-sync", "0"],
        &["--wait-sync", "-1"],
        &["--wait-sync", "x"],
        &["--wait-sync", "1", "--json"],
        &["--wait-sync", "1", "%T"],
    ] {
        for (command, status) in [(&[][..], 2), (&["--", "true"], 125)] {
            let mut process = wallclock();
            process.args(["-s", &address]).args(arguments).args(command);
            let output = process.output().expect("wallclock runs");
            assert_eq!(
                output.status.code(),
                Some(status),
                "{arguments:?} {output:?}"
            );
            assert_eq!(stderr(&output).lines().count(), 1, "{output:?}");
        }
    }
    for arguments in [
        &["--", "echo", "x"][..],
        &["%T", "--", "echo"],
        &["--offset", "--", "x"],
    ] {
        let mut process = wallclock();
        process.args(["-s", &address]).args(arguments);
        let output = process.output().expect("wallclock runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {output:?}");
    }
    // With a limit it is a monitoring plugin.
    for (command, status) in [(&[][..], 3), (&["--", "true"], 125)] {
        let mut process = wallclock();
        process.args(["-s", &address, "--until", "00:00", "-w", "3"]);
        let output = process.args(command).output().expect("wallclock runs");
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(
            output.stdout.starts_with(b"WALLCLOCK UNKNOWN: "),
            "{output:?}"
        );
    }
    assert_eq!(count_requests(&server), 0);
}

#[test]
fn a_format_may_follow_two_dashes() {
    let (_daemon, address) = start_daemon();
    let mut command = wallclock_long_timeout();
    command.args(["--server", &address.to_string(), "--", "-%Y"]);
    let output = command.output().expect("wallclock runs");
    let is_year = output.stdout.starts_with(b"-20");
    assert!(output.status.success() && is_year, "{output:?}");
}

#[test]
fn statuses_are_as_documented() {
    let (_daemon, daemon) = start_daemon();
    let (_socket, closed) = closed_port();
    let directory = TempDir::new("until-command");
    let file = directory.path().join("not-executable");
    fs::write(&file, "#!/bin/sh\n").expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("permissions");
    let file = file.to_str().expect("UTF-8");
    let missing = format!("{file}-missing");
    let (soon, past) = ("soon", "1970-01-01 00:00");
    let (later, seven) = (format!("@{}", second_in(7_200)), ["sh", "-c", "exit 7"]);
    for (server, time, command, status) in [
        (daemon, soon, &[][..], 0),
        (daemon, past, &[], 1),
        (closed, &later, &[], 3),
        (daemon, soon, &["true"], 0),
        (daemon, soon, &seven, 7),
        (daemon, past, &["true"], 125),
        (closed, &later, &["true"], 125),
        // They are looked up before the wait.
        (daemon, &later, &[file], 126),
        (
            daemon,
            &later,
            &[directory.path().to_str().expect("UTF-8")],
            126,
        ),
        (daemon, &later, &[&missing], 127),
        (daemon, &later, &["wallclock-no-such-command"], 127),
        (daemon, &later, &[""], 127),
        (closed, &later, &["wallclock-no-such-command"], 127),
    ] {
        let mut process = client(&[server]);
        // So late that the measurement before the wait is over by then on a busy machine too.
        let time = match time {
            "soon" => format!("@{}", second_in(6)),
            time => time.to_owned(),
        };
        process.args(["--until", &time]);
        if !command.is_empty() {
            process.arg("--").args(command);
        }
        let output = process.output().expect("wallclock runs");
        assert_eq!(
            output.status.code(),
            Some(status),
            "{time} {command:?} {output:?}"
        );
    }
    let mut process = client(&[daemon]);
    let output = process
        .args(["--until", past])
        .output()
        .expect("wallclock runs");
    let line = stderr(&output);
    assert!(
        line.starts_with("wallclock: 1970-01-01 00:00:00+00:00 is past, by "),
        "{line}"
    );
}

#[test]
fn a_command_in_path_that_is_not_executable_is_126() {
    let (_daemon, daemon) = start_daemon();
    let directory = TempDir::new("until-path");
    fs::write(directory.path().join("a-command"), "").expect("written");
    let mut process = client(&[daemon]);
    process
        .args(["--until", "00:00", "--", "a-command"])
        .env("PATH", directory.path());
    let output = process.output().expect("wallclock runs");
    assert_eq!(output.status.code(), Some(126), "{output:?}");
}

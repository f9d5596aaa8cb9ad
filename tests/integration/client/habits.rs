//! Habits from other programs, and what the messages say then.

use std::io::{BufRead, BufReader};
use std::net::ToSocketAddrs;
use std::process::Stdio;

use support::{
    closed_port, skip, start_daemon, start_daemon_with, wallclock, wallclock_long_timeout,
};

use super::{count_requests, parts, run, silent_server, start_server, tag};

/// What is left on stderr, with this exit status and nothing on stdout.
fn stderr_of(arguments: &[&str], expected: i32) -> String {
    let (output, _) = run(wallclock_long_timeout().args(arguments));
    let (status, stdout, stderr) = parts(&output);
    assert_eq!((status, stdout), (Some(expected), ""), "{stderr}");
    stderr.to_owned()
}

#[test]
fn server_without_its_option_is_named() {
    for server in ["clock.example", "10.0.0.7:9527", "localhost", "[::1]"] {
        let stderr = stderr_of(&[server], 2);
        assert!(stderr.contains(&format!("-s {server}\n")), "{stderr}");
    }
    for format in ["+clock.example", "a b", "12:30 o'clock", "--warn"] {
        let stderr = stderr_of(&["--", format], 2);
        assert!(!stderr.contains("-s "), "{stderr}");
    }
}

#[test]
fn error_without_a_named_server_says_how_to_name_one() {
    // The default server may respond, but not over this family.
    for (arguments, is_named) in [
        (&[][..], false),
        (&["--offset"], false),
        (&["-s", "127.0.0.1"], true),
        (&["-s", "127.0.0.1", "--offset"], true),
    ] {
        let mut command = wallclock();
        let (output, _) = run(command.arg("-6").args(arguments));
        let (status, _, stderr) = parts(&output);
        assert_eq!(status, Some(3), "{stderr}");
        let has_hint = stderr.contains("-s or WALLCLOCK_SERVER");
        assert_eq!(has_hint, !is_named, "{stderr}");
    }
}

#[test]
fn similar_option_is_suggested() {
    let stderr = stderr_of(&["--ofset"], 2);
    assert!(
        stderr.contains("'--ofset'") && stderr.contains("'--offset'"),
        "{stderr}"
    );
}

#[test]
fn link_local_address_needs_an_interface() {
    let stderr = stderr_of(&["-s", "fe80::1"], 2);
    assert!(stderr.contains("interface, as in fe80::1%eth0"), "{stderr}");
}

#[test]
fn time_that_was_waited_is_shown() {
    let (_silent, address) = silent_server();
    let (output, took) = run(wallclock().args(["-s", &address, "-t", "0.1"]));
    let (status, _, stderr) = parts(&output);
    assert_eq!(status, Some(3));
    let seconds = stderr
        .strip_prefix("wallclock: no response within ")
        .and_then(|rest| rest.strip_suffix(&format!(" s: {address}: 3 tries\n")))
        .and_then(|seconds| seconds.parse().ok())
        .expect(stderr);
    assert!(
        (0.2..=took.as_secs_f64()).contains(&seconds),
        "{stderr} {took:?}"
    );
}

#[test]
fn other_datagrams_of_a_server_are_counted() {
    let (address, _requests) = start_server(|_, _| vec![b"hello world".to_vec()]);
    let stderr = stderr_of(&["-s", &address, "-t", "0.2"], 3);
    let end = format!(" s: {address}: 3 tries, 3 late or wrong responses\n");
    assert!(stderr.ends_with(&end), "{stderr}");
}

#[test]
fn last_of_an_option_counts() {
    let (_daemon, address) = start_daemon();
    let address = address.to_string();
    // As an alias with `-t 0.1` is used.
    let arguments = ["-t", "0.1", "-s", &address, "-u", "-t", "60", "-u", "%Z"];
    let (output, _) = run(wallclock().args(arguments));
    assert_eq!(parts(&output), (Some(0), "UTC\n", ""));
}

#[test]
fn negative_number_is_a_wrong_value() {
    for option in [
        "-t",
        "-r",
        "--count",
        "--samples",
        "--deadline",
        "--max-slew",
    ] {
        let stderr = stderr_of(&[option, "-1"], 2);
        assert!(stderr.contains("invalid value '-1'"), "{stderr}");
    }
}

#[test]
fn option_of_date_has_no_wrong_tip() {
    for option in ["-I", "-R", "-d", "--host"] {
        let stderr = stderr_of(&[option], 2);
        assert!(stderr.contains(option), "{stderr}");
        assert!(!stderr.contains("as a value"), "{stderr}");
    }
}

#[test]
fn list_of_servers_may_have_spaces_and_a_last_comma() {
    let (_daemon, address) = start_daemon();
    let (_closed, closed) = closed_port();
    for list in [
        format!("{closed}, {address}"),
        format!("{address},"),
        format!(" {closed} ,\t{address} , "),
    ] {
        let mut command = wallclock_long_timeout();
        let (output, _) = run(command.env("WALLCLOCK_SERVER", list).arg("%Z"));
        assert_eq!(parts(&output), (Some(0), "UTC\n", ""));
    }
    for list in [",", "a,,b"] {
        let (output, _) = run(wallclock().env("WALLCLOCK_SERVER", list));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}

#[test]
fn host_is_shown_by_name_and_address() {
    let (_closed, closed) = closed_port();
    let name = format!("localhost:{}", closed.port());
    if !name
        .to_socket_addrs()
        .is_ok_and(|mut list| list.any(|address| address == closed))
    {
        return skip("no address for the name localhost");
    }
    let stderr = stderr_of(&["-4", "-s", &name], 3);
    assert!(
        stderr.contains(&format!("localhost ({closed}): ")),
        "{stderr}"
    );
}

#[test]
fn utc_is_made_of_the_seconds_of_the_server() {
    let replace = |request: &[u8], pairs: &[(&str, &str)]| {
        let mut text = String::from_utf8(request.to_owned()).expect("UTF-8");
        for (directive, time) in pairs {
            text = text.replace(directive, time);
        }
        vec![text.into_bytes()]
    };
    let seconds = ("%s", "1783213507");
    let (nanos, _requests) =
        start_server(move |_, request| replace(request, &[seconds, ("%N", "120000000")]));
    // As the Python server, BSD's strftime, and a wallclockd without %N.
    let (copies, _requests) = start_server(move |_, request| replace(request, &[seconds]));
    let (drops, _requests) =
        start_server(move |_, request| replace(request, &[seconds, ("%N", "N")]));
    let (refuses, _requests) = start_server(move |_, request| match request.ends_with(b"%N") {
        true => vec![b"error: byte 20: unknown conversion N".to_vec()],
        false => replace(request, &[seconds]),
    });
    for (server, expected) in [
        (&nanos, "2026-07-05 01:05:07.120 UTC +0000\n"),
        (&copies, "2026-07-05 01:05:07.000 UTC +0000\n"),
        (&drops, "2026-07-05 01:05:07.000 UTC +0000\n"),
        (&refuses, "2026-07-05 01:05:07.000 UTC +0000\n"),
    ] {
        let mut command = wallclock_long_timeout();
        let (output, _) = run(command.args(["-u", "-s", server, "+%F %T.%3N %Z %z"]));
        assert_eq!(parts(&output), (Some(0), expected, ""));
    }
    let stderr = stderr_of(&["--utc", "-s", &nanos, "%2000d"], 2);
    assert!(stderr.contains("longer than 1232 bytes"), "{stderr}");
}

#[test]
fn utc_of_no_time_is_status_1() {
    for text in ["noon\x1b", "", "99999999999999999", "-99999999999999999.5"] {
        let (address, _requests) =
            start_server(|_, request| vec![[tag(request), text.as_bytes()].concat()]);
        let stderr = stderr_of(&["-u", "-s", &address], 1);
        assert!(stderr.contains("not a number of seconds"), "{stderr}");
        assert!(!stderr.contains('\x1b'), "{stderr:?}");
    }
}

#[test]
fn utc_does_not_depend_on_the_zone_of_the_server() {
    let (mut daemon, address) = start_daemon_with(&["--listen", "127.0.0.1:0"]);
    let (output, _) = run(wallclock_long_timeout().args(["-us", &address.to_string(), "+%Z"]));
    assert_eq!(parts(&output), (Some(0), "UTC\n", ""));
    let counters = daemon.terminate();
    assert!(counters.contains("answered=1"), "one request: {counters}");
}

#[test]
fn utc_keeps_the_number_of_tries() {
    let (silent, address) = silent_server();
    let (output, _) = run(wallclock().args(["-u", "-s", &address, "-t", "0.05"]));
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(count_requests(&silent), 3);
}

#[test]
fn json_needs_no_time_zone() {
    let (_daemon, address) = start_daemon();
    let mut command = wallclock_long_timeout();
    command.args(["-s", &address.to_string(), "--watch"]);
    let (output, _) = run(command.env("TZ", "Mars/Olympus"));
    assert_eq!(output.status.code(), Some(2), "text has times: {output:?}");

    let mut child = command
        .arg("--json")
        .stdout(Stdio::piped())
        .spawn()
        .expect("wallclock");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    child.kill().expect("a child");
    child.wait().expect("a child");
    assert!(line.starts_with('{'), "{line}");
}

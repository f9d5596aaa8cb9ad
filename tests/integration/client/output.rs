//! Where the output goes: a terminal, a pipe that is not read, a full disk.

use std::fs::{File, OpenOptions};
use std::io::{Read, pipe};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use support::{
    closed_port, program, skip_without, start_daemon, wallclock, wallclock_long_timeout,
};

use super::{parts, run, start_server, tag};

/// A file that can't be written because the disk is full.
fn full() -> File {
    let full = OpenOptions::new().write(true).open("/dev/full");
    full.expect("/dev/full")
}

/// A pipe whose reader is gone.
fn unread() -> Stdio {
    let (_, writer) = pipe().expect("a pipe");
    writer.into()
}

/// Runs `wallclock` on a pseudo-terminal. Returns what it shows.
fn run_on_terminal(arguments: &str) -> Vec<u8> {
    let command = format!("'{}' {arguments}", program("wallclock").display());
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .stdin(Stdio::null())
        .output();
    output.expect("script starts").stdout
}

#[test]
fn stderr_that_fails_does_not_change_the_status() {
    let (_daemon, address) = start_daemon();
    let (_closed, closed) = closed_port();
    let [address, closed] = [address, closed].map(|address| address.to_string());
    for (arguments, status) in [
        (&["--nonsense"][..], 2),
        (&["-s", &closed, "hello"], 2),
        (&["-s", &closed], 3),
        (&["-s", &closed, "--offset"], 3),
        (&["-s", &closed, "-6"], 3),
        (&["-s", &address, "%500d"], 1),
    ] {
        for stderr in [full().into(), unread()] {
            let (output, _) = run(wallclock_long_timeout().args(arguments).stderr(stderr));
            assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        }
        let (output, _) = run(Command::new("sh")
            .args(["-c", "exec \"$@\" 2>&-", "sh"])
            .arg(program("wallclock"))
            .args(arguments));
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
    }
}

#[test]
fn plugin_that_cannot_write_is_unknown() {
    let (_daemon, address) = start_daemon();
    let (_closed, closed) = closed_port();
    for address in [address, closed] {
        let arguments = ["-s", &address.to_string(), "--warn", "100"];
        for stdout in [full().into(), unread()] {
            let mut command = wallclock_long_timeout();
            let (output, _) = run(command.args(arguments).stdout(stdout).stderr(full()));
            assert_eq!(output.status.code(), Some(3), "{output:?}");
        }
    }
}

#[test]
fn pipe_without_a_reader_ends_it_as_it_ends_date() {
    let (_daemon, address) = start_daemon();
    let address = address.to_string();
    for arguments in [
        &[][..],
        &["--utc"],
        &["--help"],
        &["--version"],
        &["--generate", "man"],
        &["--offset"],
        &["--json"],
        &["--watch"],
    ] {
        let mut command = wallclock_long_timeout();
        command.env("WALLCLOCK_SERVER", &address).args(arguments);
        let (output, _) = run(command.stdout(unread()));
        let signal = output.status.signal();
        assert_eq!(signal, Some(libc::SIGPIPE), "{arguments:?}: {output:?}");
        assert_eq!(parts(&output).2, "", "{arguments:?}");
    }
}

#[test]
fn help_that_cannot_be_written_is_status_1() {
    for arguments in [&["--help"][..], &["--generate", "man"]] {
        let (output, _) = run(wallclock().args(arguments).stdout(full()));
        let (status, _, stderr) = parts(&output);
        assert_eq!(status, Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.contains("standard output"), "{stderr}");
    }
}

/// What a hostile server sends: CSI in 7 bits, in 8 bits and in UTF-8, a bell, DEL, a carriage
/// return, an override of the direction, a line, what is not UTF-8, and what is invisible.
const HOSTILE: &[u8] =
    b"\x1b[2J\x9b1m\xc2\x9b2m\x07\x7f\r\xe2\x80\xae12\n\t\xff\xe2\x80\x8b \xc3\xa9";

#[test]
fn control_characters_are_replaced_on_a_terminal() {
    if skip_without(&["script"]) {
        return;
    }
    let (address, _requests) = start_server(|_, request| vec![[tag(request), HOSTILE].concat()]);
    let shown = run_on_terminal(&format!("-t 60 -s {address} %T"));
    let expected = r"\x1b[2J\x9b1m\xc2\x9b2m\x07\x7f\x0d\xe2\x80\xae12\x0a\x09\xff\xe2\x80\x8b é";
    assert_eq!(String::from_utf8_lossy(&shown), format!("{expected}\r\n"));

    // The layout of the user's own format stays, but no more than that.
    let shown = run_on_terminal(&format!("-t 60 -s {address} %T%n%t"));
    let expected = expected.replace(r"\x0a\x09", "\r\n\t");
    assert_eq!(String::from_utf8_lossy(&shown), format!("{expected}\r\n"));

    let (refusing, _requests) = start_server(|_, _| vec![[b"error: ", HOSTILE].concat()]);
    for server in [&address, &refusing] {
        for arguments in [
            "%T",
            "--utc",
            "--offset",
            "--json",
            "--warning 1",
            "--watch --count 1",
            "--until 00:00",
            "--wait-sync 1 --deadline 1",
        ] {
            let shown = run_on_terminal(&format!("-t 60 -s {server} {arguments}"));
            let shown = String::from_utf8(shown).expect("UTF-8");
            // A terminal breaks lines, and JSON doubles backslashes.
            let shown = shown.replace("\r\n", "").replace(r"\\", r"\");
            assert!(
                shown.contains(r"\xe2\x80\xae12\x0a"),
                "{arguments}: {shown:?}"
            );
            let is_harmful = |c: char| c.is_control() || "\u{202e}\u{200b}\u{fffd}".contains(c);
            assert!(!shown.contains(is_harmful), "{arguments}: {shown:?}");
        }
    }
}

#[test]
fn control_characters_stay_in_a_pipe() {
    let (address, _requests) = start_server(|_, request| vec![[tag(request), HOSTILE].concat()]);
    let (output, _) = run(wallclock_long_timeout().args(["-s", &address, "%T"]));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, [HOSTILE, b"\n"].concat());
}

#[test]
fn error_in_a_pipe_is_one_line_of_text() {
    let (_daemon, address) = start_daemon();
    let (_closed, closed) = closed_port();
    let [address, closed] = [address, closed].map(|address| address.to_string());
    for arguments in [
        &["--nonsense"][..],
        &["--ofset"],
        &["-t", "soon"],
        &["hello"],
        &["-s", "no-such-host.invalid"],
        &["-s", &closed],
        &["-s", &closed, "--offset"],
        &["-s", &address, "%500d"],
    ] {
        let (output, _) = run(wallclock_long_timeout().args(arguments));
        let (_, stdout, stderr) = parts(&output);
        assert_eq!(stdout, "", "{arguments:?}");
        let line = stderr.strip_suffix('\n').expect(stderr);
        assert!(line.starts_with("wallclock: "), "{line}");
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(!line.contains("os error"), "{line}");
    }
    let (output, _) = run(wallclock().arg("--help"));
    let (_, help, _) = parts(&output);
    let is_text = |c: char| c == '\n' || !c.is_control();
    assert!(help.chars().all(is_text), "{help:?}");
}

#[test]
fn message_is_printed_once() {
    let (_closed, closed) = closed_port();
    for server in ["no-such-host.invalid:5", &closed.to_string()] {
        let (output, _) = run(wallclock_long_timeout().args(["-s", server, "-s", server]));
        let (status, _, stderr) = parts(&output);
        assert_eq!(status, Some(3), "{stderr}");
        assert_eq!(stderr.matches(server).count(), 1, "{stderr}");
    }
}

#[test]
fn stdout_for_reading_only_is_an_error() {
    let (_daemon, address) = start_daemon();
    let address = address.to_string();
    for (arguments, status) in [
        (&[][..], 1),
        (&["--json"], 1),
        (&["--version"], 1),
        (&["--watch=0.1", "--count", "1"], 1),
        (&["-w", "9"], 3),
    ] {
        let mut command = wallclock_long_timeout();
        command.args(["-s", &address]).args(arguments);
        let read_only = File::open("/dev/null").expect("/dev/null");
        let mut child = command
            .stdout(read_only)
            .stderr(Stdio::piped())
            .spawn()
            .expect("wallclock");
        let mut error = String::new();
        let stderr = child.stderr.take();
        stderr
            .expect("a pipe")
            .read_to_string(&mut error)
            .expect("text");
        let code = child.wait().expect("a child").code();
        assert_eq!(code, Some(status), "{arguments:?}: {error}");
        assert!(
            error.contains("write to standard output: Bad file descriptor"),
            "{error}"
        );
    }
}

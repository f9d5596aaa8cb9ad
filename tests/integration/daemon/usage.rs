//! Options, environment variables, and errors at the start.

use std::ffi::OsStr;
use std::io;
use std::net::UdpSocket;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use support::{Process, query, skip_without_ipv6, wallclock, wallclockd};
use wallclock::error::error_chain;

/// Runs a daemon that cannot start. Returns what it prints to stderr, and its exit status.
fn run_failing(command: &mut Command) -> (String, Option<i32>) {
    let output = command.output().expect("wallclockd runs");
    (
        String::from_utf8(output.stderr).expect("UTF-8"),
        output.status.code(),
    )
}

/// Checks that a daemon with these arguments and this TZ logs one error, which contains a text,
/// and ends with this status: 2 if another start would fail in the same way.
fn assert_start_error(
    arguments: [&str; 2],
    tz: Option<&str>,
    expected: &str,
    expected_status: i32,
) {
    let mut command = wallclockd();
    if let Some(tz) = tz {
        command.env("TZ", tz);
    }
    let (log, status) = run_failing(command.args(arguments));
    assert_eq!(status, Some(expected_status), "{log}");
    let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert!(
        errors.len() == 1 && errors[0].contains(expected),
        "{expected:?} in {log}"
    );
    assert!(
        !log.contains("panicked") && !log.contains("listening on"),
        "{log}"
    );
}

/// The words of the C library for EADDRNOTAVAIL.
fn address_not_available() -> String {
    error_chain(&io::Error::from_raw_os_error(libc::EADDRNOTAVAIL))
}

#[test]
fn start_error_is_one_line_that_names_the_cause() {
    let other = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let in_use = other.local_addr().expect("an address").to_string();
    for (arguments, tz, expected, status) in [
        (
            ["-l", "192.0.2.1:9527"],
            None,
            &*format!("192.0.2.1:9527: {}", address_not_available()),
            1,
        ),
        (
            ["-l", &in_use],
            None,
            &*format!("{in_use} is in use: another process"),
            2,
        ),
        (
            ["-l", "no-such-host.invalid"],
            None,
            "no-such-host.invalid:9527",
            1,
        ),
        (
            ["-l", "127.0.0.1:0"],
            Some("Mars/Olympus"),
            "TZ=Mars/Olympus",
            2,
        ),
        (
            ["-l", "127.0.0.1:0"],
            Some("EST5EDT4,nonsense"),
            "TZ=EST5EDT4,nonsense",
            2,
        ),
        (
            ["-l", "127.0.0.1:0"],
            Some(":/etc/passwd"),
            "of TZ=:/etc/passwd: zone file /etc/passwd",
            2,
        ),
        (
            ["-l", "127.0.0.1:0"],
            Some("a\n\u{1b}[2J"),
            "TZ=a\\x0a\\x1b[2J: no such file",
            2,
        ),
    ] {
        assert_start_error(arguments, tz, expected, status);
    }
}

#[test]
fn multicast_address_is_a_permanent_start_error() {
    let expected = "239.0.0.1:9527 is a broadcast or multicast address";
    assert_start_error(["-l", "239.0.0.1"], None, expected, 2);
    if skip_without_ipv6() {
        return;
    }
    // Without an interface its bind fails.
    let expected = "[ff02::1]:9527 is a broadcast or multicast address";
    assert_start_error(["-l", "[ff02::1]"], None, expected, 2);
}

#[test]
fn tzdir_is_escaped_in_an_error() {
    let mut command = wallclockd();
    command.args(["-l", "127.0.0.1:0"]);
    command.env("TZ", "Nowhere").env("TZDIR", "/a\n\u{1b}[2J");
    let (stderr, status) = run_failing(&mut command);
    assert_eq!(status, Some(2), "{stderr}");
    assert!(stderr.contains("in /a\\x0a\\x1b[2J and"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn ipv6_address_of_another_host_is_a_start_error() {
    if skip_without_ipv6() {
        return;
    }
    let expected = format!("[2001:db8::1]:9527: {}", address_not_available());
    assert_start_error(["-l", "[2001:db8::1]:9527"], None, &expected, 1);
}

#[test]
fn usage_error_is_one_line_with_status_2() {
    for (arguments, expected) in [
        (&["--listen", "127.0.0.1:notaport"][..], "notaport"),
        (&["--listen", ""], "no host"),
        (&["-l", "80"], "\"80\" is no host"),
        (&["-l", "[fe80::1]"], "fe80::1 needs its interface"),
        (&["-l", "[::1%lo]"], "::1 has no interface"),
        (&["-l", "a\n\u{1b}[2J"], "\"a\\n\\u{1b}[2J\" is no host"),
        (&["-l", "[::g]"], "only an IPv6 address has colons"),
        (&["--allow", "any"], "neither a network"),
        (&["--allow", ""], "it names no network"),
        (&["--allow", "localhost,"], "it names no network"),
        (&["--nonsense"], "--nonsense"),
        (&["--receive-buffer", "0"], "--receive-buffer"),
        (&["--receive-buffer", "lots"], "lots"),
        (&["--receive-buffer", "3G"], "2147483647"),
        (&["--max-error", "17"], "at most 16"),
        (&["--max-error", "soon"], "soon"),
        (&["stray"], "stray"),
        // clap alone would add a tip and a line about --help.
        (&["--recieve-buffer", "1"], "--recieve-buffer"),
    ] {
        let (stderr, status) = run_failing(wallclockd().args(arguments));
        assert_eq!(status, Some(2), "{stderr}");
        assert!(
            stderr.starts_with("wallclockd: ")
                && stderr.contains(expected)
                && stderr.lines().count() == 1,
            "{stderr}"
        );
    }
}

#[test]
fn environment_variables_set_options() {
    if skip_without_ipv6() {
        return;
    }
    let mut process = Process::start(
        wallclockd()
            .env("WALLCLOCKD_LISTEN", " 127.0.0.1:0, [::1]:0")
            .env("WALLCLOCKD_UTC", "yes")
            .env("TZ", "CST-8"),
    );
    for _ in 0..2 {
        assert_eq!(query(process.wait_for_address(), b"%Z"), b"UTC");
    }
}

#[test]
fn bad_environment_variable_is_named_with_its_value() {
    for (variable, value, arguments, expected) in [
        (
            "WALLCLOCKD_RECEIVE_BUFFER",
            "8X",
            &[][..],
            "wallclockd: WALLCLOCKD_RECEIVE_BUFFER=8X: not a size, such as 8388608, 8M or 8MiB\n",
        ),
        (
            "WALLCLOCKD_UTC",
            "perhaps",
            &[],
            "wallclockd: WALLCLOCKD_UTC=perhaps: value was not a boolean\n",
        ),
        (
            "WALLCLOCKD_LISTEN",
            "127.0.0.1:0,[::1]:port",
            &[],
            "wallclockd: WALLCLOCKD_LISTEN=127.0.0.1:0,[::1]:port: ",
        ),
        (
            "WALLCLOCKD_MAX_ERROR",
            "-1",
            &[],
            "wallclockd: WALLCLOCKD_MAX_ERROR=-1: ",
        ),
        (
            "WALLCLOCKD_QUIET",
            "\n\u{1b}\u{202e}",
            &[],
            "wallclockd: WALLCLOCKD_QUIET=\\x0a\\x1b\\xe2\\x80\\xae: ",
        ),
        // The command line alone is wrong.
        (
            "WALLCLOCKD_QUIET",
            "much",
            &["--receive-buffer", "8X"],
            "wallclockd: invalid value '8X' for '--receive-buffer <BYTES>': ",
        ),
    ] {
        let (stderr, status) = run_failing(wallclockd().args(arguments).env(variable, value));
        assert_eq!(status, Some(2), "{stderr}");
        assert!(
            stderr.starts_with(expected) && stderr.lines().count() == 1,
            "{stderr}"
        );
    }
    let not_utf8 = OsStr::from_bytes(b"\xff");
    let (stderr, status) = run_failing(wallclockd().env("WALLCLOCKD_LISTEN", not_utf8));
    assert_eq!(status, Some(2), "{stderr}");
    assert_eq!(stderr, "wallclockd: WALLCLOCKD_LISTEN=\\xff: not UTF-8\n");
    // The address is wrong, and the variable is named.
    for (variable, arguments, expected) in [
        (
            "239.0.0.1",
            &[][..],
            "] WALLCLOCKD_LISTEN=239.0.0.1: 239.0.0.1:9527 is a broadcast",
        ),
        (
            "127.0.0.1:0",
            &["-l", "239.0.0.1"],
            "] 239.0.0.1:9527 is a broadcast",
        ),
    ] {
        let mut command = wallclockd();
        command.args(arguments).env("WALLCLOCKD_LISTEN", variable);
        let (stderr, status) = run_failing(&mut command);
        assert_eq!(status, Some(2), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
    // An option on the command line overrides its variable.
    let mut process = Process::start(
        wallclockd()
            .args(["-l", "127.0.0.1:0", "--receive-buffer", "64K"])
            .env("WALLCLOCKD_RECEIVE_BUFFER", "8X"),
    );
    process.wait_for("receive buffer 131072 bytes");
}

#[test]
fn unknown_environment_variable_causes_one_warning() {
    let mut process = Process::start(
        wallclockd()
            .args(["-l", "127.0.0.1:0"])
            .env("WALLCLOCKD_REQUIRE_SNYC", "true")
            .env("WALLCLOCKD_SYNC_FILE", "/sync")
            .env("WALLCLOCKD_COLOUR", "")
            .env("WALLCLOCK_SERVER", "10.0.0.1"),
    );
    process.wait_for_address();
    let warnings: Vec<_> = process
        .log_lines_but_clock_status()
        .into_iter()
        .filter(|line| line.contains("WALLCLOCK"))
        .map(|line| line.rsplit("] ").next().unwrap_or_default())
        .collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    for expected in [
        "WALLCLOCKD_REQUIRE_SNYC is ignored: no such option; WALLCLOCKD_REQUIRE_SYNC is one",
        "WALLCLOCKD_SYNC_FILE is ignored: no such option",
    ] {
        assert!(warnings.contains(&expected), "{warnings:?}");
    }
}

#[test]
fn empty_environment_variable_counts_as_unset() {
    let help = wallclockd().arg("--help").output().expect("it runs");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let variables: Vec<_> = help
        .split("[env: ")
        .skip(1)
        .filter_map(|rest| rest.split('=').next())
        .collect();
    assert!(variables.contains(&"WALLCLOCKD_LISTEN"), "{variables:?}");
    for variable in variables {
        // An empty list of networks might be meant to allow none, or all.
        if variable == "WALLCLOCKD_ALLOW" {
            let (log, status) = run_failing(wallclockd().env(variable, ""));
            assert_eq!(status, Some(2), "{log}");
            assert!(log.contains("it names no network"), "{log}");
            continue;
        }
        // With this zone the daemon ends after it has read its options, before it binds a port.
        let (log, status) = run_failing(wallclockd().env(variable, "").env("TZ", "Mars/Olympus"));
        assert_eq!(status, Some(2), "{variable}: {log}");
        assert!(log.contains("TZ=Mars/Olympus"), "{variable}: {log}");
    }
}

#[test]
fn help_version_and_generated_files_go_to_stdout() {
    assert_prints(wallclockd, "wallclockd");
    assert_prints(wallclock, "wallclock");
}

fn assert_prints(program: fn() -> Command, name: &str) {
    let print = |arguments: &[&str]| {
        let output = program().args(arguments).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert!(print(&["--help"]).contains("Exit status:"));
    assert_eq!(
        print(&["--version"]),
        format!("{name} {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert!(print(&["--generate", "man"]).contains(".TH"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(print(&["--generate", shell]).contains(name), "{shell}");
    }
}

//! Measurements by the program and by the library, without a time-out that a busy machine reaches.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use serde_json::Value;
use support::{HANG_TIMEOUT, program, wallclock, wallclock_long_timeout};
use wallclock::client::clocks::read_clocks;
use wallclock::client::measure;
use wallclock::offset::{Interval, MeasurementConfig, ServerClock};

use super::servers::to_nanos;

/// A measurement by the library.
#[derive(Debug)]
pub struct Measured {
    pub clock: ServerClock,
    /// The server's clock minus the wall clock, at the end.
    pub offset: Interval,
}

/// Measures with the library.
pub fn measure(server: SocketAddr, config: MeasurementConfig) -> Measured {
    let config = MeasurementConfig {
        timeout: to_nanos(HANG_TIMEOUT),
        attempts: 1,
        ..config
    };
    let clock = measure::measure(server, config, &|_| ()).expect("an offset");
    let now = read_clocks();
    let offset = clock.estimate.aged_to(now.after);
    Measured {
        clock,
        offset: offset.minus(now.wall_minus_raw()),
    }
}

/// Runs `wallclock` with these servers.
pub fn run(servers: &[SocketAddr], arguments: &[&str]) -> Output {
    let mut command = match arguments.contains(&"--timeout") {
        true => wallclock(),
        false => wallclock_long_timeout(),
    };
    for server in servers {
        command.args(["--server", &server.to_string()]);
    }
    // A plugin with a deadline measures again. Others end with their measurement.
    let options = ["-w", "--warning", "--warn", "-c", "--critical"];
    let is_plugin = options.iter().any(|option| arguments.contains(option));
    if !is_plugin && !arguments.contains(&"--deadline") {
        command.args(["--deadline", &HANG_TIMEOUT.as_secs().to_string()]);
    }
    command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("wallclock starts")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// Runs `wallclock --json`. Returns the object and the exit status.
pub fn run_json(servers: &[SocketAddr]) -> (Value, Option<i32>) {
    let output = run(servers, &["--json"]);
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    (json, output.status.code())
}

/// Whether an offset in seconds is in the interval of this object.
pub fn contains(json: &Value, offset: f64) -> bool {
    let end = |key: &str| {
        json[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key}: {json}"))
    };
    end("low") <= offset && offset <= end("high")
}

/// Runs `wallclock` on a pseudo-terminal of 80 columns and types Ctrl-C once `is_enough`. Returns
/// what it shows and the exit status.
pub fn run_on_terminal(
    arguments: &str,
    is_enough: impl FnMut(&str) -> bool,
) -> (String, Option<i32>) {
    run_on_terminal_after("stty columns 80 rows 24", arguments, is_enough)
}

/// Does what [`run_on_terminal`] does, on a terminal where the shell has run a line before.
pub fn run_on_terminal_after(
    before: &str,
    arguments: &str,
    mut is_enough: impl FnMut(&str) -> bool,
) -> (String, Option<i32>) {
    // Without `exec` the shell would get the Ctrl-C too, and end with status 130. A test that runs
    // in the background of a shell ignores it, and so would its children.
    let command = format!(
        "{before}; exec env --default-signal=INT '{}' {arguments}",
        program("wallclock").display()
    );
    let mut script = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .env("LC_ALL", "C.UTF-8")
        .env_remove("NO_COLOR")
        .env_remove("WALLCLOCK_SERVER")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script starts");
    let mut keyboard = script.stdin.take();
    let mut screen = script.stdout.take().expect("a pipe");
    let (mut shown, mut chunk) = (Vec::new(), [0; 4096]);
    let deadline = Instant::now() + 2 * HANG_TIMEOUT;
    while let Ok(length @ 1..) = screen.read(&mut chunk) {
        shown.extend(&chunk[..length]);
        let shown = String::from_utf8_lossy(&shown);
        if is_enough(&shown)
            && let Some(mut keyboard) = keyboard.take()
        {
            keyboard.write_all(b"\x03").expect("Ctrl-C is typed");
        }
        assert!(Instant::now() < deadline, "{shown}");
    }
    let status = script.wait().expect("a child");
    (String::from_utf8_lossy(&shown).into_owned(), status.code())
}

//! Clients that wait for a moment of a server's clock, which is the clock of this machine.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::{scratch_dir, wallclock};

/// The source of the COMMAND.
pub const START: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/start.c");

/// Options of the compiler for it.
pub const START_OPTIONS: [&str; 2] = ["-static", "-nostartfiles"];

/// Compiles a program.
pub fn compile(source: &str, options: &[&str]) -> io::Result<PathBuf> {
    let name = Path::new(source).file_stem().unwrap_or_default();
    let program = scratch_dir().join(name);
    let status = Command::new("cc")
        .args(["-O2", source, "-o"])
        .arg(&program)
        .args(options)
        .status()?;
    match status.success() {
        true => Ok(program),
        false => Err(io::Error::other(format!("cc {source}: {status}"))),
    }
}

/// Starts `wallclock --until`.
pub fn start_client(
    server: SocketAddr,
    moment: Duration,
    arguments: &[&Path],
) -> io::Result<Child> {
    let mut client = wallclock();
    client
        .args(["--server", &server.to_string()])
        .args(["--until", &format!("@{}", moment.as_secs())])
        .args(arguments);
    spawn(&mut client)
}

/// Starts a program with an environment as small as a service's: execve(2) copies it.
pub fn spawn(program: &mut Command) -> io::Result<Child> {
    program
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

pub fn now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a time after 1970")
}

pub fn sleep_until(time: Duration) {
    thread::sleep(time.saturating_sub(now()));
}

//! The two programs, as commands and as running daemons.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{HANG_TIMEOUT, Process};

/// The path of a built program. Cargo writes it to the parent of the test programs' directory.
pub fn program(name: &str) -> PathBuf {
    profile_dir().join(name)
}

/// A directory for files of tests, in Cargo's target directory.
pub fn scratch_dir() -> PathBuf {
    let path = profile_dir()
        .parent()
        .expect("the profile is in a target directory")
        .join("tmp");
    fs::create_dir_all(&path).expect("a directory");
    path
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn profile_dir() -> PathBuf {
    let test = env::current_exe().expect("this program has a path");
    let deps = test.parent().expect("the program is in a directory");
    deps.parent()
        .expect("deps is in a profile's directory")
        .to_owned()
}

/// A `wallclockd` without settings from the environment.
pub fn wallclockd() -> Command {
    let mut command = Command::new(program("wallclockd"));
    clear_settings(&mut command);
    command
}

/// A `wallclock` without settings from the environment, in a locale with UTF-8.
pub fn wallclock() -> Command {
    let mut command = Command::new(program("wallclock"));
    clear_settings(&mut command);
    command.env("LC_ALL", "C.UTF-8");
    command
}

fn clear_settings(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("WALLCLOCK") {
            command.env_remove(name);
        }
    }
    command
        .env_remove("RUST_LOG")
        .env_remove("JOURNAL_STREAM")
        .env_remove("NOTIFY_SOCKET")
        .env_remove("LISTEN_FDS");
}

/// A `wallclock` that waits [`HANG_TIMEOUT`] for each response, so that a busy machine causes no
/// time-out.
pub fn wallclock_long_timeout() -> Command {
    let mut command = wallclock();
    command.args(["--timeout", &HANG_TIMEOUT.as_secs().to_string()]);
    command
}

/// Returns a command that starts the Python server on a free port.
pub fn python_server() -> Command {
    let mut command = Command::new("python3");
    command
        .arg(repository().join("tests/python/server.py"))
        .arg("0");
    command
}

/// Starts a daemon on a free port of 127.0.0.1, in UTC.
pub fn start_daemon() -> (Process, SocketAddr) {
    start_daemon_with(&["--listen", "127.0.0.1:0", "--utc"])
}

/// Starts a daemon with these arguments. Returns the first address that it listens on.
pub fn start_daemon_with(arguments: &[&str]) -> (Process, SocketAddr) {
    let mut process = Process::start(wallclockd().args(arguments));
    let address = process.wait_for_address();
    (process, address)
}

//! How long each measurement takes, and what the host has: cores, python3, chronyd.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::Options;
use crate::echo::Echo;
use crate::results::ServerKind;
use crate::servers::{self, Build, Server};
use crate::sys;

/// The receive buffer that root gets: 16 MiB once the kernel has doubled it.
pub const ROOT_BUFFER: usize = 8 << 20;
/// The receive buffer that a user gets on most hosts: net.core.rmem_max, which is doubled too.
pub const USER_BUFFER: usize = 212_992;

/// How long each measurement takes.
pub struct Plan {
    pub rounds: usize,
    /// The time of a row of the first table in one round.
    pub slice: Duration,
    /// The time of a server at half load in one round.
    pub half_load: Duration,
    pub idle: Duration,
    /// Requests until the two measurements of resident memory.
    pub memory_requests: [u64; 2],
    pub starts: usize,
}

impl Plan {
    pub fn new(options: &Options) -> Self {
        let (rounds, slice, half_load, idle, memory_requests, starts) = if options.quick {
            (3, 50, 100, 2, [100_000, 1_000_000], 5)
        } else {
            (9, 120, 300, 10, [1_000_000, 10_000_000], 25)
        };
        Self {
            rounds: options.rounds.unwrap_or(rounds),
            slice: Duration::from_millis(options.slice.unwrap_or(slice)),
            half_load: Duration::from_millis(half_load),
            idle: Duration::from_secs(idle),
            memory_requests,
            starts,
        }
    }
}

/// The cores that are used, and the programs that are installed.
pub struct Host {
    pub python: Option<PathBuf>,
    /// None after it has failed to start.
    chronyd: RefCell<Option<PathBuf>>,
    pub load_core: usize,
    pub server_core: usize,
}

impl Host {
    pub fn new() -> Self {
        let cores = sys::cores();
        Self {
            python: servers::find_python(),
            chronyd: RefCell::new(servers::find_chronyd()),
            load_core: cores[0],
            server_core: cores[cores.len() - 1],
        }
    }

    /// Starts wallclockd on the server's core.
    pub fn start_daemon(&self, build: &Build) -> io::Result<Server> {
        Ok(Server::daemon(build, None)?.on_core(self.server_core))
    }

    /// Starts a server with `receive_buffer` bytes requested, or with what it requests itself.
    /// Returns None if it is not installed.
    pub fn start(
        &self,
        server: ServerKind,
        receive_buffer: Option<usize>,
    ) -> io::Result<Option<Server>> {
        let build = &Build::Current;
        let server = match server {
            ServerKind::Floor => Some(Server::echo(Echo::Floor, receive_buffer)?),
            ServerKind::DualFloor => Some(Server::echo(Echo::DualFloor, receive_buffer)?),
            ServerKind::Plain => Some(Server::echo(Echo::Plain, receive_buffer)?),
            ServerKind::Daemon => Some(Server::daemon(build, receive_buffer)?),
            ServerKind::TwoSockets => Some(Server::daemon_on_two_sockets(build, receive_buffer)?),
            ServerKind::Installed => Some(Server::installed(build)?),
            ServerKind::Chronyd => self.start_chronyd(),
            ServerKind::Python => self.python.as_deref().map(Server::python).transpose()?,
        };
        Ok(server.map(|server| server.on_core(self.server_core)))
    }

    /// Starts chronyd. It may be installed and fail to start, for example in a sandbox; the
    /// benchmark then goes on without it.
    fn start_chronyd(&self) -> Option<Server> {
        let mut path = self.chronyd.borrow_mut();
        match Server::chronyd(path.as_deref()?) {
            Ok(server) => Some(server),
            Err(error) => {
                note(&format!("chronyd does not start, it is left out: {error}"));
                *path = None;
                None
            }
        }
    }
}

/// Writes a line about the progress to stderr.
pub fn note(text: &str) {
    eprintln!("bench: {text}");
}

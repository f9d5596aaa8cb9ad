//! Servers whose clocks are right, shifted by libfaketime, or read in whole seconds only.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use support::{Process, repository, skip_without, wallclockd};
use wallclock::offset::{Nanos, SECOND};

/// The command with its wall clock shifted by so many seconds.
pub fn shifted<'a>(command: &'a mut Command, library: &Path, shift: &str) -> &'a mut Command {
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME", shift)
}

pub fn shifted_server(library: &Path, shift: &str) -> (Process, SocketAddr) {
    let mut command = wallclockd();
    command.args(["--listen", "127.0.0.1:0", "--utc"]);
    let mut server = Process::start(shifted(&mut command, library, shift));
    let address = server.wait_for_address();
    (server, address)
}

/// The Python server, with libfaketime and a shift if these are given. Skips without Python.
pub fn python_server(library_and_shift: Option<(&Path, &str)>) -> Option<(Process, SocketAddr)> {
    if skip_without(&["python3"]) {
        return None;
    }
    let mut command = Command::new("python3");
    command
        .arg(repository().join("tests/python/server.py"))
        .arg("0");
    if let Some((library, shift)) = library_and_shift {
        shifted(&mut command, library, shift);
    }
    let mut server = Process::start(&mut command);
    let address = server.wait_for_address();
    Some((server, address))
}

/// Starts a thread that responds as the Python server does: `%s` becomes the second, and other
/// directives stay as they are. Each second begins late by `lag`.
pub fn whole_second_server(lag: Duration) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("a bound socket");
    thread::spawn(move || {
        let mut request = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut request) {
            let since_epoch = (SystemTime::now() - lag).duration_since(SystemTime::UNIX_EPOCH);
            let second = since_epoch.expect("a time after 1970").as_secs();
            let request = String::from_utf8_lossy(&request[..length]);
            let response = request.replace("%s", &second.to_string());
            let _ = socket.send_to(response.as_bytes(), client);
        }
    });
    address
}

/// Nanoseconds since 1970 by this machine's clock.
pub fn wall_clock() -> Nanos {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    to_nanos(since_epoch.expect("a time after 1970"))
}

pub fn to_nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).expect("less than an age")
}

/// Starts a thread that sends what `respond` makes of each request and its number, from 1.
pub fn scripted_server(
    address: &str,
    mut respond: impl FnMut(&str, usize) -> Option<String> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind(address).expect("a free port");
    let address = socket.local_addr().expect("a bound socket");
    thread::spawn(move || {
        let mut request = [0; 2048];
        for number in 1.. {
            let Ok((length, client)) = socket.recv_from(&mut request) else {
                return;
            };
            let request = String::from_utf8_lossy(&request[..length]);
            if let Some(response) = respond(&request, number) {
                let _ = socket.send_to(response.as_bytes(), client);
            }
        }
    });
    address
}

/// The response of a server that supports nanoseconds.
pub fn with_nanoseconds(request: &str, time: Nanos) -> String {
    let seconds = time.div_euclid(SECOND).to_string();
    let nanos = format!("{:09}", time.rem_euclid(SECOND));
    request.replace("%s", &seconds).replace("%N", &nanos)
}

/// The response of a server that supports only whole seconds.
pub fn with_seconds(request: &str, time: Nanos) -> String {
    request.replace("%s", &time.div_euclid(SECOND).to_string())
}

/// A clock that runs at a rate of its own.
#[derive(Clone, Copy, Debug)]
pub struct SlewedClock {
    start: Instant,
    wall_at_start: Nanos,
    ppm: Nanos,
}

impl SlewedClock {
    /// Starts a clock that reads the same as this machine's, and runs faster by so many ppm.
    pub fn new(ppm: Nanos) -> Self {
        Self {
            start: Instant::now(),
            wall_at_start: wall_clock(),
            ppm,
        }
    }

    pub fn read(self) -> Nanos {
        let elapsed = to_nanos(self.start.elapsed());
        self.wall_at_start + elapsed + elapsed * self.ppm / 1_000_000
    }

    /// Its offset from this machine's clock when that reads `wall`, in seconds.
    pub fn offset_at(self, wall: f64) -> f64 {
        let start = self.wall_at_start as f64 / 1e9;
        (wall - start) * self.ppm as f64 / 1e6
    }
}

/// A server with nanoseconds, whose responses are late.
pub fn slow_server(delay: Duration) -> SocketAddr {
    scripted_server("127.0.0.1:0", move |request, _| {
        let response = with_nanoseconds(request, wall_clock());
        thread::sleep(delay);
        Some(response)
    })
}

//! Servers whose clocks are right, shifted by libfaketime, or read in whole seconds only.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use support::{Process, repository, skip_without, wallclockd};

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

/// Starts a thread that passes requests on to a server, and each response back after a delay. It
/// has one client at a time.
pub fn slow_relay(server: SocketAddr, delay: Duration) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("a bound socket");
    let to_server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    to_server.connect(server).expect("a connected socket");
    thread::spawn(move || {
        let mut buf = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut buf) {
            let _ = to_server.send(&buf[..length]);
            let Ok(length) = to_server.recv(&mut buf) else {
                return;
            };
            thread::sleep(delay);
            let _ = socket.send_to(&buf[..length], client);
        }
    });
    address
}

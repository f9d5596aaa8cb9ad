//! `wallclockd` as a process.

mod logging;
mod notify;
mod python;
mod rules;
mod sockets;
mod stop;
mod usage;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use support::query;

pub use sockets::{as_stranger, assert_in_use, bind_beside};

/// Seconds since 1970.
fn unix_seconds() -> i64 {
    std::time::UNIX_EPOCH
        .elapsed()
        .expect("the clock is after 1970")
        .as_secs()
        .cast_signed()
}

/// Returns whether a server responds to `%s` with a second from request to response.
fn serves_time(server: SocketAddr) -> bool {
    let before = unix_seconds();
    let response = query(server, b"%s");
    let second = std::str::from_utf8(&response)
        .ok()
        .and_then(|text| text.parse().ok());
    second.is_some_and(|second| (before..=unix_seconds()).contains(&second))
}

/// Requests without a pause until this is dropped.
struct RequestFlood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RequestFlood {
    fn start(server: SocketAddr) -> RequestFlood {
        let stop = Arc::new(AtomicBool::new(false));
        let thread_stop = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            // Not connected, so that no send fails after the daemon's end.
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            while !thread_stop.load(Ordering::Relaxed) {
                let _ = socket.send_to(b"%Y-%m-%d %X", server);
            }
        });
        RequestFlood {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for RequestFlood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

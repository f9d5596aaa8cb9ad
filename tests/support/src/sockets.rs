//! UDP sockets of a client, and requests through them.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use crate::{HANG_TIMEOUT, MAX_STALENESS};

/// Returns a socket that is connected to a server, with a receive time-out.
pub fn connected_socket(server: SocketAddr) -> UdpSocket {
    let any = if server.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any).expect("a free port");
    socket.connect(server).expect("a route");
    socket
        .set_read_timeout(Some(HANG_TIMEOUT))
        .expect("a time-out");
    socket
}

/// Sends one request and returns its response.
#[track_caller]
pub fn query(server: SocketAddr, request: &[u8]) -> Vec<u8> {
    let socket = connected_socket(server);
    socket.send(request).expect("the request is sent");
    let mut response = vec![0; 65_536];
    let length = socket.recv(&mut response).expect("a response");
    response.truncate(length);
    response
}

/// Returns the address of a port that is closed to all as long as the socket lives: the socket is
/// connected to another port, and the kernel refuses datagrams from other sources.
pub fn closed_port() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.connect("127.0.0.1:9").expect("a route");
    let address = socket.local_addr().expect("the socket is bound");
    (socket, address)
}

/// Repeats a request until its response is the expected one. Panics if a request sent later than
/// [`MAX_STALENESS`] after `changed` gets another.
#[track_caller]
pub fn assert_response_becomes(
    server: SocketAddr,
    request: &[u8],
    expected: &[u8],
    changed: Instant,
) {
    loop {
        let sent_at = Instant::now();
        let response = query(server, request);
        if response == expected {
            return;
        }
        assert!(
            sent_at - changed <= MAX_STALENESS,
            "still {:?}, not {:?}",
            String::from_utf8_lossy(&response),
            String::from_utf8_lossy(expected)
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// Repeats a request until one was sent later than [`MAX_STALENESS`] after `changed`. Panics if one
/// response is not the expected one.
#[track_caller]
pub fn assert_response_stays(
    server: SocketAddr,
    request: &[u8],
    expected: &[u8],
    changed: Instant,
) {
    loop {
        let sent_at = Instant::now();
        assert_eq!(query(server, request), expected);
        if sent_at - changed > MAX_STALENESS {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

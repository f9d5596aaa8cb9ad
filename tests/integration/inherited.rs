//! Sockets that a service manager passes, with socket options that the daemon does not set.

use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

use support::{Process, closed_port, connected_socket, parse_counter, query, skip};

/// Starts a daemon that inherits a socket as by sd_listen_fds(3) and binds another one.
fn start_with_inherited(socket: UdpSocket) -> Process {
    let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_wallclockd")])
        .args(["--utc", "--listen", "127.0.0.1:0"])
        .stdin(OwnedFd::from(socket));
    let mut process = Process::start_with_stdin(&mut command);
    process.wait_for_address();
    process.wait_for_address();
    process
}

#[allow(unsafe_code, reason = "a socket option that socket2 does not offer")]
fn set_option(socket: &UdpSocket, level: libc::c_int, option: libc::c_int, value: libc::c_int) {
    // SAFETY: the value is a c_int that outlives the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "option {option}");
}

/// IP_RECVERR makes the kernel queue ICMP errors, which fail a later call on the socket. The daemon
/// drops the error queued before its start and disables the option.
#[test]
fn queued_icmp_errors_do_not_disturb_the_daemon() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("the socket is bound");
    set_option(&socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1);
    let (_closed, closed) = closed_port();
    socket
        .send_to(b"to a closed port", closed)
        .expect("the datagram is sent");
    let mut process = start_with_inherited(socket);
    assert_eq!(query(address, b"%Z"), b"UTC");
    // These clients close their ports at once: ICMP errors return for the responses.
    for _ in 0..20 {
        connected_socket(address)
            .send(b"%Z")
            .expect("the request is sent");
    }
    // On loopback an ICMP error returns while the response is sent. This request is received after
    // all of them.
    assert_eq!(query(address, b"%Z"), b"UTC");
    let last = process.terminate();
    assert_eq!(parse_counter(last, "answered="), 22, "{last}");
    // The error that was queued before the start, and no other.
    assert_eq!(parse_counter(last, "failed="), 1, "{last}");
}

/// With these options the kernel adds other control messages to each datagram. The daemon finds the
/// destination address among them.
#[test]
fn destination_is_found_among_control_messages() {
    let software = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
    for bound in ["0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0"] {
        let Ok(socket) = UdpSocket::bind(bound) else {
            return skip("no IPv6");
        };
        for (level, option, value) in [
            (libc::SOL_SOCKET, libc::SO_TIMESTAMP, 1),
            (
                libc::SOL_SOCKET,
                libc::SO_TIMESTAMPING,
                software as libc::c_int,
            ),
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1),
            (libc::SOL_SOCKET, libc::SO_RCVMARK, 1),
            (libc::IPPROTO_IP, libc::IP_RECVTOS, 1),
            (libc::IPPROTO_IP, libc::IP_RECVTTL, 1),
        ] {
            set_option(&socket, level, option, value);
        }
        let port = socket.local_addr().expect("the socket is bound").port();
        let _daemon = start_with_inherited(socket);
        for address in ["127.0.0.1", "127.0.0.2"] {
            let server = format!("{address}:{port}").parse().expect("an address");
            assert_eq!(
                query(server, b"%Z"),
                b"UTC",
                "request to {address} at {bound}"
            );
        }
    }
}

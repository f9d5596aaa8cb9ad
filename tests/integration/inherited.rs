//! Sockets that a service manager hands over, with more switched on than the daemon would have.

use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

use support::{Process, ask, closed_port, line_to, read_counter, skip};

/// A daemon that takes this socket over, as by sd_listen_fds(3), and listens on another one besides.
fn taking_over(socket: UdpSocket) -> Process {
    let hand_over = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null";
    let mut command = Command::new("sh");
    command
        .args(["-c", hand_over, env!("CARGO_BIN_EXE_wallclockd")])
        .args(["--utc", "--listen", "127.0.0.1:0"])
        .stdin(OwnedFd::from(socket));
    let mut process = Process::with_stdin(&mut command);
    process.wait_for_address();
    process.wait_for_address();
    process
}

#[allow(unsafe_code, reason = "a socket option that socket2 does not offer")]
fn switch_on(socket: &UdpSocket, level: libc::c_int, option: libc::c_int, value: libc::c_int) {
    // SAFETY: the value is a c_int that outlives the call, and its size is given.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(set, 0, "option {option}");
}

#[test]
fn icmp_errors_that_a_socket_queues_are_no_trouble() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    switch_on(&socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1);
    let (_closed, closed) = closed_port();
    socket
        .send_to(b"is anybody there?", closed)
        .expect("it is sent");
    let mut process = taking_over(socket);
    assert_eq!(ask(address, b"%Z"), b"UTC");
    // Whoever asks and goes is told of by ICMP as well.
    for _ in 0..20 {
        line_to(address).send(b"%Z").expect("it is sent");
    }
    // On loopback the ICMP error comes with the answer's sending, and this question is taken after
    // all of those.
    assert_eq!(ask(address, b"%Z"), b"UTC");
    process.signal("TERM");
    assert!(process.wait().success());
    let last = process.log.last().expect("a last line");
    assert_eq!(read_counter(last, "answered="), 22, "{last}");
    // The one that was there at the start, and no other.
    assert_eq!(read_counter(last, "failed="), 1, "{last}");
}

#[test]
fn the_address_that_was_asked_is_found_among_all_that_the_kernel_tells() {
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
            switch_on(&socket, level, option, value);
        }
        let port = socket.local_addr().expect("it is bound").port();
        let _daemon = taking_over(socket);
        for address in ["127.0.0.1", "127.0.0.2"] {
            let server = format!("{address}:{port}").parse().expect("an address");
            assert_eq!(ask(server, b"%Z"), b"UTC", "{bound} asked at {address}");
        }
    }
}

//! Sockets that a service manager passes, with socket options that the daemon does not set.

use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

use support::faults::Faults;
use support::{
    HANG_TIMEOUT, Process, closed_port, connected_socket, parse_counter, query, request_counters,
    skip, skip_without_ipv6, wait_until, wallclockd,
};

use crate::daemon::bind_beside;

/// The command of a daemon that inherits a socket as by sd_listen_fds(3).
fn inheriting(socket: UdpSocket) -> Command {
    let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null";
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .arg(wallclockd().get_program())
        .arg("--utc")
        .stdin(OwnedFd::from(socket));
    command
}

/// Starts a daemon that inherits a socket and binds another one.
pub fn start_with_inherited(socket: UdpSocket) -> Process {
    let mut command = inheriting(socket);
    let mut process = Process::start_with_stdin(command.args(["--listen", "127.0.0.1:0"]));
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

/// Sends a request to the port of a socket.
fn send_to(client: &UdpSocket, ip: &str, server: &UdpSocket) {
    let port = server.local_addr().expect("the socket is bound").port();
    let sent = client.send_to(b"%Z", (ip, port));
    sent.unwrap_or_else(|error| panic!("{ip}: {error}"));
}

/// A socket that may send broadcasts.
fn broadcasting_client() -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    client.set_broadcast(true).expect("SO_BROADCAST");
    client.set_nonblocking(true).expect("non-blocking");
    client
}

/// The daemon does not bind a broadcast address, but a service manager may.
#[test]
fn rule_1_socket_on_a_broadcast_address_gets_no_response() {
    let socket = UdpSocket::bind("127.255.255.255:0").expect("a free port");
    let copy = socket.try_clone().expect("a copy");
    let mut process = start_with_inherited(socket);
    let client = broadcasting_client();
    send_to(&client, "127.255.255.255", &copy);
    wait_until("the request is not received", || {
        request_counters(&mut process)[..3].iter().sum::<u64>() == 1
    });
    assert_eq!(request_counters(&mut process), [0, 0, 1, 0, 0]);
    assert!(client.recv(&mut [0; 64]).is_err(), "a response");
}

/// Requests that wait in the socket when the daemon starts are answered: on a socket for one
/// address always, on one for all addresses if it has had packet info from the start
/// (PassPacketInfo=).
#[test]
fn requests_before_the_start_are_answered() {
    for (bound, option) in [
        ("127.0.0.1:0", None),
        ("0.0.0.0:0", Some((libc::IPPROTO_IP, libc::IP_PKTINFO))),
        ("[::]:0", Some((libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO))),
    ] {
        let Ok(socket) = UdpSocket::bind(bound) else {
            return skip("no IPv6");
        };
        if let Some((level, option)) = option {
            set_option(&socket, level, option, 1);
        }
        let client = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        send_to(&client, "127.0.0.1", &socket);
        let _daemon = start_with_inherited(socket);
        client
            .set_read_timeout(Some(HANG_TIMEOUT))
            .expect("a time-out");
        let mut buf = [0; 64];
        let length = client
            .recv(&mut buf)
            .unwrap_or_else(|error| panic!("{bound}: {error}"));
        assert_eq!(&buf[..length], b"UTC", "{bound}");
    }
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

/// Binds a socket as systemd does, with SO_REUSEADDR.
fn bind_as_systemd(address: &str) -> UdpSocket {
    let address = address.parse().expect("an address");
    UdpSocket::from(bind_beside(address, true, false).expect("a free port"))
}

fn reuse_address(socket: &UdpSocket) -> bool {
    socket2::SockRef::from(socket)
        .reuse_address()
        .expect("an option of a socket")
}

/// The socket stays systemd's when the daemon ends, and so does its option.
#[test]
fn inherited_socket_loses_so_reuseaddr_for_good() {
    let socket = bind_as_systemd("127.0.0.1:0");
    let address = socket.local_addr().expect("the socket is bound");
    for _ in 0..2 {
        let mut process = start_with_inherited(socket.try_clone().expect("a descriptor"));
        assert!(!reuse_address(&socket));
        assert!(bind_beside(address, true, false).is_err());
        process.terminate();
        assert!(!reuse_address(&socket));
    }
}

/// ReusePort= of a socket unit would let any process of the user take requests.
#[test]
fn inherited_socket_has_so_reuseport_only_with_the_option() {
    for (before, option, after) in [
        (true, None, false),
        (true, Some("--reuse-port"), true),
        (false, Some("--reuse-port"), true),
    ] {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let options = socket2::SockRef::from(&socket);
        options.set_reuse_port(before).expect("SO_REUSEPORT");
        let mut command = inheriting(socket.try_clone().expect("a descriptor"));
        let mut process = Process::start_with_stdin(command.args(option));
        process.wait_for_address();
        let actual = options.reuse_port().expect("SO_REUSEPORT");
        assert_eq!(actual, after, "{before}, {option:?}");
    }
}

/// Without SO_BROADCAST (Broadcast= of a socket unit) the kernel refuses a response to the
/// broadcast address of a network.
#[test]
fn rule_1_inherited_socket_loses_so_broadcast() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_broadcast(true).expect("SO_BROADCAST");
    let _daemon = start_with_inherited(socket.try_clone().expect("a descriptor"));
    assert!(!socket.broadcast().expect("SO_BROADCAST"));
}

#[test]
fn overlapping_listen_binds_beside_an_inherited_socket() {
    if skip_without_ipv6() {
        return;
    }
    for (inherited, listen) in [
        ("[::]:0", "127.0.0.1"),
        ("[::]:0", "0.0.0.0"),
        ("0.0.0.0:0", "[::]"),
        ("127.0.0.1:0", "[::]"),
        ("127.0.0.1:0", "[::ffff:0.0.0.0]"),
    ] {
        let socket = bind_as_systemd(inherited);
        let port = socket.local_addr().expect("the socket is bound").port();
        let listen = format!("{listen}:{port}");
        // The second time, the inherited socket has lost SO_REUSEADDR to the first.
        for start in 1..=2 {
            let mut command = inheriting(socket.try_clone().expect("a descriptor"));
            let mut process = Process::start_with_stdin(command.args(["--listen", &listen]));
            for _ in 0..2 {
                process.wait_for_address();
            }
            for stranger in ["127.0.0.1", "0.0.0.0", "[::]"] {
                let address = format!("{stranger}:{port}").parse().expect("an address");
                let bound = bind_beside(address, true, true);
                assert!(
                    bound.is_err(),
                    "{inherited}, {listen}, start {start}: {address}"
                );
            }
            let client = format!("127.0.0.1:{port}").parse().expect("an address");
            assert_eq!(query(client, b"%Z"), b"UTC", "{inherited}, {listen}");
            process.terminate();
            assert!(!reuse_address(&socket), "{inherited}, {listen}");
        }
    }
}

#[test]
fn failed_start_leaves_so_reuseaddr_off() {
    let socket = bind_as_systemd("0.0.0.0:0");
    let port = socket.local_addr().expect("the socket is bound").port();
    // The second address belongs to no host, and no other socket is on its port.
    let listen = format!("127.0.0.1:{port},192.0.2.1:{port}");
    let mut command = inheriting(socket.try_clone().expect("a descriptor"));
    let mut process = Process::start_with_stdin(command.args(["--listen", &listen]));
    assert!(!process.wait().success());
    let log = process.log.join("\n");
    assert!(log.contains("192.0.2.1"), "{log}");
    assert!(!reuse_address(&socket));
}

/// RestrictAddressFamilies= of the units makes socket(2) fail like this.
#[test]
fn listen_where_only_an_inherited_socket_is_permitted() {
    let socket = bind_as_systemd("127.0.0.1:0");
    let address = socket.local_addr().expect("the socket is bound");
    let mut command = inheriting(socket);
    let Some(faults) = Faults::preload(command.env("WALLCLOCKD_LISTEN", "127.0.0.9:9527")) else {
        return skip("no cc (Debian package gcc) or static programs");
    };
    faults.set_socket_error(libc::EAFNOSUPPORT);
    let mut process = Process::start_with_stdin(&mut command);
    assert!(!process.wait().success());
    let error = process.log.last().expect("a last line");
    for expected in [
        "ERROR",
        "127.0.0.9:9527",
        "systemd holds the socket",
        &address.to_string(),
        "WALLCLOCKD_LISTEN",
        "ListenDatagram=",
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert!(!error.contains("not supported"), "{error}");
}

//! Rules of the protocol, as a running daemon applies them.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use support::{
    Process, connected_socket, query, request_counters, skip, skip_without_ipv6, start_daemon,
    start_daemon_with, wait_until, wallclockd,
};
use wallclock::protocol::MAX_RESPONSE_LEN;

use crate::inherited::start_with_inherited;

#[test]
fn rule_1_low_source_port_gets_no_response() {
    let socket = match (1..1024)
        .rev()
        .find_map(|port| UdpSocket::bind(("127.0.0.1", port)).ok())
    {
        Some(socket) => socket,
        None => return skip("no right to a port below 1024"),
    };
    let (mut process, address) = start_daemon();
    socket.send_to(b"%T", address).expect("the request is sent");
    // Its response shows that the daemon has received the other request as well.
    query(address, b"%s");
    assert_eq!(request_counters(&mut process), [1, 0, 1, 0, 0]);
    socket.set_nonblocking(true).expect("non-blocking");
    assert!(socket.recv(&mut [0; MAX_RESPONSE_LEN]).is_err());
}

/// 127.255.255.255 is the broadcast address of the loopback interface.
#[test]
fn rule_1_broadcast_request_gets_no_response() {
    for listen in ["0.0.0.0:0", "[::]:0"] {
        if listen.starts_with('[') && skip_without_ipv6() {
            return;
        }
        let (mut process, address) = start_daemon_with(&["-l", listen]);
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_broadcast(true).expect("SO_BROADCAST");
        let broadcast = ("127.255.255.255", address.port());
        socket.send_to(b"%T", broadcast).expect("a request");
        // Its response shows that the daemon has received the other request as well.
        query(SocketAddr::from(([127, 0, 0, 1], address.port())), b"%s");
        assert_eq!(request_counters(&mut process), [1, 0, 1, 0, 0], "{listen}");
        socket.set_nonblocking(true).expect("non-blocking");
        assert!(socket.recv(&mut [0; MAX_RESPONSE_LEN]).is_err(), "{listen}");
    }
}

/// Returns whether a daemon with these arguments answers a request from this address to this one.
fn is_answered(arguments: &[&str], source: &str, destination: &str) -> bool {
    let (mut process, address) = start_daemon_with(arguments);
    let socket = UdpSocket::bind((source, 0)).expect("a free port");
    let server = (destination, address.port());
    socket.send_to(b"%T", server).expect("the request is sent");
    let mut counters = [0; 5];
    wait_until("the request is not received", || {
        counters = request_counters(&mut process);
        counters[0] + counters[2] == 1
    });
    counters[0] == 1
}

#[test]
fn rule_1_source_outside_of_allow_gets_no_response() {
    let allow = ["--allow", "127.0.0.2", "--allow=127.1.0.0/16,::1"];
    let mut sockets = vec!["127.0.0.1:0", "0.0.0.0:0"];
    if !skip_without_ipv6() {
        sockets.push("[::]:0");
    }
    for listen in sockets {
        let arguments = [&["-l", listen], &allow[..]].concat();
        for (source, expected) in [
            ("127.0.0.1", false),
            ("127.0.0.2", true),
            ("127.0.0.3", false),
            ("127.1.255.255", true),
            ("127.2.0.0", false),
        ] {
            let answered = is_answered(&arguments, source, "127.0.0.1");
            assert_eq!(answered, expected, "{source} at {listen}");
        }
        if listen.starts_with('[') {
            assert!(is_answered(&arguments, "::1", "::1"));
            let v4_only = ["-l", listen, "--allow", "0.0.0.0/0"];
            assert!(!is_answered(&v4_only, "::1", "::1"));
        }
    }
    // Without the option everybody gets a response.
    assert!(is_answered(
        &["-l", "127.0.0.1:0"],
        "127.0.0.3",
        "127.0.0.1"
    ));
}

#[test]
fn allowed_networks_come_from_the_environment() {
    for (value, expected) in [("link-local,private", false), ("private,localhost", true)] {
        let mut command = wallclockd();
        command
            .args(["-l", "127.0.0.1:0"])
            .env("WALLCLOCKD_ALLOW", value);
        let mut process = Process::start(&mut command);
        let address = process.wait_for_address();
        let socket = connected_socket(address);
        socket.send(b"%T").expect("the request is sent");
        wait_until("the request is not received", || {
            request_counters(&mut process)[..3].iter().sum::<u64>() == 1
        });
        assert_eq!(request_counters(&mut process)[0] == 1, expected, "{value}");
    }
}

#[test]
fn rule_4_bad_requests_get_an_error_response() {
    let (_daemon, address) = start_daemon();
    let long = [b"%T", &[b'a'; 9000][..]].concat();
    for (request, expected) in [
        (
            &b"%Y/%m/%d %Q"[..],
            &b"error: byte 9: unknown conversion Q"[..],
        ),
        (b"%\xff", b"error: byte 1: not UTF-8"),
        (&long, b"error: question longer than 1024 bytes"),
    ] {
        assert_eq!(query(address, request), expected);
    }
}

/// Datagrams that start a loop between two servers that do not follow the rules.
const LOOP_STARTERS: [&[u8]; 6] = [
    b"%Q",
    b"%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%",
    b"%T",
    b"",
    b"hello",
    b"%",
];

/// More turns of a loop than the rules allow for any of these datagrams.
const TURNS: u64 = 100;

#[test]
fn rule_l_forged_datagram_starts_no_loop() {
    // A daemon sends from its own port; here that is a socket which the test has, too.
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let a_address = socket.local_addr().expect("the socket is bound");
    let mut a = start_with_inherited(socket.try_clone().expect("a descriptor"));
    let (mut b, b_address) = start_daemon();
    // A daemon's response reaches the other one before it receives its next request: each request
    // to both gives a loop of the two the time for at least one turn.
    let query_both = |times: u64| {
        for _ in 0..times {
            query(a_address, b"%s");
            query(b_address, b"%s");
        }
    };
    let mut total = || {
        request_counters(&mut a)[..3].iter().sum::<u64>()
            + request_counters(&mut b)[..3].iter().sum::<u64>()
    };
    for payload in LOOP_STARTERS {
        let before = total();
        socket
            .send_to(payload, b_address)
            .expect("the datagram is sent");
        query_both(TURNS);
        let datagrams = total() - before - 2 * TURNS;
        assert!(datagrams > 0, "{payload:?} does not arrive");
        // Rule L allows log2(k) + 2 responses; with the forged datagram itself, one more.
        let k = payload.iter().filter(|&&byte| byte == b'%').count();
        assert!(
            datagrams <= u64::from(k.max(1).ilog2()) + 3,
            "{payload:?}: {datagrams} datagrams"
        );
    }
}

/// The control of the test above: the same datagram does start a loop between two servers that, as
/// a plain strftime loop does, respond to everything and send back what they do not know.
#[test]
fn rule_l_control_servers_without_rules_loop() {
    fn respond(request: &[u8]) -> Vec<u8> {
        if request.is_empty() {
            b"2026-07-05 01:05:07".to_vec()
        } else {
            request.to_vec()
        }
    }
    let turns = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let servers = [(); 2].map(|()| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a time-out");
        let address = socket.local_addr().expect("an address");
        let sender = socket.try_clone().expect("a descriptor");
        let (turns, stop) = (Arc::clone(&turns), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut buf = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((length, source)) = socket.recv_from(&mut buf) {
                    turns.fetch_add(1, Ordering::Relaxed);
                    let _ = socket.send_to(&respond(&buf[..length]), source);
                }
            }
        });
        (sender, address, thread)
    });
    servers[0]
        .0
        .send_to(LOOP_STARTERS[0], servers[1].1)
        .expect("the datagram is sent");
    wait_until("the forged datagram starts no loop", || {
        turns.load(Ordering::Relaxed) >= TURNS
    });
    stop.store(true, Ordering::Relaxed);
    for (.., thread) in servers {
        thread.join().expect("the thread ends");
    }
}

//! Rules of the protocol, as a running daemon applies them.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use support::{query, request_counters, skip, start_daemon, wait_until};
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

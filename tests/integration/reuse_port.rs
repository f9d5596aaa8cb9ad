//! `--reuse-port`: several instances share one port, and the end of one does not disturb the
//! clients of the others.

use std::net::UdpSocket;

use support::{Process, connected_socket, request_counters, skip, start_daemon, start_daemon_with};

use crate::daemon::{as_stranger, assert_in_use, bind_beside};

/// The kernel distributes clients by a hash: with this number it leaves one of two instances
/// without any client once in 2^63 runs.
const CLIENTS: usize = 64;

/// Starts two daemons on one free port, and clients of it.
fn start_two_instances() -> (Process, Process, Vec<UdpSocket>) {
    let start = |address: &str| start_daemon_with(&["--listen", address, "--reuse-port", "--utc"]);
    let (first, address) = start("127.0.0.1:0");
    let (second, same) = start(&address.to_string());
    assert_eq!(address, same);
    let clients = (0..CLIENTS).map(|_| connected_socket(address)).collect();
    (first, second, clients)
}

/// Sends one request and waits for its response. Panics if one of them is lost: there is no retry.
fn query(client: &UdpSocket) {
    client
        .send(b"%Y/%m/%d %H:%M:%S")
        .expect("the request is sent");
    let length = client.recv(&mut [0; 64]).expect("a response");
    assert_eq!(length, "2026/07/05 12:34:56".len());
}

fn answered(daemon: &mut Process) -> u64 {
    request_counters(daemon)[0]
}

#[test]
fn two_instances_share_the_requests_of_many_clients() {
    let (mut first, mut second, clients) = start_two_instances();
    clients.iter().for_each(query);
    let (by_first, by_second) = (answered(&mut first), answered(&mut second));
    assert!(by_first > 0 && by_second > 0, "{by_first} and {by_second}");
    assert_eq!(by_first + by_second, CLIENTS as u64);
}

#[test]
fn killed_instance_loses_no_request_of_the_other() {
    let (first, mut second, clients) = start_two_instances();
    let (clients_of_second, clients_of_first): (Vec<_>, Vec<_>) =
        clients.into_iter().partition(|client| {
            let before = answered(&mut second);
            query(client);
            answered(&mut second) > before
        });
    assert!(!clients_of_second.is_empty() && !clients_of_first.is_empty());

    std::thread::scope(|scope| {
        let (sender, receiver) = std::sync::mpsc::channel();
        scope.spawn(move || {
            for round in 0..200 {
                clients_of_second.iter().for_each(query);
                if round == 20 {
                    sender.send(()).expect("the test waits for this");
                }
            }
        });
        // The first instance is killed while requests to the second are in flight.
        receiver.recv().expect("the clients send requests");
        drop(first);
    });
    // The kernel now delivers the requests of all clients to the second instance.
    clients_of_first.iter().for_each(query);
}

/// SO_REUSEADDR beside SO_REUSEPORT would admit every user.
#[test]
fn group_of_instances_admits_only_its_user() {
    let (_first, _second, clients) = start_two_instances();
    let address = clients[0].peer_addr().expect("connected");
    for (reuse_address, reuse_port) in [(true, false), (false, true), (true, true)] {
        let bind = || bind_beside(address, reuse_address, reuse_port).is_err();
        match as_stranger(bind) {
            Some(refused) => assert!(refused, "{reuse_address} {reuse_port}"),
            None => return skip("not root"),
        }
    }
    let refused = bind_beside(address, true, false).is_err();
    assert!(refused, "without SO_REUSEPORT");
}

#[test]
fn instance_that_does_not_share_ends_the_start() {
    let (_alone, address) = start_daemon();
    let address = address.to_string();
    assert_in_use(&["-l", &address, "--reuse-port"], &address);
    let (_sharing, address) = start_daemon_with(&["-l", "127.0.0.1:0", "--reuse-port"]);
    let address = address.to_string();
    assert_in_use(&["-l", &address], &address);
}

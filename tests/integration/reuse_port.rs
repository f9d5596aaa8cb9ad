//! `--reuse-port`: several instances share one port, and the end of one is no concern of the others' askers.

use std::net::UdpSocket;

use support::{Process, counters, line_to, wallclockd};

/// So many that the kernel's hash leaves an instance without any of them once in 2^63 runs.
const CLIENTS: usize = 64;

/// Two daemons on one free port.
fn pair() -> (Process, Process, Vec<UdpSocket>) {
    let start = |address: &str| {
        let mut daemon =
            Process::start(wallclockd().args(["--listen", address, "--reuse-port", "--utc"]));
        let address = daemon.wait_for_address();
        (daemon, address)
    };
    let (first, address) = start("127.0.0.1:0");
    let (second, same) = start(&address.to_string());
    assert_eq!(address, same);
    let clients = (0..CLIENTS).map(|_| line_to(address)).collect();
    (first, second, clients)
}

/// Asks and waits. A question that is lost is a panic, as there is no second try.
fn ask(client: &UdpSocket) {
    client.send(b"%Y/%m/%d %H:%M:%S").expect("it is sent");
    let mut answer = [0; 64];
    let length = client.recv(&mut answer).expect("an answer");
    assert_eq!(length, "2026/07/05 12:34:56".len());
}

fn answered(daemon: &mut Process) -> u64 {
    counters(daemon)[0]
}

#[test]
fn two_instances_on_one_port_share_the_questions_of_many_clients() {
    let (mut first, mut second, clients) = pair();
    clients.iter().for_each(ask);
    let (ours, theirs) = (answered(&mut first), answered(&mut second));
    assert!(ours > 0 && theirs > 0, "{ours} and {theirs}");
    assert_eq!(ours + theirs, CLIENTS as u64);
}

#[test]
fn killing_one_instance_loses_no_question_of_the_others_clients() {
    let (first, mut second, clients) = pair();
    let (staying, moving): (Vec<_>, Vec<_>) = clients.into_iter().partition(|client| {
        let before = answered(&mut second);
        ask(client);
        answered(&mut second) > before
    });
    assert!(!staying.is_empty() && !moving.is_empty());

    std::thread::scope(|scope| {
        let (asking, asked) = std::sync::mpsc::channel();
        scope.spawn(move || {
            for round in 0..200 {
                staying.iter().for_each(ask);
                if round == 20 {
                    asking.send(()).expect("the test waits for this");
                }
            }
        });
        // In the midst of the questions.
        asked.recv().expect("the clients ask");
        drop(first);
    });
    // Whoever asked the one that is gone asks the other now.
    moving.iter().for_each(ask);
}

//! The addresses that a daemon listens on, and other sockets on its port.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustix::process::{Uid, geteuid};
use rustix::thread::set_thread_res_uid;
use socket2::{Domain, Socket, Type};
use support::faults::Faults;
use support::{
    HANG_TIMEOUT, Process, connected_socket, skip, skip_without, skip_without_ipv6, start_daemon,
    start_daemon_with, wait_until, wallclockd,
};
use wallclock::daemon::socket::{Listener, SocketOptions};

use super::serves_time;

#[test]
fn response_comes_from_the_requested_address() {
    if skip_without_ipv6() {
        return;
    }
    let (_any, any) = start_daemon_with(&["-l", "[::]:0"]);
    let (_any_v4, any_v4) = start_daemon_with(&["-l", "0.0.0.0:0"]);
    let mut servers = vec![
        format!("127.0.0.1:{}", any_v4.port()),
        format!("127.0.0.2:{}", any_v4.port()),
    ];
    servers.extend(
        ["127.0.0.1", "127.0.0.2", "127.3.4.5", "[::1]"]
            .map(|host| format!("{host}:{}", any.port())),
    );
    for address in servers {
        // The client's socket is connected: it receives from this address only.
        let server = address.parse().expect("an address");
        assert!(serves_time(server), "{address}");
    }
    let (_one, one) = start_daemon_with(&["-l", "127.0.0.2:0"]);
    assert!(serves_time(one));
}

#[test]
fn one_daemon_serves_several_addresses() {
    if skip_without_ipv6() {
        return;
    }
    let mut process = Process::start(wallclockd().args([
        "-l",
        "127.0.0.1:0",
        "-l",
        "[::1]:0",
        "--listen=127.0.0.2:0",
    ]));
    for _ in 0..3 {
        let address = process.wait_for_address();
        assert!(serves_time(address), "{address}");
    }
}

/// Binds a socket, `[::]` for both families, that shares its port where the kernel allows it.
pub fn bind_beside(
    address: SocketAddr,
    reuse_address: bool,
    reuse_port: bool,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(reuse_address)?;
    socket.set_reuse_port(reuse_port)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Runs a closure as an unprivileged user, in a thread of its own. Returns `None` if this process
/// is not root.
pub fn as_stranger<T: Send>(closure: impl FnOnce() -> T + Send) -> Option<T> {
    let nobody = Uid::from_raw(65534);
    geteuid().is_root().then(|| {
        thread::scope(|scope| {
            let stranger = scope.spawn(|| {
                // Of this thread alone.
                set_thread_res_uid(nobody, nobody, nobody).expect("root may");
                closure()
            });
            stranger.join().expect("the thread ends")
        })
    })
}

/// Pairs of addresses of which one port serves only one socket.
const OVERLAPPING: [(&str, &str); 11] = [
    ("127.0.0.1", "127.0.0.1"),
    ("127.0.0.1", "0.0.0.0"),
    ("127.0.0.1", "[::]"),
    ("0.0.0.0", "127.0.0.1"),
    ("0.0.0.0", "0.0.0.0"),
    ("0.0.0.0", "[::]"),
    ("[::1]", "[::1]"),
    ("[::1]", "[::]"),
    ("[::]", "127.0.0.1"),
    ("[::]", "[::1]"),
    ("[::]", "[::]"),
];

/// Starts a daemon with the `WALLCLOCKD_LISTEN` that `listen` returns for a free port. Returns the
/// port, too.
fn start_on_free_port(listen: impl Fn(u16) -> String) -> (Process, u16) {
    for _ in 0..100 {
        let port = UdpSocket::bind("[::]:0")
            .and_then(|socket| socket.local_addr())
            .expect("a free port")
            .port();
        let mut process = Process::start(wallclockd().env("WALLCLOCKD_LISTEN", listen(port)));
        // Another process may have taken the port meanwhile.
        if !process.wait_for(&format!(":{port}")).contains("in use") {
            return (process, port);
        }
    }
    panic!("no port stays free");
}

fn address_of(host: &str, port: u16) -> SocketAddr {
    format!("{host}:{port}").parse().expect("an address")
}

/// Checks that a daemon with these arguments does not start because the address is in use.
pub fn assert_in_use(arguments: &[&str], address: &str) {
    let mut process = Process::start(wallclockd().args(arguments));
    let status = process.wait();
    assert!(!status.success(), "{arguments:?}");
    let port = address.rsplit(':').next().expect("a port");
    let errors: Vec<_> = process
        .log
        .iter()
        .filter(|line| line.contains("ERROR"))
        .collect();
    assert!(
        errors.len() == 1
            && errors[0].contains(&format!("{address} is in use"))
            && errors[0].contains("wallclockd.socket")
            && errors[0].contains(&format!("ss -ulpn 'sport = :{port}'")),
        "{:#?}",
        process.log
    );
}

/// The Python server holds its port like this.
#[test]
fn port_of_another_process_ends_the_start() {
    if skip_without_ipv6() {
        return;
    }
    for (holder, listen) in OVERLAPPING {
        let held = bind_beside(address_of(holder, 0), true, false).expect("a free port");
        let port = held
            .local_addr()
            .expect("bound")
            .as_socket()
            .expect("IP")
            .port();
        let listen = address_of(listen, port).to_string();
        // The first address is free. The daemon does not start with that one alone.
        assert_in_use(&["-l", "127.0.0.9:0", "-l", &listen], &listen);
        let client = if holder == "[::1]" {
            "[::1]"
        } else {
            "127.0.0.1"
        };
        connected_socket(address_of(client, port))
            .send(b"%T")
            .expect("the request is sent");
        let held = UdpSocket::from(held);
        held.set_read_timeout(Some(HANG_TIMEOUT))
            .expect("a time-out");
        assert_eq!(held.recv(&mut [0; 64]).expect("a request"), 2);
    }
}

#[test]
fn second_daemon_does_not_start() {
    let (_first, address) = start_daemon();
    assert_in_use(&["-l", &address.to_string()], &address.to_string());
    assert!(serves_time(address));
}

#[test]
fn port_of_a_daemon_is_refused_to_strangers() {
    if skip_without_ipv6() {
        return;
    }
    for (listen, stranger) in OVERLAPPING {
        let (_daemon, address) = start_daemon_with(&["-l", &format!("{listen}:0")]);
        let address = address_of(stranger, address.port());
        for (reuse_address, reuse_port) in [(true, false), (false, true), (true, true)] {
            let bind = || bind_beside(address, reuse_address, reuse_port).is_err();
            assert!(bind(), "{stranger} beside {listen}");
            assert!(
                as_stranger(bind).unwrap_or(true),
                "{stranger} beside {listen}"
            );
        }
    }
}

/// SO_REUSEADDR is set while the daemon binds. A process that tries all the time is refused then,
/// too.
#[test]
fn no_process_binds_during_the_start() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("the socket is bound");
    drop(socket);
    let (turns, joined, stop) = (
        AtomicU64::new(0),
        AtomicBool::new(false),
        AtomicBool::new(false),
    );
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if let Ok(_first) = bind_beside(address, true, false) {
                    // A second one would share the port, too, if no socket of a daemon were there.
                    let refused = bind_beside(address, true, false).is_err();
                    joined.fetch_or(refused, Ordering::Relaxed);
                }
                turns.fetch_add(1, Ordering::Relaxed);
                for _ in 0..1_000 {
                    std::hint::spin_loop();
                }
            }
        });
        for _ in 0..500 {
            let listeners = Listener::bind(&[address], &[], SocketOptions::default());
            if listeners.is_ok() {
                let before = turns.load(Ordering::Relaxed);
                wait_until("the other thread stops", || {
                    turns.load(Ordering::Relaxed) > before + 1
                });
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(!joined.load(Ordering::Relaxed));
}

#[test]
fn overlapping_own_addresses_are_all_bound() {
    if skip_without_ipv6() {
        return;
    }
    let (mut process, port) = start_on_free_port(|port| {
        format!("127.0.0.1:{port},[::]:{port},localhost:{port},0.0.0.0:{port}")
    });
    process.wait_for_address();
    for host in ["127.0.0.1", "127.0.0.2", "[::1]"] {
        assert!(serves_time(address_of(host, port)), "{host}");
    }
    for stranger in ["127.0.0.1", "127.0.0.2", "0.0.0.0", "[::1]", "[::]"] {
        let bound = bind_beside(address_of(stranger, port), true, true);
        assert!(bound.is_err(), "{stranger}");
    }
    process.terminate();
}

#[test]
fn ipv4_address_in_ipv6_notation_is_bound() {
    let (_daemon, address) = start_daemon_with(&["-l", "[::ffff:127.0.0.1]:0"]);
    assert_eq!(address.ip(), Ipv4Addr::LOCALHOST);
    assert!(serves_time(address));
    let (_daemon, address) = start_daemon_with(&["-l", "[::ffff:0.0.0.0]:0"]);
    assert!(serves_time(address_of("127.0.0.2", address.port())));
}

#[test]
fn one_address_in_two_notations_is_one_socket() {
    if skip_without_ipv6() {
        return;
    }
    let (mut process, _) = start_on_free_port(|port| {
        format!("127.0.0.1:{port},[::ffff:127.0.0.1]:{port},127.0.0.1:{port}")
    });
    process.wait_for_address();
    process.terminate();
    let is_listening = |line: &&String| line.contains("listening on");
    assert_eq!(process.log.iter().filter(is_listening).count(), 1);
}

#[test]
fn broadcast_and_multicast_addresses_are_refused() {
    for address in [
        "255.255.255.255:0",
        "127.255.255.255:0",
        "224.0.0.1:0",
        "[::ffff:224.0.0.1]:0",
        "[ff02::1%1]:0",
    ] {
        if address.contains("ff02") && skip_without_ipv6() {
            continue;
        }
        let mut process = Process::start(wallclockd().args(["-l", "127.0.0.1:0", "-l", address]));
        assert!(!process.wait().success(), "{address}");
        let error = process.log.last().expect("a last line");
        assert!(
            error.contains("is a broadcast or multicast address"),
            "{error}"
        );
    }
}

/// The size of a new socket is above the limit if net.core.rmem_default is more than twice
/// net.core.rmem_max.
#[test]
fn buffers_are_never_made_smaller() {
    if skip_without(&["ss"]) {
        return;
    }
    let new = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
    let (recv, send) = (
        new.recv_buffer_size().expect("a size"),
        new.send_buffer_size().expect("a size"),
    );
    for arguments in [&[][..], &["--receive-buffer", "100000000"]] {
        let mut command = wallclockd();
        command.args(["-l", "127.0.0.1:0"]).args(arguments);
        let Some(faults) = Faults::preload(&mut command) else {
            return skip("no cc (Debian package gcc) or static programs");
        };
        faults.set_buffer_limit(i32::try_from(recv.min(send) / 4).expect("a size"));
        let mut process = Process::start(&mut command);
        let address = process.wait_for_address();
        let filter = format!("sport = {}", address.port());
        let output = Command::new("ss").args(["-Hulnm", &filter]).output();
        let output = String::from_utf8(output.expect("ss runs").stdout).expect("ASCII");
        assert!(
            output.contains(&format!("rb{recv},")) && output.contains(&format!("tb{send},")),
            "{recv} and {send}: {output}"
        );
    }
}

#[test]
fn missing_inherited_descriptor_is_an_error() {
    let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" 3<&-";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_wallclockd")]);
    let mut process = Process::start(&mut command);
    assert_eq!(process.wait().code(), Some(2));
    let log = process.log.join("\n");
    assert!(
        log.contains("LISTEN_FDS") && log.contains("Bad file descriptor"),
        "{log}"
    );
}

#[test]
fn empty_variable_of_inherited_descriptors_is_ignored() {
    for variables in ["LISTEN_FDS= LISTEN_PID=$$", "LISTEN_FDS=1 LISTEN_PID="] {
        let script = format!("{variables} exec \"$0\" -l 127.0.0.1:0");
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .arg(wallclockd().get_program());
        let mut process = Process::start(&mut command);
        process.wait_for_address();
        process.terminate();
    }
}

#[test]
fn wrong_variable_of_inherited_descriptors_is_shown() {
    for (variables, expected) in [
        ("LISTEN_FDS=abc LISTEN_PID=$$", "LISTEN_FDS=abc: "),
        ("LISTEN_FDS=-1 LISTEN_PID=$$", "LISTEN_FDS=-1: "),
        ("LISTEN_FDS=1 LISTEN_PID=x", "LISTEN_PID=x: "),
        (
            "LISTEN_FDS=4294967295 LISTEN_PID=$$",
            "LISTEN_FDS=4294967295: ",
        ),
        (
            "LISTEN_FDS=1 LISTEN_PID=\"$(printf '\\377')\"",
            "LISTEN_PID=\u{fffd}: ",
        ),
    ] {
        let script = format!("{variables} exec \"$0\"");
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .arg(wallclockd().get_program());
        let mut process = Process::start(&mut command);
        assert_eq!(process.wait().code(), Some(2), "{variables}");
        let log = process.log.join("\n");
        assert!(log.contains(expected), "{log}");
    }
}

/// Another start gets the same descriptor, which cannot be a socket.
#[test]
fn inherited_descriptor_of_o_path_is_a_permanent_error() {
    let path = rustix::fs::open("/", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty());
    let mut command = Command::new("sh");
    let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" 3<&0 </dev/null";
    command
        .args(["-c", script])
        .arg(wallclockd().get_program())
        .stdin(path.expect("a descriptor"));
    let mut process = Process::start_with_stdin(&mut command);
    assert_eq!(process.wait().code(), Some(2), "{:#?}", process.log);
}

//! Between two hosts (network namespaces joined by a cable): every answer leaves from the address that was asked.

use std::process::Command;
use std::time::Instant;

use support::{
    PATIENCE, Process, counters, has, lacks, lacks_ipv6, lacks_namespaces, read_counter, skip,
    wallclock, wallclockd,
};

/// How long an answer may take on any machine, for `wallclock --timeout`.
const LONG: &str = "60";

/// A network namespace, for as long as its process lives.
struct Host(Process);

impl Host {
    fn new() -> Host {
        // It ends with this process, however that ends.
        let mut process = Process::start(Command::new("setpriv").args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--net",
            "sh",
            "-c",
            "echo up >&2; exec sleep 600",
        ]));
        process.wait_for("up");
        Host(process)
    }

    /// The command as it runs on this host.
    fn on(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside
            .args(["-t", &self.0.id().to_string(), "--net", "--"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    fn ip(&self, arguments: &str) {
        let status = self
            .on(Command::new("ip").args(arguments.split(' ')))
            .status()
            .expect("ip runs");
        assert!(status.success(), "ip {arguments}");
    }
}

/// The clock's host and one that asks, not yet joined; `None` where that can't be had.
fn two_hosts() -> Option<(Host, Host)> {
    if lacks_namespaces() || lacks(&["ip", "nsenter", "setpriv"]) || lacks_ipv6() {
        return None;
    }
    Some((Host::new(), Host::new()))
}

/// Joins the two by a cable, eth0 on both.
fn join(clock: &Host, asker: &Host) {
    clock.ip(&format!(
        "link add eth0 type veth peer name eth0 netns {}",
        asker.0.id()
    ));
    for (host, number) in [(clock, 1), (asker, 2)] {
        host.ip("link set lo up");
        host.ip(&format!(
            "addr add 10.98.0.{number}/24 brd 10.98.0.255 dev eth0"
        ));
        host.ip(&format!("addr add fd98::{number}/64 dev eth0 nodad"));
        host.ip(&format!("addr add fe80::{number}/64 dev eth0 nodad"));
        host.ip("link set eth0 up");
    }
}

#[test]
fn an_interface_that_goes_away_costs_the_answers_that_would_leave_by_it_and_no_more() {
    let Some((clock, asker)) = two_hosts() else {
        return;
    };
    join(&clock, &asker);
    for listen in [
        &["-l", "10.98.0.1:9527"][..],
        &["-l", "[::]:9527"],
        &["-l", "[fd98::1]:9527", "-l", "10.98.0.1:9527"],
    ] {
        let mut daemon = Process::start(&mut clock.on(wallclockd().args(listen).arg("--utc")));
        daemon.wait_for_address();
        // A fresh cable may lose the first datagram, and with it a second until the neighbour is asked for again.
        let ask = |patience: &str| {
            let mut command = wallclock();
            command.args(["-s", "10.98.0.1", "-t", patience, "-r", "0", "+%Z"]);
            let output = asker.on(&command).output().expect("it runs");
            output.status.code()
        };
        assert_eq!(ask(LONG), Some(0), "{listen:?}");
        daemon.signal("STOP");
        assert_eq!(ask("0.3"), Some(3), "{listen:?}");
        clock.ip("link del eth0");
        daemon.signal("CONT");
        let deadline = Instant::now() + PATIENCE;
        let [answered, _, _, unsent, _] = loop {
            let counters = counters(&mut daemon);
            if counters[0] == 2 || Instant::now() > deadline {
                break counters;
            }
        };
        assert_eq!((answered, unsent), (2, 1), "{listen:?}");
        join(&clock, &asker);
        assert_eq!(ask(LONG), Some(0), "{listen:?}");
        daemon.signal("TERM");
        assert!(daemon.wait().success());
        let last = daemon.log.last().expect("a last line");
        assert_eq!(read_counter(last, "failed="), 0, "{last}");
    }
}

#[test]
fn a_wildcard_daemon_answers_from_whichever_address_another_host_asked() {
    let Some((clock, asker)) = two_hosts() else {
        return;
    };
    join(&clock, &asker);
    clock.ip("addr add 10.98.0.7/24 dev eth0");
    clock.ip("addr add fd98::7/64 dev eth0 nodad");
    // An address of an interface that the way back does not lead through.
    clock.ip("addr add 10.99.0.1/32 dev lo");
    asker.ip("route add 10.99.0.1/32 via 10.98.0.1");

    for listen in ["[::]:9527", "0.0.0.0:9527"] {
        let mut daemon =
            Process::start(&mut clock.on(wallclockd().args(["--listen", listen, "--utc"])));
        daemon.wait_for_address();
        let mut servers = vec!["10.98.0.1", "10.98.0.7", "10.99.0.1"];
        if listen.starts_with('[') {
            servers.extend(["fd98::1", "fd98::7", "fe80::1%eth0"]);
        }
        for server in servers {
            let output = asker
                .on(wallclock().args(["-s", server, "-t", LONG, "+%Z"]))
                .output()
                .expect("it runs");
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                "UTC\n",
                "{server} at {listen}: {output:?}"
            );
        }
        // A broadcast's destination is no source for an answer: the address of the interface is.
        if has("python3") {
            let script = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(60); \
                          s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1); \
                          s.sendto(b'%Z', ('10.98.0.255', 9527)); print(s.recvfrom(99))";
            let output = asker
                .on(Command::new("python3").args(["-c", script]))
                .output()
                .expect("it runs");
            let heard = String::from_utf8_lossy(&output.stdout);
            assert_eq!(
                heard.trim_end(),
                "(b'UTC', ('10.98.0.1', 9527))",
                "{listen}: {output:?}"
            );
        } else {
            skip("no python3");
        }
        daemon.signal("TERM");
        assert!(daemon.wait().success());
    }

    // One link-local address of its own.
    let mut daemon = Process::start(&mut clock.on(wallclockd().args([
        "--listen",
        "[fe80::1%eth0]:9528",
        "--utc",
    ])));
    daemon.wait_for_address();
    let output = asker
        .on(wallclock().args(["-s", "[fe80::1%eth0]:9528", "-t", LONG, "+%Z"]))
        .output()
        .expect("it runs");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "UTC\n",
        "{output:?}"
    );
}

#[test]
fn answers_that_wait_for_neighbours_who_are_not_there_hold_up_nobody_elses() {
    let Some((clock, asker)) = two_hosts() else {
        return;
    };
    if lacks(&["python3"]) {
        return;
    }
    join(&clock, &asker);
    // The asker is known, and answers for none of its addresses: as if the others were forged.
    let link = asker
        .on(Command::new("ip").args(["-brief", "link", "show", "eth0"]))
        .output();
    let link = String::from_utf8(link.expect("ip runs").stdout).expect("ASCII");
    let mac = link
        .split_whitespace()
        .nth(2)
        .expect("a link-layer address");
    clock.ip(&format!("neigh replace 10.98.0.2 lladdr {mac} dev eth0"));
    // The kernel gives a neighbour up after three tries, a minute each: what waits for one waits
    // longer than an asker.
    for (host, setting) in [
        (&asker, "8 >/proc/sys/net/ipv4/conf/all/arp_ignore"),
        (
            &clock,
            "60000 >/proc/sys/net/ipv4/neigh/eth0/retrans_time_ms",
        ),
    ] {
        let set = host
            .on(Command::new("sh").args(["-c", &format!("echo {setting}")]))
            .status();
        assert!(set.expect("sh runs").success());
    }
    for forged in 100..110 {
        asker.ip(&format!("addr add 10.98.0.{forged}/24 dev eth0"));
    }
    let mut daemon = Process::start(&mut clock.on(wallclockd().args(["-l", "10.98.0.1:9527"])));
    daemon.wait_for_address();
    let ask = |patience: &str| {
        let mut command = wallclock();
        command.args(["-s", "10.98.0.1", "-t", patience, "-r", "0", "+%s"]);
        asker.on(&command).output().expect("it runs").status.code()
    };
    assert_eq!(ask(LONG), Some(0));
    let script = "import socket\nfor n in range(100, 110):\n s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n \
                  s.bind(('10.98.0.%d' % n, 0))\n for i in range(500): s.sendto(b'%c', ('10.98.0.1', 9527))";
    let forged = asker
        .on(Command::new("python3").args(["-c", script]))
        .status();
    assert!(forged.expect("python3 runs").success());
    for _ in 0..10 {
        assert_eq!(ask(LONG), Some(0), "{:?}", counters(&mut daemon));
    }
    // Of the 5,000, a busy machine's network may drop some before the daemon.
    let answered = counters(&mut daemon)[0];
    assert!(answered >= 1_000, "{answered}");
}

//! Restarts, upgrades, crashes, hangs and floods.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use wallclock::sys::mmsg::BATCH_SIZE;

use super::documents::{self, run_documented};
use super::load::{self, Load, SetOnDrop, Tally};
use super::machine::{Machine, SERVICE, SOCKET, TIMEOUT, wait_for};
use super::network::{Lan, V4, assert_answered, local_socket};
use super::package::{PACKAGES, package};

/// The watchdog period of the units.
const WATCHDOG: Duration = Duration::from_secs(3);

/// The time-out of one try of the client, in seconds: it tries again if a kill costs its request,
/// and a busy host must not use up its tries.
const TRY_TIMEOUT: &str = "10";

#[test]
fn ten_restarts_under_load_lose_no_request() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let lan = Lan::new(&machine);
    let load = Load::start(lan.sockets(), 20_000);
    for _ in 0..10 {
        let before = load.answered();
        machine.run(&["systemctl", "restart", SERVICE]);
        load.wait_for_answered(before + 2_000);
    }
    load.assert_none_lost();
}

#[test]
fn upgrade_and_downgrade_under_load_lose_nothing() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let lan = Lan::new(&machine);
    machine.sh("echo '#mine' >>/etc/default/wallclockd");
    let since = machine.property(SOCKET, "ActiveEnterTimestampMonotonic");
    // They are built before the load starts.
    package("wallclockd", 2);

    let load = Load::start(lan.sockets(), 20_000);
    load.wait_for_answered(5_000);
    let mut daemon = machine.daemon(SERVICE);
    // An upgrade, and a downgrade.
    for revision in [2, 1] {
        machine.install(&PACKAGES, revision);
        let before = load.answered();
        load.wait_for_answered(before + 5_000);
        let version = machine.sh("dpkg-query -W -f '${Version}' wallclockd");
        assert!(version.ends_with(&format!("-{revision}")), "{version}");
        let old = std::mem::replace(&mut daemon, machine.daemon(SERVICE));
        assert_ne!(daemon, old, "the old daemon runs after -{revision}");
    }
    load.assert_none_lost();

    assert_eq!(
        machine.property(SOCKET, "ActiveEnterTimestampMonotonic"),
        since,
        "the upgrade restarted the socket"
    );
    assert!(
        machine
            .sh("cat /etc/default/wallclockd")
            .ends_with("#mine\n")
    );
    // An upgrade does not enable what an administrator has disabled.
    run_documented(&machine, documents::DISABLE);
    machine.install(&PACKAGES, 2);
    for unit in [SERVICE, SOCKET] {
        assert_eq!(
            machine.property(unit, "UnitFileState"),
            "disabled",
            "{unit}"
        );
        assert_eq!(machine.property(unit, "ActiveState"), "inactive", "{unit}");
    }
}

#[test]
fn kill_loses_one_batch_at_most_and_wallclock_none() {
    const KILLS: usize = 5;
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let lan = Lan::new(&machine);
    let load = Load::start(lan.sockets(), 2_000);
    let over = AtomicBool::new(false);
    // The number of requests sent when each kill was done: the requests that a kill costs have
    // numbers between two of these marks.
    let mut marks = Vec::new();
    let received = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let totals = || received.each_ref().map(|received| received.load(Relaxed));
    std::thread::scope(|scope| {
        let end = SetOnDrop(&over);
        // Two clients that send one request after the other.
        let clients: Vec<_> = (0..2)
            .map(|host| {
                let (over, received, pid) = (&over, &received[host], lan.pid(host));
                scope.spawn(move || {
                    support::within_network(pid, || {
                        while !over.load(Relaxed) {
                            let mut client = Command::new(support::program("wallclock"));
                            client.args(["-t", TRY_TIMEOUT, "-s", V4, "%s"]);
                            let output = client.output().expect("wallclock");
                            assert!(output.status.success(), "wallclock: {output:?}");
                            received.fetch_add(1, Relaxed);
                            // The clients must not take the processor from the daemon.
                            std::thread::sleep(Duration::from_millis(10));
                        }
                    })
                })
            })
            .collect();
        let mut daemon = machine.daemon(SERVICE);
        for _ in 0..KILLS {
            machine.run(&["kill", "-KILL", &daemon]);
            let old = daemon;
            daemon = wait_for("another daemon", TIMEOUT, || {
                Some(machine.daemon(SERVICE)).filter(|new| *new != old)
            });
            let mark = load.sent();
            marks.push(mark);
            // Then a thousand requests sent after the mark have responses, and no request from
            // before it is still queued at the next kill.
            load.wait_for_answered(mark + 1_000);
            let before = totals();
            wait_for("the clients after a kill", TIMEOUT, || {
                let ended = clients.iter().any(|client| client.is_finished());
                let both = totals()
                    .iter()
                    .zip(before)
                    .all(|(now, before)| *now > before);
                (both || ended).then_some(())
            });
        }
        drop(end);
        for client in clients {
            client.join().expect("a client");
        }
    });
    let as_promised = |tally: &Tally| {
        let lost = tally.lost_between(&marks);
        lost[..KILLS].iter().all(|lost| *lost <= BATCH_SIZE) && lost[KILLS] == 0 && tally.wrong == 0
    };
    let tally = load.stop(as_promised);
    eprintln!(
        "{KILLS} kills: wallclock received {:?} responses and lost none; sockets: {tally}",
        totals()
    );
    assert!(
        as_promised(&tally),
        "{tally}: by kill {:?}",
        tally.lost_between(&marks)
    );
}

#[test]
fn twenty_kills_in_a_row_do_not_stop_the_service() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let lan = Lan::new(&machine);
    let load = Load::start(lan.sockets(), 2_000);
    for _ in 0..20 {
        // Kills the process as soon as it exists, ready or not: the fastest of crash loops.
        let pid = wait_for("a process to kill", TIMEOUT, || {
            Some(machine.property(SERVICE, "MainPID")).filter(|pid| pid != "0")
        });
        let _ = machine.try_run(&["kill", "-KILL", &pid]);
        wait_for("systemd to notice the kill", TIMEOUT, || {
            (machine.property(SERVICE, "MainPID") != pid).then_some(())
        });
    }
    machine.daemon(SERVICE);
    load.wait_for_answered(load.answered() + 1_000);
    // Most were killed before they listened, and had received nothing. The last one runs.
    let log = machine.daemon_log();
    let killed_listening = log.matches("listening on").count() - 1;
    let as_promised =
        |tally: &Tally| tally.lost.len() <= killed_listening * BATCH_SIZE && tally.wrong == 0;
    let tally = load.stop(as_promised);
    eprintln!("20 kills, {killed_listening} of a daemon that listened: {tally}");
    assert!(
        as_promised(&tally),
        "{killed_listening} of those killed had listened: {tally}"
    );
    assert_eq!(machine.property(SOCKET, "ActiveState"), "active");
}

#[test]
fn hung_daemon_is_replaced_and_no_request_lost() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let lan = Lan::new(&machine);
    // These two bound how long a hang lasts; how late systemd is depends on the load of the host.
    let period = format!("{}s", WATCHDOG.as_secs());
    assert_eq!(machine.property(SERVICE, "WatchdogUSec"), period);
    assert_eq!(machine.property(SERVICE, "RestartUSec"), "100ms");
    let daemon = machine.daemon(SERVICE);
    let stopped_at = Instant::now();
    machine.run(&["kill", "-STOP", &daemon]);
    let load = Load::start(lan.sockets(), 200);
    load.wait_for_answered(0);
    eprintln!("first response after {:?}", stopped_at.elapsed());
    load.assert_none_lost();
    let log = machine.journal(&["--unit", SERVICE]);
    let cause = format!("Watchdog timeout (limit {period})!");
    assert_eq!(log.matches(&cause).count(), 1, "{log}");
    assert_ne!(machine.daemon(SERVICE), daemon);
    assert_eq!(machine.property(SERVICE, "NRestarts"), "1");
}

#[test]
fn flood_does_not_trip_the_watchdog() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let lan = Lan::new(&machine);
    let daemon = machine.daemon(SERVICE);
    let end = Instant::now() + WATCHDOG * 2 + Duration::from_millis(500);
    let sent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for host in 0..3 {
            let (sent, socket) = (&sent, lan.socket(host, &format!("{V4}:9527")));
            scope.spawn(move || {
                // For more than two watchdog periods, and, on a slow host, until it was a flood.
                while Instant::now() < end || sent.load(Relaxed) < 100_000 {
                    // An error is a full queue on the way, which a flood causes.
                    if socket.send(b"%H:%M:%S").is_ok() {
                        sent.fetch_add(1, Relaxed);
                    }
                }
            });
        }
    });
    eprintln!("flooded with {} requests", sent.load(Relaxed));
    assert_eq!(
        machine.daemon(SERVICE),
        daemon,
        "the daemon was replaced during the flood"
    );
    assert_eq!(machine.property(SERVICE, "NRestarts"), "0");
    // The counters account for all datagrams that reached the socket: the kernel counted the same.
    let [answered, dropped] = wait_for("counters equal to the kernel's", TIMEOUT, || {
        let [answered, _, _, _, dropped] = machine.counters();
        let kernel = machine.sh("grep ^Udp: /proc/net/snmp");
        let field = |name: &str| {
            let mut lines = kernel.lines().map(str::split_whitespace);
            let (mut names, mut values) = (lines.next()?, lines.next()?);
            values
                .nth(names.position(|other| other == name)?)?
                .parse::<u64>()
                .ok()
        };
        let kernel = [field("InDatagrams")?, field("InErrors")?];
        (kernel == [answered, dropped]).then_some(kernel)
    });
    eprintln!("{answered} answered, {dropped} dropped");
    assert!(answered > 0);
    let socket = local_socket(&machine, "127.0.0.1:9527");
    assert_answered(&socket, "a request after the flood");
}

#[test]
fn ten_thousand_requests_at_once_are_answered() {
    const COUNT: usize = 10_000;
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let lan = Lan::new(&machine);
    let daemon = machine.daemon(SERVICE);
    // The buffers that the socket unit sets, whatever this host permits others.
    let sockets = machine.sh("ss -Hlunm 'sport = 9527'");
    assert!(sockets.contains("rb16777216"), "{sockets}");
    assert!(sockets.contains("tb67108864"), "{sockets}");
    let burst = |stopped: bool| {
        let sockets = lan.sockets();
        if stopped {
            machine.run(&["kill", "-STOP", &daemon]);
        }
        let start = Instant::now();
        for number in 0..COUNT {
            sockets[number % sockets.len()]
                .send(load::request(number).as_bytes())
                .expect("to send");
        }
        let took = start.elapsed();
        if stopped {
            // On a busy host the watchdog may be faster; then the next daemon receives them.
            let _ = machine.try_run(&["kill", "-CONT", &daemon]);
        }
        let mut received = vec![false; COUNT];
        for (first, socket) in sockets.iter().enumerate() {
            socket.set_read_timeout(Some(TIMEOUT)).expect("a time-out");
            let mut buf = [0; 2048];
            for _ in (first..COUNT).step_by(sockets.len()) {
                let Ok(length) = socket.recv(&mut buf) else {
                    break;
                };
                let number = load::number(&buf[..length]).expect("the text for a request");
                received[number] = true;
            }
        }
        let responses = received.iter().filter(|received| **received).count();
        eprintln!(
            "{responses} responses to {COUNT} requests sent in {took:?}, \
             daemon stopped meanwhile: {stopped}"
        );
        responses
    };
    assert_eq!(burst(false), COUNT);
    // All requests are queued before the daemon receives the first.
    assert_eq!(burst(true), COUNT);
}

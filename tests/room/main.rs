//! The package on a real systemd, with other hosts that send requests.
//!
//! Each test boots a machine of its own (see `machine` and `boot`), installs the package on it as
//! an administrator would, and tests what the README promises. Where this host can't boot one,
//! because it lacks root, systemd or a tool, the tests are skipped.

mod load;
mod machine;
mod network;
mod package;
/// Compiled by itself and run inside; a module here so that it is checked like the rest.
#[allow(dead_code)]
mod probe;

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use load::{Load, Tally};
use machine::{Machine, SOON, wait_for};
use network::{OTHER, Room, V4, V6, ask, on};
use package::package;
use wallclock::sys::mmsg::BATCH_SIZE;

/// The units' watchdog period.
const WATCHDOG: Duration = Duration::from_secs(3);
/// The client's time-out for one try, in seconds: it asks again where a kill has cost its request,
/// and a busy machine must not use up its tries.
const TRY: &str = "10";
/// How long a response that must not come is waited for, after a later request has its response.
const SILENCE: Duration = Duration::from_millis(300);

const SERVICE: &str = "wallclockd.service";
const SOCKET: &str = "wallclockd.socket";

/// A machine with the package, its daemon ready.
fn installed() -> Option<Machine> {
    let machine = Machine::boot()?;
    machine.install(&package(1));
    machine.daemon(SERVICE);
    Some(machine)
}

/// Holds the test to the README, and the README to the test: this line stands there.
#[track_caller]
fn says(line: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(path).expect("README.md");
    let written = text.lines().any(|other| other.trim() == line);
    assert!(written, "README.md does not say: {line}");
}

/// Runs a command inside as the README gives it.
#[track_caller]
fn documented(machine: &Machine, command: &str) -> String {
    says(command);
    machine.sh(command)
}

/// `systemctl edit UNIT`, which wants a terminal, with an editor that types `text`.
fn edit(machine: &Machine, unit: &str, text: &str) {
    machine.write("/root/text", text);
    machine.write("/root/editor", "#!/bin/sh\ncat /root/text >\"$1\"\n");
    machine.sh(&format!(
        "SYSTEMD_EDITOR='sh /root/editor' script -qec 'systemctl edit {unit}' /dev/null"
    ));
}

/// The same with the socket's unit, command and text as the README gives them.
#[track_caller]
fn documented_edit(machine: &Machine, text: &str) {
    says("systemctl edit wallclockd.socket");
    text.lines().for_each(says);
    edit(machine, SOCKET, text);
}

/// Ends the clients of a scope when it is dropped, by a panic too: the scope waits for them before
/// it passes the panic on.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// What the daemon counted: answered, refused, ignored, unsent, dropped.
fn counters(machine: &Machine) -> [u64; 5] {
    let lines = || -> Vec<String> {
        let said = machine.journal(&["--unit", SERVICE, "--identifier", "wallclockd"]);
        let lines = said.lines().filter(|line| line.starts_with("answered="));
        lines.map(str::to_owned).collect()
    };
    let before = lines().len();
    machine.run(&["systemctl", "kill", "--signal=USR1", SERVICE]);
    wait_for("the counters", SOON, || {
        lines().get(before).map(|line| support::read_counters(line))
    })
}

/// Stops a load of which nothing may be lost.
#[track_caller]
fn none_lost(load: Load) -> Tally {
    let tally = load.stop(Tally::is_complete);
    eprintln!("{tally}");
    assert!(tally.is_complete(), "{tally}");
    tally
}

/// A request from `socket` gets no response, though one from `answered`, sent later, does.
#[track_caller]
fn is_ignored(socket: &UdpSocket, answered: &UdpSocket, who: &str) {
    // Where nothing listens, an ICMP error comes instead.
    let _ = socket.send(b"%Y");
    assert!(ask(answered, "%Y", SOON).is_some(), "{who}: the control");
    socket.set_read_timeout(Some(SILENCE)).expect("a time-out");
    assert!(socket.recv(&mut [0; 64]).is_err(), "{who} got a response");
}

/// A drop-in that a unit is given and that is in force at the unit's next start.
fn drop_in(machine: &Machine, unit: &str, name: &str, text: &str) {
    machine.write(&format!("/etc/systemd/system/{unit}.d/{name}"), text);
    machine.run(&["systemctl", "daemon-reload"]);
}

#[test]
fn the_package_enables_and_starts_both_units_and_answers_the_room() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    machine.install(&package(1));
    for unit in [SERVICE, SOCKET] {
        assert_eq!(
            machine.run(&["systemctl", "is-enabled", unit]).trim(),
            "enabled",
            "{unit}"
        );
        assert_eq!(
            machine.run(&["systemctl", "is-active", unit]).trim(),
            "active",
            "{unit}"
        );
    }
    let room = Room::around(&machine);
    for socket in room.everyone() {
        let answer = ask(&socket, &load::request(7), SOON).expect("an answer in the room");
        assert_eq!(load::number(answer.as_bytes()), Some(7), "{answer}");
    }
    // The client of the package, on each host, as its administrator would run it.
    for host in 0..3 {
        for server in [V4, V6] {
            let pid = room.pid(host).to_string();
            let mut command = Command::new("nsenter");
            command.args([
                "-t",
                &pid,
                "-n",
                env!("CARGO_BIN_EXE_wallclock"),
                "-t",
                TRY,
                "-s",
                server,
                "at %H:%M",
            ]);
            let output = command.output().expect("nsenter");
            assert!(output.status.success(), "wallclock -s {server}: {output:?}");
            assert!(
                output.stdout.starts_with(b"at "),
                "wallclock -s {server}: {output:?}"
            );
        }
    }
}

#[test]
fn the_installed_units_verify_clean_and_the_files_are_where_they_belong() {
    let Some(machine) = installed() else { return };
    let units = machine.try_run(&[
        "systemd-analyze",
        "verify",
        SOCKET,
        SERVICE,
        "wallclockd@.service",
        "wallclock-check.service",
        "wallclock-check.timer",
    ]);
    let said = [units.stdout, units.stderr].concat();
    assert!(
        units.status.success() && said.is_empty(),
        "verify: {}",
        String::from_utf8_lossy(&said)
    );
    for page in ["wallclock.1", "wallclockd.8"] {
        let (name, section) = page.split_once('.').expect("a section");
        assert!(
            !machine.run(&["man", "--where", section, name]).is_empty(),
            "{page}"
        );
    }
    for file in [
        "/usr/share/bash-completion/completions/wallclock",
        "/usr/share/bash-completion/completions/wallclockd",
        "/usr/share/zsh/vendor-completions/_wallclock",
        "/usr/share/zsh/vendor-completions/_wallclockd",
        "/usr/share/fish/vendor_completions.d/wallclock.fish",
        "/usr/share/fish/vendor_completions.d/wallclockd.fish",
        "/usr/share/doc/wallclock/copyright",
        "/etc/default/wallclockd",
        "/etc/default/wallclock-check",
    ] {
        assert!(
            fs::metadata(machine.path(file)).is_ok_and(|data| data.len() > 0),
            "{file}"
        );
    }
    // cargo-deb would write one of its own, with our name alone.
    let copyright = machine.sh("cat /usr/share/doc/wallclock/copyright");
    assert!(copyright.contains("\nFiles: chrono-"), "{copyright}");
}

#[test]
fn removing_the_package_ends_it_and_purging_leaves_nothing() {
    let Some(machine) = installed() else { return };
    let instance = "wallclockd@127.0.0.9:9528.service";
    let timer = "wallclock-check.timer";
    machine.run(&["systemctl", "enable", "--now", instance, timer]);
    machine.sh("echo '#mine' >>/etc/default/wallclockd");
    documented(&machine, "dpkg -r wallclock");
    for unit in [SERVICE, SOCKET, instance, timer] {
        assert_eq!(machine.property(unit, "ActiveState"), "inactive", "{unit}");
        assert_eq!(machine.property(unit, "LoadState"), "not-found", "{unit}");
    }
    assert_eq!(machine.sh("ss -Hlun 'sport = 9527 or sport = 9528'"), "");
    // As every package: removed, it leaves the administrator's settings, and the note that both
    // units were enabled.
    let everywhere =
        "find /etc /usr /var /run /tmp -name '*wallclock*' -not -path '/usr/src/*' | sort";
    let left = machine.sh(everywhere);
    let settings = |line: &&str| {
        line.starts_with("/etc/")
            || line.starts_with("/var/lib/dpkg/info/")
            || line.starts_with("/var/lib/systemd/deb-")
    };
    assert!(
        left.lines().all(|line| settings(&line)),
        "left by dpkg -r: {left}"
    );
    assert!(
        machine
            .sh("cat /etc/default/wallclockd")
            .ends_with("#mine\n")
    );
    documented(&machine, "dpkg -P wallclock");
    assert_eq!(machine.sh(everywhere), "", "left by dpkg -P");
    assert_eq!(
        machine.sh(
            "systemctl list-units --all --plain --no-legend --type=service,socket '*wallclock*'"
        ),
        ""
    );
    assert_eq!(machine.sh("getent passwd wallclockd || true"), "");
}

#[test]
fn the_exposure_is_below_what_any_time_server_ships() {
    let Some(machine) = installed() else { return };
    // The thresholds are in tenths. What is left of the pair: AF_UNIX 0.1, and 0.2 each for
    // ProtectClock=, ~@clock and ~@privileged, because adjtimex(2) also sets the clock, for who has
    // CAP_SYS_TIME.
    let security = |unit: &str, threshold: u32| {
        let threshold = format!("--threshold={threshold}");
        let said = machine.run(&[
            "systemd-analyze",
            "security",
            "--no-pager",
            &threshold,
            unit,
        ]);
        eprintln!("{}", said.lines().last().unwrap_or_default());
    };
    security(SERVICE, 5);
    let instance = "wallclockd@127.0.0.9:9528.service";
    machine.run(&["systemctl", "start", instance]);
    security(instance, 13);
    edit(
        &machine,
        "wallclockd@.service",
        "[Service]\nIPAddressDeny=\nIPAddressAllow=\n",
    );
    security(instance, 14);
}

#[test]
fn ten_restarts_under_load_lose_no_question() {
    let Some(machine) = installed() else { return };
    let room = Room::around(&machine);
    let load = Load::start(room.everyone(), 20_000);
    for _ in 0..10 {
        let before = load.answered();
        machine.run(&["systemctl", "restart", SERVICE]);
        wait_for("answers after a restart", SOON, || {
            (load.answered() > before + 2_000).then_some(())
        });
    }
    none_lost(load);
}

#[test]
fn an_upgrade_under_load_loses_no_question_and_keeps_the_settings() {
    let Some(machine) = installed() else { return };
    let room = Room::around(&machine);
    let pid = machine.daemon(SERVICE);
    machine.sh("echo '#mine' >>/etc/default/wallclockd");
    let since = machine.property(SOCKET, "ActiveEnterTimestampMonotonic");
    let inside = machine.copy_in(&package(2));
    machine.run(&["mv", &inside, "/root/wallclock.deb"]);

    let load = Load::start(room.everyone(), 20_000);
    wait_for("the load", SOON, || (load.answered() > 5_000).then_some(()));
    machine.sh("cd /root && dpkg -i wallclock.deb");
    let before = load.answered();
    wait_for("answers after the upgrade", SOON, || {
        (load.answered() > before + 5_000).then_some(())
    });
    none_lost(load);

    assert_eq!(
        machine
            .sh("dpkg-query -W -f '${Version}' wallclock")
            .split('-')
            .next_back(),
        Some("2")
    );
    assert_ne!(
        machine.daemon(SERVICE),
        pid,
        "the upgrade left the old daemon running"
    );
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
    // An administrator's decision against the socket outlives an upgrade, too.
    documented(
        &machine,
        "systemctl disable --now wallclockd.socket wallclockd.service",
    );
    machine.sh("cd /root && dpkg -i wallclock.deb");
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
fn a_killed_daemon_loses_one_batch_at_most_and_wallclock_none() {
    const KILLS: usize = 5;
    let Some(machine) = installed() else { return };
    let room = Room::around(&machine);
    let load = Load::start(room.everyone(), 2_000);
    let over = AtomicBool::new(false);
    // How many had been asked by the time that each kill was done, so that what a kill cost lies
    // between two of these.
    let mut marks = Vec::new();
    let asked = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let total = || asked.each_ref().map(|asked| asked.load(Relaxed));
    std::thread::scope(|scope| {
        let end = Over(&over);
        // Two clients that send one request after the other.
        let clients: Vec<_> = (0..2)
            .map(|host| {
                let (over, asked, pid) = (&over, &asked[host], room.pid(host));
                scope.spawn(move || {
                    network::within(pid, || {
                        while !over.load(Relaxed) {
                            let mut client = Command::new(env!("CARGO_BIN_EXE_wallclock"));
                            client.args(["-t", TRY, "-s", V4, "%s"]);
                            let output = client.output().expect("wallclock");
                            assert!(output.status.success(), "wallclock: {output:?}");
                            asked.fetch_add(1, Relaxed);
                            // A host that asks now and then, not one that is busy with nothing
                            // else.
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
            daemon = wait_for("another daemon", SOON, || {
                Some(machine.daemon(SERVICE)).filter(|new| *new != old)
            });
            let mark = load.asked();
            marks.push(mark);
            // Then a thousand that were asked after the mark are answered, and none from before it
            // waits for the next kill.
            wait_for("answers after a kill", SOON, || {
                (load.answered() > mark + 1_000).then_some(())
            });
            let before = total();
            wait_for("the clients after a kill", SOON, || {
                let ended = clients.iter().any(|client| client.is_finished());
                let both = total()
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
        "{KILLS} kills: wallclock asked {:?} and lost none; sockets: {tally}",
        total()
    );
    assert!(
        as_promised(&tally),
        "{tally}: by kill {:?}",
        tally.lost_between(&marks)
    );
}

#[test]
fn twenty_kills_in_a_row_leave_it_alive() {
    let Some(machine) = installed() else { return };
    let room = Room::around(&machine);
    let load = Load::start(room.everyone(), 2_000);
    for _ in 0..20 {
        // As soon as there is a process at all, ready or not: the worst of crash loops.
        let pid = wait_for("a process to kill", SOON, || {
            Some(machine.property(SERVICE, "MainPID")).filter(|pid| pid != "0")
        });
        let _ = machine.try_run(&["kill", "-KILL", &pid]);
        wait_for("the kill to be seen", SOON, || {
            (machine.property(SERVICE, "MainPID") != pid).then_some(())
        });
    }
    machine.daemon(SERVICE);
    let before = load.answered();
    wait_for("answers after twenty kills", SOON, || {
        (load.answered() > before + 1_000).then_some(())
    });
    // Most were killed before they listened, and those had received nothing. The last one lives.
    let said = machine.journal(&["--unit", SERVICE, "--identifier", "wallclockd"]);
    let killed_listening = said.matches("listening on").count() - 1;
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
fn a_hung_daemon_is_replaced_and_no_request_lost() {
    let Some(machine) = installed() else { return };
    let room = Room::around(&machine);
    // These two bound how long a hang lasts. How late systemd is beyond them is a matter of the
    // machine's load.
    let period = format!("{}s", WATCHDOG.as_secs());
    assert_eq!(machine.property(SERVICE, "WatchdogUSec"), period);
    assert_eq!(machine.property(SERVICE, "RestartUSec"), "100ms");
    let daemon = machine.daemon(SERVICE);
    let hung = Instant::now();
    machine.run(&["kill", "-STOP", &daemon]);
    let load = Load::start(room.everyone(), 200);
    wait_for("an answer after the hang", SOON, || {
        (load.answered() > 0).then_some(())
    });
    eprintln!("back after {:?}", hung.elapsed());
    none_lost(load);
    let said = machine.journal(&["--unit", SERVICE]);
    let cause = format!("Watchdog timeout (limit {period})!");
    assert_eq!(said.matches(&cause).count(), 1, "{said}");
    assert_ne!(machine.daemon(SERVICE), daemon);
    assert_eq!(machine.property(SERVICE, "NRestarts"), "1");
}

#[test]
fn a_flooded_daemon_does_not_trip_its_watchdog() {
    let Some(machine) = installed() else { return };
    let room = Room::around(&machine);
    let daemon = machine.daemon(SERVICE);
    let end = Instant::now() + WATCHDOG * 2 + Duration::from_millis(500);
    let sent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for host in 0..3 {
            let (sent, socket) = (&sent, room.host(host, &format!("{V4}:9527")));
            scope.spawn(move || {
                // For more than two periods, and until it was a flood, which takes longer on a slow
                // machine.
                while Instant::now() < end || sent.load(Relaxed) < 100_000 {
                    // A full queue on the way is what a flood is; nothing to do about it but go on.
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
        "the flood cost the daemon its life"
    );
    assert_eq!(machine.property(SERVICE, "NRestarts"), "0");
    // The counters account for all that reached the socket: the kernel of the machine counted the
    // same.
    let [answered, dropped] = wait_for("counters as the kernel's", SOON, || {
        let [answered, _, _, _, dropped] = counters(&machine);
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
    // The next is answered as ever.
    assert!(ask(&on(&machine, "127.0.0.1:9527"), "%Y", SOON).is_some());
}

#[test]
fn who_is_not_on_the_list_gets_nothing_and_the_list_can_be_changed_live() {
    let Some(machine) = installed() else { return };
    let room = Room::around(&machine);
    let answered = |socket: &UdpSocket| ask(socket, "%Y", SOON).is_some();
    let (neighbour, six) = (
        room.host(1, &format!("{V4}:9527")),
        room.host(2, &format!("[{V6}]:9527")),
    );
    let (other, stranger) = (room.host(0, &format!("{OTHER}:9527")), room.stranger());
    let local = on(&machine, "127.0.0.1:9527");
    for (socket, who) in [
        (&neighbour, "neighbour"),
        (&six, "neighbour, v6"),
        (&other, "other net"),
        (&local, "local"),
    ] {
        assert!(answered(socket), "{who}");
    }
    is_ignored(&stranger, &local, "a host outside the private networks");

    let daemon = machine.daemon(SERVICE);
    let room_only =
        "[Socket]\nIPAddressAllow=\nIPAddressAllow=localhost 192.168.7.0/24 fd00:7::/64\n";
    documented_edit(&machine, room_only);
    for (socket, who) in [
        (&neighbour, "neighbour"),
        (&six, "neighbour, v6"),
        (&local, "local"),
    ] {
        assert!(answered(socket), "{who}, once narrowed");
    }
    is_ignored(&other, &local, "another network than the configured");

    // By hand, the other way: everybody.
    machine.write(
        "/etc/systemd/system/wallclockd.socket.d/override.conf",
        "[Socket]\nIPAddressAllow=\nIPAddressAllow=any\n",
    );
    is_ignored(
        &stranger,
        &local,
        "a host allowed by a file that is not yet in force",
    );
    machine.run(&["systemctl", "daemon-reload"]);
    assert!(answered(&stranger), "not answered though allowed");
    assert_eq!(
        machine.daemon(SERVICE),
        daemon,
        "none of this needs a restart"
    );
}

#[test]
fn ten_thousand_questions_in_one_instant_are_all_answered() {
    const ALL: usize = 10_000;
    let Some(machine) = installed() else { return };
    let room = Room::around(&machine);
    let daemon = machine.daemon(SERVICE);
    // The unit's own buffer, whatever this host's net.core.rmem_max would have given the daemon.
    let sockets = machine.sh("ss -Hlunm 'sport = 9527'");
    assert!(sockets.contains("rb16777216"), "{sockets}");
    let burst = |stopped: bool| {
        let sockets = room.everyone();
        if stopped {
            machine.run(&["kill", "-STOP", &daemon]);
        }
        let start = Instant::now();
        for number in 0..ALL {
            sockets[number % sockets.len()]
                .send(load::request(number).as_bytes())
                .expect("to send");
        }
        let took = start.elapsed();
        if stopped {
            // On a host so busy that its watchdog was faster, its successor finds them waiting.
            let _ = machine.try_run(&["kill", "-CONT", &daemon]);
        }
        let mut heard = vec![false; ALL];
        for (first, socket) in sockets.iter().enumerate() {
            socket.set_read_timeout(Some(SOON)).expect("a time-out");
            let mut buffer = [0; 2048];
            for _ in (first..ALL).step_by(sockets.len()) {
                let Ok(length) = socket.recv(&mut buffer) else {
                    break;
                };
                heard[load::number(&buffer[..length]).expect("the text to a question")] = true;
            }
        }
        let answers = heard.iter().filter(|heard| **heard).count();
        eprintln!(
            "{answers} answers to {ALL} questions sent in {took:?}, daemon stopped meanwhile: {stopped}"
        );
        answers
    };
    assert_eq!(burst(false), ALL);
    // An instant as short as can be: the daemon sees none of them before it sees all of them.
    assert_eq!(burst(true), ALL);
}

#[test]
fn inside_the_sandbox_nothing_can_be_written_executed_connected_or_seen() {
    let Some(machine) = installed() else { return };
    let probe = Path::new(env!("CARGO_TARGET_TMPDIR")).join("room/probe");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/room/probe.rs");
    let compiled = Command::new("rustc")
        .args(["--edition", "2024", "-A", "dead_code", "-o"])
        .arg(&probe)
        .arg(source)
        .output();
    let compiled = compiled.expect("rustc");
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    let inside = machine.copy_in(&probe);

    // The control: without the sandbox, the same program can do every one of those things.
    machine.run(&["mkdir", "/root/box"]);
    machine.run(&["touch", "/root/box/file"]);
    // It ends as a shell.
    let free = machine.sh(&format!("timeout {} {inside} /root/box", SOON.as_secs()));
    for can in [
        "create /root/box/",
        "write /root/box/",
        "make an inet",
        "see process",
        "read /proc",
        "start a",
        "execute a",
    ] {
        assert!(
            free.contains(&format!("could {can}")),
            "the probe misses what it could {can}: {free}"
        );
    }

    let instance = "wallclockd@127.0.0.9:9528.service";
    machine.sh(&format!("mv {inside} /usr/bin/wallclockd"));
    // The probe sends no keep-alive.
    let patient = "[Service]\nWatchdogSec=0\n";
    drop_in(&machine, SERVICE, "patient.conf", patient);
    drop_in(&machine, "wallclockd@.service", "patient.conf", patient);
    for (unit, network) in [(SERVICE, false), (instance, true)] {
        machine.run(&["systemctl", "restart", unit]);
        let said = wait_for("the probe to end", SOON, || {
            Some(machine.journal(&["--unit", unit])).filter(|said| said.contains("probe: ends"))
        });
        let could: Vec<_> = said
            .lines()
            .filter(|line| line.contains("probe: could"))
            .collect();
        let allowed = |line: &&str| network && line.ends_with("make an inet socket");
        let sees = said.lines().find(|line| line.contains("probe: sees"));
        let tried = said.matches("probe: executes").count();
        eprintln!(
            "{unit}: {}; tried to execute {tried}",
            sees.unwrap_or_default()
        );
        assert!(could.iter().all(allowed), "{unit}: {could:#?}");
    }
}

#[test]
fn the_zone_follows_etc_localtime_into_the_sandbox() {
    let Some(machine) = installed() else { return };
    let instance = "wallclockd@127.0.0.9:9528.service";
    machine.run(&["systemctl", "start", instance]);
    let sockets = [
        on(&machine, "127.0.0.1:9527"),
        on(&machine, "127.0.0.9:9528"),
    ];
    let follows = |change: &str, abbreviation: &str| {
        machine.sh(change);
        // A change shows in what is asked more than a second after it.
        std::thread::sleep(Duration::from_secs(1));
        for socket in &sockets {
            let zone = ask(socket, "%Z", SOON);
            assert_eq!(zone.as_deref(), Some(abbreviation), "after: {change}");
        }
    };
    follows(
        "ln -sf /usr/share/zoneinfo/Asia/Tokyo /etc/localtime",
        "JST",
    );
    follows(
        "ln -s /usr/share/zoneinfo/Asia/Kolkata /etc/new && mv -T /etc/new /etc/localtime",
        "IST",
    );
    follows(
        "rm /etc/localtime && cp /usr/share/zoneinfo/Asia/Shanghai /etc/localtime",
        "CST",
    );
    follows("ln -sf ../usr/share/zoneinfo/Etc/UTC /etc/localtime", "UTC");
}

#[test]
fn options_come_from_etc_default() {
    let Some(machine) = installed() else { return };
    let socket = on(&machine, "127.0.0.1:9527");
    machine.sh("ln -sf /usr/share/zoneinfo/Asia/Tokyo /etc/localtime");
    machine.sh("echo WALLCLOCKD_UTC=true >>/etc/default/wallclockd");
    documented(&machine, "systemctl restart wallclockd");
    assert_eq!(ask(&socket, "%Z", SOON).as_deref(), Some("UTC"));
    machine.sh("echo TZ=Asia/Kolkata >/etc/default/wallclockd");
    documented(&machine, "systemctl restart wallclockd");
    assert_eq!(ask(&socket, "%Z", SOON).as_deref(), Some("IST"));
}

#[test]
fn the_buffer_that_the_socket_unit_grants_is_never_cut() {
    let Some(machine) = installed() else { return };
    edit(&machine, SOCKET, "[Socket]\nReceiveBuffer=4M\n");
    machine.sh("echo WALLCLOCKD_RECEIVE_BUFFER=16777216 >>/etc/default/wallclockd");
    machine.run(&["systemctl", "restart", SOCKET]);
    machine.daemon(SERVICE);
    // More than net.core.rmem_max, which is all that the daemon itself could ask for.
    let granted = "[::]:9527: receive buffer 8388608 bytes,";
    let said = machine.journal(&["--unit", SERVICE, "--identifier", "wallclockd"]);
    let last = said
        .lines()
        .rfind(|line| line.contains("receive buffer"))
        .unwrap_or_default();
    assert!(
        last.contains(granted)
            && last.ends_with(
                "33554432 were asked for: set ReceiveBuffer=16777216 in its socket unit"
            ),
        "{said}"
    );
    assert!(
        machine
            .run(&["ss", "-Hulnm", "sport = 9527"])
            .contains("rb8388608")
    );
}

#[test]
fn several_addresses_and_several_cores_as_the_readme_says() {
    let Some(machine) = installed() else { return };
    let room = Room::around(&machine);
    // Several sockets of one daemon.
    let listen = "[Socket]\nFreeBind=yes\nListenDatagram=\nListenDatagram=192.168.7.10:9527\nListenDatagram=[fd00:7::10]:9527\n";
    documented_edit(&machine, listen);
    documented(&machine, "systemctl restart wallclockd.socket");
    for socket in room.everyone() {
        assert!(ask(&socket, "%Y", SOON).is_some());
    }
    let control = room.host(0, &format!("{V4}:9527"));
    is_ignored(&on(&machine, "127.0.0.1:9527"), &control, "127.0.0.1");
    let other = room.host(0, &format!("{OTHER}:9527"));
    is_ignored(&other, &control, "an address that is not listed");

    // A daemon for each address.
    documented(
        &machine,
        "systemctl disable --now wallclockd.socket wallclockd.service",
    );
    documented(
        &machine,
        "systemctl enable --now wallclockd@192.168.7.10:9527 wallclockd@fd00:7::10",
    );
    documented(
        &machine,
        "systemctl enable --now \"$(systemd-escape --template=wallclockd@.service '[fd00:7::10]:9528')\"",
    );
    for socket in room.everyone() {
        assert!(ask(&socket, "%Y", SOON).is_some());
    }
    assert!(ask(&room.host(1, &format!("[{V6}]:9528")), "%Y", SOON).is_some());
    let control = room.host(0, &format!("{V4}:9527"));
    is_ignored(
        &room.stranger(),
        &control,
        "a host outside the private networks",
    );
    machine.run(&["systemctl", "stop", "wallclockd@*"]);

    // A daemon for each core, sharing one port: each gets its part.
    documented(
        &machine,
        "printf 'WALLCLOCKD_LISTEN=[::]:9527\\nWALLCLOCKD_REUSE_PORT=true\\n' >/etc/default/wallclockd@core1",
    );
    documented(
        &machine,
        "cp /etc/default/wallclockd@core1 /etc/default/wallclockd@core2",
    );
    documented(
        &machine,
        "systemctl enable --now wallclockd@core1 wallclockd@core2",
    );
    for _ in 0..20 {
        for socket in room.everyone() {
            assert!(ask(&socket, "%Y", SOON).is_some());
        }
    }
    for core in ["wallclockd@core1", "wallclockd@core2"] {
        machine.run(&["systemctl", "kill", "--signal=USR1", core]);
        wait_for(&format!("{core} to have answered some"), SOON, || {
            let said = machine.journal(&["--unit", core]);
            let count = said
                .lines()
                .rev()
                .find_map(|line| line.split_once("answered="))?
                .1;
            count
                .split(' ')
                .next()?
                .parse::<u32>()
                .ok()
                .filter(|count| *count > 0)
        });
    }
}

#[test]
fn the_check_of_a_machines_own_clock_runs_and_fails_visibly() {
    let Some(machine) = installed() else { return };
    let check = "wallclock-check.service";
    assert_eq!(
        machine.property("wallclock-check.timer", "UnitFileState"),
        "disabled"
    );
    // Nobody has said yet whom to ask.
    assert!(
        !machine
            .try_run(&["systemctl", "start", check])
            .status
            .success()
    );
    machine.sh("echo WALLCLOCK_SERVER=127.0.0.1:9527,[::1] >>/etc/default/wallclock-check");
    machine.run(&["systemctl", "start", check]);
    assert_eq!(machine.property(check, "Result"), "success");
    // Settings that make no sense are not passed over in silence.
    machine.sh("echo WALLCLOCK_CHECK=--nonsense >>/etc/default/wallclock-check");
    assert!(
        !machine
            .try_run(&["systemctl", "start", check])
            .status
            .success()
    );
    assert_eq!(
        machine
            .run(&["systemctl", "--failed", "--plain", "--no-legend"])
            .split(' ')
            .next(),
        Some(check)
    );
}

/// What `systemctl status` shows of the clock, once it is this.
#[track_caller]
fn status_says(machine: &Machine, unit: &str, expected: &str) {
    // Nobody asks: the daemon looks when the watchdog wakes it.
    wait_for(expected, SOON, || {
        machine
            .property(unit, "StatusText")
            .contains(expected)
            .then_some(())
    });
}

/// How often each warning of the daemon holds this text.
fn warnings(machine: &Machine, text: &str) -> usize {
    let said = machine.journal(&["--unit", SERVICE, "--priority", "warning"]);
    said.lines().filter(|line| line.contains(text)).count()
}

const UNSYNCHRONISED: &str = "calls its clock unsynchronised (seen since";
const UNKNOWN: &str = "whether the clock is synchronised is unknown";

#[test]
fn the_status_shows_what_the_kernel_reports_of_its_clock() {
    let Some(machine) = installed() else { return };
    let kernel = wallclock::sys::timex::clock_status().expect("reading takes no privilege");
    let instance = "wallclockd@127.0.0.9:9528.service";
    machine.run(&["systemctl", "start", instance]);
    for unit in [SERVICE, instance] {
        status_says(
            &machine,
            unit,
            match kernel.synchronised {
                true => "clock=synchronised error=",
                false => "clock=unsynchronised since=",
            },
        );
    }
    let expected = usize::from(!kernel.synchronised);
    assert_eq!(warnings(&machine, UNSYNCHRONISED), expected);
    assert_eq!(warnings(&machine, UNKNOWN), 0);
}

#[test]
fn both_states_of_the_clock_show_under_the_units() {
    let Some(machine) = installed() else { return };
    let Some(library) = support::faults::library() else {
        return support::skip("no C compiler (Debian package gcc)");
    };
    // The call is made, through the unit's own filter, and then its result is changed.
    let inside = machine.copy_in(library);
    let faults = support::faults::Faults::at(machine.path("/root/faults"));
    machine.run(&["chmod", "666", "/root/faults"]);
    let preload = format!(
        "[Service]\nEnvironment=LD_PRELOAD=/faults.so FAULTS=/faults\n\
         BindReadOnlyPaths={inside}:/faults.so\nExecPaths=+/faults.so\n\
         BindPaths=/root/faults:/faults\nReadWritePaths=+/faults\n"
    );
    let instance = "wallclockd@127.0.0.9:9528.service";
    drop_in(&machine, SERVICE, "10-local.conf", &preload);
    drop_in(&machine, "wallclockd@.service", "10-local.conf", &preload);
    let units = [(SERVICE, "[::1]:9527"), (instance, "127.0.0.9:9528")];

    faults.discipline(support::faults::Discipline::Unsynchronised);
    machine.run(&["systemctl", "restart", SERVICE, instance]);
    for (unit, server) in units {
        status_says(&machine, unit, "clock=unsynchronised since=20");
        // Without --require-sync the time is given all the same.
        let response = ask(&on(&machine, server), "%%", SOON);
        assert_eq!(response.as_deref(), Some("%"), "{unit}");
    }
    faults.discipline(support::faults::Discipline::Synchronised);
    for (unit, _) in units {
        status_says(&machine, unit, "clock=synchronised error=1500us");
    }

    machine.sh("echo WALLCLOCKD_REQUIRE_SYNC=yes >>/etc/default/wallclockd");
    machine.run(&["systemctl", "restart", SERVICE, instance]);
    let reports = |discipline, expected: &str| {
        faults.discipline(discipline);
        // The daemon reads the state when a second begins.
        std::thread::sleep(Duration::from_secs(1));
        for (unit, server) in units {
            let response = ask(&on(&machine, server), "%%", SOON);
            assert_eq!(response.as_deref(), Some(expected), "{unit}");
        }
    };
    let refused = "error: clock not synchronised";
    reports(support::faults::Discipline::Synchronised, "%");
    reports(support::faults::Discipline::Unsynchronised, refused);
    reports(support::faults::Discipline::Synchronised, "%");
    reports(support::faults::Discipline::Unsynchronised, refused);
    assert_eq!(warnings(&machine, UNKNOWN), 0);
}

#[test]
fn a_unit_that_forbids_adjtimex_gets_one_warning() {
    let Some(machine) = installed() else { return };
    let socket = on(&machine, "[::1]:9527");
    let forbidding = [
        "SystemCallFilter=~@clock",
        "SystemCallFilter=~adjtimex clock_adjtime clock_adjtime64",
        "ProtectClock=yes",
    ];
    for (earlier, setting) in forbidding.iter().enumerate() {
        let text = format!("[Service]\n{setting}\n");
        drop_in(&machine, SERVICE, "10-local.conf", &text);
        machine.run(&["systemctl", "restart", SERVICE]);
        status_says(&machine, SERVICE, "clock=unknown");
        // The state is read again in each second, and not warned about again.
        for _ in 0..2 {
            std::thread::sleep(Duration::from_secs(1));
            assert_eq!(ask(&socket, "%%", SOON).as_deref(), Some("%"), "{setting}");
        }
        assert_eq!(warnings(&machine, UNKNOWN), earlier + 1, "{setting}");
    }
    for remedy in [
        "adjtimex: ",
        "ProtectClock=no",
        "SystemCallFilter=adjtimex clock_adjtime clock_adjtime64",
    ] {
        assert_eq!(warnings(&machine, remedy), forbidding.len(), "{remedy}");
    }
    machine.sh("echo WALLCLOCKD_REQUIRE_SYNC=yes >>/etc/default/wallclockd");
    machine.run(&["systemctl", "restart", SERVICE]);
    let response = ask(&socket, "%%", SOON);
    assert_eq!(response.as_deref(), Some("error: clock not synchronised"));
    assert_eq!(warnings(&machine, UNKNOWN), forbidding.len() + 1);
}

#[test]
fn a_leftover_sync_file_variable_is_a_warning() {
    let Some(machine) = installed() else { return };
    machine.sh("echo WALLCLOCKD_SYNC_FILE=/sync >>/etc/default/wallclockd");
    machine.run(&["systemctl", "restart", SERVICE]);
    let response = ask(&on(&machine, "[::1]:9527"), "%%", SOON);
    assert_eq!(response.as_deref(), Some("%"));
    assert_eq!(
        warnings(&machine, "WALLCLOCKD_SYNC_FILE is no longer used"),
        1
    );
}

#[test]
fn an_administrators_lists_are_added_to_the_units() {
    let Some(machine) = installed() else { return };
    // The package ships the repository's files, and nothing that changes them.
    for unit in [SOCKET, SERVICE, "wallclockd@.service"] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("systemd")
            .join(unit);
        let installed = machine.path("/usr/lib/systemd/system").join(unit);
        assert_eq!(
            fs::read_to_string(installed).expect("an installed unit"),
            fs::read_to_string(source).expect("a unit"),
            "{unit}"
        );
    }
    let instance = "wallclockd@127.0.0.9:9528.service";
    for unit in [SOCKET, SERVICE, instance] {
        assert_eq!(machine.property(unit, "DropInPaths"), "", "{unit}");
    }
    machine.sh("cp /usr/share/zoneinfo/Asia/Tokyo /root/zone");
    let local = "[Service]\nEnvironment=TZ=:/zone\nBindReadOnlyPaths=/root/zone:/zone\n";
    drop_in(&machine, SERVICE, "10-local.conf", local);
    drop_in(&machine, "wallclockd@.service", "10-local.conf", local);
    machine.run(&["systemctl", "restart", SERVICE, instance]);
    for server in ["[::1]:9527", "127.0.0.9:9528"] {
        let zone = ask(&on(&machine, server), "%Z", SOON);
        assert_eq!(zone.as_deref(), Some("JST"), "{server}");
    }
}

#[test]
fn a_socket_of_the_wrong_kind_is_refused_by_name() {
    let Some(machine) = installed() else { return };
    machine.write(
        "/etc/systemd/system/wallclockd.socket.d/override.conf",
        "[Socket]\nListenDatagram=\nListenStream=9527\n",
    );
    machine.run(&["systemctl", "daemon-reload"]);
    machine.run(&["systemctl", "restart", SOCKET]);
    assert!(
        !machine
            .try_run(&["systemctl", "start", SERVICE])
            .status
            .success()
    );
    let said = machine.journal(&[
        "--unit",
        SERVICE,
        "--identifier",
        "wallclockd",
        "--priority",
        "err",
    ]);
    assert!(
        said.contains("not a datagram socket (use ListenDatagram=)"),
        "{said}"
    );
    machine.run(&["systemctl", "stop", SERVICE, SOCKET]);
}

#[test]
fn it_installs_without_the_package_too() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    // A clone, built: what `cargo build --release` leaves, with this run's binaries.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let clone = machine.path("/root/clone");
    fs::create_dir_all(clone.join("systemd")).expect("a folder inside");
    fs::create_dir_all(clone.join("target/release")).expect("a folder inside");
    for unit in [
        "wallclockd.socket",
        "wallclockd.service",
        "wallclockd@.service",
        "wallclock.tmpfiles",
    ] {
        let unit = Path::new("systemd").join(unit);
        fs::copy(root.join(&unit), clone.join(unit)).expect("a copy inside");
    }
    for (name, built) in [
        ("wallclock", env!("CARGO_BIN_EXE_wallclock")),
        ("wallclockd", env!("CARGO_BIN_EXE_wallclockd")),
    ] {
        fs::copy(built, clone.join("target/release").join(name)).expect("a copy inside");
    }
    says("cargo build --release");
    for command in [
        "install target/release/wallclockd target/release/wallclock /usr/bin/",
        "install -m 644 systemd/wallclockd.socket systemd/wallclockd*.service /etc/systemd/system/",
        "install -m 644 systemd/wallclock.tmpfiles /etc/tmpfiles.d/wallclock.conf",
        "systemd-tmpfiles --create wallclock.conf",
        "systemctl daemon-reload",
        "systemctl enable --now wallclockd.socket wallclockd.service",
    ] {
        says(command);
        machine.sh(&format!("cd /root/clone && {command}"));
    }
    machine.run(&["systemctl", "start", "wallclockd@127.0.0.9:9528"]);
    for server in ["[::1]:9527", "127.0.0.9:9528"] {
        assert!(ask(&on(&machine, server), "%Y", SOON).is_some(), "{server}");
    }
    machine.run(&[
        "systemd-analyze",
        "security",
        "--no-pager",
        "--threshold=5",
        SERVICE,
    ]);
}

#[test]
fn the_status_shows_the_figures_and_the_journal_warns_of_nothing_that_is_none() {
    let Some(machine) = installed() else { return };
    let room = Room::around(&machine);
    let status = || documented(&machine, "systemctl status wallclockd");
    assert!(status().contains("active (running)"));
    let load = Load::start(room.everyone(), 1_000);
    wait_for("answers", SOON, || (load.answered() > 1_000).then_some(()));
    let tally = none_lost(load);
    // The line is refreshed every few seconds, not with every answer.
    let figures = wait_for("the figures", SOON, || {
        let said = status();
        let line = said
            .lines()
            .find(|line| line.trim_start().starts_with("Status:"))?
            .to_owned();
        line.contains(&format!("answered={}", tally.asked))
            .then_some(line)
    });
    eprintln!("{figures}");

    // Hostile questions, restarts, an upgrade of the zone: life, and nothing to act on.
    let socket = room.host(0, &format!("{V4}:9527"));
    for hostile in [
        &b"%"[..],
        b"\xff\xfe%",
        b"%999999999d",
        b"no question",
        &[b'%'; 4096],
        b"%Q\r\n<3>forged: %",
    ] {
        socket.send(hostile).expect("to send");
    }
    machine.sh("ln -sf /usr/share/zoneinfo/Asia/Tokyo /etc/localtime");
    machine.run(&["systemctl", "restart", SERVICE]);
    machine.install(&package(2));
    machine.run(&["systemctl", "kill", "--signal=USR1", SERVICE]);
    let ours = [
        "--unit",
        SERVICE,
        "--unit",
        SOCKET,
        "--unit",
        "wallclockd@*",
    ];
    wait_for("the counters in the journal", SOON, || {
        machine
            .journal(&ours)
            .lines()
            .any(|line| line.contains("answered="))
            .then_some(())
    });
    let warnings = |machine: &Machine| {
        let said = documented(machine, "journalctl -p warning -u 'wallclockd*'");
        // Whether anybody keeps the clock of the host that runs this test is not what it asks.
        let about_us = said
            .lines()
            .filter(|line| !line.contains("calls its clock unsynchronised"));
        about_us.collect::<Vec<_>>().join("\n")
    };
    let said = warnings(&machine);
    assert!(
        !said.lines().any(|line| line.contains("wallclockd")),
        "{said}"
    );
    // No second time stamp, no priority left in the text.
    let info = machine.journal(&["--unit", SERVICE, "--identifier", "wallclockd"]);
    let plain = info
        .lines()
        .find(|line| line.contains("listening on"))
        .expect("the line that it is up");
    assert!(
        !plain.starts_with('<') && !plain.contains("20") && !plain.contains("T0"),
        "{plain}"
    );

    // Another daemon that takes its questions is something to act on.
    machine.run(&["systemctl", "start", "wallclockd@127.0.0.1:9527"]);
    wait_for("the warning", SOON, || {
        machine.run(&["journalctl", "--sync"]);
        warnings(&machine)
            .lines()
            .any(|line| line.contains("wallclockd") && line.contains("9527"))
            .then_some(())
    });
}

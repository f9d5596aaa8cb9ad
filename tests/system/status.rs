//! The status line, the journal, and the synchronisation status of the clock.

use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::faults::{self, ClockStatus, Faults};
use support::parse_metrics;

use super::documents::{self, block_with, run_documented};
use super::load::Load;
use super::machine::{INSTANCE, Machine, SERVICE, SOCKET, TEMPLATE, TIMEOUT, wait_for};
use super::network::{Lan, V4, local_socket, query};
use super::package::PACKAGES;

/// The warning of a daemon whose clock is not synchronised, and of one that cannot read its status.
const UNSYNCHRONISED: &str = "the system clock is not synchronised (since";
const UNKNOWN: &str = "the status of the system clock is unknown";

/// Waits until the status line of a unit contains this.
#[track_caller]
fn wait_for_status(machine: &Machine, unit: &str, expected: &str) {
    // Without requests, the daemon reads the status of the clock when the watchdog wakes it.
    wait_for(expected, TIMEOUT, || {
        machine
            .property(unit, "StatusText")
            .contains(expected)
            .then_some(())
    });
}

#[test]
fn status_shows_what_the_kernel_reports_of_its_clock() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let max_error = wallclock::sys::timex::clock_max_error().expect("reading takes no privilege");
    let synchronised = max_error < Duration::from_secs(16);
    machine.run(&["systemctl", "start", INSTANCE]);
    for unit in [SERVICE, INSTANCE] {
        wait_for_status(
            &machine,
            unit,
            match synchronised {
                true => "clock=synchronised error=",
                false => "clock=unsynchronised since=",
            },
        );
    }
    let expected = usize::from(!synchronised);
    assert_eq!(machine.count_warnings(UNSYNCHRONISED), expected);
    assert_eq!(machine.count_warnings(UNKNOWN), 0);
}

#[test]
fn both_states_of_the_clock_show_under_the_units() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let Some(library) = faults::library() else {
        return support::skip("no C compiler (Debian package gcc)");
    };
    // The system call is made, through the filter of the unit, and then its result is changed.
    let inside = machine.copy_in(library);
    let faults = Faults::new(machine.path("/root/faults"));
    machine.run(&["chmod", "666", "/root/faults"]);
    let preload = format!(
        "[Service]\nEnvironment=LD_PRELOAD=/faults.so FAULTS=/faults\n\
         BindReadOnlyPaths={inside}:/faults.so\nExecPaths=+/faults.so\n\
         BindPaths=/root/faults:/faults\nReadWritePaths=+/faults\n"
    );
    machine.drop_in(SERVICE, "10-local.conf", &preload);
    machine.drop_in(TEMPLATE, "10-local.conf", &preload);
    let units = [(SERVICE, "[::1]:9527"), (INSTANCE, "127.0.0.9:9528")];

    faults.set_clock_status(ClockStatus::Unsynchronised);
    machine.run(&["systemctl", "restart", SERVICE, INSTANCE]);
    for (unit, server) in units {
        wait_for_status(&machine, unit, "clock=unsynchronised since=20");
        // Without --require-sync the response is the time all the same.
        let response = query(&local_socket(&machine, server), "%%");
        assert_eq!(response.as_deref(), Some("%"), "{unit}");
    }
    faults.set_clock_status(ClockStatus::Synchronised);
    for (unit, _) in units {
        wait_for_status(&machine, unit, "clock=synchronised error=1500us");
    }

    faults.set_clock_status(ClockStatus::Unsynchronised);
    for (unit, _) in units {
        wait_for_status(&machine, unit, "clock=unsynchronised since=20");
    }
    // What chronyd without rtcsync leaves is synchronised.
    faults.set_clock_status(ClockStatus::WithoutRtcsync);
    for (unit, _) in units {
        wait_for_status(&machine, unit, "clock=synchronised error=2500us");
    }

    machine.sh("echo WALLCLOCKD_REQUIRE_SYNC=yes >>/etc/default/wallclockd");
    machine.run(&["systemctl", "restart", SERVICE, INSTANCE]);
    let assert_response = |discipline, expected: &str| {
        faults.set_clock_status(discipline);
        // The daemon reads the status when a second begins.
        std::thread::sleep(Duration::from_secs(1));
        for (unit, server) in units {
            let response = query(&local_socket(&machine, server), "%%");
            assert_eq!(response.as_deref(), Some(expected), "{unit}");
        }
    };
    let refused = "error: clock not synchronised";
    assert_response(ClockStatus::Synchronised, "%");
    assert_response(ClockStatus::Unsynchronised, refused);
    assert_response(ClockStatus::Synchronised, "%");
    assert_response(ClockStatus::Unsynchronised, refused);
    assert_eq!(machine.count_warnings(UNKNOWN), 0);
}

#[test]
fn unit_that_forbids_adjtimex_causes_one_warning() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let socket = local_socket(&machine, "[::1]:9527");
    let forbidding = [
        "SystemCallFilter=~@clock",
        "SystemCallFilter=~adjtimex clock_adjtime clock_adjtime64",
        "ProtectClock=yes",
    ];
    for (earlier, setting) in forbidding.iter().enumerate() {
        let text = format!("[Service]\n{setting}\n");
        machine.drop_in(SERVICE, "10-local.conf", &text);
        machine.run(&["systemctl", "restart", SERVICE]);
        wait_for_status(&machine, SERVICE, "clock=unknown");
        // The daemon reads the status again in each second, and does not repeat the warning.
        for _ in 0..2 {
            std::thread::sleep(Duration::from_secs(1));
            assert_eq!(query(&socket, "%%").as_deref(), Some("%"), "{setting}");
        }
        assert_eq!(machine.count_warnings(UNKNOWN), earlier + 1, "{setting}");
    }
    for remedy in [
        "adjtimex: ",
        "ProtectClock=no",
        "SystemCallFilter=adjtimex clock_adjtime clock_adjtime64",
    ] {
        assert_eq!(machine.count_warnings(remedy), forbidding.len(), "{remedy}");
    }
    machine.sh("echo WALLCLOCKD_REQUIRE_SYNC=yes >>/etc/default/wallclockd");
    machine.run(&["systemctl", "restart", SERVICE]);
    let response = query(&socket, "%%");
    assert_eq!(response.as_deref(), Some("error: clock not synchronised"));
    assert_eq!(machine.count_warnings(UNKNOWN), forbidding.len() + 1);
}

#[test]
fn status_and_journal_show_the_counters() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let lan = Lan::new(&machine);
    let status = || run_documented(&machine, documents::STATUS);
    assert!(status().contains("active (running)"));
    let load = Load::start(lan.sockets(), 1_000);
    load.wait_for_answered(1_000);
    let answered = format!("answered={}", load.assert_none_lost().sent);
    // The status line is updated every few seconds, not with every response.
    let line = wait_for("the counters in the status", TIMEOUT, || {
        let status = status();
        let mut lines = status.lines().map(str::trim_start);
        let line = lines.find(|line| line.starts_with("Status:"))?;
        line.contains(&answered).then(|| line.to_owned())
    });
    eprintln!("{line}");
    run_documented(&machine, documents::LOG_COUNTERS);
    wait_for("the counters in the journal", TIMEOUT, || {
        machine.run(&["journalctl", "--sync"]);
        let log = run_documented(&machine, documents::LOG);
        log.contains(&answered).then_some(())
    });
}

/// systemd reads no notification while its process is stopped, and its queue has space for a few
/// seconds of them.
#[test]
fn stopped_service_manager_stops_nothing_else() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let socket = local_socket(&machine, "[::1]:9527");
    let pid = host_pid(&machine, &machine.daemon(SERVICE));
    let systemd = Stopped::new(machine.pid());
    for second in 0..20 {
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(query(&socket, "%%").as_deref(), Some("%"), "{second}");
    }
    // The watchdog's notifications were kept, so the daemon is not killed.
    drop(systemd);
    wait_for_status(&machine, SERVICE, "answered=20 ");
    assert_eq!(machine.property(SERVICE, "NRestarts"), "0");

    let systemd = Stopped::new(machine.pid());
    std::thread::sleep(Duration::from_secs(20));
    send_signal(pid, Signal::TERM);
    wait_for("the end of the daemon", TIMEOUT, || {
        (support::process_state(pid) == 'Z').then_some(())
    });
    drop(systemd);
    machine.daemon(SERVICE);
    assert_eq!(query(&socket, "%%").as_deref(), Some("%"));
}

/// A process of the host that is stopped (SIGSTOP) until this is dropped.
struct Stopped(u32);

impl Stopped {
    fn new(pid: u32) -> Self {
        send_signal(pid, Signal::STOP);
        wait_for("the process to stop", TIMEOUT, || {
            (support::process_state(pid) == 'T').then_some(())
        });
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        send_signal(self.0, Signal::CONT);
    }
}

fn send_signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
    kill_process(pid, signal).expect("a process of the machine");
}

/// The number on this host of a process of the machine, a child of its systemd.
fn host_pid(machine: &Machine, inside: &str) -> u32 {
    let systemd = machine.pid();
    let children = fs::read_to_string(format!("/proc/{systemd}/task/{systemd}/children"));
    let children = children.expect("its children");
    let is_it = |pid: &&str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mut lines = status.lines();
        let numbers = lines.find_map(|line| line.strip_prefix("NSpid:"));
        numbers.and_then(|numbers| numbers.split_whitespace().last()) == Some(inside)
    };
    let pid = children.split_whitespace().find(is_it);
    pid.and_then(|pid| pid.parse().ok()).expect("a child")
}

/// The warnings that the documented command prints. The clock of the test host may be synchronised
/// or not, so the warning about it is left out.
fn warnings(machine: &Machine) -> Vec<String> {
    machine.run(&["journalctl", "--sync"]);
    let warnings = run_documented(machine, documents::WARNINGS);
    let of_daemon = warnings
        .lines()
        .filter(|line| line.contains("wallclockd") && !line.contains(UNSYNCHRONISED));
    of_daemon.map(str::to_owned).collect()
}

#[test]
fn only_what_needs_attention_causes_a_warning() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let lan = Lan::new(&machine);
    // Hostile requests, a change of the zone, a restart, an upgrade: normal operation.
    let socket = lan.socket(0, &format!("{V4}:9527"));
    for hostile in [
        &b"%"[..],
        b"\xff\xfe%",
        b"%999999999d",
        b"no request",
        &[b'%'; 4096],
        b"%Q\r\n<3>forged: %",
    ] {
        socket.send(hostile).expect("to send");
    }
    // Its response shows that the requests above were processed.
    assert_eq!(query_until(&socket, "%%"), "%");
    machine.sh("ln -sf /usr/share/zoneinfo/Asia/Tokyo /etc/localtime");
    machine.run(&["systemctl", "restart", SERVICE]);
    machine.install(&PACKAGES, 2);
    machine.counters();
    assert_eq!(warnings(&machine), [""; 0]);

    // A second daemon on its port. It does not start, and the error names the socket unit.
    machine.run(&[
        "systemctl",
        "start",
        "--no-block",
        "wallclockd@127.0.0.1:9527",
    ]);
    let error = wait_for("the error", TIMEOUT, || {
        let lines = warnings(&machine);
        lines.iter().find(|line| line.contains("9527")).cloned()
    });
    assert!(
        error.contains("127.0.0.1:9527 is in use") && error.contains(SOCKET),
        "{error}"
    );
    assert_eq!(query_until(&socket, "%%"), "%");
}

/// Sends a request and receives until its response comes, after the error responses of earlier
/// requests.
fn query_until(socket: &UdpSocket, request: &str) -> String {
    let mut response = query(socket, request).expect("a response");
    let mut buf = [0; 2048];
    while response.starts_with("error: ") {
        let length = socket.recv(&mut buf).expect("a response");
        response = String::from_utf8_lossy(&buf[..length]).into_owned();
    }
    response
}

// The journal has the time and the priority of each line already.
#[test]
fn journal_lines_have_no_time_and_no_priority() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let log = machine.daemon_log();
    let line = log
        .lines()
        .find(|line| line.contains("listening on"))
        .expect("the line of the start");
    assert!(
        !line.starts_with('<') && !line.contains("20") && !line.contains("T0"),
        "{line}"
    );
}

#[test]
fn counters_are_metrics_as_documented() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let script = block_with(
        "# wallclockd-metrics DIRECTORY: writes wallclockd.prom with the \
                             counters of the server.",
    );
    machine.write("/usr/local/bin/wallclockd-metrics", &script);
    machine.run(&["wallclock"]);
    wait_for_status(&machine, SERVICE, "answered=1 ");
    machine.sh("mkdir /root/metrics; sh /usr/local/bin/wallclockd-metrics /root/metrics");
    let text = machine.sh("cd /root/metrics; cat $(ls -A)");
    let mut samples = parse_metrics(&text);
    let (clock, synchronised) = samples.pop().expect("a sample");
    assert_eq!(clock, "wallclockd_synchronised");
    assert!(synchronised == 0.0 || synchronised == 1.0, "{text}");
    let (names, values): (Vec<_>, Vec<_>) = samples.into_iter().unzip();
    let counters = [
        "answered", "refused", "ignored", "unsent", "dropped", "failed",
    ];
    assert_eq!(
        names,
        counters.map(|name| format!("wallclockd_{name}_total"))
    );
    assert_eq!(values, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0], "{text}");
    let mode = machine.sh("stat -c %a /root/metrics/wallclockd.prom");
    assert_eq!(mode, "644\n");
}

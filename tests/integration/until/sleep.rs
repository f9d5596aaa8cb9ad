//! What happens during the wait.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use support::{Process, context_switches, process_state, skip_without, start_daemon, wait_until};
use wallclock::offset::SECOND;

use super::{client, second_in};
use crate::offset::clients::{run_on_terminal, run_on_terminal_after};
use crate::offset::servers::wall_clock;

#[test]
fn a_process_that_was_stopped_over_the_moment_is_due_at_once() {
    let (_daemon, address) = start_daemon();
    let target = second_in(6);
    let mut command = client(&[address]);
    command.args(["--until", &format!("@{target}")]);
    let mut process = Process::start(&mut command);
    process.wait_for("waiting until ");
    process.signal("STOP");
    let is_past = || wall_clock() >= (target + 3) * SECOND;
    wait_until("the clock stands still", is_past);
    let before = Instant::now();
    process.signal("CONT");
    let status = process.wait();
    assert!(status.success(), "{status}: {:?}", process.log);
    let line = process.log.last().expect("a line");
    let (lateness, _) = line.split_once(" s late for ").expect(line);
    let lateness: f64 = lateness
        .rsplit(' ')
        .next()
        .and_then(|it| it.parse().ok())
        .expect(line);
    let max = 3.1 + before.elapsed().as_secs_f64() + 0.1;
    assert!((2.9..=max).contains(&lateness), "{line}");
}

// Between two readings it sleeps in the kernel.
#[test]
fn a_wait_makes_no_system_calls() {
    let (_daemon, address) = start_daemon();
    let mut command = client(&[address]);
    command.args(["--until", &format!("@{}", second_in(7_200))]);
    let mut process = Process::start(&mut command);
    process.wait_for("waiting until ");
    wait_until("it does not sleep", || process_state(process.id()) == 'S');
    let (cpu, switches) = (process.cpu_time(), context_switches(process.id()));
    thread::sleep(Duration::from_secs(2));
    assert_eq!(context_switches(process.id()), switches);
    assert_eq!(process.cpu_time(), cpu);
}

#[test]
fn a_server_that_goes_away_is_reported_and_the_moment_kept() {
    let (mut daemon, address) = start_daemon();
    let target = second_in(6);
    let mut command = client(&[address]);
    command.args(["--until", &format!("@{target}"), "--json"]);
    let mut process = Process::start(&mut command);
    process.wait_for("waiting until ");
    daemon.terminate();
    process.wait_for("going on with what is known: ");
    let status = process.wait();
    assert!(status.success(), "{status}: {:?}", process.log);
    assert!(wall_clock() >= target * SECOND);
    // 500 ppm of 4 s are 2 ms.
    let json: serde_json::Value =
        serde_json::from_str(process.log.last().expect("a line")).expect("JSON");
    let bound = json["bound"].as_f64().expect("a bound");
    assert!((1e-6..=1.0).contains(&bound), "{json}");
}

#[test]
fn a_bound_above_the_maximum_is_no_answer() {
    let (_daemon, address) = start_daemon();
    let mut command = client(&[address]);
    let moment = format!("@{}", second_in(6));
    command.args(["--until", &moment, "--max-bound", "0.000000001"]);
    let output = command.output().expect("wallclock runs");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(super::stderr(&output).contains("--max-bound"), "{output:?}");
}

#[test]
fn an_interrupt_ends_it() {
    let (_daemon, address) = start_daemon();
    let mut command = client(&[address]);
    command.args(["--until", &format!("@{}", second_in(7_200)), "--", "true"]);
    // A job in the background of a shell ignores SIGINT, and so do its children.
    let mut with_default = Command::new("env");
    with_default
        .arg("--default-signal=INT")
        .arg(command.get_program())
        .args(command.get_args());
    let mut process = Process::start(&mut with_default);
    process.wait_for("waiting until ");
    process.signal("INT");
    // A shell shows this as 130.
    assert_eq!(process.wait().signal(), Some(2));
}

#[test]
fn a_terminal_shows_the_time_left_in_one_line() {
    if skip_without(&["script"]) {
        return;
    }
    let (_daemon, address) = start_daemon();
    let arguments = format!("--server {address} --until @{}", second_in(7_200));
    let is_enough = |screen: &str| screen.matches("\r\x1b[K01:59:").count() >= 2;
    let (screen, _) = run_on_terminal(&arguments, is_enough);
    let (_, count_down) = screen
        .split_once("\r\x1b[K02:00:")
        .or(screen.split_once("\r\x1b[K01:59:"))
        .expect(&screen);
    assert!(
        !count_down.split("^C").next().expect("text").contains('\n'),
        "{screen:?}"
    );
}

#[test]
fn a_terminal_with_plain_lines_shows_no_time_left() {
    if skip_without(&["script"]) {
        return;
    }
    let (_daemon, address) = start_daemon();
    for before in ["export TERM=dumb", "unset TERM", "export NO_COLOR=1"] {
        let arguments = format!("--server {address} --until @{}", second_in(6));
        let (screen, status) = run_on_terminal_after(before, &arguments, |_| false);
        assert_eq!(status, Some(0), "{screen}");
        assert!(screen.starts_with("wallclock: waiting until "), "{screen}");
        assert!(!screen.contains('\x1b'), "{screen:?}");
    }
}

// There it would overwrite what the user types.
#[test]
fn a_background_process_shows_no_time_left() {
    if skip_without(&["script"]) {
        return;
    }
    let (_daemon, address) = start_daemon();
    let arguments = format!("--server {address} --until @{} & wait", second_in(4));
    let (screen, _) = run_on_terminal_after("set -m", &arguments, |_| false);
    assert!(screen.contains("wallclock: waiting until "), "{screen}");
    assert!(!screen.contains('\x1b'), "{screen:?}");
}

//! `--watch`: on a terminal, in a pipe, as JSON.

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use support::{skip_without, start_daemon, wallclock};
use wallclock::offset::SECOND;

use super::clients::{contains, run_on_terminal};
use super::servers::{scripted_server, wall_clock, with_nanoseconds};

/// `wallclock --watch` with a short pause between measurements, to a pipe.
fn watch(server: SocketAddr) -> Command {
    let mut command = wallclock();
    command
        .args(["--server", &server.to_string(), "--watch", "0.05"])
        .args(["--timeout", "60", "--deadline", "60"])
        .stdout(Stdio::piped());
    command
}

/// The ends of `LOW to HIGH s` in the summary.
fn summary_range(summary: &str) -> (f64, f64) {
    let (_, range) = summary.split_once(" with an offset: ").expect("a range");
    let (low, rest) = range.split_once(" to ").expect("two ends");
    let (high, _) = rest.split_once(" s, ").expect("a unit");
    let parse = |number: &str| number.parse().expect("a number");
    (parse(low), parse(high))
}

/// Checks a line `TIME  OFFSET s ± BOUND  BAR` under an axis with these ends.
///
/// The bar begins in the column of the axis. It has an `o` at its middle, and it covers 0, which is
/// the offset of the server.
fn check_bar(line: &str, [low, high]: [f64; 2]) {
    let (time, rest) = line.split_once("  ").expect("a time");
    assert!(time.len() == 8 && time.split(':').count() == 3, "{line}");
    assert!(rest.contains(" s ± "), "{line}");
    let bar: String = line.chars().skip(8 + 2 + 25 + 2).collect();
    assert!(bar.chars().all(|c| " -o".contains(c)), "{line}");
    assert_eq!(bar.matches('o').count(), 1, "{line}");
    assert!(bar.chars().count() <= 37, "{line}");
    assert!(!bar.trim().contains(' '), "{line}");
    let zero = (-low / (high - low) * 36.0).round() as usize;
    let at_zero = bar.chars().nth(zero);
    assert!(at_zero.is_some_and(|c| c != ' '), "column {zero}: {line}");
}

#[test]
fn watch_on_a_terminal_plots_and_sums_up_at_ctrl_c() {
    if skip_without(&["script"]) {
        return;
    }
    let (_server, address) = start_daemon();
    let arguments = format!("--server {address} --watch 0.05 --timeout 60 --deadline 60");
    let is_enough = |screen: &str| screen.matches(" s ± ").count() >= 6;
    let (screen, status) = run_on_terminal(&arguments, is_enough);
    println!("{screen}");
    assert_eq!(status, Some(0));
    let (plot, summary) = screen.split_once("^C").expect("Ctrl-C");
    let (mut axis, mut bars) = (None, 0);
    for line in plot.lines().filter(|line| !line.is_empty()) {
        assert!(line.chars().count() <= 80, "{line}");
        // An axis comes first, and again when the scale changes.
        if let [low, high] = line.split_whitespace().collect::<Vec<_>>()[..] {
            let ends = [low, high].map(|end| end.parse::<f64>().expect("a number"));
            assert!(ends[0] < ends[1], "{line}");
            axis = Some(ends);
        } else {
            check_bar(line, axis.expect("an axis comes first"));
            bars += 1;
        }
    }
    assert!(bars >= 6, "{bars}");
    let counts = format!("{bars} measurements, {bars} with an offset: ");
    assert!(summary.contains(&counts), "{bars}: {summary}");
    let (low, high) = summary_range(summary);
    assert!(low <= 0.0 && 0.0 <= high, "{summary}");
}

#[test]
fn watch_into_a_pipe_prints_lines_and_a_summary() {
    let (_server, address) = start_daemon();
    let mut child = watch(address).spawn().expect("wallclock starts");
    let mut stdout = child.stdout.take().expect("a pipe");
    let (mut text, mut chunk) = (String::new(), [0; 256]);
    let mut is_signalled = false;
    while let Ok(length @ 1..) = stdout.read(&mut chunk) {
        text += &String::from_utf8_lossy(&chunk[..length]);
        if text.lines().count() >= 4 && !is_signalled {
            is_signalled = true;
            let kill = format!("kill -TERM {}", child.id());
            let status = Command::new("sh").args(["-c", &kill]).status();
            assert!(status.expect("sh starts").success());
        }
    }
    println!("{text}");
    assert_eq!(child.wait().expect("a child").code(), Some(0));
    // No bars and nothing for terminals.
    assert!(!text.contains("-o-"), "{text}");
    assert!(!text.contains(['\r', '\x1b']), "{text}");
    let line = text.lines().next().expect("a line");
    assert!(line.len() > 40 && line.contains(" s ± "), "{line}");
    assert_eq!(line.as_bytes()[10], b'T', "{line}");
    let (low, high) = summary_range(&text);
    assert!(low <= 0.0 && 0.0 <= high, "{text}");
}

#[test]
fn watch_as_json_prints_one_object_a_measurement() {
    let (_server, address) = start_daemon();
    let mut child = watch(address)
        .arg("--json")
        .spawn()
        .expect("wallclock starts");
    let stdout = child.stdout.take().expect("a pipe");
    let mut objects = serde_json::Deserializer::from_reader(stdout).into_iter();
    for _ in 0..3 {
        let object: Value = objects.next().expect("one more").expect("JSON");
        assert!(contains(&object, 0.0), "{object}");
    }
    child.kill().expect("a child");
    child.wait().expect("a child");
}

// The clock of the server is stepped by -10 s. A step is no drift.
#[test]
fn watch_names_a_step_and_counts_it_to_no_drift() {
    let start = Instant::now();
    let server = scripted_server("127.0.0.1:0", move |request, _| {
        let step = if start.elapsed().as_millis() < 700 {
            0
        } else {
            -10
        };
        Some(with_nanoseconds(request, wall_clock() + step * SECOND))
    });
    let mut child = watch(server).spawn().expect("wallclock starts");
    let mut stdout = child.stdout.take().expect("a pipe");
    let (mut text, mut chunk, mut is_signalled) = (String::new(), [0; 256], false);
    while let Ok(length @ 1..) = stdout.read(&mut chunk) {
        text += &String::from_utf8_lossy(&chunk[..length]);
        if start.elapsed().as_millis() > 2_500
            && text.contains(" -10.0") | text.contains(" -9.9")
            && !is_signalled
        {
            is_signalled = true;
            let kill = format!("kill -TERM {}", child.id());
            let status = Command::new("sh").args(["-c", &kill]).status();
            assert!(status.expect("sh starts").success());
        }
    }
    println!("{text}");
    child.wait().expect("a child");
    assert!(text.contains("server's clock was stepped"), "{text}");
    let drift = text.lines().find(|line| line.contains("ran apart by"));
    if let Some(drift) = drift {
        let (_, range) = drift.split_once("ran apart by ").expect("a range");
        let low: f64 = range
            .split(' ')
            .next()
            .expect("a number")
            .parse()
            .expect("a number");
        assert!(low > -100_000.0, "{text}");
    }
}

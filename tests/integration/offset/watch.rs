//! `--watch`: on a terminal, in a pipe, as JSON.

use std::io::{Read, Write, pipe};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use serde_json::Value;
use support::{Process, closed_port, skip_without, start_daemon, wallclock};
use wallclock::offset::SECOND;

use super::clients::{contains, run, run_on_terminal, run_on_terminal_after, stdout};
use super::servers::{scripted_server, wall_clock, whole_second_server, with_nanoseconds};

/// No measurement of these options ends early, however busy this machine is.
const PATIENT: &str = "--timeout 60 --deadline 60";

/// `wallclock --watch` with a short pause between measurements, to a pipe.
fn watch(server: SocketAddr) -> Command {
    let mut command = wallclock();
    command
        .args(["--server", &server.to_string(), "--watch=0.05"])
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
    assert!(bar.chars().count() <= 42, "{line}");
    assert!(!bar.trim().contains(' '), "{line}");
    let zero = (-low / (high - low) * 41.0).round() as usize;
    let at_zero = bar.chars().nth(zero);
    assert!(at_zero.is_some_and(|c| c != ' '), "column {zero}: {line}");
}

#[test]
fn watch_on_a_terminal_plots_and_sums_up_at_ctrl_c() {
    if skip_without(&["script"]) {
        return;
    }
    let (_server, address) = start_daemon();
    let arguments = format!("--server {address} --watch=0.05 {PATIENT}");
    let is_enough = |screen: &str| screen.matches(" s ± ").count() >= 6;
    let (screen, status) = run_on_terminal(&arguments, is_enough);
    println!("{screen}");
    assert_eq!(status, Some(0));
    let (plot, summary) = screen.split_once("^C").expect("Ctrl-C");
    let (mut axis, mut bars) = (None, 0);
    for line in plot.lines().filter(|line| !line.is_empty()) {
        assert!(line.chars().count() < 80, "{line}");
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

/// The ends of the axis, if the line is one.
fn axis(line: &str) -> Option<[f64; 2]> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [low, high] = words[..] else { return None };
    Some([low.parse().ok()?, high.parse().ok()?])
}

/// Whether the line has a measurement.
fn is_measurement(line: &str) -> bool {
    line.contains(" s ± ")
}

/// Checks that all lines are narrower than the terminal, and that each bar was shown with its axis.
fn check_screen(lines: &[&str], columns: usize, rows: usize) {
    for (number, line) in lines.iter().enumerate() {
        assert!(line.chars().count() < columns, "{columns}: {line:?}");
        // The last line has the cursor.
        let visible = &lines[(number + 2).saturating_sub(rows)..=number];
        let has_axis = visible.iter().any(|line| axis(line).is_some());
        assert!(has_axis || !is_measurement(line), "{visible:#?}");
    }
}

#[test]
fn watch_lines_fit_the_terminal_below_their_axis() {
    if skip_without(&["script"]) {
        return;
    }
    let (_one, one) = start_daemon();
    let (_two, two) = start_daemon();
    let (_closed, dead) = closed_port();
    for columns in [40, 60, 80, 130] {
        let before = format!("stty columns {columns} rows 10");
        let arguments = format!("-s {one} -s {two} -s {dead} --watch=0.02 {PATIENT}");
        let is_enough = |screen: &str| screen.matches(" s ± ").count() > 30;
        let (screen, status) = run_on_terminal_after(&before, &arguments, is_enough);
        println!("{screen}");
        assert_eq!(status, Some(0));
        let (plot, _) = screen.split_once("^C").expect("Ctrl-C");
        let lines: Vec<_> = plot.lines().collect();
        check_screen(&lines, columns, 10);
        // It is named once for each axis at most.
        let text = lines.join(" ");
        let names = text.matches(&format!("no offset from {dead}")).count();
        let axes = lines.iter().filter(|line| axis(line).is_some()).count();
        assert!((1..=axes).contains(&names), "{names} of {axes}");
    }
}

#[test]
fn watch_follows_the_size_of_the_terminal() {
    if skip_without(&["script"]) {
        return;
    }
    let (_server, address) = start_daemon();
    let arguments = format!("-s {address} --watch=0.02 {PATIENT}");
    let mut resized = None;
    let is_enough = |screen: &str| {
        let lines = screen.lines().count();
        if lines > 10 && resized.is_none() {
            let terminal = screen.lines().next().expect("the path of the terminal");
            let mut stty = Command::new("stty");
            stty.args(["-F", terminal, "columns", "44"]);
            assert!(stty.status().expect("stty starts").success());
            resized = Some(lines);
        }
        resized.is_some_and(|resized| lines > resized + 20)
    };
    let (screen, _) = run_on_terminal_after("stty columns 90 rows 24; tty", &arguments, is_enough);
    println!("{screen}");
    let (plot, _) = screen.split_once("^C").expect("Ctrl-C");
    let lines: Vec<_> = plot.lines().skip(1).collect();
    let wide = |line: &&str| line.chars().count() >= 44;
    assert!(lines.iter().any(wide));
    let narrow = lines.iter().rposition(wide).map_or(0, |last| last + 1);
    assert!(axis(lines[narrow]).is_some(), "{:?}", lines[narrow]);
    check_screen(&lines[narrow..], 44, 24);
    assert!(lines.len() > narrow + 5, "{narrow}");
}

#[test]
fn watch_without_a_capable_terminal_prints_plain_lines() {
    if skip_without(&["script"]) {
        return;
    }
    let (_server, address) = start_daemon();
    for (before, is_plain) in [
        ("export TERM=dumb", true),
        ("unset TERM", true),
        ("export NO_COLOR=1", true),
        ("export NO_COLOR=", false),
    ] {
        let arguments = format!("-s {address} --watch=0.02 --count 3 {PATIENT}");
        let (screen, status) = run_on_terminal_after(before, &arguments, |_| false);
        assert_eq!(status, Some(0), "{screen}");
        let first = screen.lines().next().expect("a line");
        let time = first.split(' ').next().expect("a time");
        assert_eq!(time.len() > 20, is_plain, "{before}: {screen}");
        let lines = screen.lines();
        assert_eq!(
            lines.clone().any(|it| axis(it).is_some()),
            !is_plain,
            "{screen}"
        );
        assert!(!screen.contains('\x1b'), "{screen:?}");
    }
}

#[test]
fn ctrl_c_ends_the_line_of_a_terminal_with_plain_lines() {
    if skip_without(&["script"]) {
        return;
    }
    let (_server, address) = start_daemon();
    let arguments = format!("-s {address} --watch=0.02 {PATIENT}");
    let is_enough = |screen: &str| screen.contains(" s ± ");
    let (screen, status) = run_on_terminal_after("export TERM=dumb", &arguments, is_enough);
    assert_eq!(status, Some(0), "{screen}");
    let (_, rest) = screen.split_once("^C").expect("Ctrl-C");
    let (_, summary) = rest.split_once("\r\n").expect("a line");
    assert!(summary.contains(" with an offset: "), "{screen}");
    assert!(!screen.contains('\x1b'), "{screen:?}");
}

#[test]
fn watch_in_a_locale_without_utf8_is_ascii() {
    let (_server, address) = start_daemon();
    let address = address.to_string();
    for (variables, is_utf8) in [
        (&[("LC_ALL", "C"), ("LANG", "C.UTF-8")][..], false),
        (&[("LC_CTYPE", "en_GB"), ("LANG", "C.UTF-8")], false),
        (&[], false),
        (&[("LC_ALL", ""), ("LANG", "en_GB.utf8")], true),
        (&[("LC_CTYPE", "de_AT.UTF-8@euro"), ("LANG", "C")], true),
    ] {
        for mode in ["--offset", "--watch"] {
            let mut command = wallclock();
            command
                .args(["-s", &address, mode, "--timeout", "60", "--deadline", "60"])
                .args((mode == "--watch").then_some("--count=1"));
            for name in ["LC_ALL", "LC_CTYPE", "LANG"] {
                command.env_remove(name);
            }
            let output = command.envs(variables.iter().copied()).output();
            let text = stdout(&output.expect("wallclock starts"));
            assert_eq!(text.contains(" s ± "), is_utf8, "{variables:?}: {text}");
            assert_eq!(text.contains(" s +/- "), !is_utf8, "{variables:?}: {text}");
            assert_eq!(text.is_ascii(), !is_utf8, "{variables:?}: {text}");
        }
    }
}

#[test]
fn watch_in_a_pipe_separates_its_columns() {
    let (_one, one) = start_daemon();
    let (_two, two) = start_daemon();
    let (_closed, dead) = closed_port();
    let output = run(&[one, two, dead], &["--watch=0.01", "--count", "2"]);
    let text = stdout(&output);
    let remark = format!("  agreed by 2 of 2 servers, no offset from {dead}");
    for line in text.lines().take(2) {
        let columns = line.strip_suffix(&remark).expect(line);
        let [time, offset] = columns.split("  ").collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        assert_eq!(time.as_bytes()[10], b'T', "{line}");
        assert!(
            offset.starts_with(['+', '-']) && offset.ends_with('s'),
            "{line}"
        );
    }
    assert!(
        text.contains("\n2 measurements, 2 with an offset: "),
        "{text}"
    );
}

#[test]
fn watch_ends_after_its_count_with_a_summary() {
    let (_server, address) = start_daemon();
    let (_closed, dead) = closed_port();
    for (server, status, text) in [
        (address, 0, "3 measurements, 3 with an offset: "),
        (dead, 3, "3 measurements, no offset\n"),
    ] {
        let output = run(&[server], &["--watch=0.01", "--count", "3"]);
        let printed = stdout(&output);
        assert_eq!(output.status.code(), Some(status), "{printed}");
        assert!(output.stderr.is_empty(), "{output:?}");
        let after = printed.lines().nth(3).expect(&printed).to_owned() + "\n";
        assert!(after.starts_with(text), "{printed}");
        let output = run(&[server], &["--watch=0.01", "--count", "3", "--json"]);
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert_eq!(stdout(&output).lines().count(), 3, "{output:?}");
    }
}

#[test]
fn first_failure_of_watch_names_the_option_for_a_server() {
    // The default server may respond, but not over this family.
    let output = run(&[], &["-6", "--watch=0.01", "--count", "2"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert_eq!(text.matches("name a server with -s").count(), 1, "{text}");
}

/// A pipe that is full and not read. The first is to be kept.
fn blocked_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = pipe().expect("a pipe");
    let flags = fcntl_getfl(&writer).expect("flags");
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).expect("flags");
    while writer.write(b".").is_ok() {}
    fcntl_setfl(&writer, flags).expect("flags");
    (reader, writer)
}

#[test]
fn signal_ends_watch_although_its_output_is_blocked() {
    for arguments in [&[][..], &["--json"]] {
        for signal in ["TERM", "INT"] {
            let (sender, requests) = channel();
            let server = scripted_server("127.0.0.1:0", move |request, _| {
                let _ = sender.send(());
                Some(with_nanoseconds(request, wall_clock()))
            });
            let (_reader, writer) = blocked_pipe();
            let mut command = watch(server);
            command.args(arguments).stdout(writer);
            let mut process = Process::start(&mut command);
            // After the samples of the first measurement it prints, and sends nothing more.
            while requests.recv_timeout(Duration::from_millis(500)).is_ok() {}
            process.signal(signal);
            // It ends by itself, as `wait` asserts.
            let status = process.wait();
            assert_eq!(status.code(), Some(0), "{arguments:?} {signal}");
            assert!(process.log.is_empty(), "{:?}", process.log);
        }
    }
}

#[test]
fn ctrl_c_deletes_the_progress() {
    if skip_without(&["script"]) {
        return;
    }
    let server = whole_second_server(Duration::ZERO);
    for (arguments, expected) in [("--offset", 130), ("--watch=60", 3)] {
        // With many samples the first measurement takes a minute.
        let arguments = format!("-s {server} {arguments} --samples 1000 {PATIENT}");
        let is_enough = |screen: &str| screen.contains(" ± ");
        let (screen, status) = run_on_terminal(&arguments, is_enough);
        assert_eq!(status, Some(expected), "{screen:?}");
        let (_, rest) = screen.rsplit_once("\r\x1b[K").expect(&screen);
        let rest = rest.trim_end();
        let summary = "1 measurements, no offset";
        assert!(
            rest.is_empty() || summary.ends_with(&rest[1..]),
            "{screen:?}"
        );
        assert!(screen.contains("^C"), "{screen:?}");
    }
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

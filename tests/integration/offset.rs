//! How far off a clock is, shown on real servers: our daemon and the Python original, their clocks shifted by
//! libfaketime by an amount that the tests know.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use support::{
    Folder, PATIENCE, Process, closed_port, daemon, faketime, lacks, patient_wallclock, skip,
    wallclock, wallclockd,
};
use wallclock::client::measure::measure;
use wallclock::client::query::RetryPolicy;
use wallclock::offset::{MeasurementConfig, Nanos, Offset, SECOND, TICK};

const MICRO: Nanos = 1_000;
const MILLI: Nanos = 1_000_000;

const PATIENT: RetryPolicy = RetryPolicy {
    timeout: PATIENCE,
    attempts: 1,
};
const EXACT: MeasurementConfig = MeasurementConfig {
    samples: None,
    tick: 0,
};

fn median(values: &mut [Nanos]) -> Nanos {
    values.sort_unstable();
    values[values.len() / 2]
}

/// The command, its wall clock shifted by so many seconds.
fn shifted<'a>(command: &'a mut Command, library: &Path, shift: &str) -> &'a mut Command {
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME", shift)
}

fn shifted_daemon(library: &Path, shift: &str) -> (Process, SocketAddr) {
    let mut daemon = wallclockd();
    let mut daemon = Process::start(shifted(
        daemon.args(["--listen", "127.0.0.1:0", "--utc"]),
        library,
        shift,
    ));
    let address = daemon.wait_for_address();
    (daemon, address)
}

fn python(library_and_shift: Option<(&Path, &str)>) -> Option<(Process, SocketAddr)> {
    if lacks(&["python3"]) {
        return None;
    }
    let mut command = Command::new("python3");
    command.args([
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/server.py"),
        "0",
    ]);
    if let Some((library, shift)) = library_and_shift {
        shifted(&mut command, library, shift);
    }
    let mut server = Process::start(&mut command);
    let address = server.wait_for_address();
    Some((server, address))
}

/// A server as plain as the Python original: whole seconds only, each begun so late, and what it
/// does not know as it stands. It ends with this process.
fn whole_seconds(late: Duration) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    thread::spawn(move || {
        let mut question = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut question) {
            let since = (SystemTime::now() - late).duration_since(SystemTime::UNIX_EPOCH);
            let second = since.expect("after 1970").as_secs().to_string();
            let answer = String::from_utf8_lossy(&question[..length]).replace("%s", &second);
            let _ = socket.send_to(answer.as_bytes(), client);
        }
    });
    address
}

fn run(servers: &[SocketAddr], arguments: &[&str]) -> Output {
    let mut command = match arguments.contains(&"--timeout") {
        true => wallclock(),
        false => patient_wallclock(),
    };
    for server in servers {
        command.args(["--server", &server.to_string()]);
    }
    command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("it runs")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn json(servers: &[SocketAddr], arguments: &[&str]) -> (Value, Option<i32>) {
    let output = run(servers, &[arguments, &["--json"]].concat());
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    (json, output.status.code())
}

/// Whether the truth, in seconds, is inside the interval of this object.
fn holds(json: &Value, truth: f64) -> bool {
    let [low, high] = ["low", "high"].map(|key| {
        json[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key} in {json}"))
    });
    low <= truth && truth <= high
}

#[test]
fn the_true_offset_is_inside_the_bound_whatever_the_shift() {
    let Some(library) = faketime() else { return };
    for (shift, truth) in [
        ("+3.5", 3_500 * MILLI),
        ("-0.25", -250 * MILLI),
        ("+86400", 86_400 * SECOND),
        ("+0.000001", MICRO),
        ("+0", 0),
    ] {
        let (_daemon, server) = shifted_daemon(&library, shift);
        for _ in 0..200 {
            let found =
                measure(server, MeasurementConfig::default(), PATIENT, &|_| ()).expect("an offset");
            assert!(
                found.estimate.interval.contains(truth),
                "{shift}: {found:?}"
            );
            assert!(
                found.samples >= 8 && (found.resolution, found.restarts) == (1, 0),
                "{found:?}"
            );
        }
    }
}

#[test]
fn the_program_prints_the_shift_in_one_line_or_object() {
    let Some(library) = faketime() else { return };
    for (shift, truth) in [
        ("+3.5", 3.5),
        ("-0.25", -0.25),
        ("+86400", 86_400.0),
        ("+0", 0.0),
    ] {
        let (_daemon, server) = shifted_daemon(&library, shift);
        for _ in 0..5 {
            let output = run(&[server], &["--offset"]);
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            assert_eq!(out(&output).lines().count(), 1);
            let (json, status) = json(&[server], &[]);
            assert!(status == Some(0) && holds(&json, truth), "{json}");
        }
    }
}

/// Measures on so many threads at once, so many times each; the server depends on the thread's number.
fn measured_at_once(
    threads: usize,
    times: usize,
    server: impl Fn(usize) -> SocketAddr + Sync,
) -> Vec<Offset> {
    let one = |number| {
        measure(
            server(number),
            MeasurementConfig::default(),
            PATIENT,
            &|_| (),
        )
        .expect("an offset")
    };
    thread::scope(|scope| {
        let one = &one;
        let worker =
            |number| scope.spawn(move || (0..times).map(|_| one(number)).collect::<Vec<_>>());
        let workers: Vec<_> = (0..threads).map(worker).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("no panic"))
            .collect()
    })
}

#[test]
fn whole_seconds_that_begin_late_by_up_to_a_tick_are_allowed_for() {
    let tick = Duration::from_nanos(TICK as u64);
    let measured = |late: Duration, wanted: MeasurementConfig| {
        let found = measure(whole_seconds(late), wanted, PATIENT, &|_| ()).expect("an offset");
        assert!(found.estimate.interval.contains(0), "{late:?}: {found:?}");
        assert_eq!(found.resolution, SECOND + wanted.tick);
        // As told, the server is behind by as much as its seconds begin late.
        let told = found.reported().expect("every second is as late");
        assert!(
            told.contains(-(late.as_nanos() as Nanos)),
            "{late:?}: {found:?}"
        );
        // One, then at most four passes over an edge, each of a 32nd of what is open from question
        // to question.
        assert!((2..=1 + 4 * 33).contains(&found.samples), "{found:?}");
    };
    thread::scope(|scope| {
        for late in [Duration::ZERO, tick / 2, tick] {
            scope.spawn(move || measured(late, MeasurementConfig::default()));
        }
        scope.spawn(|| measured(Duration::ZERO, EXACT));
    });
}

#[test]
fn the_python_original_is_measured_by_its_whole_seconds() {
    let Some((_server, server)) = python(None) else {
        return;
    };
    // By time(2) its seconds begin late, on a virtual machine by more than the kernel's tick, but
    // not by so much.
    let wanted = MeasurementConfig {
        tick: SECOND / 4,
        ..EXACT
    };
    let found = measure(server, wanted, PATIENT, &|_| ()).expect("an offset");
    assert!(found.estimate.interval.contains(0), "{found:?}");
    assert_eq!(found.resolution, SECOND + SECOND / 4);
}

#[test]
fn the_python_original_that_looks_at_its_clock_is_measured_without_a_tick() {
    let Some(library) = faketime() else { return };
    // Under libfaketime its time(2) looks at the clock, so there is no lag to allow for.
    let shifts = [("+3.5", 3_500 * MILLI), ("-0.25", -250 * MILLI)];
    let servers = shifts.map(|(shift, truth)| (python(Some((&library, shift))), shift, truth));
    thread::scope(|scope| {
        for (server, shift, truth) in &servers {
            let Some((_, address)) = server else { return };
            scope.spawn(move || {
                let found = measure(*address, EXACT, PATIENT, &|_| ()).expect("an offset");
                assert!(
                    found.estimate.interval.contains(*truth),
                    "{shift}: {found:?}"
                );
                assert_eq!(found.resolution, SECOND);
            });
        }
    });
}

/// Keeps a server from hearing or answering at once: up to 20 ms there, or back.
fn slow_proxy(server: SocketAddr, there: bool, seed: u64) -> SocketAddr {
    let front = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let back = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    back.connect(server).expect("a route");
    let address = front.local_addr().expect("it is bound");
    thread::spawn(move || {
        let (mut datagram, mut random) = ([0; 2048], seed);
        loop {
            // xorshift64, Marsaglia 2003.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let delay = Duration::from_micros(random % 20_000);
            let Ok((length, client)) = front.recv_from(&mut datagram) else {
                return;
            };
            if there {
                thread::sleep(delay);
            }
            let answered = back
                .send(&datagram[..length])
                .and_then(|_| back.recv(&mut datagram));
            let Ok(length) = answered else { return };
            if !there {
                thread::sleep(delay);
            }
            let _ = front.send_to(&datagram[..length], client);
        }
    });
    address
}

#[test]
fn a_delay_of_up_to_20_ms_on_one_way_widens_the_bound_and_the_truth_stays_inside() {
    let (_daemon, server) = daemon();
    let proxies: Vec<_> = (0..40)
        .map(|n| slow_proxy(server, n % 2 == 0, 88_172_645_463_325_252 + n))
        .collect();
    let found = measured_at_once(40, 10, |number| proxies[number]);
    let mut bounds = Vec::new();
    for found in found {
        assert!(found.estimate.interval.contains(0), "{found:?}");
        bounds.push(found.estimate.interval.bound());
    }
    // The quickest of eight takes 2 ms at the median, and the bound is half of what that took.
    let bound = median(&mut bounds);
    assert!(bound >= 100 * MICRO, "{bound} ns");
}

#[test]
fn of_three_servers_the_liar_is_named_and_the_two_others_are_believed() {
    let Some(library) = faketime() else { return };
    let (_one, one) = daemon();
    let (_liar, liar) = shifted_daemon(&library, "+2");
    let (_two, two) = daemon();
    let output = run(&[one, liar, two], &["--offset"]);
    let text = out(&output);
    println!("{text}");
    assert_eq!(output.status.code(), Some(0));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(
        lines[1].starts_with(&liar.to_string()) && lines[1].ends_with("disagrees"),
        "{text}"
    );
    assert!(lines[3].starts_with("together "), "{text}");
    assert!(
        lines[3].ends_with(&format!("agreed by 2 of 3 servers, not {liar}")),
        "{text}"
    );
    let (json, status) = json(&[one, liar, two], &[]);
    assert_eq!(status, Some(0));
    assert!(holds(&json, 0.0), "{json}");
    let agrees: Vec<_> = (0..3)
        .map(|n| json["servers"][n]["agrees"].as_bool())
        .collect();
    assert_eq!(agrees, [Some(true), Some(false), Some(true)]);
}

#[test]
fn two_against_two_is_no_majority_and_status_1() {
    let Some(library) = faketime() else { return };
    let (_one, one) = daemon();
    let (_two, two) = daemon();
    let (_three, three) = shifted_daemon(&library, "+2");
    let (_four, four) = shifted_daemon(&library, "+2");
    let servers = [one, three, two, four];
    let output = run(&servers, &["--offset"]);
    println!("{}", out(&output));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        out(&output).ends_with("  no majority among 4 servers\n"),
        "{output:?}"
    );
    let (json, status) = json(&servers, &[]);
    assert_eq!(
        (status, &json["offset"], &json["agree"]),
        (Some(1), &Value::Null, &0.into())
    );
}

#[test]
fn a_dead_server_among_three_is_asked_as_often_as_told_and_named() {
    let (_one, one) = daemon();
    let (_two, two) = daemon();
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("it is bound");
    let begun = Instant::now();
    let output = run(
        &[one, address, two],
        &["--offset", "--timeout", "2", "--retries", "1"],
    );
    let took = begun.elapsed();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        out(&output).ends_with("  agreed by 2 of 2 servers, no offset from 1\n"),
        "{output:?}"
    );
    assert!(took >= Duration::from_secs(4), "{took:?}");
    silent.set_nonblocking(true).expect("it is a socket");
    let asked = (0..).take_while(|_| silent.recv(&mut [0; 64]).is_ok());
    assert_eq!(asked.count(), 2);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        error.starts_with(&format!("wallclock: {address}: no response within ")),
        "{error}"
    );
    // Where nobody listens the kernel says so, and not even the first try is waited for to its end.
    let (_closed, closed) = closed_port();
    let begun = Instant::now();
    let output = run(&[closed], &["--offset", "--timeout", "100"]);
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(3), ""));
    assert!(begun.elapsed() < Duration::from_secs(100));
}

#[test]
fn each_address_of_a_name_counts_as_a_server() {
    let (_daemon, server) = daemon();
    let name = format!("localhost:{}", server.port());
    let Ok(addresses) = name.to_socket_addrs() else {
        return skip("no address for the name localhost");
    };
    let mut addresses: Vec<_> = addresses.collect();
    addresses.sort_unstable();
    addresses.dedup();
    let output = patient_wallclock()
        .args(["--server", &name, "--json"])
        .output()
        .expect("it runs");
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["asked"], addresses.len());
    assert_eq!(json["agree"], 1);
}

/// A strict reader of the Monitoring Plugins Development Guidelines' line, sections 2.1 and 2.6: what there is, or what is wrong.
fn plugin_line(line: &str) -> Result<(String, Vec<(String, f64)>), String> {
    let line = line.strip_suffix('\n').ok_or("no newline at its end")?;
    if line.contains('\n') || line.len() > 1024 {
        return Err("more than one line, or too long".to_owned());
    }
    let (text, data) = match line.split_once(" | ") {
        Some((text, data)) => (text, data.split(' ').collect()),
        None => (line, Vec::new()),
    };
    if text.contains('|') {
        return Err("a bar in the text".to_owned());
    }
    let (head, _) = text.split_once(": ").ok_or("no status and colon")?;
    let status = head.strip_prefix("WALLCLOCK ").ok_or("no service name")?;
    let number = |text: &str| -> Result<f64, String> {
        if text.is_empty()
            || !text
                .bytes()
                .all(|b| b.is_ascii_digit() || b == b'-' || b == b'.')
        {
            return Err(format!("{text:?} is no number of class [-0-9.]"));
        }
        text.parse().map_err(|_| format!("{text:?} is no number"))
    };
    let mut values = Vec::new();
    for item in data {
        let (label, rest) = item.split_once('=').ok_or("no = in performance data")?;
        if label.is_empty() || label.contains(['\'', '"', ' ']) {
            return Err(format!("label {label:?}"));
        }
        let fields: Vec<_> = rest.split(';').collect();
        if fields.len() > 5 {
            return Err(format!("{} fields", fields.len()));
        }
        values.push((
            label.to_owned(),
            number(fields[0].strip_suffix('s').ok_or("no unit s")?)?,
        ));
        for range in fields[1..].iter().take(2).filter(|range| !range.is_empty()) {
            let (start, end) = range.split_once(':').ok_or("a limit that is no range")?;
            if number(start)? > number(end)? {
                return Err(format!("range {range}"));
            }
        }
        for limit in fields.iter().skip(3) {
            number(limit)?;
        }
    }
    Ok((status.to_owned(), values))
}

#[test]
fn the_monitoring_plugin_speaks_the_grammar_and_its_status_is_its_word() {
    let Some(library) = faketime() else { return };
    let (_right, right) = daemon();
    // Limits and offset are far apart by what a bound can be on the busiest machine.
    let (_off, off) = shifted_daemon(&library, "+2000");
    let (_closed, closed) = closed_port();
    let both = ["--warn", "100", "--critical", "1500"];
    for (servers, arguments, status, word) in [
        (vec![right], &both[..], 0, "OK"),
        (vec![right], &["--critical", "100"], 0, "OK"),
        (
            vec![off],
            &["--warn", "100", "--critical", "5000"],
            1,
            "WARNING",
        ),
        (vec![off], &["--warn", "1000"], 1, "WARNING"),
        (vec![off], &both, 2, "CRITICAL"),
        (vec![right, off, right], &both, 3, "UNKNOWN"),
        (vec![right], &["--warn", "0"], 3, "UNKNOWN"),
        (vec![closed], &both, 3, "UNKNOWN"),
    ] {
        let output = run(&servers, arguments);
        let line = out(&output);
        print!("{line}");
        let (told, values) = plugin_line(&line).unwrap_or_else(|wrong| panic!("{wrong}: {line}"));
        assert_eq!(
            (output.status.code(), told.as_str()),
            (Some(status), word),
            "{line}"
        );
        assert!(output.stderr.is_empty(), "{output:?}");
        let labels: Vec<_> = values.iter().map(|(label, _)| label.as_str()).collect();
        let expected: &[&str] = if word == "UNKNOWN" && servers != [right] {
            &[]
        } else {
            &["offset", "bound"]
        };
        assert_eq!(labels, expected, "{line}");
    }
    let output = wallclock()
        .args(["--server", "host.invalid", "--warn", "1"])
        .output()
        .expect("it runs");
    let line = out(&output);
    print!("{line}");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        plugin_line(&line).map(|(word, _)| word).as_deref(),
        Ok("UNKNOWN"),
        "{line}"
    );
}

#[test]
fn wrong_use_says_so_in_one_line_and_status_2() {
    for arguments in [
        &["--offset", "%s"][..],
        &["--json", "+%s"],
        &["--warn", "2", "--critical", "1"],
        &["--warn", "-1"],
        &["--warn", "much"],
        &["--critical", "NaN"],
        &["--samples", "0"],
        &["--samples", "many"],
        &["--watch", "0"],
        &["--watch", "--warn", "1"],
        &["--json", "--warn", "1"],
        &["--chrony", "/run/chrony/wall.sock"],
        &["--watch", "--chrony", "/nonexistent/wall.sock"],
        &["--offset", "--tick", "-1"],
    ] {
        let output = wallclock().args(arguments).output().expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        print!("{arguments:?}: {error}");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(
            error.starts_with("wallclock: ") && error.lines().count() == 1,
            "{arguments:?}: {error}"
        );
        assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
}

/// What a program shows on a pseudo-terminal, and its status; Ctrl-C is typed once `enough` says so.
fn on_a_terminal(command: &str, enough: impl Fn(&str) -> bool) -> (String, Option<i32>) {
    let mut script = Command::new("script");
    // A shell that stays in between would get the Ctrl-C as well, and its status, 130, would be the one we see.
    let command = format!("exec {command}");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
    script.env("SHELL", "/bin/sh");
    let mut script = script
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let (mut keys, mut screen) = (
        script.stdin.take(),
        script.stdout.take().expect("it is piped"),
    );
    let (mut shown, mut chunk) = (Vec::new(), [0; 4096]);
    let deadline = Instant::now() + 2 * PATIENCE;
    while let Ok(length @ 1..) = screen.read(&mut chunk) {
        shown.extend(&chunk[..length]);
        if enough(&String::from_utf8_lossy(&shown))
            && let Some(mut keys) = keys.take()
        {
            keys.write_all(b"\x03").expect("it takes keys");
        }
        assert!(
            Instant::now() < deadline,
            "{}",
            String::from_utf8_lossy(&shown)
        );
    }
    (
        String::from_utf8_lossy(&shown).into_owned(),
        script.wait().expect("it is our child").code(),
    )
}

/// The two ends of `LOW to HIGH s` in the summary of a watch.
fn range_of(summary: &str) -> (f64, f64) {
    let (_, range) = summary.split_once(" with an offset: ").expect("a range");
    let (low, rest) = range.split_once(" to ").expect("its low end");
    let (high, _) = rest.split_once(" s, at best ± ").expect("its high end");
    (
        low.parse().expect("a number"),
        high.parse().expect("a number"),
    )
}

#[test]
fn watching_on_a_terminal_draws_a_running_picture_and_a_summary_at_ctrl_c() {
    if lacks(&["script"]) {
        return;
    }
    let (_daemon, server) = daemon();
    let command = format!(
        "{} --server {server} --watch 0.05 --timeout 60",
        env!("CARGO_BIN_EXE_wallclock")
    );
    let (shown, status) = on_a_terminal(&command, |shown| shown.matches(" s ± ").count() >= 6);
    assert_eq!(status, Some(0));
    let (looks, summary) = shown.split_once("^C").expect("Ctrl-C");
    let looks: Vec<_> = looks.lines().filter(|line| !line.is_empty()).collect();
    let (mut axis, mut bars) = (None, 0);
    for look in &looks {
        assert!(look.chars().count() <= 80, "{shown}");
        // A ruler comes first, and again whenever the scale changes.
        if let [low, high] = look.split_whitespace().collect::<Vec<_>>()[..] {
            let ends = [low, high].map(|end| end.parse::<f64>().expect("a number"));
            assert!(ends[0] < ends[1], "{shown}");
            axis = Some(ends);
            continue;
        }
        let (time, rest) = look.split_once("  ").expect("a time");
        assert!(
            time.len() == 8 && time.split(':').count() == 3 && rest.contains(" s ± "),
            "{shown}"
        );
        // The bar begins under the ruler, whose end is the end of the line; the middle is the o.
        let bar: String = look.chars().skip(8 + 2 + 25 + 2).collect();
        assert!(
            bar.chars().all(|c| " -o".contains(c)) && bar.matches('o').count() == 1,
            "{shown}"
        );
        assert!(
            bar.chars().count() <= 37 && !bar.trim().contains(' '),
            "{shown}"
        );
        // It covers 0, the truth, where a | stands otherwise.
        let [low, high] = axis.expect("a ruler comes first");
        let zero = (-low / (high - low) * 36.0).round() as usize;
        assert!(
            bar.chars().nth(zero).is_some_and(|c| c != ' '),
            "column {zero}: {shown}"
        );
        bars += 1;
    }
    assert!(bars >= 6, "{shown}");
    assert!(
        summary.contains(&format!("{bars} measurements, {bars} with an offset: ")),
        "{shown}"
    );
    let (low, high) = range_of(summary);
    assert!(low <= 0.0 && 0.0 <= high, "{shown}");
}

#[test]
fn watching_into_a_pipe_gives_plain_lines_and_a_summary_at_the_end() {
    let (_daemon, server) = daemon();
    let mut command = wallclock();
    command.args(["--server", &server.to_string(), "--watch", "0.05"]);
    command.args(["--timeout", "60"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let (mut stdout, mut text, mut chunk) = (
        child.stdout.take().expect("it is piped"),
        String::new(),
        [0; 256],
    );
    let mut told = false;
    while let Ok(length @ 1..) = stdout.read(&mut chunk) {
        text += &String::from_utf8_lossy(&chunk[..length]);
        if text.lines().count() >= 4 && !told {
            told = true;
            let status = Command::new("sh")
                .args(["-c", &format!("kill -TERM {}", child.id())])
                .status();
            assert!(status.expect("sh runs").success());
        }
    }
    println!("{text}");
    assert_eq!(child.wait().expect("it is our child").code(), Some(0));
    assert!(
        !text.contains("-o-") && !text.contains('\r') && !text.contains('\x1b'),
        "{text}"
    );
    let line = text.lines().next().expect("a line");
    assert!(
        line.len() > 40 && line.as_bytes()[10] == b'T' && line.contains(" s ± "),
        "{line}"
    );
    assert!(text.contains(" measurements, "), "{text}");
    let (low, high) = range_of(&text);
    assert!(low <= 0.0 && 0.0 <= high, "{text}");
}

#[test]
fn watching_as_json_gives_an_object_a_line() {
    let (_daemon, server) = daemon();
    let mut command = wallclock();
    command.args(["--server", &server.to_string(), "--watch", "0.05", "--json"]);
    command.args(["--timeout", "60"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut objects =
        serde_json::Deserializer::from_reader(child.stdout.take().expect("it is piped"))
            .into_iter();
    for _ in 0..3 {
        let object: Value = objects.next().expect("one more").expect("JSON");
        assert!(holds(&object, 0.0), "{object}");
    }
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
}

#[test]
fn a_terminal_sees_how_far_the_measurement_of_a_whole_second_server_is() {
    if lacks(&["script"]) {
        return;
    }
    let server = whole_seconds(Duration::ZERO);
    let command = format!(
        "{} --server {server} --offset --timeout 60",
        env!("CARGO_BIN_EXE_wallclock")
    );
    let (shown, status) = on_a_terminal(&command, |_| false);
    assert_eq!(status, Some(0));
    // Each is drawn over the one before; then they are erased, and the line is printed.
    let (drawn, line) = shown.rsplit_once("\r\x1b[K").expect("it is erased");
    let bounds: Vec<f64> = drawn
        .split("\x1b[K")
        .filter(|drawn| !drawn.is_empty())
        .map(|drawn| {
            let bound = drawn.strip_prefix(&format!("\r{server}  ± "));
            let (number, unit) = bound.and_then(|bound| bound.split_once(' ')).expect(&shown);
            let unit = match unit {
                "ns" => 1e-9,
                "us" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                _ => panic!("{shown:?}"),
            };
            number.parse::<f64>().expect(&shown) * unit
        })
        .collect();
    assert!(!bounds.is_empty(), "{shown:?}");
    // Each is narrower, but for what the clocks may drift apart in the second between two edges,
    // and for the rounding to three digits.
    assert!(
        bounds
            .windows(2)
            .all(|two| two[1] <= 1.01 * two[0] + 500e-6),
        "{bounds:?}"
    );
    assert!(
        line.starts_with(&server.to_string())
            && line.contains(" samples of whole seconds, as reported "),
        "{shown:?}"
    );
}

#[test]
fn a_step_of_this_machines_clock_amid_the_measurement_is_noticed_and_the_truth_told() {
    let Some(library) = faketime() else { return };
    let folder = Folder::new("step");
    let file = folder.file("faketime", b"+0");
    // A server that knows what nobody else does: its fourth question finds the client's clock stepped by 5 s.
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let server = socket.local_addr().expect("it is bound");
    let stepped = file.clone();
    thread::spawn(move || {
        let mut question = [0; 64];
        for number in 1.. {
            let Ok((length, client)) = socket.recv_from(&mut question) else {
                return;
            };
            if number == 4 {
                fs::write(&stepped, "+5").expect("it is written");
            }
            let now = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .expect("after 1970");
            let nonce = String::from_utf8_lossy(&question[..length]).replace("%s.%N", "");
            let answer = format!("{nonce}{}.{:09}", now.as_secs(), now.subsec_nanos());
            let _ = socket.send_to(answer.as_bytes(), client);
        }
    });
    let mut client = patient_wallclock();
    client.args(["--server", &server.to_string(), "--json"]);
    client
        .env("FAKETIME_TIMESTAMP_FILE", &file)
        .env("FAKETIME_NO_CACHE", "1");
    client
        .env("LD_PRELOAD", &library)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let output = client.output().expect("it runs");
    let json: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    println!("{json}");
    assert_eq!(json["servers"][0]["restarts"], 1);
    assert!(holds(&json, -5.0), "{json}");
}

#[test]
fn chronyd_takes_the_room_s_clock_as_a_reference_and_shows_its_offset() {
    let Some(library) = faketime() else { return };
    let Some(chronyd) = ["/usr/sbin/chronyd", "/usr/bin/chronyd"]
        .into_iter()
        .find(|path| Path::new(path).exists())
    else {
        return skip("no chronyd (Debian package chrony)");
    };
    if lacks(&["chronyc"]) {
        return;
    }
    let shift = 3.5;
    let (_daemon, server) = shifted_daemon(&library, "+3.5");
    // chronyd makes its command socket only where nobody else gets in.
    let folder = Folder::new("chrony");
    let at = |name: &str| folder.0.join(name).display().to_string();
    // A copy: Debian's AppArmor profile is for the program of that path, and lets it have no socket here.
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chronyd");
    fs::copy(chronyd, &copy).expect("a copy");
    let configuration = format!(
        "refclock SOCK {} refid WALL poll 0\nport 0\ncmdport 0\nbindcmdaddress {}\npidfile {}\n",
        at("wall.sock"),
        at("cmd.sock"),
        at("pid"),
    );
    folder.file("chrony.conf", configuration.as_bytes());
    // -x: it leaves the clock alone. -U: it may be started by anybody.
    let user = Command::new("id")
        .arg("-un")
        .output()
        .expect("id runs")
        .stdout;
    let user = String::from_utf8_lossy(&user).trim().to_owned();
    let mut command = Command::new(copy);
    let mut chronyd =
        Process::start(command.args(["-x", "-d", "-U", "-u", &user, "-f", &at("chrony.conf")]));
    chronyd.wait_for("chronyd version");
    let deadline = Instant::now() + 3 * PATIENCE;
    let until = |what: &str, done: &mut dyn FnMut() -> bool| {
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
            thread::sleep(Duration::from_millis(20));
        }
    };
    until("its socket appears", &mut || {
        folder.0.join("wall.sock").exists()
    });
    let mut watch = wallclock();
    watch.args([
        "--server",
        &server.to_string(),
        "--watch",
        "0.25",
        "--chrony",
        &at("wall.sock"),
    ]);
    let _watch = Process::start(watch.stdout(Stdio::null()));
    let mut sources = String::new();
    until("it selects the source", &mut || {
        let chronyc = Command::new("chronyc")
            .args(["-h", &at("cmd.sock"), "-c", "sources"])
            .output();
        sources = out(&chronyc.expect("chronyc runs"));
        sources.starts_with("#,*,WALL,")
    });
    println!("{sources}");
    // Mode, state, name, stratum, poll, reach, last, then the offset as measured; chronyd's sign: ours less the source's.
    // How near it is depends on the machine. Sign and unit are what can be wrong.
    let offset: f64 = sources
        .split(',')
        .nth(8)
        .and_then(|field| field.parse().ok())
        .expect("an offset");
    assert!((offset + shift).abs() <= 0.5, "{sources}");
}

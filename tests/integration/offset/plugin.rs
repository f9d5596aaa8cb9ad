//! The monitoring plugin: its line follows the Monitoring Plugins Development Guidelines, sections
//! 2.1 and 2.6, and its exit status is the word in the line.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use support::{TempDir, closed_port, libfaketime_or_skip, start_daemon, wallclock};

use super::clients::{run, stdout};
use super::servers::shifted_server;

/// Parses a number of the class `[-0-9.]`.
fn parse_number(text: &str) -> Result<f64, String> {
    let is_allowed = |byte: u8| byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    if text.is_empty() || !text.bytes().all(is_allowed) {
        return Err(format!("{text:?} is no number of class [-0-9.]"));
    }
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

/// Parses `LABEL=VALUEs;WARN;CRIT;MIN;MAX`. Returns label and value.
fn parse_performance(item: &str) -> Result<(String, f64), String> {
    let (label, rest) = item.split_once('=').ok_or("no = in performance data")?;
    if label.is_empty() || label.contains(['\'', '"', ' ']) {
        return Err(format!("label {label:?}"));
    }
    let fields: Vec<_> = rest.split(';').collect();
    if fields.len() > 5 {
        return Err(format!("{} fields", fields.len()));
    }
    let value = parse_number(fields[0].strip_suffix('s').ok_or("no unit s")?)?;
    for range in fields[1..].iter().take(2).filter(|range| !range.is_empty()) {
        let range = range.strip_prefix('@').unwrap_or(range);
        let (start, end) = range.split_once(':').ok_or("a limit that is no range")?;
        let start = match start {
            "~" => f64::NEG_INFINITY,
            start => parse_number(start)?,
        };
        let end = match end {
            "" => f64::INFINITY,
            end => parse_number(end)?,
        };
        if start > end {
            return Err(format!("range {range}"));
        }
    }
    for limit in fields.iter().skip(3) {
        parse_number(limit)?;
    }
    Ok((label.to_owned(), value))
}

/// Parses a line of the plugin. Returns its status and performance data, or what is wrong.
fn parse_line(line: &str) -> Result<(String, Vec<(String, f64)>), String> {
    let line = line.strip_suffix('\n').ok_or("no newline at its end")?;
    if line.contains('\n') || line.len() >= 4096 {
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
    let data: Result<_, _> = data.into_iter().map(parse_performance).collect();
    Ok((status.to_owned(), data?))
}

#[test]
fn plugin_line_follows_the_guidelines_with_its_status() {
    let Some(library) = libfaketime_or_skip() else {
        return;
    };
    let (_right, right) = start_daemon();
    // Limits and offset differ by more than the bound on the busiest machine.
    let (_off, off) = shifted_server(&library, "+2000");
    let (_closed, closed) = closed_port();
    let both = ["--warning", "100", "--critical", "1500"];
    let high = ["-w", "100", "-c", "5000"];
    for (servers, arguments, status, word) in [
        (vec![right], &both[..], 0, "OK"),
        (vec![right], &["--critical", "100"], 0, "OK"),
        (vec![off], &high, 1, "WARNING"),
        (vec![off], &["--warn", "1000"], 1, "WARNING"),
        (vec![off], &both, 2, "CRITICAL"),
        (vec![right, off, right], &both, 3, "UNKNOWN"),
        (vec![right], &["-w", "0"], 3, "UNKNOWN"),
        // The offset is +2000 s.
        (vec![off], &["-w", "-100:3000"], 0, "OK"),
        (vec![right], &["-w", "-100:3000"], 0, "OK"),
        (vec![off], &["-w", "-3000:100"], 1, "WARNING"),
        (vec![right], &["-c", "1000:"], 2, "CRITICAL"),
        (vec![right], &["-w", "1", "-w", "1000:"], 1, "WARNING"),
        (vec![off], &["-c", "1000:"], 0, "OK"),
        (vec![off], &["-w", "~:1000", "-c=-5000:5000"], 1, "WARNING"),
        (vec![off], &["-c", "@1000:3000"], 2, "CRITICAL"),
        (vec![right], &["-c", "@1000:3000"], 0, "OK"),
        (vec![right], &["-c", "@0:0"], 3, "UNKNOWN"),
        (vec![closed], &both, 3, "UNKNOWN"),
    ] {
        let output = run(&servers, arguments);
        let line = stdout(&output);
        print!("{line}");
        let (found, data) = parse_line(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(found, word, "{line}");
        assert_eq!(output.status.code(), Some(status), "{line}");
        assert!(output.stderr.is_empty(), "{output:?}");
        let labels: Vec<_> = data.iter().map(|(label, _)| label.as_str()).collect();
        // Without an offset there is no performance data.
        let expected = match word == "UNKNOWN" && servers != [right] {
            true => &[][..],
            false => &["offset", "bound"],
        };
        assert_eq!(labels, expected, "{line}");
    }
}

#[test]
fn wrong_use_of_the_plugin_is_unknown() {
    for arguments in [
        &["-w"][..],
        &["-c", "-w", "1"],
        &["-w", "much"],
        &["--warning", "-1"],
        &["--warning=2:1"],
        &["--warn", "NaN"],
        &["--critical"],
        &["-w", "1", "--nonsense"],
        &["--nonsense", "-w", "1"],
        &["-4c", "1", "--json"],
        &["-6uw1", "-4"],
        &["-w", "2", "-c", "1"],
        &["-w", "1", "--watch"],
        &["-w", "1", "+%s"],
        &["-s", "host:port", "-c", "1"],
    ] {
        let output = wallclock().args(arguments).output();
        let output = output.expect("wallclock starts");
        let line = stdout(&output);
        print!("{arguments:?}: {line}");
        let parsed = parse_line(&line);
        assert_eq!(parsed, Ok(("UNKNOWN".to_owned(), vec![])), "{arguments:?}");
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
    let mut command = wallclock();
    command
        .args(["-w", "1"])
        .env("WALLCLOCK_SERVER", "host:port");
    let output = command.output().expect("wallclock starts");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(stdout(&output).contains("WALLCLOCK_SERVER"), "{output:?}");
}

#[test]
fn other_wrong_use_is_status_2() {
    for arguments in [
        &["--", "-w"][..],
        &["--offset", "--", "-c"],
        // The value of -t.
        &["-tc"],
        &["--tick", "-c1"],
        &["--warnings", "1"],
    ] {
        let output = wallclock().args(arguments).output();
        let output = output.expect("wallclock starts");
        let is_plugin = arguments == ["--tick", "-c1"];
        let expected = if is_plugin { 3 } else { 2 };
        assert_eq!(
            output.status.code(),
            Some(expected),
            "{arguments:?}: {output:?}"
        );
        assert_eq!(output.stdout.is_empty(), !is_plugin, "{output:?}");
    }
}

#[test]
fn range_may_begin_with_a_minus_sign() {
    let (_closed, closed) = closed_port();
    for arguments in [
        &["-w", "-0.1:0.2"][..],
        &["-c", "-.5:"],
        &["--warn", "-0:0"],
    ] {
        let line = stdout(&run(&[closed], arguments));
        assert!(line.contains("no offset from 1 server"), "{line}");
    }
}

#[test]
fn old_name_of_an_option_is_hidden() {
    let output = wallclock().arg("--help").output();
    let help = stdout(&output.expect("wallclock starts"));
    assert!(help.contains("-w, --warning <RANGE>"), "{help}");
    assert!(!help.replace("--warning", "").contains("--warn"), "{help}");
}

#[test]
fn plugin_line_has_at_most_4_kb() {
    let (_closed, closed) = closed_port();
    // Nothing listens at the port on the other addresses either, or it does not matter.
    let servers = (2..150).map(|n| format!("127.0.1.{n}:{}", closed.port()));
    let servers: Vec<_> = servers.collect();
    let mut command = wallclock();
    command
        .args(["-w", "1", "-t", "0.1", "-r", "0"])
        .env("WALLCLOCK_SERVER", servers.join(","));
    let output = command.output().expect("wallclock starts");
    let line = stdout(&output);
    assert_eq!(output.status.code(), Some(3), "{line}");
    assert!((4000..=4096).contains(&line.len()), "{}", line.len());
    assert!(parse_line(&line).is_ok_and(|(status, _)| status == "UNKNOWN"));
}

#[test]
fn plugin_with_an_unknown_host_is_unknown() {
    let mut command = wallclock();
    command.args(["--server", "host.invalid", "--warn", "1"]);
    let output = command.output().expect("wallclock starts");
    let line = stdout(&output);
    assert_eq!(output.status.code(), Some(3));
    let status = parse_line(&line).map(|(status, _)| status);
    assert_eq!(status.as_deref(), Ok("UNKNOWN"), "{line}");
}

// As systemd(1) sets it for a unit whose output goes to the journal.
#[test]
fn plugin_line_has_its_priority_in_the_journal() {
    let (_closed, address) = closed_port();
    let directory = TempDir::new("journal");
    let path = directory.path().join("stream");
    let stream = File::create(&path).expect("a file");
    let metadata = stream.metadata().expect("a file");
    let journal = format!("{}:{}", metadata.dev(), metadata.ino());
    let mut command = wallclock();
    command
        .args(["--server", &address.to_string(), "--warn", "1"])
        .env("JOURNAL_STREAM", journal)
        .stdout(stream);
    let status = command.status().expect("wallclock starts");
    assert_eq!(status.code(), Some(3));
    let line = fs::read_to_string(&path).expect("a file");
    assert!(line.starts_with("<3>WALLCLOCK UNKNOWN: "), "{line}");
}

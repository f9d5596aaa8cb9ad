//! Counters and log lines.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use support::{
    Process, connected_socket, query, request_counters, start_daemon, start_daemon_with,
    wait_until, wallclockd,
};

use super::serves_time;

#[test]
fn counters_count_each_kind_of_response() {
    let (mut process, address) = start_daemon();
    let client = connected_socket(address);
    for request in [&b"%T"[..], b"", b"%Q", b"hello", b"%", b"more"] {
        client.send(request).expect("the request is sent");
    }
    query(address, b"%s");
    assert_eq!(request_counters(&mut process), [3, 2, 2, 0, 0]);
}

#[test]
fn datagrams_dropped_by_the_kernel_are_counted() {
    let (mut process, address) =
        start_daemon_with(&["-l", "127.0.0.1:0", "--receive-buffer", "4096"]);
    process.signal("STOP");
    let client = connected_socket(address);
    for _ in 0..200 {
        client.send(b"%s").expect("the request is sent");
    }
    process.signal("CONT");
    // While the queue is still full, the kernel drops these requests too.
    let client = connected_socket(address);
    client
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a time-out");
    let mut sent = 0;
    while {
        client.send(b"%s").expect("the request is sent");
        sent += 1;
        client.recv(&mut [0; 64]).is_err()
    } {
        assert!(sent < 600, "the daemon does not respond");
    }
    // If a response took longer than the time-out, a later request is still in the queue.
    let mut counted = [0; 2];
    wait_until("a request is neither answered nor dropped", || {
        let [answered, .., dropped] = request_counters(&mut process);
        counted = [answered, dropped];
        answered + dropped >= 200 + sent
    });
    let [answered, dropped] = counted;
    assert_eq!(answered + dropped, 200 + sent);
    assert!(dropped > 0);
}

#[test]
fn full_receive_buffer_warns_once_a_minute() {
    let start = Instant::now();
    // Much more than a batch, and less than 1,000 requests.
    let (mut process, address) =
        start_daemon_with(&["-l", "127.0.0.1:0", "--receive-buffer", "212992"]);
    let mut counted = [0; 5];
    for round in 1..=2 {
        process.signal("STOP");
        let client = connected_socket(address);
        for _ in 0..1_000 {
            client.send(b"%s").expect("the request is sent");
        }
        process.signal("CONT");
        wait_until("a request is neither answered nor dropped", || {
            counted = request_counters(&mut process);
            counted[0] + counted[4] >= round * 1_000
        });
        if round == 1 {
            let warnings = drop_warnings(&process);
            let dropped = format!(" receive buffer full, {} requests dropped ", counted[4]);
            assert!(
                warnings.len() == 1 && warnings[0].contains(&dropped),
                "{warnings:#?}"
            );
            assert!(warnings[0].contains("ReceiveBuffer=") && warnings[0].contains(".nft"));
        }
    }
    let warnings = drop_warnings(&process);
    let minutes = start.elapsed().as_secs() / 60;
    assert!(warnings.len() as u64 <= 1 + minutes, "{warnings:#?}");
}

fn drop_warnings(process: &Process) -> Vec<&String> {
    let is_warning = |line: &&String| line.contains("WARN") && line.contains("dropped");
    process.log.iter().filter(is_warning).collect()
}

#[test]
fn hostile_datagrams_are_not_logged_by_default() {
    let (mut process, address) = start_daemon();
    let client = connected_socket(address);
    // All lines of the start come before this one.
    request_counters(&mut process);
    let before = process.log_lines_but_clock_status().len();
    for round in 0..10_000_u32 {
        let noise: Vec<u8> = (0..round % 60)
            .map(|index| (round.wrapping_mul(2_654_435_761) >> (index % 24)) as u8)
            .collect();
        client.send(&noise).expect("the datagram is sent");
        // Waiting for a response keeps the datagrams in flight few enough for the smallest buffer.
        if round % 200 == 199 {
            assert!(serves_time(address));
        }
    }
    process.terminate();
    // The counters at its end.
    let after = process.log_lines_but_clock_status().len();
    assert_eq!(after, before + 1, "{:#?}", process.log);
}

#[test]
fn debug_log_escapes_hostile_bytes_on_one_line() {
    let mut process = Process::start(
        wallclockd()
            .args(["-l", "127.0.0.1:0"])
            .env("RUST_LOG", "debug"),
    );
    let address = process.wait_for_address();
    let client = connected_socket(address);
    for (request, logged) in [
        (
            &b"%T\n[2026 ERROR] fake\r\n"[..],
            r#""%T\n[2026 ERROR] fake\r\n": answered"#,
        ),
        (
            b"\x1b[2J%Q",
            r#""\x1b[2J%Q": refused, byte 4: unknown conversion Q"#,
        ),
        (b"\xff\0%d", r#""\xff\x00%d": refused, byte 0: not UTF-8"#),
        (
            "%\u{202e}".as_bytes(),
            r#""%\xe2\x80\xae": refused, byte 0: unknown conversion \u{202e}"#,
        ),
        (b"quiet", r#""quiet": ignored"#),
        (b"", r#""": answered"#),
    ] {
        client.send(request).expect("the request is sent");
        let line = process.wait_for(logged);
        assert!(
            line.contains("DEBUG") && line.contains("127.0.0.1:"),
            "{line}"
        );
    }
    client.send(&[b'%'; 9000]).expect("the request is sent");
    let line = process.wait_for("%\" and more: refused");
    assert!(line.len() < 1400, "{line}");
}

/// Every error of the start is an error of the journal, those of the options included.
#[test]
fn start_error_has_priority_err_in_the_journal() {
    for (variable, value, expected) in [
        (
            "WALLCLOCKD_RECEIVE_BUFFER",
            "8X",
            "<3>WALLCLOCKD_RECEIVE_BUFFER=8X: not a size, such as 8388608, 8M or 8MiB\n",
        ),
        ("WALLCLOCKD_VERBOSE", "-1", "<3>WALLCLOCKD_VERBOSE=-1: "),
        (
            "TZ",
            "Mars/Olympus",
            "<3>load the time zone: TZ=Mars/Olympus",
        ),
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let file = File::from(OwnedFd::from(writer));
        let pipe = file.metadata().expect("a pipe");
        let stream = format!("{}:{}", pipe.dev(), pipe.ino());
        let mut command = wallclockd();
        command
            .env(variable, value)
            .env("JOURNAL_STREAM", stream)
            .stderr(Stdio::from(file));
        let status = command.status().expect("it runs");
        // Ends the pipe.
        drop(command);
        let mut log = String::new();
        File::from(OwnedFd::from(reader))
            .read_to_string(&mut log)
            .expect("UTF-8");
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(
            log.starts_with(expected) && log.lines().count() == 1,
            "{log}"
        );
    }
}

#[test]
fn full_stderr_does_not_abort_the_daemon() {
    let full = || {
        File::options()
            .write(true)
            .open("/dev/full")
            .expect("a device")
    };
    for (variable, value) in [("WALLCLOCKD_VERBOSE", "-1"), ("TZ", "Mars/Olympus")] {
        let mut command = wallclockd();
        let status = command.env(variable, value).stderr(full()).status();
        assert_eq!(status.expect("it runs").code(), Some(2), "{variable}");
    }
}

#[test]
fn wrong_rust_log_causes_a_warning() {
    let mut process = Process::start(
        wallclockd()
            .args(["-l", "127.0.0.1:0"])
            .env("RUST_LOG", "wallclock=loud"),
    );
    let line = process.wait_for("RUST_LOG=wallclock=loud is ignored: ");
    assert!(line.contains("WARN"), "{line}");
    process.wait_for_address();
}

/// Returns a daemon's command whose stderr is this pipe.
fn logging_to(pipe: &PipeWriter) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" \"$@\" 2>&0 </dev/null"])
        .arg(wallclockd().get_program())
        .stdin(pipe.try_clone().expect("a descriptor"));
    command
}

/// Writes to a pipe until it takes no more. Returns the number of bytes.
fn fill(pipe: &mut PipeWriter) -> usize {
    let before = fcntl_getfl(&pipe).expect("flags");
    fcntl_setfl(&pipe, before | OFlags::NONBLOCK).expect("flags");
    let mut count = 0;
    for size in [4096, 1] {
        while let Ok(written) = pipe.write(&vec![b'x'; size]) {
            count += written;
        }
    }
    fcntl_setfl(&pipe, before).expect("flags");
    count
}

#[test]
fn stderr_that_nobody_reads_does_not_block_the_daemon() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let mut command = logging_to(&writer);
    let mut process = Process::start_with_stdin(command.args(["-l", "127.0.0.1:0", "-v"]));
    let mut log = BufReader::new(reader);
    let mut line = String::new();
    while !line.contains("listening on ") {
        line.clear();
        log.read_line(&mut line).expect("UTF-8");
    }
    let address = line.trim().rsplit(' ').next().expect("an address");
    let address = address.parse().expect("an address");
    let filling = fill(&mut writer);
    // Each request is logged, so a line of the first is lost before the second is answered.
    for _ in 0..2 {
        assert_eq!(query(address, b"100%%"), b"100%");
    }
    log.read_exact(&mut vec![0; filling])
        .expect("it is written");
    assert_eq!(query(address, b"100%%"), b"100%");
    fill(&mut writer);
    process.signal("TERM");
    assert!(process.wait().success());
    // Ends the pipe.
    drop((command, writer));
    let mut rest = String::new();
    log.read_to_string(&mut rest).expect("UTF-8");
    assert!(
        rest.contains(" WARN ") && rest.contains(" lost: "),
        "{rest}"
    );
}

#[test]
fn start_error_ends_the_daemon_although_nobody_reads_stderr() {
    for argument in ["--nonsense", "--listen=239.0.0.1"] {
        let (_reader, mut writer) = std::io::pipe().expect("a pipe");
        fill(&mut writer);
        let mut process = Process::start_with_stdin(logging_to(&writer).arg(argument));
        assert_eq!(process.wait().code(), Some(2), "{argument}");
    }
}

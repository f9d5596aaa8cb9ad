//! Counters and log lines.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use support::{
    HANG_TIMEOUT, Process, TempDir, connected_socket, query, request_counters, start_daemon,
    start_daemon_with, wait_until, wallclockd,
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
    let (mut process, address) =
        start_daemon_with(&["-l", "127.0.0.1:0", "--receive-buffer", "65536"]);
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

/// After its last request a daemon sleeps until the status is due, not until the next request.
#[test]
fn status_shows_the_last_request() {
    let dir = TempDir::new("status");
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager
        .set_read_timeout(Some(HANG_TIMEOUT))
        .expect("a time-out");
    let wait_for = |text: &str| {
        let mut buf = [0; 512];
        loop {
            let length = manager.recv(&mut buf).expect(text);
            if String::from_utf8_lossy(&buf[..length]).contains(text) {
                return;
            }
        }
    };
    let mut command = wallclockd();
    command
        .args(["-l", "127.0.0.1:0"])
        .env("NOTIFY_SOCKET", &path);
    let mut process = Process::start(&mut command);
    let address = process.wait_for_address();
    wait_for("STATUS=answered=0 ");
    query(address, b"%s");
    wait_for("STATUS=answered=1 ");
}

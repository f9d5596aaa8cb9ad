//! The two Python programs that wallclock replaces work with it, in both directions.

use std::process::Command;

use support::{Process, skip_without, start_daemon, wallclock_long_timeout};

use super::unix_seconds;

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/client.py");
const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/server.py");

#[test]
fn python_client_prints_the_daemons_time() {
    if skip_without(&["python3"]) {
        return;
    }
    let (_daemon, address) = start_daemon();
    let before = unix_seconds();
    let output = Command::new("python3")
        .args([CLIENT, &address.port().to_string()])
        .output()
        .expect("python3 runs");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let time = chrono::NaiveDateTime::parse_from_str(printed.trim_end(), "%Y/%m/%d %H:%M:%S")
        .expect(&printed);
    let second = time.and_utc().timestamp();
    assert!((before..=unix_seconds()).contains(&second), "{printed}");
}

#[test]
fn client_prints_the_python_servers_time_without_tag() {
    if skip_without(&["python3"]) {
        return;
    }
    let mut server = Process::start(Command::new("python3").args([SERVER, "0"]).env("TZ", "UTC"));
    let address = server.wait_for_address().to_string();
    let query = |format: &str| {
        wallclock_long_timeout()
            .args(["-s", &address, format])
            .output()
            .expect("wallclock runs")
    };

    let before = unix_seconds();
    let output = query("%s");
    let second = String::from_utf8_lossy(&output.stdout).trim_end().parse();
    // Python reads time(2), whose seconds begin up to one clock tick late.
    let is_now = |second| (before - 1..=unix_seconds()).contains(&second);
    assert!(second.is_ok_and(is_now), "{output:?}");
    let output = query("%Y/%m/%d %H:%M:%S");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    chrono::NaiveDateTime::parse_from_str(printed.trim_end(), "%Y/%m/%d %H:%M:%S").expect(&printed);
    assert_eq!(query("+100%% %Z").stdout, b"100% UTC\n");

    // The Python server sends an unknown directive back unchanged. That is no time.
    let output = query("%N");
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(1), &b""[..])
    );
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("does not know this format"),
        "{output:?}"
    );
}

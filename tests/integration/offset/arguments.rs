//! Wrong options.

use std::process::Stdio;

use support::{Process, wallclock};

#[test]
fn wrong_use_is_one_line_and_status_2() {
    for arguments in [
        &["--offset", "%s"][..],
        &["--json", "+%s"],
        &["--samples", "0"],
        &["--samples", "many"],
        &["--count", "3"],
        &["--offset", "--count", "3"],
        &["--chrony", "/run/chrony/wall.sock", "-s", "::1"],
        &["--watch", "--chrony", "/nonexistent/wall.sock", "-s", "::1"],
        &["--watch", "--chrony", "/dev/log"],
        &["--watch", "--max-bound", "1"],
        &["--offset", "--deadline", "0"],
        &["--offset", "--tick", "-1"],
    ] {
        let output = wallclock().args(arguments).output();
        let output = output.expect("wallclock starts");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        print!("{arguments:?}: {error}");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(error.starts_with("wallclock: "), "{arguments:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{arguments:?}: {error}");
        assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
}

// Each of these would measure without end if it were accepted.
#[test]
fn wrong_value_of_watch_is_status_2() {
    for (arguments, reason) in [
        (
            &["--watch", "5"][..],
            "--watch takes its value with =: --watch=5",
        ),
        (&["--watch=0"], "from 0.01 to 86400"),
        (&["--watch=0.009"], "from 0.01 to 86400"),
        (&["--watch=soon"], "from 0.01 to 86400"),
        (&["--watch", "--count", "0"], "--count"),
    ] {
        let mut process = Process::start(wallclock().args(arguments).stdout(Stdio::null()));
        assert_eq!(process.wait().code(), Some(2), "{arguments:?}");
        assert_eq!(process.log.len(), 1, "{:?}", process.log);
        assert!(process.log[0].contains(reason), "{:?}", process.log);
    }
}

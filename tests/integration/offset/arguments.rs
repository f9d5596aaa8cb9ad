//! Wrong options.

use support::wallclock;

#[test]
fn wrong_use_is_one_line_and_status_2() {
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

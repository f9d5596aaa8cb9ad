//! The package under test: made by the one documented command, out of the binaries that this test
//! run has built.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Builds the package as revision `revision` of this version.
///
/// `systemd/package --no-build` packs release binaries. Building those again would cost every test
/// run a minute, so it gets a target folder of its own, with the binaries of this run's profile
/// where the release ones would be.
pub fn package(revision: u32) -> PathBuf {
    static BUILT: Mutex<BTreeMap<u32, PathBuf>> = Mutex::new(BTreeMap::new());
    // A test that failed to build one leaves it to the next to fail, too.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built
        .entry(revision)
        .or_insert_with(|| build(revision))
        .clone()
}

fn build(revision: u32) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("room");
    let release = target.join("release");
    fs::create_dir_all(&release).expect("a folder for the package");
    for (name, built) in [
        ("wallclock", env!("CARGO_BIN_EXE_wallclock")),
        ("wallclockd", env!("CARGO_BIN_EXE_wallclockd")),
    ] {
        fs::copy(built, release.join(name)).expect("a built program");
    }
    let made = target.join("debian").join(format!("{revision}.deb"));
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/package"))
        .args([
            "--no-build",
            "--fast",
            "--deb-revision",
            &revision.to_string(),
            "--output",
        ])
        .arg(&made)
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .expect("systemd/package");
    assert!(
        output.status.success(),
        "systemd/package: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    made
}

//! The package under test, and the commands that build it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use super::documents::{self, Documented};

/// Builds the package, with this revision of the version, from the programs of this test run.
///
/// `systemd/package --no-build` packs release programs. To build those again would cost every test
/// run a minute, so it gets a target directory of its own with this run's programs in their place.
pub fn package(revision: u32) -> PathBuf {
    static BUILT: Mutex<BTreeMap<u32, PathBuf>> = Mutex::new(BTreeMap::new());
    // If the build fails in one test, the next test tries again.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built
        .entry(revision)
        .or_insert_with(|| build(revision))
        .clone()
}

fn build(revision: u32) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("system");
    let release = target.join("release");
    fs::create_dir_all(&release).expect("a directory for the package");
    for name in ["wallclock", "wallclockd"] {
        fs::copy(support::program(name), release.join(name)).expect("a built program");
    }
    let package = target.join("debian").join(format!("{revision}.deb"));
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/package"))
        .args([
            "--no-build",
            "--fast",
            "--deb-revision",
            &revision.to_string(),
            "--output",
        ])
        .arg(&package)
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .expect("systemd/package");
    assert!(
        output.status.success(),
        "systemd/package: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    package
}

/// The target directory of the documented commands that build. They must not replace the programs
/// of this test run.
pub fn documented_target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("documented")
}

/// Sets the target directory of a command that builds, and turns optimization off: the documented
/// command is tested, not the compiler.
pub fn build_environment(command: &mut Command) -> &mut Command {
    command
        .env("CARGO_TARGET_DIR", documented_target())
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TERM_COLOR", "never")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
}

/// Runs a documented command that builds, in this repository.
#[track_caller]
pub fn run_documented_build(command: Documented) {
    documents::assert_documented(command.line());
    let mut shell = Command::new("sh");
    shell
        .args(["-ec", command.line()])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = build_environment(&mut shell).output().expect("sh");
    assert!(
        output.status.success(),
        "{}: {}",
        command.line(),
        String::from_utf8_lossy(&output.stderr)
    );
}

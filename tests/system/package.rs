//! The packages under test, and the commands that build them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::documents::{self, Documented};

/// The package of the client and the package of the server.
pub const PACKAGES: [&str; 2] = ["wallclock", "wallclockd"];

/// Returns a package with this revision of the version, of the programs of this test run. The first
/// call for a revision builds it.
pub fn package(name: &str, revision: u32) -> PathBuf {
    static BUILT: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
    // If the build fails in one test, the next test tries again.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("system");
    if !built.contains(&revision) {
        copy_programs(&target);
        pack(&[], &target, revision, |_| ());
        built.insert(revision);
    }
    packed(&target, name, revision)
}

/// Copies the programs of this test run to where a release build into this target directory would
/// put them: to build release programs would cost every test run a minute.
pub fn copy_programs(target: &Path) {
    let release = target.join("release");
    fs::create_dir_all(&release).expect("a directory for the programs");
    for name in PACKAGES {
        fs::copy(support::program(name), release.join(name)).expect("a built program");
    }
}

/// Packs the release programs that are in a target directory. `runner` is a command before that of
/// the script, `change` sets more.
pub fn pack(runner: &[&str], target: &Path, revision: u32, change: impl Fn(&mut Command)) {
    let revision = revision.to_string();
    let script = ["systemd/package", "--no-build", "--revision", &revision];
    let line = [runner, &script].concat();
    let mut command = Command::new(line[0]);
    command
        .args(&line[1..])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", target)
        // A commit between two calls must not change the date.
        .env("SOURCE_DATE_EPOCH", "1795262816")
        // To compress programs with debugging information would cost half a minute.
        .env("DPKG_DEB_COMPRESSOR_TYPE", "none");
    change(&mut command);
    let output = command.output().expect("systemd/package");
    assert!(
        output.status.success(),
        "systemd/package: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A package in a target directory, see [`pack`].
pub fn packed(target: &Path, name: &str, revision: u32) -> PathBuf {
    let start = format!("{name}_{}-{revision}_", env!("CARGO_PKG_VERSION"));
    let files = fs::read_dir(target.join("debian")).expect("target/debian");
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&start) && name.ends_with(".deb")
    };
    let found = files.flatten().map(|file| file.path()).find(is_it);
    found.unwrap_or_else(|| panic!("no {start}*.deb"))
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

/// Runs a documented command that builds, in this repository. The next one waits until the result
/// is dropped: it may replace what this one has built.
#[track_caller]
pub fn run_documented_build(command: Documented) -> MutexGuard<'static, ()> {
    static BUILD: Mutex<()> = Mutex::new(());
    let guard = BUILD.lock().unwrap_or_else(PoisonError::into_inner);
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
    guard
}

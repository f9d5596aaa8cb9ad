//! Skips a test where the machine lacks what it needs.
//!
//! The functions whose names start with `skip_without` return whether they skipped the test, which
//! then returns at once.

use std::env;
use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use crate::{preload, skipped};

/// Counts a test, or a part of one, as skipped. Panics if WALLCLOCK_TEST_ALL=1.
pub fn skip(reason: &str) {
    assert!(
        env::var_os("WALLCLOCK_TEST_ALL").is_none_or(|all| all != "1"),
        "skipped although WALLCLOCK_TEST_ALL=1: {reason}"
    );
    println!("skipped: {reason}");
    if let Err(error) = skipped::record(reason) {
        println!("not counted: {error}");
    }
}

/// Returns whether a program can be run. A wrapper script ends with status 127 if the program
/// behind it is missing.
pub fn has_program(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.code() != Some(127))
}

/// Skips the test if one of these programs is missing.
pub fn skip_without(programs: &[&str]) -> bool {
    let Some(missing) = programs.iter().find(|program| !has_program(program)) else {
        return false;
    };
    match debian_package(missing) {
        None => skip(&format!("no {missing}")),
        Some(package) => skip(&format!("no {missing} (Debian package {package})")),
    }
    true
}

/// The Debian package of a program, if its name is another.
fn debian_package(program: &str) -> Option<&'static str> {
    match program {
        "cc" => Some("gcc"),
        "chronyc" | "chronyd" => Some("chrony"),
        "find" => Some("findutils"),
        "ip" => Some("iproute2"),
        "man" => Some("man-db"),
        "nc" => Some("netcat-openbsd"),
        "nft" => Some("nftables"),
        "chrt" | "nsenter" | "setpriv" | "unshare" => Some("util-linux"),
        "script" => Some("bsdutils"),
        _ => None,
    }
}

/// Skips the test if this process is not root, or root may not make network namespaces here.
pub fn skip_without_namespaces() -> bool {
    if !geteuid().is_root() {
        skip("not root");
        return true;
    }
    if skip_without(&["unshare"]) {
        return true;
    }
    let status = Command::new("unshare")
        .args(["--net", "--mount", "true"])
        .stderr(Stdio::null())
        .status();
    let permitted = status.is_ok_and(|status| status.success());
    if !permitted {
        skip("no right to make network namespaces");
    }
    !permitted
}

/// Skips the test if the host has no IPv6 loopback address.
pub fn skip_without_ipv6() -> bool {
    let missing = UdpSocket::bind("[::1]:0").is_err();
    if missing {
        skip("no IPv6");
    }
    missing
}

/// Returns the path of libfaketime, where Debian installs it. Skips the test if it is missing, or
/// the programs load no library.
pub fn libfaketime_or_skip() -> Option<PathBuf> {
    if preload::PROGRAMS_ARE_STATIC {
        skip("static programs");
        return None;
    }
    // The directory of this architecture, such as x86_64-linux-gnu.
    let architecture = match env::consts::ARCH {
        "x86" => "i386",
        architecture => architecture,
    };
    let directories = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let library = directories
        .filter(|directory| {
            let name = directory.file_name();
            name.to_string_lossy().starts_with(architecture)
        })
        .map(|directory| directory.path().join("faketime/libfaketime.so.1"))
        .find(|path| path.is_file());
    if library.is_none() {
        skip("no libfaketime (Debian package faketime)");
    }
    library
}

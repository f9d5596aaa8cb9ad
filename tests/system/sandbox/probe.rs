//! Tries what an attacker in control of the daemon would try. It runs in the daemon's place, under
//! the daemon's own unit, and prints each thing that it could do. Outside the sandbox, as the
//! control, it can do all of them.
//!
//! A program of its own, compiled with the standard library alone.

use std::fs::{self, File, OpenOptions};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The units permit the daemon to map files in these directories as code, so it can execute them
/// too. (The dynamic linker needs that; a program from there would have no more rights than the
/// daemon.)
const LIBRARIES: [&str; 3] = ["/usr/lib", "/lib", "/lib64"];

#[derive(Default)]
struct Found {
    files: usize,
    folders: usize,
    /// Executable files that are neither the daemon nor among the libraries.
    executables: Vec<PathBuf>,
}

/// Tries to write to every file and directory below `folder`, except /proc.
fn walk(folder: &Path, found: &mut Found) {
    found.folders += 1;
    let new = folder.join("probe");
    if File::create(&new).is_ok() {
        println!("probe: could create {}", new.display());
        let _ = fs::remove_file(new);
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type());
        match kind {
            Ok(kind) if kind.is_dir() && path != Path::new("/proc") => walk(&path, found),
            Ok(kind) if kind.is_file() => {
                found.files += 1;
                // For appending, so that the control changes nothing.
                if OpenOptions::new().append(true).open(&path).is_ok() {
                    println!("probe: could write {}", path.display());
                }
                let executable = entry
                    .metadata()
                    .is_ok_and(|data| data.permissions().mode() & 0o111 != 0);
                let library = LIBRARIES.iter().any(|folder| path.starts_with(folder));
                if executable && !library && !path.ends_with("wallclockd") {
                    found.executables.push(path);
                }
            }
            _ => {}
        }
    }
}

/// The first argument, if there is one, limits the search for files to a directory: the control
/// need not search a whole host.
pub fn main() {
    if let Some(path) = std::env::var_os("NOTIFY_SOCKET") {
        let socket = UnixDatagram::unbound().expect("a socket for systemd");
        socket.send_to(b"READY=1", path).expect("systemd receives");
    }
    println!("probe: begins");
    let mut arguments = std::env::args_os().skip(1);
    let root = arguments.next().map_or("/".into(), PathBuf::from);
    let mut found = Found::default();
    walk(&root, &mut found);
    println!(
        "probe: found {} files in {} directories",
        found.files, found.folders
    );

    for address in ["0.0.0.0:0", "[::]:0", "127.0.0.1:0"] {
        if UdpSocket::bind(address).is_ok() || TcpListener::bind(address).is_ok() {
            println!("probe: could make an inet socket");
        }
    }

    let me = std::process::id().to_string();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != me && name.bytes().all(|byte| byte.is_ascii_digit()) {
            println!("probe: could see process {name}");
        }
    }
    for secret in [
        "/proc/1/cmdline",
        "/proc/sys/kernel/hostname",
        "/proc/kallsyms",
        "/proc/net/udp",
    ] {
        if fs::read(secret).is_ok_and(|text| !text.is_empty()) {
            println!("probe: could read {secret}");
        }
    }

    // First in a child, then in this process: what cannot fork may still be able to execute.
    let shells = [
        "/bin/sh",
        "/usr/bin/env",
        "/usr/bin/python3",
        "/usr/bin/perl",
    ]
    .map(PathBuf::from);
    if Command::new(&shells[0])
        .args(["-c", "exit"])
        .status()
        .is_ok()
    {
        println!("probe: could start a child");
    }
    for program in shells.iter().chain(&found.executables) {
        println!("probe: executes {}", program.display());
        // Returns only if it failed.
        let _ = Command::new(program)
            .args(["-c", "echo probe: could execute a shell"])
            .exec();
    }
    println!("probe: ends");
    loop {
        std::thread::park();
    }
}

//! What an attacker who has taken over the daemon would try. It is started in the daemon's place,
//! under the daemon's own unit, and prints each thing that it could do. Outside the sandbox, as the
//! control, it can do all of them.
//!
//! Compiled by itself, with the standard library alone.

use std::fs::{self, File, OpenOptions};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The units let the daemon map what is in these as code, so it can be executed as well. (It is
/// there for the loader; an executed program of these would have no more rights than the daemon.)
const LIBRARIES: [&str; 3] = ["/usr/lib", "/lib", "/lib64"];

#[derive(Default)]
struct Seen {
    files: usize,
    folders: usize,
    /// Executable files that are neither the daemon nor among the libraries.
    executables: Vec<PathBuf>,
}

/// Tries to write to every file and folder below `folder`. /proc is looked at by itself.
fn walk(folder: &Path, seen: &mut Seen) {
    seen.folders += 1;
    let new = folder.join("probe");
    if File::create(&new).is_ok() {
        println!("probe: could create {}", new.display());
        let _ = fs::remove_file(new);
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type());
        match kind {
            Ok(kind) if kind.is_dir() && path != Path::new("/proc") => walk(&path, seen),
            Ok(kind) if kind.is_file() => {
                seen.files += 1;
                // Append, so that the control changes nothing.
                if OpenOptions::new().append(true).open(&path).is_ok() {
                    println!("probe: could write {}", path.display());
                }
                let executable = entry
                    .metadata()
                    .is_ok_and(|data| data.permissions().mode() & 0o111 != 0);
                let library = LIBRARIES.iter().any(|folder| path.starts_with(folder));
                if executable && !library && !path.ends_with("wallclockd") {
                    seen.executables.push(path);
                }
            }
            _ => {}
        }
    }
}

/// `argv[1]`, if there is one, limits the walk to a folder: the control need not try a whole host.
pub fn main() {
    if let Some(path) = std::env::var_os("NOTIFY_SOCKET") {
        let socket = UnixDatagram::unbound().expect("a socket for systemd");
        socket.send_to(b"READY=1", path).expect("systemd to listen");
    }
    println!("probe: begins");
    let mut arguments = std::env::args_os().skip(1);
    let root = arguments.next().map_or("/".into(), PathBuf::from);
    let mut seen = Seen::default();
    walk(&root, &mut seen);
    println!(
        "probe: sees {} files in {} folders",
        seen.files, seen.folders
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

    // A child first, then itself: what can't fork could still turn into something else.
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
    for program in shells.iter().chain(&seen.executables) {
        println!("probe: executes {}", program.display());
        // Comes back only if it did not work.
        let _ = Command::new(program)
            .args(["-c", "echo probe: could execute a shell"])
            .exec();
    }
    println!("probe: ends");
    loop {
        std::thread::park();
    }
}

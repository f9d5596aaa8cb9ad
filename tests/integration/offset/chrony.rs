//! `--chrony`: a real chronyd accepts the samples.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{
    HANG_TIMEOUT, Process, TempDir, libfaketime_or_skip, scratch_dir, skip, skip_without, wallclock,
};

use super::clients::stdout;
use super::servers::{shifted_server, slow_server};

/// Waits until a condition holds. chronyd takes some polls to select a source.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + 3 * HANG_TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Starts a chronyd that does not touch the clock, with its files in `directory`.
fn start_chronyd(chronyd: &Path, directory: &Path) -> Process {
    let path = |name: &str| directory.join(name).display().to_string();
    let configuration = format!(
        "refclock SOCK {} refid WALL poll 0\nport 0\ncmdport 0\nbindcmdaddress {}\npidfile {}\n",
        path("wall.sock"),
        path("cmd.sock"),
        path("pid"),
    );
    fs::write(path("chrony.conf"), configuration).expect("a file");
    // Debian's AppArmor profile applies to the path of chronyd. It would forbid these sockets, and
    // does not apply to a copy.
    let copy = scratch_dir().join("chronyd");
    fs::copy(chronyd, &copy).expect("a copy");
    let user = Command::new("id").arg("-un").output().expect("id starts");
    let user = stdout(&user);
    // -x: the clock is not touched. -U: any user may start it.
    let mut command = Command::new(copy);
    command.args(["-x", "-d", "-U", "-u", user.trim()]);
    let mut process = Process::start(command.args(["-f", &path("chrony.conf")]));
    process.wait_for("chronyd version");
    process
}

#[test]
fn chronyd_selects_the_server_and_shows_its_offset() {
    let Some(library) = libfaketime_or_skip() else {
        return;
    };
    let paths = ["/usr/sbin/chronyd", "/usr/bin/chronyd"].map(Path::new);
    let Some(chronyd) = paths.into_iter().find(|path| path.exists()) else {
        return skip("no chronyd (Debian package chrony)");
    };
    if skip_without(&["chronyc"]) {
        return;
    }
    let shift = 3.5;
    let (_server, address) = shifted_server(&library, "+3.5");
    // chronyd makes its command socket only in a directory that no other user can enter.
    let directory = TempDir::new("chrony");
    let _chronyd = start_chronyd(chronyd, directory.path());
    let [sample_socket, command_socket] =
        ["wall.sock", "cmd.sock"].map(|name| directory.path().join(name));
    wait_until("chronyd makes its socket", || sample_socket.exists());
    let mut watch = wallclock();
    watch
        .args(["--server", &address.to_string(), "--watch=0.25"])
        // However busy this machine is.
        .args(["--timeout", "60", "--deadline", "60", "--max-bound", "60"])
        .arg("--chrony")
        .arg(&sample_socket);
    let _watch = Process::start(watch.stdout(Stdio::null()));
    let mut sources = String::new();
    wait_until("chronyd selects the source", || {
        let mut chronyc = Command::new("chronyc");
        chronyc.arg("-h").arg(&command_socket);
        let output = chronyc.args(["-c", "sources"]).output();
        sources = stdout(&output.expect("chronyc starts"));
        sources.starts_with("#,*,WALL,")
    });
    println!("{sources}");
    // Mode, state, name, stratum, poll, reach, last sample, and the measured offset: local clock
    // minus source. Its accuracy depends on the machine; sign and unit do not.
    let offset = sources.split(',').nth(8).map(str::parse::<f64>);
    let offset = offset.expect("a field").expect("an offset");
    assert!((offset + shift).abs() <= 0.5, "{sources}");
}

/// Runs `--watch --chrony` for some measurements of a server whose responses take 50 ms. Returns
/// whether chronyd would have got a sample.
fn is_sent(arguments: &[&str]) -> bool {
    let address = slow_server(Duration::from_millis(50));
    let directory = TempDir::new("feed");
    let path = directory.path().join("wall.sock");
    let chronyd = UnixDatagram::bind(&path).expect("a socket");
    chronyd.set_nonblocking(true).expect("non-blocking");
    let mut watch = wallclock();
    watch
        .args(["--server", &address.to_string(), "--watch=0.1", "--json"])
        .args(["--timeout", "60", "--deadline", "60", "--chrony"])
        .arg(&path)
        .args(arguments)
        .stdout(Stdio::piped());
    let mut child = watch.spawn().expect("wallclock starts");
    let stdout = child.stdout.take().expect("a pipe");
    let objects = serde_json::Deserializer::from_reader(stdout).into_iter::<Value>();
    // A sample is sent after the line of its measurement.
    for object in objects.take(3) {
        let object = object.expect("JSON");
        assert!(object["bound"].as_f64() >= Some(0.025), "{object}");
    }
    child.kill().expect("a child");
    child.wait().expect("a child");
    chronyd.recv(&mut [0; 64]).is_ok()
}

#[test]
fn wide_bound_is_not_sent_to_chronyd() {
    assert!(!is_sent(&[]));
    assert!(!is_sent(&["--max-bound", "0.02"]));
    assert!(is_sent(&["--max-bound", "60"]));
}

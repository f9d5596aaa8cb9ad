//! Notifications to a service manager, which need not read them.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::UdpSocket;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use support::{HANG_TIMEOUT, Process, TempDir, cpu_time, query, wait_until, wallclockd};

/// A service manager's socket.
struct Manager {
    socket: UnixDatagram,
    notify_socket: OsString,
    _dir: Option<TempDir>,
}

impl Manager {
    fn new(name: &str) -> Manager {
        let dir = TempDir::new(name);
        let path = dir.path().join("notify");
        Manager {
            socket: with_timeout(UnixDatagram::bind(&path)),
            notify_socket: path.into(),
            _dir: Some(dir),
        }
    }

    fn with_abstract_address(name: &str) -> Manager {
        let name = format!("wallclock-test-{}-{name}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        Manager {
            socket: with_timeout(UnixDatagram::bind_addr(&address)),
            notify_socket: format!("@{name}").into(),
            _dir: None,
        }
    }

    /// A daemon with this manager.
    fn wallclockd(&self) -> Command {
        let mut command = wallclockd();
        command
            .args(["-l", "127.0.0.1:0", "--utc"])
            .env("NOTIFY_SOCKET", &self.notify_socket);
        command
    }

    /// Fills the queue of messages that were not read.
    fn fill(&self) {
        let sender = UnixDatagram::unbound().expect("a socket");
        sender.set_nonblocking(true).expect("a socket");
        let address = self.socket.local_addr().expect("an address");
        while sender.send_to_addr(b"other", &address).is_ok() {}
    }

    /// Reads until a message contains this text, and returns the message.
    #[track_caller]
    fn wait_for(&self, text: &str) -> String {
        let mut buf = [0; 4096];
        loop {
            let length = match self.socket.recv(&mut buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                received => received.expect(text),
            };
            let message = String::from_utf8_lossy(&buf[..length]);
            if message.contains(text) {
                return message.into_owned();
            }
        }
    }
}

fn with_timeout(socket: io::Result<UnixDatagram>) -> UnixDatagram {
    let socket = socket.expect("a socket");
    let timeout = socket.set_read_timeout(Some(HANG_TIMEOUT));
    timeout.expect("a time-out");
    socket
}

/// After its last request a daemon sleeps until the status is due, not until the next request.
#[test]
fn status_shows_the_last_request() {
    let manager = Manager::new("status");
    let mut process = Process::start(&mut manager.wallclockd());
    let address = process.wait_for_address();
    manager.wait_for("STATUS=answered=0 ");
    query(address, b"%s");
    manager.wait_for("STATUS=answered=1 ");
}

#[test]
fn abstract_notify_socket_gets_each_notification() {
    let manager = Manager::with_abstract_address("abstract");
    let mut process = Process::start(manager.wallclockd().env("WATCHDOG_USEC", "2000"));
    manager.wait_for("READY=1");
    manager.wait_for("WATCHDOG=1");
    manager.wait_for("STATUS=answered=0 ");
    process.signal("TERM");
    manager.wait_for("STOPPING=1");
    assert!(process.wait().success());
}

#[test]
fn manager_that_does_not_read_blocks_nothing() {
    let manager = Manager::new("stuck");
    manager.fill();
    // The watchdog makes something due in each millisecond.
    let mut process = Process::start(manager.wallclockd().env("WATCHDOG_USEC", "2000"));
    let address = process.wait_for_address();
    for _ in 0..3 {
        assert_eq!(query(address, b"%Z"), b"UTC");
        thread::sleep(Duration::from_millis(50));
    }
    assert!(process.terminate().contains("answered=3 "));
}

#[test]
fn ready_is_sent_when_the_manager_reads_again() {
    let manager = Manager::new("ready");
    manager.fill();
    let mut process = Process::start(&mut manager.wallclockd());
    let address = process.wait_for_address();
    // READY=1 comes before the first request, so it was tried.
    query(address, b"%s");
    let before = cpu_time(process.id());
    thread::sleep(Duration::from_millis(500));
    let used = cpu_time(process.id()) - before;
    assert!(used < Duration::from_millis(250), "it spins: {used:?}");
    manager.wait_for("READY=1");
    manager.wait_for("STATUS=answered=1 ");
    process.terminate();
}

#[test]
fn manager_with_a_new_socket_is_notified() {
    let mut manager = Manager::new("restarted");
    let mut process = Process::start(&mut manager.wallclockd());
    let address = process.wait_for_address();
    manager.wait_for("STATUS=answered=0 ");
    fs::remove_file(&manager.notify_socket).expect("its socket");
    manager.socket = with_timeout(UnixDatagram::bind(&manager.notify_socket));
    query(address, b"%s");
    manager.wait_for("STATUS=answered=1 ");
    process.signal("TERM");
    manager.wait_for("STOPPING=1");
    assert!(process.wait().success());
}

/// A notification that cannot be sent at all is tried again, too.
#[test]
fn ready_is_sent_to_a_manager_that_starts_later() {
    let mut manager = Manager::new("later");
    fs::remove_file(&manager.notify_socket).expect("its socket");
    let mut process = Process::start(&mut manager.wallclockd());
    process.wait_for("sd_notify failed: No such file or directory");
    manager.socket = with_timeout(UnixDatagram::bind(&manager.notify_socket));
    manager.wait_for("READY=1");
    process.terminate();
}

/// As a service, the daemon shows a permanent error and waits, so that systemd does not start it
/// many times a second.
#[test]
fn permanent_error_is_shown_and_waits_5_seconds() {
    let manager = Manager::new("error");
    let start = Instant::now();
    let mut process = Process::start(manager.wallclockd().env("WALLCLOCKD_VERBOSE", "-1"));
    manager.wait_for("STATUS=WALLCLOCKD_VERBOSE=-1: ");
    assert_eq!(process.wait().code(), Some(2), "{:#?}", process.log);
    assert!(start.elapsed() >= Duration::from_secs(5));
    assert_eq!(process.log.len(), 1, "{:#?}", process.log);
}

#[test]
fn sigterm_ends_the_wait_after_an_error() {
    let manager = Manager::new("term");
    let holder = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let in_use = holder.local_addr().expect("an address").to_string();
    for (variable, value, status) in [
        ("WALLCLOCKD_RECEIVE_BUFFER", "8X", "8X: not a size"),
        ("TZ", "Mars/Olympus", "TZ=Mars/Olympus: "),
        ("TZ", ":/etc/passwd", "of TZ=:/etc/passwd: zone file /etc/"),
        ("LISTEN_PID", "me", "LISTEN_PID=me: "),
        ("WALLCLOCKD_LISTEN", &in_use, &in_use),
    ] {
        let mut command = wallclockd();
        command
            .env("NOTIFY_SOCKET", &manager.notify_socket)
            .env(variable, value);
        let mut process = Process::start(&mut command);
        let message = manager.wait_for("STATUS=");
        assert!(message.contains(status), "{message}");
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(2), "{:#?}", process.log);
    }
    // Not permanent.
    let mut command = wallclockd();
    command
        .args(["-l", "192.0.2.1:9527"])
        .env("NOTIFY_SOCKET", &manager.notify_socket);
    let mut process = Process::start(&mut command);
    assert_eq!(process.wait().code(), Some(1), "{:#?}", process.log);
    manager.socket.set_nonblocking(true).expect("a socket");
    assert!(manager.socket.recv(&mut [0; 64]).is_err());
}

#[test]
fn error_does_not_wait_for_a_manager_that_does_not_read() {
    let manager = Manager::new("stuck-error");
    manager.fill();
    let mut process = Process::start(manager.wallclockd().env("WALLCLOCKD_VERBOSE", "-1"));
    process.wait_for("WALLCLOCKD_VERBOSE=-1: ");
    wait_until("no signal handler is installed", || {
        fs::read_to_string(format!("/proc/{}/status", process.id()))
            .expect("the process exists")
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:\t"))
            .and_then(|mask| u64::from_str_radix(mask, 16).ok())
            // SIGTERM is 15, and SIGUSR1, which is installed last, 10.
            .is_some_and(|mask| mask & (1 << 14) != 0 && mask & (1 << 9) != 0)
    });
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(2), "{:#?}", process.log);
}

//! The server processes, each on a free port of the loopback interface, and the two clients.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use support::{wallclock, wallclockd};

use crate::echo::Echo;
use crate::requests::ntp_request;
use crate::sys;

const PYTHON_SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/server.py");
const PYTHON_CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/client.py");

/// ReceiveBuffer= and SendBuffer= of systemd/wallclockd.socket.
const UNIT_RECV_BUFFER: usize = 8 << 20;
const UNIT_SEND_BUFFER: usize = 32 << 20;
/// WatchdogSec= of systemd/wallclockd.service, in microseconds.
const UNIT_WATCHDOG: &str = "3000000";

/// WALLCLOCKD_ALLOW of the same unit.
const UNIT_ALLOW: &str = "localhost,link-local,private";

const START_TIMEOUT: Duration = Duration::from_secs(5);

/// A running server. Dropping it ends the process and removes its files.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// The receiving end of NOTIFY_SOCKET.
    notify_socket: Option<UnixDatagram>,
    _dir: Option<TempDir>,
}

/// A directory that is removed, with its files, when it goes out of scope.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("wallclock-bench-{}-{number}", std::process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A build of wallclockd.
#[derive(Clone, Debug)]
pub enum Build {
    /// The one that cargo made for this run.
    Current,
    /// Another one to compare it with.
    Base(PathBuf),
}

impl Build {
    /// Returns a command without settings from the environment.
    fn command(&self) -> Command {
        let current = wallclockd();
        let mut command = match self {
            Build::Current => Command::new(current.get_program()),
            Build::Base(path) => Command::new(path),
        };
        copy_env_removals(&current, &mut command);
        command.stdin(Stdio::null());
        command
    }
}

fn copy_env_removals(from: &Command, to: &mut Command) {
    for (name, value) in from.get_envs() {
        if value.is_none() {
            to.env_remove(name);
        }
    }
}

impl Server {
    /// Starts an echo server, with `receive_buffer` bytes requested (the kernel doubles them).
    pub fn echo(echo: Echo, receive_buffer: Option<usize>) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        let value = clap::ValueEnum::to_possible_value(&echo).expect("no variant is skipped");
        command.stdin(Stdio::null());
        command.arg("--serve").arg(value.get_name());
        if let Some(bytes) = receive_buffer {
            command.arg("--receive-buffer").arg(bytes.to_string());
        }
        Self::start_and_read_address(&mut command)
    }

    /// Starts wallclockd on one IPv4 address, with the receive buffer that it requests by default
    /// or with `receive_buffer` bytes.
    pub fn daemon(build: &Build, receive_buffer: Option<usize>) -> io::Result<Self> {
        Self::daemon_on(build, &["127.0.0.1:0"], receive_buffer)
    }

    /// Starts wallclockd on two sockets, one of them with an unspecified address.
    pub fn daemon_on_two_sockets(build: &Build, receive_buffer: Option<usize>) -> io::Result<Self> {
        Self::daemon_on(build, &["[::]:0", "127.0.0.1:0"], receive_buffer)
    }

    fn daemon_on(build: &Build, addresses: &[&str], buffer: Option<usize>) -> io::Result<Self> {
        let mut command = build.command();
        for address in addresses {
            command.args(["--listen", address]);
        }
        if let Some(bytes) = buffer {
            command.args(["--receive-buffer", &bytes.to_string()]);
        }
        Self::start_and_read_address(&mut command)
    }

    /// Starts wallclockd with what its units give it: the socket of systemd/wallclockd.socket as
    /// descriptor 3, NOTIFY_SOCKET, WATCHDOG_USEC and WALLCLOCKD_ALLOW. The sandbox and
    /// IPAddressAllow= are missing.
    pub fn installed(build: &Build) -> io::Result<Self> {
        let socket = sys::dual_stack_socket()?;
        sys::set_receive_buffer(&socket, UNIT_RECV_BUFFER)?;
        sys::set_send_buffer(&socket, UNIT_SEND_BUFFER)?;
        let dir = TempDir::new()?;
        let path = dir.0.join("notify");
        let notify_socket = UnixDatagram::bind(&path)?;
        let daemon = build.command();
        // LISTEN_PID is the daemon's own process ID, which exec keeps.
        let script = "LISTEN_PID=$$ WATCHDOG_PID=$$ exec \"$0\" 3<&0 </dev/null";
        let mut command = Command::new("sh");
        copy_env_removals(&daemon, &mut command);
        command
            .args(["-c", script])
            .arg(daemon.get_program())
            .envs([("LISTEN_FDS", "1"), ("WATCHDOG_USEC", UNIT_WATCHDOG)])
            .env("NOTIFY_SOCKET", &path)
            .env("WALLCLOCKD_ALLOW", UNIT_ALLOW)
            .stdin(OwnedFd::from(socket));
        let mut server = Self::start_and_read_address(&mut command)?;
        // A daemon that does not notify would be another row of the table.
        notify_socket.set_read_timeout(Some(START_TIMEOUT))?;
        let mut buf = [0; 256];
        let length = notify_socket.recv(&mut buf)?;
        if !buf[..length].starts_with(b"READY=1") {
            let text = String::from_utf8_lossy(&buf[..length]);
            return Err(io::Error::other(format!("instead of READY=1: {text:?}")));
        }
        notify_socket.set_read_timeout(None)?;
        server.notify_socket = Some(notify_socket.try_clone()?);
        server._dir = Some(dir);
        // Empties the socket's queue, as systemd does.
        std::thread::spawn(move || while notify_socket.recv(&mut buf).is_ok_and(|it| it > 0) {});
        Ok(server)
    }

    /// Starts the Python server.
    pub fn python(python: &Path) -> io::Result<Self> {
        let mut command = Command::new(python);
        command.args([PYTHON_SERVER, "0"]).stdin(Stdio::null());
        Self::start_and_read_address(&mut command)
    }

    /// Starts chronyd, which neither sets the clock nor has a server of its own.
    pub fn chronyd(chronyd: &Path) -> io::Result<Self> {
        let port = free_port()?;
        let dir = TempDir::new()?;
        // Debian's AppArmor profile keeps /usr/sbin/chronyd, known by its path, out of this
        // directory.
        let copy = dir.0.join("chronyd");
        fs::copy(chronyd, &copy)?;
        let configuration = dir.0.join("chrony.conf");
        let text = format!(
            "port {port}\nbindaddress 127.0.0.1\nallow 127.0.0.1\nlocal stratum 10\ncmdport 0\n\
             bindcmdaddress /\npidfile {}/pid\n",
            dir.0.display()
        );
        fs::write(&configuration, text)?;
        let user = Command::new("id").arg("-un").output()?.stdout;
        let child = Command::new(copy)
            .args(["-x", "-U", "-d", "-u"])
            .arg(String::from_utf8_lossy(&user).trim())
            .arg("-f")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self {
            child,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            notify_socket: None,
            _dir: Some(dir),
        };
        server.wait_for_response(&ntp_request(0))?;
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Binds the server to one core.
    pub fn on_core(self, core: usize) -> Self {
        sys::pin(Some(self.pid()), core);
        self
    }

    /// Starts a server that logs its address, and reads it.
    fn start_and_read_address(command: &mut Command) -> io::Result<Self> {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut server = Self {
            child,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            notify_socket: None,
            _dir: None,
        };
        let mut log = String::new();
        loop {
            let start = log.len();
            if stderr.read_line(&mut log)? == 0 {
                let what = format!("{command:?} ended before it listened: {log}");
                return Err(io::Error::other(what));
            }
            let Some((_, rest)) = log[start..].split_once("listening on ") else {
                continue;
            };
            let word = rest.split_whitespace().next();
            let address = word.and_then(|word| word.parse().ok());
            server.address =
                address.ok_or_else(|| io::Error::other(format!("no address in {rest:?}")))?;
            if server.address.ip().is_unspecified() {
                server.address.set_ip(Ipv4Addr::LOCALHOST.into());
            }
            // A full pipe would stop the server.
            std::thread::spawn(move || io::copy(&mut stderr, &mut io::sink()));
            return Ok(server);
        }
    }

    /// Sends `request` until there is a response.
    pub fn wait_for_response(&self, request: &[u8]) -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(self.address)?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if socket.send(request).is_ok() && socket.recv(&mut [0; 2048]).is_ok() {
                return Ok(());
            }
            // A closed port is an error at once; the sleep must not add to a start-up time.
            std::thread::sleep(Duration::from_micros(200));
        }
        let what = format!("no response from {}", self.address);
        Err(io::Error::other(what))
    }

    /// Sends one request and returns its response.
    pub fn query(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(self.address)?;
        socket.set_read_timeout(Some(START_TIMEOUT))?;
        socket.send(request)?;
        let mut buf = vec![0; 2048];
        let length = socket.recv(&mut buf)?;
        buf.truncate(length);
        Ok(buf)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail if the process has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Ends the thread that reads it.
        if let Some(socket) = &self.notify_socket {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Returns a port that was free a moment ago, for a server that cannot report which one it took.
fn free_port() -> io::Result<u16> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(socket.local_addr()?.port())
}

/// Runs `wallclock`.
pub fn run_client(server: SocketAddr) -> io::Result<Output> {
    wallclock()
        .args(["--server", &server.to_string(), "%Y/%m/%d %H:%M:%S"])
        .output()
}

/// Runs `wallclock --json`.
pub fn run_client_offset(server: SocketAddr) -> io::Result<Output> {
    wallclock()
        .args(["--server", &server.to_string(), "--json"])
        .output()
}

/// Runs the Python client.
pub fn run_python_client(python: &Path, server: SocketAddr) -> io::Result<Output> {
    Command::new(python)
        .args([PYTHON_CLIENT, &server.port().to_string()])
        .output()
}

/// Finds the Python interpreter itself: a version manager's wrapper would add its own time.
pub fn find_python() -> Option<PathBuf> {
    let output = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    path.is_file().then_some(path)
}

/// Finds chronyd: by the variable CHRONYD, in PATH or in /usr/sbin.
pub fn find_chronyd() -> Option<PathBuf> {
    let named = env::var_os("CHRONYD").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&path).map(|dir| dir.join("chronyd"));
    named
        .into_iter()
        .chain(in_path)
        .chain([PathBuf::from("/usr/sbin/chronyd")])
        .find(|path| path.is_file())
}

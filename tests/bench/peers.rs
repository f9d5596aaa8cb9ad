//! The processes to be measured, each started on a free port of the loopback and ended by its own pid.

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

use crate::echo::Echo;
use crate::sys;
use support::{wallclock, wallclockd};

const PYTHON_SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/server.py");
const PYTHON_CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/client.py");

/// ReceiveBuffer= and SendBuffer= of systemd/wallclockd.socket, WatchdogSec= of systemd/wallclockd.service.
const UNIT_BUFFER: i32 = 8 << 20;
const UNIT_WATCHDOG: &str = "3000000";

/// How long anything may take to come up.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running server. Dropping it ends the process and takes its files away.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// The other end of NOTIFY_SOCKET.
    notifications: Option<UnixDatagram>,
    _scratch: Option<Scratch>,
}

/// A folder that is taken away, with all in it, when it goes out of scope.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("wallclock-bench-{}-{number}", std::process::id());
        let folder = env::temp_dir().join(name);
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Which wallclockd.
#[derive(Clone, Debug)]
pub enum Program {
    /// The one that cargo built for this bench.
    Built,
    /// Another one, to compare it with.
    Base(PathBuf),
}

impl Program {
    /// Without settings from the environment.
    fn command(&self) -> Command {
        let built = wallclockd();
        let mut command = match self {
            Program::Built => Command::new(built.get_program()),
            Program::Base(path) => Command::new(path),
        };
        copy_removals(&built, &mut command);
        command.stdin(Stdio::null());
        command
    }
}

/// What is not to be in the environment of one is not to be in that of the other.
fn copy_removals(from: &Command, to: &mut Command) {
    for (name, value) in from.get_envs() {
        if value.is_none() {
            to.env_remove(name);
        }
    }
}

impl Server {
    /// One of the bare echoes, with `buffer` bytes of receive buffer asked for (the kernel doubles them).
    pub fn echo(echo: Echo, buffer: Option<i32>) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        let value = clap::ValueEnum::to_possible_value(&echo).expect("no variant is skipped");
        command.stdin(Stdio::null());
        command.arg("--serve").arg(value.get_name());
        if let Some(bytes) = buffer {
            command.arg("--buffer").arg(bytes.to_string());
        }
        Self::that_tells_its_port(&mut command)
    }

    /// The daemon, as a user would start it but for the port, whatever the environment has set.
    pub fn daemon(program: &Program, options: &[String]) -> io::Result<Self> {
        let mut command = program.command();
        Self::that_tells_its_port(command.args(["--listen", "127.0.0.1:0"]).args(options))
    }

    /// The daemon where it has to ask which address was meant, and which of two sockets was asked.
    pub fn daemon_anywhere(program: &Program, options: &[String]) -> io::Result<Self> {
        let mut command = program.command();
        Self::that_tells_its_port(
            command
                .args(["--listen", "[::]:0", "--listen", "127.0.0.1:0"])
                .args(options),
        )
    }

    /// The daemon with what the units give it: systemd/wallclockd.socket's socket as descriptor 3, NOTIFY_SOCKET, and
    /// WATCHDOG_USEC. What systemd's sandbox and IPAddressAllow= cost is not in it.
    pub fn installed(program: &Program) -> io::Result<Self> {
        let socket = sys::dual_stack_socket()?;
        sys::set_receive_buffer(&socket, UNIT_BUFFER)?;
        sys::set_send_buffer(&socket, UNIT_BUFFER)?;
        let scratch = Scratch::new()?;
        let path = scratch.0.join("notify");
        let notifications = UnixDatagram::bind(&path)?;
        let daemon = program.command();
        // LISTEN_PID has to be the daemon's own, which exec keeps.
        let hand_over = "LISTEN_PID=$$ WATCHDOG_PID=$$ exec \"$0\" 3<&0 </dev/null";
        let mut command = Command::new("sh");
        copy_removals(&daemon, &mut command);
        command
            .args(["-c", hand_over])
            .arg(daemon.get_program())
            .envs([("LISTEN_FDS", "1"), ("WATCHDOG_USEC", UNIT_WATCHDOG)])
            .env("NOTIFY_SOCKET", &path)
            .stdin(OwnedFd::from(socket));
        let mut server = Self::that_tells_its_port(&mut command)?;
        // A daemon that reports to nobody would be another row.
        notifications.set_read_timeout(Some(PATIENCE))?;
        let mut text = [0; 256];
        let length = notifications.recv(&mut text)?;
        if !text[..length].starts_with(b"READY=1") {
            let text = String::from_utf8_lossy(&text[..length]);
            return Err(io::Error::other(format!("instead of READY=1: {text:?}")));
        }
        notifications.set_read_timeout(None)?;
        server.notifications = Some(notifications.try_clone()?);
        server._scratch = Some(scratch);
        // As systemd does: a queue that fills up would be a case of its own.
        std::thread::spawn(move || while notifications.recv(&mut text).is_ok_and(|it| it > 0) {});
        Ok(server)
    }

    /// The Python original.
    pub fn python(python: &Path) -> io::Result<Self> {
        let mut command = Command::new(python);
        command.args([PYTHON_SERVER, "0"]).stdin(Stdio::null());
        Self::that_tells_its_port(&mut command)
    }

    /// chronyd, told to keep its hands off the clock and to talk to nobody else.
    pub fn chronyd(chronyd: &Path) -> io::Result<Self> {
        let port = free_port()?;
        let scratch = Scratch::new()?;
        let folder = scratch.0.clone();
        // AppArmor knows a program by its path, and Debian has it keep /usr/sbin/chronyd out of folders like this one.
        let copy = folder.join("chronyd");
        fs::copy(chronyd, &copy)?;
        let configuration = folder.join("chrony.conf");
        fs::write(
            &configuration,
            format!(
                "port {port}\nbindaddress 127.0.0.1\nallow 127.0.0.1\nlocal stratum 10\ncmdport 0\nbindcmdaddress /\n\
                 pidfile {}/pid\n",
                folder.display()
            ),
        )?;
        let user = Command::new("id").arg("-un").output()?.stdout;
        let user = String::from_utf8_lossy(&user);
        let mut command = Command::new(copy);
        command
            .args(["-x", "-U", "-d", "-u", user.trim(), "-f"])
            .arg(&configuration);
        Self::that_answers(
            &mut command,
            port,
            &crate::questions::ntp_question(0),
            scratch,
        )
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Keeps the server on one core. Where that is forbidden the numbers are worse, not wrong.
    pub fn on_core(self, core: usize) -> Self {
        let _ = sys::pin(self.pid(), core);
        self
    }

    fn that_tells_its_port(command: &mut Command) -> io::Result<Self> {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut server = Self {
            child,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            notifications: None,
            _scratch: None,
        };
        let mut said = String::new();
        loop {
            let start = said.len();
            if lines.read_line(&mut said)? == 0 {
                return Err(io::Error::other(format!(
                    "{command:?} ended before it listened: {said}"
                )));
            }
            let Some((_, rest)) = said[start..].split_once("listening on ") else {
                continue;
            };
            let address = rest
                .split_whitespace()
                .next()
                .and_then(|word| word.parse().ok());
            server.address =
                address.ok_or_else(|| io::Error::other(format!("no address in {rest:?}")))?;
            if server.address.ip().is_unspecified() {
                server.address.set_ip(Ipv4Addr::LOCALHOST.into());
            }
            // Whatever it says later must not fill the pipe and stop it.
            std::thread::spawn(move || io::copy(&mut lines, &mut io::sink()));
            return Ok(server);
        }
    }

    fn that_answers(
        command: &mut Command,
        port: u16,
        question: &[u8],
        scratch: Scratch,
    ) -> io::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self {
            child,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            notifications: None,
            _scratch: Some(scratch),
        };
        server.wait_for_answer(question)?;
        Ok(server)
    }

    /// Asks until there is an answer. A port nobody holds says so at once, hence no sleep but the shortest.
    pub fn wait_for_answer(&self, question: &[u8]) -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(self.address)?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if socket.send(question).is_ok() && socket.recv(&mut [0; 2048]).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Err(io::Error::other(format!("no answer from {}", self.address)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; either way nobody is left to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Ends the thread that reads it.
        if let Some(notifications) = &self.notifications {
            let _ = notifications.shutdown(Shutdown::Both);
        }
    }
}

/// A port that was free a moment ago, for servers that can't say which one they got.
fn free_port() -> io::Result<u16> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// Our client, whole process.
pub fn ask_with_client(server: SocketAddr) -> io::Result<Output> {
    wallclock()
        .args(["--server", &server.to_string(), "%Y/%m/%d %H:%M:%S"])
        .output()
}

/// The Python original's client, whole process.
pub fn ask_with_python(python: &Path, server: SocketAddr) -> io::Result<Output> {
    Command::new(python)
        .args([PYTHON_CLIENT, &server.port().to_string()])
        .output()
}

/// The interpreter itself: a version manager's wrapper script would be measured along with it.
pub fn find_python() -> Option<PathBuf> {
    let output = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    path.is_file().then_some(path)
}

/// chronyd by the variable CHRONYD, in PATH, or where distributions put it.
pub fn find_chronyd() -> Option<PathBuf> {
    let named = env::var_os("CHRONYD").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let searched = env::split_paths(&path).map(|directory| directory.join("chronyd"));
    named
        .into_iter()
        .chain(searched)
        .chain([PathBuf::from("/usr/sbin/chronyd")])
        .find(|path| path.is_file())
}

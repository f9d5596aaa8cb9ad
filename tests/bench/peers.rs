//! The processes to be measured, each started on a free port of the loopback and ended by its own pid.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::echo::Echo;
use crate::support::{wallclock, wallclockd};
use crate::sys;

const PYTHON_SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/server.py");
const PYTHON_CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/client.py");

/// How long anything may take to come up.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running server. Dropping it ends the process and takes its files away.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    _scratch: Option<Scratch>,
}

/// A folder that is taken away, with all in it, when it goes out of scope.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Server {
    /// One of the bare echoes, with `buffer` bytes of receive buffer asked for (the kernel doubles them).
    pub fn echo(echo: Echo, buffer: Option<i32>) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        let value = clap::ValueEnum::to_possible_value(&echo).expect("no variant is skipped");
        command.arg("--serve").arg(value.get_name());
        if let Some(bytes) = buffer {
            command.arg("--buffer").arg(bytes.to_string());
        }
        Self::that_tells_its_port(&mut command)
    }

    /// The daemon, as a user would start it but for the port, whatever the environment has set.
    pub fn daemon(options: &[String]) -> io::Result<Self> {
        Self::that_tells_its_port(wallclockd().args(["--listen", "127.0.0.1:0"]).args(options))
    }

    /// The daemon where it has to ask which address was meant, and which of two sockets was asked.
    pub fn daemon_anywhere(options: &[String]) -> io::Result<Self> {
        let mut server = Self::that_tells_its_port(
            wallclockd()
                .args(["--listen", "[::]:0", "--listen", "127.0.0.1:0"])
                .args(options),
        )?;
        server.address.set_ip(Ipv4Addr::LOCALHOST.into());
        Ok(server)
    }

    /// The Python original.
    pub fn python(python: &Path) -> io::Result<Self> {
        Self::that_tells_its_port(Command::new(python).args([PYTHON_SERVER, "0"]))
    }

    /// chronyd, told to keep its hands off the clock and to talk to nobody else.
    pub fn chronyd(chronyd: &Path) -> io::Result<Self> {
        let port = free_port()?;
        let folder = env::temp_dir().join(format!("wallclock-bench-{}-{port}", std::process::id()));
        fs::create_dir(&folder)?;
        let scratch = Scratch(folder.clone());
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
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut server = Self {
            child,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
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

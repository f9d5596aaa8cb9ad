//! What the tests share: skipping aloud, and daemons that are ended whatever happens.
#![allow(dead_code)]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything that must happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Says why a test does not run here; with WALLCLOCK_TEST_ALL=1 that is a failure.
pub fn skip(reason: &str) {
    assert!(
        env::var_os("WALLCLOCK_TEST_ALL").is_none_or(|all| all != "1"),
        "skipped although WALLCLOCK_TEST_ALL=1: {reason}"
    );
    println!("skipped: {reason}");
}

/// Whether this program can be run.
pub fn has(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

/// libfaketime, where Debian puts it.
pub fn faketime() -> Option<PathBuf> {
    let places = fs::read_dir("/usr/lib").ok()?.flatten();
    let found = places
        .map(|place| place.path().join("faketime/libfaketime.so.1"))
        .find(|path| path.is_file());
    if found.is_none() {
        skip("libfaketime is not installed (Debian package faketime)");
    }
    found
}

/// A folder of one test's own, nobody else's, and gone with it. Its path is short enough for sockets.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = env::temp_dir().join(format!("wallclock-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .expect("a folder");
        Folder(path)
    }

    pub fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, contents).expect("a file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// On-CPU time of a process so far.
pub fn on_cpu(process: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{process}/schedstat")).expect("it lives");
    let first = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(first.expect("a number"))
}

/// Whether this host speaks IPv6, to itself at least.
pub fn has_ipv6() -> bool {
    UdpSocket::bind("[::1]:0").is_ok()
}

/// A process of ours that logs to stderr; killed when it goes out of scope.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    /// Every line seen so far.
    pub log: Vec<String>,
}

impl Process {
    pub fn start(command: &mut Command) -> Process {
        Process::with_stdin(command.stdin(Stdio::null()))
    }

    /// The same with the standard input that the command has.
    pub fn with_stdin(command: &mut Command) -> Process {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let stderr = child.stderr.take().expect("it is piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Process {
            child,
            lines,
            log: Vec::new(),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its on-CPU time so far.
    pub fn on_cpu(&self) -> Duration {
        on_cpu(self.id())
    }

    /// The first line from here on that holds this text.
    pub fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    self.log.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no line with {text:?} ({error}) in {:#?}", self.log),
            }
        }
    }

    /// The address of its next `listening on` line.
    pub fn wait_for_address(&mut self) -> SocketAddr {
        let line = self.wait_for("listening on ");
        line.rsplit(' ')
            .next()
            .and_then(|address| address.parse().ok())
            .expect("an address ends the line")
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.id())])
            .status();
        assert!(status.expect("sh runs").success(), "kill -{name}");
    }

    /// Its end, which must come by itself; all it said is in `log` then.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(1));
        };
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.log.push(line),
                Err(RecvTimeoutError::Disconnected) => return status,
                Err(RecvTimeoutError::Timeout) => panic!("its stderr stays open"),
            }
        }
    }

    /// What it has logged until now, without waiting.
    pub fn said(&mut self) -> &[String] {
        self.log.extend(self.lines.try_iter());
        &self.log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A `wallclockd` without settings from the environment.
pub fn wallclockd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wallclockd"));
    without_settings(&mut command);
    command
}

/// A `wallclock` without settings from the environment.
pub fn wallclock() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wallclock"));
    without_settings(&mut command);
    command
}

fn without_settings(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("WALLCLOCK") {
            command.env_remove(name);
        }
    }
    command
        .env_remove("RUST_LOG")
        .env_remove("JOURNAL_STREAM")
        .env_remove("NOTIFY_SOCKET")
        .env_remove("LISTEN_FDS");
}

/// A daemon on a free port of 127.0.0.1, in UTC.
pub fn daemon() -> (Process, SocketAddr) {
    let mut process = Process::start(wallclockd().args(["--listen", "127.0.0.1:0", "--utc"]));
    let address = process.wait_for_address();
    (process, address)
}

/// The counters a daemon logs when it is asked for them: answered, refused, ignored, unsent, dropped.
pub fn counters(process: &mut Process) -> [u64; 5] {
    process.signal("USR1");
    read_counters(&process.wait_for(" answered="))
}

pub fn read_counters(line: &str) -> [u64; 5] {
    let names = ["answered=", "refused=", "ignored=", "unsent=", "dropped="];
    names.map(|name| read_counter(line, name))
}

pub fn read_counter(line: &str, name: &str) -> u64 {
    let value = line.split(' ').find_map(|word| word.strip_prefix(name));
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("{name} in {line:?}"))
}

/// A socket that asks one server and hears only it.
pub fn line_to(server: SocketAddr) -> UdpSocket {
    let any = if server.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any).expect("a free port");
    socket.connect(server).expect("a route");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    socket
}

/// One question and its answer.
pub fn ask(server: SocketAddr, question: &[u8]) -> Vec<u8> {
    let socket = line_to(server);
    socket.send(question).expect("it is sent");
    let mut answer = vec![0; 65_536];
    let length = socket.recv(&mut answer).expect("an answer");
    answer.truncate(length);
    answer
}

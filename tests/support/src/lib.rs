//! What the tests share: skips that are counted, and daemons that are ended whatever happens.

pub mod faults;
pub mod flood;
pub mod skipped;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

/// After this long, whatever was waited for is taken never to happen. It bounds a hang and nothing
/// else.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How old a daemon's knowledge of a zone file or of the kernel's clock may be: a second, and what
/// the clock that it is counted by may be slewed meanwhile.
pub const LOOK: Duration = Duration::from_millis(1_010);

/// Counts a test, or a part of one, that does not run here; with WALLCLOCK_TEST_ALL=1 that is a
/// failure.
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

/// Whether this program can be run. A stand-in that finds no program behind it ends with status
/// 127.
pub fn has(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.code() != Some(127))
}

/// Skips where one of these programs is missing.
pub fn lacks(programs: &[&str]) -> bool {
    let Some(missing) = programs.iter().find(|program| !has(program)) else {
        return false;
    };
    let package = match *missing {
        "cc" => "gcc",
        "chronyc" => "chrony",
        "find" => "findutils",
        "ip" => "iproute2",
        "man" => "man-db",
        "nc" => "netcat-openbsd",
        "nsenter" | "setpriv" | "unshare" => "util-linux",
        "script" => "bsdutils",
        _ => "",
    };
    match package {
        "" => skip(&format!("no {missing}")),
        _ => skip(&format!("no {missing} (Debian package {package})")),
    }
    true
}

/// Skips where this process does not run as root, or root may not make network namespaces here.
pub fn lacks_namespaces() -> bool {
    if !geteuid().is_root() {
        skip("not root");
        return true;
    }
    if lacks(&["unshare"]) {
        return true;
    }
    let may = Command::new("unshare")
        .args(["--net", "--mount", "true"])
        .stderr(Stdio::null())
        .status();
    let lacks = !may.is_ok_and(|status| status.success());
    if lacks {
        skip("no right to make network namespaces");
    }
    lacks
}

/// Skips where the host does not speak IPv6, to itself at least.
pub fn lacks_ipv6() -> bool {
    let lacks = UdpSocket::bind("[::1]:0").is_err();
    if lacks {
        skip("no IPv6");
    }
    lacks
}

/// libfaketime, where Debian puts it.
pub fn faketime() -> Option<PathBuf> {
    let places = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let found = places
        .map(|place| place.path().join("faketime/libfaketime.so.1"))
        .find(|path| path.is_file());
    if found.is_none() {
        skip("no libfaketime (Debian package faketime)");
    }
    found
}

/// Waits until this holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Asks until the answer is the expected one, which it must be for a question asked later than
/// [`LOOK`] after `changed`.
#[track_caller]
pub fn follows(server: SocketAddr, question: &[u8], expected: &[u8], changed: Instant) {
    loop {
        let asked = Instant::now();
        let answer = ask(server, question);
        if answer == expected {
            return;
        }
        assert!(
            asked - changed <= LOOK,
            "still {:?}, not {:?}",
            String::from_utf8_lossy(&answer),
            String::from_utf8_lossy(expected)
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// Asks until a question asked later than [`LOOK`] after `changed` is answered: all answers must be
/// the expected one.
#[track_caller]
pub fn stays(server: SocketAddr, question: &[u8], expected: &[u8], changed: Instant) {
    loop {
        let asked = Instant::now();
        assert_eq!(ask(server, question), expected);
        if asked - changed > LOOK {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
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

/// A TZif file (RFC 8536) of version 2 with one fixed offset and nothing else.
pub fn tzif(abbreviation: &str, offset: i32) -> Vec<u8> {
    let header = |characters: u32| {
        let mut bytes = b"TZif2".to_vec();
        bytes.extend([0; 15]);
        for count in [0, 0, 0, 0, 1, characters] {
            bytes.extend(u32::to_be_bytes(count));
        }
        bytes
    };
    let mut block = Vec::new();
    block.extend(offset.to_be_bytes());
    block.extend([0, 0]);
    block.extend(abbreviation.as_bytes());
    block.push(0);
    let characters = abbreviation.len() as u32 + 1;
    // The footer's sign is POSIX's: west is positive.
    let footer = format!("\n<{abbreviation}>{}\n", -offset / 3600);
    [
        header(characters),
        block.clone(),
        header(characters),
        block,
        footer.into_bytes(),
    ]
    .concat()
}

/// On-CPU time of a process so far.
pub fn on_cpu(process: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{process}/schedstat")).expect("it lives");
    let first = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(first.expect("a number"))
}

/// What a process is doing (proc(5)): R runs or would, S sleeps, T is stopped.
pub fn state(process: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    fields.chars().next().expect("a state")
}

/// How often a process has given up a processor, or was made to.
pub fn switches(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it lives");
    let lines = status
        .lines()
        .filter_map(|line| line.split_once("_ctxt_switches:"));
    lines
        .map(|(_, count)| count.trim().parse::<u64>().expect("a number"))
        .sum()
}

/// A port that is closed to all, and stays so while the socket lives: it is connected to another
/// port, and the kernel refuses what comes from elsewhere.
pub fn closed_port() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.connect("127.0.0.1:9").expect("a route");
    let address = socket.local_addr().expect("it is bound");
    (socket, address)
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

    /// Sends a signal. STOP returns once the process is stopped.
    pub fn signal(&self, name: &str) {
        let signal = match name {
            "CONT" => Signal::CONT,
            "INT" => Signal::INT,
            "STOP" => Signal::STOP,
            "TERM" => Signal::TERM,
            "USR1" => Signal::USR1,
            _ => panic!("signal {name}"),
        };
        let id = Pid::from_raw(self.id().cast_signed()).expect("a process");
        kill_process(id, signal).expect("it is our child");
        if signal == Signal::STOP {
            until("it stops", || state(self.id()) == 'T');
        }
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

/// A built program. Cargo puts it into the parent of the directory of the test programs.
pub fn program(name: &str) -> PathBuf {
    profile_dir().join(name)
}

/// A directory for files of tests, in the target directory.
pub fn scratch_dir() -> PathBuf {
    let path = profile_dir()
        .parent()
        .expect("the profile is in a target directory")
        .join("tmp");
    fs::create_dir_all(&path).expect("a directory");
    path
}

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn profile_dir() -> PathBuf {
    let test = env::current_exe().expect("this program has a path");
    let deps = test.parent().expect("it is in a directory");
    deps.parent()
        .expect("deps is in a profile's directory")
        .to_owned()
}

/// A `wallclockd` without settings from the environment.
pub fn wallclockd() -> Command {
    let mut command = Command::new(program("wallclockd"));
    without_settings(&mut command);
    command
}

/// A `wallclock` without settings from the environment.
pub fn wallclock() -> Command {
    let mut command = Command::new(program("wallclock"));
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

/// A `wallclock` that waits for each answer as long as any machine needs.
pub fn patient_wallclock() -> Command {
    let mut command = wallclock();
    command.args(["--timeout", &PATIENCE.as_secs().to_string()]);
    command
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

//! Two servers with one address, which keepalived moves between them.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::faults::{ClockStatus, Faults};
use support::{Process, program, within_network};

use super::super::documents::{self, assert_documented, block_with, run_documented};
use super::super::machine::{Machine, TIMEOUT, wait_for};
use super::super::network::{Lan, Namespace, Switch, command_in};
use super::{daemon, daemon_with_clock, skip_without_hosts};

/// Their names, and the last bytes of their addresses; those of the documented files.
const SERVERS: [(&str, usize); 2] = [("AAA", 11), ("BBB", 12)];
/// A third server, which no failure concerns: its responses are the clock of this test.
const CONTROL: (&str, usize) = ("CCC", 13);
/// The shared addresses.
const SHARED: [&str; 2] = ["192.168.7.9", "fd00:7::9"];

/// The time between two requests to a server.
const INTERVAL: Duration = Duration::from_millis(10);
/// The documented limit of a time without an answer is 3 s: the same client gets at most so many
/// answers from the third server meanwhile. On a host that is busy or stands still for a while
/// those are delayed too.
const MAX_MISSED: usize = 300;

/// What happens to a server.
#[derive(Clone, Copy, Debug)]
enum Failure {
    DaemonKilled,
    DaemonHung,
    Unsynchronised,
    KeepalivedKilled,
}

/// A host with a daemon and keepalived.
struct Server {
    name: &'static str,
    host: Namespace,
    file: String,
    daemon: Process,
    clock: Faults,
    keepalived: Process,
}

impl Server {
    /// Starts both. Returns `None`, and a skipped test, without a C compiler.
    fn start(switch: &Switch, server: usize, file: String) -> Option<Self> {
        let (name, number) = SERVERS[server];
        let host = switch.host(number);
        load_firewall(&host);
        let started = start_daemon(&host, name);
        let Some((daemon, clock)) = started else {
            support::skip("no C compiler (Debian package gcc)");
            return None;
        };
        let mut keepalived = start_keepalived(&host, &file);
        keepalived.wait_for("Entering BACKUP STATE");
        Some(Self {
            name,
            host,
            file,
            daemon,
            clock,
            keepalived,
        })
    }

    fn fail(&mut self, failure: Failure) {
        // What is logged from now on is about the failure.
        self.keepalived.log_lines();
        match failure {
            Failure::DaemonKilled => self.daemon.kill(),
            Failure::DaemonHung => self.daemon.signal("STOP"),
            Failure::Unsynchronised => self.clock.set_clock_status(ClockStatus::Unsynchronised),
            Failure::KeepalivedKilled => self.keepalived.kill(),
        }
    }

    /// Ends the failure, and waits until this server is ready to take over.
    fn repair(&mut self, failure: Failure) {
        match failure {
            Failure::DaemonKilled => {
                (self.daemon, self.clock) =
                    start_daemon(&self.host, self.name).expect("started before");
            }
            Failure::DaemonHung => self.daemon.signal("CONT"),
            Failure::Unsynchronised => self.clock.set_clock_status(ClockStatus::Synchronised),
            Failure::KeepalivedKilled => {
                self.keepalived = start_keepalived(&self.host, &self.file);
            }
        }
        self.keepalived.wait_for("Entering BACKUP STATE");
    }

    /// The number of lines in the log of keepalived.
    fn log_length(&mut self) -> usize {
        self.keepalived.log_lines().len()
    }

    /// Whether a check has failed since the log had this length.
    fn has_failed_since(&mut self, length: usize) -> bool {
        let mut lines = self.keepalived.log_lines()[length..].iter();
        lines.any(|line| line.contains("Entering FAULT STATE"))
    }

    /// The number of shared addresses that this host has.
    fn shared_addresses(&self) -> usize {
        let output = command_in(self.host.pid(), "ip")
            .args(["-brief", "address", "show", "dev", "eth0"])
            .output()
            .expect("ip");
        let printed = String::from_utf8_lossy(&output.stdout);
        let shared = printed
            .split([' ', '/'])
            .filter(|word| SHARED.contains(word));
        shared.count()
    }
}

/// Whether processes may have a real-time priority here. With one, other work of the host does not
/// delay the check of keepalived, which has 0.2 s.
fn real_time() -> bool {
    let status = Command::new("chrt")
        .args(["--fifo", "10", "true"])
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Gives a process or thread a real-time priority where that is possible.
fn prioritize(id: u32) {
    if real_time() {
        let _ = Command::new("chrt")
            .args(["--all-tasks", "--fifo", "--pid", "10", &id.to_string()])
            .status();
    }
}

fn start_daemon(host: &Namespace, name: &str) -> Option<(Process, Faults)> {
    let settings = block_with("WALLCLOCKD_REQUIRE_SYNC=true");
    let (daemon, clock) = daemon_with_clock(host, name, &settings, ClockStatus::Synchronised)?;
    prioritize(daemon.id());
    Some((daemon, clock))
}

/// Starts keepalived in a mount namespace of its own, because its files in /run have fixed names,
/// and in a process namespace, so that all its processes can be killed at once.
fn start_keepalived(host: &Namespace, file: &str) -> Process {
    let chrt = if real_time() { "chrt --fifo 10" } else { "" };
    let client = program("wallclock");
    // The user of the check may not reach the directory of the program.
    let script = format!(
        "mount -t tmpfs tmpfs /run
         touch /run/wallclock
         mount --bind {} /run/wallclock
         cat >/run/keepalived.conf
         exec >&2 </dev/null
         {chrt} keepalived --dont-fork --log-console --no-syslog --vrrp \
             --use-file=/run/keepalived.conf
         exit",
        client.display()
    );
    let mut command = command_in(host.pid(), "unshare");
    command
        .args(["--mount", "--pid", "--fork", "--kill-child=KILL"])
        .args(["--mount-proc", "sh", "-ec", &script])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let file = file.replace("/usr/bin/wallclock", "/run/wallclock");
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let process = Process::start_with_stdin(command.stdin(reader));
    writer.write_all(file.as_bytes()).expect("the file is read");
    process
}

/// Loads the documented rules, in a chain that drops the rest.
fn load_firewall(host: &Namespace) {
    let rules = [
        block_with("ip saddr 192.168.7.0/24 udp dport 9527 accept"),
        block_with("ip saddr { 192.168.7.11, 192.168.7.12 } ip protocol 112 accept"),
    ];
    super::recipes::load_rules(host, &rules.concat());
}

/// A client that sends a request to each server every [`INTERVAL`].
struct Client {
    answers: Arc<Mutex<Answers>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Answers {
    /// For each server: when a time came, and whose.
    times: Vec<Vec<(Instant, String)>>,
    /// The sources of responses that are not the address asked.
    wrong: Vec<SocketAddr>,
}

impl Answers {
    /// The longest time without an answer from this server after `start`, and the number of answers
    /// of the last server meanwhile.
    fn longest_gap(&self, server: usize, start: Instant) -> (Duration, usize) {
        let pairs = self.times[server].windows(2);
        let gaps = pairs.map(|pair| (pair[0].0, pair[1].0));
        let longest = gaps
            .filter(|(_, end)| *end > start)
            .max_by_key(|(begin, end)| *end - *begin);
        let (begin, end) = longest.expect("answers after the start");
        let control = self.times.last().expect("a last server");
        let meanwhile = control.iter().filter(|(at, _)| begin < *at && *at < end);
        (end - begin, meanwhile.count())
    }
}

impl Client {
    fn start(host: &Namespace, servers: &[&str]) -> Self {
        let servers: Vec<IpAddr> = servers
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect();
        let sockets: Vec<_> = servers
            .iter()
            .map(|server| {
                let any = match server {
                    IpAddr::V4(_) => "0.0.0.0:0",
                    IpAddr::V6(_) => "[::]:0",
                };
                // Not connected, so that it gets responses from any address.
                let socket = within_network(host.pid(), || UdpSocket::bind(any));
                let socket = socket.expect("a socket");
                socket.set_nonblocking(true).expect("its mode");
                (socket, SocketAddr::new(*server, 9527))
            })
            .collect();
        let answers = Arc::new(Mutex::new(Answers {
            times: vec![Vec::new(); servers.len()],
            wrong: Vec::new(),
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (answers, stop) = (answers.clone(), stop.clone());
            thread::spawn(move || {
                prioritize(
                    rustix::thread::gettid()
                        .as_raw_nonzero()
                        .get()
                        .cast_unsigned(),
                );
                while !stop.load(Relaxed) {
                    for (socket, server) in &sockets {
                        // An error is that of a host that is away.
                        let _ = socket.send_to(b"%Z", server);
                    }
                    thread::sleep(INTERVAL);
                    let mut answers = answers.lock().expect("no panic");
                    for (number, (socket, server)) in sockets.iter().enumerate() {
                        receive_all(socket, *server, number, &mut answers);
                    }
                }
            })
        };
        Self {
            answers,
            stop,
            thread: Some(thread),
        }
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().expect("no panic")
    }

    /// Waits until the answers to both shared addresses after `start` come from one server that is
    /// in question. Returns its index.
    fn wait_for_server(&self, start: Instant, servers: &[usize]) -> usize {
        wait_for("answers from one server", TIMEOUT, || {
            let answers = self.answers();
            let is_from = |server: &&usize| {
                answers.times[..SHARED.len()].iter().all(|times| {
                    let last = times.last();
                    last.is_some_and(|(at, name)| *at > start && *name == SERVERS[**server].0)
                })
            };
            servers.iter().find(is_from).copied()
        })
    }

    /// Waits until as many answers to each shared address have come after `start`.
    fn wait_for_answers(&self, start: Instant, count: usize) {
        wait_for("answers", TIMEOUT, || {
            let answers = self.answers();
            let mut shared = answers.times[..SHARED.len()].iter();
            let after = |times: &Vec<(Instant, String)>| {
                let later = times.iter().filter(|(at, _)| *at > start);
                later.count() >= count
            };
            shared.all(after).then_some(())
        });
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn receive_all(socket: &UdpSocket, server: SocketAddr, number: usize, answers: &mut Answers) {
    let mut buf = [0; 64];
    while let Ok((length, source)) = socket.recv_from(&mut buf) {
        let response = String::from_utf8_lossy(&buf[..length]).into_owned();
        if source != server {
            answers.wrong.push(source);
        } else if !response.starts_with("error: ") {
            answers.times[number].push((Instant::now(), response));
        }
    }
}

/// The documented file, and the same with the documented lines for unicast.
fn files(unicast: bool) -> [String; 2] {
    let file = block_with("vrrp_instance wallclock {");
    [(11, 12), (12, 11)].map(|(_, peer)| {
        if !unicast {
            return file.clone();
        }
        let lines = block_with("    unicast_peer {");
        let lines = lines.replace("192.168.7.12", &format!("192.168.7.{peer}"));
        let instance = "vrrp_instance wallclock {\n";
        file.replace(instance, &format!("{instance}{lines}"))
    })
}

/// Fails the server that has the address in each of these ways. The other takes over each time.
fn assert_takeover(unicast: bool, failures: &[Failure]) {
    if skip_without_hosts(&["keepalived", "nft", "chrt"]) {
        return;
    }
    let switch = Switch::new();
    let [first, second] = files(unicast);
    let Some(first) = Server::start(&switch, 0, first) else {
        return;
    };
    let Some(second) = Server::start(&switch, 1, second) else {
        return;
    };
    let mut servers = [first, second];
    let control_host = switch.host(CONTROL.1);
    let control = daemon(&control_host, CONTROL.0, "");
    prioritize(control.id());
    let client_host = switch.host(21);
    let control_address = format!("192.168.7.{}", CONTROL.1);
    let client = Client::start(&client_host, &[SHARED[0], SHARED[1], &control_address]);

    for &failure in failures {
        // The check runs once a second: the failure comes at any moment between two.
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a time");
        thread::sleep(Duration::from_millis(u64::from(now.subsec_nanos() % 1000)));
        let active = client.wait_for_server(Instant::now(), &[0, 1]);
        let other = 1 - active;
        let start = Instant::now();
        let healthy = servers[other].log_length();
        servers[active].fail(failure);
        client.wait_for_server(start, &[other]);
        if let Failure::KeepalivedKilled = failure {
            // Both hosts have the addresses now. A client that looks for them anew finds either.
            assert_eq!(servers.each_ref().map(Server::shared_addresses), [2, 2]);
            client_host.ip("neigh flush dev eth0");
            client.wait_for_answers(Instant::now(), 20);
        }
        servers[active].repair(failure);
        // The server that has been repaired takes the address back only if the other fails.
        let holder = client.wait_for_server(Instant::now(), &[0, 1]);
        assert!(
            holder == other || servers[other].has_failed_since(healthy),
            "{failure:?}: taken back: {:#?}",
            servers[other].keepalived.log
        );
        for (address, name) in SHARED.iter().enumerate() {
            let (gap, missed) = client.answers().longest_gap(address, start);
            eprintln!(
                "{failure:?}: {name}: {} ms without an answer",
                gap.as_millis()
            );
            assert!(
                missed <= MAX_MISSED,
                "{failure:?}: {name}: {gap:?}, {missed} missed"
            );
        }
    }
    assert_eq!(client.answers().wrong, []);
}

#[test]
fn address_moves_to_the_other_server_after_each_failure() {
    assert_takeover(
        false,
        &[
            Failure::DaemonKilled,
            Failure::DaemonHung,
            Failure::Unsynchronised,
            Failure::KeepalivedKilled,
        ],
    );
}

#[test]
fn address_moves_between_servers_that_use_unicast() {
    assert_takeover(true, &[Failure::DaemonKilled]);
}

#[test]
fn keepalived_that_dies_is_restarted_and_gets_the_address_again() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    if !machine.path("/usr/sbin/keepalived").exists() {
        return support::skip("no keepalived (Debian package keepalived)");
    }
    let lan = Lan::new(&machine);
    // The test host may have masked its keepalived.
    machine.sh("rm -f /etc/systemd/system/keepalived.service; systemctl daemon-reload");
    machine.write(
        "/etc/keepalived/keepalived.conf",
        &block_with("vrrp_instance wallclock {"),
    );
    let edit = documents::EDIT_KEEPALIVED.line();
    assert_documented(edit);
    machine.edit(edit, &block_with("RestartSec=2s"));
    run_documented(&machine, documents::ENABLE_KEEPALIVED);
    run_documented(&machine, documents::RESTART_KEEPALIVED);
    let wait_for_address = |times: usize| {
        wait_for("keepalived to take the address", TIMEOUT, || {
            let log = machine.journal(&["--unit", "keepalived"]);
            (log.matches("Entering MASTER STATE").count() >= times).then_some(())
        });
        for server in SHARED {
            let server = SocketAddr::new(server.parse().expect("an address"), 9527);
            let socket = lan.socket(1, &server.to_string());
            // The line in the log comes first, and on a busy machine a check may fail.
            let pause = Some(Duration::from_millis(500));
            socket.set_read_timeout(pause).expect("a time-out");
            wait_for("a response from the shared address", TIMEOUT, || {
                socket.send(b"%Y").ok()?;
                socket.recv(&mut [0; 64]).ok()
            });
        }
    };
    wait_for_address(1);
    machine.run(&["systemctl", "kill", "--signal=KILL", "keepalived"]);
    wait_for_address(2);
    assert_eq!(machine.property("keepalived", "NRestarts"), "1");
}

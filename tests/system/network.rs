//! Other hosts, each a network namespace, on one LAN with the machine.

use std::ffi::OsStr;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::within_network;

use super::machine::{Machine, TIMEOUT, wait_for};

/// The machine's addresses on the LAN; the examples of systemd/README.md use the same.
pub const V4: &str = "192.168.7.10";
pub const V6: &str = "fd00:7::10";
/// Its address in another private network, in which host 0 has an address too.
pub const OTHER: &str = "10.1.2.10";
/// Its address in a network that is not private (TEST-NET-3, RFC 5737), and that of host 0.
const PUBLIC: &str = "203.0.113.10";
const PUBLIC_HOST: &str = "203.0.113.7";

/// How long a response that must not come is waited for, after a later request has its response.
const NO_RESPONSE_TIME: Duration = Duration::from_millis(300);

/// A network namespace. It has no name, and disappears with the sleeping process that is in it.
pub struct Namespace(Child);

impl Namespace {
    pub fn new() -> Self {
        let holder = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "unshare",
                "--net",
                "sleep",
                "infinity",
            ])
            .stdin(Stdio::null())
            .spawn()
            .expect("setpriv");
        let ours = std::fs::read_link("/proc/self/ns/net").expect("the test's namespace");
        let link = format!("/proc/{}/ns/net", holder.id());
        wait_for("a network namespace", TIMEOUT, || {
            std::fs::read_link(&link).ok().filter(|link| *link != ours)
        });
        Self(holder)
    }

    /// The process in it.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Runs `ip` in it.
    pub fn ip(&self, arguments: &str) {
        ip(self.pid(), arguments);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `ip` in the network namespace of a process.
pub fn ip(pid: u32, arguments: &str) {
    let status = Command::new("nsenter")
        .args(["-t", &pid.to_string(), "-n", "ip"])
        .args(arguments.split(' '))
        .status()
        .expect("nsenter");
    assert!(status.success(), "ip {arguments}: {status}");
}

/// A command in the network namespace of a process, without settings from the environment. It ends
/// with the test.
pub fn command_in(pid: u32, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command
        .args(["-t", &pid.to_string(), "-n"])
        .args(["setpriv", "--pdeathsig", "KILL"])
        .arg(program)
        .stdin(Stdio::null());
    remove_settings(&mut command);
    command
}

/// A line of shell in the network namespace of a process, with the built programs in its PATH and
/// without settings from the environment. Everything that it starts ends with it.
pub fn shell_in(pid: u32, line: &str) -> Command {
    let programs = support::program("wallclock");
    let programs = programs.parent().expect("the programs are in a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("nsenter");
    command
        .args(["-t", &pid.to_string(), "-n"])
        .args(["unshare", "--pid", "--fork", "--kill-child=KILL"])
        .args(["sh", "-ec", line])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC0")
        .stdin(Stdio::null());
    remove_settings(&mut command);
    command
}

/// Removes the settings of the environment from a command.
fn remove_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("WALLCLOCK") || text == "RUST_LOG" {
            command.env_remove(name);
        }
    }
}

/// A socket in a namespace, connected to `server`, with a buffer for every response.
fn connected_socket(pid: u32, server: SocketAddr, from: Option<IpAddr>) -> UdpSocket {
    within_network(pid, || {
        let any: IpAddr = if server.is_ipv4() {
            [0; 4].into()
        } else {
            [0; 16].into()
        };
        let socket = UdpSocket::bind((from.unwrap_or(any), 0)).expect("a socket");
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 16 << 20)
            .expect("a large buffer");
        socket.connect(server).expect("a server");
        socket
    })
}

/// A socket in the network namespace of a process, connected to `server`.
pub fn host_socket(pid: u32, server: &str) -> UdpSocket {
    connected_socket(pid, server.parse().expect("an address"), None)
}

/// A socket on the machine itself.
pub fn local_socket(machine: &Machine, server: &str) -> UdpSocket {
    host_socket(machine.pid(), server)
}

/// Sends one request and returns the response, or `None` if there is none within [`TIMEOUT`].
pub fn query(socket: &UdpSocket, request: &str) -> Option<String> {
    socket.set_read_timeout(Some(TIMEOUT)).expect("a time-out");
    let mut buf = [0; 2048];
    socket.send(request.as_bytes()).ok()?;
    let length = socket.recv(&mut buf).ok()?;
    Some(String::from_utf8_lossy(&buf[..length]).into_owned())
}

/// Asserts that a request gets a response. `who` describes the socket.
#[track_caller]
pub fn assert_answered(socket: &UdpSocket, who: &str) {
    assert!(query(socket, "%Y").is_some(), "{who} got no response");
}

/// Asserts that a request from `socket` gets no response, though a later one from `control` does.
#[track_caller]
pub fn assert_ignored(socket: &UdpSocket, control: &UdpSocket, who: &str) {
    // Where no socket listens, an ICMP error comes instead.
    let _ = socket.send(b"%Y");
    assert_answered(control, &format!("{who}: the control"));
    socket
        .set_read_timeout(Some(NO_RESPONSE_TIME))
        .expect("a time-out");
    assert!(socket.recv(&mut [0; 64]).is_err(), "{who} got a response");
}

/// An Ethernet switch. Its ports disappear with it.
pub struct Switch(Namespace);

impl Switch {
    pub fn new() -> Self {
        let switch = Namespace::new();
        switch.ip("link add br0 type bridge");
        switch.ip("link set br0 up");
        Self(switch)
    }

    /// Connects the network namespace of a process by an interface eth0 with these addresses. Each
    /// connection has another number.
    pub fn connect(&self, pid: u32, number: usize, addresses: &[String]) {
        let port = format!("port{number}");
        let peer = self.0.pid();
        ip(
            pid,
            &format!("link add eth0 type veth peer name {port} netns {peer}"),
        );
        self.0.ip(&format!("link set {port} master br0 up"));
        ip(pid, "link set lo up");
        for address in addresses {
            ip(pid, &format!("addr add {address} dev eth0"));
        }
        ip(pid, "link set eth0 up");
    }

    /// Connects a new host, 192.168.7.NUMBER and fd00:7::NUMBER.
    pub fn host(&self, number: usize) -> Namespace {
        let host = Namespace::new();
        let addresses = [
            format!("192.168.7.{number}/24"),
            format!("fd00:7::{number}/64 nodad"),
        ];
        self.connect(host.pid(), number, &addresses);
        host
    }
}

/// Three hosts and the machine on one Ethernet.
pub struct Lan {
    hosts: Vec<Namespace>,
    _switch: Switch,
}

impl Lan {
    /// Connects the machine and three new hosts to a switch. Host 0 also has a public address.
    pub fn new(machine: &Machine) -> Self {
        let switch = Switch::new();
        let addresses = [
            format!("{V4}/24"),
            format!("{V6}/64 nodad"),
            format!("{OTHER}/24"),
            format!("{PUBLIC}/24"),
        ];
        switch.connect(machine.pid(), 0, &addresses);
        let hosts: Vec<_> = (21..24).map(|number| switch.host(number)).collect();
        hosts[0].ip("addr add 10.1.2.21/24 dev eth0");
        hosts[0].ip(&format!("addr add {PUBLIC_HOST}/24 dev eth0"));
        Self {
            hosts,
            _switch: switch,
        }
    }

    /// The process whose network namespace is host `number` (0, 1 or 2).
    pub fn pid(&self, number: usize) -> u32 {
        self.hosts[number].pid()
    }

    /// A socket of host `number`, connected to `server`.
    pub fn socket(&self, number: usize, server: &str) -> UdpSocket {
        host_socket(self.pid(number), server)
    }

    /// A socket on a public address of host 0, connected to the machine's public address.
    pub fn public_socket(&self) -> UdpSocket {
        let server = SocketAddr::new(PUBLIC.parse().expect("an address"), 9527);
        connected_socket(
            self.pid(0),
            server,
            Some(PUBLIC_HOST.parse().expect("an address")),
        )
    }

    /// One socket for each host and each address family.
    pub fn sockets(&self) -> Vec<UdpSocket> {
        let servers = [format!("{V4}:9527"), format!("[{V6}]:9527")];
        (0..3)
            .flat_map(|host| servers.iter().map(move |server| (host, server)))
            .map(|(host, server)| self.socket(host, server))
            .collect()
    }
}

//! The room: other hosts, each a network namespace, on one switch with the machine.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::machine::{Machine, SOON, wait_for};

/// The machine's addresses in the room; the README's examples use the same.
pub const V4: &str = "192.168.7.10";
pub const V6: &str = "fd00:7::10";
/// Its address in another private network, where host 0 has a foot too.
pub const OTHER: &str = "10.1.2.10";
/// Its address on a network that is none of the private ones (TEST-NET-3, RFC 5737), and host 0's
/// there.
const PUBLIC: &str = "203.0.113.10";
const STRANGER: &str = "203.0.113.7";

/// A network namespace, held by a process that does nothing else: gone with it, so no name is left
/// behind.
struct Namespace(Child);

impl Namespace {
    fn new() -> Self {
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
        let ours = std::fs::read_link("/proc/self/ns/net").expect("our own namespace");
        let theirs = format!("/proc/{}/ns/net", holder.id());
        wait_for("a network namespace", SOON, || {
            std::fs::read_link(&theirs)
                .ok()
                .filter(|link| *link != ours)
        });
        Self(holder)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `ip` with each line's words in the network namespace of a process.
fn ip(pid: u32, lines: &[String]) {
    for line in lines {
        let status = Command::new("nsenter")
            .args(["-t", &pid.to_string(), "-n", "ip"])
            .args(line.split(' '))
            .status()
            .expect("nsenter");
        assert!(status.success(), "ip {line}: {status}");
    }
}

/// Does something inside the network namespace of a process; sockets made there stay there.
pub fn within<T: Send>(pid: u32, work: impl FnOnce() -> T + Send) -> T {
    // On a thread of its own, because a thread that has moved can't be given back to the test.
    std::thread::scope(|scope| {
        let moved = scope.spawn(|| {
            let namespace = File::open(format!("/proc/{pid}/ns/net")).expect("a network namespace");
            rustix::thread::move_into_link_name_space(
                namespace.as_fd(),
                Some(rustix::thread::LinkNameSpaceType::Network),
            )
            .expect("to enter it");
            work()
        });
        moved
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A socket of a namespace that asks `server`, with room for every answer to it.
fn asking(pid: u32, server: SocketAddr, from: Option<IpAddr>) -> UdpSocket {
    within(pid, || {
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

/// A socket on the machine itself.
pub fn on(machine: &Machine, server: &str) -> UdpSocket {
    asking(machine.pid(), server.parse().expect("an address"), None)
}

/// Asks once and gives the answer, or `None` if there is none within `patience`.
pub fn ask(socket: &UdpSocket, question: &str, patience: Duration) -> Option<String> {
    socket.set_read_timeout(Some(patience)).expect("a time-out");
    let mut buffer = [0; 2048];
    socket.send(question.as_bytes()).ok()?;
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Three hosts and the machine on one switch.
pub struct Room {
    hosts: Vec<Namespace>,
    _switch: Namespace,
}

impl Room {
    /// Puts the machine's eth0 and those of three new hosts on a switch; host 0 also has a public
    /// address.
    pub fn around(machine: &Machine) -> Self {
        let switch = Namespace::new();
        let port = switch.0.id();
        ip(
            port,
            &["link add br0 type bridge".into(), "link set br0 up".into()],
        );
        let plug = |pid: u32, number: usize, addresses: &[String]| {
            ip(
                pid,
                &[format!(
                    "link add eth0 type veth peer name port{number} netns {port}"
                )],
            );
            ip(port, &[format!("link set port{number} master br0 up")]);
            ip(pid, &["link set lo up".into()]);
            ip(
                pid,
                &addresses
                    .iter()
                    .map(|address| format!("addr add {address} dev eth0"))
                    .collect::<Vec<_>>(),
            );
            ip(pid, &["link set eth0 up".into()]);
        };
        let ours = [
            format!("{V4}/24"),
            format!("{V6}/64 nodad"),
            format!("{OTHER}/24"),
            format!("{PUBLIC}/24"),
        ];
        plug(machine.pid(), 0, &ours);
        let hosts: Vec<_> = (0..3).map(|_| Namespace::new()).collect();
        for (number, host) in (21..).zip(&hosts) {
            plug(
                host.0.id(),
                number,
                &[
                    format!("192.168.7.{number}/24"),
                    format!("fd00:7::{number}/64 nodad"),
                ],
            );
        }
        ip(
            hosts[0].0.id(),
            &[
                "addr add 10.1.2.21/24 dev eth0".into(),
                format!("addr add {STRANGER}/24 dev eth0"),
            ],
        );
        Self {
            hosts,
            _switch: switch,
        }
    }

    /// The process whose network namespace is host `number` (0, 1 or 2).
    pub fn pid(&self, number: usize) -> u32 {
        self.hosts[number].0.id()
    }

    /// A socket of host `number` that asks `server`.
    pub fn host(&self, number: usize, server: &str) -> UdpSocket {
        asking(self.pid(number), server.parse().expect("an address"), None)
    }

    /// A socket of the stranger outside all private networks, asking the machine's public address.
    pub fn stranger(&self) -> UdpSocket {
        let server = SocketAddr::new(PUBLIC.parse().expect("an address"), 9527);
        asking(
            self.pid(0),
            server,
            Some(STRANGER.parse().expect("an address")),
        )
    }

    /// One socket for each host and family: what the whole room asks with.
    pub fn everyone(&self) -> Vec<UdpSocket> {
        let servers = [format!("{V4}:9527"), format!("[{V6}]:9527")];
        (0..3)
            .flat_map(|host| servers.iter().map(move |server| (host, server)))
            .map(|(h, s)| self.host(h, s))
            .collect()
    }
}

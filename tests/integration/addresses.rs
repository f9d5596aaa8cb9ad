//! Two hosts, network namespaces with a veth pair between them: each response leaves from the
//! address that the request was sent to.

use std::net::UdpSocket;
use std::process::{Command, Output};

use support::{
    Process, parse_counter, request_counters, skip_without, skip_without_ipv6,
    skip_without_namespaces, wait_until, wallclock, wallclockd, within_network,
};
use wallclock::endpoint::Endpoint;

/// For `wallclock --timeout`: longer than any machine needs.
const LONG_TIMEOUT: &str = "60";

/// A network namespace, removed with its process.
pub struct Host(Process);

impl Host {
    pub fn new() -> Host {
        // The kernel kills it if this test program dies.
        let mut process = Process::start(Command::new("setpriv").args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--net",
            "sh",
            "-c",
            "echo up >&2; exec sleep 600",
        ]));
        process.wait_for("up");
        Host(process)
    }

    /// The process whose network namespace it is.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Returns the command as it runs on this host.
    pub fn on(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside
            .args(["-t", &self.0.id().to_string(), "--net", "--"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// Binds a socket on this host that may send broadcasts and never waits for a response.
    fn socket(&self, address: &str) -> UdpSocket {
        within_network(self.0.id(), || {
            let socket = UdpSocket::bind(address).expect("a free port");
            socket.set_broadcast(true).expect("SO_BROADCAST");
            socket.set_nonblocking(true).expect("non-blocking");
            socket
        })
    }

    /// Runs ip(8).
    fn ip(&self, arguments: &str) {
        self.run(&format!("ip {arguments}"));
    }

    /// Runs a script of the shell, of which no command may fail.
    pub fn run(&self, script: &str) {
        let mut shell = self.on(Command::new("sh").args(["-ec", script]));
        let status = shell.status().expect("sh runs");
        assert!(status.success(), "{script}");
    }
}

/// Returns the hosts of the server and of the client, not yet connected. Skips the test where that
/// is not possible.
fn hosts_or_skip() -> Option<(Host, Host)> {
    if skip_without_namespaces()
        || skip_without(&["ip", "nsenter", "setpriv"])
        || skip_without_ipv6()
    {
        return None;
    }
    Some((Host::new(), Host::new()))
}

/// Connects the two hosts by a veth pair, eth0 on both. The server is 10.98.0.1, the client
/// 10.98.0.2.
fn connect(server: &Host, client: &Host) {
    server.ip(&format!(
        "link add eth0 type veth peer name eth0 netns {}",
        client.pid()
    ));
    for (host, number) in [(server, 1), (client, 2)] {
        host.ip("link set lo up");
        host.ip(&format!(
            "addr add 10.98.0.{number}/24 brd 10.98.0.255 dev eth0"
        ));
        host.ip(&format!("addr add fd98::{number}/64 dev eth0 nodad"));
        host.ip(&format!("addr add fe80::{number}/64 dev eth0 nodad"));
        host.ip("link set eth0 up");
    }
}

/// Runs `wallclock -s SERVER FORMAT` on a host, with a long time-out.
fn query_from(client: &Host, server: &str, format: &str) -> Output {
    client
        .on(wallclock().args(["-s", server, "-t", LONG_TIMEOUT, format]))
        .output()
        .expect("wallclock runs")
}

/// The exit status of `wallclock` on the client's host, with one try of this time-out.
fn try_once(client: &Host, timeout: &str) -> Option<i32> {
    let mut command = wallclock();
    command.args(["-s", "10.98.0.1", "-t", timeout, "-r", "0", "+%s"]);
    let output = client.on(&command).output().expect("wallclock runs");
    output.status.code()
}

/// The interface disappears while a request is queued. The daemon loses the response to it and no
/// other, and counts it.
#[test]
fn lost_interface_costs_only_its_own_responses() {
    let Some((server, client)) = hosts_or_skip() else {
        return;
    };
    connect(&server, &client);
    for listen in [
        &["-l", "10.98.0.1:9527"][..],
        &["-l", "[::]:9527"],
        &["-l", "[fd98::1]:9527", "-l", "10.98.0.1:9527"],
    ] {
        let mut daemon = Process::start(&mut server.on(wallclockd().args(listen).arg("--utc")));
        daemon.wait_for_address();
        // A new veth pair may lose the first datagram; the neighbour is then resolved again after a
        // second.
        assert_eq!(try_once(&client, LONG_TIMEOUT), Some(0), "{listen:?}");
        daemon.signal("STOP");
        assert_eq!(try_once(&client, "0.3"), Some(3), "{listen:?}");
        server.ip("link del eth0");
        daemon.signal("CONT");
        let mut counters = [0; 5];
        wait_until("the second request is not received", || {
            counters = request_counters(&mut daemon);
            counters[0] == 2
        });
        let [_, _, _, unsent, _] = counters;
        assert_eq!(unsent, 1, "{listen:?}");
        connect(&server, &client);
        assert_eq!(try_once(&client, LONG_TIMEOUT), Some(0), "{listen:?}");
        let last = daemon.terminate();
        assert_eq!(parse_counter(last, "failed="), 0, "{last}");
    }
}

#[test]
fn wildcard_socket_responds_from_requested_address() {
    let Some((server, client)) = hosts_or_skip() else {
        return;
    };
    connect(&server, &client);
    server.ip("addr add 10.98.0.7/24 dev eth0");
    server.ip("addr add fd98::7/64 dev eth0 nodad");
    // An address of an interface that the route to the client does not use.
    server.ip("addr add 10.99.0.1/32 dev lo");
    client.ip("route add 10.99.0.1/32 via 10.98.0.1");

    for listen in ["[::]:9527", "0.0.0.0:9527"] {
        let mut daemon =
            Process::start(&mut server.on(wallclockd().args(["--listen", listen, "--utc"])));
        daemon.wait_for_address();
        let mut addresses = vec!["10.98.0.1", "10.98.0.7", "10.99.0.1"];
        if listen.starts_with('[') {
            addresses.extend(["fd98::1", "fd98::7", "fe80::1%eth0"]);
        }
        for address in addresses {
            let output = query_from(&client, address, "+%Z");
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                "UTC\n",
                "{address} at {listen}: {output:?}"
            );
        }
        daemon.terminate();
    }
}

/// Several sockets and hosts receive such a request. Their responses together would be longer than
/// rule 6 allows.
#[test]
fn rule_1_broadcast_and_multicast_get_no_response() {
    let Some((server, client)) = hosts_or_skip() else {
        return;
    };
    connect(&server, &client);
    client.ip("route add 255.255.255.255/32 dev eth0");
    client.ip("route add 224.0.0.0/4 dev eth0");
    for listen in ["[::]:9527", "0.0.0.0:9527"] {
        let start = |_| {
            let arguments = ["--listen", listen, "--reuse-port", "--utc"];
            let mut daemon = Process::start(&mut server.on(wallclockd().args(arguments)));
            daemon.wait_for_address();
            daemon
        };
        let mut daemons: Vec<_> = (0..4).map(start).collect();
        let (v4, v6) = (client.socket("0.0.0.0:0"), client.socket("[::]:0"));
        let multicast = if listen.starts_with('[') {
            (&v6, "[ff02::1%eth0]:9527")
        } else {
            // An IPv6 socket does not receive it.
            (&v4, "224.0.0.1:9527")
        };
        let requests = [
            (&v4, "10.98.0.255:9527"),
            (&v4, "255.255.255.255:9527"),
            multicast,
        ];
        for (sent, (socket, destination)) in (1..).zip(&requests) {
            within_network(client.0.id(), || {
                // It reads the number of an interface, here that of the client's eth0.
                let endpoint: Endpoint = destination.parse().expect("an address");
                let addresses = endpoint.resolve().expect("an address");
                let sent = socket.send_to(b"%Z", addresses[0]);
                sent.unwrap_or_else(|error| panic!("{destination}: {error}"));
            });
            for daemon in &mut daemons {
                let mut counters = [0; 5];
                let missing = format!("an instance receives no request to {destination}");
                wait_until(&missing, || {
                    counters = request_counters(daemon);
                    counters[..3].iter().sum::<u64>() == sent
                });
                assert_eq!(counters, [0, 0, sent, 0, 0], "{listen} {destination}");
            }
        }
        for socket in [v4, v6] {
            assert!(socket.recv(&mut [0; 64]).is_err(), "{listen}: a response");
        }
        // The path and the instances work.
        assert_eq!(try_once(&client, LONG_TIMEOUT), Some(0), "{listen}");
    }
}

/// The address that a request was sent to is removed before the response. A response from another
/// address would look like that of another server.
#[test]
fn response_from_a_removed_address_is_unsent() {
    let Some((server, client)) = hosts_or_skip() else {
        return;
    };
    connect(&server, &client);
    let socket = client.socket("0.0.0.0:0");
    for listen in ["[::]:9527", "0.0.0.0:9527"] {
        server.ip("addr add 10.98.0.7/24 dev eth0");
        let arguments = ["--listen", listen, "--utc"];
        let mut daemon = Process::start(&mut server.on(wallclockd().args(arguments)));
        daemon.wait_for_address();
        // So that the neighbours are resolved.
        assert_eq!(
            query_from(&client, "10.98.0.7", "+%Z").status.code(),
            Some(0)
        );
        daemon.signal("STOP");
        socket.send_to(b"%Z", "10.98.0.7:9527").expect("a request");
        server.ip("addr del 10.98.0.7/24 dev eth0");
        daemon.signal("CONT");
        let mut counters = [0; 5];
        wait_until("the second request is not received", || {
            counters = request_counters(&mut daemon);
            counters[0] == 2
        });
        assert_eq!(counters, [2, 0, 0, 1, 0], "{listen}");
        assert!(socket.recv(&mut [0; 64]).is_err(), "{listen}: a response");
    }
}

#[test]
fn link_local_address_is_served() {
    let Some((server, client)) = hosts_or_skip() else {
        return;
    };
    connect(&server, &client);
    let listen = ["--listen", "[fe80::1%eth0]:9528", "--utc"];
    let mut daemon = Process::start(&mut server.on(wallclockd().args(listen)));
    daemon.wait_for_address();
    let output = query_from(&client, "[fe80::1%eth0]:9528", "+%Z");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "UTC\n",
        "{output:?}"
    );
}

/// Makes the server resolve the client's address at once, and all others never: the kernel gives a
/// neighbour up after three tries, and with a minute between them, responses to it wait longer than
/// a client does.
fn resolve_slowly(server: &Host, client: &Host) {
    let link = client
        .on(Command::new("ip").args(["-brief", "link", "show", "eth0"]))
        .output();
    let link = String::from_utf8(link.expect("ip runs").stdout).expect("ASCII");
    let mac = link
        .split_whitespace()
        .nth(2)
        .expect("a link-layer address");
    server.ip(&format!("neigh replace 10.98.0.2 lladdr {mac} dev eth0"));
    let setting = "echo 60000 >/proc/sys/net/ipv4/neigh/eth0/retrans_time_ms";
    let set = server.on(Command::new("sh").args(["-c", setting])).status();
    assert!(set.expect("sh runs").success());
}

#[test]
fn broadcast_address_of_a_network_is_refused() {
    let Some((server, client)) = hosts_or_skip() else {
        return;
    };
    connect(&server, &client);
    for listen in [
        &["-l", "10.98.0.255"][..],
        &["-l", "10.98.0.1", "-l", "10.98.0.255:9528"],
        &["-l", "10.98.0.255", "--reuse-port"],
    ] {
        let mut daemon = Process::start(&mut server.on(wallclockd().args(listen)));
        assert!(!daemon.wait().success(), "{listen:?}");
        let error = daemon.log.last().expect("a last line");
        assert!(
            error.contains("10.98.0.255") && error.contains("broadcast or multicast"),
            "{error}"
        );
    }
}

/// Holds two of the three ports that the kernel may choose, with SO_REUSEADDR and SO_REUSEPORT.
const PORT_HOLDER: &str = "
import socket, time
for port in 40000, 40002:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(('127.0.0.1', port))
    globals()['keep%d' % port] = s
import sys
print('held', file=sys.stderr, flush=True)
time.sleep(600)
";

#[test]
fn port_0_takes_a_port_that_is_free() {
    let Some((server, client)) = hosts_or_skip() else {
        return;
    };
    if skip_without(&["python3"]) {
        return;
    }
    connect(&server, &client);
    let range = "echo 40000 40002 >/proc/sys/net/ipv4/ip_local_port_range";
    let set = server.on(Command::new("sh").args(["-c", range])).status();
    assert!(set.expect("sh runs").success());
    let mut holder =
        Process::start(&mut server.on(Command::new("python3").args(["-c", PORT_HOLDER])));
    holder.wait_for("held");
    // The kernel begins its search at a random port.
    for arguments in [
        &["-l", "127.0.0.1:0"][..],
        &["-l", "127.0.0.1:0", "--reuse-port"],
    ] {
        for _ in 0..10 {
            let mut daemon = Process::start(&mut server.on(wallclockd().args(arguments)));
            assert_eq!(daemon.wait_for_address().port(), 40_001, "{arguments:?}");
        }
    }
}

/// Sends 500 requests from each of ten addresses.
const FORGED_REQUESTS: &str = "
import socket
for n in range(100, 110):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(('10.98.0.%d' % n, 0))
    for i in range(500):
        s.sendto(b'%c', ('10.98.0.1', 9527))
";

/// Responses to forged sources wait in the kernel until it gives up resolving the neighbour. They
/// do not delay the responses to others.
#[test]
fn unreachable_neighbours_do_not_delay_others() {
    let Some((server, client)) = hosts_or_skip() else {
        return;
    };
    if skip_without(&["python3"]) {
        return;
    }
    connect(&server, &client);
    resolve_slowly(&server, &client);
    // The client responds to no ARP request, as if its further addresses were forged.
    let set = client
        .on(Command::new("sh").args(["-c", "echo 8 >/proc/sys/net/ipv4/conf/all/arp_ignore"]))
        .status();
    assert!(set.expect("sh runs").success());
    for forged in 100..110 {
        client.ip(&format!("addr add 10.98.0.{forged}/24 dev eth0"));
    }
    let mut daemon = Process::start(&mut server.on(wallclockd().args(["-l", "10.98.0.1:9527"])));
    daemon.wait_for_address();
    assert_eq!(try_once(&client, LONG_TIMEOUT), Some(0));
    let forged = client
        .on(Command::new("python3").args(["-c", FORGED_REQUESTS]))
        .status();
    assert!(forged.expect("python3 runs").success());
    for _ in 0..10 {
        let status = try_once(&client, LONG_TIMEOUT);
        assert_eq!(status, Some(0), "{:?}", request_counters(&mut daemon));
    }
    // The network of a busy machine may drop some of the 5,000 before the daemon receives them.
    let answered = request_counters(&mut daemon)[0];
    assert!(answered >= 1_000, "{answered}");
}

/// Sends 300 requests from each of N addresses that no host has, more than the kernel keeps of the
/// responses, and one of its own after every 500: once that is answered, the daemon has answered
/// all before it. Then it sends 60 more of its own. Prints how many of these are answered.
const ABSENT_NEIGHBOURS: &str = "
import socket, sys
server = ('10.98.0.1', 9527)
def socket_at(address):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, 19, 1)  # IP_TRANSPARENT: the address need not exist
    s.bind((address, 0))
    return s
client = socket_at('10.98.0.2')
client.settimeout(60)
absent = [socket_at('10.98.1.%d' % n) for n in range(1, int(sys.argv[1]) + 1)]
def answered():
    client.sendto(b'%s', server)
    try:
        return len(client.recv(99)) > 0
    except TimeoutError:
        sys.exit('no response')
for n in range(300 * len(absent)):
    absent[n % len(absent)].sendto(b'%c', server)
    if n % 500 == 499:
        answered()
print(sum(answered() for _ in range(60)))
";

/// Responses to absent neighbours wait in the send buffer, 208 KiB for each, and leave space for
/// the others.
#[test]
fn absent_neighbours_starve_nobody() {
    for absent in ["200", "254"] {
        let Some((server, client)) = hosts_or_skip() else {
            return;
        };
        if skip_without(&["python3"]) {
            return;
        }
        connect(&server, &client);
        server.ip("route add 10.98.1.0/24 dev eth0");
        client.ip("route add 10.98.1.0/24 dev eth0");
        resolve_slowly(&server, &client);
        let mut daemon =
            Process::start(&mut server.on(wallclockd().args(["-l", "10.98.0.1:9527"])));
        daemon.wait_for_address();
        assert_eq!(try_once(&client, LONG_TIMEOUT), Some(0));
        let output = client
            .on(Command::new("python3").args(["-c", ABSENT_NEIGHBOURS, absent]))
            .output()
            .expect("python3 runs");
        let [answered, _, _, unsent, _] = request_counters(&mut daemon);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "60\n",
            "{absent} absent neighbours, {answered} answered, {unsent} unsent: {output:?}"
        );
        assert_eq!(unsent, 0, "{absent} absent neighbours");
    }
}

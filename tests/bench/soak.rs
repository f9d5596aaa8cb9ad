//! The long run: many requests of all kinds to one daemon, and a check of every response.
//!
//! `cargo bench --bench soak -- 100_000_000` sends good, bad and hostile requests over IPv4 and
//! IPv6, from 50,000 source ports in turn. It prints a block of figures. The exit status is 1 if a
//! response was wrong, or if memory or descriptors grew.

mod soak_requests;

use std::env;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use support::flood::{Flood, connected_socket_from, group_digits};
use support::{Process, cpu_time, request_counters, wallclockd};
use support::{open_descriptors, resident_kib};

use soak_requests::{SoakRequests, ZONE};

const PORTS: u64 = 50_000;
const SOCKETS: usize = 4;

/// Memory and descriptors must not grow after so many requests, or a tenth of a shorter run.
const SETTLED: u64 = 1_000_000;

/// How much resident memory may grow, in KiB: by a few pages of the allocator.
const MAX_GROWTH: u64 = 64;

/// Client sockets from consecutive source ports.
struct Ports {
    last: u16,
    used: Vec<bool>,
}

impl Ports {
    /// Connects a socket from the next port that is free.
    fn connect(&mut self, server: SocketAddr) -> UdpSocket {
        let local: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        loop {
            // Rule 1: requests from ports below 1024 are ignored.
            self.last = self.last.checked_add(1).unwrap_or(1024);
            if let Ok(socket) = connected_socket_from(server, local, self.last) {
                self.used[usize::from(self.last)] = true;
                return socket;
            }
        }
    }

    fn count(&self) -> u64 {
        self.used.iter().filter(|&&used| used).count() as u64
    }
}

/// A value after `SETTLED` requests, and the highest one since then.
#[derive(Clone, Copy, Default)]
struct Growth {
    settled: u64,
    highest: u64,
}

impl Growth {
    fn update(&mut self, value: u64) {
        if self.highest == 0 {
            self.settled = value;
        }
        self.highest = self.highest.max(value);
    }
}

/// The result of the run.
struct Soak {
    elapsed: Duration,
    server_cpu: Duration,
    client_cpu: Duration,
    resident: Growth,
    descriptors: Growth,
}

fn main() -> ExitCode {
    // Cargo passes --bench. A plain `cargo bench` must not take ten minutes more, and the options
    // of the other benchmarks are not for this one.
    let count = env::args().skip(1).find(|word| !word.starts_with('-'));
    let count = count.and_then(|count| count.replace('_', "").parse::<u64>().ok());
    let Some(count) = count else {
        println!("soak: needs a number of requests: cargo bench --bench soak -- 100_000_000");
        return ExitCode::SUCCESS;
    };

    let mut command = wallclockd();
    command.args(["-l", "127.0.0.1:0"]).env("TZ", ZONE);
    let has_ipv6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if has_ipv6 {
        command.args(["-l", "[::1]:0"]);
    }
    let mut daemon = Process::start(&mut command);
    let mut servers = vec![daemon.wait_for_address()];
    if has_ipv6 {
        servers.push(daemon.wait_for_address());
    }

    let mut ports = Ports {
        last: 1023,
        used: vec![false; 65_536],
    };
    let sockets = (0..SOCKETS).map(|index| ports.connect(servers[index % servers.len()]));
    let mut flood = Flood::new(SoakRequests::new(), sockets.collect());
    let log_lines = daemon.log_lines().len();
    let soak = send_all(count, daemon.id(), &servers, &mut ports, &mut flood);
    let log_lines = daemon.log_lines().len() - log_lines;
    let counted = request_counters(&mut daemon);
    daemon.signal("TERM");
    let ended = daemon.wait();

    let over = if has_ipv6 {
        "IPv4 and IPv6"
    } else {
        "IPv4 only"
    };
    print(&soak, &flood, &ports, over, count);
    println!(
        "wrong responses {}, dropped {}, unsent {}, log lines {log_lines}",
        flood.tally.wrong, counted[4], counted[3],
    );
    for complaint in &flood.tally.errors {
        println!("wrong: {complaint}");
    }
    let tally = &flood.tally;
    let same_counts = counted == [tally.answered, tally.refused, tally.ignored, 0, 0];
    if !same_counts {
        println!("the daemon counted {counted:?}");
    }
    let growth = soak.resident.highest - soak.resident.settled;
    let steady = growth <= MAX_GROWTH && soak.descriptors.highest == soak.descriptors.settled;
    if tally.wrong == 0 && same_counts && steady && log_lines == 0 && ended.success() {
        ExitCode::SUCCESS
    } else {
        println!("FAILED");
        ExitCode::FAILURE
    }
}

/// Sends `count` requests, or stops at the first wrong response.
fn send_all(
    count: u64,
    pid: u32,
    servers: &[SocketAddr],
    ports: &mut Ports,
    flood: &mut Flood<SoakRequests>,
) -> Soak {
    let start = Instant::now();
    let (server_before, client_before) = (cpu_time(pid), cpu_time(std::process::id()));
    let (mut memory, mut open) = (Growth::default(), Growth::default());
    let interval = settled(count);
    let (mut reported, mut reported_at) = (0, start);
    while flood.tally.sent < count && flood.tally.wrong == 0 {
        // Use new ports in proportion to the requests, and all of them shortly before the end.
        let share = flood.tally.sent as f64 / count as f64;
        let due = (share * 1.01 * PORTS as f64) as u64;
        flood.send_window(|index, socket| {
            if ports.count() < due.min(PORTS) {
                *socket = ports.connect(servers[index % servers.len()]);
            }
        });
        let sent = flood.tally.sent;
        if sent - reported >= interval {
            memory.update(resident_kib(pid));
            open.update(open_descriptors(pid) as u64);
            let rate = (sent - reported) as f64 / reported_at.elapsed().as_secs_f64();
            eprint!(
                "\r{} of {} requests, {} a second, {} KiB resident, {} ports \x1b[K",
                group_digits(sent),
                group_digits(count),
                group_digits(rate as u64),
                group_digits(memory.highest),
                group_digits(ports.count()),
            );
            (reported, reported_at) = (sent, Instant::now());
        }
    }
    flood.finish();
    eprintln!();
    Soak {
        elapsed: start.elapsed(),
        server_cpu: cpu_time(pid) - server_before,
        client_cpu: cpu_time(std::process::id()) - client_before,
        resident: memory,
        descriptors: open,
    }
}

fn settled(count: u64) -> u64 {
    SETTLED.min(count / 10)
}

fn print(soak: &Soak, flood: &Flood<SoakRequests>, ports: &Ports, over: &str, count: u64) {
    let tally = &flood.tally;
    let seconds = soak.elapsed.as_secs_f64();
    let micros_each = |time: Duration| time.as_secs_f64() * 1e6 / tally.sent as f64;
    println!(
        "{} requests in {seconds:.0} s, {} a second, over {over}",
        group_digits(tally.sent),
        group_digits((tally.sent as f64 / seconds) as u64),
    );
    println!(
        "different requests {}, source ports {}",
        group_digits(flood.requests.len() as u64),
        group_digits(ports.count())
    );
    println!(
        "answered {}, refused {}, ignored {}",
        group_digits(tally.answered),
        group_digits(tally.refused),
        group_digits(tally.ignored)
    );
    println!(
        "resident memory {} KiB after {} requests, at most {} KiB; descriptors {}, at most {}",
        group_digits(soak.resident.settled),
        group_digits(settled(count)),
        group_digits(soak.resident.highest),
        soak.descriptors.settled,
        soak.descriptors.highest
    );
    println!(
        "on-CPU time per request: server {:.2} us, clients {:.2} us",
        micros_each(soak.server_cpu),
        micros_each(soak.client_cpu)
    );
}

//! 100,000 hostile datagrams to a real daemon, each response checked by the rules.
//! WALLCLOCK_HOSTILE=10000000 makes it ten million.

use std::env;
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use support::flood::{
    Flood, QueryTimes, RECV_BUFFER_OPTION, Random, RequestSource, check_response,
    connected_socket_from, fill_recv_buffers, group_digits, hostile_datagram, is_ignored,
    library_response,
};
use support::{Process, open_descriptors, query, request_counters, resident_kib, skip, wallclockd};
use wallclock::clock::{Clock, ZonePaths};
use wallclock::protocol::MAX_RESPONSE_LEN;

const DATAGRAMS: u64 = 100_000;

/// A zone that needs no files.
const ZONE: &str = "EST5EDT,M3.2.0,M11.1.0";

/// Maximum growth of resident memory in KiB if the kernel grants the daemon its receive buffer.
const MAX_GROWTH: u64 = 128;
/// The same if it does not: the buffers of a batch, 32 datagrams of 64 KiB, then become resident
/// during the test.
const MAX_GROWTH_SMALL_BUFFER: u64 = 2_200;

/// Random requests, of which it keeps as many as can be in flight.
struct Hostile {
    random: Random,
    recent: Vec<Vec<u8>>,
    count: usize,
    clock: Clock,
}

impl RequestSource for Hostile {
    fn next_request(&mut self) -> usize {
        let number = self.count % self.recent.len();
        self.count += 1;
        hostile_datagram(&mut self.random, &mut self.recent[number]);
        number
    }

    fn bytes(&self, number: usize) -> &[u8] {
        &self.recent[number]
    }

    fn is_ignored(&self, number: usize) -> bool {
        is_ignored(&self.recent[number])
    }

    fn check(&mut self, number: usize, response: &[u8], times: QueryTimes) -> Result<(), String> {
        check_response(&self.recent[number], response, times, &self.clock)
    }
}

/// A socket with a source port that rule 1 ignores. Usually only root may bind it.
fn low_port_socket() -> Option<UdpSocket> {
    (600..1024).find_map(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok())
}

fn number_from_env(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn rules_1_to_6_and_l_hold_for_hostile_datagrams() {
    let wanted = number_from_env("WALLCLOCK_HOSTILE", DATAGRAMS);
    let seed = number_from_env("WALLCLOCK_TEST_SEED", 0x9e37_79b9_7f4a_7c15);

    let mut daemon = Process::start(
        wallclockd()
            .args(["--listen", "127.0.0.1:0", RECV_BUFFER_OPTION])
            .env("TZ", ZONE),
    );
    let address = daemon.wait_for_address();
    assert!(query(address, b"%Z").starts_with(b"E"));
    fill_recv_buffers(address, |stopped| {
        daemon.signal(if stopped { "STOP" } else { "CONT" });
    });
    let counters_before = request_counters(&mut daemon);
    let log_before = daemon.log_lines_but_clock_status().len();
    let descriptors_before = open_descriptors(daemon.id());

    let requests = Hostile {
        random: Random(seed),
        recent: vec![Vec::new(); 256],
        count: 0,
        clock: Clock::in_zone(Some(OsStr::new(ZONE)), &ZonePaths::from_env()).expect("a zone"),
    };
    let local = IpAddr::from(Ipv4Addr::LOCALHOST);
    let sockets = (0..2).map(|_| connected_socket_from(address, local, 0).expect("a free port"));
    let mut flood = Flood::new(requests, sockets.collect());
    let low_port = low_port_socket();
    if low_port.is_none() {
        skip("no right to a port below 1024");
    }
    let mut from_low_port = 0;
    let (start, cpu_before) = (Instant::now(), daemon.cpu_time());
    let mut memory_before = 0;
    while flood.tally.sent + from_low_port < wanted {
        // Sent before a marker: once the marker has its response, this request has been received.
        if let Some(socket) = low_port.as_ref().filter(|_| flood.windows() % 8 == 0) {
            socket.send_to(b"%s", address).expect("the request is sent");
            from_low_port += 1;
        }
        flood.send_window(|_, _| {});
        assert_eq!(
            flood.tally.wrong, 0,
            "seed {seed}: {:#?}",
            flood.tally.errors
        );
        if memory_before == 0 && flood.tally.sent > wanted / 10 {
            memory_before = resident_kib(daemon.id());
        }
    }
    flood.finish();
    let (elapsed, cpu_time) = (start.elapsed(), daemon.cpu_time() - cpu_before);
    let tally = &flood.tally;
    assert_eq!(tally.wrong, 0, "seed {seed}: {:#?}", tally.errors);
    if let Some(socket) = low_port {
        socket.set_nonblocking(true).expect("non-blocking");
        assert!(
            socket.recv(&mut [0; 64]).is_err(),
            "a low port was answered"
        );
    }

    let memory = resident_kib(daemon.id());
    let dropped_before = counters_before[4];
    let max_growth = if dropped_before == 0 {
        MAX_GROWTH
    } else {
        MAX_GROWTH_SMALL_BUFFER
    };
    assert!(
        memory <= memory_before + max_growth,
        "{memory_before} KiB grew to {memory} KiB"
    );
    assert_eq!(open_descriptors(daemon.id()), descriptors_before);
    // The daemon's counters agree with the sender's: nothing was dropped or answered twice.
    let mut counters = request_counters(&mut daemon);
    for (counter, before) in counters.iter_mut().zip(counters_before) {
        *counter -= before;
    }
    let ignored = tally.ignored + from_low_port;
    assert_eq!(counters, [tally.answered, tally.refused, ignored, 0, 0]);
    // The only new log line has these counters.
    let log = daemon.log_lines_but_clock_status().len();
    assert_eq!(log, log_before + 1, "{:#?}", daemon.log);
    let sent = tally.sent + from_low_port;
    println!(
        "{} hostile datagrams in {:.0} s: {} answered, {} refused, {} ignored ({} from ports below \
         1024), all by the rules; resident memory {} KiB after a tenth, {} KiB at the end; \
         {:.2} us of CPU time each; no log line",
        group_digits(sent),
        elapsed.as_secs_f64(),
        group_digits(tally.answered),
        group_digits(tally.refused),
        group_digits(ignored),
        group_digits(from_low_port),
        group_digits(memory_before),
        group_digits(memory),
        cpu_time.as_secs_f64() * 1e6 / sent as f64,
    );
    daemon.terminate();
}

const SECOND: u64 = 1_783_213_507;

/// Checks a response to a request sent and received at these nanoseconds of [`SECOND`].
fn check_at(request: &str, response: &[u8], sent: u32, received: u32) -> Result<(), String> {
    let clock = Clock::in_zone(Some(OsStr::new(ZONE)), &ZonePaths::from_env()).expect("a zone");
    let times = QueryTimes {
        sent_at: Duration::new(SECOND, sent),
        received_at: Duration::new(SECOND, received),
    };
    check_response(request.as_bytes(), response, times, &clock)
}

#[test]
fn check_accepts_correct_responses() {
    let clock = Clock::in_zone(Some(OsStr::new(ZONE)), &ZonePaths::from_env()).expect("a zone");
    for request in [
        "%s.%N",
        "%T%.f",
        "%+ 5",
        "%-9N5%.f",
        "%3N %_9N|%-4N",
        "%20N%N%1N",
        "%.3f%%",
        "%c %d",
        &"%.f".repeat(60),
        "%9999N",
    ] {
        for nanosecond in [
            0,
            1,
            50_000_000,
            123_000_000,
            123_456_000,
            120_400_789,
            999_999_999,
        ] {
            let mut buf = [0; MAX_RESPONSE_LEN];
            let now = clock.at(SECOND.cast_signed(), nanosecond);
            let length = library_response(request.as_bytes(), &now, &mut buf).length();
            let before = nanosecond.saturating_sub(100_000);
            let after = (nanosecond + 100_000).min(999_999_999);
            for (sent, received) in [(nanosecond, nanosecond), (before, after), (0, 999_999_999)] {
                check_at(request, &buf[..length], sent, received)
                    .unwrap_or_else(|error| panic!("{request} at {nanosecond}: {error}"));
            }
        }
    }
}

#[test]
fn check_rejects_wrong_responses() {
    for (request, response) in [
        ("%s.%N", "error: answer too long"),
        ("%s.%N", "1783213508.123456789"),
        ("%s.%N", "1783213507.123556790"),
        ("%s.%N", "1783213507,123456789"),
        ("%s.%N", "1783213507.12345678"),
        ("%N %N", "123456789 123456788"),
        ("%3N", "124"),
        ("%T%.f", "21:05:07"),
        ("%H:%M%.f", "21:05.1234"),
        ("%H:%M%.f", "21:06.123456789"),
        ("%H:%M", "error: answer too long"),
        ("%H:%M", "21:06"),
        (&"%.f".repeat(60), "error: answer too short"),
    ] {
        let result = check_at(request, response.as_bytes(), 123_400_000, 123_500_000);
        assert!(result.is_err(), "{request}: {response}");
    }
}

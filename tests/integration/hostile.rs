//! Hostile datagrams by the hundred thousand to a real daemon; WALLCLOCK_HOSTILE=10000000 makes it ten million.

use std::env;
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use support::flood::{
    Between, Flood, Questions, RECEIVE_BUFFER, Random, descriptors, grouped, hostile, is_silent,
    judge, resident, socket_to, touch,
};
use support::{Process, ask, counters, skip, wallclockd};
use wallclock::clock::{Clock, ZonePaths};
use wallclock::protocol::MAX_RESPONSE_LEN;

const DATAGRAMS: u64 = 100_000;

/// A zone that needs no files.
const ZONE: &str = "EST5EDT,M3.2.0,M11.1.0";

/// KiB that resident memory may grow by where the kernel grants the daemon its receive buffer, and where it does not: what the
/// batch's buffers, 32 datagrams of 64 KiB, come to have resident by and by.
const GROWTH: (u64, u64) = (128, 2_200);

/// Fresh ones for ever; as many are remembered as can be on their way.
struct Hostile {
    random: Random,
    recent: Vec<Vec<u8>>,
    drawn: usize,
    clock: Clock,
}

impl Questions for Hostile {
    fn draw(&mut self) -> usize {
        let number = self.drawn % self.recent.len();
        self.drawn += 1;
        hostile(&mut self.random, &mut self.recent[number]);
        number
    }

    fn bytes(&self, number: usize) -> &[u8] {
        &self.recent[number]
    }

    fn silent(&self, number: usize) -> bool {
        is_silent(&self.recent[number])
    }

    fn judge(&mut self, number: usize, answer: &[u8], between: Between) -> Result<(), String> {
        judge(&self.recent[number], answer, between, &self.clock)
    }
}

/// For rule 1; most often only root may have one.
fn low_port() -> Option<UdpSocket> {
    (600..1024).find_map(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok())
}

#[test]
fn hostile_datagrams_are_answered_by_the_rules_and_leave_no_trace() {
    let wanted = env::var("WALLCLOCK_HOSTILE").ok();
    let wanted = wanted.map_or(DATAGRAMS, |text| text.parse().expect("a number"));
    let seed = env::var("WALLCLOCK_TEST_SEED").ok();
    let seed = seed.map_or(0x9e37_79b9_7f4a_7c15, |text| {
        text.parse().expect("a number")
    });

    let mut daemon = Process::start(
        wallclockd()
            .args(["--listen", "127.0.0.1:0", RECEIVE_BUFFER])
            .env("TZ", ZONE),
    );
    let address = daemon.wait_for_address();
    assert!(ask(address, b"%Z").starts_with(b"E"));
    touch(address, |paused| {
        daemon.signal(if paused { "STOP" } else { "CONT" });
    });
    let counted = counters(&mut daemon);
    let said = daemon.said().len();
    let open = descriptors(daemon.id());

    let questions = Hostile {
        random: Random(seed),
        recent: vec![Vec::new(); 256],
        drawn: 0,
        clock: Clock::in_zone(Some(OsStr::new(ZONE)), &ZonePaths::from_env()).expect("a zone"),
    };
    let local = IpAddr::from(Ipv4Addr::LOCALHOST);
    let sockets = (0..2).map(|_| socket_to(address, local, 0).expect("a free port"));
    let mut flood = Flood::new(questions, sockets.collect());
    let low = low_port();
    if low.is_none() {
        skip("no right to a port below 1024");
    }
    let mut from_low_ports = 0;
    let (start, before) = (Instant::now(), daemon.on_cpu());
    let mut first = 0;
    while flood.tally.asked + from_low_ports < wanted {
        // Ahead of a marker, so that silence towards them is proved by its answer.
        if let Some(low) = low.as_ref().filter(|_| flood.windows() % 8 == 0) {
            low.send_to(b"%s", address).expect("loopback takes it");
            from_low_ports += 1;
        }
        flood.turn(|_, _| {});
        assert_eq!(
            flood.tally.wrong, 0,
            "seed {seed}: {:#?}",
            flood.tally.complaints
        );
        if first == 0 && flood.tally.asked > wanted / 10 {
            first = resident(daemon.id());
        }
    }
    flood.finish();
    let (elapsed, spent) = (start.elapsed(), daemon.on_cpu() - before);
    let tally = &flood.tally;
    assert_eq!(tally.wrong, 0, "seed {seed}: {:#?}", tally.complaints);
    if let Some(low) = low {
        low.set_nonblocking(true).expect("it is a socket");
        assert!(low.recv(&mut [0; 64]).is_err(), "a low port was answered");
    }

    let last = resident(daemon.id());
    let growth = if counted[4] == 0 { GROWTH.0 } else { GROWTH.1 };
    assert!(last <= first + growth, "{first} KiB grew to {last} KiB");
    assert_eq!(descriptors(daemon.id()), open);
    assert_eq!(daemon.said().len(), said, "{:#?}", daemon.log);
    // The daemon counts as we do: nothing was dropped, and nothing answered twice.
    let mut new = counters(&mut daemon);
    for (new, before) in new.iter_mut().zip(counted) {
        *new -= before;
    }
    let ignored = tally.silent + from_low_ports;
    assert_eq!(new, [tally.answered, tally.refused, ignored, 0, 0]);
    println!(
        "{} hostile datagrams in {:.0} s: {} answered, {} refused, {} met with silence ({} from ports below 1024), all by the rules; \
         resident memory {} KiB after a tenth, {} KiB at the end; {:.2} us of a core each; no log line",
        grouped(tally.asked + from_low_ports),
        elapsed.as_secs_f64(),
        grouped(tally.answered),
        grouped(tally.refused),
        grouped(tally.silent + from_low_ports),
        grouped(from_low_ports),
        grouped(first),
        grouped(last),
        spent.as_secs_f64() * 1e6 / (tally.asked + from_low_ports) as f64,
    );
    daemon.signal("TERM");
    assert!(daemon.wait().success());
}

#[test]
fn the_judge_takes_right_answers_and_no_others() {
    let clock = Clock::in_zone(Some(OsStr::new(ZONE)), &ZonePaths::from_env()).expect("a zone");
    let second = 1_783_213_507;
    let moment = |nanosecond| Duration::new(second, nanosecond);
    let judged = |question: &[u8], answer: &[u8], asked, heard| {
        let (asked, heard) = (moment(asked), moment(heard));
        judge(question, answer, Between { asked, heard }, &clock)
    };

    let dots = "%.f".repeat(60);
    for question in [
        "%s.%N",
        "%T%.f",
        "%+ 5",
        "%-9N5%.f",
        "%3N %_9N|%-4N",
        "%20N%N%1N",
        "%.3f%%",
        "%c %d",
        &dots,
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
            let mut room = [0; MAX_RESPONSE_LEN];
            let at = clock.at(second.cast_signed(), nanosecond);
            let length = support::flood::reply(question.as_bytes(), &at, &mut room).length();
            let answer = &room[..length];
            let before = nanosecond.saturating_sub(100_000);
            let after = (nanosecond + 100_000).min(999_999_999);
            for (asked, heard) in [(nanosecond, nanosecond), (before, after), (0, 999_999_999)] {
                judged(question.as_bytes(), answer, asked, heard)
                    .unwrap_or_else(|what| panic!("{question} at {nanosecond}: {what}"));
            }
        }
    }

    for (question, answer) in [
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
        (&dots, "error: answer too short"),
    ] {
        let said = judged(
            question.as_bytes(),
            answer.as_bytes(),
            123_400_000,
            123_500_000,
        );
        assert!(said.is_err(), "{question}: {answer}");
    }
}

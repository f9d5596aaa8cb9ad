//! A hundred million questions of all kinds to one daemon, each answer judged: `cargo bench --bench soak -- 100_000_000`.
//!
//! Good ones and bad ones, 10,000 formats, hostile bytes, over IPv4 and IPv6, from 50,000 source ports in turn. Ends with a block of
//! figures, and with a status other than 0 where an answer was wrong, or memory or descriptors grew.

use std::env;
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use support::flood::{
    Between, Flood, Questions, RECEIVE_BUFFER, Random, descriptors, grouped, hostile, is_silent,
    judge, resident, socket_to, touch, verdict,
};
use support::{Process, counters, on_cpu, wallclockd};
use wallclock::clock::{Clock, ZonePaths};
use wallclock::protocol::{MAX_RESPONSE_LEN, Response};
use wallclock::strftime::{Format, render};

const PORTS: u64 = 50_000;
const FORMATS: usize = 10_000;
const HOSTILE: usize = 10_000;

/// Memory and descriptors are held against what they were after so many questions.
const SETTLED: u64 = 1_000_000;

/// KiB that resident memory may grow by: none of the allocator's pages. Where the kernel does not grant the daemon its receive buffer, what the
/// batch's buffers, 32 datagrams of 64 KiB, come to have resident by and by.
const GROWTH: (u64, u64) = (64, 2_200);

/// A zone that needs no files.
const ZONE: &str = "EST5EDT,M3.2.0,M11.1.0";

enum Right {
    Ignored,
    /// These bytes in every second.
    Refused(Vec<u8>),
    /// The text of the second, and the one it was last needed in.
    Text(i64, Vec<u8>),
    /// `%s.%N`: the very moment.
    LocalTime,
    /// Judged by the rules each time, as the text changes within its second.
    Rules,
}

struct Known {
    question: Vec<u8>,
    right: Right,
}

struct Mix {
    random: Random,
    clock: Clock,
    known: Vec<Known>,
    /// Where each kind begins in `known`, and how many of a hundred questions are of it.
    kinds: Vec<(std::ops::Range<usize>, usize)>,
    by_hundred: Vec<usize>,
}

impl Mix {
    fn new() -> Mix {
        let mut mix = Mix {
            random: Random(0x9e37_79b9_7f4a_7c15),
            clock: Clock::in_zone(Some(OsStr::new(ZONE)), &ZonePaths::from_env()).expect("a zone"),
            known: Vec::new(),
            kinds: Vec::new(),
            by_hundred: Vec::new(),
        };
        let room: Vec<_> = [
            "%Y-%m-%d",
            "%Y/%m/%d",
            "%d.%m.%Y",
            "%F",
            "%D",
            "%a %d %b %Y",
            "%Y%m%d",
            "%G-W%V-%u",
        ]
        .iter()
        .flat_map(|date| {
            [
                "%H:%M:%S",
                "%X",
                "%T",
                "%R",
                "%I:%M:%S %p",
                "%H%M%S %Z",
                "%s",
                "%T %z",
            ]
            .map(|time| format!("{date} {time}").into_bytes())
        })
        .collect();
        mix.add(45, room);
        mix.add(
            25,
            (0..FORMATS).map(|n| {
                match n % 4 {
                    0 => format!("{n:05} %Y/%m/%d %H:%M:%S"),
                    1 => format!("{n:05}: %{}A %-d %^b %c", n % 30),
                    2 => format!("%0{}s|{n}|%j %U %%", n % 40),
                    _ => format!("{} %s {n}", "%F %T ".repeat(n % 60)),
                }
                .into_bytes()
            }),
        );
        mix.add(4, [b"%s.%N".to_vec()]);
        mix.add(4, [&b""[..], b"\n", b" \t\r\n", b"   "].map(<[u8]>::to_vec));
        mix.add(4, (0..500).map(|n| format!("{n} o'clock").into_bytes()));
        mix.add(
            8,
            (0..2_000).map(|n| match n % 5 {
                0 => format!("%H %{}", ['Q', 'J', 'i', '!', 'é'][n / 5 % 5]).into_bytes(),
                1 => format!("{n} %T %_{}", n % 9).into_bytes(),
                2 => format!("%{}d", 100 * n).into_bytes(),
                3 => [format!("{n} %d ").as_bytes(), b"\xff"].concat(),
                _ => format!("%d\0{n}").into_bytes(),
            }),
        );
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        let ill = (0..HOSTILE).map(|_| {
            let mut datagram = Vec::new();
            hostile(&mut random, &mut datagram);
            datagram
        });
        mix.add(10, ill);
        for (kind, (_, share)) in mix.kinds.iter().enumerate() {
            mix.by_hundred.extend(std::iter::repeat_n(kind, *share));
        }
        assert_eq!(mix.by_hundred.len(), 100);
        mix
    }

    fn add(&mut self, share: usize, questions: impl IntoIterator<Item = Vec<u8>>) {
        let start = self.known.len();
        for question in questions {
            let right = if question == b"%s.%N" {
                Right::LocalTime
            } else if is_silent(&question) {
                Right::Ignored
            } else {
                match verdict(&question, &self.clock) {
                    (Response::Answered { .. }, text) if !is_sub_second(&question) => {
                        Right::Text(0, text)
                    }
                    (Response::Refused { .. }, text) if !self.depends(&question) => {
                        Right::Refused(text)
                    }
                    _ => Right::Rules,
                }
            };
            self.known.push(Known { question, right });
        }
        self.kinds.push((start..self.known.len(), share));
    }

    /// Whether the text's length, and so whether it is too long, changes with the moment: names of days and months do that.
    fn depends(&self, question: &[u8]) -> bool {
        verdict(question, &self.clock).1 == b"error: answer too long"
    }
}

/// Whether the text changes within a second.
fn is_sub_second(question: &[u8]) -> bool {
    Format::parse(question).is_ok_and(|format| format.sub_second())
}

impl Questions for Mix {
    fn draw(&mut self) -> usize {
        let kind = self.by_hundred[self.random.below(100)];
        let (range, _) = &self.kinds[kind];
        range.start + self.random.below(range.len())
    }

    fn bytes(&self, number: usize) -> &[u8] {
        &self.known[number].question
    }

    fn silent(&self, number: usize) -> bool {
        matches!(self.known[number].right, Right::Ignored)
    }

    fn judge(&mut self, number: usize, answer: &[u8], between: Between) -> Result<(), String> {
        let Known { question, right } = &mut self.known[number];
        match right {
            Right::Refused(text) if *text == answer => Ok(()),
            Right::Text(second, text) => {
                for one in between.seconds() {
                    if *second != one {
                        let mut room = [0; MAX_RESPONSE_LEN];
                        let format = if support::flood::is_blank(question) {
                            b"%Y-%m-%d %X"
                        } else {
                            &question[..]
                        };
                        // A text that grew too long by now is judged by the rules below.
                        let Ok(length) = render(format, &self.clock.at(one, 0), &mut room) else {
                            break;
                        };
                        *second = one;
                        text.clear();
                        text.extend_from_slice(&room[..length]);
                    }
                    if *text == answer {
                        return Ok(());
                    }
                }
                judge(question, answer, between, &self.clock)
            }
            Right::LocalTime => {
                let moment = std::str::from_utf8(answer)
                    .ok()
                    .and_then(|text| text.split_once('.'))
                    .filter(|(_, nanoseconds)| nanoseconds.len() == 9)
                    .and_then(|(s, ns)| Some(Duration::new(s.parse().ok()?, ns.parse().ok()?)));
                match moment {
                    Some(moment) if between.asked <= moment && moment <= between.heard => Ok(()),
                    _ => Err(format!("not within {between:?}")),
                }
            }
            Right::Rules => judge(question, answer, between, &self.clock),
            Right::Ignored | Right::Refused(_) => Err("not so".into()),
        }
    }
}

/// Source ports, one after another, those that somebody else has left out.
struct Ports {
    next: u16,
    used: Vec<bool>,
}

impl Ports {
    fn socket_to(&mut self, server: SocketAddr) -> UdpSocket {
        let local: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        loop {
            self.next = self.next.checked_add(1).unwrap_or(1024);
            if let Ok(socket) = socket_to(server, local, self.next) {
                self.used[usize::from(self.next)] = true;
                return socket;
            }
        }
    }

    fn count(&self) -> u64 {
        self.used.iter().filter(|&&used| used).count() as u64
    }
}

fn main() -> ExitCode {
    // cargo adds --bench, and a plain `cargo bench` is not to take ten minutes more.
    let Some(wanted) = env::args().skip(1).find(|word| !word.starts_with('-')) else {
        println!(
            "soak: not without a number of questions, as in cargo bench --bench soak -- 100_000_000"
        );
        return ExitCode::SUCCESS;
    };
    let wanted: u64 = wanted
        .replace('_', "")
        .parse()
        .expect("a number of questions");
    let mut command = wallclockd();
    command
        .args(["-l", "127.0.0.1:0", RECEIVE_BUFFER])
        .env("TZ", ZONE);
    let both = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if both {
        command.args(["-l", "[::1]:0"]);
    }
    let mut daemon = Process::start(&mut command);
    let mut servers = vec![daemon.wait_for_address()];
    if both {
        servers.push(daemon.wait_for_address());
    }
    let process = daemon.id();
    touch(servers[0], |paused| {
        daemon.signal(if paused { "STOP" } else { "CONT" });
    });
    let counted_before = counters(&mut daemon);

    let mut ports = Ports {
        next: 1023,
        used: vec![false; 65_536],
    };
    let lanes = 4;
    let sockets = (0..lanes).map(|lane| ports.socket_to(servers[lane % servers.len()]));
    let mut flood = Flood::new(Mix::new(), sockets.collect());
    let formats = flood.questions.known.len();
    let (start, before, sender_before) =
        (Instant::now(), on_cpu(process), on_cpu(std::process::id()));
    let said = daemon.said().len();
    let settled = SETTLED.min(wanted / 10);
    let (mut base, mut highest) = (None, (0, 0));
    let (mut told, mut told_at) = (0, start);
    while flood.tally.asked < wanted && flood.tally.wrong == 0 {
        // As many ports as the questions asked so far call for, and all of them a little before the end.
        let due = (flood.tally.asked as f64 / wanted as f64 * 1.01 * PORTS as f64) as u64;
        flood.turn(|lane, socket| {
            if ports.count() < due.min(PORTS) {
                *socket = ports.socket_to(servers[lane % servers.len()]);
            }
        });
        let asked = flood.tally.asked;
        if asked - told >= settled {
            let seen = (resident(process), descriptors(process));
            if base.is_none() {
                (base, highest) = (Some(seen), seen);
            }
            highest = (highest.0.max(seen.0), highest.1.max(seen.1));
            let rate = (asked - told) as f64 / told_at.elapsed().as_secs_f64();
            eprint!(
                "\r{} of {} asked, {} a second, {} KiB resident, {} descriptors, {} ports, {} wrong \x1b[K",
                grouped(asked),
                grouped(wanted),
                grouped(rate as u64),
                grouped(seen.0),
                seen.1,
                grouped(ports.count()),
                flood.tally.wrong
            );
            (told, told_at) = (asked, Instant::now());
        }
    }
    flood.finish();
    eprintln!();
    let (elapsed, spent) = (start.elapsed(), on_cpu(process) - before);
    let sender = on_cpu(std::process::id()) - sender_before;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / flood.tally.asked as f64;
    let silent_log = daemon.said().len() == said;
    let mut counted = counters(&mut daemon);
    for (new, before) in counted.iter_mut().zip(counted_before) {
        *new -= before;
    }
    daemon.signal("TERM");
    let ended = daemon.wait();
    let tally = &flood.tally;
    let base = base.unwrap_or_default();
    println!(
        "{} questions in {:.0} s, {} a second, over {}",
        grouped(tally.asked),
        elapsed.as_secs_f64(),
        grouped((tally.asked as f64 / elapsed.as_secs_f64()) as u64),
        if both { "IPv4 and IPv6" } else { "IPv4 only" }
    );
    println!(
        "different questions {}, source ports {}",
        grouped(formats as u64),
        grouped(ports.count())
    );
    println!(
        "answered {}, refused {}, met with silence {}",
        grouped(tally.answered),
        grouped(tally.refused),
        grouped(tally.silent)
    );
    println!(
        "wrong answers {}, dropped {}, unsent {}, log lines {}",
        tally.wrong,
        counted[4],
        counted[3],
        if silent_log { "0" } else { "some" }
    );
    println!(
        "resident memory {} KiB after {}, never more than {} KiB; descriptors {}, never more than {}",
        grouped(base.0),
        grouped(settled),
        grouped(highest.0),
        base.1,
        highest.1
    );
    println!(
        "{:.2} us of a core for each question, and {:.2} us of the sender's",
        each(spent),
        each(sender)
    );
    for complaint in &tally.complaints {
        println!("wrong: {complaint}");
    }
    let agreed = counted == [tally.answered, tally.refused, tally.silent, 0, 0];
    if !agreed {
        println!("the daemon counted {counted:?}");
    }
    let growth = if counted_before[4] == 0 {
        GROWTH.0
    } else {
        GROWTH.1
    };
    let flat = highest.0 <= base.0 + growth && highest.1 == base.1;
    if tally.wrong == 0 && agreed && flat && silent_log && ended.success() {
        ExitCode::SUCCESS
    } else {
        println!("FAILED");
        ExitCode::FAILURE
    }
}

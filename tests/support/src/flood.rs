//! A flood of questions that one daemon answers and the sender judges, every one of them.
//!
//! Questions go out in windows, each ended by a *marker*, a question of its own. One daemon on loopback takes and answers in order, so when the
//! marker's answer is in, every answer before it is: what has none by then was met with silence. Windows are small enough for
//! the socket buffers, so nothing is dropped and silence means silence.
#![allow(dead_code)]

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wallclock::clock::Clock;
use wallclock::protocol::{DEFAULT_FORMAT, MAX_RESPONSE_LEN, Response, max_response_len, respond};
use wallclock::strftime::{Format, FormatError};
use wallclock::sys::mmsg::BATCH_SIZE;
use wallclock::time::LocalTime;

/// xorshift64*: the same flood for the same seed, everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: usize) -> usize {
        ((self.next_u64() >> 32) as usize) % end
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn fill(&mut self, bytes: &mut Vec<u8>, count: usize) {
        bytes.extend((0..count).map(|_| (self.next_u64() >> 56) as u8));
    }
}

/// Between a question's going out and its answer's coming in, by the clock that the daemon reads too.
#[derive(Clone, Copy, Debug)]
pub struct Between {
    pub asked: Duration,
    pub heard: Duration,
}

impl Between {
    pub fn seconds(self) -> impl Iterator<Item = i64> {
        self.asked.as_secs() as i64..=self.heard.as_secs() as i64
    }
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is after 1970")
}

/// Where questions come from, and who knows the right answers.
pub trait Questions {
    /// Another question's number.
    fn draw(&mut self) -> usize;
    /// Its bytes; as long as it is on its way.
    fn bytes(&self, number: usize) -> &[u8];
    /// Whether it must be met with silence.
    fn silent(&self, number: usize) -> bool;
    /// What is wrong with this answer to it.
    fn judge(&mut self, number: usize, answer: &[u8], between: Between) -> Result<(), String>;
}

/// What the sender saw.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub asked: u64,
    pub answered: u64,
    pub refused: u64,
    pub silent: u64,
    pub wrong: u64,
    /// The first few wrong ones, in words.
    pub complaints: Vec<String>,
}

impl Tally {
    fn complain(&mut self, question: &[u8], what: &str) {
        self.wrong += 1;
        if self.complaints.len() < 10 {
            let shown = &question[..question.len().min(200)];
            self.complaints.push(format!(
                "\"{}\" ({} bytes): {what}",
                shown.escape_ascii(),
                question.len()
            ));
        }
    }
}

/// Datagrams of one window, the marker not counted.
const WINDOW: usize = 40;
/// Kernel memory that the datagrams on their way may take: some way below the 208 KiB that a socket has by default, as the kernel gives
/// memory back a quarter of the buffer at a time.
const ON_THEIR_WAY: usize = 120_000;
/// Of one window, where it is not a single large datagram.
const OF_A_WINDOW: usize = 50_000;

/// No less than what the kernel books for a datagram.
fn weight(length: usize) -> usize {
    1_100
        + if length < 16_384 {
            2 * length
        } else {
            length + 16_384
        }
}

struct Lane {
    socket: UdpSocket,
    /// The questions that are on their way and must be answered.
    pending: VecDeque<usize>,
    weight: usize,
    asked: Duration,
    marker: u64,
}

/// The sender: some sockets in turn, so that the daemon has a window to answer while the sender judges another.
pub struct Flood<Q> {
    pub questions: Q,
    pub tally: Tally,
    lanes: Vec<Lane>,
    next: usize,
    windows: u64,
    batch: Vec<usize>,
    room: Vec<u8>,
}

impl<Q: Questions> Flood<Q> {
    pub fn new(questions: Q, sockets: Vec<UdpSocket>) -> Flood<Q> {
        let lane = |socket| Lane {
            socket,
            pending: VecDeque::with_capacity(WINDOW),
            weight: 0,
            asked: Duration::ZERO,
            marker: 0,
        };
        Flood {
            questions,
            tally: Tally::default(),
            lanes: sockets.into_iter().map(lane).collect(),
            next: 0,
            windows: 0,
            batch: Vec::with_capacity(WINDOW),
            room: vec![0; 65_536],
        }
    }

    /// How many windows have gone out.
    pub fn windows(&self) -> u64 {
        self.windows
    }

    /// One more window: judges what the next socket in turn has asked before, then has it ask again. `before` may replace the socket
    /// in between; nothing is on its way to it then.
    pub fn turn(&mut self, before: impl FnOnce(usize, &mut UdpSocket)) {
        let index = self.next;
        self.next = (index + 1) % self.lanes.len();
        self.collect(index);
        before(index, &mut self.lanes[index].socket);

        self.batch.clear();
        let mut total = 0;
        while self.batch.len() < WINDOW && total < OF_A_WINDOW {
            let number = self.questions.draw();
            total += weight(self.questions.bytes(number).len());
            self.batch.push(number);
        }
        for other in 0..self.lanes.len() {
            let on_their_way: usize = self.lanes.iter().map(|lane| lane.weight).sum();
            if on_their_way + total > ON_THEIR_WAY {
                self.collect((index + 1 + other) % self.lanes.len());
            }
        }
        self.windows += 1;
        let lane = &mut self.lanes[index];
        lane.marker = self.windows;
        lane.weight = total;
        lane.asked = now();
        for &number in &self.batch {
            let question = self.questions.bytes(number);
            lane.socket.send(question).expect("loopback takes it");
            if self.questions.silent(number) {
                self.tally.silent += 1;
            } else {
                lane.pending.push_back(number);
            }
        }
        let marker = format!("marker {} %s", lane.marker);
        lane.socket
            .send(marker.as_bytes())
            .expect("loopback takes it");
        self.tally.asked += self.batch.len() as u64 + 1;
    }

    /// Judges all that is still on its way.
    pub fn finish(&mut self) {
        for index in 0..self.lanes.len() {
            self.collect(index);
        }
    }

    fn collect(&mut self, index: usize) {
        let Flood {
            questions,
            tally,
            lanes,
            room,
            ..
        } = self;
        let lane = &mut lanes[index];
        if lane.weight == 0 {
            return;
        }
        let marker = format!("marker {} ", lane.marker);
        loop {
            let answer = match lane.socket.recv(room) {
                Ok(length) => &room[..length],
                Err(error) => {
                    tally.complain(marker.as_bytes(), &format!("no answer: {error}"));
                    break;
                }
            };
            let between = Between {
                asked: lane.asked,
                heard: now(),
            };
            if let Some(second) = answer.strip_prefix(marker.as_bytes()) {
                let right = std::str::from_utf8(second)
                    .ok()
                    .and_then(|second| second.parse::<i64>().ok())
                    .is_some_and(|second| between.seconds().any(|one| one == second));
                tally.answered += 1;
                if !right {
                    tally.complain(marker.as_bytes(), &format!("{}", answer.escape_ascii()));
                }
                break;
            }
            let Some(number) = lane.pending.pop_front() else {
                tally.complain(
                    b"",
                    &format!("an answer to nobody: {}", answer.escape_ascii()),
                );
                continue;
            };
            if answer.starts_with(b"error: ") && !questions.bytes(number).starts_with(b"error: ") {
                tally.refused += 1;
            } else {
                tally.answered += 1;
            }
            if let Err(what) = questions.judge(number, answer, between) {
                let said = answer.escape_ascii();
                tally.complain(questions.bytes(number), &format!("{what}: {said}"));
            }
        }
        for number in lane.pending.drain(..) {
            tally.complain(questions.bytes(number), "no answer");
        }
        lane.weight = 0;
    }
}

/// A socket at this address and port that asks one server.
pub fn socket_to(server: SocketAddr, from: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((from, port))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(socket)
}

pub fn percents(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'%').count()
}

pub fn is_blank(question: &[u8]) -> bool {
    question
        .iter()
        .all(|byte| [b' ', b'\t', b'\n', 0x0b, 0x0c, b'\r'].contains(byte))
}

/// Rules 2 and 3 in the sender's own words.
pub fn is_silent(question: &[u8]) -> bool {
    // Of a longer question only the first 1024 bytes count, and it is never blank.
    let head = &question[..question.len().min(1024)];
    percents(head) == 0 && (question.len() > 1024 || !is_blank(question))
}

/// The response to a request from a source that rule 1 admits.
pub fn reply(request: &[u8], now: &LocalTime, buf: &mut [u8; MAX_RESPONSE_LEN]) -> Response {
    respond(
        request,
        SocketAddr::from(([192, 0, 2, 7], 40_000)),
        now,
        buf,
    )
}

/// Holds an answer against the rules, in the sender's own words, and against the library's own rendering of some moment between.
pub fn judge(
    question: &[u8],
    answer: &[u8],
    between: Between,
    clock: &Clock,
) -> Result<(), String> {
    let blank = is_blank(question) && question.len() <= 1024;
    let format = if blank {
        DEFAULT_FORMAT.as_bytes()
    } else {
        question
    };
    if answer.len() > (3 * question.len() + 56).min(1232) {
        return Err(format!("{} bytes", answer.len()));
    }
    if 2 * percents(answer) > percents(question) {
        return Err(format!("{} percent signs", percents(answer)));
    }
    let parsed = if question.len() > 1024 {
        None
    } else {
        Format::parse(format).ok()
    };
    let mut room = [0; 2 * MAX_RESPONSE_LEN];
    let Some(parsed) = parsed else {
        let right = match Format::parse(format) {
            _ if question.len() > 1024 => "error: question longer than 1024 bytes".into(),
            Err(FormatError::NotUtf8 { at }) => format!("error: byte {at}: not UTF-8"),
            Err(FormatError::Nul { at }) => format!("error: byte {at}: NUL"),
            Err(FormatError::CutOff { at }) => {
                format!("error: byte {at}: conversion ends too early")
            }
            Err(error @ FormatError::Unknown { at, .. }) if question[at] == b'%' => {
                format!("error: {error}")
            }
            other => format!("{other:?}"),
        };
        return if answer == right.as_bytes()
            && percents(answer) == 0
            && !answer.iter().any(u8::is_ascii_control)
        {
            Ok(())
        } else {
            Err(format!("not {right:?}"))
        };
    };
    const TOO_LONG: &[u8] = b"error: answer too long";
    let limit = max_response_len(question.len());
    for second in between.seconds() {
        // No text of this second is longer than that of this moment, whose fraction has nine digits and no zeros to leave off.
        let mut longest = || parsed.render(&clock.at(second, 123_456_789), &mut room);
        if answer == TOO_LONG && !longest().is_ok_and(|length| length <= limit) {
            return Ok(());
        }
        let nanoseconds = if parsed.sub_second() {
            fractions(answer, second, between)
        } else {
            BTreeSet::from([0])
        };
        for nanosecond in nanoseconds {
            let text = parsed.render(&clock.at(second, nanosecond), &mut room);
            if text.is_ok_and(|length| answer == &room[..length]) {
                return Ok(());
            }
        }
    }
    Err("not the text of any moment between".into())
}

/// The nanoseconds of this second that an answer may have been given at. Its text shows them somewhere: the first few of nine digits,
/// perhaps without the zeros at their end; or nothing, where `%.f` meets a whole second.
fn fractions(answer: &[u8], second: i64, between: Between) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut consider = |nanosecond: u32, unknown: u32| {
        let from = Duration::new(second.cast_unsigned(), nanosecond);
        let to = from + Duration::from_nanos(unknown.into());
        if from <= between.heard && to >= between.asked {
            found.insert(nanosecond);
        }
    };
    consider(0, 0);
    for start in 0..answer.len() {
        let (mut nanosecond, mut unit) = (0, 1_000_000_000);
        for digit in answer[start..].iter().take(9) {
            if !digit.is_ascii_digit() {
                break;
            }
            unit /= 10;
            nanosecond += unit * u32::from(digit - b'0');
            consider(nanosecond, unit - 1);
        }
    }
    found
}

/// Datagrams as a stranger would send them who means it ill: soup that looks like formats, vast widths, UTF-8 whole and cut, noise,
/// answers sent back, and long ones.
pub fn hostile(random: &mut Random, datagram: &mut Vec<u8>) {
    datagram.clear();
    match random.below(5_000) {
        0 => {
            // As large as UDP lets a datagram be.
            let length = 65_000 + random.below(508);
            let byte = random.one_of(b"%%a \0\xff");
            datagram.resize(length - 2, byte);
            datagram.extend_from_slice(b"%d");
        }
        1..50 => {
            let length = random.below(9_000);
            random.fill(datagram, length);
        }
        50..100 => {
            let length = random.below(4_500);
            let conversion = random.one_of(b"cZ%dQ+N");
            datagram.extend((0..length).flat_map(|_| [b'%', conversion]));
        }
        100..150 => datagram.resize(random.below(9_000), b'%'),
        // Around the longest question.
        150..250 => {
            datagram.resize(1015 + random.below(20), b'.');
            let end = datagram.len() - 2;
            datagram[end..].copy_from_slice(random.one_of(&[b"%d", b"%Q", b"x%", b"%c", b"\xff%"]));
        }
        250..400 => {
            let length = random.below(40);
            random.fill(datagram, length);
        }
        400..500 => datagram.resize(random.below(30), random.one_of(b" \n\t\r")),
        500..600 => {
            let answer = random.one_of(&[
                &b"error: byte 9: unknown conversion Q"[..],
                b"error: answer too long",
                b"2026-07-05 09:05:07",
                b"%%error: %",
                b"\x1b]0;%s\x07",
                b"%n%n%n%n%s%s%s%s%x%x",
                b"${jndi:ldap://%s}",
                b"GET /%2e%2e/ HTTP/1.0\r\n\r\n",
                b"\x24\x02\x00\xe9%",
            ]);
            datagram.extend_from_slice(answer);
        }
        _ => {
            let pieces = if random.below(50) == 0 {
                random.below(300)
            } else {
                random.below(12)
            };
            for _ in 0..pieces {
                piece(random, datagram);
            }
        }
    }
}

fn piece(random: &mut Random, datagram: &mut Vec<u8>) {
    match random.below(20) {
        0..7 => datagram.extend_from_slice(&[
            b'%',
            random.one_of(b"aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%NqfvQJKLi!~"),
        ]),
        7..12 => {
            datagram.push(b'%');
            for _ in 0..random.below(4) {
                datagram.push(random.one_of(b"_-0^#"));
            }
            if random.below(2) == 0 {
                let width = random.next_u64() >> random.below(64);
                datagram.extend_from_slice(width.to_string().as_bytes());
            }
            if random.below(3) == 0 {
                datagram.push(random.one_of(b"EO:."));
            }
            datagram.push(random.one_of(b"aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%NqQf:+"));
        }
        12 => datagram.extend((0..random.below(64)).map(|_| b'%')),
        13 => datagram.extend_from_slice(random.one_of(&[
            &b"\xff"[..],
            b"\xc3",
            b"\xe2\x86",
            b"\xf4\x90\x80\x80",
            b"\xed\xa0\x80",
            b"\0",
            b"%\xf0\x9f",
        ])),
        14 | 15 => datagram.extend_from_slice(
            random
                .one_of(&["→", "時", "\u{10ffff}", "\u{202e}", "é", "\u{7f}"])
                .as_bytes(),
        ),
        16 => datagram.extend_from_slice(random.one_of(&[
            &b"%:z"[..],
            b"%::z",
            b"%:::z",
            b"%::::z",
            b"%.3f",
            b"%9f",
            b"%.f",
            b"%+",
            b"%Ez",
            b"%Oa",
        ])),
        _ => {
            let count = random.below(12);
            datagram.extend((0..count).map(|_| b' ' + (random.next_u64() >> 56) as u8 % 95));
        }
    }
}

/// Whether the library would answer, refuse or be silent, and whether the answer changes within its second.
pub fn verdict(question: &[u8], clock: &Clock) -> (Response, Vec<u8>) {
    let mut room = [0; MAX_RESPONSE_LEN];
    let verdict = reply(question, &clock.at(now().as_secs() as i64, 0), &mut room);
    (verdict, room[..verdict.length()].to_vec())
}

/// What a daemon must be told for [`touch`]: room for a batch of the largest datagrams.
pub const RECEIVE_BUFFER: &str = "--receive-buffer=4194304";

/// Has a daemon, stopped by SIGSTOP meanwhile by `paused`, take a whole batch of the largest datagrams, so that all its buffers are resident and
/// what grows afterwards is a leak. Where the kernel does not grant the room, some of it becomes resident later.
pub fn touch(server: SocketAddr, paused: impl Fn(bool)) {
    let local = if server.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    let socket = UdpSocket::bind(local).expect("a free port");
    paused(true);
    for _ in 0..BATCH_SIZE {
        socket
            .send_to(&[b'a'; 65_500], server)
            .expect("loopback takes it");
    }
    paused(false);
    // Taken after all of them, where they did not fill the buffer.
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .expect("a time-out");
    for _ in 0..60 {
        socket.send_to(b"%s", server).expect("loopback takes it");
        if socket.recv(&mut [0; 64]).is_ok() {
            return;
        }
    }
    panic!("it does not answer");
}

/// Resident memory of a process, in KiB. By its pages: VmRSS of /proc/PID/status is, on some
/// kernels, a sum of counters that each lag behind by as much as a small leak.
pub fn resident(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).expect("it lives");
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .expect("a number")
}

/// Open descriptors of a process.
pub fn descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd"))
        .expect("it lives")
        .count()
}

/// 12345678 as 12,345,678.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

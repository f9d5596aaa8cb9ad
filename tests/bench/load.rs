//! The askers. Never asleep while they ask, and many datagrams a call, so that the server is what the numbers are of.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::questions::{self, Workload};
use crate::sys::{self, Mailbox};

pub const SOCKETS: usize = 16;
pub const IN_FLIGHT: usize = 8;

/// The burst: everybody at midnight.
pub const BURST: usize = 10_000;
const BURST_SOCKETS: usize = 80;

/// Longer than any answer.
const SLOT: usize = 2048;

/// On loopback, an answer that takes this long is not going to come.
const LOST: Duration = Duration::from_millis(200);

/// A round over all sockets that finds fewer answers than this was too early: the next is a rest
/// later. The load so takes more by a call, and what it rests is what it has to spare.
const ENOUGH: u64 = 32;
const REST: Duration = Duration::from_micros(20);

/// When a closed loop stops asking.
#[derive(Clone, Copy)]
pub enum Until {
    Elapsed(Duration),
    Answered(u64),
}

/// What came of a closed loop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    pub answered: u64,
    pub wrong: u64,
    pub lost: u64,
    pub elapsed: Duration,
    /// The time in which too few answers had come: what the load had to spare.
    pub spare: Duration,
}

/// What came of a burst.
#[derive(Clone, Copy, Debug, Default)]
pub struct Burst {
    pub answered: u64,
    pub wrong: u64,
    /// From the first question to the last.
    pub sending: Duration,
}

/// What came of questions at random instants.
#[derive(Clone, Debug, Default)]
pub struct Paced {
    /// Nanoseconds from question to answer, sorted.
    pub trips: Vec<u64>,
    pub wrong: u64,
    pub missing: u64,
}

/// Which lane, which question, and when it was sent.
type Underway = (usize, u64, Instant);

impl Paced {
    /// Takes the answer to the oldest question, if it is there.
    fn take(
        &mut self,
        lanes: &[Lane],
        pending: &mut VecDeque<Underway>,
        workload: &mut Workload,
    ) -> bool {
        let mut answer = [0; SLOT];
        let Some(&(lane, serial, sent)) = pending.front() else {
            return false;
        };
        let Ok(length) = lanes[lane].socket.recv(&mut answer) else {
            return false;
        };
        self.trips.push(sent.elapsed().as_nanos() as u64);
        let right = workload.allows(serial, questions::now(), &answer[..length]);
        self.wrong += u64::from(!right);
        pending.pop_front();
        true
    }
}

/// Everybody who asks. One for the whole run: its numbers are what make a question one never seen before.
pub struct Load {
    serial: u64,
    question: Vec<u8>,
    random: u64,
}

struct Lane {
    socket: UdpSocket,
    /// The questions on their way, oldest first: one server on loopback answers in order.
    pending: VecDeque<u64>,
    heard: Instant,
}

impl Lane {
    fn to(server: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(server)?;
        Ok(Self {
            socket,
            pending: VecDeque::new(),
            heard: Instant::now(),
        })
    }
}

impl Load {
    pub fn new() -> Self {
        Self {
            serial: 0,
            question: Vec::with_capacity(SLOT),
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    fn ask(&mut self, workload: &Workload, lane: &mut Lane, outbox: &mut Mailbox, count: usize) {
        for index in 0..count {
            workload.question(self.serial, &mut self.question);
            outbox.put(index, &self.question);
            lane.pending.push_back(self.serial);
            self.serial += 1;
        }
        outbox.send(&lane.socket, count);
    }

    /// `SOCKETS` askers with `IN_FLIGHT` questions on the way each: a new one for each answer.
    pub fn closed_loop(
        &mut self,
        server: SocketAddr,
        workload: &mut Workload,
        until: Until,
    ) -> io::Result<Flow> {
        let mut lanes = (0..SOCKETS)
            .map(|_| Lane::to(server))
            .collect::<io::Result<Vec<_>>>()?;
        let (mut inbox, mut outbox) = (
            Mailbox::connected(IN_FLIGHT, SLOT),
            Mailbox::connected(IN_FLIGHT, SLOT),
        );
        let mut flow = Flow::default();
        let start = Instant::now();
        for lane in &mut lanes {
            self.ask(workload, lane, &mut outbox, IN_FLIGHT);
        }
        let (mut on, mut pass) = (true, start);
        loop {
            let now = questions::now();
            let before = flow.answered;
            for lane in &mut lanes {
                let taken = inbox.receive(&lane.socket, libc::MSG_DONTWAIT).unwrap_or(0);
                for index in 0..taken {
                    match lane.pending.pop_front() {
                        Some(serial) if workload.allows(serial, now, inbox.datagram(index)) => {
                            flow.answered += 1
                        }
                        _ => flow.wrong += 1,
                    }
                }
                if taken > 0 {
                    lane.heard = pass;
                    if on {
                        self.ask(workload, lane, &mut outbox, taken);
                    }
                } else if !lane.pending.is_empty()
                    && pass.saturating_duration_since(lane.heard) > LOST
                {
                    flow.lost += lane.pending.len() as u64;
                    // From a new port, so that a late answer is not taken for the next one's.
                    *lane = Lane::to(server)?;
                    if on {
                        self.ask(workload, lane, &mut outbox, IN_FLIGHT);
                    }
                }
            }
            pass = Instant::now();
            if flow.answered - before < ENOUGH {
                let rested = pass + REST;
                while pass < rested {
                    // Asleep, it would have to be woken by the server, at the server's cost.
                    std::hint::spin_loop();
                    pass = Instant::now();
                }
                flow.spare += REST;
            }
            let over = match until {
                Until::Elapsed(limit) => pass - start >= limit,
                Until::Answered(count) => flow.answered + flow.wrong + flow.lost >= count,
            };
            if on && over {
                (on, flow.elapsed) = (false, pass - start);
            }
            if !on && lanes.iter().all(|lane| lane.pending.is_empty()) {
                return Ok(flow);
            }
        }
    }

    /// One asker with one question on the way, asleep until it is answered; `each` is called after every answer.
    pub fn lonely(
        &mut self,
        server: SocketAddr,
        workload: &mut Workload,
        limit: Duration,
        mut each: impl FnMut(),
    ) -> io::Result<Flow> {
        let mut lane = Lane::to(server)?;
        lane.socket.set_read_timeout(Some(LOST))?;
        let (mut answer, mut flow) = ([0; SLOT], Flow::default());
        let start = Instant::now();
        while flow.elapsed < limit {
            workload.question(self.serial, &mut self.question);
            self.serial += 1;
            lane.socket.send(&self.question)?;
            match lane.socket.recv(&mut answer) {
                Ok(length)
                    if workload.allows(self.serial - 1, questions::now(), &answer[..length]) =>
                {
                    flow.answered += 1
                }
                Ok(_) => flow.wrong += 1,
                Err(_) => {
                    flow.lost += 1;
                    // A late answer must not be taken for the next one's.
                    lane = Lane::to(server)?;
                    lane.socket.set_read_timeout(Some(LOST))?;
                }
            }
            each();
            flow.elapsed = start.elapsed();
        }
        Ok(flow)
    }

    /// Questions at random instants, `rate` a second on average whether or not they are answered.
    pub fn paced(
        &mut self,
        server: SocketAddr,
        workload: &mut Workload,
        rate: f64,
        limit: Duration,
    ) -> io::Result<Paced> {
        // A socket each for the questions on their way, so that no answer can be taken for another's.
        let mut lanes = (0..256)
            .map(|_| Lane::to(server))
            .collect::<io::Result<Vec<_>>>()?;
        for lane in &lanes {
            lane.socket.set_nonblocking(true)?;
        }
        let mut paced = Paced::default();
        // Room for them all: growing in the middle would be a pause of the load's own.
        paced
            .trips
            .reserve((rate * limit.as_secs_f64() * 1.1) as usize + 1000);
        let mut pending: VecDeque<Underway> = VecDeque::with_capacity(lanes.len());
        let start = Instant::now();
        let (mut due, mut lane, mut scout) = (start, 0, 0);
        loop {
            let now = Instant::now();
            let on = now - start < limit;
            if !on && pending.is_empty() {
                break;
            }
            if on && now >= due {
                due += Duration::from_secs_f64(self.gap() / rate);
                // What the load itself was kept from asking is not asked in a heap afterwards.
                due = due.max(now - Duration::from_micros(100));
                if pending.len() == lanes.len() {
                    paced.missing += 1;
                } else {
                    workload.question(self.serial, &mut self.question);
                    pending.push_back((lane, self.serial, Instant::now()));
                    let _ = lanes[lane].socket.send(&self.question);
                    self.serial += 1;
                    lane = (lane + 1) % lanes.len();
                }
            }
            // The oldest is the next to be answered. Unless it was dropped, which shows in that a
            // later one is answered: these are tried in turn, one a round.
            scout = (scout + 1) % pending.len().max(1);
            if !paced.take(&lanes, &mut pending, workload) && scout > 0 {
                let (lane, ..) = pending[scout];
                if lanes[lane].socket.peek(&mut [0]).is_ok() {
                    for _ in 0..=scout {
                        if !paced.take(&lanes, &mut pending, workload) {
                            paced.missing += 1;
                            pending.pop_front();
                        }
                    }
                }
            }
            if let Some(&(lane, _, sent)) = pending.front()
                && sent.elapsed() > LOST
            {
                paced.missing += 1;
                pending.pop_front();
                // From a new port, so that a late answer is not taken for a later one's.
                lanes[lane] = Lane::to(server)?;
                lanes[lane].socket.set_nonblocking(true)?;
            }
        }
        paced.trips.sort_unstable();
        Ok(paced)
    }

    /// An exponentially distributed gap with a mean of 1: many machines that know nothing of each other.
    fn gap(&mut self) -> f64 {
        // xorshift64: the same instants for everyone who is measured would need no more than this.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        -(((self.random >> 11) as f64 + 1.0) / (1u64 << 53) as f64).ln()
    }

    /// `BURST` questions as fast as one core can send them, from sockets that have room for all their answers.
    pub fn burst(&mut self, server: SocketAddr, workload: &mut Workload) -> io::Result<Burst> {
        const EACH: usize = BURST / BURST_SOCKETS;
        let mut lanes = (0..BURST_SOCKETS)
            .map(|_| Lane::to(server))
            .collect::<io::Result<Vec<_>>>()?;
        let mut outbox = Mailbox::connected(EACH, SLOT);
        for lane in &lanes {
            // 2 KiB a datagram is more than the kernel books for any answer of ours.
            sys::set_receive_buffer(&lane.socket, (EACH * SLOT) as i32)?;
        }
        let mut burst = Burst::default();
        let start = Instant::now();
        for lane in &mut lanes {
            self.ask(workload, lane, &mut outbox, EACH);
        }
        burst.sending = start.elapsed();
        let mut heard = Instant::now();
        while burst.answered + burst.wrong < BURST as u64 && heard.elapsed() < LOST {
            for lane in &mut lanes {
                let taken = outbox
                    .receive(&lane.socket, libc::MSG_DONTWAIT)
                    .unwrap_or(0);
                for index in 0..taken {
                    heard = Instant::now();
                    let now = questions::now();
                    // Which of a lane's questions were dropped nobody knows: the next that fits is the one.
                    let answer = outbox.datagram(index);
                    let right = std::iter::from_fn(|| lane.pending.pop_front())
                        .any(|serial| workload.allows(serial, now, answer));
                    burst.answered += u64::from(right);
                    burst.wrong += u64::from(!right);
                }
            }
        }
        Ok(burst)
    }
}

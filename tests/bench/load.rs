//! The clients. They never sleep while they send and use recvmmsg(2) and sendmmsg(2), so that the
//! server is the bottleneck.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::requests::{self, Workload};
use crate::sys::{self, DatagramBatch};

/// The closed loop has so many sockets with so many requests in flight each.
pub const SOCKETS: usize = 16;
pub const IN_FLIGHT: usize = 8;

/// Requests in a burst, and the sockets that send them.
pub const BURST: usize = 10_000;
const BURST_SOCKETS: usize = 80;

/// Sockets of the open loop, one for each request in flight.
const PACED_SOCKETS: usize = 256;

/// More than the longest response.
const BUF_SIZE: usize = 2048;

/// On the loopback interface, a response that takes longer is lost.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(200);

/// After a pass over all sockets with fewer responses than this, the load pauses. It so receives
/// more with each call, and the pauses show how much time it has to spare.
const FEW_RESPONSES: u64 = 32;
const PAUSE: Duration = Duration::from_micros(20);

/// When a closed loop stops sending.
#[derive(Clone, Copy)]
pub enum Until {
    Elapsed(Duration),
    Answered(u64),
}

/// The result of a closed loop.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoopResult {
    pub answered: u64,
    pub wrong: u64,
    pub lost: u64,
    pub elapsed: Duration,
    /// The time in which the load paused.
    pub paused: Duration,
}

/// The result of a burst.
#[derive(Clone, Copy, Debug, Default)]
pub struct Burst {
    pub answered: u64,
    pub wrong: u64,
    /// From the first request to the last.
    pub sending: Duration,
}

/// The result of an open loop.
#[derive(Clone, Debug, Default)]
pub struct PacedResult {
    /// Nanoseconds from request to response, sorted.
    pub round_trips: Vec<u64>,
    pub wrong: u64,
    pub lost: u64,
}

/// A request in flight of the open loop.
struct InFlight {
    client: usize,
    serial: u64,
    sent_at: Instant,
}

impl PacedResult {
    /// Receives the response to the oldest request. Returns whether it was there.
    fn receive_oldest(
        &mut self,
        clients: &[Client],
        in_flight: &mut VecDeque<InFlight>,
        workload: &mut Workload,
    ) -> bool {
        let mut buf = [0; BUF_SIZE];
        let Some(oldest) = in_flight.front() else {
            return false;
        };
        let Ok(length) = clients[oldest.client].socket.recv(&mut buf) else {
            return false;
        };
        let round_trip = oldest.sent_at.elapsed();
        self.round_trips.push(round_trip.as_nanos() as u64);
        let right = workload.accepts(oldest.serial, requests::now(), &buf[..length]);
        self.wrong += u64::from(!right);
        in_flight.pop_front();
        true
    }
}

struct Client {
    socket: UdpSocket,
    /// The numbers of the requests in flight, oldest first: a server on the loopback interface
    /// responds in order.
    in_flight: VecDeque<u64>,
    received_at: Instant,
}

impl Client {
    fn connect(server: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(server)?;
        Ok(Self {
            socket,
            in_flight: VecDeque::new(),
            received_at: Instant::now(),
        })
    }

    fn connect_many(server: SocketAddr, count: usize) -> io::Result<Vec<Self>> {
        (0..count).map(|_| Self::connect(server)).collect()
    }
}

/// All clients of a run. There is one for the whole run: it numbers the requests, which makes each
/// of them a new one.
pub struct Load {
    serial: u64,
    request: Vec<u8>,
    random: u64,
}

impl Load {
    pub fn new() -> Self {
        Self {
            serial: 0,
            request: Vec::with_capacity(BUF_SIZE),
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    fn send(
        &mut self,
        workload: &Workload,
        client: &mut Client,
        batch: &mut DatagramBatch,
        count: usize,
    ) {
        for index in 0..count {
            workload.write_request(self.serial, &mut self.request);
            batch.put(index, &self.request);
            client.in_flight.push_back(self.serial);
            self.serial += 1;
        }
        batch.send(&client.socket, count);
    }

    /// Keeps `IN_FLIGHT` requests in flight on each of `SOCKETS` sockets.
    pub fn closed_loop(
        &mut self,
        server: SocketAddr,
        workload: &mut Workload,
        until: Until,
    ) -> io::Result<LoopResult> {
        let mut clients = Client::connect_many(server, SOCKETS)?;
        let mut incoming = DatagramBatch::connected(IN_FLIGHT, BUF_SIZE);
        let mut outgoing = DatagramBatch::connected(IN_FLIGHT, BUF_SIZE);
        let mut result = LoopResult::default();
        let start = Instant::now();
        for client in &mut clients {
            self.send(workload, client, &mut outgoing, IN_FLIGHT);
        }
        let (mut sending, mut pass) = (true, start);
        loop {
            let now = requests::now();
            let before = result.answered;
            for client in &mut clients {
                let received = incoming
                    .receive(&client.socket, libc::MSG_DONTWAIT)
                    .unwrap_or(0);
                for index in 0..received {
                    match client.in_flight.pop_front() {
                        Some(serial) if workload.accepts(serial, now, incoming.datagram(index)) => {
                            result.answered += 1;
                        }
                        _ => result.wrong += 1,
                    }
                }
                let mut free = received;
                if received > 0 {
                    client.received_at = pass;
                } else if !client.in_flight.is_empty()
                    && pass.saturating_duration_since(client.received_at) > RESPONSE_TIMEOUT
                {
                    result.lost += client.in_flight.len() as u64;
                    // From a new port, so that a late response is not taken for the next one.
                    *client = Client::connect(server)?;
                    free = IN_FLIGHT;
                }
                if sending && free > 0 {
                    self.send(workload, client, &mut outgoing, free);
                }
            }
            pass = Instant::now();
            if result.answered - before < FEW_RESPONSES {
                let resume_at = pass + PAUSE;
                while pass < resume_at {
                    // A sleeping client would have to be woken, in the server's time.
                    std::hint::spin_loop();
                    pass = Instant::now();
                }
                result.paused += PAUSE;
            }
            let done = match until {
                Until::Elapsed(limit) => pass - start >= limit,
                Until::Answered(count) => result.answered + result.wrong + result.lost >= count,
            };
            if sending && done {
                (sending, result.elapsed) = (false, pass - start);
            }
            if !sending && clients.iter().all(|client| client.in_flight.is_empty()) {
                return Ok(result);
            }
        }
    }

    /// Sends one request at a time and sleeps until its response is there. Calls `after_each`
    /// after each response.
    pub fn one_at_a_time(
        &mut self,
        server: SocketAddr,
        workload: &mut Workload,
        limit: Duration,
        mut after_each: impl FnMut(),
    ) -> io::Result<LoopResult> {
        let connect = || {
            let client = Client::connect(server)?;
            client.socket.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
            io::Result::Ok(client)
        };
        let mut client = connect()?;
        let (mut buf, mut result) = ([0; BUF_SIZE], LoopResult::default());
        let start = Instant::now();
        while result.elapsed < limit {
            let serial = self.serial;
            self.serial += 1;
            workload.write_request(serial, &mut self.request);
            client.socket.send(&self.request)?;
            match client.socket.recv(&mut buf) {
                Ok(length) if workload.accepts(serial, requests::now(), &buf[..length]) => {
                    result.answered += 1;
                }
                Ok(_) => result.wrong += 1,
                Err(_) => {
                    result.lost += 1;
                    // From a new port, so that a late response is not taken for the next one.
                    client = connect()?;
                }
            }
            after_each();
            result.elapsed = start.elapsed();
        }
        Ok(result)
    }

    /// Sends requests at random instants, `rate` a second on average, whether or not there are
    /// responses.
    pub fn paced(
        &mut self,
        server: SocketAddr,
        workload: &mut Workload,
        rate: f64,
        limit: Duration,
    ) -> io::Result<PacedResult> {
        // One socket for each request in flight, so that no response is taken for another.
        let mut clients = Client::connect_many(server, PACED_SOCKETS)?;
        for client in &clients {
            client.socket.set_nonblocking(true)?;
        }
        let mut result = PacedResult::default();
        // Enough for all: to grow it during the loop would be a pause.
        let expected = (rate * limit.as_secs_f64() * 1.1) as usize + 1000;
        result.round_trips.reserve(expected);
        let mut in_flight = VecDeque::with_capacity(PACED_SOCKETS);
        let start = Instant::now();
        let (mut due, mut next_client, mut probe) = (start, 0, 0);
        loop {
            let now = Instant::now();
            let sending = now - start < limit;
            if !sending && in_flight.is_empty() {
                break;
            }
            if sending && now >= due {
                due += Duration::from_secs_f64(self.random_gap() / rate);
                // After an interruption of the load, do not catch up with a burst.
                due = due.max(now - Duration::from_micros(100));
                if in_flight.len() == PACED_SOCKETS {
                    result.lost += 1;
                } else {
                    workload.write_request(self.serial, &mut self.request);
                    in_flight.push_back(InFlight {
                        client: next_client,
                        serial: self.serial,
                        sent_at: Instant::now(),
                    });
                    let _ = clients[next_client].socket.send(&self.request);
                    self.serial += 1;
                    next_client = (next_client + 1) % PACED_SOCKETS;
                }
            }
            // The oldest request is the next to get a response, unless it was dropped. Then a later
            // one has a response: each turn of the loop tests another one.
            probe = (probe + 1) % in_flight.len().max(1);
            if !result.receive_oldest(&clients, &mut in_flight, workload) && probe > 0 {
                let socket = &clients[in_flight[probe].client].socket;
                if socket.peek(&mut [0]).is_ok() {
                    for _ in 0..=probe {
                        if !result.receive_oldest(&clients, &mut in_flight, workload) {
                            result.lost += 1;
                            in_flight.pop_front();
                        }
                    }
                }
            }
            if let Some(oldest) = in_flight.front()
                && oldest.sent_at.elapsed() > RESPONSE_TIMEOUT
            {
                // From a new port, so that a late response is not taken for a later one.
                let client = Client::connect(server)?;
                client.socket.set_nonblocking(true)?;
                clients[oldest.client] = client;
                result.lost += 1;
                in_flight.pop_front();
            }
        }
        result.round_trips.sort_unstable();
        Ok(result)
    }

    /// Returns an exponentially distributed gap with a mean of 1, as of independent clients.
    fn random_gap(&mut self) -> f64 {
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        -(((self.random >> 11) as f64 + 1.0) / (1u64 << 53) as f64).ln()
    }

    /// Sends `BURST` requests as fast as one core can. The client sockets have receive buffers for
    /// all responses.
    pub fn burst(&mut self, server: SocketAddr, workload: &mut Workload) -> io::Result<Burst> {
        const EACH: usize = BURST / BURST_SOCKETS;
        let mut clients = Client::connect_many(server, BURST_SOCKETS)?;
        let mut batch = DatagramBatch::connected(EACH, BUF_SIZE);
        for client in &clients {
            // The kernel accounts less than 2 KiB for each of these responses.
            sys::set_receive_buffer(&client.socket, EACH * BUF_SIZE)?;
        }
        let mut burst = Burst::default();
        let start = Instant::now();
        for client in &mut clients {
            self.send(workload, client, &mut batch, EACH);
        }
        burst.sending = start.elapsed();
        let mut received_at = Instant::now();
        while burst.answered + burst.wrong < BURST as u64
            && received_at.elapsed() < RESPONSE_TIMEOUT
        {
            for client in &mut clients {
                let received = batch
                    .receive(&client.socket, libc::MSG_DONTWAIT)
                    .unwrap_or(0);
                for index in 0..received {
                    received_at = Instant::now();
                    let now = requests::now();
                    // Some requests of this client may have been dropped: the response belongs to
                    // the first one that it is right for.
                    let response = batch.datagram(index);
                    let right = std::iter::from_fn(|| client.in_flight.pop_front())
                        .any(|serial| workload.accepts(serial, now, response));
                    burst.answered += u64::from(right);
                    burst.wrong += u64::from(!right);
                }
            }
        }
        Ok(burst)
    }
}

//! Clients that all send their first request at the same moment, and retry.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::NaiveDateTime;
use wallclock::client::query::{TAG_LEN, parse_response};
use wallclock::protocol::DEFAULT_FORMAT;
use wallclock::strftime::Format;

use crate::POLICY;
use crate::sys::{self, DatagramBatch};

/// Fewer than most systems allow a process. What distinguishes the clients is their tags.
const MAX_SOCKETS: usize = 500;

/// Requests that are sent with one system call, of clients that share a socket.
const BATCH_SIZE: usize = 32;

/// Requested for each socket: no response is lost while the clients are still sending.
const RECEIVE_BUFFER: usize = 1 << 20;

/// More than the longest response.
const BUF_SIZE: usize = 2048;

/// A pause of clients that have nothing to do.
const PAUSE: Duration = Duration::from_micros(500);

/// While first requests are still being sent, retries are sent after so many batches of them.
const BATCHES_BEFORE_RETRIES: usize = 64;

/// How long a client waits before it tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// As `wallclock` does.
    Random,
    /// Always for the whole time-out.
    Fixed,
}

impl Wait {
    fn after(self, tries: u32) -> Duration {
        match self {
            Wait::Random => POLICY.wait(POLICY.attempts + 1 - tries),
            Wait::Fixed => POLICY.timeout,
        }
    }
}

/// What the clients got.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// From the first request to the last of the first tries.
    pub window: Duration,
    pub at_first_try: usize,
    /// From the first request to the last response.
    pub last: Duration,
    /// Clients without a response.
    pub failed: usize,
    pub wrong: usize,
}

struct Client {
    tag: [u8; TAG_LEN],
    tries: u32,
    /// How long it waits for the response to each try.
    waits: [Duration; POLICY.attempts as usize],
    is_answered: bool,
}

impl Client {
    fn new(number: usize, wait: Wait) -> Self {
        let mut tries = 0;
        Self {
            tag: tag(number, 1),
            tries: 1,
            // In advance: random numbers would slow the sending down.
            waits: [(); POLICY.attempts as usize].map(|()| {
                tries += 1;
                wait.after(tries)
            }),
            is_answered: false,
        }
    }

    fn request(&self) -> Vec<u8> {
        [&self.tag, DEFAULT_FORMAT.as_bytes()].concat()
    }

    fn wait(&self) -> Duration {
        self.waits[self.tries as usize - 1]
    }
}

/// Returns the tag of a try, which looks like one of `wallclock`.
fn tag(number: usize, tries: u32) -> [u8; TAG_LEN] {
    let tag = format!("{tries:08x}{number:08x}|");
    tag.into_bytes().try_into().expect("17 characters")
}

/// Returns the number of the client with this tag at the start of a response.
fn client_number(response: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(response.get(8..16)?).ok()?;
    usize::from_str_radix(digits, 16).ok()
}

/// All clients of a run.
struct Clients<'a> {
    clients: Vec<Client>,
    sockets: Vec<UdpSocket>,
    format: Format<'a>,
    /// When a client gives up its current try, and its number.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    incoming: DatagramBatch,
    start: Instant,
    answered: usize,
    /// A right text. Most responses have the same second.
    text: Vec<u8>,
    outcome: Outcome,
}

/// Has `count` clients query a server whose zone is UTC. Returns when each has a response or has
/// failed.
pub fn query(server: SocketAddr, count: usize, wait: Wait) -> io::Result<Outcome> {
    let sockets = count.div_ceil(BATCH_SIZE).min(MAX_SOCKETS);
    let connect = |_| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(server)?;
        sys::set_receive_buffer(&socket, RECEIVE_BUFFER)?;
        io::Result::Ok(socket)
    };
    let mut clients = Clients {
        clients: (0..count).map(|number| Client::new(number, wait)).collect(),
        sockets: (0..sockets).map(connect).collect::<Result<_, _>>()?,
        format: Format::parse(DEFAULT_FORMAT.as_bytes()).expect("the default format is valid"),
        due: BinaryHeap::with_capacity(count),
        incoming: DatagramBatch::connected(BATCH_SIZE, BUF_SIZE),
        start: Instant::now(),
        answered: 0,
        text: Vec::new(),
        outcome: Outcome::default(),
    };
    clients.send_all()?;
    while clients.answered + clients.outcome.failed < count {
        if !clients.receive_and_retry()? {
            thread::sleep(PAUSE);
        }
    }
    Ok(clients.outcome)
}

impl Clients<'_> {
    /// Returns the socket of a client. Those of one batch share it.
    fn socket(&self, number: usize) -> &UdpSocket {
        &self.sockets[number / BATCH_SIZE % self.sockets.len()]
    }

    /// Sends the first request of each client.
    fn send_all(&mut self) -> io::Result<()> {
        let requests: Vec<Vec<u8>> = self.clients.iter().map(Client::request).collect();
        let mut outgoing = DatagramBatch::connected(BATCH_SIZE, BUF_SIZE);
        self.start = Instant::now();
        for (batch, requests) in requests.chunks(BATCH_SIZE).enumerate() {
            for (index, request) in requests.iter().enumerate() {
                outgoing.put(index, request);
            }
            let (first, sent_at) = (batch * BATCH_SIZE, Instant::now());
            outgoing.send(self.socket(first), requests.len());
            for number in first..first + requests.len() {
                let due = sent_at + self.clients[number].wait();
                self.due.push(Reverse((due, number)));
            }
            // A generator that is slower than the time-out must not delay retries.
            let is_due = self.due.peek().is_some_and(|it| it.0.0 <= sent_at);
            if is_due && batch % BATCHES_BEFORE_RETRIES == 0 {
                self.receive_and_retry()?;
            }
        }
        self.outcome.window = self.start.elapsed();
        Ok(())
    }

    /// Receives all responses that are there, then retries for clients that got none in time.
    /// Returns whether there was anything to do.
    fn receive_and_retry(&mut self) -> io::Result<bool> {
        let mut is_busy = false;
        // What arrives by now was in time for all that is due by now.
        let now = Instant::now();
        for socket in 0..self.sockets.len() {
            while let Ok(received) = self
                .incoming
                .receive(&self.sockets[socket], libc::MSG_DONTWAIT)
            {
                is_busy = true;
                let elapsed = self.start.elapsed();
                for index in 0..received {
                    self.receive(index, elapsed);
                }
            }
        }
        while let Some(&Reverse((due, number))) = self.due.peek()
            && due <= now
        {
            is_busy = true;
            self.due.pop();
            self.retry(number)?;
        }
        Ok(is_busy)
    }

    fn receive(&mut self, index: usize, elapsed: Duration) {
        let response = self.incoming.datagram(index);
        let client = client_number(response).and_then(|number| self.clients.get_mut(number));
        // Error responses have no tag; none of the requests is an error.
        let Some(client) = client else {
            self.outcome.wrong += 1;
            return;
        };
        let text = match parse_response(response, &client.tag, &self.format) {
            // The response to an earlier try is late, and dropped as `wallclock` does.
            None => return,
            Some(text) => text.unwrap_or_default(),
        };
        if client.is_answered || text != self.text && !is_now(text) {
            self.outcome.wrong += 1;
            return;
        }
        client.is_answered = true;
        self.outcome.at_first_try += usize::from(client.tries == 1);
        self.outcome.last = elapsed;
        self.answered += 1;
        if self.text != text {
            self.text = text.to_vec();
        }
    }

    /// Sends the next request of a client that has no response, or counts it as failed.
    fn retry(&mut self, number: usize) -> io::Result<()> {
        let client = &mut self.clients[number];
        if client.is_answered {
            return Ok(());
        }
        if client.tries == POLICY.attempts {
            self.outcome.failed += 1;
            return Ok(());
        }
        client.tries += 1;
        client.tag = tag(number, client.tries);
        let due = Instant::now() + client.wait();
        let request = client.request();
        self.due.push(Reverse((due, number)));
        self.socket(number).send(&request)?;
        Ok(())
    }
}

/// Whether a text is the time in UTC, in the default format. It may have waited for some seconds.
fn is_now(text: &[u8]) -> bool {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64);
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S")
        .is_ok_and(|time| (now - 10..=now + 1).contains(&time.and_utc().timestamp()))
}

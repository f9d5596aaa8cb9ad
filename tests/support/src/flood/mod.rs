//! A flood of requests to one daemon. The sender checks each response.
//!
//! Requests are sent in windows. Each window ends with a *marker*, a request of its own. A daemon
//! on loopback receives and responds in order, so once the marker's response arrives, all responses
//! to the window have arrived: a request without one was ignored. Windows fit the socket buffers,
//! so the kernel drops nothing.

mod check;
mod hostile;

pub use check::{
    check_response, count_percents, is_blank, is_ignored, library_response, library_response_now,
};
pub use hostile::{Random, hostile_datagram};

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wallclock::sys::mmsg::BATCH_SIZE;

use crate::HANG_TIMEOUT;

/// When a request was sent and its response received, by the clock that the daemon reads.
#[derive(Clone, Copy, Debug)]
pub struct QueryTimes {
    /// Time since 1970 before the request is sent.
    pub sent_at: Duration,
    /// Time since 1970 after the response is received.
    pub received_at: Duration,
}

impl QueryTimes {
    /// The seconds since 1970 from request to response.
    pub fn seconds(self) -> impl Iterator<Item = i64> {
        self.sent_at.as_secs() as i64..=self.received_at.as_secs() as i64
    }
}

fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is after 1970")
}

/// The requests of a flood, and the check of their responses.
pub trait RequestSource {
    /// Returns the number of the next request.
    fn next_request(&mut self) -> usize;
    /// The bytes of a request, valid until its response is checked.
    fn bytes(&self, number: usize) -> &[u8];
    /// Returns whether a request must be ignored.
    fn is_ignored(&self, number: usize) -> bool;
    /// Checks the response to a request. Fails with a description of what is wrong.
    fn check(&mut self, number: usize, response: &[u8], times: QueryTimes) -> Result<(), String>;
}

/// The sender's counters.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests sent, markers included.
    pub sent: u64,
    /// Responses with a formatted time.
    pub answered: u64,
    /// Error responses.
    pub refused: u64,
    /// Requests that must be ignored.
    pub ignored: u64,
    /// Wrong and missing responses.
    pub wrong: u64,
    /// Descriptions of the first ten of them.
    pub errors: Vec<String>,
}

impl Tally {
    fn add_error(&mut self, request: &[u8], error: &str) {
        self.wrong += 1;
        if self.errors.len() < 10 {
            let start = &request[..request.len().min(200)];
            self.errors.push(format!(
                "\"{}\" ({} bytes): {error}",
                start.escape_ascii(),
                request.len()
            ));
        }
    }
}

/// Maximum number of requests in a window, without the marker.
const WINDOW: usize = 40;
/// Maximum kernel memory of all requests in flight. A socket's default buffer has 208 KiB; the
/// margin is for the kernel, which returns memory in steps of a quarter of the buffer.
const MAX_IN_FLIGHT: usize = 120_000;
/// Kernel memory at which a window ends.
const MAX_WINDOW: usize = 50_000;

/// An upper bound of the kernel memory that a datagram of this length takes.
fn kernel_memory(length: usize) -> usize {
    1_100
        + if length < 16_384 {
            2 * length
        } else {
            length + 16_384
        }
}

/// One socket of the sender, with at most one window in flight.
struct Lane {
    socket: UdpSocket,
    /// Requests in flight that must get a response.
    pending: VecDeque<usize>,
    /// Kernel memory of the window in flight; 0 if there is none.
    in_flight: usize,
    sent_at: Duration,
    marker: u64,
}

/// The sender. It uses its sockets in turn, so that the daemon responds to one window while the
/// sender checks another.
pub struct Flood<S> {
    /// Where the requests come from.
    pub requests: S,
    /// What the sender has counted.
    pub tally: Tally,
    lanes: Vec<Lane>,
    next: usize,
    windows: u64,
    batch: Vec<usize>,
    buf: Vec<u8>,
}

impl<S: RequestSource> Flood<S> {
    /// A flood through connected sockets.
    pub fn new(requests: S, sockets: Vec<UdpSocket>) -> Flood<S> {
        let lane = |socket| Lane {
            socket,
            pending: VecDeque::with_capacity(WINDOW),
            in_flight: 0,
            sent_at: Duration::ZERO,
            marker: 0,
        };
        Flood {
            requests,
            tally: Tally::default(),
            lanes: sockets.into_iter().map(lane).collect(),
            next: 0,
            windows: 0,
            batch: Vec::with_capacity(WINDOW),
            buf: vec![0; 65_536],
        }
    }

    /// The number of windows sent.
    pub fn windows(&self) -> u64 {
        self.windows
    }

    /// Checks the responses to the last window of the next socket and sends another window.
    /// In between, with nothing in flight, `replace_socket` may replace the socket of this index.
    pub fn send_window(&mut self, replace_socket: impl FnOnce(usize, &mut UdpSocket)) {
        let index = self.next;
        self.next = (index + 1) % self.lanes.len();
        self.check_window(index);
        replace_socket(index, &mut self.lanes[index].socket);

        let memory = self.choose_requests();
        for other in 0..self.lanes.len() {
            let in_flight: usize = self.lanes.iter().map(|lane| lane.in_flight).sum();
            if in_flight + memory > MAX_IN_FLIGHT {
                self.check_window((index + 1 + other) % self.lanes.len());
            }
        }
        self.windows += 1;
        let lane = &mut self.lanes[index];
        lane.marker = self.windows;
        lane.in_flight = memory;
        lane.sent_at = unix_time();
        for &number in &self.batch {
            let request = self.requests.bytes(number);
            lane.socket.send(request).expect("the request is sent");
            if self.requests.is_ignored(number) {
                self.tally.ignored += 1;
            } else {
                lane.pending.push_back(number);
            }
        }
        let marker = format!("marker {} %s", lane.marker);
        lane.socket
            .send(marker.as_bytes())
            .expect("the marker is sent");
        self.tally.sent += self.batch.len() as u64 + 1;
    }

    /// Checks the responses to all requests in flight.
    pub fn finish(&mut self) {
        for index in 0..self.lanes.len() {
            self.check_window(index);
        }
    }

    /// Fills `batch` with the requests of a window. Returns the kernel memory that they take.
    fn choose_requests(&mut self) -> usize {
        self.batch.clear();
        let mut memory = 0;
        while self.batch.len() < WINDOW && memory < MAX_WINDOW {
            let number = self.requests.next_request();
            memory += kernel_memory(self.requests.bytes(number).len());
            self.batch.push(number);
        }
        memory
    }

    fn check_window(&mut self, index: usize) {
        let Flood {
            requests,
            tally,
            lanes,
            buf,
            ..
        } = self;
        let lane = &mut lanes[index];
        if lane.in_flight == 0 {
            return;
        }
        let marker = format!("marker {} ", lane.marker);
        loop {
            let response = match lane.socket.recv(buf) {
                Ok(length) => &buf[..length],
                Err(error) => {
                    tally.add_error(marker.as_bytes(), &format!("no response: {error}"));
                    break;
                }
            };
            let times = QueryTimes {
                sent_at: lane.sent_at,
                received_at: unix_time(),
            };
            if let Some(second) = response.strip_prefix(marker.as_bytes()) {
                let correct = std::str::from_utf8(second)
                    .ok()
                    .and_then(|second| second.parse::<i64>().ok())
                    .is_some_and(|second| times.seconds().any(|other| other == second));
                tally.answered += 1;
                if !correct {
                    tally.add_error(marker.as_bytes(), &format!("{}", response.escape_ascii()));
                }
                break;
            }
            let Some(number) = lane.pending.pop_front() else {
                let error = format!("a response too many: {}", response.escape_ascii());
                tally.add_error(b"", &error);
                continue;
            };
            let request = requests.bytes(number);
            if response.starts_with(b"error: ") && !request.starts_with(b"error: ") {
                tally.refused += 1;
            } else {
                tally.answered += 1;
            }
            if let Err(error) = requests.check(number, response, times) {
                let error = format!("{error}: {}", response.escape_ascii());
                tally.add_error(requests.bytes(number), &error);
            }
        }
        for number in lane.pending.drain(..) {
            tally.add_error(requests.bytes(number), "no response");
        }
        lane.in_flight = 0;
    }
}

/// Returns a socket at this address and port that is connected to a server, with a receive
/// time-out. Fails if the port is in use.
pub fn connected_socket_from(
    server: SocketAddr,
    source: IpAddr,
    port: u16,
) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((source, port))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(HANG_TIMEOUT))?;
    Ok(socket)
}

/// The option that a daemon needs for [`fill_recv_buffers`]: a receive buffer for a batch of the
/// longest datagrams.
pub const RECV_BUFFER_OPTION: &str = "--receive-buffer=4194304";

/// Makes a daemon receive a whole batch of the longest datagrams. Afterwards all its buffers are
/// resident, and a growth of its memory is a leak. If the kernel does not grant the receive buffer,
/// some of the buffers become resident later.
///
/// `set_stopped` stops the daemon by SIGSTOP and continues it.
pub fn fill_recv_buffers(server: SocketAddr, set_stopped: impl Fn(bool)) {
    let local = if server.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    let socket = UdpSocket::bind(local).expect("a free port");
    set_stopped(true);
    for _ in 0..BATCH_SIZE {
        socket
            .send_to(&[b'a'; 65_500], server)
            .expect("the datagram is sent");
    }
    set_stopped(false);
    // The daemon receives this request after all of them. While they fill the buffer, the kernel
    // drops it.
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .expect("a time-out");
    for _ in 0..60 {
        socket.send_to(b"%s", server).expect("the request is sent");
        if socket.recv(&mut [0; 64]).is_ok() {
            return;
        }
    }
    panic!("the daemon does not respond");
}

/// Formats 12345678 as 12,345,678.
pub fn group_digits(number: u64) -> String {
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

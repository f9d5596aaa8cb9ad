//! Sends one request to one server, or tries a list of servers until one responds.
//!
//! Each try puts a random literal, the *tag*, before its format. strftime copies it into the
//! response, so a response that does not start with the tag of the current try is late, stray or
//! forged, and is dropped. An error response has no tag: it is believed only if no response with
//! the tag follows it soon.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::{Domain, Socket, Type};

use super::clocks::raw_time;
use super::resolve::{ResolveError, Resolver};
use crate::error::{error_chain, printable};
use crate::offset::Nanos;
use crate::protocol::{ERROR_PREFIX, ErrorReason, MAX_REQUEST_LEN};
use crate::strftime::Format;

/// Bytes of a tag.
pub const TAG_LEN: usize = 17;

/// The longest format that fits into a request after its tag, in bytes.
pub const MAX_FORMAT_LEN: usize = MAX_REQUEST_LEN - TAG_LEN;

/// The shortest wait for a response with the tag after an error response, which has none. It is
/// what an honest refusal costs.
const MIN_DOUBT: Duration = Duration::from_millis(50);

/// Large enough for any datagram: other servers may send more than wallclockd does.
const RECV_BUF_SIZE: usize = 65_536;

/// Why one try got no time.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The server's error response.
    #[error("refused: {0}")]
    Refused(String),
    /// A response with more `%` than the format produces: the server copies directives that it
    /// does not know.
    #[error("the server does not know this format, its response is \"{0}\"")]
    UnexpandedFormat(String),
    /// No response to this try in time.
    #[error("no response in time")]
    Timeout,
    /// The kernel did not send the request, or reported a closed port or an unreachable host.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// The kernel has no random numbers for the tag.
    #[error("get random numbers")]
    Random(#[source] getrandom::Error),
}

impl QueryError {
    /// Whether the server may know another format.
    pub(super) fn is_about_the_format(&self) -> bool {
        match self {
            QueryError::Refused(_) => !self.is_not_synchronised(),
            QueryError::UnexpandedFormat(_) => true,
            QueryError::Timeout | QueryError::Socket(_) | QueryError::Random(_) => false,
        }
    }

    /// Whether the server refused because its clock is not synchronised.
    fn is_not_synchronised(&self) -> bool {
        match self {
            QueryError::Refused(reason) => *reason == ErrorReason::NotSynchronised.to_string(),
            QueryError::UnexpandedFormat(_)
            | QueryError::Timeout
            | QueryError::Socket(_)
            | QueryError::Random(_) => false,
        }
    }
}

/// A socket that is connected to one server, so that the kernel drops datagrams from other
/// addresses and reports a closed port.
#[derive(Debug)]
pub struct UdpClient {
    socket: UdpSocket,
    server: SocketAddr,
    longest_round_trip: Cell<Duration>,
    /// The requests so far.
    requests: Cell<u32>,
    /// The datagrams of the server that were no response to the request at that time.
    dropped: Cell<u32>,
}

/// The response to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryResponse {
    /// The formatted time, as the server sent it: any bytes.
    pub text: Vec<u8>,
    /// The raw clock, read before the request was sent.
    pub sent_at: Nanos,
    /// The raw clock, read after the response was received.
    pub received_at: Nanos,
}

impl UdpClient {
    /// Creates a socket and connects it. Sends nothing.
    ///
    /// # Errors
    ///
    /// Those of socket(2) and connect(2), such as an address family that is not supported, or no
    /// route.
    pub fn connect(server: SocketAddr) -> io::Result<UdpClient> {
        let socket = Socket::new(Domain::for_address(server), Type::DGRAM, None)?;
        socket.connect(&server.into())?;
        Ok(UdpClient {
            socket: socket.into(),
            server,
            longest_round_trip: Cell::default(),
            requests: Cell::default(),
            dropped: Cell::default(),
        })
    }

    /// Returns the server's address.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Returns what there was without a response in time: `3 tries, 1 late or wrong response`.
    pub fn describe_tries(&self) -> String {
        let plural = |count, one: &str, more: &str| match count {
            1 => format!("1 {one}"),
            _ => format!("{count} {more}"),
        };
        let tries = plural(self.requests.get(), "try", "tries");
        match self.dropped.get() {
            0 => tries,
            count => {
                let dropped = plural(count, "late or wrong response", "late or wrong responses");
                format!("{tries}, {dropped}")
            }
        }
    }

    /// Sends one request and waits for its response.
    ///
    /// A host that does not see the request can forge an error response, but not the tag. So an
    /// error response counts only if no response with the tag follows it within the longest round
    /// trip so far, at least 50 ms, or until the time-out.
    ///
    /// # Errors
    ///
    /// See [`QueryError`]. After a time-out or a socket error another try may succeed.
    pub fn query(
        &self,
        format: &Format<'_>,
        timeout: Duration,
    ) -> Result<QueryResponse, QueryError> {
        let tag = new_tag()?;
        let request = [&tag[..], format.bytes()].concat();
        // Not initialised: most responses need one page of it.
        let mut buf = Vec::with_capacity(RECV_BUF_SIZE);
        let start = Instant::now();
        let sent_at = raw_time();
        self.requests.set(self.requests.get() + 1);
        self.socket.send(&request)?;
        let (mut wait, mut refusal) = (timeout, None);
        loop {
            let left = wait.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(refusal.unwrap_or(QueryError::Timeout));
            }
            self.socket.set_read_timeout(Some(left))?;
            buf.clear();
            match recv(&self.socket, spare_capacity(&mut buf), RecvFlags::empty()) {
                Ok(_) => {}
                // The kernel's timer is coarser than `Instant`, so the time left decides.
                Err(Errno::AGAIN | Errno::INTR) => continue,
                Err(error) => return Err(QueryError::Socket(error.into())),
            }
            let received_at = raw_time();
            let round_trip = start.elapsed();
            match parse_response(&buf, &tag, format) {
                Some(Err(error @ QueryError::Refused(_))) if refusal.is_none() => {
                    let doubt = self.longest_round_trip.get().max(MIN_DOUBT);
                    wait = timeout.min(round_trip + doubt);
                    refusal = Some(error);
                }
                None | Some(Err(QueryError::Refused(_))) => {
                    self.dropped.set(self.dropped.get().saturating_add(1));
                }
                Some(text) => {
                    let longest = self.longest_round_trip.get().max(round_trip);
                    self.longest_round_trip.set(longest);
                    return text.map(|text| QueryResponse {
                        text: text.to_owned(),
                        sent_at,
                        received_at,
                    });
                }
            }
        }
    }
}

/// Parses a datagram received after a request with this tag and format.
///
/// Returns the formatted time, or the server's refusal; `None` if the datagram is no response to
/// this request.
///
/// # Errors
///
/// [`QueryError::Refused`] and [`QueryError::UnexpandedFormat`].
pub fn parse_response<'a>(
    response: &'a [u8],
    tag: &[u8; TAG_LEN],
    format: &Format<'_>,
) -> Option<Result<&'a [u8], QueryError>> {
    if let Some(text) = response.strip_prefix(tag) {
        let percents = text.iter().filter(|&&byte| byte == b'%').count();
        return Some(if percents > format.percents() {
            Err(QueryError::UnexpandedFormat(printable(text)))
        } else {
            Ok(text)
        });
    }
    // Rule 4: an error response holds nothing of the request, so it has no tag. A late one, of an
    // earlier try, gives the same reason as that of this try would.
    let reason = response.strip_prefix(ERROR_PREFIX.as_bytes())?;
    Some(Err(QueryError::Refused(printable(reason))))
}

/// Generates a tag: 64 random bits in hexadecimal, then a `|`.
fn new_tag() -> Result<[u8; TAG_LEN], QueryError> {
    let mut tag = [b'|'; TAG_LEN];
    let bits = getrandom::u64().map_err(QueryError::Random)?;
    for (index, digit) in tag[..TAG_LEN - 1].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(bits >> (4 * index) & 15) as usize];
    }
    Ok(tag)
}

/// How often to try, and how long to wait each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Maximum wait for the response to one try.
    pub timeout: Duration,
    /// Tries for each address, at least 1.
    pub attempts: u32,
}

impl RetryPolicy {
    /// How long to wait for the response to a try when so many are left, this one included.
    ///
    /// The last try waits for `timeout`, each other one for a random time from half of that up:
    /// clients that failed at the same time do not all try again at the same time.
    pub fn wait(self, attempts_left: u32) -> Duration {
        match attempts_left {
            0 | 1 => self.timeout,
            _ => random_wait(self.timeout),
        }
    }
}

/// Returns a random part of a time-out, at least half. Without random numbers it is all of it.
pub fn random_wait(timeout: Duration) -> Duration {
    let Ok(random) = getrandom::u32() else {
        return timeout;
    };
    let part = f64::from(random) / f64::from(u32::MAX);
    timeout.mul_f64(0.5 + part / 2.0).min(timeout)
}

/// One address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The name that the address comes from, if it comes from one.
    pub name: Option<String>,
    /// The address.
    pub address: SocketAddr,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({})", self.address),
            None => self.address.fmt(f),
        }
    }
}

/// Why no server of a list gave a time.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A server refused the request.
    #[error("{server}")]
    Refused {
        /// The server.
        server: Server,
        /// Its error response, or what its response shows.
        source: QueryError,
    },
    /// No server responded.
    #[error("no response{}: {}", waited.map_or(String::new(), within), failed.join("; "))]
    NoResponse {
        /// How long it took, if any try took its time.
        waited: Option<Duration>,
        /// The last error of each server.
        failed: Vec<String>,
    },
}

/// Formats how long there was no response.
pub fn within(waited: Duration) -> String {
    format!(" within {} s", waited.as_millis() as f64 / 1000.0)
}

/// An address that has not responded yet.
struct Candidate<'a> {
    server: Server,
    client: UdpClient,
    /// The place of its server in the list.
    number: usize,
    /// The tries so far.
    tries: u32,
    /// The formats that it may know, at least one.
    formats: &'a [Format<'a>],
}

impl Candidate<'_> {
    /// Tries once. A server that does not know the format gets the next one in the same time.
    fn query(&mut self, wait: Duration) -> Result<QueryResponse, QueryError> {
        let start = Instant::now();
        self.tries += 1;
        loop {
            let left = wait.saturating_sub(start.elapsed());
            match self.client.query(&self.formats[0], left) {
                Err(error) if error.is_about_the_format() && self.formats.len() > 1 => {
                    self.formats = &self.formats[1..];
                }
                result => return result,
            }
        }
    }
}

/// The addresses to try, in the order in which they became known.
#[derive(Default)]
struct Candidates<'a> {
    left: Vec<Candidate<'a>>,
    /// All addresses so far, each of which is a candidate once.
    known: Vec<SocketAddr>,
    /// Why there is no response from the others.
    failed: Vec<String>,
}

impl<'a> Candidates<'a> {
    /// Adds an address of a server.
    fn add(&mut self, number: usize, server: Server, formats: &'a [Format<'a>]) {
        if self.known.contains(&server.address) {
            return;
        }
        self.known.push(server.address);
        match UdpClient::connect(server.address) {
            Ok(client) => self.left.push(Candidate {
                server,
                client,
                number,
                tries: 0,
                formats,
            }),
            Err(error) => self.fail(&server, &error_chain(&error)),
        }
    }

    /// Takes the address with the fewest tries, of several the first.
    fn take_next(&mut self) -> Option<Candidate<'a>> {
        let order = |(_, candidate): &(_, &Candidate<'_>)| (candidate.tries, candidate.number);
        let (index, _) = self.left.iter().enumerate().min_by_key(order)?;
        Some(self.left.remove(index))
    }

    fn fail(&mut self, server: &dyn fmt::Display, reason: &str) {
        self.failed.push(format!("{server}: {reason}"));
    }
}

/// Tries the servers in order, once each, and repeats that until one responds. A server that does
/// not know the first format is asked for the next one.
///
/// A server is tried as soon as its name is resolved, while other names are still being resolved. A
/// server with a socket error, or whose clock is not synchronised, is not tried again. One that
/// does not respond takes at most `timeout` for each try, and a name is waited for as long as for
/// one address: so the total is at most (1 + addresses) x attempts x `timeout`.
///
/// # Errors
///
/// The first refusal, or the last error of every server. A server whose clock is not synchronised
/// counts as a refusal only if no other server responds.
pub fn query(
    servers: &mut Resolver,
    formats: &[Format<'_>],
    policy: RetryPolicy,
) -> Result<QueryResponse, ClientError> {
    let start = Instant::now();
    let resolve_until = start + policy.timeout.saturating_mul(policy.attempts);
    let mut candidates = Candidates::default();
    let (mut unsynchronised, mut is_late) = (None, false);
    servers.begin();
    loop {
        // A request to a known address comes before the wait for a name.
        let until = match candidates.left.is_empty() {
            true => resolve_until,
            false => Instant::now(),
        };
        match servers.next(until) {
            Some((number, Ok(addresses))) => {
                for address in addresses {
                    let name = servers.endpoint(number).name().map(str::to_owned);
                    candidates.add(number, Server { name, address }, formats);
                }
                continue;
            }
            Some((number, Err(error))) => {
                candidates.fail(servers.endpoint(number), &error_chain(&error));
                continue;
            }
            None => {}
        }
        let Some(mut candidate) = candidates.take_next() else {
            break;
        };
        let wait = policy.wait(policy.attempts - candidate.tries);
        let server = candidate.server.clone();
        match candidate.query(wait) {
            Ok(response) => return Ok(response),
            Err(QueryError::Timeout) if candidate.tries < policy.attempts => {
                candidates.left.push(candidate);
            }
            Err(QueryError::Timeout) => {
                is_late = true;
                candidates.fail(&server, &candidate.client.describe_tries());
            }
            Err(error @ (QueryError::Socket(_) | QueryError::Random(_))) => {
                candidates.fail(&server, &error_chain(&error));
            }
            // The request is valid: another server's clock may be synchronised.
            Err(source) if source.is_not_synchronised() => {
                unsynchronised.get_or_insert(ClientError::Refused { server, source });
            }
            Err(source) => return Err(ClientError::Refused { server, source }),
        }
    }
    for name in servers.unresolved() {
        candidates.fail(name, &ResolveError::Timeout.to_string());
    }
    Err(unsynchronised.unwrap_or(ClientError::NoResponse {
        waited: is_late.then(|| start.elapsed()),
        failed: candidates.failed,
    }))
}

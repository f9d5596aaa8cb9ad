//! Sends one request to one server, or tries a list of servers until one responds.
//!
//! Each try puts a random literal, the *tag*, before its format. strftime copies it into the
//! response, so a response that does not start with the tag of the current try is late, stray or
//! forged, and is dropped.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::clocks::raw_time;
use super::resolve::{ResolveError, Resolver};
use crate::error::error_chain;
use crate::offset::Nanos;
use crate::protocol::{ERROR_PREFIX, ErrorReason, MAX_REQUEST_LEN};
use crate::strftime::Format;

/// Bytes of a tag.
pub const TAG_LEN: usize = 17;

/// The longest format that fits into a request after its tag, in bytes.
pub const MAX_FORMAT_LEN: usize = MAX_REQUEST_LEN - TAG_LEN;

/// Large enough for any datagram: other servers may send more than wallclockd does.
const RECV_BUF_SIZE: usize = 65_536;

/// Why one try got no time.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The server's error response.
    #[error("{0}")]
    Refused(String),
    /// A response with more `%` than the format produces: the server copies directives that it
    /// does not know.
    #[error("the server does not know this format, its response is {0:?}")]
    UnexpandedFormat(String),
    /// No response to this try in time.
    #[error("no response within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// The kernel did not send the request, or reported a closed port or an unreachable host.
    #[error(transparent)]
    Socket(#[from] io::Error),
}

impl QueryError {
    /// Whether the server refused because its clock is not synchronised.
    fn is_not_synchronised(&self) -> bool {
        match self {
            QueryError::Refused(reason) => *reason == ErrorReason::NotSynchronised.to_string(),
            QueryError::UnexpandedFormat(_) | QueryError::Timeout(_) | QueryError::Socket(_) => {
                false
            }
        }
    }
}

/// A socket that is connected to one server, so that the kernel drops datagrams from other
/// addresses and reports a closed port.
#[derive(Debug)]
pub struct UdpClient {
    socket: UdpSocket,
    server: SocketAddr,
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
        let any = match server {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(server)?;
        Ok(UdpClient { socket, server })
    }

    /// Returns the server's address.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Sends one request and waits for its response.
    ///
    /// # Errors
    ///
    /// See [`QueryError`]. After a time-out or a socket error another try may succeed.
    pub fn query(
        &self,
        format: &Format<'_>,
        timeout: Duration,
    ) -> Result<QueryResponse, QueryError> {
        let tag = new_tag();
        let request = [&tag[..], format.bytes()].concat();
        let mut buf = vec![0; RECV_BUF_SIZE];
        let start = Instant::now();
        let sent_at = raw_time();
        self.socket.send(&request)?;
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(QueryError::Timeout(timeout));
            }
            self.socket.set_read_timeout(Some(left))?;
            let length = match self.socket.recv(&mut buf) {
                Ok(length) => length,
                // The kernel's timer is coarser than `Instant`, so the time left decides.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) =>
                {
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let received_at = raw_time();
            if let Some(text) = parse_response(&buf[..length], &tag, format) {
                return text.map(|text| QueryResponse {
                    text: text.to_owned(),
                    sent_at,
                    received_at,
                });
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

/// Decodes a server's bytes and replaces control characters, for output to a terminal.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace(char::is_control, "\u{fffd}")
}

/// Generates a tag: 64 random bits in hexadecimal, then a `|`.
///
/// The standard library takes the keys of its hash maps from the kernel's random numbers. Its keyed
/// hash (SipHash, a pseudo-random function) of any value is as hard to guess as the keys.
fn new_tag() -> [u8; TAG_LEN] {
    let mut tag = [b'|'; TAG_LEN];
    let bits = RandomState::new().hash_one(Instant::now());
    for (index, digit) in tag[..TAG_LEN - 1].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(bits >> (4 * index) & 15) as usize];
    }
    tag
}

/// How often to try, and how long to wait each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Maximum wait for the response to one try.
    pub timeout: Duration,
    /// Tries for each address, at least 1.
    pub attempts: u32,
}

/// Why no server of a list gave a time.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A server refused the request.
    #[error("{server}")]
    Refused {
        /// The server.
        server: SocketAddr,
        /// Its error response, or what its response shows.
        source: QueryError,
    },
    /// No server responded. Holds the last error of each, as text.
    #[error("no response: {}", .0.join("; "))]
    NoResponse(Vec<String>),
}

/// An address that has not responded yet.
struct Candidate {
    client: UdpClient,
    /// The place of its server in the list.
    number: usize,
    /// The tries so far.
    tries: u32,
}

/// The addresses to try, in the order in which they became known.
#[derive(Default)]
struct Candidates {
    left: Vec<Candidate>,
    /// All addresses so far, each of which is a candidate once.
    known: Vec<SocketAddr>,
    /// Why there is no response from the others.
    failed: Vec<String>,
}

impl Candidates {
    /// Adds the addresses of a server.
    fn add(&mut self, number: usize, addresses: Vec<SocketAddr>) {
        for address in addresses {
            if self.known.contains(&address) {
                continue;
            }
            self.known.push(address);
            match UdpClient::connect(address) {
                Ok(client) => self.left.push(Candidate {
                    client,
                    number,
                    tries: 0,
                }),
                Err(error) => self.failed.push(format!("{address}: {error}")),
            }
        }
    }

    /// Takes the address with the fewest tries, of several the first.
    fn take_next(&mut self) -> Option<Candidate> {
        let order = |(_, candidate): &(_, &Candidate)| (candidate.tries, candidate.number);
        let (index, _) = self.left.iter().enumerate().min_by_key(order)?;
        Some(self.left.remove(index))
    }
}

/// Tries the servers in order, once each, and repeats that until one responds.
///
/// A server is tried as soon as its name is resolved, while other names are still being resolved. A
/// server with a socket error, or whose clock is not synchronised, is not tried again. One that
/// does not respond takes `timeout` for each try, and a name is waited for as long as for one
/// address: so the total is at most (1 + addresses) x attempts x `timeout`.
///
/// # Errors
///
/// The first refusal, or the last error of every server. A server whose clock is not synchronised
/// counts as a refusal only if no other server responds.
pub fn query(
    servers: &mut Resolver,
    format: &Format<'_>,
    policy: RetryPolicy,
) -> Result<QueryResponse, ClientError> {
    let resolve_until = Instant::now() + policy.timeout.saturating_mul(policy.attempts);
    let mut candidates = Candidates::default();
    let mut unsynchronised = None;
    servers.begin();
    loop {
        // A request to a known address comes before the wait for a name.
        let until = match candidates.left.is_empty() {
            true => resolve_until,
            false => Instant::now(),
        };
        match servers.next(until) {
            Some((number, Ok(addresses))) => {
                candidates.add(number, addresses);
                continue;
            }
            Some((number, Err(error))) => {
                let error = error_chain(&error);
                let failed = format!("{}: {error}", servers.endpoint(number));
                candidates.failed.push(failed);
                continue;
            }
            None => {}
        }
        let Some(mut candidate) = candidates.take_next() else {
            break;
        };
        candidate.tries += 1;
        let server = candidate.client.server();
        match candidate.client.query(format, policy.timeout) {
            Ok(response) => return Ok(response),
            Err(QueryError::Timeout(_)) if candidate.tries < policy.attempts => {
                candidates.left.push(candidate);
            }
            Err(error @ (QueryError::Timeout(_) | QueryError::Socket(_))) => {
                candidates.failed.push(format!("{server}: {error}"));
            }
            // The request is valid: another server's clock may be synchronised.
            Err(source) if source.is_not_synchronised() => {
                unsynchronised.get_or_insert(ClientError::Refused { server, source });
            }
            Err(source) => return Err(ClientError::Refused { server, source }),
        }
    }
    let mut failed = candidates.failed;
    let unresolved = servers.unresolved();
    failed.extend(unresolved.map(|name| format!("{name}: {}", ResolveError::Timeout)));
    Err(unsynchronised.unwrap_or(ClientError::NoResponse(failed)))
}

//! One request to one server, and the retries over a list of servers.
//!
//! Each try leads its format with a random literal, the *tag*. strftime copies it into the response,
//! so a response that does not start with the tag of this very try is late, stray or forged, and is
//! dropped.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::protocol::{ERROR_PREFIX, ErrorReason, MAX_REQUEST_LEN};
use crate::strftime::Format;

/// Bytes of a tag.
pub const TAG_LEN: usize = 17;

/// The longest format that fits into a request behind its tag, in bytes.
pub const MAX_FORMAT_LEN: usize = MAX_REQUEST_LEN - TAG_LEN;

/// Large enough for any response: that of another server may be longer than ours.
const RECV_BUF_SIZE: usize = 65_536;

/// Why one try brought no time.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The server's error response.
    #[error("{0}")]
    Refused(String),
    /// A response with more `%` than the format asks for: the server copies directives that it does
    /// not know.
    #[error("it does not know this format and answered {0:?}")]
    UnexpandedFormat(String),
    /// No response to this try in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// The kernel did not send, or reported that nothing listens at the port.
    #[error(transparent)]
    Socket(#[from] io::Error),
}

impl QueryError {
    /// Whether the server refused because its clock is not synchronised.
    fn is_not_synchronised(&self) -> bool {
        matches!(self, QueryError::Refused(reason) if *reason == ErrorReason::NotSynchronised.to_string())
    }
}

/// A socket connected to one server: the kernel drops datagrams from other addresses and reports a
/// closed port.
#[derive(Debug)]
pub struct UdpClient {
    socket: UdpSocket,
    server: SocketAddr,
}

/// The response to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryResponse {
    /// The formatted time; whatever bytes the server sent.
    pub text: Vec<u8>,
    /// Not later than the request left.
    pub sent_at: Instant,
    /// Not earlier than the response arrived.
    pub received_at: Instant,
}

impl UdpClient {
    /// Makes a socket and connects it. Sends nothing.
    ///
    /// # Errors
    ///
    /// Those of socket(2) and connect(2): the address family is not supported, there is no route.
    pub fn connect(server: SocketAddr) -> io::Result<UdpClient> {
        let any = match server {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(server)?;
        Ok(UdpClient { socket, server })
    }

    /// The server's address.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Sends one request and waits for its response.
    ///
    /// # Errors
    ///
    /// See [`QueryError`]; after a time-out or a socket error another try may succeed.
    pub fn query(
        &self,
        format: &Format<'_>,
        timeout: Duration,
    ) -> Result<QueryResponse, QueryError> {
        let tag = new_tag();
        let request = [&tag[..], format.bytes()].concat();
        let mut buf = vec![0; RECV_BUF_SIZE];
        let sent_at = Instant::now();
        self.socket.send(&request)?;
        loop {
            let left = timeout.saturating_sub(sent_at.elapsed());
            if left.is_zero() {
                return Err(QueryError::Timeout(timeout));
            }
            self.socket.set_read_timeout(Some(left))?;
            let length = match self.socket.recv(&mut buf) {
                Ok(length) => length,
                // The kernel's timer is coarser than our clock: the head of the loop decides.
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
            let received_at = Instant::now();
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

/// The formatted time in a response to the try with this tag, or a refusal; `None` if the datagram
/// belongs to something else.
pub fn parse_response<'a>(
    response: &'a [u8],
    tag: &[u8; TAG_LEN],
    format: &Format<'_>,
) -> Option<Result<&'a [u8], QueryError>> {
    if let Some(text) = response.strip_prefix(tag) {
        return Some(
            if text.iter().filter(|&&byte| byte == b'%').count() > format.percents() {
                Err(QueryError::UnexpandedFormat(printable(text)))
            } else {
                Ok(text)
            },
        );
    }
    // An error response holds nothing of the request, not even the tag. A late one of an earlier try
    // says the same as that of this try would.
    let reason = response.strip_prefix(ERROR_PREFIX.as_bytes())?;
    Some(Err(QueryError::Refused(printable(reason))))
}

/// A server's bytes with control characters replaced, fit for a terminal.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// 64 random bits in hexadecimal and a `|`.
///
/// The standard library takes the keys of its hash maps from the kernel's random numbers. Its keyed
/// hash (SipHash, a pseudo-random function) of any value is as hard to guess as the keys are.
fn new_tag() -> [u8; TAG_LEN] {
    let mut tag = [b'|'; TAG_LEN];
    let bits = RandomState::new().hash_one(Instant::now());
    for (index, digit) in tag[..TAG_LEN - 1].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(bits >> (4 * index) & 15) as usize];
    }
    tag
}

/// How often and how long to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How long one try waits for its response.
    pub timeout: Duration,
    /// Tries for each address, at least 1.
    pub attempts: u32,
}

/// The last error of each address.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(|(server, error)| format!("{server}: {error}")).collect::<Vec<_>>().join("; "))]
pub struct NoResponse(pub Vec<(SocketAddr, QueryError)>);

/// Why a list of servers gave no time.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A server refused the request.
    #[error("{server}: {reason}")]
    Refused {
        /// The server.
        server: SocketAddr,
        /// What it said.
        reason: QueryError,
    },
    /// No server answered.
    #[error("no answer: {0}")]
    NoResponse(NoResponse),
}

/// Asks the servers in their order, one try each, then again in the next round, until one responds.
///
/// A server that can't be reached, or whose clock is not synchronised, is not asked again. A silent
/// server takes `timeout` each round, so all of it takes at most servers x attempts x `timeout`.
///
/// # Errors
///
/// The first refusal, or the last error of every server.
pub fn query(
    servers: &[SocketAddr],
    format: &Format<'_>,
    policy: RetryPolicy,
) -> Result<QueryResponse, ClientError> {
    let mut clients = Vec::new();
    let mut failed = Vec::new();
    let mut unsynchronised = None;
    for &server in servers {
        match UdpClient::connect(server) {
            Ok(client) => clients.push((client, None)),
            Err(error) => failed.push((server, error.into())),
        }
    }
    for _ in 0..policy.attempts {
        let mut next = 0;
        while next < clients.len() {
            let (client, last_error) = &mut clients[next];
            let server = client.server();
            match client.query(format, policy.timeout) {
                Ok(response) => return Ok(response),
                // This says nothing about the request: the clock of another server may be synchronised.
                Err(reason) if reason.is_not_synchronised() => {
                    unsynchronised.get_or_insert(ClientError::Refused { server, reason });
                    clients.remove(next);
                }
                Err(reason @ (QueryError::Refused(_) | QueryError::UnexpandedFormat(_))) => {
                    return Err(ClientError::Refused { server, reason });
                }
                Err(timeout @ QueryError::Timeout(_)) => {
                    *last_error = Some(timeout);
                    next += 1;
                }
                Err(error @ QueryError::Socket(_)) => {
                    failed.push((server, error));
                    clients.remove(next);
                }
            }
        }
    }
    failed.extend(
        clients
            .into_iter()
            .filter_map(|(client, last_error)| Some((client.server(), last_error?))),
    );
    Err(unsynchronised.unwrap_or(ClientError::NoResponse(NoResponse(failed))))
}

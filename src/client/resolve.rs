//! Resolves the names of servers. getaddrinfo(3) has no time limit and can't be cancelled, so each
//! name has a thread of its own, and a thread that does not end in time is abandoned.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::endpoint::Endpoint;

/// Minimum time between two lookups of a name that has addresses. A server that is off the network
/// for a day must not cost a lookup for each measurement of it.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);

/// Why a server has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Those of getaddrinfo(3), or that the host has no address.
    #[error(transparent)]
    Lookup(io::Error),
    /// The thread for the lookup could not be created.
    #[error("create a thread to resolve it")]
    Thread(#[source] io::Error),
    /// The name has no address of the only family that is allowed: 4 or 6.
    #[error("no IPv{0} address")]
    NoAddress(u8),
    /// The lookup has not ended yet.
    #[error("not resolved in time")]
    Timeout,
}

/// The address families to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Both.
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Family {
    /// Returns the addresses of this family. IPv4 addresses that are written as IPv6
    /// (`::ffff:127.0.0.1`) become IPv4.
    fn filter(self, mut addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, ResolveError> {
        for address in &mut addresses {
            // A zone stays.
            if address.ip() != address.ip().to_canonical() {
                address.set_ip(address.ip().to_canonical());
            }
        }
        addresses.retain(|address| match address {
            SocketAddr::V4(_) => self != Family::V6,
            SocketAddr::V6(_) => self != Family::V4,
        });
        match self {
            _ if !addresses.is_empty() => Ok(addresses),
            Family::V6 => Err(ResolveError::NoAddress(6)),
            Family::V4 | Family::Any => Err(ResolveError::NoAddress(4)),
        }
    }
}

/// A list of servers and their addresses, which become known in any order.
#[derive(Debug)]
pub struct Resolver {
    servers: Vec<Server>,
    family: Family,
    sender: Sender<(usize, LookupResult)>,
    receiver: Receiver<(usize, LookupResult)>,
}

/// What the lookup of a name returns.
pub type LookupResult = Result<Vec<SocketAddr>, ResolveError>;

#[derive(Debug)]
struct Server {
    endpoint: Endpoint,
    /// What the last successful lookup returned.
    addresses: Vec<SocketAddr>,
    /// Whether [`Resolver::next`] has yet to return this server.
    is_due: bool,
    /// Whether the result of a lookup is outstanding. There is at most one thread for each server.
    is_pending: bool,
    /// The start of the last lookup.
    started: Option<Instant>,
}

impl Resolver {
    /// Makes a list of these servers. Resolves none yet.
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint>, family: Family) -> Resolver {
        let (sender, receiver) = channel();
        let new_server = |endpoint| Server {
            endpoint,
            addresses: Vec::new(),
            is_due: false,
            is_pending: false,
            started: None,
        };
        Resolver {
            servers: endpoints.into_iter().map(new_server).collect(),
            family,
            sender,
            receiver,
        }
    }

    /// Returns the servers, in the order of their numbers.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.servers.iter().map(|server| &server.endpoint)
    }

    /// Returns the server with this number.
    pub fn endpoint(&self, number: usize) -> &Endpoint {
        &self.servers[number].endpoint
    }

    /// Returns the servers that [`next`](Self::next) has yet to return.
    pub fn unresolved(&self) -> impl Iterator<Item = &Endpoint> {
        let unresolved = self.servers.iter().filter(|server| server.is_due);
        unresolved.map(|server| &server.endpoint)
    }

    /// Makes [`next`](Self::next) return each server once more, and starts to resolve those that
    /// have no address yet.
    pub fn begin(&mut self) {
        while let Ok((number, result)) = self.receiver.try_recv() {
            // An error is returned when the lookup below fails too.
            let _ = self.store(number, result);
        }
        for number in 0..self.servers.len() {
            self.servers[number].is_due = true;
            if self.servers[number].addresses.is_empty() {
                self.start(number);
            }
        }
    }

    /// Returns the number and the addresses of the next server, or why it has none: first those
    /// whose addresses are known, in order, then the others as they become known.
    ///
    /// Returns `None` once each server was returned, and at the end of the time: the others are
    /// then not resolved yet.
    pub fn next(&mut self, until: Instant) -> Option<(usize, LookupResult)> {
        loop {
            let mut servers = self.servers.iter();
            let known = |server: &Server| server.is_due && !server.addresses.is_empty();
            if let Some(number) = servers.position(known) {
                self.servers[number].is_due = false;
                return Some((number, Ok(self.servers[number].addresses.clone())));
            }
            if !self.servers.iter().any(|server| server.is_due) {
                return None;
            }
            let left = until.saturating_duration_since(Instant::now());
            let (number, result) = self.receiver.recv_timeout(left).ok()?;
            if let Err(error) = self.store(number, result)
                && self.servers[number].is_due
            {
                self.servers[number].is_due = false;
                return Some((number, Err(error)));
            }
        }
    }

    /// Starts to resolve a server again whose addresses are known, because one of them does not
    /// respond. The result is there after one of the next calls of [`begin`](Self::begin); if that
    /// lookup fails, the addresses stay.
    pub fn refresh(&mut self, number: usize) {
        let is_recent = |start: Instant| start.elapsed() < REFRESH_INTERVAL;
        if !self.servers[number].started.is_some_and(is_recent) {
            self.start(number);
        }
    }

    /// Starts a lookup, unless there is one.
    fn start(&mut self, number: usize) {
        let server = &mut self.servers[number];
        if server.is_pending {
            return;
        }
        server.is_pending = true;
        server.started = Some(Instant::now());
        let sender = self.sender.clone();
        // Sending fails only if the receiver is gone, and then nothing waits for the result.
        if let Some(address) = server.endpoint.literal() {
            let _ = sender.send((number, Ok(vec![address])));
            return;
        }
        let endpoint = server.endpoint.clone();
        let lookup = move || {
            let result = endpoint.resolve().map_err(ResolveError::Lookup);
            let _ = sender.send((number, result));
        };
        if let Err(error) = thread::Builder::new().spawn(lookup) {
            let result = Err(ResolveError::Thread(error));
            let _ = self.sender.send((number, result));
        }
    }

    /// Stores the result of a lookup. Returns its error if the server has no addresses.
    fn store(&mut self, number: usize, result: LookupResult) -> Result<(), ResolveError> {
        let server = &mut self.servers[number];
        server.is_pending = false;
        match result.and_then(|addresses| self.family.filter(addresses)) {
            Ok(addresses) => server.addresses = addresses,
            Err(error) if server.addresses.is_empty() => return Err(error),
            Err(_) => {}
        }
        Ok(())
    }
}

/// A server with its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The number of the server.
    pub server: usize,
    /// Its addresses.
    pub addresses: Vec<SocketAddr>,
}

/// Adds a host, or its addresses to the first of the hosts that are the same server or share an
/// address with it. If it shares addresses with several hosts, these become one too.
pub fn add_host(hosts: &mut Vec<Host>, new: Host) {
    let is_same = |host: &Host| {
        host.server == new.server || host.addresses.iter().any(|it| new.addresses.contains(it))
    };
    let position = hosts.iter().position(is_same).unwrap_or(hosts.len());
    let mut same: Vec<_> = hosts.extract_if(.., |host| is_same(host)).collect();
    same.push(new);
    let mut merged = Host {
        server: same[0].server,
        addresses: Vec::new(),
    };
    for address in same.into_iter().flat_map(|host| host.addresses) {
        if !merged.addresses.contains(&address) {
            merged.addresses.push(address);
        }
    }
    hosts.insert(position, merged);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(server: usize, addresses: &[u8]) -> Host {
        let address = |&last| SocketAddr::from(([10, 0, 0, last], 9527));
        Host {
            server,
            addresses: addresses.iter().map(address).collect(),
        }
    }

    #[test]
    fn hosts_that_share_an_address_are_one() {
        for (added, expected) in [
            (
                vec![host(0, &[1, 2]), host(1, &[3])],
                vec![host(0, &[1, 2]), host(1, &[3])],
            ),
            (
                vec![host(0, &[1, 2]), host(1, &[3]), host(2, &[4, 2])],
                vec![host(0, &[1, 2, 4]), host(1, &[3])],
            ),
            (
                vec![host(0, &[1]), host(1, &[2]), host(2, &[3, 2, 1])],
                vec![host(0, &[1, 2, 3])],
            ),
            (
                vec![host(0, &[1]), host(1, &[2]), host(2, &[2, 3])],
                vec![host(0, &[1]), host(1, &[2, 3])],
            ),
            (vec![host(0, &[1, 1])], vec![host(0, &[1])]),
            (
                vec![host(0, &[]), host(1, &[]), host(0, &[])],
                vec![host(0, &[]), host(1, &[])],
            ),
        ] {
            let mut hosts = Vec::new();
            added.into_iter().for_each(|new| add_host(&mut hosts, new));
            assert_eq!(hosts, expected);
        }
    }

    fn resolver(servers: &[&str], family: Family) -> Resolver {
        let endpoints = servers
            .iter()
            .map(|text| text.parse().expect("an endpoint"));
        Resolver::new(endpoints.collect::<Vec<Endpoint>>(), family)
    }

    fn next(resolver: &mut Resolver) -> Option<(usize, Result<String, String>)> {
        let (number, result) = resolver.next(Instant::now())?;
        let text = |addresses: Vec<SocketAddr>| format!("{addresses:?}");
        Some((number, result.map(text).map_err(|error| error.to_string())))
    }

    #[test]
    fn address_literals_are_known_at_once_and_in_order() {
        let mut resolver = resolver(&["10.0.0.1:5", "[::1]:6"], Family::Any);
        assert_eq!(next(&mut resolver), None);
        for _ in 0..2 {
            resolver.begin();
            assert_eq!(
                next(&mut resolver),
                Some((0, Ok("[10.0.0.1:5]".to_owned())))
            );
            assert_eq!(next(&mut resolver), Some((1, Ok("[[::1]:6]".to_owned()))));
            assert_eq!(next(&mut resolver), None);
        }
    }

    #[test]
    fn missing_family_is_an_error_each_time() {
        let mut resolver = resolver(&["10.0.0.1", "[::1]"], Family::V6);
        for _ in 0..2 {
            resolver.begin();
            let mut results = [next(&mut resolver), next(&mut resolver)];
            results.sort();
            let no_address = Err("no IPv6 address".to_owned());
            let address = Ok("[[::1]:9527]".to_owned());
            assert_eq!(results, [Some((0, no_address)), Some((1, address))]);
            assert_eq!(next(&mut resolver), None);
        }
    }

    #[test]
    fn failed_lookup_keeps_the_known_addresses() {
        let mut resolver = resolver(&["10.0.0.1:5"], Family::Any);
        resolver.begin();
        next(&mut resolver);
        let failure = || Err(ResolveError::Lookup(io::Error::other("no name server")));
        resolver.store(0, failure()).expect("known addresses");
        resolver.begin();
        assert_eq!(
            next(&mut resolver),
            Some((0, Ok("[10.0.0.1:5]".to_owned())))
        );
    }
}

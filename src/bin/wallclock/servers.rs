//! Resolves the servers of the command line.

use std::net::SocketAddr;

use wallclock::endpoint::Endpoint;
use wallclock::error::error_chain;

use crate::args::Args;
use crate::error::Error;

/// A server of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The server as the user writes it, with its port.
    pub name: String,
    pub addresses: Vec<SocketAddr>,
}

/// Returns every address of every server, each once.
///
/// # Errors
///
/// Those of [`hosts`].
pub fn addresses(args: &Args) -> Result<Vec<SocketAddr>, Error> {
    let hosts = hosts(args)?;
    Ok(hosts.into_iter().flat_map(|host| host.addresses).collect())
}

/// Returns the servers with their addresses. Servers that share an address are one, with the name
/// of the first.
///
/// A server that can't be resolved is reported on stderr if another one can.
///
/// # Errors
///
/// No server has an address. Holds the error of the last one; the others are reported on stderr.
pub fn hosts(args: &Args) -> Result<Vec<Host>, Error> {
    let mut hosts = Vec::new();
    let mut last_error = None;
    for endpoint in &args.server {
        match resolve(endpoint, args) {
            Ok(addresses) => {
                let name = endpoint.to_string();
                add_host(&mut hosts, Host { name, addresses });
            }
            Err(error) => last_error.replace(error).iter().for_each(warn),
        }
    }
    match last_error {
        Some(error) if hosts.is_empty() => return Err(error),
        Some(error) => warn(&error),
        None => {}
    }
    Ok(hosts)
}

/// Adds a host, or its addresses to the first of the hosts that share one with it. If it shares
/// addresses with several hosts, these become one too.
fn add_host(hosts: &mut Vec<Host>, new: Host) {
    let is_same = |host: &Host| host.addresses.iter().any(|it| new.addresses.contains(it));
    let position = hosts.iter().position(is_same).unwrap_or(hosts.len());
    let mut same: Vec<_> = hosts.extract_if(.., |host| is_same(host)).collect();
    same.push(new);
    let mut merged = Host {
        name: same[0].name.clone(),
        addresses: Vec::new(),
    };
    for address in same.into_iter().flat_map(|host| host.addresses) {
        if !merged.addresses.contains(&address) {
            merged.addresses.push(address);
        }
    }
    hosts.insert(position, merged);
}

/// Resolves one server to its addresses of the families that `-4` and `-6` allow. IPv4 addresses
/// that are written as IPv6 (`::ffff:127.0.0.1`) become IPv4.
fn resolve(endpoint: &Endpoint, args: &Args) -> Result<Vec<SocketAddr>, Error> {
    let mut addresses = endpoint.resolve().map_err(|source| Error::Resolve {
        endpoint: endpoint.clone(),
        source,
    })?;
    for address in &mut addresses {
        // A zone stays.
        if address.ip() != address.ip().to_canonical() {
            address.set_ip(address.ip().to_canonical());
        }
    }
    addresses.retain(|address| match address {
        SocketAddr::V4(_) => !args.only_v6,
        SocketAddr::V6(_) => !args.only_v4,
    });
    if addresses.is_empty() {
        return Err(Error::NoAddress {
            endpoint: endpoint.clone(),
            version: if args.only_v4 { 4 } else { 6 },
        });
    }
    Ok(addresses)
}

fn warn(error: &Error) {
    eprintln!("wallclock: {}", error_chain(error));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, addresses: &[u8]) -> Host {
        let address = |&last| SocketAddr::from(([10, 0, 0, last], 9527));
        Host {
            name: name.to_owned(),
            addresses: addresses.iter().map(address).collect(),
        }
    }

    #[test]
    fn hosts_that_share_an_address_are_one() {
        for (added, expected) in [
            (
                vec![host("a", &[1, 2]), host("b", &[3])],
                vec![host("a", &[1, 2]), host("b", &[3])],
            ),
            (
                vec![host("a", &[1, 2]), host("b", &[3]), host("c", &[4, 2])],
                vec![host("a", &[1, 2, 4]), host("b", &[3])],
            ),
            (
                vec![host("a", &[1]), host("b", &[2]), host("c", &[3, 2, 1])],
                vec![host("a", &[1, 2, 3])],
            ),
            (
                vec![host("a", &[1]), host("b", &[2]), host("c", &[2, 3])],
                vec![host("a", &[1]), host("b", &[2, 3])],
            ),
            (vec![host("a", &[1, 1])], vec![host("a", &[1])]),
        ] {
            let mut hosts = Vec::new();
            added.into_iter().for_each(|new| add_host(&mut hosts, new));
            assert_eq!(hosts, expected);
        }
    }
}

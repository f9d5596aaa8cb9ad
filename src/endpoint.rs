//! Where a clock hangs: `HOST`, `HOST:DEFAULT_PORT`, `[V6]:DEFAULT_PORT`, as both programs read it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// The port that the room agreed on.
pub const DEFAULT_PORT: u16 = 9527;

/// A host, by name or by address, and a UDP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// Why a text names no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// There is no host in it.
    #[error("no host in it")]
    NoHost,
    /// What stands behind the last colon is no port.
    #[error("{0:?} is no port (0 to 65535)")]
    Port(String),
    /// A bracket without its partner, or something else than a port behind it.
    #[error("brackets go around an IPv6 address, as in [::1]:9527")]
    Brackets,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// A missing port is [`DEFAULT_PORT`]. An IPv6 address may stand bare where no port follows (`::1`), with an interface too
    /// (`fe80::1%eth0`).
    fn from_str(text: &str) -> Result<Endpoint, EndpointError> {
        let (host, port) = if let Some(bracketed) = text.strip_prefix('[') {
            let (host, rest) = bracketed.split_once(']').ok_or(EndpointError::Brackets)?;
            match rest {
                "" => (host, None),
                _ => (
                    host,
                    Some(rest.strip_prefix(':').ok_or(EndpointError::Brackets)?),
                ),
            }
        } else if text
            .split('%')
            .next()
            .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        {
            (text, None)
        } else {
            match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() {
            return Err(EndpointError::NoHost);
        }
        let port = match port {
            None => DEFAULT_PORT,
            // u16's own parser would take a sign.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits
                .parse()
                .map_err(|_| EndpointError::Port(digits.to_owned()))?,
            Some(other) => return Err(EndpointError::Port(other.to_owned())),
        };
        Ok(Endpoint {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Endpoint {
    /// The addresses it stands for, in the resolver's order (getaddrinfo(3)), each once.
    ///
    /// # Errors
    ///
    /// What the resolver said, or that it knows no address.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let mut addresses = Vec::new();
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address",
            ));
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, EndpointError> {
        text.parse::<Endpoint>()
            .map(|endpoint| endpoint.to_string())
    }

    #[test]
    fn a_missing_port_is_the_rooms() {
        for (text, shown) in [
            ("clock", "clock:9527"),
            ("10.0.0.1", "10.0.0.1:9527"),
            ("::1", "[::1]:9527"),
            ("[::1]", "[::1]:9527"),
            ("fe80::1%eth0", "[fe80::1%eth0]:9527"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(shown));
        }
    }

    #[test]
    fn a_port_stands_behind_a_colon() {
        for text in ["clock:0", "10.0.0.1:65535", "[::1]:53", "[fe80::1%2]:9527"] {
            assert_eq!(read(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_names_no_endpoint_says_what_is_wrong() {
        assert_eq!(read(""), Err(EndpointError::NoHost));
        assert_eq!(read(":9527"), Err(EndpointError::NoHost));
        assert_eq!(read("[::1"), Err(EndpointError::Brackets));
        assert_eq!(read("[::1]9527"), Err(EndpointError::Brackets));
        for port in ["65536", "-1", "+1", "http", "99999999999"] {
            assert_eq!(
                read(&format!("clock:{port}")),
                Err(EndpointError::Port(port.to_owned()))
            );
        }
        assert_eq!(read("clock:"), Err(EndpointError::Port(String::new())));
    }

    #[test]
    fn an_interface_goes_along_with_a_link_local_address() {
        let addresses = "[fe80::1%lo]:5"
            .parse::<Endpoint>()
            .map(|endpoint| endpoint.resolve());
        assert!(
            matches!(addresses, Ok(Ok(list)) if matches!(list[..], [SocketAddr::V6(address)] if address.scope_id() == 1))
        );
    }
}

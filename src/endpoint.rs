//! [`Endpoint`]: a host and a UDP port, as both programs parse them.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// The port of the protocol.
pub const DEFAULT_PORT: u16 = 9527;

/// A host, by name or by address, and a UDP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// Why a text is not an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The host is missing.
    #[error("no host")]
    NoHost,
    /// The host is a number: getaddrinfo(3) would read 80 as the address 0.0.0.80.
    #[error("\"{0}\" is no host; for a port, give the host too, as in HOST:{0}")]
    Number(String),
    /// The text after the last colon is not a port.
    #[error("\"{0}\" is not a port (0 to 65535)")]
    Port(String),
    /// A bracket is missing, or the text after it is not a colon and a port.
    #[error("brackets enclose an IPv6 address, as in [::1]:9527")]
    Brackets,
    /// A link-local address, which every interface has, without an interface.
    #[error("{0} needs its interface, as in {0}%eth0")]
    NoInterface(Ipv6Addr),
    /// An interface beside an address that is not link-local: getaddrinfo(3) does not find it.
    #[error("{0} has no interface: only a link-local address has one, as fe80::1%eth0")]
    Interface(Ipv6Addr),
    /// A host with colons that is no IPv6 address.
    #[error("\"{0}\" is no host: only an IPv6 address has colons")]
    Address(String),
    /// A character that no host has: the text is a URL, or a list with spaces.
    #[error("{0:?} is no host: there is {1:?} in it")]
    Character(String, char),
}

impl Default for Endpoint {
    /// The default port of this machine.
    fn default() -> Endpoint {
        Endpoint {
            host: Ipv4Addr::LOCALHOST.to_string(),
            port: DEFAULT_PORT,
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// Parses `HOST`, `HOST:PORT`, `IPV6`, `[IPV6]` or `[IPV6]:PORT`. The default port is
    /// [`DEFAULT_PORT`]. A link-local IPv6 address has an interface (`fe80::1%eth0`). White space
    /// around the text is ignored.
    fn from_str(text: &str) -> Result<Endpoint, EndpointError> {
        let (host, port) = split_port(text.trim())?;
        if host.is_empty() {
            return Err(EndpointError::NoHost);
        }
        if let Some(character) = host.chars().find(|it| is_never_in_a_host(*it)) {
            return Err(EndpointError::Character(host.to_owned(), character));
        }
        if host.contains(':') {
            check_ipv6(host)?;
        }
        if host.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(EndpointError::Number(host.to_owned()));
        }
        Ok(Endpoint {
            host: host.to_owned(),
            port: port.map_or(Ok(DEFAULT_PORT), parse_port)?,
        })
    }
}

/// Splits off the port, without its colon, and removes the brackets of the host.
fn split_port(text: &str) -> Result<(&str, Option<&str>), EndpointError> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']').ok_or(EndpointError::Brackets)?;
        if rest.is_empty() {
            return Ok((host, None));
        }
        let port = rest.strip_prefix(':').ok_or(EndpointError::Brackets)?;
        return Ok((host, Some(port)));
    }
    let without_zone = text.split('%').next().unwrap_or(text);
    if without_zone.parse::<Ipv6Addr>().is_ok() {
        return Ok((text, None));
    }
    Ok(match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    })
}

/// Refuses what getaddrinfo(3) never resolves. An interface that does not exist may come later.
fn check_ipv6(host: &str) -> Result<(), EndpointError> {
    let (address, interface) = match host.split_once('%') {
        Some((address, interface)) => (address, Some(interface)),
        None => (host, None),
    };
    let address: Ipv6Addr = address
        .parse()
        .map_err(|_| EndpointError::Address(host.to_owned()))?;
    let is_link_local = address.is_unicast_link_local() || address.is_multicast();
    match interface {
        None if address.is_unicast_link_local() => Err(EndpointError::NoInterface(address)),
        // getaddrinfo(3) accepts the number of an interface with any address.
        Some(name) if !is_link_local && name.parse::<u32>().is_err() => {
            Err(EndpointError::Interface(address))
        }
        _ => Ok(()),
    }
}

fn is_never_in_a_host(character: char) -> bool {
    character.is_whitespace() || character.is_control() || "/@#?,;".contains(character)
}

fn parse_port(digits: &str) -> Result<u16, EndpointError> {
    // The parser of u16 accepts a sign.
    Some(digits)
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| EndpointError::Port(digits.to_owned()))
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
    /// Returns the host's name, `None` if the host is an address.
    pub fn name(&self) -> Option<&str> {
        // Only an IPv6 address has colons, also one with a zone.
        let is_address = self.host.contains(':') || self.literal().is_some();
        (!is_address).then_some(&self.host)
    }

    /// Returns the address if the host is one, for which no name has to be resolved.
    pub fn literal(&self) -> Option<SocketAddr> {
        let address = self.host.parse::<IpAddr>().ok()?;
        Some(SocketAddr::new(address, self.port))
    }

    /// Resolves the host to its addresses, in the order of getaddrinfo(3), each once.
    ///
    /// # Errors
    ///
    /// Those of getaddrinfo(3), or that the host has no address.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        if let Some(address) = self.literal() {
            return Ok(vec![address]);
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
                "the host has no address",
            ));
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, EndpointError> {
        text.parse::<Endpoint>()
            .map(|endpoint| endpoint.to_string())
    }

    #[test]
    fn a_missing_port_is_the_default() {
        for (text, shown) in [
            ("clock", "clock:9527"),
            ("10.0.0.1", "10.0.0.1:9527"),
            ("::1", "[::1]:9527"),
            ("[::1]", "[::1]:9527"),
            ("fe80::1%eth0", "[fe80::1%eth0]:9527"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(shown));
        }
    }

    #[test]
    fn a_port_follows_a_colon() {
        for text in ["clock:0", "10.0.0.1:65535", "[::1]:53", "[fe80::1%2]:9527"] {
            assert_eq!(parse(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn errors_name_the_wrong_part() {
        assert_eq!(parse(""), Err(EndpointError::NoHost));
        assert_eq!(parse(":9527"), Err(EndpointError::NoHost));
        for number in ["80", "0:80", "[80]"] {
            assert!(matches!(parse(number), Err(EndpointError::Number(_))));
        }
        assert_eq!(parse("[::1"), Err(EndpointError::Brackets));
        assert_eq!(parse("[::1]9527"), Err(EndpointError::Brackets));
        for port in ["65536", "-1", "+1", "http", "99999999999"] {
            assert_eq!(
                parse(&format!("clock:{port}")),
                Err(EndpointError::Port(port.to_owned()))
            );
        }
        assert_eq!(parse("clock:"), Err(EndpointError::Port(String::new())));
    }

    #[test]
    fn a_link_local_address_needs_an_interface() {
        let error = EndpointError::NoInterface("fe80::1".parse().expect("an address"));
        for text in ["fe80::1", "[fe80::1]", "[fe80::1]:5"] {
            assert_eq!(parse(text), Err(error.clone()));
        }
    }

    #[test]
    fn white_space_around_is_ignored() {
        assert_eq!(parse(" [::1]:0\t").as_deref(), Ok("[::1]:0"));
        assert_eq!(parse(" "), Err(EndpointError::NoHost));
    }

    #[test]
    fn only_a_link_local_address_has_an_interface() {
        let error = EndpointError::Interface("::1".parse().expect("an address"));
        assert_eq!(parse("[::1%lo]"), Err(error.clone()));
        assert_eq!(parse("::1%lo"), Err(error));
        // getaddrinfo(3) accepts a number with any address.
        for text in ["[::1%1]:5", "[ff02::1%lo]:5", "[fe80::1%lo]:5"] {
            assert_eq!(parse(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn host_with_colons_is_an_ipv6_address() {
        for (text, host) in [("[::g]", "::g"), ("1:2:3", "1:2"), ("[::g%lo]", "::g%lo")] {
            let error = EndpointError::Address(host.to_owned());
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_url_or_a_list_is_no_host() {
        for (text, host, character) in [
            ("udp://10.0.0.1:5", "udp://10.0.0.1", '/'),
            ("a:5 b:5", "a:5 b", ' '),
            ("user@a", "user@a", '@'),
            ("[::1 ]", "::1 ", ' '),
        ] {
            let error = EndpointError::Character(host.to_owned(), character);
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn only_a_name_is_a_name() {
        let has_name = |text: &str| text.parse().map(|host: Endpoint| host.name().is_some());
        for text in ["10.0.0.1", "::1", "[::1]:5", "fe80::1%lo"] {
            assert_eq!(has_name(text), Ok(false), "{text}");
        }
        for text in ["clock", "clock.example:5", "10.0.0.1.example"] {
            assert_eq!(has_name(text), Ok(true), "{text}");
        }
    }

    #[test]
    fn a_zone_becomes_the_scope_id() {
        let endpoint: Endpoint = "[fe80::1%lo]:5".parse().expect("an endpoint");
        let addresses = endpoint.resolve().expect("an address");
        let [SocketAddr::V6(address)] = addresses[..] else {
            panic!("{addresses:?}");
        };
        assert_eq!((address.scope_id(), address.port()), (1, 5));
    }
}

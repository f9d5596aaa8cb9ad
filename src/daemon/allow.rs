//! `--allow`: the networks whose requests are answered.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// The names and their networks. They are those of systemd's `IPAddressAllow=`, and `private` the
/// networks that the units add to them.
const NAMES: [(&str, &[&str]); 3] = [
    ("localhost", &["127.0.0.0/8", "::1/128"]),
    ("link-local", &["169.254.0.0/16", "fe80::/64"]),
    (
        "private",
        &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
    ),
];

/// One value of `--allow`: a network, or a name that stands for several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedNetworks(Vec<IpNet>);

/// Why a value of `--allow` is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowError {
    /// Nothing. It does not stand for all networks.
    #[error("it names no network (all networks are 0.0.0.0/0,::/0)")]
    Empty,
    /// Not a network.
    #[error("neither a network such as 10.0.0.0/8, nor localhost, link-local or private")]
    NotANetwork,
    /// An IPv4 network as IPv6. No source is in it, because IPv4 sources are compared as IPv4.
    #[error("write an IPv4 network without ::ffff:")]
    MappedNetwork,
}

impl AllowedNetworks {
    /// Returns the networks of several values.
    pub fn all(values: &[AllowedNetworks]) -> Vec<IpNet> {
        values.iter().flat_map(|value| value.0.clone()).collect()
    }
}

impl FromStr for AllowedNetworks {
    type Err = AllowError;

    /// Parses a network in CIDR notation, an address, `localhost`, `link-local` or `private`. White
    /// space around it is ignored.
    fn from_str(text: &str) -> Result<AllowedNetworks, AllowError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(AllowError::Empty);
        }
        let networks = match NAMES.iter().find(|(name, _)| *name == text) {
            Some((_, networks)) => networks.iter().map(|text| parse_network(text)).collect(),
            None => parse_network(text).map(|network| vec![network]),
        };
        networks.map(AllowedNetworks)
    }
}

fn parse_network(text: &str) -> Result<IpNet, AllowError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    let network: IpNet = text.parse().map_err(|_| AllowError::NotANetwork)?;
    match network.addr() {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => Err(AllowError::MappedNetwork),
        _ => Ok(network),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<String>, AllowError> {
        let networks = text.parse::<AllowedNetworks>()?.0;
        Ok(networks.iter().map(IpNet::to_string).collect())
    }

    #[test]
    fn names_stand_for_networks() {
        for (name, networks) in NAMES {
            assert_eq!(parse(name).expect(name), networks);
        }
        let values = ["localhost", "10.1.2.3"].map(|text| text.parse().expect("a network"));
        let all = AllowedNetworks::all(&values);
        assert_eq!(all.len(), 3);
        assert!(all[2].contains(&IpAddr::from([10, 1, 2, 3])));
        assert!(AllowedNetworks::all(&[]).is_empty());
    }

    #[test]
    fn networks_and_addresses_are_parsed() {
        for (text, network) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("fd00:7::/64", "fd00:7::/64"),
            ("192.168.7.10", "192.168.7.10/32"),
            ("fd00:7::10", "fd00:7::10/128"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            (" 10.1.2.3 ", "10.1.2.3/32"),
        ] {
            assert_eq!(parse(text), Ok(vec![network.to_owned()]));
        }
    }

    #[test]
    fn other_values_are_refused() {
        for text in [
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10/8",
            "any",
            "Private",
            "private localhost",
            "::1%lo",
        ] {
            assert_eq!(parse(text), Err(AllowError::NotANetwork), "{text}");
        }
        assert_eq!(parse(""), Err(AllowError::Empty));
        let mapped = Err(AllowError::MappedNetwork);
        assert_eq!(parse("::ffff:10.0.0.0/104"), mapped);
        assert_eq!(parse("::ffff:0:0/96"), mapped);
    }
}

//! Resolves the servers of the command line.

use std::net::SocketAddr;

use wallclock::endpoint::Endpoint;
use wallclock::error::error_chain;

use crate::args::Args;
use crate::error::Error;

/// Returns every address of every server, each once.
///
/// A server that can't be resolved is reported on stderr if another one can.
///
/// # Errors
///
/// No server has an address. Holds the error of the last one; the others are reported on stderr.
pub fn addresses(args: &Args) -> Result<Vec<SocketAddr>, Error> {
    let mut addresses = Vec::new();
    let mut last_error = None;
    for endpoint in &args.server {
        match resolve(endpoint, args) {
            Ok(resolved) => {
                for address in resolved {
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
            }
            Err(error) => last_error.replace(error).iter().for_each(warn),
        }
    }
    match last_error {
        Some(error) if addresses.is_empty() => return Err(error),
        Some(error) => warn(&error),
        None => {}
    }
    Ok(addresses)
}

/// Resolves one server to its addresses of the families that `-4` and `-6` allow.
fn resolve(endpoint: &Endpoint, args: &Args) -> Result<Vec<SocketAddr>, Error> {
    let mut addresses = endpoint.resolve().map_err(|source| Error::Resolve {
        endpoint: endpoint.clone(),
        source,
    })?;
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

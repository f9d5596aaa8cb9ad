//! Resolves the servers of the command line.

use std::net::SocketAddr;

use wallclock::client::query::Server;
use wallclock::endpoint::Endpoint;
use wallclock::error::error_chain;

use crate::args::Args;
use crate::error::Error;
use crate::output::print_error;

/// Returns every address of every server, each once.
///
/// A server that can't be resolved is reported on stderr if another one can.
///
/// # Errors
///
/// No server has an address. Holds the error of the last one; the others are reported on stderr.
pub fn addresses(args: &Args) -> Result<Vec<Server>, Error> {
    let mut servers = Vec::<Server>::new();
    let mut last_error = None;
    for endpoint in args.servers() {
        match resolve(&endpoint, args) {
            Ok(resolved) => {
                for address in resolved {
                    if servers.iter().all(|server| server.address != address) {
                        let name = endpoint.name().map(str::to_owned);
                        servers.push(Server { name, address });
                    }
                }
            }
            Err(error) => last_error.replace(error).iter().for_each(warn),
        }
    }
    match last_error {
        Some(error) if servers.is_empty() => return Err(error),
        Some(error) => warn(&error),
        None => {}
    }
    Ok(servers)
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
    print_error(error_chain(error));
}

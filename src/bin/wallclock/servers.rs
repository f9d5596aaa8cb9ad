//! The servers of the command line.

use wallclock::client::resolve::{Family, Resolver};

use crate::args::Args;

/// Returns the servers, with the address families that `-4` and `-6` allow.
pub fn resolver(args: &Args) -> Resolver {
    let family = match (args.only_v4, args.only_v6) {
        (true, _) => Family::V4,
        (_, true) => Family::V6,
        (false, false) => Family::Any,
    };
    Resolver::new(args.servers(), family)
}

//! `wallclockd`, the daemon: arguments in, exit status out.
#![forbid(unsafe_code)]

mod args;

use std::env;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use clap::CommandFactory;
use wallclock::cli::args::{ArgsError, USAGE_STATUS, parse_args};
use wallclock::cli::generate::{ManualPage, generate};
use wallclock::cli::logging;
use wallclock::clock::sync::SyncMonitor;
use wallclock::clock::{Clock, ZoneError};
use wallclock::daemon::notify::ServiceNotifier;
use wallclock::daemon::server::Server;
use wallclock::daemon::signals::Signals;
use wallclock::daemon::socket::{ListenError, Listener, SocketOptions};
use wallclock::endpoint::{DEFAULT_PORT, Endpoint};
use wallclock::error::error_chain;
use wallclock::sys::listen_fds::listen_fds;

use args::Args;

/// Why the daemon does not start; each variant is a step.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("the zone can't be understood")]
    Zone(#[from] ZoneError),
    #[error("resolve {endpoint}")]
    Resolve {
        endpoint: Endpoint,
        source: io::Error,
    },
    #[error("can't listen")]
    Listen(#[from] ListenError),
    #[error("take over the sockets of LISTEN_FDS")]
    Inherit(#[source] io::Error),
    #[error("set up the signals")]
    Signals(#[source] io::Error),
    #[error("generate")]
    Generate(#[source] io::Error),
}

fn main() -> ExitCode {
    let args: Args = match parse_args() {
        Ok(args) => args,
        Err(ArgsError::Help(help)) => {
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
        Err(ArgsError::Usage(line)) => {
            eprintln!("wallclockd: {line}");
            return ExitCode::from(USAGE_STATUS);
        }
    };
    logging::start(logging::level(
        i16::from(args.verbose) - i16::from(args.quiet),
    ));
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{}", error_chain(&error as &dyn Error));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), StartError> {
    if let Some(what) = args.generate {
        return generate(what, Args::command(), ManualPage::Daemon, &mut io::stdout())
            .map_err(StartError::Generate);
    }
    if env::var_os("WALLCLOCKD_SYNC_FILE").is_some_and(|file| !file.is_empty()) {
        log::warn!("WALLCLOCKD_SYNC_FILE is no longer used: the daemon asks the kernel itself");
    }
    // Before this process opens anything of its own, which could take the place of what was announced and is not there.
    let inherited = listen_fds().map_err(StartError::Inherit)?;
    let signals = Signals::install().map_err(StartError::Signals)?;
    let clock = if args.utc {
        Clock::utc()
    } else {
        Clock::local()?
    };
    let clock = clock.with_sync_monitor(SyncMonitor::new(args.require_sync));
    let listeners = listeners(args, inherited)?;
    log::info!("ask with: {}", hint(&listeners));
    Server::new(listeners, clock, signals, ServiceNotifier::from_env()).run();
    Ok(())
}

/// The sockets handed over, and those of `--listen`; the default address where there are neither.
fn listeners(args: &Args, inherited: Vec<OwnedFd>) -> Result<Vec<Listener>, StartError> {
    let options = SocketOptions {
        reuse_port: args.reuse_port,
        recv_buffer: args.receive_buffer.map(|bytes| bytes as usize),
    };
    let mut listeners = Vec::new();
    for descriptor in inherited {
        listeners.push(Listener::inherit(descriptor, options)?);
    }
    let mut addresses = Vec::new();
    for endpoint in &args.listen {
        let resolved = endpoint.resolve().map_err(|source| StartError::Resolve {
            endpoint: endpoint.clone(),
            source,
        })?;
        for address in resolved {
            // localhost and 127.0.0.1 in one list are one socket; port 0 is another one each time.
            if address.port() == 0 || !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    if listeners.is_empty() && addresses.is_empty() {
        addresses.push(SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT)));
    }
    listeners.extend(Listener::bind(&addresses, options)?);
    Ok(listeners)
}

/// How to ask the first of these sockets from this machine.
fn hint(listeners: &[Listener]) -> String {
    let Some(mut address) = listeners.first().map(Listener::address) else {
        return String::new();
    };
    if address.ip().to_canonical().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("wallclock --server {address} '%Y-%m-%d %H:%M:%S'")
}

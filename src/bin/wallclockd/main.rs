//! `wallclockd`, the daemon: arguments in, exit status out.
#![forbid(unsafe_code)]
#![warn(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod args;

use std::env;
use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use clap::CommandFactory;
use wallclock::cli::args::{ArgsError, USAGE_STATUS, parse_args};
use wallclock::cli::generate::{ManualPage, generate};
use wallclock::cli::logging;
use wallclock::clock::sync::SyncMonitor;
use wallclock::clock::{Clock, ZoneError};
use wallclock::daemon::allow::AllowedNetworks;
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
    #[error("load the time zone")]
    Zone(#[from] ZoneError),
    #[error("resolve {endpoint}")]
    Resolve {
        endpoint: Endpoint,
        source: io::Error,
    },
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("take over the sockets of LISTEN_FDS")]
    Inherit(#[source] io::Error),
    #[error("install the signal handlers")]
    Signals(#[source] io::Error),
    #[error("write the generated text")]
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
    if let Some(mode) = args.generate {
        return generate(mode, Args::command(), ManualPage::Daemon, &mut io::stdout())
            .map_err(StartError::Generate);
    }
    warn_about_obsolete_variable();
    // Before this process opens a descriptor: see listen_fds.
    let inherited = listen_fds().map_err(StartError::Inherit)?;
    let signals = Signals::install().map_err(StartError::Signals)?;
    let clock = clock(args)?;
    let listeners = listeners(args, inherited)?;
    log_example(&listeners);
    let allow = AllowedNetworks::all(&args.allow);
    let notifier = ServiceNotifier::from_env();
    Server::new(listeners, allow, clock, signals, notifier).run();
    Ok(())
}

/// Earlier versions read the status of the clock from a file that a second unit wrote.
fn warn_about_obsolete_variable() {
    if env::var_os("WALLCLOCKD_SYNC_FILE").is_some_and(|file| !file.is_empty()) {
        log::warn!(
            "WALLCLOCKD_SYNC_FILE is ignored: the daemon reads the status of the clock itself \
             (adjtimex)"
        );
    }
}

/// The system clock, in UTC or in the time zone of the host.
fn clock(args: &Args) -> Result<Clock, ZoneError> {
    let clock = if args.utc {
        Clock::utc()
    } else {
        Clock::local()?
    };
    Ok(clock.with_sync_monitor(SyncMonitor::new(args.require_sync)))
}

/// The inherited sockets and those of `--listen`. If there are neither, the default address.
fn listeners(args: &Args, inherited: Vec<OwnedFd>) -> Result<Vec<Listener>, StartError> {
    let options = SocketOptions {
        reuse_port: args.reuse_port,
        recv_buffer: args.receive_buffer.map(|bytes| bytes as usize),
    };
    let mut listeners = inherited
        .into_iter()
        .map(|descriptor| Listener::inherit(descriptor, options))
        .collect::<Result<Vec<_>, _>>()?;
    let mut addresses = resolve_all(&args.listen)?;
    if listeners.is_empty() && addresses.is_empty() {
        addresses.push(SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)));
    }
    listeners.extend(Listener::bind(&addresses, options)?);
    Ok(listeners)
}

/// The addresses of all endpoints.
fn resolve_all(endpoints: &[Endpoint]) -> Result<Vec<SocketAddr>, StartError> {
    let mut addresses = Vec::new();
    for endpoint in endpoints {
        let resolved = endpoint.resolve().map_err(|source| StartError::Resolve {
            endpoint: endpoint.clone(),
            source,
        })?;
        for address in resolved {
            // localhost and 127.0.0.1 are one socket. Port 0 is another port each time.
            if address.port() == 0 || !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    Ok(addresses)
}

/// Logs a command that sends a request from this host to the first socket.
fn log_example(listeners: &[Listener]) {
    let Some(mut address) = listeners.first().map(Listener::address) else {
        return;
    };
    if address.ip().to_canonical().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    log::info!("query with: wallclock --server {address} '%Y-%m-%d %H:%M:%S'");
}

//! The program: arguments in, exit status out.

use std::env;
use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory;
use wallclock::cli::args::{ArgsError, USAGE_STATUS, parse_args, unknown_variables, variable_of};
use wallclock::cli::generate::{ManualPage, generate};
use wallclock::cli::logging;
use wallclock::clock::sync::{DEFAULT_MAX_ERROR, SyncMonitor};
use wallclock::clock::{Clock, ZoneError};
use wallclock::daemon::allow::AllowedNetworks;
use wallclock::daemon::notify::ServiceNotifier;
use wallclock::daemon::server::Server;
use wallclock::daemon::signals::Signals;
use wallclock::daemon::socket::{ListenError, Listener, SocketOptions};
use wallclock::endpoint::{DEFAULT_PORT, Endpoint};
use wallclock::error::error_chain;
use wallclock::sys::listen_fds::{ListenFdsError, listen_fds};

use crate::args::Args;

/// How long a service waits after an error that another start would repeat, so that systemd does
/// not repeat it many times a second. Less than TimeoutStartSec= of the units.
const PERMANENT_ERROR_WAIT: Duration = Duration::from_secs(5);

/// Why the daemon does not start; each variant is a step.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("load the time zone{}", of_variable(source))]
    Zone {
        #[from]
        source: ZoneError,
    },
    #[error("resolve {endpoint}")]
    Resolve {
        endpoint: Endpoint,
        source: io::Error,
    },
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// What is wrong with the addresses of a variable. Holds its name and value.
    #[error("{0}")]
    Variable(String, #[source] Box<StartError>),
    #[error(transparent)]
    Inherit(#[from] ListenFdsError),
    #[error("install the signal handlers")]
    Signals(#[source] io::Error),
    #[error("write the generated text")]
    Generate(#[source] io::Error),
}

impl StartError {
    /// Whether another start fails in the same way until somebody acts: an option, a variable, the
    /// time zone or a port in use is at fault.
    fn is_permanent(&self) -> bool {
        match self {
            StartError::Zone { .. } | StartError::Inherit(_) => true,
            StartError::Listen(error) => error.is_permanent(),
            StartError::Variable(_, error) => error.is_permanent(),
            StartError::Resolve { .. } | StartError::Signals(_) | StartError::Generate(_) => false,
        }
    }
}

/// Names TZ and its value, unless the error does or `/etc/localtime` is at fault.
fn of_variable(error: &ZoneError) -> String {
    match env::var_os("TZ") {
        Some(tz) if !tz.is_empty() && !matches!(error, ZoneError::Unknown { .. }) => {
            format!(" of TZ={}", tz.display())
        }
        _ => String::new(),
    }
}

/// Runs the program. Returns its exit status.
pub fn main() -> ExitCode {
    let args: Args = match parse_args() {
        Ok(args) => args,
        Err(ArgsError::Help(help)) => {
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
        Err(ArgsError::Usage(line)) => {
            logging::write_usage_error("wallclockd", &line);
            if let Ok(signals) = Signals::install() {
                wait_after_error(&line, &signals);
            }
            return ExitCode::from(USAGE_STATUS);
        }
    };
    logging::start(logging::level(
        i16::from(args.verbose) - i16::from(args.quiet),
    ));
    match run(&args) {
        Ok(status) => status,
        Err(error) => {
            log_error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Logs an error and its causes. Returns the line.
fn log_error(error: &StartError) -> String {
    let line = error_chain(error as &dyn Error);
    log::error!("{line}");
    line
}

/// Shows a permanent error in the status of the service, and delays its end.
fn wait_after_error(line: &str, signals: &Signals) {
    ServiceNotifier::from_env().show_error(line, signals, PERMANENT_ERROR_WAIT);
}

fn run(args: &Args) -> Result<ExitCode, StartError> {
    if let Some(mode) = args.generate {
        return generate(mode, Args::command(), ManualPage::Daemon, &mut io::stdout())
            .map(|()| ExitCode::SUCCESS)
            .map_err(StartError::Generate);
    }
    for line in unknown_variables::<Args>("WALLCLOCKD_") {
        log::warn!("{line}");
    }
    // Before this process opens a descriptor: see listen_fds.
    let inherited = listen_fds().map_err(StartError::Inherit);
    let signals = Signals::install().map_err(StartError::Signals)?;
    match inherited.and_then(|inherited| prepare(args, inherited)) {
        Ok((clock, listeners)) => {
            log_example(&listeners);
            let allow = AllowedNetworks::all(&args.allow);
            let notifier = ServiceNotifier::from_env();
            Server::new(listeners, allow, clock, signals, notifier).run();
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if error.is_permanent() => {
            wait_after_error(&log_error(&error), &signals);
            Ok(ExitCode::from(USAGE_STATUS))
        }
        Err(error) => Err(error),
    }
}

fn prepare(args: &Args, inherited: Vec<OwnedFd>) -> Result<(Clock, Vec<Listener>), StartError> {
    let clock = clock(args)?;
    Ok((clock, listeners(args, inherited)?))
}

/// The system clock, in UTC or in the time zone of the host.
fn clock(args: &Args) -> Result<Clock, ZoneError> {
    let clock = if args.utc {
        Clock::utc()
    } else {
        Clock::local()?
    };
    let limit = args.max_error.unwrap_or(DEFAULT_MAX_ERROR);
    Ok(clock.with_sync_monitor(SyncMonitor::new(args.require_sync, limit)))
}

/// The inherited sockets and those of `--listen`. If there are neither, the default address.
fn listeners(args: &Args, inherited: Vec<OwnedFd>) -> Result<Vec<Listener>, StartError> {
    let options = SocketOptions {
        reuse_port: args.reuse_port,
        recv_buffer: args.receive_buffer,
    };
    let mut listeners = inherited
        .into_iter()
        .map(|descriptor| Listener::inherit(descriptor, options))
        .collect::<Result<Vec<_>, _>>()?;
    let bound = bind(args, &listeners, options);
    listeners.extend(bound.map_err(|error| match variable_of::<Args>("listen") {
        Some(variable) => StartError::Variable(variable, Box::new(error)),
        None => error,
    })?);
    Ok(listeners)
}

/// The sockets of `--listen`, beside the inherited ones.
fn bind(
    args: &Args,
    inherited: &[Listener],
    options: SocketOptions,
) -> Result<Vec<Listener>, StartError> {
    let mut addresses = resolve_all(&args.listen)?;
    if inherited.is_empty() && addresses.is_empty() {
        addresses.push(SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)));
    }
    Ok(Listener::bind(&addresses, inherited, options)?)
}

/// The addresses of all endpoints.
fn resolve_all(endpoints: &[Endpoint]) -> Result<Vec<SocketAddr>, StartError> {
    let mut addresses = Vec::new();
    for endpoint in endpoints {
        let resolved = endpoint.resolve().map_err(|source| StartError::Resolve {
            endpoint: endpoint.clone(),
            source,
        })?;
        addresses.extend(resolved);
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

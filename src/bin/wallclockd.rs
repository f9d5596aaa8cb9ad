//! `wallclockd`: options in, exit status out.

use std::env;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, CommandFactory, Parser, ValueHint};
use wallclock::batch;
use wallclock::clock::{Clock, ZoneError};
use wallclock::command_line;
use wallclock::endpoint::{Endpoint, PORT};
use wallclock::generate::{Page, What, generate};
use wallclock::listen::{ListenError, Listener, Options};
use wallclock::manager::Manager;
use wallclock::serve::{Server, Signals};
use wallclock::sync::Watch;
use wallclock::{chain, logging};

/// The clock on the wall of the machine room: answers a strftime format with the time
///
/// One UDP datagram holding a strftime format in, one datagram back: the time in that format.
#[derive(Debug, Parser)]
#[command(name = "wallclockd", version, after_long_help = AFTER_HELP)]
struct Arguments {
    /// Where to listen, as ADDR:PORT; may be given several times [default: 127.0.0.1:9527, or the sockets that systemd
    /// hands over]
    #[arg(
        short,
        long,
        value_name = "ADDR:PORT",
        value_hint = ValueHint::Other,
        long_help = LISTEN_HELP,
        env = "WALLCLOCKD_LISTEN",
        value_delimiter = ','
    )]
    listen: Vec<Endpoint>,

    /// Share the port with other instances: several of these daemons, say one a core, on one address
    #[arg(long, env = "WALLCLOCKD_REUSE_PORT", value_parser = BoolishValueParser::new())]
    reuse_port: bool,

    /// Answer in UTC, whatever the host's zone is
    #[arg(long, env = "WALLCLOCKD_UTC", value_parser = BoolishValueParser::new())]
    utc: bool,

    /// Give nobody the time while the kernel calls its clock unsynchronised, or does not say
    ///
    /// Questions get `error: clock not synchronised` instead.
    #[arg(long, env = "WALLCLOCKD_REQUIRE_SYNC", value_parser = BoolishValueParser::new())]
    require_sync: bool,

    /// Receive buffer to ask of the kernel for each socket [default: 8388608, some 20,000 questions at once]
    ///
    /// The kernel grants twice what is asked, up to net.core.rmem_max, beyond it only to CAP_NET_ADMIN.
    #[arg(long, value_name = "BYTES", value_hint = ValueHint::Other, env = "WALLCLOCKD_RECEIVE_BUFFER", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    receive_buffer: Option<u32>,

    /// Log more: each datagram. Twice: all there is. In the environment a number
    #[arg(short, long, action = ArgAction::Count, env = "WALLCLOCKD_VERBOSE")]
    verbose: u8,

    /// Log less: warnings and errors. Twice: errors only. In the environment a number
    #[arg(short, long, action = ArgAction::Count, env = "WALLCLOCKD_QUIET")]
    quiet: u8,

    /// Print the manual page or shell completions
    #[arg(long, value_name = "WHAT", hide = true)]
    generate: Option<What>,
}

/// Not a doc comment, where brackets are links.
const LISTEN_HELP: &str = "\
Where to listen, as ADDR:PORT; may be given several times [default: 127.0.0.1:9527, or the sockets that systemd hands over]

[::] serves IPv4 and IPv6; port 0 takes a free one; a missing port is 9527. In the environment, commas separate several.";

const AFTER_HELP: &str = "\
Signals:
  SIGTERM, SIGINT  answer what is queued, log the counters, exit 0
  SIGUSR1          log the counters

Environment:
  RUST_LOG         what to log, in env_logger's syntax; decides over -v and -q
  TZ, TZDIR        the zone, as in tzset(3); without TZ it is /etc/localtime

Exit status:
  0  told to stop
  1  could not start: an address, a zone, an inherited socket
  2  wrong usage

Ask it:
  wallclock '%Y-%m-%d %H:%M:%S'
  echo '%T' | nc -u -w1 127.0.0.1 9527

The protocol and the language of formats are in wallclockd(8); without it installed,
  wallclockd --generate man | man -l -";

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
    let arguments: Arguments = match command_line::read() {
        Ok(arguments) => arguments,
        Err(usage) => return usage,
    };
    logging::start(logging::level(
        i16::from(arguments.verbose) - i16::from(arguments.quiet),
    ));
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{}", chain(&error as &dyn Error));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), StartError> {
    if let Some(what) = arguments.generate {
        return generate(what, Arguments::command(), Page::Daemon, &mut io::stdout())
            .map_err(StartError::Generate);
    }
    if env::var_os("WALLCLOCKD_SYNC_FILE").is_some_and(|file| !file.is_empty()) {
        log::warn!("WALLCLOCKD_SYNC_FILE is no longer used: the daemon asks the kernel itself");
    }
    // Before this process opens anything of its own, which could take the place of what was announced and is not there.
    let inherited = batch::inherited().map_err(StartError::Inherit)?;
    let signals = Signals::of_process().map_err(StartError::Signals)?;
    let clock = if arguments.utc {
        Clock::utc()
    } else {
        Clock::local()?
    };
    let clock = clock.watched(Watch::new(arguments.require_sync));
    let listeners = listeners(arguments, inherited)?;
    log::info!("ask with: {}", hint(&listeners));
    Server::new(listeners, clock, signals, Manager::of_process()).run();
    Ok(())
}

/// The sockets handed over, and those of `--listen`; the default address where there are neither.
fn listeners(arguments: &Arguments, inherited: Vec<OwnedFd>) -> Result<Vec<Listener>, StartError> {
    let options = Options {
        reuse_port: arguments.reuse_port,
        receive_buffer: arguments.receive_buffer.map(|bytes| bytes as usize),
    };
    let mut listeners = Vec::new();
    for descriptor in inherited {
        listeners.push(Listener::inherit(descriptor, options)?);
    }
    let mut addresses = Vec::new();
    for endpoint in &arguments.listen {
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
        addresses.push(SocketAddr::from(([127, 0, 0, 1], PORT)));
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

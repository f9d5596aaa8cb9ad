//! `wallclock`: options in, exit status out.

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use wallclock::answer::{DEFAULT_FORMAT, is_blank};
use wallclock::ask::{AskError, MAX_FORMAT, Patience, ask};
use wallclock::chain;
use wallclock::endpoint::Endpoint;
use wallclock::generate::{Section, What, generate};
use wallclock::strftime::{Format, FormatError};

/// Ask the clock on the wall of the machine room
///
/// Sends a strftime format to a wallclockd, or to anything that answers strftime formats over UDP, and prints the
/// time it answers.
#[derive(Debug, Parser)]
#[command(name = "wallclock", version, after_long_help = AFTER_HELP)]
struct Arguments {
    /// What to ask for, as strftime(3) and date(1) have it; a leading + is allowed [default: %Y-%m-%d %X]
    #[arg(value_name = "FORMAT")]
    format: Option<OsString>,

    /// Server to ask, as HOST, HOST:PORT or [V6]:PORT; may be given several times, they are tried in order
    ///
    /// A missing port is 9527. In the environment, commas separate several.
    #[arg(
        short,
        long,
        value_name = "HOST[:PORT]",
        env = "WALLCLOCK_SERVER",
        value_delimiter = ',',
        default_value = "127.0.0.1:9527"
    )]
    server: Vec<Endpoint>,

    /// How long to wait for one answer
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    timeout: Duration,

    /// How often to ask a silent server again
    #[arg(short, long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(..=1000))]
    retries: u32,

    /// Ask over IPv4 only
    #[arg(short = '4', conflicts_with = "only_v6")]
    only_v4: bool,

    /// Ask over IPv6 only
    #[arg(short = '6')]
    only_v6: bool,

    /// Print the manual page or shell completions
    #[arg(long, value_name = "WHAT", hide = true)]
    generate: Option<What>,
}

const AFTER_HELP: &str = "\
A name may stand for several addresses. All addresses are asked in turn, once each; those that kept silent are asked
again, N times more. So it ends after at most addresses x (1 + N) x SECONDS; a closed port says so at once.

Exit status:
  0  answered
  1  the server refused, or its answer could not be written
  2  wrong usage, a bad format included
  3  no answer

Examples:
  wallclock
  wallclock +%s
  wallclock -s clock.example -s 192.168.1.10:9527 '%Y/%m/%d %H:%M:%S'";

/// Why there is no time to be printed; the exit status tells which.
#[derive(Debug, thiserror::Error)]
enum AskingError {
    #[error("bad format")]
    Format(#[from] FormatError),
    #[error("bad format: there is no conversion in it, so it asks for nothing")]
    NoConversion,
    #[error("bad format: longer than {MAX_FORMAT} bytes")]
    FormatTooLong,
    #[error("resolve {endpoint}")]
    Resolve {
        endpoint: Endpoint,
        source: io::Error,
    },
    #[error("{endpoint}: no IPv{version} address")]
    NoAddress { endpoint: Endpoint, version: u8 },
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("write to standard output")]
    Write(#[source] io::Error),
}

impl AskingError {
    fn status(&self) -> u8 {
        match self {
            AskingError::Ask(AskError::Refused { .. }) | AskingError::Write(_) => 1,
            AskingError::Format(_) | AskingError::NoConversion | AskingError::FormatTooLong => 2,
            AskingError::Ask(AskError::NoAnswer(_))
            | AskingError::Resolve { .. }
            | AskingError::NoAddress { .. } => 3,
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wallclock: {}", chain(&error as &dyn Error));
            ExitCode::from(error.status())
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), AskingError> {
    let mut out = io::stdout().lock();
    if let Some(what) = arguments.generate {
        return generate(what, Arguments::command(), Section::User, &mut out)
            .map_err(AskingError::Write);
    }
    let format = format(arguments)?;
    let patience = Patience {
        per_try: arguments.timeout,
        tries: arguments.retries + 1,
    };
    let heard = ask(&addresses(arguments)?, &format, patience)?;
    out.write_all(&heard.text)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map_err(AskingError::Write)
}

/// The format, checked by the server's own rules before anything is sent.
fn format(arguments: &Arguments) -> Result<Format<'_>, AskingError> {
    let given = arguments
        .format
        .as_ref()
        .map_or(&b""[..], |format| format.as_bytes());
    let bytes = given.strip_prefix(b"+").unwrap_or(given);
    let bytes = if is_blank(bytes) {
        DEFAULT_FORMAT.as_bytes()
    } else {
        bytes
    };
    let format = Format::parse(bytes)?;
    if format.conversions() == 0 {
        return Err(AskingError::NoConversion);
    }
    if bytes.len() > MAX_FORMAT {
        return Err(AskingError::FormatTooLong);
    }
    Ok(format)
}

/// Every address of every server, each once. One name that can't be resolved is told of, and fails only where it was the last.
fn addresses(arguments: &Arguments) -> Result<Vec<SocketAddr>, AskingError> {
    let mut addresses = Vec::new();
    let mut trouble = None;
    for endpoint in &arguments.server {
        match resolve(endpoint, arguments) {
            Ok(found) => {
                for address in found {
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
            }
            Err(error) => {
                if let Some(earlier) = trouble.replace(error) {
                    eprintln!("wallclock: {}", chain(&earlier));
                }
            }
        }
    }
    match trouble {
        Some(error) if addresses.is_empty() => Err(error),
        Some(error) => {
            eprintln!("wallclock: {}", chain(&error));
            Ok(addresses)
        }
        None => Ok(addresses),
    }
}

fn resolve(endpoint: &Endpoint, arguments: &Arguments) -> Result<Vec<SocketAddr>, AskingError> {
    let mut addresses = endpoint.resolve().map_err(|source| AskingError::Resolve {
        endpoint: endpoint.clone(),
        source,
    })?;
    addresses.retain(|address| {
        if address.is_ipv4() {
            !arguments.only_v6
        } else {
            !arguments.only_v4
        }
    });
    if addresses.is_empty() {
        let version = if arguments.only_v4 { 4 } else { 6 };
        return Err(AskingError::NoAddress {
            endpoint: endpoint.clone(),
            version,
        });
    }
    Ok(addresses)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() && seconds <= 86_400.0 => Ok(duration),
        _ => Err("not a time between 0 and 86400 seconds".to_owned()),
    }
}

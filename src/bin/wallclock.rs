//! `wallclock`: options in, exit status out.

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, ValueHint};
use wallclock::answer::{DEFAULT_FORMAT, is_blank};
use wallclock::ask::{AskError, MAX_FORMAT, Patience, ask};
use wallclock::chain;
use wallclock::chrony::Feed;
use wallclock::clock::{Clock, ZoneError};
use wallclock::command_line::{self, USAGE};
use wallclock::endpoint::Endpoint;
use wallclock::generate::{Page, What, generate};
use wallclock::look::Look;
use wallclock::offset::{Nanos, TICK, Wanted};
use wallclock::report::{Limits, Status, unknown};
use wallclock::strftime::{Format, FormatError};

/// Ask the clock on the wall of the machine room
///
/// Sends a strftime format to a wallclockd, or to anything that answers strftime formats over UDP, and prints the
/// time it answers.
#[derive(Debug, Parser)]
#[command(name = "wallclock", version, after_long_help = AFTER_HELP)]
struct Arguments {
    /// What to ask for, as strftime(3) and date(1) have it; a leading + is allowed [default: %Y-%m-%d %X]
    // No value_hint: where zsh has but a message for a positional, it completes no option any more.
    #[arg(value_name = "FORMAT")]
    format: Option<OsString>,

    /// Server to ask, as HOST, HOST:PORT or [V6]:PORT; may be given several times, they are tried in order
    ///
    /// A missing port is 9527. In the environment, commas separate several.
    #[arg(
        short,
        long,
        value_name = "HOST[:PORT]",
        value_hint = ValueHint::Hostname,
        env = "WALLCLOCK_SERVER",
        value_delimiter = ',',
        default_value = "127.0.0.1:9527"
    )]
    server: Vec<Endpoint>,

    /// How long to wait for one answer
    #[arg(short, long, value_name = "SECONDS", value_hint = ValueHint::Other, default_value = "1", value_parser = seconds)]
    timeout: Duration,

    /// How often to ask a silent server again
    #[arg(short, long, value_name = "N", value_hint = ValueHint::Other, default_value_t = 2, value_parser = clap::value_parser!(u32).range(..=1000))]
    retries: u32,

    /// Ask over IPv4 only
    #[arg(short = '4', conflicts_with = "only_v6")]
    only_v4: bool,

    /// Ask over IPv6 only
    #[arg(short = '6')]
    only_v6: bool,

    #[command(flatten)]
    measuring: Measuring,

    /// Print the manual page or shell completions
    #[arg(long, value_name = "WHAT", hide = true)]
    generate: Option<What>,
}

/// Instead of asking for a text: how far is this clock from the servers'?
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "How far off is this clock")]
struct Measuring {
    /// Tell how far this machine's clock is from the servers': theirs less ours, ± a bound that is certain
    ///
    /// All servers are measured at once. With several there is a line for what the majority agrees on; each address
    /// of a name counts as a server. Each of the options below asks for it too.
    #[arg(long)]
    offset: bool,

    /// Take N answers from each server, at most N from one that tells only whole seconds
    ///
    /// Without it 8 (of a server on this machine some more where none of them was quick), or of whole seconds as many as
    /// narrow the bound: 15 to 60, in 2 to 4 s.
    #[arg(long, value_name = "N", value_hint = ValueHint::Other, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    samples: Option<u32>,

    /// How late a server that tells only whole seconds may begin them
    ///
    /// time(2) of glibc, and with it Python's strftime, lags behind the server's clock by up to a tick of its kernel, 1
    /// to 10 ms. The bound must be as much wider; how far off the seconds are as told is shown too, to about a
    /// millisecond. With 0, for a server known to look at its clock, the bound narrows to the round trip. [default:
    /// 0.01]
    #[arg(long, value_name = "SECONDS", value_hint = ValueHint::Other, value_parser = limit, allow_negative_numbers = true)]
    tick: Option<Nanos>,

    /// Tell it as one JSON object in one line
    #[arg(long)]
    json: bool,

    /// Be a monitoring plugin: WARNING if this clock is certainly further off than this
    #[arg(long, value_name = "SECONDS", value_hint = ValueHint::Other, value_parser = limit, allow_negative_numbers = true,
          conflicts_with = "json")]
    warn: Option<Nanos>,

    /// Be a monitoring plugin: CRITICAL if this clock is certainly further off than this
    #[arg(long, value_name = "SECONDS", value_hint = ValueHint::Other, value_parser = limit, allow_negative_numbers = true,
          conflicts_with = "json")]
    critical: Option<Nanos>,

    /// Tell it every so many seconds (1), with a summary at Ctrl-C; a running picture on a terminal
    #[arg(long, value_name = "SECONDS", value_hint = ValueHint::Other, num_args = 0..=1, default_missing_value = "1",
          value_parser = seconds, conflicts_with_all = ["warn", "critical"])]
    watch: Option<Duration>,

    /// Feed each offset to the chronyd that has this socket as a reference clock (refclock SOCK)
    #[arg(long, value_name = "SOCKET", requires = "watch")]
    chrony: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
A name may stand for several addresses. All addresses are asked in turn until one answers; those that kept silent are asked again, N times more. So it ends after at most addresses x (1 + N) x SECONDS; a closed port says so at once.

Exit status:
  0  answered
  1  the server refused, or its answer could not be written
  2  wrong usage, a bad format included
  3  no answer
With --offset and --json:
  0  an offset, on which more than half of those that answered agree
  1  answers, but no majority
With --watch, at its end:
  0  there was an offset at least once
  3  there was none
With --warn and --critical, as monitoring plugins do (2 is wrong usage too):
  0  OK        certainly no further off than the lower limit
  1  WARNING   certainly further off than --warn
  2  CRITICAL  certainly further off than --critical
  3  UNKNOWN   no answer, no majority, or a bound too wide to tell

Examples:
  wallclock
  wallclock +%s
  wallclock -s clock.example -s 192.168.1.10:9527 '%Y/%m/%d %H:%M:%S'
  wallclock -s clock.example --offset
  wallclock -s clock.example --warn 0.1 --critical 1

The language of formats is in wallclock(1), the protocol in wallclockd(8); without them installed,
  wallclock --generate man | man -l -";

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
    #[error("the offset is asked for without a format")]
    FormatBesideOffset,
    #[error("--warn is above --critical")]
    WarnAboveCritical,
    #[error("no chronyd at {}", path.display())]
    Chrony { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Zone(#[from] ZoneError),
}

impl AskingError {
    fn status(&self) -> u8 {
        match self {
            AskingError::Ask(AskError::Refused { .. }) | AskingError::Write(_) => 1,
            AskingError::Format(_)
            | AskingError::NoConversion
            | AskingError::FormatTooLong
            | AskingError::FormatBesideOffset
            | AskingError::WarnAboveCritical
            | AskingError::Chrony { .. }
            | AskingError::Zone(_) => USAGE,
            AskingError::Ask(AskError::NoAnswer(_))
            | AskingError::Resolve { .. }
            | AskingError::NoAddress { .. } => 3,
        }
    }
}

fn main() -> ExitCode {
    let arguments: Arguments = match command_line::read() {
        Ok(arguments) => arguments,
        Err(usage) => return usage,
    };
    match run(&arguments) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("wallclock: {}", chain(&error as &dyn Error));
            ExitCode::from(error.status())
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8, AskingError> {
    if let Some(what) = arguments.generate {
        let generated = generate(what, Arguments::command(), Page::Client, &mut io::stdout());
        return generated.map(|()| 0).map_err(AskingError::Write);
    }
    if arguments.measuring.wanted() {
        return offset(arguments);
    }
    let format = format(arguments)?;
    let heard = ask(&addresses(arguments)?, &format, arguments.patience())?;
    print(&heard.text)?;
    Ok(0)
}

/// How far off this clock is: the exit status.
fn offset(arguments: &Arguments) -> Result<u8, AskingError> {
    let measuring = &arguments.measuring;
    if arguments.format.is_some() {
        return Err(AskingError::FormatBesideOffset);
    }
    let limits = measuring.limits()?;
    let feed = measuring.feed()?;
    let servers = match (addresses(arguments), limits) {
        (Ok(servers), _) => servers,
        (Err(error), None) => return Err(error),
        (Err(error), Some(_)) => {
            // A plugin speaks on standard output, whatever happens.
            print(unknown(&chain(&error)).as_bytes())?;
            return Ok(Status::Unknown as u8);
        }
    };
    let look = Look {
        servers,
        wanted: Wanted {
            samples: measuring.samples,
            tick: measuring.tick.unwrap_or(TICK),
        },
        patience: arguments.patience(),
    };
    if let Some(every) = measuring.watch {
        let Err(error) = look.again(every, measuring.json, Clock::local()?, feed);
        return Err(AskingError::Write(error));
    }
    let report = look.once();
    if let Some(limits) = limits {
        let (status, line) = report.check(limits);
        print(line.as_bytes())?;
        return Ok(status as u8);
    }
    if measuring.json {
        print(report.json().as_bytes())?;
    } else {
        for (server, why) in report.failures() {
            eprintln!("wallclock: {server}: {why}");
        }
        if report.any_answer() {
            print(report.text().trim_end().as_bytes())?;
        }
    }
    Ok(match report.agreed() {
        Some(_) => 0,
        None if report.any_answer() => 1,
        None => 3,
    })
}

fn print(text: &[u8]) -> Result<(), AskingError> {
    let mut out = io::stdout().lock();
    out.write_all(text)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map_err(AskingError::Write)
}

impl Arguments {
    fn patience(&self) -> Patience {
        Patience {
            per_try: self.timeout,
            tries: self.retries + 1,
        }
    }
}

impl Measuring {
    /// Whether any of its options is there (`--chrony` is not without `--watch`).
    fn wanted(&self) -> bool {
        let Measuring {
            offset,
            samples,
            json,
            warn,
            critical,
            watch,
            chrony: _,
            tick,
        } = self;
        *offset
            || samples.is_some()
            || tick.is_some()
            || *json
            || warn.is_some()
            || critical.is_some()
            || watch.is_some()
    }

    fn limits(&self) -> Result<Option<Limits>, AskingError> {
        match (self.warn, self.critical) {
            (None, None) => Ok(None),
            (Some(warn), Some(critical)) if warn > critical => Err(AskingError::WarnAboveCritical),
            (warn, critical) => Ok(Some(Limits { warn, critical })),
        }
    }

    fn feed(&self) -> Result<Option<Feed>, AskingError> {
        let feed = self.chrony.as_ref().map(|path| {
            Feed::new(path.clone()).map_err(|source| AskingError::Chrony {
                path: path.clone(),
                source,
            })
        });
        feed.transpose()
    }
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

/// How far off is too far: seconds in, nanoseconds out.
fn limit(text: &str) -> Result<Nanos, String> {
    match text.parse::<f64>() {
        Ok(limit) if (0.0..=1e9).contains(&limit) => Ok((limit * 1e9).round() as Nanos),
        _ => Err("not a number of seconds from 0 to 1000000000".to_owned()),
    }
}

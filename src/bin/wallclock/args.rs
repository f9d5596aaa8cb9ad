//! The command line of `wallclock`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueHint};
use wallclock::cli::generate::GenerateMode;
use wallclock::client::chrony::ChronyFeed;
use wallclock::client::query::RetryPolicy;
use wallclock::endpoint::Endpoint;
use wallclock::offset::Nanos;
use wallclock::report::Limits;

use crate::Error;

/// Ask the clock on the wall of the machine room
///
/// Sends a strftime format to a wallclockd, or to anything that answers strftime formats over UDP, and prints the
/// time it answers.
#[derive(Debug, Parser)]
#[command(name = "wallclock", version, after_long_help = AFTER_HELP)]
pub struct Args {
    /// GenerateMode to ask for, as strftime(3) and date(1) have it; a leading + is allowed [default: %Y-%m-%d %X]
    // No value_hint: where zsh has but a message for a positional, it completes no option any more.
    #[arg(value_name = "FORMAT")]
    pub format: Option<OsString>,

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
    pub server: Vec<Endpoint>,

    /// How long to wait for one answer
    #[arg(short, long, value_name = "SECONDS", value_hint = ValueHint::Other, default_value = "1", value_parser = seconds)]
    pub timeout: Duration,

    /// How often to ask a silent server again
    #[arg(short, long, value_name = "N", value_hint = ValueHint::Other, default_value_t = 2, value_parser = clap::value_parser!(u32).range(..=1000))]
    retries: u32,

    /// Ask over IPv4 only
    #[arg(short = '4', conflicts_with = "only_v6")]
    pub only_v4: bool,

    /// Ask over IPv6 only
    #[arg(short = '6')]
    pub only_v6: bool,

    #[command(flatten)]
    pub offset_args: OffsetArgs,

    /// Print the manual page or shell completions
    #[arg(long, value_name = "WHAT", hide = true)]
    pub generate: Option<GenerateMode>,
}

/// Instead of asking for a text: how far is this clock from the servers'?
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "How far off is this clock")]
pub struct OffsetArgs {
    /// Tell how far this machine's clock is from the servers': theirs less ours, ± a bound that is certain
    ///
    /// All servers are measured at once. With several there is a line for what the majority agrees on; each address
    /// of a name counts as a server. Each of the options below asks for it too.
    #[arg(long)]
    pub offset: bool,

    /// Take N answers from each server, at most N from one that tells only whole seconds
    ///
    /// Without it 8 (of a server on this machine some more where none of them was quick), or of whole seconds as many as
    /// narrow the bound: 15 to 60, in 2 to 4 s.
    #[arg(long, value_name = "N", value_hint = ValueHint::Other, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub samples: Option<u32>,

    /// How late a server that tells only whole seconds may begin them
    ///
    /// time(2) of glibc, and with it Python's strftime, lags behind the server's clock by up to a tick of its kernel, 1
    /// to 10 ms. The bound must be as much wider; how far off the seconds are as told is shown too, to about a
    /// millisecond. With 0, for a server known to command at its clock, the bound narrows to the round trip. [default:
    /// 0.01]
    #[arg(long, value_name = "SECONDS", value_hint = ValueHint::Other, value_parser = limit, allow_negative_numbers = true)]
    pub tick: Option<Nanos>,

    /// Tell it as one JSON object in one line
    #[arg(long)]
    pub json: bool,

    /// Be a monitoring plugin: WARNING if this clock is certainly further off than this
    #[arg(long, value_name = "SECONDS", value_hint = ValueHint::Other, value_parser = limit, allow_negative_numbers = true,
          conflicts_with = "json")]
    pub warn: Option<Nanos>,

    /// Be a monitoring plugin: CRITICAL if this clock is certainly further off than this
    #[arg(long, value_name = "SECONDS", value_hint = ValueHint::Other, value_parser = limit, allow_negative_numbers = true,
          conflicts_with = "json")]
    pub critical: Option<Nanos>,

    /// Tell it every so many seconds (1), with a summary at Ctrl-C; a running picture on a terminal
    #[arg(long, value_name = "SECONDS", value_hint = ValueHint::Other, num_args = 0..=1, default_missing_value = "1",
          value_parser = seconds, conflicts_with_all = ["warn", "critical"])]
    pub watch: Option<Duration>,

    /// ChronyFeed each offset to the chronyd that has this socket as a reference clock (refclock SOCK)
    #[arg(long, value_name = "SOCKET", requires = "watch")]
    pub chrony: Option<PathBuf>,
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

impl Args {
    pub fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy {
            timeout: self.timeout,
            attempts: self.retries + 1,
        }
    }
}

impl OffsetArgs {
    /// Whether any of its options is there (`--chrony` is not without `--watch`).
    pub fn wanted(&self) -> bool {
        let OffsetArgs {
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

    pub fn limits(&self) -> Result<Option<Limits>, Error> {
        match (self.warn, self.critical) {
            (None, None) => Ok(None),
            (Some(warn), Some(critical)) if warn > critical => Err(Error::WarnAboveCritical),
            (warn, critical) => Ok(Some(Limits { warn, critical })),
        }
    }

    pub fn feed(&self) -> Result<Option<ChronyFeed>, Error> {
        let feed = self.chrony.as_ref().map(|path| {
            ChronyFeed::new(path.clone()).map_err(|source| Error::Chrony {
                path: path.clone(),
                source,
            })
        });
        feed.transpose()
    }
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

//! The command line of `wallclock`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, CommandFactory, Parser, ValueHint, value_parser};
use wallclock::cli::generate::GenerateMode;
use wallclock::client::chrony::ChronyFeed;
use wallclock::client::query::{MAX_FORMAT_LEN, RetryPolicy};
use wallclock::endpoint::{Endpoint, EndpointError};
use wallclock::offset::{MeasurementConfig, Nanos, Ppm, SECOND, TICK};
use wallclock::protocol::{DEFAULT_FORMAT, is_blank};
use wallclock::report::units::parse_seconds;
use wallclock::report::{Limits, Range};
use wallclock::strftime::Format;
use wallclock::until::Moment;

use crate::error::Error;
use crate::feed::Feed;

/// The default of `--deadline`.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// The minimum of `--watch`.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// Query the time from a wallclockd server
///
/// Sends a strftime format over UDP to wallclockd, or to another server that responds to strftime
/// formats, and prints the time from its response.
#[derive(Debug, Parser)]
#[command(name = "wallclock", version, after_long_help = AFTER_HELP, args_override_self = true)]
pub struct Args {
    /// Format, as in strftime(3) and date(1); a leading + is allowed [default: %Y-%m-%d %X]
    // No value_hint: with a hint that only shows a message, zsh completes no options any more.
    #[arg(value_name = "FORMAT")]
    pub format: Option<OsString>,

    /// Server to query, as HOST, HOST:PORT or [V6]:PORT; may be repeated, tried in order [default:
    /// 127.0.0.1:9527]
    ///
    /// The default port is 9527. Commas separate several servers, in the environment too. A
    /// link-local address has its interface: fe80::1%eth0. The option takes the place of the
    /// variable.
    #[arg(
        short,
        long,
        value_name = "HOST[:PORT]",
        value_hint = ValueHint::Hostname,
        env = "WALLCLOCK_SERVER",
        value_parser = endpoints
    )]
    server: Vec<EndpointList>,

    /// Time-out for one try; every try but the last waits a random part of it, at least half
    #[arg(
        short,
        long,
        value_name = "SECONDS",
        value_hint = ValueHint::Other,
        value_parser = seconds,
        allow_negative_numbers = true,
        default_value = "1"
    )]
    timeout: Duration,

    /// Further tries for a server that does not respond; with --offset for each sample
    #[arg(
        short,
        long,
        value_name = "N",
        value_hint = ValueHint::Other,
        value_parser = value_parser!(u32).range(..=1000),
        allow_negative_numbers = true,
        default_value_t = 2
    )]
    retries: u32,

    /// Use IPv4 only
    #[arg(short = '4', conflicts_with = "only_v6")]
    pub only_v4: bool,

    /// Use IPv6 only
    #[arg(short = '6')]
    pub only_v6: bool,

    /// Print the time in UTC instead of the server's time zone
    ///
    /// The server is asked for the seconds since 1970, if it can with nanoseconds, and FORMAT is
    /// applied here. It may have directives that the server does not know.
    #[arg(short, long)]
    pub utc: bool,

    #[command(flatten)]
    pub offset_args: OffsetArgs,

    #[command(flatten)]
    pub wait_args: WaitArgs,

    /// With --until or --wait-sync, after a --: run COMMAND when the wait is over
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,

    /// Print the manual page or shell completions
    #[arg(long, value_name = "WHAT", hide = true)]
    pub generate: Option<GenerateMode>,
}

/// The options that measure the offset of this machine's clock.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Clock offset")]
pub struct OffsetArgs {
    /// Print how far each server's clock is ahead of this one, with a bound that is certain
    ///
    /// It is certain while the server's clock keeps to --max-slew and --tick. All servers are
    /// measured at the same time. With several servers a last line shows what the majority agrees
    /// on: each server has one vote, however many addresses its name has. The options below
    /// imply this one, except those that need --watch or --until.
    #[arg(long)]
    pub offset: bool,

    /// Take N samples from each server, at most N from one that supports only whole seconds
    ///
    /// The default is 8. Whole seconds take about 20 to 80 samples in 2 to 6 s: as many as narrow
    /// the bound. With fewer than 3 samples and a round trip below 0.1 ms, the server's clock may
    /// be coarse, so the bound is wider by --tick.
    #[arg(
        long,
        value_name = "N",
        value_hint = ValueHint::Other,
        value_parser = value_parser!(u32).range(1..=100_000),
        allow_negative_numbers = true
    )]
    samples: Option<u32>,

    /// Maximum lag of a server with whole seconds or a coarse clock, 1 at most [default: 0.01]
    ///
    /// time(2) of glibc, and with it Python's strftime, lags behind the server's clock by up to one
    /// tick of its kernel, 1 to 10 ms. So does CLOCK_REALTIME_COARSE, which is recognised. The
    /// bound is wider by as much. The offset of whole seconds as reported is shown too, to about a
    /// millisecond. With 0, for a server that is known to read its clock, the bound narrows to the
    /// round trip.
    #[arg(
        long,
        value_name = "SECONDS",
        value_hint = ValueHint::Other,
        value_parser = tick,
        allow_negative_numbers = true
    )]
    tick: Option<Nanos>,

    /// Maximum time for all of it, name resolution included [default: 10]
    ///
    /// What is known by then is the result. A monitoring plugin that is given this option measures
    /// again until its status is not UNKNOWN, or until then. With --watch it is the maximum time of
    /// one measurement, by default the time until the next one.
    #[arg(
        long,
        value_name = "SECONDS",
        value_hint = ValueHint::Other,
        value_parser = seconds,
        allow_negative_numbers = true
    )]
    deadline: Option<Duration>,

    /// Assume that a server's clock runs at most PPM faster or slower than this machine's raw clock
    ///
    /// Default: 100000 (10 %) for a server with nanoseconds, as much as Linux slews a clock; 500
    /// for one with whole seconds. The errors of both oscillators are included, how this machine's
    /// clock is slewed is not: samples are timed with the raw clock, CLOCK_MONOTONIC_RAW.
    #[arg(
        long,
        value_name = "PPM",
        value_hint = ValueHint::Other,
        value_parser = value_parser!(Ppm).range(1..1_000_000),
        allow_negative_numbers = true
    )]
    max_slew: Option<Ppm>,

    /// Print one JSON object in one line
    #[arg(long)]
    pub json: bool,

    /// Monitoring plugin: WARNING if the offset is certainly not in RANGE: N seconds, or LOW:HIGH
    ///
    /// N means -N:N. LOW: has no upper end, ~:HIGH no lower one. After an @, the offset has to be
    /// outside of the range. Quote a ~, which a shell may replace.
    #[arg(
        short,
        long,
        alias = "warn",
        value_name = "RANGE",
        value_hint = ValueHint::Other,
        // As are -0.1:0.2 and, so that it is no range instead of an option, -c.
        allow_hyphen_values = true,
        conflicts_with = "json"
    )]
    warning: Option<Range>,

    /// Monitoring plugin: CRITICAL if the offset is certainly not in RANGE
    #[arg(
        short,
        long,
        value_name = "RANGE",
        value_hint = ValueHint::Other,
        allow_hyphen_values = true,
        conflicts_with = "json"
    )]
    critical: Option<Range>,

    /// Measure every SECONDS [default: 1], with a plot on a terminal and a summary at Ctrl-C
    ///
    /// At least 0.01.
    #[arg(
        long,
        value_name = "SECONDS",
        value_hint = ValueHint::Other,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1",
        value_parser = interval,
        conflicts_with_all = ["warning", "critical"]
    )]
    pub watch: Option<Duration>,

    /// End --watch after N measurements
    #[arg(
        long,
        value_name = "N",
        value_hint = ValueHint::Other,
        value_parser = value_parser!(u32).range(1..),
        allow_negative_numbers = true,
        requires = "watch"
    )]
    pub count: Option<u32>,

    /// Send each offset to the chronyd that has SOCKET as a reference clock (refclock SOCK)
    ///
    /// Only offsets that the majority agrees on, within --max-bound. A warning follows a minute
    /// without one. Needs --watch, and -s or WALLCLOCK_SERVER: the default server is this machine.
    #[arg(
        long,
        value_name = "SOCKET",
        group = "bounded",
        requires_all = ["watch", "server"]
    )]
    chrony: Option<PathBuf>,

    /// Maximum bound of an offset that chronyd gets [default: 0.0005]
    ///
    /// Where all servers have whole seconds or a coarse clock, the default is 0.005 plus --tick.
    /// The `delay` of the reference clock in chrony.conf has to be at least twice as long.
    #[arg(
        long,
        value_name = "SECONDS",
        value_hint = ValueHint::Other,
        value_parser = positive_seconds,
        allow_negative_numbers = true,
        requires = "bounded"
    )]
    pub max_bound: Option<Nanos>,
}

/// The options that wait.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Waiting")]
pub struct WaitArgs {
    /// Sleep until the server's clock certainly reads TIME, then end, or run COMMAND in its place
    ///
    /// TIME is HH:MM[:SS[.f]], the next one on the server's wall clock (with -u in UTC);
    /// YYYY-MM-DD HH:MM[:SS[.f]]; RFC 3339 with an offset; or @SECONDS[.f] since 1970. It is never
    /// early while the server's clock runs within the limit of --max-slew (default here: 500), and
    /// late by twice the bound at most. If a server goes away meanwhile, what is known is used. A
    /// bound above --max-bound at TIME (default here: 1) is no answer. The time of each reading is
    /// limited by --deadline. With --json an object on standard error reports the end.
    #[arg(
        long,
        value_name = "TIME",
        value_hint = ValueHint::Other,
        value_parser = Moment::parse,
        group = "bounded",
        conflicts_with_all = ["wait_sync", "offset", "samples", "warning", "critical", "watch"]
    )]
    pub until: Option<Moment>,

    /// Wait until this machine's clock is certainly within SECONDS of the server's
    ///
    /// Then end, or run COMMAND in its place. The offset is measured again after 0.5 to 16 s,
    /// without end or until --deadline.
    #[arg(
        long,
        value_name = "SECONDS",
        value_hint = ValueHint::Other,
        value_parser = positive_seconds,
        allow_negative_numbers = true,
        conflicts_with_all = ["offset", "json", "warning", "critical", "watch"]
    )]
    pub wait_sync: Option<Nanos>,
}

impl WaitArgs {
    /// Whether any of these options is set.
    pub fn is_wanted(&self) -> bool {
        self.until.is_some() || self.wait_sync.is_some()
    }
}

const AFTER_HELP: &str = "\
A name may have several addresses. All addresses are tried in order until one responds; those that \
do not respond are tried N times more. Names are resolved at the same time, and each server is \
tried as soon as its addresses are known. So it ends after at most (1 + addresses) x (1 + N) x \
SECONDS; without names, after at most addresses x (1 + N) x SECONDS. A closed port fails at once.

Exit status:
  0  time received
  1  the server refused the request, its response to --utc is no time, or the output could not be
     written
  2  wrong usage, or a bad format
  3  no response
With --offset and --json:
  0  more than half of the servers that responded agree on an offset
  1  responses, but no majority, or servers that contradict themselves or each other
  3  no offset from any server: no response, or all refused
With --watch, at its end:
  0  at least one measurement had an offset
  3  none had
With --warning and --critical, as monitoring plugins do:
  0  OK        the offset is certainly in both ranges
  1  WARNING   it is certainly not in that of --warning
  2  CRITICAL  it is certainly not in that of --critical
  3  UNKNOWN   no response, no majority, a contradiction, an interval partly in a range and partly
               not, wrong usage, or no way to print
With --until and --wait-sync:
  0  the wait is over
  1  TIME is past at the start
  2  wrong usage
  3  no answer: the server's clock is not known, or --deadline
With COMMAND, the status is that of COMMAND, or:
  125  this program failed: 1, 2 or 3 above
  126  COMMAND is not executable
  127  COMMAND is not found

Examples:
  wallclock
  wallclock +%s
  wallclock -u +%FT%TZ
  wallclock -s clock.example -s 192.168.1.10:9527 '%Y/%m/%d %H:%M:%S'
  wallclock -s clock.example --offset
  wallclock -s clock.example -w 0.1 -c 1
  wallclock -s clock.example --until 00:00 -- ./read-the-database

wallclock(1) describes the format language, wallclockd(8) the protocol. If they are not installed:
  wallclock --generate man | man -l -";

impl Args {
    /// Returns the format without its `+`, or the default format if it is blank.
    ///
    /// # Errors
    ///
    /// The format is one that the server would refuse or ignore, or too long.
    pub fn format(&self) -> Result<Format<'_>, Error> {
        // After `--` a format may begin with a minus sign.
        let given = match (&self.format, &self.command[..]) {
            (Some(format), []) | (None, [format]) => format.as_bytes(),
            (None, []) => b"",
            _ => return Err(Error::CommandWithoutWait),
        };
        let bytes = match given.strip_prefix(b"+").unwrap_or(given) {
            blank if is_blank(blank) => DEFAULT_FORMAT.as_bytes(),
            bytes => bytes,
        };
        let format = Format::parse(bytes)?;
        if format.directives() == 0 {
            return Err(match std::str::from_utf8(given) {
                Ok(host) if looks_like_host(host) => Error::HostAsFormat(host.to_owned()),
                _ => Error::NoDirective,
            });
        }
        if bytes.len() > MAX_FORMAT_LEN {
            return Err(Error::FormatTooLong);
        }
        Ok(format)
    }

    /// Returns the servers to query, each once.
    pub fn servers(&self) -> Vec<Endpoint> {
        if self.server.is_empty() {
            return vec![Endpoint::default()];
        }
        let mut servers = Vec::new();
        for server in self.server.iter().flat_map(|list| &list.0) {
            if !servers.contains(server) {
                servers.push(server.clone());
            }
        }
        servers
    }

    /// Returns what to add to an error if no server is named, by an option or in the environment.
    pub fn server_hint(&self) -> &'static str {
        match self.server.is_empty() {
            true => "; name a server with -s or WALLCLOCK_SERVER",
            false => "",
        }
    }

    pub fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy {
            timeout: self.timeout,
            attempts: self.retries + 1,
        }
    }

    pub fn measurement_config(&self) -> MeasurementConfig {
        let OffsetArgs {
            samples,
            tick,
            max_slew,
            ..
        } = self.offset_args;
        MeasurementConfig {
            samples,
            tick: tick.unwrap_or(TICK),
            max_slew,
            // A day at most.
            timeout: self.timeout.as_nanos() as Nanos,
            attempts: self.retries + 1,
            ..MeasurementConfig::default()
        }
    }
}

impl OffsetArgs {
    /// Whether any of these options is set. The others require `--watch`.
    pub fn wanted(&self) -> bool {
        let OffsetArgs {
            offset,
            samples,
            tick,
            deadline,
            max_slew,
            json,
            warning,
            critical,
            watch,
            count: _,
            chrony: _,
            max_bound: _,
        } = self;
        *offset
            || samples.is_some()
            || tick.is_some()
            || deadline.is_some()
            || max_slew.is_some()
            || *json
            || warning.is_some()
            || critical.is_some()
            || watch.is_some()
    }

    /// Returns the limits of the monitoring plugin, `None` if it is not asked for.
    ///
    /// # Errors
    ///
    /// With these limits no offset is a warning.
    pub fn limits(&self) -> Result<Option<Limits>, Error> {
        let limits = Limits {
            warning: self.warning,
            critical: self.critical,
        };
        match limits {
            limits if limits.hide_warnings() => Err(Error::NoWarning),
            limits if self.warning.or(self.critical).is_some() => Ok(Some(limits)),
            _ => Ok(None),
        }
    }

    /// Returns the maximum time of one measurement, and whether the plugin repeats it until then.
    pub fn deadline(&self) -> (Duration, bool) {
        let default = self.watch.unwrap_or(DEADLINE);
        (self.deadline.unwrap_or(default), self.deadline.is_some())
    }

    /// Connects to the chronyd of `--chrony`.
    ///
    /// # Errors
    ///
    /// Those of [`ChronyFeed::new`].
    pub fn feed(&self) -> Result<Option<Feed>, Error> {
        let Some(path) = &self.chrony else {
            return Ok(None);
        };
        match ChronyFeed::new(path.clone()) {
            Ok(chronyd) => Ok(Some(Feed::new(chronyd, self.max_bound))),
            Err(source) => Err(Error::Chrony {
                path: path.clone(),
                source,
            }),
        }
    }
}

/// The servers of one `--server`, or of the environment.
#[derive(Clone, Debug)]
struct EndpointList(Vec<Endpoint>);

/// Parses a list of servers with commas between them. White space around a server and a comma at
/// the end are accepted: scripts put such lists together.
fn endpoints(text: &str) -> Result<EndpointList, EndpointError> {
    let text = text.trim();
    let list = text.strip_suffix(',').unwrap_or(text).split(',');
    list.map(str::parse)
        .collect::<Result<_, _>>()
        .map(EndpointList)
}

/// Returns whether the program is called as a monitoring plugin: with one of its options before
/// `--`, whatever the other arguments are.
pub fn is_plugin(arguments: impl Iterator<Item = OsString>) -> bool {
    let mut command = Args::command();
    command.build();
    let flags = command.get_arguments();
    let flags = flags.filter(|option| !option.get_action().takes_values());
    let flags: Vec<_> = flags.filter_map(Arg::get_short).collect();
    let mut arguments = arguments.take_while(|argument| argument != "--");
    arguments.any(|argument| {
        let argument = argument.to_string_lossy();
        match (argument.strip_prefix("--"), argument.strip_prefix('-')) {
            (Some(long), _) => {
                let name = long.split('=').next().unwrap_or_default();
                ["warning", "warn", "critical"].contains(&name)
            }
            // Several letters may follow, up to one that takes the rest as its value.
            (None, Some(letters)) => {
                let mut options = letters.chars().skip_while(|c| flags.contains(c));
                matches!(options.next(), Some('w' | 'c'))
            }
            (None, None) => false,
        }
    })
}

/// Whether a format without a directive is rather a server, which takes an option.
fn looks_like_host(text: &str) -> bool {
    let is_host = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    !text.starts_with('-') && text.chars().all(is_host) && text.parse::<Endpoint>().is_ok()
}

/// Parses a time-out or an interval: more than 0, at most a day.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() && seconds <= 86_400.0 => Ok(duration),
        _ => Err("not a number of seconds above 0, 86400 at most".to_owned()),
    }
}

/// Parses the interval of `--watch`.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = seconds(text).ok();
    interval
        .filter(|interval| *interval >= MIN_INTERVAL)
        .ok_or_else(|| "not a number of seconds from 0.01 to 86400".to_owned())
}

/// Parses a tick: seconds, 0 and 1 included, to nanoseconds.
fn tick(text: &str) -> Result<Nanos, String> {
    let tick = nonnegative_seconds(text).ok();
    tick.filter(|tick| *tick <= SECOND)
        .ok_or_else(|| "not a number of seconds from 0 to 1".to_owned())
}

/// Parses a limit above 0 in seconds to nanoseconds.
fn positive_seconds(text: &str) -> Result<Nanos, String> {
    let limit = nonnegative_seconds(text).ok();
    limit
        .filter(|limit| *limit > 0)
        .ok_or_else(|| "not a number of seconds above 0, 1000000000 at most".to_owned())
}

/// Parses a limit: seconds, 0 included, to nanoseconds.
fn nonnegative_seconds(text: &str) -> Result<Nanos, String> {
    let limit = parse_seconds(text).filter(|limit| *limit >= 0);
    limit.ok_or_else(|| "not a number of seconds from 0 to 1000000000".to_owned())
}

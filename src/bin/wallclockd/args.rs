//! The command line of `wallclockd`.

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Parser, ValueHint};
use wallclock::cli::generate::GenerateMode;
use wallclock::endpoint::Endpoint;

/// The clock on the wall of the machine room: answers a strftime format with the time
///
/// One UDP datagram holding a strftime format in, one datagram back: the time in that format.
#[derive(Debug, Parser)]
#[command(name = "wallclockd", version, after_long_help = AFTER_HELP)]
pub struct Args {
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
    pub listen: Vec<Endpoint>,

    /// Share the port with other instances: several of these daemons, say one a core, on one address
    #[arg(long, env = "WALLCLOCKD_REUSE_PORT", value_parser = BoolishValueParser::new())]
    pub reuse_port: bool,

    /// Answer in UTC, whatever the host's zone is
    #[arg(long, env = "WALLCLOCKD_UTC", value_parser = BoolishValueParser::new())]
    pub utc: bool,

    /// Give nobody the time while the kernel calls its clock unsynchronised, or does not say
    ///
    /// Questions get `error: clock not synchronised` instead.
    #[arg(long, env = "WALLCLOCKD_REQUIRE_SYNC", value_parser = BoolishValueParser::new())]
    pub require_sync: bool,

    /// Receive buffer to ask of the kernel for each socket [default: 8388608, some 20,000 questions at once]
    ///
    /// The kernel grants twice what is asked, up to net.core.rmem_max, beyond it only to CAP_NET_ADMIN.
    #[arg(long, value_name = "BYTES", value_hint = ValueHint::Other, env = "WALLCLOCKD_RECEIVE_BUFFER", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub receive_buffer: Option<u32>,

    /// Log more: each datagram. Twice: all there is. In the environment a number
    #[arg(short, long, action = ArgAction::Count, env = "WALLCLOCKD_VERBOSE")]
    pub verbose: u8,

    /// Log less: warnings and errors. Twice: errors only. In the environment a number
    #[arg(short, long, action = ArgAction::Count, env = "WALLCLOCKD_QUIET")]
    pub quiet: u8,

    /// Print the manual page or shell completions
    #[arg(long, value_name = "WHAT", hide = true)]
    pub generate: Option<GenerateMode>,
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

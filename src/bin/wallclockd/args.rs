//! The command line of `wallclockd`.

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Parser, ValueHint};
use wallclock::cli::generate::GenerateMode;
use wallclock::daemon::allow::AllowedNetworks;
use wallclock::endpoint::Endpoint;

/// A clock for a machine room: answers strftime formats over UDP with the time
///
/// A request is one UDP datagram with a strftime format. The response is one datagram with the time
/// in that format.
#[derive(Debug, Parser)]
#[command(name = "wallclockd", version, after_long_help = AFTER_HELP)]
pub struct Args {
    /// Address to listen on; may be given several times [default: 127.0.0.1:9527, or the sockets
    /// that systemd hands over]
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

    /// Answer only requests from this network; may be given several times [default: all networks]
    ///
    /// A network (10.0.0.0/8), an address, or one of these names: localhost, link-local, private
    /// (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7). All networks are 0.0.0.0/0 and ::/0.
    /// In the environment, commas separate several, and an empty value is an error.
    #[arg(
        long,
        value_name = "NETWORK",
        value_hint = ValueHint::Other,
        env = "WALLCLOCKD_ALLOW",
        value_delimiter = ','
    )]
    pub allow: Vec<AllowedNetworks>,

    /// Share the port with other instances on the same address, for example one for each core
    #[arg(
        long,
        env = "WALLCLOCKD_REUSE_PORT",
        value_parser = BoolishValueParser::new()
    )]
    pub reuse_port: bool,

    /// Answer in UTC instead of the time zone of the host
    #[arg(
        long,
        env = "WALLCLOCKD_UTC",
        value_parser = BoolishValueParser::new()
    )]
    pub utc: bool,

    /// Refuse requests while the clock is not known to be synchronised
    ///
    /// They get `error: clock not synchronised`. The kernel reports the status of its clock
    /// (adjtimex(2)).
    #[arg(
        long,
        env = "WALLCLOCKD_REQUIRE_SYNC",
        value_parser = BoolishValueParser::new()
    )]
    pub require_sync: bool,

    /// Receive buffer to request for each socket [default: 8388608, about 20,000 requests at once]
    ///
    /// The kernel doubles this size. More than net.core.rmem_max takes CAP_NET_ADMIN.
    #[arg(
        long,
        value_name = "BYTES",
        value_hint = ValueHint::Other,
        env = "WALLCLOCKD_RECEIVE_BUFFER",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX))
    )]
    pub receive_buffer: Option<u32>,

    /// Log more: each datagram. Twice: everything. In the environment a number
    #[arg(short, long, action = ArgAction::Count, env = "WALLCLOCKD_VERBOSE")]
    pub verbose: u8,

    /// Log less: warnings and errors. Twice: errors only. In the environment a number
    #[arg(short, long, action = ArgAction::Count, env = "WALLCLOCKD_QUIET")]
    pub quiet: u8,

    /// Print the manual page or shell completions
    #[arg(long, value_name = "WHAT", hide = true)]
    pub generate: Option<GenerateMode>,
}

/// Not a doc comment, because rustdoc takes brackets for links.
const LISTEN_HELP: &str = "\
Address to listen on; may be given several times [default: 127.0.0.1:9527, or the sockets that \
systemd hands over]

[::] serves IPv4 and IPv6. Port 0 is any free port, and the default port is 9527. In the \
environment, commas separate several addresses.";

const AFTER_HELP: &str = "\
Signals:
  SIGTERM, SIGINT  answer the queued requests, log the counters, exit 0
  SIGUSR1          log the counters

Environment:
  RUST_LOG         what to log, in the syntax of env_logger; overrides -v and -q
  TZ, TZDIR        the time zone, as in tzset(3); without TZ it is /etc/localtime

Exit status:
  0  stopped by a signal
  1  not started: an address, a time zone or an inherited socket is at fault
  2  wrong usage

Examples of requests:
  wallclock '%Y-%m-%d %H:%M:%S'
  echo '%T' | nc -u -w1 127.0.0.1 9527

wallclockd(8) describes the protocol and the format language. If it is not installed:
  wallclockd --generate man | man -l -";

//! The command line of `wallclockd`.

use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Parser, ValueHint};
use wallclock::cli::generate::GenerateMode;
use wallclock::clock::sync::DEFAULT_MAX_ERROR;
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

    /// Share the port with other instances of the same user, for example one for each core
    ///
    /// Each instance needs this option. The kernel distributes the clients among them.
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
    /// They get `error: clock not synchronised`. See --max-error.
    #[arg(
        long,
        env = "WALLCLOCKD_REQUIRE_SYNC",
        value_parser = BoolishValueParser::new()
    )]
    pub require_sync: bool,

    /// Limit of the clock's error, more than 0 and at most 16 [default: 16]
    ///
    /// While the maximum error that the kernel reports (adjtimex(2)) is not below this limit, the
    /// clock counts as not synchronised: the daemon warns, and with --require-sync it refuses
    /// requests.
    #[arg(
        long,
        value_name = "SECONDS",
        value_hint = ValueHint::Other,
        env = "WALLCLOCKD_MAX_ERROR",
        value_parser = parse_max_error
    )]
    pub max_error: Option<Duration>,

    /// Receive buffer to request for each socket [default: 8M, about 20,000 requests at once]
    ///
    /// A number of bytes, or of KiB, MiB or GiB with K, M or G after it. The kernel doubles this
    /// size. More than net.core.rmem_max takes CAP_NET_ADMIN. A limit below the size that a socket
    /// has anyway does not reduce it.
    #[arg(
        long,
        value_name = "BYTES",
        value_hint = ValueHint::Other,
        env = "WALLCLOCKD_RECEIVE_BUFFER",
        value_parser = parse_size
    )]
    pub receive_buffer: Option<usize>,

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
environment, commas separate several addresses. A port that another process has is an error, and \
so is a broadcast or multicast address.";

const AFTER_HELP: &str = "\
Signals:
  SIGTERM, SIGINT  answer the queued requests, log the counters, exit 0
  SIGUSR1          log the counters

Environment:
  RUST_LOG         what to log, in the syntax of env_logger; overrides -v and -q
  TZ, TZDIR        the time zone, as in tzset(3); without TZ it is /etc/localtime

Exit status:
  0  stopped by a signal
  1  not started, but another try may succeed: an address that is not there yet, no memory
  2  not started: an option, a variable, the time zone or a port in use is at fault; as a service,
     5 s after the error was logged

Examples of requests:
  wallclock '%Y-%m-%d %H:%M:%S'
  echo '%T' | nc -u -w1 127.0.0.1 9527

wallclockd(8) describes the protocol and the format language. If it is not installed:
  wallclockd --generate man | man -l -";

/// Why a value is no size.
#[derive(Debug, thiserror::Error)]
enum SizeError {
    #[error("not a size, such as 8388608, 8M or 8MiB")]
    Syntax,
    #[error("not from 1 byte to 2147483647")]
    Range,
}

/// Parses a size in bytes: a number, and K, M or G for powers of 1024 as in systemd's units.
fn parse_size(text: &str) -> Result<usize, SizeError> {
    let number = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: u64 = match &text[number.len()..] {
        "" => 1,
        "k" | "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return Err(SizeError::Syntax),
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(SizeError::Syntax);
    }
    // The limit of SO_RCVBUF, an int.
    let size = number.parse().ok().and_then(|n: u64| n.checked_mul(unit));
    size.and_then(|size| i32::try_from(size).ok())
        .and_then(|size| usize::try_from(size).ok())
        .filter(|&size| size > 0)
        .ok_or(SizeError::Range)
}

/// The value of `--max-error` is out of range or not a number.
#[derive(Debug, thiserror::Error)]
#[error("not a number of seconds that is more than 0 and at most 16")]
struct MaxErrorError;

/// Parses a number of seconds with an optional fraction.
fn parse_max_error(text: &str) -> Result<Duration, MaxErrorError> {
    let seconds: f64 = text.parse().map_err(|_| MaxErrorError)?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|limit| !limit.is_zero() && *limit <= DEFAULT_MAX_ERROR)
        .ok_or(MaxErrorError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_has_an_optional_binary_unit() {
        for (text, expected) in [
            ("1", Some(1)),
            ("8388608", Some(8 << 20)),
            ("8M", Some(8 << 20)),
            ("8MiB", Some(8 << 20)),
            ("512K", Some(512 << 10)),
            ("512k", Some(512 << 10)),
            ("512KiB", Some(512 << 10)),
            ("1G", Some(1 << 30)),
            ("1GiB", Some(1 << 30)),
            ("2147483647", Some(2_147_483_647)),
            ("2147483648", None),
            ("2G", None),
            ("99999999999999999999", None),
            ("18446744073709551615G", None),
            ("0", None),
            ("0M", None),
            ("-1", None),
            ("+1", None),
            ("", None),
            ("M", None),
            ("8MB", None),
            ("8 M", None),
            ("8m", None),
            ("1.5M", None),
            ("8MM", None),
            ("é", None),
        ] {
            assert_eq!(parse_size(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn max_error_is_above_0_and_at_most_16_seconds() {
        for (text, expected) in [
            ("16", Some(16_000_000)),
            ("0.1", Some(100_000)),
            (".5", Some(500_000)),
            ("1e-3", Some(1_000)),
            ("16.000001", None),
            ("0", None),
            ("1e-30", None),
            ("-1", None),
            ("inf", None),
            ("NaN", None),
            ("", None),
            ("1s", None),
        ] {
            let expected = expected.map(Duration::from_micros);
            assert_eq!(parse_max_error(text).ok(), expected, "{text}");
        }
    }
}

//! The clock on the wall of the machine room: one UDP datagram with a strftime format in, the time back.
//!
//! A *question* is the payload of one datagram, an *answer* the payload sent back. [`answer`](mod@answer) holds the
//! contract between the two. A datagram's way through the daemon is one straight corridor:
//!
//! ```text
//! batch -> answer -> strftime <- clock
//!   ^        |
//!   +--------+
//! ```
//!
//! | room | what it does |
//! |---|---|
//! | [`strftime`] | the language: a format is parsed, and rendered for a moment; pure |
//! | [`clock`] | the moment: instant, offset and abbreviation from one look; zone changes |
//! | [`sync`] | whether anybody keeps the clock |
//! | [`answer`](mod@answer) | the contract, rules 1 to 6 and L; pure |
//! | [`listen`] | sockets: bound or inherited, buffers, the already-taken warning |
//! | [`batch`] | many datagrams in and out by one system call; the one room with `unsafe` |
//! | [`serve`] | the loop: wait, take, answer, send; signals and counters |
//! | [`manager`] | the service manager: ready, watchdog, status |
//! | [`ask`](mod@ask) | one question to one server: nonce, tries, deadline |
//! | [`endpoint`] | `HOST:PORT` as both programs read it |
//! | [`offset`] | how far off a server's clock is: intervals, Marzullo, the plan of what to ask when; pure |
//! | [`measure`](mod@measure) | the hands of `offset`: one line and thread a server |
//! | [`report`], [`watch`] | offsets in words: text, JSON, a plugin's line; picture and summary; pure |
//! | [`look`] | the offset on a terminal or in a pipe: progress, and one look after another |
//! | [`chrony`] | samples for a chronyd that sets our clock |
//! | [`command_line`] | options in, wrong usage out in one line |
//! | [`logging`], [`generate`](mod@generate) | env_logger for terminal and journal; manual pages and completions |
//!
//! ```
//! use wallclock::answer::{MAX_ANSWER, answer};
//! use wallclock::clock::Clock;
//!
//! let mut clock = Clock::utc();
//! let mut room = [0; MAX_ANSWER];
//! let verdict = answer(b"%Y-%m-%dT%H:%M:%SZ", "192.0.2.7:40000".parse().unwrap(), &clock.now(), &mut room);
//! assert_eq!(verdict.length(), "2026-07-05T01:05:07Z".len());
//! ```

pub mod answer;
pub mod ask;
pub mod batch;
pub mod chrony;
pub mod clock;
pub mod command_line;
pub mod endpoint;
pub mod generate;
pub mod listen;
pub mod logging;
pub mod look;
pub mod manager;
pub mod measure;
pub mod offset;
pub mod report;
pub mod serve;
pub mod strftime;
pub mod sync;
pub mod watch;

use std::error::Error;

/// An error and its causes in one line, outermost first: `bind 127.0.0.1:9527: Address already in use (os error 98)`.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

//! A clock for a machine room: one UDP datagram with a strftime format out, the time back.
//!
//! A *request* is the payload of one datagram, a *response* the payload sent back. The path of a
//! request through the daemon:
//!
//! ```text
//!   sys::mmsg ──> daemon::server ──> protocol ──> strftime
//!   (receive)        │     ▲        (rules 1-6)   (parse, render)
//!                    │     └── clock (time, zone, synchronisation)
//!   sys::mmsg <── daemon::send
//!   (send)       (full buffers)
//! ```
//!
//! | module | what it does | imports |
//! |---|---|---|
//! | [`protocol`] | the wire contract, rules 1 to 6 and L; pure | strftime, time |
//! | [`strftime`] | the format language: parse, render; pure | time |
//! | [`time`] | [`LocalTime`](time::LocalTime), a value; pure | |
//! | [`endpoint`] | `HOST:PORT` | |
//! | [`clock`] | reads the system clock: time zone, synchronisation | time, sys, error |
//! | [`offset`] | the offset of a server's clock: intervals, when to send which request; pure | |
//! | [`report`] | offsets as text, JSON, plugin line, plot; pure | offset |
//! | [`daemon`] | the loop, sockets, signals, counters | protocol, clock, sys |
//! | [`until`] | waiting for a time of a server's clock: when to read it; pure | offset |
//! | [`client`] | requests, waits | protocol, offset, strftime, endpoint, error, until, sys |
//! | [`sys`] | system calls; the only module with `unsafe` | |
//! | [`cli`] | what both command lines share: arguments, logging, manuals | clock, error, time |
//! | [`error`] | errors, and the text of others, in one line | |
//!
//! The programs `wallclockd` and `wallclock` are in `src/bin`; they alone print and exit.
//! [`daemon`] and [`sys`] exist on Linux only. On other systems the client works without [`sys`],
//! of which it uses `tlb`.
//!
//! ```
//! use std::net::IpAddr;
//! use wallclock::clock::Clock;
//! use wallclock::protocol::{ALLOW_ALL, Destination, MAX_RESPONSE_LEN, respond};
//!
//! let now = Clock::utc().now();
//! let mut buf = [0; MAX_RESPONSE_LEN];
//! let source = "192.0.2.7:40000".parse().unwrap();
//! let to = Some(Destination::from(IpAddr::from([192, 0, 2, 1])));
//! let response = respond(b"%Y-%m-%dT%H:%M:%SZ", source, to, ALLOW_ALL, &now, &mut buf);
//! assert_eq!(response.length(), "2026-07-05T01:05:07Z".len());
//! ```

// Only the programs print and exit.
#![warn(clippy::exit, clippy::print_stderr, clippy::print_stdout)]
// Errors are returned. The daemon aborts when it panics.
#![cfg_attr(
    not(test),
    warn(clippy::expect_used, clippy::panic, clippy::unwrap_used)
)]

pub mod cli;
pub mod client;
pub mod clock;
#[cfg(target_os = "linux")]
pub mod daemon;
pub mod endpoint;
pub mod error;
pub mod offset;
pub mod protocol;
pub mod report;
pub mod strftime;
#[cfg(target_os = "linux")]
pub mod sys;
pub mod time;
pub mod until;

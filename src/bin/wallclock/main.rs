//! `wallclock`, the client: arguments in, exit status out.
#![forbid(unsafe_code)]

mod args;
mod offset;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;
use wallclock::cli::args::{ArgsError, USAGE_STATUS, parse_args};
use wallclock::cli::generate::{ManualPage, generate};
use wallclock::client::query::{ClientError, MAX_FORMAT_LEN, query};
use wallclock::clock::{Clock, ZoneError};
use wallclock::endpoint::Endpoint;
use wallclock::error::error_chain;
use wallclock::offset::{MeasurementConfig, TICK};
use wallclock::protocol::{DEFAULT_FORMAT, is_blank};
use wallclock::report::Status;
use wallclock::strftime::{Format, FormatError};

use args::Args;
use offset::OffsetCommand;

/// Why there is no time to be printed; the exit status tells which.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("bad format")]
    Format(#[from] FormatError),
    #[error("bad format: there is no conversion in it, so it asks for nothing")]
    NoDirective,
    #[error("bad format: longer than {MAX_FORMAT_LEN} bytes")]
    FormatTooLong,
    #[error("resolve {endpoint}")]
    Resolve {
        endpoint: Endpoint,
        source: io::Error,
    },
    #[error("{endpoint}: no IPv{version} address")]
    NoAddress { endpoint: Endpoint, version: u8 },
    #[error(transparent)]
    Query(#[from] ClientError),
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

impl Error {
    fn status(&self) -> u8 {
        match self {
            Error::Query(ClientError::Refused { .. }) | Error::Write(_) => 1,
            Error::Format(_)
            | Error::NoDirective
            | Error::FormatTooLong
            | Error::FormatBesideOffset
            | Error::WarnAboveCritical
            | Error::Chrony { .. }
            | Error::Zone(_) => USAGE_STATUS,
            Error::Query(ClientError::NoResponse(_))
            | Error::Resolve { .. }
            | Error::NoAddress { .. } => 3,
        }
    }
}

fn main() -> ExitCode {
    let args: Args = match parse_args() {
        Ok(args) => args,
        Err(ArgsError::Help(help)) => {
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
        Err(ArgsError::Usage(line)) => {
            eprintln!("wallclock: {line}");
            return ExitCode::from(USAGE_STATUS);
        }
    };
    match run(&args) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!(
                "wallclock: {}",
                error_chain(&error as &dyn std::error::Error)
            );
            ExitCode::from(error.status())
        }
    }
}

fn run(args: &Args) -> Result<u8, Error> {
    if let Some(what) = args.generate {
        let generated = generate(what, Args::command(), ManualPage::Client, &mut io::stdout());
        return generated.map(|()| 0).map_err(Error::Write);
    }
    if args.offset_args.wanted() {
        return offset(args);
    }
    let format = format(args)?;
    let response = query(&addresses(args)?, &format, args.retry_policy())?;
    print(&response.text)?;
    Ok(0)
}

/// How far off this clock is: the exit status.
fn offset(args: &Args) -> Result<u8, Error> {
    let offset_args = &args.offset_args;
    if args.format.is_some() {
        return Err(Error::FormatBesideOffset);
    }
    let limits = offset_args.limits()?;
    let feed = offset_args.feed()?;
    let servers = match (addresses(args), limits) {
        (Ok(servers), _) => servers,
        (Err(error), None) => return Err(error),
        (Err(error), Some(_)) => {
            // A plugin speaks on standard output, whatever happens.
            print(Status::Unknown.plugin_line(&error_chain(&error)).as_bytes())?;
            return Ok(Status::Unknown as u8);
        }
    };
    let command = OffsetCommand {
        servers,
        config: MeasurementConfig {
            samples: offset_args.samples,
            tick: offset_args.tick.unwrap_or(TICK),
        },
        retry_policy: args.retry_policy(),
    };
    if let Some(every) = offset_args.watch {
        let Err(error) = command.watch(every, offset_args.json, Clock::local()?, feed);
        return Err(Error::Write(error));
    }
    let report = command.run();
    if let Some(limits) = limits {
        let (status, line) = report.check(limits);
        print(line.as_bytes())?;
        return Ok(status as u8);
    }
    if offset_args.json {
        print(report.json().as_bytes())?;
    } else {
        for (server, why) in report.failures() {
            eprintln!("wallclock: {server}: {why}");
        }
        if report.any_offset() {
            print(report.text().trim_end().as_bytes())?;
        }
    }
    Ok(match report.agreed() {
        Some(_) => 0,
        None if report.any_offset() => 1,
        None => 3,
    })
}

fn print(text: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map_err(Error::Write)
}

/// The format, checked by the server's own rules before anything is sent.
fn format(args: &Args) -> Result<Format<'_>, Error> {
    let given = args
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
    if format.directives() == 0 {
        return Err(Error::NoDirective);
    }
    if bytes.len() > MAX_FORMAT_LEN {
        return Err(Error::FormatTooLong);
    }
    Ok(format)
}

/// Every address of every server, each once. One name that can't be resolved is told of, and fails only where it was the last.
fn addresses(args: &Args) -> Result<Vec<SocketAddr>, Error> {
    let mut addresses = Vec::new();
    let mut trouble = None;
    for endpoint in &args.server {
        match resolve(endpoint, args) {
            Ok(found) => {
                for address in found {
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
            }
            Err(error) => {
                if let Some(earlier) = trouble.replace(error) {
                    eprintln!("wallclock: {}", error_chain(&earlier));
                }
            }
        }
    }
    match trouble {
        Some(error) if addresses.is_empty() => Err(error),
        Some(error) => {
            eprintln!("wallclock: {}", error_chain(&error));
            Ok(addresses)
        }
        None => Ok(addresses),
    }
}

fn resolve(endpoint: &Endpoint, args: &Args) -> Result<Vec<SocketAddr>, Error> {
    let mut addresses = endpoint.resolve().map_err(|source| Error::Resolve {
        endpoint: endpoint.clone(),
        source,
    })?;
    addresses.retain(|address| {
        if address.is_ipv4() {
            !args.only_v6
        } else {
            !args.only_v4
        }
    });
    if addresses.is_empty() {
        let version = if args.only_v4 { 4 } else { 6 };
        return Err(Error::NoAddress {
            endpoint: endpoint.clone(),
            version,
        });
    }
    Ok(addresses)
}

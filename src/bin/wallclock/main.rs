//! `wallclock`, the client: arguments in, exit status out.
#![forbid(unsafe_code)]
// These macros panic if standard error is full: see output.
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod args;
mod command;
mod error;
mod feed;
mod offset;
mod output;
mod servers;
mod signals;
mod terminal;
mod until;
mod utc;
mod wait_sync;

use std::env;
use std::process::ExitCode;

use clap::CommandFactory;
use wallclock::cli::args::{ArgsError, USAGE_STATUS, parse_args};
use wallclock::cli::generate::{GenerateMode, ManualPage, generate};
use wallclock::client::query::{ClientError, query};
use wallclock::error::error_chain;
use wallclock::report::Status;

use args::{Args, is_plugin};
use error::Error;
use output::{print, print_error, print_response, print_status};

fn main() -> ExitCode {
    let (status, has_command) = match parse_args::<Args>() {
        Ok(args) => {
            let has_command = args.wait_args.is_wanted() && !args.command.is_empty();
            (status_of(run(&args)), has_command)
        }
        Err(ArgsError::Help(help)) => (status_of(print(|_| help.print()).map(|()| 0)), false),
        Err(ArgsError::Usage(line)) => {
            (fail(USAGE_STATUS, &line), command::is_given(env::args_os()))
        }
    };
    ExitCode::from(match status {
        1..=3 if has_command => command::FAILURE_STATUS,
        status => status,
    })
}

/// Returns the exit status. Reports the error.
fn status_of(result: Result<u8, Error>) -> u8 {
    result.unwrap_or_else(|error| fail(error.status(), &error_chain(&error)))
}

/// Reports an error: of a monitoring plugin as UNKNOWN on standard output, otherwise on standard
/// error. Returns the exit status.
fn fail(status: u8, line: &str) -> u8 {
    if is_plugin(env::args_os().skip(1)) {
        print_status(Status::Unknown, &Status::Unknown.plugin_line(line))
    } else {
        print_error(line);
        status
    }
}

/// Does what the arguments ask for. Returns the exit status.
fn run(args: &Args) -> Result<u8, Error> {
    if let Some(mode) = args.generate {
        return print_generated(mode);
    }
    if args.wait_args.is_wanted() && args.format.is_some() {
        return Err(Error::FormatWithWait);
    }
    if let Some(moment) = args.wait_args.until {
        until::run(args, moment)
    } else if let Some(limit) = args.wait_args.wait_sync {
        wait_sync::run(args, limit)
    } else if args.offset_args.wanted() {
        offset::run(args)
    } else {
        print_time(args)
    }
}

/// `--generate`: prints the manual page or shell completions.
fn print_generated(mode: GenerateMode) -> Result<u8, Error> {
    print(|out| generate(mode, Args::command(), ManualPage::Client, out)).map(|()| 0)
}

/// Queries the servers and prints the time of the first that responds.
fn print_time(args: &Args) -> Result<u8, Error> {
    let format = args.format()?;
    let formats = match args.utc {
        true => utc::formats()?,
        false => vec![format],
    };
    let mut servers = servers::resolver(args);
    let result = query(&mut servers, &formats, args.retry_policy());
    let response = result.map_err(|error| match error {
        ClientError::Refused { .. } => Error::Refused(error),
        ClientError::NoResponse { .. } => Error::NoResponse(error, args.server_hint()),
    })?;
    let text = match args.utc {
        true => utc::render(&response.text, &format)?,
        false => response.text,
    };
    print_response(&text, &format)?;
    Ok(0)
}

//! `wallclock`, the client: arguments in, exit status out.
#![forbid(unsafe_code)]

mod args;
mod error;
mod feed;
mod offset;
mod output;
mod servers;

use std::io;
use std::process::ExitCode;

use clap::CommandFactory;
use wallclock::cli::args::{ArgsError, USAGE_STATUS, parse_args};
use wallclock::cli::generate::{GenerateMode, ManualPage, generate};
use wallclock::client::query::query;
use wallclock::error::error_chain;

use args::Args;
use error::Error;
use output::print_line;

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
            eprintln!("wallclock: {}", error_chain(&error));
            ExitCode::from(error.status())
        }
    }
}

/// Does what the arguments ask for. Returns the exit status.
fn run(args: &Args) -> Result<u8, Error> {
    if let Some(mode) = args.generate {
        print_generated(mode)
    } else if args.offset_args.wanted() {
        offset::run(args)
    } else {
        print_time(args)
    }
}

/// `--generate`: prints the manual page or shell completions.
fn print_generated(mode: GenerateMode) -> Result<u8, Error> {
    generate(mode, Args::command(), ManualPage::Client, &mut io::stdout())
        .map(|()| 0)
        .map_err(Error::Write)
}

/// Queries the servers and prints the time of the first that responds.
fn print_time(args: &Args) -> Result<u8, Error> {
    let format = args.format()?;
    let mut servers = servers::resolver(args);
    let response = query(&mut servers, &format, args.retry_policy())?;
    print_line(&response.text)?;
    Ok(0)
}

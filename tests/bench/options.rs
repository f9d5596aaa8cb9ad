//! The options of the benchmarks `midnight` and `spread`, and how they end.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::promise::{self, Promise};
use crate::table::Table;

/// Prints tables, then the promises and whether they hold.
#[derive(Parser)]
pub struct Options {
    /// Take fewer measurements. Promises that do not hold are no failure.
    #[arg(long)]
    pub quick: bool,
    /// Print the tables as tests/bench/README.md has them.
    #[arg(long)]
    markdown: bool,
    /// Cargo passes this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a benchmark measured.
pub struct Outcome {
    pub table: Table,
    /// The title of the table of the promises, and these.
    pub promises: (&'static str, Vec<Promise>),
    /// How many results must not be at all, and what they are.
    pub wrong: (usize, &'static str),
}

/// Runs the benchmark `name` with the options of the command line. The exit status is 1 if anything
/// was wrong or a promise does not hold.
pub fn run(name: &str, measure: impl Fn(&Options) -> io::Result<Outcome>) -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        // `cargo bench -- OPTIONS` passes the options of another benchmark to this one too.
        Err(error) if error.kind() == ErrorKind::UnknownArgument => {
            println!("{name}: left out, its only options are --quick and --markdown");
            return ExitCode::SUCCESS;
        }
        Err(error) => error.exit(),
    };
    let outcome = match measure(&options) {
        Ok(outcome) => outcome,
        Err(error) => {
            eprintln!("bench: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (title, promises) = outcome.promises;
    for table in [outcome.table, promise::table(title, &promises)] {
        if options.markdown {
            println!("{}", table.markdown());
        } else {
            println!("{}", table.text());
        }
    }
    let broken = promises.iter().filter(|it| it.is_broken()).count();
    // As with the benchmark of the cost.
    let broken = if options.quick { 0 } else { broken };
    let (wrong, what) = outcome.wrong;
    if wrong == 0 && broken == 0 {
        return ExitCode::SUCCESS;
    }
    eprintln!("FAILED: {wrong} {what}, {broken} promises that do not hold");
    ExitCode::FAILURE
}

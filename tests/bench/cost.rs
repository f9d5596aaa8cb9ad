//! What an answer costs, beside everybody else who answers: `cargo bench`.
//!
//! On-CPU time is the measure, because it holds still where questions per second swing with the neighbours. Everybody takes
//! turns within one run, each beside the floor measured right before or after it; a ratio is the median of the rounds'
//! ratios. Each round starts fresh processes, so that a lucky layout in memory is not taken for speed. The server has one
//! core, the load another, and every answer is checked. Ends with a status other than 0 where one was wrong, or a promise did
//! not hold.

mod dearest;
mod echo;
mod load;
mod measure;
mod peers;
mod plot;
mod process;
mod questions;
mod report;
mod results;
mod rounds;
mod sys;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use echo::Echo;

/// Measures the daemon beside the kernel's floor and its peers, on the loopback.
#[derive(Parser)]
pub struct Options {
    /// How many times everybody takes a turn [default: 9, or 3 with --quick].
    #[arg(long)]
    rounds: Option<usize>,
    /// How long a turn is, in milliseconds [default: 120, or 50 with --quick].
    #[arg(long)]
    slice: Option<u64>,
    /// A glance: short rounds, a million questions, two idle seconds, and no failure for a broken promise.
    #[arg(long)]
    quick: bool,
    /// Prints the tables as Markdown, without the columns that show that the run was sound.
    #[arg(long)]
    markdown: bool,
    /// Where to draw the plot [default: bench/cost.svg in the target directory].
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Only measures what an answer costs in the rows with this in their name, or `lonely`: one
    /// question at a time, or `base`: the two builds of --base. For work on a hot path.
    #[arg(long)]
    only: Option<String>,
    /// Another build of wallclockd, to be measured in turn with this one.
    #[arg(long, value_name = "WALLCLOCKD", env = "WALLCLOCK_BENCH_BASE")]
    base: Option<PathBuf>,
    /// Only searches for the dearest question, and prints what each conversion costs.
    #[arg(long)]
    dearest: bool,
    /// Be one of the servers to be measured against.
    #[arg(long, hide = true)]
    serve: Option<Echo>,
    /// With --serve: the receive buffer to ask for.
    #[arg(long, hide = true)]
    buffer: Option<i32>,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match options.serve {
        Some(echo) => echo.serve(options.buffer).map(|_| true),
        None => rounds::run(&options),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

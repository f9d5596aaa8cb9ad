//! What a response costs the server, beside other servers: `cargo bench`.
//!
//! The measure is on-CPU time: it varies less than responses per second do. All servers take turns
//! in one run, each right before or after the floor, and a ratio is the median over the turns. Each
//! round starts new processes. The server has one core, the load another, and every response is
//! checked. The exit status is 1 if a response was wrong or a promise does not hold.

mod compare;
mod echo;
mod load;
mod measure;
mod plot;
mod process;
mod processes;
mod promise;
mod promises;
mod requests;
mod results;
mod rounds;
mod run;
mod servers;
mod setup;
mod single;
mod sys;
mod table;
mod tables;
mod worst_case;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use echo::Echo;

/// Measures what a response costs wallclockd and other servers, on the loopback interface.
#[derive(Parser)]
pub struct Options {
    /// Number of rounds [default: 9, or 3 with --quick].
    #[arg(long)]
    rounds: Option<usize>,
    /// Time of each row in a round, in milliseconds [default: 120, or 50 with --quick].
    #[arg(long)]
    slice: Option<u64>,
    /// Measure less, for a first impression. Promises that do not hold are no failure.
    #[arg(long)]
    quick: bool,
    /// Print what tests/bench/README.md has under "Results".
    #[arg(long)]
    markdown: bool,
    /// Where to draw the plot [default: bench/cost.svg in the target directory].
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Measure only the cost of the rows with NAME in their names. `single`: only one request at a
    /// time. `offsets`: only --offset. `base`: only the comparison with --base.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Another build of wallclockd to compare this one with.
    #[arg(long, value_name = "WALLCLOCKD", env = "WALLCLOCK_BENCH_BASE")]
    base: Option<PathBuf>,
    /// Only search for the worst case, and print what each directive costs.
    #[arg(long)]
    worst_case: bool,
    /// Be one of the echo servers.
    #[arg(long, hide = true)]
    serve: Option<Echo>,
    /// With --serve: the receive buffer to request.
    #[arg(long, hide = true)]
    receive_buffer: Option<usize>,
    /// Cargo passes this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match options.serve {
        Some(echo) => match echo.serve(options.receive_buffer) {
            Ok(never) => match never {},
            Err(error) => Err(error),
        },
        None => run::run(&options),
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

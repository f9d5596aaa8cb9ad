//! The option `--wait-sync`: waits until this machine's clock is certainly close to the servers'.

use std::time::{Duration, Instant};

use wallclock::client::query::random_wait;
use wallclock::offset::Nanos;
use wallclock::report::units::format_duration;

use crate::args::{Args, DEADLINE};
use crate::command::PreparedCommand;
use crate::error::Error;
use crate::offset::{OffsetCommand, pause_before};
use crate::output::{never_block, print_info};

/// The shortest and the longest time between two measurements.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));

/// Waits, then becomes the command. Returns the exit status.
pub fn run(args: &Args, limit: Nanos) -> Result<u8, Error> {
    let program = PreparedCommand::new(&args.command)?;
    never_block();
    let mut command = OffsetCommand::new(args);
    let (time_limit, is_given) = args.offset_args.deadline();
    let end = is_given.then(|| Instant::now() + time_limit);
    let (mut interval, max_interval) = INTERVAL;
    let mut shown = None;
    loop {
        let until = Instant::now() + DEADLINE;
        let report = command.run_until(end.map_or(until, |end| end.min(until)));
        let offset = report.agreed();
        if offset.is_some_and(|offset| offset.max_abs() <= limit) {
            return Ok(program.exec()?);
        }
        let (text, remark) = report.offset_and_remark();
        let state = [text, remark].join("  ").trim().to_owned();
        // The offset changes each time; whether there is one does not.
        if shown.replace(offset.is_some()) != Some(offset.is_some()) {
            let limit = format_duration(limit);
            print_info(format!("waiting for an offset within {limit}: {state}"));
        }
        // Machines that start together do not ask together.
        if !pause_before(end, random_wait(interval)) {
            return Err(Error::NotSynchronised(format_duration(limit), state));
        }
        interval = (2 * interval).min(max_interval);
    }
}

//! The options `--offset`, `--json`, `--warn`, `--critical` and `--watch`: measures the offset once
//! or repeatedly, and prints it.

use std::convert::Infallible;
use std::io::{self, IsTerminal, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::Level;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use wallclock::client::clocks::raw_time;
use wallclock::client::measure::{HostClocks, MeasureError, measure_all};
use wallclock::client::resolve::Resolver;
use wallclock::clock::Clock;
use wallclock::error::error_chain;
use wallclock::offset::{MeasurementConfig, Nanos, Precision, ServerClock};
use wallclock::report::plot::Plot;
use wallclock::report::units::format_duration;
use wallclock::report::{AddressResult, Failure, HostResult, Limits, Report, Status, Summary};
use wallclock::strftime::Format;

use crate::args::Args;
use crate::error::Error;
use crate::feed::Feed;
use crate::output::{print_error, print_line, show, try_print_line_at};
use crate::servers;

/// Minimum time between two updates of the progress, because writing them delays the measurement.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// Minimum time between two measurements of a monitoring plugin that has no status yet.
const REPEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Measures and prints what the arguments ask for. Returns the exit status.
pub fn run(args: &Args) -> Result<u8, Error> {
    let offset_args = &args.offset_args;
    if args.format.is_some() {
        return Err(Error::FormatWithOffset);
    }
    let limits = offset_args.limits()?;
    let feed = offset_args.feed()?;
    let (time_limit, repeat) = offset_args.deadline();
    let mut command = OffsetCommand {
        servers: servers::resolver(args),
        config: args.measurement_config(),
        time_limit,
    };
    if let Some(interval) = offset_args.watch {
        // JSON has no time of day, so it needs no zone.
        let clock = match args.utc || offset_args.json {
            true => Clock::utc(),
            false => Clock::local()?,
        };
        match command.watch(interval, offset_args.json, clock, feed)? {}
    }
    match limits {
        Some(limits) if repeat => Ok(print_check(&command.run_until_status(limits), limits)),
        Some(limits) => Ok(print_check(&command.run(), limits)),
        None if offset_args.json => print_json(&command.run()),
        None => print_text(&command.run(), args.server_hint()),
    }
}

/// Prints the line of a monitoring plugin. Returns its status.
fn print_check(report: &Report, limits: Limits) -> u8 {
    let (status, line) = report.check(limits);
    let level = match status {
        Status::Ok => Level::Info,
        Status::Warning => Level::Warn,
        Status::Critical | Status::Unknown => Level::Error,
    };
    match try_print_line_at(level, &line) {
        Ok(()) => status as u8,
        // 1, the status of this error elsewhere, means WARNING.
        Err(error) => {
            print_error(error_chain(&error));
            Status::Unknown as u8
        }
    }
}

fn print_json(report: &Report) -> Result<u8, Error> {
    print_line(report.json().as_bytes())?;
    Ok(status(report))
}

/// Prints the offsets, and on stderr the servers without one. `hint` follows each error.
fn print_text(report: &Report, hint: &str) -> Result<u8, Error> {
    for (server, error) in report.failures() {
        print_error(format_args!("{server}: {error}{hint}"));
    }
    if report.any_offset() {
        print_line(report.text().trim_end().as_bytes())?;
    }
    Ok(status(report))
}

/// Returns the exit status of `--offset` and `--json`.
fn status(report: &Report) -> u8 {
    match report.agreed() {
        Some(_) => 0,
        None if report.is_contradictory() => 1,
        None => 3,
    }
}

/// Which servers to measure, and how.
#[derive(Debug)]
pub struct OffsetCommand {
    /// The servers, all measured at the same time.
    pub servers: Resolver,
    /// The samples to take from each address.
    pub config: MeasurementConfig,
    /// The maximum time of a measurement.
    pub time_limit: Duration,
}

impl OffsetCommand {
    /// Measures all servers until the status of a monitoring plugin is not UNKNOWN, or until the
    /// time limit.
    fn run_until_status(&mut self, limits: Limits) -> Report {
        let deadline = Instant::now() + self.time_limit;
        loop {
            let next = Instant::now() + REPEAT_INTERVAL;
            let report = self.run_until(deadline);
            let (status, _) = report.check(limits);
            if status != Status::Unknown || next.max(Instant::now()) >= deadline {
                return report;
            }
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }

    /// Measures all servers once, within the time limit.
    fn run(&mut self) -> Report {
        self.run_until(Instant::now() + self.time_limit)
    }

    /// Measures all servers once.
    ///
    /// Servers with whole seconds take some seconds. Meanwhile the bound is shown on stderr, if
    /// that is a terminal.
    fn run_until(&mut self, deadline: Instant) -> Report {
        let terminal = io::stderr().is_terminal();
        let last_update = Mutex::new(None::<Instant>);
        let progress = |server: SocketAddr, clock: ServerClock| {
            let mut last_update = locked(&last_update);
            let due = last_update.is_none_or(|at| at.elapsed() >= PROGRESS_INTERVAL);
            if terminal && clock.precision == Precision::Seconds && due {
                let bound = format_duration(clock.estimate.interval.bound());
                show(&format!("\r{server}  ± {bound}\x1b[K"));
                *last_update = Some(Instant::now());
            }
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let config = MeasurementConfig {
            // A day at most.
            deadline: Some(raw_time() + left.as_nanos() as Nanos),
            ..self.config
        };
        let (hosts, now) = measure_all(&mut self.servers, config, &progress);
        if locked(&last_update).is_some() {
            show("\r\x1b[K");
        }
        Report::new(hosts.into_iter().map(to_host_result).collect(), now)
    }

    /// Measures repeatedly, and prints each measurement in a line: with a plot on a terminal, as a
    /// JSON object if `json` is set, otherwise as plain text. Sends each offset to `feed`.
    ///
    /// SIGINT and SIGTERM end the process: see [`exit_on_signal`].
    ///
    /// # Errors
    ///
    /// Standard output is closed, or the signals can't be caught.
    pub fn watch(
        &mut self,
        interval: Duration,
        json: bool,
        clock: Clock,
        mut feed: Option<Feed>,
    ) -> Result<Infallible, Error> {
        let terminal = io::stdout().is_terminal();
        let summary = Arc::new(Mutex::new(Summary::default()));
        exit_on_signal(Arc::clone(&summary), !json, terminal).map_err(Error::Signals)?;
        let mut formatter = LineFormatter::new(clock, terminal);
        let mut due = Instant::now();
        loop {
            let report = self.run();
            let offset = report.agreed();
            let line = if json {
                report.json()
            } else {
                formatter.format(&report)
            };
            {
                // The lock keeps the summary out of the middle of a line.
                let mut summary = locked(&summary);
                summary.add(offset, report.now());
                print_line(line.trim_end().as_bytes())?;
            }
            if let Some(feed) = &mut feed {
                feed.send(&report);
            }
            due = (due + interval).max(Instant::now());
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

/// A server without an address has one result, which is named like the server.
fn to_host_result(HostClocks { name, addresses }: HostClocks) -> HostResult {
    let addresses = match addresses {
        Ok(addresses) => addresses.into_iter().map(to_address_result).collect(),
        Err(error) => vec![AddressResult {
            name: name.clone(),
            outcome: Err(Failure {
                reason: error_chain(&error),
                is_contradiction: false,
            }),
        }],
    };
    HostResult { name, addresses }
}

fn to_address_result(
    (address, result): (SocketAddr, Result<ServerClock, MeasureError>),
) -> AddressResult {
    AddressResult {
        name: address.to_string(),
        outcome: result.map_err(|error| Failure {
            reason: error_chain(&error),
            is_contradiction: matches!(error, MeasureError::Contradiction { .. }),
        }),
    }
}

/// Formats the measurements of `--watch` as lines of text.
struct LineFormatter {
    clock: Clock,
    terminal: bool,
    plot: Plot,
}

impl LineFormatter {
    fn new(clock: Clock, terminal: bool) -> LineFormatter {
        LineFormatter {
            clock,
            terminal,
            plot: Plot::default(),
        }
    }

    /// Returns the line for one measurement, on a terminal with a bar, and above it a new axis if
    /// that changed.
    fn format(&mut self, report: &Report) -> String {
        let time = self.time();
        let (offset, remark) = report.offset_and_remark();
        let Some(interval) = report.agreed().filter(|_| self.terminal) else {
            return format!("{time}  {offset}{remark}");
        };
        let (ruler, bar) = self.plot.draw(interval);
        // Wide enough for most offsets, so that the bars are aligned.
        let head = format!("{time}  {offset:25}  ");
        let width = head.chars().count();
        let ruler = ruler.map_or(String::new(), |ruler| format!("{:width$}{ruler}\n", ""));
        format!("{ruler}{head}{bar}  {remark}")
    }

    /// Returns the local time: on a terminal the time of day, otherwise with the date and the zone.
    fn time(&mut self) -> String {
        let format = if self.terminal {
            "%H:%M:%S"
        } else {
            "%Y-%m-%dT%H:%M:%S%z"
        };
        let mut buf = [0; 64];
        // Can't fail: both formats are valid, and their text fits into the buffer.
        let length = Format::parse(format.as_bytes())
            .ok()
            .and_then(|format| format.render(&self.clock.now(), &mut buf).ok())
            .unwrap_or(0);
        String::from_utf8_lossy(&buf[..length]).into_owned()
    }
}

/// Starts a thread that waits for SIGINT or SIGTERM, prints the summary if `print` is set, and ends
/// the process with status 0 if any measurement had an offset, else 3.
fn exit_on_signal(summary: Arc<Mutex<Summary>>, print: bool, terminal: bool) -> io::Result<()> {
    let (mut receiver, sender) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM] {
        pipe::register(signal, sender.try_clone()?)?;
    }
    thread::Builder::new().spawn(move || {
        // It blocks until a signal arrives. The result does not matter.
        let _ = receiver.read(&mut [0]);
        let summary = locked(&summary);
        if print {
            // On a terminal the cursor is behind `^C`. A closed stdout does not change the status.
            let newline = if terminal { "\n" } else { "" };
            let _ = write!(io::stdout(), "{newline}{}", summary.text());
        }
        process::exit(if summary.any_offset() { 0 } else { 3 });
    })?;
    Ok(())
}

/// Locks a mutex. The value stays usable if another thread panics: it is only displayed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

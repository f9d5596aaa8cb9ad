//! The options `--offset`, `--json`, `--warning`, `--critical` and `--watch`: measures the offset
//! once or repeatedly, and prints it.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::low_level::emulate_default_handler;

use wallclock::client::clocks::raw_time;
use wallclock::client::measure::{self, HostClocks, MeasureError, measure_all};
use wallclock::client::resolve::{ResolveError, Resolver};
use wallclock::clock::Clock;
use wallclock::error::error_chain;
use wallclock::offset::{ClockPair, MeasurementConfig, Nanos, Precision, ServerClock};
use wallclock::report::units::{format_duration, parse_seconds};
use wallclock::report::{
    AddressResult, Entry, Failure, HostResult, Limits, Report, Screen, Status, Summary, wrap,
};
use wallclock::strftime::Format;

use crate::args::Args;
use crate::error::Error;
use crate::feed::Feed;
use crate::output::{print, print_error, print_line, print_status, show, write_line};
use crate::servers;
use crate::signals::on_signal;
use crate::terminal::{self, CLEAR_LINE, localize};

/// Minimum time between two updates of the progress, because writing them delays the measurement.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// When the progress on the terminal was last updated; `None` if there is none.
static PROGRESS: Mutex<Option<Instant>> = Mutex::new(None);

/// Minimum time between two measurements of a monitoring plugin that has no status yet.
const REPEAT_INTERVAL: Duration = Duration::from_secs(1);

/// With less time left before a deadline than this, there is no further measurement.
const MIN_TIME_LEFT: Duration = Duration::from_millis(100);

/// Measures and prints what the arguments ask for. Returns the exit status.
pub fn run(args: &Args) -> Result<u8, Error> {
    let offset_args = &args.offset_args;
    if let Some(format) = &args.format {
        // Other programs take `--watch 5`.
        let value = format.to_str().filter(|text| parse_seconds(text).is_some());
        return Err(match value.filter(|_| offset_args.watch.is_some()) {
            Some(value) => Error::WatchValue(value.to_owned()),
            None => Error::FormatWithOffset,
        });
    }
    if !args.command.is_empty() {
        return Err(Error::CommandWithoutWait);
    }
    let limits = offset_args.limits()?;
    let feed = offset_args.feed()?;
    let (_, repeat) = offset_args.deadline();
    let mut command = OffsetCommand::new(args);
    if let Some(interval) = offset_args.watch {
        // JSON has no time of day, so it needs no zone.
        let clock = match args.utc || offset_args.json {
            true => Clock::utc(),
            false => Clock::local()?,
        };
        let summary = Arc::new(Mutex::new(Summary::default()));
        let json = offset_args.json;
        end_with_summary(Arc::clone(&summary), !json).map_err(Error::Signals)?;
        let lines = LineFormatter::new(clock, args.server_hint());
        command.watch(
            interval,
            offset_args.count,
            (!json).then_some(lines),
            feed,
            &summary,
        )?;
        if !json {
            write_summary(&summary);
        }
        return Ok(locked(&summary).status());
    }
    if terminal::size(io::stderr()).is_some() {
        end_without_progress().map_err(Error::Signals)?;
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
    print_status(status, &line)
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
        print_line(localize(report.text().trim_end()).as_bytes())?;
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
    /// The addresses that had whole seconds. They are not asked for nanoseconds again.
    whole_seconds: Vec<SocketAddr>,
    /// Whether standard error is a terminal that shows the bound of servers with whole seconds
    /// while they are measured.
    shows_progress: bool,
}

impl OffsetCommand {
    pub fn new(args: &Args) -> Self {
        OffsetCommand {
            servers: servers::resolver(args),
            config: args.measurement_config(),
            time_limit: args.offset_args.deadline().0,
            whole_seconds: Vec::new(),
            shows_progress: terminal::size(io::stderr()).is_some(),
        }
    }

    /// Measures all servers until the status of a monitoring plugin is not UNKNOWN, or until the
    /// time limit. Then the result is the offset with the smallest bound, or the last failure: the
    /// last measurement may have been cut short.
    fn run_until_status(&mut self, limits: Limits) -> Report {
        let deadline = Instant::now() + self.time_limit;
        let bound = |report: &Report| report.agreed().map(|offset| offset.bound());
        let mut best: Option<Report> = None;
        loop {
            let start = Instant::now();
            let report = self.run_until(deadline);
            let (status, _) = report.check(limits);
            if status != Status::Unknown {
                return report;
            }
            let is_better = match (best.as_ref().and_then(bound), bound(&report)) {
                (Some(best), Some(new)) => new <= best,
                (Some(_), None) => false,
                (None, _) => true,
            };
            let best = match is_better {
                true => best.insert(report),
                false => best.get_or_insert(report),
            };
            let pause = REPEAT_INTERVAL.saturating_sub(start.elapsed());
            if !pause_before(Some(deadline), pause) {
                return best.clone();
            }
        }
    }

    /// Measures all servers once, within the time limit.
    fn run(&mut self) -> Report {
        self.run_until(Instant::now() + self.time_limit)
    }

    /// Measures all servers once.
    pub fn run_until(&mut self, deadline: Instant) -> Report {
        let left = deadline.saturating_duration_since(Instant::now());
        // A server may support nanoseconds by now.
        self.whole_seconds.clear();
        let (hosts, now) = self.measure(MeasurementConfig {
            // A day at most.
            deadline: Some(raw_time() + left.as_nanos() as Nanos),
            ..self.config
        });
        self.report(hosts, now)
    }

    /// Measures all servers once. Returns also the local clocks after that. Servers with whole
    /// seconds take some seconds.
    pub fn measure(&mut self, config: MeasurementConfig) -> (Vec<HostClocks>, ClockPair) {
        let shows_progress = self.shows_progress;
        let progress = |server: SocketAddr, clock: ServerClock| {
            if shows_progress && clock.precision == Precision::Seconds {
                show_progress(server, clock.estimate.interval.bound());
            }
        };
        let (hosts, now) = measure_all(&mut self.servers, config, &self.whole_seconds, &progress);
        let results = hosts
            .iter()
            .flat_map(|host| host.addresses.iter().flatten());
        for (address, result) in results {
            let has_seconds = |clock: &ServerClock| clock.precision == Precision::Seconds;
            if result.as_ref().is_ok_and(has_seconds) && !self.whole_seconds.contains(address) {
                self.whole_seconds.push(*address);
            }
        }
        if locked(&PROGRESS).take().is_some() {
            show(CLEAR_LINE);
        }
        (hosts, now)
    }

    /// Makes the report of a measurement.
    pub fn report(&self, hosts: Vec<HostClocks>, now: ClockPair) -> Report {
        let to_result = |HostClocks { server, addresses }| {
            to_host_result(self.servers.endpoint(server).to_string(), addresses)
        };
        Report::new(hosts.into_iter().map(to_result).collect(), now)
    }

    /// Measures `count` times, or without end, and prints each measurement: in lines of text, or as
    /// a JSON object if there is no formatter for them. Adds each to `summary`, and sends it to
    /// `feed`.
    ///
    /// # Errors
    ///
    /// Standard output is closed.
    fn watch(
        &mut self,
        interval: Duration,
        count: Option<u32>,
        mut lines: Option<LineFormatter>,
        mut feed: Option<Feed>,
        summary: &Mutex<Summary>,
    ) -> Result<(), Error> {
        let mut due = Instant::now();
        let mut measurements = 0;
        loop {
            let report = self.run();
            let line = match &mut lines {
                Some(lines) => lines.format(&report),
                None => report.json(),
            };
            print(|out| {
                // Standard output is locked: the summary counts what is printed before it.
                locked(summary).add(report.agreed(), report.now());
                write_line(out, line.trim_end().as_bytes())
            })?;
            if let Some(feed) = &mut feed {
                feed.send(&report);
            }
            measurements += 1;
            if count == Some(measurements) {
                return Ok(());
            }
            due = (due + interval).max(Instant::now());
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

/// Sleeps until the next measurement. Returns whether the deadline leaves time for one. A pause is
/// at most half of the time that is left, so that the last measurement is shortly before the
/// deadline.
pub fn pause_before(deadline: Option<Instant>, pause: Duration) -> bool {
    let Some(deadline) = deadline else {
        thread::sleep(pause);
        return true;
    };
    let time_left = || deadline.saturating_duration_since(Instant::now());
    if time_left() < MIN_TIME_LEFT {
        return false;
    }
    thread::sleep(pause.min(time_left() / 2));
    !time_left().is_zero()
}

/// Shows the bound on the terminal that standard error is, unless that was updated just now.
fn show_progress(server: SocketAddr, bound: Nanos) {
    let mut last_update = locked(&PROGRESS);
    if last_update.is_some_and(|at| at.elapsed() < PROGRESS_INTERVAL) {
        return;
    }
    let bound = format!("± {}", format_duration(bound));
    let columns = terminal::size(io::stderr()).map_or(0, |size| size.columns);
    // A line that wraps could not be deleted.
    let text = [format!("{server}  {bound}"), bound]
        .into_iter()
        .map(|text| localize(&text).into_owned())
        .find(|text| text.chars().count() < columns);
    if let Some(text) = text {
        show(&format!("{CLEAR_LINE}{text}"));
        *last_update = Some(Instant::now());
    }
}

/// A server without an address has one result, which is named like the server.
fn to_host_result(
    name: String,
    addresses: Result<Vec<measure::AddressResult>, ResolveError>,
) -> HostResult {
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

fn to_address_result((address, result): measure::AddressResult) -> AddressResult {
    AddressResult {
        name: address.to_string(),
        outcome: result.map_err(|error| Failure {
            reason: error_chain(&error),
            is_contradiction: matches!(error, MeasureError::Contradiction { .. }),
        }),
    }
}

/// Formats the measurements of `--watch` as text: for a terminal, or as plain lines.
struct LineFormatter {
    clock: Clock,
    screen: Screen,
    /// What follows the first failure.
    hint: &'static str,
}

impl LineFormatter {
    fn new(clock: Clock, hint: &'static str) -> LineFormatter {
        LineFormatter {
            clock,
            screen: Screen::default(),
            hint,
        }
    }

    /// Returns the lines for one measurement.
    fn format(&mut self, report: &Report) -> String {
        let (offset, mut remark) = report.offset_and_remark();
        if report.agreed().is_none() {
            remark += std::mem::take(&mut self.hint);
        }
        let (offset, remark) = (&localize(&offset), &localize(&remark));
        match terminal::size(io::stdout()) {
            Some(size) => {
                let entry = Entry {
                    time: &self.time("%H:%M:%S"),
                    offset,
                    remark,
                    interval: report.agreed(),
                };
                self.screen.add(entry, size)
            }
            None => {
                let time = self.time("%Y-%m-%dT%H:%M:%S%z");
                let parts = [offset, remark].into_iter().filter(|part| !part.is_empty());
                parts.fold(time, |line, part| format!("{line}  {part}"))
            }
        }
    }

    /// Returns the local time.
    fn time(&mut self, format: &str) -> String {
        let mut buf = [0; 64];
        // Can't fail: both formats are valid, and their text fits into the buffer.
        let length = Format::parse(format.as_bytes())
            .ok()
            .and_then(|format| format.render(&self.clock.now(), &mut buf).ok())
            .unwrap_or(0);
        String::from_utf8_lossy(&buf[..length]).into_owned()
    }
}

/// Writes the summary. A closed standard output does not change the status.
fn write_summary(summary: &Mutex<Summary>) {
    // No lock is held while this writes: the status is read meanwhile.
    let text = locked(summary).text();
    let text = localize(&text);
    let text = match terminal::size(io::stdout()) {
        Some(size) => {
            let lines = text.lines().flat_map(|line| wrap(line, size.columns - 1));
            Cow::Owned(lines.map(|line| line + "\n").collect())
        }
        None => text,
    };
    let _ = io::stdout().write_all(text.as_bytes());
}

/// At SIGINT or SIGTERM, prints the summary if `print` is set, and ends the process with the status
/// of `--watch`.
fn end_with_summary(summary: Arc<Mutex<Summary>>, print: bool) -> io::Result<()> {
    let shared = Arc::clone(&summary);
    let last_output = move || {
        let progress = locked(&PROGRESS);
        // On a terminal the cursor is behind `^C`.
        if terminal::size(io::stderr()).is_some() {
            show(CLEAR_LINE);
        } else if print && io::stdout().is_terminal() {
            let _ = io::stdout().write_all(b"\n");
        }
        let out = io::stdout().lock();
        if print {
            write_summary(&shared);
        }
        (progress, out)
    };
    on_signal(last_output, move |_| {
        process::exit(locked(&summary).status().into())
    })
}

/// At SIGINT or SIGTERM, deletes the progress and ends the process as the signal does.
fn end_without_progress() -> io::Result<()> {
    let last_output = || {
        let progress = locked(&PROGRESS);
        if progress.is_some() {
            show(CLEAR_LINE);
        }
        progress
    };
    on_signal(last_output, |signal| {
        let _ = emulate_default_handler(signal);
    })
}

/// Locks a mutex. The value stays usable if another thread panics: it is only displayed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

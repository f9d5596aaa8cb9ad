//! The offset before somebody's eyes: one look with its progress, or one look after another.

use std::convert::Infallible;
use std::io::{self, IsTerminal, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use wallclock::client::chrony::ChronyFeed;
use wallclock::client::measure::measure_all;
use wallclock::client::query::RetryPolicy;
use wallclock::clock::Clock;
use wallclock::error::error_chain;
use wallclock::offset::{MeasurementConfig, Offset, SECOND};
use wallclock::report::plot::Plot;
use wallclock::report::units::format_duration;
use wallclock::report::{Report, ServerResult, Summary};
use wallclock::strftime::Format;

/// How often progress is drawn: drawing takes time from the measurement.
const REDRAW: Duration = Duration::from_millis(50);

/// Whom to look at, and how.
#[derive(Clone, Debug)]
pub struct OffsetCommand {
    /// The servers, all measured at once.
    pub servers: Vec<SocketAddr>,
    /// By what.
    pub config: MeasurementConfig,
    /// For each server.
    pub retry_policy: RetryPolicy,
}

impl OffsetCommand {
    /// One look. Whole seconds take a few of them, so a terminal on stderr is shown how narrow the bound is meanwhile.
    pub fn run(&self) -> Report {
        let terminal = io::stderr().is_terminal();
        let drawn = Mutex::new(None::<Instant>);
        let progress = |server: SocketAddr, found: Offset| {
            let mut drawn = locked(&drawn);
            if terminal
                && found.resolution >= SECOND
                && drawn.is_none_or(|at| at.elapsed() >= REDRAW)
            {
                eprint!(
                    "\r{server}  ± {}\x1b[K",
                    format_duration(found.estimate.interval.bound())
                );
                *drawn = Some(Instant::now());
            }
        };
        let results = measure_all(&self.servers, self.config, self.retry_policy, &progress);
        if locked(&drawn).is_some() {
            eprint!("\r\x1b[K");
        }
        let servers = self.servers.iter().zip(results);
        Report::new(
            servers
                .map(|(server, result)| ServerResult {
                    name: server.to_string(),
                    outcome: result.map_err(|error| error_chain(&error)),
                })
                .collect(),
        )
    }

    /// A look every so often, each a line on stdout: with a plot on a terminal, as JSON if config, plain otherwise.
    /// Each offset is fed to chronyd, if there is one.
    ///
    /// Ends the process on SIGINT and SIGTERM, with a summary (not in JSON): status 0 if there was any offset, else 3.
    ///
    /// # Errors
    ///
    /// Nobody reads stdout any more, or signals can't be caught.
    pub fn watch(
        &self,
        every: Duration,
        json: bool,
        mut clock: Clock,
        feed: Option<ChronyFeed>,
    ) -> io::Result<Infallible> {
        let terminal = io::stdout().is_terminal();
        let summary = Arc::new(Mutex::new(Summary::default()));
        let format = if terminal {
            &b"%H:%M:%S"[..]
        } else {
            b"%Y-%m-%dT%H:%M:%S%z"
        };
        let mut plot = Plot::default();
        print_summary_on_signal(Arc::clone(&summary), !json, terminal)?;
        let mut fed = true;
        let mut due = Instant::now();
        loop {
            let report = self.run();
            let found = report.agreed();
            let line = if json {
                report.json()
            } else {
                let time = text(&mut clock, format);
                let (offset, remark) = report.offset_and_remark();
                match found {
                    Some(found) if terminal => {
                        let (ruler, bar) = plot.draw(found.interval);
                        // Wide enough for the offsets that most clocks have, so that the bars stand in line.
                        let head = format!("{time}  {offset:25}  ");
                        let width = head.chars().count();
                        let ruler = ruler.map_or(String::new(), |r| format!("{:width$}{r}\n", ""));
                        format!("{ruler}{head}{bar}  {remark}")
                    }
                    _ => format!("{time}  {offset}{remark}"),
                }
            };
            {
                // The lock keeps the summary from landing in a line.
                let mut summary = locked(&summary);
                summary.add(found);
                let mut out = io::stdout().lock();
                writeln!(out, "{}", line.trim_end())?;
                out.flush()?;
            }
            if let (Some(feed), Some(found)) = (&feed, found) {
                let sent = feed.send(found);
                // Said once when it begins: a chronyd that is being restarted is back soon.
                if let (Err(error), true) = (&sent, fed) {
                    eprintln!("wallclock: feed chronyd: {error}");
                }
                fed = sent.is_ok();
            }
            due = (due + every).max(Instant::now());
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

/// Waits for a signal on a thread of its own.
fn print_summary_on_signal(
    summary: Arc<Mutex<Summary>>,
    aloud: bool,
    terminal: bool,
) -> io::Result<()> {
    let (mut end, signal) = UnixStream::pair()?;
    for number in [SIGINT, SIGTERM] {
        pipe::register(number, signal.try_clone()?)?;
    }
    thread::spawn(move || {
        // It returns when a signal came, whatever it returns.
        let _ = end.read(&mut [0]);
        let summary = locked(&summary);
        if aloud {
            // The terminal shows ^C where the line would be. Nobody there to read it is no reason to stay.
            let _ = write!(
                io::stdout(),
                "{}{}",
                if terminal { "\n" } else { "" },
                summary.text()
            );
        }
        process::exit(if summary.any_offset() { 0 } else { 3 });
    });
    Ok(())
}

/// What is behind a lock stays usable after a panic elsewhere: it is only for show.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time beside an offset, in one of our own formats, none of which is wrong or long.
fn text(clock: &mut Clock, format: &[u8]) -> String {
    let mut room = [0; 64];
    let length = Format::parse(format)
        .ok()
        .and_then(|f| f.render(&clock.now(), &mut room).ok());
    String::from_utf8_lossy(&room[..length.unwrap_or(0)]).into_owned()
}

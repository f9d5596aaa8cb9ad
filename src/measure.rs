//! The hands of [`offset`](crate::offset): one line and one thread for each server.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::ask::{Line, Patience, TryError};
use crate::chain;
use crate::offset::{Clocks, Exchange, Heard, Measurement, Nanos, Next, Offset, Wanted};
use crate::report::{Report, Server};
use crate::strftime::{Format, FormatError};

/// Why a server gave no offset.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// No socket that reaches it.
    #[error(transparent)]
    Connect(io::Error),
    /// What became of the last question.
    #[error(transparent)]
    Ask(#[from] TryError),
    /// It answered `%s` with something else than seconds.
    #[error("it answered {0:?}, which is no count of seconds")]
    NoSeconds(String),
    /// Restarted too often.
    #[error("a clock is being stepped again and again, ours or the server's")]
    Unsteady,
    /// What [`Measurement`] asks for is no format.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// How much of a wait is spent awake at its end: a 32nd of it, within these. Sleeping wakes 60 to 200 us late, and some
/// milliseconds on a busy machine; an edge that was slept over is a second lost.
const AWAKE: (Duration, Duration) = (Duration::from_micros(150), Duration::from_millis(4));

/// Measures all servers at once; `progress` hears of every answer taken. It takes as long as the slowest of them: a
/// silent one `per_try` x `tries`.
pub fn measure_all(
    servers: &[SocketAddr],
    wanted: Wanted,
    patience: Patience,
    progress: &(dyn Fn(SocketAddr, Offset) + Sync),
) -> Report {
    let one = |server| {
        let measured = measure(server, wanted, patience, &|found| progress(server, found));
        Server {
            name: server.to_string(),
            outcome: measured.map_err(|error| chain(&error)),
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = servers
            .iter()
            .map(|&server| scope.spawn(move || one(server)))
            .collect();
        let servers = threads.into_iter().map(|thread| match thread.join() {
            Ok(server) => server,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        Report::new(servers.collect())
    })
}

/// Measures one server.
///
/// At most `tries` questions may go unanswered. A server that falls silent after some answers is measured by those.
///
/// # Errors
///
/// Only if there is nothing to tell.
pub fn measure(
    server: SocketAddr,
    wanted: Wanted,
    patience: Patience,
    progress: &dyn Fn(Offset),
) -> Result<Offset, MeasureError> {
    let origin = Instant::now();
    let line = Line::open(server).map_err(MeasureError::Connect)?;
    let mut measurement = Measurement::new(wanted).near(server.ip().is_loopback());
    let mut tries = patience.tries;
    loop {
        let mut before = look(origin);
        match measurement.next(before.wall) {
            Next::Done => break,
            Next::Ask(at) if at > before.wall => {
                wait(at - before.wall);
                before = look(origin);
            }
            Next::Ask(_) => {}
        }
        let question = Format::parse(measurement.question().as_bytes())?;
        let answer = match line.ask(&question, patience.per_try) {
            Ok(answer) => answer,
            Err(TryError::Refused(_) | TryError::Foreign(_)) if measurement.refused() => continue,
            Err(TryError::Silent(_)) if tries > 1 => {
                tries -= 1;
                continue;
            }
            Err(error) => return measurement.found().ok_or(error.into()),
        };
        let after = look(origin);
        let text = String::from_utf8_lossy(&answer.text);
        let Some(reading) = measurement.read(&text) else {
            if measurement.refused() {
                continue;
            }
            return Err(MeasureError::NoSeconds(text.into_owned()));
        };
        let since = |moment: Instant| nanos(moment.duration_since(origin));
        let (asked, heard) = (since(answer.asked), since(answer.heard));
        match measurement.heard(&Exchange {
            before,
            asked,
            heard,
            after,
            reading,
        }) {
            Heard::Unsteady => return Err(MeasureError::Unsteady),
            Heard::Taken | Heard::Restarted => measurement.found().into_iter().for_each(progress),
        }
    }
    measurement.found().ok_or(MeasureError::Unsteady)
}

/// One look at our clocks; the monotonic one counts from `origin`.
fn look(origin: Instant) -> Clocks {
    let before = nanos(origin.elapsed());
    let wall = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => nanos(since),
        Err(until) => -nanos(until.duration()),
    };
    Clocks {
        before,
        wall,
        after: nanos(origin.elapsed()),
    }
}

fn nanos(duration: Duration) -> Nanos {
    // Some 5e11 years of nanoseconds fit.
    duration.as_nanos() as Nanos
}

/// Waits so many nanoseconds, by the monotonic clock.
fn wait(nanos: Nanos) {
    let Ok(nanos) = u64::try_from(nanos) else {
        return;
    };
    let (begun, length) = (Instant::now(), Duration::from_nanos(nanos));
    let (least, most) = AWAKE;
    thread::sleep(length.saturating_sub((length / 32).clamp(least, most)));
    while begun.elapsed() < length {
        std::hint::spin_loop();
    }
}

//! One server's offset, over a socket: the hands of [`offset`](crate::offset).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::offset::{Exchange, Heard, Look, Measurement, Nanos, Next, Offset, Reading};

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many answers to take; `None` for as many as the server's resolution calls for.
    pub samples: Option<u32>,
    /// How long to wait for one answer.
    pub timeout: Duration,
    /// How many questions may go unanswered before a server is given up.
    pub retries: u32,
}

/// Why a server gave no offset.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No socket that reaches it.
    #[error("no way there")]
    Connect(#[source] io::Error),
    /// The question could not be sent, or the host said that nobody listens there.
    #[error("not asked")]
    Ask(#[source] io::Error),
    /// Silence.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// It refused even `%s`.
    #[error("refused: {0}")]
    Refused(String),
    /// It answered `%s` with something else than seconds.
    #[error("{0:?} is no time")]
    NoTime(String),
    /// A clock was stepped again and again.
    #[error("a clock is being stepped all the time, ours or the server's")]
    Unsteady,
}

/// What a measurement on its own thread has to tell.
#[derive(Debug)]
pub enum Event {
    /// So far it is this.
    Progress(Offset),
    /// It is over.
    Done(Result<Offset, Error>),
}

/// Sleeping wakes some 60 us late, so the last stretch of a wait is spent awake.
const AWAKE: Duration = Duration::from_micros(150);

/// Measures one server on a thread of its own and sends what it has to tell, marked with `mark`.
pub fn spawn<T: Copy + Send + 'static>(
    mark: T,
    server: SocketAddr,
    options: Options,
    to: Sender<(T, Event)>,
) {
    thread::spawn(move || {
        // Nobody there to hear means that the program is at its end.
        let done = measure(server, options, &mut |found| {
            drop(to.send((mark, Event::Progress(found))))
        });
        drop(to.send((mark, Event::Done(done))));
    });
}

/// Measures one server; `progress` hears of each answer taken.
///
/// # Errors
///
/// Only if there is nothing to tell: a server that falls silent after some answers was measured by those.
pub fn measure(
    server: SocketAddr,
    options: Options,
    progress: &mut dyn FnMut(Offset),
) -> Result<Offset, Error> {
    let clocks = Clocks {
        origin: Instant::now(),
    };
    let mut line = Line::open(server, options.timeout).map_err(Error::Connect)?;
    let mut measurement = Measurement::new(options.samples);
    let mut unanswered = 0;
    while let Next::Ask(at) = measurement.next(clocks.look().wall) {
        wait(at - clocks.look().wall);
        let answer = line
            .ask(measurement.question(), &clocks)
            .map_err(Error::Ask);
        match (answer, measurement.found()) {
            (Ok(Answer::Text { text, asked, heard }), _) => {
                let Some(reading) = Reading::parse(&text) else {
                    // Whatever it made of %N, it may know %s.
                    if measurement.refused() {
                        continue;
                    }
                    return Err(Error::NoTime(text));
                };
                match measurement.heard(&Exchange {
                    asked,
                    heard,
                    reading,
                }) {
                    Heard::Unsteady => return Err(Error::Unsteady),
                    Heard::Taken | Heard::Restarted => {}
                }
                if let Some(found) = measurement.found() {
                    progress(found);
                }
            }
            (Ok(Answer::Refused(reason)), _) => {
                if !measurement.refused() {
                    return Err(Error::Refused(reason));
                }
            }
            (Ok(Answer::Silence), found) => {
                unanswered += 1;
                if unanswered > options.retries {
                    return found.ok_or(Error::Silent(options.timeout * unanswered));
                }
            }
            (Err(_), Some(found)) => return Ok(found),
            (Err(error), None) => return Err(error),
        }
    }
    measurement.found().ok_or(Error::Unsteady)
}

/// Our two clocks.
struct Clocks {
    /// Where the monotonic one counts from.
    origin: Instant,
}

impl Clocks {
    fn look(&self) -> Look {
        let before = self.origin.elapsed().as_nanos() as Nanos;
        let wall = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => since.as_nanos() as Nanos,
            Err(until) => -(until.duration().as_nanos() as Nanos),
        };
        let after = self.origin.elapsed().as_nanos() as Nanos;
        Look {
            before,
            wall,
            after,
        }
    }
}

/// Waits so many nanoseconds, by the monotonic clock.
fn wait(nanos: Nanos) {
    let Ok(nanos) = u64::try_from(nanos) else {
        return;
    };
    let (begun, length) = (Instant::now(), Duration::from_nanos(nanos));
    thread::sleep(length.saturating_sub(AWAKE));
    while begun.elapsed() < length {
        std::hint::spin_loop();
    }
}

/// What came back for one question.
enum Answer {
    /// The text, and our clocks around it.
    Text {
        text: String,
        asked: Look,
        heard: Look,
    },
    /// An error answer.
    Refused(String),
    /// Nothing within the deadline.
    Silence,
}

/// A socket that hears nobody but the server.
struct Line {
    socket: UdpSocket,
    timeout: Duration,
    questions: u64,
}

impl Line {
    fn open(server: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let socket = match server {
            SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
        }?;
        socket.connect(server)?;
        Ok(Self {
            socket,
            timeout,
            questions: std::process::id().into(),
        })
    }

    fn ask(&mut self, format: &str, clocks: &Clocks) -> io::Result<Answer> {
        self.questions += 1;
        let nonce = format!("{:x}|", self.questions);
        let question = format!("{nonce}{format}");
        let mut buffer = [0; 2048];
        let asked = clocks.look();
        self.socket.send(question.as_bytes())?;
        let deadline = Instant::now() + self.timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Answer::Silence);
            }
            self.socket.set_read_timeout(Some(left))?;
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Answer::Silence),
                Err(e) => return Err(e),
            };
            let heard = clocks.look();
            let text = String::from_utf8_lossy(&buffer[..length]);
            if let Some(text) = text.strip_prefix(&nonce) {
                return Ok(Answer::Text {
                    text: text.to_owned(),
                    asked,
                    heard,
                });
            }
            if let Some(reason) = text.strip_prefix("error: ") {
                return Ok(Answer::Refused(reason.to_owned()));
            }
        }
    }
}

//! Questions at a steady rate, each with a number in its format, so that every single one can be accounted for.

use std::fmt;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the last answers may be on their way before they count as lost. Longer than any restart takes.
const LAST_CALL: Duration = Duration::from_secs(5);

/// What became of a load.
pub struct Tally {
    /// How many questions were sent.
    pub asked: usize,
    /// The numbers of those that got no answer.
    pub lost: Vec<usize>,
    /// Answers that were not the text to their question.
    pub wrong: usize,
    /// The longest that an answer took.
    pub slowest: Duration,
    /// Questions a second, over all of it.
    pub rate: f64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally {
            asked,
            lost,
            wrong,
            slowest,
            rate,
        } = self;
        write!(
            f,
            "{asked} asked at {rate:.0}/s, {} lost, {wrong} wrong, slowest {slowest:.1?}",
            lost.len()
        )?;
        match (lost.first(), lost.last()) {
            (Some(first), Some(last)) => write!(f, " (from #{first} to #{last})"),
            _ => Ok(()),
        }
    }
}

impl Tally {
    /// How many were lost of those asked up to the first mark, from there to the second and so on, and of those asked
    /// after the last. A mark is what [`Load::asked`] said.
    pub fn lost_between(&self, marks: &[usize]) -> Vec<usize> {
        let mut lost = vec![0; marks.len() + 1];
        for number in &self.lost {
            lost[marks.partition_point(|mark| mark <= number)] += 1;
        }
        lost
    }
}

struct Shared {
    start: Instant,
    stop: AtomicBool,
    done: AtomicBool,
    asked: AtomicUsize,
    answered: AtomicUsize,
    wrong: AtomicUsize,
    /// When each question was sent and answered, in nanoseconds from the start; 0 for not yet.
    sent: Vec<AtomicU64>,
    heard: Vec<AtomicU64>,
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos())
            .expect("a short test")
            .max(1)
    }
}

/// A running load.
pub struct Load {
    shared: Arc<Shared>,
    sender: Option<JoinHandle<()>>,
    receivers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts asking through all the sockets in turn, `rate` questions a second in all, for a minute at most.
    pub fn start(sockets: Vec<UdpSocket>, rate: usize) -> Self {
        let room = rate * 60;
        let blank = || (0..room).map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::new(Shared {
            start: Instant::now(),
            stop: false.into(),
            done: false.into(),
            asked: 0.into(),
            answered: 0.into(),
            wrong: 0.into(),
            sent: blank(),
            heard: blank(),
        });
        let receivers = sockets
            .iter()
            .map(|socket| {
                let (shared, socket) =
                    (shared.clone(), socket.try_clone().expect("a second handle"));
                socket
                    .set_read_timeout(Some(Duration::from_millis(20)))
                    .expect("a time-out");
                std::thread::spawn(move || listen(&shared, &socket))
            })
            .collect();
        let sender = {
            let shared = shared.clone();
            std::thread::spawn(move || ask(&shared, &sockets, rate))
        };
        Self {
            shared,
            sender: Some(sender),
            receivers,
        }
    }

    /// How many have been asked so far: their numbers are below this.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Relaxed)
    }

    /// How many have been answered so far.
    pub fn answered(&self) -> usize {
        self.shared.answered.load(Relaxed)
    }

    /// Stops asking, waits for the last answers and counts.
    pub fn stop(mut self) -> Tally {
        self.shared.stop.store(true, Relaxed);
        let sender = self.sender.take().expect("stopped once");
        sender.join().expect("the sender");
        let took = self.shared.start.elapsed();
        let asked = self.shared.asked.load(Relaxed);
        let last = Instant::now();
        while self.answered() < asked && last.elapsed() < LAST_CALL {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.shared.done.store(true, Relaxed);
        for receiver in self.receivers.drain(..) {
            receiver.join().expect("a receiver");
        }
        let both = self.shared.sent.iter().zip(&self.shared.heard).take(asked);
        let trips = both.map(|(sent, heard)| (sent.load(Relaxed), heard.load(Relaxed)));
        let (mut lost, mut slowest) = (Vec::new(), 0);
        for (number, (sent, heard)) in trips.enumerate() {
            match heard {
                0 => lost.push(number),
                _ => slowest = slowest.max(heard.saturating_sub(sent)),
            }
        }
        Tally {
            asked,
            lost,
            wrong: self.shared.wrong.load(Relaxed),
            slowest: Duration::from_nanos(slowest),
            rate: asked as f64 / took.as_secs_f64(),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        self.shared.done.store(true, Relaxed);
    }
}

/// The question with this number.
pub fn question(number: usize) -> String {
    format!("%H:%M:%S #{number}")
}

/// The number that an answer carries, if it is the text to such a question.
pub fn number(answer: &[u8]) -> Option<usize> {
    let (time, number) = std::str::from_utf8(answer).ok()?.split_once(" #")?;
    let mut digits = time.bytes().enumerate();
    let clock = digits.all(|(at, byte)| {
        if at % 3 == 2 {
            byte == b':'
        } else {
            byte.is_ascii_digit()
        }
    });
    (clock && time.len() == 8)
        .then(|| number.parse().ok())
        .flatten()
}

fn ask(shared: &Shared, sockets: &[UdpSocket], rate: usize) {
    let mut number = 0;
    while !shared.stop.load(Relaxed) && number < shared.sent.len() {
        let due = (shared.start.elapsed().as_secs_f64() * rate as f64) as usize;
        while number < due.min(shared.sent.len()) {
            shared.sent[number].store(shared.now(), Relaxed);
            match sockets[number % sockets.len()].send(question(number).as_bytes()) {
                Ok(_) => {
                    number += 1;
                    shared.asked.store(number, Relaxed);
                }
                // The news of an earlier question; this one has not been sent.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => panic!("question {number}: {error}"),
            }
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn listen(shared: &Shared, socket: &UdpSocket) {
    let mut buffer = [0; 2048];
    while !shared.done.load(Relaxed) {
        let Ok(length) = socket.recv(&mut buffer) else {
            continue;
        };
        match number(&buffer[..length]).and_then(|number| shared.heard.get(number)) {
            Some(heard) if heard.swap(shared.now(), Relaxed) == 0 => {
                shared.answered.fetch_add(1, Relaxed);
            }
            _ => {
                shared.wrong.fetch_add(1, Relaxed);
            }
        }
    }
}

//! Requests at a steady rate, each with a number in its format, so that every single one can be
//! accounted for.

use std::fmt;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::machine::SOON;

/// How many requests may be without a response at a time. The socket unit promises to hold as many,
/// so none is lost however long the daemon gets no processor.
const WINDOW: usize = 10_000;

/// How many are sent without a pause, so that a load which is behind its rate, because the machine
/// is busy, does not fill the kernel's queues between the hosts.
const BURST: usize = 64;

/// How long a load may last.
const LONGEST: usize = 600;

/// What became of a load.
pub struct Tally {
    /// How many requests were sent.
    pub asked: usize,
    /// The numbers of those that got no response.
    pub lost: Vec<usize>,
    /// Responses that were not the text to their request, or that came twice.
    pub wrong: usize,
    /// Requests a second, over all of it.
    pub rate: f64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally {
            asked,
            lost,
            wrong,
            rate,
        } = self;
        write!(
            f,
            "{asked} asked at {rate:.0}/s, {} lost, {wrong} wrong",
            lost.len()
        )?;
        match (lost.first(), lost.last()) {
            (Some(first), Some(last)) => write!(f, " (from #{first} to #{last})"),
            _ => Ok(()),
        }
    }
}

impl Tally {
    /// Whether each request got its response.
    pub fn is_complete(&self) -> bool {
        self.lost.is_empty() && self.wrong == 0
    }

    /// How many were lost of those asked up to the first mark, from there to the second and so on,
    /// and of those asked after the last. A mark is a result of [`Load::asked`].
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
    /// Whether each request has its response.
    received: Mutex<Vec<bool>>,
}

/// A running load.
pub struct Load {
    shared: Arc<Shared>,
    sender: Option<JoinHandle<()>>,
    receivers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts to send through all the sockets in turn, `rate` requests a second in all, or as many
    /// as get their responses.
    pub fn start(sockets: Vec<UdpSocket>, rate: usize) -> Self {
        let shared = Arc::new(Shared {
            start: Instant::now(),
            stop: false.into(),
            done: false.into(),
            asked: 0.into(),
            answered: 0.into(),
            wrong: 0.into(),
            received: vec![false; rate * LONGEST].into(),
        });
        let receivers = sockets
            .iter()
            .map(|socket| {
                let (shared, socket) =
                    (shared.clone(), socket.try_clone().expect("a second handle"));
                socket
                    .set_read_timeout(Some(Duration::from_millis(20)))
                    .expect("a time-out");
                std::thread::spawn(move || receive(&shared, &socket))
            })
            .collect();
        let sender = {
            let shared = shared.clone();
            std::thread::spawn(move || send(&shared, &sockets, rate))
        };
        Self {
            shared,
            sender: Some(sender),
            receivers,
        }
    }

    /// How many have been sent so far: their numbers are below this.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Relaxed)
    }

    /// How many have their responses so far.
    pub fn answered(&self) -> usize {
        self.shared.answered.load(Relaxed)
    }

    /// Stops sending, and waits for responses until the tally is as expected, or for [`SOON`].
    pub fn stop(mut self, expected: impl Fn(&Tally) -> bool) -> Tally {
        self.shared.stop.store(true, Relaxed);
        let sender = self.sender.take().expect("stopped once");
        sender.join().expect("the sender");
        let took = self.shared.start.elapsed();
        let last = Instant::now();
        while !expected(&self.tally(took)) && last.elapsed() < SOON {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.shared.done.store(true, Relaxed);
        for receiver in self.receivers.drain(..) {
            receiver.join().expect("a receiver");
        }
        self.tally(took)
    }

    fn tally(&self, took: Duration) -> Tally {
        let asked = self.asked();
        let received = self.shared.received.lock().expect("no panic");
        Tally {
            asked,
            lost: (0..asked).filter(|number| !received[*number]).collect(),
            wrong: self.shared.wrong.load(Relaxed),
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

/// The request with this number.
pub fn request(number: usize) -> String {
    format!("%H:%M:%S #{number}")
}

/// The number in a response, if it is the text to such a request.
pub fn number(response: &[u8]) -> Option<usize> {
    let (time, number) = std::str::from_utf8(response).ok()?.split_once(" #")?;
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

fn send(shared: &Shared, sockets: &[UdpSocket], rate: usize) {
    let mut number = 0;
    while !shared.stop.load(Relaxed) {
        let due = (shared.start.elapsed().as_secs_f64() * rate as f64) as usize;
        let admitted = shared.answered.load(Relaxed) + WINDOW;
        let last = due.min(admitted).min(rate * LONGEST);
        for _ in 0..last.saturating_sub(number).min(BURST) {
            match sockets[number % sockets.len()].send(request(number).as_bytes()) {
                Ok(_) => {
                    number += 1;
                    shared.asked.store(number, Relaxed);
                }
                // The error of an earlier request; this one has not been sent.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => panic!("request {number}: {error}"),
            }
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn receive(shared: &Shared, socket: &UdpSocket) {
    let mut buffer = [0; 2048];
    while !shared.done.load(Relaxed) {
        let Ok(length) = socket.recv(&mut buffer) else {
            continue;
        };
        let mut received = shared.received.lock().expect("no panic");
        match number(&buffer[..length]).and_then(|number| received.get_mut(number)) {
            Some(received) if !*received => {
                *received = true;
                shared.answered.fetch_add(1, Relaxed);
            }
            _ => {
                shared.wrong.fetch_add(1, Relaxed);
            }
        }
    }
}

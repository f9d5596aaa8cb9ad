//! Requests at a steady rate. Each has a number in its format, so that lost ones can be named.

use std::fmt;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::machine::{INSTANCE, Machine, SERVICE, SOCKET, TIMEOUT, wait_for};
use super::network::Lan;

/// Maximum number of requests without a response at a time. The socket unit promises to hold as
/// many, so none is lost however long the daemon gets no processor.
const WINDOW: usize = 10_000;

/// Maximum number of requests sent without a pause: a load that is behind its rate on a busy host
/// must not fill the kernel's queues between the hosts.
const BURST: usize = 64;

/// Maximum duration of a load, in seconds.
const MAX_SECONDS: usize = 600;

/// The result of a load.
pub struct Tally {
    /// Number of requests sent.
    pub sent: usize,
    /// The numbers of the requests without a response.
    pub lost: Vec<usize>,
    /// Number of responses that were not the text for their request, or that came twice.
    pub wrong: usize,
    /// Requests per second, over the whole load.
    pub rate: f64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally {
            sent,
            lost,
            wrong,
            rate,
        } = self;
        write!(
            f,
            "{sent} sent at {rate:.0}/s, {} lost, {wrong} wrong",
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

    /// The number of lost requests before the first mark, between each two marks, and after the
    /// last. A mark is a result of [`Load::sent`].
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
    sent: AtomicUsize,
    answered: AtomicUsize,
    wrong: AtomicUsize,
    /// Whether each request has its response.
    received: Mutex<Vec<bool>>,
}

/// Sets a flag when it is dropped, also by a panic, so that a scope can join its threads.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// A running load.
pub struct Load {
    shared: Arc<Shared>,
    sender: Option<JoinHandle<()>>,
    receivers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts to send through all the sockets in turn: `rate` requests per second in total, or
    /// fewer if responses come slower.
    pub fn start(sockets: Vec<UdpSocket>, rate: usize) -> Self {
        let shared = Arc::new(Shared {
            start: Instant::now(),
            stop: false.into(),
            done: false.into(),
            sent: 0.into(),
            answered: 0.into(),
            wrong: 0.into(),
            received: vec![false; rate * MAX_SECONDS].into(),
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

    /// The number of requests sent so far; their numbers are lower than this.
    pub fn sent(&self) -> usize {
        self.shared.sent.load(Relaxed)
    }

    /// The number of requests that have their response so far.
    pub fn answered(&self) -> usize {
        self.shared.answered.load(Relaxed)
    }

    /// Waits until more than `count` requests have their response.
    #[track_caller]
    pub fn wait_for_answered(&self, count: usize) {
        wait_for("responses to the load", TIMEOUT, || {
            (self.answered() > count).then_some(())
        });
    }

    /// Stops sending, and waits for responses until the tally is as expected, or for [`TIMEOUT`].
    pub fn stop(mut self, expected: impl Fn(&Tally) -> bool) -> Tally {
        self.shared.stop.store(true, Relaxed);
        let sender = self.sender.take().expect("stopped once");
        sender.join().expect("the sender");
        let took = self.shared.start.elapsed();
        let last = Instant::now();
        while !expected(&self.tally(took)) && last.elapsed() < TIMEOUT {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.shared.done.store(true, Relaxed);
        for receiver in self.receivers.drain(..) {
            receiver.join().expect("a receiver");
        }
        self.tally(took)
    }

    /// Stops, and asserts that no request was lost.
    #[track_caller]
    pub fn assert_none_lost(self) -> Tally {
        let tally = self.stop(Tally::is_complete);
        eprintln!("{tally}");
        assert!(tally.is_complete(), "{tally}");
        tally
    }

    fn tally(&self, took: Duration) -> Tally {
        let sent = self.sent();
        let received = self.shared.received.lock().expect("no panic");
        Tally {
            sent,
            lost: (0..sent).filter(|number| !received[*number]).collect(),
            wrong: self.shared.wrong.load(Relaxed),
            rate: sent as f64 / took.as_secs_f64(),
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

/// The number in a response, if it is the text for such a request.
pub fn number(response: &[u8]) -> Option<usize> {
    let (time, number) = std::str::from_utf8(response).ok()?.split_once(" #")?;
    let mut digits = time.bytes().enumerate();
    let is_time = digits.all(|(at, byte)| {
        if at % 3 == 2 {
            byte == b':'
        } else {
            byte.is_ascii_digit()
        }
    });
    (is_time && time.len() == 8)
        .then(|| number.parse().ok())
        .flatten()
}

fn send(shared: &Shared, sockets: &[UdpSocket], rate: usize) {
    let mut number = 0;
    while !shared.stop.load(Relaxed) {
        let due = (shared.start.elapsed().as_secs_f64() * rate as f64) as usize;
        let admitted = shared.answered.load(Relaxed) + WINDOW;
        let last = due.min(admitted).min(rate * MAX_SECONDS);
        for _ in 0..last.saturating_sub(number).min(BURST) {
            match sockets[number % sockets.len()].send(request(number).as_bytes()) {
                Ok(_) => {
                    number += 1;
                    shared.sent.store(number, Relaxed);
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
    let mut buf = [0; 2048];
    while !shared.done.load(Relaxed) {
        let Ok(length) = socket.recv(&mut buf) else {
            continue;
        };
        let mut received = shared.received.lock().expect("no panic");
        match number(&buf[..length]).and_then(|number| received.get_mut(number)) {
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

/// Upgrades servers under load: no request is lost, the service and the instance are new, and the
/// socket stays open. Returns what `upgrade` does.
pub fn upgrade_under_load<T>(machine: &Machine, upgrade: impl FnOnce() -> T) -> T {
    let lan = Lan::new(machine);
    let pids = || [SERVICE, INSTANCE].map(|unit| machine.daemon(unit));
    let old = pids();
    let since = machine.property(SOCKET, "ActiveEnterTimestampMonotonic");
    let load = Load::start(lan.sockets(), 20_000);
    load.wait_for_answered(5_000);
    let result = upgrade();
    let answered = load.answered();
    load.wait_for_answered(answered + 5_000);
    load.assert_none_lost();
    let new = pids();
    assert!(old[0] != new[0] && old[1] != new[1], "{old:?} {new:?}");
    assert_eq!(
        machine.property(SOCKET, "ActiveEnterTimestampMonotonic"),
        since
    );
    result
}

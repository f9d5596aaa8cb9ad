//! Two simulated clocks and the network between them, for tests of a measurement that neither use a
//! network nor wait.

use super::measurement::{Action, Measurement, MeasurementConfig, SampleOutcome};
use super::nanos::{Nanos, SECOND};
use super::result::Offset;
use super::sample::{ClockPair, Sample, ServerTime};

pub(super) const MILLI: Nanos = 1_000_000;
pub(super) const MICRO: Nanos = 1_000;

/// The delays of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delays {
    /// From client to server.
    pub request: Nanos,
    /// From server to client.
    pub response: Nanos,
    /// How late the client wakes up to send.
    pub wakeup: Nanos,
}

/// Returns the delays in microseconds: request, response, wake-up.
pub(super) fn micros(request: Nanos, response: Nanos, wakeup: Nanos) -> Delays {
    Delays {
        request: request * MICRO,
        response: response * MICRO,
        wakeup: wakeup * MICRO,
    }
}

pub(super) struct Simulation {
    /// The local wall clock.
    pub now: Nanos,
    /// The local wall clock minus the monotonic clock.
    pub wall_minus_mono: Nanos,
    /// The server's clock minus the local one when `now` is 0.
    pub offset: Nanos,
    /// Growth of the offset, in parts per million.
    pub ppm: Nanos,
    /// 1 ns, or one second for a whole-second server.
    pub resolution: Nanos,
    /// Delays of the requests, one after the other, then from the start again.
    pub delays: Vec<Delays>,
    /// By how much the seconds of a whole-second server are late, in turn as well.
    pub lags: Vec<Nanos>,
    /// The allowance for `lags` in the measurement.
    pub tick: Nanos,
    /// Whether the measurement takes the server for a local one.
    pub same_host: bool,
    /// Number of requests so far.
    pub requests: usize,
}

impl Simulation {
    pub fn new(offset: Nanos, resolution: Nanos, delays: Vec<Delays>) -> Self {
        let now = 1_783_213_507_123_456_789;
        Self {
            now,
            wall_minus_mono: now - 5_000 * SECOND,
            offset,
            ppm: 0,
            resolution,
            delays,
            lags: vec![0],
            tick: 0,
            same_host: false,
            requests: 0,
        }
    }

    /// Returns the true offset when the local clock reads `time`.
    fn true_offset(&self, time: Nanos) -> Nanos {
        self.offset + time * self.ppm / 1_000_000
    }

    fn mono(&self) -> Nanos {
        self.now - self.wall_minus_mono
    }

    fn read_clocks(&self) -> ClockPair {
        ClockPair {
            before: self.mono(),
            wall: self.now,
            after: self.mono(),
        }
    }

    /// Sends a request when the local clock reads `send_at`, or at once if that time is past.
    pub fn sample(&mut self, send_at: Nanos) -> Sample {
        let delays = self.delays[self.requests % self.delays.len()];
        self.requests += 1;
        if send_at > self.now {
            self.now = send_at + delays.wakeup;
        }
        let (before, sent_at) = (self.read_clocks(), self.mono());
        self.now += delays.request;
        let server_clock = self.now + self.true_offset(self.now);
        self.now += delays.response;
        let server_time = if self.resolution == 1 {
            ServerTime {
                time: server_clock,
                resolution: 1,
            }
        } else {
            let lag = self.lags[self.requests % self.lags.len()];
            let seconds = (server_clock - lag).div_euclid(SECOND);
            ServerTime::parse(&seconds.to_string(), self.tick).unwrap()
        };
        Sample {
            before,
            sent_at,
            received_at: self.mono(),
            after: self.read_clocks(),
            server_time,
        }
    }

    /// Measures to the end. Returns the result, and after each sample the time since the start and
    /// the bound.
    ///
    /// # Panics
    ///
    /// The true offset is outside the interval after any of the samples.
    pub fn measure(&mut self, samples: Option<u32>) -> (Offset, Vec<(Nanos, Nanos)>) {
        let config = MeasurementConfig {
            samples,
            tick: self.tick,
        };
        let mut measurement = Measurement::new(config).same_host(self.same_host);
        let (start, mut progress) = (self.now, Vec::new());
        while let Action::SendAt(send_at) = measurement.next_action(self.now) {
            assert!(progress.len() < 10_000, "the measurement does not end");
            let sample = self.sample(send_at);
            assert_eq!(measurement.add_sample(&sample), SampleOutcome::Accepted);
            let result = measurement.result().unwrap();
            let (offset, interval) = (
                self.true_offset(self.now),
                result.estimate.aged_to(self.now),
            );
            assert!(interval.contains(offset), "{offset} not in {interval:?}");
            progress.push((self.now - start, interval.bound()));
        }
        (measurement.result().unwrap(), progress)
    }
}

//! A simulated server and the network to it, for tests of a measurement that neither use a network
//! nor wait.

use super::measurement::{Action, Measurement, MeasurementConfig, SampleOutcome};
use super::nanos::{Nanos, SECOND};
use super::sample::{Precision, Sample, ServerClock, ServerTime};

pub(super) const MILLI: Nanos = 1_000_000;
pub(super) const MICRO: Nanos = 1_000;

/// The tick of a simulated coarse clock.
const COARSE_TICK: Nanos = 4 * MILLI;

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
    pub config: MeasurementConfig,
    /// The raw clock.
    pub now: Nanos,
    /// The server's clock minus the raw clock when that reads 0.
    pub offset: Nanos,
    /// Growth of this difference, in parts per million.
    pub ppm: Nanos,
    pub precision: Precision,
    /// Delays of the requests, one after the other, then from the start again.
    pub delays: Vec<Delays>,
    /// By how much the seconds of a whole-second server are late, in turn as well.
    pub lags: Vec<Nanos>,
    /// Number of requests so far.
    pub requests: usize,
    /// Whether the response to the request of this number is lost.
    pub is_lost: fn(usize) -> bool,
}

impl Simulation {
    /// The tick is 0.
    pub fn new(offset: Nanos, precision: Precision) -> Self {
        Self {
            config: MeasurementConfig {
                tick: 0,
                ..MeasurementConfig::default()
            },
            now: 5_000 * SECOND + 123_456_789,
            offset,
            ppm: 0,
            precision,
            delays: vec![micros(1, 1, 0)],
            lags: vec![0],
            requests: 0,
            is_lost: |_| false,
        }
    }

    /// Returns the server's clock minus the raw clock.
    pub fn true_offset(&self) -> Nanos {
        self.offset + self.now * self.ppm / 1_000_000
    }

    /// Sends a request when the raw clock reads `at`, or at once if that time is past.
    pub fn sample(&mut self, at: Nanos) -> Sample {
        let delays = self.delays[self.requests % self.delays.len()];
        self.requests += 1;
        if at > self.now {
            self.now = at + delays.wakeup;
        }
        let sent_at = self.now;
        self.now += delays.request;
        let clock = self.now + self.true_offset();
        self.now += delays.response;
        let lag = self.lags[self.requests % self.lags.len()];
        let time = match self.precision {
            Precision::Nanoseconds => clock,
            Precision::Coarse => clock.div_euclid(COARSE_TICK) * COARSE_TICK,
            Precision::Seconds => (clock - lag).div_euclid(SECOND) * SECOND,
        };
        Sample {
            sent_at,
            received_at: self.now,
            server_time: ServerTime {
                time,
                whole_seconds: self.precision == Precision::Seconds,
            },
        }
    }

    /// Measures to the end. Returns the result, and after each sample the time since the start and
    /// the bound.
    ///
    /// # Panics
    ///
    /// The true offset is outside the interval after any of the samples.
    pub fn measure(&mut self) -> (ServerClock, Vec<(Nanos, Nanos)>) {
        let mut measurement = Measurement::new(self.config);
        let (start, mut progress) = (self.now, Vec::new());
        while let Action::Send { at, timeout } = measurement.next_action(self.now) {
            assert!(progress.len() < 10_000, "the measurement does not end");
            if (self.is_lost)(self.requests) {
                self.requests += 1;
                self.now = self.now.max(at) + timeout;
                measurement.add_loss();
                continue;
            }
            let sample = self.sample(at);
            assert_eq!(measurement.add_sample(&sample), SampleOutcome::Accepted);
            let result = measurement.result().unwrap();
            let interval = result.estimate.aged_to(self.now);
            let offset = self.true_offset();
            assert!(interval.contains(offset), "{offset} not in {interval:?}");
            progress.push((self.now - start, interval.bound()));
        }
        (measurement.result().unwrap(), progress)
    }
}

//! The plan of a measurement: what to request, when, and when to stop.

use std::collections::VecDeque;

use super::interval::{Estimate, Interval};
use super::nanos::{DEFAULT_MAX_SLEW, DEFAULT_MAX_SLEW_SECONDS, Nanos, Ppm, SECOND, TICK};
use super::sample::{Precision, Sample, ServerClock, ServerTime};

/// Default number of samples from a server that responds with nanoseconds.
const DEFAULT_SAMPLES: u32 = 8;

/// Default number of parts into which the requests of a pass divide its window.
const WINDOW_PARTS: u32 = 32;

/// Number of parts for a measurement that has time: four passes of it are about as precise as two
/// of the default. It takes two seconds longer, and half as many requests.
pub const SLOW_WINDOW_PARTS: u32 = 5;

/// Number of parts for a measurement of a single pass, which ends with a bound of 0.06 s.
pub const SINGLE_PASS_PARTS: u32 = 10;

/// How late a sleep may end without that the first request of a pass is too late.
const WAKE_UP: Nanos = 250_000;

/// Default maximum number of passes: three are enough, with [`SLOW_WINDOW_PARTS`] and a tick four.
/// The others are for delays and losses at the wrong moment.
const MAX_PASSES: u32 = 6;

/// Maximum number of restarts after contradictions. After one more the measurement fails.
const MAX_RESTARTS: u32 = 3;

/// The shortest tick of a kernel's clock: CONFIG_HZ is at most 1000.
const MIN_TICK: Nanos = SECOND / 1000;

/// A server with a shorter round trip than this shows in a few samples whether its clock is coarse.
const QUICK_ROUND_TRIP: Nanos = MIN_TICK / 10;

/// Maximum number of further samples to find that out.
const MAX_FURTHER_SAMPLES: u32 = 24;

/// Number of samples that are considered for it.
const RECENT_SAMPLES: usize = 8;

/// A server that has responded is given this time, and four of its longest round trips, before a
/// request counts as lost and is sent once more.
const LOSS_DELAY: Nanos = 10_000_000;

/// What to do next in a [`Measurement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the next request.
    Send {
        /// Not before the raw clock reads this time.
        at: Nanos,
        /// Maximum wait for the response.
        timeout: Nanos,
    },
    /// Stop: more samples would not narrow the bound by much, the server does not respond, or the
    /// deadline is over.
    Done,
}

/// What [`Measurement::add_sample`] did with a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleOutcome {
    /// The sample is part of the result.
    Accepted,
    /// The sample contradicts the earlier ones, or shows that they were taken of a coarse clock.
    /// They were dropped.
    Restarted,
    /// The samples contradict each other too often: give up.
    Unstable,
}

/// The settings of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasurementConfig {
    /// Number of samples to take from each server; `None` for as many as its precision needs.
    pub samples: Option<u32>,
    /// What to request: seconds only of servers that are known not to support nanoseconds.
    pub precision: Precision,
    /// How late the seconds of a whole-second server may begin, see [`TICK`].
    pub tick: Nanos,
    /// Number of parts into which the requests of a pass divide its window, at least 2.
    pub window_parts: u32,
    /// Maximum number of passes, at least 1.
    pub max_passes: u32,
    /// How much faster or slower than the raw clock the server's clock may run; `None` for
    /// [`DEFAULT_MAX_SLEW`] or [`DEFAULT_MAX_SLEW_SECONDS`].
    pub max_slew: Option<Ppm>,
    /// Maximum wait for the response to one try.
    pub timeout: Nanos,
    /// Maximum number of tries for one sample, not counting those that end after `LOSS_DELAY`.
    pub attempts: u32,
    /// A time of the raw clock at which the measurement ends with the samples that it has.
    pub deadline: Option<Nanos>,
    /// Whether to measure the server's wall clock, in its time zone, instead of UTC. A change of
    /// its zone is a step of this clock.
    pub wall_clock: bool,
}

impl Default for MeasurementConfig {
    fn default() -> Self {
        Self {
            samples: None,
            precision: Precision::Nanoseconds,
            tick: TICK,
            window_parts: WINDOW_PARTS,
            max_passes: MAX_PASSES,
            max_slew: None,
            timeout: SECOND,
            attempts: 3,
            deadline: None,
            wall_clock: false,
        }
    }
}

/// The measurement of one server: decides what to request and when, and combines the samples.
///
/// # Servers that respond with nanoseconds
///
/// Eight requests, one directly after the other. The samples with the shortest round trips
/// determine the result.
///
/// A clock that is not coarse shows it: it reports more different times than there are ticks
/// between the first request and the last response. If it is quick enough to show that and does
/// not, even after some further requests, it gets the allowance of a coarse clock.
///
/// # Whole-second servers
///
/// A response says most if it is close to the moment at which a second of the server's clock
/// begins, an **edge**. That moment is known to be in a **window** of the raw clock that is as
/// wide as the interval. A **pass** spreads requests over the window of the next edge, a 32nd of it
/// apart, and stops at the first response with the new second. The interval is then as wide as a
/// 32nd of the window, plus a round trip. (One request for each edge would only halve it, and there
/// is only one edge in a second.)
///
/// A pass begins with a response before its window and goes on after it until the new second is
/// reported. So a clock that runs too fast or too slow for the window contradicts the earlier
/// samples, and does not seem to have its edge at an end of the window. A pass without a response
/// with the old second does not show that, so another one follows.
///
/// The passes narrow the interval from 1 s to 31 ms, to 1 ms, and to the round trip: three seconds
/// and some fifty requests. With a tick two passes are enough. With [`SLOW_WINDOW_PARTS`] it takes
/// six passes and some twenty-five requests, with a tick four. No further pass begins
///
/// * if it would not at least halve the [reported](ServerClock::reported) interval;
/// * if the reported interval is no wider than a quarter of the tick, which then makes up most of
///   the bound;
/// * after six passes, or as many as are wanted.
#[derive(Debug)]
pub struct Measurement {
    config: MeasurementConfig,
    precision: Precision,
    result: Option<ServerClock>,
    /// When the first request was sent.
    first_sent_at: Option<Nanos>,
    /// The latest reported time of the server's clock.
    last_time: Option<Nanos>,
    longest_round_trip: Nanos,
    /// When the requests of the last responses were sent, if all of these reported different times
    /// and no response between them was lost.
    recent: VecDeque<Nanos>,
    /// Whether the samples show that the clock is not coarse.
    is_fine: bool,
    /// Number of requests without a response since the last sample.
    lost: u32,
    /// The current pass.
    pass: Option<Pass>,
    /// Number of passes so far, with the current one.
    passes: u32,
    restarts: u32,
}

/// The requests around one edge.
#[derive(Clone, Copy, Debug)]
struct Pass {
    /// The second of the server's clock that begins.
    edge: Nanos,
    /// Time between two requests.
    spacing: Nanos,
    /// The beginning of the window.
    start: Nanos,
    /// When to send the next request.
    send_at: Nanos,
    /// Whether a response had the old second.
    is_bracketed: bool,
}

impl Measurement {
    /// Starts a measurement.
    pub fn new(config: MeasurementConfig) -> Self {
        Self {
            config,
            precision: config.precision,
            result: None,
            first_sent_at: None,
            last_time: None,
            longest_round_trip: 0,
            recent: VecDeque::new(),
            is_fine: false,
            lost: 0,
            pass: None,
            passes: 0,
            restarts: 0,
        }
    }

    /// Returns the format to request: nanoseconds, or seconds if the server does not support them.
    pub fn request(&self) -> &'static str {
        match (self.precision, self.config.wall_clock) {
            (Precision::Nanoseconds | Precision::Coarse, false) => "%s.%N",
            (Precision::Nanoseconds | Precision::Coarse, true) => "%s.%N %F %T %z",
            (Precision::Seconds, false) => "%s",
            (Precision::Seconds, true) => "%s %F %T %z",
        }
    }

    /// Parses the response to [`request`](Self::request).
    pub fn parse(&self, response: &str) -> Option<ServerTime> {
        match self.config.wall_clock {
            true => ServerTime::parse_wall(response),
            false => ServerTime::parse(response),
        }
    }

    /// Falls back from nanoseconds to seconds, after a response that is no time.
    ///
    /// Returns whether there is anything to fall back to: `false` if the request was for seconds.
    pub fn fall_back(&mut self) -> bool {
        std::mem::replace(&mut self.precision, Precision::Seconds) != Precision::Seconds
    }

    /// Returns the result of the samples so far.
    pub fn result(&self) -> Option<ServerClock> {
        let result = self.result?;
        if !self.may_be_coarse(&result) {
            return Some(result);
        }
        let mut result = result;
        result.estimate.interval.high += result.tick;
        result.precision = Precision::Coarse;
        Some(result)
    }

    /// Whether a server that is quick enough to show that its clock is not coarse has not done so.
    fn may_be_coarse(&self, result: &ServerClock) -> bool {
        result.precision == Precision::Nanoseconds
            && result.round_trip < QUICK_ROUND_TRIP
            && !self.is_fine
    }

    /// Decides what to do next, when the raw clock reads `now`.
    pub fn next_action(&mut self, now: Nanos) -> Action {
        let at = match self.result {
            None => Some(now),
            Some(result) if self.has_enough_samples(&result) => None,
            Some(result) if result.precision == Precision::Seconds => {
                self.next_in_pass(&result, now)
            }
            Some(_) => Some(now),
        };
        let timeout = self.timeout();
        match (at, timeout, self.config.deadline) {
            (Some(at), Some(timeout), None) => Action::Send { at, timeout },
            (Some(at), Some(timeout), Some(deadline)) if at < deadline => Action::Send {
                at,
                timeout: timeout.min(deadline - at),
            },
            _ => Action::Done,
        }
    }

    /// Returns the time-out of the next request; `None` if the server got all its tries.
    ///
    /// The first try for a sample ends soon if the round trip is known: while a response is waited
    /// for that was lost, an edge passes, and the earlier samples age.
    fn timeout(&self) -> Option<Nanos> {
        let MeasurementConfig {
            timeout, attempts, ..
        } = self.config;
        let soon = 4 * self.longest_round_trip + LOSS_DELAY;
        match self.result {
            Some(_) if self.lost == 0 => Some(timeout.min(soon)),
            Some(_) => (self.lost <= attempts).then_some(timeout),
            None => (self.lost < attempts).then_some(timeout),
        }
    }

    /// Whether the next request may wait for less than its time-out, because another try follows.
    /// One that ends soon is not shortened.
    pub fn may_shorten_timeout(&self) -> bool {
        match self.result {
            Some(_) => (1..self.config.attempts).contains(&self.lost),
            None => self.lost + 1 < self.config.attempts,
        }
    }

    fn has_enough_samples(&self, result: &ServerClock) -> bool {
        let wanted = match (self.config.samples, result.precision) {
            (Some(samples), _) => samples,
            (None, Precision::Seconds) => return false,
            (None, _) if self.may_be_coarse(result) => DEFAULT_SAMPLES + MAX_FURTHER_SAMPLES,
            (None, _) => DEFAULT_SAMPLES,
        };
        result.samples >= wanted
    }

    /// Continues the pass over the next edge of a whole-second server, or begins it. Returns when
    /// to send the next request; `None` if no further pass is worth its time.
    fn next_in_pass(&mut self, result: &ServerClock, now: Nanos) -> Option<Nanos> {
        let last_second = self.last_time.unwrap_or(0).div_euclid(SECOND) * SECOND;
        if let Some(pass) = self.pass.filter(|pass| last_second < pass.edge) {
            return Some(pass.send_at.max(now));
        }
        let interval = result.estimate.interval;
        let reported = Estimate {
            interval: result.reported(interval).unwrap_or(interval),
            ..result.estimate
        };
        // The next edge is the first that was not reported and has not certainly passed.
        let now_reported = reported.aged_to(now);
        let passed = (now + now_reported.low()).div_euclid(SECOND) * SECOND;
        let edge = passed.max(last_second) + SECOND;
        // The edge is in the window [edge - high, edge - low], with the difference as of its end.
        let window = reported.aged_to(edge - now_reported.low());
        let spacing = window.width() / Nanos::from(self.config.window_parts);
        if self.passes >= self.config.max_passes
            || self.pass.is_some_and(|pass| pass.is_bracketed)
                && self.is_narrow_enough(result, now_reported, spacing)
        {
            return None;
        }
        self.passes += 1;
        let start = edge - window.high();
        // A response is to be received before the window begins. It may be the last one.
        let first_at = start - spacing - 2 * self.longest_round_trip - WAKE_UP;
        let is_bracketed = result.estimate.as_of >= first_at;
        let send_at = match is_bracketed {
            true => start + spacing,
            false => first_at,
        };
        self.pass = Some(Pass {
            edge,
            spacing,
            start,
            send_at,
            is_bracketed,
        });
        Some(send_at.max(now))
    }

    /// Returns whether a pass with requests `spacing` apart is not worth a second of time.
    fn is_narrow_enough(&self, result: &ServerClock, reported: Interval, spacing: Nanos) -> bool {
        let width_after_pass = spacing.max(result.round_trip) + result.round_trip;
        2 * width_after_pass >= reported.width() || 4 * reported.width() <= self.config.tick
    }

    /// Adds that there was no response within the time-out.
    pub fn add_loss(&mut self) {
        self.lost += 1;
        self.recent.clear();
    }

    /// Adds a sample to the result, or restarts the measurement with it if it contradicts the
    /// result.
    pub fn add_sample(&mut self, sample: &Sample) -> SampleOutcome {
        let ServerTime {
            time,
            whole_seconds,
            utc_offset,
        } = sample.server_time;
        let is_repeated = self.last_time.replace(time) == Some(time);
        let before = self.precision;
        // A coarse clock explains samples that contradict each other by no more than a tick.
        let is_contradiction = |earlier: Option<ServerClock>, precision| {
            let new = sample.estimate(precision, self.config.tick, self.max_slew());
            earlier.is_some_and(|earlier| earlier.estimate.intersection(new).is_none())
        };
        let may_be_coarse = self
            .result
            .is_some_and(|result| self.may_be_coarse(&result));
        let seems_coarse = may_be_coarse
            && is_contradiction(self.result, before)
            && !is_contradiction(self.result(), Precision::Coarse);
        self.precision = match before {
            _ if whole_seconds => Precision::Seconds,
            Precision::Nanoseconds if is_repeated || seems_coarse => Precision::Coarse,
            before => before,
        };
        let is_recognised = before != self.precision && self.precision == Precision::Coarse;
        if is_recognised {
            // A tick between the first two samples is a contradiction only for a clock that is not
            // coarse.
            self.restarts = 0;
        }
        self.lost = 0;
        self.look_for_ticks(sample, is_repeated);
        let round_trip = sample.received_at - sample.sent_at;
        self.longest_round_trip = self.longest_round_trip.max(round_trip);
        let first_sent_at = *self.first_sent_at.get_or_insert(sample.sent_at);
        let new = ServerClock {
            estimate: sample.estimate(self.precision, self.config.tick, self.max_slew()),
            round_trip,
            samples: 1,
            precision: self.precision,
            tick: self.config.tick,
            restarts: self.restarts,
            duration: sample.received_at - first_sent_at,
            utc_offset,
        };
        let earlier = self.result.filter(|_| !is_recognised);
        let estimate = match earlier {
            Some(earlier) => earlier.estimate.intersection(new.estimate),
            None => Some(new.estimate),
        };
        let Some(estimate) = estimate else {
            self.restarts += 1;
            (self.pass, self.passes) = (None, 0);
            // A step may have seemed to be time that passes.
            self.is_fine = false;
            self.recent.drain(..self.recent.len() - 1);
            self.result = Some(ServerClock {
                restarts: self.restarts,
                ..new
            });
            return match self.restarts {
                ..=MAX_RESTARTS => SampleOutcome::Restarted,
                _ => SampleOutcome::Unstable,
            };
        };
        self.result = Some(ServerClock {
            estimate,
            round_trip: earlier.map_or(round_trip, |earlier| earlier.round_trip.min(round_trip)),
            samples: earlier.map_or(0, |earlier| earlier.samples) + 1,
            ..new
        });
        if let Some(pass) = &mut self.pass {
            pass.send_at = sample.sent_at.max(pass.start) + pass.spacing;
            pass.is_bracketed |= time < pass.edge;
        }
        match is_recognised {
            true => SampleOutcome::Restarted,
            false => SampleOutcome::Accepted,
        }
    }

    /// Finds out whether the last samples show that the clock is not coarse. Within `n` ticks and a
    /// part of one, a coarse clock reports at most `n + 2` different times.
    fn look_for_ticks(&mut self, sample: &Sample, is_repeated: bool) {
        if is_repeated {
            self.recent.clear();
        } else if self.recent.len() == RECENT_SAMPLES {
            self.recent.pop_front();
        }
        self.recent.push_back(sample.sent_at);
        // A slewed clock has shorter ticks.
        let tick = MIN_TICK * Nanos::from(1_000_000 - self.max_slew()) / 1_000_000;
        self.is_fine |= self.recent.iter().rev().zip(1..).any(|(&sent_at, times)| {
            let ticks = (sample.received_at - sent_at) / tick.max(1);
            times > ticks + 2
        });
    }

    /// Returns how much faster or slower the server's clock may run than the raw clock.
    fn max_slew(&self) -> Ppm {
        self.config.max_slew.unwrap_or(match self.precision {
            Precision::Nanoseconds | Precision::Coarse => DEFAULT_MAX_SLEW,
            Precision::Seconds => DEFAULT_MAX_SLEW_SECONDS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::simulation::{Delays, MICRO, MILLI, Simulation, micros};
    use super::*;
    use proptest::prelude::*;

    fn interval(low: Nanos, high: Nanos) -> Interval {
        Interval::new(low, high).unwrap()
    }

    fn new_measurement(tick: Nanos) -> Measurement {
        Measurement::new(MeasurementConfig {
            tick,
            ..MeasurementConfig::default()
        })
    }

    fn send_at(measurement: &mut Measurement, now: Nanos) -> Option<Nanos> {
        match measurement.next_action(now) {
            Action::Send { at, .. } => Some(at),
            Action::Done => None,
        }
    }

    fn timeout(measurement: &mut Measurement, now: Nanos) -> Option<Nanos> {
        match measurement.next_action(now) {
            Action::Send { timeout, .. } => Some(timeout),
            Action::Done => None,
        }
    }

    #[test]
    fn sample_gives_the_interval_of_the_theorem() {
        let mut simulation = Simulation::new(3_500 * MILLI, Precision::Nanoseconds);
        simulation.delays = vec![micros(20, 30, 0)];
        let sample = simulation.sample(0);
        let mut measurement = new_measurement(0);
        measurement.add_sample(&sample);
        let estimate = measurement.result().unwrap().estimate;
        // 10 % of 50 us.
        assert_eq!(
            estimate.interval,
            interval(3_499_970_000 - 5_000, 3_500_020_001 + 5_000)
        );
        assert_eq!(estimate.as_of, simulation.now);
    }

    #[test]
    fn nanosecond_server_gets_eight_requests_at_once() {
        let mut simulation = Simulation::new(-250 * MILLI, Precision::Nanoseconds);
        simulation.delays = vec![micros(20, 30, 0), micros(4, 6, 0)];
        let start = simulation.now;
        let (result, _) = simulation.measure();
        assert_eq!((result.samples, result.round_trip), (8, 10 * MICRO));
        assert_eq!(simulation.now - start, 4 * 60 * MICRO);
        assert_eq!(result.duration, 4 * 60 * MICRO);
        assert!(result.estimate.interval.bound() <= 7 * MICRO);
    }

    // Within 1 ms after two edges, and at the round trip after three, however large the offset.
    #[test]
    fn whole_second_server_takes_three_seconds() {
        for phase in 0..100 {
            let offset = phase * 10 * MILLI + (phase - 50) * 3_600 * SECOND;
            let mut simulation = Simulation::new(offset, Precision::Seconds);
            simulation.delays = vec![micros(15, 15, 5)];
            let (result, progress) = simulation.measure();
            let bound_at = |time| {
                let before = progress.iter().filter(|(at, _)| *at <= time);
                before.map(|(_, bound)| *bound).min().unwrap()
            };
            assert!(bound_at(2_010 * MILLI) <= MILLI, "{phase}");
            assert!(progress.last().unwrap().0 <= 3_010 * MILLI, "{phase}");
            let bound = result.estimate.interval.bound();
            assert!(bound <= 100 * MICRO, "{bound}");
            assert!(result.samples <= 110, "{}", result.samples);
        }
    }

    #[test]
    fn a_measurement_that_has_time_takes_fewer_requests() {
        let mut requests = [0, 0];
        for phase in 0..100 {
            for (requests, (window_parts, duration)) in requests
                .iter_mut()
                .zip([(WINDOW_PARTS, 2_010), (SLOW_WINDOW_PARTS, 4_010)])
            {
                let mut simulation = Simulation::new(phase * 10 * MILLI, Precision::Seconds);
                simulation.delays = vec![micros(15, 15, 5)];
                (simulation.config.window_parts, simulation.config.tick) = (window_parts, TICK);
                let (result, progress) = simulation.measure();
                let bound = result.estimate.interval.bound();
                assert!(bound <= TICK / 2 + MILLI, "{phase}: {bound}");
                assert!(progress.last().unwrap().0 <= duration * MILLI, "{phase}");
                *requests += result.samples;
            }
        }
        let [default, slow] = requests;
        assert!(slow * 2 <= default, "{slow} and {default}");
    }

    // The next one is a 32nd of the window after its beginning, which is the first request.
    #[test]
    fn a_response_before_a_window_is_not_requested_twice() {
        let mut simulation = Simulation::new(0, Precision::Seconds);
        simulation.delays = vec![micros(15, 15, 5)];
        let mut measurement = new_measurement(0);
        let first = simulation.sample(0);
        measurement.add_sample(&first);
        let at = send_at(&mut measurement, simulation.now).unwrap();
        let expected = first.sent_at + SECOND / 32;
        assert!(
            (expected - MILLI..expected + MILLI).contains(&at),
            "{}",
            at - expected
        );
    }

    // The bound stays above half a tick, and the reported offset is that of the late seconds.
    #[test]
    fn late_seconds_stay_within_the_bound() {
        for lag in 0..=10 {
            let mut simulation = Simulation::new(-77 * MILLI, Precision::Seconds);
            simulation.delays = vec![micros(15, 15, 5)];
            (simulation.lags, simulation.config.tick) = (vec![lag * MILLI], TICK);
            let (result, progress) = simulation.measure();
            let bound = result.estimate.interval.bound();
            assert!((TICK / 2..=6 * MILLI).contains(&bound), "{bound}");
            let reported = result.reported(result.estimate.interval).unwrap();
            assert!(reported.contains(-77 * MILLI - lag * MILLI), "{reported:?}");
            assert!(reported.bound() <= MILLI, "{reported:?}");
            assert!(progress.last().unwrap().0 <= 2_050 * MILLI);
        }
    }

    #[test]
    fn a_delay_at_an_edge_costs_one_more_pass() {
        let (fast, slow) = (micros(15, 15, 5), micros(3_000, 3_000, 5));
        let measure = |delays| {
            let mut simulation = Simulation::new(-77 * MILLI, Precision::Seconds);
            simulation.delays = delays;
            (simulation.lags, simulation.config.tick) = (vec![MILLI], TICK);
            let (result, progress) = simulation.measure();
            let reported = result.reported(result.estimate.interval);
            assert!(reported.unwrap().bound() <= MILLI, "{result:?}");
            progress
        };
        let undisturbed = measure(vec![fast]);
        assert!(undisturbed.last().unwrap().0 <= 2_050 * MILLI);
        let first_pass = undisturbed
            .iter()
            .filter(|(at, _)| *at < 1_200 * MILLI)
            .count();
        let delays = [vec![fast; first_pass], vec![slow; 4], vec![fast; 60]].concat();
        let last = measure(delays).last().unwrap().0;
        assert!((2_050 * MILLI..=3_050 * MILLI).contains(&last), "{last}");
    }

    #[test]
    fn each_pass_at_least_halves_the_interval() {
        for round_trip in [10 * MICRO, MILLI, 20 * MILLI, 200 * MILLI] {
            let mut simulation = Simulation::new(123 * MILLI, Precision::Seconds);
            simulation.delays = vec![Delays {
                request: round_trip / 3,
                response: round_trip * 2 / 3,
                wakeup: MICRO,
            }];
            let start = simulation.now;
            let (_, progress) = simulation.measure();
            // One pass at least, however long the round trip.
            assert!(progress.len() > 1, "{round_trip}");
            let bound_after = |pass: Nanos| {
                let end = pass * SECOND + round_trip + 40 * MILLI;
                let before = progress.iter().filter(|(at, _)| *at < end);
                before.map(|(_, bound)| *bound).min()
            };
            let passes = (simulation.now - start - round_trip) / SECOND;
            for pass in 1..passes {
                if let (Some(earlier), Some(later)) = (bound_after(pass), bound_after(pass + 1)) {
                    assert!(
                        2 * later <= earlier + 4,
                        "{round_trip}: {earlier} then {later}"
                    );
                }
            }
        }
    }

    // Nothing was received for 5.5 s after a pass. The next request is for the edge half a second
    // later, two round trips and a 32nd of its window before it begins.
    #[test]
    fn passed_edges_are_skipped() {
        let mut simulation = Simulation::new(0, Precision::Seconds);
        simulation.delays = vec![micros(15, 15, 5)];
        let mut measurement = new_measurement(0);
        while measurement.passes < 2 {
            assert!(simulation.requests < 100);
            let at = send_at(&mut measurement, simulation.now).expect("one pass is not enough");
            measurement.add_sample(&simulation.sample(at));
        }
        while measurement
            .pass
            .is_some_and(|pass| measurement.last_time < Some(pass.edge))
        {
            let at = send_at(&mut measurement, simulation.now).unwrap();
            measurement.add_sample(&simulation.sample(at));
        }
        let last_edge = simulation.now.div_euclid(SECOND) * SECOND;
        let (now, edge) = (last_edge + 5_500 * MILLI, last_edge + 6 * SECOND);
        let at = send_at(&mut measurement, now).expect("two passes are not enough");
        let result = measurement.result().unwrap();
        let window_end = edge - result.estimate.aged_to(now).low();
        let window = result.estimate.aged_to(window_end);
        let start = edge - window.high();
        let lead = window.width() / 32 + 2 * 30 * MICRO + WAKE_UP;
        assert_eq!(at, start - lead);
        assert!((edge - 50 * MILLI..edge).contains(&at), "{at}");
    }

    #[test]
    fn a_pass_stops_at_the_new_second() {
        let mut simulation = Simulation::new(0, Precision::Seconds);
        simulation.delays = vec![micros(15, 15, 5)];
        let mut measurement = new_measurement(0);
        let mut last = None;
        while let Some(at) = send_at(&mut measurement, simulation.now) {
            assert!(simulation.requests < 200);
            let is_new = last.is_some_and(|last| Some(last) != measurement.last_time);
            assert!(!is_new || at > simulation.now + 500 * MILLI, "{at}");
            last = measurement.last_time.filter(|_| measurement.passes > 0);
            measurement.add_sample(&simulation.sample(at));
        }
        assert_eq!(measurement.passes, 3);
    }

    // A clock that runs too fast is at its edge before the window, one that runs too slow after it.
    #[test]
    fn a_slew_beyond_the_maximum_is_a_contradiction() {
        for ppm in [50_000, -50_000, 5_000, -5_000, 100_000, -100_000] {
            let mut simulation = Simulation::new(0, Precision::Seconds);
            (simulation.delays, simulation.ppm) = (vec![micros(15, 15, 5)], ppm);
            let mut measurement = new_measurement(0);
            loop {
                assert!(simulation.requests < 10_000, "{ppm}");
                let at = send_at(&mut measurement, simulation.now).expect("a contradiction first");
                match measurement.add_sample(&simulation.sample(at)) {
                    SampleOutcome::Accepted => {}
                    SampleOutcome::Restarted => assert!(measurement.restarts <= 3),
                    SampleOutcome::Unstable => break,
                }
            }
        }
    }

    // The first response of each pass is late, so that it has the new second.
    #[test]
    fn a_pass_without_the_old_second_is_repeated() {
        let mut simulation = Simulation::new(0, Precision::Seconds);
        simulation.delays = vec![micros(15, 15, 5)];
        let mut measurement = new_measurement(0);
        while measurement.passes < 2 {
            let at = send_at(&mut measurement, simulation.now).unwrap();
            let late = if measurement.passes < 2 {
                0
            } else {
                100 * MILLI
            };
            measurement.add_sample(&simulation.sample(at + late));
        }
        let result = measurement.result().unwrap();
        let (edge, is_bracketed) = measurement
            .pass
            .map(|it| (it.edge, it.is_bracketed))
            .unwrap();
        assert!(!is_bracketed && measurement.last_time == Some(edge));
        assert!(measurement.is_narrow_enough(&result, interval(0, 1), 1));
        assert!(send_at(&mut measurement, simulation.now).is_some());
    }

    #[test]
    fn slew_defaults_to_that_of_the_precision() {
        for (precision, max_slew, expected) in [
            (Precision::Nanoseconds, None, 100_000),
            (Precision::Seconds, None, 500),
            (Precision::Nanoseconds, Some(70), 70),
            (Precision::Seconds, Some(70), 70),
        ] {
            let mut simulation = Simulation::new(0, precision);
            simulation.config.max_slew = max_slew;
            let (result, _) = simulation.measure();
            assert_eq!(result.estimate.max_slew, expected);
        }
    }

    // The reported width is that of the interval less the tick.
    #[test]
    fn a_pass_must_halve_the_reported_width() {
        for (width, tick, spacing, round_trip, enough) in [
            // What is left is 500 us: the spacing, or twice the round trip.
            (1_000, 0, 500, 0, true),
            (1_001, 0, 500, 0, false),
            (1_000, 0, 100, 250, true),
            (1_001, 0, 100, 250, false),
            (1_100, 0, 300, 250, true),
            (1_101, 0, 300, 250, false),
            // A quarter of the tick.
            (250, 1_000, 1, 1, true),
            (251, 1_000, 1, 1, false),
        ] {
            let (result, _) = Simulation::new(0, Precision::Seconds).measure();
            let result = ServerClock {
                round_trip,
                ..result
            };
            assert_eq!(
                new_measurement(tick).is_narrow_enough(&result, interval(5, width + 5), spacing),
                enough,
                "{width} {tick} {spacing} {round_trip}"
            );
        }
    }

    #[test]
    fn a_given_number_of_samples_is_exact() {
        for precision in [Precision::Nanoseconds, Precision::Seconds] {
            for samples in [1, 3, 20] {
                let mut simulation = Simulation::new(0, precision);
                simulation.config.samples = Some(samples);
                simulation.delays = vec![micros(50, 50, 0)];
                assert_eq!(simulation.measure().0.samples, samples);
            }
        }
    }

    #[test]
    fn a_quick_server_shows_that_its_clock_is_fine() {
        for (wanted, samples, precision) in [
            (None, 8, Precision::Nanoseconds),
            (Some(3), 3, Precision::Nanoseconds),
            (Some(2), 2, Precision::Coarse),
        ] {
            let mut simulation = Simulation::new(0, Precision::Nanoseconds);
            simulation.config.samples = wanted;
            simulation.config.tick = TICK;
            simulation.delays = vec![micros(49, 49, 0)];
            let (result, _) = simulation.measure();
            assert_eq!((result.samples, result.precision), (samples, precision));
        }
    }

    // Each loss takes more than a tick, so no two responses are from the same one.
    #[test]
    fn a_coarse_clock_is_not_hidden_by_losses() {
        for phase in 0..=40 {
            let mut simulation = Simulation::new(phase * 100 * MICRO, Precision::Coarse);
            let mut measurement = new_measurement(TICK);
            while let Action::Send { at, timeout } = measurement.next_action(simulation.now) {
                let sample = simulation.sample(at);
                assert_ne!(measurement.add_sample(&sample), SampleOutcome::Unstable);
                let estimate = measurement.result().unwrap().estimate;
                let interval = estimate.aged_to(simulation.now);
                assert!(interval.contains(simulation.true_offset()));
                measurement.add_loss();
                simulation.now += timeout;
            }
            let result = measurement.result().unwrap();
            assert_eq!(result.precision, Precision::Coarse);
        }
    }

    // With 4 ms ticks most of the eight responses have the same time, with any phase.
    #[test]
    fn a_coarse_clock_is_recognised_by_a_repeated_time() {
        for phase in 0..=40 {
            let mut simulation = Simulation::new(phase * 100 * MICRO, Precision::Coarse);
            simulation.delays = vec![micros(90, 150, 0)];
            simulation.config.tick = TICK;
            let start = simulation.now;
            let mut measurement = Measurement::new(simulation.config);
            let mut outcomes = Vec::new();
            while let Some(at) = send_at(&mut measurement, simulation.now) {
                outcomes.push(measurement.add_sample(&simulation.sample(at)));
            }
            let result = measurement.result().unwrap();
            assert_eq!(result.precision, Precision::Coarse);
            assert_eq!((result.samples, result.restarts), (8, 0));
            assert!(outcomes.contains(&SampleOutcome::Restarted));
            let offset = simulation.true_offset();
            assert!(result.estimate.aged_to(simulation.now).contains(offset));
            assert!(simulation.now - start <= 10 * 240 * MICRO);
        }
    }

    #[test]
    fn request_falls_back_to_seconds_once() {
        let mut measurement = new_measurement(TICK);
        assert_eq!(measurement.request(), "%s.%N");
        assert!(measurement.fall_back());
        assert_eq!(measurement.request(), "%s");
        assert!(!measurement.fall_back());
        // The same if that is known before.
        let config = MeasurementConfig {
            precision: Precision::Seconds,
            ..MeasurementConfig::default()
        };
        assert_eq!(Measurement::new(config).request(), "%s");
        // The same after a response of whole seconds.
        let mut measurement = new_measurement(TICK);
        measurement.add_sample(&Simulation::new(0, Precision::Seconds).sample(0));
        assert_eq!(measurement.request(), "%s");
        assert!(!measurement.fall_back());
    }

    #[test]
    fn steps_of_the_servers_clock_restart_three_times() {
        let mut simulation = Simulation::new(0, Precision::Nanoseconds);
        let mut measurement = new_measurement(TICK);
        let restarted = SampleOutcome::Restarted;
        for outcome in [
            SampleOutcome::Accepted,
            restarted,
            restarted,
            restarted,
            SampleOutcome::Unstable,
        ] {
            assert_eq!(measurement.add_sample(&simulation.sample(0)), outcome);
            simulation.offset += SECOND;
        }
        assert_eq!(measurement.result().unwrap().restarts, 4);
    }

    #[test]
    fn a_server_that_does_not_respond_gets_all_tries() {
        let mut measurement = new_measurement(TICK);
        for _ in 0..3 {
            assert_eq!(timeout(&mut measurement, 0), Some(SECOND));
            measurement.add_loss();
        }
        assert_eq!(measurement.next_action(0), Action::Done);
        assert_eq!(measurement.result(), None);
    }

    #[test]
    fn the_last_try_is_not_shortened() {
        let mut measurement = new_measurement(TICK);
        let may_shorten = |measurement: &mut Measurement| {
            let may_shorten = measurement.may_shorten_timeout();
            measurement.add_loss();
            may_shorten
        };
        for expected in [true, true, false] {
            assert_eq!(may_shorten(&mut measurement), expected);
        }
        let mut simulation = Simulation::new(0, Precision::Nanoseconds);
        measurement.add_sample(&simulation.sample(0));
        for expected in [false, true, true, false] {
            assert!(timeout(&mut measurement, simulation.now).is_some());
            assert_eq!(may_shorten(&mut measurement), expected);
        }
        assert_eq!(timeout(&mut measurement, simulation.now), None);
    }

    // Each sample has all its tries. The first one after a response ends soon.
    #[test]
    fn tries_count_for_a_sample() {
        let mut simulation = Simulation::new(0, Precision::Nanoseconds);
        simulation.delays = vec![micros(100, 150, 0)];
        let mut measurement = new_measurement(TICK);
        for _ in 0..7 {
            measurement.add_sample(&simulation.sample(0));
            for expected in [11 * MILLI, SECOND, SECOND, SECOND] {
                assert_eq!(timeout(&mut measurement, simulation.now), Some(expected));
                measurement.add_loss();
            }
            assert_eq!(measurement.next_action(simulation.now), Action::Done);
        }
        // A time-out of less than that stays.
        measurement.config.timeout = MILLI;
        measurement.lost = 0;
        assert_eq!(timeout(&mut measurement, simulation.now), Some(MILLI));
    }

    #[test]
    fn a_deadline_ends_waits_and_the_measurement() {
        let mut simulation = Simulation::new(0, Precision::Seconds);
        let deadline = simulation.now + 1_700 * MILLI;
        simulation.config.deadline = Some(deadline);
        simulation.measure();
        assert!(simulation.now < deadline);
        let mut measurement = Measurement::new(simulation.config);
        assert_eq!(timeout(&mut measurement, deadline - 7), Some(7));
        assert_eq!(timeout(&mut measurement, deadline), None);
    }

    // Each tenth response is lost, and the time-out is a second.
    #[test]
    fn losses_do_not_widen_the_bound_of_whole_seconds() {
        for first_loss in 1..=10 {
            let mut simulation = Simulation::new(123 * MILLI, Precision::Seconds);
            simulation.delays = vec![micros(15, 15, 5)];
            simulation.is_lost = |request| request % 10 == 0;
            simulation.requests = first_loss;
            let (result, _) = simulation.measure();
            let bound = result.estimate.interval.bound();
            assert!(bound <= 2 * MILLI, "{first_loss}: {bound}");
        }
    }

    fn any_delays() -> impl Strategy<Value = Delays> {
        [0..20 * MILLI, 0..20 * MILLI, 0..5 * MILLI].prop_map(|[request, response, wakeup]| {
            Delays {
                request,
                response,
                wakeup,
            }
        })
    }

    proptest! {
        // The assertion is in `Simulation::measure`.
        #[test]
        fn the_interval_always_contains_the_offset(
            offset in -100_000 * SECOND..100_000 * SECOND,
            share_of_slew in -1_000..=1_000i128,
            whole_seconds in any::<bool>(),
            delays in prop::collection::vec(any_delays(), 1..40),
            lags in prop::collection::vec(0..=TICK, 1..40),
            samples in prop::option::of(1..60u32),
        ) {
            let (precision, max_slew) = match whole_seconds {
                true => (Precision::Seconds, DEFAULT_MAX_SLEW_SECONDS),
                false => (Precision::Nanoseconds, DEFAULT_MAX_SLEW),
            };
            let mut simulation = Simulation::new(offset, precision);
            simulation.delays = delays;
            simulation.ppm = Nanos::from(max_slew) * share_of_slew / 1_000;
            simulation.now %= SECOND;
            (simulation.lags, simulation.config.tick) = (lags, TICK);
            simulation.config.samples = samples;
            let (result, _) = simulation.measure();
            prop_assert!(result.estimate.interval.width() <= 2 * SECOND);
        }
    }
}

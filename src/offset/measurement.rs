//! The plan of a measurement: what to request, when, and when to stop.

use super::interval::Interval;
use super::nanos::{Nanos, SECOND, TICK};
use super::result::Offset;
use super::sample::{Sample, ServerTime};

/// Default number of samples from a server that responds with nanoseconds.
const DEFAULT_SAMPLES: u32 = 8;

/// Bound at which more samples of a server on the same host are not worth their time: 50 us. The
/// usual bound is an eighth of it, unless the processor was busy during each of the
/// [`DEFAULT_SAMPLES`].
const LOCAL_TARGET_BOUND: Nanos = 50_000;

/// Maximum time to keep trying for [`LOCAL_TARGET_BOUND`]: 10 ms, some time slices of a busy
/// machine.
const LOCAL_RETRY_TIME: Nanos = 10_000_000;

/// Number of parts into which the requests of a pass divide its window.
const WINDOW_PARTS: Nanos = 32;

/// Maximum number of passes: three are enough, and one is for a delay at the wrong moment.
const MAX_PASSES: u32 = 4;

/// Maximum number of restarts after steps of a clock. After one more the measurement fails.
const MAX_RESTARTS: u32 = 3;

/// What to do next in a [`Measurement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the next request when the local wall clock reads this time; at once if it is past.
    SendAt(Nanos),
    /// Stop: more samples would not narrow the bound by much.
    Done,
}

/// What [`Measurement::add_sample`] did with a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleOutcome {
    /// The sample is part of the result.
    Accepted,
    /// The sample contradicts the earlier ones: the local clock or the server's was stepped. The
    /// earlier samples were dropped.
    Restarted,
    /// As `Restarted`, but too often: give up.
    Unstable,
}

/// The settings of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasurementConfig {
    /// Number of samples to take from each server; `None` for as many as its resolution needs.
    pub samples: Option<u32>,
    /// How late the seconds of a whole-second server may begin, see [`TICK`].
    pub tick: Nanos,
}

impl Default for MeasurementConfig {
    fn default() -> Self {
        Self {
            samples: None,
            tick: TICK,
        }
    }
}

/// The measurement of one server: decides what to request and when, and combines the samples.
///
/// # Servers that respond with nanoseconds
///
/// Eight requests, one directly after the other. The samples with the shortest round trips
/// determine the result. If none was fast and the server is on the [same host](Self::same_host),
/// requests continue until one is, for up to 10 ms.
///
/// # Whole-second servers
///
/// A response says most if it is close to the moment at which a second of the server's clock
/// begins, an **edge**. That moment is known to be in a **window** of the local clock that is as
/// wide as the interval. A **pass** spreads up to 31 requests evenly over the window of the next
/// edge, and stops at the first response with the new second. The interval is then as wide as a
/// 32nd of the window, plus a round trip. (One request for each edge would only halve it, and there
/// is only one edge in a second.)
///
/// The passes narrow the interval from 1 s to 31 ms, to 1 ms, and to the round trip: three seconds
/// and some fifty requests. With a tick two passes are enough. No further pass begins
///
/// * if it would not at least halve the [reported](Offset::reported) interval;
/// * if the reported interval is no wider than a fifth of the tick, which then makes up most of the
///   bound;
/// * after four passes.
#[derive(Debug)]
pub struct Measurement {
    config: MeasurementConfig,
    /// Whether to request whole seconds.
    whole_seconds: bool,
    same_host: bool,
    /// Contains the difference of the local clocks; empty intersections show a step.
    wall_minus_mono: Option<Interval>,
    result: Option<Offset>,
    /// When the first request was sent, by the monotonic clock.
    first_sent_at: Option<Nanos>,
    /// Time from then to the last response.
    elapsed: Nanos,
    /// The latest reported time of the server's clock, in whole seconds.
    last_second: Nanos,
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
    /// When to send the next request, by the local wall clock.
    send_at: Nanos,
}

impl Measurement {
    /// Starts a measurement.
    pub fn new(config: MeasurementConfig) -> Self {
        Self {
            config,
            whole_seconds: false,
            same_host: false,
            wall_minus_mono: None,
            result: None,
            first_sent_at: None,
            elapsed: 0,
            last_second: 0,
            pass: None,
            passes: 0,
            restarts: 0,
        }
    }

    /// Sets whether the server is on the same host. Then a slow response is the fault of a busy
    /// processor and not of the network, and another request may be faster.
    #[must_use]
    pub fn same_host(self, same_host: bool) -> Self {
        Self { same_host, ..self }
    }

    /// Returns the format to request: nanoseconds, or seconds if the server does not support them.
    pub fn request(&self) -> &'static str {
        if self.whole_seconds { "%s" } else { "%s.%N" }
    }

    /// Falls back from nanoseconds to seconds, after a response that is no time.
    ///
    /// Returns whether there is anything to fall back to: `false` if the request was for seconds.
    pub fn fall_back(&mut self) -> bool {
        !std::mem::replace(&mut self.whole_seconds, true)
    }

    /// Parses a response; `None` if it is no time.
    pub fn parse(&self, response: &str) -> Option<ServerTime> {
        ServerTime::parse(response, self.config.tick)
    }

    /// Returns the result of the samples so far.
    pub fn result(&self) -> Option<Offset> {
        self.result
    }

    /// Decides what to do next, when the local wall clock reads `now`.
    pub fn next_action(&mut self, now: Nanos) -> Action {
        let Some(result) = self.result else {
            return Action::SendAt(now);
        };
        if self.has_enough_samples(&result) {
            Action::Done
        } else if result.resolution < SECOND {
            Action::SendAt(now)
        } else {
            self.next_in_pass(&result, now)
        }
    }

    fn has_enough_samples(&self, result: &Offset) -> bool {
        if let Some(samples) = self.config.samples {
            return result.samples >= samples;
        }
        let try_longer = self.same_host
            && self.elapsed < LOCAL_RETRY_TIME
            && result.estimate.interval.bound() > LOCAL_TARGET_BOUND;
        result.resolution < SECOND && result.samples >= DEFAULT_SAMPLES && !try_longer
    }

    /// Continues the pass over the next edge of a whole-second server, or begins it.
    fn next_in_pass(&mut self, result: &Offset, now: Nanos) -> Action {
        let offset = result.estimate.aged_to(now);
        // The next edge is the first that was not reported and has not certainly passed.
        let passed = (now + offset.low()).div_euclid(SECOND) * SECOND;
        let edge = passed.max(self.last_second) + SECOND;
        if let Some(pass) = self.pass.filter(|pass| pass.edge == edge) {
            return Action::SendAt(pass.send_at.max(now));
        }
        // The edge is in the window [edge - high, edge - low], with the offset as of its end.
        let offset_at_end = result.estimate.aged_to(edge - offset.low());
        let spacing = offset_at_end.width() / WINDOW_PARTS;
        if self.passes == MAX_PASSES
            || self.passes > 0 && self.is_narrow_enough(result, offset, spacing)
        {
            return Action::Done;
        }
        self.passes += 1;
        let send_at = now.max(edge - offset_at_end.high() + spacing);
        self.pass = Some(Pass {
            edge,
            spacing,
            send_at,
        });
        Action::SendAt(send_at)
    }

    /// Returns whether a pass with requests `spacing` apart is not worth a second of time.
    fn is_narrow_enough(&self, result: &Offset, offset: Interval, spacing: Nanos) -> bool {
        let width_after_pass = spacing.max(result.round_trip) + result.round_trip;
        let reported_width = offset.width() - self.config.tick;
        2 * width_after_pass >= reported_width || 5 * reported_width <= self.config.tick
    }

    /// Adds a sample to the result, or restarts the measurement with it if it contradicts the
    /// result.
    pub fn add_sample(&mut self, sample: &Sample) -> SampleOutcome {
        self.whole_seconds |= sample.server_time.resolution >= SECOND;
        self.last_second = sample.server_time.time.div_euclid(SECOND) * SECOND;
        self.elapsed = sample.received_at - *self.first_sent_at.get_or_insert(sample.sent_at);
        // None if the local clock was stepped during this round trip.
        let wall_minus_mono = sample
            .before
            .wall_minus_mono()
            .intersection(sample.after.wall_minus_mono());
        match wall_minus_mono.and_then(|difference| self.combine(sample, difference)) {
            Some((difference, result)) => {
                (self.wall_minus_mono, self.result) = (Some(difference), Some(result));
                if let Some(pass) = &mut self.pass {
                    pass.send_at = sample.sent_at + difference.low() + pass.spacing;
                }
                SampleOutcome::Accepted
            }
            None => self.restart(sample, wall_minus_mono),
        }
    }

    /// Combines a sample with the earlier ones: the difference of the local clocks, and the result.
    /// `None` if either contradicts the earlier samples.
    fn combine(&self, sample: &Sample, wall_minus_mono: Interval) -> Option<(Interval, Offset)> {
        let difference = match self.wall_minus_mono {
            Some(earlier) => earlier.intersection(wall_minus_mono)?,
            None => wall_minus_mono,
        };
        let offset = sample.offset(difference, self.restarts);
        let result = match self.result {
            Some(earlier) => earlier.intersection(offset)?,
            None => offset,
        };
        Some((difference, result))
    }

    /// Restarts the measurement with `sample`, or without it if the local clock was stepped during
    /// its round trip (`wall_minus_mono` is `None`).
    fn restart(&mut self, sample: &Sample, wall_minus_mono: Option<Interval>) -> SampleOutcome {
        self.restarts += 1;
        (self.pass, self.passes, self.first_sent_at) = (None, 0, None);
        self.wall_minus_mono = wall_minus_mono;
        self.result = wall_minus_mono.map(|difference| sample.offset(difference, self.restarts));
        if self.restarts > MAX_RESTARTS {
            SampleOutcome::Unstable
        } else {
            SampleOutcome::Restarted
        }
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
        let samples = None;
        Measurement::new(MeasurementConfig { samples, tick })
    }

    /// Simulates a nanosecond server on the same host.
    fn local(delays: Vec<Delays>) -> Simulation {
        Simulation {
            same_host: true,
            ..Simulation::new(0, 1, delays)
        }
    }

    #[test]
    fn sample_gives_the_interval_of_the_theorem() {
        let mut simulation = Simulation::new(3_500 * MILLI, 1, vec![micros(20, 30, 0)]);
        let sample = simulation.sample(0);
        let estimate = sample.offset(sample.before.wall_minus_mono(), 0).estimate;
        // 50 us and 2 ns at 500 ppm, and 1 ns of uncertainty of the local clocks' difference.
        let slack = 26 + 1;
        assert_eq!(
            estimate.interval,
            interval(3_499_970_000 - slack, 3_500_020_001 + slack)
        );
        assert_eq!(estimate.as_of, simulation.now + 1);
    }

    #[test]
    fn nanosecond_server_gets_eight_requests_at_once() {
        let delays = vec![micros(20, 30, 0), micros(4, 6, 0)];
        let mut simulation = Simulation::new(-250 * MILLI, 1, delays);
        let start = simulation.now;
        let (result, _) = simulation.measure(None);
        assert_eq!((result.samples, result.round_trip), (8, 10 * MICRO));
        assert_eq!(simulation.now - start, 4 * 60 * MICRO);
        assert!(result.estimate.interval.bound() <= 6 * MICRO);
    }

    #[test]
    fn slow_local_server_gets_more_requests_for_10_ms() {
        let slow = micros(200, 50, 0);
        // The 21st response is fast.
        let mut late = local([vec![slow; 20], vec![micros(9, 9, 9)]].concat());
        let (result, _) = late.measure(None);
        assert_eq!((result.samples, result.round_trip), (21, 18 * MICRO));
        // No response is fast: 40 round trips take 10 ms.
        let mut never = local(vec![slow]);
        assert_eq!(never.measure(None).0.samples, 40);
        // The server is on another host.
        let mut remote = Simulation::new(0, 1, vec![slow]);
        assert_eq!(remote.measure(None).0.samples, DEFAULT_SAMPLES);
        // The number of samples is given.
        assert_eq!(never.measure(Some(9)).0.samples, 9);
    }

    // The width is the round trip, 2 ns for the local clocks, 1 ns for the server's, and 50 ns of
    // drift on both sides.
    #[test]
    fn local_server_is_fast_up_to_a_bound_of_50_us() {
        for (round_trip, bound, samples) in [(99_897, 50_000, 8), (99_898, 50_001, 101)] {
            let mut simulation = local(vec![Delays {
                request: 50_000,
                response: round_trip - 50_000,
                wakeup: 0,
            }]);
            let (result, _) = simulation.measure(None);
            let expected = (bound, samples);
            assert_eq!((result.estimate.interval.bound(), result.samples), expected);
        }
    }

    // Within 1 ms after two edges, and at the round trip after three, however large the offset.
    #[test]
    fn whole_second_server_takes_three_seconds() {
        for phase in 0..100 {
            let offset = phase * 10 * MILLI + (phase - 50) * 3_600 * SECOND;
            let mut simulation = Simulation::new(offset, SECOND, vec![micros(15, 15, 5)]);
            let (result, progress) = simulation.measure(None);
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

    // The bound stays above half a tick, and the reported offset is that of the late seconds.
    #[test]
    fn late_seconds_stay_within_the_bound() {
        for lag in 0..=10 {
            let mut simulation = Simulation::new(-77 * MILLI, SECOND, vec![micros(15, 15, 5)]);
            (simulation.lags, simulation.tick) = (vec![lag * MILLI], TICK);
            let (result, progress) = simulation.measure(None);
            let bound = result.estimate.interval.bound();
            assert!((TICK / 2..=6 * MILLI).contains(&bound), "{bound}");
            let reported = result.reported().unwrap();
            assert!(reported.contains(-77 * MILLI - lag * MILLI), "{reported:?}");
            assert!(reported.bound() <= MILLI, "{reported:?}");
            assert!(progress.last().unwrap().0 <= 2_050 * MILLI);
        }
    }

    #[test]
    fn a_delay_at_an_edge_costs_one_more_pass() {
        let (fast, slow) = (micros(15, 15, 5), micros(3_000, 3_000, 5));
        let measure = |delays| {
            let mut simulation = Simulation::new(-77 * MILLI, SECOND, delays);
            (simulation.lags, simulation.tick) = (vec![MILLI], TICK);
            let (result, progress) = simulation.measure(None);
            assert!(result.reported().unwrap().bound() <= MILLI, "{result:?}");
            progress
        };
        let undisturbed = measure(vec![fast]);
        assert!(undisturbed.last().unwrap().0 <= 2_050 * MILLI);
        let first_pass = undisturbed
            .iter()
            .filter(|(at, _)| *at < 1_200 * MILLI)
            .count();
        let delays = [vec![fast; first_pass], vec![slow; 6], vec![fast; 40]].concat();
        let last = measure(delays).last().unwrap().0;
        assert!((2_050 * MILLI..=3_050 * MILLI).contains(&last), "{last}");
    }

    #[test]
    fn each_pass_at_least_halves_the_interval() {
        for round_trip in [10 * MICRO, MILLI, 20 * MILLI, 200 * MILLI, 2 * SECOND] {
            let delays = Delays {
                request: round_trip / 3,
                response: round_trip * 2 / 3,
                wakeup: MICRO,
            };
            let mut simulation = Simulation::new(123 * MILLI, SECOND, vec![delays]);
            let start = simulation.now;
            let (_, progress) = simulation.measure(None);
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
    // later, a 32nd of the window after its start.
    #[test]
    fn passed_edges_are_skipped() {
        let mut simulation = Simulation::new(0, SECOND, vec![micros(15, 15, 5)]);
        let mut measurement = new_measurement(0);
        while measurement.passes < 2 {
            assert!(simulation.requests < 100);
            match measurement.next_action(simulation.now) {
                Action::SendAt(at) => measurement.add_sample(&simulation.sample(at)),
                Action::Done => panic!("one pass is not enough"),
            };
        }
        let last_edge = simulation.now.div_euclid(SECOND) * SECOND;
        let (now, edge) = (last_edge + 5_500 * MILLI, last_edge + 6 * SECOND);
        let Action::SendAt(at) = measurement.next_action(now) else {
            panic!("one pass is not enough");
        };
        let estimate = measurement.result().unwrap().estimate;
        let window_end = edge - estimate.aged_to(now).low();
        let offset = estimate.aged_to(window_end);
        assert_eq!(at, edge - offset.high() + offset.width() / 32);
        assert!((edge - 50 * MILLI..edge).contains(&at), "{at}");
    }

    #[test]
    fn a_pass_stops_at_the_new_second() {
        let mut simulation = Simulation::new(0, SECOND, vec![micros(15, 15, 5)]);
        let mut measurement = new_measurement(0);
        let mut second = None;
        while let Action::SendAt(at) = measurement.next_action(simulation.now) {
            assert!(simulation.requests < 200);
            let early = simulation.now + 500 * MILLI;
            let is_new = second.is_some_and(|second| second != measurement.last_second);
            assert!(!is_new || at > early, "{at}");
            second = Some(measurement.last_second).filter(|_| measurement.passes > 0);
            measurement.add_sample(&simulation.sample(at));
        }
        assert_eq!(measurement.passes, 3);
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
            (2_000, 1_000, 100, 250, true),
            // A fifth of the tick.
            (1_200, 1_000, 1, 1, true),
            (1_206, 1_000, 1, 1, false),
        ] {
            let sample = Simulation::new(0, SECOND, vec![micros(1, 1, 0)]).sample(0);
            let result = Offset {
                round_trip,
                ..sample.offset(interval(0, 0), 0)
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
        for resolution in [1, SECOND] {
            for samples in [1, 3, 20] {
                let mut simulation = Simulation::new(0, resolution, vec![micros(1, 1, 0)]);
                assert_eq!(simulation.measure(Some(samples)).0.samples, samples);
            }
        }
    }

    #[test]
    fn default_config_allows_for_a_tick() {
        let (samples, tick) = (None, TICK);
        assert_eq!(
            MeasurementConfig::default(),
            MeasurementConfig { samples, tick }
        );
    }

    #[test]
    fn request_falls_back_to_seconds_once() {
        let mut measurement = new_measurement(TICK);
        assert_eq!(measurement.request(), "%s.%N");
        assert!(measurement.fall_back());
        assert_eq!(measurement.request(), "%s");
        assert!(!measurement.fall_back());
        // The same after a response of whole seconds.
        let mut measurement = new_measurement(TICK);
        measurement.add_sample(&Simulation::new(0, SECOND, vec![micros(1, 1, 0)]).sample(0));
        assert_eq!(measurement.request(), "%s");
        assert!(!measurement.fall_back());
    }

    #[test]
    fn parse_takes_the_tick_from_the_config() {
        let server_time = new_measurement(7).parse("5").unwrap();
        assert_eq!(
            (server_time.time, server_time.resolution),
            (5 * SECOND, SECOND + 7)
        );
        assert_eq!(new_measurement(7).parse("error"), None);
    }

    // The intervals of the offset still overlap; only the local clocks' difference shows the step.
    #[test]
    fn a_step_of_the_local_clock_restarts() {
        let mut simulation = Simulation::new(0, SECOND, vec![micros(1, 1, 0)]);
        let mut measurement = new_measurement(TICK);
        let mut add = |simulation: &mut Simulation| {
            let outcome = measurement.add_sample(&simulation.sample(0));
            let result = measurement.result().unwrap();
            (outcome, result.samples, result.restarts)
        };
        assert_eq!(add(&mut simulation), (SampleOutcome::Accepted, 1, 0));
        simulation.now += MILLI;
        simulation.wall_minus_mono += MILLI;
        simulation.offset = -MILLI;
        assert_eq!(add(&mut simulation), (SampleOutcome::Restarted, 1, 1));
        assert_eq!(add(&mut simulation), (SampleOutcome::Accepted, 2, 1));
    }

    #[test]
    fn a_step_during_a_round_trip_drops_the_sample() {
        for step in [MILLI, -MILLI, SECOND, -SECOND] {
            let mut simulation = Simulation::new(0, 1, vec![micros(1, 1, 0)]);
            let mut measurement = new_measurement(TICK);
            let mut sample = simulation.sample(0);
            sample.after.wall += step;
            assert_eq!(measurement.add_sample(&sample), SampleOutcome::Restarted);
            assert_eq!(measurement.result(), None);
            simulation.now += step;
            simulation.wall_minus_mono += step;
            let outcome = measurement.add_sample(&simulation.sample(0));
            assert_eq!(outcome, SampleOutcome::Accepted);
            assert_eq!(measurement.result().map(|result| result.restarts), Some(1));
        }
    }

    #[test]
    fn steps_of_the_servers_clock_restart_three_times() {
        let mut simulation = Simulation::new(0, 1, vec![micros(1, 1, 0)]);
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
            simulation.offset += MILLI;
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
            ppm in -400..=400i128,
            whole_seconds in any::<bool>(),
            delays in prop::collection::vec(any_delays(), 1..40),
            lags in prop::collection::vec(0..=TICK, 1..40),
            samples in prop::option::of(1..60u32),
        ) {
            let resolution = if whole_seconds { SECOND } else { 1 };
            let mut simulation = Simulation::new(offset, resolution, delays);
            simulation.ppm = ppm;
            simulation.now %= SECOND;
            (simulation.lags, simulation.tick) = (lags, TICK);
            let (result, _) = simulation.measure(samples);
            prop_assert!(result.estimate.interval.width() <= 2 * SECOND);
        }
    }
}

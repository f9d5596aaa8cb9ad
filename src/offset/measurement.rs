//! The plan of a measurement: what to ask a server, when, and what the responses amount to.

use super::{Interval, Nanos, Offset, SECOND, Sample, ServerTime, TICK};

/// How many answers to take from a server that tells nanoseconds, unless told otherwise.
pub const SAMPLES: u32 = 8;

/// A bound between two processes of one machine that is worth no further question, 50 us. It is an eighth of this, unless
/// something kept the processor from each of the [`SAMPLES`].
const LOCAL_TARGET_BOUND: Nanos = 50_000;

/// For how long such a process is asked on while the bound is wider: 10 ms, some time slices of a busy machine.
const LOCAL_RETRY_TIME: Nanos = 10_000_000;

/// Into how many parts the questions of one pass divide the time in which a server's second may begin.
const PARTS: Nanos = 32;

/// Over how many edges of a whole-second server to pass at most: three do, one is for a delay at the wrong moment.
const PASSES: u32 = 4;

/// How often a measurement is started anew, because a clock was stepped in it, before we give up.
const RESTARTS: u32 = 3;

/// What to do next in a [`Measurement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask when our wall clock reads this (at once, if it does already).
    SendAt(Nanos),
    /// Further questions would not tell much more.
    Done,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleOutcome {
    /// It is in.
    Accepted,
    /// It contradicts what came before: a clock was stepped, ours or the server's; all earlier answers are forgotten.
    Restarted,
    /// Once more, after several times: there is no measuring this.
    Unstable,
}

/// What to measure by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasurementConfig {
    /// Answers to take from each server; `None` for as many as its resolution calls for.
    pub samples: Option<u32>,
    /// See [`TICK`].
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

/// One server's measurement: knows what to ask, when, and what the answers amount to.
///
/// A server that tells nanoseconds is asked back to back, [`SAMPLES`] times: the narrowest round trips win by themselves.
/// Where none of them was quick and the server is [same_host](Self::same_host), it is asked on until one is, for 10 ms in all.
///
/// A whole-second server tells most around the moment its second begins, its edge. We know the edge to lie in a window
/// of our clock as wide as the interval, so each **pass** spreads up to 31 questions evenly over the window of the next
/// edge and stops at the first answer with the new second: the window is then a 32nd of what it was, plus a round trip.
/// (Asking once an edge would halve it, at a second each; the edges are what is scarce.) From 1 s the passes go to
/// 31 ms, 1 ms and the round trip, in three seconds and some fifty questions; to the tick, if there is one, in two.
/// It ends when another pass would not at least halve the interval as [told](Offset::reported), when that is a fifth of the tick and the
/// rest is lost in it, and after four.
#[derive(Debug)]
pub struct Measurement {
    config: MeasurementConfig,
    whole_seconds: bool,
    same_host: bool,
    wall_minus_mono: Option<Interval>,
    result: Option<Offset>,
    /// When the first question went out, by the monotonic clock.
    begun: Option<Nanos>,
    /// From then until the last answer.
    spent: Nanos,
    /// The second of the server's clock that was told last.
    second: Nanos,
    pass: Option<Pass>,
    passes: u32,
    restarts: u32,
}

/// The questions around one edge.
#[derive(Clone, Copy, Debug)]
struct Pass {
    /// The second, of the server's clock, that begins.
    edge: Nanos,
    /// Between two questions.
    spacing: Nanos,
    /// When to ask next, by our clock.
    next: Nanos,
}

impl Measurement {
    /// A new one.
    pub fn new(config: MeasurementConfig) -> Self {
        Self {
            config,
            whole_seconds: false,
            same_host: false,
            wall_minus_mono: None,
            result: None,
            begun: None,
            spent: 0,
            second: 0,
            pass: None,
            passes: 0,
            restarts: 0,
        }
    }

    /// The same of a server on this very machine, where a slow answer is no matter of the way but of what else was running.
    #[must_use]
    pub fn same_host(self, same_host: bool) -> Self {
        Self { same_host, ..self }
    }

    /// The format to ask: nanoseconds until the server has shown that it can't.
    pub fn request(&self) -> &'static str {
        if self.whole_seconds { "%s" } else { "%s.%N" }
    }

    /// The server refused the question. Whether there is another one to try.
    pub fn refused(&mut self) -> bool {
        !std::mem::replace(&mut self.whole_seconds, true)
    }

    /// What is known so far.
    pub fn result(&self) -> Option<Offset> {
        self.result
    }

    /// What to do next, when our wall clock reads `now`.
    pub fn next(&mut self, now: Nanos) -> Action {
        let Some(found) = self.result else {
            return Action::SendAt(now);
        };
        let whole_seconds = found.resolution >= SECOND;
        let insist = self.same_host
            && self.spent < LOCAL_RETRY_TIME
            && found.estimate.interval.bound() > LOCAL_TARGET_BOUND;
        let enough = match self.config.samples {
            Some(config) => found.samples >= config,
            None => !whole_seconds && found.samples >= SAMPLES && !insist,
        };
        if enough {
            return Action::Done;
        }
        if !whole_seconds {
            return Action::SendAt(now);
        }
        // The first edge that the server has not told of, and whose window [edge - high, edge - low] is not certainly over.
        let known = found.estimate.aged_to(now);
        let over = (now + known.low()).div_euclid(SECOND) * SECOND;
        let edge = over.max(self.second) + SECOND;
        if let Some(pass) = self.pass.filter(|pass| pass.edge == edge) {
            return Action::SendAt(pass.next.max(now));
        }
        let window = found.estimate.aged_to(edge - known.low());
        let spacing = window.width() / PARTS;
        let reach = spacing.max(found.round_trip) + found.round_trip;
        let told = known.width() - self.config.tick;
        let enough = 2 * reach >= told || 5 * told <= self.config.tick;
        if self.passes == PASSES || self.passes > 0 && enough {
            return Action::Done;
        }
        self.passes += 1;
        let next = now.max(edge - window.high() + spacing);
        self.pass = Some(Pass {
            edge,
            spacing,
            next,
        });
        Action::SendAt(next)
    }

    /// What an answer says; `None` if it says no time.
    pub fn parse(&self, response: &str) -> Option<ServerTime> {
        ServerTime::parse(response, self.config.tick)
    }

    /// Takes in an answer.
    pub fn add_sample(&mut self, sample: &Sample) -> SampleOutcome {
        self.whole_seconds |= sample.server_time.resolution >= SECOND;
        self.second = sample.server_time.time.div_euclid(SECOND) * SECOND;
        self.spent = sample.received_at - *self.begun.get_or_insert(sample.sent_at);
        let base = sample
            .before
            .wall_minus_mono()
            .intersection(sample.after.wall_minus_mono());
        if let Some(fresh) = base
            && let Some(base) = self.wall_minus_mono.unwrap_or(fresh).intersection(fresh)
        {
            let fresh = sample.offset(base, self.restarts);
            let both = self
                .result
                .map_or(Some(fresh), |found| found.intersection(fresh));
            if both.is_some() {
                (self.wall_minus_mono, self.result) = (Some(base), both);
                if let Some(pass) = &mut self.pass {
                    pass.next = sample.sent_at + base.low() + pass.spacing;
                }
                return SampleOutcome::Accepted;
            }
        }
        self.restarts += 1;
        (self.pass, self.passes, self.begun) = (None, 0, None);
        self.wall_minus_mono = base;
        self.result = base.map(|base| sample.offset(base, self.restarts));
        if self.restarts > RESTARTS {
            SampleOutcome::Unstable
        } else {
            SampleOutcome::Restarted
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ClockPair;
    use super::*;
    use proptest::prelude::*;

    const MILLI: Nanos = 1_000_000;
    const MICRO: Nanos = 1_000;

    fn interval(low: Nanos, high: Nanos) -> Interval {
        Interval::new(low, high).unwrap()
    }

    /// Two clocks and the way between them, for a measurement without a network and without waiting.
    struct World {
        /// Our wall clock.
        now: Nanos,
        /// Our monotonic clock is the wall clock less this.
        wall_minus_mono: Nanos,
        /// The server's clock less ours when `now` was 0.
        offset: Nanos,
        /// How fast that grows, parts per million.
        ppm: Nanos,
        resolution: Nanos,
        /// Nanoseconds there, back, and overslept: taken in turn, for ever.
        delays: Vec<[Nanos; 3]>,
        /// How far a whole-second server's answer lags behind its clock: taken in turn.
        lags: Vec<Nanos>,
        /// What the measurement believes of that.
        tick: Nanos,
        same_host: bool,
        asked: usize,
    }

    impl World {
        fn truth(&self, at: Nanos) -> Nanos {
            self.offset + at * self.ppm / 1_000_000
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

        fn sample(&mut self, at: Nanos) -> Sample {
            let [there, back, overslept] = self.delays[self.asked % self.delays.len()];
            self.asked += 1;
            if at > self.now {
                self.now = at + overslept;
            }
            let (before, sent_at) = (self.read_clocks(), self.mono());
            self.now += there;
            let server = self.now + self.truth(self.now);
            self.now += back;
            let server_time = if self.resolution == 1 {
                ServerTime {
                    time: server,
                    resolution: 1,
                }
            } else {
                let seconds = (server - self.lags[self.asked % self.lags.len()]).div_euclid(SECOND);
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

        /// Measures to the end; panics if the truth is outside at any step. Also the bound after each answer.
        fn measure(&mut self, samples: Option<u32>) -> (Offset, Vec<(Nanos, Nanos)>) {
            let config = MeasurementConfig {
                samples,
                tick: self.tick,
            };
            let mut measurement = Measurement::new(config).same_host(self.same_host);
            let (begun, mut progress) = (self.now, Vec::new());
            while let Action::SendAt(at) = measurement.next(self.now) {
                let sample = self.sample(at);
                assert_eq!(measurement.add_sample(&sample), SampleOutcome::Accepted);
                let found = measurement.result().unwrap();
                let (truth, interval) = (self.truth(self.now), found.estimate.aged_to(self.now));
                assert!(interval.contains(truth), "{truth} is not in {interval:?}");
                progress.push((self.now - begun, interval.bound()));
            }
            (measurement.result().unwrap(), progress)
        }
    }

    fn world(offset: Nanos, resolution: Nanos, delays: Vec<[Nanos; 3]>) -> World {
        let now = 1_783_213_507_123_456_789;
        World {
            now,
            wall_minus_mono: now - 5_000 * SECOND,
            offset,
            ppm: 0,
            resolution,
            delays,
            lags: vec![0],
            tick: 0,
            same_host: false,
            asked: 0,
        }
    }

    #[test]
    fn the_offset_lies_between_reading_less_heard_and_reading_less_asked() {
        let mut world = world(3_500 * MILLI, 1, vec![[20 * MICRO, 30 * MICRO, 0]]);
        let sample = world.sample(0);
        let estimate = sample.offset(sample.before.wall_minus_mono(), 0).estimate;
        // 50 us and 2 ns at 500 ppm, and 1 ns of what is not known of our clocks' difference.
        let slack = 26 + 1;
        assert_eq!(
            estimate.interval,
            interval(3_499_970_000 - slack, 3_500_020_001 + slack)
        );
        assert_eq!(estimate.as_of, world.now + 1);
    }

    #[test]
    fn a_server_that_tells_nanoseconds_is_asked_eight_times_at_once() {
        let mut world = world(
            -250 * MILLI,
            1,
            vec![[20 * MICRO, 30 * MICRO, 0], [4 * MICRO, 6 * MICRO, 0]],
        );
        let begun = world.now;
        let (found, _) = world.measure(None);
        assert_eq!((found.samples, found.round_trip), (8, 10 * MICRO));
        assert_eq!(world.now - begun, 4 * 60 * MICRO);
        assert!(found.estimate.interval.bound() <= 6 * MICRO);
    }

    #[test]
    fn where_none_of_eight_near_answers_was_quick_it_is_asked_on_until_one_is_for_10_ms_in_all() {
        let slow = [200 * MICRO, 100 * MICRO, 0];
        let same_host = |delays| World {
            same_host: true,
            ..world(0, 1, delays)
        };
        let mut late = same_host([vec![slow; 20], vec![[9 * MICRO; 3]]].concat());
        let (found, _) = late.measure(None);
        assert_eq!((found.samples, found.round_trip), (21, 18 * MICRO));
        let mut never = same_host(vec![slow]);
        assert_eq!(never.measure(None).0.samples, 10 * 1000 / 300 + 1);
        let mut far = world(0, 1, vec![slow]);
        assert_eq!(far.measure(None).0.samples, SAMPLES);
        // What is config is config.
        assert_eq!(never.measure(Some(9)).0.samples, 9);
    }

    #[test]
    fn a_whole_second_server_is_within_a_millisecond_in_two_seconds_and_at_the_round_trip_in_three()
    {
        for phase in 0..100 {
            let mut world = world(
                phase * 10 * MILLI,
                SECOND,
                vec![[15 * MICRO, 15 * MICRO, 5 * MICRO]],
            );
            let (found, progress) = world.measure(None);
            let after = |time| {
                progress
                    .iter()
                    .filter(|(at, _)| *at <= time)
                    .map(|(_, bound)| *bound)
                    .min()
                    .unwrap()
            };
            assert!(after(2_010 * MILLI) <= MILLI, "{}", after(2_010 * MILLI));
            assert!(progress.last().unwrap().0 <= 3_010 * MILLI);
            assert!(
                found.estimate.interval.bound() <= 100 * MICRO,
                "{}",
                found.estimate.interval.bound()
            );
            assert!(found.samples <= 110, "{}", found.samples);
        }
    }

    #[test]
    fn seconds_that_begin_late_keep_the_bound_above_half_a_tick_and_the_truth_inside() {
        for lag in 0..=10 {
            let mut world = world(
                -77 * MILLI,
                SECOND,
                vec![[15 * MICRO, 15 * MICRO, 5 * MICRO]],
            );
            (world.lags, world.tick) = (vec![lag * MILLI], TICK);
            let (found, progress) = world.measure(None);
            let bound = found.estimate.interval.bound();
            assert!((TICK / 2..=6 * MILLI).contains(&bound), "{bound}");
            let told = found.reported().unwrap();
            assert!(told.contains(-77 * MILLI - lag * MILLI), "{told:?}");
            assert!(told.bound() <= MILLI, "{told:?}");
            assert!(progress.last().unwrap().0 <= 2_050 * MILLI);
        }
    }

    #[test]
    fn a_whole_second_server_that_was_held_up_at_an_edge_is_asked_over_one_more() {
        let prompt = [15 * MICRO, 15 * MICRO, 5 * MICRO];
        let held_up = [3 * MILLI, 3 * MILLI, 5 * MICRO];
        let measure = |delays| {
            let mut world = world(-77 * MILLI, SECOND, delays);
            (world.lags, world.tick) = (vec![MILLI], TICK);
            let (found, progress) = world.measure(None);
            assert!(found.reported().unwrap().bound() <= MILLI, "{found:?}");
            progress
        };
        let undisturbed = measure(vec![prompt]);
        assert!(undisturbed.last().unwrap().0 <= 2_050 * MILLI);
        let first_pass = undisturbed
            .iter()
            .filter(|(at, _)| *at < 1_200 * MILLI)
            .count();
        let delays = [vec![prompt; first_pass], vec![held_up; 6], vec![prompt; 40]].concat();
        let last = measure(delays).last().unwrap().0;
        assert!((2_050 * MILLI..=3_050 * MILLI).contains(&last), "{last}");
    }

    #[test]
    fn each_pass_over_an_edge_at_least_halves_the_interval() {
        for round_trip in [10 * MICRO, MILLI, 20 * MILLI, 200 * MILLI, 2 * SECOND] {
            let mut world = world(
                123 * MILLI,
                SECOND,
                vec![[round_trip / 3, round_trip * 2 / 3, MICRO]],
            );
            let begun = world.now;
            let (_, progress) = world.measure(None);
            let at_end_of = |second: Nanos| {
                let before = progress
                    .iter()
                    .filter(|(at, _)| *at < second * SECOND + round_trip + 40 * MILLI);
                before.map(|(_, bound)| *bound).min()
            };
            let passes = (world.now - begun - round_trip) / SECOND;
            for pass in 1..passes {
                if let (Some(earlier), Some(later)) = (at_end_of(pass), at_end_of(pass + 1)) {
                    assert!(
                        2 * later <= earlier + 4,
                        "{round_trip}: {earlier} then {later}"
                    );
                }
            }
        }
    }

    #[test]
    fn no_more_answers_are_taken_than_wanted() {
        for resolution in [1, SECOND] {
            for config in [1, 3, 20] {
                let mut world = world(0, resolution, vec![[MICRO, MICRO, 0]]);
                assert_eq!(world.measure(Some(config)).0.samples, config);
            }
        }
    }

    #[test]
    fn the_question_falls_back_to_whole_seconds_once() {
        let mut refused = Measurement::new(MeasurementConfig::default());
        assert_eq!(refused.request(), "%s.%N");
        assert!(refused.refused());
        assert_eq!(refused.request(), "%s");
        assert!(!refused.refused());
        let mut echoed = Measurement::new(MeasurementConfig::default());
        echoed.add_sample(&world(0, SECOND, vec![[MICRO, MICRO, 0]]).sample(0));
        assert_eq!(echoed.request(), "%s");
    }

    #[test]
    fn a_step_of_our_clock_starts_the_measurement_anew_even_if_the_intervals_still_agree() {
        let mut world = world(0, SECOND, vec![[MICRO, MICRO, 0]]);
        let mut measurement = Measurement::new(MeasurementConfig::default());
        assert_eq!(
            measurement.add_sample(&world.sample(0)),
            SampleOutcome::Accepted
        );
        (world.now, world.wall_minus_mono, world.offset) =
            (world.now + MILLI, world.wall_minus_mono + MILLI, -MILLI);
        assert_eq!(
            measurement.add_sample(&world.sample(0)),
            SampleOutcome::Restarted
        );
        let found = measurement.result().unwrap();
        assert_eq!((found.samples, found.restarts), (1, 1));
        assert_eq!(
            measurement.add_sample(&world.sample(0)),
            SampleOutcome::Accepted
        );
    }

    #[test]
    fn an_answer_during_which_our_clock_was_stepped_is_thrown_away_too() {
        for step in [MILLI, -MILLI, SECOND, -SECOND] {
            let mut world = world(0, 1, vec![[MICRO, MICRO, 0]]);
            let mut measurement = Measurement::new(MeasurementConfig::default());
            let mut sample = world.sample(0);
            sample.after.wall += step;
            assert_eq!(measurement.add_sample(&sample), SampleOutcome::Restarted);
            assert_eq!(measurement.result(), None);
            (world.now, world.wall_minus_mono) = (world.now + step, world.wall_minus_mono + step);
            assert_eq!(
                measurement.add_sample(&world.sample(0)),
                SampleOutcome::Accepted
            );
            assert_eq!(measurement.result().map(|found| found.restarts), Some(1));
        }
    }

    #[test]
    fn a_step_of_the_servers_clock_starts_the_measurement_anew_and_steps_without_end_give_it_up() {
        let mut world = world(0, 1, vec![[MICRO, MICRO, 0]]);
        let mut measurement = Measurement::new(MeasurementConfig::default());
        assert_eq!(
            measurement.add_sample(&world.sample(0)),
            SampleOutcome::Accepted
        );
        for _ in 0..3 {
            world.offset += MILLI;
            assert_eq!(
                measurement.add_sample(&world.sample(0)),
                SampleOutcome::Restarted
            );
        }
        world.offset += MILLI;
        assert_eq!(
            measurement.add_sample(&world.sample(0)),
            SampleOutcome::Unstable
        );
    }

    proptest! {
        #[test]
        fn the_truth_is_always_inside_whatever_the_delays_the_drift_the_lag_and_the_resolution(
            offset in -100_000 * SECOND..100_000 * SECOND,
            ppm in -400..=400i128,
            whole in any::<bool>(),
            delays in prop::collection::vec([0..20 * MILLI, 0..20 * MILLI, 0..5 * MILLI], 1..40),
            lags in prop::collection::vec(0..=TICK, 1..40),
            samples in prop::option::of(1..60u32),
        ) {
            let mut world = world(offset, if whole { SECOND } else { 1 }, delays);
            (world.ppm, world.now) = (ppm, world.now % SECOND);
            (world.lags, world.tick) = (lags, TICK);
            let (found, _) = world.measure(samples);
            prop_assert!(found.estimate.interval.width() <= 2 * SECOND);
        }

    }
}

//! How far a server's clock is from ours: intervals that hold the truth, and the plan of what to ask next.
//!
//! One idea carries all of it. We asked at `t1` and heard at `t4` of our own clock; the answer says that the server's
//! clock read `T`, cut off at a resolution `r` (1 ns for `%s.%N`, 1 s and a [tick](TICK) for `%s`). The server read its clock somewhere in
//! between, so it stood at `s` with `T <= s < T + r` while ours stood at `c` with `t1 <= c <= t4`. Hence
//!
//! > **Theorem.** The offset `s - c` lies in `[T - t4, T + r - t1]`.
//!
//! It is a fact, not an estimate: it asks nothing of the network (no symmetric delays), only that the answer belongs to
//! the question, which the nonce sees to, and that the server means what it says. Each further answer gives a further
//! interval; the truth is in all of them, so it is in their intersection. What is printed is its middle, and the
//! half-width beside it.
//!
//! Offsets have NTP's sign (RFC 5905, section 8): the server's clock minus ours, what would have to be added to ours.
//! All times and offsets here are whole nanoseconds, clock readings counted from the Unix epoch. Nothing here reads a
//! clock or a socket: see [`measure`](crate::measure) for the hands.

mod agree;
mod exchange;
mod interval;

pub use agree::{Agreement, agree};
pub use exchange::{Clocks, Exchange, Reading};
pub use interval::{DRIFT_PPM, Estimate, Interval};

/// Signed nanoseconds. 128 bits, so that no time a server could claim overflows the arithmetic.
pub type Nanos = i128;

/// One second.
pub const SECOND: Nanos = 1_000_000_000;

/// How late a server that tells only whole seconds may begin them, unless told otherwise: 10 ms.
///
/// time(2) of glibc, and with it Python's `time.strftime`, does not look at the clock but at what the kernel's last tick
/// left (CLOCK_REALTIME_COARSE). A tick is 1 to 10 ms (CONFIG_HZ), most often 4; on a virtual machine with 4 that lag
/// was seen to be up to 7.5 ms. No answer tells such a server from one that looks at its clock and is that much behind,
/// so without this the bound would be narrow and false. (It is also why our own daemon looks at the clock.)
pub const TICK: Nanos = 10_000_000;

/// How many answers to take from a server that tells nanoseconds, unless told otherwise.
pub const SAMPLES: u32 = 8;

/// A bound between two processes of one machine that is worth no further question, 50 us. It is an eighth of this, unless
/// something kept the processor from each of the [`SAMPLES`].
const NARROW: Nanos = 50_000;

/// For how long such a process is asked on while the bound is wider: 10 ms, some time slices of a busy machine.
const INSIST: Nanos = 10_000_000;

/// Into how many parts the questions of one pass divide the time in which a server's second may begin.
const PARTS: Nanos = 32;

/// Over how many edges of a whole-second server to pass at most: three do, one is for a delay at the wrong moment.
const PASSES: u32 = 4;

/// How often a measurement is started anew, because a clock was stepped in it, before we give up.
const RESTARTS: u32 = 3;

/// What to do next in a [`Measurement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask when our wall clock reads this (at once, if it does already).
    Ask(Nanos),
    /// Further questions would not tell much more.
    Done,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is in.
    Taken,
    /// It contradicts what came before: a clock was stepped, ours or the server's; all earlier answers are forgotten.
    Restarted,
    /// Once more, after several times: there is no measuring this.
    Unsteady,
}

/// What a measurement of one server found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// The interval, and when it held.
    pub estimate: Estimate,
    /// The shortest round trip among the samples.
    pub round_trip: Nanos,
    /// How many answers are in it.
    pub samples: u32,
    /// What the server can tell: 1 ns, or 1 s and a tick.
    pub resolution: Nanos,
    /// How often it was begun anew because a clock was stepped.
    pub restarts: u32,
}

impl Offset {
    /// Holds the offset of what the server *tells*: as if there were no [`TICK`] to allow for. A server whose seconds begin late tells
    /// a time that is behind its own clock, by as much every second; nobody can ask it for anything else.
    ///
    /// `None` where there is no such offset, because the seconds began late by more at one time than at another.
    pub fn told(&self) -> Option<Interval> {
        let tick = (self.resolution - SECOND).max(0);
        let Interval { low, high } = self.estimate.interval;
        Interval::new(low, high - tick)
    }

    /// What both together say; `None` if they contradict each other.
    fn and(self, fresh: Self) -> Option<Self> {
        Some(Self {
            estimate: self.estimate.and(fresh.estimate)?,
            round_trip: self.round_trip.min(fresh.round_trip),
            samples: self.samples + fresh.samples,
            ..self
        })
    }
}

/// What to measure by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Answers to take from each server; `None` for as many as its resolution calls for.
    pub samples: Option<u32>,
    /// See [`TICK`].
    pub tick: Nanos,
}

impl Default for Wanted {
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
/// Where none of them was quick and the server is [near](Self::near), it is asked on until one is, for 10 ms in all.
///
/// A whole-second server tells most around the moment its second begins, its edge. We know the edge to lie in a window
/// of our clock as wide as the interval, so each **pass** spreads up to 31 questions evenly over the window of the next
/// edge and stops at the first answer with the new second: the window is then a 32nd of what it was, plus a round trip.
/// (Asking once an edge would halve it, at a second each; the edges are what is scarce.) From 1 s the passes go to
/// 31 ms, 1 ms and the round trip, in three seconds and some fifty questions; to the tick, if there is one, in two.
/// It ends when another pass would not at least halve the interval as [told](Offset::told), when that is a fifth of the tick and the
/// rest is lost in it, and after four.
#[derive(Debug)]
pub struct Measurement {
    wanted: Wanted,
    whole_seconds: bool,
    near: bool,
    base: Option<Interval>,
    found: Option<Offset>,
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
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            whole_seconds: false,
            near: false,
            base: None,
            found: None,
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
    pub fn near(self, near: bool) -> Self {
        Self { near, ..self }
    }

    /// The format to ask: nanoseconds until the server has shown that it can't.
    pub fn question(&self) -> &'static str {
        if self.whole_seconds { "%s" } else { "%s.%N" }
    }

    /// The server refused the question. Whether there is another one to try.
    pub fn refused(&mut self) -> bool {
        !std::mem::replace(&mut self.whole_seconds, true)
    }

    /// What is known so far.
    pub fn found(&self) -> Option<Offset> {
        self.found
    }

    /// What to do next, when our wall clock reads `now`.
    pub fn next(&mut self, now: Nanos) -> Next {
        let Some(found) = self.found else {
            return Next::Ask(now);
        };
        let whole_seconds = found.resolution >= SECOND;
        let insist = self.near && self.spent < INSIST && found.estimate.interval.bound() > NARROW;
        let enough = match self.wanted.samples {
            Some(wanted) => found.samples >= wanted,
            None => !whole_seconds && found.samples >= SAMPLES && !insist,
        };
        if enough {
            return Next::Done;
        }
        if !whole_seconds {
            return Next::Ask(now);
        }
        // The first edge that the server has not told of, and whose window [edge - high, edge - low] is not certainly over.
        let known = found.estimate.at(now);
        let over = (now + known.low()).div_euclid(SECOND) * SECOND;
        let edge = over.max(self.second) + SECOND;
        if let Some(pass) = self.pass.filter(|pass| pass.edge == edge) {
            return Next::Ask(pass.next.max(now));
        }
        let window = found.estimate.at(edge - known.low());
        let spacing = window.width() / PARTS;
        let reach = spacing.max(found.round_trip) + found.round_trip;
        let told = known.width() - self.wanted.tick;
        let enough = 2 * reach >= told || 5 * told <= self.wanted.tick;
        if self.passes == PASSES || self.passes > 0 && enough {
            return Next::Done;
        }
        self.passes += 1;
        let next = now.max(edge - window.high() + spacing);
        self.pass = Some(Pass {
            edge,
            spacing,
            next,
        });
        Next::Ask(next)
    }

    /// What an answer says; `None` if it says no time.
    pub fn read(&self, answer: &str) -> Option<Reading> {
        Reading::parse(answer, self.wanted.tick)
    }

    /// Takes in an answer.
    pub fn heard(&mut self, exchange: &Exchange) -> Heard {
        self.whole_seconds |= exchange.reading.resolution >= SECOND;
        self.second = exchange.reading.time.div_euclid(SECOND) * SECOND;
        self.spent = exchange.heard - *self.begun.get_or_insert(exchange.asked);
        let base = exchange.before.base().intersection(exchange.after.base());
        if let Some(fresh) = base
            && let Some(base) = self.base.unwrap_or(fresh).intersection(fresh)
        {
            let fresh = exchange.offset(base, self.restarts);
            let both = self.found.map_or(Some(fresh), |found| found.and(fresh));
            if both.is_some() {
                (self.base, self.found) = (Some(base), both);
                if let Some(pass) = &mut self.pass {
                    pass.next = exchange.asked + base.low() + pass.spacing;
                }
                return Heard::Taken;
            }
        }
        self.restarts += 1;
        (self.pass, self.passes, self.begun) = (None, 0, None);
        self.base = base;
        self.found = base.map(|base| exchange.offset(base, self.restarts));
        if self.restarts > RESTARTS {
            Heard::Unsteady
        } else {
            Heard::Restarted
        }
    }
}

#[cfg(test)]
mod tests {
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
        base: Nanos,
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
        near: bool,
        asked: usize,
    }

    impl World {
        fn truth(&self, at: Nanos) -> Nanos {
            self.offset + at * self.ppm / 1_000_000
        }

        fn mono(&self) -> Nanos {
            self.now - self.base
        }

        fn look(&self) -> Clocks {
            Clocks {
                before: self.mono(),
                wall: self.now,
                after: self.mono(),
            }
        }

        fn exchange(&mut self, at: Nanos) -> Exchange {
            let [there, back, overslept] = self.delays[self.asked % self.delays.len()];
            self.asked += 1;
            if at > self.now {
                self.now = at + overslept;
            }
            let (before, asked) = (self.look(), self.mono());
            self.now += there;
            let server = self.now + self.truth(self.now);
            self.now += back;
            let reading = if self.resolution == 1 {
                Reading {
                    time: server,
                    resolution: 1,
                }
            } else {
                let seconds = (server - self.lags[self.asked % self.lags.len()]).div_euclid(SECOND);
                Reading::parse(&seconds.to_string(), self.tick).unwrap()
            };
            Exchange {
                before,
                asked,
                heard: self.mono(),
                after: self.look(),
                reading,
            }
        }

        /// Measures to the end; panics if the truth is outside at any step. Also the bound after each answer.
        fn measure(&mut self, samples: Option<u32>) -> (Offset, Vec<(Nanos, Nanos)>) {
            let wanted = Wanted {
                samples,
                tick: self.tick,
            };
            let mut measurement = Measurement::new(wanted).near(self.near);
            let (begun, mut progress) = (self.now, Vec::new());
            while let Next::Ask(at) = measurement.next(self.now) {
                let exchange = self.exchange(at);
                assert_eq!(measurement.heard(&exchange), Heard::Taken);
                let found = measurement.found().unwrap();
                let (truth, interval) = (self.truth(self.now), found.estimate.at(self.now));
                assert!(interval.contains(truth), "{truth} is not in {interval:?}");
                progress.push((self.now - begun, interval.bound()));
            }
            (measurement.found().unwrap(), progress)
        }
    }

    fn world(offset: Nanos, resolution: Nanos, delays: Vec<[Nanos; 3]>) -> World {
        let now = 1_783_213_507_123_456_789;
        World {
            now,
            base: now - 5_000 * SECOND,
            offset,
            ppm: 0,
            resolution,
            delays,
            lags: vec![0],
            tick: 0,
            near: false,
            asked: 0,
        }
    }

    #[test]
    fn the_offset_lies_between_reading_less_heard_and_reading_less_asked() {
        let mut world = world(3_500 * MILLI, 1, vec![[20 * MICRO, 30 * MICRO, 0]]);
        let exchange = world.exchange(0);
        let estimate = exchange.offset(exchange.before.base(), 0).estimate;
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
        let near = |delays| World {
            near: true,
            ..world(0, 1, delays)
        };
        let mut late = near([vec![slow; 20], vec![[9 * MICRO; 3]]].concat());
        let (found, _) = late.measure(None);
        assert_eq!((found.samples, found.round_trip), (21, 18 * MICRO));
        let mut never = near(vec![slow]);
        assert_eq!(never.measure(None).0.samples, 10 * 1000 / 300 + 1);
        let mut far = world(0, 1, vec![slow]);
        assert_eq!(far.measure(None).0.samples, SAMPLES);
        // What is wanted is wanted.
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
            let told = found.told().unwrap();
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
            assert!(found.told().unwrap().bound() <= MILLI, "{found:?}");
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
            for wanted in [1, 3, 20] {
                let mut world = world(0, resolution, vec![[MICRO, MICRO, 0]]);
                assert_eq!(world.measure(Some(wanted)).0.samples, wanted);
            }
        }
    }

    #[test]
    fn the_question_falls_back_to_whole_seconds_once() {
        let mut refused = Measurement::new(Wanted::default());
        assert_eq!(refused.question(), "%s.%N");
        assert!(refused.refused());
        assert_eq!(refused.question(), "%s");
        assert!(!refused.refused());
        let mut echoed = Measurement::new(Wanted::default());
        echoed.heard(&world(0, SECOND, vec![[MICRO, MICRO, 0]]).exchange(0));
        assert_eq!(echoed.question(), "%s");
    }

    #[test]
    fn a_step_of_our_clock_starts_the_measurement_anew_even_if_the_intervals_still_agree() {
        let mut world = world(0, SECOND, vec![[MICRO, MICRO, 0]]);
        let mut measurement = Measurement::new(Wanted::default());
        assert_eq!(measurement.heard(&world.exchange(0)), Heard::Taken);
        (world.now, world.base, world.offset) = (world.now + MILLI, world.base + MILLI, -MILLI);
        assert_eq!(measurement.heard(&world.exchange(0)), Heard::Restarted);
        let found = measurement.found().unwrap();
        assert_eq!((found.samples, found.restarts), (1, 1));
        assert_eq!(measurement.heard(&world.exchange(0)), Heard::Taken);
    }

    #[test]
    fn an_answer_during_which_our_clock_was_stepped_is_thrown_away_too() {
        for step in [MILLI, -MILLI, SECOND, -SECOND] {
            let mut world = world(0, 1, vec![[MICRO, MICRO, 0]]);
            let mut measurement = Measurement::new(Wanted::default());
            let mut exchange = world.exchange(0);
            exchange.after.wall += step;
            assert_eq!(measurement.heard(&exchange), Heard::Restarted);
            assert_eq!(measurement.found(), None);
            (world.now, world.base) = (world.now + step, world.base + step);
            assert_eq!(measurement.heard(&world.exchange(0)), Heard::Taken);
            assert_eq!(measurement.found().map(|found| found.restarts), Some(1));
        }
    }

    #[test]
    fn a_step_of_the_servers_clock_starts_the_measurement_anew_and_steps_without_end_give_it_up() {
        let mut world = world(0, 1, vec![[MICRO, MICRO, 0]]);
        let mut measurement = Measurement::new(Wanted::default());
        assert_eq!(measurement.heard(&world.exchange(0)), Heard::Taken);
        for _ in 0..3 {
            world.offset += MILLI;
            assert_eq!(measurement.heard(&world.exchange(0)), Heard::Restarted);
        }
        world.offset += MILLI;
        assert_eq!(measurement.heard(&world.exchange(0)), Heard::Unsteady);
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

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

/// How fast two clocks may run apart, in parts per million.
///
/// 500 is the fastest the Linux kernel slews a clock (adjtime(3), and the frequency limit of adjtimex(2), also that of
/// RFC 5905, section 11.3); a bare crystal stays within a fifth of it. The one common thing beyond it is chronyd working
/// off a large offset by slewing (its `maxslewrate`), a time in which nobody should ask how far off the clock *is*.
pub const DRIFT_PPM: Nanos = 500;

/// How many answers to take from a server that tells nanoseconds, unless told otherwise.
pub const SAMPLES: u32 = 8;

/// Into how many parts the questions of one pass divide the time in which a server's second may begin.
const PARTS: Nanos = 32;

/// Over how many edges of a whole-second server to pass at most: three do, one is for a delay at the wrong moment.
const PASSES: u32 = 4;

/// How often a measurement is started anew, because a clock was stepped in it, before we give up.
const RESTARTS: u32 = 3;

/// How far apart two clocks may have drifted in `elapsed`, rounded up.
fn drift(elapsed: Nanos) -> Nanos {
    (elapsed.abs() * DRIFT_PPM + 999_999) / 1_000_000
}

/// A closed interval, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    low: Nanos,
    high: Nanos,
}

impl Interval {
    /// From `low` to `high`, both included; `None` if that is empty.
    pub fn new(low: Nanos, high: Nanos) -> Option<Self> {
        (low <= high).then_some(Self { low, high })
    }

    /// As far from `middle` either way.
    pub fn around(middle: Nanos, distance: Nanos) -> Self {
        Self {
            low: middle - distance.abs(),
            high: middle + distance.abs(),
        }
    }

    /// The smallest that covers both.
    pub fn hull(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
        }
    }

    /// The lower end.
    pub fn low(self) -> Nanos {
        self.low
    }

    /// The upper end.
    pub fn high(self) -> Nanos {
        self.high
    }

    /// Upper minus lower end.
    pub fn width(self) -> Nanos {
        self.high - self.low
    }

    /// The middle, rounded down.
    pub fn middle(self) -> Nanos {
        self.low + self.width() / 2
    }

    /// The error bound of [`middle`](Self::middle): half the width, rounded up, so that `middle ± bound` covers all of it.
    pub fn bound(self) -> Nanos {
        self.high - self.middle()
    }

    /// Whether `value` is inside.
    pub fn contains(self, value: Nanos) -> bool {
        self.low <= value && value <= self.high
    }

    /// What two intervals share.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.low.max(other.low), self.high.min(other.high))
    }

    /// The same with `by` more on both sides (`by` is never negative).
    fn widened(self, by: Nanos) -> Self {
        Self {
            low: self.low - by,
            high: self.high + by,
        }
    }

    /// The smallest distance from zero in the interval: the offset is **certainly** no nearer than this.
    pub fn least(self) -> Nanos {
        if self.contains(0) {
            0
        } else {
            self.low.abs().min(self.high.abs())
        }
    }

    /// The largest distance from zero in the interval: the offset is **certainly** no further off than this.
    pub fn most(self) -> Nanos {
        self.low.abs().max(self.high.abs())
    }
}

/// What a server said its clock reads: at least `time`, and less than `time + resolution`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Nanoseconds since the Unix epoch.
    pub time: Nanos,
    /// One nanosecond; or one second and a tick.
    pub resolution: Nanos,
}

impl Reading {
    /// Reads the answer to `%s.%N` or `%s`.
    ///
    /// Nine digits behind the point are nanoseconds. Anything else there is how one strftime or another passes on a
    /// conversion that it does not know (`%N` in glibc, `N` in the BSDs), and the seconds before it are as good as ever.
    /// These may be late by a `tick` (see [`TICK`]). `None` for what does not begin with whole seconds.
    pub fn parse(answer: &str, tick: Nanos) -> Option<Self> {
        let (seconds, fraction) = match answer.split_once('.') {
            Some((seconds, fraction)) => (seconds, Some(fraction)),
            None => (answer, None),
        };
        if seconds.starts_with('+') {
            return None;
        }
        let time = Nanos::from(seconds.parse::<i64>().ok()?) * SECOND;
        Some(match fraction {
            Some(digits) if digits.len() == 9 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                Self {
                    time: time + digits.parse::<Nanos>().ok()?,
                    resolution: 1,
                }
            }
            _ => Self {
                time,
                resolution: SECOND + tick,
            },
        })
    }
}

/// Our two clocks, looked at together: monotonic, wall, monotonic again.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// CLOCK_MONOTONIC before the wall clock was read, from any origin that stays the same.
    pub before: Nanos,
    /// CLOCK_REALTIME.
    pub wall: Nanos,
    /// CLOCK_MONOTONIC after the wall clock was read.
    pub after: Nanos,
}

impl Clocks {
    /// Wall minus monotonic clock, which only a step of the wall clock (or a suspended machine) changes: slewing moves
    /// both alike, clock_gettime(2). An interval for the same reason as the offset, so a step shows as soon as it is
    /// larger than a look takes; 1 ns more for the digits cut off.
    fn base(self) -> Interval {
        Interval {
            low: self.wall - self.after.max(self.before),
            high: self.wall - self.before,
        }
        .widened(1)
    }
}

/// One question and its answer.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// Our clocks, some time before.
    pub before: Clocks,
    /// CLOCK_MONOTONIC when the question went out, at the earliest.
    pub asked: Nanos,
    /// CLOCK_MONOTONIC when the answer was in, at the latest.
    pub heard: Nanos,
    /// Our clocks, some time after.
    pub after: Clocks,
    /// What the server said.
    pub reading: Reading,
}

impl Exchange {
    /// The theorem, with `t1` and `t4` on our wall clock as early and as late as the difference of our clocks allows.
    ///
    /// It gives the offset at a moment within the round trip; to hold at its end, the interval is widened by what the
    /// two clocks may drift apart in it.
    fn offset(&self, base: Interval, restarts: u32) -> Offset {
        let (t1, t4) = (self.asked + base.low, self.heard + base.high);
        let Reading { time, resolution } = self.reading;
        // Never empty: t1 <= t4, as `base` is no empty interval and the monotonic clock never runs back.
        let interval = Interval {
            low: time - t4,
            high: time + resolution - t1,
        };
        let estimate = Estimate {
            interval: interval.widened(drift(t4 - t1)),
            as_of: t4,
        };
        Offset {
            estimate,
            round_trip: self.heard - self.asked,
            samples: 1,
            resolution,
            restarts,
        }
    }
}

/// An interval that held the offset at one moment. It ages: two clocks drift apart, at most by [`DRIFT_PPM`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Holds the offset (server minus ours) as of that moment.
    pub interval: Interval,
    /// The moment, of our clock.
    pub as_of: Nanos,
}

impl Estimate {
    /// The interval that still holds the offset at another moment of our clock.
    pub fn at(self, moment: Nanos) -> Interval {
        self.interval.widened(drift(moment - self.as_of))
    }

    /// What both together say, as of the later; `None` if they contradict each other.
    fn and(self, other: Self) -> Option<Self> {
        let as_of = self.as_of.max(other.as_of);
        Some(Self {
            interval: self.at(as_of).intersection(other.at(as_of))?,
            as_of,
        })
    }
}

/// What the largest set of servers that agree says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Holds the offset if no more servers err than are outside the set; aged to the latest of the estimates.
    pub estimate: Estimate,
    /// How many agree.
    pub count: usize,
}

/// Marzullo's algorithm: where most of the intervals overlap; `None` unless they are more than half.
///
/// > **Theorem.** If at most `n - count` of the `n` servers err, the offset is in the result: it is then in at least
/// > `count` of the intervals, and the result runs from the first to the last point that is in so many.
///
/// This is the selection of RFC 5905 (section 11.2.1, code in A.5.5.1), with as few falsetickers as will do, and without
/// its count of midpoints: our intervals hold the truth for certain, wherever in them it is. Like there the result is
/// one interval even if the best overlap is reached in two places (B and C apart, both touching A): one of B and C errs,
/// and nobody can tell which.
pub fn agree(estimates: &[Estimate]) -> Option<Agreement> {
    let as_of = estimates.iter().map(|e| e.as_of).max()?;
    let mut edges: Vec<(Nanos, bool)> = estimates
        .iter()
        .map(|e| e.at(as_of))
        .flat_map(|i| [(i.low, false), (i.high, true)])
        .collect();
    // The intervals are closed: at one point all that begin come before all that end (false < true).
    edges.sort_unstable();
    let (mut depth, mut count, mut low, mut high) = (0, 0, 0, 0);
    for (point, ends) in edges {
        if ends {
            if depth == count {
                high = point;
            }
            depth -= 1;
        } else {
            depth += 1;
            if depth > count {
                (count, low) = (depth, point);
            }
        }
    }
    let interval = Interval::new(low, high)?;
    (2 * count > estimates.len()).then_some(Agreement {
        estimate: Estimate { interval, as_of },
        count,
    })
}

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
///
/// A whole-second server tells most around the moment its second begins, its edge. We know the edge to lie in a window
/// of our clock as wide as the interval, so each **pass** spreads up to 31 questions evenly over the window of the next
/// edge and stops at the first answer with the new second: the window is then a 32nd of what it was, plus a round trip.
/// (Asking once an edge would halve it, at a second each; the edges are what is scarce.) From 1 s the passes go to
/// 31 ms, 1 ms and the round trip, in three seconds and some fifty questions; to the tick, if there is one, in two.
/// It ends when another pass would not at least halve the interval, and after four.
#[derive(Debug)]
pub struct Measurement {
    wanted: Wanted,
    whole_seconds: bool,
    base: Option<Interval>,
    found: Option<Offset>,
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
            base: None,
            found: None,
            pass: None,
            passes: 0,
            restarts: 0,
        }
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
        let enough = if whole_seconds { u32::MAX } else { SAMPLES };
        if found.samples >= self.wanted.samples.unwrap_or(enough) {
            return Next::Done;
        }
        if !whole_seconds {
            return Next::Ask(now);
        }
        // The first edge of which our clock has not certainly passed the window [edge - high, edge - low].
        let known = found.estimate.at(now);
        let edge = (now + known.low).div_euclid(SECOND) * SECOND + SECOND;
        if let Some(pass) = self.pass.filter(|pass| pass.edge == edge) {
            return Next::Ask(pass.next.max(now));
        }
        let window = found.estimate.at(edge - known.low);
        let spacing = window.width() / PARTS;
        let reach = spacing.max(found.round_trip) + found.round_trip + self.wanted.tick;
        if self.passes == PASSES || self.passes > 0 && 2 * reach >= known.width() {
            return Next::Done;
        }
        self.passes += 1;
        let next = now.max(edge - window.high + spacing);
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
        let base = exchange.before.base().intersection(exchange.after.base());
        if let Some(fresh) = base
            && let Some(base) = self.base.unwrap_or(fresh).intersection(fresh)
        {
            let fresh = exchange.offset(base, self.restarts);
            let both = self.found.map_or(Some(fresh), |found| found.and(fresh));
            if both.is_some() {
                (self.base, self.found) = (Some(base), both);
                if let Some(pass) = &mut self.pass {
                    pass.next = exchange.asked + base.low + pass.spacing;
                }
                return Heard::Taken;
            }
        }
        self.restarts += 1;
        (self.pass, self.passes) = (None, 0);
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

    fn estimates(intervals: &[(Nanos, Nanos)]) -> Vec<Estimate> {
        intervals
            .iter()
            .map(|&(low, high)| Estimate {
                interval: interval(low, high),
                as_of: 0,
            })
            .collect()
    }

    fn agreed(intervals: &[(Nanos, Nanos)]) -> Option<(Nanos, Nanos, usize)> {
        agree(&estimates(intervals))
            .map(|a| (a.estimate.interval.low, a.estimate.interval.high, a.count))
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
            let mut measurement = Measurement::new(Wanted {
                samples,
                tick: self.tick,
            });
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
    fn middle_and_bound_cover_the_whole_interval_even_if_its_width_is_odd() {
        for (low, high) in [(-3, 4), (-4, 3), (0, 1), (5, 5), (-1, 0)] {
            let i = interval(low, high);
            assert!(
                i.middle() - i.bound() <= low && high <= i.middle() + i.bound(),
                "{i:?}"
            );
            assert!(2 * i.bound() <= i.width() + 1, "{i:?}");
        }
    }

    #[test]
    fn least_and_most_are_what_is_certain_of_the_distance_from_zero() {
        for (low, high, least, most) in [(-2, 5, 0, 5), (2, 5, 2, 5), (-5, -2, 2, 5), (0, 0, 0, 0)]
        {
            assert_eq!(
                (interval(low, high).least(), interval(low, high).most()),
                (least, most)
            );
        }
    }

    #[test]
    fn nine_digits_are_nanoseconds_and_all_else_behind_the_point_is_a_conversion_unknown_to_the_server()
     {
        let read = |answer| Reading::parse(answer, 5).map(|r| (r.time, r.resolution));
        assert_eq!(
            read("1783213507.000000042"),
            Some((1_783_213_507 * SECOND + 42, 1))
        );
        assert_eq!(read("-2.500000000"), Some((-1_500 * MILLI, 1)));
        for whole in [
            "1783213507",
            "1783213507.%N",
            "1783213507.N",
            "1783213507.",
            "1783213507.12345678x",
        ] {
            assert_eq!(
                read(whole),
                Some((1_783_213_507 * SECOND, SECOND + 5)),
                "{whole}"
            );
        }
        for other in [
            "",
            "%s.%N",
            "+5",
            "12:30",
            ".5",
            "s",
            " 7",
            "99999999999999999999",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
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
            assert!(progress.last().unwrap().0 <= 2_050 * MILLI);
        }
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

    #[test]
    fn the_largest_set_that_agrees_wins_and_a_tie_wins_nothing() {
        assert_eq!(agreed(&[]), None);
        assert_eq!(agreed(&[(1, 5)]), Some((1, 5, 1)));
        assert_eq!(agreed(&[(1, 5), (4, 9), (3, 20)]), Some((4, 5, 3)));
        assert_eq!(agreed(&[(1, 5), (2000, 2005), (3, 20)]), Some((3, 5, 2)));
        assert_eq!(agreed(&[(1, 5), (5, 9)]), Some((5, 5, 2)));
        assert_eq!(agreed(&[(1, 5), (6, 9)]), None);
        assert_eq!(agreed(&[(1, 5), (2, 6), (101, 105), (102, 106)]), None);
        // RFC 5905 figure and Marzullo's own: 8-12, 11-13, 14-15 has two of three in 11-12.
        assert_eq!(agreed(&[(8, 12), (11, 13), (14, 15)]), Some((11, 12, 2)));
        // The best overlap in two places: nobody can tell which, so the result runs over both.
        assert_eq!(agreed(&[(0, 10), (1, 2), (8, 9)]), Some((1, 9, 2)));
    }

    #[test]
    fn estimates_of_different_moments_are_aged_before_they_are_compared() {
        let early = Estimate {
            interval: interval(400_000, 400_010),
            as_of: 0,
        };
        let late = Estimate {
            interval: interval(0, 10),
            as_of: SECOND,
        };
        // 500 ppm of a second are 500 us: 400 us apart is no contradiction between them.
        let agreement = agree(&[early, late]).unwrap();
        assert_eq!(
            (agreement.count, agreement.estimate.interval),
            (2, interval(0, 10))
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

        #[test]
        fn what_a_majority_of_true_intervals_agrees_on_holds_the_truth_if_no_more_err_than_are_left_out(
            truth in -1000..1000i128,
            honest in prop::collection::vec((0..500i128, 0..500i128), 1..6),
            liars in prop::collection::vec((-3000..3000i128, 0..500i128), 0..6),
        ) {
            let all: Vec<_> = honest.iter().map(|(below, above)| (truth - below, truth + above))
                .chain(liars.iter().map(|(low, width)| (*low, low + width))).collect();
            let wrong = liars.iter().filter(|(low, width)| !interval(*low, low + width).contains(truth)).count();
            match agree(&estimates(&all)) {
                Some(a) if wrong <= all.len() - a.count => prop_assert!(a.estimate.interval.contains(truth)),
                // More err than agree leaves out: they agree among themselves with some honest ones, by chance or plot.
                Some(a) => prop_assert!(a.count > honest.len()),
                None => prop_assert!(2 * honest.len() <= all.len()),
            }
        }

        #[test]
        fn agreement_does_not_depend_on_the_order(
            intervals in prop::collection::vec((-50..50i128, 0..50i128), 1..7), turn in 0..7usize,
        ) {
            let all: Vec<_> = intervals.iter().map(|(low, width)| (*low, low + width)).collect();
            let mut turned = all.clone();
            turned.rotate_left(turn % all.len());
            prop_assert_eq!(agreed(&all), agreed(&turned));
        }

        #[test]
        fn no_answer_whatever_its_bytes_makes_the_reading_panic(answer in ".{0,40}") {
            let _ = Reading::parse(&answer, TICK);
        }
    }
}

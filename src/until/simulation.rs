//! Simulated waits: a server whose clock is slewed and whose zone changes, a network that loses
//! requests, a machine that wakes up late, is suspended, and whose wall clock is set.

use std::ops::Range;

use super::plan::{Action, Plan, PlanConfig, Reading};
use crate::offset::{
    Action as Request, Measurement, MeasurementConfig, Nanos, SINGLE_PASS_PARTS, SLOW_WINDOW_PARTS,
    Sample, SampleOutcome, ServerTime, TICK,
};

const SECOND: Nanos = 1_000_000_000;
const MILLI: Nanos = 1_000_000;
const MICRO: Nanos = 1_000;
const QUARTER: Nanos = 900 * SECOND;

const RUNS: u64 = 10_000;

const MAX_SLEW: Nanos = 500;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn within(&mut self, range: Range<Nanos>) -> Nanos {
        range.start + Nanos::from(self.next()) % (range.end - range.start)
    }

    /// Small values as often as large ones.
    fn of_any_size(&mut self, range: Range<Nanos>) -> Nanos {
        let bits = (range.end - range.start).ilog2();
        let size = self.within(1..Nanos::from(bits) + 1);
        (range.start + self.within(0..1 << size)).min(range.end)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}

/// What happens in a run.
#[derive(Debug)]
struct World {
    /// The time that really passes.
    now: Nanos,
    /// The local clock minus that time. A suspend changes it.
    local_error: Nanos,
    /// Pieces of the server's clock in UTC: from this time on, its value there, and its slew in
    /// ppm.
    clock: Vec<(Nanos, Nanos, Nanos)>,
    /// From this time of the server's clock in UTC on its zone adds so much.
    zones: Vec<(Nanos, Nanos)>,
    wall_clock: bool,
    whole_seconds: bool,
    /// By how much the seconds of a whole-second server are late at most.
    lag: Nanos,
    /// When the server does not respond.
    gone: Vec<Range<Nanos>>,
    /// One in so many requests is lost; 0 for none.
    loss: u64,
    /// The shortest and the longest delay in each direction.
    delays: Range<Nanos>,
    /// The longest delay of a wake-up.
    wakeup: Nanos,
    /// Whether the clock of the timer is slewed.
    has_slow_timer: bool,
    /// When the machine is suspended, and how long.
    suspends: Vec<(Nanos, Nanos)>,
    /// When the wall clock of the machine is set.
    clock_sets: Vec<Nanos>,
    /// The last suspend: its start, and the first reading after it.
    suspended: Option<(Nanos, Option<Nanos>)>,
    /// When the server made its last response.
    responded_at: Nanos,
    random: u64,
    requests: usize,
}

impl World {
    fn local(&self) -> Nanos {
        self.now + self.local_error
    }

    /// The server's clock in UTC.
    fn utc(&self, time: Nanos) -> Nanos {
        let (start, value, ppm) = *self
            .clock
            .iter()
            .rfind(|(start, ..)| *start <= time)
            .unwrap();
        value + (time - start) + (time - start) * ppm / 1_000_000
    }

    /// The clock that is waited for.
    fn server(&self, time: Nanos) -> Nanos {
        let utc = self.utc(time);
        let zone = self.zones.iter().rfind(|(start, _)| *start <= utc);
        match zone {
            Some((_, offset)) if self.wall_clock => utc + offset,
            _ => utc,
        }
    }

    fn random(&mut self) -> Random {
        self.random += 1;
        Random(self.random)
    }

    /// Sends a request. `None` if there is no response within the time-out.
    fn sample(&mut self, timeout: Nanos) -> Option<Sample> {
        let mut random = self.random();
        self.requests += 1;
        let (start, sent_at) = (self.now, self.local());
        let [there, back] = [(); 2].map(|()| random.of_any_size(self.delays.clone()));
        let arrival = start + there;
        let is_gone = self.gone.iter().any(|range| range.contains(&arrival));
        let is_lost = self.loss > 0 && random.one_in(self.loss);
        if is_gone || is_lost || there + back >= timeout {
            self.now += timeout;
            return None;
        }
        let clock = self.server(arrival);
        let time = match self.whole_seconds {
            true => (clock - random.within(0..self.lag + 1)).div_euclid(SECOND) * SECOND,
            false => clock,
        };
        (self.now, self.responded_at) = (arrival + back, arrival);
        Some(Sample {
            sent_at,
            received_at: self.local(),
            server_time: ServerTime {
                time,
                whole_seconds: self.whole_seconds,
                utc_offset: None,
            },
        })
    }

    /// Makes the first measurement.
    fn first_reading(&mut self) -> Option<Reading> {
        self.measure(MeasurementConfig {
            window_parts: SINGLE_PASS_PARTS,
            max_passes: 1,
            ..MeasurementConfig::default()
        })
    }

    fn read(&mut self, full: bool, deadline: Nanos) -> Option<Reading> {
        self.measure(MeasurementConfig {
            samples: (!full).then_some(1),
            window_parts: SLOW_WINDOW_PARTS,
            deadline: Some(deadline),
            ..MeasurementConfig::default()
        })
    }

    /// Reads the server's clock, as `client::measure` does.
    fn measure(&mut self, config: MeasurementConfig) -> Option<Reading> {
        let mut measurement = Measurement::new(MeasurementConfig {
            max_slew: Some(500),
            wall_clock: self.wall_clock,
            ..config
        });
        if self.requests == 0 && self.whole_seconds {
            // It is asked for nanoseconds first.
            self.sample(SECOND);
        }
        while let Request::Send { at, timeout } = measurement.next_action(self.local()) {
            if at > self.local() {
                let wakeup = self.random().of_any_size(MICRO..self.wakeup);
                self.now = at - self.local_error + wakeup;
            }
            match self.sample(timeout) {
                Some(sample) => {
                    if measurement.add_sample(&sample) == SampleOutcome::Unstable {
                        return None;
                    }
                }
                None => measurement.add_loss(),
            }
        }
        let clock = measurement.result()?;
        Some(Reading {
            interval: clock.estimate.interval,
            as_of: clock.estimate.as_of,
            since: clock.estimate.as_of - clock.duration,
            round_trip: clock.round_trip,
            whole_seconds: self.whole_seconds,
        })
    }

    /// Sleeps until the local clock reads `until`, or something happens.
    fn sleep(&mut self, until: Nanos, slack: Nanos, plan: &mut Plan) {
        let end = until - self.local_error;
        let wakeup = self.random().of_any_size(MICRO..self.wakeup);
        // The sleep until the target is not too long.
        let too_long = match self.has_slow_timer && until < plan.due_at() {
            true => slack,
            false => 0,
        };
        let suspend = self.suspends.first().copied();
        let clock_set = self.clock_sets.first().copied();
        match (suspend, clock_set) {
            (Some((at, length)), _) if at < end => {
                self.suspends.remove(0);
                let start = match self.suspended {
                    Some((start, None)) => start,
                    _ => self.now.max(at),
                };
                self.suspended = Some((start, None));
                // The clock that counts a suspend has seconds.
                self.local_error += self.random().within(-SECOND..SECOND);
                self.now = self.now.max(at) + length;
                plan.has_resumed(self.local());
            }
            (_, Some(at)) if at < end => {
                self.clock_sets.remove(0);
                self.now = self.now.max(at);
                plan.clock_was_set(self.local());
            }
            _ => self.now = self.now.max(end) + wakeup + too_long,
        }
    }
}

/// How a run ends.
#[derive(Debug)]
enum End {
    NoFirstReading,
    NoAnswer,
    Due {
        /// How late the server's clock is.
        late: Nanos,
        bound: Nanos,
        /// How late the machine woke up, after the time that was planned before the last reading
        /// or sleep.
        woke_late: Nanos,
        /// The maximum error of that time.
        planned_bound: Nanos,
        /// The age of the last response.
        age: Nanos,
    },
}

/// Waits until the server's clock reads `wait` more than at the start.
fn run(world: &mut World, wait: Nanos, spread: Nanos) -> End {
    run_with(world, wait, spread, |_| {})
}

/// The same. Calls a function with the time of each reading.
fn run_with(world: &mut World, wait: Nanos, spread: Nanos, mut reads: impl FnMut(Nanos)) -> End {
    let Some(first) = world.first_reading() else {
        return End::NoFirstReading;
    };
    let target = world.server(world.now) + wait;
    let config = PlanConfig {
        target,
        max_slew: 500,
        max_bound: SECOND,
        wall_clock: world.wall_clock,
        spread,
        time_limit: 10 * SECOND,
    };
    let mut plan = Plan::new(config, first);
    let (mut steps, mut planned) = (0, plan.due_at());
    let mut planned_bound = first.interval.bound();
    loop {
        steps += 1;
        assert!(steps < 10_000, "the wait does not end: {world:?}");
        let now = world.local();
        let action = plan.next_action(now);
        if !matches!(action, Action::Due { .. }) {
            planned = plan.due_at();
            planned_bound = plan.interval_at(planned).bound();
        }
        match action {
            Action::Read { full, deadline } => {
                assert!(deadline > now);
                reads(world.now);
                match world.read(full, deadline) {
                    Some(reading) => {
                        if let Some((_, read)) = &mut world.suspended {
                            read.get_or_insert(world.now);
                        }
                        plan.add_reading(reading, full);
                    }
                    None => {
                        // A closed port takes no time.
                        world.now += MICRO;
                        plan.add_failure(world.local());
                    }
                }
            }
            Action::Sleep { until, slack } => {
                assert!(until > now);
                world.sleep(until, slack, &mut plan);
            }
            Action::Due { bound, .. } => {
                break End::Due {
                    late: world.server(world.now) - target,
                    bound,
                    woke_late: (now - planned).max(0),
                    planned_bound,
                    age: world.now - world.responded_at,
                };
            }
            Action::NoAnswer { .. } => break End::NoAnswer,
        }
    }
}

/// Makes a world in which everything may happen.
fn any_world(random: &mut Random) -> (World, Nanos) {
    let mut wait = random.of_any_size(MILLI..8 * 3_600 * SECOND);
    let start = random.within(0..1_000 * QUARTER) + 1_783_000_000 * SECOND;
    // The server's clock has slews one after the other, and hours of difference to the local one.
    let ahead = random.within(-9_000 * SECOND..9_000 * SECOND);
    let mut clock = vec![(0, ahead, random.within(-MAX_SLEW..MAX_SLEW + 1))];
    clock[0].1 += start * clock[0].2 / -1_000_000;
    let mut time = start;
    for _ in 0..4 {
        time += random.of_any_size(MILLI..wait.max(2 * MILLI));
        let (begin, value, ppm) = *clock.last().unwrap();
        let value = value + (time - begin) + (time - begin) * ppm / 1_000_000;
        clock.push((time, value, random.within(-MAX_SLEW..MAX_SLEW + 1)));
    }
    // Zones change at quarters of an hour of their wall clock, by quarters of an hour.
    let mut offset = random.within(-48..56) * QUARTER;
    let mut zones = vec![(0, offset)];
    let mut is_near_change = false;
    if random.one_in(2) {
        let utc = start + ahead + random.of_any_size(SECOND..wait + 2 * QUARTER);
        let at = (utc + offset).div_euclid(QUARTER) * QUARTER - offset;
        offset += [-4, 4, 2, -2, 96][random.within(0..5) as usize] * QUARTER;
        zones.push((at, offset));
        // Often the target is near the change, or skipped by it, or comes twice.
        let jump = (offset - zones[0].1).max(0);
        let size = [4 * SECOND, 100 * MILLI, jump + SECOND][random.within(0..3) as usize];
        let near = at - (start + ahead) + random.within(-size..size);
        if random.one_in(2) && near > MILLI {
            (wait, is_near_change) = (near, true);
        }
    }
    let several = |random: &mut Random, n: u64| -> Vec<Nanos> {
        let count = if random.one_in(n) {
            random.within(1..4)
        } else {
            0
        };
        let mut times: Vec<_> = (0..count)
            .map(|_| start + random.within(0..wait + SECOND))
            .collect();
        times.sort_unstable();
        times
    };
    let gone = several(random, 4);
    let gone = gone
        .into_iter()
        .map(|at| at..at + random.of_any_size(MILLI..wait + SECOND));
    let gone = gone.collect();
    let suspends = several(random, 8);
    let suspends = suspends
        .into_iter()
        .map(|at| (at, random.of_any_size(SECOND..wait + SECOND * 2)));
    let suspends = suspends.collect();
    let world = World {
        now: start,
        local_error: random.within(-9_000 * SECOND..9_000 * SECOND),
        clock,
        zones,
        wall_clock: is_near_change || random.one_in(2),
        whole_seconds: random.one_in(4),
        lag: [0, TICK][random.within(0..2) as usize],
        gone,
        loss: [0, 0, 2, 10, 100][random.within(0..5) as usize],
        delays: MICRO..random.of_any_size(10 * MICRO..100 * MILLI) + MICRO * 2,
        wakeup: random.of_any_size(10 * MICRO..20 * MILLI) + MICRO * 2,
        has_slow_timer: random.one_in(4),
        suspends,
        clock_sets: several(random, 2),
        suspended: None,
        responded_at: 0,
        random: random.next() >> 1,
        requests: 0,
    };
    (world, wait)
}

// Never early. Late by the interval and the wake-up; where the wall time is skipped, or follows a
// change of the zone at once, by 2 s more and the time of the reading.
#[test]
fn a_wait_is_never_over_early() {
    let (mut due, mut no_answer, mut jumped, mut outside) = (0, 0, 0, 0);
    for seed in 0..RUNS {
        let mut random = Random(seed << 32);
        let (mut world, wait) = any_world(&mut random);
        let is_quiet = world.gone.is_empty() && world.loss == 0;
        let spread = random.within(0..2 * SECOND);
        let end = run(&mut world, wait, spread);
        let about = || format!("seed {seed}: {end:?} {world:?}");
        let End::Due {
            late,
            bound,
            woke_late,
            planned_bound,
            age,
        } = end
        else {
            assert!(!is_quiet, "{}", about());
            no_answer += 1;
            continue;
        };
        due += 1;
        assert!(bound <= SECOND || woke_late > 0, "{}", about());
        let utc = world.utc(world.now);
        let change = world.zones.get(1).filter(|_| world.wall_clock);
        let change_age = change.map(|(at, _)| utc - at).filter(|age| *age >= 0);
        // The promise does not cover a change after the last reading.
        if change_age.is_some_and(|since| since <= age + MILLI) {
            outside += 1;
            continue;
        }
        assert!(late >= 0, "early by {late}: {}", about());
        // A target that came while the machine was suspended, or before a reading showed for how
        // long it was.
        let reached = world.now - late;
        let resume = match world.suspended {
            // The bound before it was 1 s at most.
            Some((at, read)) if reached >= at - 2 * SECOND => {
                (read.unwrap_or(world.now) - reached).max(0)
            }
            _ => 0,
        };
        let slewed = (woke_late + MILLI) * MAX_SLEW / 1_000_000 + 1;
        let max_late = 2 * bound.max(planned_bound) + woke_late + slewed + resume;
        if late <= max_late {
            continue;
        }
        // It was the change that made the target past, or it was noticed too late for it.
        let since =
            change_age.unwrap_or_else(|| panic!("late by {late} > {max_late}: {}", about()));
        jumped += 1;
        if is_quiet && world.suspends.is_empty() {
            let reading = 4 * world.delays.end + 6 * world.wakeup + 100 * MILLI;
            let max = 2 * SECOND + max_late + if world.whole_seconds { SECOND } else { reading };
            assert!(since <= max, "{since} > {max}: {}", about());
        }
    }
    // Each kind of run is among them.
    assert!(
        due > RUNS * 8 / 10 && no_answer > RUNS / 100 && jumped > RUNS / 1_000 && outside > 0,
        "{due} due, {no_answer} no answer, {jumped} after a change, {outside} outside"
    );
    assert!(outside < RUNS / 100, "{outside}");
}

/// A server that is always there, and whose clock is right.
fn quiet_world(whole_seconds: bool, wall_clock: bool) -> World {
    World {
        now: 1_783_000_000 * SECOND,
        local_error: -7 * 3_600 * SECOND,
        clock: vec![(0, 0, 0)],
        zones: vec![(0, 0)],
        wall_clock,
        whole_seconds,
        lag: 0,
        gone: Vec::new(),
        loss: 0,
        delays: 100 * MICRO..200 * MICRO,
        wakeup: 200 * MICRO,
        has_slow_timer: false,
        suspends: Vec::new(),
        clock_sets: Vec::new(),
        suspended: None,
        responded_at: 0,
        random: 7,
        requests: 0,
    }
}

#[test]
fn an_hour_of_waiting_takes_few_requests() {
    for wall_clock in [false, true] {
        for (whole_seconds, limit) in [(false, 50), (true, 200)] {
            let mut world = quiet_world(whole_seconds, wall_clock);
            let end = run(&mut world, 3_600 * SECOND, SECOND);
            assert!(matches!(end, End::Due { .. }), "{end:?}");
            assert!(world.requests <= limit, "{}", world.requests);
        }
    }
}

// What is read in the first second after a quarter is not certainly after it: seconds have no
// fraction.
#[test]
fn a_small_spread_takes_no_more_requests() {
    for seed in 0..500 {
        for whole_seconds in [false, true] {
            let mut random = Random(seed << 32);
            let mut world = World {
                delays: 10 * MICRO..20 * MICRO,
                lag: TICK,
                random: seed << 32,
                ..quiet_world(whole_seconds, true)
            };
            world.now += random.within(0..SECOND);
            let spread = random.within(0..100 * MILLI);
            let end = run(&mut world, 3_600 * SECOND, spread);
            assert!(matches!(end, End::Due { .. }), "{end:?}");
            let limit = if whole_seconds { 200 } else { 50 };
            assert!(
                world.requests <= limit,
                "{seed} {spread}: {}",
                world.requests
            );
        }
    }
}

#[test]
fn the_last_reading_is_at_most_50_ms_or_two_round_trips_old() {
    for whole_seconds in [false, true] {
        for delay in [
            20 * MICRO,
            200 * MICRO,
            MILLI,
            5 * MILLI,
            20 * MILLI,
            80 * MILLI,
        ] {
            for seed in 0..50 {
                let mut world = World {
                    delays: delay / 2..delay,
                    random: seed << 32,
                    ..quiet_world(whole_seconds, true)
                };
                let end = run(&mut world, (100 + Nanos::from(seed)) * SECOND, SECOND);
                let End::Due {
                    age, late, bound, ..
                } = end
                else {
                    panic!("{end:?}");
                };
                // Round trips differ; the plan knows the shortest and the last.
                let max_age = (50 * MILLI).max(MILLI + 4 * delay) + 2 * bound;
                assert!(age <= max_age, "{delay} {seed}: {age} > {max_age}");
                assert!(late <= 2 * bound + MILLI, "{delay} {seed}: {late}");
            }
        }
    }
}

// With a step of the server, every reading before it is wrong.
#[test]
fn a_step_of_the_server_before_the_last_reading_is_never_early() {
    for seed in 0..1_000 {
        let mut random = Random(seed << 32);
        let mut world = quiet_world(random.one_in(4), random.one_in(2));
        let wait = random.of_any_size(20 * SECOND..3_600 * SECOND);
        let at = world.now + random.within(0..wait - 10 * SECOND);
        let size = random.of_any_size(MICRO..10 * SECOND) * if random.one_in(2) { 1 } else { -1 };
        world.clock.push((at, at + size, 0));
        world.random = random.next() >> 1;
        let end = run(&mut world, wait, SECOND);
        let End::Due {
            late,
            bound,
            woke_late,
            ..
        } = end
        else {
            panic!("{seed}: {end:?}");
        };
        assert!(late >= 0, "{seed}: early by {late}, step {size}");
        if size < 0 || size < 5 * SECOND {
            let max = 2 * bound + woke_late + MILLI + size.max(0);
            assert!(late <= max, "{seed}: {late} > {max}, step {size}");
        }
    }
}

// The round trip is 100 ms, so the last reading is at most 0.2 s old.
#[test]
fn a_step_between_the_last_measurement_and_the_last_reading_is_never_early() {
    for seed in 0..1_000 {
        let mut random = Random(seed << 32);
        let mut world = World {
            delays: 49 * MILLI..51 * MILLI,
            random: seed << 32,
            ..quiet_world(random.one_in(4), true)
        };
        let wait = 10 * SECOND;
        let measuring = if world.whole_seconds {
            4 * SECOND
        } else {
            SECOND
        };
        let step = world.now + measuring + wait - random.within(0..2 * SECOND);
        let size = random.of_any_size(MILLI..3_600 * SECOND);
        world.clock.push((step, step - size, 0));
        let end = run(&mut world, wait, SECOND);
        let End::Due { late, age, .. } = end else {
            panic!("{seed}: {end:?}");
        };
        let read_at = world.now - age;
        assert!(
            late >= 0 || step > read_at,
            "{seed}: early by {}, step {size}",
            -late
        );
        let max_age = MILLI + 4 * 51 * MILLI + 2 * 52 * MILLI;
        assert!(age <= max_age, "{seed}: {age}");
    }
}

// The responses of the last measurement are lost from some moment on, and then the server's clock
// is set back. The server responds again before the target.
#[test]
fn a_step_while_the_last_responses_are_lost_is_never_early() {
    for seed in 0..500 {
        let mut random = Random(seed << 32);
        let mut world = World {
            delays: 49 * MILLI..51 * MILLI,
            random: seed << 32,
            ..quiet_world(false, true)
        };
        let wait = 10 * SECOND;
        // Measuring takes 0.8 s, the first time as well as the last, which ends 0.2 s before the
        // target.
        let target = world.now + 800 * MILLI + wait;
        let gone = target - random.within(800 * MILLI..1_200 * MILLI);
        world.gone.push(gone..target - 250 * MILLI);
        let step = target - random.within(500 * MILLI..700 * MILLI);
        world
            .clock
            .push((step, step - random.within(MILLI..50 * MILLI), 0));
        let end = run(&mut world, wait, SECOND);
        let End::Due { late, .. } = end else {
            panic!("{seed}: {end:?}");
        };
        assert!(late >= 0, "{seed}: early by {}", -late);
    }
}

// The clock of the timer is slower by a tenth, as far as the kernel allows.
#[test]
fn a_slow_timer_delays_no_reading_after_a_quarter() {
    let quarter = 1_783_000_800 * SECOND;
    assert_eq!(quarter % QUARTER, 0);
    for wait in (60..7_300).step_by(10) {
        let mut world = World {
            now: quarter + 2 * SECOND,
            local_error: 0,
            has_slow_timer: true,
            ..quiet_world(false, true)
        };
        let target = world.now + wait * SECOND;
        let mut read_at = vec![world.now];
        let end = run_with(&mut world, wait * SECOND, SECOND, |now| read_at.push(now));
        assert!(matches!(end, End::Due { .. }), "{end:?}");
        for quarter in (1..8).map(|count| quarter + count * QUARTER) {
            let late = read_at
                .iter()
                .find(|at| **at >= quarter)
                .map(|at| at - quarter);
            assert!(
                quarter + 2 * SECOND > target || late.is_some_and(|late| late < 2 * SECOND),
                "{wait}: {late:?}"
            );
        }
        for pair in read_at.windows(2) {
            assert!(pair[1] - pair[0] <= 3_600 * SECOND, "{wait}");
        }
    }
}

// The first measurement may be the last one too.
#[test]
fn a_short_wait_for_whole_seconds_is_late_by_what_its_first_measurement_says() {
    for delay in [100 * MICRO, 5 * MILLI, 150 * MILLI] {
        for time in [
            1_300, 1_600, 2_000, 3_000, 4_000, 5_000, 6_000, 8_000, 12_000,
        ] {
            for seed in 0..100 {
                let make = || World {
                    now: 1_783_000_000 * SECOND + seed * 10_007_001,
                    delays: delay / 2..delay,
                    lag: TICK,
                    random: (seed as u64) << 32,
                    ..quiet_world(true, true)
                };
                let mut world = make();
                let start = world.now;
                let first = world.first_reading().unwrap().interval.bound();
                let wait = time * MILLI - (world.now - start);
                if wait < 0 {
                    continue;
                }
                let mut world = make();
                let end = run(&mut world, wait, SECOND);
                let End::Due { late, .. } = end else {
                    panic!("{end:?}");
                };
                // The delays of the last measurement may be longer.
                let max = 2 * first + delay + 20 * MILLI;
                assert!(late <= max, "{delay} {time} {seed}: {late} > {max}");
                assert!(world.requests <= 100, "{}", world.requests);
            }
        }
    }
}

// Its clocks stand still, and the server's goes on.
#[test]
fn a_paused_guest_is_due_at_the_next_reading_or_when_its_clock_is_set() {
    for pause in [SECOND, 600 * SECOND, 7_200 * SECOND] {
        for is_set in [false, true] {
            let mut world = quiet_world(false, false);
            let first = world.first_reading().unwrap();
            let wait = 3_600 * SECOND;
            let config = PlanConfig {
                target: world.server(world.now) + wait,
                max_slew: 500,
                max_bound: SECOND,
                wall_clock: false,
                spread: 0,
                time_limit: 10 * SECOND,
            };
            let mut plan = Plan::new(config, first);
            (world.now, world.local_error) = (world.now + pause, world.local_error - pause);
            if is_set {
                plan.clock_was_set(world.local() + SECOND);
            }
            let late = loop {
                match plan.next_action(world.local()) {
                    Action::Read { full, deadline } => {
                        let reading = world.read(full, deadline).unwrap();
                        plan.add_reading(reading, full);
                    }
                    Action::Sleep { until, slack } => world.sleep(until, slack, &mut plan),
                    Action::Due { .. } => break world.server(world.now) - config.target,
                    action => panic!("{action:?}"),
                }
            };
            let expected = match (pause > wait, is_set) {
                (false, _) => 0,
                (true, true) => pause - wait + SECOND,
                (true, false) => pause - wait / 2,
            };
            assert!(late >= 0, "{pause}: {late}");
            assert!((late - expected).abs() <= 2 * SECOND, "{pause} {late}");
        }
    }
}

//! Simulated measurements: clocks that are slewed and stepped, delays, losses, and liars. The true
//! offset is in each bound.
//!
//! The simulated clocks, network and servers follow the assumptions that wallclock(1) states, to
//! their limits. The number of measurements can be set: `WALLCLOCK_SIMULATIONS=100000`.

use std::env;
use std::num::NonZero;
use std::thread;

use wallclock::offset::{
    Action, ClockPair, Measurement, MeasurementConfig, Nanos, Sample, SampleOutcome, ServerClock,
    ServerTime,
};
use wallclock::report::{AddressResult, Failure, HostResult, Report};

const SECOND: Nanos = 1_000_000_000;
const MILLI: Nanos = 1_000_000;

/// xorshift64*, Marsaglia 2003.
struct Random(u64);

impl Random {
    fn new(number: u64) -> Self {
        Self((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    /// From 0 to `end`, both included.
    fn up_to(&mut self, end: Nanos) -> Nanos {
        Nanos::from(self.next()) % (end + 1)
    }

    /// From `-end` to `end`, both included.
    fn around(&mut self, end: Nanos) -> Nanos {
        self.up_to(2 * end) - end
    }

    fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.up_to(values.len() as Nanos - 1) as usize]
    }

    fn one_in(&mut self, count: Nanos) -> bool {
        self.up_to(count - 1) == 0
    }
}

/// A clock that is slewed at a rate that changes now and then, by at most `max_ppm`, and stepped on
/// request.
#[derive(Clone)]
struct Clock {
    max_ppm: Nanos,
    /// Raw time, reading and rate since then.
    pieces: Vec<(Nanos, Nanos, Nanos)>,
}

impl Clock {
    fn new(random: &mut Random, max_ppm: Nanos) -> Self {
        let mut pieces = vec![(0, random.up_to(4_000_000_000 * SECOND), 0)];
        let mut raw = 0;
        for _ in 0..12 {
            let extreme = random.one_in(2);
            let ppm = match extreme {
                true => random.one_of(&[max_ppm, -max_ppm]),
                false => random.around(max_ppm),
            };
            let (last_raw, reading, last_ppm) = pieces[pieces.len() - 1];
            let elapsed = raw - last_raw;
            pieces.push((raw, reading + elapsed + elapsed * last_ppm / 1_000_000, ppm));
            let scale = random.one_of(&[MILLI, 100 * MILLI, 2 * SECOND]);
            raw += 1 + random.up_to(scale);
        }
        Self { max_ppm, pieces }
    }

    fn read(&self, raw: Nanos) -> Nanos {
        let piece = self.pieces.iter().rfind(|piece| piece.0 <= raw);
        let (start, reading, ppm) = *piece.expect("a time after 0");
        let elapsed = raw - start;
        reading + elapsed + elapsed * ppm / 1_000_000
    }

    /// Steps the clock at a time that is after all earlier steps.
    fn step(&mut self, raw: Nanos, by: Nanos) {
        let reading = self.read(raw) + by;
        let ppm = self.max_ppm;
        self.pieces.retain(|piece| piece.0 < raw);
        self.pieces.push((raw, reading, -ppm));
    }
}

/// How a server reports its clock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nanoseconds,
    /// The time of the last tick.
    Coarse {
        tick: Nanos,
    },
    /// The seconds begin late by up to this.
    Seconds {
        max_lag: Nanos,
    },
    /// The clock plus this.
    Lie(Nanos),
    /// Any time.
    Noise,
}

/// One address of a host.
struct Server {
    kind: Kind,
    clock: Clock,
    /// Maximum delay of a datagram in each direction.
    max_delay: Nanos,
    /// One in so many responses is lost; 0 for none.
    loss: Nanos,
    /// Before the sample of this number the clock is stepped.
    step: Option<usize>,
    samples: usize,
}

impl Kind {
    fn any(random: &mut Random, tick: Nanos) -> Self {
        let ticks = [MILLI, 4 * MILLI, 10 * MILLI];
        match random.up_to(3) {
            0 if tick > 0 => Kind::Coarse {
                tick: random.one_of(&ticks).min(tick),
            },
            1 => Kind::Seconds {
                max_lag: random.up_to(tick),
            },
            _ => Kind::Nanoseconds,
        }
    }

    fn any_lie(random: &mut Random) -> Self {
        let scale = random.one_of(&[MILLI, 30 * MILLI, SECOND, 100 * SECOND]);
        match random.one_in(6) {
            true => Kind::Noise,
            false => Kind::Lie(random.around(scale)),
        }
    }

    fn is_right(self) -> bool {
        !matches!(self, Kind::Lie(_) | Kind::Noise)
    }

    fn max_slew(self, config: MeasurementConfig) -> Nanos {
        Nanos::from(config.max_slew.unwrap_or(match self {
            Kind::Seconds { .. } => 500,
            _ => 100_000,
        }))
    }

    /// Maximum width of the interval of one sample, without its round trip.
    fn resolution(self, config: MeasurementConfig) -> Nanos {
        match self {
            Kind::Nanoseconds | Kind::Lie(_) | Kind::Noise => 1,
            Kind::Coarse { .. } => 1 + config.tick,
            Kind::Seconds { .. } => SECOND + config.tick,
        }
    }
}

impl Server {
    fn new(random: &mut Random, kind: Kind, clock: Clock, loss: Nanos) -> Self {
        let scale = random.one_of(&[MILLI / 50, MILLI, 30 * MILLI]);
        let (max_delay, loss) = match kind {
            // It is recognised by two responses from the same tick. With losses, it is if a round
            // trip takes less than 0.1 ms.
            Kind::Coarse { .. } if loss > 0 => (random.up_to(MILLI / 25), loss),
            Kind::Coarse { tick } => (random.up_to(tick / 100), 0),
            _ => (random.up_to(scale), loss),
        };
        Self {
            kind,
            clock,
            max_delay,
            loss,
            step: None,
            samples: 0,
        }
    }

    /// What the server reports when it reads its clock at this time.
    fn reported(&self, random: &mut Random, raw: Nanos) -> ServerTime {
        let clock = self.clock.read(raw);
        let time = match self.kind {
            Kind::Nanoseconds => clock,
            Kind::Coarse { tick } => clock.div_euclid(tick) * tick,
            Kind::Seconds { max_lag } => {
                (clock - random.up_to(max_lag)).div_euclid(SECOND) * SECOND
            }
            Kind::Lie(lie) => clock + lie,
            Kind::Noise => clock + random.around(SECOND),
        };
        ServerTime {
            time,
            whole_seconds: matches!(self.kind, Kind::Seconds { .. }),
        }
    }

    /// Steps the clock, by at least the width of the interval so far and that of one sample.
    fn step(&mut self, random: &mut Random, width: Nanos, config: MeasurementConfig, now: Nanos) {
        // With a slew of 50 % a round trip widens both intervals by as much as it takes.
        let least = width + self.kind.resolution(config) + 8 * (self.max_delay + 1_000);
        let more = [0, random.up_to(least), random.up_to(9 * SECOND)];
        let by = least + random.one_of(&more);
        self.clock
            .step(now, if random.one_in(2) { by } else { -by });
    }

    /// Measures this server from `now` on, as `client::measure` does. Returns the result, and the
    /// time after it.
    fn measure(
        &mut self,
        random: &mut Random,
        config: MeasurementConfig,
        mut now: Nanos,
    ) -> (Outcome, Nanos) {
        let failure = |is_contradiction| Failure {
            reason: "no offset".to_owned(),
            is_contradiction,
        };
        let mut measurement = Measurement::new(config);
        for requests in 0.. {
            assert!(requests < 20_000, "the measurement does not end");
            let Action::Send { at, timeout } = measurement.next_action(now) else {
                break;
            };
            // A sleep ends late.
            let scale = if random.one_in(20) { 5 * MILLI } else { 20_000 };
            let late = random.up_to(scale);
            now = if at > now { at + late } else { now + 100 };
            let [request, response] = [(); 2].map(|()| 1_000 + random.up_to(self.max_delay));
            let is_lost = self.loss > 0 && random.one_in(self.loss);
            if is_lost || request + response > timeout {
                now += timeout;
                measurement.add_loss();
                continue;
            }
            if self.step == Some(self.samples) {
                let result = measurement.result();
                let width = result.map_or(0, |clock| clock.estimate.aged_to(now).width());
                self.step(random, width, config, now);
            }
            self.samples += 1;
            let (sent_at, read_at) = (now, now + request);
            now = read_at + response;
            let sample = Sample {
                sent_at,
                received_at: now,
                server_time: self.reported(random, read_at),
            };
            if measurement.add_sample(&sample) == SampleOutcome::Unstable {
                return (Err(failure(true)), now);
            }
        }
        (measurement.result().ok_or(failure(false)), now)
    }
}

type Outcome = Result<ServerClock, Failure>;

/// Makes one to five hosts with up to three addresses each. Returns them and the clock of those
/// that are right, which are more than half.
fn hosts(random: &mut Random, config: MeasurementConfig) -> (Vec<Vec<Server>>, Clock) {
    let count = 1 + random.up_to(4) as usize;
    let wrong = random.up_to((count as Nanos - 1) / 2) as usize;
    let loss = random.one_of(&[0, 0, 20, 5]);
    let mut kinds = Vec::new();
    for host in 0..count {
        let addresses = 1 + (random.up_to(5) - 3).max(0) as usize;
        let wrong_addresses = random.up_to((addresses as Nanos - 1) / 2) as usize;
        let kind = |address| match host < wrong || address < wrong_addresses {
            true => Kind::any_lie(random),
            false => Kind::any(random, config.tick),
        };
        kinds.push((0..addresses).map(kind).collect::<Vec<_>>());
    }
    let slews = kinds.iter().flatten().map(|kind| kind.max_slew(config));
    let clock = Clock::new(random, slews.min().expect("a host"));
    let mut hosts: Vec<Vec<_>> = Vec::new();
    for kinds in kinds {
        let server = |kind| Server::new(random, kind, clock.clone(), loss);
        hosts.push(kinds.into_iter().map(server).collect());
    }
    // A step makes the clock of one server another one, so there is no other.
    if let [servers] = &mut hosts[..]
        && let [server] = &mut servers[..]
    {
        server.step = random.one_in(2).then(|| random.up_to(50) as usize);
    }
    (hosts, clock)
}

/// What simulated measurements gave.
#[derive(Debug, Default)]
struct Counts {
    agreed: usize,
    restarted: usize,
    coarse: usize,
    contradictory: usize,
    without: usize,
    /// By losses the wrong servers were no minority of those with an offset.
    no_right_majority: usize,
}

/// Simulates one measurement.
///
/// # Panics
///
/// The true offset is outside the bound.
fn simulate(number: u64, counts: &mut Counts) {
    let random = &mut Random::new(number);
    let config = MeasurementConfig {
        samples: random.one_in(5).then(|| 2 + random.up_to(30) as u32),
        tick: random.one_of(&[0, 10 * MILLI, 10 * MILLI, SECOND / 5]),
        max_slew: random
            .one_in(3)
            .then(|| random.one_of(&[1, 500, 20_000, 100_000, 500_000])),
        ..MeasurementConfig::default()
    };
    let (mut hosts, _) = hosts(random, config);
    let start = random.up_to(SECOND);
    let mut servers: Vec<_> = hosts.iter_mut().flatten().collect();
    let mut results: Vec<_> = servers
        .iter_mut()
        .map(|server| server.measure(random, config, start))
        .collect();
    let end = |results: &[(Outcome, Nanos)]| results.iter().map(|it| it.1).max().expect("one");
    for _ in 0..5 {
        let now = end(&results);
        for (server, (outcome, end)) in servers.iter_mut().zip(&mut results) {
            if outcome.as_ref().is_ok_and(|clock| clock.is_outdated(now)) {
                let (again, new_end) = server.measure(random, config, now);
                *end = new_end;
                let is_kept = again.as_ref().is_err_and(|it| !it.is_contradiction);
                if !is_kept {
                    *outcome = again;
                }
            }
        }
    }
    // The wall clock may have been slewed and stepped in any way: it is read only once.
    let before = end(&results) + random.up_to(MILLI);
    let read_at = before + random.up_to(1_000);
    let now = ClockPair {
        before,
        wall: random.up_to(4_000_000_000 * SECOND),
        after: read_at + random.up_to(1_000),
    };
    let mut results = results.into_iter();
    let (mut voters, mut right_voters, mut host_results) = (0, 0, Vec::new());
    let mut truth = None;
    for servers in &hosts {
        let (mut with_offset, mut right, mut addresses) = (0, 0, Vec::new());
        for (server, (outcome, _)) in servers.iter().zip(&mut results) {
            if let Ok(clock) = &outcome {
                with_offset += 1;
                counts.restarted += usize::from(clock.restarts > 0);
                let is_coarse = matches!(server.kind, Kind::Coarse { .. });
                counts.coarse += usize::from(is_coarse);
                if server.kind.is_right() {
                    right += 1;
                    let clock_minus_raw = server.clock.read(read_at) - read_at;
                    let interval = clock.estimate.aged_to(read_at);
                    assert!(
                        interval.contains(clock_minus_raw),
                        "{number}: {clock_minus_raw} is not in {interval:?}: {clock:?}"
                    );
                    truth = Some(clock_minus_raw + read_at - now.wall);
                }
            }
            let name = "server".to_owned();
            addresses.push(AddressResult { name, outcome });
        }
        let name = "host".to_owned();
        let host = HostResult { name, addresses };
        let has_vote = Report::new(vec![host.clone()], now).agreed().is_some();
        voters += usize::from(has_vote);
        right_voters += usize::from(has_vote && 2 * right > with_offset);
        host_results.push(host);
    }
    if let [host] = &host_results[..] {
        // Its addresses vote.
        let with_offset = |it: &&AddressResult| it.outcome.is_ok();
        voters = host.addresses.iter().filter(with_offset).count();
        right_voters = 0;
        for (server, address) in hosts[0].iter().zip(&host.addresses) {
            right_voters += usize::from(server.kind.is_right() && address.outcome.is_ok());
        }
    }
    let report = Report::new(host_results, now);
    if 2 * right_voters <= voters {
        counts.no_right_majority += 1;
    } else if let (Some(offset), Some(truth)) = (report.agreed(), truth) {
        counts.agreed += 1;
        assert!(
            offset.contains(truth),
            "{number}: {truth} is not in {offset:?}"
        );
    } else if report.is_contradictory() {
        counts.contradictory += 1;
    } else {
        counts.without += 1;
    }
}

#[test]
fn simulated_offsets_are_in_their_bounds() {
    let wanted = env::var("WALLCLOCK_SIMULATIONS").ok();
    let wanted = wanted.map_or(2_000, |text| text.parse().expect("a number"));
    let threads = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    thread::scope(|scope| {
        for first in 0..threads {
            scope.spawn(move || {
                let mut counts = Counts::default();
                for number in (first..wanted).step_by(threads as usize) {
                    simulate(number, &mut counts);
                }
                println!("{counts:?}");
                // It did simulate what it is for.
                assert!(counts.agreed as u64 * threads * 3 > wanted, "{counts:?}");
                for count in [counts.restarted, counts.coarse, counts.contradictory] {
                    assert!(count > 0, "{counts:?}");
                }
            });
        }
    });
}

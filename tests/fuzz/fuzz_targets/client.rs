//! The client's reading of answers and offsets, whoever answers.
//!
//! The first byte says what the rest is: an answer, an honest server seen through delays and lags, a lying one, or many servers' intervals.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wallclock::client::chrony::sample;
use wallclock::client::query::{QueryError, parse_response};
use wallclock::offset::{
    Clocks, Estimate, Exchange, Heard, Interval, Measurement, MeasurementConfig, Nanos, Next,
    Offset, Reading, SECOND, TICK, agree,
};
use wallclock::protocol::{MAX_RESPONSE_LEN, Response, reply};
use wallclock::report::Summary;
use wallclock::report::plot::Plot;
use wallclock::report::{Limits, Report, ServerResult};
use wallclock::strftime::Format;
use wallclock::time::LocalTime;

/// What is left of the input; zeros behind its end.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn number(&mut self, bytes: usize) -> Nanos {
        let taken = self.take(bytes);
        taken
            .iter()
            .rev()
            .fold(0, |number, &byte| number << 8 | Nanos::from(byte))
    }

    fn signed(&mut self, bytes: usize) -> Nanos {
        self.number(bytes) - (1 << (8 * bytes - 1))
    }

    /// Nanoseconds, up to about an hour in 4 bytes' worth of scales.
    fn delay(&mut self) -> Nanos {
        let scale = [1, 1_000, 100_000, 10_000_000][self.number(1) as usize & 3];
        self.number(1) * scale
    }
}

fn answer(mut bytes: Bytes<'_>) {
    let format_length = bytes.number(1) as usize;
    let format = bytes.take(format_length);
    let Ok(format) = Format::parse(format) else {
        return;
    };
    let nonce = *b"0123456789abcdef|";
    let percents = |text: &[u8]| text.iter().filter(|&&byte| byte == b'%').count();
    // In half of the inputs the nonce is there without having to be found.
    let led = bytes.number(1) & 1 == 1;
    let answer = if led {
        [&nonce[..], bytes.0].concat()
    } else {
        bytes.0.to_vec()
    };
    match parse_response(&answer, &nonce, &format) {
        None => assert!(!answer.starts_with(&nonce) && !answer.starts_with(b"error: ")),
        Some(Ok(text)) => {
            assert_eq!(answer, [&nonce[..], text].concat());
            assert!(percents(text) <= format.percents());
        }
        Some(Err(QueryError::Foreign(shown))) => {
            assert!(answer.starts_with(&nonce));
            assert!(percents(&answer) > format.percents());
            assert!(!shown.contains(char::is_control));
        }
        Some(Err(QueryError::Refused(shown))) => {
            assert!(answer.starts_with(b"error: ") && !answer.starts_with(&nonce));
            assert!(!shown.contains(char::is_control));
        }
        Some(Err(other)) => panic!("{other}: no datagram says that"),
    }
    // Some other try's nonce is never heard.
    let other = *b"fedcba9876543210|";
    if led {
        assert!(parse_response(&answer, &other, &format).is_none());
    }

    // What our own server says to the question is always understood.
    let question = [&nonce[..], format.bytes()].concat();
    let moment = LocalTime::new(1_783_213_507, 123_456_789, -12_345, "CST");
    let (mut room, mut alone) = ([0; MAX_RESPONSE_LEN], [0; 2 * MAX_RESPONSE_LEN]);
    let verdict = reply(&question, &moment, &mut room);
    let heard = parse_response(&room[..verdict.length()], &nonce, &format);
    match verdict {
        Response::Answered { .. } => {
            let length = format
                .render(&moment, &mut alone)
                .expect("what fits an answer");
            assert_eq!(heard.map(Result::unwrap), Some(&alone[..length]));
        }
        Response::Refused { reason, .. } => {
            let Some(Err(QueryError::Refused(said))) = heard else {
                panic!("{reason} is not understood");
            };
            assert_eq!(said, reason.to_string());
        }
        // Without a conversion it is no question, and the client asks none.
        Response::Ignored(_) => assert_eq!(format.directives(), 0),
    }
    if let Some(reading) = std::str::from_utf8(bytes.0)
        .ok()
        .and_then(|text| Reading::parse(text, TICK))
    {
        assert!(reading.resolution == 1 || reading.resolution == SECOND + TICK);
        assert!(reading.time.abs() <= Nanos::from(i64::MAX) * SECOND + SECOND);
    }
}

/// Our clocks and the server's; the monotonic clock is the time line.
struct World {
    now: Nanos,
    /// Our wall clock less the monotonic one.
    base: Nanos,
    /// The server's clock less the monotonic one at 0, and how fast it grows, in parts per million.
    server: Nanos,
    ppm: Nanos,
    whole: bool,
}

impl World {
    fn wall(&self) -> Nanos {
        self.now + self.base
    }

    fn server_clock(&self) -> Nanos {
        self.now + self.server + self.now * self.ppm / 1_000_000
    }

    fn look(&mut self, takes: Nanos) -> Clocks {
        let before = self.now;
        self.now += takes / 2;
        let wall = self.wall();
        self.now += takes - takes / 2;
        Clocks {
            before,
            wall,
            after: self.now,
        }
    }

    fn exchange(&mut self, bytes: &mut Bytes<'_>, at: Nanos) -> Exchange {
        if at > self.wall() {
            self.now += at - self.wall();
        }
        let controls = bytes.number(1);
        // One byte is all it takes where nothing is odd.
        let mut maybe = |bit: u32| {
            if controls & 1 << bit == 0 {
                7_000
            } else {
                bytes.delay()
            }
        };
        let (overslept, before, there, back, after) =
            (maybe(0), maybe(1), maybe(2), maybe(3), maybe(4));
        let lag = if controls & 32 == 0 {
            0
        } else {
            bytes.number(3) % (TICK + 1)
        };
        // An hour either way at most, and never so little that a look could not tell it.
        let step = if controls & 64 == 0 {
            0
        } else {
            let step = bytes.signed(3) * 430_000;
            step + step.signum() * SECOND
        };
        // A step shows where it is larger than a look takes: this one always is.
        let (before, after) = (before.min(SECOND / 3), after.min(SECOND / 3));
        self.now += overslept;
        let before = self.look(before);
        let asked = self.now;
        self.now += there;
        let clock = self.server_clock();
        let reading = if self.whole {
            Reading::parse(&(clock - lag).div_euclid(SECOND).to_string(), TICK)
        } else {
            let (seconds, nanos) = (clock.div_euclid(SECOND), clock.rem_euclid(SECOND));
            Reading::parse(&format!("{seconds}.{nanos:09}"), TICK)
        };
        if controls & 128 != 0 {
            self.base += step;
        }
        self.now += back;
        let heard = self.now;
        if controls & 128 == 0 {
            self.base += step;
        }
        Exchange {
            before,
            asked,
            heard,
            after: self.look(after),
            reading: reading.expect("seconds"),
        }
    }
}

/// An honest server, and a wall clock of ours that is stepped now and then: the truth is always inside.
fn honest(mut bytes: Bytes<'_>) {
    let mut world = World {
        now: bytes.number(4),
        base: bytes.signed(7) * 1_000,
        server: 0,
        ppm: bytes.signed(1) * 3,
        whole: bytes.number(1) & 1 == 1,
    };
    world.server = bytes.signed(7) * 1_000 + bytes.number(2);
    // Seconds before the epoch are told with a fraction that counts on: no strftime does, and no clock stands there.
    world.server = world.server.max(0);
    world.base = world.base.max(0);
    let samples = Some(bytes.number(1) as u32).filter(|&samples| samples > 0);
    let mut measurement = Measurement::new(MeasurementConfig {
        samples,
        tick: TICK,
    });
    for exchanges in 0.. {
        assert!(exchanges < 2_000, "it never ends");
        let Next::Ask(at) = measurement.next(world.wall()) else {
            break;
        };
        let exchange = world.exchange(&mut bytes, at);
        let heard = measurement.heard(&exchange);
        if let Some(found) = measurement.found() {
            let truth = world.server_clock() - world.wall();
            let interval = found.estimate.at(world.wall());
            assert!(
                interval.contains(truth),
                "{truth} is not in {interval:?} after {exchange:?}"
            );
        }
        match heard {
            Heard::Unsteady => break,
            Heard::Taken => assert!(measurement.found().is_some()),
            Heard::Restarted => {}
        }
    }
    show(measurement.found().into_iter().map(Ok).collect());
}

/// A server that says anything at all, before clocks of ours that may be anywhere.
fn lying(mut bytes: Bytes<'_>) {
    let samples = Some(bytes.number(1) as u32).filter(|&samples| samples > 0);
    let mut measurement = Measurement::new(MeasurementConfig {
        samples,
        tick: bytes.number(3),
    });
    let (mut now, mut wall) = (bytes.number(5), bytes.signed(8));
    while !bytes.0.is_empty() {
        if measurement.next(wall) == Next::Done {
            break;
        }
        let mut clocks = || {
            wall += [0, 1, -1, bytes.signed(8)][bytes.number(1) as usize & 3];
            let before = now;
            now += bytes.delay();
            Clocks {
                before,
                wall,
                after: now,
            }
        };
        let (before, after) = (clocks(), clocks());
        let length = bytes.number(1) as usize & 31;
        let Ok(text) = std::str::from_utf8(bytes.take(length)) else {
            continue;
        };
        let Some(reading) = measurement.read(text) else {
            measurement.refused();
            continue;
        };
        let heard = measurement.heard(&Exchange {
            before,
            asked: before.after,
            heard: after.before,
            after,
            reading,
        });
        if let Some(found) = measurement.found() {
            let interval = found.estimate.interval;
            assert!(interval.low() <= interval.high());
        }
        if heard == Heard::Unsteady {
            break;
        }
    }
    let found = measurement.found().into_iter().map(Ok);
    show(
        found
            .chain([Err("nothing \"at\" all\u{1b}\n".into())])
            .collect(),
    );
}

/// Many servers: Marzullo's theorem, beside a count at every point that matters.
fn many(mut bytes: Bytes<'_>) {
    let truth = bytes.signed(1);
    let mut estimates = Vec::new();
    while bytes.0.len() >= 3 && estimates.len() < 12 {
        let low = bytes.signed(1);
        let estimate = Estimate {
            interval: Interval::new(low, low + bytes.number(1)).expect("not empty"),
            // Up to half a second apart: they age by some hundred microseconds then.
            as_of: bytes.number(1) * 2_000,
        };
        estimates.push(estimate);
    }
    let Some(as_of) = estimates.iter().map(|estimate| estimate.as_of).max() else {
        assert!(agree(&estimates).is_none());
        return;
    };
    let intervals: Vec<_> = estimates
        .iter()
        .map(|estimate| estimate.at(as_of))
        .collect();
    let depth = |point| {
        intervals
            .iter()
            .filter(|interval| interval.contains(point))
            .count()
    };
    // The depth only grows where an interval begins.
    let deepest = intervals
        .iter()
        .map(|interval| depth(interval.low()))
        .max()
        .expect("one at least");
    match agree(&estimates) {
        Some(found) => {
            assert!(2 * found.count > estimates.len());
            assert_eq!((found.count, found.estimate.as_of), (deepest, as_of));
            let interval = found.estimate.interval;
            assert!([interval.low(), interval.high()].map(depth) == [deepest; 2]);
            if depth(truth) >= deepest {
                assert!(interval.contains(truth));
            }
        }
        None => assert!(2 * deepest <= estimates.len()),
    }
    let servers = estimates.iter().map(|&estimate| {
        Ok(Offset {
            estimate,
            round_trip: 5_000,
            samples: 8,
            resolution: 1,
            restarts: 0,
        })
    });
    show(servers.collect());
}

/// All that is ever made of offsets, in words.
fn show(outcomes: Vec<Result<Offset, String>>) {
    let servers = outcomes
        .into_iter()
        .enumerate()
        .map(|(number, outcome)| Server {
            name: format!("[::{number}]:9527"),
            outcome,
        });
    let report = Report::new(servers.collect());
    let json = report.json();
    assert!(
        serde_json::from_str::<serde_json::Value>(&json).is_ok(),
        "{json}"
    );
    assert!(!json.contains('\n'));
    let _ = report.text();
    let (_, line) = report.check(Limits {
        warn: Some(SECOND),
        critical: Some(60 * SECOND),
    });
    assert!(
        !line.contains('\n') && line.matches('|').count() <= 1,
        "{line}"
    );
    let (mut picture, mut summary) = (Plot::default(), Summary::default());
    summary.add(report.agreed());
    for estimate in report.agreed().into_iter().cycle().take(2) {
        let (_, bar) = picture.draw(estimate.interval);
        assert_eq!(bar.chars().count(), Plot::COLUMNS);
        let _ = sample(estimate);
        summary.add(Some(estimate));
    }
    let _ = summary.text();
}

fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else {
        return;
    };
    match kind & 3 {
        0 => answer(Bytes(rest)),
        1 => honest(Bytes(rest)),
        2 => lying(Bytes(rest)),
        _ => many(Bytes(rest)),
    }
});

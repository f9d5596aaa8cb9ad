//! What the client makes of responses and offsets, from servers that are honest or lie.
//!
//! The first byte says what the rest of the input is: a response, an honest server with delays and
//! lags, a lying server, or the intervals of many servers.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use wallclock::client::chrony::sample;
use wallclock::client::query::{QueryError, parse_response};
use wallclock::offset::{
    Action, ClockPair, Estimate, Interval, Measurement, MeasurementConfig, Nanos, Offset, SECOND,
    Sample, SampleOutcome, ServerTime, TICK, marzullo,
};
use wallclock::protocol::{ALLOW_ALL, Destination, MAX_RESPONSE_LEN, Response, respond};
use wallclock::report::plot::Plot;
use wallclock::report::{Limits, Report, ServerResult, Summary};
use wallclock::strftime::Format;
use wallclock::time::LocalTime;

/// The rest of the input; after its end, zeros.
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

    /// A delay from two bytes, up to 2.55 s.
    fn delay(&mut self) -> Nanos {
        let scale = [1, 1_000, 100_000, 10_000_000][self.number(1) as usize & 3];
        self.number(1) * scale
    }
}

fn parse_any_response(mut bytes: Bytes<'_>) {
    let format_length = bytes.number(1) as usize;
    let Ok(format) = Format::parse(bytes.take(format_length)) else {
        return;
    };
    let (tag, other_tag) = (b"0123456789abcdef|", b"fedcba9876543210|");
    let percents = |text: &[u8]| text.iter().filter(|&&byte| byte == b'%').count();
    // In half of the inputs the tag is there without the fuzzer having to find it.
    let has_tag = bytes.number(1) & 1 == 1;
    let response = match has_tag {
        true => [tag, bytes.0].concat(),
        false => bytes.0.to_vec(),
    };
    match parse_response(&response, tag, &format) {
        None => assert!(!response.starts_with(tag) && !response.starts_with(b"error: ")),
        Some(Ok(text)) => {
            assert_eq!(response, [tag, text].concat());
            assert!(percents(text) <= format.percents());
        }
        Some(Err(QueryError::UnexpandedFormat(shown))) => {
            assert!(response.starts_with(tag));
            assert!(percents(&response) > format.percents());
            assert!(!shown.contains(char::is_control));
        }
        Some(Err(QueryError::Refused(shown))) => {
            assert!(response.starts_with(b"error: ") && !response.starts_with(tag));
            assert!(!shown.contains(char::is_control));
        }
        Some(Err(other)) => panic!("{other}: not from a datagram"),
    }
    // The response to another try is ignored.
    if has_tag {
        assert!(parse_response(&response, other_tag, &format).is_none());
    }
    parse_own_response(&format);
    let text = std::str::from_utf8(bytes.0).ok();
    if let Some(server_time) = text.and_then(|text| ServerTime::parse(text, TICK)) {
        let ServerTime { time, resolution } = server_time;
        assert!(resolution == 1 || resolution == SECOND + TICK);
        assert!(time.abs() <= Nanos::from(i64::MAX) * SECOND + SECOND);
    }
}

/// The client understands each response of wallclockd.
fn parse_own_response(format: &Format<'_>) {
    let tag = b"0123456789abcdef|";
    let request = [tag, format.bytes()].concat();
    let source = SocketAddr::from(([192, 0, 2, 7], 40_000));
    let now = LocalTime::new(1_783_213_507, 123_456_789, -12_345, "CST");
    let (mut buf, mut expected) = ([0; MAX_RESPONSE_LEN], [0; 2 * MAX_RESPONSE_LEN]);
    let to = Some(Destination::from(IpAddr::from([192, 0, 2, 1])));
    let response = respond(&request, source, to, ALLOW_ALL, &now, &mut buf);
    let parsed = parse_response(&buf[..response.length()], tag, format);
    match response {
        Response::Answered { .. } => {
            let length = format.render(&now, &mut expected);
            let length = length.expect("more space than in a response");
            assert_eq!(parsed.map(Result::unwrap), Some(&expected[..length]));
        }
        Response::Refused { reason, .. } => {
            let Some(Err(QueryError::Refused(shown))) = parsed else {
                panic!("{reason}: not parsed");
            };
            assert_eq!(shown, reason.to_string());
        }
        // Rule 3. The client sends no format without a directive.
        Response::Ignored(_) => assert_eq!(format.directives(), 0),
    }
}

/// The local clocks and the server's. The monotonic clock is the time.
struct Simulation {
    /// The monotonic clock.
    now: Nanos,
    wall_minus_mono: Nanos,
    /// The server's clock minus the monotonic clock, when the latter is 0.
    server_minus_mono: Nanos,
    /// How fast that grows.
    ppm: Nanos,
    whole_seconds: bool,
}

impl Simulation {
    fn wall(&self) -> Nanos {
        self.now + self.wall_minus_mono
    }

    fn server_clock(&self) -> Nanos {
        self.now + self.server_minus_mono + self.now * self.ppm / 1_000_000
    }

    /// Reads the local clocks, which takes so long.
    fn read_clocks(&mut self, duration: Nanos) -> ClockPair {
        let before = self.now;
        self.now += duration / 2;
        let wall = self.wall();
        self.now += duration - duration / 2;
        ClockPair {
            before,
            wall,
            after: self.now,
        }
    }

    /// What the server responds when its seconds begin late by `lag`.
    fn server_time(&self, lag: Nanos) -> ServerTime {
        let clock = self.server_clock();
        let (seconds, nanos) = (clock.div_euclid(SECOND), clock.rem_euclid(SECOND));
        let text = match self.whole_seconds {
            true => (clock - lag).div_euclid(SECOND).to_string(),
            false => format!("{seconds}.{nanos:09}"),
        };
        ServerTime::parse(&text, TICK).expect("seconds")
    }

    /// Sends a request when the wall clock reads `send_at`, and receives the response.
    fn sample(&mut self, bytes: &mut Bytes<'_>, send_at: Nanos) -> Sample {
        self.now += (send_at - self.wall()).max(0);
        // Each bit is something unusual. Usual samples take one byte of the input.
        let unusual = bytes.number(1);
        let mut delay = |bit: u32| match unusual & 1 << bit {
            0 => 7_000,
            _ => bytes.delay(),
        };
        let (wakeup, before, request, response, after) =
            (delay(0), delay(1), delay(2), delay(3), delay(4));
        let lag = match unusual & 32 {
            0 => 0,
            _ => bytes.number(3) % (TICK + 1),
        };
        // A step of the wall clock, by an hour at most. It is larger than the time between two
        // readings of the monotonic clock: a smaller one is not detected.
        let step = match unusual & 64 {
            0 => 0,
            _ => {
                let step = bytes.signed(3) * 430_000;
                step + step.signum() * SECOND
            }
        };
        let (before, after) = (before.min(SECOND / 3), after.min(SECOND / 3));
        self.now += wakeup;
        let before = self.read_clocks(before);
        let sent_at = self.now;
        self.now += request;
        let server_time = self.server_time(lag);
        if unusual & 128 != 0 {
            self.wall_minus_mono += step;
        }
        self.now += response;
        let received_at = self.now;
        if unusual & 128 == 0 {
            self.wall_minus_mono += step;
        }
        Sample {
            before,
            sent_at,
            received_at,
            after: self.read_clocks(after),
            server_time,
        }
    }
}

/// With an honest server and a local clock that is stepped now and then, the bound contains the
/// offset.
fn measure_honest_server(mut bytes: Bytes<'_>) {
    let mut simulation = Simulation {
        now: bytes.number(4),
        wall_minus_mono: bytes.signed(7) * 1_000,
        server_minus_mono: 0,
        ppm: bytes.signed(1) * 3,
        whole_seconds: bytes.number(1) & 1 == 1,
    };
    simulation.server_minus_mono = bytes.signed(7) * 1_000 + bytes.number(2);
    // No time before the epoch: its fraction would count up, which no strftime writes.
    simulation.server_minus_mono = simulation.server_minus_mono.max(0);
    simulation.wall_minus_mono = simulation.wall_minus_mono.max(0);
    let samples = Some(bytes.number(1) as u32).filter(|&samples| samples > 0);
    let config = MeasurementConfig {
        samples,
        tick: TICK,
    };
    let mut measurement = Measurement::new(config);
    for requests in 0.. {
        assert!(requests < 2_000, "it does not end");
        let Action::SendAt(send_at) = measurement.next_action(simulation.wall()) else {
            break;
        };
        let sample = simulation.sample(&mut bytes, send_at);
        let outcome = measurement.add_sample(&sample);
        if let Some(result) = measurement.result() {
            let offset = simulation.server_clock() - simulation.wall();
            let interval = result.estimate.aged_to(simulation.wall());
            assert!(
                interval.contains(offset),
                "{offset} is not in {interval:?} after {sample:?}"
            );
        }
        match outcome {
            SampleOutcome::Unstable => break,
            SampleOutcome::Accepted => assert!(measurement.result().is_some()),
            SampleOutcome::Restarted => {}
        }
    }
    report(measurement.result().into_iter().map(Ok).collect());
}

/// With a server that sends any text, and local clocks that may jump anywhere, nothing panics.
fn measure_lying_server(mut bytes: Bytes<'_>) {
    let samples = Some(bytes.number(1) as u32).filter(|&samples| samples > 0);
    let tick = bytes.number(3);
    let mut measurement = Measurement::new(MeasurementConfig { samples, tick });
    let (mut now, mut wall) = (bytes.number(5), bytes.signed(8));
    while !bytes.0.is_empty() {
        if measurement.next_action(wall) == Action::Done {
            break;
        }
        let mut read_clocks = || {
            wall += [0, 1, -1, bytes.signed(8)][bytes.number(1) as usize & 3];
            let before = now;
            now += bytes.delay();
            ClockPair {
                before,
                wall,
                after: now,
            }
        };
        let (before, after) = (read_clocks(), read_clocks());
        let length = bytes.number(1) as usize & 31;
        let Ok(text) = std::str::from_utf8(bytes.take(length)) else {
            continue;
        };
        let Some(server_time) = measurement.parse(text) else {
            measurement.fall_back();
            continue;
        };
        let outcome = measurement.add_sample(&Sample {
            before,
            sent_at: before.after,
            received_at: after.before,
            after,
            server_time,
        });
        if let Some(result) = measurement.result() {
            let interval = result.estimate.interval;
            assert!(interval.low() <= interval.high());
        }
        if outcome == SampleOutcome::Unstable {
            break;
        }
    }
    let results = measurement.result().into_iter().map(Ok);
    let failure = Err("\"no\" offset\u{1b}\n".to_owned());
    report(results.chain([failure]).collect());
}

/// Marzullo's algorithm, compared with a count of the intervals at each of their ends.
fn find_majority(mut bytes: Bytes<'_>) {
    let offset = bytes.signed(1);
    let mut estimates = Vec::new();
    while bytes.0.len() >= 3 && estimates.len() < 12 {
        let low = bytes.signed(1);
        estimates.push(Estimate {
            interval: Interval::new(low, low + bytes.number(1)).expect("low <= high"),
            // Up to half a second apart: they age by some hundred microseconds.
            as_of: bytes.number(1) * 2_000,
        });
    }
    let Some(as_of) = estimates.iter().map(|estimate| estimate.as_of).max() else {
        assert!(marzullo(&estimates).is_none());
        return;
    };
    let aged = estimates.iter().map(|estimate| estimate.aged_to(as_of));
    let intervals: Vec<_> = aged.collect();
    let count_at = |point| intervals.iter().filter(|i| i.contains(point)).count();
    // The count only grows where an interval begins.
    let counts = intervals.iter().map(|interval| count_at(interval.low()));
    let max_count = counts.max().expect("an interval");
    match marzullo(&estimates) {
        Some(consensus) => {
            assert!(2 * consensus.count > estimates.len());
            assert_eq!(consensus.count, max_count);
            assert_eq!(consensus.estimate.as_of, as_of);
            let interval = consensus.estimate.interval;
            let ends = [interval.low(), interval.high()];
            assert_eq!(ends.map(count_at), [max_count; 2]);
            if count_at(offset) >= max_count {
                assert!(interval.contains(offset));
            }
        }
        None => assert!(2 * max_count <= estimates.len()),
    }
    let offsets = estimates.iter().map(|&estimate| {
        Ok(Offset {
            estimate,
            round_trip: 5_000,
            samples: 8,
            resolution: 1,
            restarts: 0,
        })
    });
    report(offsets.collect());
}

/// Makes each kind of output from these results.
fn report(outcomes: Vec<Result<Offset, String>>) {
    let servers = (0..).zip(outcomes).map(|(number, outcome)| ServerResult {
        name: format!("[::{number}]:9527"),
        outcome,
    });
    let report = Report::new(servers.collect());
    let json = report.json();
    let parsed = serde_json::from_str::<serde_json::Value>(&json);
    assert!(parsed.is_ok() && !json.contains('\n'), "{json}");
    let _ = report.text();
    let _ = report.offset_and_remark();
    let (_, line) = report.check(Limits {
        warn: Some(SECOND),
        critical: Some(60 * SECOND),
    });
    let bars = line.matches('|').count();
    assert!(!line.contains('\n') && bars <= 1, "{line}");
    let (mut plot, mut summary) = (Plot::default(), Summary::default());
    summary.add(report.agreed());
    for estimate in report.agreed().into_iter().cycle().take(2) {
        let (_, bar) = plot.draw(estimate.interval);
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
        0 => parse_any_response(Bytes(rest)),
        1 => measure_honest_server(Bytes(rest)),
        2 => measure_lying_server(Bytes(rest)),
        _ => find_majority(Bytes(rest)),
    }
});

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
    Action, ClockPair, Estimate, Interval, Measurement, MeasurementConfig, Nanos, Precision,
    SECOND, Sample, SampleOutcome, ServerClock, ServerTime, TICK, marzullo,
};
use wallclock::protocol::{ALLOW_ALL, Destination, MAX_RESPONSE_LEN, Response, respond};
use wallclock::report::{
    AddressResult, Entry, Failure, HostResult, Limits, Report, Screen, Size, Summary,
};
use wallclock::strftime::Format;
use wallclock::time::LocalTime;
use wallclock::until::Moment;

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
    if let Some(wall_time) = text.and_then(ServerTime::parse_wall) {
        assert!(wall_time.utc_offset.is_some_and(|it| it % SECOND == 0));
    }
    if let Some(Ok(moment)) = text.map(Moment::parse) {
        let target = moment.target(0);
        assert!(!matches!(moment, Moment::TimeOfDay(_)) || (1..=86_400 * SECOND).contains(&target));
    }
    if let Some(server_time) = text.and_then(ServerTime::parse) {
        let ServerTime {
            time,
            whole_seconds,
            utc_offset,
        } = server_time;
        assert_eq!(utc_offset, None);
        assert!(!whole_seconds || time % SECOND == 0);
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

/// The local clocks of all reports.
const NOW: ClockPair = ClockPair {
    before: 90 * SECOND,
    wall: 1_783_213_507 * SECOND + 7,
    after: 90 * SECOND + 40,
};

/// A server with its clock, and the raw clock.
struct Simulation {
    /// The raw clock.
    now: Nanos,
    /// The server's clock minus the raw clock, when the latter is 0.
    server_minus_raw: Nanos,
    /// How fast that grows.
    ppm: Nanos,
    whole_seconds: bool,
}

impl Simulation {
    fn server_clock(&self) -> Nanos {
        self.now + self.server_minus_raw + self.now * self.ppm / 1_000_000
    }

    /// What the server responds when its seconds begin late by `lag`.
    fn server_time(&self, lag: Nanos) -> ServerTime {
        let clock = self.server_clock();
        let (seconds, nanos) = (clock.div_euclid(SECOND), clock.rem_euclid(SECOND));
        let text = match self.whole_seconds {
            true => (clock - lag).div_euclid(SECOND).to_string(),
            false => format!("{seconds}.{nanos:09}"),
        };
        ServerTime::parse(&text).expect("seconds")
    }

    /// Sends a request when the raw clock reads `at`, and receives the response.
    fn sample(&mut self, bytes: &mut Bytes<'_>, at: Nanos, width: Nanos) -> Sample {
        self.now = self.now.max(at);
        // Each bit is something unusual. Usual samples take one byte of the input.
        let unusual = bytes.number(1);
        let mut delay = |bit: u32| match unusual & 1 << bit {
            0 => 7_000,
            _ => bytes.delay(),
        };
        let (wakeup, request, response) = (delay(0), delay(2), delay(3));
        let lag = match unusual & 32 {
            0 => 0,
            _ => bytes.number(3) % (TICK + 1),
        };
        self.now += wakeup;
        if unusual & 64 != 0 {
            // As large as the interval before and that of this sample: a smaller step may not be
            // found. 20 % of what has passed is for the slew.
            let resolution = if self.whole_seconds { SECOND + TICK } else { 1 };
            let passed = wakeup + request + response;
            let least = width + resolution + 2 * passed + SECOND / 1_000;
            let step = bytes.signed(3) * 430_000;
            self.server_minus_raw += step + least * if step < 0 { -1 } else { 1 };
        }
        let sent_at = self.now;
        self.now += request;
        let server_time = self.server_time(lag);
        self.now += response;
        Sample {
            sent_at,
            received_at: self.now,
            server_time,
        }
    }
}

/// With an honest server whose clock is stepped now and then, the bound contains the offset.
fn measure_honest_server(mut bytes: Bytes<'_>) {
    let mut simulation = Simulation {
        now: bytes.number(4),
        // No time before the epoch, after steps too: its fraction would count up, which no strftime
        // writes.
        server_minus_raw: (1 << 56) * 1_000 + bytes.number(7) * 1_000 + bytes.number(2),
        ppm: bytes.signed(1) * 3,
        whole_seconds: bytes.number(1) & 1 == 1,
    };
    let samples = Some(bytes.number(1) as u32).filter(|&samples| samples > 0);
    let config = MeasurementConfig {
        samples,
        ..MeasurementConfig::default()
    };
    let mut measurement = Measurement::new(config);
    for requests in 0.. {
        assert!(requests < 2_000, "it does not end");
        let Action::Send { at, .. } = measurement.next_action(simulation.now) else {
            break;
        };
        let now = simulation.now.max(at) + 3 * SECOND;
        let result = measurement.result();
        let width = result.map_or(0, |clock| clock.estimate.aged_to(now).width());
        let sample = simulation.sample(&mut bytes, at, width);
        let outcome = measurement.add_sample(&sample);
        if let Some(result) = measurement.result() {
            let offset = simulation.server_clock() - simulation.now;
            let interval = result.estimate.aged_to(simulation.now);
            assert!(
                interval.contains(offset),
                "{offset} is not in {interval:?} after {sample:?}"
            );
        }
        match outcome {
            SampleOutcome::Unstable => break,
            SampleOutcome::Accepted | SampleOutcome::Restarted => {
                assert!(measurement.result().is_some());
            }
        }
    }
    report(measurement.result().into_iter().map(Ok).collect());
}

/// With a server that sends any text at any time nothing panics.
fn measure_lying_server(mut bytes: Bytes<'_>) {
    let samples = Some(bytes.number(1) as u32).filter(|&samples| samples > 0);
    let config = MeasurementConfig {
        samples,
        tick: bytes.number(3),
        max_slew: Some(1 + bytes.number(2) as u32).filter(|&ppm| ppm > 1),
        ..MeasurementConfig::default()
    };
    let mut measurement = Measurement::new(config);
    let mut now = bytes.number(5);
    while !bytes.0.is_empty() {
        if measurement.next_action(now) == Action::Done {
            break;
        }
        let sent_at = now + bytes.delay();
        now = sent_at + bytes.delay();
        let length = bytes.number(1) as usize & 63;
        if length > 31 {
            measurement.add_loss();
            continue;
        }
        let Ok(text) = std::str::from_utf8(bytes.take(length)) else {
            continue;
        };
        let Some(server_time) = ServerTime::parse(text) else {
            measurement.fall_back();
            continue;
        };
        let outcome = measurement.add_sample(&Sample {
            sent_at,
            received_at: now,
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

/// Marzullo's algorithm, compared with a count of the intervals at each point.
fn find_majority(mut bytes: Bytes<'_>) {
    let mut intervals = Vec::new();
    while bytes.0.len() >= 2 && intervals.len() < 12 {
        let low = bytes.signed(1);
        intervals.push(Interval::new(low, low + bytes.number(1)).expect("low <= high"));
    }
    let places = marzullo(&intervals);
    for point in -129..=384 {
        let count = intervals.iter().filter(|it| it.contains(point)).count();
        let is_inside = places.iter().any(|it| it.contains(point));
        assert_eq!(is_inside, 2 * count > intervals.len(), "{point}");
    }
    assert!(places.windows(2).all(|pair| pair[0].high() < pair[1].low()));
    let clocks = intervals.iter().map(|&interval| {
        Ok(ServerClock {
            estimate: Estimate {
                interval,
                as_of: NOW.after,
                max_slew: 500,
            },
            round_trip: 5_000,
            samples: 8,
            precision: Precision::Nanoseconds,
            tick: TICK,
            restarts: 0,
            duration: 90_000,
            utc_offset: None,
        })
    });
    report(clocks.collect());
}

/// Makes each kind of output from these results, of one host with several addresses and of several
/// hosts.
fn report(outcomes: Vec<Result<ServerClock, String>>) {
    let addresses: Vec<_> = (0..)
        .zip(outcomes)
        .map(|(number, outcome)| AddressResult {
            name: format!("[::{number}]:9527"),
            outcome: outcome.map_err(|reason| Failure {
                reason,
                is_contradiction: false,
            }),
        })
        .collect();
    let host = |addresses: &[AddressResult]| HostResult {
        name: "host:9527".to_owned(),
        addresses: addresses.to_vec(),
    };
    print(&Report::new(vec![host(&addresses)], NOW));
    print(&Report::new(addresses.chunks(2).map(host).collect(), NOW));
}

fn print(report: &Report) {
    let json = report.json();
    let parsed = serde_json::from_str::<serde_json::Value>(&json);
    assert!(parsed.is_ok() && !json.contains('\n'), "{json}");
    let _ = report.text();
    let _ = report.offset_and_remark();
    let range = |text: &str| Some(text.parse().expect("a range"));
    let (_, line) = report.check(Limits {
        warning: range("1"),
        critical: range("~:60"),
    });
    let bars = line.matches('|').count();
    assert!(!line.contains('\n') && bars <= 1, "{line}");
    let (mut screen, mut summary) = (Screen::default(), Summary::default());
    summary.add(report.agreed(), report.now());
    for offset in report.agreed().into_iter().cycle().take(2) {
        let (text, remark) = report.offset_and_remark();
        let entry = Entry {
            time: "08:15:02",
            offset: &text,
            remark: &remark,
            interval: Some(offset),
        };
        let size = Size {
            columns: 60,
            rows: 24,
        };
        let lines = screen.add(entry, size);
        assert!(
            lines
                .lines()
                .all(|line| line.chars().count() < size.columns)
        );
        for has_long_time in [false, true] {
            let _ = sample(offset, report.time(), has_long_time);
        }
        summary.add(Some(offset), report.now());
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

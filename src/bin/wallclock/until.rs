//! The option `--until`: waits until the servers' clock certainly reads a time.

use std::io;

use wallclock::client::clocks::{raw_time, read_clocks};
use wallclock::client::until::{ElapsedClock, WaitEnd, WaitHandler, wait};
use wallclock::offset::{
    ClockPair, MeasurementConfig, Nanos, Ppm, Precision, SECOND, SINGLE_PASS_PARTS,
    SLOW_WINDOW_PARTS,
};
use wallclock::report::units::{format_duration, format_seconds};
use wallclock::report::{HostResult, Report};
use wallclock::until::{Moment, Plan, PlanConfig, Reading, format_civil};

use crate::args::Args;
use crate::command::PreparedCommand;
use crate::error::Error;
use crate::offset::OffsetCommand;
use crate::output::{never_block, print_info, print_warning, show};
use crate::terminal::{self, CLEAR_LINE};

/// The default of `--max-slew` here: NTP corrects frequencies in this range.
const MAX_SLEW: Ppm = 500;

/// The default of `--max-bound` here.
const MAX_BOUND: Nanos = SECOND;

/// The failure of a reading that had less time is not reported: the server had hardly a chance.
const MIN_REPORTED_TIME: Nanos = 5_000_000;

/// From this lateness on it is reported.
const REPORTED_LATENESS: Nanos = 10_000_000;

/// Waits for the moment, then becomes the command. Returns the exit status.
pub fn run(args: &Args, moment: Moment) -> Result<u8, Error> {
    let program = PreparedCommand::new(&args.command)?;
    never_block();
    let mut command = OffsetCommand::new(args);
    command.config = MeasurementConfig {
        samples: None,
        window_parts: SLOW_WINDOW_PARTS,
        max_slew: Some(command.config.max_slew.unwrap_or(MAX_SLEW)),
        wall_clock: moment.is_wall_time() && !args.utc,
        ..command.config
    };
    let mut servers = Servers {
        max_slew: command.config.max_slew.unwrap_or(MAX_SLEW),
        command,
        utc_offset: 0,
        base: None,
        is_gone: false,
        shows_time_left: terminal::size(io::stderr()).is_some(),
        is_time_shown: false,
    };
    let mut clock = ElapsedClock::new();
    let limit = args.offset_args.deadline().0.as_nanos() as Nanos;
    // Near the moment the plan has whole seconds measured precisely.
    let first = MeasurementConfig {
        window_parts: SINGLE_PASS_PARTS,
        max_passes: 1,
        ..servers.command.config
    };
    let report = servers.measure(first, raw_time() + limit);
    let reading = servers.agreed(&report);
    let reading = reading.filter(|it| servers.is_believed(it, report.agreeing()));
    let reading = reading.map(|it| clock.convert(it));
    let Some(first) = reading else {
        return Err(Error::NoClock(reason(&report), args.server_hint()));
    };
    let (now, _) = clock.read();
    let server_now = now + first.interval_at(now, servers.max_slew).low();
    let target = moment.target(server_now);
    let name = format_civil(target, servers.utc_offset);
    let left = target - server_now;
    if left <= 0 {
        return Err(Error::Past(name, format_length(-left)));
    }
    print_info(format!("waiting until {name}, {}", format_length(left)));
    let config = PlanConfig {
        target,
        max_slew: servers.max_slew,
        max_bound: args.offset_args.max_bound.unwrap_or(MAX_BOUND),
        wall_clock: servers.command.config.wall_clock,
        spread: spread(),
        time_limit: limit,
    };
    let end = wait(&mut Plan::new(config, first), &mut clock, &mut servers);
    servers.erase_time_left();
    match end.map_err(Error::Timer)? {
        WaitEnd::Due { at, late, bound } => {
            let now = read_clocks();
            let due = now.wall - (now.after - at);
            if args.offset_args.json {
                show(&json(&name, due, bound, late));
            } else if late >= REPORTED_LATENESS {
                print_warning(format!("{} late for {name}", format_duration(late)));
            }
            Ok(program.exec()?)
        }
        WaitEnd::NoAnswer { bound } => Err(Error::BoundTooLarge(format_duration(bound))),
    }
}

/// The line of `--json`.
fn json(name: &str, due: Nanos, bound: Nanos, late: Nanos) -> String {
    let [due, bound, late] = [due, bound, late].map(format_seconds);
    format!("{{\"until\":\"{name}\",\"due\":{due},\"bound\":{bound},\"late\":{late}}}\n")
}

/// Makes a report of offsets from the raw clock, as of the last response. Of several servers it is
/// the earliest one's, so that no step of a clock is overlooked that follows its last response.
/// Without any response it is as of `now`.
fn report_as_of_responses(hosts: Vec<HostResult>, now: Nanos) -> Report {
    let addresses = hosts.iter().flat_map(|host| &host.addresses);
    let clocks = addresses.filter_map(|address| address.outcome.as_ref().ok());
    let time = clocks.map(|it| it.estimate.as_of).min().unwrap_or(now);
    // The wall clock of this machine is not used. With the raw clock in its place, the offsets are
    // those from the raw clock.
    let raw = ClockPair {
        before: time,
        wall: time,
        after: time,
    };
    Report::new(hosts, raw)
}

/// Returns why the clock of the servers is not known.
fn reason(report: &Report) -> String {
    report.offset_and_remark().1
}

/// Returns a time below 2 s that differs from process to process.
fn spread() -> Nanos {
    Nanos::from(getrandom::u32().unwrap_or(0)) * 2 * SECOND / (1 << 32)
}

/// Formats a duration of seconds to years, rounded up: `8 h 12 min 3 s`.
fn format_length(nanos: Nanos) -> String {
    if nanos < 60 * SECOND {
        return format_duration(nanos);
    }
    let seconds = (nanos + SECOND - 1) / SECOND;
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let shown = parts.into_iter().filter(|(count, _)| *count > 0);
    let shown: Vec<_> = shown
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    shown.join(" ")
}

/// Returns the most frequent value, 0 if there is none.
fn most_frequent(values: impl Iterator<Item = Nanos>) -> Nanos {
    let values: Vec<_> = values.collect();
    let count = |value: &&Nanos| values.iter().filter(|other| other == value).count();
    values.iter().max_by_key(count).copied().unwrap_or(0)
}

/// The servers that are read while this process waits.
struct Servers {
    command: OffsetCommand,
    max_slew: Ppm,
    /// What the zone of most of them adds to UTC, by the last responses.
    utc_offset: Nanos,
    /// The last reading that a majority of the servers made which had agreed before, and how many
    /// they were.
    base: Option<(Reading, usize)>,
    /// Whether the last reading failed, and was reported.
    is_gone: bool,
    shows_time_left: bool,
    is_time_shown: bool,
}

impl Servers {
    fn measure(&mut self, config: MeasurementConfig, deadline: Nanos) -> Report {
        let (hosts, now) = self.command.measure(MeasurementConfig {
            deadline: Some(deadline),
            ..config
        });
        report_as_of_responses(hosts, now.after)
    }

    /// Returns what the majority agrees on.
    fn agreed(&mut self, report: &Report) -> Option<Reading> {
        let interval = report.agreed()?;
        self.utc_offset = most_frequent(report.clocks().filter_map(|clock| clock.utc_offset));
        Some(Reading {
            interval,
            as_of: report.now().after,
            since: report
                .clocks()
                .map(|clock| clock.estimate.as_of - clock.duration)
                .min()?,
            round_trip: report.clocks().map(|clock| clock.round_trip).max()?,
            whole_seconds: report.clocks().any(|it| it.precision == Precision::Seconds),
        })
    }

    /// Whether a reading replaces those before. What a majority of the servers has agreed on is not
    /// contradicted by half of so many, when the others do not respond.
    fn is_believed(&mut self, reading: &Reading, votes: usize) -> bool {
        match &self.base {
            Some((base, base_votes)) if 2 * votes <= *base_votes => base
                .interval_at(reading.as_of, self.max_slew)
                .intersection(reading.interval)
                .is_some(),
            _ => {
                self.base = Some((*reading, votes));
                true
            }
        }
    }

    fn erase_time_left(&mut self) {
        if std::mem::take(&mut self.is_time_shown) {
            show(CLEAR_LINE);
        }
    }
}

impl WaitHandler for Servers {
    fn read(&mut self, full: bool, deadline: Nanos) -> Option<Reading> {
        let time_left = deadline - raw_time();
        let mut config = self.command.config;
        if !full {
            config.samples = Some(1);
            // Close to the moment there is time for one try: two would both be too short.
            if time_left < config.timeout {
                config.attempts = 1;
            }
        }
        let report = self.measure(config, deadline);
        let reading = self.agreed(&report);
        let reading = reading.filter(|reading| self.is_believed(reading, report.agreeing()));
        let is_gone = reading.is_none();
        if is_gone != self.is_gone && (time_left >= MIN_REPORTED_TIME || !is_gone) {
            self.erase_time_left();
            match is_gone {
                true => {
                    let reason = match report.agreed() {
                        Some(_) => "only a minority responds, which contradicts it".to_owned(),
                        None => reason(&report),
                    };
                    print_warning(format!("going on with what is known: {reason}"));
                }
                false => print_info("the servers respond again".to_owned()),
            }
            self.is_gone = is_gone;
        }
        reading
    }

    fn show_time_left(&mut self, left: Nanos) {
        self.is_time_shown = !terminal::is_in_background(io::stderr());
        if !self.is_time_shown {
            return;
        }
        let seconds = (left + SECOND - 1) / SECOND;
        let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
        show(&format!(
            "{CLEAR_LINE}{hours:02}:{minutes:02}:{:02}",
            seconds % 60
        ));
    }

    fn shows_time_left(&self) -> bool {
        self.shows_time_left
    }
}

#[cfg(test)]
mod tests {
    use wallclock::offset::{Estimate, Interval, ServerClock};
    use wallclock::report::AddressResult;

    use super::*;

    // The requests after it were lost.
    #[test]
    fn a_reading_is_as_of_the_last_response() {
        let host = |name: &str, as_of| {
            let clock = ServerClock {
                estimate: Estimate {
                    interval: Interval::around(0, 1_000),
                    as_of,
                    max_slew: MAX_SLEW,
                },
                round_trip: 2_000,
                samples: 3,
                precision: Precision::Nanoseconds,
                tick: 0,
                restarts: 0,
                duration: 6_000,
                utc_offset: None,
            };
            HostResult {
                name: name.to_owned(),
                addresses: vec![AddressResult {
                    name: name.to_owned(),
                    outcome: Ok(clock),
                }],
            }
        };
        let report = report_as_of_responses(vec![host("a", SECOND)], 3 * SECOND);
        assert_eq!(report.now().after, SECOND);
        assert_eq!(report.agreed().map(|it| it.bound()), Some(1_001));
        let both = vec![host("a", 2 * SECOND), host("b", SECOND)];
        assert_eq!(report_as_of_responses(both, 3 * SECOND).now().after, SECOND);
        assert_eq!(
            report_as_of_responses(Vec::new(), SECOND).now().after,
            SECOND
        );
    }

    #[test]
    fn lengths_have_units_up_to_days() {
        for (seconds, text) in [
            (3, "3.00 s"),
            (60, "1 min"),
            (86_399, "23 h 59 min 59 s"),
            (86_400, "1 d"),
            (90_061, "1 d 1 h 1 min 1 s"),
        ] {
            assert_eq!(format_length(seconds * SECOND), text);
        }
    }

    #[test]
    fn json_has_seconds_with_nanoseconds() {
        assert_eq!(
            json(
                "2026-07-05 00:00:00+02:00",
                1_783_202_400 * SECOND + 7,
                12_000,
                3 * SECOND
            ),
            "{\"until\":\"2026-07-05 00:00:00+02:00\",\"due\":1783202400.000000007,\
             \"bound\":0.000012000,\"late\":3.000000000}\n"
        );
    }
}

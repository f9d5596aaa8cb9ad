//! The option `--until`: waits until the servers' clock certainly reads a time.

use std::io;

use wallclock::client::clocks::{raw_time, read_clocks};
use wallclock::client::measure::{AddressResult, HostClocks};
use wallclock::client::until::{ElapsedClock, WaitEnd, WaitHandler, wait};
use wallclock::offset::{
    ClockPair, Election, MeasurementConfig, Nanos, Ppm, Precision, SECOND, SINGLE_PASS_PARTS,
    SLOW_WINDOW_PARTS, ServerClock,
};
use wallclock::report::units::{format_duration, format_seconds};
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
    let first = match servers.measure(first, raw_time() + limit) {
        Ok(reading) => clock.convert(reading),
        Err(reason) => return Err(Error::NoClock(reason, args.server_hint())),
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

/// The clock of each address of each host, if it is known.
type Clocks = Vec<Vec<Option<ServerClock>>>;

/// Returns the time of the last response. Of several servers it is the earliest one's, so that no
/// step of a clock is overlooked that follows its last response.
fn last_response(clocks: &Clocks) -> Option<Nanos> {
    let clocks = clocks.iter().flatten().flatten();
    clocks.map(|clock| clock.estimate.as_of).min()
}

/// Returns what a majority of the servers agrees on, as of the last response, and how many they
/// are.
fn reading_of(clocks: &Clocks) -> Option<(Reading, usize)> {
    let all = || clocks.iter().flatten().flatten();
    let as_of = last_response(clocks)?;
    // The readings of clocks cut off what is below a nanosecond.
    let interval = |clock: &ServerClock| clock.estimate.aged_to(as_of).widened(1);
    let intervals =
        |host: &Vec<Option<_>>| host.iter().map(|it| it.as_ref().map(interval)).collect();
    let election = Election::new(clocks.iter().map(intervals).collect());
    let reading = Reading {
        interval: election.agreed()?,
        as_of,
        since: all()
            .map(|clock| clock.estimate.as_of - clock.duration)
            .min()?,
        round_trip: all().map(|clock| clock.round_trip).max()?,
        whole_seconds: all().any(|clock| clock.precision == Precision::Seconds),
    };
    Some((reading, election.agreeing()))
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
    /// Measures the servers' clocks. The error is why they are not known.
    fn measure(&mut self, config: MeasurementConfig, deadline: Nanos) -> Result<Reading, String> {
        let (hosts, now) = self.command.measure(MeasurementConfig {
            deadline: Some(deadline),
            ..config
        });
        let clock = |(_, result): &AddressResult| result.as_ref().ok().copied();
        let clocks = |host: &HostClocks| match &host.addresses {
            Ok(addresses) => addresses.iter().map(clock).collect(),
            Err(_) => vec![None],
        };
        let clocks: Clocks = hosts.iter().map(clocks).collect();
        let Some((reading, votes)) = reading_of(&clocks) else {
            // Its intervals are those that were compared: of clocks minus the raw clock.
            let time = last_response(&clocks).unwrap_or(now.after);
            let raw = ClockPair {
                before: time,
                wall: time,
                after: time,
            };
            return Err(self.command.report(hosts, raw).offset_and_remark().1);
        };
        if !self.is_believed(&reading, votes) {
            return Err("only a minority responds, which contradicts it".to_owned());
        }
        let offsets = clocks.iter().flatten().flatten();
        self.utc_offset = most_frequent(offsets.filter_map(|clock| clock.utc_offset));
        Ok(reading)
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
        let reading = self.measure(config, deadline);
        let is_gone = reading.is_err();
        if is_gone != self.is_gone && (time_left >= MIN_REPORTED_TIME || !is_gone) {
            self.erase_time_left();
            match &reading {
                Err(reason) => print_warning(format!("going on with what is known: {reason}")),
                Ok(_) => print_info("the servers respond again".to_owned()),
            }
            self.is_gone = is_gone;
        }
        reading.ok()
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
    use wallclock::offset::{Estimate, Interval};

    use super::*;

    // The requests after it were lost.
    #[test]
    fn a_reading_is_as_of_the_last_response() {
        let clock = |as_of| {
            Some(ServerClock {
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
            })
        };
        let (reading, votes) = reading_of(&vec![vec![clock(SECOND)]]).unwrap();
        assert_eq!((reading.as_of, reading.interval.bound()), (SECOND, 1_001));
        assert_eq!(votes, 1);
        let both = vec![vec![clock(2 * SECOND)], vec![clock(SECOND), None]];
        let (reading, votes) = reading_of(&both).unwrap();
        assert_eq!((reading.as_of, votes), (SECOND, 2));
        assert_eq!(reading_of(&vec![vec![None]]), None);
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

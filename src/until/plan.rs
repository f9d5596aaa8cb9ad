//! The plan of a wait: when to read the server's clock, how long to sleep, when the wait is over.

use crate::offset::{Estimate, Interval, Nanos, Ppm, SECOND};

const MILLI: Nanos = 1_000_000;

/// Maximum slack of the sleep until a reading, see [`Action::Sleep`]. With this one, up to five
/// minutes are a single sleep.
const MAX_SLACK: Nanos = 40 * SECOND;

/// Maximum time between two readings: with the slack an hour.
const MAX_GAP: Nanos = 3_600 * SECOND - MAX_SLACK;

/// Maximum time until the next reading after one that failed.
const MAX_RETRY_GAP: Nanos = 60 * SECOND;

/// Minimum time between two readings because of what happened to the local clock.
const MIN_EVENT_GAP: Nanos = SECOND;

/// The last reading may be this old at the target, or [`Plan::margin`] where that is longer.
const MAX_LAST_AGE: Nanos = 50 * MILLI;

/// Minimum time from a single request to the last measurement, which tells more. It is the time of
/// that where it is longer.
const MIN_LEFT: Nanos = SECOND;

/// This time after a reading that failed.
const MIN_LEFT_AFTER_FAILURE: Nanos = 100 * MILLI;

/// Maximum time of a measurement of whole seconds, which takes 4 to 6 s.
const WHOLE_SECONDS_DURATION: Nanos = 7 * SECOND;

/// With less time left at the start, the first measurement of whole seconds is the last one too:
/// another one might end with less precision.
const MIN_WHOLE_SECONDS_DURATION: Nanos = 5 * SECOND;

/// In this time a measurement of whole seconds is not replaced by a single response, which is much
/// wider, unless the two contradict each other.
const MAX_KEPT_AGE: Nanos = 10 * SECOND;

/// Time zones change at the quarters of an hour of their wall clock.
const QUARTER: Nanos = 900 * SECOND;

/// The server's clock is read in this time after each quarter.
const AFTER_QUARTER: Nanos = 2 * SECOND;

/// The slack of that reading.
const QUARTER_SLACK: Nanos = SECOND / 2;

/// The slack of the sleep until the end.
const END_SLACK: Nanos = MILLI / 8;

/// How far the local clock may be off after a suspend: the clock that counts it may have seconds.
const SUSPEND_ERROR: Nanos = 2 * SECOND;

/// How long after a suspend the server may take to respond, because the network has to come up.
const RESUME_TIME: Nanos = 10 * SECOND;

/// What to do next in a [`Plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read the server's clock.
    Read {
        /// Measure as precisely as possible; else one response is enough.
        full: bool,
        /// The local time at which the reading has to end.
        deadline: Nanos,
    },
    /// Sleep until the local clock reads this time.
    Sleep {
        /// A time of the local clock.
        until: Nanos,
        /// By how much the sleep may be too long.
        slack: Nanos,
    },
    /// The wait is over: the server's clock certainly reads the target.
    Due {
        /// The local time at which that became certain. It may be past.
        at: Nanos,
        /// The maximum error of this time.
        bound: Nanos,
    },
    /// The target may have come, and too little is known of the server's clock.
    NoAnswer {
        /// The maximum error.
        bound: Nanos,
    },
}

/// What is given for a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanConfig {
    /// The time of the server's clock to wait for.
    pub target: Nanos,
    /// How much faster or slower than the local clock the server's clock may run.
    pub max_slew: Ppm,
    /// With a larger bound the wait is not over.
    pub max_bound: Nanos,
    /// Whether the target is a time of the server's wall clock. If so, its clock is also read after
    /// each quarter of an hour.
    pub wall_clock: bool,
    /// How long after the quarter: a random time below 2 s, so that clients do not read at once.
    pub spread: Nanos,
    /// The maximum time of a reading.
    pub time_limit: Nanos,
}

/// What is known of the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Contains the server's clock minus the local one.
    pub interval: Interval,
    /// The local time of this interval: that of the last response, not that of the last request,
    /// whose response may be lost. Of several servers it is the earliest.
    pub as_of: Nanos,
    /// The local time of its first request: the server's clock was read after that.
    pub since: Nanos,
    /// The round trip to the server.
    pub round_trip: Nanos,
    /// Whether the server responds with whole seconds.
    pub whole_seconds: bool,
}

impl Reading {
    /// Returns an interval that contains the server's clock minus the local one at a local time.
    pub fn interval_at(&self, time: Nanos, max_slew: Ppm) -> Interval {
        let estimate = Estimate {
            interval: self.interval,
            as_of: self.as_of,
            max_slew,
        };
        estimate.aged_to(time)
    }
}

/// Decides when to read the server's clock, and when the wait is over.
///
/// The first and the last reading are measurements. Between them single requests are sent at half
/// of the time that is left. The last measurement ends 1 ms and two round trips before the target.
/// Where it began more than 50 ms before the target, or more than these two round trips, a single
/// request follows it then, which shows a step or a change of the zone.
#[derive(Debug)]
pub struct Plan {
    config: PlanConfig,
    reading: Reading,
    /// Whether `reading` is a full measurement.
    is_full: bool,
    /// The last response of the last reading that succeeded.
    read_at: Nanos,
    /// The first request of that reading.
    read_since: Nanos,
    /// The last response of the last full measurement, if the machine was not suspended since.
    measured_at: Option<Nanos>,
    /// The end of the last reading, or its last response.
    tried_at: Nanos,
    /// Whether the last reading failed.
    failed: bool,
    /// When to read because of what happened to the local clock.
    event_at: Option<Nanos>,
    /// Until when a wait after a suspend does not fail.
    patient_until: Option<Nanos>,
}

impl Plan {
    /// Makes the plan after the first measurement, which need not be precise for whole seconds:
    /// these are measured again near the target.
    pub fn new(config: PlanConfig, first: Reading) -> Self {
        let mut plan = Self {
            config,
            reading: first,
            is_full: true,
            read_at: first.as_of,
            read_since: first.since,
            measured_at: Some(first.as_of),
            tried_at: first.as_of,
            failed: false,
            event_at: None,
            patient_until: None,
        };
        let time_left = plan.possible_at(config.target) - plan.margin() - first.as_of;
        if first.whole_seconds && time_left > MIN_WHOLE_SECONDS_DURATION {
            plan.measured_at = None;
        }
        plan
    }

    /// Adds a reading that succeeded. It replaces the one before; a measurement of whole seconds is
    /// kept for some seconds if a single response agrees with it.
    pub fn add_reading(&mut self, reading: Reading, full: bool) {
        let age = reading.as_of - self.reading.as_of;
        let is_better = || {
            let old = self.interval_at(reading.as_of);
            let agrees = old.intersection(reading.interval).is_some();
            agrees && old.bound() <= reading.interval.bound()
        };
        let is_kept =
            self.is_full && !full && reading.whole_seconds && age <= MAX_KEPT_AGE && is_better();
        if !is_kept {
            (self.reading, self.is_full) = (reading, full);
        }
        if full {
            self.measured_at = Some(reading.as_of);
        }
        (self.read_at, self.read_since) = (reading.as_of, reading.since);
        self.tried_at = reading.as_of;
        (self.failed, self.event_at, self.patient_until) = (false, None, None);
    }

    /// Adds a reading that failed, and ended at this local time.
    pub fn add_failure(&mut self, now: Nanos) {
        (self.tried_at, self.failed) = (now, true);
        let is_resuming = self.patient_until.is_some_and(|until| now < until);
        self.event_at = is_resuming.then_some(now + MIN_EVENT_GAP);
    }

    /// Adds that the wall clock of this machine was set: a virtual machine that was paused is set
    /// like that, and its other clocks have stood still.
    pub fn clock_was_set(&mut self, now: Nanos) {
        self.event_at = Some(now.max(self.tried_at + MIN_EVENT_GAP));
    }

    /// Adds that the machine was suspended, and has resumed at this local time.
    pub fn has_resumed(&mut self, now: Nanos) {
        self.reading.interval = self.reading.interval.widened(SUSPEND_ERROR);
        (self.is_full, self.measured_at) = (false, None);
        self.event_at = Some(now);
        self.patient_until = Some(now + RESUME_TIME);
    }

    /// Decides what to do when the local clock reads `now`.
    pub fn next_action(&self, now: Nanos) -> Action {
        let due = self.due_at();
        let bound = self.interval_at(due.max(self.reading.as_of)).bound();
        let is_usable = bound <= self.config.max_bound;
        // A machine that slept over the target knows that it is past, if not by how much.
        if now >= due && (is_usable || self.patient_until.is_some()) {
            return Action::Due { at: due, bound };
        }
        let end = match self.patient_until {
            _ if is_usable => due,
            Some(until) => self.possible_at(self.config.target).max(until),
            None => self.possible_at(self.config.target),
        };
        if now >= end {
            return Action::NoAnswer { bound };
        }
        match self.next_reading(end) {
            Some(NextReading { at, full, .. }) if now >= at => {
                // A measurement ends before the target may come; else it would make the wait late.
                let possible = self.possible_at(self.config.target).min(end) - self.margin();
                let last = match full {
                    true if now < possible => possible,
                    true => end - self.margin(),
                    false => end - MILLI,
                };
                let deadline = last.max(now + 1).min(now + self.config.time_limit);
                Action::Read { full, deadline }
            }
            Some(NextReading { at, slack, .. }) if at < end => Action::Sleep { until: at, slack },
            _ => Action::Sleep {
                until: end,
                slack: END_SLACK,
            },
        }
    }

    /// Returns the local time at which the wait is over, by what is known now.
    pub fn due_at(&self) -> Nanos {
        self.certain_at(self.config.target)
    }

    /// Returns the time until the target, by the middle of what is known now; at least 0.
    pub fn time_left(&self, now: Nanos) -> Nanos {
        let server_now = now + self.interval_at(now).middle();
        (self.config.target - server_now).max(0)
    }

    /// Returns the local time at which the server's clock certainly reads `time`.
    fn certain_at(&self, time: Nanos) -> Nanos {
        let Reading {
            interval, as_of, ..
        } = self.reading;
        let left = time - interval.low() - as_of;
        let slew = Nanos::from(self.config.max_slew);
        if left < 0 {
            // It was certain before the reading, as the reading shows.
            return as_of + left * 1_000_000 / (1_000_000 + slew);
        }
        // The least x with x - slew(x) >= left, where slew(x) is rounded up. It is exact because
        // `left` is whole.
        let slowest = 1_000_000 - slew;
        as_of + (left * 1_000_000 + slowest - 1) / slowest
    }

    /// Returns a local time before which the server's clock certainly does not read `time`.
    fn possible_at(&self, time: Nanos) -> Nanos {
        let Reading {
            interval, as_of, ..
        } = self.reading;
        let left = time - interval.high() - as_of;
        let fastest = 1_000_000 + Nanos::from(self.config.max_slew);
        as_of + (left.max(0) * 1_000_000) / fastest
    }

    /// Returns an interval that contains the server's clock minus the local one at a local time.
    pub(super) fn interval_at(&self, time: Nanos) -> Interval {
        self.reading.interval_at(time, self.config.max_slew)
    }

    /// Returns the time from the end of the last measurement to the target.
    fn margin(&self) -> Nanos {
        MILLI + 2 * self.reading.round_trip
    }

    /// Returns the next reading of the server's clock; `None` if what is known is enough. `end` is
    /// the local time at which the wait ends.
    fn next_reading(&self, end: Nanos) -> Option<NextReading> {
        let last_end = end - self.margin();
        let regular = self.regular_reading(end, last_end);
        let quarter = self.quarter_reading();
        let event = self
            .event_at
            .map(|at| NextReading::single(at, MIN_EVENT_GAP / 8));
        let first = |reading: &NextReading| reading.at;
        let next = [quarter, regular].into_iter().flatten().min_by_key(first);
        // A measurement ends before `last_end`, and a single request leaves time for its response.
        let last_start = |full| match full {
            true => last_end,
            false => end - MILLI - self.reading.round_trip,
        };
        // After an event there may be no time left, and nothing that is certain.
        let in_time = next.filter(|reading| reading.at < last_start(reading.full));
        let mut next = [event, in_time].into_iter().flatten().min_by_key(first)?;
        // A sleep that is too long does not miss the quarter.
        if let Some(NextReading { at, slack, .. }) = quarter {
            next.slack = next.slack.min((at + slack - next.at).max(0));
        }
        Some(next)
    }

    fn regular_reading(&self, end: Nanos, last_end: Nanos) -> Option<NextReading> {
        let Reading {
            round_trip,
            whole_seconds,
            ..
        } = self.reading;
        // What was measured so long before is as good as the last measurement.
        let (duration, max_lead) = match whole_seconds {
            true => (WHOLE_SECONDS_DURATION, SECOND),
            false => (10 * round_trip + 3 * MILLI, 100 * MILLI),
        };
        let possible = self.possible_at(self.config.target).min(end);
        let measure_end = possible - self.margin();
        let measure_at = measure_end - duration;
        let (max_gap, min_left) = match self.failed {
            true => (MAX_RETRY_GAP, MIN_LEFT_AFTER_FAILURE),
            false => (MAX_GAP, MIN_LEFT.max(duration)),
        };
        let gap = ((measure_end - self.tried_at) / 2).min(max_gap);
        if self.tried_at + gap + min_left < measure_at {
            let slack = (gap / 8).min(MAX_SLACK);
            return Some(NextReading::single(self.tried_at + gap, slack));
        }
        let max_age = MAX_LAST_AGE.max(self.margin());
        let is_measured = self
            .measured_at
            .is_some_and(|at| at + max_lead >= measure_at);
        if !is_measured && (!self.failed || self.tried_at < measure_at) {
            Some(NextReading {
                at: measure_at.max(self.tried_at),
                full: true,
                slack: duration / 32,
            })
        } else if self.failed {
            let left = last_end - self.tried_at;
            let is_worth_it = left > MILLI;
            is_worth_it.then_some(NextReading {
                at: self.tried_at + left / 2,
                full: !is_measured,
                slack: left / 16,
            })
        } else if end - self.read_since > max_age {
            // What this reading shows may move the end by a part of the round trip. The response
            // has two round trips all the same: they differ.
            let reserve = (round_trip / 2).min(max_age - self.margin());
            let at = end - max_age + reserve;
            Some(NextReading::single(at.max(self.tried_at), MAX_LAST_AGE / 5))
        } else {
            None
        }
    }

    /// Returns the time of a reading after the next quarter of an hour of the server's wall clock.
    fn quarter_reading(&self) -> Option<NextReading> {
        if !self.config.wall_clock {
            return None;
        }
        let read = self.read_at + self.interval_at(self.read_at).low();
        let quarter = (read.div_euclid(QUARTER) + 1) * QUARTER;
        // Certainly after the quarter, and soon enough.
        let (possible, certain) = (self.possible_at(quarter), self.certain_at(quarter));
        let left = (AFTER_QUARTER - QUARTER_SLACK - (certain - possible)).max(0);
        let at = certain + left * self.config.spread / AFTER_QUARTER;
        let min_gap = match (self.failed, self.reading.whole_seconds) {
            (true, _) => MAX_RETRY_GAP,
            // In the first second after the quarter no response is certainly after it.
            (false, true) => SECOND,
            (false, false) => 0,
        };
        let at = at.max(self.tried_at + min_gap);
        Some(NextReading::single(at, QUARTER_SLACK))
    }
}

/// A reading of the server's clock.
#[derive(Clone, Copy, Debug)]
struct NextReading {
    /// When it begins.
    at: Nanos,
    /// By how much the sleep until then may be too long.
    slack: Nanos,
    /// Whether to measure as precisely as possible.
    full: bool,
}

impl NextReading {
    /// Makes a reading with one request.
    fn single(at: Nanos, slack: Nanos) -> Self {
        Self {
            at,
            slack,
            full: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICRO: Nanos = 1_000;

    fn config(target: Nanos) -> PlanConfig {
        PlanConfig {
            target,
            max_slew: 500,
            max_bound: SECOND,
            wall_clock: false,
            spread: 0,
            time_limit: 10 * SECOND,
        }
    }

    /// A reading of a server whose clock is that of this machine, ± 50 us.
    fn reading(as_of: Nanos) -> Reading {
        Reading {
            interval: Interval::around(0, 50 * MICRO),
            as_of,
            since: as_of,
            round_trip: 100 * MICRO,
            whole_seconds: false,
        }
    }

    fn whole_seconds(as_of: Nanos, bound: Nanos) -> Reading {
        Reading {
            interval: Interval::around(0, bound),
            whole_seconds: true,
            ..reading(as_of)
        }
    }

    /// Follows a plan with readings that take hardly any time, and without any failure. Returns the
    /// time and kind of each, and the end.
    fn follow(plan: &mut Plan, mut now: Nanos) -> (Vec<(Nanos, bool)>, Action) {
        let mut readings = Vec::new();
        loop {
            assert!(readings.len() < 1_000, "{readings:?}");
            match plan.next_action(now) {
                Action::Read { full, .. } => {
                    readings.push((now, full));
                    let (duration, next) = match plan.reading.whole_seconds {
                        true if full => (3 * SECOND, whole_seconds(0, 10 * MILLI)),
                        true => (100 * MICRO, whole_seconds(0, SECOND / 2)),
                        false => (100 * MICRO, reading(0)),
                    };
                    let since = now;
                    now += duration;
                    let next = Reading {
                        as_of: now,
                        since,
                        ..next
                    };
                    plan.add_reading(next, full);
                }
                Action::Sleep { until, .. } => {
                    assert!(until > now);
                    now = until;
                }
                action => return (readings, action),
            }
        }
    }

    #[test]
    fn due_is_when_the_low_end_is_at_the_target() {
        for left in [0, 1, 7, 1_999, 2_000, SECOND, 3_600 * SECOND + 1] {
            let config = PlanConfig {
                max_bound: 3_600 * SECOND,
                ..config(left)
            };
            let plan = Plan::new(config, reading(0));
            let due = plan.certain_at(left);
            let low = |at| at + plan.interval_at(at).low();
            assert!(low(due) >= left, "{left}");
            assert!(due == 0 || low(due - 1) < left, "{left}");
            assert!(matches!(plan.next_action(due), Action::Due { at, .. } if at == due));
            assert!(!matches!(plan.next_action(due - 1), Action::Due { .. }));
            let possible = plan.possible_at(left);
            assert!(
                possible + plan.interval_at(possible).high() >= left.min(0),
                "{left}"
            );
            assert!(possible == 0 || possible - 1 + plan.interval_at(possible - 1).high() < left);
        }
    }

    #[test]
    fn readings_are_at_half_of_the_time_left() {
        let target = 8 * 3_600 * SECOND;
        let (readings, end) = follow(&mut Plan::new(config(target), reading(0)), 0);
        let hours = readings
            .windows(2)
            .take_while(|pair| pair[0].0 < 6 * 3_600 * SECOND);
        for pair in hours {
            // After the response, which takes 100 us.
            assert_eq!(pair[1].0 - pair[0].0, MAX_GAP + 100 * MICRO);
        }
        let (&last, others) = readings.split_last().unwrap();
        assert!(
            last.1 && others.iter().all(|(_, full)| !full),
            "{readings:?}"
        );
        let Action::Due { at, bound } = end else {
            panic!("{end:?}");
        };
        assert!(bound <= 60 * MICRO, "{bound}");
        assert!((target..target + 60 * MICRO).contains(&at), "{at}");
        assert!(at - last.0 <= 10 * MILLI && at - last.0 >= MILLI + 200 * MICRO);
    }

    // The numbers of requests: 8 for a measurement, 60 at most of whole seconds.
    #[test]
    fn an_hour_takes_few_requests() {
        for wall_clock in [false, true] {
            let config = PlanConfig {
                wall_clock,
                spread: 1_900 * MILLI,
                ..config(3_600 * SECOND)
            };
            let count = |(readings, _): (Vec<(Nanos, bool)>, Action), full| -> usize {
                let cost = |&(_, is_full): &(_, bool)| if is_full { full } else { 1 };
                full + readings.iter().map(cost).sum::<usize>()
            };
            let nanos = count(follow(&mut Plan::new(config, reading(0)), 0), 8);
            assert!((25..=50).contains(&nanos), "{nanos}");
            let mut plan = Plan::new(config, whole_seconds(0, 50 * MILLI));
            let seconds = count(follow(&mut plan, 0), 60);
            assert!((125..=200).contains(&seconds), "{seconds}");
        }
    }

    #[test]
    fn whole_seconds_are_measured_7_s_before_and_checked_at_the_end() {
        let target = 100 * SECOND;
        let mut plan = Plan::new(config(target), whole_seconds(0, 10 * MILLI));
        let (readings, end) = follow(&mut plan, 0);
        let [.., (measured, true), (checked, false)] = readings[..] else {
            panic!("{readings:?}");
        };
        assert!((92 * SECOND..94 * SECOND).contains(&measured), "{measured}");
        let before = readings.iter().rev().nth(2).expect("a single request");
        assert!(before.0 <= measured - 6 * SECOND, "{readings:?}");
        assert!(target - checked <= 50 * MILLI, "{checked}");
        let Action::Due { at, .. } = end else {
            panic!("{end:?}");
        };
        assert!(
            (target + 10 * MILLI..target + 15 * MILLI).contains(&at),
            "{at}"
        );
    }

    #[test]
    fn whole_seconds_are_measured_at_once_if_the_target_is_near() {
        let follow = |target| {
            let first = whole_seconds(0, 50 * MILLI);
            let (readings, end) = follow(&mut Plan::new(config(target), first), 0);
            let Action::Due { bound, .. } = end else {
                panic!("{end:?}");
            };
            (readings, bound)
        };
        let (readings, bound) = follow(6 * SECOND);
        assert!(
            matches!(readings[..], [(0, true), (_, false)]),
            "{readings:?}"
        );
        assert!(bound < 13 * MILLI, "{bound}");
        // There is no time for that.
        let (readings, bound) = follow(3 * SECOND);
        assert!(matches!(readings[..], [(_, false)]), "{readings:?}");
        assert!(bound < 53 * MILLI, "{bound}");
    }

    #[test]
    fn wall_time_is_read_after_each_quarter_of_an_hour() {
        let config = PlanConfig {
            wall_clock: true,
            spread: 1_300 * MILLI,
            ..config(3 * 3_600 * SECOND)
        };
        let (readings, _) = follow(&mut Plan::new(config, reading(SECOND)), SECOND);
        for quarter in 1..12 {
            let quarter = quarter * QUARTER;
            let found = readings.iter().find(|(at, _)| *at >= quarter).unwrap().0;
            let late = found - quarter;
            assert!((0..2 * SECOND).contains(&late), "{readings:?}");
        }
    }

    // The server is gone after the first reading. The bound is 1 s after 2000 s.
    #[test]
    fn what_is_known_is_used_while_the_bound_is_small() {
        for (wait, is_due) in [(1_900, true), (2_100, false)] {
            let mut plan = Plan::new(config(wait * SECOND), reading(0));
            let (mut now, mut readings) = (0, 0);
            let end = loop {
                match plan.next_action(now) {
                    Action::Read { deadline, .. } => {
                        assert!(deadline <= now + 10 * SECOND);
                        readings += 1;
                        now = deadline.min(now + 3 * SECOND);
                        plan.add_failure(now);
                    }
                    Action::Sleep { until, .. } => now = until,
                    end => break end,
                }
            };
            assert!((20..80).contains(&readings), "{readings}");
            match end {
                Action::Due { at, bound } => {
                    assert!(is_due && at <= now);
                    assert!((940 * MILLI..SECOND).contains(&bound), "{bound}");
                    assert!((wait * SECOND..(wait + 1) * SECOND).contains(&now), "{now}");
                }
                Action::NoAnswer { bound } => {
                    assert!(!is_due && bound > SECOND, "{bound}");
                    assert!(now <= wait * SECOND, "{now}");
                }
                action => panic!("{action:?}"),
            }
        }
    }

    #[test]
    fn after_a_suspend_over_the_target_it_is_due_at_once() {
        let target = 3_600 * SECOND;
        let mut plan = Plan::new(config(target), reading(0));
        let now = 12 * 3_600 * SECOND;
        plan.has_resumed(now);
        let Action::Due { at, .. } = plan.next_action(now) else {
            panic!("{:?}", plan.next_action(now));
        };
        assert!((target..target + 10 * SECOND).contains(&at), "{at}");
    }

    // How long it was is not known to the second, so the server has to be asked.
    #[test]
    fn after_a_suspend_near_the_target_the_server_is_read_until_it_responds() {
        let target = 3_600 * SECOND;
        let mut plan = Plan::new(config(target), reading(target - 60 * SECOND));
        let mut now = target + SECOND;
        plan.has_resumed(now);
        assert!(matches!(
            plan.next_action(now),
            Action::Read { full: false, .. }
        ));
        plan.add_failure(now);
        let is_next =
            |until| matches!(plan.next_action(now), Action::Sleep { until: at, .. } if at == until);
        assert!(is_next(now + SECOND));
        now += SECOND;
        assert!(matches!(plan.next_action(now), Action::Read { .. }));
        let mut answered = Plan { ..plan };
        answered.add_reading(reading(now), false);
        assert!(matches!(answered.next_action(now), Action::Due { .. }));
    }

    #[test]
    fn a_set_clock_causes_a_reading_at_most_each_second() {
        let mut plan = Plan::new(config(7_200 * SECOND), reading(0));
        plan.clock_was_set(100 * SECOND);
        assert!(matches!(
            plan.next_action(100 * SECOND),
            Action::Read { full: false, .. }
        ));
        plan.add_reading(reading(100 * SECOND), false);
        plan.clock_was_set(100 * SECOND + 7);
        let Action::Sleep { until, .. } = plan.next_action(100 * SECOND + 7) else {
            panic!("{plan:?}");
        };
        assert_eq!(until, 101 * SECOND);
    }

    // A paused guest: its clocks have stood still, and the server's is past the target.
    #[test]
    fn a_reading_replaces_the_one_before() {
        let mut plan = Plan::new(config(7_200 * SECOND), reading(0));
        let ahead = |seconds| Reading {
            interval: Interval::around(seconds * SECOND, MILLI),
            ..reading(100 * SECOND)
        };
        plan.add_reading(ahead(3_600), false);
        assert!(matches!(
            plan.next_action(100 * SECOND),
            Action::Sleep { .. }
        ));
        plan.add_reading(ahead(7_200), false);
        assert!(matches!(plan.next_action(100 * SECOND), Action::Due { .. }));
    }

    #[test]
    fn a_measurement_of_whole_seconds_stays_while_a_response_agrees() {
        let measured = whole_seconds(0, 10 * MILLI);
        for (bound, offset, age, full, is_kept) in [
            (SECOND / 2, 0, 5 * SECOND, false, true),
            (SECOND / 2, SECOND / 2, 5 * SECOND, false, true),
            (SECOND / 2, 2 * SECOND, 5 * SECOND, false, false),
            (SECOND / 2, 0, 11 * SECOND, false, false),
            (10 * MILLI, 0, 5 * SECOND, true, false),
            // One of several servers has nanoseconds.
            (10 * MILLI, 0, 5 * SECOND, false, false),
        ] {
            let mut plan = Plan::new(config(3_600 * SECOND), measured);
            plan.add_reading(measured, true);
            let new = Reading {
                interval: Interval::around(offset, bound),
                ..whole_seconds(age, bound)
            };
            plan.add_reading(new, full);
            assert_eq!(plan.reading == measured, is_kept, "{offset} {age} {full}");
            assert_eq!(plan.read_at, age);
        }
    }

    #[test]
    fn a_bound_above_the_maximum_is_no_answer() {
        let mut config = config(10 * SECOND);
        config.max_bound = MICRO;
        let (readings, end) = follow(&mut Plan::new(config, reading(0)), 0);
        assert!(
            matches!(end, Action::NoAnswer { .. }),
            "{end:?} {readings:?}"
        );
    }

    #[test]
    fn nothing_overflows_for_times_that_are_far() {
        for target in [i128::from(i64::MAX) * SECOND, i128::from(i64::MIN) * SECOND] {
            let plan = Plan::new(config(target), reading(0));
            plan.next_action(0);
        }
    }
}

//! What several servers' offsets amount to, in words: text, JSON, a monitoring plugin's line.
//!
//! Pure: measurements in, strings out. Rounding never makes a bound tighter than it is.

use std::fmt::{self, Write as _};

use crate::offset::{Agreement, Estimate, Interval, Nanos, Offset, SECOND, agree};

/// One server and what became of its measurement.
#[derive(Clone, Debug)]
pub struct Server {
    /// As it is shown: where it was asked.
    pub name: String,
    /// The offset, or why there is none.
    pub outcome: Result<Offset, String>,
}

/// What was measured of all servers, at about one time.
#[derive(Clone, Debug)]
pub struct Report {
    servers: Vec<Server>,
    agreement: Option<Agreement>,
}

/// How far off is too far, in nanoseconds either way.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Beyond this is a warning.
    pub warn: Option<Nanos>,
    /// Beyond this is critical.
    pub critical: Option<Nanos>,
}

/// A monitoring plugin's verdict; its number is the exit status (Monitoring Plugins Development Guidelines).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Certainly within the lowest limit.
    Ok = 0,
    /// Certainly beyond the warning limit, and not certainly beyond the critical one.
    Warning = 1,
    /// Certainly beyond the critical limit.
    Critical = 2,
    /// Nothing is certain: no answer, no majority, or a bound that straddles the lowest limit.
    Unknown = 3,
}

impl Limits {
    /// Judges by the bound: what is said is certain, whatever the true offset in the interval.
    ///
    /// A bound that straddles the lowest limit is [`Status::Unknown`], not OK: OK would be a guess. To get rid of it,
    /// allow more than the network's round trip, or ask nearer by.
    pub fn judge(&self, offset: Interval) -> Status {
        let beyond = |limit: Option<Nanos>| limit.is_some_and(|limit| offset.least() > limit);
        let within = |limit: Option<Nanos>| limit.is_none_or(|limit| offset.most() <= limit);
        if beyond(self.critical) {
            Status::Critical
        } else if beyond(self.warn) {
            Status::Warning
        } else if within(self.warn) && within(self.critical) {
            Status::Ok
        } else {
            Status::Unknown
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Ok => "OK",
            Status::Warning => "WARNING",
            Status::Critical => "CRITICAL",
            Status::Unknown => "UNKNOWN",
        })
    }
}

/// Nanoseconds as seconds, exactly: `-0.250000000`.
fn seconds(nanos: Nanos) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    format!("{sign}{}.{:09}", nanos.abs() / SECOND, nanos.abs() % SECOND)
}

/// The same with its sign always shown: an offset.
pub(crate) fn signed(nanos: Nanos) -> String {
    let sign = if nanos < 0 { "" } else { "+" };
    format!("{sign}{}", seconds(nanos))
}

/// Nanoseconds as seconds, exactly, without idle zeros: `0.1`.
fn brief(nanos: Nanos) -> String {
    seconds(nanos)
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

/// A length of time to three digits, rounded up: `5.13 us`.
pub(crate) fn about(nanos: Nanos) -> String {
    let (mut unit, mut name) = (1, "ns");
    for (larger, its_name) in [(1_000, "us"), (1_000_000, "ms"), (SECOND, "s")] {
        if nanos >= larger {
            (unit, name) = (larger, its_name);
        }
    }
    let mut step = 1;
    while nanos > 999 * step {
        step *= 10;
    }
    let nanos = (nanos + step - 1) / step * step;
    // Rounded up over the unit's edge (999.6 us) it stays in its unit: 1000 us is as true as 1.00 ms.
    let decimals = (unit / step).checked_ilog10().unwrap_or(0) as usize;
    match decimals {
        0 => format!("{} {name}", nanos / unit),
        _ => format!("{}.{:0decimals$} {name}", nanos / unit, nanos % unit / step),
    }
}

pub(crate) fn plural(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

impl Report {
    /// Puts the servers together and finds what they agree on.
    pub fn new(servers: Vec<Server>) -> Self {
        let estimates: Vec<_> = servers
            .iter()
            .filter_map(|s| s.outcome.as_ref().ok())
            .map(|o| o.estimate)
            .collect();
        Self {
            agreement: agree(&estimates),
            servers,
        }
    }

    /// What the majority of those that answered says; of one server what it says.
    pub fn agreed(&self) -> Option<Estimate> {
        self.agreement.map(|a| a.estimate)
    }

    /// Whether any server answered.
    pub fn any_answer(&self) -> bool {
        self.answered() > 0
    }

    /// The servers that gave no offset, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.servers
            .iter()
            .filter_map(|s| Some((s.name.as_str(), s.outcome.as_ref().err()?.as_str())))
    }

    fn answered(&self) -> usize {
        self.servers.iter().filter(|s| s.outcome.is_ok()).count()
    }

    /// Whether this offset has a point in common with what the majority says; `None` without a majority.
    fn agrees(&self, offset: &Offset) -> Option<bool> {
        let Agreement { estimate, .. } = self.agreement?;
        Some(
            offset
                .estimate
                .at(estimate.as_of)
                .intersection(estimate.interval)
                .is_some(),
        )
    }

    fn liars(&self) -> Vec<&str> {
        let lies = |s: &&Server| {
            s.outcome
                .as_ref()
                .is_ok_and(|offset| self.agrees(offset) == Some(false))
        };
        self.servers
            .iter()
            .filter(lies)
            .map(|s| s.name.as_str())
            .collect()
    }

    /// `agreed by 2 of 3 servers`, and who does not; or the name of the only one.
    fn verdict(&self) -> String {
        let answered = self.answered();
        let Some(agreement) = self.agreement else {
            return match answered {
                0 => format!("no offset from {}", plural(self.servers.len(), "server")),
                _ => format!("no majority among {}", plural(answered, "server")),
            };
        };
        if let [Server { name, .. }] = &self.servers[..] {
            return format!("from {name}");
        }
        let mut text = format!(
            "agreed by {} of {}",
            agreement.count,
            plural(answered, "server")
        );
        let liars = self.liars();
        if !liars.is_empty() {
            // Writing to a String does not fail.
            let _ = write!(text, ", not {}", liars.join(", "));
        }
        if answered < self.servers.len() {
            let _ = write!(text, ", no offset from {}", self.servers.len() - answered);
        }
        text
    }

    /// One line for each server that answered, and with several servers one for what they agree on.
    pub fn text(&self) -> String {
        let width = self
            .servers
            .iter()
            .map(|s| s.name.chars().count())
            .max()
            .unwrap_or(0)
            .max("together".len());
        let width = if self.servers.len() == 1 { 0 } else { width };
        let mut text = String::new();
        for Server { name, outcome } in &self.servers {
            let Ok(offset) = outcome else { continue };
            let _ = write!(
                text,
                "{name:width$}  {}  round trip {}  {}",
                plus_minus(offset.estimate.interval, "±"),
                about(offset.round_trip),
                plural(offset.samples as usize, "sample"),
            );
            if offset.resolution >= SECOND {
                text.push_str(" of whole seconds");
                if let Some(told) = offset
                    .told()
                    .filter(|told| *told != offset.estimate.interval)
                {
                    let _ = write!(text, ", as told {}", plus_minus(told, "±"));
                }
            }
            if offset.restarts > 0 {
                let _ = write!(
                    text,
                    "  begun anew {}: a clock was stepped",
                    plural(offset.restarts as usize, "time")
                );
            }
            if self.agrees(offset) == Some(false) {
                text.push_str("  disagrees");
            }
            text.push('\n');
        }
        if self.servers.len() > 1 && self.any_answer() {
            match self.agreed() {
                Some(estimate) => {
                    let offset = plus_minus(estimate.interval, "±");
                    let _ = writeln!(text, "{:width$}  {offset}  {}", "together", self.verdict());
                }
                None => {
                    let _ = writeln!(text, "{:width$}  {}", "together", self.verdict());
                }
            }
        }
        text
    }

    /// The offset and its bound, or an empty text, and what there is to say beside it, or an empty text.
    pub fn line(&self) -> (String, String) {
        match self.agreed() {
            Some(estimate) if self.servers.len() == 1 => {
                (plus_minus(estimate.interval, "±"), String::new())
            }
            Some(estimate) => (plus_minus(estimate.interval, "±"), self.verdict()),
            None => {
                let why = self
                    .failures()
                    .map(|(name, why)| format!("; {name}: {why}"));
                (String::new(), self.verdict() + &why.collect::<String>())
            }
        }
    }

    /// One JSON object in one line. Its keys are described in README.md and stay.
    pub fn json(&self) -> String {
        let mut json = String::from("{");
        json_interval(&mut json, self.agreed());
        let agree = self.agreement.map_or(0, |a| a.count);
        let (answered, asked) = (self.answered(), self.servers.len());
        let _ = write!(
            json,
            r#","agree":{agree},"answered":{answered},"asked":{asked},"servers":["#
        );
        for (number, Server { name, outcome }) in self.servers.iter().enumerate() {
            json.push_str(if number > 0 { ",{" } else { "{" });
            let _ = write!(json, r#""server":{},"#, json_text(name));
            let offset = outcome.as_ref().ok();
            json_interval(&mut json, offset.map(|o| o.estimate));
            let _ = write!(
                json,
                r#","round_trip":{},"resolution":{},"samples":{},"restarts":{},"agrees":{},"error":{}}}"#,
                json_or_null(offset.map(|o| seconds(o.round_trip))),
                json_or_null(offset.map(|o| seconds(o.resolution))),
                offset.map_or(0, |o| o.samples),
                offset.map_or(0, |o| o.restarts),
                json_or_null(
                    offset
                        .and_then(|o| self.agrees(o))
                        .map(|agrees| agrees.to_string())
                ),
                json_or_null(outcome.as_ref().err().map(|error| json_text(error))),
            );
        }
        json.push_str("]}");
        json
    }

    /// A monitoring plugin's line, without the newline, and its verdict.
    ///
    /// The grammar is that of the Monitoring Plugins Development Guidelines: text, `|`, and performance data as
    /// `label=value;warn;critical;minimum`, the limits as ranges because an offset has a sign.
    pub fn check(&self, limits: Limits) -> (Status, String) {
        let Some(Estimate { interval, .. }) = self.agreed() else {
            let (_, why) = self.line();
            return (Status::Unknown, unknown(&why));
        };
        let status = limits.judge(interval);
        let (limit, word) = match status {
            Status::Ok => (None, ""),
            Status::Warning => (limits.warn, "certainly"),
            Status::Critical => (limits.critical, "certainly"),
            Status::Unknown => (
                limits.warn.or(limits.critical),
                "too wide a bound to tell if",
            ),
        };
        let why = limit.map_or(String::new(), |limit| {
            format!(", {word} beyond {} s", brief(limit))
        });
        let range =
            |limit: Option<Nanos>| limit.map_or(String::new(), |l| format!("-{0}:{0}", brief(l)));
        let line = format!(
            "WALLCLOCK {status}: offset {}{why}, {} | offset={}s;{};{} bound={}s;;;0",
            plus_minus(interval, "+/-"),
            plain(&self.verdict()),
            seconds(interval.middle()),
            range(limits.warn),
            range(limits.critical),
            seconds(interval.bound()),
        );
        (status, line)
    }
}

/// The line of a plugin that can't tell, for whatever reason.
pub fn unknown(why: &str) -> String {
    format!("WALLCLOCK {}: {}", Status::Unknown, plain(why))
}

/// An offset and its bound: `+3.499999720 s ± 5.13 us`.
fn plus_minus(interval: Interval, sign: &str) -> String {
    format!(
        "{} s {sign} {}",
        signed(interval.middle()),
        about(interval.bound())
    )
}

/// What the plugin's grammar lets stand in its text: no bar, no line end.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c == '|' || c.is_control() { '?' } else { c })
        .collect()
}

fn json_interval(json: &mut String, estimate: Option<Estimate>) {
    let interval = estimate.map(|e| e.interval);
    let _ = write!(
        json,
        r#""time":{},"offset":{},"bound":{},"low":{},"high":{}"#,
        json_or_null(estimate.map(|e| seconds(e.as_of))),
        json_or_null(interval.map(|i| seconds(i.middle()))),
        json_or_null(interval.map(|i| seconds(i.bound()))),
        json_or_null(interval.map(|i| seconds(i.low()))),
        json_or_null(interval.map(|i| seconds(i.high()))),
    );
}

fn json_or_null(value: Option<String>) -> String {
    value.unwrap_or_else(|| "null".to_owned())
}

/// A JSON string (RFC 8259, section 7).
fn json_text(text: &str) -> String {
    let mut json = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c < ' ' => {
                let _ = write!(json, "\\u{:04x}", c as u32);
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    const MILLI: Nanos = 1_000_000;

    fn measured(low: Nanos, high: Nanos) -> Result<Offset, String> {
        Ok(Offset {
            estimate: Estimate {
                interval: Interval::new(low, high).unwrap(),
                as_of: 1_783_213_507 * SECOND + 7,
            },
            round_trip: 10_250,
            samples: 8,
            resolution: 1,
            restarts: 0,
        })
    }

    fn report(outcomes: Vec<Result<Offset, String>>) -> Report {
        let server = |(number, outcome)| Server {
            name: format!("10.0.0.{number}:9527"),
            outcome,
        };
        Report::new(
            outcomes
                .into_iter()
                .enumerate()
                .map(|(n, o)| (n + 1, o))
                .map(server)
                .collect(),
        )
    }

    fn limits(warn: Option<Nanos>, critical: Option<Nanos>) -> Limits {
        Limits {
            warn: warn.map(|w| w * MILLI),
            critical: critical.map(|c| c * MILLI),
        }
    }

    #[test]
    fn lengths_of_time_are_rounded_up_to_three_digits() {
        for (nanos, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 us"),
            (5_121, "5.13 us"),
            (51_210, "51.3 us"),
            (512_100, "513 us"),
            (999_600, "1000 us"),
            (1_000_000, "1.00 ms"),
            (1_000_001, "1.01 ms"),
            (499_999_999, "500 ms"),
            (SECOND, "1.00 s"),
            (86_400 * SECOND + 1, "86500 s"),
        ] {
            assert_eq!(about(nanos), text);
        }
    }

    #[test]
    fn one_server_is_one_line() {
        assert_eq!(
            report(vec![measured(3_499_994_000, 3_500_006_000)]).text(),
            "10.0.0.1:9527  +3.500000000 s ± 6.00 us  round trip 10.3 us  8 samples\n"
        );
    }

    #[test]
    fn whole_seconds_that_may_begin_late_are_shown_as_told_too() {
        let whole = |low, high, tick| {
            let offset = measured(low * MILLI, high * MILLI).map(|found| Offset {
                resolution: SECOND + tick * MILLI,
                ..found
            });
            report(vec![offset]).text()
        };
        assert_eq!(
            whole(-4, 7, 10),
            "10.0.0.1:9527  +0.001500000 s ± 5.50 ms  round trip 10.3 us  8 samples of whole seconds, \
             as told -0.003500000 s ± 500 us\n"
        );
        for nothing_to_add in [whole(-4, 5, 10), whole(-4, -3, 0)] {
            assert!(
                nothing_to_add.ends_with(" samples of whole seconds\n"),
                "{nothing_to_add}"
            );
        }
    }

    #[test]
    fn a_liar_is_named_on_its_line_and_on_the_last() {
        let two_seconds = 2 * SECOND;
        let honest = measured(-6_000, 8_000);
        let report = report(vec![
            honest.clone(),
            measured(two_seconds, two_seconds + 9),
            measured(-7_000, 5_000),
            Err("no answer within 6s".to_owned()),
        ]);
        assert_eq!(
            report.text(),
            "10.0.0.1:9527  +0.000001000 s ± 7.00 us  round trip 10.3 us  8 samples\n\
             10.0.0.2:9527  +2.000000004 s ± 5 ns  round trip 10.3 us  8 samples  disagrees\n\
             10.0.0.3:9527  -0.000001000 s ± 6.00 us  round trip 10.3 us  8 samples\n\
             together       -0.000000500 s ± 5.50 us  agreed by 2 of 3 servers, not 10.0.0.2:9527, no offset from 1\n"
        );
        assert_eq!(
            report.failures().collect::<Vec<_>>(),
            [("10.0.0.4:9527", "no answer within 6s")]
        );
    }

    #[test]
    fn two_against_two_is_no_majority() {
        let report = report(
            [0, 1, 2_000, 2_001]
                .map(|at| measured(at, at + 100))
                .to_vec(),
        );
        assert_eq!(report.agreed(), None);
        assert!(
            report
                .text()
                .ends_with("together       no majority among 4 servers\n"),
            "{}",
            report.text()
        );
        assert_eq!(
            report.check(limits(Some(1), None)),
            (
                Status::Unknown,
                "WALLCLOCK UNKNOWN: no majority among 4 servers".to_owned()
            )
        );
    }

    #[test]
    fn only_what_is_certain_is_said() {
        let both = limits(Some(100), Some(1_000));
        for (low, high, status) in [
            (-100, 100, Status::Ok),
            (-100, 101, Status::Unknown),
            (100, 100, Status::Ok),
            (101, 1_000, Status::Warning),
            (-5_000, -101, Status::Warning),
            (1_001, 1_002, Status::Critical),
            (-1_002, -1_001, Status::Critical),
            (-5_000, 5_000, Status::Unknown),
        ] {
            let interval = Interval::new(low * MILLI, high * MILLI).unwrap();
            assert_eq!(both.judge(interval), status, "{low} to {high}");
        }
        let far = Interval::around(5_000 * MILLI, 1);
        assert_eq!(limits(Some(100), None).judge(far), Status::Warning);
        assert_eq!(limits(None, Some(100)).judge(far), Status::Critical);
        assert_eq!(limits(None, Some(5_000)).judge(far), Status::Unknown);
    }

    #[test]
    fn the_plugin_says_its_verdict_and_why_in_one_line() {
        let check = |low, high| {
            report(vec![measured(low, high)])
                .check(limits(Some(100), Some(1_000)))
                .1
        };
        assert_eq!(
            check(-4_000, 6_000),
            "WALLCLOCK OK: offset +0.000001000 s +/- 5.00 us, from 10.0.0.1:9527 \
             | offset=0.000001000s;-0.1:0.1;-1:1 bound=0.000005000s;;;0"
        );
        assert_eq!(
            check(-1_500 * MILLI, -1_400 * MILLI),
            "WALLCLOCK CRITICAL: offset -1.450000000 s +/- 50.0 ms, certainly beyond 1 s, from 10.0.0.1:9527 \
             | offset=-1.450000000s;-0.1:0.1;-1:1 bound=0.050000000s;;;0"
        );
        assert!(check(50 * MILLI, 150 * MILLI).contains("UNKNOWN"));
    }

    /// Every key that the README names, and no other.
    const KEYS: [&str; 9] = [
        "time", "offset", "bound", "low", "high", "agree", "answered", "asked", "servers",
    ];
    const SERVER_KEYS: [&str; 12] = [
        "server",
        "time",
        "offset",
        "bound",
        "low",
        "high",
        "round_trip",
        "resolution",
        "samples",
        "restarts",
        "agrees",
        "error",
    ];

    fn keys(object: &Value, expected: &[&str]) {
        let mut keys: Vec<_> = object
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let mut expected = expected.to_vec();
        keys.sort_unstable();
        expected.sort_unstable();
        assert_eq!(keys, expected);
    }

    #[test]
    fn the_json_object_always_has_the_same_keys() {
        for report in [
            report(vec![measured(-4_000, 6_000)]),
            report(vec![
                measured(-4_000, 6_000),
                Err("\"dead\"\n\\".to_owned()),
            ]),
            report(vec![measured(0, 1), measured(5, 6)]),
            report(vec![Err("dead".to_owned())]),
        ] {
            let json: Value = serde_json::from_str(&report.json()).unwrap();
            keys(&json, &KEYS);
            for server in json["servers"].as_array().unwrap() {
                keys(server, &SERVER_KEYS);
            }
            assert!(!report.json().contains('\n'));
        }
    }

    #[test]
    fn the_json_numbers_are_seconds_and_what_is_not_known_is_null() {
        let report = report(vec![
            measured(-4_000, 6_000),
            Err("\"dead\"\n\\é".to_owned()),
        ]);
        let json: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["offset"], 1e-6);
        assert_eq!(json["bound"], 5e-6);
        assert_eq!(
            (json["low"].as_f64(), json["high"].as_f64()),
            (Some(-4e-6), Some(6e-6))
        );
        assert_eq!(json["time"], 1_783_213_507.000000007);
        assert_eq!(
            (&json["agree"], &json["answered"], &json["asked"]),
            (&1.into(), &1.into(), &2.into())
        );
        let [alive, dead] = &json["servers"].as_array().unwrap()[..] else {
            panic!("{json}")
        };
        assert_eq!(alive["server"], "10.0.0.1:9527");
        assert_eq!(
            (&alive["agrees"], &alive["error"]),
            (&Value::Bool(true), &Value::Null)
        );
        assert_eq!(
            (&alive["round_trip"], &alive["resolution"]),
            (&1.025e-5.into(), &1e-9.into())
        );
        assert_eq!(
            (&dead["offset"], &dead["samples"], &dead["agrees"]),
            (&Value::Null, &0.into(), &Value::Null)
        );
        assert_eq!(dead["error"], "\"dead\"\n\\é");
    }

    proptest! {
        #[test]
        fn any_text_survives_as_a_json_string(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&json_text(&text)).unwrap(), text);
        }

        #[test]
        fn seconds_are_exact(nanos in -10i128.pow(20)..10i128.pow(20)) {
            let text = signed(nanos);
            let (whole, fraction) = text.split_once('.').unwrap();
            let digits: Nanos = format!("{whole}{fraction}").parse().unwrap();
            prop_assert_eq!((digits, fraction.len()), (nanos, 9));
        }

        #[test]
        fn a_length_of_time_is_never_shown_shorter_than_it_is(nanos in 0..10i128.pow(13)) {
            let text = about(nanos);
            let (number, unit) = text.split_once(' ').unwrap();
            let unit = match unit { "ns" => 1e0, "us" => 1e3, "ms" => 1e6, _ => 1e9 };
            let shown = number.parse::<f64>().unwrap() * unit;
            prop_assert!(shown >= nanos as f64 * (1.0 - 1e-12) && shown <= nanos as f64 * 1.011 + 1e-6, "{}", text);
        }

        #[test]
        fn no_verdict_is_wrong_wherever_in_the_interval_the_truth_is(
            low in -300..300i128, width in 0..300i128, at in 0.0..=1.0f64, warn in 0..100i128, more in 0..100i128,
        ) {
            let truth = low + (width as f64 * at) as i128;
            let (warn, critical) = (warn, warn + more);
            let limits = Limits { warn: Some(warn), critical: Some(critical) };
            match limits.judge(Interval::new(low, low + width).unwrap()) {
                Status::Ok => prop_assert!(truth.abs() <= warn),
                Status::Warning => prop_assert!(truth.abs() > warn),
                Status::Critical => prop_assert!(truth.abs() > critical),
                Status::Unknown => prop_assert!(width > 0),
            }
        }
    }
}

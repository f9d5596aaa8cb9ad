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

    /// `3 of 3 servers agree`, and who does not.
    fn verdict(&self) -> String {
        let answered = self.answered();
        let Some(agreement) = self.agreement else {
            return match answered {
                0 => format!("no answer from {}", plural(self.servers.len(), "server")),
                _ => format!("no majority among {}", plural(answered, "server")),
            };
        };
        let mut text = format!(
            "{} of {} agree",
            agreement.count,
            plural(answered, "server")
        );
        let liars = self.liars();
        if !liars.is_empty() {
            // Writing to a String does not fail.
            let _ = write!(text, ", not {}", liars.join(", "));
        }
        if answered < self.servers.len() {
            let _ = write!(text, ", {} silent", self.servers.len() - answered);
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
            .max("agreed".len());
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
                    let _ = writeln!(text, "{:width$}  {offset}  {}", "agreed", self.verdict());
                }
                None => {
                    let _ = writeln!(text, "{:width$}  {}", "agreed", self.verdict());
                }
            }
        }
        text
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
            return (
                Status::Unknown,
                format!("WALLCLOCK {}: {}", Status::Unknown, plain(&self.verdict())),
            );
        };
        let status = limits.judge(interval);
        let why = match (status, limits) {
            (
                Status::Critical,
                Limits {
                    critical: Some(limit),
                    ..
                },
            )
            | (
                Status::Warning,
                Limits {
                    warn: Some(limit), ..
                },
            ) => {
                format!(", certainly beyond {} s", brief(limit))
            }
            (
                Status::Unknown,
                Limits {
                    warn: Some(limit), ..
                }
                | Limits {
                    critical: Some(limit),
                    ..
                },
            ) => {
                format!(
                    ", perhaps beyond {} s: the bound is too wide to tell",
                    brief(limit)
                )
            }
            _ => String::new(),
        };
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

/// An offset and its bound: `+3.499999720 s ± 5.13 us`.
pub(crate) fn plus_minus(interval: Interval, sign: &str) -> String {
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

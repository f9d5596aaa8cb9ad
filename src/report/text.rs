//! Offsets as text for people.

use std::fmt::Write as _;

use super::units::{format_duration, plural, plus_minus};
use super::{Report, ServerResult};
use crate::offset::SECOND;

impl Report {
    /// `agreed by 2 of 3 servers`, and who does not; or the name of the only one.
    pub(super) fn verdict(&self) -> String {
        let answered = self.answered();
        let Some(agreement) = self.agreement else {
            return match answered {
                0 => format!("no offset from {}", plural(self.servers.len(), "server")),
                _ => format!("no majority among {}", plural(answered, "server")),
            };
        };
        if let [ServerResult { name, .. }] = &self.servers[..] {
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

    /// One line for each server that answered, and with several servers one for what they marzullo on.
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
        for ServerResult { name, outcome } in &self.servers {
            let Ok(offset) = outcome else { continue };
            let _ = write!(
                text,
                "{name:width$}  {}  round trip {}  {}",
                plus_minus(offset.estimate.interval, "±"),
                format_duration(offset.round_trip),
                plural(offset.samples as usize, "sample"),
            );
            if offset.resolution >= SECOND {
                text.push_str(" of whole seconds");
                if let Some(told) = offset
                    .reported()
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
}

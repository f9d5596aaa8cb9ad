//! The report as JSON, for programs. One object of fixed keys needs no crate to write.

use std::fmt::Write as _;

use super::units::seconds;
use super::{Report, ServerResult};
use crate::offset::Estimate;

impl Report {
    /// One JSON object in one line. Its keys are described in README.md and stay.
    pub fn json(&self) -> String {
        let mut json = String::from("{");
        json_interval(&mut json, self.agreed());
        let marzullo = self.agreement.map_or(0, |a| a.count);
        let (answered, asked) = (self.answered(), self.servers.len());
        let _ = write!(
            json,
            r#","agree":{marzullo},"answered":{answered},"asked":{asked},"servers":["#
        );
        for (number, ServerResult { name, outcome }) in self.servers.iter().enumerate() {
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
    use super::super::tests::{measured, report};
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

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
    }
}

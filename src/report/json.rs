//! The report as JSON. One object with fixed keys needs no crate to write.

use super::results::{Report, ServerResult};
use super::units::format_seconds;
use crate::offset::Estimate;

impl Report {
    /// Returns one JSON object in one line. wallclock(1) documents its keys; they are stable.
    pub fn json(&self) -> String {
        let servers: Vec<_> = self.servers.iter().map(|s| self.server_json(s)).collect();
        format!(
            r#"{{{},"agree":{},"answered":{},"asked":{},"servers":[{}]}}"#,
            estimate_members(self.agreed()),
            self.consensus.map_or(0, |consensus| consensus.count),
            self.offset_count(),
            self.servers.len(),
            servers.join(","),
        )
    }

    fn server_json(&self, server: &ServerResult) -> String {
        let ServerResult { name, outcome } = server;
        let offset = outcome.as_ref().ok();
        let agrees = offset.and_then(|offset| self.agrees(offset));
        let error = outcome.as_ref().err();
        format!(
            concat!(
                r#"{{"server":{},{},"round_trip":{},"resolution":{},"#,
                r#""samples":{},"restarts":{},"agrees":{},"error":{}}}"#
            ),
            json_string(name),
            estimate_members(offset.map(|offset| offset.estimate)),
            or_null(offset.map(|offset| format_seconds(offset.round_trip))),
            or_null(offset.map(|offset| format_seconds(offset.resolution))),
            offset.map_or(0, |offset| offset.samples),
            offset.map_or(0, |offset| offset.restarts),
            or_null(agrees.map(|agrees| agrees.to_string())),
            or_null(error.map(|error| json_string(error))),
        )
    }
}

/// Returns the members of a JSON object that describe an estimate.
fn estimate_members(estimate: Option<Estimate>) -> String {
    let interval = estimate.map(|estimate| estimate.interval);
    format!(
        r#""time":{},"offset":{},"bound":{},"low":{},"high":{}"#,
        or_null(estimate.map(|estimate| format_seconds(estimate.as_of))),
        or_null(interval.map(|interval| format_seconds(interval.middle()))),
        or_null(interval.map(|interval| format_seconds(interval.bound()))),
        or_null(interval.map(|interval| format_seconds(interval.low()))),
        or_null(interval.map(|interval| format_seconds(interval.high()))),
    )
}

fn or_null(value: Option<String>) -> String {
    value.unwrap_or_else(|| "null".to_owned())
}

/// Returns `text` as a JSON string (RFC 8259, section 7).
fn json_string(text: &str) -> String {
    let mut json = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c < ' ' => json += &format!("\\u{:04x}", u32::from(c)),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::{MILLI, measured, offset, report};
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// The keys that wallclock(1) documents, and no other.
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
    fn all_objects_have_all_keys() {
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
    fn numbers_are_seconds_and_unknown_values_null() {
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

    #[test]
    fn a_liar_does_not_agree() {
        let mut lie = offset(5 * MILLI, 6 * MILLI);
        (lie.samples, lie.restarts) = (3, 2);
        let report = report(vec![measured(0, 2), measured(1, 2), Ok(lie)]);
        let json: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!((&json["agree"], &json["answered"]), (&2.into(), &3.into()));
        let members = ["agrees", "samples", "restarts"];
        for (server, values) in [
            (0, [true.into(), 8.into(), 0.into()]),
            (2, [Value::Bool(false), 3.into(), 2.into()]),
        ] {
            let server = &json["servers"][server];
            assert_eq!(members.map(|key| server[key].clone()), values);
        }
    }

    #[test]
    fn strings_escape_what_json_requires() {
        for (text, json) in [
            ("", r#""""#),
            ("a b", r#""a b""#),
            ("\"\\", r#""\"\\""#),
            ("\0\n\u{1f}\u{7f}é", "\"\\u0000\\u000a\\u001f\u{7f}é\""),
        ] {
            assert_eq!(json_string(text), json);
        }
    }

    proptest! {
        #[test]
        fn any_string_round_trips(text in any::<String>()) {
            let parsed: String = serde_json::from_str(&json_string(&text)).unwrap();
            prop_assert_eq!(parsed, text);
        }
    }
}

//! The report as JSON. One object with fixed keys needs no crate to write.

use super::results::{AddressResult, Report};
use super::units::format_seconds;
use crate::offset::Interval;

impl Report {
    /// Returns one JSON object in one line. wallclock(1) documents its keys; they are stable.
    pub fn json(&self) -> String {
        let servers: Vec<_> = self
            .addresses()
            .map(|(host, address)| self.address_json(host, address))
            .collect();
        let contradicting = self.contradicting();
        let contradicting: Vec<_> = contradicting.into_iter().map(json_string).collect();
        format!(
            concat!(
                r#"{{{},"agree":{},"answered":{},"asked":{},"#,
                r#""contradicting":[{}],"servers":[{}]}}"#
            ),
            self.offset_members(self.agreed(), self.union()),
            self.voters_that_agree(true).len(),
            self.answered(),
            self.voters.len(),
            contradicting.join(","),
            servers.join(","),
        )
    }

    fn address_json(&self, host: &str, address: &AddressResult) -> String {
        let AddressResult { name, outcome } = address;
        let clock = outcome.as_ref().ok();
        let offset = clock.map(|clock| self.offset(clock));
        let agrees = offset.and_then(|offset| self.agrees(offset));
        let error = outcome.as_ref().err();
        format!(
            concat!(
                r#"{{"server":{},"host":{},{},"round_trip":{},"resolution":{},"max_slew":{},"#,
                r#""samples":{},"restarts":{},"agrees":{},"error":{}}}"#
            ),
            json_string(name),
            json_string(host),
            self.offset_members(offset, offset),
            or_null(clock.map(|clock| format_seconds(clock.round_trip))),
            or_null(clock.map(|clock| format_seconds(clock.resolution()))),
            or_null(clock.map(|clock| clock.estimate.max_slew.to_string())),
            clock.map_or(0, |clock| clock.samples),
            clock.map_or(0, |clock| clock.restarts),
            or_null(agrees.map(|agrees| agrees.to_string())),
            or_null(error.map(|error| json_string(&error.reason))),
        )
    }

    /// Returns the members of a JSON object that describe an offset, and the ends of an interval
    /// that contains it.
    fn offset_members(&self, offset: Option<Interval>, ends: Option<Interval>) -> String {
        format!(
            r#""time":{},"offset":{},"bound":{},"low":{},"high":{}"#,
            or_null(ends.map(|_| format_seconds(self.time()))),
            or_null(offset.map(|offset| format_seconds(offset.middle()))),
            or_null(offset.map(|offset| format_seconds(offset.bound()))),
            or_null(ends.map(|ends| format_seconds(ends.low()))),
            or_null(ends.map(|ends| format_seconds(ends.high()))),
        )
    }
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
    use super::super::results::Failure;
    use super::super::results::tests::{MILLI, Outcome, clock, measured, report};
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// The keys that wallclock(1) documents, and no other.
    const KEYS: [&str; 10] = [
        "time",
        "offset",
        "bound",
        "low",
        "high",
        "agree",
        "answered",
        "asked",
        "contradicting",
        "servers",
    ];
    const SERVER_KEYS: [&str; 14] = [
        "server",
        "host",
        "time",
        "offset",
        "bound",
        "low",
        "high",
        "round_trip",
        "resolution",
        "max_slew",
        "samples",
        "restarts",
        "agrees",
        "error",
    ];

    fn dead(reason: &str) -> Outcome {
        Err(Failure {
            reason: reason.to_owned(),
            is_contradiction: false,
        })
    }

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
            report(vec![measured(-4_000, 6_000), dead("\"dead\"\n\\")]),
            report(vec![measured(0, 2), measured(5, 7)]),
            report(vec![dead("dead")]),
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
        let report = report(vec![measured(-4_000, 6_000), dead("\"dead\"\n\\é")]);
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
        assert_eq!(
            (&alive["server"], &alive["host"]),
            (&"10.0.0.1:9527".into(), &"host".into())
        );
        assert_eq!(alive["max_slew"], 100_000);
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
        let mut lie = clock(5 * MILLI, 6 * MILLI);
        (lie.samples, lie.restarts) = (3, 2);
        let report = report(vec![measured(0, 2), measured(0, 3), Ok(lie)]);
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
    fn a_contradiction_has_the_union_and_no_offset() {
        let report = report(vec![measured(0, 2), measured(5, 7), measured(-9, 9)]);
        let json: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(
            (&json["offset"], &json["bound"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!((&json["low"], &json["high"]), (&0.0.into(), &7e-9.into()));
        let names = vec!["10.0.0.1:9527", "10.0.0.2:9527"];
        assert_eq!(json["contradicting"], Value::from(names));
        assert_eq!((&json["agree"], &json["answered"]), (&0.into(), &3.into()));
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

//! The manual pages name each option, variable, directive, error, limit and JSON key that exists.

use std::collections::BTreeSet;

use serde_json::Value;
use support::{start_daemon, wallclock_long_timeout};
use wallclock::client::query::MAX_FORMAT_LEN;
use wallclock::protocol::{ErrorReason, MAX_REQUEST_LEN, MAX_RESPONSE_LEN, max_response_len};
use wallclock::strftime::{Format, FormatError};
use wallclock::time::LocalTime;

use super::pages::{client_page, code_blocks, plain, section, server_page};

#[test]
fn pages_have_each_option_and_variable_of_help() {
    for page in [client_page(), server_page()] {
        let output = (page.program)().arg("--help").output();
        let help = String::from_utf8(output.expect("the program starts").stdout).expect("UTF-8");
        let synopsis = plain(&section(&page.source, "SYNOPSIS").join("\n"));
        let environment = plain(&section(&page.source, "ENVIRONMENT").join("\n"));
        let text = plain(&page.source);
        let mut options = 0;
        for line in help.lines().map(str::trim_start) {
            if !line.starts_with('-') {
                continue;
            }
            options += 1;
            let names = line.split(" <").next().unwrap_or(line);
            let names = names.split(" [").next().unwrap_or(names);
            let names = names.split("[=").next().unwrap_or(names);
            let names = names.trim_end_matches([' ', '.']);
            let item = format!(".TP\n{names}");
            assert!(text.contains(&item), "{}: {names}", page.name);
            let shortest = names.split(", ").next().unwrap_or(names);
            let is_in_synopsis = ["-h", "-V"].contains(&shortest) || synopsis.contains(shortest);
            assert!(is_in_synopsis, "{}: {names} in SYNOPSIS", page.name);
        }
        assert!(options >= 8, "{help}");
        for variable in help.split("[env: ").skip(1) {
            let variable = variable.split('=').next().unwrap_or(variable);
            assert!(environment.contains(variable), "{}: {variable}", page.name);
        }
    }
}

/// Renders the time of the examples in LANGUAGE.
fn render(format: &str) -> String {
    let time = LocalTime::new(1_783_213_507, 120_000_000, 28_800, "CST");
    let mut buf = [0; 64];
    let format = Format::parse(format.as_bytes()).expect(format);
    let length = format.render(&time, &mut buf).expect("64 bytes are enough");
    String::from_utf8(buf[..length].to_vec()).expect("UTF-8")
}

#[test]
fn each_directive_shows_what_its_row_says() {
    let rows = code_blocks(&server_page().source, "LANGUAGE").concat();
    for row in &rows {
        let (format, rest) = row.split_at(8);
        let text = render(format.trim_end());
        let shown = if text.trim().is_empty() { "" } else { &text };
        let after = rest.strip_prefix(shown);
        assert!(
            after.is_some_and(|after| after.starts_with("  ")),
            "{row:?} shows {text:?}"
        );
        if let Some((_, equivalent)) = row.split_once("the same as ") {
            let equivalent = equivalent.trim_end_matches(" (chrono)");
            assert_eq!(render(equivalent), text, "{row}");
        }
    }
    assert!(rows.len() > 60, "{} rows", rows.len());
}

fn is_format(format: &str) -> bool {
    Format::parse(format.as_bytes()).is_ok()
}

#[test]
fn page_has_each_directive_of_the_language() {
    let rows = code_blocks(&server_page().source, "LANGUAGE")
        .concat()
        .join("\n");
    for letter in ('!'..='~').filter(|c| !c.is_ascii_digit()) {
        for start in ["%", "%:", "%::", "%:::", "%.", "%3", "%.3", "%.6", "%.9"] {
            let format = format!("{start}{letter}");
            // Most directives take a width; only before f and N it makes another one.
            let has_width = start == "%3" && !matches!(letter, 'f' | 'N');
            assert!(
                !is_format(&format) || has_width || rows.contains(&format),
                "{format} is not on the page"
            );
        }
    }
}

#[test]
fn page_has_each_modifier_that_is_refused() {
    let source = server_page().source;
    let language = plain(&section(&source, "LANGUAGE").join("\n"));
    for modifier in ["E", "O"] {
        let refused: BTreeSet<_> = ('!'..='~')
            .filter(|letter| is_format(&format!("%{letter}")))
            .filter(|letter| !matches!(letter, 'f' | 'v' | '+'))
            .filter(|letter| !is_format(&format!("%{modifier}{letter}")))
            .collect();
        // `.B E`, `not before one of`, `.BR letters ,`.
        let mut lines = language
            .lines()
            .skip_while(|line| *line != format!(".B {modifier}"));
        let letters = lines.nth(2).and_then(|line| line.split(' ').nth(1));
        let letters = letters.expect("a line with letters").chars();
        let listed: BTreeSet<_> = letters.filter(char::is_ascii_alphabetic).collect();
        assert_eq!(listed, refused, "{modifier}");
    }
    assert!(is_format("%E:z") && !is_format("%O:z"));
}

#[test]
fn page_has_each_error_response() {
    let blocks = code_blocks(&server_page().source, "PROTOCOL");
    let errors = [
        ErrorReason::RequestTooLong,
        ErrorReason::Format(FormatError::Unknown {
            at: 9,
            character: 'Q',
        }),
        ErrorReason::Format(FormatError::CutOff { at: 9 }),
        ErrorReason::Format(FormatError::PlusFlag { at: 9 }),
        ErrorReason::Format(FormatError::NotUtf8 { at: 9 }),
        ErrorReason::Format(FormatError::Nul { at: 9 }),
        ErrorReason::ResponseTooLong,
        ErrorReason::NotSynchronised,
    ];
    assert_eq!(blocks[0], errors.map(|reason| format!("error: {reason}")));
    let percent = FormatError::Unknown {
        at: 0,
        character: '%',
    };
    let percent = percent.to_string();
    let escaped = percent.split(' ').next_back().expect("a word");
    assert!(plain(&server_page().source).contains(escaped), "{escaped}");
}

#[test]
fn pages_have_the_limits_of_the_protocol() {
    assert_eq!(max_response_len(100), 3 * 100 + 56);
    let server = plain(&section(&server_page().source, "PROTOCOL").join("\n"));
    let longest_request = format!("Longer than {MAX_REQUEST_LEN} bytes");
    let longest_response = format!("at most {MAX_RESPONSE_LEN}.");
    for text in [
        &longest_request,
        &longest_response,
        "at most 3\n",
        "+ 56 bytes",
    ] {
        assert!(server.contains(text), "{text}");
    }
    let client = plain(&section(&client_page().source, "LIMITS").join("\n"));
    let longest_format = format!("at most {MAX_FORMAT_LEN} bytes");
    assert!(client.contains(&longest_format), "{longest_format}");
}

#[test]
fn page_has_each_key_of_the_json_object() {
    let (_server, address) = start_daemon();
    let mut command = wallclock_long_timeout();
    let output = command
        .args(["--json", "-s", &address.to_string()])
        .output();
    let output = output.expect("wallclock starts");
    let object: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut keys = BTreeSet::new();
    for object in [&object, &object["servers"][0]] {
        keys.extend(object.as_object().expect("an object").keys().cloned());
    }
    // The list between `.RS` and the item of --warn; a line with names follows each `.TP`.
    let output = section(&client_page().source, "OUTPUT").join("\n");
    let (_, list) = output.split_once(".RS\n").expect("a list of keys");
    let (list, _) = list
        .split_once("\n.TP\n.BR \\-\\-warn")
        .expect("the next item");
    let lines: Vec<_> = list.lines().collect();
    let items = lines.windows(2).filter(|pair| pair[0] == ".TP");
    let names = items.map(|pair| pair[1].split_once(' ').expect("a macro").1);
    let listed: BTreeSet<_> = names.flat_map(|names| names.split(" \", \" ")).collect();
    assert_eq!(listed, keys.iter().map(String::as_str).collect());
}

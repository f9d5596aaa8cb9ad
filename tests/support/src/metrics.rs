//! Metrics in the text format of Prometheus.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::has_program;

/// Parses metrics: returns each sample with its labels, and its value.
///
/// Panics unless they follow the format, and HELP and TYPE precede the samples of each metric. If
/// promtool is installed it checks them too.
#[track_caller]
pub fn parse_metrics(text: &str) -> Vec<(String, f64)> {
    assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    let (mut samples, mut described) = (Vec::new(), Vec::new());
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let [Some(kind), Some(name), Some(text)] = [(); 3].map(|()| words.next()) else {
                panic!("{line}");
            };
            let is_counter = name.ends_with("_total");
            match kind {
                "HELP" => {}
                "TYPE" => assert_eq!(text, if is_counter { "counter" } else { "gauge" }, "{line}"),
                _ => panic!("{line}"),
            }
            described.push((kind, name));
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').expect(line);
        let name = sample.split('{').next().expect(line);
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(!name.is_empty() && name.chars().all(is_name), "{line}");
        for kind in ["HELP", "TYPE"] {
            let times = described.iter().filter(|it| **it == (kind, name)).count();
            assert_eq!(times, 1, "{kind} of {name} in {text}");
        }
        if let Some(labels) = sample.strip_prefix(name).filter(|it| !it.is_empty()) {
            let labels = labels.strip_prefix("{server=\"").expect(line);
            let label = labels.strip_suffix("\"}").expect(line);
            assert!(!label.contains(['"', '\\']), "{line}");
        }
        samples.push((sample.to_owned(), value.parse().expect(line)));
    }
    // Not a skipped test: the package has a whole Prometheus, and the format is checked above.
    if has_program("promtool") {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool starts");
        let mut stdin = promtool.stdin.take().expect("a pipe");
        stdin.write_all(text.as_bytes()).expect("promtool reads");
        drop(stdin);
        let output = promtool.wait_with_output().expect("a child");
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
    samples
}

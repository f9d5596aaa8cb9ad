//! The record of the skipped tests of one `cargo test` run. All its test programs write it, and the
//! last one counts it.
//!
//! The programs of one run have the same parent, cargo. The name of the record contains its process
//! id and start time. So two runs at the same time do not mix, and the record of an aborted run is
//! recognised.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};

use crate::scratch_dir;

const PREFIX: &str = "skipped-tests-";

/// Adds one skipped test to the record of this run.
///
/// One short write to a file in append mode does not mix with the lines of other threads and
/// programs.
pub fn record(reason: &str) -> io::Result<()> {
    let line = reason.replace('\n', " ") + "\n";
    open(&path()?)?.write_all(line.as_bytes())
}

/// Returns the skipped tests of this run in one line. Removes the record, and those of runs whose
/// cargo has ended.
pub fn take() -> io::Result<String> {
    let path = path()?;
    let mut lines = String::new();
    // Opened as by `record`, so that a record that cannot be written is an error and not a count
    // of 0.
    open(&path)?.read_to_string(&mut lines)?;
    fs::remove_file(&path)?;
    for entry in fs::read_dir(scratch_dir())?.flatten() {
        if is_left_over(&entry.file_name().to_string_lossy()) {
            // This fails if another run has just removed it, or if it belongs to another user.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(summary(&lines))
}

fn summary(lines: &str) -> String {
    let mut counts = BTreeMap::<_, usize>::new();
    for reason in lines.lines() {
        *counts.entry(reason).or_default() += 1;
    }
    let total: usize = counts.values().sum();
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let reasons: Vec<_> = counts
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    match total {
        0 => "skipped tests: 0".to_owned(),
        _ => format!("skipped tests: {total} ({})", reasons.join("; ")),
    }
}

fn path() -> io::Result<PathBuf> {
    let parent = parent_id();
    let started = started(parent)?;
    Ok(scratch_dir().join(format!("{PREFIX}{parent}-{started}")))
}

fn open(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .append(true)
        .read(true)
        .open(path)
}

fn is_left_over(name: &str) -> bool {
    let Some((process, then)) = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('-'))
    else {
        return false;
    };
    process
        .parse()
        .is_ok_and(|process| started(process).ok().as_deref() != Some(then))
}

/// The start time of a process, in clock ticks since the boot (proc(5), field 22 of stat).
fn started(process: u32) -> io::Result<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name before the last parenthesis may contain any character.
    let (_, fields) = stat.rsplit_once(") ").ok_or(io::ErrorKind::InvalidData)?;
    let started = fields.split(' ').nth(22 - 3);
    Ok(started.ok_or(io::ErrorKind::InvalidData)?.to_owned())
}

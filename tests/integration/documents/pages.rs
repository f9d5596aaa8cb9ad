//! The manual pages as man(7) source, and what the tests need to run what stands there.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use support::{scratch_dir, skip, skip_without, wallclock, wallclockd};

/// Seconds after which a shell is ended and the test fails.
pub const SHELL_TIMEOUT: &str = "120";

/// How often a command is run whose server did not respond within the time-out that the page gives:
/// on a busy machine that can happen.
pub const MAX_ATTEMPTS: usize = 5;

/// A manual page.
pub struct Page {
    pub name: &'static str,
    /// Its program.
    pub program: fn() -> Command,
    /// man(7) source.
    pub source: String,
}

pub fn client_page() -> Page {
    Page {
        name: "wallclock.1",
        program: wallclock,
        source: generate(wallclock(), "man"),
    }
}

pub fn server_page() -> Page {
    Page {
        name: "wallclockd.8",
        program: wallclockd,
        source: generate(wallclockd(), "man"),
    }
}

/// Returns the output of `--generate`.
pub fn generate(mut program: Command, what: &str) -> String {
    let output = program.args(["--generate", what]).output();
    String::from_utf8(output.expect("the program starts").stdout).expect("UTF-8")
}

/// Makes a directory in the target directory.
pub fn make_dir(name: &str) -> PathBuf {
    let path = scratch_dir().join(name);
    fs::create_dir_all(&path).expect("a directory");
    path
}

/// The text that a line of man(7) source shows.
pub fn plain(line: &str) -> String {
    let escapes = [
        ("\\fB", ""),
        ("\\fI", ""),
        ("\\fR", ""),
        ("\\&", ""),
        ("\\-", "-"),
        ("\\~", " "),
        ("\\(aq", "'"),
        ("\\*(Aq", "'"),
        ("\\(ha", "^"),
        ("\\(ti", "~"),
        ("\\(ga", "`"),
        ("\\(+-", "±"),
        ("\\e", "\\"),
    ];
    escapes
        .iter()
        .fold(line.to_owned(), |text, (escape, shown)| {
            text.replace(escape, shown)
        })
}

/// The lines of a section, as source.
pub fn section<'p>(source: &'p str, title: &str) -> Vec<&'p str> {
    source
        .lines()
        .skip_while(|line| *line != format!(".SH {title}"))
        .skip(1)
        .take_while(|line| !line.starts_with(".SH "))
        .collect()
}

/// The lines of each code block of a section, as plain text.
pub fn code_blocks(source: &str, title: &str) -> Vec<Vec<String>> {
    let lines = section(source, title);
    let starts = (0..lines.len()).filter(|&at| lines[at] == ".EX");
    starts
        .map(|at| {
            let block = lines[at + 1..].iter().take_while(|line| **line != ".EE");
            block.map(|line| plain(line)).collect()
        })
        .collect()
}

/// Skips without a netcat whose `-w` ends it: those of two Debian packages.
pub fn lacks_netcat() -> bool {
    if skip_without(&["nc"]) {
        return true;
    }
    let output = Command::new("nc").arg("-h").stdin(Stdio::null()).output();
    let output = output.expect("nc starts");
    let help = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let is_known = help.contains("OpenBSD netcat") || help.starts_with("[v1.10");
    if !is_known {
        skip("no nc that is known (Debian package netcat-openbsd)");
    }
    !is_known
}

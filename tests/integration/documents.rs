//! The manual pages, the completions and the small clients: what they say is tried, out of the very text that is printed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use support::{
    Process, counters, daemon, lacks, lacks_ipv6, lacks_namespaces, patient_wallclock, skip,
    wallclock, wallclockd,
};
use wallclock::client::query::MAX_FORMAT_LEN;
use wallclock::protocol::{ErrorReason, MAX_REQUEST_LEN, MAX_RESPONSE_LEN, max_response_len};
use wallclock::strftime::{Format, FormatError};
use wallclock::time::LocalTime;

fn generated(mut program: Command, what: &str) -> String {
    let output = program.args(["--generate", what]).output();
    String::from_utf8(output.expect("it runs").stdout).expect("UTF-8")
}

/// A page's name, how to run its program, and its text as man(7) source.
type Page = (&'static str, fn() -> Command, String);

fn pages() -> [Page; 2] {
    [
        ("wallclock.1", wallclock, generated(wallclock(), "man")),
        ("wallclockd.8", wallclockd, generated(wallclockd(), "man")),
    ]
}

/// Seconds after which a shell is ended, which then has failed.
const HANG: &str = "120";

/// How often an example is run whose server did not answer in the time that the page gives it: on a
/// busy machine it may not, once.
const PLAYS: usize = 5;

/// A folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// What a reader sees of a line of man(7).
fn plain(line: &str) -> String {
    let mut text = line.to_owned();
    for (escape, shown) in [
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
    ] {
        text = text.replace(escape, shown);
    }
    text
}

/// The lines of a section, as source.
fn section<'p>(page: &'p str, title: &str) -> Vec<&'p str> {
    page.lines()
        .skip_while(|line| *line != format!(".SH {title}"))
        .skip(1)
        .take_while(|line| !line.starts_with(".SH "))
        .collect()
}

/// The blocks of a section that stand as they are, as a reader sees them.
fn blocks(page: &str, title: &str) -> Vec<Vec<String>> {
    let lines = section(page, title);
    let after = |lines: &[&str]| {
        lines
            .iter()
            .take_while(|line| **line != ".EE")
            .map(|line| plain(line))
            .collect()
    };
    (0..lines.len())
        .filter(|&at| lines[at] == ".EX")
        .map(|at| after(&lines[at + 1..]))
        .collect()
}

#[test]
fn the_pages_are_clean_by_mandoc_and_by_groff() {
    let folder = folder("lint");
    for (name, _, page) in pages() {
        let path = folder.join(name);
        assert!(
            page.is_ascii(),
            "{name}: what is not ASCII depends on who reads it"
        );
        fs::write(&path, page).expect("it is written");
        for (judge, arguments) in [
            ("mandoc", &["-T", "lint", "-W", "warning"][..]),
            ("groff", &["-ww", "-b", "-z", "-man", "-T", "utf8"]),
        ] {
            if lacks(&[judge]) {
                continue;
            }
            let output = Command::new(judge).args(arguments).arg(&path).output();
            let output = output.expect("it runs");
            let said = [output.stdout, output.stderr].concat();
            assert!(
                output.status.success() && said.is_empty(),
                "{judge} {name}: {}",
                String::from_utf8_lossy(&said)
            );
        }
    }
}

#[test]
fn rendered_at_80_columns_no_line_is_longer() {
    // man-db's, which renders by groff.
    if lacks(&["man", "groff"]) {
        return;
    }
    let folder = folder("rendered");
    for (name, _, page) in pages() {
        let path = folder.join(name);
        fs::write(&path, page).expect("it is written");
        let mut man = Command::new("man");
        man.args(["-l", "--warnings=w"])
            .arg(&path)
            .env("MANWIDTH", "80")
            .env("LC_ALL", "C.UTF-8");
        let output = man.output().expect("it runs");
        assert!(output.stderr.is_empty(), "{output:?}");
        let shown = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(shown.contains("SEE ALSO"), "{shown}");
        for line in shown.lines() {
            assert!(line.chars().count() <= 80, "{name}: {line:?}");
        }
    }
}

#[test]
fn the_pages_have_every_option_and_variable_of_help() {
    for (name, program, page) in pages() {
        let output = program().arg("--help").output().expect("it runs");
        let help = String::from_utf8(output.stdout).expect("UTF-8");
        let synopsis = plain(&section(&page, "SYNOPSIS").join("\n"));
        let environment = plain(&section(&page, "ENVIRONMENT").join("\n"));
        let page = plain(&page);
        let mut options = 0;
        for line in help
            .lines()
            .map(str::trim_start)
            .filter(|line| line.starts_with('-'))
        {
            let names = line.split(" <").next().unwrap_or(line);
            let names = names.split(" [").next().unwrap_or(names);
            let names = names.trim_end_matches([' ', '.']);
            options += 1;
            let item = format!(".TP\n{names}");
            assert!(page.contains(&item), "{name}: {names}");
            let shortest = names.split(", ").next().unwrap_or(names);
            let known = ["-h", "-V"].contains(&shortest) || synopsis.contains(shortest);
            assert!(known, "{name}: {names} in the synopsis");
        }
        assert!(options >= 8, "{help}");
        for variable in help.split("[env: ").skip(1) {
            let variable = variable.split('=').next().expect("a name");
            assert!(environment.contains(variable), "{name}: {variable}");
        }
    }
}

/// The moment that the LANGUAGE section shows.
fn shown() -> LocalTime {
    LocalTime::new(1_783_213_507, 120_000_000, 28_800, "CST")
}

#[test]
fn each_conversion_of_the_table_shows_what_the_page_says() {
    let (_, _, page) = &pages()[1];
    let mut rows = 0;
    for line in blocks(page, "LANGUAGE").concat() {
        let (format, rest) = line.split_at(8);
        let format = Format::parse(format.trim_end().as_bytes()).expect(&line);
        let mut room = [0; 64];
        let length = format.render(&shown(), &mut room).expect(&line);
        let text = std::str::from_utf8(&room[..length]).expect("UTF-8");
        let expected = if text.trim().is_empty() { "" } else { text };
        assert!(
            rest.strip_prefix(expected)
                .is_some_and(|rest| rest.starts_with("  ")),
            "{line:?} shows {text:?}"
        );
        // What it is said to be the same as.
        if let Some((_, same)) = line.split_once("the same as ") {
            let same = same.trim_end_matches(" (chrono)");
            let same = Format::parse(same.as_bytes()).expect(&line);
            let mut room = [0; 64];
            let length = same.render(&shown(), &mut room).expect(&line);
            assert_eq!(&room[..length], text.as_bytes(), "{line}");
        }
        rows += 1;
    }
    assert!(rows > 60, "{rows} rows");
}

#[test]
fn the_page_has_every_conversion_there_is() {
    let (_, _, page) = &pages()[1];
    let told = blocks(page, "LANGUAGE").concat().join("\n");
    let known = |format: &str| Format::parse(format.as_bytes()).is_ok();
    for letter in (b' '..0x7f).map(char::from).filter(|c| !c.is_ascii_digit()) {
        for format in [
            format!("%{letter}"),
            format!("%:{letter}"),
            format!("%::{letter}"),
            format!("%:::{letter}"),
            format!("%.{letter}"),
            format!("%3{letter}"),
            format!("%.3{letter}"),
            format!("%.6{letter}"),
            format!("%.9{letter}"),
        ] {
            // A width is the flags' matter, but where it is the name of a conversion.
            let by_width = format.starts_with("%3") && !matches!(letter, 'f' | 'N');
            assert!(
                !known(&format) || by_width || told.contains(&format),
                "{format} is known and not told of"
            );
        }
    }
    // The pairs that are refused.
    let language = plain(&section(page, "LANGUAGE").join("\n"));
    for modifier in ["E", "O"] {
        let refused: String = ('!'..='~')
            .filter(|letter| known(&format!("%{letter}")) && !matches!(letter, 'f' | 'v' | '+'))
            .filter(|letter| !known(&format!("%{modifier}{letter}")))
            .collect();
        let mut told: Vec<_> = language
            .lines()
            .skip_while(|line| *line != format!(".B {modifier}"))
            .nth(2)
            .expect("a line with letters")
            .chars()
            .filter(char::is_ascii_alphabetic)
            .skip_while(|letter| *letter != 'a')
            .collect();
        told.sort_unstable();
        assert_eq!(told.iter().collect::<String>(), refused, "{modifier}");
    }
    assert!(known("%E:z") && !known("%O:z"));
}

#[test]
fn the_page_has_the_error_answers_and_the_limits_that_there_are() {
    let (_, _, page) = &pages()[1];
    let told = blocks(page, "PROTOCOL");
    let errors: Vec<_> = [
        ErrorReason::RequestTooLong,
        ErrorReason::Format(FormatError::Unknown {
            at: 9,
            character: 'Q',
        }),
        ErrorReason::Format(FormatError::CutOff { at: 9 }),
        ErrorReason::Format(FormatError::NotUtf8 { at: 9 }),
        ErrorReason::Format(FormatError::Nul { at: 9 }),
        ErrorReason::ResponseTooLong,
        ErrorReason::NotSynchronised,
    ]
    .map(|reason| format!("error: {reason}"))
    .into();
    assert_eq!(told[0], errors);
    let percent = FormatError::Unknown {
        at: 0,
        character: '%',
    };
    let page = plain(page);
    for text in [
        percent.to_string().split(' ').next_back().expect("a word"),
        &format!("Longer than {MAX_REQUEST_LEN} bytes"),
        &format!("at most {MAX_RESPONSE_LEN}."),
        "+ 56 bytes",
        "3 times the question and 56 bytes more",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert_eq!(max_response_len(100), 3 * 100 + 56);
    let client = plain(&pages()[0].2);
    assert!(client.contains(&format!("at most {MAX_FORMAT_LEN} bytes")));
}

#[test]
fn the_page_has_the_keys_of_the_json_object() {
    let (_daemon, address) = daemon();
    let output = patient_wallclock()
        .args(["--json", "-s", &address.to_string()])
        .output()
        .expect("it runs");
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let keys = |value: &serde_json::Value| -> BTreeSet<String> {
        value
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect()
    };
    let mut real = keys(&object);
    real.append(&mut keys(&object["servers"][0]));
    let lines = section(&pages()[0].2, "OUTPUT").join("\n");
    let (_, items) = lines.split_once(".RS\n").expect("a list of keys");
    let (items, _) = items
        .split_once(".TP\n.BR \\-\\-warn")
        .expect("what follows it");
    let mut told = BTreeSet::new();
    let mut after_item = false;
    for line in items.lines() {
        if after_item {
            let names = line.split_once(' ').expect("a macro").1;
            told.extend(names.split(" \", \" ").map(str::to_owned));
        }
        after_item = line == ".TP";
    }
    assert_eq!(told, real);
}

/// Skips where there is no netcat that ends by `-w` as those of Debian's two packages do.
fn lacks_netcat() -> bool {
    if lacks(&["nc"]) {
        return true;
    }
    let output = Command::new("nc").arg("-h").stdin(Stdio::null()).output();
    let output = output.expect("it runs");
    let about = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let lacks = !about.contains("OpenBSD netcat") && !about.starts_with("[v1.10");
    if lacks {
        skip("no nc that is known (Debian package netcat-openbsd)");
    }
    lacks
}

/// A network and a name service of one's own, in which the examples can be run as they are printed.
struct Stage {
    folder: PathBuf,
}

impl Stage {
    fn set() -> Option<Stage> {
        if lacks_namespaces()
            || lacks(&["ip", "mount", "grep", "bash"])
            || lacks_netcat()
            || lacks_ipv6()
        {
            return None;
        }
        let folder = folder("stage");
        fs::write(
            folder.join("hosts"),
            "127.0.0.1 localhost\n10.0.0.7 clock.example\n",
        )
        .expect("hosts");
        let stage = Stage { folder };
        let binary = |name| match name {
            "wallclock" => env!("CARGO_BIN_EXE_wallclock"),
            _ => env!("CARGO_BIN_EXE_wallclockd"),
        };
        stage.script(
            "wallclock",
            &format!("exec '{}' \"$@\"", binary("wallclock")),
        );
        // Its log goes where the stage can see when it answers.
        stage.script(
            "wallclockd",
            &format!(
                "RUST_LOG=info exec '{}' \"$@\" 2>>\"$STAGE_LOG\"",
                binary("wallclockd")
            ),
        );
        // Nobody's clock is set by a test.
        stage.script(
            "date",
            "case $1$2 in -s@[1-9]*.[0-9]*) ;; *) exit 1 ;; esac",
        );
        Some(stage)
    }

    fn script(&self, name: &str, line: &str) {
        let path = self.folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n{line}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
    }

    /// What each of these commands prints, in one shell, and the log of its daemons.
    fn play(&self, number: usize, commands: &[String]) -> (Vec<String>, String) {
        let log = self.folder.join(format!("{number}.log"));
        fs::write(&log, "").expect("a log");
        let mut script = format!(
            "mount --bind '{}/hosts' /etc/hosts\nip link set lo up\n\
             ip address add 10.0.0.7/32 dev lo\nip address add fd00:7::10/128 dev lo nodad\n\
             trap 'kill $(jobs -p)' EXIT\n",
            self.folder.display()
        );
        for command in commands {
            script.push_str(command);
            let daemons = command.matches("wallclockd").count();
            if command.contains('&') && daemons > 0 {
                script.push_str(&format!(
                    "\nonline=$((online + {daemons}))\n\
                     until [ \"$(grep -c 'listening on' \"$STAGE_LOG\")\" -ge \"$online\" ]; do sleep 0.01; done"
                ));
            }
            // The next command may ask for this one's status.
            script.push_str("\nstatus=$?; printf '\\001'; (exit $status)\n");
        }
        let path = format!(
            "{}:{}",
            self.folder.display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let mut bash = wallclock();
        let settings: Vec<_> = bash.get_envs().map(|(name, _)| name.to_owned()).collect();
        bash = Command::new("timeout");
        for name in settings {
            bash.env_remove(name);
        }
        let output = bash
            .args([HANG, "unshare", "--net", "--mount", "bash", "-c"])
            .arg(format!("exec 2>&1\n{script}"))
            .env("PATH", path)
            .env("STAGE_LOG", &log)
            .env("TZ", "CST-8")
            .stdin(Stdio::null())
            .output()
            .expect("it runs");
        let printed = String::from_utf8(output.stdout).expect("UTF-8");
        let parts = printed.split('\u{1}').map(str::to_owned).collect();
        (parts, fs::read_to_string(log).expect("a log"))
    }
}

/// A text in which all numbers are alike, and all days, months and small units: the time goes on.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = |is: fn(char) -> bool| rest.find(|c| !is(c)).unwrap_or(rest.len());
        let length = if first.is_ascii_digit() {
            if shape.ends_with(['+', '-']) {
                shape.pop();
                shape.push('±');
            }
            shape.push('9');
            end(|c| c.is_ascii_digit() || c == '.')
        } else if first.is_alphabetic() {
            let length = end(char::is_alphabetic);
            shape.push_str(match &rest[..length] {
                day if day.ends_with("day") => "day",
                month if month.parse::<chrono::Month>().is_ok() => "month",
                "ns" | "us" | "ms" => "us",
                word => word,
            });
            length
        } else if first == ' ' {
            shape.push(' ');
            end(|c| c == ' ')
        } else {
            shape.push(first);
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    shape
}

/// Plays an example, and again where an answer did not come in time: only that depends on the
/// machine.
fn played(stage: &Stage, number: usize, commands: &[String]) -> (Vec<String>, String) {
    let mut plays = 0;
    loop {
        plays += 1;
        let (printed, log) = stage.play(number, commands);
        assert_eq!(
            printed.len(),
            commands.len() + 1,
            "{commands:?}: {printed:?}"
        );
        let late = commands.iter().zip(&printed).any(|(command, printed)| {
            printed.contains("no response within")
                || command.contains("nc -u") && printed.is_empty()
        });
        if !late || plays == PLAYS {
            return (printed, log);
        }
        println!("played again: {commands:?}: {printed:?}");
    }
}

#[test]
fn each_example_of_the_pages_prints_what_the_page_says() {
    let Some(stage) = Stage::set() else { return };
    let mut number = 0;
    for (name, _, page) in pages() {
        for block in blocks(&page, "EXAMPLES") {
            number += 1;
            // The client's page takes it for granted that somebody answers.
            let server = (name == "wallclock.1").then(|| "wallclockd -l '[::]' &".to_owned());
            let mut commands: Vec<_> = server.into_iter().collect();
            let mut expected = vec![String::new(); commands.len()];
            for line in &block {
                match line.strip_prefix("$ ").or_else(|| line.strip_prefix("# ")) {
                    Some(command) => {
                        commands.push(command.to_owned());
                        expected.push(String::new());
                    }
                    None => {
                        let last = expected.last_mut().expect("a command comes first");
                        last.push_str(line);
                        last.push('\n');
                    }
                }
            }
            let (printed, log) = played(&stage, number, &commands);
            for ((command, expected), printed) in commands.iter().zip(&expected).zip(&printed) {
                // nc ends its line no more than the answer does.
                let (expected, printed_shape) =
                    (shape(expected.trim_end()), shape(printed.trim_end()));
                let same = match expected.strip_suffix("...") {
                    Some(start) => printed_shape.starts_with(start),
                    None => printed_shape == expected,
                };
                assert!(same, "{command}\nprints\n{printed}\nnot\n{block:#?}\n{log}");
            }
            if block.iter().any(|line| line.contains("-USR1")) {
                assert!(log.contains("answered=0 refused=0"), "{log}");
            }
        }
    }
    assert!(number >= 12, "{number} examples");
}

#[test]
fn the_small_clients_of_the_page_get_the_time_and_know_a_refusal() {
    let (mut daemon, address) = daemon();
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let built = folder("clients").join("ask");
    let (mut asked, mut again) = (0, 0);
    for (tools, program) in [
        (&["nc"][..], "sh ask.sh"),
        (&["python3"], "python3 ask.py"),
        (&["cc"], "ask.c"),
    ] {
        if lacks(tools) || tools.contains(&"nc") && lacks_netcat() {
            continue;
        }
        let command = || {
            let Some((interpreter, file)) = program.split_once(' ') else {
                return Command::new(&built);
            };
            let mut command = Command::new(interpreter);
            command.arg(clients.join(file));
            command
        };
        if program == "ask.c" {
            let made = Command::new("cc")
                .args(["-Wall", "-Wextra", "-Werror", "-o"])
                .arg(&built)
                .arg(clients.join(program))
                .status();
            assert!(made.expect("cc runs").success());
        }
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let mut ask = |format: &str| {
            let mut plays = 0;
            loop {
                plays += 1;
                let output = command().args([&host, &port, format]).output();
                let output = output.expect("it runs");
                // Each waits for a second and ends in its own way: with nothing told, by an
                // exception, by SIGALRM.
                let said = String::from_utf8_lossy(&output.stderr);
                let late = said == "no time: \n"
                    || said.contains("TimeoutError")
                    || output.status.signal() == Some(libc::SIGALRM);
                if !late || plays == PLAYS {
                    return output;
                }
                again += 1;
            }
        };
        let output = ask("%Y 100%% %Z");
        let printed = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(
            output.status.success() && printed.ends_with(" 100% UTC\n") && printed.len() == 14,
            "{program}: {printed:?}"
        );
        let output = ask("%Q");
        let told = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(
            !output.status.success() && told.contains("unknown conversion Q"),
            "{program}: {told}"
        );
        asked += 1;
    }
    let [answered, refused, ..] = counters(&mut daemon);
    let expected = asked..=asked + again;
    assert!(
        expected.contains(&answered) && expected.contains(&refused),
        "{answered}, {refused}, {expected:?}"
    );
}

/// What a shell prints that runs this script, in which FILE stands for the completions of a program.
fn complete(shell: &str, program: &str, script: &str) -> Option<String> {
    if lacks(&[shell]) {
        return None;
    }
    let command = match program {
        "wallclock" => wallclock(),
        _ => wallclockd(),
    };
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = folder("completions").join(format!("{number}.{shell}"));
    fs::write(&path, generated(command, shell)).expect("it is written");
    let script = script.replace("FILE", &path.display().to_string());
    let plain = match shell {
        "bash" => &["--norc", "--noprofile"][..],
        "zsh" => &["-f"],
        _ => &["--no-config"],
    };
    let output = Command::new("timeout")
        .arg(HANG)
        .arg(shell)
        .args(plain)
        .args(["-c", &script])
        .env("TERM", "dumb")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{shell} {program}: {output:?}"
    );
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program, what is typed before TAB, and what must be offered then.
const TYPED: [(&str, &str, &str, &str); 5] = [
    ("wallclockd", "", "--li", "--listen"),
    ("wallclockd", "--generate", "z", "zsh"),
    ("wallclockd", "-l 127.0.0.1", "--req", "--require-sync"),
    ("wallclock", "", "--off", "--offset"),
    (
        "wallclock",
        "--watch=1 --chrony",
        "/proc/cpuin",
        "/proc/cpuinfo",
    ),
];

#[test]
fn bash_completes_options_and_values() {
    for (program, before, typed, offered) in TYPED {
        let words = format!("{program} {before} {typed}");
        let script = format!(
            "source FILE; complete -p {program} >/dev/null || exit; compopt() {{ :; }}\n\
             COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _{program} {program} '{typed}' \"${{COMP_WORDS[COMP_CWORD - 1]}}\"\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let Some(said) = complete("bash", program, &script) else {
            return;
        };
        assert!(said.lines().any(|line| line == offered), "{words}: {said}");
    }
}

#[test]
fn fish_completes_options_and_values() {
    for (program, before, typed, offered) in TYPED {
        let words = format!("{program} {before} {typed}");
        let script = format!("source FILE; complete -C '{words}'");
        let Some(said) = complete("fish", program, &script) else {
            return;
        };
        assert!(
            said.lines()
                .any(|line| line.split('\t').next() == Some(offered)),
            "{words}: {said}"
        );
    }
}

/// What zsh shows from TAB to the line that it has become, which the program's stand-in tells between < and >.
fn tab_in_zsh(program: &str, typed: &str) -> Option<String> {
    let script = format!(
        "zmodload zsh/zpty; zpty z zsh -f -i\n\
         zpty -w z 'PROMPT=; unsetopt beep; autoload -Uz compinit && compinit -u -D; source FILE'\n\
         zpty -w z '{program}() {{ print -r -- \"<$*>\" }}; print rea\"\"dy'\n\
         zpty -r -m z said '*ready*'\n\
         zpty -w z $'{program} {typed}\\t'\n\
         zpty -r -m z said '*<*>*'; print -r -- $said"
    );
    complete("zsh", program, &script)
}

#[test]
fn zsh_completes_options_and_values() {
    for (program, before, typed, offered) in TYPED {
        let words = format!("{before} {typed}");
        let Some(said) = tab_in_zsh(program, &words) else {
            return;
        };
        let line = said
            .split_once('<')
            .and_then(|(_, rest)| rest.split_once('>'))
            .map(|(line, _)| line)
            .unwrap_or_default();
        let last = line.split(' ').next_back().unwrap_or_default();
        assert_eq!(last.trim_end_matches('='), offered, "{words}: {said}");
    }
}

#[test]
fn zsh_takes_no_value_name_for_a_command() {
    // What follows the message is run; behind the first colon of ADDR:PORT that would be PORT.
    for (program, typed) in [("wallclockd", "--listen "), ("wallclock", "--server ")] {
        let Some(said) = tab_in_zsh(program, typed) else {
            return;
        };
        assert!(!said.contains("not found"), "{said}");
    }
}

#[test]
fn a_process_that_only_generates_says_nothing_else() {
    let mut process = Process::start(
        wallclockd()
            .args(["--generate", "man"])
            .stdout(Stdio::null()),
    );
    assert!(process.wait().success());
    assert!(process.said().is_empty(), "{:?}", process.log);
}

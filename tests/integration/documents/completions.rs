//! The completions of bash, zsh and fish, in the shells themselves.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use support::{Process, skip_without, wallclock, wallclockd};

use super::pages::{SHELL_TIMEOUT, generate, make_dir};

/// A program, the words before the last one, the start of the last one, and a completion of it.
const CASES: [(&str, &str, &str, &str); 5] = [
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

/// Runs a script in which FILE is the completions of a program. Returns what the shell prints.
fn run_shell(shell: &str, program: &str, script: &str) -> Option<String> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    if skip_without(&[shell]) {
        return None;
    }
    let command = match program {
        "wallclock" => wallclock(),
        _ => wallclockd(),
    };
    let no_settings = match shell {
        "bash" => &["--norc", "--noprofile"][..],
        "zsh" => &["-f"],
        _ => &["--no-config"],
    };
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let file = make_dir("completions").join(format!("{number}.{shell}"));
    fs::write(&file, generate(command, shell)).expect("a file");
    let output = Command::new("timeout")
        .args([SHELL_TIMEOUT, shell])
        .args(no_settings)
        .args(["-c", &script.replace("FILE", &file.display().to_string())])
        .env("TERM", "dumb")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .expect("the shell starts");
    assert!(output.status.success(), "{shell} {program}: {output:?}");
    assert!(output.stderr.is_empty(), "{shell} {program}: {output:?}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn bash_completes_options_and_values() {
    for (program, before, start, expected) in CASES {
        let words = format!("{program} {before} {start}");
        let script = format!(
            "source FILE; complete -p {program} >/dev/null || exit; compopt() {{ :; }}\n\
             COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _{program} {program} '{start}' \"${{COMP_WORDS[COMP_CWORD - 1]}}\"\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let Some(printed) = run_shell("bash", program, &script) else {
            return;
        };
        let mut completions = printed.lines();
        assert!(
            completions.any(|line| line == expected),
            "{words}: {printed}"
        );
    }
}

#[test]
fn fish_completes_options_and_values() {
    for (program, before, start, expected) in CASES {
        let words = format!("{program} {before} {start}");
        let script = format!("source FILE; complete -C '{words}'");
        let Some(printed) = run_shell("fish", program, &script) else {
            return;
        };
        let mut completions = printed.lines().filter_map(|line| line.split('\t').next());
        assert!(
            completions.any(|word| word == expected),
            "{words}: {printed}"
        );
    }
}

/// Types words and TAB in an interactive zsh. Returns what the terminal shows, with the completed
/// words between < and >: they are printed by a function with the name of the program.
fn complete_in_zsh(program: &str, words: &str) -> Option<String> {
    let script = format!(
        "zmodload zsh/zpty; zpty z zsh -f -i\n\
         zpty -w z 'PROMPT=; unsetopt beep; autoload -Uz compinit && compinit -u -D; source FILE'\n\
         zpty -w z '{program}() {{ print -r -- \"<$*>\" }}; print rea\"\"dy'\n\
         zpty -r -m z shown '*ready*'\n\
         zpty -w z $'{program} {words}\\t'\n\
         zpty -r -m z shown '*<*>*'; print -r -- $shown"
    );
    run_shell("zsh", program, &script)
}

#[test]
fn zsh_completes_options_and_values() {
    for (program, before, start, expected) in CASES {
        let words = format!("{before} {start}");
        let Some(shown) = complete_in_zsh(program, &words) else {
            return;
        };
        let (_, completed) = shown.split_once('<').expect(&shown);
        let (completed, _) = completed.split_once('>').expect(&shown);
        let last = completed.split(' ').next_back().unwrap_or_default();
        assert_eq!(last.trim_end_matches('='), expected, "{words}: {shown}");
    }
}

// zsh runs what follows the message of an argument: after the first colon of ADDR:PORT that would
// be PORT.
#[test]
fn zsh_runs_no_value_name_as_a_command() {
    for (program, words) in [("wallclockd", "--listen "), ("wallclock", "--server ")] {
        let Some(shown) = complete_in_zsh(program, words) else {
            return;
        };
        assert!(!shown.contains("not found"), "{shown}");
    }
}

#[test]
fn generate_logs_nothing() {
    let mut command = wallclockd();
    command.args(["--generate", "man"]).stdout(Stdio::null());
    let mut process = Process::start(&mut command);
    assert!(process.wait().success());
    assert!(process.log_lines().is_empty(), "{:?}", process.log);
}

//! The command line as both programs read it: an empty variable is no variable, and wrong usage is told in one line.

use std::process::ExitCode;

use clap::{Command, Parser};

/// The exit status of wrong usage.
pub const USAGE: u8 = 2;

/// The options, out of the arguments of this process and its environment. `--help` and `--version` print and end it.
///
/// # Errors
///
/// [`USAGE`], after one line on stderr that says what is wrong.
pub fn read<A: Parser>() -> Result<A, ExitCode> {
    let command = without_empty_variables(A::command());
    let name = command.get_name().to_owned();
    let read = command
        .try_get_matches()
        .and_then(|mut matches| A::from_arg_matches_mut(&mut matches));
    read.map_err(|wrong| {
        if !wrong.use_stderr() {
            wrong.exit();
        }
        eprintln!("{name}: {}", one_line(&wrong));
        ExitCode::from(USAGE)
    })
}

/// `NAME=` in an EnvironmentFile is how an admin takes a setting back, where clap would read an empty value.
fn without_empty_variables(command: Command) -> Command {
    command.mut_args(|option| {
        let empty = option
            .get_env()
            .and_then(std::env::var_os)
            .is_some_and(|value| value.is_empty());
        if empty { option.env(None) } else { option }
    })
}

/// What is wrong with the usage, without the tips and the reminder of --help that clap puts in further paragraphs.
fn one_line(wrong: &clap::Error) -> String {
    let text = wrong.render().to_string();
    let what = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = what
        .trim_start_matches("error: ")
        .split_whitespace()
        .collect();
    words.join(" ")
}

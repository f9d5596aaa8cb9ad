//! Parses the command line and the environment variables of the options.

use clap::{Command, Parser};

/// The exit status for wrong usage.
pub const USAGE_STATUS: u8 = 2;

/// The option whose variable must not be empty: without it, `wallclockd` answers all networks, and
/// an empty list of networks is not meant to.
const NEVER_EMPTY: &str = "allow";

/// Why the program does not run.
#[derive(Debug)]
pub enum ArgsError {
    /// `--help` or `--version`: holds the text to print. The exit status is 0.
    Help(clap::Error),
    /// Wrong usage: holds one line that describes it. The exit status is [`USAGE_STATUS`].
    Usage(String),
}

/// Parses the arguments and environment variables of this process.
///
/// A variable that is set but empty counts as not set, but for that of `--allow`: it is an error.
///
/// # Errors
///
/// See [`ArgsError`].
pub fn parse_args<A: Parser>() -> Result<A, ArgsError> {
    without_empty_variables(A::command())
        .try_get_matches()
        .and_then(|mut matches| A::from_arg_matches_mut(&mut matches))
        .map_err(|error| {
            if error.use_stderr() {
                ArgsError::Usage(one_line(&error))
            } else {
                ArgsError::Help(error)
            }
        })
}

/// Removes the variables that are empty from the options, because clap would parse the empty value.
///
/// In an EnvironmentFile, `NAME=` restores the default.
fn without_empty_variables(command: Command) -> Command {
    command.mut_args(|option| {
        let empty = option.get_id() != NEVER_EMPTY
            && option
                .get_env()
                .and_then(std::env::var_os)
                .is_some_and(|value| value.is_empty());
        if empty { option.env(None) } else { option }
    })
}

/// Returns the first paragraph of clap's message as one line. The others hold tips and a reminder
/// of `--help`.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let message = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = message
        .trim_start_matches("error: ")
        .split_whitespace()
        .collect();
    words.join(" ")
}

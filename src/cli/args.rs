//! Parses the command line and the environment variables of the options.

use std::env;
use std::error::Error as _;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Command, Parser};

use crate::error::printable;

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
    /// Wrong usage: holds one line that describes it, and names the variable and its value if that
    /// is at fault. The exit status is [`USAGE_STATUS`].
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
    let command = without_empty_variables(A::command());
    command
        .clone()
        .try_get_matches()
        .and_then(|mut matches| A::from_arg_matches_mut(&mut matches))
        .map_err(|error| {
            if error.use_stderr() {
                let line = variable_error(&command, error.kind());
                let line = line.unwrap_or_else(|| one_line(&error));
                ArgsError::Usage(printable(line.as_bytes()))
            } else {
                ArgsError::Help(error)
            }
        })
}

/// Describes the variable whose value causes an error of this kind, `NAME=value: reason`. Returns
/// `None` if the command line alone causes one.
fn variable_error(command: &Command, kind: ErrorKind) -> Option<String> {
    let is_of_values = matches!(
        kind,
        ErrorKind::InvalidUtf8 | ErrorKind::InvalidValue | ErrorKind::ValueValidation
    );
    let without_variables = command.clone().mut_args(|option| option.env(None));
    let is_of_command_line = without_variables
        .try_get_matches()
        .is_err_and(|error| error.kind() == kind);
    if !is_of_values || is_of_command_line {
        return None;
    }
    command.get_arguments().find_map(|option| {
        let variable = option.get_env()?;
        let value = env::var_os(variable)?;
        let only_this = command.clone().mut_args(|other| {
            if other.get_id() == option.get_id() {
                other
            } else {
                other.env(None)
            }
        });
        let error = only_this
            .try_get_matches_from([command.get_name()])
            .err()
            .filter(|error| error.kind() == kind)?;
        let reason = match error.source() {
            _ if kind == ErrorKind::InvalidUtf8 => "not UTF-8".to_owned(),
            Some(reason) => reason.to_string(),
            None => one_line(&error),
        };
        let value = printable(value.as_bytes());
        Some(format!("{}={value}: {reason}", variable.display()))
    })
}

/// Returns the variable that this option's value comes from, as `NAME=value`; `None` if the command
/// line has the option, or if neither has it.
pub fn variable_of<A: Parser>(option: &str) -> Option<String> {
    let command = without_empty_variables(A::command());
    let matches = command.clone().try_get_matches().ok()?;
    let is_from_variable = matches.value_source(option) == Some(ValueSource::EnvVariable);
    let mut options = command.get_arguments();
    let option = options.find(|it| is_from_variable && it.get_id() == option)?;
    let name = option.get_env()?;
    Some(format!(
        "{}={}",
        name.display(),
        env::var_os(name)?.display()
    ))
}

/// Describes the environment variables that have the prefix of the program's, but name no option:
/// one line for each.
pub fn unknown_variables<A: Parser>(prefix: &str) -> Vec<String> {
    let command = A::command();
    let known: Vec<_> = command
        .get_arguments()
        .filter_map(|option| option.get_env().and_then(OsStr::to_str))
        .collect();
    env::vars_os()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with(prefix) && !known.contains(&name.as_str()))
        .map(|name| {
            let suggestion = nearest(&name, &known, prefix.len());
            let suggestion = suggestion.map_or(String::new(), |known| format!("; {known} is one"));
            let name = printable(name.as_bytes());
            format!("{name} is ignored: no such option{suggestion}")
        })
        .collect()
}

/// Returns the known name that differs from this one in few letters, if there is one.
fn nearest<'a>(name: &str, known: &[&'a str], prefix_len: usize) -> Option<&'a str> {
    known
        .iter()
        .map(|known| (strsim::osa_distance(name, known), *known))
        .filter(|(distance, known)| 3 * distance <= known.len() - prefix_len)
        .min()
        .map(|(_, known)| known)
}

/// Removes the variables that are empty from the options, because clap would parse the empty value.
///
/// In an EnvironmentFile, `NAME=` restores the default.
fn without_empty_variables(command: Command) -> Command {
    command.mut_args(|option| {
        let empty = option.get_id() != NEVER_EMPTY
            && option
                .get_env()
                .and_then(env::var_os)
                .is_some_and(|value| value.is_empty());
        if empty { option.env(None) } else { option }
    })
}

/// Returns the first paragraph of clap's message and its tips as one line. The rest is a reminder
/// of `--help`. The tip to pass an unknown option as a value is left out: it is never meant so.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let message = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = message
        .trim_start_matches("error: ")
        .split_whitespace()
        .collect();
    let mut line = words.join(" ");
    let tips = text.lines().filter_map(|line| line.strip_prefix("  tip: "));
    for tip in tips.filter(|tip| !tip.starts_with("to pass ")) {
        line.push_str("; ");
        line.push_str(tip);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name_differs_in_few_letters() {
        let known = ["P_UTC", "P_LISTEN", "P_REQUIRE_SYNC"];
        for (name, expected) in [
            ("P_UCT", Some("P_UTC")),
            ("P_LISTN", Some("P_LISTEN")),
            ("P_REQUIRE_SNYC", Some("P_REQUIRE_SYNC")),
            ("P_CPU", None),
            ("P_SYNC_FILE", None),
            ("P_", None),
        ] {
            assert_eq!(nearest(name, &known, 2), expected, "{name}");
        }
    }
}

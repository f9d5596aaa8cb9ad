//! The COMMAND that this process becomes when a wait is over.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::{Access, access};

/// Where execvp(3) looks without a PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The exit status of what fails before the command is run, as timeout(1) has it.
pub const FAILURE_STATUS: u8 = 125;

/// Returns whether these arguments, which are wrong, ask for a wait and have a command.
pub fn is_given(arguments: impl Iterator<Item = OsString>) -> bool {
    let is_wait = |argument: &OsString| {
        let argument = argument.as_bytes();
        argument.starts_with(b"--until") || argument.starts_with(b"--wait-sync")
    };
    let mut arguments = arguments.fuse();
    let has_wait = arguments
        .by_ref()
        .take_while(|it| it != "--")
        .filter(is_wait)
        .count()
        > 0;
    has_wait && arguments.next().is_some()
}

/// Why the command can't be run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such file.
    #[error("{}: command not found", .0.display())]
    NotFound(OsString),
    /// It exists, and this process may not execute it.
    #[error("{}: not executable", .0.display())]
    NotExecutable(OsString),
    /// execve(2) failed.
    #[error("execute {}", .0.display())]
    Exec(OsString, #[source] io::Error),
}

impl CommandError {
    /// Returns the exit status, that of env(1) and timeout(1).
    pub fn status(&self) -> u8 {
        match self {
            CommandError::NotFound(_) => 127,
            CommandError::Exec(_, error) if error.kind() == io::ErrorKind::NotFound => 127,
            CommandError::NotExecutable(_) | CommandError::Exec(..) => 126,
        }
    }
}

/// A command that can be executed. All that execve(2) needs is prepared before the wait.
pub struct PreparedCommand(Option<process::Command>);

impl PreparedCommand {
    /// Prepares a command: the program and its arguments, or nothing.
    pub fn new(command: &[OsString]) -> Result<Self, CommandError> {
        let Some((name, arguments)) = command.split_first() else {
            return Ok(Self(None));
        };
        let candidates = candidates(name);
        if candidates.iter().any(|path| is_executable(path)) {
            let mut command = process::Command::new(name);
            command.args(arguments);
            Ok(Self(Some(command)))
        } else if candidates.iter().any(|path| path.exists()) {
            Err(CommandError::NotExecutable(name.clone()))
        } else {
            Err(CommandError::NotFound(name.clone()))
        }
    }

    /// Becomes the command. Without one it returns the status of success.
    pub fn exec(self) -> Result<u8, CommandError> {
        let Some(mut command) = self.0 else {
            return Ok(0);
        };
        let error = command.exec();
        Err(CommandError::Exec(command.get_program().to_owned(), error))
    }
}

/// Returns the files that execvp(3) tries.
fn candidates(name: &OsStr) -> Vec<PathBuf> {
    if name.is_empty() {
        return Vec::new();
    }
    if name.as_bytes().contains(&b'/') {
        return vec![name.into()];
    }
    let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let directories = env::split_paths(&path);
    directories.map(|directory| directory.join(name)).collect()
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

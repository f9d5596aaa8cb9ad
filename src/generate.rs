//! Manual pages and shell completions out of the programs' own definitions (`--generate`).

use std::io;

use clap::{Command, ValueEnum};
use clap_complete::Shell;

/// What can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// The manual page, for man(1).
    Man,
    /// Completions for bash.
    Bash,
    /// Completions for zsh.
    Zsh,
    /// Completions for fish.
    Fish,
}

/// Which section of the manual a program's page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// User commands.
    User,
    /// System administration.
    Admin,
}

/// Generates it for a program.
///
/// # Errors
///
/// Those of writing to `out`.
pub fn generate(
    what: What,
    mut command: Command,
    section: Section,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let shell = match what {
        What::Man => {
            let number = match section {
                Section::User => "1",
                Section::Admin => "8",
            };
            return clap_mangen::Man::new(command).section(number).render(out);
        }
        What::Bash => Shell::Bash,
        What::Zsh => Shell::Zsh,
        What::Fish => Shell::Fish,
    };
    let name = command.get_name().to_owned();
    // clap_complete panics where it can't write, so not to a stream that may close.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    out.write_all(&script)
}

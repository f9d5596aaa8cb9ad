//! Generates manual pages and shell completions from the programs' own definitions (`--generate`).

use std::io;

use clap::{Command, ValueEnum};
use clap_complete::Shell;

/// What to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GenerateMode {
    /// The manual page, for man(1).
    Man,
    /// Completions for bash.
    Bash,
    /// Completions for zsh.
    Zsh,
    /// Completions for fish.
    Fish,
}

/// The manual page of a program.
///
/// Its text is in `src/cli/manual`, in the language of man(7). Only the options come from the
/// program's definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManualPage {
    /// wallclock(1)
    Client,
    /// wallclockd(8)
    Daemon,
}

/// The date of the last change to the text of the pages.
const DATE: &str = "2026-11-21";

impl ManualPage {
    fn section(self) -> &'static str {
        match self {
            ManualPage::Client => "1",
            ManualPage::Daemon => "8",
        }
    }

    fn text(self) -> &'static str {
        match self {
            ManualPage::Client => include_str!("manual/wallclock.man"),
            ManualPage::Daemon => include_str!("manual/wallclockd.man"),
        }
    }

    fn manual(self) -> &'static str {
        match self {
            ManualPage::Client => "User Commands",
            ManualPage::Daemon => "System Administration",
        }
    }
}

/// Generates the page or the completions of a program.
///
/// # Errors
///
/// Those of writing to `out`.
pub fn generate(
    mode: GenerateMode,
    command: Command,
    page: ManualPage,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    match mode {
        GenerateMode::Man => out.write_all(manual(command, page)?.as_bytes()),
        GenerateMode::Bash => out.write_all(&completions(Shell::Bash, command)),
        GenerateMode::Zsh => out.write_all(&completions(Shell::Zsh, with_colons_escaped(command))),
        GenerateMode::Fish => out.write_all(&completions(Shell::Fish, command)),
    }
}

fn completions(shell: Shell, mut command: Command) -> Vec<u8> {
    let name = command.get_name().to_owned();
    // clap_complete panics if a write fails. A write to memory does not fail.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}

/// Escapes the colons in value names such as `ADDR:PORT`.
///
/// clap_complete does so in help texts only. In zsh's `_arguments` a colon ends the message, and
/// the rest would be run as a command.
fn with_colons_escaped(command: Command) -> Command {
    command.mut_args(|option| {
        let names = option.get_value_names().unwrap_or_default();
        if names.iter().any(|name| name.contains(':')) {
            let escaped: Vec<_> = names.iter().map(|name| name.replace(':', "\\:")).collect();
            option.value_names(escaped)
        } else {
            option
        }
    })
}

/// Assembles a manual page.
fn manual(command: Command, page: ManualPage) -> io::Result<String> {
    let version = command.get_version().unwrap_or_default().to_owned();
    let man = clap_mangen::Man::new(command)
        .section(page.section())
        .date(DATE)
        .source(format!("wallclock {version}"))
        .manual(page.manual());
    let mut roff = Vec::new();
    man.render_title(&mut roff)?;
    let mut roff = text(roff);
    // No hyphenation, no justification: options, addresses and formats must not be broken.
    roff.push_str(".nr HY 0\n.ad l\n");
    include(page.text(), &options(&man)?, &mut roff);
    Ok(roff)
}

/// Appends a page's text, with each `.so` line replaced by the text that it names.
fn include(page: &str, options: &str, roff: &mut String) {
    for line in page.lines() {
        match line.strip_prefix(".so ") {
            Some("options") => roff.push_str(options),
            Some("protocol") => include(include_str!("manual/protocol.man"), options, roff),
            Some("language") => include(include_str!("manual/language.man"), options, roff),
            Some("ask.sh") => literal(include_str!("../../tests/clients/ask.sh"), roff),
            Some("ask.py") => literal(include_str!("../../tests/clients/ask.py"), roff),
            Some("ask.c") => literal(include_str!("../../tests/clients/ask.c"), roff),
            _ => {
                roff.push_str(line);
                roff.push('\n');
            }
        }
    }
}

/// Appends the text of a program, with the characters escaped that roff would interpret
/// (groff_char(7)).
fn literal(program: &str, roff: &mut String) {
    for line in program.lines() {
        if line.starts_with(['.', '\'']) {
            roff.push_str("\\&");
        }
        for character in line.chars() {
            match character {
                '\\' => roff.push_str("\\e"),
                '-' => roff.push_str("\\-"),
                '\'' => roff.push_str("\\(aq"),
                '^' => roff.push_str("\\(ha"),
                '~' => roff.push_str("\\(ti"),
                '`' => roff.push_str("\\(ga"),
                '\t' => roff.push_str("    "),
                _ => roff.push(character),
            }
        }
        roff.push('\n');
    }
}

/// Renders the options with clap_mangen, and corrects its output in three ways:
///
/// - An empty line between paragraphs, which man(7) leaves undefined, becomes `.sp`.
/// - Values in italics lose their angle brackets.
/// - Characters outside ASCII are escaped, because groff(1) reads them only after a conversion.
fn options(man: &clap_mangen::Man) -> io::Result<String> {
    let mut roff = Vec::new();
    man.render_options_section(&mut roff)?;
    let mut options = String::new();
    for line in text(roff).lines() {
        let line = match line {
            "" => ".sp",
            _ => &line.replace("\\fI<", "\\fI").replace(">\\fR", "\\fR"),
        };
        for character in line.chars() {
            if character.is_ascii() {
                options.push(character);
            } else {
                options.push_str(&format!("\\[u{:04X}]", u32::from(character)));
            }
        }
        options.push('\n');
    }
    Ok(options)
}

fn text(roff: Vec<u8>) -> String {
    String::from_utf8_lossy(&roff).into_owned()
}

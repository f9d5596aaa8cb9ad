//! Standard output and standard error. Nothing else in this program writes to them.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use log::Level;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;
use signal_hook::consts::SIGPIPE;
use signal_hook::low_level::emulate_default_handler;
use wallclock::cli::logging::journal_prefix;
use wallclock::error::{error_chain, printable};
use wallclock::protocol::MAX_RESPONSE_LEN;
use wallclock::report::Status;
use wallclock::strftime::Format;
use wallclock::time::LocalTime;

use crate::error::Error;

/// Writes to standard output, and flushes it.
pub fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    let result = check_is_writable()
        .and_then(|()| write(&mut out))
        .and_then(|()| out.flush());
    if let Err(error) = &result
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        // As date(1) ends when its reader is gone. Rust ignores the signal from the start.
        let _ = emulate_default_handler(SIGPIPE);
    }
    result.map_err(Error::Write)
}

/// Fails if standard output is open for reading only: Rust ignores that error.
fn check_is_writable() -> io::Result<()> {
    match fcntl_getfl(io::stdout())? & OFlags::RWMODE {
        OFlags::RDONLY => Err(Errno::BADF.into()),
        _ => Ok(()),
    }
}

/// Writes a line to standard output.
pub fn print_line(text: &[u8]) -> Result<(), Error> {
    print(|out| write_line(out, text))
}

/// Writes a line.
pub fn write_line(out: &mut dyn Write, text: &[u8]) -> io::Result<()> {
    out.write_all(text)?;
    out.write_all(b"\n")
}

/// Prints a server's response to a request with this format. On a terminal it is
/// [`printable`], but for the newlines and tabs of the format.
pub fn print_response(text: &[u8], format: &Format<'_>) -> Result<(), Error> {
    if io::stdout().is_terminal() {
        print_line(for_terminal(text, format).as_bytes())
    } else {
        print_line(text)
    }
}

/// Makes a response [`printable`], but for as many newlines and tabs as the format writes.
fn for_terminal(text: &[u8], format: &Format<'_>) -> String {
    let mut own = [0; MAX_RESPONSE_LEN];
    // Which time does not matter. What is longer than a response of wallclockd has no layout.
    let length = format.render(&LocalTime::new(0, 0, 0, "UTC"), &mut own);
    let own = &own[..length.unwrap_or(0)];
    let mut layout: Vec<_> = own.iter().copied().filter(is_layout).collect();
    let mut shown = String::new();
    for piece in text.split_inclusive(is_layout) {
        let kept = piece.last().filter(|last| is_layout(last));
        let kept = kept.and_then(|last| layout.iter().position(|byte| byte == last));
        match kept {
            Some(index) => {
                shown.push_str(&printable(&piece[..piece.len() - 1]));
                shown.push(char::from(layout.swap_remove(index)));
            }
            None => shown.push_str(&printable(piece)),
        }
    }
    shown
}

fn is_layout(byte: &u8) -> bool {
    matches!(byte, b'\n' | b'\t')
}

/// Prints the line of a monitoring plugin, with a priority if standard output is the journal.
/// Returns its status: UNKNOWN if it cannot be written.
pub fn print_status(status: Status, line: &str) -> u8 {
    let level = match status {
        Status::Ok => Level::Info,
        Status::Warning => Level::Warn,
        Status::Critical | Status::Unknown => Level::Error,
    };
    let mut out = io::stdout().lock();
    let prefix = journal_prefix(out.as_fd(), level);
    let written = check_is_writable()
        .and_then(|()| write_line(&mut out, format!("{prefix}{line}").as_bytes()));
    match written.and_then(|()| out.flush()) {
        Ok(()) => status as u8,
        // 1, the status of this error elsewhere, means WARNING. A reader that is gone is an error
        // like any other.
        Err(error) => {
            print_error(error_chain(&Error::Write(error)));
            Status::Unknown as u8
        }
    }
}

/// Writes an error to standard error, in one line.
pub fn print_error(message: impl Display) {
    print_message(Level::Error, message);
}

/// Writes to standard error, in one line, what is neither an error nor a warning.
pub fn print_info(message: impl Display) {
    print_message(Level::Info, message);
}

/// Writes a warning to standard error, in one line.
pub fn print_warning(message: impl Display) {
    print_message(Level::Warn, message);
}

/// Writes a line to standard error, with the priority of this level if that is the journal.
fn print_message(level: Level, message: impl Display) {
    let prefix = journal_prefix(io::stderr().as_fd(), level);
    show(&format!("{prefix}wallclock: {message}\n"));
}

/// Whether what would block is lost instead.
static LOSES: AtomicBool = AtomicBool::new(false);

/// From now on, what is written to standard error while that is blocked is lost: a wait must not
/// end late because nobody reads.
pub fn never_block() {
    LOSES.store(true, Ordering::Relaxed);
}

/// Writes to standard error. If that is full or closed, no place is left to report it, and the exit
/// status does not depend on it.
pub fn show(text: &str) {
    if LOSES.load(Ordering::Relaxed) {
        let stderr = io::stderr();
        let mut writable = [PollFd::new(&stderr, PollFlags::OUT)];
        if !matches!(poll(&mut writable, Some(&Timespec::default())), Ok(1)) {
            return;
        }
    }
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_layout_of_the_format_stays() {
        for (format, response, expected) in [
            ("%F%n%T", "a\nb", "a\nb"),
            ("%F\t%T", "a\tb\tc", "a\tb\\x09c"),
            ("%T", "a\nb", "a\\x0ab"),
            ("%3n%t", "  \n\t\n", "  \n\t\\x0a"),
            ("\x1b%T", "\x1b12", "\\x1b12"),
            ("%2000n", "\n", "\\x0a"),
        ] {
            let format = Format::parse(format.as_bytes()).expect(format);
            assert_eq!(for_terminal(response.as_bytes(), &format), expected);
        }
    }
}

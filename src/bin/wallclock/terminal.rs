//! What the terminal and the locale are able to show.

use std::borrow::Cow;
use std::env;
use std::ffi::OsString;
use std::os::fd::AsFd;

use rustix::process::getpgrp;
use rustix::termios::{tcgetpgrp, tcgetwinsize};
use wallclock::report::Size;

/// The size of a terminal that does not report one.
const DEFAULT_SIZE: Size = Size {
    columns: 80,
    rows: 24,
};

/// Deletes the line of the cursor, on a terminal that has a [`size`].
pub const CLEAR_LINE: &str = "\r\x1b[K";

/// Returns the size of the terminal that `output` is, as of now. Returns `None` if it is none, or
/// one that gets plain lines: without TERM, with TERM=dumb, or with NO_COLOR.
pub fn size(output: impl AsFd) -> Option<Size> {
    if variable("TERM").is_none_or(|term| term == "dumb") || variable("NO_COLOR").is_some() {
        return None;
    }
    let size = tcgetwinsize(output).ok()?;
    let or_default = |size: u16, default| match size {
        0 => default,
        size => usize::from(size),
    };
    Some(Size {
        columns: or_default(size.ws_col, DEFAULT_SIZE.columns),
        rows: or_default(size.ws_row, DEFAULT_SIZE.rows),
    })
}

/// Whether this process runs in the background of the terminal that `output` is: a line that it
/// keeps writing would overwrite what the user types.
pub fn is_in_background(output: impl AsFd) -> bool {
    tcgetpgrp(output).is_ok_and(|foreground| foreground != getpgrp())
}

/// Returns the text as the locale is able to show it: with `+/-` for `±` if that has no UTF-8.
pub fn localize(text: &str) -> Cow<'_, str> {
    // The order of POSIX. Without any of them the locale is C, which has only ASCII.
    let mut variables = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter();
    let locale = variables.find_map(variable);
    let is_utf8 = locale.is_some_and(|locale| is_utf8(&locale.to_string_lossy()));
    match is_utf8 {
        true => Cow::Borrowed(text),
        false => Cow::Owned(text.replace('±', "+/-")),
    }
}

/// Returns whether a locale, as in `en_GB.UTF-8@euro`, has UTF-8.
fn is_utf8(locale: &str) -> bool {
    let locale = locale.split('@').next().unwrap_or_default();
    let codeset = locale.rsplit('.').next().unwrap_or_default();
    ["utf-8", "utf8"].contains(&codeset.to_ascii_lowercase().as_str())
}

/// Returns the value of a variable that is set and not empty.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codeset_decides() {
        for (locale, expected) in [
            ("en_GB.UTF-8", true),
            ("C.utf8", true),
            ("de_AT.Utf-8@euro", true),
            ("UTF-8", true),
            ("C", false),
            ("POSIX", false),
            ("en_GB", false),
            ("de_AT.ISO-8859-15@euro", false),
            ("de_AT@utf8", false),
            ("", false),
        ] {
            assert_eq!(is_utf8(locale), expected, "{locale}");
        }
    }
}

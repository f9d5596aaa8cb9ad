//! Errors as one line of text.

use std::error::Error;

/// Joins an error and its causes, the outermost first:
/// `bind 127.0.0.1:9527: Address already in use`.
///
/// The number that the standard library adds to an error of the kernel is left out. Control
/// characters, which a variable or a file name can hold, are escaped.
pub fn error_chain(error: &dyn Error) -> String {
    let mut line = without_number(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&without_number(&error.to_string()));
        cause = error.source();
    }
    escape_control(&line)
}

/// Escapes the control characters of a text, so that it stays in its line and a terminal obeys none
/// of them.
pub fn escape_control(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            escaped.extend(character.escape_debug());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Removes ` (os error N)` from the end of a text.
fn without_number(text: &str) -> String {
    match text.rsplit_once(" (os error ") {
        Some((text, number)) if number.ends_with(')') => text.to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("bind 127.0.0.1:9527")]
    struct BindError(#[source] io::Error);

    #[test]
    fn causes_follow_their_error() {
        let error = BindError(io::Error::other("port in use"));
        assert_eq!(error_chain(&error), "bind 127.0.0.1:9527: port in use");
    }

    #[test]
    fn control_characters_are_escaped() {
        let error = BindError(io::Error::other("a\n\u{1b}[2J\u{9b}\u{7f} \"\u{e9}\\"));
        assert_eq!(
            error_chain(&error),
            "bind 127.0.0.1:9527: a\\n\\u{1b}[2J\\u{9b}\\u{7f} \"\u{e9}\\"
        );
    }

    #[test]
    fn numbers_of_the_kernel_are_left_out() {
        // The words are those of the C library.
        let error = io::Error::from_raw_os_error(libc::EADDRINUSE);
        let text = error.to_string();
        let (words, _) = text.split_once(" (os error ").expect("a number");
        let expected = format!("bind 127.0.0.1:9527: {words}");
        assert_eq!(error_chain(&BindError(error)), expected);
    }
}

//! Errors as one line of text.

use std::error::Error;

/// Joins an error and its causes, the outermost first:
/// `bind 127.0.0.1:9527: Address already in use`.
///
/// The number that the standard library adds to an error of the kernel is left out.
pub fn error_chain(error: &dyn Error) -> String {
    let mut line = without_number(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&without_number(&error.to_string()));
        cause = error.source();
    }
    line
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
    fn numbers_of_the_kernel_are_left_out() {
        let error = io::Error::from_raw_os_error(libc::EADDRINUSE);
        assert!(error.to_string().contains("os error"), "{error}");
        let line = error_chain(&BindError(error));
        assert_eq!(line, "bind 127.0.0.1:9527: Address already in use");
    }
}

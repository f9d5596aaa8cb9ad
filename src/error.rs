//! Errors as one line of text.

use std::error::Error;

/// Joins an error and its causes, the outermost first:
/// `bind 127.0.0.1:9527: Address already in use (os error 98)`.
pub fn error_chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
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
}

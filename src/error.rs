//! Errors, and the text of others, in one line.

use std::error::Error;

/// Joins an error and its causes, the outermost first:
/// `bind 127.0.0.1:9527: Address already in use`.
///
/// The number that the standard library adds to an error of the kernel is left out. The line is
/// [`printable`], whatever a variable or a file name in it holds.
pub fn error_chain(error: &dyn Error) -> String {
    let mut line = without_number(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&without_number(&error.to_string()));
        cause = error.source();
    }
    printable(line.as_bytes())
}

/// Decodes bytes for a terminal or a log, as one line. Each byte of a character that does not show
/// as itself, and of what is not UTF-8, becomes `\xHH`.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_harmful(character) {
                escape(character.encode_utf8(&mut [0; 4]).as_bytes(), &mut text);
            } else {
                text.push(character);
            }
        }
        escape(chunk.invalid(), &mut text);
    }
    text
}

/// Whether a character does something else than to be shown: a control character (C0, DEL, C1), a
/// separator of lines, a control of the direction, which can show digits in another order, or one
/// that is invisible.
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

fn escape(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        text.push_str(&format!("\\x{byte:02x}"));
    }
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
    fn errors_are_printable() {
        let error = BindError(io::Error::other("a\n\u{1b}[2J\u{202e}1 \"\u{e9}\\"));
        assert_eq!(
            error_chain(&error),
            "bind 127.0.0.1:9527: a\\x0a\\x1b[2J\\xe2\\x80\\xae1 \"\u{e9}\\"
        );
    }

    // Controls in 7 bits, 8 bits and UTF-8; directions; lines; what is invisible; no UTF-8.
    #[test]
    fn only_what_shows_as_itself_is_printable() {
        for harmful in [
            "\0",
            "\t",
            "\n",
            "\r",
            "\x1b",
            "\x7f",
            "\u{85}",
            "\u{9b}",
            "\u{61c}",
            "\u{200e}",
            "\u{202a}",
            "\u{202e}",
            "\u{2066}",
            "\u{2069}",
            "\u{2028}",
            "\u{2029}",
            "\u{ad}",
            "\u{200b}",
            "\u{2060}",
            "\u{feff}",
            "\u{fffb}",
            "\u{e0041}",
        ] {
            let escaped: String = harmful.bytes().map(|it| format!("\\x{it:02x}")).collect();
            assert_eq!(
                printable(format!("a{harmful}b").as_bytes()),
                format!("a{escaped}b")
            );
        }
        assert_eq!(
            printable(b"\x9b1 \xff\xe2\x80 \xc3"),
            r"\x9b1 \xff\xe2\x80 \xc3"
        );
        let shown = "5 \"\u{b0}\u{c5}\\'\u{a0}e\u{301} \u{e27}\u{e31}\u{e19} \u{65e5} \u{1f552}";
        assert_eq!(printable(shown.as_bytes()), shown);
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

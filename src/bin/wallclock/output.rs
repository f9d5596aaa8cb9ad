//! Standard output.

use std::io::{self, Write as _};

use crate::error::Error;

/// Writes a line to standard output.
pub fn print_line(text: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map_err(Error::Write)
}

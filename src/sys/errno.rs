//! Results of system calls.

use std::io;

/// Converts the return value of a system call that returns -1 and sets errno on failure.
pub(super) fn cvt(result: libc::c_int) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Makes a system call, again whenever a signal interrupts it (`EINTR`).
pub(super) fn retry_on_eintr(mut call: impl FnMut() -> libc::c_int) -> io::Result<usize> {
    loop {
        match cvt(call()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

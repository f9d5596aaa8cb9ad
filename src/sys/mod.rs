//! System calls that no safe crate offers, one file for each family.
//!
//! This is the only module with `unsafe` code. It knows nothing of the protocol and contains no
//! policy: the caller decides what to do about an error.
#![allow(
    unsafe_code,
    reason = "std, socket2 and rustix do not offer these system calls"
)]

pub mod listen_fds;
pub mod mmsg;
pub mod sockopt;
pub mod timex;

use std::io;

/// Converts the return value of a system call that returns -1 and sets errno on failure.
fn cvt(result: libc::c_int) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Makes a system call, again whenever a signal interrupts it (`EINTR`).
fn retry_on_eintr(mut call: impl FnMut() -> libc::c_int) -> io::Result<usize> {
    loop {
        match cvt(call()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

//! adjtimex(2): the maximum error of the system clock.

use std::io;
use std::mem;
use std::time::Duration;

use super::errno::cvt;

/// Returns the maximum error of the system clock (`maxerror`), as its synchronisation daemon
/// estimates it. It takes no privilege and changes nothing.
///
/// The kernel increases it by 500 ppm, to 16 s at most. A negative value, which older kernels let a
/// process set, says nothing and is returned as [`Duration::MAX`].
///
/// # Errors
///
/// `EPERM` or `ENOSYS` if a system call filter forbids the call.
pub fn clock_max_error() -> io::Result<Duration> {
    // SAFETY: a C structure of integers, for which all zeros is a valid value.
    let mut timex: libc::timex = unsafe { mem::zeroed() };
    // SAFETY: the pointer is valid for writes of a timex, and the kernel keeps no pointer after the
    // call. With `modes` 0 it only fills the structure in.
    cvt(unsafe { libc::adjtimex(&raw mut timex) })?;
    Ok(u64::try_from(timex.maxerror).map_or(Duration::MAX, Duration::from_micros))
}

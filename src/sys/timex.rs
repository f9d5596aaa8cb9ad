//! adjtimex(2): what the kernel reports about the synchronisation of its clock.

use std::io;
use std::mem;
use std::time::Duration;

use super::errno::cvt;

/// The kernel's view of its own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStatus {
    /// Whether the clock is synchronised: false while `STA_UNSYNC` is set.
    pub synchronised: bool,
    /// The maximum error of the clock, as its synchronisation daemon estimates it (`maxerror`).
    pub max_error: Duration,
}

/// Reads the status of the system clock. It takes no privilege and changes nothing.
///
/// # Errors
///
/// `EPERM` or `ENOSYS` if a system call filter forbids the call.
pub fn clock_status() -> io::Result<ClockStatus> {
    // SAFETY: a C structure of integers, for which all zeros is a valid value.
    let mut timex: libc::timex = unsafe { mem::zeroed() };
    // SAFETY: the pointer is valid for writes of a timex, and the kernel keeps no pointer after the
    // call. With `modes` 0 it only fills the structure in.
    cvt(unsafe { libc::adjtimex(&raw mut timex) })?;
    Ok(ClockStatus {
        synchronised: timex.status & libc::STA_UNSYNC == 0,
        max_error: Duration::from_micros(u64::try_from(timex.maxerror).unwrap_or(0)),
    })
}

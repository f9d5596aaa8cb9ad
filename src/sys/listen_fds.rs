//! sd_listen_fds(3): sockets that a service manager opened for this process.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why the descriptors cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ListenFdsError {
    /// A variable has a wrong value.
    #[error("{name}={}: not a number from 0 to {}", value.display(), i32::MAX)]
    Variable {
        /// LISTEN_PID or LISTEN_FDS.
        name: &'static str,
        /// Its value.
        value: OsString,
    },
    /// A descriptor is not open.
    #[error("take over the sockets of LISTEN_FDS")]
    Descriptor(#[source] io::Error),
}

/// Takes ownership of the descriptors that LISTEN_FDS announces: none without a service manager,
/// and none in a second call.
///
/// Call this before the process opens a descriptor. If fewer were handed over than LISTEN_FDS says,
/// another descriptor with such a number would be taken for one of them.
///
/// # Errors
///
/// LISTEN_FDS or LISTEN_PID is not a number, or a descriptor is not open. An empty variable counts
/// as missing.
pub fn listen_fds() -> Result<Vec<OwnedFd>, ListenFdsError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    // sd_notify would refuse an empty variable, and show no value.
    if number("LISTEN_PID")? != Some(process::id()) || number("LISTEN_FDS")?.is_none() {
        return Ok(Vec::new());
    }
    // Sets FD_CLOEXEC on each descriptor, which fails for one that is not open.
    let descriptors = sd_notify::listen_fds().map_err(ListenFdsError::Descriptor)?;
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    Ok(descriptors
        // SAFETY: the call above checked that each descriptor is open and that LISTEN_PID is this
        // process, so the service manager handed them over for this process to own. TAKEN ensures
        // that no descriptor gets a second owner here. That nothing else owns one is the service
        // manager's promise and, as described above, the order of calls.
        .map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) })
        .collect())
}

/// The number in a variable; `None` if that is missing or empty.
fn number(name: &'static str) -> Result<Option<u32>, ListenFdsError> {
    let value = env::var_os(name).unwrap_or_default();
    if value.is_empty() {
        return Ok(None);
    }
    let number = value.to_str().and_then(|digits| digits.parse().ok());
    match number.filter(|&number| i32::try_from(number).is_ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(ListenFdsError::Variable { name, value }),
    }
}

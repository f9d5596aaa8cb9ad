//! sd_listen_fds(3): sockets that a service manager opened for this process.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes ownership of the descriptors that LISTEN_FDS announces: none without a service manager,
/// and none in a second call.
///
/// Call this before the process opens a descriptor. If fewer were handed over than LISTEN_FDS says,
/// another descriptor with such a number would be taken for one of them.
///
/// # Errors
///
/// LISTEN_FDS or LISTEN_PID is not a number, or a descriptor is not open.
pub fn listen_fds() -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    // Sets FD_CLOEXEC on each descriptor, which fails for one that is not open.
    let descriptors = sd_notify::listen_fds()?;
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

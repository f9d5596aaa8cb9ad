//! sd_listen_fds(3): sockets that a service manager opened for this process.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes ownership of the descriptors that LISTEN_FDS announces; there are none without a service
/// manager. A second call returns none.
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
        // SAFETY: LISTEN_PID names this process, so its service manager opened these descriptors for
        // it to own. Each is open, as was just checked, and TAKEN gives each of them one owner only.
        .map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) })
        .collect())
}

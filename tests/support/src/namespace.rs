//! Network namespaces.

use std::fs::File;
use std::os::fd::AsFd;
use std::panic;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Calls `work` in the network namespace of a process. A socket made there stays there.
pub fn within_network<T: Send>(pid: u32, work: impl FnOnce() -> T + Send) -> T {
    // On a new thread, because the namespace of the test's own thread must not change.
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let namespace = File::open(format!("/proc/{pid}/ns/net")).expect("a network namespace");
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), network).expect("to enter it");
            work()
        });
        thread
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

//! mmap(2) and munmap(2): what a process does beforehand so that execve(2) takes less time.

use std::ptr;

/// Flushes the TLB on every core on which this process has run: maps a page, and unmaps it.
///
/// On x86 the kernel counts a core among these until a flush finds that the core runs something
/// else, which Linux looks for once a second. When the process ends or executes a program, the
/// kernel interrupts all these cores and waits for them. Called before, this leaves only the core
/// on which the process runs. A failure has no consequence.
pub fn flush() {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    // SAFETY: a new mapping, at an address that the kernel chooses.
    let page = unsafe { libc::mmap(ptr::null_mut(), 1, protection, flags, -1, 0) };
    if page != libc::MAP_FAILED {
        // SAFETY: nothing refers to this mapping.
        unsafe { libc::munmap(page, 1) };
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no MAP_POPULATE")]
    fn a_flush_leaves_no_mapping() {
        let mappings = || {
            fs::read_to_string("/proc/self/maps")
                .expect("procfs")
                .lines()
                .count()
        };
        let before = mappings();
        (0..10_000).for_each(|_| flush());
        // Other tests map something meanwhile.
        assert!(mappings() < before + 1_000);
    }
}

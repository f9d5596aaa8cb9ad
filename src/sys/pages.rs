//! madvise(2) and munmap(2): what a process does beforehand so that execve(2) takes less time.

use std::fs;
use std::ops::Range;
use std::ptr;

/// Releases the memory pages of the code of this program and of its libraries. The kernel maps them
/// again from their files when they are used.
///
/// Without /proc/self/maps (proc(5)) it does nothing, and in a process of several threads neither,
/// because another one could change the mappings meanwhile.
pub fn release_code() {
    let threads = fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads != 1 {
        return;
    }
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().filter_map(parse_code).for_each(release);
}

/// Returns the addresses of a mapping of a file that is executable and not writable. Its pages hold
/// what the file holds: only a text relocation or a breakpoint of a debugger changes them, and
/// neither this program nor its libraries have text relocations.
fn parse_code(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (addresses, permissions) = (fields.next()?, fields.next()?);
    // Offset, device and inode come before the path, which no other mapping has.
    let path = fields.nth(3)?;
    let is_code = permissions == "r-xp" && path.starts_with('/');
    parse_addresses(addresses).filter(|_| is_code)
}

/// Parses `START-END` in hexadecimal digits.
fn parse_addresses(text: &str) -> Option<Range<usize>> {
    let (start, end) = text.split_once('-')?;
    let parse = |address| usize::from_str_radix(address, 16).ok();
    Some(parse(start)?..parse(end)?)
}

/// Releases the pages of one mapping of [`parse_code`]. A failure has no consequence.
fn release(mapping: Range<usize>) {
    let start = ptr::with_exposed_provenance_mut(mapping.start);
    // SAFETY: MADV_DONTNEED leaves mappings as they are. The next access to a page reads what the
    // file holds, which is what the page holds.
    unsafe { libc::madvise(start, mapping.len(), libc::MADV_DONTNEED) };
}

/// Flushes the TLB on every core on which this process has run: maps a page, and unmaps it.
///
/// On x86 the kernel counts a core among these until a flush finds that the core runs something
/// else, which Linux looks for once a second. When the process ends or executes a program, the
/// kernel interrupts all these cores and waits for them. Called before, this leaves only the core
/// on which the process runs. A failure has no consequence.
pub fn flush_tlb() {
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
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::slice;

    use super::*;

    #[test]
    fn only_the_code_of_files_is_released() {
        let maps = "\
55cf-55d0 r--p 00000000 fe:00 8123   /usr/bin/wall clock (deleted)
55d0-55d4 r-xp 00001000 fe:00 8123   /usr/bin/wall clock (deleted)
55d4-55d5 r--p 00005000 fe:00 8123   /usr/bin/wall clock (deleted)
55d5-55d6 rw-p 00006000 fe:00 8123   /usr/bin/wall clock (deleted)
55d6-55d7 rwxp 00007000 fe:00 8123   /usr/bin/wall clock (deleted)
55e0-55e2 r-xp 00000000 00:00 0
7ff0-7ff8 r-xp 00026000 fe:00 9      /usr/lib/libc.so.6
7ffd-7ffe r-xp 00000000 00:00 0      [vdso]
8000-9000 r-xs 00000000 fe:00 9      /var/cache/shared
";
        let found: Vec<_> = maps.lines().filter_map(parse_code).collect();
        assert_eq!(found, [0x55d0..0x55d4, 0x7ff0..0x7ff8]);
    }

    /// Maps a file of this content.
    fn map(content: &[u8]) -> Range<usize> {
        let path = std::env::temp_dir().join(format!("wallclock-pages-{}", std::process::id()));
        let mut file = File::create_new(&path).expect("a new file");
        file.write_all(content).expect("space");
        let file = File::open(&path).expect("the file");
        fs::remove_file(&path).expect("the file");
        let (protection, fd) = (libc::PROT_READ, file.as_raw_fd());
        // SAFETY: a new mapping of a file that nothing else changes.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                content.len(),
                protection,
                libc::MAP_PRIVATE,
                fd,
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED);
        start.expose_provenance()..start.expose_provenance() + content.len()
    }

    /// Returns how much of a mapping is in memory for this process, in KiB.
    fn resident_size(mapping: &Range<usize>) -> usize {
        let smaps = fs::read_to_string("/proc/self/smaps").expect("procfs");
        let lines = smaps.lines().skip_while(|line| {
            parse_addresses(line.split(' ').next().unwrap_or_default()).as_ref() != Some(mapping)
        });
        let mut values = lines.filter_map(|line| line.strip_prefix("Rss:"));
        let value = values.next().expect("the field").trim();
        value.trim_end_matches(" kB").parse().expect("a number")
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri maps no files")]
    fn released_pages_are_read_again_from_the_file() {
        // A multiple of every page size.
        let content = vec![b'a'; 1 << 16];
        let mapping = map(&content);
        let start = ptr::with_exposed_provenance_mut::<u8>(mapping.start);
        // SAFETY: the mapping is readable, and lasts as long as this process.
        let read = || unsafe { slice::from_raw_parts(start, content.len()) }.to_vec();
        assert_eq!(read(), content);
        assert_eq!(resident_size(&mapping), content.len() / 1024);
        release(mapping.clone());
        assert_eq!(resident_size(&mapping), 0);
        assert_eq!(read(), content);
    }

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
        (0..10_000).for_each(|_| flush_tlb());
        // Other tests map something meanwhile.
        assert!(mappings() < before + 1_000);
    }
}

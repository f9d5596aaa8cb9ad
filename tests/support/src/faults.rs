//! A failing kernel for one daemon (see faults.c): which call fails, how, how often.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The calls of the daemon's loop, in faults.c's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Receive,
    Send,
    Poll,
    Clock,
}

const CALLS: u64 = 4;

/// What the kernel says of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    Synchronised = 1,
    Unsynchronised = 2,
}

/// The shim, compiled once; `None` without a C compiler.
pub fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let compile = || {
        // Under a name of this process's own first: others may be at it, or have it loaded.
        let path = crate::scratch_dir().join("faults.so");
        let fresh = path.with_extension(std::process::id().to_string());
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/faults.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&fresh)
            .arg(source)
            .status();
        (compiled.is_ok_and(|status| status.success()) && fs::rename(&fresh, &path).is_ok())
            .then_some(path)
    };
    LIBRARY.get_or_init(compile).as_deref()
}

/// One daemon's faults.
pub struct Faults {
    path: PathBuf,
    file: File,
}

impl Faults {
    /// Preloads the shim into a command; `None` without a C compiler.
    pub fn of(command: &mut Command) -> Option<Faults> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let library = library()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = library.with_extension(format!("{}-{number}", std::process::id()));
        command.env("LD_PRELOAD", library).env("FAULTS", &path);
        Some(Faults::at(path))
    }

    /// None yet, in this file.
    pub fn at(path: PathBuf) -> Faults {
        fs::write(&path, [0; 64]).expect("a file");
        let file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .expect("a file");
        Faults { path, file }
    }

    fn set(&self, place: u64, value: i32) {
        self.file
            .write_all_at(&value.to_ne_bytes(), 4 * place)
            .expect("it is written");
    }

    fn get(&self, place: u64) -> i32 {
        let mut value = [0; 4];
        self.file
            .read_exact_at(&mut value, 4 * place)
            .expect("it is read");
        i32::from_ne_bytes(value)
    }

    /// From now on the call fails with this errno, so many times.
    pub fn fail(&self, call: Call, errno: i32, times: i32) {
        self.set(CALLS + call as u64, times);
        self.set(call as u64, errno);
    }

    /// From now on the call fails with this errno.
    pub fn fail_for_ever(&self, call: Call, errno: i32) {
        self.fail(call, errno, -1);
    }

    /// The call is made again.
    pub fn heal(&self, call: Call) {
        self.set(call as u64, 0);
    }

    /// How often the call has failed.
    pub fn failed(&self, call: Call) -> i32 {
        self.get(2 * CALLS + call as u64)
    }

    /// From now on a wait for a full send buffer lasts at least so long, unless a signal ends it.
    pub fn stretch(&self, wait: Duration) {
        self.set(3 * CALLS + 1, wait.as_millis() as i32);
    }

    /// From now on the kernel says this of its clock.
    pub fn discipline(&self, discipline: Discipline) {
        self.set(3 * CALLS, discipline as i32);
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

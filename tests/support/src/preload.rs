//! Compiles the libraries that tests preload into a program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::skip;

/// Whether the programs are static, so that they load no library.
pub const PROGRAMS_ARE_STATIC: bool = cfg!(target_feature = "crt-static");

/// Compiles a C file of this crate. Returns the library's path, `None` without a C compiler or if
/// the programs load no library.
pub fn compile(source: &str) -> Option<PathBuf> {
    if PROGRAMS_ARE_STATIC {
        return None;
    }
    // Written under a name of this process and renamed: another test program may compile it at the
    // same time, or have it loaded.
    let path = crate::scratch_dir().join(source).with_extension("so");
    let new_path = path.with_extension(std::process::id().to_string());
    let compiled = Command::new("cc")
        // Where the programs have 32 bits, cc may compile for 64.
        .args(cfg!(target_arch = "x86").then_some("-m32"))
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&new_path)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(source))
        .status();
    (compiled.is_ok_and(|status| status.success()) && fs::rename(&new_path, &path).is_ok())
        .then_some(path)
}

/// Replaces the random numbers of a command (see random.c). Returns whether it did; skips the test
/// without a C compiler.
pub fn preload_random_or_skip(command: &mut Command) -> bool {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let Some(library) = LIBRARY.get_or_init(|| compile("random.c")) else {
        skip("no cc (Debian package gcc)");
        return false;
    };
    command.env("LD_PRELOAD", library);
    true
}

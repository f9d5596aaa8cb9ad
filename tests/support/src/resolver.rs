//! Replaces the resolver of one process (see resolver.c), for the names that end in `.test`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{preload, skip};

/// The resolver of one process, in a file that it reads.
pub struct Resolver {
    path: PathBuf,
}

impl Resolver {
    /// Preloads the library into a command. Each name resolves to this text: an address, `fail` or
    /// `hang`. Skips the test without a C compiler.
    pub fn preload_or_skip(command: &mut Command, text: &str) -> Option<Resolver> {
        static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Some(library) = LIBRARY.get_or_init(|| preload::compile("resolver.c")) else {
            skip("no cc (Debian package gcc) or static programs");
            return None;
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = library.with_extension(format!("{}-{number}", std::process::id()));
        command.env("LD_PRELOAD", library).env("RESOLVER", &path);
        let resolver = Resolver { path };
        resolver.set(text);
        Some(resolver)
    }

    /// Sets what the names resolve to.
    pub fn set(&self, text: &str) {
        // Renamed, so that the process never reads an empty file.
        let new_path = self.path.with_extension(format!(
            "{}-new",
            self.path.extension().unwrap_or_default().display()
        ));
        fs::write(&new_path, text).expect("a file");
        fs::rename(&new_path, &self.path).expect("a file");
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

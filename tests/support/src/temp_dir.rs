//! Files of a test.

use std::env;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A temporary directory of one test, removed when it is dropped. Only its owner has access. Its
/// path is short enough for a Unix socket in it.
pub struct TempDir(PathBuf);

impl TempDir {
    /// Creates a directory with this in its name.
    pub fn new(name: &str) -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (id, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(format!("wallclock-{name}-{id}-{count}"));
        let _ = fs::remove_dir_all(&path);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .expect("a directory");
        TempDir(path)
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into the directory and returns its path.
    pub fn write_file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, contents).expect("a file");
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns the contents of a TZif file (RFC 8536), version 2, with one fixed offset in seconds east
/// of UTC.
pub fn tzif(abbreviation: &str, offset: i32) -> Vec<u8> {
    let header = |characters: u32| {
        let mut bytes = b"TZif2".to_vec();
        bytes.extend([0; 15]);
        for count in [0, 0, 0, 0, 1, characters] {
            bytes.extend(u32::to_be_bytes(count));
        }
        bytes
    };
    let mut block = Vec::new();
    block.extend(offset.to_be_bytes());
    block.extend([0, 0]);
    block.extend(abbreviation.as_bytes());
    block.push(0);
    let characters = abbreviation.len() as u32 + 1;
    // The footer's sign is that of POSIX: west is positive.
    let footer = format!("\n<{abbreviation}>{}\n", -offset / 3600);
    [
        header(characters),
        block.clone(),
        header(characters),
        block,
        footer.into_bytes(),
    ]
    .concat()
}

//! What the kernel says of its clock, told by a process that may ask it to one that may not.
//!
//! The daemon's sandbox lets no clock call through. So that it knows all the same, a second process, which nobody can talk to, asks
//! the kernel and keeps the answer in a file: `wallclockd --tell-sync` writes it, `wallclockd --sync-file` reads it.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::batch::{Discipline, discipline};
use crate::manager::Manager;

/// How often it is told. The kernel's own estimate of the error grows by 2 ms in that time.
pub const EVERY: Duration = Duration::from_secs(4);

/// What was told longer ago than this is no word on the clock of now: nobody tells any more.
pub const STALE: Duration = Duration::from_secs(12);

/// `1`, a space, 16 digits of microseconds, and a newline: always as long, so that each line covers the one before.
const LENGTH: usize = 19;

/// Tells it on standard output, for ever: in a file always at its beginning, else a line each time. While the kernel may not be asked
/// nothing is told, which says so to the reader.
///
/// # Errors
///
/// Nobody takes the answer.
pub fn tell() -> io::Result<Infallible> {
    let mut out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut manager = Some(Manager::of_process());
    let mut refused = false;
    loop {
        match discipline() {
            Ok(discipline) => {
                write(&mut out, &discipline)?;
                refused = false;
            }
            Err(error) if !refused => {
                log::info!("whether the clock is synchronised can't be told: adjtimex: {error}");
                refused = true;
            }
            Err(_) => {}
        }
        if let Some(mut manager) = manager.take() {
            manager.ready();
        }
        thread::sleep(EVERY);
    }
}

fn write(out: &mut File, discipline: &Discipline) -> io::Result<()> {
    let line = line(discipline);
    match out.write_all_at(line.as_bytes(), 0) {
        Err(error) if error.kind() == ErrorKind::NotSeekable => out.write_all(line.as_bytes()),
        done => done,
    }
}

fn line(discipline: &Discipline) -> String {
    // The kernel's maxerror is a C long of microseconds; it stops counting at 16 s.
    let max_error = discipline.max_error.as_micros().min(9_999_999_999_999_999);
    format!("{} {max_error:016}\n", u8::from(discipline.synchronised))
}

/// What was told last.
///
/// # Errors
///
/// Nothing was, or it is [`STALE`], or it is something else.
pub fn read(path: &Path) -> io::Result<Discipline> {
    let mut file = File::open(path)?;
    let told = file.metadata()?.modified()?;
    // Either way: where the clock was stepped back, it was told in the future, and the next word comes soon.
    let age = match SystemTime::now().duration_since(told) {
        Ok(age) => age,
        Err(ahead) => ahead.duration(),
    };
    if age > STALE {
        let ago = format!("last written {} s ago", age.as_secs());
        return Err(io::Error::new(ErrorKind::TimedOut, ago));
    }
    let mut line = [0; LENGTH];
    file.read_exact(&mut line)?;
    parse(&line).ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "it holds something else"))
}

fn parse(line: &[u8; LENGTH]) -> Option<Discipline> {
    let (synchronised, max_error) = str::from_utf8(line)
        .ok()?
        .strip_suffix('\n')?
        .split_once(' ')?;
    Some(Discipline {
        synchronised: match synchronised {
            "0" => false,
            "1" => true,
            _ => return None,
        },
        max_error: Duration::from_micros(max_error.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn scratch(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("wallclock-sync-{name}-{}", std::process::id()))
    }

    #[test]
    fn what_is_written_is_read_and_each_line_covers_the_one_before() {
        let path = scratch("written");
        let mut out = File::create(&path).unwrap();
        for (synchronised, micros) in [(true, 16_000_000), (false, u64::MAX), (true, 0)] {
            let max_error = Duration::from_micros(micros);
            let told = Discipline {
                synchronised,
                max_error,
            };
            write(&mut out, &told).unwrap();
            let read = read(&path).unwrap();
            assert_eq!(read.synchronised, synchronised);
            assert_eq!(
                read.max_error,
                max_error.min(Duration::from_micros(9_999_999_999_999_999))
            );
        }
        assert_eq!(fs::read(&path).unwrap(), b"1 0000000000000000\n");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_is_old_from_the_future_short_or_strange_says_nothing() {
        let path = scratch("strange");
        let kind = || read(&path).map_err(|error| error.kind()).unwrap_err();
        assert_eq!(kind(), ErrorKind::NotFound);
        for (strange, what) in [
            ("", ErrorKind::UnexpectedEof),
            ("1 000000000000000\n", ErrorKind::UnexpectedEof),
            ("2 0000000000000000\n", ErrorKind::InvalidData),
            ("1 00000000000000000", ErrorKind::InvalidData),
            ("1 000000000000000x\n", ErrorKind::InvalidData),
        ] {
            fs::write(&path, strange).unwrap();
            assert_eq!(kind(), what, "{strange:?}");
        }
        fs::write(&path, "1 0000000000000000\n").unwrap();
        assert!(read(&path).is_ok());
        let file = File::options().write(true).open(&path).unwrap();
        for odd in [
            SystemTime::now() - STALE - EVERY,
            SystemTime::now() + STALE + EVERY,
        ] {
            file.set_modified(odd).unwrap();
            assert_eq!(kind(), ErrorKind::TimedOut);
        }
        fs::remove_file(&path).unwrap();
    }
}

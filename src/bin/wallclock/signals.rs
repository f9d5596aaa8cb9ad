//! What the program does at SIGINT and SIGTERM.

use std::ffi::c_int;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;

/// How long the end of the process waits for its last output: that may be blocked by a pipe that is
/// not read, or by a stopped terminal.
const MAX_LAST_OUTPUT: Duration = Duration::from_millis(300);

/// At SIGINT or SIGTERM, calls `last_output` in a thread of its own, and then `end` with the
/// signal: once `last_output` has returned, or after [`MAX_LAST_OUTPUT`].
///
/// What `last_output` returns, such as the lock of an output, is kept until the end of the process.
pub fn on_signal<G>(
    last_output: impl FnOnce() -> G + Send + 'static,
    end: impl FnOnce(c_int) + Send + 'static,
) -> io::Result<()> {
    let (mut receiver, sender) = UnixStream::pair()?;
    let received = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM] {
        flag::register_usize(signal, Arc::clone(&received), signal as usize)?;
        pipe::register(signal, sender.try_clone()?)?;
    }
    thread::Builder::new().spawn(move || {
        // It blocks until a signal arrives. The result does not matter.
        let _ = receiver.read(&mut [0]);
        let (sender, done) = channel();
        let spawned = thread::Builder::new().spawn(move || {
            let _kept = last_output();
            let _ = sender.send(());
            loop {
                thread::park();
            }
        });
        if spawned.is_ok() {
            let _ = done.recv_timeout(MAX_LAST_OUTPUT);
        }
        end(received.load(Ordering::SeqCst) as c_int);
    })?;
    Ok(())
}

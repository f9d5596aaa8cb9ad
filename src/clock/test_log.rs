//! Collects the log of the thread that runs a unit test.

use std::cell::RefCell;

use log::{LevelFilter, Log, Metadata, Record};

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct TestLog;

impl Log for TestLog {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        LINES.with_borrow_mut(|lines| lines.push(line));
    }

    fn flush(&self) {}
}

/// Starts to collect the lines of all threads. Further calls change nothing.
pub(super) fn start() {
    // An error: the logger is set already.
    let _ = log::set_logger(&TestLog);
    log::set_max_level(LevelFilter::Info);
}

/// Returns the lines, `LEVEL text`, that this thread has logged since the last call.
pub(super) fn take() -> Vec<String> {
    LINES.take()
}

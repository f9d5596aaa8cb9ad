//! A child process whose log the test reads.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{HANG_TIMEOUT, cpu_time, process_state, wait_until};

/// A child process that logs to stderr. It is killed when this is dropped.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    /// The log lines read so far.
    pub log: Vec<String>,
}

impl Process {
    /// Starts a command without standard input.
    pub fn start(command: &mut Command) -> Process {
        Process::start_with_stdin(command.stdin(Stdio::null()))
    }

    /// Starts a command with the standard input that it has.
    pub fn start_with_stdin(command: &mut Command) -> Process {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Process {
            child,
            lines,
            log: Vec::new(),
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The CPU time used so far.
    pub fn cpu_time(&self) -> Duration {
        cpu_time(self.id())
    }

    /// Waits for the next log line that contains a text, and returns it.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + HANG_TIMEOUT;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    self.log.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no line with {text:?} ({error}) in {:#?}", self.log),
            }
        }
    }

    /// Waits for the next `listening on` line and returns its address.
    #[track_caller]
    pub fn wait_for_address(&mut self) -> SocketAddr {
        let line = self.wait_for("listening on ");
        line.rsplit(' ')
            .next()
            .and_then(|address| address.parse().ok())
            .expect("the line ends with an address")
    }

    /// Sends a signal. STOP returns once the process is stopped.
    pub fn signal(&self, name: &str) {
        let signal = match name {
            "CONT" => Signal::CONT,
            "INT" => Signal::INT,
            "STOP" => Signal::STOP,
            "TERM" => Signal::TERM,
            "USR1" => Signal::USR1,
            _ => panic!("signal {name}"),
        };
        let id = Pid::from_raw(self.id().cast_signed()).expect("a process id");
        kill_process(id, signal).expect("a child can be signalled");
        if signal == Signal::STOP {
            wait_until("the process does not stop", || {
                process_state(self.id()) == 'T'
            });
        }
    }

    /// Kills the process (SIGKILL), and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until the process ends by itself. `log` is complete then.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + HANG_TIMEOUT;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            assert!(Instant::now() < deadline, "the process does not end");
            thread::sleep(Duration::from_millis(1));
        };
        loop {
            match self.lines.recv_timeout(HANG_TIMEOUT) {
                Ok(line) => self.log.push(line),
                Err(RecvTimeoutError::Disconnected) => return status,
                Err(RecvTimeoutError::Timeout) => panic!("stderr stays open"),
            }
        }
    }

    /// Sends SIGTERM, waits for the end, and returns the last log line, which has the counters.
    /// Panics if the process fails.
    #[track_caller]
    pub fn terminate(&mut self) -> &str {
        self.signal("TERM");
        let status = self.wait();
        assert!(status.success(), "{status}: {:#?}", self.log);
        self.log.last().expect("a last log line")
    }

    /// The log lines until now, without waiting for more.
    pub fn log_lines(&mut self) -> &[String] {
        self.log.extend(self.lines.try_iter());
        &self.log
    }

    /// The log lines until now that are not about the status of the system clock, which may change
    /// at any time during a test.
    pub fn log_lines_but_clock_status(&mut self) -> Vec<&String> {
        let is_other = |line: &&String| !line.contains("system clock is");
        self.log_lines().iter().filter(is_other).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

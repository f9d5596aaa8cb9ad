//! Many clients query one server at the same moment: `cargo bench --bench midnight`.
//!
//! Each client sends one request, and retries as `wallclock` does by default. All of them are in
//! this process, which has one core and sends as fast as it can; the server has another core. The
//! exit status is 1 if a response was wrong or a promise does not hold.

mod clients;
mod options;
mod promise;
#[allow(dead_code, reason = "the benchmark of the cost uses the rest")]
mod sys;
#[allow(dead_code, reason = "the benchmark of the cost uses the rest")]
mod table;

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use rustix::net::sockopt;
use support::flood::group_digits;
use support::{Process, has_program, python_server, wallclockd};
use wallclock::client::query::RetryPolicy;

use clients::Wait;
use options::{Options, Outcome};
use promise::Promise;
use table::Table;

/// ReceiveBuffer= of systemd/wallclockd.socket. The kernel doubles it.
const UNIT_BUFFER: usize = 8 << 20;
/// What a user gets on most hosts: net.core.rmem_max, which is doubled too.
const USER_BUFFER: usize = 212_992;

const CLIENTS: [usize; 3] = [1_000, 10_000, 100_000];
const MOST: usize = CLIENTS[CLIENTS.len() - 1];

/// The defaults of `wallclock`: -t 1 -r 2.
pub const POLICY: RetryPolicy = RetryPolicy {
    timeout: Duration::from_secs(1),
    attempts: 3,
};

/// A server, and the clients' way to retry.
struct Setup {
    name: String,
    /// The receive buffer to request, or None for the Python server, which requests none.
    buffer: Option<usize>,
    wait: Wait,
}

impl Setup {
    fn daemon(buffer: usize, retries: &str, wait: Wait) -> io::Result<Self> {
        let granted = granted(Some(buffer))?;
        Ok(Self {
            name: format!("wallclockd, {granted}, {retries}"),
            buffer: Some(buffer),
            wait,
        })
    }

    fn start(&self, core: usize) -> Process {
        let mut command = match self.buffer {
            Some(bytes) => {
                let mut command = wallclockd();
                command.args(["-l", "127.0.0.1:0", "--receive-buffer", &bytes.to_string()]);
                command
            }
            None => python_server(),
        };
        let server = Process::start(command.env("TZ", "UTC"));
        sys::pin(Some(server.id()), core);
        server
    }

    /// Whether this is the setup that the promises are about.
    fn is_promised(&self) -> bool {
        self.buffer == Some(UNIT_BUFFER) && self.wait == Wait::Random
    }
}

fn main() -> ExitCode {
    options::run("midnight", measure)
}

/// Measures all rows.
fn measure(options: &Options) -> io::Result<Outcome> {
    let cores = sys::cores();
    sys::pin(None, cores[0]);
    let header = [
        "server, receive buffer, time until a retry",
        "requests",
        "sent within, ms",
        "answered at the first try",
        "last answer, ms",
        "failed",
    ];
    let mut table = Table::new("Clients at the same moment", &header);
    // NaN until measured.
    let (mut failed, mut after_window) = (f64::NAN, f64::NAN);
    let mut wrong = 0;
    for setup in setups()? {
        for count in CLIENTS {
            eprintln!("bench: {}: {}", setup.name, group_digits(count as u64));
            let mut outcomes = Vec::new();
            for _ in 0..if options.quick { 1 } else { 3 } {
                let mut server = setup.start(cores[cores.len() - 1]);
                let address = (Ipv4Addr::LOCALHOST, server.wait_for_address().port());
                outcomes.push(clients::query(address.into(), count, setup.wait)?);
            }
            wrong += outcomes.iter().map(|it| it.wrong).sum::<usize>();
            if count == MOST && setup.is_promised() && has_unit_buffer()? {
                for outcome in &outcomes {
                    failed = failed.max(outcome.failed as f64);
                    let late = outcome.last.saturating_sub(outcome.window);
                    after_window = after_window.max(late.as_secs_f64());
                }
            }
            let worst = outcomes.into_iter().max_by_key(|it| (it.failed, it.last));
            table.row(row(&setup, count, &worst.expect("there is a round")));
        }
    }
    let promises = [
        ("100,000 requests, 16 MiB: failed", 0.0, failed),
        (
            "the same, last answer after all were sent, s",
            2.0,
            after_window,
        ),
    ]
    .map(Promise::new);
    Ok(Outcome {
        table,
        promises: ("Promises of midnight", promises.into()),
        wrong: (wrong, "wrong responses"),
    })
}

fn setups() -> io::Result<Vec<Setup>> {
    let mut setups = Vec::new();
    for buffer in [UNIT_BUFFER, USER_BUFFER] {
        setups.push(Setup::daemon(buffer, "0.5 to 1 s", Wait::Random)?);
        setups.push(Setup::daemon(buffer, "1 s", Wait::Fixed)?);
    }
    if has_program("python3") {
        setups.push(Setup {
            name: format!("the Python server, {}, 0.5 to 1 s", granted(None)?),
            buffer: None,
            wait: Wait::Random,
        });
    } else {
        eprintln!("bench: no python3, its server is left out");
    }
    Ok(setups)
}

fn row(setup: &Setup, count: usize, outcome: &clients::Outcome) -> Vec<String> {
    let millis = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
    vec![
        setup.name.clone(),
        count.to_string(),
        millis(outcome.window),
        outcome.at_first_try.to_string(),
        millis(outcome.last),
        outcome.failed.to_string(),
    ]
}

/// Returns how large a receive buffer becomes if a process with our privileges requests so many
/// bytes, or none.
fn granted_bytes(requested: Option<usize>) -> io::Result<usize> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    if let Some(bytes) = requested {
        sys::set_receive_buffer(&socket, bytes)?;
    }
    Ok(sockopt::socket_recv_buffer_size(&socket)?)
}

fn granted(requested: Option<usize>) -> io::Result<String> {
    let bytes = granted_bytes(requested)?;
    Ok(match bytes % (1 << 20) {
        0 => format!("{} MiB", bytes >> 20),
        _ => format!("{} KiB", bytes >> 10),
    })
}

/// Whether wallclockd gets the buffer that the socket unit gives it. It may need root.
fn has_unit_buffer() -> io::Result<bool> {
    Ok(granted_bytes(Some(UNIT_BUFFER))? >= 2 * UNIT_BUFFER)
}

//! How late clients are that wait for the same moment: `cargo bench --bench spread`.
//!
//! Each client is a `wallclock --until` of its own, and its clock is the server's. The exit status
//! is 1 if one was early or a promise does not hold.
//!
//! In a virtual machine the hypervisor may take the cores away. A round in which it did is
//! repeated: the promises are about two cores.

mod options;
mod promise;
#[allow(dead_code, reason = "the benchmark of the cost uses the rest")]
mod sys;
#[allow(dead_code, reason = "the benchmark of the cost uses the rest")]
mod table;
mod until;

use std::ffi::c_long;
use std::fs;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use support::start_daemon;

use options::{Options, Outcome};
use promise::Promise;
use table::{Table, number};
use until::{START, START_OPTIONS, compile, now, sleep_until, spawn, start_client};

/// The source of the program that only sleeps.
const SLEEP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/sleep.c");

const CLIENTS: usize = 40;

/// How far the moment is away when the clients start, in seconds: measuring takes them 0.1 s, on a
/// busy machine a second.
const WAIT: u64 = 4;

/// How long before the moment and after it the hypervisor must take no time.
const BEFORE: Duration = Duration::from_millis(20);
const AFTER: Duration = Duration::from_millis(60);

/// How much time it may take: /proc/stat counts hundredths of a second.
const MAX_STOLEN: Duration = Duration::from_millis(10);

/// Maximum number of rounds for each round that counts.
const MAX_TRIES: usize = 6;

/// How late clients are in milliseconds, sorted.
type Lateness = Vec<f64>;

/// One round of clients.
struct Round {
    late: Lateness,
    /// The time that the hypervisor took.
    stolen: Duration,
}

/// The rounds of one row of the table.
#[derive(Default)]
struct Rounds {
    counted: Vec<Lateness>,
    repeated: Vec<Lateness>,
}

impl Rounds {
    fn add(&mut self, Round { late, stolen }: Round) {
        if stolen <= MAX_STOLEN {
            self.counted.push(late);
            return;
        }
        let (middle, last) = (late[late.len() / 2], late[late.len() - 1]);
        eprintln!(
            "bench: repeated, the hypervisor took {} ms: middle {middle:.3} ms, last {last:.3} ms",
            stolen.as_millis()
        );
        self.repeated.push(late);
    }
}

/// Repeats a turn until each of its rows has so many rounds that count.
fn repeat<const N: usize>(
    what: &str,
    rounds: usize,
    turn: impl Fn() -> io::Result<[Round; N]>,
) -> io::Result<[Rounds; N]> {
    eprintln!("bench: {what}");
    let mut rows = [(); N].map(|()| Rounds::default());
    for _ in 0..rounds * MAX_TRIES {
        for (row, round) in rows.iter_mut().zip(turn()?) {
            row.add(round);
        }
        if rows.iter().all(|row| row.counted.len() >= rounds) {
            return Ok(rows);
        }
    }
    Err(io::Error::other("the hypervisor takes too much time"))
}

fn main() -> ExitCode {
    options::run("spread", measure)
}

/// Measures all rows.
fn measure(options: &Options) -> io::Result<Outcome> {
    let all_cores = sys::cores();
    let (first, last) = (all_cores[0], all_cores[all_cores.len() - 1]);
    sys::pin_to(None, &[first, last]);
    let command = compile(START, &START_OPTIONS)?;
    let sleep = compile(SLEEP, &[])?;
    let (daemon, server) = start_daemon();
    let rounds = if options.quick { 1 } else { 9 };
    let client = |moment| start_client(server, moment, &["--".as_ref(), &command]);
    let sleeper = |moment| start_sleeper(&sleep, moment, &command);
    let [together, sleepers] = repeat(
        "40 clients, and 40 programs that only sleep",
        rounds,
        || {
            let together = starts(&client, CLIENTS, None)?;
            Ok([together, starts(&sleeper, CLIENTS, None)?])
        },
    )?;
    // One client has a core for itself; the server and this process share the other.
    sys::pin(Some(daemon.id()), first);
    sys::pin(None, first);
    let [alone] = repeat("1 client", rounds, || Ok([starts(&client, 1, Some(last))?]))?;
    let [ends] = repeat("1 client without COMMAND", rounds, || {
        Ok([end(server, last)?])
    })?;

    let header = [
        "clients, and what is late",
        "first, ms",
        "middle, ms",
        "last, ms",
        "last of the worst round, ms",
        "rounds, and repeated ones",
    ];
    let mut table = Table::new("Late for the same moment", &header);
    let mut row = |name: &str, Rounds { counted, repeated }: &Rounds| {
        let figure = |index: fn(usize) -> usize| {
            let figures = counted.iter().map(|round| round[index(round.len())]);
            middle(figures.collect())
        };
        let last = counted.iter().map(|round| round[round.len() - 1]);
        let figures = [
            figure(|_| 0),
            figure(|count| count / 2),
            figure(|count| count - 1),
            last.fold(f64::NAN, f64::max),
        ];
        let mut cells = vec![name.to_owned()];
        cells.extend(figures.map(|figure| number(figure, 3)));
        cells.push(format!("{} and {}", counted.len(), repeated.len()));
        table.row(cells);
        figures
    };
    let [_, together_middle, _, together_last] = row("40 on two cores, COMMAND", &together);
    row("40 that only sleep, COMMAND", &sleepers);
    row("1 on an idle core, COMMAND", &alone);
    let [end, ..] = row("1 on an idle core, the end of the wait", &ends);
    let promises = [
        ("40 clients on two cores: middle, ms", 4.0, together_middle),
        ("the same: last of the worst round, ms", 20.0, together_last),
        (
            "1 client on an idle core, the end of the wait, ms",
            0.2,
            end,
        ),
    ]
    .map(Promise::new);
    let clients = [together, alone, ends].into_iter();
    let rounds = clients.flat_map(|it| it.counted.into_iter().chain(it.repeated));
    let lateness = rounds.flatten();
    let early = lateness.filter(|late| *late < 0.0).count();
    Ok(Outcome {
        table,
        promises: ("Promises of the spread", promises.into()),
        wrong: (early, "clients too early"),
    })
}

/// The value in the middle.
fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Starts a program that only sleeps.
fn start_sleeper(program: &Path, moment: Duration, command: &Path) -> io::Result<Child> {
    let mut sleeper = Command::new(program);
    spawn(sleeper.arg(moment.as_secs().to_string()).arg(command))
}

/// Returns how late the COMMANDs of so many programs start.
fn starts(
    start: &dyn Fn(Duration) -> io::Result<Child>,
    count: usize,
    core: Option<usize>,
) -> io::Result<Round> {
    let moment = next_moment();
    let mut children = Vec::new();
    for _ in 0..count {
        let child = start(moment)?;
        if let Some(core) = core {
            sys::pin(Some(child.id()), core);
        }
        children.push(child);
    }
    let ((), stolen) = with_stolen_time(moment, || Ok(()))?;
    // This process reads nothing before they have ended: it would take time of theirs.
    sleep_until(moment + Duration::from_secs(1));
    let mut lateness = Vec::new();
    for child in children {
        let output = child.wait_with_output()?;
        let (seconds, nanos) = output.stdout.split_at(output.stdout.len() / 2);
        let [seconds, nanos] = [seconds, nanos].map(|bytes| {
            let bytes = bytes.try_into().map_err(|_| {
                let log = String::from_utf8_lossy(&output.stderr);
                io::Error::other(format!("a client fails: {log}"))
            })?;
            io::Result::Ok(c_long::from_ne_bytes(bytes))
        });
        let started = Duration::new(seconds? as u64, nanos? as u32);
        lateness.push(late(started, moment));
    }
    lateness.sort_unstable_by(f64::total_cmp);
    Ok(Round {
        late: lateness,
        stolen,
    })
}

/// Returns how late the end of one client's wait is: when another core reads the line that it
/// writes then.
fn end(server: SocketAddr, core: usize) -> io::Result<Round> {
    let moment = next_moment();
    let mut child = start_client(server, moment, &["--json".as_ref()])?;
    sys::pin(Some(child.id()), core);
    let mut log = child.stderr.take().expect("stderr is piped");
    // The line which says that it waits.
    let _ = log.read(&mut [0; 1024])?;
    let mut line = [0; 1024];
    let ((length, now), stolen) = with_stolen_time(moment, || {
        // A sleeping process would read the other line late. The last request is sent before that.
        sleep_until(moment - Duration::from_micros(500));
        rustix::io::ioctl_fionbio(&log, true)?;
        loop {
            match log.read(&mut line) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::hint::spin_loop(),
                result => return Ok((result?, now())),
            }
        }
    })?;
    let line = String::from_utf8_lossy(&line[..length]);
    if !line.starts_with('{') || !child.wait()?.success() {
        return Err(io::Error::other(format!("a client fails: {line}")));
    }
    Ok(Round {
        late: vec![late(now, moment)],
        stolen,
    })
}

/// Runs a function shortly before the moment, and waits until some time after it. Returns also the
/// time that the hypervisor took meanwhile.
fn with_stolen_time<T>(
    moment: Duration,
    run: impl FnOnce() -> io::Result<T>,
) -> io::Result<(T, Duration)> {
    sleep_until(moment - BEFORE);
    let before = stolen_time()?;
    let result = run()?;
    sleep_until(moment + AFTER);
    Ok((result, stolen_time()? - before))
}

/// Returns the time that the hypervisor took from this machine since its start, see proc_stat(5).
fn stolen_time() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let field = stat.split_ascii_whitespace().nth(8);
    let hundredths: u64 = field
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::other("/proc/stat has no stolen time"))?;
    Ok(Duration::from_millis(10 * hundredths))
}

fn next_moment() -> Duration {
    Duration::from_secs(now().as_secs() + WAIT)
}

/// The time from the moment on, in milliseconds; negative before it.
fn late(time: Duration, moment: Duration) -> f64 {
    match time.checked_sub(moment) {
        Some(late) => late.as_secs_f64() * 1e3,
        None => -(moment - time).as_secs_f64() * 1e3,
    }
}

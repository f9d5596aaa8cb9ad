//! What the benchmark promises, and what a run measured of it.

use crate::load::{BURST, Burst};
use crate::measure::median;
use crate::promise::Promise;
use crate::results::{
    BESIDE_DUAL_FLOOR, COMMON, DEFAULT, GLIBC, LONGEST, NANOSECONDS, Results, Row, SLASHES,
    ServerKind,
};

/// Returns all promises.
pub fn all(results: &Results) -> Vec<Promise> {
    let mut promises = Vec::new();
    let mut promise = |name, most, measured| {
        promises.push(Promise::new((name, most, measured)));
    };
    let daemon = |request| results.row(ServerKind::Daemon, request);
    let default = daemon(DEFAULT);
    let ratio_to = |server| default.ratio_to(results.row(server, ""));
    promise("%Y-%m-%d %X, x floor", 1.05, default.ratio());
    promise("%Y/%m/%d %H:%M:%S, x floor", 1.05, daemon(SLASHES).ratio());
    promise("%Y-%m-%d %X, x chronyd", 0.9, ratio_to(ServerKind::Chronyd));
    promise(
        "%Y-%m-%d %X, x the Python server",
        0.7,
        ratio_to(ServerKind::Python),
    );
    promise("%s.%N, x floor", 1.12, daemon(NANOSECONDS).ratio());
    promise("64 formats in turn, x floor", 1.06, daemon(COMMON).ratio());
    let installed = results.row(ServerKind::Installed, BESIDE_DUAL_FLOOR);
    // The floor knows only the header's destination, not the address of this host.
    promise("as installed, x the floor on [::]", 1.05, installed.ratio());
    // The worst case has no promise. Most of its cost is rendering, which does not get cheaper
    // where system calls do: neither the floor nor a link bounds it on every machine. The promise
    // is on rendering, beside another implementation on the same core.
    promise(
        "rendering, x the C library's strftime",
        0.5,
        rendering(results),
    );
    bursts(results, &mut promise);

    // The peer makes the same system calls on the same kind of socket. A ratio to recvfrom + sendto
    // depends on what poll(2) and packet info cost in this kernel; the table has it.
    let installed = single(results, ServerKind::Installed);
    let same_calls = single(results, ServerKind::DualFloor);
    let ratio_of = |ratio: fn(&Row, &Row) -> f64| {
        let rows = installed.zip(same_calls);
        rows.map_or(f64::NAN, |(row, peer)| ratio(row, peer))
    };
    promise(
        "one request at a time, as installed, x the same system calls",
        1.35,
        ratio_of(Row::ratio_to),
    );
    // Round trips include the scheduler, and so depend on other load of the machine. On-CPU time
    // does not pass while a process is preempted.
    promise("the same, p99 of on-CPU time", 1.5, ratio_of(Row::p99_to));

    let [early, late] = results.memory.after.map(|(_, resident)| resident as f64);
    promise("resident after the first requests, KiB", 3072.0, early);
    promise(
        "resident after the last requests: no more, KiB",
        early,
        late,
    );
    let switches = results.idle_switches as f64;
    promise("context switches of an idle wallclockd", 0.0, switches);
    let of = |times: &[f64]| median(times.iter().copied());
    let (daemon, client) = (of(&results.starts.daemon), of(&results.starts.client));
    promise("wallclockd, start to first response, ms", 10.0, daemon);
    promise("wallclock, whole process, ms", 3.0, client);
    promise(
        "wallclock --json, whole process, ms",
        5.0,
        of(&results.offsets.process),
    );
    promise(
        "the same, error of the offset, us",
        1.0,
        of(&results.offsets.error),
    );
    promise("the same, bound, us", 50.0, of(&results.offsets.bound));
    let python = of(&results.starts.python_client);
    promise("wallclock, x the Python client", 0.1, client / python);
    promises
}

fn bursts(results: &Results, promise: &mut impl FnMut(&'static str, f64, f64)) {
    let unanswered = |bursts: &[Burst]| -> Vec<f64> {
        let unanswered = bursts.iter().map(|it| BURST as f64 - it.answered as f64);
        unanswered.collect()
    };
    let (daemon, plain) = (
        results.of(ServerKind::Daemon),
        results.of(ServerKind::Plain),
    );
    let all = unanswered(&daemon.root_bursts);
    let worst = all.into_iter().fold(f64::NAN, f64::max);
    promise("burst, 16 MiB, unanswered in the worst round", 0.0, worst);
    // A burst takes milliseconds. A server that is preempted during it loses up to a tenth more.
    promise(
        "burst, 416 KiB, unanswered, x the recvfrom + sendto echo",
        1.1,
        median(unanswered(&daemon.user_bursts)) / median(unanswered(&plain.user_bursts)),
    );
}

/// Returns the last row of a server in the table of one request at a time: of an echo, the one with
/// poll(2).
fn single(results: &Results, server: ServerKind) -> Option<&Row> {
    results.single.iter().rfind(|row| row.server == server)
}

/// Returns the cost of rendering all directives of glibc, in units of the C library's strftime.
/// What the kernel takes for the request is the cost of the floor with 1024 bytes.
fn rendering(results: &Results) -> f64 {
    let total = results.row(ServerKind::Daemon, GLIBC).cost();
    let kernel = results.row(ServerKind::Floor, LONGEST).cost();
    (total - kernel) / median(results.strftime.iter().copied())
}

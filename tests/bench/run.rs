//! The order of the measurements, and what is printed.

use std::array;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Options;
use crate::compare;
use crate::load::Load;
use crate::plot;
use crate::processes;
use crate::promises;
use crate::requests;
use crate::results::{Results, Row, ServerResults};
use crate::rounds::{self, RoundServers};
use crate::servers::Build;
use crate::setup::{Host, Plan, note};
use crate::single;
use crate::sys;
use crate::tables;
use crate::worst_case::{self, WorstCases};

/// Calls of the C library's strftime in each round, about 40 ms.
const STRFTIME_CALLS: u32 = 2000;

/// The other build and its rows, if there is one.
type Base = Option<(Build, Vec<Row>)>;

/// Runs what the options select. Returns whether every response was right and every promise held.
pub fn run(options: &Options) -> io::Result<bool> {
    let (plan, host, mut load) = (Plan::new(options), Host::new(), Load::new());
    sys::pin(None, host.load_core);

    if options.only.as_deref() == Some("offsets") {
        println!("{}", tables::offsets(&processes::offsets(&plan)?).text());
        return Ok(true);
    }
    if options.only.as_deref() == Some("single") {
        let mut rows = single::rows();
        for _ in 0..plan.rounds {
            single::round(&mut load, &plan, &host, &mut rows)?;
        }
        println!("{}", tables::single(&rows).text());
        return Ok(true);
    }
    note("searching for the worst case");
    let daemon = host.start_daemon(&Build::Current)?;
    let worst_cases = worst_case::search(&mut load, &daemon)?;
    if options.worst_case {
        print_worst_cases(&worst_cases);
        return Ok(true);
    }
    let rows = rounds::rows(&worst_cases, &daemon)?;
    let mut base = None;
    if let Some(path) = &options.base {
        let build = Build::Base(path.clone());
        let rows = compare::rows(&mut load, &host, &build, &worst_cases, &daemon)?;
        base = Some((build, rows));
    }
    drop(daemon);
    match options.only.as_deref() {
        Some("base") => only_base(&mut load, &plan, &host, base),
        Some(name) => only_rows(&mut load, &plan, &host, rows, name),
        None => {
            let results = measure(&mut load, &plan, &host, worst_cases, rows, base)?;
            print(options, &plan, &host, &results)
        }
    }
}

fn only_base(load: &mut Load, plan: &Plan, host: &Host, base: Base) -> io::Result<bool> {
    let Some((build, mut rows)) = base else {
        return Err(io::Error::other("--only base needs --base"));
    };
    for _ in 0..plan.rounds {
        compare::round(load, plan, host, &build, &mut rows)?;
    }
    println!("{}", tables::base(&rows).text());
    Ok(true)
}

fn only_rows(
    load: &mut Load,
    plan: &Plan,
    host: &Host,
    mut rows: Vec<Row>,
    name: &str,
) -> io::Result<bool> {
    rows.retain(|row| row.name().contains(name));
    for round in 0..plan.rounds {
        let running = RoundServers::start(host)?;
        rounds::throughput(load, plan, round, &running, &mut rows)?;
    }
    println!("{}", tables::only(&rows).text());
    Ok(true)
}

fn measure(
    load: &mut Load,
    plan: &Plan,
    host: &Host,
    worst_cases: WorstCases,
    mut rows: Vec<Row>,
    mut base: Base,
) -> io::Result<Results> {
    let mut servers = array::from_fn(|_| ServerResults::default());
    let mut single = single::rows();
    let glibc_format = requests::c_string(&requests::glibc_format());
    let mut strftime = Vec::new();
    for round in 0..plan.rounds {
        note(&format!("round {} of {}", round + 1, plan.rounds));
        let running = RoundServers::start(host)?;
        rounds::throughput(load, plan, round, &running, &mut rows)?;
        let now = requests::now();
        strftime.push(sys::strftime_cost(now, &glibc_format, STRFTIME_CALLS));
        rounds::half_load(load, plan, &running, &rows, &mut servers)?;
        running.measure_memory(&mut servers);
        drop(running);
        rounds::bursts(load, host, &mut servers)?;
        single::round(load, plan, host, &mut single)?;
        if let Some((build, rows)) = &mut base {
            compare::round(load, plan, host, build, rows)?;
        }
    }
    Ok(Results {
        rows,
        strftime,
        base: base.map(|(_, rows)| rows).unwrap_or_default(),
        servers,
        single,
        idle_switches: processes::idle_switches(plan, host)?,
        memory: processes::memory(load, plan, host)?,
        starts: processes::start_times(plan, host)?,
        offsets: processes::offsets(plan)?,
        worst_cases,
    })
}

/// Prints the tables and draws the plot. With `--markdown`, stdout has nothing but what
/// tests/bench/README.md has under "Results".
fn print(options: &Options, plan: &Plan, host: &Host, results: &Results) -> io::Result<bool> {
    let svg = options.svg.clone().unwrap_or_else(default_svg);
    if let Some(dir) = svg.parent() {
        fs::create_dir_all(dir)?;
    }
    plot::draw(&svg, &results.rows)?;
    for (index, table) in tables::all(results, options.markdown).iter().enumerate() {
        if options.markdown {
            println!("{}", table.markdown());
            if index == 0 {
                println!("![{}](cost.svg)\n", plot::TITLE);
            }
        } else {
            println!("{}", table.text());
        }
    }
    let notes = tables::notes(plan, host, results);
    let notes = format!("{notes}Plot: {}", svg.display());
    if options.markdown {
        eprintln!("{notes}");
    } else {
        println!("{notes}");
    }
    let wrong = results.wrong();
    let promises = promises::all(results);
    let broken = promises.iter().filter(|it| it.is_broken()).count();
    // The rounds of --quick are too short for the promises.
    let broken = if options.quick { 0 } else { broken };
    if wrong > 0 || broken > 0 {
        eprintln!("FAILED: {wrong} wrong responses, {broken} promises that do not hold");
    }
    Ok(wrong == 0 && broken == 0)
}

fn default_svg() -> PathBuf {
    // CARGO_TARGET_TMPDIR is a directory beside it.
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .with_file_name("bench")
        .join("cost.svg")
}

fn print_worst_cases(found: &WorstCases) {
    println!("{}", tables::directives(found).text());
    for request in [&found.answered, &found.too_long, &found.unknown] {
        let tail = String::from_utf8_lossy(&request.tails[0]);
        println!("{}\n{tail:?}\n", request.name);
    }
}

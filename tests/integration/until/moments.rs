//! The wait is never over early.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use chrono::DateTime;
use serde_json::Value;
use support::{
    Process, libfaketime_or_skip, repository, skip_without, skip_without_namespaces, start_daemon,
    start_daemon_with, wait_until, wallclockd,
};
use wallclock::offset::{Nanos, SECOND};

use super::{PRINT_CLOCK, client, printed_time, second_in, stderr};
use crate::addresses::Host;
use crate::offset::servers::{scripted_server, shifted, wall_clock, with_nanoseconds};

/// Formats a second of UTC.
fn format(second: Nanos, format: &str) -> String {
    let second = i64::try_from(second).expect("a second");
    let time = DateTime::from_timestamp(second, 0).expect("a time");
    time.format(format).to_string()
}

/// Waits until a second of these servers' clock, which COMMAND must not read too early.
#[track_caller]
fn wait_until_second(servers: &[SocketAddr], target: Nanos) -> Output {
    let mut command = client(servers);
    command
        .args(["--until", &format!("@{target}"), "--"])
        .args(PRINT_CLOCK);
    let output = command.output().expect("wallclock runs");
    let late = printed_time(&output) - target * SECOND;
    assert!(late >= 0, "early by {} ns: {output:?}", -late);
    output
}

#[test]
fn command_starts_at_the_moment_in_each_form() {
    let (_daemon, address) = start_daemon();
    let target = second_in(6);
    let forms = [
        format!("@{target}"),
        format!("@{target}.25"),
        format(target, "%T"),
        format(target, "%F %T"),
        format(target, "%FT%T.125"),
        format(target, "%FT%TZ"),
        format(target + 7_200, "%FT%T+02:00"),
    ];
    thread::scope(|scope| {
        for form in forms {
            scope.spawn(move || {
                let mut command = client(&[address]);
                command.args(["--until", &form, "--"]).args(PRINT_CLOCK);
                let output = command.output().expect("wallclock runs");
                let fraction = match form.split_once('.') {
                    Some((_, "25")) => SECOND / 4,
                    Some((_, "125")) => SECOND / 8,
                    _ => 0,
                };
                let late = printed_time(&output) - (target * SECOND + fraction);
                assert!(late >= 0, "{form}: early by {} ns", -late);
                let line = stderr(&output);
                let name = format(target, "wallclock: waiting until %F %T");
                assert!(
                    line.starts_with(&name) && line.contains("+00:00, "),
                    "{line}"
                );
                println!("{form}: {late} ns late");
            });
        }
    });
}

// The zone is the server's.
#[test]
fn wall_time_is_that_of_the_servers_zone() {
    let mut command = support::wallclockd();
    command
        .args(["--listen", "127.0.0.1:0"])
        .env("TZ", "XXX-5:45");
    let mut daemon = support::Process::start(&mut command);
    let address = daemon.wait_for_address();
    let target = second_in(6);
    let wall = target + 5 * 3_600 + 45 * 60;
    let outputs = [
        vec![format(wall, "%T")],
        vec!["--utc".into(), format(target, "%T")],
    ];
    thread::scope(|scope| {
        for (arguments, zone) in outputs.into_iter().zip(["+05:45", "+00:00"]) {
            scope.spawn(move || {
                let mut command = client(&[address]);
                command.env("TZ", "America/New_York");
                if arguments.len() == 2 {
                    command.arg("--utc");
                }
                let time = arguments.last().expect("a time");
                command.args(["--until", time, "--"]).args(PRINT_CLOCK);
                let output = command.output().expect("wallclock runs");
                assert!(printed_time(&output) >= target * SECOND, "{output:?}");
                assert!(stderr(&output).contains(zone), "{output:?}");
            });
        }
    });
}

#[test]
fn a_time_of_day_that_is_past_is_tomorrow() {
    let (_daemon, address) = start_daemon();
    let past = second_in(0) - 3;
    let mut command = client(&[address]);
    command.args(["--until", &format(past, "%T")]);
    let mut process = support::Process::start(&mut command);
    let line = process.wait_for("waiting until ");
    assert!(line.contains(&format(past + 86_400, "%F %T")), "{line}");
    assert!(line.contains("23 h 59 min "), "{line}");
}

// A quarter of an hour of the server's wall clock begins in some seconds. There its zone skips an
// hour, with the moment in it.
#[test]
fn a_time_that_the_zone_skips_is_due_after_the_change() {
    let change = second_in(6);
    let before = 900 - change % 900;
    let server = scripted_server("127.0.0.1:0", move |request, _| {
        let now = wall_clock();
        let offset = if now < change * SECOND {
            before
        } else {
            before + 3_600
        };
        let wall = now / SECOND + offset;
        let response = request
            .replace("%F", &format(wall, "%F"))
            .replace("%T", &format(wall, "%T"))
            .replace("%z", "+0000");
        Some(with_nanoseconds(&response, now))
    });
    let skipped = format(change + before + 1_800, "%F %T");
    let mut command = client(&[server]);
    command.args(["--until", &skipped, "--"]).args(PRINT_CLOCK);
    let output = command.output().expect("wallclock runs");
    let late = printed_time(&output) - change * SECOND;
    // Without a reading after the change it would be half an hour.
    assert!(
        (0..600 * SECOND).contains(&late),
        "{late} ns after the change"
    );
    println!("{late} ns after the change");
    assert!(stderr(&output).contains("min "), "{output:?}");
}

// One of three servers is 100 s ahead: with it the wait would be over at once.
#[test]
fn a_liar_does_not_make_it_early() {
    let (_daemon, honest) = start_daemon();
    let (_daemon, other) = start_daemon_with(&["--listen", "127.0.0.1:0", "--utc"]);
    let liar = scripted_server("127.0.0.1:0", |request, _| {
        Some(with_nanoseconds(request, wall_clock() + 100 * SECOND))
    });
    let target = second_in(6);
    wait_until_second(&[liar, honest, other], target);
}

#[test]
fn json_reports_the_moment_on_standard_error() {
    let (_daemon, address) = start_daemon();
    let target = second_in(6);
    let mut command = client(&[address]);
    command.args(["--until", &format!("@{target}"), "--json"]);
    let output = command.output().expect("wallclock runs");
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    let text = stderr(&output);
    let json: Value = serde_json::from_str(text.lines().last().expect("a line")).expect(&text);
    assert_eq!(json["until"], format(target, "%F %T+00:00"), "{json}");
    let number = |key: &str| json[key].as_f64().expect(key);
    // The clock of this machine may be slewed meanwhile.
    let error = number("due") - target as f64;
    let max = 2.0 * number("bound") + 0.01;
    assert!((-0.01..=max).contains(&error), "{json}");
    assert!(number("late") >= 0.0 && number("bound") > 0.0, "{json}");
}

/// The host of the servers, and the hosts of clients on one Ethernet with it. Each client reaches
/// the server at 10.98.0.1, and the loopback address is that of the server too: the Python server
/// has no other. Skips the test where that is not possible.
fn hosts_or_skip(clients: u32) -> Option<(Host, Vec<Host>)> {
    if skip_without_namespaces() || skip_without(&["ip", "nsenter", "setpriv"]) {
        return None;
    }
    let server = Host::new();
    server.run(
        "ip link set lo up; ip link add br0 type bridge; ip link set br0 up; \
         ip addr add 10.98.0.1/24 dev br0; echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet",
    );
    let connect = |number| {
        let (client, pid) = (Host::new(), server.pid());
        client.run(&format!(
            "ip link add eth0 type veth peer name port{number} netns {pid}; \
             ip addr add 10.98.0.{}/24 dev eth0; ip link set eth0 up; \
             echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; \
             ip route add 127.0.0.1/32 via 10.98.0.1",
            number + 2
        ));
        server.run(&format!("ip link set port{number} master br0 up"));
        client
    };
    let clients = (0..clients).map(connect).collect();
    Some((server, clients))
}

#[test]
fn forty_hosts_with_wrong_clocks_start_together_and_none_early() {
    let Some(library) = libfaketime_or_skip() else {
        return;
    };
    let Some((server, hosts)) = hosts_or_skip(40) else {
        return;
    };
    let start = |command: &mut Command| {
        let mut process = Process::start(&mut server.on(command));
        let address = process.wait_for_address();
        (process, address)
    };
    let (_daemon, daemon) = start(wallclockd().args(["--listen", "10.98.0.1:0", "--utc"]));
    let program = repository().join("tests/python/server.py");
    let has_python = !skip_without(&["python3"]);
    let python = has_python.then(|| start(Command::new("python3").arg(program).arg("0")));
    let python = python.as_ref().map_or(daemon, |(_, address)| *address);
    // Whole seconds take 4 s to measure, and again before the moment; starting 40 processes takes
    // its time on a busy machine.
    let target = second_in(20);
    let clients = hosts.iter().enumerate().map(|(number, host)| {
        let hours = (number as f64 - 19.5) / 3.0;
        let shift = format!("{:+.3}", hours * 3_600.0);
        let mut command = client(&[if number % 4 == 3 { python } else { daemon }]);
        let form = format!("@{target}");
        command.args(["--until", &form, "--"]).args(PRINT_CLOCK);
        let command = host.on(shifted(&mut command, &library, &shift));
        (shift, command)
    });
    let clients: Vec<_> = clients.collect();
    let start = |(shift, mut command): (String, Command)| {
        let output = command.output().expect("wallclock runs");
        (shift, printed_time(&output) - target * SECOND)
    };
    let mut late: Vec<_> = thread::scope(|scope| {
        let threads = clients.into_iter();
        let threads: Vec<_> = threads.map(|it| scope.spawn(move || start(it))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().expect("no panic");
        threads.into_iter().map(join).collect()
    });
    for (shift, late) in &late {
        assert!(
            *late >= 0,
            "the client with {shift} s is early by {} ns",
            -late
        );
    }
    late.sort_by_key(|(_, late)| *late);
    let show = |index: usize| Duration::from_nanos(u64::try_from(late[index].1).expect("late"));
    println!(
        "first {:?}, median {:?}, last {:?}",
        show(0),
        show(20),
        show(39)
    );
}

// Both honest servers refuse shortly before the moment. What two of three agreed on is known then.
#[test]
fn a_liar_that_is_left_alone_is_not_believed() {
    let target = second_in(8);
    let honest = || {
        scripted_server("127.0.0.1:0", move |request, _| {
            let now = wall_clock();
            Some(match now < (target - 3) * SECOND {
                true => with_nanoseconds(request, now),
                false => "error: clock not synchronised".to_owned(),
            })
        })
    };
    let liar = scripted_server("127.0.0.1:0", |request, _| {
        Some(with_nanoseconds(request, wall_clock() + 100 * SECOND))
    });
    let output = wait_until_second(&[liar, honest(), honest()], target);
    assert!(
        stderr(&output).contains("only a minority responds"),
        "{output:?}"
    );
}

#[test]
fn a_server_with_whole_seconds_is_asked_for_nanoseconds_once() {
    let (sender, requests) = channel();
    let server = scripted_server("127.0.0.1:0", move |request, _| {
        sender.send(request.to_owned()).expect("the test receives");
        let now = wall_clock() / SECOND;
        let response = request
            .replace("%s", &now.to_string())
            .replace("%F", &format(now, "%F"))
            .replace("%T", &format(now, "%T"));
        Some(response.replace("%z", "+0000"))
    });
    let target = second_in(12);
    wait_until_second(&[server], target);
    let requests: Vec<_> = requests.try_iter().collect();
    let of_nanoseconds = requests.iter().filter(|it| it.contains("%N")).count();
    assert_eq!(of_nanoseconds, 1, "{requests:?}");
    println!("{} requests", requests.len());
}

#[test]
fn a_standard_error_that_is_blocked_delays_nothing() {
    let (_daemon, address) = start_daemon();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // Full: it takes no byte more.
    rustix::io::ioctl_fionbio(&writer, true).expect("a non-blocking pipe");
    while rustix::io::write(&writer, &[b' '; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).expect("a blocking pipe");
    let target = second_in(4);
    for arguments in [
        &["--until", &format!("@{target}")][..],
        &["--wait-sync", "0.000000001", "--deadline", "2"],
    ] {
        let mut command = client(&[address]);
        command
            .args(arguments)
            .stderr(writer.try_clone().expect("a descriptor"));
        let mut process = command.spawn().expect("wallclock runs");
        wait_until("it waits for standard error", || {
            process.try_wait().expect("a child").is_some()
        });
    }
    drop(reader);
}

#[test]
fn the_zone_that_is_shown_is_that_of_most_servers() {
    let start = |zone: &str| {
        let mut command = wallclockd();
        command.args(["--listen", "127.0.0.1:0"]).env("TZ", zone);
        let mut daemon = Process::start(&mut command);
        let address = daemon.wait_for_address();
        (daemon, address)
    };
    let daemons = [start("XXX-1"), start("UTC"), start("UTC")];
    let addresses: Vec<_> = daemons.iter().map(|(_, address)| *address).collect();
    let target = second_in(4);
    let mut command = client(&addresses);
    command.args(["--until", &format(target, "%T")]);
    let output = command.output().expect("wallclock runs");
    let name = format(target, "waiting until %F %T+00:00, ");
    assert!(stderr(&output).contains(&name), "{output:?}");
    assert!(output.status.success(), "{output:?}");
}

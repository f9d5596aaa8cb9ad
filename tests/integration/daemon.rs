//! The daemon as a process: what it answers from where, what it logs, how it starts and ends.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use support::{
    Process, ask, counters, daemon, lacks, lacks_ipv6, line_to, patient_wallclock, read_counters,
    skip, state, switches, until, wallclock, wallclockd,
};
use wallclock::protocol::MAX_RESPONSE_LEN;

fn start(arguments: &[&str]) -> (Process, SocketAddr) {
    let mut process = Process::start(wallclockd().args(arguments));
    let address = process.wait_for_address();
    (process, address)
}

/// What a daemon that can't start says, and its exit status.
fn failure(command: &mut Command) -> (String, Option<i32>) {
    let output = command.output().expect("it runs");
    (
        String::from_utf8(output.stderr).expect("UTF-8"),
        output.status.code(),
    )
}

fn unix_now() -> i64 {
    std::time::UNIX_EPOCH
        .elapsed()
        .expect("after 1970")
        .as_secs()
        .cast_signed()
}

/// Whether a server answers `%s` with a second that there was between question and answer.
fn tells_now(server: SocketAddr) -> bool {
    let before = unix_now();
    let answer = ask(server, b"%s");
    let second = std::str::from_utf8(&answer)
        .ok()
        .and_then(|text| text.parse().ok());
    second.is_some_and(|second| (before..=unix_now()).contains(&second))
}

#[test]
fn the_python_client_gets_the_time_from_our_daemon() {
    if lacks(&["python3"]) {
        return;
    }
    let (_daemon, address) = daemon();
    let before = unix_now();
    let output = Command::new("python3")
        .args([
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/client.py"),
            &address.port().to_string(),
        ])
        .output()
        .expect("python3 runs");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let time = chrono::NaiveDateTime::parse_from_str(printed.trim_end(), "%Y/%m/%d %H:%M:%S")
        .expect(&printed);
    let second = time.and_utc().timestamp();
    assert!((before..=unix_now()).contains(&second), "{printed}");
}

#[test]
fn our_client_prints_the_time_of_the_python_server_without_its_nonce() {
    if lacks(&["python3"]) {
        return;
    }
    let server = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/server.py");
    let mut python = Process::start(Command::new("python3").args([server, "0"]).env("TZ", "UTC"));
    let address = python.wait_for_address().to_string();
    let ask = |format: &str| {
        patient_wallclock()
            .args(["-s", &address, format])
            .output()
            .expect("it runs")
    };

    let before = unix_now();
    let output = ask("%s");
    let second = String::from_utf8_lossy(&output.stdout).trim_end().parse();
    // time(2), by which Python goes, begins its seconds a tick late.
    let is_now = |second| (before - 1..=unix_now()).contains(&second);
    assert!(second.is_ok_and(is_now), "{output:?}");
    let output = ask("%Y/%m/%d %H:%M:%S");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    chrono::NaiveDateTime::parse_from_str(printed.trim_end(), "%Y/%m/%d %H:%M:%S").expect(&printed);
    assert_eq!(ask("+100%% %Z").stdout, b"100% UTC\n");

    // What it does not know it sends back as it stands, which is no time.
    let output = ask("%N");
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(1), &b""[..])
    );
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("does not know this format"),
        "{output:?}"
    );
}

#[test]
fn a_connected_client_hears_from_the_address_it_asked() {
    if lacks_ipv6() {
        return;
    }
    let (_any, any) = start(&["-l", "[::]:0"]);
    let (_any_v4, any_v4) = start(&["-l", "0.0.0.0:0"]);
    let mut asked = vec![
        format!("127.0.0.1:{}", any_v4.port()),
        format!("127.0.0.2:{}", any_v4.port()),
    ];
    asked.extend(
        ["127.0.0.1", "127.0.0.2", "127.3.4.5", "[::1]"]
            .map(|host| format!("{host}:{}", any.port())),
    );
    for address in asked {
        let server = address.parse().expect("an address");
        assert!(tells_now(server), "{address}");
    }
    let (_one, one) = start(&["-l", "127.0.0.2:0"]);
    assert!(tells_now(one));
}

#[test]
fn several_addresses_are_served_by_one_daemon() {
    if lacks_ipv6() {
        return;
    }
    let mut process = Process::start(wallclockd().args([
        "-l",
        "127.0.0.1:0",
        "-l",
        "[::1]:0",
        "--listen=127.0.0.2:0",
    ]));
    for _ in 0..3 {
        let address = process.wait_for_address();
        assert!(tells_now(address), "{address}");
    }
}

#[test]
fn the_environment_sets_what_the_options_set() {
    if lacks_ipv6() {
        return;
    }
    let mut process = Process::start(
        wallclockd()
            .env("WALLCLOCKD_LISTEN", "127.0.0.1:0,[::1]:0")
            .env("WALLCLOCKD_UTC", "yes")
            .env("TZ", "CST-8"),
    );
    for _ in 0..2 {
        assert_eq!(ask(process.wait_for_address(), b"%Z"), b"UTC");
    }
}

#[test]
fn a_second_daemon_on_the_port_warns_takes_over_and_gives_back() {
    let (_first, address) = start(&["-l", "127.0.0.1:0", "--utc"]);
    let mut second = Process::start(
        wallclockd()
            .args(["-l", &address.to_string()])
            .env("TZ", "CST-8"),
    );
    let warning = second.wait_for("WARN");
    assert!(
        warning.contains(&address.to_string()) && warning.contains("another socket"),
        "{warning}"
    );
    second.wait_for_address();
    for _ in 0..20 {
        assert_eq!(ask(address, b"%Z"), b"CST");
    }
    second.signal("TERM");
    assert!(second.wait().success());
    for _ in 0..20 {
        assert_eq!(ask(address, b"%Z"), b"UTC");
    }
}

/// Ends a daemon, which is to have said nothing of another socket on its port.
fn ends_without_a_warning_of_others(mut process: Process) {
    process.signal("TERM");
    assert!(process.wait().success());
    assert!(
        !process
            .log
            .iter()
            .any(|line| line.contains("another socket")),
        "{:#?}",
        process.log
    );
}

#[test]
fn a_daemon_alone_on_its_port_warns_of_nothing() {
    let (process, _) = daemon();
    ends_without_a_warning_of_others(process);
}

#[test]
fn a_daemons_own_sockets_are_no_others() {
    if lacks_ipv6() {
        return;
    }
    // A port that was free a moment ago: these two addresses overlap.
    let port = UdpSocket::bind("[::]:0")
        .and_then(|socket| socket.local_addr())
        .expect("a free port")
        .port();
    let list = format!("127.0.0.1:{port},[::]:{port},localhost:{port}");
    let mut process = Process::start(wallclockd().env("WALLCLOCKD_LISTEN", list));
    process.wait_for_address();
    ends_without_a_warning_of_others(process);
}

#[test]
fn instances_that_share_the_port_do_not_warn_of_each_other() {
    let (_first, address) = start(&["-l", "127.0.0.1:0", "--reuse-port"]);
    let (second, _) = start(&["-l", &address.to_string(), "--reuse-port"]);
    ends_without_a_warning_of_others(second);
}

/// Sends a datagram that claims to come from `from`, where somebody else listens.
///
/// The socket shares the port by SO_REUSEADDR, and is connected elsewhere so that what is sent back goes to the other.
fn forge(from: SocketAddr, to: SocketAddr, payload: &[u8]) {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("SO_REUSEADDR");
    socket.bind(&from.into()).expect("the shared port");
    socket
        .connect(&SocketAddr::from(([127, 0, 0, 9], 9)).into())
        .expect("elsewhere");
    socket.send_to(payload, &to.into()).expect("it is sent");
}

/// Datagrams that would keep two careless servers talking.
const BAITS: [&[u8]; 6] = [
    b"%Q",
    b"%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%",
    b"%T",
    b"",
    b"hello",
    b"%",
];

/// So many turns of a loop as no datagram gets from daemons that keep the rules.
const TURNS: u64 = 100;

#[test]
fn a_forged_datagram_between_two_daemons_starts_no_loop() {
    let ((mut a, a_address), (mut b, b_address)) = (daemon(), daemon());
    // What a daemon sends is with the other before it takes the next question: each round of
    // questions to both lets a loop of the two turn at least once.
    let ask_both = |rounds: u64| {
        for _ in 0..rounds {
            ask(a_address, b"%s");
            ask(b_address, b"%s");
        }
    };
    let mut total =
        || counters(&mut a)[..3].iter().sum::<u64>() + counters(&mut b)[..3].iter().sum::<u64>();
    for bait in BAITS {
        let before = total();
        forge(a_address, b_address, bait);
        ask_both(TURNS);
        let datagrams = total() - before - 2 * TURNS;
        assert!(datagrams > 0, "{bait:?} does not arrive");
        // Each answer is a datagram that the other takes in: log2(k) + 2 answers, one datagram more.
        let k = bait.iter().filter(|&&byte| byte == b'%').count().max(1);
        assert!(
            datagrams <= u64::from(k.ilog2()) + 3,
            "{bait:?}: {datagrams} datagrams"
        );
    }
}

#[test]
fn the_same_forged_datagram_keeps_two_careless_servers_talking() {
    // Passes through what it does not know and answers everything, as a plain strftime loop does.
    fn careless(question: &[u8]) -> Vec<u8> {
        if question.is_empty() {
            b"2026-07-05 01:05:07".to_vec()
        } else {
            question.to_vec()
        }
    }
    let turns = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let servers = [(); 2].map(|()| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)
            .expect("a socket");
        socket.set_reuse_address(true).expect("SO_REUSEADDR");
        socket
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .expect("a free port");
        let socket = UdpSocket::from(socket);
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a time-out");
        let address = socket.local_addr().expect("an address");
        let (turns, over) = (Arc::clone(&turns), Arc::clone(&over));
        let thread = thread::spawn(move || {
            let mut room = [0; 2048];
            while !over.load(Ordering::Relaxed) {
                if let Ok((length, peer)) = socket.recv_from(&mut room) {
                    turns.fetch_add(1, Ordering::Relaxed);
                    let _ = socket.send_to(&careless(&room[..length]), peer);
                }
            }
        });
        (address, thread)
    });
    forge(servers[0].0, servers[1].0, BAITS[0]);
    until("the forged datagram starts no loop", || {
        turns.load(Ordering::Relaxed) >= TURNS
    });
    over.store(true, Ordering::Relaxed);
    for (_, thread) in servers {
        thread.join().expect("it ends");
    }
}

#[test]
fn an_idle_daemon_makes_no_system_call() {
    thread::scope(|scope| {
        // With one socket it sleeps in the receive, with two in poll(2).
        for arguments in [
            &["-l", "127.0.0.1:0"][..],
            &["-l", "127.0.0.1:0", "-l", "127.0.0.1:0"],
        ] {
            scope.spawn(|| sleeps_while_nobody_asks(arguments));
        }
    });
}

fn sleeps_while_nobody_asks(arguments: &[&str]) {
    let (process, address) = start(arguments);
    ask(address, b"%s");
    until("it does not go to sleep", || state(process.id()) == 'S');
    let before = switches(process.id());
    thread::sleep(Duration::from_secs(3));
    assert_eq!(
        switches(process.id()),
        before,
        "context switches while nobody asked"
    );
}

#[test]
fn told_to_stop_while_idle_it_ends() {
    if lacks_ipv6() {
        return;
    }
    for (signal, more) in [
        ("TERM", &[][..]),
        ("INT", &[]),
        ("TERM", &["-l", "127.0.0.1:0"]),
        ("INT", &["-l", "[::1]:0"]),
    ] {
        let (mut process, _) = start(&[&["-l", "127.0.0.1:0"], more].concat());
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(0), "{signal}");
        let last = process.log.last().expect("a last line");
        assert_eq!(read_counters(last), [0; 5], "{last}");
    }
}

#[test]
fn what_is_queued_before_the_order_to_stop_is_answered_whatever_comes_behind_it() {
    for more in [&[][..], &["-l", "127.0.0.1:0"]] {
        let (mut process, address) = start(&[&["-l", "127.0.0.1:0"], more].concat());
        let client = line_to(address);
        process.signal("STOP");
        for number in 0..200 {
            client
                .send(format!("{number} %s").as_bytes())
                .expect("it is queued");
        }
        process.signal("TERM");
        let flood = Flood::start(address);
        process.signal("CONT");
        // It ends although the flood does not.
        assert_eq!(process.wait().code(), Some(0));
        drop(flood);
        let mut room = [0; 64];
        for number in 0..200 {
            let length = client.recv(&mut room).expect("an answer");
            let answer = std::str::from_utf8(&room[..length]).expect("UTF-8");
            assert_eq!(answer.split(' ').next(), Some(number.to_string().as_str()));
        }
        let [answered, _, _, unsent, _] = read_counters(process.log.last().expect("a last line"));
        assert!(answered >= 200 && unsent == 0, "{answered}, {unsent}");
    }
}

/// Questions without end, for as long as it lives.
struct Flood {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn start(address: SocketAddr) -> Flood {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = thread::spawn(move || {
            // Not connected: the end of the daemon is no error here.
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            while !told.load(Ordering::Relaxed) {
                let _ = socket.send_to(b"%Y-%m-%d %X", address);
            }
        });
        Flood {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn told_to_stop_while_flooded_it_ends() {
    stops_while_flooded(&[]);
    stops_while_flooded(&["-l", "127.0.0.1:0"]);
}

fn stops_while_flooded(more: &[&str]) {
    let (mut process, address) =
        start(&[&["-l", "127.0.0.1:0", "--receive-buffer", "212992"], more].concat());
    let flood = Flood::start(address);
    until("it does not answer", || counters(&mut process)[0] >= 1_000);
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    drop(flood);
    // Whatever was taken in was answered: there is no other way out of the queue.
    let [answered, _, _, unsent, _] = read_counters(process.log.last().expect("a last line"));
    assert!(
        answered >= 1_000 && unsent == 0,
        "{answered} answered, {unsent} unsent"
    );
}

#[test]
fn the_counters_tell_each_verdict() {
    let (mut process, address) = daemon();
    let client = line_to(address);
    for question in [&b"%T"[..], b"", b"%Q", b"hello", b"%", b"more"] {
        client.send(question).expect("it is sent");
    }
    ask(address, b"%s");
    assert_eq!(counters(&mut process), [3, 2, 2, 0, 0]);
}

#[test]
fn what_the_kernel_drops_is_counted() {
    let (mut process, address) = start(&["-l", "127.0.0.1:0", "--receive-buffer", "4096"]);
    process.signal("STOP");
    let client = line_to(address);
    for _ in 0..200 {
        client.send(b"%s").expect("it is sent");
    }
    process.signal("CONT");
    // While the queue is still full, what comes is dropped too: asked until there is an answer.
    let asker = line_to(address);
    asker
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a time-out");
    let mut asked = 0;
    while {
        asker.send(b"%s").expect("it is sent");
        asked += 1;
        asker.recv(&mut [0; 64]).is_err()
    } {
        assert!(asked < 600, "it does not answer any more");
    }
    // Where an answer took longer than the time-out, a later question is still in the queue.
    let mut counted = [0; 2];
    until("some are neither answered nor dropped", || {
        let [answered, .., dropped] = counters(&mut process);
        counted = [answered, dropped];
        answered + dropped >= 200 + asked
    });
    let [answered, dropped] = counted;
    assert_eq!(answered + dropped, 200 + asked);
    assert!(dropped > 0);
}

#[test]
fn a_bad_datagram_gets_its_error_and_hostile_ones_leave_no_trace_in_the_log() {
    let (mut process, address) = daemon();
    assert_eq!(
        ask(address, b"%Y/%m/%d %Q"),
        b"error: byte 9: unknown conversion Q"
    );
    assert_eq!(ask(address, b"%\xff"), b"error: byte 1: not UTF-8");
    let long = [b"%T", &[b'a'; 9000][..]].concat();
    assert_eq!(
        ask(address, &long),
        b"error: question longer than 1024 bytes"
    );
    let client = line_to(address);
    // All that it had to say at its start is said before this.
    counters(&mut process);
    let before = process.said().len();
    for round in 0..10_000_u32 {
        let noise: Vec<u8> = (0..round % 60)
            .map(|index| (round.wrapping_mul(2_654_435_761) >> (index % 24)) as u8)
            .collect();
        client.send(&noise).expect("it is sent");
        // So that the smallest buffer holds what is on its way.
        if round % 200 == 199 {
            assert!(tells_now(address));
        }
    }
    process.signal("TERM");
    assert!(process.wait().success());
    assert_eq!(process.log.len(), before + 1, "{:#?}", process.log);
}

#[test]
fn at_debug_level_hostile_bytes_are_escaped_on_one_line_each() {
    let mut process = Process::start(
        wallclockd()
            .args(["-l", "127.0.0.1:0"])
            .env("RUST_LOG", "debug"),
    );
    let address = process.wait_for_address();
    let client = line_to(address);
    for (question, logged) in [
        (
            &b"%T\n[2026 ERROR] fake\r\n"[..],
            r#"asked "%T\n[2026 ERROR] fake\r\n": answered"#,
        ),
        (
            b"\x1b[2J%Q",
            r#"asked "\x1b[2J%Q": refused, byte 4: unknown conversion Q"#,
        ),
        (
            b"\xff\0%d",
            r#"asked "\xff\x00%d": refused, byte 0: not UTF-8"#,
        ),
        (
            "%\u{202e}".as_bytes(),
            r#"asked "%\xe2\x80\xae": refused, byte 0: unknown conversion \u{202e}"#,
        ),
        (b"quiet", r#"asked "quiet": ignored, no conversion in it"#),
        (b"", r#"asked "": answered"#),
    ] {
        client.send(question).expect("it is sent");
        let line = process.wait_for("asked");
        assert!(line.ends_with(logged), "{line}");
        assert!(
            line.contains("DEBUG") && line.contains("127.0.0.1:"),
            "{line}"
        );
    }
    client.send(&[b'%'; 9000]).expect("it is sent");
    let line = process.wait_for("asked");
    assert!(
        line.contains("%\" and more: refused") && line.len() < 1400,
        "{line}"
    );
}

/// A daemon in this zone that can't start, and says so in one line with this text.
fn fails_to_start(arguments: [&str; 2], zone: Option<&str>, named: &str) {
    let mut command = wallclockd();
    if let Some(zone) = zone {
        command.env("TZ", zone);
    }
    let (said, status) = failure(command.args(arguments));
    assert_eq!(status, Some(1), "{said}");
    let errors: Vec<_> = said.lines().filter(|line| line.contains("ERROR")).collect();
    assert!(
        errors.len() == 1 && errors[0].contains(named),
        "{named:?} in {said}"
    );
    assert!(
        !said.contains("panicked") && !said.contains("listening on"),
        "{said}"
    );
}

#[test]
fn what_keeps_it_from_starting_is_one_line_with_the_things_name() {
    let blocker = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let taken = blocker.local_addr().expect("an address").to_string();
    for (arguments, zone, named) in [
        (
            ["-l", "192.0.2.1:9527"],
            None,
            "192.0.2.1:9527: Cannot assign requested address",
        ),
        (
            ["-l", &taken],
            None,
            &*format!("{taken}: Address already in use"),
        ),
        (
            ["-l", "no-such-host.invalid"],
            None,
            "no-such-host.invalid:9527",
        ),
        (
            ["-l", "127.0.0.1:0"],
            Some("Mars/Olympus"),
            "TZ=Mars/Olympus",
        ),
        (
            ["-l", "127.0.0.1:0"],
            Some("EST5EDT4,nonsense"),
            "TZ=EST5EDT4,nonsense",
        ),
        (
            ["-l", "127.0.0.1:0"],
            Some(":/etc/passwd"),
            "zone file /etc/passwd",
        ),
        (["-l", "127.0.0.1:0"], Some("\u{1b}[2J"), "TZ="),
    ] {
        fails_to_start(arguments, zone, named);
    }
}

#[test]
fn an_ipv6_address_of_another_host_keeps_it_from_starting() {
    if lacks_ipv6() {
        return;
    }
    let named = "[2001:db8::1]:9527: Cannot assign requested address";
    fails_to_start(["-l", "[2001:db8::1]:9527"], None, named);
}

#[test]
fn wrong_usage_is_one_line_on_stderr_with_status_2() {
    for (arguments, named) in [
        (&["--listen", "127.0.0.1:notaport"][..], "notaport"),
        (&["--listen", ""], "no host"),
        (&["--nonsense"], "--nonsense"),
        (&["--receive-buffer", "0"], "--receive-buffer"),
        (&["--receive-buffer", "lots"], "lots"),
        (&["stray"], "stray"),
        // With a tip and a reminder of --help, if clap had its way.
        (&["--recieve-buffer", "1"], "--recieve-buffer"),
    ] {
        let (said, status) = failure(wallclockd().args(arguments));
        assert_eq!(status, Some(2), "{said}");
        assert!(
            said.starts_with("wallclockd: ") && said.contains(named) && said.lines().count() == 1,
            "{said}"
        );
    }
}

#[test]
fn an_empty_variable_is_as_good_as_none() {
    let help = wallclockd().arg("--help").output().expect("it runs");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let variables: Vec<_> = help
        .split("[env: ")
        .skip(1)
        .filter_map(|rest| rest.split('=').next())
        .collect();
    assert!(variables.contains(&"WALLCLOCKD_LISTEN"), "{variables:?}");
    for variable in variables {
        // Past its usage it stops at the zone, before it takes the port of the room.
        let (said, status) = failure(wallclockd().env(variable, "").env("TZ", "Mars/Olympus"));
        assert_eq!(status, Some(1), "{variable}: {said}");
        assert!(said.contains("TZ=Mars/Olympus"), "{variable}: {said}");
    }
}

#[test]
fn help_version_pages_and_completions_go_to_stdout() {
    for (mut program, name) in [(wallclockd(), "wallclockd"), (wallclock(), "wallclock")] {
        let mut print = |arguments: &[&str]| {
            let output = program.args(arguments).output().expect("it runs");
            assert!(output.status.success(), "{output:?}");
            program = if name == "wallclockd" {
                wallclockd()
            } else {
                wallclock()
            };
            String::from_utf8(output.stdout).expect("UTF-8")
        };
        assert!(print(&["--help"]).contains("Exit status:"));
        assert_eq!(
            print(&["--version"]),
            format!("{name} {}\n", env!("CARGO_PKG_VERSION"))
        );
        assert!(print(&["--generate", "man"]).contains(".TH"));
        for shell in ["bash", "zsh", "fish"] {
            assert!(print(&["--generate", shell]).contains(name), "{shell}");
        }
    }
}

#[test]
fn a_datagram_from_a_low_port_gets_silence() {
    let socket = match (1..1024)
        .rev()
        .find_map(|port| UdpSocket::bind(("127.0.0.1", port)).ok())
    {
        Some(socket) => socket,
        None => return skip("no right to a port below 1024"),
    };
    let (mut process, address) = daemon();
    socket.send_to(b"%T", address).expect("it is sent");
    ask(address, b"%s");
    assert_eq!(counters(&mut process), [1, 0, 1, 0, 0]);
    socket.set_nonblocking(true).expect("non-blocking");
    assert!(socket.recv(&mut [0; MAX_RESPONSE_LEN]).is_err());
}

#[test]
fn descriptors_that_were_announced_and_are_not_there_are_missed() {
    let announced = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" 3<&-";
    let mut command = Command::new("sh");
    command.args(["-c", announced, env!("CARGO_BIN_EXE_wallclockd")]);
    let mut process = Process::start(&mut command);
    assert_eq!(process.wait().code(), Some(1));
    let said = process.log.join("\n");
    assert!(
        said.contains("take over the sockets of LISTEN_FDS: Bad file descriptor"),
        "{said}"
    );
}

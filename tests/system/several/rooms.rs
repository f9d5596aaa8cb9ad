//! One server in each room: what a client sees when the server of its own room is away.

use std::process::Output;
use std::time::{Duration, Instant};

use super::super::documents::block_with;
use super::super::network::{Switch, shell_in};
use super::{daemon, daemon_with_clock, recipes, skip_without_hosts};
use support::faults::ClockStatus;

/// The documented order of servers: that of the own room, and the next.
fn servers() -> String {
    block_with("WALLCLOCK_SERVER=192.168.7.10,192.168.8.10")
}

#[test]
fn next_room_answers_while_the_own_server_is_away() {
    if skip_without_hosts(&["nft"]) {
        return;
    }
    let switch = Switch::new();
    let client = switch.host(21);
    client.ip("route add 192.168.8.0/24 dev eth0");
    let query = |options: &str| -> (Output, Duration) {
        let line = format!("{} wallclock {options} +%Z", servers().trim());
        let start = Instant::now();
        let output = shell_in(client.pid(), &line).output().expect("nsenter");
        let took = start.elapsed();
        (output, took)
    };
    let assert_next_answers = |own: &str, options: &str| {
        let (output, took) = query(options);
        eprintln!("{own}: {} ms with {options:?}", took.as_millis());
        assert!(output.status.success(), "{own}: {output:?}");
        assert_eq!(output.stdout, b"NEXT\n", "{own}");
        assert_eq!(output.stderr, b"", "{own}");
        took
    };

    // No room has a server: all tries, and their last waits, which have no random time.
    let (output, took) = query("-t 0.5 -r 1");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(output.stdout, b"");
    assert!(took >= Duration::from_millis(500), "{took:?}");

    let next = switch.host(12);
    next.ip("addr add 192.168.8.10/24 dev eth0");
    let _daemon = daemon(&next, "NEXT", "");
    let half = Duration::from_millis(500);
    // No host has the address: nothing answers ARP.
    assert!(assert_next_answers("host down", "") >= half);
    let own = switch.host(10);
    // A request that waits for the address of the host that was down may be lost.
    client.ip("neigh flush dev eth0");
    // Half of this time-out is longer than any host needs.
    let took = assert_next_answers("port closed", "-t 120");
    assert!(took < Duration::from_secs(60), "{took:?}");
    {
        let settings = "WALLCLOCKD_REQUIRE_SYNC=true";
        match daemon_with_clock(&own, "OWN", settings, ClockStatus::Unsynchronised) {
            Some(_daemon) => {
                let took = assert_next_answers("not synchronised", "-t 120");
                assert!(took < Duration::from_secs(60), "{took:?}");
            }
            None => support::skip("no C compiler (Debian package gcc)"),
        }
    }
    recipes::load_rules(&own, "");
    assert!(assert_next_answers("packets dropped", "") >= half);

    // The own server is there again.
    recipes::load_rules(&own, "udp dport 9527 accept");
    let _own_daemon = daemon(&own, "OWN", "");
    let (output, _) = query("-t 60");
    assert_eq!(output.stdout, b"OWN\n", "{output:?}");
}

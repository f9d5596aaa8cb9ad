//! The true offset is always within the bound.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use support::{libfaketime_or_skip, start_daemon};
use wallclock::offset::{MeasurementConfig, Nanos, Precision, SECOND};

use super::clients::{contains, measure, run, run_json, stdout};
use super::servers::shifted_server;

const MICRO: Nanos = 1_000;
const MILLI: Nanos = 1_000_000;

#[test]
fn bound_contains_the_shift_of_the_server() {
    let Some(library) = libfaketime_or_skip() else {
        return;
    };
    for (shift, offset) in [
        ("+3.5", 3_500 * MILLI),
        ("-0.25", -250 * MILLI),
        ("+86400", 86_400 * SECOND),
        ("+0.000001", MICRO),
        ("+0", 0),
    ] {
        let (_server, address) = shifted_server(&library, shift);
        let mut fine = 0;
        for _ in 0..200 {
            let measured = measure(address, MeasurementConfig::default());
            assert!(measured.offset.contains(offset), "{shift}: {measured:?}");
            let clock = measured.clock;
            // More if the samples were too far apart to show that the clock is not coarse.
            assert!(clock.samples >= 8, "{clock:?}");
            fine += usize::from(clock.precision == Precision::Nanoseconds);
        }
        assert!(fine > 0, "the clock always seems to be coarse");
    }
}

#[test]
fn shift_is_printed_as_one_line_or_object() {
    let Some(library) = libfaketime_or_skip() else {
        return;
    };
    for (shift, offset) in [
        ("+3.5", 3.5),
        ("-0.25", -0.25),
        ("+86400", 86_400.0),
        ("+0", 0.0),
    ] {
        let (_server, address) = shifted_server(&library, shift);
        for _ in 0..5 {
            let output = run(&[address], &["--offset"]);
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            assert_eq!(stdout(&output).lines().count(), 1);
            let (json, status) = run_json(&[address]);
            assert!(status == Some(0) && contains(&json, offset), "{json}");
        }
    }
}

/// Which way a proxy delays.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Delayed {
    Requests,
    Responses,
}

/// Starts a thread that forwards requests and responses, and delays one way by up to 20 ms.
fn delaying_proxy(server: SocketAddr, delayed: Delayed, seed: u64) -> SocketAddr {
    let front = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let back = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    back.connect(server).expect("a route");
    let address = front.local_addr().expect("a bound socket");
    thread::spawn(move || {
        let (mut datagram, mut random) = ([0; 2048], seed);
        loop {
            // xorshift64, Marsaglia 2003.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let delay = Duration::from_micros(random % 20_000);
            let Ok((length, client)) = front.recv_from(&mut datagram) else {
                return;
            };
            if delayed == Delayed::Requests {
                thread::sleep(delay);
            }
            let forwarded = back.send(&datagram[..length]);
            let Ok(length) = forwarded.and_then(|_| back.recv(&mut datagram)) else {
                return;
            };
            if delayed == Delayed::Responses {
                thread::sleep(delay);
            }
            let _ = front.send_to(&datagram[..length], client);
        }
    });
    address
}

// The fastest of eight round trips takes 2 ms at the median, and the bound is half of that.
#[test]
fn delay_on_one_way_widens_the_bound() {
    let (_server, address) = start_daemon();
    let measure_often = |number: u64| {
        let delayed = match number % 2 {
            0 => Delayed::Requests,
            _ => Delayed::Responses,
        };
        let proxy = delaying_proxy(address, delayed, 88_172_645_463_325_252 + number);
        let measure_once = |_| measure(proxy, MeasurementConfig::default());
        (0..10).map(measure_once).collect::<Vec<_>>()
    };
    let mut bounds = Vec::new();
    thread::scope(|scope| {
        let measure_often = &measure_often;
        let threads: Vec<_> = (0..40)
            .map(|number| scope.spawn(move || measure_often(number)))
            .collect();
        for measured in threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
        {
            assert!(measured.offset.contains(0), "{measured:?}");
            bounds.push(measured.offset.bound());
        }
    });
    bounds.sort_unstable();
    let median = bounds[bounds.len() / 2];
    assert!(median >= 100 * MICRO, "{median} ns");
}

//! In steady state no request allocates memory.
//!
//! The counting allocator is global, so this test is a program of its own.

#![allow(unsafe_code, reason = "a global allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use support::{HANG_TIMEOUT, TempDir, tzif};
use wallclock::clock::{Clock, ZonePaths};
use wallclock::daemon::notify::ServiceNotifier;
use wallclock::daemon::server::Server;
use wallclock::daemon::signals::Signals;
use wallclock::daemon::socket::{Listener, SocketOptions};

/// Allocations of the threads that count.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

struct CountingAllocator;

// SAFETY: every call goes unchanged to the system's allocator.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTED.get() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the contract of this method, which is that of the callee.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of this method, which is that of the callee.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if COUNTED.get() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the contract of this method, which is that of the callee.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
fn requests_allocate_no_memory() {
    // A zone of the test: if the host's file is missing, the server tries to read it every second,
    // and that allocates.
    let dir = TempDir::new("no-allocation");
    let zone = ZonePaths {
        localtime: dir.write_file("localtime", &tzif("CST", 28_800)),
        directory: dir.path().to_owned(),
    };
    let clock = Clock::in_zone(None, &zone).expect("a zone");
    let listeners = Listener::bind(
        &[SocketAddr::from(([127, 0, 0, 1], 0))],
        &[],
        SocketOptions::default(),
    )
    .expect("a free port");
    let address = listeners[0].address();
    let allow = ["::/0", "127.0.0.0/8"].map(|network| network.parse().expect("a network"));
    let allow = allow.to_vec();
    let (signals, stop_handle) = Signals::with_handle().expect("a pair of sockets");
    let thread = thread::spawn(move || {
        let server = Server::new(listeners, allow, clock, signals, ServiceNotifier::default());
        COUNTED.set(true);
        let counters = server.run();
        COUNTED.set(false);
        counters
    });
    let client = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    client.connect(address).expect("a route");
    client
        .set_read_timeout(Some(HANG_TIMEOUT))
        .expect("a time-out");
    let mut buf = [0; 2048];
    let send = |number: u32| {
        let mut request = [0; 64];
        let mut rest = &mut request[..];
        let written = match number % 5 {
            0 => write!(rest, "%Y-%m-%d %X"),
            1 => write!(rest, "{number} %c %Z %^A"),
            2 => write!(rest, "%s.%N"),
            3 => write!(rest, "{number} %Q"),
            _ => write!(rest, "%{}d", number % 4000),
        };
        written.expect("the request fits");
        let length = 64 - rest.len();
        client
            .send(&request[..length])
            .expect("the request is sent");
    };
    let mut query = |numbers: std::ops::Range<u32>| {
        for start in numbers.step_by(100) {
            (start..start + 100).for_each(send);
            for _ in 0..100 {
                client.recv(&mut buf).expect("a response");
            }
        }
    };
    // The first requests may allocate: lists of the loop and of the log.
    query(0..1000);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    assert!(before > 0, "the allocator does not count");
    query(0..100_000);
    let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
    stop_handle.stop();
    let counters = thread.join().expect("the server ends");
    assert_eq!(counters.answered + counters.refused, 101_000);
    assert_eq!(allocated, 0);
}

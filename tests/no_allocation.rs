//! In steady state no question allocates: neither a remembered one nor one that is new every time.

#![allow(unsafe_code, reason = "a global allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use support::{Folder, tzif};
use wallclock::clock::{Clock, ZonePaths};
use wallclock::daemon::notify::ServiceNotifier;
use wallclock::daemon::server::Server;
use wallclock::daemon::signals::Signals;
use wallclock::daemon::socket::{Listener, SocketOptions};

/// Allocations of the threads that are watched.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if WATCHED.get() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if WATCHED.get() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promise is handed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_hundred_thousand_questions_allocate_nothing() {
    // The host's own may be missing, which is looked at once a second and is no steady state.
    let folder = Folder::new("no-allocation");
    let zone = ZonePaths {
        localtime: folder.file("localtime", &tzif("CST", 28_800)),
        directory: folder.0.clone(),
    };
    let clock = Clock::in_zone(None, &zone).expect("a zone");
    let listeners = Listener::bind(
        &[SocketAddr::from(([127, 0, 0, 1], 0))],
        SocketOptions::default(),
    )
    .expect("a free port");
    let address = listeners[0].address();
    let (signals, handle) = Signals::with_handle().expect("a pair of sockets");
    let server = thread::spawn(move || {
        let server = Server::new(listeners, clock, signals, ServiceNotifier::default());
        WATCHED.set(true);
        let counters = server.run();
        WATCHED.set(false);
        counters
    });
    let client = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    client.connect(address).expect("a route");
    client
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a time-out");
    let mut room = [0; 2048];
    let send = |number: u32| {
        let mut question = [0; 64];
        let mut rest = &mut question[..];
        let written = match number % 5 {
            0 => write!(rest, "%Y-%m-%d %X"),
            1 => write!(rest, "{number} %c %Z %^A"),
            2 => write!(rest, "%s.%N"),
            3 => write!(rest, "{number} %Q"),
            _ => write!(rest, "%{}d", number % 4000),
        };
        written.expect("it fits");
        let length = 64 - rest.len();
        client.send(&question[..length]).expect("it is sent");
    };
    let mut ask = |numbers: std::ops::Range<u32>| {
        for start in numbers.step_by(100) {
            (start..start + 100).for_each(send);
            for _ in 0..100 {
                client.recv(&mut room).expect("an answer");
            }
        }
    };
    // The first turns may set things up: the loop's own lists, and the log's.
    ask(0..1000);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    assert!(before > 0, "the allocator counts nothing");
    ask(0..100_000);
    let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
    handle.stop();
    let counters = server.join().expect("it ends");
    assert_eq!(counters.answered + counters.refused, 101_000);
    assert_eq!(allocated, 0);
}

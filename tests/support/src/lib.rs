//! Code that the test programs and benchmarks share: processes that end with the test, skips that
//! are counted, sockets, temporary directories, faults, and a flood of hostile requests.

mod counters;
pub mod faults;
pub mod flood;
mod metrics;
mod namespace;
mod pattern;
mod preload;
mod process;
mod procfs;
mod programs;
mod resolver;
mod skip;
pub mod skipped;
mod sockets;
mod temp_dir;
mod wait;

pub use counters::{parse_counter, parse_counters, request_counters};
pub use metrics::parse_metrics;
pub use namespace::within_network;
pub use pattern::pattern_of;
pub use preload::preload_random_or_skip;
pub use process::Process;
pub use procfs::{
    context_switches, cpu_time, major_faults, open_descriptors, process_state, resident_kib,
};
pub use programs::{
    program, python_server, repository, scratch_dir, start_daemon, start_daemon_with, wallclock,
    wallclock_long_timeout, wallclockd,
};
pub use resolver::Resolver;
pub use skip::{
    has_program, libfaketime_or_skip, skip, skip_without, skip_without_ipv6,
    skip_without_namespaces,
};
pub use sockets::{
    assert_response_becomes, assert_response_stays, closed_port, connected_socket, query,
};
pub use temp_dir::{TempDir, tzif};
pub use wait::{HANG_TIMEOUT, MAX_STALENESS, wait_until};

//! `wallclockd`, the daemon. It runs on Linux only.
#![forbid(unsafe_code)]
#![warn(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[cfg(target_os = "linux")]
mod args;
#[cfg(target_os = "linux")]
mod program;

fn main() -> std::process::ExitCode {
    #[cfg(target_os = "linux")]
    return program::main();
    #[cfg(not(target_os = "linux"))]
    compile_error!("wallclockd runs on Linux only. Build the client: cargo build --bin wallclock")
}

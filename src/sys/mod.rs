//! System calls that no safe crate offers, one file for each family.
//!
//! This is the only module with `unsafe` code. It knows nothing of the protocol and contains no
//! policy: the caller decides what to do about an error.
#![allow(
    unsafe_code,
    reason = "std, socket2 and rustix do not offer these system calls"
)]

mod errno;
pub mod listen_fds;
pub mod mmsg;
pub mod sockopt;
pub mod timex;
pub mod tlb;

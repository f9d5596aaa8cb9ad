//! setsockopt(2) and getsockopt(2): the options that neither socket2 nor rustix names.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::cvt;

/// Makes each received datagram carry the address that it was sent to (ip(7) `IP_PKTINFO`,
/// ipv6(7) `IPV6_RECVPKTINFO`).
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn enable_pktinfo(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
    }
}

/// Stops the kernel from queueing ICMP errors, and drops those already queued (ip(7) `IP_RECVERR`).
///
/// An error queue that is never read makes the socket ready for ever and takes space from requests.
/// The option is off by default; an inherited socket may have it on.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn disable_recverr(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 0)?;
    }
    // A dual-stack socket has the option of IPv4, too.
    set_option(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 0)
}

fn set_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the value is a c_int that outlives the call, and its size is given.
    cvt(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// Memory figures of a socket (`SO_MEMINFO`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SockMemInfo {
    /// Datagrams dropped since the socket was made: the receive buffer was full, a filter refused
    /// them, or a checksum was wrong.
    pub drops: u32,
}

/// Reads a socket's memory figures (Linux 4.12 and later).
///
/// # Errors
///
/// Those of getsockopt(2).
pub fn so_meminfo(socket: BorrowedFd<'_>) -> io::Result<SockMemInfo> {
    // linux/sock_diag.h: SK_MEMINFO_DROPS, SK_MEMINFO_VARS
    const DROPS: usize = 8;
    let mut values = [0_u32; 9];
    let mut length = size_of_val(&values) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `values`.
    cvt(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    })?;
    Ok(SockMemInfo {
        drops: values[DROPS],
    })
}

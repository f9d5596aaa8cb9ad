//! setsockopt(2) and getsockopt(2): the options that neither socket2 nor rustix names.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::errno::cvt;

/// Makes the kernel report the destination of each received datagram (ip(7) `IP_PKTINFO`, ipv6(7)
/// `IPV6_RECVPKTINFO`).
///
/// A dual-stack socket gets both: only `IP_PKTINFO` reports the local address beside the
/// destination, and so shows a broadcast.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn enable_pktinfo(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
    }
    set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
}

/// Stops the kernel from queueing ICMP errors, and discards those already queued (ip(7)
/// `IP_RECVERR`).
///
/// An error queue that is never read keeps poll(2) from sleeping and takes space from requests. The
/// option is off by default; an inherited socket may have it on.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn disable_recverr(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 0)?;
    }
    // For IPv6 as well: a dual-stack socket has both options.
    set_option(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 0)
}

fn set_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the pointer is valid for reads of a c_int, whose size is given, and the kernel keeps
    // no pointer after the call.
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

/// Memory statistics of a socket (`SO_MEMINFO`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SockMemInfo {
    /// Kernel memory of the queued datagrams, in bytes.
    pub recv_queue: u32,
    /// Size of the receive buffer, in bytes.
    pub recv_buffer: u32,
    /// Datagrams dropped since the socket was created: the receive buffer was full, a filter
    /// refused them, or a checksum was wrong.
    pub drops: u32,
}

/// Reads the memory statistics of a socket (Linux 4.12 and later).
///
/// # Errors
///
/// Those of getsockopt(2).
pub fn so_meminfo(socket: BorrowedFd<'_>) -> io::Result<SockMemInfo> {
    // linux/sock_diag.h: SK_MEMINFO_RMEM_ALLOC, _RCVBUF, _DROPS; SK_MEMINFO_VARS is 9.
    const RMEM_ALLOC: usize = 0;
    const RCVBUF: usize = 1;
    const DROPS: usize = 8;
    let mut values = [0_u32; 9];
    let mut length = size_of_val(&values) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `values`, and the
    // length that it wrote. Any bytes are valid values. It keeps no pointer after the call.
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
        recv_queue: values[RMEM_ALLOC],
        recv_buffer: values[RCVBUF],
        drops: values[DROPS],
    })
}

//! The system calls that neither std, socket2 nor rustix offers: the only `unsafe` code of the
//! benchmark.
//!
//! recvmmsg(2) and sendmmsg(2) are written here a second time: the floor must not share code with
//! the daemon that is compared with it.
#![allow(
    unsafe_code,
    reason = "system calls that std, socket2 and rustix do not offer"
)]

use std::ffi::CString;
use std::io;
use std::mem;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt;
use rustix::process::{Pid, Signal, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use socket2::{Domain, Protocol, Socket, Type};

/// Holds one control message with packet info of either family. In words, because its header is
/// aligned to them.
const CMSG_BUF_WORDS: usize = 8;

/// Buffers for recvmmsg(2) and sendmmsg(2).
///
/// A slot holds a request and then its response. It keeps the peer's address and the packet info
/// in between: [`DatagramBatch::send`] uses what [`DatagramBatch::receive`] stored.
pub struct DatagramBatch {
    headers: Vec<libc::mmsghdr>,
    // `headers` points into the vectors below, which are never resized.
    iovecs: Vec<libc::iovec>,
    bytes: Vec<u8>,
    /// A sockaddr_in6 is large enough for a sockaddr_in.
    addresses: Vec<libc::sockaddr_in6>,
    cmsgs: Vec<[u64; CMSG_BUF_WORDS]>,
    /// Where the interface index is in an element of `cmsgs`, in bytes.
    interface_at: usize,
    slot_size: usize,
    used: usize,
}

impl DatagramBatch {
    /// Makes `count` slots of `slot_size` bytes for a connected socket, without addresses.
    pub fn connected(count: usize, slot_size: usize) -> Self {
        Self::new(count, slot_size, None)
    }

    /// Makes `count` slots of `slot_size` bytes for a server's socket, with addresses and packet
    /// info.
    pub fn addressed(count: usize, slot_size: usize, dual_stack: bool) -> Self {
        // SAFETY: CMSG_LEN is arithmetic on its argument.
        let data = unsafe { libc::CMSG_LEN(0) } as usize;
        // ipi_ifindex is the first field of in_pktinfo; ipi6_ifindex follows a 16-byte address.
        let interface_at = if dual_stack { data + 16 } else { data };
        Self::new(count, slot_size, Some(interface_at))
    }

    fn new(count: usize, slot_size: usize, interface_at: Option<usize>) -> Self {
        // SAFETY: a plain C structure of integers and pointers, for which zero is a valid value.
        let header: libc::mmsghdr = unsafe { mem::zeroed() };
        // SAFETY: a plain C structure of integers, for which zero is a valid value.
        let address: libc::sockaddr_in6 = unsafe { mem::zeroed() };
        let iovec = libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        let addressed = if interface_at.is_some() { count } else { 0 };
        let mut batch = Self {
            headers: vec![header; count],
            iovecs: vec![iovec; count],
            bytes: vec![0; count * slot_size],
            addresses: vec![address; addressed],
            cmsgs: vec![[0; CMSG_BUF_WORDS]; addressed],
            interface_at: interface_at.unwrap_or_default(),
            slot_size,
            used: count,
        };
        // Pointers to the elements derive from that of the vector. From a reference to an element
        // they would be valid only until the vector is used again.
        let (bytes, iovecs) = (batch.bytes.as_mut_ptr(), batch.iovecs.as_mut_ptr());
        let (addresses, cmsgs) = (batch.addresses.as_mut_ptr(), batch.cmsgs.as_mut_ptr());
        for (index, header) in batch.headers.iter_mut().enumerate() {
            batch.iovecs[index].iov_base = bytes.wrapping_add(index * slot_size).cast();
            header.msg_hdr.msg_iov = iovecs.wrapping_add(index);
            header.msg_hdr.msg_iovlen = 1;
            if interface_at.is_some() {
                header.msg_hdr.msg_name = addresses.wrapping_add(index).cast();
                header.msg_hdr.msg_control = cmsgs.wrapping_add(index).cast();
            }
        }
        batch
    }

    /// Receives what has arrived. Waits for a first datagram unless `flags` has MSG_DONTWAIT.
    pub fn receive(&mut self, socket: impl AsFd, flags: i32) -> io::Result<usize> {
        // Resets only the slots that the last turn used: one request does not pay for 32.
        for index in 0..self.used {
            self.iovecs[index].iov_len = self.slot_size;
            if !self.addresses.is_empty() {
                let header = &mut self.headers[index].msg_hdr;
                header.msg_namelen = mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t;
                header.msg_controllen = mem::size_of::<[u64; CMSG_BUF_WORDS]>() as _;
            }
        }
        self.used = 0;
        // SAFETY: every header points into vectors that `self` owns and never resizes, with their
        // true lengths. `self` is borrowed mutably for the call, so nothing else uses them.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                flags as _,
                ptr::null_mut(),
            )
        };
        self.used = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for cmsg in self.cmsgs.iter_mut().take(self.used) {
            clear_interface(cmsg, self.interface_at);
        }
        Ok(self.used)
    }

    /// Returns the datagram that the last [`DatagramBatch::receive`] stored in slot `index`.
    pub fn datagram(&self, index: usize) -> &[u8] {
        let start = index * self.slot_size;
        &self.bytes[start..start + (self.headers[index].msg_len as usize).min(self.slot_size)]
    }

    /// Copies `payload` into slot `index`, to be sent.
    pub fn put(&mut self, index: usize, payload: &[u8]) {
        let start = index * self.slot_size;
        self.bytes[start..start + payload.len()].copy_from_slice(payload);
        self.iovecs[index].iov_len = payload.len();
        self.used = self.used.max(index + 1);
    }

    /// Sends the first `count` slots. Skips a datagram that the kernel refuses.
    pub fn send(&mut self, socket: impl AsFd, count: usize) {
        let mut next = 0;
        while next < count {
            let rest = &mut self.headers[next..count];
            // SAFETY: as in `receive`; `put` has set each length to what lies within the slot.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_fd().as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    0,
                )
            };
            match usize::try_from(sent) {
                Ok(sent) => next += sent,
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                Err(_) => next += 1,
            }
        }
    }
}

/// Sets the interface index in a received packet info to 0: the source address of the response
/// stays set, and the kernel chooses the route.
fn clear_interface(cmsg: &mut [u64; CMSG_BUF_WORDS], at: usize) {
    debug_assert_eq!(at % 8, 0, "the index begins a word");
    let mut bytes = cmsg[at / 8].to_ne_bytes();
    bytes[..4].fill(0);
    cmsg[at / 8] = u64::from_ne_bytes(bytes);
}

/// Sets the receive buffer, beyond net.core.rmem_max with CAP_NET_ADMIN. The kernel doubles
/// `bytes`.
pub fn set_receive_buffer(socket: impl AsFd, bytes: usize) -> io::Result<()> {
    let socket = socket.as_fd();
    sockopt::set_socket_recv_buffer_size_force(socket, bytes)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(socket, bytes))?;
    Ok(())
}

/// Sets the send buffer, beyond net.core.wmem_max with CAP_NET_ADMIN. The kernel doubles `bytes`.
pub fn set_send_buffer(socket: impl AsFd, bytes: usize) -> io::Result<()> {
    let socket = socket.as_fd();
    sockopt::set_socket_send_buffer_size_force(socket, bytes)
        .or_else(|_| sockopt::set_socket_send_buffer_size(socket, bytes))?;
    Ok(())
}

/// Makes the kernel report the destination of each datagram, on a dual-stack socket with one
/// message for both families.
pub fn enable_pktinfo(socket: BorrowedFd<'_>, dual_stack: bool) -> io::Result<()> {
    let (level, option) = if dual_stack {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    } else {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    };
    let on: libc::c_int = 1;
    // SAFETY: the pointer is valid for reads of a c_int, whose size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Binds a UDP socket to a free port of `[::]`, for both families and with SO_REUSEADDR, as
/// systemd does for the socket unit.
pub fn dual_stack_socket() -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())?;
    Ok(socket.into())
}

/// Waits until `socket` is readable.
pub fn wait_readable(socket: BorrowedFd<'_>) {
    // After an error the receive that follows finds nothing, and the caller polls again.
    let _ = poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::IN)], None);
}

/// Has the kernel kill this process when its parent ends.
pub fn die_with_parent() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Returns the cores that this process may run on.
pub fn cores() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_default();
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|&core| set.is_set(core))
        .collect();
    if cores.is_empty() { vec![0] } else { cores }
}

/// Binds a process (`None`: this thread) to one core. Ignores a failure: the figures are then
/// worse, not wrong.
pub fn pin(pid: Option<u32>, core: usize) {
    pin_to(pid, &[core]);
}

/// Binds a process (`None`: this thread) to some cores, as [`pin`] does.
pub fn pin_to(pid: Option<u32>, cores: &[usize]) {
    let mut set = CpuSet::new();
    cores.iter().for_each(|&core| set.set(core));
    let pid = pid.and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let _ = sched_setaffinity(pid, &set);
}

fn local_time(second: i64) -> Option<libc::tm> {
    let second = second as libc::time_t;
    // SAFETY: a plain C structure of integers and a pointer, for which zero is a valid value.
    let mut tm: libc::tm = unsafe { mem::zeroed() };
    // SAFETY: localtime_r reads the first argument and writes the second.
    let result = unsafe { libc::localtime_r(&raw const second, &raw mut tm) };
    (!result.is_null()).then_some(tm)
}

fn strftime(buf: &mut [u8], format: &CString, tm: &libc::tm) -> usize {
    // SAFETY: `format` ends in a NUL. strftime writes at most `buf.len()` bytes and returns how
    // many.
    unsafe { libc::strftime(buf.as_mut_ptr().cast(), buf.len(), format.as_ptr(), tm) }
}

/// Formats a second with the C library's strftime in the host's zone. Responses are compared with
/// it.
pub fn local_text(second: i64, format: &CString) -> Vec<u8> {
    let mut buf = vec![0; 4096];
    let length = local_time(second).map_or(0, |tm| strftime(&mut buf, format, &tm));
    buf.truncate(length);
    buf
}

/// Measures the C library's strftime with this format: on-CPU nanoseconds, the mean of `calls`.
pub fn strftime_cost(second: i64, format: &CString, calls: u32) -> f64 {
    let mut buf = vec![0; 4096];
    let Some(tm) = local_time(second) else {
        return f64::NAN;
    };
    let before = thread_time();
    for _ in 0..calls {
        std::hint::black_box(strftime(&mut buf, format, std::hint::black_box(&tm)));
    }
    (thread_time() - before) / f64::from(calls)
}

/// Returns the on-CPU time of this thread, in nanoseconds.
pub fn thread_time() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel fills `time` in. This clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

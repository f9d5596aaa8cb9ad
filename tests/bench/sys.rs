//! The system calls that neither std nor socket2 offers: the only `unsafe` code of the bench, behind safe functions.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;

use socket2::{Domain, Protocol, Socket, Type};

/// Room for one control message with packet info of either family, in the words that its header is aligned to.
const CONTROL_WORDS: usize = 8;

/// Many datagrams in, many out, by one system call each.
///
/// The slots are used in turn for a datagram and for its answer, and keep peer and packet info between the two: what
/// [`Mailbox::receive`] filled in, [`Mailbox::send`] hands back.
pub struct Mailbox {
    headers: Vec<libc::mmsghdr>,
    // What `headers` points into. Never resized, so never moved.
    parts: Vec<libc::iovec>,
    bytes: Vec<u8>,
    /// sockaddr_in6 has room for sockaddr_in too.
    names: Vec<libc::sockaddr_in6>,
    controls: Vec<[u64; CONTROL_WORDS]>,
    /// Where in them the interface index is.
    interface: usize,
    slot: usize,
    used: usize,
}

impl Mailbox {
    /// `count` slots of `slot` bytes for a connected socket: no addresses, no packet info.
    pub fn connected(count: usize, slot: usize) -> Self {
        Self::build(count, slot, None)
    }

    /// `count` slots of `slot` bytes for a server's socket: each answer goes to who asked, from where it was asked.
    pub fn addressed(count: usize, slot: usize, dual_stack: bool) -> Self {
        // SAFETY: CMSG_LEN is arithmetic on its argument.
        let data = unsafe { libc::CMSG_LEN(0) } as usize;
        // ipi_ifindex is the first field of in_pktinfo; ipi6_ifindex follows the 16 bytes of an address.
        let interface = if dual_stack { data + 16 } else { data };
        Self::build(count, slot, Some(interface))
    }

    fn build(count: usize, slot: usize, interface: Option<usize>) -> Self {
        // SAFETY: all three are plain C structs of integers and pointers, for which zero is a valid value.
        let (header, part, name) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        let kept = if interface.is_some() { count } else { 0 };
        let mut mailbox = Self {
            headers: vec![header; count],
            parts: vec![part; count],
            bytes: vec![0; count * slot],
            names: vec![name; kept],
            controls: vec![[0; CONTROL_WORDS]; kept],
            interface: interface.unwrap_or_default(),
            slot,
            used: count,
        };
        for (index, header) in mailbox.headers.iter_mut().enumerate() {
            mailbox.parts[index].iov_base = mailbox.bytes[index * slot..].as_mut_ptr().cast();
            header.msg_hdr.msg_iov = &raw mut mailbox.parts[index];
            header.msg_hdr.msg_iovlen = 1;
            if interface.is_some() {
                header.msg_hdr.msg_name = (&raw mut mailbox.names[index]).cast();
                header.msg_hdr.msg_control = (&raw mut mailbox.controls[index]).cast();
            }
        }
        mailbox
    }

    /// Takes what has arrived, at least one datagram unless `flags` say not to wait.
    pub fn receive(&mut self, socket: impl AsFd, flags: i32) -> io::Result<usize> {
        // Only what the last turn used has changed: a lonely question does not pay for 32.
        for index in 0..self.used {
            self.parts[index].iov_len = self.slot;
            if !self.names.is_empty() {
                let header = &mut self.headers[index].msg_hdr;
                header.msg_namelen = mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t;
                header.msg_controllen = mem::size_of::<[u64; CONTROL_WORDS]>() as _;
            }
        }
        self.used = 0;
        let socket = socket.as_fd().as_raw_fd();
        // SAFETY: every header points into vectors that `self` owns and never resizes, with their true lengths; `self` is
        // borrowed mutably for the whole call, so nothing else reads or writes them meanwhile.
        let taken = unsafe {
            libc::recvmmsg(
                socket,
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                flags as _,
                ptr::null_mut(),
            )
        };
        self.used = usize::try_from(taken).map_err(|_| io::Error::last_os_error())?;
        for control in self.controls.iter_mut().take(self.used) {
            forget_interface(control, self.interface);
        }
        Ok(self.used)
    }

    /// The datagram that the last [`Mailbox::receive`] put into `index`.
    pub fn datagram(&self, index: usize) -> &[u8] {
        let start = index * self.slot;
        &self.bytes[start..start + (self.headers[index].msg_len as usize).min(self.slot)]
    }

    /// Puts `payload` into the slot `index`, to be sent.
    pub fn put(&mut self, index: usize, payload: &[u8]) {
        let start = index * self.slot;
        self.bytes[start..start + payload.len()].copy_from_slice(payload);
        self.parts[index].iov_len = payload.len();
        self.used = self.used.max(index + 1);
    }

    /// Sends the first `count` slots. A datagram the kernel refuses is skipped; gives back how many were not.
    pub fn send(&mut self, socket: impl AsFd, count: usize) -> usize {
        let socket = socket.as_fd().as_raw_fd();
        let (mut next, mut sent) = (0, 0);
        while next < count {
            let rest = &mut self.headers[next..count];
            // SAFETY: as for receive; `put` has set each length to what lies within the slot.
            let result =
                unsafe { libc::sendmmsg(socket, rest.as_mut_ptr(), rest.len() as libc::c_uint, 0) };
            match usize::try_from(result) {
                Ok(done) => {
                    next += done;
                    sent += done;
                }
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                Err(_) => next += 1,
            }
        }
        sent
    }
}

/// Sets the interface index of a received packet info, which lies at the byte `index`, to 0: the info then says where the
/// answer leaves from but not by which way.
fn forget_interface(control: &mut [u64; CONTROL_WORDS], index: usize) {
    debug_assert_eq!(index % 8, 0, "the index begins a word");
    let mut bytes = control[index / 8].to_ne_bytes();
    bytes[..4].fill(0);
    control[index / 8] = u64::from_ne_bytes(bytes);
}

fn set_option(socket: impl AsFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let length = mem::size_of_val(&value) as libc::socklen_t;
    // SAFETY: the option value is a live i32 and `length` its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Asks for the address each datagram was sent to; on a dual-stack socket `IPV6_PKTINFO` holds IPv4 addresses too.
pub fn want_packet_info(socket: impl AsFd, dual_stack: bool) -> io::Result<()> {
    if dual_stack {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
    }
}

/// Sets the receive buffer, past net.core.rmem_max where privileges allow. The kernel doubles `bytes`.
pub fn set_receive_buffer(socket: impl AsFd, bytes: i32) -> io::Result<()> {
    let socket = socket.as_fd();
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
        .or_else(|_| set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes))
}

/// The same for the send buffer and net.core.wmem_max.
pub fn set_send_buffer(socket: impl AsFd, bytes: i32) -> io::Result<()> {
    let socket = socket.as_fd();
    set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes)
        .or_else(|_| set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUF, bytes))
}

/// A UDP socket on a free port of `[::]`, for both families and with SO_REUSEADDR, as systemd makes one.
pub fn dual_stack_socket() -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())?;
    Ok(socket.into())
}

/// Waits until `socket` has something to read.
pub fn wait_readable(socket: BorrowedFd<'_>) {
    let mut entry = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one live pollfd, and a count of one.
    unsafe { libc::poll(&raw mut entry, 1, -1) };
}

/// Ends this process when its parent ends, however that came about.
pub fn die_with_parent() {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// The cores this process may run on.
pub fn cores() -> Vec<usize> {
    // SAFETY: an array of integers, for which all zeros is a valid value: the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes at most the given size, which is that of the set.
    if unsafe { libc::sched_getaffinity(0, mem::size_of_val(&set), &raw mut set) } != 0 {
        return vec![0];
    }
    (0..libc::CPU_SETSIZE as usize)
        // SAFETY: the core is below CPU_SETSIZE, and so within the set.
        .filter(|&core| unsafe { libc::CPU_ISSET(core, &set) })
        .collect()
}

/// Keeps the process `pid` (0: this thread) on one core.
pub fn pin(pid: u32, core: usize) -> io::Result<()> {
    // SAFETY: an array of integers, for which all zeros is a valid value: the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `core` came from `cores`, so it is below CPU_SETSIZE and within the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the kernel reads at most the given size, which is that of the set.
    let result = unsafe {
        libc::sched_setaffinity(pid as libc::pid_t, mem::size_of_val(&set), &raw const set)
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The host's broken-down time of a second.
fn local_time(second: i64) -> Option<libc::tm> {
    let second = second as libc::time_t;
    // SAFETY: zero is a valid value of tm, a plain C struct; localtime_r reads the one and writes the other argument.
    unsafe {
        let mut tm: libc::tm = mem::zeroed();
        (!libc::localtime_r(&second, &mut tm).is_null()).then_some(tm)
    }
}

fn strftime(text: &mut [u8], format: &CString, tm: &libc::tm) -> usize {
    // SAFETY: format ends in a NUL; strftime writes at most `text.len()` bytes and says how many.
    unsafe { libc::strftime(text.as_mut_ptr().cast(), text.len(), format.as_ptr(), tm) }
}

/// What the C library's strftime says in the host's zone: the oracle that answers are held against.
pub fn local_text(second: i64, format: &CString) -> Vec<u8> {
    let mut text = vec![0u8; 4096];
    let length = local_time(second).map_or(0, |tm| strftime(&mut text, format, &tm));
    text.truncate(length);
    text
}

/// What a call of the C library's strftime costs with this format: nanoseconds on a core, the mean of `calls`.
pub fn strftime_cost(second: i64, format: &CString, calls: u32) -> f64 {
    let (mut text, tm) = (vec![0u8; 4096], local_time(second));
    let Some(tm) = tm else { return f64::NAN };
    let before = thread_time();
    for _ in 0..calls {
        std::hint::black_box(strftime(&mut text, format, std::hint::black_box(&tm)));
    }
    (thread_time() - before) / f64::from(calls)
}

/// The time that this thread was on a core, in nanoseconds.
pub fn thread_time() -> f64 {
    // SAFETY: zero is a valid value of timespec, which the kernel fills in; this clock is always there.
    let time = unsafe {
        let mut time: libc::timespec = mem::zeroed();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time);
        time
    };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

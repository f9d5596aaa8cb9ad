//! The system calls that neither std nor socket2 offers. The one room of the bench with `unsafe` in it; its face is safe.
#![allow(unsafe_code, reason = "system calls that std and socket2 do not offer")]

use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;

/// Room for one `IP_PKTINFO` control message, rounded up to what its header must be aligned to.
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
    names: Vec<libc::sockaddr_in>,
    controls: Vec<[u64; CONTROL_WORDS]>,
    slot: usize,
    used: usize,
}

impl Mailbox {
    /// `count` slots of `slot` bytes for a connected socket: no addresses, no packet info.
    pub fn connected(count: usize, slot: usize) -> Self {
        Self::build(count, slot, false)
    }

    /// `count` slots of `slot` bytes for a server's IPv4 socket: each answer goes to who asked, from where it was asked.
    pub fn addressed(count: usize, slot: usize) -> Self {
        Self::build(count, slot, true)
    }

    fn build(count: usize, slot: usize, addressed: bool) -> Self {
        // SAFETY: a C structure of integers and raw pointers, for which all zeros is a valid value.
        let header = unsafe { mem::zeroed() };
        // SAFETY: a C structure of integers, for which all zeros is a valid value.
        let name = unsafe { mem::zeroed() };
        let part = libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        let kept = if addressed { count } else { 0 };
        let mut mailbox = Self {
            headers: vec![header; count],
            parts: vec![part; count],
            bytes: vec![0; count * slot],
            names: vec![name; kept],
            controls: vec![[0; CONTROL_WORDS]; kept],
            slot,
            used: count,
        };
        for (index, header) in mailbox.headers.iter_mut().enumerate() {
            mailbox.parts[index].iov_base = mailbox.bytes[index * slot..].as_mut_ptr().cast();
            header.msg_hdr.msg_iov = &raw mut mailbox.parts[index];
            header.msg_hdr.msg_iovlen = 1;
            if addressed {
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
                header.msg_namelen = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
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
            forget_interface(control);
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

/// Sets the interface index of a received `IP_PKTINFO` to 0, so that it says where the answer leaves from but not by which way.
fn forget_interface(control: &mut [u64; CONTROL_WORDS]) {
    // SAFETY: CMSG_LEN is arithmetic on its argument.
    let data = unsafe { libc::CMSG_LEN(0) } as usize;
    let (word, half) = (data / 8, data % 8);
    debug_assert_eq!(
        half, 0,
        "the data of a control message is aligned like its header"
    );
    // ipi_ifindex is the first field of in_pktinfo, ipi_spec_dst the second: one word holds both.
    let mut bytes = control[word].to_ne_bytes();
    bytes[..4].fill(0);
    control[word] = u64::from_ne_bytes(bytes);
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

/// Asks for the address each datagram was sent to.
pub fn want_packet_info(socket: impl AsFd) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
}

/// Sets the receive buffer, past net.core.rmem_max where privileges allow. The kernel doubles `bytes`.
pub fn set_receive_buffer(socket: impl AsFd, bytes: i32) -> io::Result<()> {
    let socket = socket.as_fd();
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
        .or_else(|_| set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes))
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

/// What the C library's strftime says in the host's zone: the oracle that answers are held against.
pub fn local_text(second: i64, format: &CString) -> Vec<u8> {
    let mut text = vec![0u8; 4096];
    let second = second as libc::time_t;
    // SAFETY: a C structure of integers and a raw pointer, for which all zeros is a valid value.
    let mut tm: libc::tm = unsafe { mem::zeroed() };
    // SAFETY: both pointers are valid during the call, for a time_t and a tm.
    if unsafe { libc::localtime_r(&raw const second, &raw mut tm) }.is_null() {
        return Vec::new();
    }
    let buf = text.as_mut_ptr().cast();
    // SAFETY: the format ends with a NUL, localtime_r filled in tm, and strftime writes at most the
    // given length, which is that of `text`.
    let length = unsafe { libc::strftime(buf, text.len(), format.as_ptr(), &raw const tm) };
    text.truncate(length);
    text
}

//! Many datagrams in and out by one system call each, the one room with `unsafe`.
//!
//! What no safe crate offers is here and nothing else: recvmmsg(2) and sendmmsg(2) with a reply address of its own for
//! each datagram, adjtimex(2), the socket options that neither socket2 nor rustix names, and the descriptors that a
//! service manager hands over.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::answer::{MAX_ANSWER, MAX_QUESTION};

/// Datagrams a system call, at most. More save nothing: at 32 the calls' own price is below 2 % of what a datagram costs.
pub const BATCH: usize = 32;

/// One byte more than the longest question: what fills it is too long, and rules 2 and 3 look at no byte beyond.
const QUESTION_ROOM: usize = MAX_QUESTION + 1;

/// Control messages of one datagram: packet info of either family, and all that an inherited socket may have switched on besides.
const CONTROL_ROOM: usize = 256;

/// How long a full send buffer is waited for before the rest of a batch is given up. Where that was in vain, the next wait is for when
/// a whole batch has gone out without: what fills the buffer may be answers to forged addresses that nobody holds, which the kernel
/// keeps for seconds while it looks for them, and they must not hold up everybody else's.
const SEND_PATIENCE: Duration = Duration::from_millis(10);

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_ROOM]);

/// The buffers of one batch, made once and used again for every call.
pub struct Batch {
    questions: Box<[u8]>,
    /// sockaddr_in6 has room for sockaddr_in too; family and port lie at the same place in both.
    peers: Box<[libc::sockaddr_in6; BATCH]>,
    controls: Box<[Control; BATCH]>,
    answers: Box<[[u8; MAX_ANSWER]; BATCH]>,
    /// `None` for silence.
    lengths: [Option<usize>; BATCH],
    /// Which datagram each of `outgoing` answers.
    answered: [usize; BATCH],
    incoming: Box<[libc::mmsghdr; BATCH]>,
    outgoing: Box<[libc::mmsghdr; BATCH]>,
    incoming_vectors: Box<[libc::iovec; BATCH]>,
    outgoing_vectors: Box<[libc::iovec; BATCH]>,
    /// How many of `incoming` the kernel has written to since they were made ready.
    received: usize,
    /// Whether a full send buffer is waited for.
    patient: bool,
    /// For how long it may be, all in all.
    patience_left: Duration,
}

/// What became of a batch's answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Answers handed to the kernel.
    pub sent: usize,
    /// Answers the kernel would not take.
    pub unsent: usize,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch::new()
    }
}

impl Batch {
    /// Buffers for [`BATCH`] datagrams.
    pub fn new() -> Batch {
        // SAFETY: these are plain C structures of integers and pointers, for which all zeros is a value.
        let (peer, header, vector) = unsafe {
            (
                mem::zeroed::<libc::sockaddr_in6>(),
                mem::zeroed::<libc::mmsghdr>(),
                mem::zeroed::<libc::iovec>(),
            )
        };
        Batch {
            questions: vec![0; BATCH * QUESTION_ROOM].into_boxed_slice(),
            peers: Box::new([peer; BATCH]),
            controls: Box::new([Control([0; CONTROL_ROOM]); BATCH]),
            answers: Box::new([[0; MAX_ANSWER]; BATCH]),
            lengths: [None; BATCH],
            answered: [0; BATCH],
            incoming: Box::new([header; BATCH]),
            outgoing: Box::new([header; BATCH]),
            incoming_vectors: Box::new([vector; BATCH]),
            outgoing_vectors: Box::new([vector; BATCH]),
            // All of them want to be made ready.
            received: BATCH,
            patient: true,
            patience_left: Duration::MAX,
        }
    }

    /// Takes what is queued, up to [`BATCH`] datagrams, without waiting; says how many. Of a longer datagram than
    /// [`MAX_QUESTION`] one byte more is taken and the rest is lost.
    ///
    /// # Errors
    ///
    /// Those of recvmmsg(2), `EAGAIN` where nothing is queued among them. An interrupted call is made again.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        for index in 0..self.received {
            self.incoming_vectors[index] = libc::iovec {
                iov_base: self.questions[index * QUESTION_ROOM..].as_mut_ptr().cast(),
                iov_len: QUESTION_ROOM,
            };
            let header = &mut self.incoming[index].msg_hdr;
            header.msg_name = (&raw mut self.peers[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            header.msg_iov = &raw mut self.incoming_vectors[index];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut self.controls[index]).cast();
            header.msg_controllen = CONTROL_ROOM as _;
            header.msg_flags = 0;
        }
        self.received = 0;
        let received = again(|| {
            // SAFETY: every header points to a vector, a name, a control buffer and, through the vector, a stretch of
            // `questions`, each of the length beside it, owned by `self`, none shared with another header, and alive
            // beyond the call, which keeps none of them.
            unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    self.incoming.as_mut_ptr(),
                    BATCH as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                    ptr::null_mut(),
                )
            }
        })?;
        self.received = received;
        Ok(received)
    }

    /// From now on, full send buffers are waited for no longer than this in all.
    pub fn hurry(&mut self, patience: Duration) {
        self.patience_left = patience;
    }

    /// Has every datagram received last answered: `answer` writes to the buffer it is given and returns how many bytes of it are to be
    /// sent, `None` for silence.
    pub fn answer_each(
        &mut self,
        mut answer: impl FnMut(&[u8], SocketAddr, &mut [u8; MAX_ANSWER]) -> Option<usize>,
    ) {
        for index in 0..self.received {
            let start = index * QUESTION_ROOM;
            let length = (self.incoming[index].msg_len as usize).min(QUESTION_ROOM);
            let question = &self.questions[start..start + length];
            let answered = match socket_address(&self.peers[index]) {
                Some(peer) => answer(question, peer, &mut self.answers[index]),
                None => None,
            };
            self.lengths[index] = answered.map(|length| length.min(MAX_ANSWER));
        }
    }

    /// Sends the answers, each from the address its question was sent to. `refused` hears of each that the kernel would not take.
    pub fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        mut refused: impl FnMut(SocketAddr, &io::Error),
    ) -> Sent {
        let mut count = 0;
        for index in 0..self.received {
            let Some(length) = self.lengths[index] else {
                continue;
            };
            self.outgoing_vectors[count] = libc::iovec {
                iov_base: self.answers[index].as_mut_ptr().cast(),
                iov_len: length,
            };
            let control = reply_control(&mut self.incoming[index].msg_hdr);
            let header = &mut self.outgoing[count].msg_hdr;
            header.msg_name = (&raw mut self.peers[index]).cast();
            header.msg_namelen = self.incoming[index].msg_hdr.msg_namelen;
            header.msg_iov = &raw mut self.outgoing_vectors[count];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut self.controls[index]).cast();
            header.msg_controllen = control as _;
            self.answered[count] = index;
            count += 1;
        }
        let mut refused = |position: usize, error: &io::Error| {
            if let Some(peer) = socket_address(&self.peers[self.answered[position]]) {
                refused(peer, error);
            }
        };
        let mut result = Sent::default();
        let mut next = 0;
        let mut waited = false;
        while next < count {
            let error = match send_some(socket, &mut self.outgoing[next..count]) {
                Ok(sent) => {
                    result.sent += sent;
                    next += sent;
                    continue;
                }
                Err(error) => error,
            };
            let given_up = match error.raw_os_error() {
                // The buffer of a slow link is full: wait a little, once a batch, then give the rest up.
                Some(libc::EAGAIN) => {
                    if self.patient && !waited {
                        waited = true;
                        let begun = Instant::now();
                        let patience = SEND_PATIENCE.min(self.patience_left);
                        self.patient = has_room(socket, begun + patience);
                        self.patience_left = self.patience_left.saturating_sub(begun.elapsed());
                        if self.patient {
                            continue;
                        }
                    }
                    count - next
                }
                // The address it was asked at is no valid source: a broadcast's, or one that is gone by now. The
                // route's own address is the next best.
                Some(libc::EINVAL | libc::EADDRNOTAVAIL | libc::ENETUNREACH)
                    if self.outgoing[next].msg_hdr.msg_controllen != 0 =>
                {
                    self.outgoing[next].msg_hdr.msg_controllen = 0;
                    continue;
                }
                _ => 1,
            };
            for position in next..next + given_up {
                refused(position, &error);
            }
            result.unsent += given_up;
            next += given_up;
        }
        self.patient |= result.sent > 0 && result.unsent == 0 && !waited;
        result
    }
}

/// Waits until there is room in the socket's send buffer; whether there is.
fn has_room(socket: BorrowedFd<'_>, deadline: Instant) -> bool {
    let mut descriptors = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match poll(&mut descriptors, Timespec::try_from(left).ok().as_ref()) {
            Ok(ready) => return ready > 0,
            // A signal, which is heard after the batch.
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

fn send_some(socket: BorrowedFd<'_>, headers: &mut [libc::mmsghdr]) -> io::Result<usize> {
    again(|| {
        // SAFETY: every header points to a vector, a name, a control buffer and an answer of the lengths beside them,
        // all owned by the batch that is borrowed for this call; the kernel only reads them, and writes msg_len.
        unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
            )
        }
    })
}

/// A system call's result; an interrupted call is made again.
fn again(mut call: impl FnMut() -> libc::c_int) -> io::Result<usize> {
    loop {
        if let Ok(count) = usize::try_from(call()) {
            return Ok(count);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn socket_address(peer: &libc::sockaddr_in6) -> Option<SocketAddr> {
    let port = u16::from_be(peer.sin6_port);
    match i32::from(peer.sin6_family) {
        // sockaddr_in holds its address where sockaddr_in6 has the flow label, in network order both.
        libc::AF_INET => {
            Some(SocketAddrV4::new(Ipv4Addr::from(peer.sin6_flowinfo.to_ne_bytes()), port).into())
        }
        libc::AF_INET6 => {
            let address = Ipv6Addr::from(peer.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(address, port, peer.sin6_flowinfo, peer.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Turns the control messages of a received datagram into those of its answer, at the front of the same buffer: the address it was sent
/// to becomes the source. Returns their length, 0 where the kernel is to choose.
///
/// The interface is left to the routes, as the way back may be another; link-local addresses mean
/// nothing without theirs and keep it. A message that the kernel had to cut is none.
fn reply_control(received: &mut libc::msghdr) -> usize {
    // SAFETY: the header is as recvmmsg left it: msg_control points to a buffer, aligned for cmsghdr, that holds msg_controllen bytes
    // of well-formed control messages, so CMSG_FIRSTHDR and CMSG_NXTHDR stay inside it. What is read of a message is inside its cmsg_len,
    // which the kernel shortens where it has to cut one (MSG_CTRUNC). The structures are read and written unaligned-safe. The answer's
    // message is never longer than the received one that it is copied from, and lies at or before it.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(received);
        while !message.is_null() {
            let header = ptr::read(message);
            match (header.cmsg_level, header.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) if holds::<libc::in_pktinfo>(&header) => {
                    // ipi_spec_dst is the local address to answer from, a broadcast's receiver included.
                    let mut info: libc::in_pktinfo =
                        ptr::read_unaligned(libc::CMSG_DATA(message).cast());
                    if !Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).is_link_local() {
                        info.ipi_ifindex = 0;
                    }
                    return put_control(received, header, info);
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if holds::<libc::in6_pktinfo>(&header) => {
                    let mut info: libc::in6_pktinfo =
                        ptr::read_unaligned(libc::CMSG_DATA(message).cast());
                    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    if address.is_multicast() {
                        return 0;
                    }
                    let link_local = match address.to_ipv4_mapped() {
                        Some(address) => address.is_link_local(),
                        None => address.is_unicast_link_local(),
                    };
                    if !link_local {
                        info.ipi6_ifindex = 0;
                    }
                    return put_control(received, header, info);
                }
                _ => message = libc::CMSG_NXTHDR(received, message),
            }
        }
    }
    0
}

/// Whether a control message holds all of a `T`.
fn holds<T>(header: &libc::cmsghdr) -> bool {
    // SAFETY: CMSG_LEN only computes.
    header.cmsg_len as u64 >= u64::from(unsafe { libc::CMSG_LEN(size_of::<T>() as libc::c_uint) })
}

/// Writes one control message to the front of the buffer and returns the space it takes.
///
/// # Safety
///
/// The buffer behind `received` holds a control message with a `T` in it already.
unsafe fn put_control<T>(received: &libc::msghdr, header: libc::cmsghdr, info: T) -> usize {
    let first: *mut libc::cmsghdr = received.msg_control.cast();
    // SAFETY: the buffer has room for such a message, as the caller has found one there, and is aligned for its header.
    unsafe {
        ptr::write(first, header);
        ptr::write_unaligned(libc::CMSG_DATA(first).cast(), info);
        libc::CMSG_SPACE(size_of::<T>() as libc::c_uint) as usize
    }
}

/// Has the kernel tell of each datagram which address it was sent to (ip(7) `IP_PKTINFO`, ipv6(7) `IPV6_RECVPKTINFO`).
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn tell_destinations(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
    }
}

/// Has the kernel queue no ICMP errors, and forgets those that it has (ip(7) `IP_RECVERR`): a queue that nobody reads makes the socket
/// ready for ever, and takes the room of questions. It is so unless somebody switched it on.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn queue_no_errors(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 0)?;
    }
    // A [::] socket has IPv4's as well.
    set_option(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 0)
}

fn set_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the value is a c_int that outlives the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// What the kernel knows of a socket's receive queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Bytes of kernel memory that the queued datagrams take.
    pub bytes: u32,
    /// Datagrams dropped for want of room since the socket was made.
    pub dropped: u32,
}

/// Asks the kernel for a socket's receive queue (`SO_MEMINFO`, Linux 4.12).
///
/// # Errors
///
/// Those of getsockopt(2).
pub fn queue_of(socket: BorrowedFd<'_>) -> io::Result<Queue> {
    // linux/sock_diag.h: SK_MEMINFO_RMEM_ALLOC, SK_MEMINFO_DROPS, SK_MEMINFO_VARS
    const RMEM_ALLOC: usize = 0;
    const DROPS: usize = 8;
    let mut values = [0_u32; 9];
    let mut length = size_of_val(&values) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `values`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Queue {
        bytes: values[RMEM_ALLOC],
        dropped: values[DROPS],
    })
}

/// What the kernel thinks of its own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discipline {
    /// Whether somebody keeps it: false while `STA_UNSYNC` is set.
    pub synchronised: bool,
    /// How far off it is at most, as the program that keeps it reckons (`maxerror`).
    pub max_error: Duration,
}

/// Asks the kernel about its clock (adjtimex(2) with no mode set, which takes no privilege and changes nothing).
///
/// # Errors
///
/// `EPERM` or `ENOSYS` in a sandbox that lets no clock call through.
pub fn discipline() -> io::Result<Discipline> {
    // SAFETY: timex is integers, for which zeros are a value; with modes 0 the kernel only fills it in.
    let (state, about) = unsafe {
        let mut about: libc::timex = mem::zeroed();
        (libc::adjtimex(&raw mut about), about)
    };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Discipline {
        synchronised: about.status & libc::STA_UNSYNC == 0,
        max_error: Duration::from_micros(u64::try_from(about.maxerror).unwrap_or(0)),
    })
}

/// The descriptors that a service manager handed over (sd_listen_fds(3)), none without one. They are given out once: a second call
/// finds none.
///
/// # Errors
///
/// A LISTEN_FDS or LISTEN_PID that is no number, or descriptors that are not open.
pub fn inherited() -> io::Result<Vec<OwnedFd>> {
    static GIVEN_OUT: AtomicBool = AtomicBool::new(false);
    // Sets FD_CLOEXEC on each, which fails for one that is not open.
    let descriptors = sd_notify::listen_fds()?;
    if GIVEN_OUT.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    // SAFETY: LISTEN_PID names this process, so its manager opened these descriptors for it to own; each is open, as was just seen, and
    // the flag above sees to it that each gets one owner only.
    Ok(descriptors
        .map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) })
        .collect())
}

//! recvmmsg(2) and sendmmsg(2): many datagrams with one system call each.
//!
//! A [`DatagramBatch`] owns all buffers. [`receive`](DatagramBatch::receive) fills them,
//! [`for_each_request`](DatagramBatch::for_each_request) lets the caller write a response to each
//! datagram, [`send`](DatagramBatch::send) sends the responses. A response leaves from the address
//! that its request was sent to, where the socket reports that address
//! ([`enable_pktinfo`](super::sockopt::enable_pktinfo)).

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::retry_on_eintr;

/// The most datagrams of one system call. A larger number saves nothing: at 32 the calls themselves
/// are below 2 % of what a datagram costs.
pub const BATCH_SIZE: usize = 32;

/// Bytes for the control messages of one datagram: packet info of either family, and whatever else an
/// inherited socket may have switched on.
const CMSG_BUF_SIZE: usize = 256;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct CmsgBuf([u8; CMSG_BUF_SIZE]);

/// The buffers of a batch, made once and used for every call. `RECV` is the size of a receive buffer,
/// `SEND` that of a response buffer, in bytes.
pub struct DatagramBatch<const RECV: usize, const SEND: usize> {
    requests: Box<[[u8; RECV]; BATCH_SIZE]>,
    /// sockaddr_in6 holds a sockaddr_in, too; family and port lie at the same place in both.
    sources: Box<[libc::sockaddr_in6; BATCH_SIZE]>,
    controls: Box<[CmsgBuf; BATCH_SIZE]>,
    responses: Box<[[u8; SEND]; BATCH_SIZE]>,
    incoming: Box<[libc::mmsghdr; BATCH_SIZE]>,
    outgoing: Box<[libc::mmsghdr; BATCH_SIZE]>,
    incoming_iovecs: Box<[libc::iovec; BATCH_SIZE]>,
    outgoing_iovecs: Box<[libc::iovec; BATCH_SIZE]>,
    /// How many of `incoming` the kernel has written to since they were prepared.
    received: usize,
    /// How many of `outgoing` hold a response.
    pending: usize,
    /// The request that each of `outgoing` responds to.
    request_of: [usize; BATCH_SIZE],
}

impl<const RECV: usize, const SEND: usize> Default for DatagramBatch<RECV, SEND> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const RECV: usize, const SEND: usize> DatagramBatch<RECV, SEND> {
    /// Allocates buffers for [`BATCH_SIZE`] datagrams.
    pub fn new() -> Self {
        // SAFETY: a plain C structure of integers, for which all zeros is a valid value.
        let source: libc::sockaddr_in6 = unsafe { mem::zeroed() };
        // SAFETY: a plain C structure of integers and pointers, for which all zeros is a valid value.
        let header: libc::mmsghdr = unsafe { mem::zeroed() };
        let iovec = libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            requests: Box::new([[0; RECV]; BATCH_SIZE]),
            sources: Box::new([source; BATCH_SIZE]),
            controls: Box::new([CmsgBuf([0; CMSG_BUF_SIZE]); BATCH_SIZE]),
            responses: Box::new([[0; SEND]; BATCH_SIZE]),
            incoming: Box::new([header; BATCH_SIZE]),
            outgoing: Box::new([header; BATCH_SIZE]),
            incoming_iovecs: Box::new([iovec; BATCH_SIZE]),
            outgoing_iovecs: Box::new([iovec; BATCH_SIZE]),
            // All of them have to be prepared.
            received: BATCH_SIZE,
            pending: 0,
            request_of: [0; BATCH_SIZE],
        }
    }

    /// Receives what is queued, up to [`BATCH_SIZE`] datagrams, without waiting. Returns how many. A
    /// datagram longer than `RECV` bytes is cut off there. Responses not sent yet are dropped.
    ///
    /// # Errors
    ///
    /// Those of recvmmsg(2), `EAGAIN` where nothing is queued. An interrupted call is made again.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.pending = 0;
        self.prepare_incoming();
        self.received = 0;
        self.received = retry_on_eintr(|| {
            // SAFETY: every header points to an iovec, a source address, a control buffer and, through
            // the iovec, a request buffer, each of the length beside it, owned by `self`, shared with
            // no other header, and alive beyond the call, which keeps none of them.
            unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    self.incoming.as_mut_ptr(),
                    BATCH_SIZE as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                    ptr::null_mut(),
                )
            }
        })?;
        Ok(self.received)
    }

    /// Resets the headers that the kernel has written to.
    fn prepare_incoming(&mut self) {
        for index in 0..self.received {
            self.incoming_iovecs[index] = libc::iovec {
                iov_base: self.requests[index].as_mut_ptr().cast(),
                iov_len: RECV,
            };
            let header = &mut self.incoming[index].msg_hdr;
            header.msg_name = (&raw mut self.sources[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            header.msg_iov = &raw mut self.incoming_iovecs[index];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut self.controls[index]).cast();
            header.msg_controllen = CMSG_BUF_SIZE as _;
            header.msg_flags = 0;
        }
    }

    /// Calls `respond` for each datagram received last, with its payload, its source and a buffer for
    /// the response. `respond` returns the length of the response, `None` for none.
    pub fn for_each_request(
        &mut self,
        mut respond: impl FnMut(&[u8], SocketAddr, &mut [u8; SEND]) -> Option<usize>,
    ) {
        self.pending = 0;
        for index in 0..self.received {
            let Some(source) = socket_addr(&self.sources[index]) else {
                continue;
            };
            let length = (self.incoming[index].msg_len as usize).min(RECV);
            let request = &self.requests[index][..length];
            if let Some(length) = respond(request, source, &mut self.responses[index]) {
                self.queue_response(index, length.min(SEND));
            }
        }
    }

    fn queue_response(&mut self, index: usize, length: usize) {
        let slot = self.pending;
        self.outgoing_iovecs[slot] = libc::iovec {
            iov_base: self.responses[index].as_mut_ptr().cast(),
            iov_len: length,
        };
        let control_length = pktinfo_for_reply(&mut self.incoming[index].msg_hdr);
        let header = &mut self.outgoing[slot].msg_hdr;
        header.msg_name = (&raw mut self.sources[index]).cast();
        header.msg_namelen = self.incoming[index].msg_hdr.msg_namelen;
        header.msg_iov = &raw mut self.outgoing_iovecs[slot];
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut self.controls[index]).cast();
        header.msg_controllen = control_length as _;
        self.request_of[slot] = index;
        self.pending += 1;
    }

    /// How many responses there are to send.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Sends the responses from number `first` on, without waiting. Returns how many were sent.
    ///
    /// # Errors
    ///
    /// Those of sendmmsg(2) for response `first`: if a later one fails, the call returns how many were
    /// sent before it. An interrupted call is made again.
    pub fn send(&mut self, socket: BorrowedFd<'_>, first: usize) -> io::Result<usize> {
        let headers = &mut self.outgoing[first..self.pending];
        retry_on_eintr(|| {
            // SAFETY: every header points to an iovec, a destination, a control buffer and a response
            // of the lengths beside them, all owned by `self`, which is borrowed for this call. The
            // kernel only reads them, and writes msg_len.
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

    /// Where a response goes.
    pub fn destination(&self, response: usize) -> Option<SocketAddr> {
        socket_addr(&self.sources[self.request_of[response]])
    }

    /// Lets the kernel choose the source address of a response. Returns whether it was set before.
    pub fn clear_source(&mut self, response: usize) -> bool {
        let header = &mut self.outgoing[response].msg_hdr;
        mem::replace(&mut header.msg_controllen, 0) != 0
    }
}

fn socket_addr(source: &libc::sockaddr_in6) -> Option<SocketAddr> {
    let port = u16::from_be(source.sin6_port);
    match i32::from(source.sin6_family) {
        // sockaddr_in holds its address where sockaddr_in6 has the flow label, in network order both.
        libc::AF_INET => {
            Some(SocketAddrV4::new(Ipv4Addr::from(source.sin6_flowinfo.to_ne_bytes()), port).into())
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(source.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, port, source.sin6_flowinfo, source.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Turns the control messages of a received datagram into those of its response, at the front of the
/// same buffer: the destination of the request becomes the source of the response. Returns their
/// length, 0 where the kernel is to choose the source.
///
/// The interface is left to the routing table, because the way back may be another one. A link-local
/// address is meaningless without its interface and keeps it. A message that the kernel cut off is
/// ignored.
fn pktinfo_for_reply(received: &mut libc::msghdr) -> usize {
    // SAFETY: the header is as recvmmsg left it: msg_control points to a buffer that is aligned for
    // cmsghdr and holds msg_controllen bytes of well-formed control messages.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(received) };
    while !message.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return a pointer to a whole, aligned cmsghdr.
        let header = unsafe { ptr::read(message) };
        match (header.cmsg_level, header.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: IP_PKTINFO is followed by an in_pktinfo.
                if let Some(mut info) = unsafe { read_cmsg::<libc::in_pktinfo>(message) } {
                    // ipi_spec_dst is the local address to send from.
                    if !Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).is_link_local() {
                        info.ipi_ifindex = 0;
                    }
                    // SAFETY: the buffer holds a message with an in_pktinfo, the one just read.
                    return unsafe { write_cmsg(received, header, info) };
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: IPV6_PKTINFO is followed by an in6_pktinfo.
                if let Some(mut info) = unsafe { read_cmsg::<libc::in6_pktinfo>(message) } {
                    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    if address.is_multicast() {
                        return 0;
                    }
                    if !is_link_local(address) {
                        info.ipi6_ifindex = 0;
                    }
                    // SAFETY: the buffer holds a message with an in6_pktinfo, the one just read.
                    return unsafe { write_cmsg(received, header, info) };
                }
            }
            _ => {}
        }
        // SAFETY: as for CMSG_FIRSTHDR; `message` is one of this header's messages.
        message = unsafe { libc::CMSG_NXTHDR(received, message) };
    }
    0
}

fn is_link_local(address: Ipv6Addr) -> bool {
    match address.to_ipv4_mapped() {
        Some(address) => address.is_link_local(),
        None => address.is_unicast_link_local(),
    }
}

/// The data of a control message; `None` if the kernel cut it off (MSG_CTRUNC shortens cmsg_len).
///
/// # Safety
///
/// `message` points to a control message whose type says that it holds a `T`, which is plain data.
unsafe fn read_cmsg<T>(message: *const libc::cmsghdr) -> Option<T> {
    // SAFETY: CMSG_LEN only computes.
    let needed = unsafe { libc::CMSG_LEN(size_of::<T>() as libc::c_uint) };
    // SAFETY: the caller vouches for the header.
    let length = unsafe { (*message).cmsg_len };
    if (length as u64) < u64::from(needed) {
        return None;
    }
    // SAFETY: CMSG_DATA only computes, from a valid header.
    let data = unsafe { libc::CMSG_DATA(message) };
    // SAFETY: the message holds `needed` bytes, and so a T behind its header, aligned or not.
    Some(unsafe { ptr::read_unaligned(data.cast()) })
}

/// Writes one control message to the front of a header's buffer. Returns the space that it takes.
///
/// # Safety
///
/// The buffer behind `received` is aligned for cmsghdr and holds a control message with a `T` already.
unsafe fn write_cmsg<T>(received: &libc::msghdr, header: libc::cmsghdr, data: T) -> usize {
    let first: *mut libc::cmsghdr = received.msg_control.cast();
    // SAFETY: the buffer has space for such a message and is aligned, as the caller vouches.
    unsafe { ptr::write(first, header) };
    // SAFETY: CMSG_DATA only computes, from the header that was just written.
    let place = unsafe { libc::CMSG_DATA(first) };
    // SAFETY: the space behind the header is large enough for a T; it need not be aligned.
    unsafe { ptr::write_unaligned(place.cast(), data) };
    // SAFETY: CMSG_SPACE only computes.
    unsafe { libc::CMSG_SPACE(size_of::<T>() as libc::c_uint) as usize }
}

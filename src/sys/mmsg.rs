//! recvmmsg(2) and sendmmsg(2): many datagrams with one system call each.
//!
//! A [`DatagramBatch`] owns all buffers. [`receive`](DatagramBatch::receive) fills them,
//! [`for_each_request`](DatagramBatch::for_each_request) lets the caller write a response to each
//! datagram, [`send`](DatagramBatch::send) sends the responses. The sockets are UDP sockets over
//! IPv4 or IPv6: each datagram has a source.
//!
//! If the socket reports the destination of a request
//! ([`enable_pktinfo`](super::sockopt::enable_pktinfo)), the response leaves from that address.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::errno::retry_on_eintr;

/// Maximum number of datagrams in one system call. At 32 the fixed cost of the calls is below 2 %
/// of the cost of a datagram, so a larger number saves nothing.
pub const BATCH_SIZE: usize = 32;

/// Bytes for the control messages of one datagram: packet info of either family, and others that
/// may be enabled on an inherited socket.
const CMSG_BUF_SIZE: usize = 256;

// The SAFETY comments below rely on these: `write_cmsg` writes one of the two.
const _: () = assert!(cmsg_space::<libc::in_pktinfo>() <= CMSG_BUF_SIZE);
const _: () = assert!(cmsg_space::<libc::in6_pktinfo>() <= CMSG_BUF_SIZE);

/// A control buffer, aligned for cmsghdr.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct CmsgBuf([u8; CMSG_BUF_SIZE]);

const _: () = assert!(align_of::<CmsgBuf>() >= align_of::<libc::cmsghdr>());

/// The buffers of a batch, allocated once and used for every call. `RECV` is the size of a receive
/// buffer, `SEND` that of a response buffer, in bytes.
///
/// Headers point to the other buffers, which are boxed so that they stay in place when the batch is
/// moved. Two invariants hold between calls of the methods:
///
/// * The headers `incoming[received..]` are prepared: each points to the request buffer, the
///   source, the control buffer and the iovec of its own index, with their lengths. The others are
///   all zeros in a new batch; later the kernel has written their lengths and flags, and left their
///   pointers.
/// * The headers `outgoing[..pending]` are filled in: each points to the iovec of its own index,
///   and to the response, the source and the control buffer of the request `request_of`, with
///   lengths within these buffers.
pub struct DatagramBatch<const RECV: usize, const SEND: usize> {
    requests: Box<[[u8; RECV]; BATCH_SIZE]>,
    /// Large enough for a sockaddr_in, too, which has family and port at the same offsets.
    sources: Box<[libc::sockaddr_in6; BATCH_SIZE]>,
    controls: Box<[CmsgBuf; BATCH_SIZE]>,
    responses: Box<[[u8; SEND]; BATCH_SIZE]>,
    incoming: Box<[libc::mmsghdr; BATCH_SIZE]>,
    outgoing: Box<[libc::mmsghdr; BATCH_SIZE]>,
    incoming_iovecs: Box<[libc::iovec; BATCH_SIZE]>,
    outgoing_iovecs: Box<[libc::iovec; BATCH_SIZE]>,
    /// How many headers in `incoming` have to be prepared: the kernel has written to these.
    received: usize,
    /// How many headers in `outgoing` have a response.
    pending: usize,
    /// The request that each header in `outgoing` responds to.
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
        // SAFETY: a C structure of integers, for which all zeros is a valid value.
        let source: libc::sockaddr_in6 = unsafe { mem::zeroed() };
        // SAFETY: a C structure of integers and raw pointers, for which all zeros is a valid value.
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
            // None is prepared yet.
            received: BATCH_SIZE,
            pending: 0,
            request_of: [0; BATCH_SIZE],
        }
    }

    /// Receives the queued datagrams, up to [`BATCH_SIZE`], without waiting. Returns how many.
    ///
    /// A datagram is truncated to `RECV` bytes. Responses that are not sent yet are discarded.
    ///
    /// # Errors
    ///
    /// Those of recvmmsg(2), `EAGAIN` if nothing is queued. An interrupted call is repeated.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.pending = 0;
        self.prepare_incoming();
        self.received = 0;
        self.received = retry_on_eintr(|| {
            // SAFETY: there are BATCH_SIZE headers, all of them prepared: each points to an iovec
            // and, through it, to a request buffer, to a source and to a control buffer, with their
            // lengths. `self` owns these buffers and is mutably borrowed during the call, no two
            // headers share one, and the kernel keeps no pointer after the call.
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

    /// Prepares the headers that the kernel has written to since the last time.
    fn prepare_incoming(&mut self) {
        for index in 0..self.received {
            self.incoming_iovecs[index] = libc::iovec {
                iov_base: (&raw mut self.requests[index]).cast(),
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

    /// Calls `respond` for each datagram of the last [`receive`](Self::receive), with its payload,
    /// its source and a buffer for the response. `respond` returns the length of the response, or
    /// `None` to send none.
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

    /// Fills in the next header in `outgoing`, for a response of at most `SEND` bytes to the
    /// request `index`.
    fn queue_response(&mut self, index: usize, length: usize) {
        let slot = self.pending;
        self.outgoing_iovecs[slot] = libc::iovec {
            iov_base: (&raw mut self.responses[index]).cast(),
            iov_len: length,
        };
        let control_length = pktinfo_for_response(&self.incoming[index].msg_hdr);
        let header = &mut self.outgoing[slot].msg_hdr;
        header.msg_name = (&raw mut self.sources[index]).cast();
        // Within `sources`: `socket_addr` accepts no family with longer addresses than IPv6's.
        header.msg_namelen = self.incoming[index].msg_hdr.msg_namelen;
        header.msg_iov = &raw mut self.outgoing_iovecs[slot];
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut self.controls[index]).cast();
        header.msg_controllen = control_length as _;
        self.request_of[slot] = index;
        self.pending += 1;
    }

    /// How many responses the last [`for_each_request`](Self::for_each_request) wrote.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Sends the responses from number `first` on, without waiting. Returns how many were sent.
    ///
    /// # Errors
    ///
    /// Those of sendmmsg(2) for response `first`. If a later response fails, the call returns how
    /// many were sent before it. An interrupted call is repeated.
    ///
    /// # Panics
    ///
    /// If `first` is greater than [`pending`](Self::pending).
    pub fn send(&mut self, socket: BorrowedFd<'_>, first: usize) -> io::Result<usize> {
        let headers = &mut self.outgoing[first..self.pending];
        retry_on_eintr(|| {
            // SAFETY: these headers have a response: each points to an iovec and, through it, to a
            // response, to a destination and to a control buffer, with lengths within them. `self`
            // owns these buffers and is mutably borrowed during the call. The kernel reads them,
            // writes the msg_len of each header, and keeps no pointer after the call.
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

    /// Returns the address that a response goes to.
    pub fn destination(&self, response: usize) -> Option<SocketAddr> {
        socket_addr(&self.sources[self.request_of[response]])
    }

    /// Lets the kernel choose the source address of a response. Returns whether it was set before.
    pub fn clear_source(&mut self, response: usize) -> bool {
        let header = &mut self.outgoing[response].msg_hdr;
        mem::replace(&mut header.msg_controllen, 0) != 0
    }
}

/// Converts an address of either family; `None` for any other family.
fn socket_addr(source: &libc::sockaddr_in6) -> Option<SocketAddr> {
    let port = u16::from_be(source.sin6_port);
    match i32::from(source.sin6_family) {
        // sockaddr_in has its address at the offset of the flow label, in network byte order.
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

/// Replaces the control messages of a received datagram by those of its response, in the same
/// buffer: the destination of the request becomes the source of the response. Returns their length,
/// 0 if the kernel is to choose the source.
///
/// The routing table chooses the interface, because the route back may be another one. Only a
/// link-local address keeps its interface: without it the address is ambiguous. A message that the
/// kernel truncated is ignored.
fn pktinfo_for_response(received: &libc::msghdr) -> usize {
    // SAFETY: recvmmsg(2) filled in this header: msg_control points to an aligned CmsgBuf, which
    // holds msg_controllen bytes of control messages.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(received) };
    while !message.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a pointer to a whole, aligned
        // cmsghdr in the buffer.
        let header = unsafe { ptr::read(message) };
        match (header.cmsg_level, header.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: the message is whole in the buffer, and in_pktinfo has only integers.
                if let Some(mut info) = unsafe { read_cmsg::<libc::in_pktinfo>(message) } {
                    // ipi_spec_dst is the local address to send from.
                    if !Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).is_link_local() {
                        info.ipi_ifindex = 0;
                    }
                    // SAFETY: the buffer is a CmsgBuf, which has space for an in_pktinfo.
                    return unsafe { write_cmsg(received, header, info) };
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the message is whole in the buffer, and in6_pktinfo has only integers.
                if let Some(mut info) = unsafe { read_cmsg::<libc::in6_pktinfo>(message) } {
                    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    if address.is_multicast() {
                        return 0;
                    }
                    if !is_link_local(address) {
                        info.ipi6_ifindex = 0;
                    }
                    // SAFETY: the buffer is a CmsgBuf, which has space for an in6_pktinfo.
                    return unsafe { write_cmsg(received, header, info) };
                }
            }
            _ => {}
        }
        // SAFETY: `message` is a whole message in the buffer of this header, both as recvmmsg(2)
        // left them: nothing was written to the buffer yet.
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

/// `CMSG_LEN`: the length of a control message with a `T`, in bytes.
const fn cmsg_len<T>() -> usize {
    // SAFETY: CMSG_LEN only computes.
    unsafe { libc::CMSG_LEN(size_of::<T>() as libc::c_uint) as usize }
}

/// `CMSG_SPACE`: the same with the padding behind it.
const fn cmsg_space<T>() -> usize {
    // SAFETY: CMSG_SPACE only computes.
    unsafe { libc::CMSG_SPACE(size_of::<T>() as libc::c_uint) as usize }
}

/// Reads the data of a control message; `None` if the message is too short for a `T`, because the
/// kernel truncated it (MSG_CTRUNC) and shortened cmsg_len.
///
/// # Safety
///
/// `message` points to an aligned cmsghdr and cmsg_len bytes, the header included, are readable
/// there. Any bytes are a valid `T`.
unsafe fn read_cmsg<T>(message: *const libc::cmsghdr) -> Option<T> {
    // SAFETY: the caller guarantees an aligned cmsghdr.
    let length = unsafe { (*message).cmsg_len };
    // As u64, because musl has another type for cmsg_len.
    if (length as u64) < cmsg_len::<T>() as u64 {
        return None;
    }
    // SAFETY: the message is longer than its header, so this is a pointer into it.
    let data = unsafe { libc::CMSG_DATA(message) };
    // SAFETY: the message has cmsg_len::<T>() readable bytes, thus a T behind the header. It need
    // not be aligned.
    Some(unsafe { ptr::read_unaligned(data.cast()) })
}

/// Writes one control message to the front of a header's buffer. Returns the bytes that it takes.
///
/// # Safety
///
/// The buffer of `received` is aligned for cmsghdr and has `cmsg_space::<T>()` writable bytes.
unsafe fn write_cmsg<T>(received: &libc::msghdr, header: libc::cmsghdr, data: T) -> usize {
    let first: *mut libc::cmsghdr = received.msg_control.cast();
    // SAFETY: the caller guarantees alignment, and space for more than the header.
    unsafe { ptr::write(first, header) };
    // SAFETY: the buffer is longer than the header, so this is a pointer into it.
    let place = unsafe { libc::CMSG_DATA(first) };
    // SAFETY: the caller guarantees space for a T behind the header. It need not be aligned.
    unsafe { ptr::write_unaligned(place.cast(), data) };
    cmsg_space::<T>()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Batch = DatagramBatch<1, 1>;

    const IPV4: (i32, i32) = (libc::IPPROTO_IP, libc::IP_PKTINFO);
    const IPV6: (i32, i32) = (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO);
    const TIMESTAMP: (i32, i32) = (libc::SOL_SOCKET, libc::SCM_TIMESTAMP);

    /// A control message as the kernel writes it, with the padding behind it.
    fn cmsg((level, kind): (i32, i32), data: &[u8]) -> Vec<u8> {
        let mut message = (cmsg_len::<()>() + data.len()).to_ne_bytes().to_vec();
        message.extend(level.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(data);
        message.resize(message.len().next_multiple_of(align_of::<usize>()), 0);
        message
    }

    /// in_pktinfo: the interface, the local address, the destination.
    fn in_pktinfo(interface: u32, address: Ipv4Addr) -> Vec<u8> {
        let address = address.octets();
        [interface.to_ne_bytes(), address, address].concat()
    }

    /// in6_pktinfo: the destination, the interface.
    fn in6_pktinfo(address: Ipv6Addr, interface: u32) -> Vec<u8> {
        [&address.octets()[..], &interface.to_ne_bytes()].concat()
    }

    /// The control messages of the response to a datagram with these ones.
    fn response_to(messages: &[u8]) -> Vec<u8> {
        let mut batch = Batch::new();
        batch.controls[0].0[..messages.len()].copy_from_slice(messages);
        batch.prepare_incoming();
        let header = &mut batch.incoming[0].msg_hdr;
        header.msg_controllen = messages.len() as _;
        let length = pktinfo_for_response(header);
        batch.controls[0].0[..length].to_vec()
    }

    #[test]
    fn the_destination_becomes_the_source() {
        let ip = Ipv4Addr::new(192, 0, 2, 7);
        let response = response_to(&cmsg(IPV4, &in_pktinfo(3, ip)));
        assert_eq!(response, cmsg(IPV4, &in_pktinfo(0, ip)));
        let ip = "2001:db8::7".parse().expect("an address");
        let response = response_to(&cmsg(IPV6, &in6_pktinfo(ip, 3)));
        assert_eq!(response, cmsg(IPV6, &in6_pktinfo(ip, 0)));
    }

    #[test]
    fn a_link_local_source_keeps_its_interface() {
        let message = cmsg(IPV4, &in_pktinfo(3, Ipv4Addr::new(169, 254, 0, 7)));
        assert_eq!(response_to(&message), message);
        for ip in ["fe80::7", "::ffff:169.254.0.7"] {
            let message = cmsg(IPV6, &in6_pktinfo(ip.parse().expect("an address"), 3));
            assert_eq!(response_to(&message), message);
        }
    }

    #[test]
    fn a_multicast_destination_is_no_source() {
        let ip = "ff02::1".parse().expect("an address");
        assert!(response_to(&cmsg(IPV6, &in6_pktinfo(ip, 3))).is_empty());
    }

    #[test]
    fn other_control_messages_are_left_out() {
        let timestamp = cmsg(TIMESTAMP, &[1; 16]);
        assert!(response_to(&[]).is_empty());
        assert!(response_to(&timestamp).is_empty());
        let ip = "2001:db8::7".parse().expect("an address");
        let both = [timestamp, cmsg(IPV6, &in6_pktinfo(ip, 3))].concat();
        assert_eq!(response_to(&both), cmsg(IPV6, &in6_pktinfo(ip, 0)));
    }

    #[test]
    fn a_truncated_control_message_is_ignored() {
        let whole = in_pktinfo(3, Ipv4Addr::LOCALHOST);
        for length in 0..whole.len() {
            assert!(response_to(&cmsg(IPV4, &whole[..length])).is_empty());
        }
    }

    #[test]
    fn a_source_of_each_family() {
        let mut source = Batch::new().sources[0];
        assert_eq!(socket_addr(&source), None);
        source.sin6_port = 40_000_u16.to_be();
        source.sin6_family = libc::AF_INET as _;
        source.sin6_flowinfo = u32::from_ne_bytes([192, 0, 2, 7]);
        assert_eq!(socket_addr(&source), "192.0.2.7:40000".parse().ok());
        source.sin6_family = libc::AF_INET6 as _;
        source.sin6_flowinfo = 0;
        source.sin6_addr.s6_addr = Ipv6Addr::LOCALHOST.octets();
        source.sin6_scope_id = 2;
        let address = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 40_000, 0, 2);
        assert_eq!(socket_addr(&source), Some(address.into()));
    }
}

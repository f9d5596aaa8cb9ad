//! recvmmsg(2) and sendmmsg(2): many datagrams with one system call each.
//!
//! A [`DatagramBatch`] owns all buffers. [`receive`](DatagramBatch::receive) fills them,
//! [`for_each_request`](DatagramBatch::for_each_request) lets the caller write a response to each
//! datagram, [`send`](DatagramBatch::send) sends the responses. The sockets are UDP sockets over
//! IPv4 or IPv6: each datagram has a source.
//!
//! If the socket reports the destination of a request
//! ([`enable_pktinfo`](super::sockopt::enable_pktinfo)), the response leaves from that address, and
//! the caller learns it ([`Pktinfo`]).

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::{Index, IndexMut};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::errno::retry_on_eintr;

/// Maximum number of datagrams in one system call. At 32 the fixed cost of the calls is below 2 %
/// of the cost of a datagram, so a larger number saves nothing.
pub const BATCH_SIZE: usize = 32;

/// Bytes for the control messages of one datagram: packet info of both families, and others that
/// may be enabled on an inherited socket and come first (time stamps, the drop count, the mark).
const CMSG_BUF_SIZE: usize = 256;

// The SAFETY comments below rely on these: `write_cmsg` writes one of the two.
const _: () = assert!(cmsg_space::<libc::in_pktinfo>() <= CMSG_BUF_SIZE);
const _: () = assert!(cmsg_space::<libc::in6_pktinfo>() <= CMSG_BUF_SIZE);

/// A control buffer, aligned for cmsghdr.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct CmsgBuf([u8; CMSG_BUF_SIZE]);

const _: () = assert!(align_of::<CmsgBuf>() >= align_of::<libc::cmsghdr>());

/// An array on the heap that others point into, with an element for each datagram.
///
/// All accesses derive from one raw pointer: a pointer to an element stays valid when another
/// element is used through a reference, and when the array is moved. (A use of a `Box` may
/// invalidate the pointers that were derived from it.)
struct Elements<T>(*mut T);

impl<T: Copy> Elements<T> {
    fn new(value: T) -> Self {
        Self(Box::into_raw(Box::new([value; BATCH_SIZE])).cast())
    }
}

impl<T> Elements<T> {
    /// A pointer to an element. It is valid as long as `self`, but not while a reference to that
    /// element is used.
    fn ptr(&self, index: usize) -> *mut T {
        assert!(index < BATCH_SIZE);
        // SAFETY: the array has BATCH_SIZE elements.
        unsafe { self.0.add(index) }
    }
}

impl<T> Index<usize> for Elements<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        // SAFETY: the element is initialised. Nothing writes to it while `self` is borrowed.
        unsafe { &*self.ptr(index) }
    }
}

impl<T> IndexMut<usize> for Elements<T> {
    fn index_mut(&mut self, index: usize) -> &mut T {
        // SAFETY: the element is initialised. Nothing else uses it while `self` is mutably
        // borrowed.
        unsafe { &mut *self.ptr(index) }
    }
}

impl<T> Drop for Elements<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer comes from `Box::into_raw` of such an array, and is not used again.
        drop(unsafe { Box::from_raw(self.0.cast::<[T; BATCH_SIZE]>()) });
    }
}

/// The buffers of a batch, allocated once and used for every call. `RECV` is the size of a receive
/// buffer, `SEND` that of a response buffer, in bytes.
///
/// Headers point to the other buffers, which stay in place when the batch is moved. Two invariants
/// hold between calls of the methods:
///
/// * The headers `incoming[received..]` are prepared: each points to the request buffer, the
///   source, the control buffer and the iovec of its own index, with their lengths. The others are
///   all zeros in a new batch; later the kernel has written their lengths and flags, and left their
///   pointers.
/// * The headers `outgoing[..pending]` are filled in: each points to the iovec of its own index,
///   and to the response, the source and the control buffer of the request `request_of`, with
///   lengths within these buffers.
pub struct DatagramBatch<const RECV: usize, const SEND: usize> {
    requests: Elements<[u8; RECV]>,
    /// Large enough for a sockaddr_in, too, which has family and port at the same offsets.
    sources: Elements<libc::sockaddr_in6>,
    controls: Elements<CmsgBuf>,
    responses: Elements<[u8; SEND]>,
    incoming: Elements<libc::mmsghdr>,
    outgoing: Elements<libc::mmsghdr>,
    incoming_iovecs: Elements<libc::iovec>,
    outgoing_iovecs: Elements<libc::iovec>,
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
            requests: Elements::new([0; RECV]),
            sources: Elements::new(source),
            controls: Elements::new(CmsgBuf([0; CMSG_BUF_SIZE])),
            responses: Elements::new([0; SEND]),
            incoming: Elements::new(header),
            outgoing: Elements::new(header),
            incoming_iovecs: Elements::new(iovec),
            outgoing_iovecs: Elements::new(iovec),
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
                    self.incoming.ptr(0),
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
                iov_base: self.requests.ptr(index).cast(),
                iov_len: RECV,
            };
            let header = &mut self.incoming[index].msg_hdr;
            header.msg_name = self.sources.ptr(index).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            header.msg_iov = self.incoming_iovecs.ptr(index);
            header.msg_iovlen = 1;
            header.msg_control = self.controls.ptr(index).cast();
            header.msg_controllen = CMSG_BUF_SIZE as _;
            header.msg_flags = 0;
        }
    }

    /// Calls `respond` for each datagram of the last [`receive`](Self::receive), with its payload,
    /// its source, its packet info and a buffer for the response. `respond` returns the length of
    /// the response, or `None` to send none.
    pub fn for_each_request(
        &mut self,
        mut respond: impl FnMut(&[u8], SocketAddr, Option<Pktinfo>, &mut [u8; SEND]) -> Option<usize>,
    ) {
        self.pending = 0;
        for index in 0..self.received {
            let Some(source) = socket_addr(&self.sources[index]) else {
                continue;
            };
            let length = (self.incoming[index].msg_len as usize).min(RECV);
            let request = &self.requests[index][..length];
            let pktinfo = received_pktinfo(&self.incoming[index].msg_hdr);
            let response = &mut self.responses[index];
            if let Some(length) = respond(request, source, pktinfo, response) {
                self.queue_response(index, length.min(SEND), pktinfo);
            }
        }
    }

    /// Fills in the next header in `outgoing`, for a response of at most `SEND` bytes to the
    /// request `index`.
    fn queue_response(&mut self, index: usize, length: usize, pktinfo: Option<Pktinfo>) {
        let slot = self.pending;
        self.outgoing_iovecs[slot] = libc::iovec {
            iov_base: self.responses.ptr(index).cast(),
            iov_len: length,
        };
        let control_length = match pktinfo {
            // SAFETY: `msg_control` of this header points to a whole CmsgBuf, whose messages are
            // not read any more.
            Some(pktinfo) => unsafe {
                write_response_pktinfo(&self.incoming[index].msg_hdr, pktinfo)
            },
            None => 0,
        };
        let header = &mut self.outgoing[slot].msg_hdr;
        header.msg_name = self.sources.ptr(index).cast();
        // Within `sources`: `socket_addr` accepts no family with longer addresses than IPv6's.
        header.msg_namelen = self.incoming[index].msg_hdr.msg_namelen;
        header.msg_iov = self.outgoing_iovecs.ptr(slot);
        header.msg_iovlen = 1;
        header.msg_control = self.controls.ptr(index).cast();
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
        assert!(first <= self.pending);
        if first == self.pending {
            return Ok(0);
        }
        retry_on_eintr(|| {
            // SAFETY: the headers from `first` to `pending` have a response: each points to an
            // iovec and, through it, to a response, to a destination and to a control buffer, with
            // lengths within them. `self` owns these buffers and is mutably borrowed during the
            // call. The kernel reads them, writes the msg_len of each header, and keeps no pointer
            // after the call.
            unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    self.outgoing.ptr(first),
                    (self.pending - first) as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                )
            }
        })
    }

    /// Returns the address that a response goes to.
    pub fn destination(&self, response: usize) -> Option<SocketAddr> {
        socket_addr(&self.sources[self.request_of[response]])
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

/// What the kernel reports about the destination of a datagram (ip(7) `IP_PKTINFO`, ipv6(7)
/// `IPV6_PKTINFO`).
#[derive(Clone, Copy)]
pub struct Pktinfo {
    header: libc::cmsghdr,
    data: PktinfoData,
}

#[derive(Clone, Copy)]
enum PktinfoData {
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
}

impl Pktinfo {
    /// Returns the destination address of the datagram, and the address of this host that received
    /// it. These differ for a broadcast and for an IPv4 multicast. For an IPv6 multicast both are
    /// the multicast address.
    ///
    /// `None` if the kernel did not look the second one up: `IP_PKTINFO` was off when the datagram
    /// arrived.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        match self.data {
            PktinfoData::V4(info) => {
                let local = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                let destination = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
                (!local.is_unspecified()).then(|| (destination.into(), local.into()))
            }
            PktinfoData::V6(info) => {
                let destination = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                // That of IPv4 on a dual-stack socket has no local address.
                let known = destination.to_ipv4_mapped().is_none();
                known.then(|| (destination.into(), destination.into()))
            }
        }
    }
}

/// Finds the packet info among the control messages of a received datagram. A message that the
/// kernel truncated is ignored.
///
/// An IPv4 datagram to a dual-stack socket has both: `IP_PKTINFO` is the one that holds the local
/// address.
fn received_pktinfo(received: &libc::msghdr) -> Option<Pktinfo> {
    let mut found = None;
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
                if let Some(info) = unsafe { read_cmsg(message) } {
                    let data = PktinfoData::V4(info);
                    return Some(Pktinfo { header, data });
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the message is whole in the buffer, and in6_pktinfo has only integers.
                if let Some(info) = unsafe { read_cmsg(message) } {
                    let data = PktinfoData::V6(info);
                    found = Some(Pktinfo { header, data });
                }
            }
            _ => {}
        }
        // SAFETY: `message` is a whole message in the buffer of this header, both as recvmmsg(2)
        // left them.
        message = unsafe { libc::CMSG_NXTHDR(received, message) };
    }
    found
}

/// Replaces the control messages of a received datagram by that of its response, in the same
/// buffer: the destination of the request becomes the source of the response. Returns its length.
///
/// The routing table chooses the interface, because the route back may be another one. Only a
/// link-local address keeps its interface: without it the address is ambiguous.
///
/// # Safety
///
/// `msg_control` of `received` points to a CmsgBuf.
unsafe fn write_response_pktinfo(received: &libc::msghdr, pktinfo: Pktinfo) -> usize {
    match pktinfo.data {
        PktinfoData::V4(mut info) => {
            // ipi_spec_dst is the local address to send from.
            if !Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).is_link_local() {
                info.ipi_ifindex = 0;
            }
            // SAFETY: the buffer is a CmsgBuf, which has space for an in_pktinfo.
            unsafe { write_cmsg(received, pktinfo.header, info) }
        }
        PktinfoData::V6(mut info) => {
            if !is_link_local(Ipv6Addr::from(info.ipi6_addr.s6_addr)) {
                info.ipi6_ifindex = 0;
            }
            // SAFETY: the buffer is a CmsgBuf, which has space for an in6_pktinfo.
            unsafe { write_cmsg(received, pktinfo.header, info) }
        }
    }
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

    /// A batch that received a datagram with these control messages.
    fn batch_with(messages: &[u8]) -> Batch {
        let mut batch = Batch::new();
        batch.controls[0].0[..messages.len()].copy_from_slice(messages);
        batch.prepare_incoming();
        batch.incoming[0].msg_hdr.msg_controllen = messages.len() as _;
        batch
    }

    /// The control message of the response to a datagram with these ones, with zeros behind it: the
    /// padding may hold anything.
    fn response_to(messages: &[u8]) -> Vec<u8> {
        let mut batch = batch_with(messages);
        let pktinfo = received_pktinfo(&batch.incoming[0].msg_hdr);
        batch.queue_response(0, 0, pktinfo);
        let length = batch.outgoing[0].msg_hdr.msg_controllen as usize;
        let mut message = batch.controls[0].0[..length].to_vec();
        if let Some(length) = message.first_chunk() {
            let end = usize::from_ne_bytes(*length);
            message[end..].fill(0);
        }
        message
    }

    /// The destination and the local address of a datagram with these control messages.
    fn addresses(messages: &[u8]) -> Option<(IpAddr, IpAddr)> {
        received_pktinfo(&batch_with(messages).incoming[0].msg_hdr)?.addresses()
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
    fn destination_and_local_address_are_reported() {
        let ip = Ipv4Addr::new(192, 0, 2, 7);
        let mut info = in_pktinfo(3, ip);
        let both = Some((ip.into(), ip.into()));
        assert_eq!(addresses(&cmsg(IPV4, &info)), both);
        // On a dual-stack socket, IPv4 has both messages.
        let mapped = cmsg(IPV6, &in6_pktinfo(ip.to_ipv6_mapped(), 3));
        assert_eq!(
            addresses(&[mapped.clone(), cmsg(IPV4, &info)].concat()),
            both
        );
        assert_eq!(addresses(&mapped), None);
        // A broadcast: the local address comes first, then the destination.
        info[11] = 255;
        let broadcast = Ipv4Addr::new(192, 0, 2, 255);
        let expected = Some((broadcast.into(), ip.into()));
        assert_eq!(addresses(&cmsg(IPV4, &info)), expected);
        // IP_PKTINFO was off when the datagram arrived.
        assert_eq!(
            addresses(&cmsg(IPV4, &in_pktinfo(0, Ipv4Addr::UNSPECIFIED))),
            None
        );
        for ip in ["2001:db8::7", "ff02::1"] {
            let ip: Ipv6Addr = ip.parse().expect("an address");
            let expected = Some((ip.into(), ip.into()));
            assert_eq!(addresses(&cmsg(IPV6, &in6_pktinfo(ip, 3))), expected);
        }
        assert_eq!(addresses(&[]), None);
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
            let truncated = cmsg(IPV4, &whole[..length]);
            assert!(response_to(&truncated).is_empty());
            assert_eq!(addresses(&truncated), None);
        }
    }

    /// Receives as recvmmsg(2) does, through the pointers of the headers only. The payload of
    /// datagram n is n, and so is the last byte of its source.
    fn receive_through_pointers<const RECV: usize, const SEND: usize>(
        batch: &mut DatagramBatch<RECV, SEND>,
        count: usize,
    ) {
        batch.pending = 0;
        batch.prepare_incoming();
        for index in 0..count {
            let number = index as u8;
            let header = &mut batch.incoming[index];
            header.msg_len = 1;
            let message = &mut header.msg_hdr;
            message.msg_controllen = 0;
            let source: *mut libc::sockaddr_in6 = message.msg_name.cast();
            // SAFETY: the header is prepared, so this pointer is valid, and no reference to what it
            // points to is alive.
            let source = unsafe { &mut *source };
            source.sin6_family = libc::AF_INET as _;
            source.sin6_flowinfo = u32::from_ne_bytes([192, 0, 2, number]);
            // SAFETY: as above.
            let iovec = unsafe { ptr::read(message.msg_iov) };
            // SAFETY: as above.
            unsafe { ptr::write(iovec.iov_base.cast(), number) };
        }
        batch.received = count;
    }

    /// Sends as sendmmsg(2) does, see [`receive_through_pointers`]: returns the last byte of the
    /// destination and the payload of each response.
    fn send_through_pointers<const RECV: usize, const SEND: usize>(
        batch: &DatagramBatch<RECV, SEND>,
    ) -> Vec<(u8, Vec<u8>)> {
        (0..batch.pending)
            .map(|index| {
                let message = &batch.outgoing[index].msg_hdr;
                // SAFETY: the header is filled in, so its pointers are valid for reads.
                let source = unsafe { ptr::read(message.msg_name.cast::<libc::sockaddr_in6>()) };
                // SAFETY: as above.
                let iovec = unsafe { ptr::read(message.msg_iov) };
                // SAFETY: as above.
                let payload = unsafe {
                    std::slice::from_raw_parts(iovec.iov_base.cast::<u8>(), iovec.iov_len)
                };
                (source.sin6_flowinfo.to_ne_bytes()[3], payload.to_vec())
            })
            .collect()
    }

    /// Miri checks each access of this test: a pointer that an access to another buffer has
    /// invalidated is an error there.
    #[test]
    fn pointers_in_headers_stay_valid() {
        let mut batch = DatagramBatch::<4, 4>::new();
        for count in [3, 1, BATCH_SIZE, 2, BATCH_SIZE] {
            // A batch may be moved between two calls.
            let mut moved = batch;
            receive_through_pointers(&mut moved, count);
            let mut seen = Vec::new();
            moved.for_each_request(|request, source, _, response| {
                seen.push((source.to_string(), request.to_vec()));
                response[..2].copy_from_slice(&[request[0], 0xff]);
                (request[0] != 1).then_some(2)
            });
            let numbers = 0..count as u8;
            let all = numbers.clone().map(|n| (format!("192.0.2.{n}:0"), vec![n]));
            assert_eq!(seen, all.collect::<Vec<_>>());
            let answered = numbers.filter(|&n| n != 1).map(|n| (n, vec![n, 0xff]));
            assert_eq!(send_through_pointers(&moved), answered.collect::<Vec<_>>());
            batch = moved;
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

//! The UDP sockets: bound here, or inherited from a service manager.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::sockopt;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::sys::sockopt::{disable_recverr, enable_pktinfo, so_meminfo};

/// Kernel memory of one short request in a receive buffer, in bytes: mostly the kernel's
/// structures, not the payload.
const BYTES_PER_REQUEST: usize = 830;

/// Size of the receive buffer to request by default, in bytes: 10,000 requests at once. The kernel
/// doubles it (socket(7)).
pub const DEFAULT_RECV_BUFFER: usize = 8 << 20;

/// Size of the send buffer to request, in bytes. Responses to forged addresses of the local network
/// stay in it for seconds, about 200 KiB for each address, while the kernel tries to resolve the
/// neighbour. Other responses need space beside them.
const DEFAULT_SEND_BUFFER: usize = 8 << 20;

/// A bound UDP socket that receives requests.
#[derive(Debug)]
pub struct Listener {
    socket: UdpSocket,
    address: SocketAddr,
}

/// Options of all sockets.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketOptions {
    /// Share the port with other instances (socket(7) `SO_REUSEPORT`): the kernel distributes the
    /// clients among them.
    pub reuse_port: bool,
    /// Size of the receive buffer to request, in bytes; `None` for [`DEFAULT_RECV_BUFFER`].
    pub recv_buffer: Option<usize>,
}

/// Why there is no socket; each variant is a step.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The socket can't be created: the kernel lacks the protocol family, or no descriptor is left.
    #[error("create a socket for {address}")]
    Create {
        /// The address to bind it to.
        address: SocketAddr,
        /// The error of socket(2) or setsockopt(2).
        source: io::Error,
    },
    /// The address is not local, the port is in use and not shared, or it takes a privilege.
    #[error("bind {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The error of bind(2).
        source: io::Error,
    },
    /// A socket option can't be set.
    #[error("set {option} on the socket of {address}")]
    Option {
        /// The name of the option.
        option: &'static str,
        /// The address of the socket.
        address: SocketAddr,
        /// The error of setsockopt(2).
        source: io::Error,
    },
    /// The address of a socket can't be read.
    #[error("read the address of a socket")]
    Address {
        /// The error of getsockname(2).
        source: io::Error,
    },
    /// An inherited descriptor is not a bound UDP socket.
    #[error("inherited descriptor {descriptor}: {what}")]
    Inherited {
        /// Its number.
        descriptor: i32,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An inherited descriptor can't be inspected.
    #[error("inspect inherited descriptor {descriptor}")]
    Inspect {
        /// Its number.
        descriptor: i32,
        /// The error of the system call.
        source: io::Error,
    },
}

impl Listener {
    /// Binds a UDP socket with SO_REUSEADDR to each of these addresses; `[::]` serves IPv4, too.
    /// Warns if another socket is bound to one of them.
    ///
    /// # Errors
    ///
    /// The first step that failed, see [`ListenError`].
    pub fn bind(
        addresses: &[SocketAddr],
        options: SocketOptions,
    ) -> Result<Vec<Listener>, ListenError> {
        // All are checked before the first is bound, so that the sockets of this daemon do not
        // count.
        for &address in addresses {
            if address.port() != 0 && port_in_use(address, options)? {
                log::warn!(
                    "another socket is bound to {address}: with SO_REUSEADDR this daemon, bound \
                     last, receives all datagrams until it ends"
                );
            }
        }
        addresses
            .iter()
            .map(|&address| Listener::bind_one(address, options))
            .collect()
    }

    fn bind_one(address: SocketAddr, options: SocketOptions) -> Result<Listener, ListenError> {
        let socket = new_socket(address)?;
        socket
            .set_reuse_address(true)
            .map_err(option_error("SO_REUSEADDR", address))?;
        if options.reuse_port {
            socket
                .set_reuse_port(true)
                .map_err(option_error("SO_REUSEPORT", address))?;
        }
        socket
            .bind(&address.into())
            .map_err(|source| ListenError::Bind { address, source })?;
        Listener::new(socket, options, false)
    }

    /// Takes over a socket that a service manager bound (sd_listen_fds(3)).
    ///
    /// # Errors
    ///
    /// The descriptor is not a bound UDP socket over IPv4 or IPv6, or can't be inspected.
    pub fn inherit(descriptor: OwnedFd, options: SocketOptions) -> Result<Listener, ListenError> {
        let number = descriptor.as_raw_fd();
        let wrong = |what| ListenError::Inherited {
            descriptor: number,
            what,
        };
        let inspect = |source| ListenError::Inspect {
            descriptor: number,
            source,
        };
        let socket = Socket::from(descriptor);
        match socket.r#type() {
            Ok(kind) if kind == Type::DGRAM => {}
            Ok(_) => return Err(wrong("not a datagram socket (use ListenDatagram=)")),
            Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => {
                return Err(wrong("not a socket"));
            }
            Err(source) => return Err(inspect(source)),
        }
        let domain = socket.domain().map_err(inspect)?;
        if domain != Domain::IPV4 && domain != Domain::IPV6 {
            return Err(wrong("not an IPv4 or IPv6 socket"));
        }
        if socket.protocol().map_err(inspect)? != Some(Protocol::UDP) {
            return Err(wrong("not a UDP socket"));
        }
        let bound = socket.local_addr().map_err(inspect)?;
        if bound.as_socket().is_none_or(|address| address.port() == 0) {
            return Err(wrong("not bound to a port"));
        }
        disable_recverr(socket.as_fd(), domain == Domain::IPV6).map_err(inspect)?;
        // Whatever it is bound to: that may be a broadcast address.
        enable_pktinfo(socket.as_fd(), domain == Domain::IPV6).map_err(inspect)?;
        Listener::new(socket, options, true)
    }

    fn new(
        socket: Socket,
        options: SocketOptions,
        inherited: bool,
    ) -> Result<Listener, ListenError> {
        let socket = UdpSocket::from(socket);
        let address = socket
            .local_addr()
            .map_err(|source| ListenError::Address { source })?;
        let listener = Listener { socket, address };
        listener.request_send_buffer(inherited);
        listener.request_recv_buffer(options.recv_buffer, inherited);
        Ok(listener)
    }

    /// Requests a send buffer. A smaller one suffices on a quiet network, so a refusal is not a
    /// warning.
    fn request_send_buffer(&self, inherited: bool) {
        let socket = SockRef::from(&self.socket);
        let too_small = socket
            .send_buffer_size()
            .is_ok_and(|size| size < 2 * DEFAULT_SEND_BUFFER);
        if !too_small {
            return;
        }
        // More than net.core.wmem_max takes a privilege; SO_SNDBUF is limited to it and could
        // reduce what an inherited socket was granted.
        let forced =
            sockopt::set_socket_send_buffer_size_force(&self.socket, DEFAULT_SEND_BUFFER).is_ok();
        if !forced
            && !inherited
            && let Err(error) = socket.set_send_buffer_size(DEFAULT_SEND_BUFFER)
        {
            log::debug!("{}: send buffer: {error}", self.address);
        }
    }

    /// Requests a receive buffer and logs the size that the kernel granted.
    fn request_recv_buffer(&self, requested: Option<usize>, inherited: bool) {
        let socket = SockRef::from(&self.socket);
        let size = requested.unwrap_or(DEFAULT_RECV_BUFFER);
        let before = socket.recv_buffer_size().unwrap_or(0);
        if before < size.saturating_mul(2) || requested.is_some() {
            // As for the send buffer.
            let forced = sockopt::set_socket_recv_buffer_size_force(&self.socket, size).is_ok();
            if !forced
                && !inherited
                && let Err(error) = socket.set_recv_buffer_size(size)
            {
                log::warn!("{}: receive buffer: {error}", self.address);
            }
        }
        let granted = socket.recv_buffer_size().unwrap_or(0);
        self.log_recv_buffer(granted, size, requested.is_some(), inherited);
    }

    fn log_recv_buffer(&self, granted: usize, size: usize, explicit: bool, inherited: bool) {
        let address = self.address;
        let requests = granted / BYTES_PER_REQUEST;
        let doubled = size.saturating_mul(2);
        if granted >= doubled {
            log::info!(
                "{address}: receive buffer {granted} bytes, about {requests} requests at once"
            );
            return;
        }
        // An administrator should act only if a size was asked for explicitly.
        let level = if explicit {
            log::Level::Warn
        } else {
            log::Level::Info
        };
        let advice = if inherited {
            format!("set ReceiveBuffer={size} in its socket unit")
        } else {
            format!("raise net.core.rmem_max to {size}, or use the socket unit")
        };
        log::log!(
            level,
            "{address}: receive buffer {granted} bytes, about {requests} requests at once; \
             {doubled} requested: {advice}"
        );
    }

    /// Returns the address that the socket is bound to, with the port that the kernel chose if it
    /// was 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address that the requests to this socket are sent to; `None` if it is bound to
    /// all addresses.
    pub fn bound_ip(&self) -> Option<IpAddr> {
        let ip = self.address.ip();
        (!ip.to_canonical().is_unspecified()).then_some(ip)
    }

    /// Returns how many datagrams the kernel dropped at this socket since it was created.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn drops(&self) -> io::Result<u32> {
        Ok(so_meminfo(self.socket.as_fd())?.drops)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn option_error(
    option: &'static str,
    address: SocketAddr,
) -> impl FnOnce(io::Error) -> ListenError {
    move |source| ListenError::Option {
        option,
        address,
        source,
    }
}

/// Creates an unbound UDP socket of the address's family.
fn new_socket(address: SocketAddr) -> Result<Socket, ListenError> {
    let create = |source| ListenError::Create { address, source };
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )
    .map_err(create)?;
    if address.is_ipv6() {
        // `[::]` serves both families, any other address its own, independent of
        // net.ipv6.bindv6only.
        socket
            .set_only_v6(!address.ip().is_unspecified())
            .map_err(create)?;
    }
    // Before the bind, so that it holds for the first request. A socket that is bound to one
    // unicast address receives only requests to it, and sends from it. Without packet info a
    // request costs 5 % less.
    if address.ip().to_canonical().is_unspecified() {
        enable_pktinfo(socket.as_fd(), address.is_ipv6())
            .map_err(option_error("IP_PKTINFO", address))?;
    }
    Ok(socket)
}

/// Returns whether another socket is bound to the address: a bind without SO_REUSEADDR fails.
/// Instances that share the port (SO_REUSEPORT) do not count.
fn port_in_use(address: SocketAddr, options: SocketOptions) -> Result<bool, ListenError> {
    let probe = new_socket(address)?;
    if options.reuse_port {
        probe
            .set_reuse_port(true)
            .map_err(option_error("SO_REUSEPORT", address))?;
    }
    match probe.bind(&address.into()) {
        Err(error) => Ok(error.kind() == io::ErrorKind::AddrInUse),
        Ok(()) => Ok(false),
    }
}

//! The UDP sockets: bound here, or inherited from a service manager.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::sockopt;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::sys::sockopt::{SockMemInfo, disable_recverr, enable_pktinfo, so_meminfo};

/// Kernel memory of one short request in a receive buffer, in bytes: mostly the kernel's
/// structures, not the payload.
const BYTES_PER_REQUEST: usize = 830;

/// Size of the receive buffer to request by default, in bytes: 10,000 requests at once. The kernel
/// doubles it (socket(7)).
pub const DEFAULT_RECV_BUFFER: usize = 8 << 20;

/// Size of the send buffer to request, in bytes; SendBuffer= of the socket unit is the same. The
/// kernel doubles it (socket(7)).
///
/// Responses to forged addresses of the local network stay in it for seconds, up to 208 KiB for
/// each address (`unres_qlen_bytes` in arp(7)), while the kernel tries to resolve the neighbour.
/// The 254 addresses of a /24 network take 52 MiB, and other responses need space beside them. The
/// size is a limit: the kernel allocates memory for each datagram, and none in advance.
const DEFAULT_SEND_BUFFER: usize = 32 << 20;

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
    /// A socket of another process is bound to the port, on this address or on one that overlaps.
    #[error(
        "{address} is in use: another process or wallclockd.socket holds the port \
         (`ss -ulpn 'sport = :{}'` shows which)",
        address.port()
    )]
    PortInUse {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The sandbox of the service permits no socket but those that systemd passes.
    #[error(
        "no socket for {address}: systemd holds the socket of this service, {inherited}, and \
         permits no other; set addresses with ListenDatagram= in wallclockd.socket, not with \
         WALLCLOCKD_LISTEN or --listen"
    )]
    OnlyInherited {
        /// The address that was asked for.
        address: SocketAddr,
        /// The address of the first inherited socket.
        inherited: SocketAddr,
    },
    /// A request to such an address reaches several hosts, and rule 1 ignores it.
    #[error("{address} is a broadcast or multicast address")]
    NotUnicast {
        /// The address.
        address: SocketAddr,
    },
    /// The address is not local, or the port takes a privilege.
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

impl ListenError {
    /// Whether another start fails in the same way until somebody acts: an address, a port in use
    /// or what systemd passes is at fault.
    pub fn is_permanent(&self) -> bool {
        match self {
            ListenError::PortInUse { .. }
            | ListenError::OnlyInherited { .. }
            | ListenError::NotUnicast { .. }
            | ListenError::Inherited { .. } => true,
            ListenError::Bind { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            ListenError::Create { source, .. } => source.raw_os_error() == Some(libc::EAFNOSUPPORT),
            // A descriptor of O_PATH.
            ListenError::Inspect { source, .. } => source.raw_os_error() == Some(libc::EBADF),
            ListenError::Option { .. } | ListenError::Address { .. } => false,
        }
    }
}

impl Listener {
    /// Binds a UDP socket to each of these addresses, beside the inherited ones; `[::]` serves
    /// IPv4, too. An address that is given twice gets one socket, but port 0 is another port each
    /// time.
    ///
    /// No other process shares a port: one that is in use is an error, and when this function
    /// returns, the kernel refuses every other bind. [`SocketOptions::reuse_port`] shares the ports
    /// with processes of the same user.
    ///
    /// # Errors
    ///
    /// The first step that failed, see [`ListenError`].
    pub fn bind(
        addresses: &[SocketAddr],
        inherited: &[Listener],
        options: SocketOptions,
    ) -> Result<Vec<Listener>, ListenError> {
        bind_all(&unique(addresses), inherited, options)
            .and_then(|sockets| {
                sockets
                    .into_iter()
                    .map(|socket| Listener::new(socket, options, false))
                    .collect()
            })
            .map_err(|error| match (error, inherited.first()) {
                (ListenError::Create { address, source }, Some(first))
                    if source.raw_os_error() == Some(libc::EAFNOSUPPORT) =>
                {
                    ListenError::OnlyInherited {
                        address,
                        inherited: first.address,
                    }
                }
                (error, _) => error,
            })
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
        // systemd sets it. The socket stays systemd's, so it stays off after the end of the daemon.
        socket.set_reuse_address(false).map_err(inspect)?;
        socket.set_reuse_port(options.reuse_port).map_err(inspect)?;
        // A request may have the broadcast address of a network as its source. Without this option
        // the kernel refuses the response.
        socket.set_broadcast(false).map_err(inspect)?;
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
        let before = SockRef::from(&self.socket).send_buffer_size().unwrap_or(0);
        if before >= 2 * DEFAULT_SEND_BUFFER {
            return;
        }
        // More than net.core.wmem_max takes a privilege; SO_SNDBUF is limited to it and could
        // reduce what an inherited socket was granted.
        let forced =
            sockopt::set_socket_send_buffer_size_force(&self.socket, DEFAULT_SEND_BUFFER).is_ok();
        if !forced
            && !inherited
            && let Err(error) = self.request_limited(
                DEFAULT_SEND_BUFFER,
                Socket::send_buffer_size,
                Socket::set_send_buffer_size,
            )
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
                && let Err(error) = self.request_limited(
                    size,
                    Socket::recv_buffer_size,
                    Socket::set_recv_buffer_size,
                )
            {
                log::warn!("{}: receive buffer: {error}", self.address);
            }
        }
        let granted = socket.recv_buffer_size().unwrap_or(0);
        self.log_recv_buffer(granted, size, requested.is_some(), inherited);
    }

    /// Requests a buffer within the limit of the kernel (net.core.rmem_max or wmem_max), unless
    /// that makes the buffer smaller than it is and than requested: the size of a new socket
    /// (rmem_default, wmem_default) may be above the limit. Another socket shows what is granted.
    fn request_limited(
        &self,
        size: usize,
        get: impl Fn(&Socket) -> io::Result<usize>,
        set: impl Fn(&Socket, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let socket = SockRef::from(&self.socket);
        let trial = Socket::new(Domain::for_address(self.address), Type::DGRAM, None)?;
        set(&trial, size)?;
        if get(&trial)? >= get(&socket)?.min(size.saturating_mul(2)) {
            set(&socket, size)?;
        }
        Ok(())
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

    /// Returns whether the kernel refuses a socket for this address because of this one.
    fn overlaps(&self, address: SocketAddr) -> bool {
        let this = canonical(self.address);
        let dual = !SockRef::from(&self.socket).only_v6().unwrap_or(false);
        this.port() == address.port()
            && (this == address
                || includes(this.ip(), address.ip(), dual)
                || includes(address.ip(), this.ip(), true))
    }

    /// Returns the address that the requests to this socket are sent to; `None` if it is bound to
    /// all addresses.
    pub fn bound_ip(&self) -> Option<IpAddr> {
        let ip = self.address.ip();
        (!ip.to_canonical().is_unspecified()).then_some(ip)
    }

    /// Returns how full the receive buffer is, and how many datagrams the kernel dropped at this
    /// socket since it was created.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn memory(&self) -> io::Result<SockMemInfo> {
        so_meminfo(self.socket.as_fd())
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

/// Maps `::ffff:127.0.0.1` to `127.0.0.1`: a socket for IPv6 alone can't be bound to the former.
fn canonical(mut address: SocketAddr) -> SocketAddr {
    address.set_ip(address.ip().to_canonical());
    address
}

/// The canonical addresses, each once. Port 0 is another port each time.
fn unique(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut unique = Vec::new();
    for address in addresses.iter().copied().map(canonical) {
        if address.port() == 0 || !unique.contains(&address) {
            unique.push(address);
        }
    }
    unique
}

/// Returns whether a socket bound to `any` receives what is sent to `address`. `dual` says whether
/// it serves IPv4, too, if it is bound to `[::]`.
fn includes(any: IpAddr, address: IpAddr, dual: bool) -> bool {
    any.is_unspecified() && (any.is_ipv4() == address.is_ipv4() || any.is_ipv6() && dual)
}

/// Binds a socket to each address, or to none if one of them is in use.
fn bind_all(
    addresses: &[SocketAddr],
    inherited: &[Listener],
    options: SocketOptions,
) -> Result<Vec<Socket>, ListenError> {
    // Without an interface, some of them can't be bound.
    if let Some(&address) = addresses.iter().find(|to| is_group(to.ip())) {
        return Err(ListenError::NotUnicast { address });
    }
    let mut overlapping: Vec<&Listener> = Vec::new();
    let mut guards = Vec::new();
    if !options.reuse_port {
        let mut checked = Vec::new();
        for &address in addresses {
            let before = overlapping.len();
            overlapping.extend(inherited.iter().filter(|socket| socket.overlaps(address)));
            // An inherited socket refuses this bind. Those of this function do not refuse each
            // other: each socket is closed before the next is bound.
            if overlapping.len() == before && address.port() != 0 {
                bind(&new_socket(address)?, address)?;
                checked.push(address);
            }
        }
        guards = guard(checked)?;
    }
    // SO_REUSEADDR lets the sockets of this daemon overlap, but also those of other processes. A
    // step that fails leaves it off, because inherited sockets stay systemd's.
    let set_on_inherited = |on| {
        overlapping.iter().try_for_each(|listener| {
            SockRef::from(&listener.socket)
                .set_reuse_address(on)
                .map_err(option_error("SO_REUSEADDR", listener.address))
        })
    };
    set_on_inherited(true)?;
    let sockets: Result<Vec<Socket>, ListenError> = addresses
        .iter()
        .map(|&address| bind_one(address, options))
        .collect();
    set_on_inherited(false)?;
    let sockets = sockets?;
    for (socket, &address) in sockets.iter().zip(addresses) {
        set_reuse(socket, address, false, options.reuse_port)?;
    }
    drop(guards);
    for &address in addresses {
        if is_broadcast(address)? {
            return Err(ListenError::NotUnicast { address });
        }
    }
    Ok(sockets)
}

/// Binds sockets that refuse every other user while the sockets of this daemon have SO_REUSEADDR:
/// between the check and the end of that option, a process that tries again and again would
/// sometimes succeed. (They also take a request that comes meanwhile, which is before the start.)
fn guard(mut addresses: Vec<SocketAddr>) -> Result<Vec<Socket>, ListenError> {
    // For a bind with SO_REUSEPORT, the kernel looks no further than to the first socket of the
    // same user. So `[::]` comes first, which refuses all others.
    addresses.sort_by_key(|address| (!address.ip().is_unspecified(), address.is_ipv4()));
    addresses
        .into_iter()
        .map(|address| {
            let socket = new_socket(address)?;
            set_reuse(&socket, address, false, true)?;
            bind(&socket, address)?;
            Ok(socket)
        })
        .collect()
}

/// Binds a socket beside the guards, the inherited sockets and those of this daemon.
fn bind_one(address: SocketAddr, options: SocketOptions) -> Result<Socket, ListenError> {
    let socket = new_socket(address)?;
    // With either option, port 0 could take a port that another process has.
    if address.port() != 0 {
        set_reuse(&socket, address, !options.reuse_port, true)?;
    }
    bind(&socket, address)?;
    Ok(socket)
}

/// Sets SO_REUSEADDR and SO_REUSEPORT.
fn set_reuse(
    socket: &Socket,
    address: SocketAddr,
    reuse_address: bool,
    reuse_port: bool,
) -> Result<(), ListenError> {
    socket
        .set_reuse_address(reuse_address)
        .map_err(option_error("SO_REUSEADDR", address))?;
    socket
        .set_reuse_port(reuse_port)
        .map_err(option_error("SO_REUSEPORT", address))
}

fn bind(socket: &Socket, address: SocketAddr) -> Result<(), ListenError> {
    socket.bind(&address.into()).map_err(|source| {
        if source.kind() == io::ErrorKind::AddrInUse && address.port() != 0 {
            ListenError::PortInUse { address }
        } else {
            ListenError::Bind { address, source }
        }
    })
}

/// Returns whether several hosts have this address on every network.
fn is_group(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == Ipv4Addr::BROADCAST
}

/// Returns whether an address that can be bound is the broadcast address of a network.
fn is_broadcast(address: SocketAddr) -> Result<bool, ListenError> {
    if address.is_ipv6() {
        return Ok(false);
    }
    // Without SO_BROADCAST, connect(2) to one fails with EACCES.
    let connected = new_socket(address)?.connect(&address.into());
    Ok(connected.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied))
}

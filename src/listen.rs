//! The sockets: bound through socket2 or handed over by systemd, ready to be read in batches.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};

use crate::batch::{self, Queue};

/// Kernel memory that one short queued question takes, in bytes: its structures weigh far more than its text.
const BYTES_PER_QUESTION: usize = 830;

/// Asked of the kernel where the user does not say: 10,000 questions at once. The kernel doubles what it is asked for (socket(7)).
pub const RECEIVE_BUFFER: usize = 8 << 20;

/// Asked for as a send buffer. It is needed where answers can't leave: those to a forged address that nobody holds stay in the kernel while
/// it looks for that neighbour, some 200 KiB each, and are not to take the room of everybody else's.
const SEND_BUFFER: usize = 8 << 20;

/// One socket that questions come to.
#[derive(Debug)]
pub struct Listener {
    socket: UdpSocket,
    address: SocketAddr,
}

/// How sockets are made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Share the port with other instances (socket(7) `SO_REUSEPORT`): the kernel spreads the peers over them.
    pub reuse_port: bool,
    /// The receive buffer to ask for, in bytes; `None` for [`RECEIVE_BUFFER`].
    pub receive_buffer: Option<usize>,
}

/// A socket that can't be had; each variant is a step.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// There is no such socket to be had: a protocol family that the kernel lacks, or no descriptor left.
    #[error("make a socket for {address}")]
    Make {
        /// The address it was for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The address is not ours, the port is held by a socket that does not share, or it takes a privilege.
    #[error("bind {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A socket option was refused.
    #[error("set {option} on the socket of {address}")]
    Option {
        /// Which.
        option: &'static str,
        /// The socket's address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The socket does not tell where it is bound.
    #[error("ask a socket for its address")]
    Address {
        /// What the kernel said.
        source: io::Error,
    },
    /// A descriptor that systemd handed over is no UDP socket.
    #[error("inherited descriptor {descriptor}: {what}")]
    Inherited {
        /// Its number.
        descriptor: i32,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A descriptor that systemd handed over can't be looked at.
    #[error("inherited descriptor {descriptor}")]
    Inspect {
        /// Its number.
        descriptor: i32,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Listener {
    /// Binds a UDP socket to each of these addresses, with SO_REUSEADDR set before; `[::]` serves IPv4 too. Warns where
    /// another socket holds a port already.
    ///
    /// # Errors
    ///
    /// The first step that failed and why.
    pub fn bind(addresses: &[SocketAddr], options: Options) -> Result<Vec<Listener>, ListenError> {
        // All are looked at before any is bound: our own sockets are no others.
        for &address in addresses {
            if address.port() != 0 && is_taken(address, options)? {
                log::warn!(
                    "another socket holds {address} already: with SO_REUSEADDR the one bound last, this one, takes \
                     all its datagrams until it goes"
                );
            }
        }
        addresses
            .iter()
            .map(|&address| Listener::bind_one(address, options))
            .collect()
    }

    fn bind_one(address: SocketAddr, options: Options) -> Result<Listener, ListenError> {
        let option = |option| {
            move |source| ListenError::Option {
                option,
                address,
                source,
            }
        };
        let socket = make(address)?;
        socket
            .set_reuse_address(true)
            .map_err(option("SO_REUSEADDR"))?;
        if options.reuse_port {
            socket
                .set_reuse_port(true)
                .map_err(option("SO_REUSEPORT"))?;
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
    /// Whatever is no bound UDP socket over IPv4 or IPv6.
    pub fn inherit(descriptor: OwnedFd, options: Options) -> Result<Listener, ListenError> {
        use std::os::fd::AsRawFd;
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
        batch::queue_no_errors(socket.as_fd(), domain == Domain::IPV6).map_err(inspect)?;
        Listener::new(socket, options, true)
    }

    fn new(socket: Socket, options: Options, inherited: bool) -> Result<Listener, ListenError> {
        let socket = UdpSocket::from(socket);
        let address = socket
            .local_addr()
            .map_err(|source| ListenError::Address { source })?;
        // A socket on one address can be asked only there and answers from there by itself, for a twentieth less.
        if address.ip().to_canonical().is_unspecified() {
            let option = if address.is_ipv6() {
                "IPV6_RECVPKTINFO"
            } else {
                "IP_PKTINFO"
            };
            batch::tell_destinations(socket.as_fd(), address.is_ipv6()).map_err(|source| {
                ListenError::Option {
                    option,
                    address,
                    source,
                }
            })?;
        }
        let listener = Listener { socket, address };
        listener.widen_for_answers(inherited);
        listener.widen(options.receive_buffer, inherited);
        Ok(listener)
    }

    /// Asks for a send buffer. Any will do on a quiet network, so nothing is said of it.
    fn widen_for_answers(&self, inherited: bool) {
        let socket = socket2::SockRef::from(&self.socket);
        if socket
            .send_buffer_size()
            .is_ok_and(|size| size < 2 * SEND_BUFFER)
            && sockopt::set_socket_send_buffer_size_force(&self.socket, SEND_BUFFER).is_err()
            && !inherited
            && let Err(error) = socket.set_send_buffer_size(SEND_BUFFER)
        {
            log::debug!("{}: send buffer: {error}", self.address);
        }
    }

    /// Asks for a receive buffer, and says what was granted: less than asked for is a limit, not an error.
    fn widen(&self, asked: Option<usize>, inherited: bool) {
        let socket = socket2::SockRef::from(&self.socket);
        let wanted = asked.unwrap_or(RECEIVE_BUFFER);
        let doubled = wanted.saturating_mul(2);
        let before = socket.recv_buffer_size().unwrap_or(0);
        if (before < doubled || asked.is_some())
            && sockopt::set_socket_recv_buffer_size_force(&self.socket, wanted).is_err()
            // Without the privilege SO_RCVBUF ends at net.core.rmem_max, which may be less than an inherited socket was granted.
            && !inherited
            && let Err(error) = socket.set_recv_buffer_size(wanted)
        {
            log::warn!("{}: receive buffer: {error}", self.address);
        }
        let granted = socket.recv_buffer_size().unwrap_or(0);
        let questions = granted / BYTES_PER_QUESTION;
        if granted >= doubled {
            log::info!(
                "{}: receive buffer {granted} bytes, about {questions} questions at once",
                self.address
            );
            return;
        }
        // Whoever asked for a size is told that it is not to be had; the default is only a wish.
        let level = if asked.is_some() {
            log::Level::Warn
        } else {
            log::Level::Info
        };
        let advice = if inherited {
            format!("set ReceiveBuffer={wanted} in its socket unit")
        } else {
            format!("raise net.core.rmem_max to {wanted}, or use the socket unit")
        };
        log::log!(
            level,
            "{}: receive buffer {granted} bytes, about {questions} questions at once; {doubled} were asked for: {advice}",
            self.address
        );
    }

    /// Where it is bound, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its receive queue as the kernel sees it.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn queue(&self) -> io::Result<Queue> {
        batch::queue_of(self.socket.as_fd())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn make(address: SocketAddr) -> Result<Socket, ListenError> {
    let source = |source| ListenError::Make { address, source };
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )
    .map_err(source)?;
    if address.is_ipv6() {
        // Whatever net.ipv6.bindv6only says: [::] is both families, any other address its own.
        socket
            .set_only_v6(!address.ip().is_unspecified())
            .map_err(source)?;
    }
    Ok(socket)
}

/// Whether another socket holds the port: only a bind without SO_REUSEADDR notices. Instances that share the port
/// by SO_REUSEPORT are no others.
fn is_taken(address: SocketAddr, options: Options) -> Result<bool, ListenError> {
    let probe = make(address)?;
    if options.reuse_port {
        probe
            .set_reuse_port(true)
            .map_err(|source| ListenError::Option {
                option: "SO_REUSEPORT",
                address,
                source,
            })?;
    }
    match probe.bind(&address.into()) {
        Err(error) => Ok(error.kind() == io::ErrorKind::AddrInUse),
        Ok(()) => Ok(false),
    }
}

//! The echo servers: the least that a server does with a datagram. The benchmark starts itself as
//! one of them.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;

use crate::sys::{self, DatagramBatch};

/// What every echo sends: as many bytes as the default format gives.
pub const RESPONSE: &[u8] = b"2026-07-05 12:34:56";

/// More than the longest request, so that the kernel copies all of it, as it does for wallclockd.
const BUF_SIZE: usize = 1088;

const BATCH_SIZE: usize = 32;

/// Which echo server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Echo {
    /// recvmmsg and sendmmsg, with the destination address as source of the response: the floor.
    Floor,
    /// The floor after poll(2), which a server with signals and several sockets needs.
    PollFloor,
    /// The floor on a dual-stack `[::]` socket, as the socket unit makes it.
    DualFloor,
    /// The same after poll(2).
    PollDualFloor,
    /// recvfrom and sendto.
    Plain,
    /// recvfrom and sendto after poll(2).
    PollPlain,
}

impl Echo {
    /// Serves on a free port of the loopback interface, which it logs as wallclockd does.
    pub fn serve(self, receive_buffer: Option<usize>) -> io::Result<Infallible> {
        sys::die_with_parent()?;
        let dual_stack = matches!(self, Echo::DualFloor | Echo::PollDualFloor);
        let poll = matches!(
            self,
            Echo::PollFloor | Echo::PollDualFloor | Echo::PollPlain
        );
        let socket = if dual_stack {
            sys::dual_stack_socket()?
        } else {
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?
        };
        if let Some(bytes) = receive_buffer {
            sys::set_receive_buffer(&socket, bytes)?;
        }
        if matches!(self, Echo::Plain | Echo::PollPlain) {
            eprintln!("listening on {}", socket.local_addr()?);
            serve_one_by_one(&socket, poll)
        } else {
            sys::enable_pktinfo(socket.as_fd(), dual_stack)?;
            eprintln!("listening on {}", socket.local_addr()?);
            serve_batches(&socket, dual_stack, poll)
        }
    }
}

fn serve_batches(socket: &UdpSocket, dual_stack: bool, poll: bool) -> ! {
    let flags = if poll {
        libc::MSG_DONTWAIT
    } else {
        libc::MSG_WAITFORONE
    };
    let mut batch = DatagramBatch::addressed(BATCH_SIZE, BUF_SIZE, dual_stack);
    loop {
        if poll {
            sys::wait_readable(socket.as_fd());
        }
        let Ok(received) = batch.receive(socket, flags) else {
            continue;
        };
        for index in 0..received {
            batch.put(index, RESPONSE);
        }
        batch.send(socket, received);
    }
}

fn serve_one_by_one(socket: &UdpSocket, poll: bool) -> ! {
    let mut buf = [0; BUF_SIZE];
    loop {
        if poll {
            sys::wait_readable(socket.as_fd());
        }
        if let Ok((_, source)) = socket.recv_from(&mut buf) {
            // A client that has closed its socket must not stop the server.
            let _ = socket.send_to(RESPONSE, source);
        }
    }
}

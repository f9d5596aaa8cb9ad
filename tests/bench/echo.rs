//! The servers to be measured against: the least that can be done with a datagram. The bench runs itself again for each.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;

use crate::sys::{self, Mailbox};

/// What every echo answers: as many bytes as the default format.
pub const ANSWER: &[u8] = b"2026-07-05 12:34:56";

/// More than the longest question, so that the kernel copies all of it, as it must for a daemon.
const SLOT: usize = 1088;

const BATCH: usize = 32;

/// Which bare server to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Echo {
    /// recvmmsg and sendmmsg, answering from the address asked: the floor.
    Floor,
    /// The floor behind a poll(2), which a server with signals and more than one socket can't do without.
    PollFloor,
    /// The floor on a dual-stack `[::]` socket, the kind that the socket unit makes.
    DualFloor,
    /// The same behind a poll(2).
    PollDualFloor,
    /// recvfrom and sendto.
    Plain,
    /// recvfrom and sendto behind a poll(2).
    PollPlain,
}

impl Echo {
    /// Serves for ever on a free port of the loopback, which it tells as the daemon does.
    pub fn serve(self, buffer: Option<i32>) -> io::Result<std::convert::Infallible> {
        sys::die_with_parent();
        let (many, dual_stack, poll) = match self {
            Echo::Floor => (true, false, false),
            Echo::PollFloor => (true, false, true),
            Echo::DualFloor => (true, true, false),
            Echo::PollDualFloor => (true, true, true),
            Echo::Plain => (false, false, false),
            Echo::PollPlain => (false, false, true),
        };
        let socket = if dual_stack {
            sys::dual_stack_socket()?
        } else {
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?
        };
        if let Some(bytes) = buffer {
            sys::set_receive_buffer(&socket, bytes)?;
        }
        if many {
            sys::want_packet_info(&socket, dual_stack)?;
        }
        eprintln!("listening on {}", socket.local_addr()?);
        if many {
            batches(&socket, dual_stack, poll)
        } else {
            one(&socket, poll)
        }
    }
}

fn batches(socket: &UdpSocket, dual_stack: bool, poll: bool) -> ! {
    let flags = if poll {
        libc::MSG_DONTWAIT
    } else {
        libc::MSG_WAITFORONE
    };
    let mut mailbox = Mailbox::addressed(BATCH, SLOT, dual_stack);
    loop {
        if poll {
            sys::wait_readable(socket.as_fd());
        }
        let Ok(taken) = mailbox.receive(socket, flags) else {
            continue;
        };
        for index in 0..taken {
            mailbox.put(index, ANSWER);
        }
        mailbox.send(socket, taken);
    }
}

fn one(socket: &UdpSocket, poll: bool) -> ! {
    let mut question = [0; SLOT];
    loop {
        if poll {
            sys::wait_readable(socket.as_fd());
        }
        if let Ok((_, peer)) = socket.recv_from(&mut question) {
            // An asker that has gone is no reason to stop.
            let _ = socket.send_to(ANSWER, peer);
        }
    }
}

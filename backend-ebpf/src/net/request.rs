//! Questions to the kernel's network tables, and their answers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// The kernel makes the parts of a dump as long as the reader's buffer, up to 32 KiB.
pub(super) const BUFFER_LEN: usize = 32 * 1024;

/// How often a dump is read again that a change of the table has interrupted.
const DUMPS_MAX: usize = 8;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// One answer.
    One,
    /// All entries of a table.
    Dump,
}

/// A socket for questions. The kernel answers within the call that asks, so nothing here waits for
/// anybody but the kernel's own locks.
#[derive(Debug)]
pub(crate) struct Requests {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl AsFd for Requests {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Requests {
    /// Opens it in the calling thread's network namespace, where it stays.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        // Whatever goes wrong, the caller is not left waiting.
        socket.set_non_blocking(true)?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER_LEN] })
    }

    /// Asks and returns all answers.
    ///
    /// A dump that changes of the table interrupt again and again is returned as it came: something
    /// may be missing from it, and the notification of the change is on its way to [`super::Watch`].
    pub(crate) fn ask(
        &mut self,
        shape: Shape,
        question: &RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut answers = Vec::new();
        for _ in 0..DUMPS_MAX {
            answers.clear();
            self.send(shape, question.clone())?;
            if !self.receive(shape, &mut answers)? {
                break;
            }
        }
        Ok(answers)
    }

    fn send(&mut self, shape: Shape, question: RouteNetlinkMessage) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(question);
        message.header.flags = match shape {
            Shape::One => NLM_F_REQUEST,
            Shape::Dump => NLM_F_REQUEST | NLM_F_DUMP,
        };
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).map(drop)
    }

    /// Collects the answers; `true` if a change of the table interrupted them.
    fn receive(
        &mut self,
        shape: Shape,
        answers: &mut Vec<RouteNetlinkMessage>,
    ) -> io::Result<bool> {
        let mut interrupted = false;
        loop {
            let (len, from) =
                self.socket.recv_from(&mut self.buffer.as_mut_slice(), libc::MSG_TRUNC)?;
            let datagram = self.buffer.get(..len).ok_or_else(too_long)?;
            if from.port_number() != 0 {
                continue; // Not from the kernel.
            }
            for message in messages(datagram) {
                let message =
                    NetlinkMessage::<RouteNetlinkMessage>::deserialize(message).map_err(unclear)?;
                if message.header.sequence_number != self.sequence {
                    continue; // The rest of an earlier dump that ended with an error.
                }
                interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                    NetlinkPayload::Done(_) => return Ok(interrupted),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io());
                    }
                    _ => {}
                }
                if shape == Shape::One {
                    return Ok(false);
                }
            }
        }
    }
}

/// The messages of one datagram.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let len = u32::from_ne_bytes(*datagram.first_chunk()?) as usize;
        let message = datagram.get(..len).filter(|message| message.len() >= 16)?;
        datagram = datagram.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an answer is longer than the kernel's limit")
}

fn unclear(error: netlink_packet_core::DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

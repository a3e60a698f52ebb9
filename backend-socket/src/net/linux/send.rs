//! Sending: one `sendmmsg` for whatever waits.

use std::io;
use std::mem;
use std::os::fd::AsRawFd;

use electrode_transport::engine::Transmit;

use super::Socket;
use super::address::RawAddress;
use super::pinned::Pinned;

/// The kernel takes no more in one call (`UIO_MAXIOV`, sendmmsg(2)).
const BATCH_MAX: usize = 1_024;

/// Reusable message headers.
#[derive(Debug)]
pub(crate) struct SendBatch {
    headers: Pinned<libc::mmsghdr>,
    vectors: Pinned<libc::iovec>,
    names: Pinned<RawAddress>,
}

// SAFETY: the raw pointers in the headers lead only to memory that this batch owns, except during
// `send`, which has the datagrams borrowed.
unsafe impl Send for SendBatch {}

impl SendBatch {
    pub(crate) fn new() -> Self {
        // SAFETY: a message header is plain data for which zero is "nothing".
        let header: libc::mmsghdr = unsafe { mem::zeroed() };
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self {
            headers: Pinned::new(vec![header; BATCH_MAX]),
            vectors: Pinned::new(vec![vector; BATCH_MAX]),
            names: Pinned::new(vec![RawAddress::EMPTY; BATCH_MAX]),
        }
    }

    /// Hands datagrams to the system in one call; returns how many it took, at least one.
    ///
    /// The error is that of the first datagram: `WouldBlock` if there is no room.
    pub(crate) fn send<'a>(
        &mut self,
        socket: &Socket,
        datagrams: impl Iterator<Item = Transmit<'a>>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for transmit in datagrams.take(BATCH_MAX) {
            self.prepare(count, &transmit);
            count += 1;
        }
        if count == 1 {
            return self.send_one(socket);
        }
        // SAFETY: the first `count` headers point to names, vectors and datagrams that live until
        // the call returns; the kernel only reads them and writes `msg_len`.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.at(0),
                count as libc::c_uint,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// For a single one `sendto` copies less from user space: 0.2 us of a broadcast that the kernel
    /// clones, measured. By the system call itself: the C library's function lets the thread be cancelled
    /// in it, which nobody does here and which takes another 0.1 us.
    fn send_one(&self, socket: &Socket) -> io::Result<usize> {
        let (vector, header) = (self.vectors.get(0), &self.headers.get(0).msg_hdr);
        // SAFETY: vector and name were prepared just now, of a datagram that lives until the call
        // returns; the kernel only reads both.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_sendto,
                socket.as_raw_fd(),
                vector.iov_base,
                vector.iov_len,
                libc::MSG_DONTWAIT,
                header.msg_name,
                header.msg_namelen,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(1) }
    }

    fn prepare(&mut self, index: usize, transmit: &Transmit<'_>) {
        let (name, name_len) = RawAddress::encode(transmit.to);
        *self.names.get_mut(index) = name;
        *self.vectors.get_mut(index) = libc::iovec {
            iov_base: transmit.bytes.as_ptr().cast_mut().cast(),
            iov_len: transmit.bytes.len(),
        };
        let (name, vector) = (self.names.at(index), self.vectors.at(index));
        let header = &mut self.headers.get_mut(index).msg_hdr;
        header.msg_name = name.cast();
        header.msg_namelen = name_len;
        header.msg_iov = vector;
        header.msg_iovlen = 1;
    }
}

//! Receiving: one `recvmmsg` for whatever has arrived, into memory allocated once.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use super::Socket;
use super::address::{RAW_ADDRESS_LEN, RawAddress};
use super::pinned::Pinned;

/// Datagrams a call. A larger batch keeps the engine's lock longer without saving much: the call
/// itself is a small part of what a datagram costs by then.
const BATCH_MAX: usize = 32;

/// Reusable buffers, and what the last call put into them.
#[derive(Debug)]
pub(crate) struct ReceiveBatch {
    headers: Pinned<libc::mmsghdr>,
    names: Pinned<RawAddress>,
    // The headers point to these; nobody else does.
    _vectors: Pinned<libc::iovec>,
    bytes: Pinned<u8>,
    datagram_len_max: usize,
    count: usize,
}

// SAFETY: the raw pointers in headers and vectors lead only to memory that this batch owns.
unsafe impl Send for ReceiveBatch {}

impl ReceiveBatch {
    /// Datagrams that one call can take.
    pub(crate) const CAPACITY: usize = BATCH_MAX;

    /// Buffers for datagrams of up to `datagram_len_max` bytes, each one byte longer: a datagram that
    /// fills it is too long, and is told from one that just fits.
    pub(crate) fn new(datagram_len_max: usize) -> Self {
        let stride = datagram_len_max + 1;
        let bytes = Pinned::new(vec![0u8; stride * BATCH_MAX]);
        let names = Pinned::new(vec![RawAddress::EMPTY; BATCH_MAX]);
        let vector =
            |index| libc::iovec { iov_base: bytes.at(index * stride).cast(), iov_len: stride };
        let vectors = Pinned::new((0..BATCH_MAX).map(vector).collect());
        let header = |index| {
            // SAFETY: a message header is plain data for which zero is "nothing".
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_name = names.at(index).cast();
            header.msg_hdr.msg_namelen = RAW_ADDRESS_LEN;
            header.msg_hdr.msg_iov = vectors.at(index);
            header.msg_hdr.msg_iovlen = 1;
            header
        };
        let headers = Pinned::new((0..BATCH_MAX).map(header).collect());
        Self { headers, names, _vectors: vectors, bytes, datagram_len_max, count: 0 }
    }

    /// Takes in up to [`CAPACITY`](Self::CAPACITY) datagrams in one call. Fewer means that no more
    /// were there. `WouldBlock` if there is none.
    pub(crate) fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        // The kernel has overwritten the lengths of the names that it filled in.
        for index in 0..mem::take(&mut self.count) {
            self.headers.get_mut(index).msg_hdr.msg_namelen = RAW_ADDRESS_LEN;
        }
        // SAFETY: every header points to a name and a vector, and that to a buffer, which this batch
        // owns at fixed addresses and, by `&mut self`, nobody reads during the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.at(0),
                self.headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        self.count = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok(self.count)
    }

    /// What the last call took in: from whom, and the datagram unless it was too long.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, Option<&[u8]>)> {
        (0..self.count).filter_map(|index| {
            let header = self.headers.get(index);
            let from = self.names.get(index).decode(header.msg_hdr.msg_namelen)?;
            let len = header.msg_len as usize;
            let fits = len <= self.datagram_len_max;
            Some((from, fits.then(|| self.bytes.slice(index * (self.datagram_len_max + 1), len))))
        })
    }
}

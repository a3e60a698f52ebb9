//! Any system: a call for each datagram, and the system's own poller to sleep on.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::time::Duration;

use electrode_transport::TransportError;
use electrode_transport::engine::Transmit;
use polling::{Event, Events, Poller};
use socket2::SockAddr;

use super::SocketOptions;

/// Datagrams taken in at a time.
const BATCH_MAX: usize = 32;

/// A bound UDP socket. Its calls never block; [`sleep`](Self::sleep) is where a thread waits.
#[derive(Debug)]
pub(crate) struct Socket {
    inner: socket2::Socket,
    local: SocketAddr,
}

impl Socket {
    pub(crate) fn bind(
        address: SocketAddr,
        options: &SocketOptions,
    ) -> Result<Self, TransportError> {
        let inner = super::bind(address)?;
        let local = super::local_address(&inner).map_err(|source| TransportError::Io {
            operation: "getsockname",
            subject: address.to_string(),
            source,
        })?;
        let asked = options.receive_buffer;
        let granted = inner.set_recv_buffer_size(asked).and_then(|()| inner.recv_buffer_size());
        super::report_buffer("SO_RCVBUF", asked, granted);
        let asked = options.send_buffer;
        let granted = inner.set_send_buffer_size(asked).and_then(|()| inner.send_buffer_size());
        super::report_buffer("SO_SNDBUF", asked, granted);
        if options.busy_poll.is_some() {
            tracing::warn!("busy polling is for Linux: the option has no effect here");
        }
        Ok(Self { inner, local })
    }

    pub(crate) const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Sleeps until a datagram can be received (or, with `to_send`, sent), `kick` was kicked, or
    /// `timeout` has passed; for ever without one. May wake early. The socket may be readable then.
    pub(crate) fn sleep(
        &self,
        kick: &Kick,
        _watch: Option<&Watch>,
        to_send: bool,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        let interest = Event::new(0, true, to_send);
        // SAFETY: the socket lives through this call, and leaves the poller before it returns.
        let added = unsafe { kick.poller.add(&self.inner, interest) };
        match added {
            Ok(()) => {}
            // Another thread sleeps on the same poller: what arrives wakes that one.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return kick.poller.wait(&mut Events::new(), timeout).map(|_| true);
            }
            Err(error) => return Err(error),
        }
        let slept = kick.poller.wait(&mut Events::new(), timeout).map(|_| true);
        kick.poller.delete(&self.inner).and(slept)
    }
}

/// Nothing but the socket is ever slept on here.
#[derive(Debug)]
pub(crate) enum Watch {}

/// Ends another thread's sleep, or the next one if nobody sleeps.
#[derive(Debug)]
pub(crate) struct Kick {
    poller: Poller,
}

impl Kick {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { poller: Poller::new()? })
    }

    pub(crate) fn kick(&self) {
        // It fails only when the poller is broken, and then its sleeper has failed already.
        let _ = self.poller.notify();
    }
}

/// Sends one datagram after the other.
#[derive(Debug)]
pub(crate) struct SendBatch;

impl SendBatch {
    pub(crate) const fn new() -> Self {
        Self
    }

    /// Hands the first datagram to the system: `Ok(1)`, or its error, `WouldBlock` if there is no
    /// room.
    pub(crate) fn send<'a>(
        &mut self,
        socket: &Socket,
        mut datagrams: impl Iterator<Item = Transmit<'a>>,
        _may_join: impl Fn(&[u8], &[u8]) -> bool,
    ) -> io::Result<usize> {
        let Some(transmit) = datagrams.next() else { return Ok(0) };
        socket.inner.send_to(transmit.bytes, &SockAddr::from(transmit.to)).map(|_| 1)
    }
}

/// Reusable buffers, and what was taken into them last.
#[derive(Debug)]
pub(crate) struct ReceiveBatch {
    bytes: Vec<MaybeUninit<u8>>,
    /// From whom, and how long; `None` if too long.
    taken: Vec<(SocketAddr, Option<usize>)>,
    stride: usize,
}

impl ReceiveBatch {
    /// Datagrams that one call can take.
    pub(crate) const CAPACITY: usize = BATCH_MAX;

    /// Buffers for datagrams of up to `datagram_len_max` bytes, each one byte longer: a datagram that
    /// fills it is too long, and is told from one that just fits.
    pub(crate) fn new(datagram_len_max: usize) -> Self {
        let stride = datagram_len_max + 1;
        Self {
            bytes: vec![MaybeUninit::new(0); stride * BATCH_MAX],
            taken: Vec::with_capacity(BATCH_MAX),
            stride,
        }
    }

    /// Takes in up to [`CAPACITY`](Self::CAPACITY) datagrams. Fewer means that no more were there.
    /// `WouldBlock` if there is none.
    pub(crate) fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        self.taken.clear();
        for buffer in self.bytes.chunks_exact_mut(self.stride) {
            let (len, from) = match socket.inner.recv_from(buffer) {
                Ok((len, from)) => ((len < self.stride).then_some(len), from.as_socket()),
                // Windows reports a datagram longer than its buffer as an error, without the sender.
                Err(error) if is_too_long(&error) => (None, Some(socket.local)),
                Err(error) if self.taken.is_empty() => return Err(error),
                Err(_) => break,
            };
            if let Some(from) = from {
                self.taken.push((without_flow(from), len));
            }
        }
        Ok(self.taken.len())
    }

    /// What the last call took in: from whom, and the datagram unless it was too long.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, Option<&[u8]>)> {
        let buffers = self.bytes.chunks_exact(self.stride);
        self.taken.iter().zip(buffers).map(|(&(from, len), buffer)| {
            // SAFETY: every byte was initialised by `new`; receiving only overwrites.
            let bytes = len.map(|len| unsafe { buffer[..len].assume_init_ref() });
            (from, bytes)
        })
    }
}

fn is_too_long(error: &io::Error) -> bool {
    const WSAEMSGSIZE: i32 = 10_040;
    cfg!(windows) && error.raw_os_error() == Some(WSAEMSGSIZE)
}

/// The flow label says nothing about who it is, and members are compared whole.
fn without_flow(mut address: SocketAddr) -> SocketAddr {
    if let SocketAddr::V6(v6) = &mut address {
        v6.set_flowinfo(0);
    }
    address
}

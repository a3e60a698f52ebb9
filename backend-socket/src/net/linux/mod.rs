//! Linux: `sendmmsg`, `recvmmsg`, `ppoll`, `epoll`.

mod address;
mod pinned;
mod receive;
mod send;
mod sleep;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use electrode_transport::TransportError;

use super::SocketOptions;

pub(crate) use receive::ReceiveBatch;
pub(crate) use send::SendBatch;
pub(crate) use sleep::Kick;
pub(crate) use watch::Watch;

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
        let socket = Self { inner, local };
        socket.set_buffers(options);
        if let Some(time) = options.busy_poll {
            let micros = i32::try_from(time.as_nanos().div_ceil(1_000)).unwrap_or(i32::MAX);
            if let Err(error) = socket.set_option(libc::SO_BUSY_POLL, micros) {
                tracing::warn!(
                    %error,
                    "no busy polling: longer than net.core.busy_read needs CAP_NET_ADMIN"
                );
            }
        }
        Ok(socket)
    }

    pub(crate) const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The kernel clamps silently at `net.core.rmem_max`; with CAP_NET_ADMIN the forced options go
    /// beyond. It reports twice what it granted, having charged its own overhead (socket(7)).
    fn set_buffers(&self, options: &SocketOptions) {
        let asked = options.receive_buffer;
        let granted = || self.inner.recv_buffer_size().map(|size| size / 2);
        if self.inner.set_recv_buffer_size(asked).is_ok()
            && granted().is_ok_and(|size| size < asked)
        {
            let _ = self.set_option(libc::SO_RCVBUFFORCE, clamp(asked));
        }
        super::report_buffer("SO_RCVBUF", asked, granted());
        let asked = options.send_buffer;
        let granted = || self.inner.send_buffer_size().map(|size| size / 2);
        if self.inner.set_send_buffer_size(asked).is_ok()
            && granted().is_ok_and(|size| size < asked)
        {
            let _ = self.set_option(libc::SO_SNDBUFFORCE, clamp(asked));
        }
        super::report_buffer("SO_SNDBUF", asked, granted());
    }

    fn set_option(&self, option: i32, value: i32) -> io::Result<()> {
        // SAFETY: the pointer and length are of a live `i32`, which these options take.
        let result = unsafe {
            libc::setsockopt(
                self.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const value).cast(),
                size_of::<i32>() as libc::socklen_t,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

fn clamp(size: usize) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

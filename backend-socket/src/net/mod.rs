//! The system calls. Linux sends and receives in batches; elsewhere each datagram is a call.
//!
//! Each module has the same face: a [`Socket`] that never blocks, a [`Kick`] that ends another
//! thread's [`Socket::sleep`], a [`Watch`] that ends it too, a [`SendBatch`] and a [`ReceiveBatch`].

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use electrode_transport::TransportError;
use socket2::{Domain, Protocol, SockAddr, Type};

#[cfg(all(target_os = "linux", not(electrode_portable)))]
mod linux;
#[cfg(all(target_os = "linux", not(electrode_portable)))]
pub(crate) use linux::{Kick, ReceiveBatch, SendBatch, Socket, Watch};

#[cfg(any(not(target_os = "linux"), electrode_portable))]
mod portable;
#[cfg(any(not(target_os = "linux"), electrode_portable))]
pub(crate) use portable::{Kick, ReceiveBatch, SendBatch, Socket, Watch};

/// Whether a batch leaves in one system call.
pub(crate) const BATCHED_SEND: bool = cfg!(all(target_os = "linux", not(electrode_portable)));

/// What may be chosen about an endpoint's socket. The defaults suit a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SocketOptions {
    /// Bytes of the system's receive buffer (`SO_RCVBUF`), which must hold what arrives while nobody
    /// drives the endpoint. The system may grant less, and then says so in a log line. 4 MiB.
    pub receive_buffer: usize,
    /// Bytes of the system's send buffer (`SO_SNDBUF`). 1 MiB.
    pub send_buffer: usize,
    /// How long a sleeping receive polls the network card before it sleeps (Linux `SO_BUSY_POLL`,
    /// rounded up to a microsecond). Costs CPU, saves the interrupt. Off by default.
    pub busy_poll: Option<Duration>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { receive_buffer: 4 << 20, send_buffer: 1 << 20, busy_poll: None }
    }
}

/// What is true of binding on every system.
fn bind(address: SocketAddr) -> Result<socket2::Socket, TransportError> {
    let io =
        |operation, source| TransportError::Io { operation, subject: address.to_string(), source };
    let socket =
        socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))
            .map_err(|source| io("socket", source))?;
    if address.is_ipv6() {
        socket.set_only_v6(true).map_err(|source| io("setsockopt IPV6_V6ONLY", source))?;
    }
    socket.set_nonblocking(true).map_err(|source| io("set_nonblocking", source))?;
    socket.bind(&SockAddr::from(address)).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => TransportError::AddressInUse { address, source },
        io::ErrorKind::AddrNotAvailable => TransportError::AddressNotLocal { address, source },
        _ => io("bind", source),
    })?;
    Ok(socket)
}

fn local_address(socket: &socket2::Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// Says so if the system granted a smaller buffer than was asked for.
fn report_buffer(option: &'static str, asked: usize, granted: io::Result<usize>) {
    match granted {
        Ok(granted) if granted < asked => tracing::warn!(
            option,
            asked,
            granted,
            "the system grants a smaller socket buffer: bursts may be lost and sent again; raise \
             its limit (Linux: net.core.rmem_max, net.core.wmem_max)"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(option, asked, %error, "the socket buffer cannot be set"),
    }
}

/// An error that speaks of an earlier datagram or a passing state of the network, not of this
/// socket: a receive goes on after it.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::WouldBlock
            | Kind::Interrupted
            | Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
            | Kind::OutOfMemory
            | Kind::TimedOut
    ) || is_out_of_buffers(error)
}

#[cfg(unix)]
fn is_out_of_buffers(error: &io::Error) -> bool {
    // ENOBUFS has no `ErrorKind`; its number differs from system to system, but not within a family.
    const ENOBUFS: i32 =
        if cfg!(any(target_os = "linux", target_os = "android")) { 105 } else { 55 };
    error.raw_os_error() == Some(ENOBUFS)
}

#[cfg(not(unix))]
fn is_out_of_buffers(error: &io::Error) -> bool {
    const WSAENOBUFS: i32 = 10_055;
    error.raw_os_error() == Some(WSAENOBUFS)
}

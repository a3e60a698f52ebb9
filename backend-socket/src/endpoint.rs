//! An endpoint: one socket, many groups.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use electrode_transport::engine::{GroupHandle, Host};
use electrode_transport::{EndpointConfig, GroupConfig, Result, Stats};

use crate::accelerate::{Accelerator, Plain};
use crate::host::SocketHost;
use crate::net::SocketOptions;

/// One node's UDP socket and the groups on it. Clones are the same endpoint.
///
/// It lives as long as its last clone or transport; then the socket closes.
#[derive(Debug)]
pub struct SocketEndpoint<A: Accelerator = Plain> {
    host: Arc<SocketHost<A>>,
}

impl<A: Accelerator> Clone for SocketEndpoint<A> {
    fn clone(&self) -> Self {
        Self { host: Arc::clone(&self.host) }
    }
}

impl SocketEndpoint {
    /// Binds the socket. With port 0 the system chooses one: [`local_addr`](Self::local_addr) tells,
    /// and memberships must name that one.
    ///
    /// An IPv6 address binds IPv6 alone, so the same port over IPv4 stays free for another endpoint.
    ///
    /// # Errors
    /// [`TransportError::AddressNotLocal`](electrode_transport::TransportError::AddressNotLocal) if
    /// no interface of this machine has the address;
    /// [`AddressInUse`](electrode_transport::TransportError::AddressInUse);
    /// [`Config`](electrode_transport::TransportError::Config);
    /// [`Io`](electrode_transport::TransportError::Io) for what else the system refuses.
    pub fn bind(config: EndpointConfig, options: SocketOptions) -> Result<Self> {
        let host = SocketHost::bind(config, &options, |_| Ok(Plain::new(false)))?;
        Ok(Self { host: Arc::new(host) })
    }

    /// As [`bind`](Self::bind), for whoever wanted another backend and could not have it: all that
    /// differs is that [`Counter::Fallbacks`](electrode_transport::Counter::Fallbacks) is 1.
    ///
    /// # Errors
    /// As there.
    pub fn bind_as_fallback(config: EndpointConfig, options: SocketOptions) -> Result<Self> {
        let host = SocketHost::bind(config, &options, |_| Ok(Plain::new(true)))?;
        Ok(Self { host: Arc::new(host) })
    }
}

impl<A: Accelerator> SocketEndpoint<A> {
    /// As [`bind`](SocketEndpoint::bind), for a backend that lets a kernel work beside the socket:
    /// `accelerator` is told the bound address and the socket, before anything is received.
    ///
    /// # Errors
    /// As there, and those of `accelerator`; the port is free again then.
    #[cfg(all(target_os = "linux", not(electrode_portable)))]
    pub fn bind_with(
        config: EndpointConfig,
        options: SocketOptions,
        accelerator: impl FnOnce(SocketAddr, std::os::fd::BorrowedFd<'_>) -> Result<A>,
    ) -> Result<Self> {
        use std::os::fd::AsFd;
        let host = SocketHost::bind(config, &options, |socket| {
            accelerator(socket.local_addr(), socket.as_fd())
        })?;
        Ok(Self { host: Arc::new(host) })
    }

    /// What works beside the socket.
    #[must_use]
    pub fn accelerator(&self) -> &A {
        self.host.accelerator()
    }

    /// Opens a group on this endpoint. It neither leads nor follows yet, and acknowledges nothing.
    ///
    /// # Errors
    /// [`TransportError::Config`](electrode_transport::TransportError::Config) names what is wrong
    /// with the group; [`Closed`](electrode_transport::TransportError::Closed).
    pub fn join(&self, config: GroupConfig) -> Result<GroupHandle<SocketHost<A>>> {
        let key = self.host.open(config)?;
        Ok(GroupHandle::new(Arc::clone(&self.host), key))
    }

    /// The address that the socket is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.host.local_addr()
    }

    /// The counters since the socket was bound, over all groups.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.host.stats()
    }

    /// Closes all groups and the socket. When it returns the port is free, no datagram is answered
    /// any more, and every waiting call ends with
    /// [`Closed`](electrode_transport::TransportError::Closed). Closing twice is not an error.
    pub fn close(&self) {
        self.host.close();
    }

    /// As [`TransportCore::drive`](electrode_transport::TransportCore::drive), which also moves all
    /// groups.
    ///
    /// # Errors
    /// As there; [`Closed`](electrode_transport::TransportError::Closed) once closed.
    pub fn drive(&self) -> Result<()> {
        self.host.drive()
    }

    /// As [`TransportCore::wait`](electrode_transport::TransportCore::wait).
    ///
    /// # Errors
    /// As [`drive`](Self::drive).
    pub fn wait(&self, max: Duration) -> Result<()> {
        self.host.wait(max)
    }
}

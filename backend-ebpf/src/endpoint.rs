//! The endpoint, as users open it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use electrode_backend_socket::SocketEndpoint;
use electrode_transport::{EndpointConfig, GroupConfig, QuorumTransport, Result, Stats};

use crate::accelerator::Programs;
use crate::error::EbpfError;
use crate::hook::Hook;
use crate::kernel::Kernel;
use crate::options::EbpfOptions;
use crate::ticks::Ticks;

/// One node's endpoint: a UDP socket with the programs beside it. Clones are the same endpoint.
///
/// It lives as long as its last clone or transport; then the programs are detached and the socket
/// closes. A process that dies leaves nothing attached.
#[derive(Clone, Debug)]
pub struct EbpfEndpoint {
    pub(crate) inner: SocketEndpoint<Programs>,
}

impl EbpfEndpoint {
    /// Binds the socket and puts the programs in place on the interface that has its address. The
    /// calling thread must be in that interface's network namespace; later calls may come from any.
    ///
    /// With [`HookChoice::Auto`](crate::HookChoice::Auto) it tries the hooks first, as
    /// [`probe`](crate::probe) does, until one works: some tenths of a second.
    ///
    /// Minimum kernel: 6.6. Capabilities: `CAP_BPF`, `CAP_PERFMON` and `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// [`TransportError::Unavailable`](electrode_transport::TransportError::Unavailable) says why the
    /// programs cannot work here; the socket's own errors as
    /// [`SocketEndpoint::bind`].
    pub fn bind(config: EndpointConfig, options: EbpfOptions) -> Result<Self> {
        let ours = config.clone();
        let inner = SocketEndpoint::bind_with(config, options.socket, |address, _| {
            Ok(Programs::start(address, &ours, &options, Kernel::load)?)
        })?;
        Ok(Self { inner })
    }

    /// Opens a group on this endpoint. It neither leads nor follows yet, and acknowledges nothing.
    ///
    /// # Errors
    /// As [`SocketEndpoint::join`].
    pub fn join(&self, config: GroupConfig) -> Result<Arc<dyn QuorumTransport>> {
        Ok(Arc::new(self.inner.join(config)?))
    }

    /// Where the ingress program is: what was asked for, or what
    /// [`HookChoice::Auto`](crate::HookChoice::Auto) found to work.
    #[must_use]
    pub fn hook(&self) -> Hook {
        self.inner.accelerator().hook()
    }

    /// The name, at the time of binding, of the interface on which the programs are.
    #[must_use]
    pub fn interface(&self) -> &str {
        self.inner.accelerator().interface()
    }

    /// Where the socket is bound.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr()
    }

    /// The counters since it was opened, the programs' included.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.stats()
    }

    /// What the programs counted, by verdict and reason.
    ///
    /// # Errors
    /// [`EbpfError::Map`] if the kernel does not let it be read.
    pub fn ticks(&self) -> Result<Ticks, EbpfError> {
        self.inner.accelerator().ticks().map(Ticks::new)
    }

    /// Closes it with all its groups and detaches the programs: nothing is acknowledged any more.
    pub fn close(&self) {
        self.inner.close();
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &crate::shared::Shared {
        self.inner.accelerator().shared()
    }

    /// As [`TransportCore::drive`](electrode_transport::TransportCore::drive), for all groups.
    ///
    /// # Errors
    /// As there.
    pub fn drive(&self) -> Result<()> {
        self.inner.drive()
    }

    /// As [`TransportCore::wait`](electrode_transport::TransportCore::wait), for all groups.
    ///
    /// # Errors
    /// As there.
    pub fn wait(&self, max: Duration) -> Result<()> {
        self.inner.wait(max)
    }
}

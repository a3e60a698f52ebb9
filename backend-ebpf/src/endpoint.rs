//! The endpoint, as users open it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use electrode_backend_socket::{SocketEndpoint, SocketOptions};
use electrode_ebpf_abi::offload;
use electrode_transport::{EndpointConfig, GroupConfig, QuorumTransport, Result, Stats};

use crate::accelerator::Programs;
use crate::kernel::Kernel;
use crate::survey::Hook;

/// What only this backend looks at.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct EbpfOptions {
    /// Where arriving packets meet the program; [`Hook::Tc`] unless changed.
    pub hook: Hook,
    /// Whether one packet is cloned to all followers in the kernel.
    pub broadcast: bool,
    /// Whether a follower's kernel stores and acknowledges.
    pub acknowledge: bool,
    /// Whether a leader's kernel counts acknowledgements.
    pub quorum: bool,
    /// Bytes of each CPU's log ring, over all groups; rounded up to a power of two. Each group's own
    /// bound is [`GroupConfig::log_bytes`].
    pub log_bytes: usize,
    /// For how long accepted entries may lie in the kernel's log while user space sleeps. In
    /// [`Received`](electrode_transport::AckMode::Received) mode the kernel acknowledges by itself, and
    /// to wake user space costs a follower more than everything else about an entry. So it is woken by
    /// the first one, and from then on looks again after this time, until it finds nothing and sleeps
    /// until it is woken. Rounded up to what the system's timers can do. Zero wakes it for each; it is
    /// woken for each in any case as long as the endpoint has a group in `Persisted` mode.
    pub nap: Duration,
    /// What the socket beside the programs looks at.
    pub socket: SocketOptions,
}

impl Default for EbpfOptions {
    fn default() -> Self {
        Self {
            hook: Hook::Tc,
            broadcast: true,
            acknowledge: true,
            quorum: true,
            log_bytes: 16 << 20,
            nap: Duration::from_millis(1),
            socket: SocketOptions::default(),
        }
    }
}

impl EbpfOptions {
    pub(crate) fn offload_bits(&self) -> u32 {
        [
            (self.broadcast, offload::BROADCAST),
            (self.acknowledge, offload::ACKNOWLEDGE),
            (self.quorum, offload::QUORUM),
        ]
        .into_iter()
        .filter(|(on, _)| *on)
        .fold(0, |bits, (_, bit)| bits | bit)
    }
}

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
    /// Minimum kernel: 6.6. Capabilities: `CAP_BPF` and `CAP_NET_ADMIN`.
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

    /// Closes it with all its groups and detaches the programs: nothing is acknowledged any more.
    pub fn close(&self) {
        self.inner.close();
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

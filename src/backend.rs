//! What every backend's endpoint can do, so that [`Endpoint`](crate::Endpoint) need not know which
//! one it holds. A new backend is one more implementation here and one more candidate in `open`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use electrode_transport::{GroupConfig, QuorumTransport, Result, Stats};

pub(crate) trait Backend: Send + Sync {
    fn join(&self, config: GroupConfig) -> Result<Arc<dyn QuorumTransport>>;
    fn local_addr(&self) -> SocketAddr;
    fn stats(&self) -> Stats;
    fn close(&self);
    fn drive(&self) -> Result<()>;
    fn wait(&self, max: Duration) -> Result<()>;

    /// What the kernel's programs counted, if there are any and they can be read.
    #[cfg(all(feature = "ebpf", target_os = "linux"))]
    fn ticks(&self) -> Option<electrode_backend_ebpf::Ticks> {
        None
    }
}

/// Endpoints have the same calls, by convention and not by a trait of theirs.
#[cfg(any(feature = "socket", all(feature = "ebpf", target_os = "linux")))]
macro_rules! backend {
    ($endpoint:ty, $transport:ident => $boxed:expr $(, $more:item)?) => {
        impl Backend for $endpoint {
            fn join(&self, config: GroupConfig) -> Result<Arc<dyn QuorumTransport>> {
                let $transport = Self::join(self, config)?;
                Ok($boxed)
            }

            fn local_addr(&self) -> SocketAddr {
                Self::local_addr(self)
            }

            fn stats(&self) -> Stats {
                Self::stats(self)
            }

            fn close(&self) {
                Self::close(self);
            }

            fn drive(&self) -> Result<()> {
                Self::drive(self)
            }

            fn wait(&self, max: Duration) -> Result<()> {
                Self::wait(self, max)
            }

            $($more)?
        }
    };
}

#[cfg(feature = "socket")]
backend!(electrode_backend_socket::SocketEndpoint, transport => Arc::new(transport));

#[cfg(all(feature = "ebpf", target_os = "linux"))]
backend!(electrode_backend_ebpf::EbpfEndpoint, transport => transport,
    fn ticks(&self) -> Option<electrode_backend_ebpf::Ticks> {
        Self::ticks(self)
            .inspect_err(|error| tracing::warn!(%error, "the programs' counters cannot be read"))
            .ok()
    }
);

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
}

#[cfg(feature = "socket")]
impl Backend for electrode_backend_socket::SocketEndpoint {
    fn join(&self, config: GroupConfig) -> Result<Arc<dyn QuorumTransport>> {
        Ok(Arc::new(Self::join(self, config)?))
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
}

//! The engine's host over a socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use electrode_transport::engine::{Engine, GroupHandle, Host, LocalKeeper};
use electrode_transport::{Capabilities, EndpointConfig, NodeId, Result, Time};

use crate::core::Core;
use crate::driver;
use crate::net::{BATCHED_SEND, Socket, SocketOptions};

/// One member's handle on one group over UDP.
pub type SocketTransport = GroupHandle<SocketHost>;

/// An endpoint as the engine's host. Its last handle's end is its own: the groups and the socket
/// close, and nothing is answered any more.
#[derive(Debug)]
pub struct SocketHost {
    core: Arc<Core>,
    node: NodeId,
    local: SocketAddr,
    capabilities: Capabilities,
}

impl SocketHost {
    pub(crate) fn bind(mut config: EndpointConfig, options: &SocketOptions) -> Result<Self> {
        config.validate()?;
        let socket = Socket::bind(config.bind, options)?;
        let local = socket.local_addr();
        config.bind = local;
        let node = config.node;
        let mut capabilities = Capabilities::default();
        capabilities.backend = "socket";
        capabilities.body_len_max = config.body_len_max();
        capabilities.batched_send = BATCHED_SEND;
        capabilities.authenticated = config.key.is_some();
        Ok(Self { core: Arc::new(Core::new(socket, config)?), node, local, capabilities })
    }

    pub(crate) const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn close(&self) {
        self.core.close();
    }
}

impl Drop for SocketHost {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl Host for SocketHost {
    type Keeper = LocalKeeper;

    fn with<R>(&self, call: impl FnOnce(&mut Engine, Time) -> R) -> R {
        self.core.with(call)
    }

    fn look<R>(&self, call: impl FnOnce(&mut Engine, Time) -> R) -> R {
        self.core.look(call)
    }

    fn node(&self) -> NodeId {
        self.node
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn drive(&self) -> Result<()> {
        self.core.drive()
    }

    fn wait(&self, max: Duration) -> Result<()> {
        self.core.wait(&self.core.waiter, Some(max))
    }

    fn attend(&self) -> Result<()> {
        driver::attend(&self.core)
    }
}

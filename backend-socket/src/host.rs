//! The engine's host over a socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use electrode_transport::engine::{Engine, GroupHandle, GroupKey, Host};
use electrode_transport::{Capabilities, EndpointConfig, GroupConfig, NodeId, Result, Stats, Time};

use crate::accelerate::{Accelerator, Plain};
use crate::core::Core;
use crate::driver;
use crate::net::{BATCHED_SEND, Socket, SocketOptions};

/// One member's handle on one group over UDP.
pub type SocketTransport = GroupHandle<SocketHost>;

/// An endpoint as the engine's host. Its last handle's end is its own: the groups and the socket
/// close, and nothing is answered any more.
#[derive(Debug)]
pub struct SocketHost<A: Accelerator = Plain> {
    core: Arc<Core<A>>,
    node: NodeId,
    local: SocketAddr,
    capabilities: Capabilities,
}

impl<A: Accelerator> SocketHost<A> {
    /// The accelerator is made once the socket is bound, of both.
    pub(crate) fn bind(
        mut config: EndpointConfig,
        options: &SocketOptions,
        accelerator: impl FnOnce(&Socket) -> Result<A>,
    ) -> Result<Self> {
        config.validate()?;
        let socket = Socket::bind(config.bind, options)?;
        let accelerator = accelerator(&socket)?;
        let local = socket.local_addr();
        config.bind = local;
        let node = config.node;
        let mut capabilities = Capabilities::default();
        capabilities.backend = "socket";
        capabilities.body_len_max = config.body_len_max();
        capabilities.batched_send = BATCHED_SEND;
        capabilities.authenticated = config.key.is_some();
        let core = Arc::new(Core::new(socket, config, accelerator)?);
        Ok(Self { core, node, local, capabilities })
    }

    pub(crate) fn open(&self, config: GroupConfig) -> Result<GroupKey> {
        let keeper = |config: &GroupConfig, gate| self.accelerator().keeper(config, gate);
        self.core.with(|engine, _| engine.open_with(config, keeper))
    }

    /// What works beside the socket.
    #[must_use]
    pub fn accelerator(&self) -> &A {
        self.core.accelerator()
    }

    pub(crate) const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn close(&self) {
        self.core.close();
    }
}

impl<A: Accelerator> Drop for SocketHost<A> {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl<A: Accelerator> Host for SocketHost<A> {
    type Keeper = A::Keeper;

    fn with<R>(&self, call: impl FnOnce(&mut Engine<A::Keeper>, Time) -> R) -> R {
        self.core.with(call)
    }

    fn look<R>(&self, call: impl FnOnce(&mut Engine<A::Keeper>, Time) -> R) -> R {
        self.core.look(call)
    }

    fn read<R>(&self, call: impl FnOnce(&mut Engine<A::Keeper>) -> R) -> R {
        self.core.read(call)
    }

    fn node(&self) -> NodeId {
        self.node
    }

    fn capabilities(&self) -> Capabilities {
        self.accelerator().capabilities(self.capabilities)
    }

    fn stats(&self) -> Stats {
        let mut stats = self.look(|engine, _| *engine.stats());
        self.accelerator().stats(&mut stats);
        stats
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

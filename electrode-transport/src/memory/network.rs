//! The handles that a test holds: the network, endpoints on it, and transports on those.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::vec::Vec;

use super::faults::{Captured, Faults};
use super::world::{Life, World, nanos};
use crate::capabilities::Capabilities;
use crate::config::{EndpointConfig, GroupConfig};
use crate::contract::Result;
use crate::engine::{Engine, GroupHandle, Host, LocalKeeper};
use crate::error::TransportError;
use crate::ident::{ClusterId, Incarnation, NodeId, Time};
use crate::membership::{Member, Membership, QuorumRule};
use crate::stats::Stats;

/// One member's handle on one group in memory.
pub type MemoryTransport = GroupHandle<MemoryHost>;

/// A simulated network. Clones are the same network.
#[derive(Clone, Debug)]
pub struct MemoryNetwork {
    world: Arc<Mutex<World>>,
}

impl MemoryNetwork {
    /// A network without nodes. The seed decides every delay, loss and duplication.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(seed))) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        // A panicking test must not hide its own message behind a poisoned lock.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address that [`endpoint`](Self::endpoint) gives a node.
    #[must_use]
    pub fn address(node: NodeId) -> SocketAddr {
        let port = 1_024 + (node.0 % 60_000) as u16;
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// A membership of `count` voters, nodes 1 to `count`, of the first incarnation.
    ///
    /// # Panics
    /// If `count` is not 1 to 32, or the quorum is impossible.
    #[must_use]
    pub fn membership(&self, count: u8, rule: QuorumRule) -> Membership {
        let member = |id| Member::voter(NodeId(id), Self::address(NodeId(id)));
        Membership::new(Incarnation(1), (1..=u64::from(count)).map(member), rule)
            .expect("1 to 32 members with their own ids and addresses, and a possible quorum")
    }

    /// Starts a node's endpoint with the defaults, in cluster 1.
    ///
    /// # Errors
    /// As [`endpoint_with`](Self::endpoint_with).
    pub fn endpoint(&self, node: NodeId) -> Result<MemoryEndpoint> {
        self.endpoint_with(EndpointConfig::new(ClusterId(1), node, Self::address(node)))
    }

    /// Starts an endpoint.
    ///
    /// # Errors
    /// [`TransportError::Config`]; [`TransportError::AddressInUse`] while another life of the node
    /// has not crashed or closed.
    pub fn endpoint_with(&self, config: EndpointConfig) -> Result<MemoryEndpoint> {
        let (node, address) = (config.node, config.bind);
        let body_len_max = config.body_len_max();
        let authenticated = config.key.is_some();
        #[cfg_attr(
            not(feature = "mutants"),
            allow(unused_mut, reason = "only a broken one changes")
        )]
        let mut engine = Engine::new(config)?;
        #[cfg(feature = "mutants")]
        engine.set_mutant(self.world().mutant);
        let life = self.world().start(address, engine).ok_or_else(|| {
            let source = io::Error::from(io::ErrorKind::AddrInUse);
            TransportError::AddressInUse { address, source }
        })?;
        let capabilities = Capabilities {
            backend: "memory",
            body_len_max,
            batched_send: true,
            authenticated,
            ..Capabilities::default()
        };
        let host = MemoryHost { network: self.clone(), life, node, capabilities };
        Ok(MemoryEndpoint { host: Arc::new(host) })
    }

    /// Endpoints started from now on are broken in this way: for tests of tests. Never in production.
    #[cfg(feature = "mutants")]
    pub fn set_mutant(&self, mutant: Option<crate::engine::Mutant>) {
        self.world().mutant = mutant;
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn now(&self) -> Time {
        self.world().now
    }

    /// What links do that have no faults of their own.
    pub fn set_faults(&self, faults: Faults) {
        self.world().default_faults = faults;
    }

    /// What the link from one address to another does.
    pub fn set_link_faults(&self, from: SocketAddr, to: SocketAddr, faults: Faults) {
        self.world().link_faults.insert((from, to), faults);
    }

    /// Cuts (or mends) the link from one address to another; the way back is a link of its own.
    pub fn set_cut(&self, from: SocketAddr, to: SocketAddr, cut: bool) {
        let mut world = self.world();
        if cut {
            world.cut.insert((from, to));
        } else {
            world.cut.remove(&(from, to));
        }
    }

    /// Cuts every link between `side` and the others in `all`; mends those within each part.
    pub fn partition(&self, all: &[SocketAddr], side: &[SocketAddr]) {
        for &from in all {
            for &to in all {
                self.set_cut(from, to, side.contains(&from) != side.contains(&to));
            }
        }
    }

    /// Mends every link.
    pub fn heal(&self) {
        self.world().cut.clear();
    }

    /// Ends the life of whoever is at the address, as `kill -9` does: its memory is gone, its handles
    /// answer [`TransportError::Closed`], what is under way from it still arrives.
    pub fn crash(&self, address: SocketAddr) {
        let mut world = self.world();
        let Some(life) = world.life_at(address) else { return };
        let wakes = world.stop(life);
        drop(world);
        wakes.wake();
    }

    /// Freezes the node at the address, as `kill -STOP` does: nothing is received or sent by it until
    /// it is thawed, and then what arrived meanwhile is there.
    pub fn set_paused(&self, address: SocketAddr, paused: bool) {
        let mut world = self.world();
        if let Some(life) = world.life_at(address) {
            world.set_paused(life, paused);
        }
    }

    /// Delivers any bytes from any address, now: for strangers and replays. The next step sees them.
    pub fn inject(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let mut world = self.world();
        let now = world.now;
        world.arrive_at(now, from, to, bytes.to_vec());
    }

    /// Starts to record every datagram that leaves.
    pub fn start_capture(&self) {
        self.world().capture = Some(Vec::new());
    }

    /// What has left since the capture started or was last taken.
    #[must_use]
    pub fn take_capture(&self) -> Vec<Captured> {
        self.world().capture.as_mut().map(core::mem::take).unwrap_or_default()
    }

    /// A digest of every datagram that ever left: when, from whom, to whom, which bytes.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.world().digest()
    }

    /// Moves time to the next event and lets it happen; `false` if nothing is left to happen.
    pub fn step(&self) -> bool {
        self.step_within(Time(u64::MAX))
    }

    fn step_within(&self, limit: Time) -> bool {
        let mut wakes = Vec::new();
        let mut world = self.world();
        let happens = match world.next_event() {
            Some(at) if at <= limit => {
                world.now = world.now.max(at);
                world.happen(&mut wakes);
                true
            }
            _ => false,
        };
        drop(world);
        for wake in wakes {
            wake.wake();
        }
        happens
    }

    /// Lets everything happen within `time` from now, and moves time there.
    pub fn advance(&self, time: Duration) {
        let until = self.now().after_ns(nanos(time));
        while self.step_within(until) {}
        let mut world = self.world();
        world.now = world.now.max(until);
    }

    /// Steps until `condition` holds, at most for `time`. Returns whether it came to hold.
    #[must_use]
    pub fn run_until(&self, time: Duration, mut condition: impl FnMut() -> bool) -> bool {
        let until = self.now().after_ns(nanos(time));
        loop {
            if condition() {
                return true;
            }
            if !self.step_within(until) {
                let mut world = self.world();
                world.now = world.now.max(until);
                drop(world);
                return condition();
            }
        }
    }

    /// Steps until nothing is under way and no timer is set, at most for a virtual minute (a leader
    /// asks an absent member for ever).
    pub fn run_until_quiet(&self) {
        let until = self.now().after_ns(60_000_000_000);
        while self.step_within(until) {}
    }

    /// Runs a future, stepping whenever it waits.
    ///
    /// # Panics
    /// If the future waits although nothing can happen any more, or for a virtual hour: it would wait
    /// for ever.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut cx = Context::from_waker(Waker::noop());
        let until = self.now().after_ns(3_600_000_000_000);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            assert!(
                self.step_within(until),
                "the future waits, and nothing that can happen wakes it"
            );
        }
    }
}

/// One node's endpoint. Dropping it and every transport on it ends the node's life.
#[derive(Debug)]
pub struct MemoryEndpoint {
    host: Arc<MemoryHost>,
}

impl MemoryEndpoint {
    /// Opens a group on this endpoint.
    ///
    /// # Errors
    /// [`TransportError::Config`]; [`TransportError::Closed`] after a crash.
    pub fn join(&self, config: GroupConfig) -> Result<MemoryTransport> {
        let key = self.host.with(|engine, _| engine.open(config))?;
        Ok(GroupHandle::new(Arc::clone(&self.host), key))
    }

    /// The endpoint's counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.host.with(|engine, _| *engine.stats())
    }

    /// Closes the endpoint with all its groups.
    pub fn close(&self) {
        self.host.stop();
    }
}

/// A node of the simulation as the engine's host.
#[derive(Debug)]
pub struct MemoryHost {
    network: MemoryNetwork,
    life: Life,
    node: NodeId,
    capabilities: Capabilities,
}

impl MemoryHost {
    fn stop(&self) {
        let wakes = self.network.world().stop(self.life);
        wakes.wake();
    }
}

impl Drop for MemoryHost {
    fn drop(&mut self) {
        self.stop();
        self.network.world().forget(self.life);
    }
}

impl Host for MemoryHost {
    type Keeper = LocalKeeper;

    fn with<R>(&self, call: impl FnOnce(&mut Engine, Time) -> R) -> R {
        let mut world = self.network.world();
        let now = world.now;
        let engine = world.engine(self.life).expect("a node's engine lives as long as its host");
        let result = call(engine, now);
        let wakes = engine.take_wakes();
        world.flush(self.life);
        drop(world);
        wakes.wake();
        result
    }

    fn node(&self) -> NodeId {
        self.node
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Lets happen, on the whole network, what is due now.
    fn drive(&self) -> Result<()> {
        let now = self.network.now();
        while self.network.step_within(now) {}
        Ok(())
    }

    /// Moves the whole network to its next event, at most `max` ahead.
    fn wait(&self, max: Duration) -> Result<()> {
        let until = self.network.now().after_ns(nanos(max));
        if !self.network.step_within(until) {
            let mut world = self.network.world();
            world.now = world.now.max(until);
        }
        Ok(())
    }

    /// The network is driven by whoever steps it.
    fn attend(&self) -> Result<()> {
        Ok(())
    }
}

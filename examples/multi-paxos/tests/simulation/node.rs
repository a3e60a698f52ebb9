//! One node: its disk, its lives, and when it is polled.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use electrode_multi_paxos::{Replica, ReplicaConfig, ReplicaError};
use electrode_transport::memory::{MemoryEndpoint, MemoryNetwork};
use electrode_transport::{
    AckMode, ClusterId, EndpointConfig, GroupConfig, GroupId, Interest, Membership, NodeId,
    TransportCore,
};

use crate::machine::Registers;
use crate::plan::Plan;
use crate::planted::{SimStore, SimTransport};
use crate::totals::Totals;

pub(crate) type SimReplica = Replica<SimTransport, SimStore, Registers>;

/// Raised by the transport when there is something to do.
#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Life {
    endpoint: MemoryEndpoint,
    replica: SimReplica,
    flag: Arc<Flag>,
    poll_at: Duration,
    woken: bool,
}

/// A node, up or down.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) address: SocketAddr,
    pub(crate) store: SimStore,
    life: Option<Life>,
    lives: u64,
    pub(crate) restart_at: Option<Duration>,
    /// Frozen, transport and all, until then.
    pub(crate) paused_until: Option<Duration>,
    /// Not polled until then.
    pub(crate) stalled_until: Duration,
}

impl Node {
    pub(crate) fn new(id: NodeId, plan: &Plan) -> Self {
        Self {
            id,
            address: MemoryNetwork::address(id),
            store: SimStore::new(plan.bug),
            life: None,
            lives: 0,
            restart_at: Some(Duration::ZERO),
            paused_until: None,
            stalled_until: Duration::ZERO,
        }
    }

    /// The replica, if the node is up and running.
    pub(crate) fn replica(&mut self) -> Option<&mut SimReplica> {
        if self.paused_until.is_some() {
            return None;
        }
        self.life.as_mut().map(|life| &mut life.replica)
    }

    pub(crate) fn peek(&self) -> Option<&SimReplica> {
        self.life.as_ref().map(|life| &life.replica)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.life.is_some()
    }

    /// Something was put in: poll soon.
    pub(crate) fn hurry(&mut self, at: Duration) {
        if let Some(life) = &mut self.life {
            life.poll_at = life.poll_at.min(at);
        }
    }

    pub(crate) fn start(
        &mut self,
        network: &MemoryNetwork,
        membership: &Membership,
        plan: &Plan,
        now: Duration,
    ) -> Result<(), ReplicaError> {
        let mut config = EndpointConfig::new(ClusterId(1), self.id, self.address);
        config.datagram_len_max = plan.datagram_len_max;
        config.retransmit_min = Duration::from_millis(2);
        config.retransmit_max = Duration::from_millis(40);
        let endpoint = network.endpoint_with(config)?;
        let mut group = GroupConfig::new(GroupId(1), membership.clone());
        group.mode = plan.mode;
        group.window_frames = plan.window_frames;
        group.log_bytes = 64 << 10;
        group.window_bytes = 256 << 10;
        group.lease = Duration::from_millis(150);
        let transport = SimTransport { inner: endpoint.join(group)?, bug: plan.bug };
        let seed = plan.seed ^ (self.lives << 32) ^ self.id.0;
        let settings = ReplicaConfig { seed, ..plan.replica.clone() };
        let (store, machine) = (self.store.clone(), Registers::default());
        let replica = match (plan.mode, self.lives) {
            (AckMode::Persisted, _) => Replica::open(settings, transport, store, machine, now),
            (AckMode::Received, 0) => Replica::bootstrap(settings, transport, store, machine, now),
            (AckMode::Received, _) => Replica::recover(settings, transport, store, machine, now),
        }?;
        self.lives += 1;
        self.restart_at = None;
        let flag = Arc::new(Flag::default());
        self.life = Some(Life { endpoint, replica, flag, poll_at: now, woken: false });
        Ok(())
    }

    /// Ends the life as `kill -9` and a power failure do: of the unsynced writes `kept` remain.
    pub(crate) fn crash(
        &mut self,
        network: &MemoryNetwork,
        plan: &Plan,
        kept: usize,
        totals: &mut Totals,
    ) {
        let Some(life) = self.life.take() else { return };
        totals.add_life(&life.replica.counters(), &life.endpoint.stats());
        network.crash(self.address);
        self.paused_until = None;
        self.stalled_until = Duration::ZERO;
        self.store.inner.set_full(false);
        match plan.mode {
            AckMode::Persisted => {
                totals.writes_lost += self.store.inner.unsynced().saturating_sub(kept) as u64;
                self.store.inner.crash(kept);
            }
            AckMode::Received => self.store = SimStore::new(plan.bug),
        }
    }

    /// Counts what a life that goes on has done.
    pub(crate) fn count(&self, totals: &mut Totals) {
        if let Some(life) = &self.life {
            totals.add_life(&life.replica.counters(), &life.endpoint.stats());
        }
    }

    /// Polls the replica if it is time, or `lag` after something arrived.
    pub(crate) fn poll(&mut self, now: Duration, lag: Duration) -> Result<bool, ReplicaError> {
        let Some(life) = &mut self.life else { return Ok(false) };
        if self.paused_until.is_some() {
            return Ok(false);
        }
        if life.flag.0.swap(false, Ordering::Relaxed) && !life.woken {
            life.woken = true;
            life.poll_at = life.poll_at.min(now + lag);
        }
        if now < life.poll_at || now < self.stalled_until {
            return Ok(false);
        }
        life.woken = false;
        life.replica.poll(now)?;
        life.poll_at = life.replica.next_deadline().max(now + Duration::from_micros(1));
        let waker = Waker::from(Arc::clone(&life.flag));
        let interests =
            [Interest::Quorum, Interest::Log, Interest::Message, Interest::Window, Interest::Probe];
        for interest in interests {
            life.replica.transport().watch(interest, &waker)?;
        }
        Ok(true)
    }
}

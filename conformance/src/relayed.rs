//! A cluster of any backend that binds UDP sockets on this machine, behind the [`Relay`].

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use electrode_transport::{
    EndpointConfig, GroupConfig, GroupId, Membership, QuorumTransport, Result, TransportError,
};

use crate::harness::{Cluster, Link, Origin, SetupError, Tapped};
use crate::relay::Relay;
use crate::spec::{ClusterSpec, Roster};

/// A backend's endpoint, as the relayed cluster needs it.
pub trait RelayedEndpoint: Sized + 'static {
    /// Binds it; with port 0 the system chooses.
    ///
    /// # Errors
    /// The backend's own.
    fn bind(config: EndpointConfig) -> Result<Self>;

    /// Where it is bound.
    fn local_addr(&self) -> SocketAddr;

    /// Opens a group.
    ///
    /// # Errors
    /// The backend's own.
    fn open(&self, config: GroupConfig) -> Result<Arc<dyn QuorumTransport>>;

    /// Takes in what has arrived, sends what is due, and does not wait.
    ///
    /// # Errors
    /// The backend's own.
    fn drive(&self) -> Result<()>;

    /// Ends it, as the end of its process would.
    fn close(&self);
}

struct Node<E> {
    endpoint: Option<E>,
    transports: BTreeMap<GroupId, Arc<dyn QuorumTransport>>,
    paused: bool,
}

/// The cluster. Time is real.
pub struct RelayedCluster<E> {
    relay: Relay,
    spec: ClusterSpec,
    nodes: Vec<Node<E>>,
    started: Instant,
}

impl<E> core::fmt::Debug for RelayedCluster<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("RelayedCluster").field("relay", &self.relay).finish_non_exhaustive()
    }
}

impl<E: RelayedEndpoint> RelayedCluster<E> {
    /// Builds what the spec asks for on the loopback interface.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn build(spec: &ClusterSpec, seed: u64) -> Result<Self, SetupError> {
        let mut cluster = Self {
            relay: Relay::new(spec.nodes, spec.ipv6, seed)?,
            spec: spec.clone(),
            nodes: Vec::new(),
            started: Instant::now(),
        };
        for node in 0..spec.nodes {
            let transports = BTreeMap::new();
            cluster.nodes.push(Node { endpoint: None, transports, paused: false });
            cluster.start(node, &spec.roster)?;
        }
        Ok(cluster)
    }

    fn start(&mut self, node: usize, roster: &Roster) -> Result<(), SetupError> {
        let any_port = if self.spec.ipv6 {
            SocketAddr::from((Ipv6Addr::LOCALHOST, 0))
        } else {
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
        };
        let endpoint = E::bind(self.spec.endpoint_config(node, any_port))?;
        self.relay.set_bound(node, Some(endpoint.local_addr()));
        self.nodes[node].endpoint = Some(endpoint);
        if roster.index_of(node).is_some() {
            for group in self.spec.groups.clone() {
                self.open(node, group, roster)?;
            }
        }
        Ok(())
    }

    fn endpoint(&self, node: usize) -> &E {
        self.nodes[node].endpoint.as_ref().expect("the node lives")
    }

    fn turn(&mut self) -> bool {
        let moved = self.relay.pump();
        for node in self.nodes.iter().filter(|node| !node.paused) {
            match node.endpoint.as_ref().map(E::drive) {
                None | Some(Ok(()) | Err(TransportError::Closed)) => {}
                Some(Err(error)) => panic!("an endpoint cannot be driven: {error}"),
            }
        }
        moved
    }
}

impl<E: RelayedEndpoint> Cluster for RelayedCluster<E> {
    fn transport(&self, node: usize, group: GroupId) -> Arc<dyn QuorumTransport> {
        Arc::clone(self.nodes[node].transports.get(&group).expect("the group is open on the node"))
    }

    fn membership(&self, viewer: usize, roster: &Roster) -> Result<Membership> {
        let own = self.endpoint(viewer).local_addr();
        let address = |node| {
            if node == viewer { own } else { self.relay.face(node).expect("a bound socket") }
        };
        Ok(roster.membership(address)?)
    }

    fn open(
        &mut self,
        node: usize,
        group: GroupId,
        roster: &Roster,
    ) -> Result<Arc<dyn QuorumTransport>> {
        let config = self.spec.group_config(group, self.membership(node, roster)?);
        let transport = self.endpoint(node).open(config)?;
        self.nodes[node].transports.insert(group, Arc::clone(&transport));
        Ok(transport)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn advance(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let moved = self.turn();
            if Instant::now() >= end {
                return;
            }
            if !moved {
                std::thread::sleep(Duration::from_micros(50));
            }
        }
    }

    fn set_link(&mut self, from: usize, to: usize, link: Link) {
        // What was sent before met the link as it was.
        self.relay.pump();
        self.relay.set_link(from, to, link);
    }

    fn crash(&mut self, node: usize) {
        self.relay.pump();
        if let Some(endpoint) = self.nodes[node].endpoint.take() {
            endpoint.close();
        }
        self.relay.pump();
        self.relay.set_bound(node, None);
        self.nodes[node].transports.clear();
        self.nodes[node].paused = false;
    }

    fn restart(&mut self, node: usize, roster: &Roster) -> Result<(), SetupError> {
        self.start(node, roster)
    }

    fn set_paused(&mut self, node: usize, paused: bool) {
        self.nodes[node].paused = paused;
    }

    fn inject(&mut self, from: Origin, to: usize, bytes: &[u8]) {
        self.relay.inject(from, to, bytes);
    }

    fn take_tap(&mut self) -> Vec<Tapped> {
        self.relay.take_tap()
    }
}

//! The memory backend's harness: the simulated network has every disturbance built in.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use electrode_transport::memory::{Faults, MemoryEndpoint, MemoryNetwork};
use electrode_transport::{GroupId, Membership, QuorumTransport, Result};

use crate::features::Features;
use crate::harness::{Cluster, Harness, Link, Origin, SetupError, Tapped};
use crate::spec::{ClusterSpec, Roster, node_id};

type Prepare = dyn Fn(&MemoryNetwork) + Send + Sync;

/// The harness of `electrode_transport::memory`.
#[derive(Clone, Default)]
pub struct MemoryHarness {
    prepare: Option<Arc<Prepare>>,
}

impl fmt::Debug for MemoryHarness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryHarness").field("prepared", &self.prepare.is_some()).finish()
    }
}

impl MemoryHarness {
    /// A harness that does this to each network before a node starts on it: how the suite's own
    /// tests break the backend.
    #[must_use]
    pub fn prepared(prepare: impl Fn(&MemoryNetwork) + Send + Sync + 'static) -> Self {
        Self { prepare: Some(Arc::new(prepare)) }
    }
}

impl Harness for MemoryHarness {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn declares(&self) -> Features {
        Features::ALL
    }

    fn cluster(&self, spec: &ClusterSpec, seed: u64) -> Result<Box<dyn Cluster>, SetupError> {
        let network = MemoryNetwork::new(seed);
        network.start_capture();
        if let Some(prepare) = &self.prepare {
            prepare(&network);
        }
        let mut cluster = MemoryCluster { network, spec: spec.clone(), nodes: Vec::new() };
        for node in 0..spec.nodes {
            cluster.nodes.push(Node::default());
            cluster.start(node, &spec.roster)?;
        }
        Ok(Box::new(cluster))
    }
}

#[derive(Default)]
struct Node {
    endpoint: Option<MemoryEndpoint>,
    transports: BTreeMap<GroupId, Arc<dyn QuorumTransport>>,
}

struct MemoryCluster {
    network: MemoryNetwork,
    spec: ClusterSpec,
    nodes: Vec<Node>,
}

impl MemoryCluster {
    fn address(&self, node: usize) -> SocketAddr {
        let v4 = MemoryNetwork::address(node_id(node));
        if self.spec.ipv6 { SocketAddr::from((Ipv6Addr::LOCALHOST, v4.port())) } else { v4 }
    }

    fn node_at(&self, address: SocketAddr) -> Option<usize> {
        (0..self.nodes.len()).find(|&node| self.address(node) == address)
    }

    fn start(&mut self, node: usize, roster: &Roster) -> Result<(), SetupError> {
        let config = self.spec.endpoint_config(node, self.address(node));
        self.nodes[node].endpoint = Some(self.network.endpoint_with(config)?);
        if roster.index_of(node).is_some() {
            for group in self.spec.groups.clone() {
                self.open(node, group, roster)?;
            }
        }
        Ok(())
    }
}

impl Cluster for MemoryCluster {
    fn transport(&self, node: usize, group: GroupId) -> Arc<dyn QuorumTransport> {
        Arc::clone(self.nodes[node].transports.get(&group).expect("the group is open on the node"))
    }

    fn membership(&self, _viewer: usize, roster: &Roster) -> Result<Membership> {
        Ok(roster.membership(|node| self.address(node))?)
    }

    fn open(
        &mut self,
        node: usize,
        group: GroupId,
        roster: &Roster,
    ) -> Result<Arc<dyn QuorumTransport>> {
        let config = self.spec.group_config(group, self.membership(node, roster)?);
        let endpoint = self.nodes[node].endpoint.as_ref().expect("the node lives");
        let transport: Arc<dyn QuorumTransport> = Arc::new(endpoint.join(config)?);
        self.nodes[node].transports.insert(group, Arc::clone(&transport));
        Ok(transport)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.network.now().0)
    }

    fn advance(&mut self, time: Duration) {
        self.network.advance(time);
    }

    fn set_link(&mut self, from: usize, to: usize, link: Link) {
        let (from, to) = (self.address(from), self.address(to));
        let Link { cut, loss, duplication, reordering } = link;
        let faults = Faults { loss, duplication, reordering, ..Faults::default() };
        self.network.set_link_faults(from, to, faults);
        self.network.set_cut(from, to, cut);
    }

    fn crash(&mut self, node: usize) {
        self.network.crash(self.address(node));
        self.nodes[node] = Node::default();
    }

    fn restart(&mut self, node: usize, roster: &Roster) -> Result<(), SetupError> {
        self.start(node, roster)
    }

    fn set_paused(&mut self, node: usize, paused: bool) {
        self.network.set_paused(self.address(node), paused);
    }

    fn inject(&mut self, from: Origin, to: usize, bytes: &[u8]) {
        let from = match from {
            Origin::Node(node) => self.address(node),
            Origin::Stranger => SocketAddr::new(self.address(0).ip(), 999),
        };
        self.network.inject(from, self.address(to), bytes);
    }

    fn take_tap(&mut self) -> Vec<Tapped> {
        let seen = self.network.take_capture();
        seen.into_iter()
            .filter_map(|seen| {
                let from = self.node_at(seen.from)?;
                Some(Tapped { from, to: self.node_at(seen.to), bytes: seen.bytes })
            })
            .collect()
    }
}

//! A cluster of any backend whose endpoints own a host's interface, behind the [`Switch`].
//!
//! [`Switch`]: super::Switch

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use electrode_transport::{
    EndpointConfig, GroupConfig, GroupId, Membership, QuorumTransport, Result, TransportError,
};

use super::bed::{MTU_JUMBO, MTU_PLAIN};
use super::host::Host;
use super::pool::{PooledBed, TapPool};
use super::system;
use crate::harness::{Cluster, Link, Origin, SetupError, Tapped};
use crate::spec::{ClusterSpec, Roster};

/// Where every node is bound, at its host's address.
pub const PORT: u16 = 7_400;

/// IPv6 and UDP headers before a datagram's bytes; those of IPv4 are shorter.
const HEADERS_LEN: usize = 40 + 8;

/// A backend's endpoint, as the cluster needs it. It was bound on a thread inside the node's host;
/// every other call comes from outside, so that whatever needs the host's network (attaching,
/// netlink) must have been opened while binding.
pub trait TapEndpoint: 'static {
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

    /// Ends it, as the end of its process would. It is dropped right after.
    fn close(&self);
}

/// Where an endpoint is to be bound.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The node's number.
    pub node: usize,
    /// Its host; the calling thread is inside.
    pub host: &'a Host,
}

impl Place<'_> {
    /// The name of the host's interface.
    #[must_use]
    pub const fn interface(&self) -> &'static str {
        self.host.interface()
    }
}

/// Clusters of more nodes than this are not made to know each other pair by pair: the kernel's table
/// of neighbours is one for all beds, and small.
const MESH_MAX: usize = 12;

/// Who knows whom before the start: everybody everybody, the stranger included. In a large cluster
/// everybody node 0; others meet by their first datagram, as hosts do.
fn acquaintances(nodes: usize) -> impl Iterator<Item = (usize, usize)> {
    let pairs = (0..=nodes).flat_map(move |from| (0..=nodes).map(move |to| (from, to)));
    pairs.filter(move |&(from, to)| from != to && (nodes <= MESH_MAX || from == 0 || to == 0))
}

type Bind<E> = Box<dyn Fn(Place<'_>, EndpointConfig) -> Result<E, SetupError>>;

struct Node<E> {
    endpoint: Option<E>,
    transports: BTreeMap<GroupId, Arc<dyn QuorumTransport>>,
    paused: bool,
}

/// The cluster: node `n` on host `n`, and a stranger on the host after the last. Time is real.
///
/// A paused node's user space is not driven; its kernel goes on. What a stranger says comes from
/// the stranger's host and, every other time, from a member's address at a port that is not its own.
pub struct TapCluster<E: TapEndpoint> {
    nodes: Vec<Node<E>>,
    bed: PooledBed,
    bind: Bind<E>,
    spec: ClusterSpec,
    tap: Vec<Tapped>,
    strangers: u16,
    started: Instant,
}

impl<E: TapEndpoint> fmt::Debug for TapCluster<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapCluster").field("bed", &*self.bed).finish_non_exhaustive()
    }
}

impl<E: TapEndpoint> TapCluster<E> {
    /// Builds what the spec asks for. `bind` makes a node's endpoint at the address in its
    /// configuration, on a thread inside the node's host; it may make a different kind for each.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn build(
        pool: &TapPool,
        spec: &ClusterSpec,
        seed: u64,
        bind: impl Fn(Place<'_>, EndpointConfig) -> Result<E, SetupError> + 'static,
    ) -> Result<Self, SetupError> {
        let fits = spec.datagram_len_max + HEADERS_LEN <= MTU_PLAIN;
        let mtu = if fits { MTU_PLAIN } else { MTU_JUMBO };
        let mut bed = pool.take(spec.nodes + 1, mtu, seed)?;
        bed.switch_mut().warm_up(acquaintances(spec.nodes), spec.ipv6)?;
        bed.switch_mut().watch(PORT);
        let mut cluster = Self {
            nodes: Vec::new(),
            bed,
            bind: Box::new(bind),
            spec: spec.clone(),
            tap: Vec::new(),
            strangers: 0,
            started: Instant::now(),
        };
        for node in 0..spec.nodes {
            let transports = BTreeMap::new();
            cluster.nodes.push(Node { endpoint: None, transports, paused: false });
            cluster.start(node, &spec.roster)?;
        }
        Ok(cluster)
    }

    fn address(&self, node: usize) -> SocketAddr {
        self.bed.hosts()[node].address(self.spec.ipv6, PORT)
    }

    fn start(&mut self, node: usize, roster: &Roster) -> Result<(), SetupError> {
        let host = &self.bed.hosts()[node];
        let config = self.spec.endpoint_config(node, self.address(node));
        let endpoint = host.within(|| (self.bind)(Place { node, host }, config))??;
        self.nodes[node].endpoint = Some(endpoint);
        if roster.index_of(node).is_some() {
            for group in self.spec.groups.clone() {
                self.open(node, group, roster)?;
            }
        }
        Ok(())
    }

    /// Forwards what was sent and enters it in the tap.
    fn pump(&mut self) -> bool {
        let moved = self.bed.switch_mut().pump();
        for passed in self.bed.switch_mut().take_passed() {
            let from = passed.from;
            if from >= self.spec.nodes {
                continue;
            }
            assert!(passed.checksums_right, "node {from} sent a wrong checksum: {passed:?}");
            let source = self.address(from);
            assert_eq!(passed.source, source, "node {from} sent from another's address");
            let to = passed
                .to
                .filter(|&to| to < self.spec.nodes && self.address(to) == passed.destination);
            self.tap.push(Tapped { from, to, bytes: passed.bytes });
        }
        moved
    }

    fn turn(&mut self) -> bool {
        let moved = self.pump();
        for node in self.nodes.iter().filter(|node| !node.paused) {
            match node.endpoint.as_ref().map(E::drive) {
                None | Some(Ok(()) | Err(TransportError::Closed)) => {}
                Some(Err(error)) => panic!("an endpoint cannot be driven: {error}"),
            }
        }
        moved
    }
}

/// Its descriptors are gone when this returns, so that the next one can be bound in its place.
fn end<E: TapEndpoint>(endpoint: E) {
    system::apart_from_forks(|| {
        endpoint.close();
        drop(endpoint);
    });
}

impl<E: TapEndpoint> Drop for TapCluster<E> {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.transports.clear();
            if let Some(endpoint) = node.endpoint.take() {
                end(endpoint);
            }
        }
    }
}

impl<E: TapEndpoint> Cluster for TapCluster<E> {
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
        let node = &mut self.nodes[node];
        let transport = node.endpoint.as_ref().expect("the node lives").open(config)?;
        node.transports.insert(group, Arc::clone(&transport));
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
        self.pump();
        self.bed.switch_mut().set_link(from, to, link);
    }

    fn crash(&mut self, node: usize) {
        self.pump();
        self.nodes[node].transports.clear();
        if let Some(endpoint) = self.nodes[node].endpoint.take() {
            end(endpoint);
        }
        self.pump();
        self.nodes[node].paused = false;
    }

    fn restart(&mut self, node: usize, roster: &Roster) -> Result<(), SetupError> {
        self.start(node, roster)
    }

    fn set_paused(&mut self, node: usize, paused: bool) {
        self.nodes[node].paused = paused;
    }

    fn inject(&mut self, from: Origin, to: usize, bytes: &[u8]) {
        let (host, source) = match from {
            Origin::Node(node) => (node, self.address(node)),
            Origin::Stranger => {
                self.strangers += 1;
                if self.strangers % 2 == 1 {
                    (self.spec.nodes, self.address(self.spec.nodes))
                } else {
                    let member = (to + 1) % self.spec.nodes;
                    (member, SocketAddr::new(self.address(member).ip(), PORT + 1))
                }
            }
        };
        self.bed.switch().inject(host, source, to, self.address(to), bytes);
    }

    fn take_tap(&mut self) -> Vec<Tapped> {
        self.pump();
        core::mem::take(&mut self.tap)
    }
}

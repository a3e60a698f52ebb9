//! Three members on loopback, for the tests beside this folder.
#![allow(unreachable_pub, reason = "a folder that several targets include")]
#![allow(clippy::unwrap_used, reason = "these are tests")]
#![allow(dead_code, reason = "each test target uses its own part")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use electrode_backend_socket::{SocketEndpoint, SocketOptions, SocketTransport};
use electrode_transport::{
    AckMode, Ballot, ClusterId, EndpointConfig, GroupConfig, GroupId, Incarnation, LogBatch,
    Member, Membership, NodeId, QuorumRule, Slot, TransportCore,
};

pub const CLUSTER: ClusterId = ClusterId(0xe1ec);
pub const GROUP: GroupId = GroupId(1);
pub const BALLOT: Ballot = Ballot(1);
/// No condition on loopback takes this long; a test that waits longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Endpoints of one cluster with what is needed to open groups on them.
pub struct Cluster {
    pub endpoints: Vec<SocketEndpoint>,
    pub membership: Membership,
}

pub fn config(node: u64, ip: IpAddr) -> EndpointConfig {
    EndpointConfig::new(CLUSTER, NodeId(node), SocketAddr::new(ip, 0))
}

impl Cluster {
    /// `count` endpoints on ports of the system's choosing.
    pub fn new(count: u64) -> Self {
        Self::with(count, |node| config(node, Ipv4Addr::LOCALHOST.into()))
    }

    pub fn with(count: u64, config: impl Fn(u64) -> EndpointConfig) -> Self {
        let endpoints: Vec<_> = (1..=count)
            .map(|node| SocketEndpoint::bind(config(node), SocketOptions::default()).unwrap())
            .collect();
        let members = endpoints
            .iter()
            .zip(1..)
            .map(|(endpoint, node)| Member::voter(NodeId(node), endpoint.local_addr()));
        let membership = Membership::new(Incarnation(1), members, QuorumRule::Majority).unwrap();
        Self { endpoints, membership }
    }

    pub fn group_config(&self, group: GroupId, mode: AckMode) -> GroupConfig {
        let mut config = GroupConfig::new(group, self.membership.clone());
        config.mode = mode;
        config
    }

    /// Opens a group on every endpoint.
    pub fn join(&self, group: GroupId, mode: AckMode) -> Vec<SocketTransport> {
        let config = self.group_config(group, mode);
        self.endpoints.iter().map(|endpoint| endpoint.join(config.clone()).unwrap()).collect()
    }
}

/// The first member leads, the others follow, from slot 1 at ballot 1.
pub fn lead_and_follow(nodes: &[SocketTransport]) {
    let tokens: Vec<_> = nodes.iter().map(|node| node.fence(BALLOT).unwrap().token).collect();
    nodes[0].lead(&tokens[0], Slot(1)).unwrap();
    for (node, token) in nodes.iter().zip(&tokens).skip(1) {
        node.follow(token, nodes[0].node(), Slot(1)).unwrap();
    }
}

/// Drives all until the condition holds.
pub fn drive_until(nodes: &[SocketTransport], what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        for node in nodes {
            node.drive().unwrap();
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Everything that waits in the log, as slots and bodies.
pub fn poll(node: &SocketTransport) -> Vec<(Slot, Vec<u8>)> {
    let mut batch = LogBatch::default();
    node.try_poll_log(&mut batch).unwrap();
    batch.iter().map(|entry| (entry.last, entry.body.to_vec())).collect()
}

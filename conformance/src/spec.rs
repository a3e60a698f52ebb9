//! What a case asks its harness to build.

use std::time::Duration;

use electrode_transport::wire::Key;
use electrode_transport::{
    AckMode, ClusterId, ConfigError, GroupConfig, GroupId, Incarnation, Member, Membership, NodeId,
    QuorumRule,
};

/// The name of a node in every membership.
#[must_use]
pub const fn node_id(node: usize) -> NodeId {
    NodeId(node as u64 + 1)
}

/// Who is in a group, by node number; the harness supplies the addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roster {
    /// The version of the membership.
    pub incarnation: Incarnation,
    /// The voters, in index order.
    pub voters: Vec<usize>,
    /// The learners, whose indices follow.
    pub learners: Vec<usize>,
    /// How many voters make a quorum.
    pub rule: QuorumRule,
    /// The other voters of a joint phase. They must be among the members.
    pub joint: Option<Vec<usize>>,
}

impl Roster {
    /// Nodes 0 to `count` as voters under the majority rule, incarnation 1.
    #[must_use]
    pub fn voters(count: usize) -> Self {
        Self {
            incarnation: Incarnation(1),
            voters: (0..count).collect(),
            learners: Vec::new(),
            rule: QuorumRule::Majority,
            joint: None,
        }
    }

    /// The next version of the membership, with these voters.
    #[must_use]
    pub fn next(&self, voters: &[usize]) -> Self {
        Self {
            incarnation: Incarnation(self.incarnation.0 + 1),
            voters: voters.to_vec(),
            joint: None,
            ..self.clone()
        }
    }

    /// Every member in index order.
    pub fn members(&self) -> impl Iterator<Item = usize> + '_ {
        self.voters.iter().chain(&self.learners).copied()
    }

    /// A node's index.
    #[must_use]
    pub fn index_of(&self, node: usize) -> Option<u8> {
        self.members().position(|member| member == node).map(|index| index as u8)
    }

    /// Whether these nodes hold a quorum, joint phase included: the suite's own slow count.
    #[must_use]
    pub fn is_quorum(&self, holds: impl Fn(usize) -> bool) -> bool {
        let met = |voters: &[usize]| {
            let needed = match self.rule {
                QuorumRule::All => voters.len(),
                QuorumRule::Size(needed) => needed as usize,
                _ => voters.len() / 2 + 1,
            };
            voters.iter().filter(|&&node| holds(node)).count() >= needed
        };
        met(&self.voters) && self.joint.as_deref().is_none_or(met)
    }

    /// The membership, given where each node is.
    ///
    /// # Errors
    /// [`ConfigError`] if it is impossible.
    pub fn membership(
        &self,
        address: impl Fn(usize) -> std::net::SocketAddr,
    ) -> Result<Membership, ConfigError> {
        let voters = self.voters.iter().map(|&node| Member::voter(node_id(node), address(node)));
        let learners =
            self.learners.iter().map(|&node| Member::learner(node_id(node), address(node)));
        let membership = Membership::new(self.incarnation, voters.chain(learners), self.rule)?;
        match &self.joint {
            Some(joint) => {
                let joint: Vec<_> = joint.iter().map(|&node| node_id(node)).collect();
                membership.with_joint(&joint, self.rule)
            }
            None => Ok(membership),
        }
    }
}

/// A cluster to build. Times are short so that a real clock makes a short test.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// Endpoints, also of nodes that are in no membership yet.
    pub nodes: usize,
    /// Who is in every group at the start.
    pub roster: Roster,
    /// The groups.
    pub groups: Vec<GroupId>,
    /// The deployment.
    pub cluster: ClusterId,
    /// The key, on every node.
    pub key: Option<Key>,
    /// Members at IPv6 addresses.
    pub ipv6: bool,
    /// What an acknowledgement promises.
    pub mode: AckMode,
    /// As [`GroupConfig::window_frames`].
    pub window_frames: usize,
    /// As [`GroupConfig::window_bytes`].
    pub window_bytes: usize,
    /// As [`GroupConfig::log_bytes`].
    pub log_bytes: usize,
    /// As [`GroupConfig::inbox_messages`].
    pub inbox_messages: usize,
    /// As [`GroupConfig::lease`].
    pub lease: Duration,
    /// As [`EndpointConfig::datagram_len_max`](electrode_transport::EndpointConfig).
    pub datagram_len_max: usize,
    /// As [`EndpointConfig::retransmit_min`](electrode_transport::EndpointConfig).
    pub retransmit_min: Duration,
    /// As [`EndpointConfig::retransmit_max`](electrode_transport::EndpointConfig).
    pub retransmit_max: Duration,
}

impl ClusterSpec {
    /// One group of `count` voters with a lease that no case outlasts by accident.
    #[must_use]
    pub fn voters(count: usize, mode: AckMode) -> Self {
        Self {
            nodes: count,
            roster: Roster::voters(count),
            groups: vec![GroupId(1)],
            cluster: ClusterId(0xe1ec_780d),
            key: None,
            ipv6: false,
            mode,
            window_frames: 256,
            window_bytes: 1 << 20,
            log_bytes: 1 << 20,
            inbox_messages: 64,
            lease: Duration::from_secs(60),
            datagram_len_max: 1_452,
            retransmit_min: Duration::from_millis(4),
            retransmit_max: Duration::from_millis(30),
        }
    }

    /// A group's configuration for a node that sees this membership.
    #[must_use]
    pub fn group_config(&self, group: GroupId, membership: Membership) -> GroupConfig {
        GroupConfig {
            mode: self.mode,
            window_frames: self.window_frames,
            window_bytes: self.window_bytes,
            log_bytes: self.log_bytes,
            inbox_messages: self.inbox_messages,
            lease: self.lease,
            ..GroupConfig::new(group, membership)
        }
    }

    /// A node's endpoint configuration at this address.
    #[must_use]
    pub fn endpoint_config(
        &self,
        node: usize,
        bind: std::net::SocketAddr,
    ) -> electrode_transport::EndpointConfig {
        electrode_transport::EndpointConfig {
            key: self.key,
            datagram_len_max: self.datagram_len_max,
            retransmit_min: self.retransmit_min,
            retransmit_max: self.retransmit_max,
            ..electrode_transport::EndpointConfig::new(self.cluster, node_id(node), bind)
        }
    }

    /// The longest body of a frame.
    #[must_use]
    pub const fn body_len_max(&self) -> usize {
        self.datagram_len_max - electrode_transport::wire::HEADER_LEN
    }
}

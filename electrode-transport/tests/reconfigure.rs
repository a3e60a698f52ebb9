//! What a change of membership must not undo, seen from outside.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]
#![cfg(feature = "memory")]

use electrode_transport::memory::{MemoryNetwork, MemoryTransport};
use electrode_transport::{
    AckMode, Ballot, Frame, GroupConfig, GroupId, Incarnation, LogBatch, Member, Membership,
    NodeId, QuorumRule, QuorumTransport, Slot, TransportCore, TransportError,
};

fn members(incarnation: u32, nodes: &[u64]) -> Membership {
    let member = |&id: &u64| Member::voter(NodeId(id), MemoryNetwork::address(NodeId(id)));
    Membership::new(Incarnation(incarnation), nodes.iter().map(member), QuorumRule::Majority)
        .unwrap()
}

fn join(network: &MemoryNetwork, nodes: &[u64]) -> Vec<MemoryTransport> {
    let mut config = GroupConfig::new(GroupId(1), members(1, nodes));
    config.mode = AckMode::Received;
    let join = |&id: &u64| network.endpoint(NodeId(id)).unwrap().join(config.clone()).unwrap();
    nodes.iter().map(join).collect()
}

/// Its leader gone, a follower must not take the same ballot up again: from a lower slot it would
/// yield slots twice, and under another leader, or its own, one slot could get two values.
#[test]
fn a_ballot_whose_leader_left_is_neither_followed_nor_led_again() {
    let network = MemoryNetwork::new(1);
    let nodes = join(&network, &[1, 2, 3]);
    let [leader, follower] = [&nodes[0], &nodes[1]];
    let token = leader.fence(Ballot(5)).unwrap().token;
    leader.lead(&token, Slot(1)).unwrap();
    let token = follower.fence(Ballot(5)).unwrap().token;
    follower.follow(&token, NodeId(1), Slot(1)).unwrap();
    leader.try_broadcast(Ballot(5), &[Frame::single(Slot(1), b"kept")]).unwrap();
    assert!(network.run_until(std::time::Duration::from_secs(1), || {
        leader.quorum(Ballot(5)).is_ok_and(|quorum| quorum.through == Slot(1))
    }));

    follower.reconfigure(members(2, &[3, 2])).unwrap();
    let conflict = |result: Result<(), TransportError>| match result {
        Err(TransportError::LeaderConflict { ballot: Ballot(5), leader }) => leader,
        other => panic!("expected a conflict, got {other:?}"),
    };
    assert_eq!(conflict(follower.follow(&token, NodeId(3), Slot(1))), NodeId(1));
    assert_eq!(conflict(follower.lead(&token, Slot(1))), NodeId(1));

    let mut batch = LogBatch::default();
    assert_eq!(follower.try_poll_log(&mut batch).unwrap(), 1, "what it stored is still there");
    let token = follower.fence(Ballot(6)).unwrap().token;
    follower.lead(&token, Slot(2)).unwrap();
}

/// The old voices in an outstanding probe are asked again, but the leader's own must not be lost:
/// nobody asks it.
#[test]
fn a_probe_outlives_a_reconfiguration() {
    let network = MemoryNetwork::new(2);
    let nodes = join(&network, &[1, 2]);
    let token = nodes[0].fence(Ballot(1)).unwrap().token;
    nodes[0].lead(&token, Slot(1)).unwrap();
    let token = nodes[1].fence(Ballot(1)).unwrap().token;
    nodes[1].follow(&token, NodeId(1), Slot(1)).unwrap();

    let probe = nodes[0].probe(Ballot(1)).unwrap();
    for node in &nodes {
        node.reconfigure(members(2, &[2, 1])).unwrap();
    }
    assert!(network.run_until(std::time::Duration::from_secs(1), || {
        nodes[0].try_confirmed(probe).unwrap()
    }));
    network.block_on(nodes[0].confirm_leadership(Ballot(1))).unwrap();
}

//! What a leader learns of each member beside its acknowledgements, and what a library learns of
//! the group that it was given.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]
#![cfg(feature = "memory")]

use std::time::Duration;

use electrode_transport::memory::{MemoryNetwork, MemoryTransport};
use electrode_transport::{
    AckMode, Ballot, Frame, GroupConfig, GroupId, LogBatch, NodeId, QuorumRule, Slot, TransportCore,
};

const BALLOT: Ballot = Ballot(3);

/// Node 1 leads, 2 and 3 follow from the first slot.
fn led(network: &MemoryNetwork, mode: AckMode) -> Vec<MemoryTransport> {
    let mut config = GroupConfig::new(GroupId(1), network.membership(3, QuorumRule::Majority));
    config.mode = mode;
    let nodes: Vec<_> = (1..=3)
        .map(|id| network.endpoint(NodeId(id)).unwrap().join(config.clone()).unwrap())
        .collect();
    for (index, node) in nodes.iter().enumerate() {
        let token = node.fence(BALLOT).unwrap().token;
        if index == 0 {
            node.lead(&token, Slot(1)).unwrap();
        } else {
            node.follow(&token, NodeId(1), Slot(1)).unwrap();
        }
    }
    nodes
}

#[test]
fn a_probe_tells_which_members_answered() {
    let network = MemoryNetwork::new(1);
    let nodes = led(&network, AckMode::Persisted);
    let probed = |id| nodes[0].acked(BALLOT).unwrap().of(NodeId(id)).unwrap().probed;

    let first = nodes[0].probe(BALLOT).unwrap();
    assert_eq!([probed(1), probed(2), probed(3)], [first.number, 0, 0]);
    network.advance(Duration::from_millis(1));
    assert_eq!([probed(2), probed(3)], [first.number; 2]);

    network.crash(MemoryNetwork::address(NodeId(3)));
    let second = nodes[0].probe(BALLOT).unwrap();
    network.advance(Duration::from_millis(1));
    assert!(nodes[0].try_confirmed(second).unwrap(), "two of three are a quorum");
    assert_eq!([probed(2), probed(3)], [second.number, first.number], "the third is silent");
}

#[test]
fn a_library_sees_what_its_groups_acknowledgements_promise() {
    for mode in [AckMode::Persisted, AckMode::Received] {
        let network = MemoryNetwork::new(1);
        assert_eq!(led(&network, mode)[1].capabilities().mode, mode);
    }
}

#[test]
fn a_member_in_the_middle_of_a_frame_shows_as_beyond_the_transports_help() {
    let network = MemoryNetwork::new(1);
    let nodes = led(&network, AckMode::Persisted);
    let lagging = MemoryNetwork::address(NodeId(3));
    network.set_cut(MemoryNetwork::address(NodeId(1)), lagging, true);
    let frame = Frame { first: Slot(1), last: Slot(4), body: b"four slots" };
    assert_eq!(nodes[0].try_broadcast(BALLOT, &[frame]).unwrap(), 1);
    network.advance(Duration::from_millis(1));
    network.heal();
    // Another way brought two of the four.
    nodes[2].acknowledge(BALLOT, Slot(2)).unwrap();
    network.advance(Duration::from_secs(2));
    let acked = nodes[0].acked(BALLOT).unwrap();
    let stuck: Vec<_> = acked.behind().iter().map(|progress| progress.member).collect();
    assert_eq!(stuck, [NodeId(3)], "no kept frame begins at slot 3");
    // To the frame's end, and the fast path resumes; the poll renews the lease.
    assert_eq!(nodes[2].try_poll_log(&mut LogBatch::default()).unwrap(), 0);
    nodes[2].acknowledge(BALLOT, Slot(4)).unwrap();
    let next = Frame::single(Slot(5), b"five");
    assert_eq!(nodes[0].try_broadcast(BALLOT, &[next]).unwrap(), 1);
    network.advance(Duration::from_millis(1));
    assert!(nodes[0].acked(BALLOT).unwrap().behind().is_empty());
    assert_eq!(nodes[2].try_poll_log(&mut LogBatch::default()).unwrap(), 1);
}

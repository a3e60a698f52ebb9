//! What the transport accepted but nobody polled, at the moment when raft votes or campaigns.

use std::time::Duration;

use electrode_transport::memory::{MemoryNetwork, MemoryTransport};
use electrode_transport::{GroupConfig, GroupId, NodeId, QuorumRule};
use raft::eraftpb::{Message, MessageType};
use raft::{INVALID_ID, StateRole, Storage};

use crate::Disk;
use crate::machine::StateMachine;
use crate::node::{Node, Options, Seat};

struct Nothing;

impl StateMachine for Nothing {
    fn apply(&mut self, _index: u64, _command: &[u8]) {}
    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }
    fn restore(&mut self, _state: &[u8]) {}
}

type TestNode = Node<MemoryTransport, Nothing>;

/// Three nodes of which the first leads and the others follow on the transport, all polled.
fn led(network: &MemoryNetwork) -> Vec<TestNode> {
    let config = GroupConfig::new(GroupId(1), network.membership(3, QuorumRule::Majority));
    let mut nodes: Vec<_> = (1..=3)
        .map(|id| {
            let transport = network.endpoint(NodeId(id)).unwrap().join(config.clone()).unwrap();
            Node::new(transport, Disk::new(1..=3), Nothing, Options::default()).unwrap()
        })
        .collect();
    nodes[0].campaign().unwrap();
    for _ in 0..50 {
        network.advance(Duration::from_millis(1));
        nodes.iter_mut().for_each(|node| node.poll().unwrap());
    }
    assert!(nodes[0].is_leader());
    assert!(nodes[1..].iter().all(|node| matches!(node.seat, Seat::Following(_))));
    nodes
}

/// The leader broadcasts an entry that the followers' transports accept and nobody polls.
fn accept_unpolled(network: &MemoryNetwork, nodes: &mut [TestNode]) -> u64 {
    nodes[0].propose(b"accepted, not polled".to_vec()).unwrap();
    network.advance(Duration::from_millis(1));
    let index = nodes[0].raw.raft.raft_log.last_index();
    assert_eq!(nodes[1].raw.raft.raft_log.last_index(), index - 1, "raft does not know it yet");
    index
}

fn message(kind: MessageType, from: u64, term: u64) -> Message {
    let mut message = Message { from, to: 2, term, ..Message::default() };
    message.set_msg_type(kind);
    message
}

#[test]
fn a_vote_is_decided_with_every_accepted_entry_in_the_log() {
    let network = MemoryNetwork::new(1);
    let mut nodes = led(&network);
    let index = accept_unpolled(&network, &mut nodes);
    let voter = &mut nodes[1];
    let term = voter.term();

    // Candidate 3 has everything but that entry. Its leader sent it, so no stickiness applies.
    let mut request = message(MessageType::MsgRequestVote, 3, term + 1);
    (request.index, request.log_term) = (index - 1, term);
    request.context = raft::CAMPAIGN_TRANSFER.to_vec().into();
    voter.step(request).unwrap();

    assert_eq!(voter.disk.last_index().unwrap(), index, "it is on disk");
    assert_eq!((voter.term(), voter.fence_ballot().0), (term + 1, term + 1));
    assert_eq!(voter.raw.raft.vote, INVALID_ID, "its log is newer than the candidate's");
}

#[test]
fn a_campaign_begins_with_every_accepted_entry_in_the_log() {
    let network = MemoryNetwork::new(2);
    let mut nodes = led(&network);
    let index = accept_unpolled(&network, &mut nodes);
    let term = nodes[1].term();
    network.start_capture();
    nodes[1].step(message(MessageType::MsgTimeoutNow, 1, term)).unwrap();

    assert_eq!(nodes[1].raw.raft.state, StateRole::Candidate);
    assert_eq!((nodes[1].term(), nodes[1].fence_ballot().0), (term + 1, term + 1));
    assert_eq!(nodes[1].disk.last_index().unwrap(), index);
    let hard_state = nodes[1].disk.initial_state().unwrap().hard_state;
    assert_eq!((hard_state.term, hard_state.vote), (term + 1, 2), "on disk before it asks anybody");
    assert_eq!(network.take_capture().len(), 2, "and it has asked both");
}

#[test]
fn a_candidate_that_raft_ignores_does_not_raise_the_fence() {
    let network = MemoryNetwork::new(3);
    let mut nodes = led(&network);
    let index = accept_unpolled(&network, &mut nodes);
    let voter = &mut nodes[1];
    let term = voter.term();
    for kind in [MessageType::MsgRequestVote, MessageType::MsgRequestPreVote] {
        voter.step(message(kind, 3, term + 5)).unwrap();
        assert_eq!((voter.term(), voter.fence_ballot().0), (term, term));
    }
    voter.poll().unwrap();
    assert_eq!(voter.disk.last_index().unwrap(), index, "it still follows");
}

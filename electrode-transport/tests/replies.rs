//! What a leader and a member waiting for one make of single replies and frames.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]
#![cfg(feature = "memory")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use electrode_transport::memory::{MemoryNetwork, MemoryTransport};
use electrode_transport::wire::{FrameKind, HEADER_LEN, Header};
use electrode_transport::{
    AckMode, Ballot, ClusterId, Frame, GroupConfig, GroupId, Incarnation, LogBatch, MemberIndex,
    NodeId, QuorumRule, Slot, TransportCore,
};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn three() -> (MemoryNetwork, Vec<MemoryTransport>) {
    let network = MemoryNetwork::new(1);
    let membership = network.membership(3, QuorumRule::Majority);
    let mut config = GroupConfig::new(GroupId(1), membership);
    config.mode = AckMode::Received;
    let join = |id| network.endpoint(NodeId(id)).unwrap().join(config.clone()).unwrap();
    let nodes = (1..=3).map(join).collect();
    (network, nodes)
}

/// A datagram from the member at `sender` to the one at index 0.
fn datagram(kind: FrameKind, sender: u8, slots: [u64; 3]) -> [u8; HEADER_LEN] {
    let [first, last, commit] = slots.map(Slot);
    let header = Header {
        kind,
        sender: MemberIndex(sender),
        flags: 0,
        cluster: ClusterId(1),
        incarnation: Incarnation(1),
        group: GroupId(1),
        ballot: Ballot(1),
        first,
        last,
        commit,
        body_len: 0,
        destination: 0,
        tag: 0,
    };
    let mut bytes = [0; HEADER_LEN];
    header.encode(&mut bytes);
    bytes
}

/// One half of a reply may be nonsense and the other make a quorum: who waits for it must be told.
#[test]
fn a_quorum_in_half_of_a_reply_wakes_its_waiters() {
    let (network, nodes) = three();
    let leader = &nodes[0];
    leader.lead(&leader.fence(Ballot(1)).unwrap().token, Slot(1)).unwrap();
    leader.try_broadcast(Ballot(1), &[Frame::single(Slot(1), b"x")]).unwrap();
    let probe = leader.probe(Ballot(1)).unwrap();
    let inject = |bytes: [u8; HEADER_LEN]| {
        network.inject(
            MemoryNetwork::address(NodeId(2)),
            MemoryNetwork::address(NodeId(1)),
            &bytes,
        );
        assert!(network.step());
    };
    let task = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&task));
    let mut cx = Context::from_waker(&waker);

    assert!(leader.poll_confirmed(&mut cx, probe).is_pending());
    inject(datagram(FrameKind::ProbeAck, 1, [probe.number, 99, 100]));
    assert_eq!(task.0.load(Ordering::Relaxed), 1, "confirmed, whatever slot it claims");
    assert!(leader.poll_confirmed(&mut cx, probe).is_ready());
    assert!(leader.quorum(Ballot(1)).unwrap().through < Slot(1), "the claim itself counts nothing");

    assert!(leader.poll_quorum(&mut cx, Ballot(1), Slot(1)).is_pending());
    inject(datagram(FrameKind::ProbeAck, 1, [probe.number + 9, 1, 2]));
    assert_eq!(task.0.load(Ordering::Relaxed), 2, "stored, whatever probe it answers");
    assert!(leader.poll_quorum(&mut cx, Ballot(1), Slot(1)).is_ready());
    let later = leader.probe(Ballot(1)).unwrap();
    assert!(!leader.try_confirmed(later).unwrap());
}

/// A member that has promised a ballot and does not follow yet learns from its leader's frames that
/// it has one, if the library's own word of it was lost.
#[test]
fn a_voter_sees_that_its_candidate_leads() {
    let (network, nodes) = three();
    let mut batch = LogBatch::default();
    let shown = |node: &MemoryTransport, batch: &mut LogBatch| {
        node.try_poll_log(batch).unwrap();
        batch.status().higher_ballot
    };
    let token = nodes[1].fence(Ballot(5)).unwrap().token;
    assert_eq!(shown(&nodes[1], &mut batch), None);
    nodes[0].lead(&nodes[0].fence(Ballot(5)).unwrap().token, Slot(1)).unwrap();
    nodes[0].try_broadcast(Ballot(5), &[Frame::single(Slot(1), b"x")]).unwrap();
    network.advance(std::time::Duration::from_millis(1));
    assert_eq!(shown(&nodes[1], &mut batch), Some(Ballot(5)));
    assert_eq!(shown(&nodes[2], &mut batch), Some(Ballot(5)), "so does one that promised nothing");
    nodes[1].follow(&token, NodeId(1), Slot(1)).unwrap();
    assert_eq!(shown(&nodes[1], &mut batch), None, "it is followed now");
    let _ = nodes[2].fence(Ballot(6)).unwrap();
    assert_eq!(shown(&nodes[2], &mut batch), None, "and this one has promised to another since");
    assert_eq!(shown(&nodes[0], &mut batch), None, "a leader sees none above itself");
}

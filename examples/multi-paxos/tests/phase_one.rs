//! Phase 1 message by message: the test plays the other members over their bare transports.

use std::time::Duration;

use electrode_multi_paxos::{
    LogEntry, MemoryStore, Message, Replica, ReplicaConfig, RoleName, StateMachine,
};
use electrode_transport::memory::{MemoryEndpoint, MemoryNetwork, MemoryTransport};
use electrode_transport::{
    AckMode, Ballot, Frame, GroupConfig, GroupId, NodeId, QuorumRule, Slot, TransportCore,
};

/// Replicates nothing.
#[derive(Debug)]
struct Nothing;

impl StateMachine for Nothing {
    fn apply(&mut self, _command: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    fn query(&self, _query: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _state: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// One replica, node 1, among members 2 and 3 that the test plays.
struct Stage {
    network: MemoryNetwork,
    replica: Replica<MemoryTransport, MemoryStore, Nothing>,
    others: [MemoryTransport; 2],
    _endpoints: Vec<MemoryEndpoint>,
}

impl Stage {
    fn new() -> Self {
        let network = MemoryNetwork::new(1);
        let membership = network.membership(3, QuorumRule::Majority);
        let mut config = GroupConfig::new(GroupId(1), membership);
        config.mode = AckMode::Received;
        let join = |id| {
            let endpoint = network.endpoint(NodeId(id)).expect("a free address");
            let transport = endpoint.join(config.clone()).expect("a member");
            (endpoint, transport)
        };
        let [one, two, three] = [1, 2, 3].map(join);
        let settings = ReplicaConfig::new(AckMode::Received, 1);
        let store = MemoryStore::new();
        let replica = Replica::bootstrap(settings, one.1, store, Nothing, Duration::ZERO)
            .expect("the first start");
        let others = [two.1, three.1];
        Self { network, replica, others, _endpoints: vec![one.0, two.0, three.0] }
    }

    fn poll(&mut self) {
        let now = Duration::from_nanos(self.network.now().0);
        self.replica.poll(now).expect("nothing is broken");
    }

    fn send(&self, from: usize, message: &Message) {
        let mut body = Vec::new();
        message.encode(&mut body);
        self.others[from].try_send(NodeId(1), &body).expect("it fits");
        self.network.advance(Duration::from_millis(1));
    }

    /// Runs until the replica has sent a message that `pick` knows.
    fn await_message<R>(&mut self, to: usize, pick: impl Fn(Message) -> Option<R>) -> R {
        let mut body = Vec::new();
        for _ in 0..3_000 {
            while self.others[to].try_recv(&mut body).expect("open").is_some() {
                let message = Message::decode(&body).expect("the replica speaks well");
                if let Some(found) = pick(message) {
                    return found;
                }
            }
            self.network.advance(Duration::from_millis(1));
            self.poll();
        }
        panic!("no such message within three virtual seconds");
    }
}

#[test]
fn what_the_fence_hands_over_is_in_the_promise() {
    let mut stage = Stage::new();
    let (older, newer) = (Ballot(1 << 8 | 1), Ballot(2 << 8 | 2));
    // Node 2 is elected and replicates a value. The replica's transport acknowledges it before the
    // replica has seen it, so from here on it may be chosen.
    let token = stage.others[0].fence(older).expect("the first").token;
    stage.others[0].lead(&token, Slot(1)).expect("nobody else does");
    stage.send(0, &Message::Lead { ballot: older, chosen: Slot::ZERO });
    stage.poll();
    let value = vec![1, 0, 0];
    stage.others[0].try_broadcast(older, &[Frame::single(Slot(1), &value)]).expect("room");
    stage.network.advance(Duration::from_millis(1));
    assert_eq!(stage.others[0].quorum(older).expect("it leads").through, Slot(1));
    // Node 3 stands before the replica is polled again.
    stage.send(1, &Message::Prepare { ballot: newer, attempt: 9, from: Slot(1) });
    stage.poll();
    let (entries, done) = stage.await_message(1, |message| match message {
        Message::Promise { ballot, attempt: 9, entries, done, .. } if ballot == newer => {
            Some((entries, done))
        }
        _ => None,
    });
    assert!(done);
    let told: Vec<_> =
        entries.iter().map(|entry| (entry.slot, entry.ballot, &entry.value)).collect();
    assert_eq!(told, [(Slot(1), older, &value)]);
}

#[test]
fn a_late_prepare_is_refused_and_told_why() {
    let mut stage = Stage::new();
    let (lower, higher) = (Ballot(1 << 8 | 1), Ballot(2 << 8 | 2));
    stage.send(1, &Message::Prepare { ballot: higher, attempt: 1, from: Slot(1) });
    stage.poll();
    stage.send(0, &Message::Prepare { ballot: lower, attempt: 1, from: Slot(1) });
    let nack = stage.await_message(0, |message| match message {
        Message::Nack { ballot, promised } => Some((ballot, promised)),
        _ => None,
    });
    assert_eq!(nack, (lower, higher));
    // Nobody may ask for promises at a ballot that is another member's.
    stage.send(0, &Message::Prepare { ballot: Ballot(9 << 8 | 2), attempt: 1, from: Slot(1) });
    stage.poll();
    assert_eq!(stage.replica.status().ballot, higher);
}

#[test]
fn a_promise_from_before_a_crash_is_not_counted_after_it() {
    let mut stage = Stage::new();
    let attempt = stage.await_message(0, |message| match message {
        Message::PreVote { attempt } => Some(attempt),
        _ => None,
    });
    let promised = Ballot::NONE;
    stage.send(0, &Message::PreVoteReply { attempt, granted: true, promised });
    let (ballot, attempt) = stage.await_message(0, |message| match message {
        Message::Prepare { ballot, attempt, .. } => Some((ballot, attempt)),
        _ => None,
    });
    // Node 2 promises, loses its memory, and asks for help; its promise arrives after that.
    stage.send(0, &Message::Recover { nonce: 5, life: 1 });
    stage.poll();
    let promise = |lives: [u32; 3]| Message::Promise {
        ballot,
        attempt,
        from: Slot(1),
        next: Slot(1),
        done: true,
        chosen: Slot::ZERO,
        lives: lives.to_vec(),
        entries: Vec::new(),
    };
    stage.send(0, &promise([0, 0, 0]));
    stage.poll();
    assert_eq!(stage.replica.status().role, RoleName::Candidate);
    assert_eq!(stage.replica.counters().promises_outlived, 1);
    // The promise of its new life counts.
    stage.send(0, &promise([0, 1, 0]));
    stage.poll();
    assert_eq!(stage.replica.status().role, RoleName::Leader);
}

#[test]
fn any_bytes_from_a_member_are_counted_and_change_nothing() {
    let mut stage = Stage::new();
    for len in 0..200_usize {
        let bytes: Vec<u8> = (0..len).map(|index| (index * 31 + len) as u8).collect();
        stage.others[0].try_send(NodeId(1), &bytes).expect("it fits");
    }
    stage.network.advance(Duration::from_millis(1));
    stage.poll();
    assert_eq!(stage.replica.counters().messages_malformed, 200);
    assert_eq!(stage.replica.status().ballot, Ballot::NONE);
}

/// Acknowledging to the leader of a lower ballot what was chosen at a higher one would vote for
/// whatever that leader holds in the same slots.
#[test]
fn whoever_learns_of_a_higher_ballot_promises_it_first() {
    let mut stage = Stage::new();
    let (older, newer) = (Ballot(1 << 8 | 1), Ballot(2 << 8 | 2));
    stage.send(0, &Message::Lead { ballot: older, chosen: Slot(1) });
    stage.poll();
    assert_eq!(stage.replica.status().ballot, older);
    // Its leader does not answer, so it asks node 3, which knows a newer ballot.
    let from = stage.await_message(1, |message| match message {
        Message::Fetch { from, .. } => Some(from),
        _ => None,
    });
    assert_eq!(from, Slot(1));
    let value = vec![1, 0, 0];
    let entries = vec![LogEntry { slot: Slot(1), ballot: newer, value }];
    let (burst_end, chosen) = (Slot(1), Slot(1));
    stage.send(1, &Message::Chosen { ballot: newer, burst_end, chosen, entries });
    stage.poll();
    let status = stage.replica.status();
    assert_eq!((status.ballot, status.applied), (newer, Slot(1)));
    assert_eq!(status.leader, Some(NodeId(3)));
}

//! What a user of one replica sees: refusals, errors, restarts, and what phase 1 fills in.

use std::time::Duration;

use electrode_multi_paxos::{
    ClientId, Event, LogEntry, LogStore, MemoryStore, Outcome, ProposeError, Replica,
    ReplicaConfig, ReplicaError, Request, StateMachine, StoreError,
};
use electrode_transport::memory::{MemoryEndpoint, MemoryNetwork, MemoryTransport};
use electrode_transport::{
    AckMode, Ballot, GroupConfig, GroupId, NodeId, QuorumRule, Slot, TransportCore, TransportError,
};

/// Every command ever applied, one after the other.
#[derive(Debug, Default)]
struct Journal(Vec<u8>);

impl StateMachine for Journal {
    fn apply(&mut self, command: &[u8]) -> Vec<u8> {
        self.0.extend_from_slice(command);
        self.0.clone()
    }

    fn query(&self, _query: &[u8]) -> Vec<u8> {
        self.0.clone()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        self.0 = state.to_vec();
        Ok(())
    }
}

type Member = Replica<MemoryTransport, MemoryStore, Journal>;

fn join(network: &MemoryNetwork, count: u8, mode: AckMode) -> (MemoryEndpoint, MemoryTransport) {
    let membership = network.membership(count, QuorumRule::Majority);
    let mut config = GroupConfig::new(GroupId(1), membership);
    config.mode = mode;
    let endpoint = network.endpoint(NodeId(1)).expect("a free address");
    let transport = endpoint.join(config).expect("a member");
    (endpoint, transport)
}

fn open(network: &MemoryNetwork, config: ReplicaConfig, store: &MemoryStore) -> Member {
    let (_, transport) = join(network, 1, AckMode::Persisted);
    let now = Duration::from_nanos(network.now().0);
    Replica::open(config, transport, store.clone(), Journal::default(), now).expect("it opens")
}

/// Lets time pass until the event is there.
fn await_event(network: &MemoryNetwork, replica: &mut Member) -> Event {
    for _ in 0..10_000 {
        if let Some(event) = replica.next_event() {
            return event;
        }
        network.advance(Duration::from_millis(1));
        replica.poll(Duration::from_nanos(network.now().0)).expect("nothing is broken");
    }
    panic!("no event within ten virtual seconds");
}

fn await_leader(network: &MemoryNetwork, replica: &mut Member) {
    for _ in 0..10_000 {
        if replica.status().role.is_leader() {
            return;
        }
        network.advance(Duration::from_millis(1));
        replica.poll(Duration::from_nanos(network.now().0)).expect("nothing is broken");
    }
    panic!("no leader within ten virtual seconds");
}

fn open_session(network: &MemoryNetwork, replica: &mut Member) -> ClientId {
    replica.open_session(1).expect("it leads");
    match await_event(network, replica) {
        Event::Opened { tag: 1, client } => client,
        other => panic!("{other:?}"),
    }
}

fn execute(
    network: &MemoryNetwork,
    replica: &mut Member,
    client: ClientId,
    sequence: u64,
    command: &[u8],
) -> Outcome {
    let request = Request { client, sequence, command: command.to_vec() };
    replica.propose(request).expect("it leads");
    match await_event(network, replica) {
        Event::Reply { outcome, .. } => outcome,
        other => panic!("{other:?}"),
    }
}

fn config() -> ReplicaConfig {
    ReplicaConfig::new(AckMode::Persisted, 7)
}

#[test]
fn a_restart_keeps_everything_and_repeats_nothing() {
    let network = MemoryNetwork::new(1);
    let store = MemoryStore::new();
    let mut settings = config();
    settings.snapshot_slots = 3;
    let mut replica = open(&network, settings.clone(), &store);
    await_leader(&network, &mut replica);
    let client = open_session(&network, &mut replica);
    for (sequence, command) in [b"a", b"b", b"c", b"d"].into_iter().enumerate() {
        execute(&network, &mut replica, client, sequence as u64 + 1, command);
    }
    assert!(replica.status().snapshot > Slot(0), "a snapshot was due");
    drop(replica);
    network.crash(MemoryNetwork::address(NodeId(1)));
    store.crash(0);
    let mut replica = open(&network, settings, &store);
    await_leader(&network, &mut replica);
    let done = |text: &[u8]| Outcome::Done(text.to_vec());
    assert_eq!(execute(&network, &mut replica, client, 4, b"d"), done(b"abcd"));
    assert_eq!(execute(&network, &mut replica, client, 5, b"e"), done(b"abcde"));
    assert_eq!(execute(&network, &mut replica, client, 1, b"a"), Outcome::Superseded);
}

#[test]
fn an_evicted_session_is_told_so_and_its_request_is_not_executed() {
    let network = MemoryNetwork::new(2);
    let mut settings = config();
    settings.sessions_max = 1;
    let mut replica = open(&network, settings, &MemoryStore::new());
    await_leader(&network, &mut replica);
    let first = open_session(&network, &mut replica);
    let second = open_session(&network, &mut replica);
    assert_eq!(execute(&network, &mut replica, first, 1, b"x"), Outcome::SessionExpired);
    assert_eq!(execute(&network, &mut replica, second, 1, b"y"), Outcome::Done(b"y".to_vec()));
    assert_eq!(replica.counters().sessions_evicted, 1);
}

#[test]
fn requests_that_cannot_be_taken_are_refused_by_name() {
    let network = MemoryNetwork::new(3);
    let mut settings = config();
    settings.requests_max = 1;
    let mut replica = open(&network, settings, &MemoryStore::new());
    let request = |sequence, len| Request { client: ClientId(1), sequence, command: vec![0; len] };
    assert_eq!(replica.propose(request(1, 1)), Err(ProposeError::NotLeader { leader: None }));
    await_leader(&network, &mut replica);
    let max = replica.command_len_max();
    let len = max + 1;
    assert_eq!(replica.propose(request(1, len)), Err(ProposeError::TooLarge { len, max }));
    assert_eq!(replica.propose(request(1, max)), Ok(()));
    assert_eq!(replica.propose(request(2, 1)), Err(ProposeError::Busy));
    replica.stop();
    assert_eq!(replica.propose(request(1, 1)), Err(ProposeError::Stopped));
    assert!(matches!(replica.poll(Duration::MAX), Err(ReplicaError::Stopped)));
}

#[test]
fn a_full_disk_stops_the_replica_and_acknowledges_nothing() {
    let network = MemoryNetwork::new(4);
    let store = MemoryStore::new();
    let mut replica = open(&network, config(), &store);
    await_leader(&network, &mut replica);
    let client = open_session(&network, &mut replica);
    store.set_full(true);
    let request = Request { client, sequence: 1, command: b"lost".to_vec() };
    replica.propose(request).expect("it leads");
    let failed = replica.poll(Duration::from_nanos(network.now().0));
    assert!(matches!(failed, Err(ReplicaError::Store(StoreError::Full { .. }))), "{failed:?}");
    let reply = replica.next_event();
    let told = matches!(reply, Some(Event::Reply { outcome: Outcome::NotLeader { .. }, .. }));
    assert!(told, "{reply:?}");
    assert!(matches!(replica.transport().acked(Ballot(1)), Err(TransportError::Closed)));
}

#[test]
fn a_new_leader_fills_holes_with_nothing_and_keeps_what_was_accepted() {
    let network = MemoryNetwork::new(5);
    let store = MemoryStore::new();
    let noop = [1, 0, 0].to_vec();
    let entry = LogEntry { slot: Slot(3), ballot: Ballot(1 << 8), value: noop };
    let mut writer = store.clone();
    writer.put(&[entry]).expect("room");
    writer.set_promise(Ballot(1 << 8)).expect("room");
    writer.sync().expect("room");
    let mut replica = open(&network, config(), &store);
    await_leader(&network, &mut replica);
    open_session(&network, &mut replica);
    let counters = replica.counters();
    assert_eq!((counters.holes_filled, counters.values_recovered), (2, 1));
    assert_eq!(replica.status().applied, Slot(5), "two holes, one value, the barrier, the session");
    assert!(replica.status().ballot > Ballot(1 << 8));
}

#[test]
fn constructors_hold_to_their_modes() {
    let network = MemoryNetwork::new(6);
    let received = ReplicaConfig::new(AckMode::Received, 1);
    let (_endpoint, transport) = join(&network, 1, AckMode::Received);
    let start = Duration::ZERO;
    let journal = Journal::default;
    let opened =
        Replica::open(received.clone(), transport.clone(), MemoryStore::new(), journal(), start);
    assert!(matches!(opened, Err(ReplicaError::Config { field: "mode", .. })));
    let mut used = MemoryStore::new();
    used.set_promise(Ballot(1 << 8)).expect("room");
    let booted = Replica::bootstrap(received.clone(), transport.clone(), used, journal(), start);
    assert!(matches!(booted, Err(ReplicaError::NotEmpty)));
    let alone =
        Replica::recover(received.clone(), transport.clone(), MemoryStore::new(), journal(), start);
    assert!(matches!(alone, Err(ReplicaError::Config { field: "mode", .. })));
    let wrong = ReplicaConfig { heartbeat: Duration::ZERO, ..received };
    let booted = Replica::bootstrap(wrong, transport, MemoryStore::new(), journal(), start);
    assert!(matches!(booted, Err(ReplicaError::Config { field: "heartbeat", .. })));
}

#[test]
fn a_transport_that_acknowledges_in_the_other_mode_is_refused() {
    let network = MemoryNetwork::new(6);
    let (_endpoint, transport) = join(&network, 1, AckMode::Received);
    let persisted = ReplicaConfig::new(AckMode::Persisted, 1);
    let (store, journal) = (MemoryStore::new(), Journal::default());
    let opened = Replica::open(persisted, transport, store, journal, Duration::ZERO);
    assert!(matches!(opened, Err(ReplicaError::Config { field: "mode", .. })));
}

#[test]
fn a_replica_without_memory_keeps_silent_until_a_quorum_answers() {
    let network = MemoryNetwork::new(7);
    let (_endpoint, transport) = join(&network, 3, AckMode::Received);
    let settings = ReplicaConfig::new(AckMode::Received, 1);
    let store = MemoryStore::new();
    let mut replica =
        Replica::recover(settings, transport, store.clone(), Journal::default(), Duration::ZERO)
            .expect("three members can recover one");
    for ms in 0..5_000 {
        network.advance(Duration::from_millis(1));
        replica.poll(Duration::from_millis(ms)).expect("nothing is broken");
    }
    assert_eq!(replica.counters().elections, 0);
    assert_eq!(store.promise(), Ballot::NONE);
    assert_eq!(replica.status().ballot, Ballot::NONE);
}

//! The simulated network as the author of a test sees it.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]
#![cfg(feature = "memory")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use electrode_transport::memory::{Faults, MemoryEndpoint, MemoryNetwork, MemoryTransport};
use electrode_transport::wire::{FrameKind, Header};
use electrode_transport::{
    AckMode, Ballot, ConfigError, Counter, Frame, GroupConfig, GroupId, Interest, LogBatch, NodeId,
    QuorumRule, QuorumTransport, Slot, TransportCore, TransportError,
};

const SECOND: Duration = Duration::from_secs(1);
const B: Ballot = Ballot(1);

struct Cluster {
    network: MemoryNetwork,
    endpoints: Vec<MemoryEndpoint>,
    nodes: Vec<MemoryTransport>,
}

fn at(node: u64) -> SocketAddr {
    MemoryNetwork::address(NodeId(node))
}

fn config(network: &MemoryNetwork, count: u8) -> GroupConfig {
    let mut config = GroupConfig::new(GroupId(1), network.membership(count, QuorumRule::Majority));
    config.mode = AckMode::Received;
    config.lease = 86_400 * SECOND;
    config
}

/// Nodes 1 to `count`; the first leads at ballot 1, the others follow.
fn cluster(seed: u64, count: u8) -> Cluster {
    let network = MemoryNetwork::new(seed);
    let config = config(&network, count);
    let endpoints: Vec<_> =
        (1..=u64::from(count)).map(|id| network.endpoint(NodeId(id)).unwrap()).collect();
    let nodes: Vec<_> =
        endpoints.iter().map(|endpoint| endpoint.join(config.clone()).unwrap()).collect();
    for (place, node) in nodes.iter().enumerate() {
        let token = node.fence(B).unwrap().token;
        match place {
            0 => node.lead(&token, Slot(1)).unwrap(),
            _ => node.follow(&token, NodeId(1), Slot(1)).unwrap(),
        }
    }
    Cluster { network, endpoints, nodes }
}

impl Cluster {
    fn broadcast(&self, slot: u64) {
        let body = slot.to_le_bytes();
        self.nodes[0].try_broadcast(B, &[Frame::single(Slot(slot), &body)]).unwrap();
    }

    fn reached(&self, slot: u64) -> bool {
        self.nodes[0].quorum(B).unwrap().through >= Slot(slot)
    }

    /// The slots that a member's log yields now.
    fn polled(&self, place: usize) -> Vec<u64> {
        let mut batch = LogBatch::default();
        self.nodes[place].try_poll_log(&mut batch).unwrap();
        batch.iter().map(|entry| entry.last.0).collect()
    }
}

/// A lossy run; returns the digest and the moment it ended.
fn lossy_run(seed: u64) -> (u64, u64) {
    let cluster = cluster(seed, 3);
    cluster.network.set_faults(Faults::lossy());
    for slot in 1..=40 {
        cluster.broadcast(slot);
        cluster.network.step();
    }
    assert!(cluster.network.run_until(60 * SECOND, || cluster.reached(40)), "seed {seed}");
    (cluster.network.digest(), cluster.network.now().0)
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_another() {
    let runs: Vec<_> = (0..20).map(lossy_run).collect();
    for (seed, run) in runs.iter().enumerate() {
        assert_eq!(lossy_run(seed as u64), *run, "seed {seed} did not repeat itself");
    }
    let mut digests: Vec<_> = runs.iter().map(|(digest, _)| digest).collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), runs.len(), "two seeds gave the same run");
}

#[test]
fn the_digest_tells_every_departure() {
    let cluster = cluster(1, 2);
    let mut seen = vec![cluster.network.digest()];
    cluster.broadcast(1);
    seen.push(cluster.network.digest());
    cluster.nodes[0].try_send(NodeId(2), b"a").unwrap();
    seen.push(cluster.network.digest());
    cluster.nodes[0].try_send(NodeId(2), b"b").unwrap();
    seen.push(cluster.network.digest());
    seen.dedup();
    assert_eq!(seen.len(), 4);
}

#[test]
fn a_crash_takes_the_memory_and_leaves_what_is_under_way() {
    let cluster = cluster(3, 3);
    cluster.broadcast(1);
    cluster.network.crash(at(1));
    assert!(matches!(cluster.nodes[0].quorum(B), Err(TransportError::Closed)));
    assert!(matches!(cluster.nodes[0].fence(Ballot(9)), Err(TransportError::Closed)));
    let rejoined = cluster.endpoints[0].join(config(&cluster.network, 3));
    assert!(matches!(rejoined, Err(TransportError::Closed)));
    cluster.network.advance(SECOND);
    assert_eq!(cluster.polled(1), [1], "what had left arrives");

    let again = cluster.network.endpoint(NodeId(1)).unwrap();
    let node = again.join(config(&cluster.network, 3)).unwrap();
    assert!(matches!(node.quorum(B), Err(TransportError::NotLeading { .. })), "nothing is known");
    drop(cluster.endpoints);
    node.try_send(NodeId(2), b"hello").unwrap();
    cluster.network.advance(SECOND);
    let mut body = Vec::new();
    assert_eq!(cluster.nodes[1].try_recv(&mut body).unwrap(), Some(NodeId(1)));
    assert_eq!(body, b"hello", "the end of the old life does not end the new one");
}

#[test]
fn an_address_has_one_life_at_a_time() {
    let cluster = cluster(4, 2);
    let second = cluster.network.endpoint(NodeId(2));
    assert!(
        matches!(second, Err(TransportError::AddressInUse { address, .. }) if address == at(2))
    );
    cluster.endpoints[1].close();
    drop(cluster.network.endpoint(NodeId(2)).unwrap());
    drop(cluster.network.endpoint(NodeId(2)).unwrap());
}

#[test]
fn a_group_is_open_once() {
    let cluster = cluster(5, 2);
    let config = config(&cluster.network, 2);
    let again = cluster.endpoints[1].join(config.clone());
    assert!(matches!(again, Err(TransportError::Config(ConfigError::GroupOpen { .. }))));
    cluster.nodes[1].close();
    cluster.nodes[1].close();
    let node = cluster.endpoints[1].join(config).unwrap();
    assert!(matches!(cluster.nodes[1].fence(B), Err(TransportError::Closed)), "another life");
    assert!(node.fence(B).is_ok());
}

#[test]
fn a_paused_node_finds_what_arrived_meanwhile() {
    let cluster = cluster(6, 3);
    cluster.network.advance(SECOND / 2);
    cluster.network.set_paused(at(2), true);
    cluster.network.set_paused(at(3), true);
    cluster.network.start_capture();
    cluster.broadcast(1);
    cluster.network.advance(SECOND / 10);
    assert!(!cluster.reached(1));
    let sent = cluster.network.take_capture();
    assert!(sent.iter().all(|datagram| datagram.from == at(1)), "a frozen node sends nothing");
    cluster.network.set_paused(at(3), false);
    assert!(cluster.network.run_until(SECOND / 10, || cluster.reached(1)));
    assert_eq!((cluster.polled(2), cluster.polled(1)), (vec![1], vec![]));
}

#[test]
fn a_paused_leader_does_not_retransmit() {
    let cluster = cluster(7, 3);
    cluster.network.run_until_quiet();
    cluster.network.partition(&[at(1), at(2), at(3)], &[at(1)]);
    cluster.broadcast(1);
    cluster.network.set_paused(at(1), true);
    cluster.network.start_capture();
    cluster.network.advance(10 * SECOND);
    assert!(cluster.network.take_capture().is_empty());
    cluster.network.set_paused(at(1), false);
    cluster.network.advance(SECOND);
    assert!(!cluster.network.take_capture().is_empty(), "its timers go on where they stood");
}

#[test]
fn a_partition_cuts_both_ways_and_heals() {
    let cluster = cluster(8, 3);
    cluster.network.advance(SECOND / 10);
    let all = [at(1), at(2), at(3)];
    cluster.network.partition(&all, &[at(1)]);
    cluster.broadcast(1);
    assert!(!cluster.network.run_until(SECOND / 2, || cluster.reached(1)));
    cluster.network.partition(&all, &[at(3)]);
    assert!(cluster.network.run_until(SECOND, || cluster.reached(1)));
    assert_eq!((cluster.polled(1), cluster.polled(2)), (vec![1], vec![]));
    cluster.network.heal();
    assert!(cluster.network.run_until(2 * SECOND, || cluster.polled(2) == [1]));
}

#[test]
fn a_cut_is_of_one_direction() {
    let cluster = cluster(9, 2);
    cluster.network.advance(SECOND / 10);
    cluster.network.set_cut(at(2), at(1), true);
    cluster.broadcast(1);
    assert!(!cluster.network.run_until(SECOND / 2, || cluster.reached(1)));
    assert_eq!(cluster.polled(1), [1], "the way there is open");
    cluster.network.set_cut(at(2), at(1), false);
    assert!(cluster.network.run_until(SECOND, || cluster.reached(1)));
}

#[test]
fn links_do_what_they_are_told() {
    let network = MemoryNetwork::new(10);
    let config = config(&network, 3);
    let nodes: Vec<_> = (1..=3)
        .map(|id| network.endpoint(NodeId(id)).unwrap().join(config.clone()).unwrap())
        .collect();
    let slow = Faults { delay_min: SECOND, delay_max: SECOND, ..Faults::default() };
    network.set_link_faults(at(1), at(2), Faults { duplication: 1.0, ..slow });
    network.set_link_faults(at(1), at(3), Faults { loss: 1.0, ..slow });
    let start = network.now();
    nodes[0].try_send(NodeId(2), b"twice").unwrap();
    nodes[0].try_send(NodeId(3), b"never").unwrap();
    assert!(network.step());
    assert_eq!(network.now(), start.after_ns(1_000_000_000));
    assert!(!network.step(), "nothing else is under way");
    let mut body = Vec::new();
    for expected in [Some(NodeId(1)), Some(NodeId(1)), None] {
        assert_eq!(nodes[1].try_recv(&mut body).unwrap(), expected);
    }
    assert_eq!(nodes[2].try_recv(&mut body).unwrap(), None);

    network.set_link_faults(at(1), at(2), Faults { reordering: 1.0, ..slow });
    nodes[0].try_send(NodeId(2), b"late").unwrap();
    let sent = network.now();
    assert!(network.step());
    assert_eq!(network.now(), sent.after_ns(11_000_000_000), "held back ten times the longest");
}

#[test]
fn what_is_injected_is_judged_like_anything_else() {
    let cluster = cluster(11, 3);
    cluster.network.run_until_quiet();
    cluster.network.start_capture();
    cluster.nodes[0].try_send(NodeId(2), b"hello").unwrap();
    let message = cluster.network.take_capture().remove(0);
    let count = |counter| cluster.endpoints[1].stats().count(counter);
    cluster.network.run_until_quiet();
    assert_eq!(count(Counter::RxMessage), 1);

    cluster.network.inject(at(9), at(2), &message.bytes);
    cluster.network.inject(at(3), at(2), &message.bytes);
    cluster.network.inject(at(1), at(2), &message.bytes);
    cluster.network.inject(at(1), at(2), b"noise");
    cluster.network.inject(at(1), at(9), b"to nobody");
    let now = cluster.network.now();
    assert!(cluster.network.step());
    assert_eq!(cluster.network.now(), now, "at once");
    assert_eq!(count(Counter::RxWrongAddress), 2);
    assert_eq!(count(Counter::RxMessage), 2, "a replay from the right address is a datagram");
    assert_eq!(count(Counter::RxTruncated), 1);
}

#[test]
fn a_capture_holds_each_datagram_as_it_left() {
    let cluster = cluster(12, 3);
    assert!(cluster.network.take_capture().is_empty(), "not asked for");
    cluster.network.run_until_quiet();
    cluster.network.start_capture();
    cluster.broadcast(1);
    let left = cluster.network.take_capture();
    let to: Vec<_> = left.iter().map(|datagram| datagram.to).collect();
    assert_eq!(to, [at(2), at(3)]);
    for datagram in &left {
        let (header, body) = Header::decode(&datagram.bytes).unwrap();
        assert_eq!((header.kind, header.first), (FrameKind::Accept, Slot(1)));
        assert_eq!(body, 1_u64.to_le_bytes());
        assert_eq!((datagram.from, datagram.at), (at(1), cluster.network.now()));
    }
    assert!(cluster.network.take_capture().is_empty(), "taken is taken");
}

#[test]
#[should_panic(expected = "nothing that can happen wakes it")]
fn waiting_for_what_cannot_happen_panics() {
    let network = MemoryNetwork::new(13);
    let node = network.endpoint(NodeId(1)).unwrap().join(config(&network, 1)).unwrap();
    let _ = network.block_on(node.recv());
}

#[test]
#[should_panic(expected = "nothing that can happen wakes it")]
fn waiting_for_absent_members_panics_after_a_virtual_hour() {
    let cluster = cluster(14, 3);
    cluster.network.crash(at(2));
    cluster.network.crash(at(3));
    cluster.broadcast(1);
    let _ = cluster.network.block_on(cluster.nodes[0].await_quorum(B, Slot(1)));
}

#[test]
fn a_lease_of_any_length_is_a_lease() {
    let network = MemoryNetwork::new(15);
    let config = GroupConfig { lease: Duration::MAX, ..config(&network, 2) };
    let join = |id| network.endpoint(NodeId(id)).unwrap().join(config.clone()).unwrap();
    let (leader, follower) = (join(1), join(2));
    leader.lead(&leader.fence(B).unwrap().token, Slot(1)).unwrap();
    follower.follow(&follower.fence(B).unwrap().token, NodeId(1), Slot(1)).unwrap();
    network.advance(Duration::from_secs(1_000_000));
    leader.try_broadcast(B, &[Frame::single(Slot(1), b"much later")]).unwrap();
    let stored = || leader.quorum(B).unwrap().through == Slot(1);
    assert!(network.run_until(SECOND, stored));
}

/// A task that owns a transport, as a spawned future does: when its waker goes, so does the handle.
struct Owner {
    held: Mutex<Option<MemoryTransport>>,
    woken: AtomicUsize,
}

impl Wake for Owner {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::Relaxed);
        let held = self.held.lock().unwrap().take();
        drop(held);
    }
}

/// Fails instead of hanging if `body` deadlocks.
fn bounded(body: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let thread = thread::spawn(move || {
        body();
        done.send(()).unwrap();
    });
    match finished.recv_timeout(Duration::from_secs(20)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("deadlock"),
        _ => thread.join().unwrap(),
    }
}

/// The last handle of a node may go wherever a waker goes: woken by a crash, by a closing, by an
/// arrival. None of that happens under the network's lock.
#[test]
fn handles_that_wakers_own_may_be_dropped_anywhere() {
    type End = fn(&MemoryNetwork, &MemoryTransport);
    let ends: [End; 5] = [
        |network, _| network.crash(at(1)),
        |network, _| network.crash(at(2)),
        |_, other| other.try_send(NodeId(2), b"wake up").unwrap(),
        |_, other| other.close(),
        |network, _| network.set_cut(at(1), at(2), true),
    ];
    for end in ends {
        bounded(move || {
            let cluster = cluster(16, 3);
            let Cluster { network, endpoints, mut nodes } = cluster;
            drop(endpoints);
            let (third, second) = (nodes.pop().unwrap(), nodes.pop().unwrap());
            let watched = [second.clone(), nodes[0].clone()];
            let owner =
                Arc::new(Owner { held: Mutex::new(Some(second)), woken: AtomicUsize::new(0) });
            let waker = Waker::from(Arc::clone(&owner));
            for node in watched {
                for interest in [Interest::Log, Interest::Message, Interest::Quorum] {
                    node.watch(interest, &waker).unwrap();
                }
            }
            drop(waker);
            end(&network, &third);
            nodes[0].close();
            drop(owner);
            network.advance(2 * SECOND);
            drop((nodes, third));
        });
    }
}

#[test]
fn threads_may_drop_handles_while_others_run_the_network() {
    bounded(|| {
        let cluster = cluster(17, 3);
        let network = cluster.network.clone();
        let runner = thread::spawn(move || {
            for _ in 0..2_000 {
                network.step();
            }
        });
        let opener = cluster.network.clone();
        let dropper = thread::spawn(move || {
            for round in 0..200 {
                let endpoint = opener.endpoint(NodeId(50 + round % 3)).unwrap();
                drop(endpoint);
            }
        });
        for slot in 1..=200 {
            cluster.broadcast(slot);
        }
        dropper.join().unwrap();
        runner.join().unwrap();
        let network = cluster.network.clone();
        assert!(network.run_until(60 * SECOND, || cluster.reached(200)));
    });
}

/// Dropping a future and asking again loses nothing; a second task is told too.
#[test]
fn futures_may_be_dropped() {
    let cluster = cluster(18, 3);
    cluster.broadcast(1);
    let mut cx = Context::from_waker(Waker::noop());
    {
        let mut waiting = cluster.nodes[0].await_quorum(B, Slot(1));
        assert!(matches!(waiting.as_mut().poll(&mut cx), Poll::Pending));
    }
    cluster.network.run_until_quiet();
    let mut waiting = cluster.nodes[0].await_quorum(B, Slot(1));
    assert!(matches!(waiting.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
}

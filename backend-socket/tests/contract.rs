//! The contract over real sockets, driven in every way that a library might.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

mod cluster;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use cluster::{BALLOT, Cluster, GROUP, config, drive_until, lead_and_follow, poll};
use electrode_backend_socket::SocketTransport;
use electrode_transport::{
    AckMode, Frame, LogBatch, NodeId, QuorumTransport, Slot, TransportCore, TransportError,
};

fn propose_and_check(nodes: &[SocketTransport]) {
    lead_and_follow(nodes);
    let bodies: Vec<_> = (1..=100u64).map(|slot| format!("entry {slot}")).collect();
    let frames: Vec<_> = bodies
        .iter()
        .zip(1..)
        .map(|(body, slot)| Frame::single(Slot(slot), body.as_bytes()))
        .collect();
    assert_eq!(nodes[0].try_broadcast(BALLOT, &frames).unwrap(), 100);
    drive_until(nodes, "a quorum", || nodes[0].quorum(BALLOT).unwrap().through == Slot(100));
    for follower in &nodes[1..] {
        let mut got = Vec::new();
        drive_until(nodes, "the log is there", || {
            got.extend(poll(follower));
            got.len() >= 100
        });
        let expected: Vec<_> = bodies
            .iter()
            .zip(1..)
            .map(|(body, slot)| (Slot(slot), body.clone().into_bytes()))
            .collect();
        assert_eq!(got, expected);
    }
}

#[test]
fn ipv4_proposals_reach_a_quorum_and_every_log() {
    propose_and_check(&Cluster::new(3).join(GROUP, AckMode::Received));
}

#[test]
fn ipv6_proposals_reach_a_quorum_and_every_log() {
    let cluster = Cluster::with(3, |node| config(node, Ipv6Addr::LOCALHOST.into()));
    propose_and_check(&cluster.join(GROUP, AckMode::Received));
}

#[test]
fn both_families_share_a_port() {
    let v4 = Cluster::with(1, |node| config(node, Ipv4Addr::UNSPECIFIED.into()));
    let mut v6 = config(2, Ipv6Addr::UNSPECIFIED.into());
    v6.bind.set_port(v4.endpoints[0].local_addr().port());
    electrode_backend_socket::SocketEndpoint::bind(v6, Default::default())
        .expect("an IPv6 endpoint takes IPv6 alone");
}

/// A follower's whole loop without a runtime, until the endpoint closes.
fn follow_until_closed(node: &SocketTransport) -> Vec<Slot> {
    let mut batch = LogBatch::default();
    let mut slots = Vec::new();
    while node.wait(Duration::from_secs(1)).is_ok() {
        while node.try_poll_log(&mut batch).is_ok_and(|count| count > 0) {
            slots.extend(batch.iter().map(|entry| entry.last));
            let through = batch.last_slot().unwrap();
            node.acknowledge(BALLOT, through).unwrap();
        }
    }
    slots
}

#[test]
fn threads_without_a_runtime_in_persisted_mode() {
    let cluster = Cluster::new(3);
    let nodes = cluster.join(GROUP, AckMode::Persisted);
    lead_and_follow(&nodes);
    let slots: Vec<_> = thread::scope(|scope| {
        let followers: Vec<_> =
            nodes[1..].iter().map(|node| scope.spawn(|| follow_until_closed(node))).collect();
        let leader = &nodes[0];
        for slot in (1..=500).map(Slot) {
            leader.try_broadcast(BALLOT, &[Frame::single(slot, b"body")]).unwrap();
            leader.acknowledge(BALLOT, slot).unwrap();
            while leader.quorum(BALLOT).unwrap().through < slot {
                leader.wait(Duration::from_secs(1)).unwrap();
            }
        }
        // Both followers, not only the faster one.
        let caught_up = || {
            let acked = leader.acked(BALLOT).unwrap();
            [2, 3].iter().all(|&node| acked.of(NodeId(node)).unwrap().acked == Slot(500))
        };
        while !caught_up() {
            leader.wait(Duration::from_secs(1)).unwrap();
        }
        cluster.endpoints[1..].iter().for_each(|endpoint| endpoint.close());
        followers.into_iter().map(|follower| follower.join().unwrap()).collect()
    });
    let all: Vec<_> = (1..=500).map(Slot).collect();
    assert_eq!(slots, [all.clone(), all]);
}

/// The async face, whoever runs it.
async fn propose_async(nodes: Vec<SocketTransport>) {
    lead_and_follow(&nodes);
    let lead = async |leader: &SocketTransport| {
        for slot in (1..=200).map(Slot) {
            leader.broadcast(BALLOT, &[Frame::single(slot, b"body")]).await.unwrap();
            let quorum = leader.await_quorum(BALLOT, slot).await.unwrap();
            assert!(quorum.through >= slot && quorum.voters.count() >= 2);
        }
        leader.confirm_leadership(BALLOT).await.unwrap();
    };
    let follow = async |follower: &SocketTransport| {
        let mut batch = LogBatch::default();
        let mut next = Slot(1);
        while next <= Slot(200) {
            follower.poll_log(&mut batch).await.unwrap();
            for entry in batch.iter() {
                assert_eq!((entry.first, entry.body), (next, &b"body"[..]));
                next = entry.last.next();
            }
        }
    };
    futures::join!(lead(&nodes[0]), follow(&nodes[1]), follow(&nodes[2]));
    nodes[1].send(NodeId(3), b"vote").await.unwrap();
    let message = nodes[2].recv().await.unwrap();
    assert_eq!((message.from, message.body.as_slice()), (NodeId(2), &b"vote"[..]));
}

#[tokio::test]
async fn tokio_on_one_thread() {
    propose_async(Cluster::new(3).join(GROUP, AckMode::Received)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokio_on_many_threads() {
    propose_async(Cluster::new(3).join(GROUP, AckMode::Received)).await;
}

#[test]
fn an_executor_without_a_reactor() {
    futures::executor::block_on(propose_async(Cluster::new(3).join(GROUP, AckMode::Received)));
}

#[test]
fn a_closed_endpoint_says_so_everywhere() {
    let cluster = Cluster::new(3);
    let nodes = cluster.join(GROUP, AckMode::Received);
    cluster.endpoints[0].close();
    cluster.endpoints[0].close();
    assert!(matches!(nodes[0].fence(BALLOT), Err(TransportError::Closed)));
    assert!(matches!(nodes[0].drive(), Err(TransportError::Closed)));
    assert!(matches!(nodes[0].wait(Duration::from_secs(9)), Err(TransportError::Closed)));
}

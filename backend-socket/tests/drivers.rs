//! Who drives while tasks sleep: threads, tasks, one after the other, and what ends with them.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

mod cluster;

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use cluster::{BALLOT, Cluster, GROUP, PATIENCE, drive_until, lead_and_follow};
use electrode_backend_socket::SocketTransport;
use electrode_transport::{
    AckMode, Counter, Frame, GroupId, Interest, LogBatch, NodeId, QuorumTransport, Slot,
    TransportCore, TransportError,
};
use futures::executor::block_on;
use tokio::runtime::{Builder, Runtime};

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// One message from the first node to the second, both driven by whatever runs this.
async fn exchange(nodes: &[SocketTransport], body: &[u8]) {
    nodes[0].send(nodes[1].node(), body).await.unwrap();
    let message = nodes[1].recv().await.unwrap();
    assert_eq!(message.body, body);
}

#[test]
fn a_runtime_ends_and_another_goes_on() {
    let nodes = Cluster::new(2).join(GROUP, AckMode::Received);
    let first = one_thread();
    first.block_on(exchange(&nodes, b"first"));
    drop(first);
    let second = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    second.block_on(exchange(&nodes, b"second"));
    drop(second);
    block_on(exchange(&nodes, b"a thread"));
    one_thread().block_on(exchange(&nodes, b"the thread still"));
}

#[test]
fn a_task_elsewhere_outlives_the_runtime_that_drove_for_it() {
    let nodes = Cluster::new(2).join(GROUP, AckMode::Received);
    let runtime = one_thread();
    // The runtime drives the receiver ...
    runtime.block_on(async { nodes[1].watch(Interest::Log, Waker::noop()) }).unwrap();
    thread::scope(|scope| {
        let receiver = scope.spawn(|| block_on(nodes[1].recv()).unwrap());
        // ... and ends, before or after the task elsewhere began to wait.
        drop(runtime);
        nodes[0].try_send(NodeId(2), b"late").unwrap();
        assert_eq!(receiver.join().unwrap().body, b"late");
    });
}

/// A timer that is set while the driver sleeps must wake it: here a retransmission into the void.
fn retransmits_by_itself(node: &SocketTransport, retransmitted: impl Fn()) {
    let token = node.fence(BALLOT).unwrap().token;
    node.lead(&token, Slot(1)).unwrap();
    node.try_broadcast(BALLOT, &[Frame::single(Slot(1), b"body")]).unwrap();
    let start = Instant::now();
    while node.stats().count(Counter::TxRetransmits) < 3 {
        assert!(start.elapsed() < PATIENCE, "{:?}", node.stats());
        retransmitted();
    }
}

#[test]
fn a_sleeping_driver_thread_hears_of_an_earlier_timer() {
    let nodes = Cluster::new(2).join(GROUP, AckMode::Received);
    nodes[0].watch(Interest::Message, Waker::noop()).unwrap();
    retransmits_by_itself(&nodes[0], || thread::sleep(Duration::from_millis(1)));
}

#[test]
fn a_sleeping_driver_task_hears_of_an_earlier_timer() {
    let nodes = Cluster::new(2).join(GROUP, AckMode::Received);
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async { nodes[0].watch(Interest::Message, Waker::noop()) }).unwrap();
    retransmits_by_itself(&nodes[0], || thread::sleep(Duration::from_millis(1)));
}

#[test]
fn a_thread_in_wait_hears_of_an_earlier_timer_and_of_the_end() {
    let cluster = Cluster::new(2);
    let nodes = cluster.join(GROUP, AckMode::Received);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| while nodes[0].wait(Duration::from_secs(3_600)).is_ok() {});
        retransmits_by_itself(&nodes[0], || thread::sleep(Duration::from_millis(1)));
        cluster.endpoints[0].close();
        waiter.join().unwrap();
    });
}

#[test]
fn closing_ends_every_pending_call() {
    let cluster = Cluster::new(3);
    let nodes = cluster.join(GROUP, AckMode::Persisted);
    let token = nodes[0].fence(BALLOT).unwrap().token;
    nodes[0].lead(&token, Slot(1)).unwrap();
    nodes[0].try_broadcast(BALLOT, &[Frame::single(Slot(1), b"body")]).unwrap();
    thread::scope(|scope| {
        let waiting = [
            scope.spawn(|| block_on(nodes[0].await_quorum(BALLOT, Slot(1))).map(drop)),
            scope.spawn(|| block_on(nodes[0].confirm_leadership(BALLOT))),
            scope.spawn(|| block_on(nodes[0].recv()).map(drop)),
            scope.spawn(|| block_on(nodes[0].poll_log(&mut LogBatch::default())).map(drop)),
        ];
        cluster.endpoints[0].close();
        for call in waiting {
            let ended = call.join().unwrap();
            assert!(matches!(ended, Err(TransportError::Closed)), "{ended:?}");
        }
    });
}

/// Polls a future once, finds it pending, and drops it.
fn start_and_drop<F: Future>(future: F) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(pin!(future).poll(&mut cx), Poll::Pending), "it had nothing to wait for");
}

#[test]
fn every_dropped_call_can_be_made_again_and_loses_nothing() {
    let cluster = Cluster::new(3);
    let mut config = cluster.group_config(GROUP, AckMode::Received);
    config.window_frames = 2;
    let nodes: Vec<_> =
        cluster.endpoints.iter().map(|endpoint| endpoint.join(config.clone()).unwrap()).collect();
    let (leader, follower) = (&nodes[0], &nodes[1]);
    let token = leader.fence(BALLOT).unwrap().token;
    leader.lead(&token, Slot(1)).unwrap();
    let frames: Vec<_> = (1..=3).map(|slot| Frame::single(Slot(slot), b"body")).collect();
    // Two fit the window; the third waits for a quorum that is not there yet.
    start_and_drop(leader.broadcast(BALLOT, &frames));
    assert_eq!(leader.acked(BALLOT).unwrap().sent, Slot(2), "a prefix was taken");
    start_and_drop(leader.await_quorum(BALLOT, Slot(2)));
    start_and_drop(leader.confirm_leadership(BALLOT));
    let mut batch = LogBatch::default();
    start_and_drop(follower.recv());
    {
        // Pending, or ready with the news of a ballot that it does not follow yet: there is no entry.
        let mut cx = Context::from_waker(Waker::noop());
        let polled = pin!(follower.poll_log(&mut batch)).poll(&mut cx);
        assert!(matches!(polled, Poll::Pending | Poll::Ready(Ok(0))), "{polled:?}");
    }

    let token = follower.fence(BALLOT).unwrap().token;
    follower.follow(&token, leader.node(), Slot(1)).unwrap();
    leader.try_send(follower.node(), b"word").unwrap();
    block_on(async {
        leader.broadcast(BALLOT, &frames[2..]).await.unwrap();
        assert!(leader.await_quorum(BALLOT, Slot(3)).await.unwrap().through >= Slot(3));
        leader.confirm_leadership(BALLOT).await.unwrap();
        assert_eq!(follower.recv().await.unwrap().body, b"word");
        let mut slots = Vec::new();
        while slots.len() < 3 {
            follower.poll_log(&mut batch).await.unwrap();
            slots.extend(batch.iter().map(|entry| entry.last));
        }
        assert_eq!(slots, [Slot(1), Slot(2), Slot(3)]);
    });
}

#[test]
fn a_full_window_pushes_back_and_an_awaited_broadcast_goes_on() {
    let cluster = Cluster::new(3);
    let mut config = cluster.group_config(GROUP, AckMode::Received);
    config.window_frames = 4;
    let nodes: Vec<_> =
        cluster.endpoints.iter().map(|endpoint| endpoint.join(config.clone()).unwrap()).collect();
    lead_and_follow(&nodes);
    let frames: Vec<_> = (1..=100).map(|slot| Frame::single(Slot(slot), b"body")).collect();
    assert_eq!(nodes[0].try_broadcast(BALLOT, &frames).unwrap(), 4);
    let refused = nodes[0].try_broadcast(BALLOT, &frames[4..]);
    assert!(matches!(refused, Err(TransportError::Backpressure)), "{refused:?}");
    assert_eq!(nodes[0].stats().count(Counter::TxBackpressure), 2);
    for node in &nodes[1..] {
        node.watch(Interest::Message, Waker::noop()).unwrap();
    }
    block_on(nodes[0].broadcast(BALLOT, &frames[4..])).unwrap();
    block_on(nodes[0].await_quorum(BALLOT, Slot(100))).unwrap();
}

#[test]
fn the_driver_does_not_renew_the_lease() {
    let cluster = Cluster::new(3);
    let mut config = cluster.group_config(GROUP, AckMode::Received);
    config.lease = Duration::from_millis(50);
    let nodes: Vec<_> =
        cluster.endpoints.iter().map(|endpoint| endpoint.join(config.clone()).unwrap()).collect();
    lead_and_follow(&nodes);
    // Somebody waits for messages on every node, so that all are driven; nobody polls a log.
    for node in &nodes {
        node.watch(Interest::Message, Waker::noop()).unwrap();
    }
    thread::sleep(2 * config.lease);
    nodes[0].try_broadcast(BALLOT, &[Frame::single(Slot(1), b"body")]).unwrap();
    let start = Instant::now();
    while nodes[1..].iter().any(|node| node.stats().count(Counter::RxLapsed) == 0) {
        assert!(start.elapsed() < PATIENCE, "{:?}", nodes[1].stats());
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(nodes[0].quorum(BALLOT).unwrap().through, Slot(0));
}

#[test]
fn many_groups_and_threads_share_an_endpoint() {
    const GROUPS: u32 = 16;
    let cluster = Cluster::new(3);
    let groups: Vec<_> =
        (1..=GROUPS).map(|group| cluster.join(GroupId(group), AckMode::Received)).collect();
    groups.iter().for_each(|nodes| lead_and_follow(nodes));
    thread::scope(|scope| {
        for nodes in &groups {
            scope.spawn(move || {
                for slot in (1..=100).map(Slot) {
                    block_on(async {
                        nodes[0].broadcast(BALLOT, &[Frame::single(slot, b"body")]).await.unwrap();
                    });
                    let reached = || nodes[0].quorum(BALLOT).unwrap().through >= slot;
                    drive_until(nodes, "a quorum", reached);
                }
            });
        }
    });
    for nodes in &groups {
        let mut slots = Vec::new();
        drive_until(nodes, "every entry is there", || {
            slots.extend(cluster::poll(&nodes[2]).into_iter().map(|(slot, _)| slot));
            slots.len() >= 100
        });
        assert!(slots.into_iter().eq((1..=100).map(Slot)));
    }
}

#[test]
fn a_runtime_without_io_or_timers_gets_a_thread() {
    for timers in [false, true] {
        let mut builder = Builder::new_current_thread();
        if timers {
            builder.enable_time();
        } else {
            builder.enable_io();
        }
        let nodes = Cluster::new(2).join(GROUP, AckMode::Received);
        builder.build().unwrap().block_on(exchange(&nodes, b"entry"));
    }
}

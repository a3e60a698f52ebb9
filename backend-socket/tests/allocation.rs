//! In steady state no message allocates: not on a plain thread, not under an executor.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

mod cluster;

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cluster::{BALLOT, Cluster, GROUP, lead_and_follow};
use electrode_backend_socket::SocketTransport;
use electrode_transport::{AckMode, Frame, LogBatch, NodeId, Slot, TransportCore};

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WARM_UP: u64 = 3_000;
const MEASURED: u64 = 3_000;

fn thread_round(
    nodes: &[SocketTransport],
    batches: &mut [LogBatch],
    slot: Slot,
    body: &mut Vec<u8>,
) {
    nodes[0].try_broadcast(BALLOT, &[Frame::single(slot, &[7; 64])]).unwrap();
    nodes[0].acknowledge(BALLOT, slot).unwrap();
    nodes[0].try_send(NodeId(2), b"message").unwrap();
    while nodes[0].quorum(BALLOT).unwrap().through < slot {
        for (node, batch) in nodes[1..].iter().zip(&mut *batches) {
            node.drive().unwrap();
            if node.try_poll_log(batch).unwrap() > 0 {
                node.acknowledge(BALLOT, batch.last_slot().unwrap()).unwrap();
            }
        }
        nodes[1].try_recv(body).unwrap();
        nodes[0].wait(Duration::from_micros(100)).unwrap();
    }
}

async fn async_round(nodes: &[SocketTransport], batches: &mut [LogBatch], slot: Slot) {
    let body = [7; 64];
    let frames = [Frame::single(slot, &body)];
    poll_fn(|cx| nodes[0].poll_broadcast(cx, BALLOT, &frames)).await.unwrap();
    nodes[0].acknowledge(BALLOT, slot).unwrap();
    for (node, batch) in nodes[1..].iter().zip(batches) {
        poll_fn(|cx| node.poll_log_ready(cx, batch)).await.unwrap();
        node.acknowledge(BALLOT, slot).unwrap();
    }
    poll_fn(|cx| nodes[0].poll_quorum(cx, BALLOT, slot)).await.unwrap();
}

/// Allocations during the second half of the slots.
fn measure(mut round: impl FnMut(Slot)) -> u64 {
    (1..=WARM_UP).map(Slot).for_each(&mut round);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (WARM_UP + 1..=WARM_UP + MEASURED).map(Slot).for_each(&mut round);
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// One test, so that no other allocates meanwhile.
#[test]
fn no_message_allocates() {
    let start = || {
        let nodes = Cluster::new(3).join(GROUP, AckMode::Persisted);
        lead_and_follow(&nodes);
        (nodes, [LogBatch::default(), LogBatch::default()])
    };
    let (nodes, mut batches) = start();
    let mut body = Vec::new();
    let counted = measure(|slot| thread_round(&nodes, &mut batches, slot, &mut body));
    assert_eq!(counted, 0, "on a plain thread, in {MEASURED} proposals");

    let (nodes, mut batches) = start();
    let counted =
        measure(|slot| futures::executor::block_on(async_round(&nodes, &mut batches, slot)));
    assert_eq!(counted, 0, "under an executor with the driver's threads, in {MEASURED} proposals");

    let (nodes, mut batches) = start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let counted = runtime.block_on(async {
        for slot in (1..=WARM_UP).map(Slot) {
            async_round(&nodes, &mut batches, slot).await;
        }
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for slot in (WARM_UP + 1..=WARM_UP + MEASURED).map(Slot) {
            async_round(&nodes, &mut batches, slot).await;
        }
        ALLOCATIONS.load(Ordering::Relaxed) - before
    });
    assert_eq!(counted, 0, "on tokio, in {MEASURED} proposals");
}

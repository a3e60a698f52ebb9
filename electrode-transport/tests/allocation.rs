//! Static generic use allocates nothing per message once its buffers have grown: a leader and two
//! followers over engines that hand each other their datagrams, under an allocator that counts.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use electrode_transport::engine::{Engine, GroupHandle, Host, LocalKeeper, Transmit};
use electrode_transport::wire::Key;
use electrode_transport::{
    AckMode, Ballot, Capabilities, ClusterId, EndpointConfig, Frame, GroupConfig, GroupId,
    Incarnation, LogBatch, Member, Membership, NodeId, QuorumRule, QuorumTransport, Result, Slot,
    Time,
};

/// The system's allocator, counting the allocations of the thread that asks.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is being torn down has no counter left, and none is asked for.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every method passes its arguments on to `System` unchanged and returns what it returns;
// counting touches only a thread-local cell without a destructor, which does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: `place` came from `alloc` or `realloc` above, and so from `System`.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: `place` came from `alloc` or `realloc` above, and so from `System`.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

/// An endpoint whose network is the test: what it sends stays in its outbox until it is carried.
#[derive(Debug)]
struct Loopback {
    node: NodeId,
    engine: Mutex<Engine>,
}

impl Host for Loopback {
    type Keeper = LocalKeeper;

    fn with<R>(&self, call: impl FnOnce(&mut Engine, Time) -> R) -> R {
        let mut engine = self.engine.lock().unwrap();
        let result = call(&mut engine, Time(1));
        let wakes = engine.take_wakes();
        drop(engine);
        wakes.wake();
        result
    }

    fn node(&self) -> NodeId {
        self.node
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn drive(&self) -> Result<()> {
        Ok(())
    }

    fn wait(&self, _: Duration) -> Result<()> {
        Ok(())
    }

    fn attend(&self) -> Result<()> {
        Ok(())
    }
}

fn address(node: u64) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 7_000 + node as u16))
}

struct Cluster {
    hosts: Vec<Arc<Loopback>>,
    handles: Vec<GroupHandle<Loopback>>,
}

impl Cluster {
    fn new(mode: AckMode, key: Option<Key>) -> Self {
        let members = (1..=3).map(|id| Member::voter(NodeId(id), address(id)));
        let membership = Membership::new(Incarnation(1), members, QuorumRule::Majority).unwrap();
        let mut group = GroupConfig::new(GroupId(1), membership);
        group.mode = mode;
        let open = |id| {
            let mut config = EndpointConfig::new(ClusterId(1), NodeId(id), address(id));
            config.key = key;
            let mut engine = Engine::new(config).unwrap();
            let key = engine.open(group.clone()).unwrap();
            let host = Arc::new(Loopback { node: NodeId(id), engine: Mutex::new(engine) });
            (Arc::clone(&host), GroupHandle::new(host, key))
        };
        let (hosts, handles) = (1..=3).map(open).unzip();
        Self { hosts, handles }
    }

    /// Carries every datagram to where it is addressed, until none is left.
    fn carry(&self) {
        let mut moved = true;
        while moved {
            moved = false;
            for host in &self.hosts {
                let mut sender = host.engine.lock().unwrap();
                let outbox = sender.outbox();
                for Transmit { to, bytes } in outbox.iter() {
                    let place = usize::from(to.port() - 7_001);
                    let mut receiver = self.hosts[place].engine.lock().unwrap();
                    receiver.handle_datagram(Time(1), address(host.node.0), bytes);
                    moved = true;
                }
                let count = outbox.len();
                outbox.advance(count);
                sender.flushed();
            }
            for host in &self.hosts {
                host.with(|_, _| ());
            }
        }
    }
}

struct Buffers {
    batch: LogBatch,
    body: Vec<u8>,
}

/// One round of everything that a library does per message, written over any transport.
fn round<T: QuorumTransport>(
    leader: &T,
    followers: &[T],
    slot: Slot,
    buffers: &mut Buffers,
    carry: &dyn Fn(),
) -> Result<()> {
    let ballot = Ballot(1);
    let mut cx = Context::from_waker(Waker::noop());
    let frames = [Frame::single(slot, &[7; 64]), Frame::single(slot.next(), &[8; 500])];
    let last = slot.next();
    let Poll::Ready(taken) = leader.poll_broadcast(&mut cx, ballot, &frames) else {
        panic!("the window has room");
    };
    assert_eq!(taken?, frames.len());
    assert!(leader.poll_quorum(&mut cx, ballot, last).is_pending());
    carry();
    for follower in followers {
        let Poll::Ready(count) = follower.poll_log_ready(&mut cx, &mut buffers.batch) else {
            panic!("the entries have arrived");
        };
        assert_eq!(count?, frames.len());
        assert_eq!(buffers.batch.iter().map(|entry| entry.body.len()).sum::<usize>(), 564);
        follower.acknowledge(ballot, last)?;
        assert!(follower.poll_log_ready(&mut cx, &mut buffers.batch).is_pending());
    }
    leader.acknowledge(ballot, last)?;
    carry();
    let Poll::Ready(quorum) = leader.poll_quorum(&mut cx, ballot, last) else {
        panic!("everybody has acknowledged");
    };
    assert_eq!(quorum?.through, last);
    leader.set_commit(ballot, last)?;
    assert_eq!(leader.acked(ballot)?.sent, last);

    let probe = leader.probe(ballot)?;
    leader.try_send(followers[0].node(), b"a message of the library's own")?;
    carry();
    assert!(leader.poll_confirmed(&mut cx, probe).is_ready());
    let Poll::Ready(from) = followers[0].poll_recv(&mut cx, &mut buffers.body) else {
        panic!("the message has arrived");
    };
    assert_eq!(from?, leader.node());
    Ok(())
}

fn allocations_of_a_steady_state(mode: AckMode, key: Option<Key>) -> u64 {
    let cluster = Cluster::new(mode, key);
    let ballot = Ballot(1);
    for (place, handle) in cluster.handles.iter().enumerate() {
        use electrode_transport::TransportCore;
        let token = handle.fence(ballot).unwrap().token;
        match place {
            0 => handle.lead(&token, Slot(1)).unwrap(),
            _ => handle.follow(&token, NodeId(1), Slot(1)).unwrap(),
        }
    }
    cluster.carry();
    let (leader, followers) = cluster.handles.split_first().unwrap();
    let mut buffers = Buffers { batch: LogBatch::default(), body: Vec::new() };
    let carry = || cluster.carry();
    let mut rounds = (0..).map(|number| Slot(1 + 2 * number));
    let mut run = |count| {
        for slot in rounds.by_ref().take(count) {
            round(leader, followers, slot, &mut buffers, &carry).unwrap();
        }
    };
    run(1_000);
    let before = allocations();
    run(1_000);
    allocations() - before
}

#[test]
fn nothing_is_allocated_per_message() {
    for mode in [AckMode::Received, AckMode::Persisted] {
        for key in [None, Some(Key([9; 16]))] {
            let count = allocations_of_a_steady_state(mode, key);
            assert_eq!(count, 0, "{count} allocations in 1,000 rounds, {mode:?}, key {key:?}");
        }
    }
}

#[test]
fn the_allocator_counts() {
    let before = allocations();
    drop(std::hint::black_box(vec![1_u8; 10]));
    assert_eq!(allocations() - before, 1);
}

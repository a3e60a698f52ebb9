//! Two CPUs accept for one group while a third thread fences, over and over (invariants 1, 2 and 8):
//! the real programs, rings and keeper, under the engine that users have.
//!
//! The moment that matters is short: a program has been let past the old fence and has not yet made its
//! record readable. `slow_submit` is a right program that lingers there; without it the test would
//! seldom come to that moment, with it nearly every fence does. A library that does not wait for
//! what is reserved, or that takes the rings as they come, must be noticed with it.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use aya::programs::{ProgramError, TestRun, TestRunOptions};
use electrode_ebpf_abi::{Endpoint, Tick, offload};
use electrode_transport::engine::{Engine, GroupHandle, Host};
use electrode_transport::wire::{DESTINATION_ALL, FrameKind, HEADER_LEN, Header};
use electrode_transport::{
    AckMode, Ballot, Capabilities, ClusterId, EndpointConfig, GroupConfig, GroupId, Incarnation,
    LogBatch, Member, MemberIndex, Membership, NodeId, QuorumRule, Result, Slot, Time,
    TransportCore,
};

use super::bench::{now, stay, tc, xdp};
use super::is_privileged;
use super::mutants::objects;
use super::packet::{Envelope, Spot, headers_len};
use crate::keeper::KernelKeeper;
use crate::kernel::load::{IN_TC, IN_XDP};
use crate::kernel::{Kernel, Settings};
use crate::shared::Shared;

const PORT: u16 = 7_400;
const GROUP: GroupId = GroupId(5);
const CLUSTER: ClusterId = ClusterId(9);
const FEEDERS: usize = 2;
const ROUNDS: u64 = 4_000;
const TIME_MAX: Duration = Duration::from_secs(20);

/// A host that only holds an engine, on the kernel's clock.
#[derive(Debug)]
struct Desk(Mutex<Engine<KernelKeeper>>);

impl Host for Desk {
    type Keeper = KernelKeeper;

    fn with<R>(&self, call: impl FnOnce(&mut Engine<KernelKeeper>, Time) -> R) -> R {
        call(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), now())
    }

    fn node(&self) -> NodeId {
        NodeId(1)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn drive(&self) -> Result<()> {
        Ok(())
    }

    fn wait(&self, _max: Duration) -> Result<()> {
        Ok(())
    }

    fn attend(&self) -> Result<()> {
        Ok(())
    }
}

fn address(member: u8) -> [u8; 4] {
    [10, 0, 0, member + 1]
}

fn spot(member: u8) -> Spot {
    let mut octets = [0; 16];
    octets[..4].copy_from_slice(&address(member));
    Spot { address: octets, port: PORT.to_be_bytes() }
}

fn load(object: Option<&[u8]>) -> Arc<Shared> {
    let endpoint = Endpoint {
        address: spot(0).address,
        port: spot(0).port,
        body_len_max: 1_380,
        ..Endpoint::default()
    };
    let settings =
        Settings { endpoint, offloads: offload::ALL, log_bytes: 1 << 20, notice_bytes: 1 << 16 };
    let loaded = match object {
        Some(object) => Kernel::load_object(object, &settings),
        None => Kernel::load(&settings),
    };
    let (mut kernel, rings) = loaded.expect("the programs load");
    kernel.load_xdp(IN_XDP).expect("the program loads");
    kernel.load_tc(IN_TC).expect("the program loads");
    Arc::new(Shared::new(kernel, rings).expect("a descriptor"))
}

fn member(shared: &Arc<Shared>) -> GroupHandle<Desk> {
    let member =
        |index: u8| Member::voter(NodeId(u64::from(index) + 1), (address(index), PORT).into());
    let membership = Membership::new(Incarnation(1), (0..3).map(member), QuorumRule::Majority)
        .expect("a fine membership");
    let mut config = GroupConfig::new(GROUP, membership);
    config.mode = AckMode::Received;
    config.log_bytes = 1 << 20;
    config.lease = Duration::from_secs(60);
    let endpoint = EndpointConfig::new(CLUSTER, NodeId(1), (address(0), PORT).into());
    let mut engine = Engine::new(endpoint).expect("a fine endpoint");
    let key = engine
        .open_with(config, |config, gate| KernelKeeper::open(shared, config, gate, |_| {}))
        .expect("the group opens");
    GroupHandle::new(Arc::new(Desk(Mutex::new(engine))), key)
}

fn body(ballot: u64, slot: u64) -> Vec<u8> {
    let len = (ballot * 31 + slot * 131) % 600;
    (0..len).map(|index| (index ^ slot ^ ballot) as u8).collect()
}

/// The leader's frame for a slot, as it comes off the wire.
fn packet(ballot: u64, slot: u64) -> Vec<u8> {
    let body = body(ballot, slot);
    let header = Header {
        kind: FrameKind::Accept,
        sender: MemberIndex(1),
        flags: 0,
        cluster: CLUSTER,
        incarnation: Incarnation(1),
        group: GROUP,
        ballot: Ballot(ballot),
        first: Slot(slot),
        last: Slot(slot),
        commit: Slot::ZERO,
        body_len: body.len() as u16,
        destination: DESTINATION_ALL,
        tag: 0,
    };
    let mut head = [0; HEADER_LEN];
    header.encode(&mut head);
    let (from, to) = (spot(1), spot(0));
    let envelope = Envelope {
        is_ipv6: false,
        macs: [2; 12],
        from,
        to,
        kept: [0; 5],
        hops: 64,
        is_sealed: true,
    };
    envelope.seal(&[&head[..], &body].concat())
}

/// What the fencer and the feeders tell each other.
struct Stage {
    shared: Arc<Shared>,
    /// The ballot at which frames are sent, and the slot that the follower expects.
    ballot: AtomicU64,
    next: AtomicU64,
    /// The highest ballot below which nothing may be acknowledged any more: `fence` has returned.
    fenced: AtomicU64,
    /// The highest slot that was acknowledged at the round's ballot.
    acknowledged: AtomicU64,
    /// Feeders that had an acknowledgement in this round: a bit each.
    heard: AtomicU64,
    /// What went wrong, in the feeders.
    wrong: Mutex<Vec<String>>,
    start: Barrier,
    end: Barrier,
}

/// One frame through the ingress program on this thread's CPU: the reply that it became.
fn feed(shared: &Shared, by_tc: bool, packet: &[u8], out: &mut [u8]) -> Option<Header> {
    const TX: u32 = 3;
    const REDIRECT: u32 = 7;
    let options =
        TestRunOptions { data_in: Some(packet), data_out: Some(out), ..TestRunOptions::new() };
    let ran: std::result::Result<_, ProgramError> = if by_tc {
        tc(&shared.kernel, IN_TC).and_then(|program| program.test_run(options))
    } else {
        xdp(&shared.kernel).and_then(|program| program.test_run(options))
    };
    let ran = ran.expect("the program runs");
    if ran.return_value != if by_tc { REDIRECT } else { TX } {
        return None;
    }
    let reply = out.get(headers_len(false)..ran.data_size_out as usize)?;
    Some(Header::decode(reply).expect("a reply is a frame").0)
}

/// The leader's frames, as they come in at one CPU, until the round's fence is up; then some more.
fn feeder(stage: &Stage, index: usize) {
    stay(index).expect("a thread can be bound to a CPU");
    let mut out = vec![0; 4_096];
    loop {
        stage.start.wait();
        let ballot = stage.ballot.load(Ordering::SeqCst);
        if ballot == 0 {
            return;
        }
        let by_tc = (ballot >> index) & 1 == 0;
        let (mut after, mut fed) = (0, 0_u32);
        while after < 4 {
            fed += 1;
            if fed.is_multiple_of(16) {
                // There are more threads than there need be CPUs: the fencer gets its turn.
                thread::yield_now();
            }
            let slot = stage.next.load(Ordering::Relaxed);
            let is_fenced = stage.fenced.load(Ordering::SeqCst) > ballot;
            after += usize::from(is_fenced);
            let packet = packet(ballot, slot);
            let Some(reply) = feed(&stage.shared, by_tc, &packet, &mut out) else { continue };
            if is_fenced || reply.kind != FrameKind::Accepted || reply.ballot.0 != ballot {
                let what = format!("fenced: {is_fenced}; ballot {ballot}, slot {slot}: {reply:?}");
                stage.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what);
            }
            stage.acknowledged.fetch_max(reply.last.0, Ordering::SeqCst);
            stage.next.fetch_max(reply.first.0, Ordering::SeqCst);
            stage.heard.fetch_or(1 << index, Ordering::Relaxed);
        }
        stage.end.wait();
    }
}

/// What a run came to.
#[derive(Debug, Default)]
struct Tally {
    rounds: u64,
    entries: u64,
    /// Rounds in which both CPUs acknowledged.
    shared_rounds: u64,
}

/// Takes entries into the caller's hands: they must be the next ones.
fn take(batch: &LogBatch, ballot: u64, held: &mut u64) -> std::result::Result<u64, String> {
    for entry in batch.iter() {
        let (slot, at) = (entry.first.0, entry.ballot.0);
        if slot != *held + 1 || entry.last.0 != slot || at != ballot {
            return Err(format!("after slot {held} of ballot {ballot} came {slot} of ballot {at}"));
        }
        if entry.body != body(ballot, slot) {
            return Err(format!("slot {slot} of ballot {ballot} holds other bytes"));
        }
        *held = slot;
    }
    Ok(batch.len() as u64)
}

/// The rounds: arm, let the feeders feed, poll at times, fence, and hold what was acknowledged against
/// what is in the caller's hands.
fn fence_over_and_over(
    stage: &Stage,
    handle: &GroupHandle<Desk>,
) -> std::result::Result<Tally, String> {
    let text = |error: electrode_transport::TransportError| error.to_string();
    let (mut tally, mut held) = (Tally::default(), 0);
    let mut token = handle.fence(Ballot(1)).map_err(text)?.token;
    let started = Instant::now();
    for ballot in 1..=ROUNDS {
        if started.elapsed() > TIME_MAX {
            break;
        }
        handle.follow(&token, NodeId(2), Slot(held + 1)).map_err(text)?;
        stage.next.store(held + 1, Ordering::SeqCst);
        stage.acknowledged.store(held, Ordering::SeqCst);
        stage.heard.store(0, Ordering::Relaxed);
        stage.ballot.store(ballot, Ordering::SeqCst);
        stage.start.wait();
        let round = run_round(stage, handle, ballot, &mut held, &mut tally.entries);
        // Whatever came of it, the feeders are let go.
        stage.fenced.store(ballot + 1, Ordering::SeqCst);
        stage.end.wait();
        token = round?;
        let acknowledged = stage.acknowledged.load(Ordering::SeqCst);
        if acknowledged > held {
            return Err(format!("{acknowledged} was acknowledged, the fence handed over {held}"));
        }
        let mut late = LogBatch::with_limits(usize::MAX, usize::MAX);
        if handle.try_poll_log(&mut late).map_err(text)? != 0 {
            return Err(format!("ballot {ballot}: entries came after the fence"));
        }
        if let Some(what) = stage.wrong.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Err(format!("acknowledged after the fence: {what}"));
        }
        tally.rounds += 1;
        let all = (1 << FEEDERS) - 1;
        tally.shared_rounds += u64::from(stage.heard.load(Ordering::Relaxed) == all);
    }
    Ok(tally)
}

/// One round up to its fence. Gives the new token.
fn run_round(
    stage: &Stage,
    handle: &GroupHandle<Desk>,
    ballot: u64,
    held: &mut u64,
    entries: &mut u64,
) -> std::result::Result<electrode_transport::FenceToken, String> {
    let text = |error: electrode_transport::TransportError| error.to_string();
    let mut batch = LogBatch::with_limits(7, usize::MAX);
    // Until something was acknowledged, and then for a while that differs from round to round.
    let patience = Instant::now() + Duration::from_secs(5);
    while stage.heard.load(Ordering::Relaxed) == 0 && Instant::now() < patience {
        thread::yield_now();
    }
    let end = Instant::now() + Duration::from_micros(ballot * 7 % 150);
    while Instant::now() < end {
        if ballot.is_multiple_of(3) {
            handle.try_poll_log(&mut batch).map_err(text)?;
            *entries += take(&batch, ballot, held)?;
        }
        std::hint::spin_loop();
    }
    let fenced = handle.fence(Ballot(ballot + 1)).map_err(text)?;
    stage.fenced.store(ballot + 1, Ordering::SeqCst);
    *entries += take(&fenced.entries, ballot, held)?;
    Ok(fenced.token)
}

/// How user space is wrong on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Haste {
    None,
    /// A fence does not wait for what is still being written.
    WaitsForNothing,
    /// Records are taken as the rings give them, not by their numbers.
    IgnoresOrder,
}

/// A race of feeders and a fencer, with the committed object or another, as `haste` has user space.
fn race(object: Option<&[u8]>, haste: Haste) -> std::result::Result<Tally, String> {
    let shared = load(object);
    let handle = member(&shared);
    let mut state = shared.state();
    state.is_hasty = haste == Haste::WaitsForNothing;
    for place in state.places.values_mut() {
        place.log.set_unordered(haste == Haste::IgnoresOrder);
    }
    drop(state);
    let stage = Stage {
        shared: Arc::clone(&shared),
        ballot: AtomicU64::new(0),
        next: AtomicU64::new(1),
        fenced: AtomicU64::new(0),
        acknowledged: AtomicU64::new(0),
        heard: AtomicU64::new(0),
        wrong: Mutex::default(),
        start: Barrier::new(FEEDERS + 1),
        end: Barrier::new(FEEDERS + 1),
    };
    let tally = thread::scope(|scope| {
        for index in 0..FEEDERS {
            let stage = &stage;
            scope.spawn(move || feeder(stage, index));
        }
        let tally = fence_over_and_over(&stage, &handle);
        stage.ballot.store(0, Ordering::SeqCst);
        stage.start.wait();
        tally
    })?;
    let stored = shared.kernel.ticks().map_err(|error| error.to_string())?[Tick::Stored as usize];
    if stored != tally.entries {
        return Err(format!("{stored} were stored, {} handed over", tally.entries));
    }
    Ok(tally)
}

fn has_two_cpus() -> bool {
    let count = thread::available_parallelism().map_or(1, usize::from);
    assert!(count >= FEEDERS || !super::is_required(), "the race needs two CPUs");
    if count < FEEDERS {
        eprintln!("LEFT OUT: the race needs two CPUs");
    }
    count >= FEEDERS
}

#[test]
fn a_fence_while_two_cpus_accept() {
    if !is_privileged("fences while two CPUs accept") || !has_two_cpus() {
        return;
    }
    let tally = race(None, Haste::None).unwrap_or_else(|what| panic!("{what}"));
    println!("{tally:?}");
    assert!(tally.rounds >= 1_000, "too few rounds to say anything: {tally:?}");
    assert!(tally.shared_rounds >= tally.rounds / 4, "one CPU acknowledged alone: {tally:?}");
}

#[test]
fn a_fence_waits_for_what_is_being_written() {
    if !is_privileged("fences while programs linger") || !has_two_cpus() {
        return;
    }
    let Some(folder) = objects() else { return };
    let path = folder.join("slow_submit.o");
    let object = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let tally = race(Some(&object), Haste::None).unwrap_or_else(|what| panic!("{what}"));
    println!("{tally:?}");
    for haste in [Haste::WaitsForNothing, Haste::IgnoresOrder] {
        let noticed = race(Some(&object), haste).expect_err("the haste must be noticed");
        println!("{haste:?}: {noticed}");
    }
}

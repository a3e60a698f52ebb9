//! The kernel's keeper beside the local one: the same calls and datagrams, and the same answers,
//! entries and datagrams out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use electrode_ebpf_abi::Endpoint;
use electrode_transport::engine::{Engine, GroupHandle, Host, Keeper, LocalKeeper};
use electrode_transport::wire::{DESTINATION_ALL, FrameKind, HEADER_LEN, Header};
use electrode_transport::{
    AckMode, Ballot, Capabilities, ClusterId, EndpointConfig, FenceToken, Frame, GroupConfig,
    GroupId, Incarnation, LogBatch, Member, MemberIndex, Membership, NodeId, QuorumRule, Slot,
    Time, TransportCore,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::KernelKeeper;
use crate::kernel::{Kernel, Settings};
use crate::privileged::is_privileged;
use crate::shared::Shared;

/// A host that only holds an engine: datagrams stay in its outbox.
#[derive(Debug)]
struct Bench<K: Keeper> {
    engine: Mutex<Engine<K>>,
    now: Mutex<u64>,
}

impl<K: Keeper> Host for Bench<K> {
    type Keeper = K;

    fn with<R>(&self, call: impl FnOnce(&mut Engine<K>, Time) -> R) -> R {
        let now = Time(*self.now.lock().unwrap_or_else(PoisonError::into_inner));
        call(&mut self.engine.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    fn node(&self) -> NodeId {
        NodeId(1)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn drive(&self) -> electrode_transport::Result<()> {
        Ok(())
    }

    fn wait(&self, _max: Duration) -> electrode_transport::Result<()> {
        Ok(())
    }

    fn attend(&self) -> electrode_transport::Result<()> {
        Ok(())
    }
}

const MEMBERS: u8 = 5;
const GROUP: GroupId = GroupId(77);
const LOG_BYTES: usize = 2_048;

fn address(member: u8) -> std::net::SocketAddr {
    std::net::SocketAddr::from(([10, 0, 0, member + 1], 7_400))
}

fn membership(incarnation: u32, members: &[u8]) -> Membership {
    let members: Vec<_> = members
        .iter()
        .map(|&member| Member::voter(NodeId(u64::from(member) + 1), address(member)))
        .collect();
    Membership::new(Incarnation(incarnation), members, QuorumRule::Majority)
        .expect("a fine membership")
}

fn config(mode: AckMode) -> GroupConfig {
    let mut config = GroupConfig::new(GROUP, membership(1, &[0, 1, 2, 3, 4]));
    config.mode = mode;
    config.log_bytes = LOG_BYTES;
    config.lease = Duration::from_nanos(5_000_000);
    config.window_frames = 16;
    config
}

fn endpoint_config() -> EndpointConfig {
    EndpointConfig::new(ClusterId(9), NodeId(1), address(0))
}

/// One engine with its handle, and how to know it in a failure.
struct Side<K: Keeper> {
    host: Arc<Bench<K>>,
    handle: GroupHandle<Bench<K>>,
    token: Option<FenceToken>,
}

impl<K: Keeper> Side<K> {
    fn new(
        mode: AckMode,
        keeper: impl FnOnce(
            &GroupConfig,
            electrode_transport::rules::Gate,
        ) -> electrode_transport::Result<K>,
    ) -> Self {
        let mut engine = Engine::new(endpoint_config()).expect("a fine endpoint");
        let key = engine.open_with(config(mode), keeper).expect("the group opens");
        let host = Arc::new(Bench { engine: Mutex::new(engine), now: Mutex::new(1) });
        let handle = GroupHandle::new(Arc::clone(&host), key);
        Self { host, handle, token: None }
    }

    /// Does a step and describes everything that can be seen of it.
    fn step(&mut self, step: &Step) -> String {
        let handle = &self.handle;
        let said = match step {
            Step::Pass(time) => {
                *self.host.now.lock().unwrap_or_else(PoisonError::into_inner) += time;
                self.host.with(|engine, now| engine.handle_timeout(now));
                String::new()
            }
            Step::Fence(ballot) => match handle.fence(Ballot(*ballot)) {
                Ok(fenced) => {
                    let entries = describe(&fenced.entries);
                    self.token = Some(fenced.token);
                    entries
                }
                Err(error) => error.to_string(),
            },
            Step::Lead(next) => match &self.token {
                Some(token) => format!("{:?}", handle.lead(token, Slot(*next)).map_err(text)),
                None => String::new(),
            },
            Step::Follow(leader, next) => match &self.token {
                Some(token) => {
                    let leader = NodeId(u64::from(*leader) + 1);
                    format!("{:?}", handle.follow(token, leader, Slot(*next)).map_err(text))
                }
                None => String::new(),
            },
            Step::Resign(ballot) => format!("{:?}", handle.resign(Ballot(*ballot)).map_err(text)),
            Step::Broadcast(ballot, first, len) => {
                let body = vec![*len as u8; *len];
                let frame = Frame::single(Slot(*first), &body);
                format!("{:?}", handle.try_broadcast(Ballot(*ballot), &[frame]).map_err(text))
            }
            Step::Acknowledge(ballot, slot) => {
                format!("{:?}", handle.acknowledge(Ballot(*ballot), Slot(*slot)).map_err(text))
            }
            Step::Probe(ballot) => format!("{:?}", handle.probe(Ballot(*ballot)).map_err(text)),
            Step::Poll(entries) => {
                let mut batch = LogBatch::with_limits(*entries, usize::MAX);
                let polled = handle.try_poll_log(&mut batch);
                format!("{polled:?} {} {:?}", describe(&batch), batch.status())
            }
            Step::Datagram(from, bytes) => {
                self.host.with(|engine, now| engine.handle_datagram(now, address(*from), bytes));
                String::new()
            }
            Step::Reconfigure(incarnation, members) => {
                let membership = membership(*incarnation, members);
                format!("{:?}", handle.reconfigure(membership).map_err(text))
            }
        };
        format!("{said}\n{}", self.observe(step))
    }

    fn observe(&self, step: &Step) -> String {
        let ballot = Ballot(step.ballot());
        let quorum = self.handle.quorum(ballot).map_err(text);
        let acked = self.handle.acked(ballot).map_err(text);
        let sent = self.host.with(|engine, _| {
            let sent: Vec<String> = engine
                .outbox()
                .iter()
                .filter(|datagram| !is_sent_by_timers(datagram.bytes))
                .map(|datagram| format!("{} {:02x?}", datagram.to, datagram.bytes))
                .collect();
            let count = engine.outbox().len();
            engine.outbox().advance(count);
            sent.join("\n")
        });
        let stats = self.handle.stats();
        let received: Vec<_> =
            stats.iter().filter(|(counter, _)| counter.name().starts_with("rx_")).collect();
        format!("{quorum:?}\n{acked:?}\n{received:?}\n{sent}")
    }
}

/// Accept frames and probes are also sent again by timers, and a leader whose kernel hears the answers
/// takes in what it heard when a timer comes: the moments may differ.
fn is_sent_by_timers(datagram: &[u8]) -> bool {
    matches!(datagram.get(5), Some(&kind) if kind == FrameKind::Accept as u8 || kind == FrameKind::Probe as u8)
}

fn text(error: electrode_transport::TransportError) -> String {
    error.to_string()
}

fn describe(batch: &LogBatch) -> String {
    batch
        .iter()
        .map(|entry| format!("{}@{}..{}:{:?} ", entry.ballot, entry.first, entry.last, entry.body))
        .collect()
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Fence(u64),
    Lead(u64),
    Follow(u8, u64),
    Resign(u64),
    Broadcast(u64, u64, usize),
    Acknowledge(u64, u64),
    Probe(u64),
    Poll(usize),
    Datagram(u8, Vec<u8>),
    Reconfigure(u32, Vec<u8>),
}

impl Step {
    /// The ballot to look at afterwards.
    fn ballot(&self) -> u64 {
        match self {
            Self::Fence(ballot)
            | Self::Resign(ballot)
            | Self::Broadcast(ballot, ..)
            | Self::Acknowledge(ballot, _)
            | Self::Probe(ballot) => *ballot,
            Self::Datagram(_, bytes) => bytes
                .get(24..32)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u64::from_le_bytes),
            _ => 0,
        }
    }
}

/// What the steps are drawn around, so that most of them mean something.
struct Script {
    dice: ChaCha8Rng,
    ballot: u64,
    slot: u64,
    incarnation: u32,
    members: Vec<u8>,
}

impl Script {
    fn near(&mut self, number: u64, by: u64) -> u64 {
        (number + self.dice.random_range(0..=2 * by)).saturating_sub(by)
    }

    fn next(&mut self) -> Step {
        let (ballot, slot) = (self.ballot, self.slot);
        match self.dice.random_range(0..100) {
            0..8 => Step::Pass(self.dice.random_range(0..3_000_000)),
            8..12 => {
                self.ballot = self.near(ballot + 1, 1).max(1);
                Step::Fence(self.ballot)
            }
            12..16 => {
                self.slot = self.near(slot, 2);
                Step::Lead(self.slot)
            }
            16..22 => {
                self.slot = self.near(slot, 2);
                Step::Follow(self.dice.random_range(0..MEMBERS), self.slot)
            }
            22..23 => Step::Resign(ballot),
            23..38 => {
                self.slot = slot + 1;
                Step::Broadcast(ballot, slot, self.dice.random_range(0..300))
            }
            38..45 => {
                let slot = self.near(slot, 3);
                Step::Acknowledge(ballot, slot)
            }
            45..48 => Step::Probe(ballot),
            48..60 => Step::Poll(self.dice.random_range(1..20)),
            60..61 => {
                self.incarnation += 1;
                self.members = (0..MEMBERS).filter(|_| self.dice.random_bool(0.8)).collect();
                if !self.members.contains(&0) {
                    self.members.insert(0, 0);
                }
                Step::Reconfigure(self.incarnation, self.members.clone())
            }
            _ => self.datagram(),
        }
    }

    fn datagram(&mut self) -> Step {
        let from = self.dice.random_range(1..MEMBERS);
        let index = self.members.iter().position(|&member| member == from).unwrap_or(0) as u8;
        let ballot =
            if self.dice.random_bool(0.8) { self.ballot } else { self.near(self.ballot, 2) };
        let slot = self.near(self.slot, 2).max(1);
        let (kind, slots, len) = match self.dice.random_range(0..10) {
            0..5 => {
                let last = slot + u64::from(self.dice.random_bool(0.2));
                self.slot = last + 1;
                (FrameKind::Accept, [slot, last, slot / 2], self.dice.random_range(0..300))
            }
            5..8 => (FrameKind::Accepted, [slot, slot - 1, 0], 0),
            8 => (FrameKind::Probe, [slot, 0, slot / 2], 0),
            _ => (FrameKind::ProbeAck, [self.dice.random_range(0..4), slot - 1, slot], 0),
        };
        let [first, last, commit] = slots.map(Slot);
        let header = Header {
            kind,
            sender: MemberIndex(index),
            flags: 0,
            cluster: ClusterId(9),
            incarnation: Incarnation(self.incarnation),
            group: GROUP,
            ballot: Ballot(ballot.max(1)),
            first,
            last,
            commit,
            body_len: len,
            destination: DESTINATION_ALL,
            tag: 0,
        };
        let mut head = [0; HEADER_LEN];
        header.encode(&mut head);
        let mut bytes = head.to_vec();
        bytes.extend((0..len).map(|index| (index as u64 ^ slot) as u8));
        Step::Datagram(from, bytes)
    }
}

fn shared() -> Arc<Shared> {
    let settings = Settings {
        endpoint: Endpoint { body_len_max: 1_380, ..Endpoint::default() },
        offloads: 0,
        log_bytes: 1 << 20,
        notice_bytes: 1 << 16,
    };
    let (kernel, rings) = Kernel::load(&settings).expect("the programs load");
    Arc::new(Shared::new(kernel, rings).expect("a descriptor"))
}

#[test]
fn the_kernels_keeper_does_as_the_local_one() {
    if !is_privileged("the keeper's comparison") {
        return;
    }
    let shared = shared();
    for seed in 0..2_000 {
        let mode = if seed % 2 == 0 { AckMode::Received } else { AckMode::Persisted };
        let mut local =
            Side::new(mode, |config, _| Ok(LocalKeeper::new(config.mode, config.log_bytes)));
        let mut kernel =
            Side::new(mode, |config, gate| KernelKeeper::open(&shared, config, gate, |_| {}));
        let mut script = Script {
            dice: ChaCha8Rng::seed_from_u64(seed),
            ballot: 1,
            slot: 1,
            incarnation: 1,
            members: (0..MEMBERS).collect(),
        };
        for number in 0..250 {
            let step = script.next();
            let (expected, found) = (local.step(&step), kernel.step(&step));
            assert_eq!(found, expected, "seed {seed}, step {number}: {step:?}");
        }
    }
    assert!(!shared.is_broken(), "every command was run");
    assert!(shared.state().places.is_empty(), "every group has left its place");
}

#[test]
fn closing_a_place_twice_leaves_its_old_group_alone() {
    if !is_privileged("closing a place twice") {
        return;
    }
    let shared = shared();
    let kernel = &shared.kernel;
    let opening = electrode_ebpf_abi::Opening {
        id: GROUP.0,
        mode: AckMode::Received as u32,
        log_limit: 1 << 20,
        seating: electrode_ebpf_abi::Seating {
            gate: electrode_transport::rules::Gate {
                cluster: ClusterId(9),
                incarnation: Incarnation(1),
                own: MemberIndex(0),
                members: 1,
                keyed: 0,
                reserved: 0,
            },
            voters: electrode_transport::rules::Voters::default(),
            change: electrode_ebpf_abi::seat::MEMBERSHIP,
            leader: electrode_ebpf_abi::NOBODY,
            carrier: electrode_ebpf_abi::NOBODY,
            reserved: 0,
            copies: 0,
            peers: [electrode_ebpf_abi::Peer::default(); 32],
        },
    };
    let found = || {
        let map = kernel.ebpf.map("el_places").expect("the map of places");
        let map: aya::maps::HashMap<_, u32, u32> = map.try_into().expect("a hash of words");
        map.get(&GROUP.0, 0).ok()
    };
    assert_eq!(kernel.open(3, &opening).expect("it opens"), 1);
    assert_eq!(kernel.close_group(3).expect("it closes"), 1);
    assert_eq!(found(), None);
    assert_eq!(kernel.open(4, &opening).expect("it opens elsewhere"), 1);
    assert_eq!(kernel.close_group(3).expect("a second time"), 1);
    assert_eq!(found(), Some(4), "the group is open at its new place");
    assert_eq!(kernel.close_group(4).expect("it closes"), 1);
    assert_eq!(found(), None);
}

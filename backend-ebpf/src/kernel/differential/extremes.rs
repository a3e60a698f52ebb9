//! Frames at the edges, one story a row: each field of the header where arithmetic ends and around its
//! limits, and packets that are not ours. Each by both hooks, against the model.

use std::mem::take as empty;

use electrode_ebpf_abi::{Command, NOBODY, Op, Opening, Peer, Seating, seat};
use electrode_transport::rules::{Gate, VoterSet, Voters};
use electrode_transport::wire::{
    BODY_LEN_MAX, DESTINATION_ALL, FrameKind, HEADER_LEN, Header, SLOTS_PER_FRAME_MAX, tag_frame,
};
use electrode_transport::{
    AckMode, Ballot, ClusterId, GroupId, Incarnation, MemberIndex, MemberSet, Slot,
};

use super::bench::Bench;
use super::compare::take;
use super::draw::options;
use super::loads::{KEYED, Load, PLAIN, SIX};
use super::model::{Bytes, Hook, Model, Order, Seen, Step};
use super::packet::{Envelope, Spot};
use super::{is_privileged, thread};

const CLUSTER: ClusterId = ClusterId(0x0102_0304_0506_0708);
const INCARNATION: Incarnation = Incarnation(7);
const BALLOT: Ballot = Ballot(5);
/// What is stored, and what was sent.
const SLOT: u64 = 100;
const MEMBERS: u8 = 3;
const BODY: [u8; 100] = [0x5a; 100];
/// The place that follows member 0 as member 1, and the one that leads as member 1.
const FOLLOWING: u32 = 0;
const LEADING: u32 = 1;
const FAR: u64 = u64::MAX / 2;

/// The header's fields: name, place and length (`wire/header.rs`).
const FIELDS: [(&str, usize, usize); 16] = [
    ("magic", 0, 4),
    ("version", 4, 1),
    ("kind", 5, 1),
    ("sender", 6, 1),
    ("flags", 7, 1),
    ("cluster", 8, 8),
    ("incarnation", 16, 4),
    ("group", 20, 4),
    ("ballot", 24, 8),
    ("first", 32, 8),
    ("last", 40, 8),
    ("commit", 48, 8),
    ("body_len", 56, 2),
    ("destination", 58, 1),
    ("reserved", 59, 5),
    ("tag", 64, 8),
];

/// What a field of so many bytes is set to: where arithmetic ends, around what it was, and around limits.
fn values(len: usize, was: u64) -> Vec<u64> {
    let max = u64::MAX >> (64 - 8 * len as u32);
    let limits = [
        u64::from(MEMBERS),
        32,
        SLOT,
        SLOT + SLOTS_PER_FRAME_MAX,
        BODY_LEN_MAX as u64,
        u64::from(PLAIN.settings().endpoint.body_len_max),
        1 << 32,
        1 << 63,
    ];
    let mut values = vec![0, 1, 2, max, max - 1, max >> 1, (max >> 1) + 1];
    for limit in limits.into_iter().chain([was]) {
        values.extend([limit.wrapping_sub(1), limit, limit.wrapping_add(1)]);
    }
    values.retain(|value| *value <= max);
    values.sort_unstable();
    values.dedup();
    values
}

/// A frame of each kind that makes sense.
fn frames() -> [(Header, &'static [u8]); 6] {
    let base = Header {
        kind: FrameKind::Message,
        sender: MemberIndex(0),
        flags: 0,
        cluster: CLUSTER,
        incarnation: INCARNATION,
        group: GroupId(FOLLOWING),
        ballot: BALLOT,
        first: Slot::ZERO,
        last: Slot::ZERO,
        commit: Slot::ZERO,
        body_len: 0,
        destination: DESTINATION_ALL,
        tag: 0,
    };
    let slots = |kind, group, [first, last, commit]: [u64; 3]| Header {
        kind,
        group: GroupId(group),
        first: Slot(first),
        last: Slot(last),
        commit: Slot(commit),
        ..base
    };
    let len = BODY.len() as u16;
    let accept = slots(FrameKind::Accept, FOLLOWING, [SLOT + 1, SLOT + 1, SLOT]);
    [
        (Header { body_len: len, ..accept }, &BODY),
        (slots(FrameKind::Probe, FOLLOWING, [9, 0, SLOT]), &[]),
        (slots(FrameKind::Accepted, LEADING, [SLOT + 1, SLOT, 0]), &[]),
        (slots(FrameKind::ProbeAck, LEADING, [1, SLOT, SLOT + 1]), &[]),
        (Header { ballot: Ballot::NONE, body_len: len, ..base }, &BODY),
        (slots(FrameKind::Refused, LEADING, [BALLOT.0 + 1, 0, 0]), &[]),
    ]
}

/// Programs and model, side by side.
struct Pair {
    bench: Bench,
    model: Model,
    rows: u32,
}

impl Pair {
    fn load(load: &Load) -> Self {
        let mut bench = Bench::load(load.name, None, &load.settings(), 0).expect("they load");
        let model = bench.begin().expect("they can be reset");
        Self { bench, model, rows: 0 }
    }

    fn step(&mut self, story: &str, step: &Step) -> Seen {
        take(&mut self.bench, &mut self.model, step, true).unwrap_or_else(|what| {
            panic!("{}, {story}: {what}\n{step:?}", self.bench.name);
        })
    }

    fn peer(&self, index: u8) -> Peer {
        let Spot { mut address, port } = self.own();
        address[if self.model.is_ipv6() { 15 } else { 3 }] ^= 0x40 + index;
        Peer { address, port, mac: [2, 0, 0, 0, 0, index], reachable: 1, reserved: [0; 7] }
    }

    fn own(&self) -> Spot {
        Spot { address: self.model.endpoint.address, port: self.model.endpoint.port }
    }

    /// Both groups as they are at the beginning of every story.
    fn prepare(&mut self, story: &str) {
        let gate = Gate {
            cluster: CLUSTER,
            incarnation: INCARNATION,
            own: MemberIndex(1),
            members: MEMBERS,
            keyed: self.model.endpoint.keyed,
            reserved: 0,
        };
        let current = VoterSet { members: MemberSet(7), needed: 2 };
        let seating = Seating {
            gate,
            voters: Voters { current, joint: VoterSet::default() },
            change: seat::MEMBERSHIP,
            leader: NOBODY,
            carrier: NOBODY,
            reserved: 0,
            copies: 0,
            peers: std::array::from_fn(|index| self.peer(index as u8)),
        };
        for place in [FOLLOWING, LEADING] {
            let mode = AckMode::Received as u32;
            let opening = Opening { id: place, mode, log_limit: FAR, seating };
            self.step(story, &Step::Order(Order::Close(place)));
            self.step(story, &Step::Order(Order::Open(place, Box::new(opening))));
        }
        let order = |place, op, command| {
            Step::Order(Order::Plain(op, Command { place, ballot: BALLOT.0, ..command }))
        };
        let none = Command::default();
        let heard = super::bench::now().0;
        for step in [
            Step::Lease(FOLLOWING, FAR),
            order(FOLLOWING, Op::Fence, none),
            order(FOLLOWING, Op::Arm, Command { first: SLOT + 1, now: heard, ..none }),
            order(LEADING, Op::Fence, none),
            order(LEADING, Op::Lead, none),
            order(LEADING, Op::Sending, Command { last: SLOT, first: 1, ..none }),
            order(LEADING, Op::StartProbe, none),
        ] {
            self.step(story, &step);
        }
    }

    /// A frame arrives by both hooks, each time for the first time. What was done with it.
    fn arrives(&mut self, story: &str, packet: &[u8]) -> [Seen; 2] {
        [Hook::Xdp, Hook::Tc].map(|hook| {
            self.prepare(story);
            let story = format!("{story}, by {hook:?}");
            let seen = self.step(&story, &Step::Arrive(hook, Bytes(packet.to_vec())));
            if let Seen::Passed(bytes) = &seen {
                assert_eq!(bytes.0, packet, "{story}: passed, but not untouched");
            }
            self.step(&story, &Step::Drain);
            self.rows += 1;
            seen
        })
    }

    fn seal(&self, payload: &[u8]) -> Vec<u8> {
        let Peer { address, port, .. } = self.peer(0);
        let envelope = Envelope {
            is_ipv6: self.model.is_ipv6(),
            macs: [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0],
            from: Spot { address, port },
            to: self.own(),
            kept: [0; 5],
            hops: 64,
            is_sealed: true,
        };
        envelope.seal(payload)
    }

    /// The frame as bytes, after a change of its header, and tagged again if it was to be.
    fn payload(&self, header: Header, body: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        const FLAGS: usize = 7;
        const TAG: usize = 64;
        let mut head = [0; HEADER_LEN];
        header.encode(&mut head);
        let key = self.model.key();
        head[FLAGS] |= u8::from(key.is_some());
        let tag = |head: &[u8; HEADER_LEN]| {
            key.map_or(0, |key| tag_frame(&key, head, body)).to_le_bytes()
        };
        let was = tag(&head);
        head[TAG..].copy_from_slice(&was);
        change(&mut head);
        if head[TAG..] == was {
            head[TAG..].fill(0);
            let tagged = tag(&head);
            head[TAG..].copy_from_slice(&tagged);
        }
        [&head, body].concat()
    }
}

/// Every field of every kind of frame.
fn every_field(pair: &mut Pair) {
    for (header, body) in frames() {
        let kind = header.kind;
        let plain = pair.payload(header, body, |_| {});
        let packet = pair.seal(&plain);
        let is_ours = !matches!(kind, FrameKind::Message | FrameKind::Refused);
        for seen in pair.arrives(&format!("{kind:?} as it should be"), &packet) {
            assert_eq!(!matches!(seen, Seen::Passed(_)), is_ours, "{kind:?}: {seen:?}");
        }
        for (name, at, len) in FIELDS {
            let mut was = [0; 8];
            was[..len].copy_from_slice(&plain[at..at + len]);
            for value in values(len, u64::from_le_bytes(was)) {
                let payload = pair.payload(header, body, |head| {
                    head[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
                });
                let packet = pair.seal(&payload);
                pair.arrives(&format!("{kind:?} whose {name} is {value:#x}"), &packet);
            }
        }
    }
}

#[test]
fn every_field_of_the_header_at_its_extremes_is_judged_as_the_rules_do() {
    if !is_privileged("every field of the header at its extremes") {
        return;
    }
    for load in [PLAIN, KEYED, SIX] {
        let rows = thread::spawn(move || {
            let mut pair = Pair::load(&load);
            every_field(&mut pair);
            empty(&mut pair.rows)
        });
        let rows = rows.join().expect("every row is as the model says");
        assert!(rows > 3_000, "{}: {rows} rows are not every field", load.name);
    }
}

/// One row: what is done to a frame that would be stored, and to which IP versions it can be done.
type Row = (&'static str, fn(&mut Vec<u8>, bool), [bool; 2]);

const BOTH: [bool; 2] = [true, true];
const FOUR: [bool; 2] = [true, false];
const SIX_ALONE: [bool; 2] = [false, true];

const STRANGERS: [Row; 20] = [
    ("another port", |packet, six| packet[if six { 57 } else { 37 }] ^= 1, BOTH),
    ("another address", |packet, six| packet[if six { 53 } else { 33 }] ^= 1, BOTH),
    ("TCP", |packet, six| packet[if six { 20 } else { 23 }] = 6, BOTH),
    ("ICMP", |packet, six| packet[if six { 20 } else { 23 }] = if six { 58 } else { 1 }, BOTH),
    ("a VLAN", |packet, _| drop(packet.splice(12..12, [0x81, 0, 0, 5])), BOTH),
    ("a provider's VLAN", |packet, _| drop(packet.splice(12..12, [0x88, 0xa8, 0, 5])), BOTH),
    ("ARP", |packet, _| packet[12..14].copy_from_slice(&[0x08, 0x06]), BOTH),
    (
        "the other IP version's EtherType",
        |packet, six| {
            packet[12..14].copy_from_slice(if six { &[0x08, 0] } else { &[0x86, 0xdd] });
        },
        BOTH,
    ),
    ("the first of some fragments", |packet, _| packet[20] |= 0x20, FOUR),
    ("a later fragment", |packet, _| packet[21] |= 1, FOUR),
    ("the last fragment", |packet, _| packet[20] |= 0x1f, FOUR),
    ("IP options", |packet, six| options(packet, six), FOUR),
    ("an extension header", |packet, six| options(packet, six), SIX_ALONE),
    ("a fragment header", |packet, _| packet[20] = 44, SIX_ALONE),
    ("IP version 0", |packet, _| packet[14] &= 0x0f, BOTH),
    ("IP's length too long", |packet, six| packet[if six { 19 } else { 17 }] += 1, BOTH),
    ("IP's length too short", |packet, six| packet[if six { 19 } else { 17 }] -= 1, BOTH),
    ("UDP's length too long", |packet, six| packet[if six { 59 } else { 39 }] += 1, BOTH),
    ("UDP's length too short", |packet, six| packet[if six { 59 } else { 39 }] -= 1, BOTH),
    ("a byte cut off", |packet, _| packet.truncate(packet.len() - 1), BOTH),
];

#[test]
fn packets_of_others_pass_untouched() {
    if !is_privileged("packets of others pass untouched") {
        return;
    }
    for load in [PLAIN, SIX] {
        let done = thread::spawn(move || {
            let mut pair = Pair::load(&load);
            let is_ipv6 = pair.model.is_ipv6();
            let (header, body) = frames()[0];
            let packet = pair.seal(&pair.payload(header, body, |_| {}));
            for (story, change, versions) in STRANGERS {
                if !versions[usize::from(is_ipv6)] {
                    continue;
                }
                let mut packet = packet.clone();
                change(&mut packet, is_ipv6);
                for seen in pair.arrives(story, &packet) {
                    assert_eq!(seen, Seen::Passed(Bytes(packet.clone())), "{story}");
                }
            }
        });
        done.join().expect("every row passes");
    }
}

#[test]
fn frames_of_strangers_reach_no_rule() {
    if !is_privileged("frames of strangers reach no rule") {
        return;
    }
    /// What is done to the header, or to the packet.
    type Disguise = (&'static str, fn(&mut Header), fn(&mut Vec<u8>));
    const ROWS: [Disguise; 8] = [
        ("a spoofed source address", |_| {}, |packet| packet[29] ^= 0x80),
        ("a member's address at another port", |_| {}, |packet| packet[35] ^= 1),
        ("another member's index", |header| header.sender = MemberIndex(2), |_| {}),
        ("the receiver's own index", |header| header.sender = MemberIndex(1), |_| {}),
        ("a foreign cluster", |header| header.cluster.0 ^= 1 << 63, |_| {}),
        ("a stale incarnation", |header| header.incarnation.0 -= 1, |_| {}),
        ("a later incarnation", |header| header.incarnation.0 += 1, |_| {}),
        ("for another member", |header| header.destination = 2, |_| {}),
    ];
    let done = thread::spawn(|| {
        let mut pair = Pair::load(&PLAIN);
        for (mut header, body) in frames() {
            for (story, disguise, change) in ROWS {
                let was = header;
                disguise(&mut header);
                let mut packet = pair.seal(&pair.payload(header, body, |_| {}));
                change(&mut packet);
                let story = format!("{:?} of {story}", header.kind);
                for seen in pair.arrives(&story, &packet) {
                    assert_eq!(seen, Seen::Passed(Bytes(packet.clone())), "{story}");
                }
                header = was;
            }
        }
    });
    done.join().expect("every row passes");
}

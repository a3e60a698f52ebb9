//! The codec and the rules alone, in nanoseconds: what every frame pays beside its system calls.
//!
//! `frame/...` is the sum that must stay under 100 ns: one frame's way through encoding, decoding,
//! the gate and its rule, once for the accept frame and once for the acknowledgement.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use electrode_transport::rules::{
    Acceptor, Gate, Proposal, Tally, TallyVerdict, Verdict, VoterSet, Voters,
};
use electrode_transport::wire::{DESTINATION_ALL, FrameKind, HEADER_LEN, Header, Key, tag_frame};
use electrode_transport::{
    AckMode, Ballot, ClusterId, GroupId, Incarnation, MemberIndex, MemberSet, Slot, Time,
};

const BALLOT: Ballot = Ballot(7);
const LEADER: MemberIndex = MemberIndex(0);

fn accept(slot: u64, body_len: u16) -> Header {
    Header {
        kind: FrameKind::Accept,
        sender: LEADER,
        flags: 0,
        cluster: ClusterId(1),
        incarnation: Incarnation(1),
        group: GroupId(1),
        ballot: BALLOT,
        first: Slot(slot),
        last: Slot(slot),
        commit: Slot(slot - 1),
        body_len,
        destination: DESTINATION_ALL,
        tag: 0,
    }
}

fn follower() -> Acceptor {
    let mut acceptor = Acceptor::new(AckMode::Received);
    assert!(acceptor.raise_fence(BALLOT));
    acceptor.arm(BALLOT, LEADER, Slot(1), Time(0)).expect("the fence stands at this ballot");
    acceptor.renew(Time(u64::MAX));
    acceptor
}

fn proposal(header: &Header) -> Proposal {
    Proposal {
        ballot: header.ballot,
        sender: header.sender,
        first: header.first,
        last: header.last,
        commit: header.commit,
    }
}

const GATE: Gate = Gate {
    cluster: ClusterId(1),
    incarnation: Incarnation(1),
    own: MemberIndex(1),
    members: 3,
    keyed: 0,
    reserved: 0,
};

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    let header = accept(9, 64);
    let mut frame = [0x5a; HEADER_LEN + 64];
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            let head = frame.first_chunk_mut().expect("the frame is longer than a header");
            black_box(&header).encode(black_box(head));
        });
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| Header::decode(black_box(&frame)).expect("it was encoded above"));
    });
    group.finish();
}

fn tags(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tag");
    let (key, head) = (Key([3; 16]), [1; HEADER_LEN]);
    for len in [64, 1_024] {
        let body = vec![2; len];
        group.throughput(Throughput::Bytes((HEADER_LEN + len) as u64));
        group.bench_with_input(BenchmarkId::from_parameter(len), &body, |bencher, body| {
            bencher.iter(|| tag_frame(black_box(&key), black_box(&head), black_box(body)));
        });
    }
    group.finish();
}

fn acceptor(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("acceptor");
    let mut acceptor = follower();
    let mut slot = 0;
    group.bench_function("stored", |bencher| {
        bencher.iter(|| {
            slot += 1;
            let proposal = proposal(&accept(slot, 64));
            let verdict = acceptor.offer(black_box(&proposal), black_box(Time(5)), true);
            assert_eq!(verdict, Verdict::Stored);
        });
    });
    let duplicate = proposal(&accept(1, 64));
    group.bench_function("duplicate", |bencher| {
        bencher.iter(|| {
            let verdict = acceptor.offer(black_box(&duplicate), black_box(Time(5)), true);
            assert_eq!(verdict, Verdict::Duplicate);
        });
    });
    group.finish();
}

/// One slot's quorum: every member but the leader acknowledges, the leader itself first.
fn tally(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tally");
    for members in [3_u8, 7, 32] {
        let all = MemberSet(u32::MAX >> (32 - members));
        let current = VoterSet { members: all, needed: u32::from(members) / 2 + 1 };
        let voters = Voters { current, joint: VoterSet::default() };
        let mut tally = Tally::lead(BALLOT, Slot::ZERO, voters, members, LEADER);
        let (mut slot, mut member) = (0, members);
        // Round and round: each acknowledgement is one more member's of the newest slot.
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("ack", members), |bencher| {
            bencher.iter(|| {
                if member == members {
                    (slot, member) = (slot + 1, 0);
                    tally.arm(Slot(slot));
                }
                let told = tally.ack(BALLOT, black_box(MemberIndex(member)), black_box(Slot(slot)));
                member += 1;
                told
            });
        });
        assert!(tally.quorum().next() >= Slot(slot), "every slot but the newest has its quorum");
    }
    group.finish();
}

/// Encode, decode, gate and rule, with a body of 64 bytes that is copied in as from a caller.
fn together(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    let body = [0x5a; 64];
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode+decode+accept", |bencher| {
        let (mut acceptor, mut slot) = (follower(), 0);
        let mut frame = [0; HEADER_LEN + 64];
        bencher.iter(|| {
            slot += 1;
            let (head, rest) = frame.split_first_chunk_mut().expect("longer than a header");
            black_box(accept(slot, 64)).encode(head);
            rest.copy_from_slice(black_box(&body));
            let (header, stored) = Header::decode(black_box(&frame)).expect("encoded above");
            let member = GATE.admit(&header).expect("a member's frame");
            let proposal = Proposal { sender: member, ..proposal(&header) };
            let verdict = acceptor.offer(&proposal, black_box(Time(5)), true);
            assert_eq!(verdict, Verdict::Stored);
            black_box(stored);
        });
    });
    group.bench_function("encode+decode+tally", |bencher| {
        let current = VoterSet { members: MemberSet(0b111), needed: 2 };
        let voters = Voters { current, joint: VoterSet::default() };
        let mut tally = Tally::lead(BALLOT, Slot::ZERO, voters, 3, MemberIndex(1));
        let (mut head, mut slot) = ([0; HEADER_LEN], 0);
        bencher.iter(|| {
            slot += 1;
            tally.arm(Slot(slot));
            tally.ack(BALLOT, MemberIndex(1), Slot(slot));
            let (first, last) = (Slot(slot + 1), Slot(slot));
            let kind = FrameKind::Accepted;
            let reply = Header { kind, first, last, commit: Slot::ZERO, ..accept(1, 0) };
            black_box(reply).encode(&mut head);
            let (header, _) = Header::decode(black_box(&head)).expect("encoded above");
            let member = GATE.admit(&header).expect("a member's frame");
            let told = tally.ack(header.ballot, member, header.last);
            assert_eq!(told, TallyVerdict::Quorum);
        });
    });
    group.finish();
}

criterion_group!(benches, codec, tags, acceptor, tally, together);
criterion_main!(benches);

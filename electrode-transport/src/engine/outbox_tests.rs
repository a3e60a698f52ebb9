//! The outbox: one encoding for all, order, and bounds.

use super::*;
use crate::ident::{Ballot, ClusterId, GroupId, Incarnation, MemberIndex, Slot};
use crate::wire::{DESTINATION_ALL, FrameKind};

fn header() -> Header {
    Header {
        kind: FrameKind::Message,
        sender: MemberIndex(0),
        flags: 0,
        cluster: ClusterId(1),
        incarnation: Incarnation(1),
        group: GroupId(1),
        ballot: Ballot::NONE,
        first: Slot::ZERO,
        last: Slot::ZERO,
        commit: Slot::ZERO,
        body_len: 0,
        destination: DESTINATION_ALL,
        tag: 0,
    }
}

fn to(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn a_broadcast_is_encoded_once() {
    let mut outbox = Outbox::default();
    assert_eq!(outbox.push(header(), b"body", None, [to(1), to(2), to(3)]), 3);
    let waiting: Vec<_> = outbox.iter().collect();
    assert_eq!(
        waiting.iter().map(|transmit| transmit.to).collect::<Vec<_>>(),
        [to(1), to(2), to(3)]
    );
    assert!(waiting.iter().all(|transmit| std::ptr::eq(transmit.bytes, waiting[0].bytes)));
    let (decoded, body) = Header::decode(waiting[0].bytes).unwrap();
    assert_eq!((decoded, body), (Header { body_len: 4, ..header() }, &b"body"[..]));
}

#[test]
fn copies_of_one_broadcast_know_each_other_and_can_be_left_out() {
    let mut outbox = Outbox::default();
    outbox.push(header(), b"same", None, [to(1), to(2), to(3)]);
    outbox.push(header(), b"same", None, [to(1), to(2)]);
    let waiting: Vec<_> = outbox.iter().collect();
    let alike: Vec<_> = waiting.iter().map(|copy| copy.is_copy_of(&waiting[0])).collect();
    assert_eq!(alike, [true, true, true, false, false], "the same body does not make it a copy");

    outbox.advance(1);
    outbox.leave_out(|transmit| transmit.to == to(2));
    let left: Vec<_> = outbox.iter().map(|transmit| transmit.to).collect();
    assert_eq!(left, [to(3), to(1)], "neither what was sent comes back nor the order changes");
    outbox.leave_out(|_| true);
    assert!(outbox.is_empty());
    assert_eq!(outbox.bytes.len(), 0, "and the memory is free");
}

#[test]
fn to_nobody_is_nothing() {
    let mut outbox = Outbox::default();
    assert_eq!(outbox.push(header(), b"body", None, []), 0);
    assert!(outbox.is_empty());
    assert_eq!(outbox.bytes.len(), 0);
}

#[test]
fn with_a_key_every_frame_is_tagged() {
    let mut outbox = Outbox::default();
    let key = Key([5; 16]);
    outbox.push(header(), b"body", Some(&key), [to(1)]);
    let bytes = outbox.iter().next().unwrap().bytes;
    let (decoded, body) = Header::decode(bytes).unwrap();
    assert!(decoded.is_tagged());
    assert_eq!(decoded.tag, tag_frame(&key, bytes.first_chunk().unwrap(), body));
}

#[test]
fn it_empties_from_the_front_and_starts_over() {
    let mut outbox = Outbox::default();
    for port in 1..=5 {
        outbox.push(header(), &[port as u8], None, [to(port)]);
    }
    outbox.advance(2);
    let left: Vec<_> = outbox.iter().map(|transmit| (transmit.to, transmit.bytes[72])).collect();
    assert_eq!(left, [(to(3), 3), (to(4), 4), (to(5), 5)]);
    outbox.push(header(), &[6], None, [to(6)]);
    assert_eq!(outbox.len(), 4);
    outbox.advance(100);
    assert!(outbox.is_empty());
    assert_eq!((outbox.bytes.len(), outbox.items.len()), (0, 0), "its memory is used again");
}

#[test]
fn it_is_full_by_count_and_by_bytes() {
    let mut outbox = Outbox::default();
    for _ in 0..ITEMS_MAX - 1 {
        outbox.push(header(), b"", None, [to(1)]);
    }
    assert!(!outbox.is_full());
    outbox.push(header(), b"", None, [to(1)]);
    assert!(outbox.is_full());
    outbox.advance(1);
    assert!(!outbox.is_full());

    let mut outbox = Outbox::default();
    let body = vec![0; 60_000];
    let mut count = 0;
    while !outbox.is_full() {
        outbox.push(header(), &body, None, [to(1), to(2)]);
        count += 1;
    }
    assert_eq!(count, BYTES_MAX.div_ceil(HEADER_LEN + body.len()));
}

#[test]
fn timers_do_not_grow_it_beyond_its_bound() {
    use crate::engine::{Engine, LocalKeeper};
    use crate::ident::{NodeId, Time};
    use crate::membership::{Member, Membership, QuorumRule};
    use crate::{EndpointConfig, GroupConfig};

    let member = |id: u16| Member::voter(NodeId(id.into()), to(id));
    let membership =
        Membership::new(Incarnation(1), (1..=3).map(member), QuorumRule::Majority).unwrap();
    let mut engine = Engine::new(EndpointConfig::new(ClusterId(1), NodeId(1), to(1))).unwrap();
    let key = engine.open(GroupConfig::new(GroupId(1), membership)).unwrap();
    let lead = |group: &mut crate::engine::Group<LocalKeeper>, io: &mut crate::engine::Io| {
        let token = group.fence(Ballot(1), io)?.token;
        group.lead(&token, Slot(5), io, Time(1))?;
        group.probe(Ballot(1), io, Time(1))
    };
    engine.group_and_timer(key, lead).unwrap();
    while !engine.io.outbox.is_full() {
        engine.io.send_one(header(), b"", to(2));
    }
    let full = engine.io.outbox.len();
    for _ in 0..20 {
        let due = engine.poll_timeout().expect("members are asked for as long as they owe");
        engine.handle_timeout(due);
    }
    assert_eq!(engine.io.outbox.len(), full, "the network takes nothing");
    engine.io.outbox.advance(full);
    let due = engine.poll_timeout().unwrap();
    engine.handle_timeout(due);
    assert!(!engine.io.outbox.is_empty(), "it asks again once there is room");
}

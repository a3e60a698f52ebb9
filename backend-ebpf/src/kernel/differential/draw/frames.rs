//! Frames, in whole packets.

use electrode_transport::wire::{
    DESTINATION_ALL, FrameKind, HEADER_LEN, Header, SLOTS_PER_FRAME_MAX, flags, tag_frame,
};
use electrode_transport::{Ballot, ClusterId, GroupId, Incarnation, MemberIndex, Slot};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::super::model::{Group, Model};
use super::super::packet::{self, Envelope, Spot};
use super::{Draw, any, near, next, other};

impl Draw {
    /// A packet that arrives.
    pub(super) fn packet(&self, dice: &mut ChaCha8Rng, model: &Model, place: usize) -> Vec<u8> {
        let group = &model.groups[place];
        let (mut header, mut body) = self.frame(dice, group);
        let peer = &group.peers[usize::from(header.sender.0) & 31];
        let mut from = Spot { address: peer.address, port: peer.port };
        let mut to = Spot { address: model.endpoint.address, port: model.endpoint.port };
        if dice.random_bool(0.08) {
            disguise(dice, &mut header);
        }
        if dice.random_bool(0.03) {
            redirect(dice, &mut from, model.is_ipv6());
        }
        if dice.random_bool(0.01) {
            redirect(dice, &mut to, model.is_ipv6());
        }
        if dice.random_bool(0.005) {
            body.truncate(dice.random_range(0..=body.len()));
        }
        let envelope = envelope(dice, model, from, to);
        if header.kind == FrameKind::Probe && dice.random_bool(0.3) {
            tune(model, group, &mut header, &envelope);
        }
        let payload = payload(dice, model, header, &body);
        envelope.seal(&payload)
    }

    /// A packet that leaves.
    pub(super) fn departure(&self, dice: &mut ChaCha8Rng, model: &Model, place: usize) -> Vec<u8> {
        let group = &model.groups[place];
        let (mut header, mut body) = self.frame(dice, group);
        body.truncate(3_000);
        if header.kind == FrameKind::Accept {
            header.ballot = Ballot(near(dice, group.tally.ballot().0, 0.01).max(1));
            header.first = Slot(near(dice, group.tally.sent().0.saturating_add(1), 0.0).max(1));
            header.first = header.first.min(Slot::MAX);
            header.last = header.first;
        }
        header.body_len = body.len() as u16;
        header.sender = group.gate.own;
        header.destination = if dice.random_bool(0.6) { DESTINATION_ALL } else { 1 };
        if dice.random_bool(0.05) {
            disguise(dice, &mut header);
        }
        let to = match group.carrier {
            index @ 0..32 if dice.random_bool(0.8) => index,
            _ => other(dice, group).0,
        };
        let peer = &group.peers[usize::from(to) & 31];
        let to = Spot { address: peer.address, port: peer.port };
        let mut from = Spot { address: model.endpoint.address, port: model.endpoint.port };
        if dice.random_bool(0.02) {
            redirect(dice, &mut from, model.is_ipv6());
        }
        let payload = payload(dice, model, header, &body);
        envelope(dice, model, from, to).seal(&payload)
    }

    /// A frame that makes sense to the group.
    fn frame(&self, dice: &mut ChaCha8Rng, group: &Group) -> (Header, Vec<u8>) {
        let to = if dice.random_bool(0.5) { DESTINATION_ALL } else { group.gate.own.0 };
        let base = base(group, other(dice, group), to);
        match dice.random_range(0..100) {
            0..50 => {
                let body = self.body(dice);
                let header = accept(dice, group, base);
                (Header { body_len: body.len() as u16, ..header }, body)
            }
            50..62 => (probe(dice, group, base), Vec::new()),
            62..82 => (accepted(dice, group, base), Vec::new()),
            82..95 => (probe_ack(dice, group, base), Vec::new()),
            95..98 => {
                let body = self.body(dice);
                (Header { body_len: body.len() as u16, ..base }, body)
            }
            _ => {
                let ballot = group.tally.ballot().0.clamp(1, u64::MAX - 1);
                let (kind, ballot, first) = (FrameKind::Refused, Ballot(ballot), Slot(ballot + 1));
                (Header { kind, ballot, first, ..base }, Vec::new())
            }
        }
    }
}

/// From the leader at the followed ballot, mostly.
fn led(dice: &mut ChaCha8Rng, group: &Group, base: Header) -> Header {
    let acceptor = &group.acceptor;
    let ballot = acceptor.ballot().0.max(1);
    let is_other = dice.random_bool(0.05);
    let ballot = if is_other { near(dice, ballot, 0.1).max(1) } else { ballot };
    let leader = acceptor.leader();
    let is_leader = leader != group.gate.own && dice.random_bool(0.95);
    let sender = if is_leader { leader } else { base.sender };
    let edge = if dice.random_bool(0.002) { 0.5 } else { 0.0 };
    let commit = Slot(near(dice, acceptor.commit().0, edge));
    Header { ballot: Ballot(ballot), sender, commit, ..base }
}

pub(super) fn accept(dice: &mut ChaCha8Rng, group: &Group, base: Header) -> Header {
    let next = next(group).0.clamp(1, u64::MAX - 1);
    let (first, count) = match dice.random_range(0..1_000) {
        0..650 => (next, 1),
        650..750 => (next, dice.random_range(1..6)),
        // Stored before, in part or in whole; the newest is not what is said of it.
        750..850 => (next.saturating_sub(dice.random_range(1..5)), 1),
        850..900 => (next.saturating_sub(dice.random_range(0..5)), dice.random_range(1..10)),
        900..985 => (next.saturating_add(dice.random_range(1..6)), dice.random_range(1..3)),
        985..995 => (near(dice, next, 0.3), dice.random_range(1..3)),
        995..998 => (next, SLOTS_PER_FRAME_MAX + dice.random_range(0..2)),
        _ => (any(dice), any(dice)),
    };
    let first = first.max(u64::from(!dice.random_bool(0.01)));
    let last = first.saturating_add(count - u64::from(count > 0));
    let header = led(dice, group, base);
    Header { kind: FrameKind::Accept, first: Slot(first), last: Slot(last), ..header }
}

fn probe(dice: &mut ChaCha8Rng, group: &Group, base: Header) -> Header {
    let first = if dice.random_bool(0.3) { any(dice) } else { dice.random_range(0..9) };
    Header { kind: FrameKind::Probe, first: Slot(first), ..led(dice, group, base) }
}

/// A packet of which user space is told, if the group follows somebody: a higher commit slot.
pub(super) fn news(dice: &mut ChaCha8Rng, model: &Model, place: usize) -> Vec<u8> {
    let group = &model.groups[place];
    let base = base(group, group.acceptor.leader(), DESTINATION_ALL);
    let header = Header {
        kind: FrameKind::Probe,
        ballot: group.acceptor.ballot(),
        commit: group.acceptor.commit().next(),
        ..base
    };
    let peer = &group.peers[usize::from(header.sender.0) & 31];
    let from = Spot { address: peer.address, port: peer.port };
    let to = Spot { address: model.endpoint.address, port: model.endpoint.port };
    let payload = model.encode(header);
    envelope(dice, model, from, to).seal(&payload)
}

/// A frame of the group, as empty as can be.
pub(super) fn base(group: &Group, sender: MemberIndex, destination: u8) -> Header {
    Header {
        kind: FrameKind::Message,
        sender,
        flags: 0,
        cluster: group.gate.cluster,
        incarnation: group.gate.incarnation,
        group: GroupId(group.id),
        ballot: Ballot::NONE,
        first: Slot::ZERO,
        last: Slot::ZERO,
        commit: Slot::ZERO,
        body_len: 0,
        destination,
        tag: 0,
    }
}

/// Numbers a probe so that the right checksum of its answer comes out as zero, which on the wire is
/// written the other way: one answer in 65,536 otherwise. Under a key the tag undoes it.
fn tune(model: &Model, group: &Group, header: &mut Header, envelope: &Envelope) {
    header.first = Slot(header.first.0 & !0xffff);
    let position = group.acceptor.position();
    let answer = Header {
        kind: FrameKind::ProbeAck,
        sender: group.gate.own,
        destination: header.sender.0,
        last: position.acknowledged,
        commit: position.next,
        ..*header
    };
    let request = envelope.seal(&model.encode(*header));
    let reply = packet::reply(&request, model.is_ipv6(), &model.encode(answer));
    let at = packet::headers_len(model.is_ipv6()) - 2;
    header.first.0 |= u64::from(u16::from_le_bytes([reply[at], reply[at + 1]]));
}

/// At the led ballot, about as far as was sent.
fn accepted(dice: &mut ChaCha8Rng, group: &Group, base: Header) -> Header {
    let tally = &group.tally;
    let acked = tally.acked(base.sender).0;
    let last = match dice.random_range(0..10) {
        0..3 => near(dice, acked, 0.02),
        3..8 => tally.sent().0.saturating_sub(dice.random_range(0..4)),
        _ => near(dice, tally.sent().0, 0.02),
    };
    let ahead = if dice.random_bool(0.02) { any(dice) } else { dice.random_range(1..4) };
    let ballot = if dice.random_bool(0.9) { tally.ballot().0 } else { near(dice, 3, 0.2) };
    Header {
        kind: FrameKind::Accepted,
        flags: if dice.random_bool(0.15) { flags::GAP } else { 0 },
        ballot: Ballot(ballot.max(1)),
        first: Slot(last.saturating_add(ahead)),
        last: Slot(last),
        ..base
    }
}

fn probe_ack(dice: &mut ChaCha8Rng, group: &Group, base: Header) -> Header {
    let header = accepted(dice, group, base);
    let number = near(dice, group.tally.probe_sent(), 0.02);
    let commit = header.first;
    Header { kind: FrameKind::ProbeAck, flags: 0, first: Slot(number), commit, ..header }
}

/// Changes a field so that it is somebody else's frame, or nobody's.
pub(super) fn disguise(dice: &mut ChaCha8Rng, header: &mut Header) {
    match dice.random_range(0..10) {
        0 => header.sender = MemberIndex(dice.random()),
        1 => header.sender = MemberIndex(header.sender.0 ^ 1 << dice.random_range(0..8)),
        2 => header.cluster = ClusterId(header.cluster.0 ^ 1 << dice.random_range(0..64)),
        3 => header.incarnation = Incarnation(header.incarnation.0.wrapping_add(1)),
        4 => header.incarnation = Incarnation(header.incarnation.0.wrapping_sub(1)),
        5 => header.group = GroupId(header.group.0 ^ 1 << dice.random_range(0..32)),
        6 => header.destination = dice.random(),
        7 => header.ballot = Ballot(near(dice, header.ballot.0, 0.5)),
        8 => header.commit = Slot(any(dice)),
        _ => header.body_len = header.body_len.wrapping_add(dice.random_range(1..4)),
    }
}

/// One byte of an address or of a port.
pub(super) fn redirect(dice: &mut ChaCha8Rng, spot: &mut Spot, is_ipv6: bool) {
    let flip = 1 << dice.random_range(0..8);
    if dice.random_bool(0.3) {
        spot.port[dice.random_range(0..2)] ^= flip;
    } else {
        spot.address[dice.random_range(0..if is_ipv6 { 16 } else { 4 })] ^= flip;
    }
}

/// The frame as bytes, tagged as the endpoint wants it, or nearly.
pub(super) fn payload(
    dice: &mut ChaCha8Rng,
    model: &Model,
    mut header: Header,
    body: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LEN + body.len()];
    bytes[HEADER_LEN..].copy_from_slice(body);
    let Some(head) = bytes.first_chunk_mut::<HEADER_LEN>() else { return bytes };
    let is_wrong = dice.random_bool(0.03);
    if model.key().is_some() != (is_wrong && dice.random_bool(0.3)) {
        header.flags |= flags::TAGGED;
    }
    header.encode(head);
    if let Some(key) = model.key().filter(|_| header.is_tagged()) {
        header.tag = tag_frame(&key, head, body);
        if is_wrong {
            header.tag ^= 1 << dice.random_range(0..64);
        }
    } else if is_wrong {
        header.tag = any(dice);
    }
    header.encode(head);
    bytes
}

pub(super) fn envelope(dice: &mut ChaCha8Rng, model: &Model, from: Spot, to: Spot) -> Envelope {
    Envelope {
        is_ipv6: model.is_ipv6(),
        macs: dice.random(),
        from,
        to,
        kept: dice.random(),
        hops: dice.random(),
        is_sealed: dice.random_bool(0.8),
    }
}

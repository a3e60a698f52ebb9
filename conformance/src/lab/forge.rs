//! Frames of the case's own making: a member that the case plays, a liar, a stranger.

use std::time::Duration;

use electrode_transport::wire::{DESTINATION_ALL, FrameKind, HEADER_LEN, Header, flags, tag_frame};
use electrode_transport::{Ballot, MemberIndex, Slot};

use super::Lab;
use crate::harness::Origin;

/// How long a frame may take to leave. A harness without a tap shows none that does.
const LEAVING_MAX: Duration = Duration::from_secs(2);

impl Lab {
    /// A header as `from` would send it to everybody now.
    pub(crate) fn header(
        &self,
        kind: FrameKind,
        from: usize,
        ballot: u64,
        slots: [u64; 3],
    ) -> Header {
        let roster = self.roster(from);
        let [first, last, commit] = slots.map(Slot);
        Header {
            kind,
            sender: MemberIndex(roster.index_of(from).unwrap_or_default()),
            flags: 0,
            cluster: self.spec.cluster,
            incarnation: roster.incarnation,
            group: self.group,
            ballot: Ballot(ballot),
            first,
            last,
            commit,
            body_len: 0,
            destination: DESTINATION_ALL,
            tag: 0,
        }
    }

    /// The datagram of a frame, tagged if the cluster has a key.
    pub(crate) fn datagram(&self, mut header: Header, body: &[u8]) -> Vec<u8> {
        let mut head = [0; HEADER_LEN];
        header.body_len = body.len() as u16;
        if let Some(key) = &self.spec.key {
            header.flags |= flags::TAGGED;
            header.encode(&mut head);
            header.tag = tag_frame(key, &head, body);
        }
        header.encode(&mut head);
        [&head, body].concat()
    }

    pub(crate) fn inject(&mut self, from: Origin, to: usize, bytes: &[u8]) {
        self.cluster.inject(from, to, bytes);
        self.advance(super::STEP);
    }

    /// Delivers a frame from a node's own address.
    pub(crate) fn say(&mut self, from: usize, to: usize, header: Header, body: &[u8]) {
        let bytes = self.datagram(header, body);
        self.inject(Origin::Node(from), to, &bytes);
    }

    /// As `say`, and waits until the node has taken it in, whatever it made of it.
    pub(crate) fn say_heard(&mut self, from: Origin, to: usize, bytes: &[u8]) {
        let before = self.node(to).stats().received();
        self.inject(from, to, bytes);
        self.until("the datagram is taken in", |lab| lab.node(to).stats().received() > before);
    }

    /// The case plays the leader: an accept frame for one slot, entered as broadcast.
    pub(crate) fn say_accept(&mut self, from: usize, to: usize, ballot: u64, slot: u64) {
        let body = body(ballot, slot);
        let slots = (Slot(slot), Slot(slot), body.as_slice());
        self.ledger.offers(self.group, Ballot(ballot), slots);
        let header = self.header(FrameKind::Accept, from, ballot, [slot, slot, 0]);
        self.say(from, to, header, &body);
    }

    /// The case plays a follower: a truthful acknowledgement through `last`. So it comes after what it
    /// acknowledges has left, which may wait for the system to find a neighbour.
    pub(crate) fn say_accepted(&mut self, from: usize, to: usize, ballot: u64, last: u64) {
        let end = self.now() + LEAVING_MAX;
        self.look();
        while self.ledger.is_leaving(self.group, Ballot(ballot), Slot(last)) && self.now() < end {
            self.advance(super::STEP);
            self.look();
        }
        self.ledger.credit(self.group, Ballot(ballot), from, Slot(last));
        self.lie_accepted(from, to, ballot, last);
    }

    /// As `say_accepted`, but the member never stored it: it must not count.
    pub(crate) fn lie_accepted(&mut self, from: usize, to: usize, ballot: u64, last: u64) {
        let header = self.header(FrameKind::Accepted, from, ballot, [last + 1, last, 0]);
        let bytes = self.datagram(header, &[]);
        self.say_heard(Origin::Node(from), to, &bytes);
    }
}

/// The suite's value for a slot: of a length and content that tell ballot and slot.
pub(crate) fn body(ballot: u64, slot: u64) -> Vec<u8> {
    let mixed =
        slot.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ballot.wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mut body = Vec::from(mixed.to_le_bytes());
    body.extend((0..mixed % 48).map(|index| (index ^ mixed) as u8));
    body
}

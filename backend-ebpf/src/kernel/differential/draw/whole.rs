//! Several frames in one packet.

use electrode_transport::wire::{DESTINATION_ALL, FrameKind, HEADER_LEN, Header};
use electrode_transport::{Ballot, MemberIndex, Slot};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::super::model::Model;
use super::super::packet::Spot;
use super::frames::{accept, base, disguise, envelope, payload, redirect};
use super::{Draw, TC_LEN, near, other};

/// What of a packet is left for frames.
const ROOM: usize = *TC_LEN.end() - 62;

impl Draw {
    /// A packet that arrives, and how long its datagrams are.
    pub(super) fn whole(
        &self,
        dice: &mut ChaCha8Rng,
        model: &Model,
        place: usize,
    ) -> (Vec<u8>, u32) {
        let group = &model.groups[place];
        let base = base(group, other(dice, group), DESTINATION_ALL);
        let first = accept(dice, group, base);
        let (bytes, step) = self.frames(dice, model, first);
        let peer = &group.peers[usize::from(first.sender.0) & 31];
        let mut from = Spot { address: peer.address, port: peer.port };
        let to = Spot { address: model.endpoint.address, port: model.endpoint.port };
        if dice.random_bool(0.02) {
            redirect(dice, &mut from, model.is_ipv6());
        }
        (envelope(dice, model, from, to).seal(&bytes), step)
    }

    /// A packet that leaves, likewise.
    pub(super) fn whole_departure(
        &self,
        dice: &mut ChaCha8Rng,
        model: &Model,
        place: usize,
    ) -> (Vec<u8>, u32) {
        let group = &model.groups[place];
        let slot = Slot(near(dice, group.tally.sent().0.saturating_add(1), 0.0).max(1));
        let slot = slot.min(Slot::MAX);
        let first = Header {
            kind: FrameKind::Accept,
            ballot: Ballot(near(dice, group.tally.ballot().0, 0.01).max(1)),
            first: slot,
            last: slot,
            ..base(group, group.gate.own, DESTINATION_ALL)
        };
        let (bytes, step) = self.frames(dice, model, first);
        let is_carried = group.carrier < 32 && dice.random_bool(0.9);
        let to = if is_carried { MemberIndex(group.carrier) } else { other(dice, group) };
        let peer = &group.peers[usize::from(to.0) & 31];
        let to = Spot { address: peer.address, port: peer.port };
        let from = Spot { address: model.endpoint.address, port: model.endpoint.port };
        (envelope(dice, model, from, to).seal(&bytes), step)
    }

    /// So many frames, mostly each after the other, and the length of all but the last.
    fn frames(&self, dice: &mut ChaCha8Rng, model: &Model, first: Header) -> (Vec<u8>, u32) {
        let (count, len) = match dice.random_range(0..100) {
            // As many as one packet may have, and more.
            0..6 => (dice.random_range(44..=47), 1..2),
            6..12 => (3, 800..1_000),
            12..15 => (dice.random_range(1..9), 0..1),
            _ => (dice.random_range(1..9), 1..300),
        };
        let len = dice.random_range(len);
        let mut bytes = Vec::new();
        let mut header = first;
        for index in 0..count {
            let is_last = index + 1 == count;
            let len =
                if is_last && dice.random_bool(0.3) { dice.random_range(0..=len) } else { len };
            let at = dice.random_range(0..self.pool.len() - len);
            let mut one = Header { body_len: len as u16, ..header };
            match dice.random_range(0..100) {
                0 => disguise(dice, &mut one),
                1 => one.kind = FrameKind::Message,
                _ => {}
            }
            bytes.extend(payload(dice, model, one, &self.pool[at..at + len]));
            let start = match dice.random_range(0..40) {
                0 => header.first,
                1 => header.last.next().next(),
                _ => header.last.next(),
            };
            header = Header { first: start, last: start, commit: header.commit.next(), ..header };
        }
        bytes.truncate(ROOM);
        let step = match dice.random_range(0..50) {
            0 => dice.random_range(1..=200),
            1 => bytes.len() as u32 + dice.random_range(0..9),
            _ => (HEADER_LEN + len) as u32,
        };
        (bytes, step)
    }
}

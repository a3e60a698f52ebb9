//! What leaves.

use electrode_ebpf_abi::{NOBODY, OWN_MARK, Tick, news, offload};
use electrode_transport::Slot;
use electrode_transport::rules::{AckMode, TallyVerdict};
use electrode_transport::wire::{DESTINATION_ALL, FrameKind, HEADER_LEN, Header};

use super::super::packet::{self, Sort};
use super::{Bytes, Model, Seen};

impl Model {
    /// With the mark that it carries; in datagrams of `step` bytes, or as one if that is zero.
    pub(super) fn leave(&mut self, packet: &[u8], mark: u32, step: u32) -> Seen {
        let mut packet = packet.to_vec();
        let is_whole = step != 0;
        let is_ours = packet::sort(&self.endpoint, &packet, true) == Sort::Plain;
        if mark != OWN_MARK && is_ours {
            let payload = &packet[packet::headers_len(self.is_ipv6())..];
            let head = payload.first_chunk::<HEADER_LEN>();
            if let Some(header) = head.and_then(|head| Header::decode_head(head).ok()) {
                let step = if step == 0 { payload.len() } else { step as usize };
                let frames = payload.chunks(step).len() as u64;
                let newest = newest(payload, step, &header);
                self.depart(&header, newest, frames, is_whole, &mut packet);
            }
        }
        if mark == OWN_MARK && !is_ours {
            return Seen::Marked(Bytes(packet));
        }
        Seen::Passed(Bytes(packet))
    }

    fn depart(
        &mut self,
        header: &Header,
        newest: Slot,
        frames: u64,
        is_whole: bool,
        packet: &mut [u8],
    ) {
        self.tick_by(Tick::Left, frames);
        let Some(&place) = self.ids.get(&header.group.0) else { return };
        if header.kind == FrameKind::Accept {
            self.arm(place, header, newest);
        }
        let group = &self.groups[place as usize];
        let is_on = self.offloads & offload::BROADCAST != 0;
        let is_broadcast = is_on && header.destination == DESTINATION_ALL;
        if !is_broadcast || group.carrier == NOBODY || group.gate.incarnation != header.incarnation
        {
            return;
        }
        let carrier = group.peers[usize::from(group.carrier)];
        let len = if self.is_ipv6() { 16 } else { 4 };
        let to = packet::spot(packet, self.is_ipv6(), false);
        if to.address[..len] != carrier.address[..len] || to.port != carrier.port {
            return;
        }
        // The packet itself goes on to the last of the copies.
        let copies = group.copies;
        if let Some(last) = copies.checked_ilog2() {
            let peer = group.peers[last as usize];
            let to = packet::Spot { address: peer.address, port: peer.port };
            if is_whole {
                packet::readdress_whole(packet, self.is_ipv6(), peer.mac, to);
            } else {
                packet::readdress(packet, self.is_ipv6(), peer.mac, to);
            }
        }
        // Nothing leaves a loopback interface that is down: every copy is refused.
        self.tick_by(Tick::CopyFailed, u64::from(copies.count_ones()) * frames);
    }

    fn arm(&mut self, place: u32, header: &Header, newest: Slot) {
        let group = &mut self.groups[place as usize];
        if !group.is_open || group.tally.ballot() != header.ballot {
            return;
        }
        group.tally.arm(newest);
        if group.acceptor.mode() == AckMode::Received {
            let own = group.gate.own;
            let verdict = group.tally.ack(header.ballot, own, newest);
            if verdict == TallyVerdict::Quorum {
                self.notify(place, news::QUORUM);
            }
        }
    }
}

/// The last slot of the last datagram, if that is of the first one's leadership.
fn newest(payload: &[u8], step: usize, first: &Header) -> Slot {
    let start = (payload.len() - 1) / step * step;
    let last = payload[start..].first_chunk().and_then(|head| Header::decode_head(head).ok());
    let is_of = |last: &Header| {
        last.kind == FrameKind::Accept && (last.group, last.ballot) == (first.group, first.ballot)
    };
    last.filter(is_of).map_or(first.last, |last| last.last)
}

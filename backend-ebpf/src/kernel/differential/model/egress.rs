//! What leaves.

use electrode_ebpf_abi::{NOBODY, OWN_MARK, Tick, news, offload};
use electrode_transport::rules::{AckMode, TallyVerdict};
use electrode_transport::wire::{DESTINATION_ALL, FrameKind, HEADER_LEN, Header};

use super::super::packet::{self, Sort};
use super::{Bytes, Model, Seen};

impl Model {
    pub(super) fn leave(&mut self, packet: &[u8], mark: u32) -> Seen {
        let mut packet = packet.to_vec();
        let is_ours = packet::sort(&self.endpoint, &packet, true) == Sort::Plain;
        if mark != OWN_MARK && is_ours {
            let payload = &packet[packet::headers_len(self.is_ipv6())..];
            let head = payload.first_chunk::<HEADER_LEN>();
            if let Some(header) = head.and_then(|head| Header::decode_head(head).ok()) {
                self.depart(&header, &mut packet);
            }
        }
        Seen::Passed(Bytes(packet))
    }

    fn depart(&mut self, header: &Header, packet: &mut [u8]) {
        self.tick(Tick::Left);
        let Some(&place) = self.ids.get(&header.group.0) else { return };
        if header.kind == FrameKind::Accept {
            self.arm(place, header);
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
            packet::readdress(packet, self.is_ipv6(), peer.mac, to);
        }
        // Nothing leaves a loopback interface that is down: every copy is refused.
        self.tick_by(Tick::CopyFailed, copies.count_ones().into());
    }

    fn arm(&mut self, place: u32, header: &Header) {
        let group = &mut self.groups[place as usize];
        if !group.is_open || group.tally.ballot() != header.ballot {
            return;
        }
        group.tally.arm(header.last);
        if group.acceptor.mode() == AckMode::Received {
            let own = group.gate.own;
            let verdict = group.tally.ack(header.ballot, own, header.last);
            if verdict == TallyVerdict::Quorum {
                self.notify(place, news::QUORUM);
            }
        }
    }
}

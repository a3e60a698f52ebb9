//! Several frames in one packet.

use electrode_ebpf_abi::{SEGMENTS_MAX, Tick, offload};
use electrode_transport::Time;
use electrode_transport::wire::{FrameKind, HEADER_LEN, Header};

use super::super::packet::{self, Sort};
use super::ingress::Settled;
use super::{Bytes, Model, Seen};

impl Model {
    /// By TC, in datagrams of `step` bytes.
    pub(super) fn arrive_whole(
        &mut self,
        packet: &[u8],
        step: u32,
        clock: impl Fn(u32) -> Time,
    ) -> Seen {
        if packet::sort(&self.endpoint, packet, false) != Sort::Plain {
            return self.arrive(packet, clock);
        }
        let headers = packet::headers_len(self.is_ipv6());
        let payload = &packet[headers..];
        let up = |model: &mut Self, why, frames: usize| {
            model.tick_by(why, frames as u64);
            model.passed += 1;
            Seen::Passed(Bytes(packet.to_vec()))
        };
        let body_len_max = self.endpoint.body_len_max as usize;
        let body_len = (step as usize).checked_sub(HEADER_LEN);
        if body_len.is_none_or(|len| len > body_len_max) {
            self.tick(Tick::Seen);
            return up(self, Tick::PassMalformed, 1);
        }
        let frames: Vec<_> = payload.chunks(step as usize).collect();
        self.tick_by(Tick::Seen, frames.len() as u64);
        if frames.len() > SEGMENTS_MAX as usize {
            return up(self, Tick::PassMalformed, frames.len());
        }
        let mut newest = None;
        for (index, frame) in frames.iter().enumerate() {
            let alone = [&packet[..headers], frame].concat();
            match self.settle_one(&alone, frames[0], frame, &clock) {
                Ok((what, reply)) => {
                    self.tick(what);
                    newest = reply.or(newest);
                }
                Err(why) => {
                    self.tick_by(Tick::Again, index as u64);
                    return up(self, why, frames.len() - index);
                }
            }
        }
        let Some(reply) = newest else { return Seen::Dropped };
        let payload = self.encode(reply);
        Seen::Returned(Bytes(packet::reply(packet, self.is_ipv6(), &payload)))
    }

    fn settle_one(
        &mut self,
        alone: &[u8],
        first: &[u8],
        frame: &[u8],
        clock: impl Fn(u32) -> Time,
    ) -> Settled {
        let (header, body) = Header::decode(frame).map_err(|_| Tick::PassMalformed)?;
        if header.kind != FrameKind::Accept || body.len() > self.endpoint.body_len_max as usize {
            return Err(Tick::PassMalformed);
        }
        if self.offloads & offload::ACKNOWLEDGE == 0 {
            return Err(Tick::PassOff);
        }
        // The first has been decoded before any other, so it is a frame.
        let (first, _) = Header::decode(first).map_err(|_| Tick::PassMalformed)?;
        let identity = |header: &Header| {
            let Header { sender, flags, cluster, incarnation, group, ballot, .. } = *header;
            (sender, flags, cluster, incarnation, group, ballot)
        };
        if identity(&header) != identity(&first) {
            return Err(Tick::PassMalformed);
        }
        self.settle(alone, clock)
    }
}

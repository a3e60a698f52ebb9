//! What arrives.

use electrode_ebpf_abi::{RECORD_CHARGE, Record, Tick, news, offload};
use electrode_transport::rules::{Proposal, TallyVerdict, Verdict};
use electrode_transport::wire::{FrameKind, HEADER_LEN, Header, flags, tag_frame};
use electrode_transport::{MemberIndex, Slot, Time};

use super::super::packet::{self, Sort};
use super::{Bytes, Model, Seen};

/// What happens to a frame of ours: the counter that rises, and the answer if one goes back.
pub(super) type Settled = Result<(Tick, Option<Header>), Tick>;

impl Model {
    pub(super) fn arrive(&mut self, packet: &[u8], clock: impl Fn(u32) -> Time) -> Seen {
        self.tick(Tick::Seen);
        let sort = packet::sort(&self.endpoint, packet, false);
        if sort == Sort::Bystander {
            self.tick(Tick::PassBystander);
            return Seen::Passed(Bytes(packet.to_vec()));
        }
        let settled = match sort {
            Sort::Plain => self.settle(packet, clock),
            _ => Err(Tick::PassMalformed),
        };
        match settled {
            Ok((what, Some(reply))) => {
                self.tick(what);
                let payload = self.encode(reply);
                Seen::Returned(Bytes(packet::reply(packet, self.is_ipv6(), &payload)))
            }
            Ok((what, None)) => {
                self.tick(what);
                Seen::Dropped
            }
            Err(why) => {
                self.tick(why);
                self.passed += 1;
                Seen::Passed(Bytes(packet.to_vec()))
            }
        }
    }

    /// A header without a body, tagged if there is a key.
    pub(in super::super) fn encode(&self, mut header: Header) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        header.tag = 0;
        header.flags &= !flags::TAGGED;
        if let Some(key) = self.key() {
            header.flags |= flags::TAGGED;
            header.encode(&mut bytes);
            header.tag = tag_frame(&key, &bytes, &[]);
        }
        header.encode(&mut bytes);
        bytes
    }

    pub(super) fn settle(&mut self, packet: &[u8], clock: impl Fn(u32) -> Time) -> Settled {
        let payload = &packet[packet::headers_len(self.is_ipv6())..];
        let (header, body) = Header::decode(payload).map_err(|_| Tick::PassMalformed)?;
        if body.len() > self.endpoint.body_len_max as usize {
            return Err(Tick::PassMalformed);
        }
        let offload = match header.kind {
            FrameKind::Message | FrameKind::Refused => return Err(Tick::PassMessage),
            FrameKind::Accept | FrameKind::Probe => offload::ACKNOWLEDGE,
            FrameKind::Accepted | FrameKind::ProbeAck => offload::QUORUM,
        };
        if self.offloads & offload == 0 {
            return Err(Tick::PassOff);
        }
        let place = *self.ids.get(&header.group.0).ok_or(Tick::PassGroup)?;
        let sender = self.admit(place, packet, &header).ok_or(Tick::PassRefused)?;
        if let Some(key) = self.key() {
            let head = payload.first_chunk().ok_or(Tick::PassMalformed)?;
            if tag_frame(&key, head, body) != header.tag {
                return Err(Tick::PassTag);
            }
        }
        match header.kind {
            FrameKind::Accept => self.accept(place, &header, sender, body, clock(place)),
            FrameKind::Probe => self.probe(place, &header, sender, clock(place)),
            _ => self.count(place, &header, sender),
        }
    }

    fn admit(&self, place: u32, packet: &[u8], header: &Header) -> Option<MemberIndex> {
        let group = &self.groups[place as usize];
        let sender = group.gate.admit(header).ok()?;
        let peer = &group.peers[usize::from(sender.0)];
        let from = packet::spot(packet, self.is_ipv6(), true);
        let len = if self.is_ipv6() { 16 } else { 4 };
        let is_from = from.address[..len] == peer.address[..len] && from.port == peer.port;
        (group.is_open && is_from).then_some(sender)
    }

    fn accept(
        &mut self,
        place: u32,
        header: &Header,
        sender: MemberIndex,
        body: &[u8],
        now: Time,
    ) -> Settled {
        let proposal = Proposal {
            ballot: header.ballot,
            sender,
            first: header.first,
            last: header.last,
            commit: header.commit,
        };
        let before = self.groups[place as usize].acceptor.commit();
        let group = &mut self.groups[place as usize];
        group.acceptor.renew(Time(group.lease));
        let is_wanted = group.acceptor.wants(&proposal, now);
        let is_reserved = is_wanted && self.reserve(body.len() as u64);
        let verdict = self.offer(place, &proposal, body, now, is_reserved);
        let group = &self.groups[place as usize];
        if verdict != Verdict::Stored && group.acceptor.commit() > before {
            self.notify(place, news::COMMIT);
        }
        let what = match verdict {
            Verdict::Stored => Tick::Stored,
            Verdict::Duplicate => Tick::Duplicate,
            Verdict::Gap => Tick::Gap,
            Verdict::Straddle => Tick::Straddle,
            _ => return Err(Tick::PassVerdict),
        };
        let acceptor = &self.groups[place as usize].acceptor;
        let position = acceptor.position();
        let reply = Header {
            flags: if verdict == Verdict::Gap { flags::GAP } else { 0 },
            ..self.answer(place, header, FrameKind::Accepted)
        };
        let slots = [position.next, position.acknowledged, Slot::ZERO];
        Ok((what, verdict.replies(acceptor.mode()).then(|| with_slots(reply, slots))))
    }

    /// Asks the rule, and stores what it takes.
    pub(super) fn offer(
        &mut self,
        place: u32,
        proposal: &Proposal,
        body: &[u8],
        now: Time,
        is_reserved: bool,
    ) -> Verdict {
        let group = &mut self.groups[place as usize];
        let charge = body.len() as u64 + RECORD_CHARGE;
        group.acceptor.renew(Time(group.lease));
        let room = is_reserved && group.has_room(charge);
        let verdict = group.acceptor.offer(proposal, now, room);
        if verdict == Verdict::Stored {
            group.sequence += 1;
            group.charged += charge;
            let record = Record {
                sequence: group.sequence,
                ballot: proposal.ballot.0,
                first: proposal.first.0,
                last: proposal.last.0,
                place,
                len: body.len() as u32,
            };
            self.records.push_back((record, Bytes(body.to_vec())));
        }
        verdict
    }

    fn probe(&mut self, place: u32, header: &Header, sender: MemberIndex, now: Time) -> Settled {
        let group = &mut self.groups[place as usize];
        group.acceptor.renew(Time(group.lease));
        let before = group.acceptor.commit();
        let verdict = group.acceptor.probe(header.ballot, sender, header.commit, now);
        let position = group.acceptor.position();
        if group.acceptor.commit() > before {
            self.notify(place, news::COMMIT);
        }
        if verdict != Verdict::Confirmed {
            return Err(Tick::PassVerdict);
        }
        let reply = self.answer(place, header, FrameKind::ProbeAck);
        let slots = [header.first, position.acknowledged, position.next];
        Ok((Tick::Probe, Some(with_slots(reply, slots))))
    }

    fn answer(&self, place: u32, request: &Header, kind: FrameKind) -> Header {
        Header {
            kind,
            sender: self.groups[place as usize].gate.own,
            flags: 0,
            body_len: 0,
            destination: request.sender.0,
            tag: 0,
            ..*request
        }
    }

    fn count(&mut self, place: u32, header: &Header, sender: MemberIndex) -> Settled {
        let is_probe = header.kind == FrameKind::ProbeAck;
        let group = &mut self.groups[place as usize];
        let mut verdicts = vec![group.tally.ack(header.ballot, sender, header.last)];
        if is_probe {
            verdicts.push(group.tally.probe_ack(header.ballot, sender, header.first.0));
        }
        let is_known = verdicts.iter().all(|verdict| is_known(*verdict));
        if is_known {
            let next = if is_probe { header.commit } else { header.first };
            group.next[usize::from(sender.0)] = next.0;
        }
        let mut told = 0;
        for (verdict, news) in verdicts.iter().zip([news::QUORUM, news::PROBE]) {
            told |= if *verdict == TallyVerdict::Quorum { news } else { 0 };
        }
        if told != 0 {
            self.notify(place, told);
        }
        if !is_known || header.flags & flags::GAP != 0 {
            return Err(Tick::PassAck);
        }
        // What an answer to a probe says of the probe is told rather than what it says of slots.
        let newest = verdicts.into_iter().rfind(|verdict| *verdict != TallyVerdict::Repeat);
        let what = match newest {
            None => Tick::AckRepeat,
            Some(TallyVerdict::Quorum) => Tick::AckQuorum,
            Some(_) => Tick::AckCounted,
        };
        Ok((what, None))
    }
}

fn with_slots(header: Header, [first, last, commit]: [Slot; 3]) -> Header {
    Header { first, last, commit, ..header }
}

/// Neither of another leadership nor about what was never sent.
pub(super) fn is_known(verdict: TallyVerdict) -> bool {
    matches!(verdict, TallyVerdict::Quorum | TallyVerdict::Counted | TallyVerdict::Repeat)
}

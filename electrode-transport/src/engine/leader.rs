//! A leadership: the tally, the window, and the retransmission of what is outstanding.

use std::vec::Vec;

use super::group::mutated::mutate_resend;
use super::mutant::Mutant;
use super::peer::Peer;
use super::window::Window;
use super::{Io, Seat};
use crate::capabilities::{Acked, Probe, Progress, Quorum};
use crate::contract::Result;
use crate::error::TransportError;
use crate::ident::{Ballot, MemberIndex, Slot, Time};
use crate::log::Frame;
use crate::membership::Membership;
use crate::rules::{AckMode, Tally, TallyVerdict};
use crate::stats::Counter;
use crate::wire::{FrameKind, Header, SLOTS_PER_FRAME_MAX, flags};

/// Frames of one burst of retransmissions to one member.
const BURST_FRAMES: usize = 32;
/// Bytes of the same: about what a default socket buffer takes.
const BURST_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) tally: Tally,
    pub(crate) window: Window,
    peers: Vec<Peer>,
    commit: Slot,
    superseded: Ballot,
    probe_deadline: Option<Time>,
    probe_rounds: u32,
}

/// What came of a reply.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) quorum: bool,
    pub(crate) probe: bool,
}

impl Leader {
    pub(crate) fn new(ballot: Ballot, next: Slot, seat: &Seat, window: Window) -> Self {
        let membership = &seat.membership;
        Self {
            tally: Tally::lead(
                ballot,
                next.prev(),
                membership.voters(),
                membership.count(),
                seat.gate.own,
            ),
            window,
            peers: membership.members().iter().map(|_| Peer::new(next)).collect(),
            commit: Slot::ZERO,
            superseded: Ballot::NONE,
            probe_deadline: None,
            probe_rounds: 0,
        }
    }

    pub(crate) fn ballot(&self) -> Ballot {
        self.tally.ballot()
    }

    /// Members that have not said where they stand are asked, until they do.
    pub(crate) fn arm_outstanding(&mut self, seat: &Seat, io: &Io, now: Time) {
        for index in seat.others() {
            if self.is_outstanding(index) {
                self.peers[usize::from(index)].arm(now, &io.config);
            }
        }
    }

    pub(crate) fn superseded(&self) -> Option<Ballot> {
        (self.superseded > self.ballot()).then_some(self.superseded)
    }

    /// Somebody has promised `by`. Returns whether that is news.
    pub(crate) fn supersede(&mut self, by: Ballot) -> bool {
        let news = by > self.superseded && by > self.ballot();
        self.superseded = self.superseded.max(by);
        news
    }

    pub(crate) fn quorum(&self) -> Quorum {
        let through = self.tally.quorum();
        Quorum {
            ballot: self.ballot(),
            through,
            voters: self.tally.voters_of(through),
            superseded_by: self.superseded(),
        }
    }

    pub(crate) fn acked(&self, seat: &Seat) -> Acked {
        let positions = seat.membership.members().iter().enumerate().map(|(place, member)| {
            let index = MemberIndex(place as u8);
            let next = if index == seat.gate.own {
                self.tally.sent().next()
            } else {
                self.peers[place].next
            };
            Progress {
                member: member.id,
                acked: self.tally.acked(index),
                next,
                probed: self.tally.probed(index),
                unaided: next <= self.tally.sent() && !self.keeps_frame_at(next),
            }
        });
        let start = self.window.start().unwrap_or(self.tally.sent().next());
        Acked::collect(self.ballot(), start, self.tally.sent(), positions)
    }

    fn keeps_frame_at(&self, slot: Slot) -> bool {
        let kept = self.window.find(slot).and_then(|index| self.window.get(index));
        kept.is_some_and(|kept| kept.first == slot)
    }

    pub(crate) fn set_commit(&mut self, commit: Slot) {
        self.commit = self.commit.max(commit);
    }

    /// Takes frames from the front while they are in order and fit. The error is that of the first
    /// frame; frames after a taken one just end the run.
    pub(crate) fn broadcast(
        &mut self,
        frames: &[Frame<'_>],
        mode: AckMode,
        seat: &Seat,
        io: &mut Io,
        now: Time,
    ) -> Result<usize> {
        for (taken, frame) in frames.iter().enumerate() {
            if let Err(error) = self.broadcast_one(frame, mode, seat, io, now) {
                return if taken > 0 { Ok(taken) } else { Err(error) };
            }
        }
        Ok(frames.len())
    }

    fn broadcast_one(
        &mut self,
        frame: &Frame<'_>,
        mode: AckMode,
        seat: &Seat,
        io: &mut Io,
        now: Time,
    ) -> Result<()> {
        let expected = self.tally.sent().next();
        if frame.first != expected {
            return Err(TransportError::SlotOutOfOrder { offered: frame.first, expected });
        }
        let too_long = frame.last > Slot::MAX
            || frame.last.0.saturating_sub(frame.first.0) >= SLOTS_PER_FRAME_MAX;
        if frame.last < frame.first || too_long {
            return Err(TransportError::SlotOutOfOrder { offered: frame.last, expected });
        }
        let max = io.config.body_len_max();
        if frame.body.len() > max {
            return Err(TransportError::TooLarge { len: frame.body.len(), max });
        }
        let dropping = io.mutation.is(Mutant::WindowDropsUnstored);
        let stored = if dropping { Slot::MAX } else { self.tally.quorum() };
        if !io.has_room() || !self.window.push(frame, now, stored) {
            io.stats.add(Counter::TxBackpressure, 1);
            return Err(TransportError::Backpressure);
        }
        self.tally.arm(frame.last);
        let header =
            seat.header(FrameKind::Accept, self.ballot(), [frame.first, frame.last, self.commit]);
        io.send_all(seat, header, frame.body);
        for index in seat.others() {
            self.peers[usize::from(index)].arm(now, &io.config);
        }
        if mode == AckMode::Received {
            self.tally.ack(self.ballot(), seat.gate.own, frame.last);
        }
        Ok(())
    }

    pub(crate) fn start_probe(&mut self, seat: &Seat, io: &mut Io, now: Time) -> Probe {
        let number = self.tally.start_probe();
        if !io.outbox.is_full() {
            // Otherwise the time-out asks: probes must not pile up before a network that takes none.
            let mut header = self.probe_header(seat, number);
            if io.mutation.is(Mutant::ProbeWithoutCommit) {
                header.commit = Slot::ZERO;
            }
            io.send_all(seat, header, &[]);
        }
        self.probe_rounds = 0;
        self.arm_probe(seat, io, now);
        Probe { ballot: self.ballot(), number }
    }

    fn probe_header(&self, seat: &Seat, number: u64) -> Header {
        seat.header(FrameKind::Probe, self.ballot(), [Slot(number), Slot::ZERO, self.commit])
    }

    fn arm_probe(&mut self, seat: &Seat, io: &Io, now: Time) {
        self.probe_deadline = None;
        if self.tally.probe_quorum() < self.tally.probe_sent() {
            let slowest = seat
                .others()
                .map(|index| self.peers[usize::from(index)].timeout_ns(&io.config))
                .min()
                .unwrap_or(u64::MAX);
            let max = io.config.retransmit_max.as_nanos() as u64;
            let timeout = slowest.saturating_mul(1 << self.probe_rounds.min(16)).min(max);
            self.probe_deadline = Some(now.after_ns(timeout));
        }
    }

    /// A member's `Accepted` or `ProbeAck`.
    pub(crate) fn handle_reply(
        &mut self,
        header: &Header,
        member: MemberIndex,
        seat: &Seat,
        io: &mut Io,
        now: Time,
    ) -> Heard {
        let is_probe = header.kind == FrameKind::ProbeAck;
        let next = if is_probe { header.commit } else { header.first };
        let counted = self.tally.ack(header.ballot, member, header.last);
        let probed = if is_probe {
            self.tally.probe_ack(header.ballot, member, header.first.0)
        } else {
            TallyVerdict::Repeat
        };
        let told = if probed == TallyVerdict::Repeat { counted } else { probed };
        io.stats.add(told.into(), 1);
        let ignored = |verdict| {
            !matches!(verdict, TallyVerdict::Quorum | TallyVerdict::Counted | TallyVerdict::Repeat)
        };
        let heard = Heard {
            quorum: counted == TallyVerdict::Quorum,
            probe: probed == TallyVerdict::Quorum,
        };
        if ignored(counted) || ignored(probed) {
            // Half of it may have counted all the same, and then who waits for that must be told.
            return heard;
        }
        if probed == TallyVerdict::Quorum {
            self.arm_probe(seat, io, now);
        }
        let progressed = counted != TallyVerdict::Repeat;
        if progressed {
            self.measure(member, header.last, now);
        }
        let gap = header.flags & flags::GAP != 0;
        self.note_position(member, next, progressed, gap, seat, io, now);
        self.window.release(self.acked_by_all(seat));
        heard
    }

    fn acked_by_all(&self, seat: &Seat) -> Slot {
        seat.others()
            .map(|index| self.tally.acked(index))
            .min()
            .unwrap_or(Slot::MAX)
            .min(self.tally.quorum())
    }

    fn measure(&mut self, member: MemberIndex, through: Slot, now: Time) {
        let kept = self.window.find(through).and_then(|index| self.window.get(index));
        if let Some(kept) = kept.filter(|kept| kept.last == through && !kept.resent) {
            self.peers[usize::from(member)].measure(now.since_ns(kept.sent_at));
        }
    }

    /// The member said what it expects next: send again what it lacks, if it is time.
    #[allow(clippy::too_many_arguments, reason = "one reply's facts, used once")]
    fn note_position(
        &mut self,
        member: MemberIndex,
        next: Slot,
        progressed: bool,
        gap: bool,
        seat: &Seat,
        io: &mut Io,
        now: Time,
    ) {
        let sent = self.tally.sent();
        let peer = &mut self.peers[usize::from(member)];
        let moved = progressed || next > peer.next;
        peer.next = next.min(sent.next());
        let recovering = peer.burst_end != Slot::ZERO;
        let burst_arrived = recovering && peer.next > peer.burst_end;
        if burst_arrived {
            peer.burst_end = Slot::ZERO;
        }
        let outstanding = self.is_outstanding(member);
        let peer = &mut self.peers[usize::from(member)];
        if moved || !outstanding {
            peer.rearm(outstanding, now, &io.config);
        } else {
            peer.arm(now, &io.config);
        }
        let peer = &self.peers[usize::from(member)];
        let lost = burst_arrived && self.is_overdue(peer, &io.config, now);
        if lost || gap && peer.may_burst(now, &io.config) {
            self.send_burst(member, seat, io, now);
        }
    }

    /// Whether the frame that the member expects next was sent long enough ago to be lost.
    fn is_overdue(&self, peer: &Peer, config: &crate::config::EndpointConfig, now: Time) -> bool {
        let kept = self.window.find(peer.next).and_then(|index| self.window.get(index));
        kept.is_some_and(|kept| now.since_ns(kept.sent_at) > peer.pace_ns(config))
    }

    fn is_outstanding(&self, member: MemberIndex) -> bool {
        let sent = self.tally.sent();
        self.tally.acked(member) < sent || self.peers[usize::from(member)].next <= sent
    }

    /// Sends a member what it expects next and some of what follows. Returns whether it could.
    fn send_burst(&mut self, member: MemberIndex, seat: &Seat, io: &mut Io, now: Time) -> bool {
        if io.mutation.is(Mutant::ForgetLostTail) {
            return true;
        }
        let Some(start) = self.window.find(self.peers[usize::from(member)].next) else {
            return false;
        };
        let Some(address) = seat.address(member) else { return false };
        let (mut bytes, mut end) = (0, Slot::ZERO);
        for index in start..start + BURST_FRAMES {
            if bytes >= BURST_BYTES || io.outbox.is_full() {
                break;
            }
            let header = |first, last| {
                let slots = [first, last, self.commit];
                seat.header(FrameKind::Accept, self.tally.ballot(), slots).to(member)
            };
            let Some(kept) = self.window.get_mut(index) else { break };
            kept.resent = true;
            bytes += kept.body.len();
            end = kept.last;
            let broken = mutate_resend(&kept.body, io);
            let body = broken.as_deref().unwrap_or(&kept.body);
            io.send_one(header(kept.first, kept.last), body, address);
            io.stats.add(Counter::TxRetransmits, 1);
        }
        if end != Slot::ZERO {
            self.peers[usize::from(member)].burst_sent(end, now);
        }
        end != Slot::ZERO
    }

    /// Retransmits what is due. A member to whom no kept frame is of use is asked where it stands.
    pub(crate) fn handle_timeout(&mut self, seat: &Seat, io: &mut Io, now: Time) {
        for member in seat.others() {
            let due = self.peers[usize::from(member)].deadline.is_some_and(|due| due <= now);
            if !due {
                continue;
            }
            if !self.is_outstanding(member) {
                self.peers[usize::from(member)].deadline = None;
                continue;
            }
            // A way out that is full takes nothing more, or it would grow with every time-out.
            if !self.send_burst(member, seat, io, now) && !io.outbox.is_full() {
                self.ask_position(member, seat, io);
            }
            self.peers[usize::from(member)].back_off(now, &io.config);
        }
        if self.probe_deadline.is_some_and(|due| due <= now) {
            let number = self.tally.probe_sent();
            let silent = io.mutation.is(Mutant::ProbeOnce);
            let owes = |member| !silent && self.tally.probed(member) < number;
            for member in seat.others().filter(|&member| owes(member)) {
                if io.outbox.is_full() {
                    break;
                }
                if let Some(address) = seat.address(member) {
                    io.send_one(self.probe_header(seat, number).to(member), &[], address);
                }
            }
            self.probe_rounds += 1;
            self.arm_probe(seat, io, now);
        }
    }

    fn ask_position(&self, member: MemberIndex, seat: &Seat, io: &mut Io) {
        if let Some(address) = seat.address(member) {
            io.send_one(self.probe_header(seat, 0).to(member), &[], address);
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Time> {
        self.peers.iter().filter_map(|peer| peer.deadline).chain(self.probe_deadline).min()
    }

    /// The same leadership under a new membership.
    pub(crate) fn reseat(&mut self, old: &Membership, seat: &Seat, io: &Io, now: Time) {
        let membership = &seat.membership;
        let by_index = io.mutation.is(Mutant::ReseatByIndex);
        let old_index = |index: MemberIndex| {
            if by_index {
                return Some(index).filter(|&index| old.member(index).is_some());
            }
            membership.member(index).and_then(|member| old.index_of(member.id))
        };
        self.tally =
            self.tally.reseated(membership.voters(), membership.count(), seat.gate.own, old_index);
        self.peers = (0..membership.count())
            .map(|index| match old_index(MemberIndex(index)) {
                Some(old) => self.peers[usize::from(old)].clone(),
                None => Peer::new(self.tally.sent().next()),
            })
            .collect();
        self.probe_rounds = 0;
        self.arm_probe(seat, io, now);
        self.arm_outstanding(seat, io, now);
    }
}

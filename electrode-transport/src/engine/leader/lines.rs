//! Each member's line: where it stands, and what it is sent again.

use super::super::group::mutated::mutate_resend;
use super::{Keeper, Leader, Turn, heard_next};
use crate::config::EndpointConfig;
use crate::engine::keeper::TallyView;
use crate::engine::mutant::Mutant;
use crate::engine::peer::Peer;
use crate::ident::{MemberIndex, Slot, Time};
use crate::stats::Counter;
use crate::wire::FrameKind;

/// Frames of one burst of retransmissions to one member.
const BURST_FRAMES: usize = 32;
/// Bytes of the same: about what a default socket buffer takes.
const BURST_BYTES: usize = 64 << 10;

impl Leader {
    /// Members that have not said where they stand are asked, until they do.
    pub(crate) fn arm_outstanding(&mut self, turn: &Turn<'_, impl Keeper>) {
        for index in turn.seat.others() {
            if self.is_outstanding(index, turn) {
                self.peers[usize::from(index)].arm(turn.now, &turn.io.config);
            }
        }
    }

    /// A frame that was sent once and ends at `through` was acknowledged just now.
    pub(super) fn measure(&mut self, member: MemberIndex, through: Slot, now: Time) {
        if let Some(sample) = self.sample(through, now) {
            self.peers[usize::from(member)].measure(sample);
        }
    }

    fn sample(&self, through: Slot, now: Time) -> Option<u64> {
        let kept = self.window.find(through).and_then(|index| self.window.get(index));
        let kept = kept.filter(|kept| kept.last == through && !kept.resent)?;
        Some(now.since_ns(kept.sent_at))
    }

    /// Takes in what members have told the keeper and not this process. Nothing, and at no cost, if
    /// every reply comes by here.
    pub(crate) fn catch_up(&mut self, turn: &mut Turn<'_, impl Keeper>) {
        let (mut heard, mut moved) = (false, false);
        for member in turn.seat.others() {
            let Some(next) = heard_next(turn.keeper, member) else { continue };
            heard = true;
            let acked = turn.keeper.tally().acked(member);
            let peer = &mut self.peers[usize::from(member)];
            let progressed = acked > peer.acked;
            let looked = core::mem::replace(&mut peer.looked_at, turn.now);
            peer.acked = acked;
            if !progressed && next == peer.next {
                continue;
            }
            // When it came is unknown, but for the time of the last look: a time measured over a
            // long silence would say how often was looked, not how long the line is.
            if progressed
                && let Some(sample) = self.sample(acked, turn.now)
                && turn.now.since_ns(looked) <= sample / 2
            {
                self.peers[usize::from(member)].measure(sample);
            }
            self.note_position(member, next, progressed, false, turn);
            moved = true;
        }
        if moved {
            self.window.release(self.acked_by_all(turn));
        }
        let tally = turn.keeper.tally();
        if heard && tally.probe_quorum() >= tally.probe_sent() {
            self.probe_deadline = None;
        }
    }

    /// The member said what it expects next: send again what it lacks, if it is time.
    pub(super) fn note_position(
        &mut self,
        member: MemberIndex,
        next: Slot,
        progressed: bool,
        gap: bool,
        turn: &mut Turn<'_, impl Keeper>,
    ) {
        let sent = turn.keeper.tally().sent();
        let peer = &mut self.peers[usize::from(member)];
        let moved = progressed || next > peer.next;
        peer.next = next.min(sent.next());
        let recovering = peer.burst_end != Slot::ZERO;
        let burst_arrived = recovering && peer.next > peer.burst_end;
        if burst_arrived {
            peer.burst_end = Slot::ZERO;
        }
        let outstanding = self.is_outstanding(member, turn);
        let (config, now) = (&turn.io.config, turn.now);
        let peer = &mut self.peers[usize::from(member)];
        if moved || !outstanding {
            peer.rearm(outstanding, now, config);
        } else {
            peer.arm(now, config);
        }
        let peer = &self.peers[usize::from(member)];
        let lost = burst_arrived && self.is_overdue(peer, config, now);
        if lost || gap && peer.may_burst(now, config) {
            self.send_burst(member, turn);
        }
    }

    /// Whether the frame that the member expects next was sent long enough ago to be lost.
    fn is_overdue(&self, peer: &Peer, config: &EndpointConfig, now: Time) -> bool {
        let kept = self.window.find(peer.next).and_then(|index| self.window.get(index));
        kept.is_some_and(|kept| now.since_ns(kept.sent_at) > peer.pace_ns(config))
    }

    fn is_outstanding(&self, member: MemberIndex, turn: &Turn<'_, impl Keeper>) -> bool {
        let tally = turn.keeper.tally();
        let sent = tally.sent();
        tally.acked(member) < sent || self.peers[usize::from(member)].next <= sent
    }

    /// Sends a member what it expects next and some of what follows. Returns whether it could.
    fn send_burst(&mut self, member: MemberIndex, turn: &mut Turn<'_, impl Keeper>) -> bool {
        let Turn { seat, io, now, .. } = turn;
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
                seat.header(FrameKind::Accept, self.ballot, slots).to(member)
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
            self.peers[usize::from(member)].burst_sent(end, *now);
        }
        end != Slot::ZERO
    }

    /// Retransmits what is due. A member to whom no kept frame is of use is asked where it stands.
    pub(crate) fn handle_timeout(&mut self, turn: &mut Turn<'_, impl Keeper>) {
        if self.next_timeout().is_none_or(|due| due > turn.now) {
            return;
        }
        self.catch_up(turn);
        for member in turn.seat.others() {
            let due = self.peers[usize::from(member)].deadline.is_some_and(|due| due <= turn.now);
            if !due {
                continue;
            }
            if !self.is_outstanding(member, turn) {
                self.peers[usize::from(member)].deadline = None;
                continue;
            }
            // A way out that is full takes nothing more, or it would grow with every time-out.
            if !self.send_burst(member, turn) && !turn.io.outbox.is_full() {
                self.ask_position(member, turn);
            }
            self.peers[usize::from(member)].back_off(turn.now, &turn.io.config);
        }
        if self.probe_deadline.is_some_and(|due| due <= turn.now) {
            self.probe_again(turn);
        }
    }

    /// Asks whoever has not answered the newest probe once more.
    fn probe_again(&mut self, turn: &mut Turn<'_, impl Keeper>) {
        let Turn { keeper, seat, io, .. } = turn;
        let number = keeper.tally().probe_sent();
        let silent = io.mutation.is(Mutant::ProbeOnce);
        let owes = |member| !silent && keeper.tally().probed(member) < number;
        for member in seat.others().filter(|&member| owes(member)) {
            if io.outbox.is_full() {
                break;
            }
            if let Some(address) = seat.address(member) {
                io.send_one(self.probe_header(seat, number).to(member), &[], address);
            }
        }
        self.probe_rounds += 1;
        self.arm_probe(turn);
    }

    fn ask_position(&self, member: MemberIndex, turn: &mut Turn<'_, impl Keeper>) {
        if let Some(address) = turn.seat.address(member) {
            turn.io.send_one(self.probe_header(turn.seat, 0).to(member), &[], address);
        }
    }
}

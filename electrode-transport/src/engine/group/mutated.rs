//! What a broken group does (feature `mutants`). Without the feature every condition here is
//! constantly false and the hooks do nothing.

use std::net::SocketAddr;
use std::vec::Vec;

use super::{Group, Io};
use crate::engine::leader::Leader;
use crate::engine::mutant::Mutant;
use crate::engine::seat::Seat;
use crate::ident::{Ballot, MemberIndex, Slot, Time};
use crate::log::LogBatch;
use crate::membership::Role;
use crate::rules::{Proposal, Refusal, Tally, Verdict, VoterSet};
use crate::wire::{FrameKind, Header};

impl Group {
    /// The gate's answer, or what a broken gate says.
    #[inline(always)]
    pub(super) fn mutate_admission(
        &self,
        admitted: Result<MemberIndex, Refusal>,
        header: &Header,
        io: &Io,
    ) -> Result<MemberIndex, Refusal> {
        let is = |mutant| io.mutation.is(mutant);
        let (own, members) = (self.seat.gate.own.0, self.seat.gate.members);
        let vote = matches!(header.kind, FrameKind::Accepted | FrameKind::ProbeAck);
        let let_in = match admitted {
            Err(Refusal::ForeignCluster) => is(Mutant::SkipClusterCheck),
            Err(Refusal::Misdirected) => is(Mutant::SkipDestinationCheck),
            Err(Refusal::BadTag) => is(Mutant::SkipTagCheck),
            Err(Refusal::FutureIncarnation) => is(Mutant::SkipIncarnationCheck),
            Err(Refusal::StaleIncarnation) => {
                is(Mutant::SkipIncarnationCheck) || vote && is(Mutant::StaleIncarnationCounts)
            }
            Err(Refusal::NotMember) => is(Mutant::IndexUnchecked),
            _ => false,
        };
        if !let_in {
            return admitted;
        }
        let index = header.sender.0 % members;
        Ok(MemberIndex(if index == own { (own + 1) % members } else { index }))
    }

    /// Whether a broken group takes this frame from any address.
    #[inline(always)]
    pub(super) fn mutant_takes_any_address(header: &Header, io: &Io) -> bool {
        io.mutation.is(Mutant::SkipAddressCheck)
            || header.kind == FrameKind::Accepted && io.mutation.is(Mutant::CountStranger)
    }

    /// A broken group answers what it refuses.
    #[inline(always)]
    pub(super) fn mutate_refusal(&self, header: &Header, from: SocketAddr, io: &mut Io) {
        if io.mutation.is(Mutant::AnswerStrangers) {
            let slots = [header.ballot.0.saturating_add(1).into(), Slot::ZERO, Slot::ZERO];
            let reply = self.seat.header(FrameKind::Refused, Ballot(header.ballot.0.max(1)), slots);
            io.reply(reply, from);
        }
    }

    #[inline(always)]
    pub(super) fn mutate_lease(&mut self, io: &Io, now: Time) {
        if io.mutation.is(Mutant::IgnoreLease) {
            self.acceptor.renew(now.after_ns(self.lease_ns()));
        }
    }

    /// Before the rule is asked.
    #[inline(always)]
    pub(super) fn mutate_proposal(&mut self, proposal: &mut Proposal, io: &Io, now: Time) {
        self.mutate_lease(io, now);
        let followed = proposal.ballot == self.acceptor.ballot();
        if io.mutation.is(Mutant::AcceptFromAnyMember) && followed {
            proposal.sender = self.acceptor.leader();
        }
        if io.mutation.is(Mutant::AcceptOverGap) && proposal.first > self.acceptor.position().next {
            let _ = self.acceptor.acknowledge(proposal.ballot, proposal.first.prev());
        }
        if io.mutation.is(Mutant::FastPathStopsAtGap) && io.mutation.mark() != 0 {
            (proposal.first, proposal.last) = (Slot::MAX, Slot::MAX);
        }
    }

    /// After the rule has spoken. Whether the reply, if any, has been dealt with.
    #[inline(always)]
    pub(super) fn mutate_verdict(
        &mut self,
        verdict: Verdict,
        proposal: &Proposal,
        body: &[u8],
        from: SocketAddr,
        io: &mut Io,
    ) -> bool {
        let is = |mutant| io.mutation.is(mutant);
        let Proposal { ballot, first, last, .. } = *proposal;
        match verdict {
            Verdict::Stored if is(Mutant::StoreOtherBytes) => {
                self.rewrite(first, &[body, b"!"].concat());
            }
            Verdict::Stored if is(Mutant::YieldTwice) => self.store(proposal, body),
            Verdict::Duplicate if is(Mutant::DuplicateStoredTwice) => self.store(proposal, body),
            Verdict::Duplicate if is(Mutant::ReplaceValue) => self.rewrite(first, body),
            Verdict::Duplicate if is(Mutant::AckOnce) => return true,
            Verdict::Full if is(Mutant::AckRetransmissionAfterFull) => {
                let _ = self.acceptor.acknowledge(ballot, last);
            }
            Verdict::Stored if is(Mutant::PersistedAcksEarly) => {
                let _ = self.acceptor.acknowledge(ballot, last);
                self.claim(proposal, last, from, io);
                return true;
            }
            Verdict::Stale if is(Mutant::AckAfterFence) => {
                self.claim(proposal, last, from, io);
                return true;
            }
            Verdict::Gap if is(Mutant::GapAcked) => {
                self.claim(proposal, last, from, io);
                return true;
            }
            Verdict::Straddle if is(Mutant::StraddleAcked) => {
                self.claim(proposal, last, from, io);
                return true;
            }
            Verdict::Gap if is(Mutant::FastPathStopsAtGap) => io.mutation.set_mark(1),
            Verdict::Duplicate if is(Mutant::ResendAckedNewest) => {
                self.claim(proposal, Slot(io.mutation.mark().max(last.0)), from, io);
                return true;
            }
            Verdict::Gap if is(Mutant::ResendAckedNewest) => {
                io.mutation.set_mark(io.mutation.mark().max(last.0));
            }
            _ => {}
        }
        false
    }

    /// Acknowledges through `last`, true or not.
    fn claim(&self, proposal: &Proposal, last: Slot, from: SocketAddr, io: &mut Io) {
        let slots = [last.next(), last, Slot::ZERO];
        let reply = self.seat.header(FrameKind::Accepted, proposal.ballot, slots);
        io.reply(reply.to(proposal.sender), from);
    }

    fn store(&mut self, proposal: &Proposal, body: &[u8]) {
        if self.log.reserve(proposal.ballot, proposal.first, proposal.last, body) {
            self.log.commit();
        }
    }

    /// Puts another body into a waiting entry.
    fn rewrite(&mut self, first: Slot, body: &[u8]) {
        let mut waiting = LogBatch::with_limits(usize::MAX, usize::MAX);
        self.log.poll(&mut waiting);
        for entry in waiting.iter() {
            let body = if entry.first == first { body } else { entry.body };
            if self.log.reserve(entry.ballot, entry.first, entry.last, body) {
                self.log.commit();
            }
        }
    }

    /// What a broken leader makes of a reply before it counts it.
    #[inline(always)]
    pub(super) fn mutate_vote(
        leader: &mut Leader,
        header: &Header,
        member: MemberIndex,
        seat: &Seat,
        io: &Io,
    ) -> (Header, MemberIndex) {
        let (mut header, mut member) = (*header, member);
        let is = |mutant| io.mutation.is(mutant);
        if is(Mutant::CountOtherBallots) {
            header.ballot = leader.ballot();
        }
        if is(Mutant::CountUnsent) {
            leader.tally.arm(header.last);
        }
        if is(Mutant::CountAnyProbeAnswer) && header.kind == FrameKind::ProbeAck {
            header.first = Slot(leader.tally.probe_sent());
        }
        if is(Mutant::VotesSurviveBallot) {
            let before = io.mutation.mark().min(leader.tally.sent().0);
            leader.tally.ack(leader.ballot(), member, Slot(before));
        }
        let learner = seat.membership.member(member).is_some_and(|one| one.role == Role::Learner);
        let repeated = leader.tally.acked(member) >= header.last;
        if is(Mutant::CountLearner) && learner || is(Mutant::CountTwice) && repeated {
            let lacks = |&index: &MemberIndex| leader.tally.acked(index) < header.last;
            member = seat.others().find(lacks).unwrap_or(member);
        }
        (header, member)
    }

    /// What a broken leader starts from.
    #[inline(always)]
    pub(super) fn mutate_leader(&self, leader: &mut Leader, next: Slot, io: &Io) {
        let membership = &self.seat.membership;
        let mut voters = membership.voters();
        if io.mutation.is(Mutant::JointIgnored) {
            voters.joint = VoterSet::default();
        }
        if io.mutation.is(Mutant::QuorumOfOneLess) {
            voters.current.needed = voters.current.needed.saturating_sub(1).max(1);
        }
        let (count, own) = (membership.count(), self.seat.gate.own);
        if voters != membership.voters() {
            leader.tally = Tally::lead(leader.ballot(), next.prev(), voters, count, own);
        }
    }

    /// What a broken log yields instead of `batch`.
    #[inline(always)]
    pub(super) fn mutate_batch(&mut self, batch: &mut LogBatch, io: &Io) {
        if io.mutation.is(Mutant::ReorderLog) && batch.len() > 1 {
            let copy = batch.clone();
            batch.clear();
            for entry in copy.iter().rev() {
                batch.push(entry.ballot, entry.first, entry.last, [entry.body, &[]]);
            }
        }
        if io.mutation.is(Mutant::DropWhatDoesNotFit) && !batch.is_empty() {
            self.log.poll(&mut LogBatch::with_limits(1, 0));
        }
    }

    /// The message as a broken group hands it on.
    #[inline(always)]
    pub(super) fn mutate_message<'a>(body: &'a [u8], io: &Io) -> &'a [u8] {
        let cut = if io.mutation.is(Mutant::BeheadMessages) { body.len().min(8) } else { 0 };
        body.get(cut..).unwrap_or_default()
    }
}

/// A frame's body as a broken leader sends it again.
#[inline(always)]
pub(crate) fn mutate_resend(body: &[u8], io: &Io) -> Option<Vec<u8>> {
    io.mutation.is(Mutant::ResendOtherBytes).then(|| body.iter().map(|byte| byte ^ 1).collect())
}

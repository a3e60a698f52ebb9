//! What a broken group does (feature `mutants`). Without the feature every condition here is
//! constantly false and the hooks do nothing.

use std::net::SocketAddr;
use std::vec::Vec;

use super::{Group, Io};
use crate::engine::keeper::{Keeper, TallyView};
use crate::engine::leader::Leader;
use crate::engine::mutant::Mutant;
use crate::ident::{Ballot, MemberIndex, Slot, Time};
use crate::log::LogBatch;
use crate::membership::Role;
use crate::rules::{Acceptor, Proposal, Refusal, Verdict, VoterSet, Voters};
use crate::wire::{FrameKind, Header};

impl<K: Keeper> Group<K> {
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
            self.keeper.renew(now.after_ns(self.lease_ns()));
        }
    }

    /// Before the rule is asked.
    #[inline(always)]
    pub(super) fn mutate_proposal(&mut self, proposal: &mut Proposal, io: &Io, now: Time) {
        self.mutate_lease(io, now);
        let acceptor = self.keeper.acceptor();
        let followed = proposal.ballot == acceptor.ballot();
        if io.mutation.is(Mutant::AcceptFromAnyMember) && followed {
            proposal.sender = acceptor.leader();
        }
        if io.mutation.is(Mutant::AcceptOverGap) && proposal.first > acceptor.position().next {
            let _ = self.keeper.acknowledge(proposal.ballot, proposal.first.prev());
        }
        if io.mutation.is(Mutant::FastPathStopsAtGap) && io.mutation.mark() != 0 {
            (proposal.first, proposal.last) = (Slot::MAX, Slot::MAX);
        }
    }

    /// The rule is asked, or told of room where there is none.
    #[inline(always)]
    pub(super) fn mutate_offer(
        &mut self,
        proposal: &Proposal,
        body: &[u8],
        io: &Io,
        now: Time,
    ) -> Verdict {
        if io.mutation.is(Mutant::AckBeforeStore)
            && let Some(local) = self.keeper.local()
        {
            return local.judge(proposal, body, now, true);
        }
        self.keeper.offer(proposal, body, now)
    }

    /// After the fence was raised.
    #[inline(always)]
    pub(super) fn mutate_fence(&mut self, before: Acceptor, io: &Io) {
        if io.mutation.is(Mutant::AcceptAfterFence)
            && before.ballot() != Ballot::NONE
            && let Some(local) = self.keeper.local()
        {
            local.acceptor = before;
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
                let _ = self.keeper.acknowledge(ballot, last);
            }
            Verdict::Stored if is(Mutant::PersistedAcksEarly) => {
                let _ = self.keeper.acknowledge(ballot, last);
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
        if let Some(local) = self.keeper.local()
            && local.log.reserve(proposal.ballot, proposal.first, proposal.last, body)
        {
            local.log.commit();
        }
    }

    /// Puts another body into a waiting entry.
    fn rewrite(&mut self, first: Slot, body: &[u8]) {
        let Some(local) = self.keeper.local() else { return };
        let mut waiting = LogBatch::with_limits(usize::MAX, usize::MAX);
        local.log.poll(&mut waiting);
        for entry in waiting.iter() {
            let body = if entry.first == first { body } else { entry.body };
            if local.log.reserve(entry.ballot, entry.first, entry.last, body) {
                local.log.commit();
            }
        }
    }

    /// What a broken leader makes of a reply before it counts it.
    #[inline(always)]
    pub(super) fn mutate_vote(
        &mut self,
        header: &Header,
        member: MemberIndex,
        io: &Io,
    ) -> (Header, MemberIndex) {
        let (mut header, mut member) = (*header, member);
        let Some(ballot) = self.leader.as_ref().map(Leader::ballot) else {
            return (header, member);
        };
        let is = |mutant| io.mutation.is(mutant);
        if is(Mutant::CountOtherBallots) {
            header.ballot = ballot;
        }
        if is(Mutant::CountUnsent) {
            self.keeper.sending(header.last, false);
        }
        if is(Mutant::CountAnyProbeAnswer) && header.kind == FrameKind::ProbeAck {
            header.first = Slot(self.keeper.tally().probe_sent());
        }
        if is(Mutant::VotesSurviveBallot) {
            let before = Slot(io.mutation.mark().min(self.keeper.tally().sent().0));
            self.keeper.count(ballot, member, before, before.next());
        }
        let seat = &self.seat;
        let tally = self.keeper.tally();
        let learner = seat.membership.member(member).is_some_and(|one| one.role == Role::Learner);
        let repeated = tally.acked(member) >= header.last;
        if is(Mutant::CountLearner) && learner || is(Mutant::CountTwice) && repeated {
            let lacks = |&index: &MemberIndex| tally.acked(index) < header.last;
            member = seat.others().find(lacks).unwrap_or(member);
        }
        (header, member)
    }

    /// The quorum rule that a broken leader counts by.
    #[inline(always)]
    pub(super) fn mutate_voters(&self, mut voters: Voters, io: &Io) -> Voters {
        if io.mutation.is(Mutant::JointIgnored) {
            voters.joint = VoterSet::default();
        }
        if io.mutation.is(Mutant::QuorumOfOneLess) {
            voters.current.needed = voters.current.needed.saturating_sub(1).max(1);
        }
        voters
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
            self.keeper.poll(&mut LogBatch::with_limits(1, 0));
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

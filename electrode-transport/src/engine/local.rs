//! The rules' state in this process: what sockets and the simulated network use.

use super::keeper::{Keeper, Leading, Reseating, TallyView};
use super::ring::LogRing;
use crate::ident::{Ballot, MemberIndex, Slot, Time};
use crate::log::LogBatch;
use crate::rules::{Acceptor, AckMode, ArmError, Proposal, Tally, TallyVerdict, Verdict};

/// Keeps a group's rule state and its log in this process.
#[derive(Debug)]
pub struct LocalKeeper {
    pub(crate) acceptor: Acceptor,
    pub(crate) log: LogRing,
    /// All zero while nothing is led: then it counts nothing.
    tally: Tally,
}

impl LocalKeeper {
    /// A follower that accepts nothing yet, with room for `log_bytes` of accepted entries.
    #[must_use]
    pub fn new(mode: AckMode, log_bytes: usize) -> Self {
        Self {
            acceptor: Acceptor::new(mode),
            log: LogRing::new(log_bytes),
            tally: Tally::default(),
        }
    }

    /// As [`Keeper::offer`]. With `unstored` the rule is told of room where there is none: a broken
    /// engine's way (feature `mutants`).
    #[inline]
    pub(crate) fn judge(
        &mut self,
        proposal: &Proposal,
        body: &[u8],
        now: Time,
        unstored: bool,
    ) -> Verdict {
        let Proposal { ballot, first, last, .. } = *proposal;
        let room = self.acceptor.wants(proposal, now)
            && (self.log.reserve(ballot, first, last, body) || unstored);
        let verdict = self.acceptor.offer(proposal, now, room);
        if verdict == Verdict::Stored {
            self.log.commit();
        } else {
            self.log.discard();
        }
        verdict
    }
}

impl Keeper for LocalKeeper {
    #[inline(always)]
    fn acceptor(&self) -> Acceptor {
        self.acceptor
    }

    #[inline]
    fn raise_fence(&mut self, ballot: Ballot) -> bool {
        self.acceptor.raise_fence(ballot)
    }

    #[inline]
    fn arm(
        &mut self,
        ballot: Ballot,
        leader: MemberIndex,
        next: Slot,
        now: Time,
    ) -> Result<(), ArmError> {
        self.acceptor.arm(ballot, leader, next, now)
    }

    #[inline]
    fn acknowledge(&mut self, ballot: Ballot, through: Slot) -> Result<(), ArmError> {
        self.acceptor.acknowledge(ballot, through)
    }

    #[inline]
    fn renew(&mut self, until: Time) {
        self.acceptor.renew(until);
    }

    #[inline]
    fn offer(&mut self, proposal: &Proposal, body: &[u8], now: Time) -> Verdict {
        self.judge(proposal, body, now, false)
    }

    #[inline]
    fn probe(&mut self, ballot: Ballot, sender: MemberIndex, commit: Slot, now: Time) -> Verdict {
        self.acceptor.probe(ballot, sender, commit, now)
    }

    #[inline]
    fn poll(&mut self, batch: &mut LogBatch) {
        self.log.poll(batch);
    }

    #[inline]
    fn splits(&mut self, through: Slot) -> Option<Slot> {
        self.log.splits(through)
    }

    #[inline]
    fn discard_through(&mut self, through: Slot) {
        self.log.discard_through(through);
    }

    #[inline]
    fn polled(&self) -> Slot {
        self.log.polled()
    }

    #[inline]
    fn reset_polled(&mut self, through: Slot) {
        self.log.reset_polled(through);
    }

    #[inline]
    fn lead(&mut self, leading: &Leading) {
        let Leading { ballot, sent, voters, members, own } = *leading;
        self.tally = Tally::lead(ballot, sent, voters, members, own);
    }

    #[inline]
    fn resign(&mut self) {
        self.tally = Tally::default();
    }

    #[inline]
    fn sending(&mut self, through: Slot, vote: bool) {
        self.tally.arm(through);
        if vote {
            self.tally.ack(self.tally.ballot(), self.tally.own(), through);
        }
    }

    #[inline]
    fn count(
        &mut self,
        ballot: Ballot,
        member: MemberIndex,
        through: Slot,
        _next: Slot,
    ) -> TallyVerdict {
        self.tally.ack(ballot, member, through)
    }

    #[inline]
    fn count_probe(&mut self, ballot: Ballot, member: MemberIndex, number: u64) -> TallyVerdict {
        self.tally.probe_ack(ballot, member, number)
    }

    #[inline]
    fn start_probe(&mut self) -> u64 {
        self.tally.start_probe()
    }

    #[inline(always)]
    fn tally(&self) -> &impl TallyView {
        &self.tally
    }

    /// Every reply comes by the engine.
    #[inline(always)]
    fn heard_next(&self, _member: MemberIndex) -> Option<Slot> {
        None
    }

    fn reseat(&mut self, change: &Reseating<'_>) {
        if self.acceptor.ballot() != Ballot::NONE {
            self.acceptor.reseat(change.leader);
        }
        if self.tally.ballot() != Ballot::NONE {
            let (members, own) = (change.gate.members, change.gate.own);
            self.tally =
                self.tally.reseated(change.voters, members, own, |index| change.former(index));
        }
    }

    #[inline(always)]
    fn local(&mut self) -> Option<&mut LocalKeeper> {
        Some(self)
    }
}

//! The leader's rule: which acknowledgement is a vote, and when votes are a quorum.
//!
//! Because an acknowledgement is cumulative (invariant 3), one watermark a member says everything
//! that a set of voters for each slot would: the quorum's watermark is the highest slot that enough
//! members' watermarks have reached. There is no window entry to recycle and no bit to count twice.

use super::marks::Marks;
use crate::ident::{Ballot, MEMBERS_MAX, MemberIndex, MemberSet, Slot};

/// Voters, and how many of them it takes. All zero is met by nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct VoterSet {
    /// Whose acknowledgements count.
    pub members: MemberSet,
    /// How many of them make a quorum. Zero never does.
    pub needed: u32,
}

/// The quorum rule in force: one voter set, or two of which each must be met (a joint phase).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Voters {
    /// The voters of the membership.
    pub current: VoterSet,
    /// In a joint phase the other set; otherwise without members.
    pub joint: VoterSet,
}

impl Voters {
    /// Everybody whose acknowledgement counts in either set.
    #[must_use]
    pub const fn all(&self) -> MemberSet {
        MemberSet(self.current.members.0 | self.joint.members.0)
    }
}

/// What a leader makes of an acknowledgement. Each has its own counter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
#[non_exhaustive]
pub enum TallyVerdict {
    /// Counted, and a new quorum is there.
    Quorum = 1,
    /// Counted; no new quorum yet.
    Counted,
    /// It says nothing new.
    Repeat,
    /// Not the ballot that is led, or none is.
    Stale,
    /// The index names no member.
    NotMember,
    /// It claims more than was ever sent.
    Beyond,
}

/// The leader's state for one group. All zero is a valid start: it leads nothing and counts nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Tally {
    ballot: Ballot,
    sent: Slot,
    quorum: Slot,
    probe_sent: u64,
    probe_quorum: u64,
    voters: Voters,
    members: u32,
    own: u32,
    acked: Marks,
    probed: Marks,
}

const _: () = assert!(size_of::<Tally>() == 64 + 2 * (8 + 1) * MEMBERS_MAX);

impl Tally {
    /// Begins to count at `ballot`, with nothing acknowledged and nothing sent beyond `sent`.
    #[must_use]
    pub fn lead(ballot: Ballot, sent: Slot, voters: Voters, members: u8, own: MemberIndex) -> Self {
        let mut tally = Self::default();
        tally.begin(ballot, sent, voters, members, own);
        tally
    }

    /// As [`lead`](Self::lead), in place: a kernel program's stack does not hold a tally.
    #[inline(always)]
    pub fn begin(
        &mut self,
        ballot: Ballot,
        sent: Slot,
        voters: Voters,
        members: u8,
        own: MemberIndex,
    ) {
        self.ballot = ballot;
        self.sent = sent;
        self.quorum = Slot::ZERO;
        self.probe_sent = 0;
        self.probe_quorum = 0;
        self.seat(voters, members, own);
        self.acked.clear();
        self.probed.clear();
    }

    #[inline(always)]
    fn seat(&mut self, voters: Voters, members: u8, own: MemberIndex) {
        self.voters = voters;
        self.members =
            if members as usize > MEMBERS_MAX { MEMBERS_MAX as u32 } else { members as u32 };
        self.own = own.0 as u32;
    }

    /// Slots through `through` are about to be sent: acknowledgements of them are believable.
    /// Call it before the frame leaves. Never goes back.
    #[inline(always)]
    pub fn arm(&mut self, through: Slot) {
        if through.0 > self.sent.0 {
            self.sent = through;
        }
    }

    /// Counts `member`'s acknowledgement of every slot through `through` at `ballot`.
    #[inline(always)]
    pub fn ack(&mut self, ballot: Ballot, member: MemberIndex, through: Slot) -> TallyVerdict {
        if member.0 as usize >= MEMBERS_MAX || member.0 as u32 >= self.members {
            return TallyVerdict::NotMember;
        }
        if ballot.0 == 0 || ballot.0 != self.ballot.0 {
            return TallyVerdict::Stale;
        }
        if through.0 > self.sent.0 {
            return TallyVerdict::Beyond;
        }
        if through.0 <= self.acked.of(member) {
            return TallyVerdict::Repeat;
        }
        self.acked.raise(member, through.0, self.members);
        let reached = self.acked.reached(self.members, &self.voters);
        if reached > self.quorum.0 {
            self.quorum = Slot(reached);
            return TallyVerdict::Quorum;
        }
        TallyVerdict::Counted
    }

    /// Starts a leadership probe and returns its number. The leader's own voice is in it.
    pub fn start_probe(&mut self) -> u64 {
        self.probe_sent = self.probe_sent.saturating_add(1);
        if self.own < self.members {
            self.probed.raise(MemberIndex(self.own as u8), self.probe_sent, self.members);
        }
        self.probe_quorum = self.probe_quorum.max(self.probed.reached(self.members, &self.voters));
        self.probe_sent
    }

    /// Counts `member`'s answer to probe `number`, and so to every earlier one, at `ballot`.
    #[inline(always)]
    pub fn probe_ack(&mut self, ballot: Ballot, member: MemberIndex, number: u64) -> TallyVerdict {
        if member.0 as usize >= MEMBERS_MAX || member.0 as u32 >= self.members {
            return TallyVerdict::NotMember;
        }
        if ballot.0 == 0 || ballot.0 != self.ballot.0 {
            return TallyVerdict::Stale;
        }
        if number > self.probe_sent {
            return TallyVerdict::Beyond;
        }
        if number <= self.probed.of(member) {
            return TallyVerdict::Repeat;
        }
        self.probed.raise(member, number, self.members);
        let reached = self.probed.reached(self.members, &self.voters);
        if reached > self.probe_quorum {
            self.probe_quorum = reached;
            return TallyVerdict::Quorum;
        }
        TallyVerdict::Counted
    }

    /// The same leadership under a new membership. Everybody's marks are forgotten: indices mean
    /// others now. The caller counts again, by [`ack`](Self::ack), what those who stay had
    /// acknowledged.
    ///
    /// The watermark never falls: what a quorum of an earlier membership stored stays told. An
    /// outstanding probe is to be asked again of everybody but the leader, whose own voice is in it
    /// still.
    #[inline(always)]
    pub fn reseat(&mut self, voters: Voters, members: u8, own: MemberIndex) {
        self.seat(voters, members, own);
        self.acked.clear();
        self.probed.clear();
        if self.own < self.members {
            self.probed.raise(own, self.probe_sent, self.members);
        }
        let probed = self.probed.reached(self.members, &voters);
        if probed > self.probe_quorum {
            self.probe_quorum = probed;
        }
    }

    /// As [`reseat`](Self::reseat), with the counting again: `old_index` tells where each of the new
    /// members sat.
    #[must_use]
    pub fn reseated(
        &self,
        voters: Voters,
        members: u8,
        own: MemberIndex,
        old_index: impl Fn(MemberIndex) -> Option<MemberIndex>,
    ) -> Self {
        let mut seated = *self;
        seated.reseat(voters, members, own);
        for index in (0..members).map(MemberIndex) {
            if let Some(old) = old_index(index) {
                seated.ack(self.ballot, index, self.acked(old));
            }
        }
        seated
    }

    /// The led ballot, [`Ballot::NONE`] if nothing is led.
    #[inline(always)]
    #[must_use]
    pub const fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// The leader's own index.
    #[inline(always)]
    #[must_use]
    pub const fn own(&self) -> MemberIndex {
        MemberIndex(self.own as u8)
    }

    /// The highest slot sent.
    #[inline(always)]
    #[must_use]
    pub const fn sent(&self) -> Slot {
        self.sent
    }

    /// The highest slot stored by a quorum at this ballot, and with it every one before.
    #[inline(always)]
    #[must_use]
    pub const fn quorum(&self) -> Slot {
        self.quorum
    }

    /// The voters that have acknowledged `slot`.
    #[must_use]
    pub fn voters_of(&self, slot: Slot) -> MemberSet {
        let mut voters = MemberSet::EMPTY;
        for (member, acked) in self.acked.iter() {
            if acked >= slot.0 {
                voters = voters.with(member);
            }
        }
        MemberSet(voters.0 & self.voters.all().0)
    }

    /// The highest slot that `member` has acknowledged at this ballot; zero if none or no member.
    #[inline(always)]
    #[must_use]
    pub fn acked(&self, member: MemberIndex) -> Slot {
        Slot(self.acked.of(member))
    }

    /// The highest probe number that `member` has answered.
    #[must_use]
    pub fn probed(&self, member: MemberIndex) -> u64 {
        self.probed.of(member)
    }

    /// The newest probe's number, zero before the first.
    #[inline(always)]
    #[must_use]
    pub const fn probe_sent(&self) -> u64 {
        self.probe_sent
    }

    /// The newest probe that a quorum has answered, zero if none.
    #[inline(always)]
    #[must_use]
    pub const fn probe_quorum(&self) -> u64 {
        self.probe_quorum
    }
}

#[cfg(all(test, feature = "std"))]
#[path = "tally_tests.rs"]
mod tests;

#[cfg(all(test, feature = "std"))]
#[path = "tally_model_tests.rs"]
mod model_tests;

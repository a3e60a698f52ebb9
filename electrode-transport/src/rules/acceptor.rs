//! The follower's rule: which frame may be stored, and what an acknowledgement may claim.

use core::mem::offset_of;

use crate::ident::{Ballot, MemberIndex, Slot, Time};

/// What an acknowledgement promises. The two are named in the API and never confused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum AckMode {
    /// The library has stored the entry and said so (`acknowledge`). Survives what its storage does.
    #[default]
    Persisted = 0,
    /// The entry is in the log ring in memory, as in the Electrode paper (NSDI 2023, section 4.2).
    /// A host crash loses it, and unless the ring is pinned a process crash does too: only for
    /// protocols that recover a restarted member from a quorum before it votes (VR revisited,
    /// section 4.3).
    Received = 1,
}

/// What a follower makes of an accept frame or a probe. Each has its own counter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
#[non_exhaustive]
pub enum Verdict {
    /// New and next: it is in the log now. Acknowledged at once only in [`AckMode::Received`].
    Stored = 1,
    /// All of it was stored before: acknowledge truthfully, store nothing.
    Duplicate,
    /// Slots before it are missing: store nothing, tell the leader what is expected.
    Gap,
    /// It begins inside what is stored and ends beyond: the leader cut its frames differently before.
    Straddle,
    /// It would be stored but there is no room. No reply of any kind leaves.
    Full,
    /// Below the fence or the followed ballot: its leader is told so.
    Stale,
    /// Above the followed ballot, or nothing is followed: for the library to sort out.
    Unarmed,
    /// At the followed ballot, but not from its leader.
    NotLeader,
    /// User space has not polled within the lease: nothing is acknowledged (invariant 11).
    Lapsed,
    /// A probe at the followed ballot: answer it.
    Confirmed,
}

impl Verdict {
    /// Whether an `Accepted` (or, to a probe, a `ProbeAck`) with [`Acceptor::position`] goes back.
    #[inline(always)]
    #[must_use]
    pub const fn replies(self, mode: AckMode) -> bool {
        match self {
            Self::Stored => matches!(mode, AckMode::Received),
            Self::Duplicate | Self::Gap | Self::Straddle | Self::Confirmed => true,
            Self::Full | Self::Stale | Self::Unarmed | Self::NotLeader | Self::Lapsed => false,
        }
    }
}

/// The part of an accept frame that the rule looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proposal {
    /// The frame's ballot.
    pub ballot: Ballot,
    /// The sender, admitted by [`Gate`](super::Gate).
    pub sender: MemberIndex,
    /// The first slot it covers, at least 1.
    pub first: Slot,
    /// The last slot it covers, at least `first`.
    pub last: Slot,
    /// The leader's commit slot.
    pub commit: Slot,
}

/// What a truthful reply claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// The slot expected next: everything before it is stored.
    pub next: Slot,
    /// Every slot through this one may be counted as a vote at the followed ballot.
    pub acknowledged: Slot,
}

/// Why [`Acceptor::arm`] or [`Acceptor::acknowledge`] would break an invariant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum ArmError {
    /// The ballot is zero, not the fence's, or not the followed one.
    Ballot = 1,
    /// This ballot is followed already with another leader, or its leader left the membership.
    Leader,
    /// This ballot is followed already and has stored that slot: it cannot be taken back. Or no
    /// such slot exists.
    Slot,
}

/// The follower's state for one group. All zero is a valid start: it accepts nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Acceptor {
    fence: Ballot,
    ballot: Ballot,
    next: Slot,
    acknowledged: Slot,
    commit: Slot,
    heard: Time,
    lease_until: Time,
    leader: u8,
    mode: u8,
    /// One if the fence's ballot was followed and is no longer, else zero.
    ended: u8,
    reserved: [u8; 5],
}

const _: () = {
    assert!(size_of::<Acceptor>() == 64);
    // The order of `to_words`.
    assert!(offset_of!(Acceptor, fence) == 0 && offset_of!(Acceptor, ballot) == 8);
    assert!(offset_of!(Acceptor, next) == 16 && offset_of!(Acceptor, acknowledged) == 24);
    assert!(offset_of!(Acceptor, commit) == 32 && offset_of!(Acceptor, heard) == 40);
    assert!(offset_of!(Acceptor, lease_until) == 48 && offset_of!(Acceptor, leader) == 56);
    assert!(offset_of!(Acceptor, mode) == 57 && offset_of!(Acceptor, ended) == 58);
};

impl Acceptor {
    /// A follower that accepts nothing yet.
    #[must_use]
    pub const fn new(mode: AckMode) -> Self {
        Self {
            fence: Ballot::NONE,
            ballot: Ballot::NONE,
            next: Slot(1),
            acknowledged: Slot::ZERO,
            commit: Slot::ZERO,
            heard: Time(0),
            lease_until: Time(0),
            leader: 0,
            mode: mode as u8,
            ended: 0,
            reserved: [0; 5],
        }
    }

    /// Judges an accept frame, and if it is [`Verdict::Stored`] counts it as stored.
    ///
    /// `room` says that a place for it has been reserved and filled, so that storing cannot fail
    /// afterwards (invariant 1). On any other verdict nothing changes but what was heard when.
    #[inline(always)]
    pub fn offer(&mut self, proposal: &Proposal, now: Time, room: bool) -> Verdict {
        if let Err(verdict) = self.hear(proposal.ballot, proposal.sender, proposal.commit, now) {
            return verdict;
        }
        if proposal.last.0 < self.next.0 {
            return Verdict::Duplicate;
        }
        if proposal.first.0 > self.next.0 {
            return Verdict::Gap;
        }
        if proposal.first.0 < self.next.0 {
            return Verdict::Straddle;
        }
        if !room {
            return Verdict::Full;
        }
        self.next = proposal.last.next();
        if matches!(self.mode(), AckMode::Received) {
            self.acknowledged = proposal.last;
        }
        Verdict::Stored
    }

    /// A look without side effects, for the kernel to take before it locks and copies: whether
    /// [`offer`](Self::offer) could store the frame at all.
    #[inline(always)]
    #[must_use]
    pub fn wants(&self, proposal: &Proposal, now: Time) -> bool {
        self.standing(proposal.ballot, proposal.sender).is_ok()
            && now.0 < self.lease_until.0
            && proposal.first.0 == self.next.0
    }

    /// Judges a leadership probe: [`Verdict::Confirmed`] says that this member still follows.
    #[inline(always)]
    pub fn probe(
        &mut self,
        ballot: Ballot,
        sender: MemberIndex,
        commit: Slot,
        now: Time,
    ) -> Verdict {
        match self.hear(ballot, sender, commit, now) {
            Ok(()) => Verdict::Confirmed,
            Err(verdict) => verdict,
        }
    }

    /// Whether `sender` leads here at `ballot`.
    #[inline(always)]
    fn standing(&self, ballot: Ballot, sender: MemberIndex) -> Result<(), Verdict> {
        if ballot.0 < self.fence.0 || ballot.0 < self.ballot.0 {
            return Err(Verdict::Stale);
        }
        if self.ballot.0 == 0 || ballot.0 != self.ballot.0 {
            return Err(Verdict::Unarmed);
        }
        if sender.0 != self.leader {
            return Err(Verdict::NotLeader);
        }
        Ok(())
    }

    /// As `standing`, and notes what the leader said and that it lives. A lapsed lease does not
    /// keep a follower from hearing, only from answering.
    #[inline(always)]
    fn hear(
        &mut self,
        ballot: Ballot,
        sender: MemberIndex,
        commit: Slot,
        now: Time,
    ) -> Result<(), Verdict> {
        self.standing(ballot, sender)?;
        self.heard = now;
        if commit.0 > self.commit.0 {
            self.commit = commit;
        }
        if now.0 >= self.lease_until.0 {
            return Err(Verdict::Lapsed);
        }
        Ok(())
    }

    /// Refuses every ballot below `ballot` from now on, and stops following one (invariant 2).
    /// A fence never falls; `false` says that `ballot` is below it.
    #[inline(always)]
    pub fn raise_fence(&mut self, ballot: Ballot) -> bool {
        if ballot.0 < self.fence.0 || ballot.0 == 0 {
            return false;
        }
        if self.fence.0 < ballot.0 {
            self.fence = ballot;
            self.ballot = Ballot::NONE;
            self.ended = 0;
        }
        true
    }

    /// Follows `leader` at the fence's ballot; the log below `next` agrees with the leader's and is
    /// kept as the mode demands, so it is acknowledged from the start.
    ///
    /// Again at the same ballot and leader it moves forward over what came another way.
    ///
    /// # Errors
    /// [`ArmError`]; nothing has changed then.
    pub fn arm(
        &mut self,
        ballot: Ballot,
        leader: MemberIndex,
        next: Slot,
        now: Time,
    ) -> Result<(), ArmError> {
        if ballot.0 == 0 || ballot.0 != self.fence.0 {
            return Err(ArmError::Ballot);
        }
        if self.ended != 0 {
            return Err(ArmError::Leader);
        }
        if next.0 == 0 {
            return Err(ArmError::Slot);
        }
        if self.ballot.0 == ballot.0 {
            if self.leader != leader.0 {
                return Err(ArmError::Leader);
            }
            if next.0 < self.next.0 {
                return Err(ArmError::Slot);
            }
        } else {
            self.ballot = ballot;
            self.leader = leader.0;
            self.heard = now;
            self.acknowledged = Slot::ZERO;
        }
        self.next = next;
        self.acknowledged = Slot(self.acknowledged.0.max(next.prev().0));
        Ok(())
    }

    /// The library holds every slot through `through` as the mode demands: by storing what it
    /// polled, or by another way, and then the next expected slot moves past it.
    ///
    /// # Errors
    /// [`ArmError::Ballot`] if `ballot` is not the followed one: a late word about an earlier
    /// ballot's entries must not become a vote at this one.
    #[inline(always)]
    pub fn acknowledge(&mut self, ballot: Ballot, through: Slot) -> Result<(), ArmError> {
        if ballot.0 == 0 || ballot.0 != self.ballot.0 {
            return Err(ArmError::Ballot);
        }
        if through.0 > Slot::MAX.0 {
            return Err(ArmError::Slot);
        }
        if through.0 >= self.next.0 {
            self.next = through.next();
        }
        if through.0 > self.acknowledged.0 {
            self.acknowledged = through;
        }
        Ok(())
    }

    /// Stops following without raising the fence. The ballot cannot be followed from anew: what it
    /// stored and acknowledged here is not remembered well enough to keep its word.
    pub fn disarm(&mut self) {
        if self.ballot.0 != 0 {
            self.ended = 1;
        }
        self.ballot = Ballot::NONE;
    }

    /// The followed leader sits at another index of a new membership; `None` if it left, and then
    /// nothing is followed until a higher ballot.
    pub fn reseat(&mut self, leader: Option<MemberIndex>) {
        match leader {
            Some(index) => self.leader = index.0,
            None => self.disarm(),
        }
    }

    /// User space has polled: acknowledgements may go out until `until`.
    #[inline(always)]
    pub fn renew(&mut self, until: Time) {
        if until.0 > self.lease_until.0 {
            self.lease_until = until;
        }
    }

    /// What a reply may claim now.
    #[inline(always)]
    #[must_use]
    pub const fn position(&self) -> Position {
        Position { next: self.next, acknowledged: self.acknowledged }
    }

    /// The acknowledgement mode.
    #[inline(always)]
    #[must_use]
    pub const fn mode(&self) -> AckMode {
        if self.mode == AckMode::Received as u8 { AckMode::Received } else { AckMode::Persisted }
    }

    /// The lowest ballot that may still be accepted.
    #[inline(always)]
    #[must_use]
    pub const fn fence(&self) -> Ballot {
        self.fence
    }

    /// The followed ballot, [`Ballot::NONE`] if none is.
    #[inline(always)]
    #[must_use]
    pub const fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// Whether `ballot` is the fence's and was followed here, also if that has ended since: it
    /// cannot be led here, nor followed from anew.
    #[inline(always)]
    #[must_use]
    pub const fn has_followed(&self, ballot: Ballot) -> bool {
        ballot.0 != 0 && ballot.0 == self.fence.0 && (self.ballot.0 == ballot.0 || self.ended != 0)
    }

    /// The leader followed at [`ballot`](Self::ballot).
    #[must_use]
    pub const fn leader(&self) -> MemberIndex {
        MemberIndex(self.leader)
    }

    /// The newest commit slot heard from a followed leader.
    #[must_use]
    pub const fn commit(&self) -> Slot {
        self.commit
    }

    /// When the followed leader was last heard, or began to be followed.
    #[must_use]
    pub const fn heard(&self) -> Time {
        self.heard
    }

    /// The state as it lies in memory on a little-endian machine, in 64-bit words: for whoever
    /// mirrors it between a kernel and a process.
    #[inline(always)]
    #[must_use]
    pub const fn to_words(&self) -> [u64; 8] {
        let r = &self.reserved;
        let flags = [self.leader, self.mode, self.ended, r[0], r[1], r[2], r[3], r[4]];
        [
            self.fence.0,
            self.ballot.0,
            self.next.0,
            self.acknowledged.0,
            self.commit.0,
            self.heard.0,
            self.lease_until.0,
            u64::from_le_bytes(flags),
        ]
    }

    /// The state that [`to_words`](Self::to_words) gave. Any words are a valid state, but only words
    /// of an acceptor are one that kept the invariants.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(words: [u64; 8]) -> Self {
        let [fence, ballot, next, acknowledged, commit, heard, lease_until, flags] = words;
        let [leader, mode, ended, reserved @ ..] = flags.to_le_bytes();
        Self {
            fence: Ballot(fence),
            ballot: Ballot(ballot),
            next: Slot(next),
            acknowledged: Slot(acknowledged),
            commit: Slot(commit),
            heard: Time(heard),
            lease_until: Time(lease_until),
            leader,
            mode,
            ended,
            reserved,
        }
    }

    /// When acknowledgements stop unless user space polls again.
    #[must_use]
    pub const fn lease_until(&self) -> Time {
        self.lease_until
    }
}

#[cfg(all(test, feature = "std"))]
#[path = "acceptor_tests.rs"]
mod tests;

#[cfg(all(test, feature = "std"))]
#[path = "acceptor_model_tests.rs"]
mod model_tests;

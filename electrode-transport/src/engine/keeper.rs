//! Who keeps a group's rule state and its log.
//!
//! The engine asks the rules through a [`Keeper`] and never holds their state itself: it is in this
//! process ([`LocalKeeper`](super::LocalKeeper)), or in a kernel's memory, where programs judge
//! frames before they ever become datagrams. Either way it is [`Acceptor`] and [`Tally`] that decide.

use core::fmt::Debug;

use super::local::LocalKeeper;
use crate::ident::{Ballot, MEMBERS_MAX, MemberIndex, MemberSet, Slot, Time};
use crate::log::LogBatch;
use crate::membership::Membership;
use crate::rules::{Acceptor, ArmError, Gate, Proposal, Tally, TallyVerdict, Verdict, Voters};

/// Keeps the state of both rules, and the log between acceptance and `poll_log`, for one group.
/// Dropping it ends the group: nothing is accepted or counted for it any more. Only a keeper whose state
/// is meant to outlive its process leaves the group as it is, unless [`end`](Self::end) came first.
///
/// Every call happens under the engine's lock. A keeper whose state others change too (a kernel)
/// makes each call one atomic step of that state.
///
/// A keeper that cannot carry a call out answers as the rule does when it refuses: `false`,
/// [`ArmError::Ballot`], [`Verdict::Full`], [`TallyVerdict::Stale`]. Nothing has changed then.
pub trait Keeper: Debug + Send + 'static {
    /// The follower's state as it stands. What a leader's frames change (`next`, `acknowledged`,
    /// `commit`, `heard`) may be newer in the next call; within one answer everything belongs
    /// together, because replies are made of it.
    fn acceptor(&self) -> Acceptor;

    /// As [`Acceptor::raise_fence`]. When it returns, everything accepted before is in the log.
    fn raise_fence(&mut self, ballot: Ballot) -> bool;

    /// As [`Acceptor::arm`].
    ///
    /// # Errors
    /// As there.
    fn arm(
        &mut self,
        ballot: Ballot,
        leader: MemberIndex,
        next: Slot,
        now: Time,
    ) -> Result<(), ArmError>;

    /// As [`Acceptor::acknowledge`].
    ///
    /// # Errors
    /// As there.
    fn acknowledge(&mut self, ballot: Ballot, through: Slot) -> Result<(), ArmError>;

    /// As [`Acceptor::renew`].
    fn renew(&mut self, until: Time);

    /// Judges an accept frame that came as a datagram, and stores its body if it is
    /// [`Verdict::Stored`]: a look ([`Acceptor::wants`]), reserve and copy, [`Acceptor::offer`],
    /// commit or discard.
    fn offer(&mut self, proposal: &Proposal, body: &[u8], now: Time) -> Verdict;

    /// As [`Acceptor::probe`].
    fn probe(&mut self, ballot: Ballot, sender: MemberIndex, commit: Slot, now: Time) -> Verdict;

    /// Moves accepted entries into `batch`, in slot order, while they fit.
    fn poll(&mut self, batch: &mut LogBatch);

    /// Whether the slot lies inside a waiting record without being its last: its end then.
    fn splits(&mut self, through: Slot) -> Option<Slot>;

    /// Drops waiting records that end at or before `through`: the library has them already.
    fn discard_through(&mut self, through: Slot);

    /// The last slot that [`poll`](Self::poll) has handed out at the followed ballot.
    fn polled(&self) -> Slot;

    /// A new ballot counts from anew: everything through `through` was handed out.
    fn reset_polled(&mut self, through: Slot);

    /// Begins to count, as [`Tally::lead`]. Nobody has been heard yet.
    fn lead(&mut self, leading: &Leading);

    /// Counts no more: the tally leads nothing.
    fn resign(&mut self);

    /// Frames through `through` are about to leave, as [`Tally::arm`]; with `vote` the leader's own
    /// acknowledgement of them is counted too, as [`Tally::ack`].
    ///
    /// A kernel that sees the frames leave may do both there: then the watermark rises with the
    /// frame, and the backend tells of it by [`Engine::stir`](super::Engine::stir). But
    /// [`TallyView::sent`] is `through` from the next call on.
    fn sending(&mut self, through: Slot, vote: bool);

    /// As [`Tally::ack`]. Unless that refuses it, or `next` is zero, the member expects `next`:
    /// [`heard_next`](Self::heard_next), if it says anything, says so from now on.
    fn count(
        &mut self,
        ballot: Ballot,
        member: MemberIndex,
        through: Slot,
        next: Slot,
    ) -> TallyVerdict;

    /// As [`Tally::probe_ack`].
    fn count_probe(&mut self, ballot: Ballot, member: MemberIndex, number: u64) -> TallyVerdict;

    /// As [`Tally::start_probe`].
    fn start_probe(&mut self) -> u64;

    /// The leader's state as it stands: watermarks may be newer in the next call.
    fn tally(&self) -> &impl TallyView;

    /// What a member has said last that it expects next, in whichever reply, also one that this
    /// process never saw; [`Slot::ZERO`] if it has said nothing since this leadership, or the
    /// membership in force, began.
    ///
    /// `None`, from every member and always, if every reply comes by this process: then the engine
    /// knows.
    fn heard_next(&self, member: MemberIndex) -> Option<Slot>;

    /// Another membership is in force.
    fn reseat(&mut self, change: &Reseating<'_>);

    /// The highest ballot that this member led in an earlier life, of a keeper whose state outlives a
    /// process: it is not led again. Asked for once, before anything else.
    fn led(&self) -> Ballot {
        Ballot::NONE
    }

    /// The library closes the group: the keeper is dropped next, and nothing of the group is left.
    fn end(&mut self) {}

    /// The state, if it is in this process: only what is broken on purpose (feature `mutants`)
    /// reaches past the rules.
    #[doc(hidden)]
    fn local(&mut self) -> Option<&mut LocalKeeper> {
        None
    }
}

/// What a leadership begins with: the arguments of [`Tally::lead`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leading {
    /// The ballot to count at.
    pub ballot: Ballot,
    /// Nothing beyond this slot has been sent.
    pub sent: Slot,
    /// The quorum rule.
    pub voters: Voters,
    /// How many members the membership has.
    pub members: u8,
    /// This node's own index.
    pub own: MemberIndex,
}

/// A change of membership as the rules see it. Everything but the memberships is plain data.
#[derive(Clone, Copy, Debug)]
pub struct Reseating<'a> {
    /// The membership until now.
    pub old: &'a Membership,
    /// The membership in force from now on, with everybody's address.
    pub new: &'a Membership,
    /// What frames must match from now on.
    pub gate: Gate,
    /// The quorum rule from now on.
    pub voters: Voters,
    /// The new index of whom the acceptor follows, `None` if it left: for [`Acceptor::reseat`], if
    /// anything is followed. Otherwise it means nothing.
    pub leader: Option<MemberIndex>,
    /// Where each of the new members sat, by new index: for [`Tally::reseated`], if anything is led.
    pub former: [Option<MemberIndex>; MEMBERS_MAX],
}

impl Reseating<'_> {
    /// Where a new member sat.
    #[must_use]
    pub fn former(&self, index: MemberIndex) -> Option<MemberIndex> {
        self.former.get(usize::from(index)).copied().flatten()
    }
}

/// How a [`Tally`] reads, wherever it is kept.
pub trait TallyView {
    /// As [`Tally::sent`].
    fn sent(&self) -> Slot;
    /// As [`Tally::quorum`].
    fn quorum(&self) -> Slot;
    /// As [`Tally::acked`].
    fn acked(&self, member: MemberIndex) -> Slot;
    /// As [`Tally::probed`].
    fn probed(&self, member: MemberIndex) -> u64;
    /// As [`Tally::probe_sent`].
    fn probe_sent(&self) -> u64;
    /// As [`Tally::probe_quorum`].
    fn probe_quorum(&self) -> u64;
    /// As [`Tally::voters_of`].
    fn voters_of(&self, slot: Slot) -> MemberSet;
}

impl TallyView for Tally {
    #[inline(always)]
    fn sent(&self) -> Slot {
        self.sent()
    }

    #[inline(always)]
    fn quorum(&self) -> Slot {
        self.quorum()
    }

    #[inline(always)]
    fn acked(&self, member: MemberIndex) -> Slot {
        self.acked(member)
    }

    #[inline(always)]
    fn probed(&self, member: MemberIndex) -> u64 {
        self.probed(member)
    }

    #[inline(always)]
    fn probe_sent(&self) -> u64 {
        self.probe_sent()
    }

    #[inline(always)]
    fn probe_quorum(&self) -> u64 {
        self.probe_quorum()
    }

    #[inline]
    fn voters_of(&self, slot: Slot) -> MemberSet {
        self.voters_of(slot)
    }
}

//! The calls of a follower, and the acknowledgements that they send.

use super::{Group, Io};
use crate::capabilities::Interest;
use crate::contract::Result;
use crate::engine::keeper::{Keeper, TallyView};
use crate::engine::mutant::Mutant;
use crate::error::TransportError;
use crate::ident::{Ballot, Slot, Time};
use crate::log::{FollowerStatus, LogBatch};
use crate::rules::{Acceptor, ArmError};
use crate::wire::{FrameKind, Header, flags};

impl<K: Keeper> Group<K> {
    pub(super) fn lease_ns(&self) -> u64 {
        u64::try_from(self.config.lease.as_nanos()).unwrap_or(u64::MAX)
    }

    /// When those who wait for the log must be woken to show that they are alive: half a lease before
    /// it runs out. Whoever then polls renews it; a task that was dropped or hangs does not.
    pub(super) fn roll_call(&self, io: &Io) -> Option<Time> {
        if !self.wakers.is_waiting(Interest::Log) || io.mutation.is(Mutant::NoRollCall) {
            return None;
        }
        let acceptor = self.keeper.acceptor();
        (acceptor.ballot() != Ballot::NONE)
            .then(|| Time(acceptor.lease_until().0.saturating_sub(self.lease_ns() / 2)))
    }

    pub(crate) fn poll_log(&mut self, batch: &mut LogBatch, io: &Io, now: Time) -> usize {
        self.keeper.renew(now.after_ns(self.lease_ns()));
        batch.clear();
        self.keeper.poll(batch);
        self.mutate_batch(batch, io);
        batch.set_status(self.status(now));
        batch.len()
    }

    fn status(&self, now: Time) -> FollowerStatus {
        let acceptor = self.keeper.acceptor();
        let (ballot, fence) = (acceptor.ballot(), acceptor.fence());
        let position = acceptor.position();
        // At the fence's own ballot there is news too, as long as nobody is followed or leads here.
        let settled = acceptor.has_followed(fence) || self.led >= fence;
        let news = self.observed > fence || self.observed == fence && !settled;
        FollowerStatus {
            ballot,
            commit: acceptor.commit(),
            next: position.next,
            acknowledged: position.acknowledged,
            heard_ago: (ballot != Ballot::NONE)
                .then(|| std::time::Duration::from_nanos(now.since_ns(acceptor.heard()))),
            higher_ballot: (news && self.observed != Ballot::NONE).then_some(self.observed),
        }
    }

    pub(crate) fn acknowledge(&mut self, ballot: Ballot, through: Slot, io: &mut Io) -> Result<()> {
        if self.leader.as_ref().is_some_and(|leader| leader.ballot() == ballot) {
            return self.acknowledge_own(ballot, through, io);
        }
        if through > self.keeper.polled()
            && let Some(last) = self.keeper.splits(through)
        {
            return Err(TransportError::InsideFrame { through, last });
        }
        let before = self.keeper.acceptor().position();
        let late = io.mutation.is(Mutant::LateWordVotes);
        let ballot = if late { self.keeper.acceptor().ballot() } else { ballot };
        self.keeper.acknowledge(ballot, through).map_err(|error| match error {
            ArmError::Slot => {
                TransportError::SlotOutOfOrder { offered: through, expected: before.next }
            }
            _ => TransportError::NotFollowing { ballot },
        })?;
        if !io.mutation.is(Mutant::YieldAcknowledged) {
            self.keeper.discard_through(through);
        }
        if self.keeper.acceptor().position() != before {
            self.send_position(io);
        }
        Ok(())
    }

    /// The leader's own vote, under the same rule as everybody's.
    fn acknowledge_own(&mut self, ballot: Ballot, through: Slot, io: &mut Io) -> Result<()> {
        let own = self.seat.gate.own;
        self.leading(ballot)?;
        let expected = self.keeper.tally().sent();
        if through > expected {
            return Err(TransportError::SlotOutOfOrder { offered: through, expected });
        }
        let before = self.keeper.tally().quorum();
        self.keeper.count(ballot, own, through, through.next());
        if self.keeper.tally().quorum() > before {
            self.wakers.fire(Interest::Quorum, &mut io.wakes);
            self.wakers.fire(Interest::Window, &mut io.wakes);
        }
        Ok(())
    }

    /// Tells the followed leader where this member stands.
    pub(super) fn send_position(&self, io: &mut Io) {
        let acceptor = self.keeper.acceptor();
        if let Some(address) = self.seat.address(acceptor.leader()) {
            io.reply(self.accepted(&acceptor, false).to(acceptor.leader()), address);
        }
    }

    pub(super) fn accepted(&self, acceptor: &Acceptor, gap: bool) -> Header {
        let position = acceptor.position();
        let mut header = self.seat.header(
            FrameKind::Accepted,
            acceptor.ballot(),
            [position.next, position.acknowledged, Slot::ZERO],
        );
        if gap {
            header.flags |= flags::GAP;
        }
        header
    }
}

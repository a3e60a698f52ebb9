//! One group's state: a follower's, a leader's, or neither. Here is what both roles share; the calls
//! of each role and what arrives are in files of their own.

mod arrivals;
mod following;
mod leading;
pub(super) mod mutated;

use std::sync::Arc;
use std::vec::Vec;

use super::inbox::Inbox;
use super::keeper::{Keeper, Leading, Reseating, TallyView};
use super::leader::{Leader, Turn};
use super::mutant::Mutant;
use super::seat::Seat;
use super::wakers::Wakers;
use super::window::Window;
use super::{Io, News};
use crate::capabilities::Interest;
use crate::config::GroupConfig;
use crate::contract::Result;
use crate::error::{ConfigError, TransportError};
use crate::ident::{Ballot, MEMBERS_MAX, MemberIndex, NodeId, Slot, Time};
use crate::log::{FenceToken, Fenced, LogBatch};
use crate::membership::Membership;
use crate::rules::{Acceptor, ArmError};
use crate::stats::Counter;
use crate::wire::FrameKind;

#[derive(Debug)]
pub(crate) struct Group<K> {
    config: GroupConfig,
    pub(crate) seat: Seat,
    /// The state of both rules, and the log.
    keeper: K,
    leader: Option<Leader>,
    /// Whom the acceptor follows, or last followed, by name.
    followed: NodeId,
    /// The highest ballot ever led here: leading it again could give one slot two values.
    led: Ballot,
    /// The highest ballot seen on a frame that was refused for being ahead.
    observed: Ballot,
    inbox: Inbox,
    wakers: Wakers,
}

impl<K: Keeper> Group<K> {
    pub(crate) fn new(config: GroupConfig, seat: Seat, keeper: K) -> Self {
        Self {
            leader: None,
            followed: followed(&keeper.acceptor(), &seat),
            led: keeper.led(),
            seat,
            keeper,
            observed: Ballot::NONE,
            inbox: Inbox::new(config.inbox_messages),
            wakers: Wakers::default(),
            config,
        }
    }

    /// The leader, if this member is one, with what it works with.
    fn turn<'a>(&'a mut self, io: &'a mut Io, now: Time) -> Option<(&'a mut Leader, Turn<'a, K>)> {
        let leader = self.leader.as_mut()?;
        Some((leader, Turn { keeper: &mut self.keeper, seat: &self.seat, io, now }))
    }

    pub(crate) fn fence(&mut self, ballot: Ballot, io: &mut Io) -> Result<Fenced> {
        let before = self.keeper.acceptor();
        if !self.keeper.raise_fence(ballot) && !io.mutation.is(Mutant::FenceFalls) {
            let current = before.fence();
            return Err(TransportError::BallotBackwards { offered: ballot, current });
        }
        self.mutate_fence(before, io);
        if self.leader.as_ref().is_some_and(|leader| leader.ballot() < ballot) {
            io.mutation.set_mark(self.keeper.tally().quorum().0);
            self.end_leadership(io);
        }
        let mut entries = LogBatch::with_limits(usize::MAX, usize::MAX);
        if !io.mutation.is(Mutant::FenceKeepsEntries) {
            self.keeper.poll(&mut entries);
        }
        if io.mutation.is(Mutant::FenceLosesEntries) {
            entries.clear();
        }
        Ok(Fenced { token: FenceToken::issue(self.config.group, ballot), entries })
    }

    fn check_token(&self, token: &FenceToken, io: &Io) -> Result<Ballot> {
        let (group, ballot) = (token.group(), token.ballot());
        let stale = group != self.config.group || ballot != self.keeper.acceptor().fence();
        if stale && !io.mutation.is(Mutant::StaleTokenLeads) {
            return Err(TransportError::StaleToken { group, ballot });
        }
        Ok(ballot)
    }

    pub(crate) fn lead(
        &mut self,
        token: &FenceToken,
        next: Slot,
        io: &mut Io,
        now: Time,
    ) -> Result<()> {
        let ballot = self.check_token(token, io)?;
        if self.led >= ballot && !io.mutation.is(Mutant::LeadTwice) {
            return Err(TransportError::LeaderConflict { ballot, leader: io.config.node });
        }
        if self.keeper.acceptor().has_followed(ballot) {
            return Err(TransportError::LeaderConflict { ballot, leader: self.followed });
        }
        check_next(next)?;
        let window = Window::new(self.config.window_frames, self.config.window_bytes);
        let (members, own) = (self.seat.gate.members, self.seat.gate.own);
        let voters = self.mutate_voters(self.seat.membership.voters(), io);
        self.keeper.lead(&Leading { ballot, sent: next.prev(), voters, members, own });
        self.leader = Some(Leader::new(ballot, next, members, window));
        self.led = ballot;
        if let Some((leader, turn)) = self.turn(io, now) {
            leader.arm_outstanding(&turn);
        }
        Ok(())
    }

    pub(crate) fn follow(
        &mut self,
        token: &FenceToken,
        leader: NodeId,
        next: Slot,
        io: &mut Io,
        now: Time,
    ) -> Result<()> {
        let ballot = self.check_token(token, io)?;
        let index = self
            .seat
            .membership
            .index_of(leader)
            .ok_or(ConfigError::UnknownMember { member: leader })?;
        if self.led >= ballot || index == self.seat.gate.own {
            return Err(TransportError::LeaderConflict { ballot, leader: io.config.node });
        }
        check_next(next)?;
        let again = self.keeper.acceptor().ballot() == ballot;
        if let Some(last) = self.keeper.splits(next.prev()) {
            return Err(TransportError::InsideFrame { through: next.prev(), last });
        }
        self.keeper.arm(ballot, index, next, now).map_err(|error| match error {
            ArmError::Slot => TransportError::SlotOutOfOrder {
                offered: next,
                expected: self.keeper.acceptor().position().next,
            },
            _ => TransportError::LeaderConflict { ballot, leader: self.followed },
        })?;
        self.followed = leader;
        if again {
            self.keeper.discard_through(next.prev());
        } else {
            self.keeper.reset_polled(next.prev());
        }
        self.keeper.renew(now.after_ns(self.lease_ns()));
        self.send_position(io);
        Ok(())
    }

    pub(crate) fn resign(&mut self, ballot: Ballot, io: &mut Io) -> Result<()> {
        self.leading(ballot)?;
        if !io.mutation.is(Mutant::ResignKeepsLeading) {
            self.end_leadership(io);
        }
        Ok(())
    }

    fn end_leadership(&mut self, io: &mut Io) {
        self.leader = None;
        self.keeper.resign();
        for interest in [Interest::Quorum, Interest::Window, Interest::Probe] {
            self.wakers.fire(interest, &mut io.wakes);
        }
    }

    pub(crate) fn reconfigure(
        &mut self,
        membership: Membership,
        io: &mut Io,
        now: Time,
    ) -> Result<()> {
        let (offered, current) = (membership.incarnation(), self.seat.gate.incarnation);
        if offered <= current {
            return Err(ConfigError::IncarnationBackwards { offered, current }.into());
        }
        let config = GroupConfig { membership: membership.clone(), ..self.config.clone() };
        config.validate(&io.config)?;
        let seat = Seat::new(config.group, membership, &io.config)?;
        if let Some((leader, mut turn)) = self.turn(io, now) {
            // What the keeper heard until now, it heard of the old indices.
            leader.catch_up(&mut turn);
        }
        let old = core::mem::replace(&mut self.seat, seat).membership;
        let new = Arc::clone(&self.seat.membership);
        self.config = config;
        let by_index = io.mutation.is(Mutant::ReseatByIndex);
        let change = Reseating {
            old: &old,
            new: &new,
            gate: self.seat.gate,
            voters: new.voters(),
            leader: new.index_of(self.followed),
            former: former_seats(&old, &new, by_index),
        };
        self.keeper.reseat(&change);
        if let Some((leader, mut turn)) = self.turn(io, now) {
            leader.reseat(&change, &mut turn);
        }
        self.wakers.fire_all(&mut io.wakes);
        Ok(())
    }

    /// As [`Engine::stir`](super::Engine::stir).
    pub(crate) fn stir(&mut self, news: News, io: &mut Io, now: Time) {
        if (news.quorum || news.probe)
            && let Some((leader, mut turn)) = self.turn(io, now)
        {
            leader.catch_up(&mut turn);
        }
        let fired: [(bool, &[Interest]); 3] = [
            (news.log, &[Interest::Log]),
            (news.quorum, &[Interest::Quorum, Interest::Window]),
            (news.probe, &[Interest::Probe]),
        ];
        for &interest in fired.iter().filter(|(is, _)| *is).flat_map(|(_, interests)| *interests) {
            self.wakers.fire(interest, &mut io.wakes);
        }
    }

    /// The way out has room again.
    pub(crate) fn fire_window(&mut self, io: &mut Io) {
        self.wakers.fire(Interest::Window, &mut io.wakes);
    }

    /// As [`Keeper::end`].
    pub(crate) fn end(&mut self) {
        self.keeper.end();
    }

    pub(crate) fn fire_all(&mut self, io: &mut Io) {
        self.wakers.fire_all(&mut io.wakes);
    }

    pub(crate) fn watch(&mut self, interest: Interest, waker: &std::task::Waker) {
        self.wakers.register(interest, waker);
    }

    pub(crate) fn send(&mut self, to: NodeId, body: &[u8], io: &mut Io) -> Result<()> {
        let member =
            self.seat.membership.index_of(to).ok_or(ConfigError::UnknownMember { member: to })?;
        if member == self.seat.gate.own {
            return Err(TransportError::SendToSelf { member: to });
        }
        let max = io.config.body_len_max();
        if body.len() > max {
            return Err(TransportError::TooLarge { len: body.len(), max });
        }
        if !io.has_room() {
            io.stats.add(Counter::TxBackpressure, 1);
            return Err(TransportError::Backpressure);
        }
        let header = self.seat.header(FrameKind::Message, Ballot::NONE, [Slot::ZERO; 3]).to(member);
        if let Some(address) = self.seat.address(member) {
            io.send_one(header, body, address);
        }
        Ok(())
    }

    pub(crate) fn recv(&mut self, body: &mut Vec<u8>) -> Option<NodeId> {
        self.inbox.pop(body)
    }

    pub(crate) fn handle_timeout(&mut self, io: &mut Io, now: Time) {
        if let Some((leader, mut turn)) = self.turn(io, now) {
            leader.handle_timeout(&mut turn);
        }
        if self.roll_call(io).is_some_and(|due| due <= now) {
            self.wakers.fire(Interest::Log, &mut io.wakes);
        }
    }

    pub(crate) fn next_timeout(&self, io: &Io) -> Option<Time> {
        self.leader
            .as_ref()
            .and_then(Leader::next_timeout)
            .into_iter()
            .chain(self.roll_call(io))
            .min()
    }
}

/// Whom a keeper that comes from an earlier life follows, or last followed.
fn followed(acceptor: &Acceptor, seat: &Seat) -> NodeId {
    let leader = acceptor.has_followed(acceptor.fence()).then(|| acceptor.leader());
    leader.and_then(|index| seat.membership.member(index)).map_or(NodeId(0), |leader| leader.id)
}

/// Where each of the new members sat; a broken engine thinks that places are people.
fn former_seats(
    old: &Membership,
    new: &Membership,
    by_index: bool,
) -> [Option<MemberIndex>; MEMBERS_MAX] {
    core::array::from_fn(|place| {
        let index = MemberIndex(place as u8);
        let member = new.member(index)?;
        if by_index {
            return old.member(index).map(|_| index);
        }
        old.index_of(member.id)
    })
}

fn check_next(next: Slot) -> Result<()> {
    if next == Slot::ZERO || next > Slot::MAX {
        return Err(TransportError::SlotOutOfOrder { offered: next, expected: Slot(1) });
    }
    Ok(())
}

//! One group's state: a follower's, a leader's, or neither. Here is what both roles share; the calls
//! of each role and what arrives are in files of their own.

mod arrivals;
mod following;
mod leading;
pub(super) mod mutated;

use std::vec::Vec;

use super::Io;
use super::inbox::Inbox;
use super::leader::Leader;
use super::mutant::Mutant;
use super::ring::LogRing;
use super::seat::Seat;
use super::wakers::Wakers;
use super::window::Window;
use crate::capabilities::Interest;
use crate::config::{EndpointConfig, GroupConfig};
use crate::contract::Result;
use crate::error::{ConfigError, TransportError};
use crate::ident::{Ballot, NodeId, Slot, Time};
use crate::log::{FenceToken, Fenced, LogBatch};
use crate::membership::Membership;
use crate::rules::{Acceptor, ArmError};
use crate::stats::Counter;
use crate::wire::FrameKind;

#[derive(Debug)]
pub(crate) struct Group {
    config: GroupConfig,
    pub(crate) seat: Seat,
    acceptor: Acceptor,
    log: LogRing,
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

impl Group {
    pub(crate) fn new(config: GroupConfig, endpoint: &EndpointConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            seat: Seat::new(config.group, config.membership.clone(), endpoint)?,
            acceptor: Acceptor::new(config.mode),
            log: LogRing::new(config.log_bytes),
            leader: None,
            followed: NodeId(0),
            led: Ballot::NONE,
            observed: Ballot::NONE,
            inbox: Inbox::new(config.inbox_messages),
            wakers: Wakers::default(),
            config,
        })
    }

    pub(crate) fn fence(&mut self, ballot: Ballot, io: &mut Io) -> Result<Fenced> {
        let current = self.acceptor.fence();
        let before = self.acceptor;
        if !self.acceptor.raise_fence(ballot) && !io.mutation.is(Mutant::FenceFalls) {
            return Err(TransportError::BallotBackwards { offered: ballot, current });
        }
        if io.mutation.is(Mutant::AcceptAfterFence) && before.ballot() != Ballot::NONE {
            self.acceptor = before;
        }
        if self.leader.as_ref().is_some_and(|leader| leader.ballot() < ballot) {
            io.mutation.set_mark(self.leader.as_ref().map_or(0, |leader| leader.tally.quorum().0));
            self.end_leadership(io);
        }
        let mut entries = LogBatch::with_limits(usize::MAX, usize::MAX);
        if !io.mutation.is(Mutant::FenceKeepsEntries) {
            self.log.poll(&mut entries);
        }
        if io.mutation.is(Mutant::FenceLosesEntries) {
            entries.clear();
        }
        Ok(Fenced { token: FenceToken::issue(self.config.group, ballot), entries })
    }

    fn check_token(&self, token: &FenceToken, io: &Io) -> Result<Ballot> {
        let (group, ballot) = (token.group(), token.ballot());
        let stale = group != self.config.group || ballot != self.acceptor.fence();
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
        if self.acceptor.has_followed(ballot) {
            return Err(TransportError::LeaderConflict { ballot, leader: self.followed });
        }
        check_next(next)?;
        let window = Window::new(self.config.window_frames, self.config.window_bytes);
        let mut leader = Leader::new(ballot, next, &self.seat, window);
        self.mutate_leader(&mut leader, next, io);
        leader.arm_outstanding(&self.seat, io, now);
        self.leader = Some(leader);
        self.led = ballot;
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
        let again = self.acceptor.ballot() == ballot;
        if let Some(last) = self.log.splits(next.prev()) {
            return Err(TransportError::InsideFrame { through: next.prev(), last });
        }
        self.acceptor.arm(ballot, index, next, now).map_err(|error| match error {
            ArmError::Slot => TransportError::SlotOutOfOrder {
                offered: next,
                expected: self.acceptor.position().next,
            },
            _ => TransportError::LeaderConflict { ballot, leader: self.followed },
        })?;
        self.followed = leader;
        if again {
            self.log.discard_through(next.prev());
        } else {
            self.log.reset_polled(next.prev());
        }
        self.acceptor.renew(now.after_ns(self.lease_ns()));
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
        let old = core::mem::replace(&mut self.seat, seat);
        self.config = config;
        if self.acceptor.ballot() != Ballot::NONE {
            self.acceptor.reseat(self.seat.membership.index_of(self.followed));
        }
        if let Some(leader) = &mut self.leader {
            leader.reseat(&old.membership, &self.seat, io, now);
        }
        self.wakers.fire_all(&mut io.wakes);
        Ok(())
    }

    /// The way out has room again.
    pub(crate) fn fire_window(&mut self, io: &mut Io) {
        self.wakers.fire(Interest::Window, &mut io.wakes);
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
        if let Some(leader) = &mut self.leader {
            leader.handle_timeout(&self.seat, io, now);
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

fn check_next(next: Slot) -> Result<()> {
    if next == Slot::ZERO || next > Slot::MAX {
        return Err(TransportError::SlotOutOfOrder { offered: next, expected: Slot(1) });
    }
    Ok(())
}

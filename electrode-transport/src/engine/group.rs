//! One group's state: a follower's, a leader's, or neither.

use std::net::SocketAddr;
use std::vec::Vec;

use super::Io;
use super::inbox::Inbox;
use super::leader::Leader;
use super::ring::LogRing;
use super::seat::Seat;
use super::wakers::Wakers;
use super::window::Window;
use crate::capabilities::{Acked, Interest, Probe, Quorum};
use crate::config::{EndpointConfig, GroupConfig};
use crate::contract::Result;
use crate::error::{ConfigError, TransportError};
use crate::ident::{Ballot, MemberIndex, NodeId, Slot, Time};
use crate::log::{FenceToken, Fenced, FollowerStatus, Frame, LogBatch};
use crate::membership::Membership;
use crate::rules::{Acceptor, ArmError, Proposal, Refusal, Verdict};
use crate::stats::Counter;
use crate::wire::{FrameKind, HEADER_LEN, Header, flags, tag_frame};

#[derive(Debug)]
pub(crate) struct Group {
    config: GroupConfig,
    pub(crate) seat: Seat,
    acceptor: Acceptor,
    log: LogRing,
    leader: Option<Leader>,
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
            led: Ballot::NONE,
            observed: Ballot::NONE,
            inbox: Inbox::new(config.inbox_messages),
            wakers: Wakers::default(),
            config,
        })
    }

    // ---- control -------------------------------------------------------------------------------

    pub(crate) fn fence(&mut self, ballot: Ballot, io: &mut Io) -> Result<Fenced> {
        let current = self.acceptor.fence();
        if !self.acceptor.raise_fence(ballot) {
            return Err(TransportError::BallotBackwards { offered: ballot, current });
        }
        if self.leader.as_ref().is_some_and(|leader| leader.ballot() < ballot) {
            self.end_leadership(io);
        }
        let mut entries = LogBatch::with_limits(usize::MAX, usize::MAX);
        self.log.poll(&mut entries);
        Ok(Fenced { token: FenceToken::issue(self.config.group, ballot), entries })
    }

    fn check_token(&self, token: &FenceToken) -> Result<Ballot> {
        let (group, ballot) = (token.group(), token.ballot());
        if group != self.config.group || ballot != self.acceptor.fence() {
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
        let ballot = self.check_token(token)?;
        if self.led >= ballot {
            return Err(TransportError::LeaderConflict { ballot, leader: io.config.node });
        }
        if self.acceptor.ballot() == ballot {
            return Err(self.conflict(ballot, self.acceptor.leader()));
        }
        check_next(next)?;
        let window = Window::new(self.config.window_frames, self.config.window_bytes);
        let mut leader = Leader::new(ballot, next, &self.seat, window);
        leader.arm_outstanding(&self.seat, io, now);
        self.leader = Some(leader);
        self.led = ballot;
        Ok(())
    }

    fn conflict(&self, ballot: Ballot, leader: MemberIndex) -> TransportError {
        let leader = self.seat.membership.member(leader).map_or(NodeId(0), |member| member.id);
        TransportError::LeaderConflict { ballot, leader }
    }

    pub(crate) fn follow(
        &mut self,
        token: &FenceToken,
        leader: NodeId,
        next: Slot,
        io: &mut Io,
        now: Time,
    ) -> Result<()> {
        let ballot = self.check_token(token)?;
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
            _ => self.conflict(ballot, self.acceptor.leader()),
        })?;
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
        self.end_leadership(io);
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
        let followed = old.membership.member(self.acceptor.leader()).map(|member| member.id);
        if self.acceptor.ballot() != Ballot::NONE {
            self.acceptor.reseat(followed.and_then(|id| self.seat.membership.index_of(id)));
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

    // ---- leader --------------------------------------------------------------------------------

    fn leading(&mut self, ballot: Ballot) -> Result<&mut Leader> {
        self.leader
            .as_mut()
            .filter(|leader| leader.ballot() == ballot)
            .ok_or(TransportError::NotLeading { ballot })
    }

    pub(crate) fn broadcast(
        &mut self,
        ballot: Ballot,
        frames: &[Frame<'_>],
        io: &mut Io,
        now: Time,
    ) -> Result<usize> {
        let mode = self.config.mode;
        self.leading(ballot)?;
        let Some(leader) = &mut self.leader else {
            return Err(TransportError::NotLeading { ballot });
        };
        let before = leader.quorum().through;
        let taken = leader.broadcast(frames, mode, &self.seat, io, now);
        if leader.quorum().through > before {
            self.wakers.fire(Interest::Quorum, &mut io.wakes);
            self.wakers.fire(Interest::Window, &mut io.wakes);
        }
        taken
    }

    pub(crate) fn quorum(&mut self, ballot: Ballot) -> Result<Quorum> {
        self.leading(ballot).map(|leader| leader.quorum())
    }

    pub(crate) fn acked(&mut self, ballot: Ballot) -> Result<Acked> {
        let seat = self.seat.clone();
        self.leading(ballot).map(|leader| leader.acked(&seat))
    }

    pub(crate) fn set_commit(&mut self, ballot: Ballot, commit: Slot) -> Result<()> {
        self.leading(ballot).map(|leader| leader.set_commit(commit))
    }

    pub(crate) fn probe(&mut self, ballot: Ballot, io: &mut Io, now: Time) -> Result<Probe> {
        self.leading(ballot)?;
        let Some(leader) = &mut self.leader else {
            return Err(TransportError::NotLeading { ballot });
        };
        let probe = leader.start_probe(&self.seat, io, now);
        if leader.tally.probe_quorum() >= probe.number {
            self.wakers.fire(Interest::Probe, &mut io.wakes);
        }
        Ok(probe)
    }

    pub(crate) fn confirmed(&mut self, probe: Probe) -> Result<bool> {
        let leader = self.leading(probe.ballot)?;
        if leader.tally.probe_quorum() >= probe.number {
            return Ok(true);
        }
        match leader.superseded() {
            Some(by) => Err(TransportError::Superseded { ballot: probe.ballot, by }),
            None => Ok(false),
        }
    }

    // ---- follower ------------------------------------------------------------------------------

    fn lease_ns(&self) -> u64 {
        self.config.lease.as_nanos() as u64
    }

    pub(crate) fn poll_log(&mut self, batch: &mut LogBatch, now: Time) -> usize {
        self.acceptor.renew(now.after_ns(self.lease_ns()));
        batch.clear();
        self.log.poll(batch);
        batch.set_status(self.status(now));
        batch.len()
    }

    fn status(&self, now: Time) -> FollowerStatus {
        let ballot = self.acceptor.ballot();
        let position = self.acceptor.position();
        let current = ballot.max(self.acceptor.fence());
        FollowerStatus {
            ballot,
            commit: self.acceptor.commit(),
            next: position.next,
            acknowledged: position.acknowledged,
            heard_ago: (ballot != Ballot::NONE)
                .then(|| std::time::Duration::from_nanos(now.since_ns(self.acceptor.heard()))),
            higher_ballot: (self.observed > current).then_some(self.observed),
        }
    }

    pub(crate) fn acknowledge(&mut self, ballot: Ballot, through: Slot, io: &mut Io) -> Result<()> {
        if self.leader.as_ref().is_some_and(|leader| leader.ballot() == ballot) {
            return self.acknowledge_own(ballot, through, io);
        }
        if through > self.log.polled()
            && let Some(last) = self.log.splits(through)
        {
            return Err(TransportError::InsideFrame { through, last });
        }
        let before = self.acceptor.position();
        self.acceptor.acknowledge(ballot, through).map_err(|error| match error {
            ArmError::Slot => {
                TransportError::SlotOutOfOrder { offered: through, expected: before.next }
            }
            _ => TransportError::NotFollowing { ballot },
        })?;
        self.log.discard_through(through);
        if self.acceptor.position() != before {
            self.send_position(io);
        }
        Ok(())
    }

    /// The leader's own vote, under the same rule as everybody's.
    fn acknowledge_own(&mut self, ballot: Ballot, through: Slot, io: &mut Io) -> Result<()> {
        let own = self.seat.gate.own;
        let leader = self.leading(ballot)?;
        let expected = leader.tally.sent();
        if through > expected {
            return Err(TransportError::SlotOutOfOrder { offered: through, expected });
        }
        let before = leader.tally.quorum();
        leader.tally.ack(ballot, own, through);
        if leader.tally.quorum() > before {
            self.wakers.fire(Interest::Quorum, &mut io.wakes);
            self.wakers.fire(Interest::Window, &mut io.wakes);
        }
        Ok(())
    }

    /// Tells the followed leader where this member stands.
    fn send_position(&self, io: &mut Io) {
        if let Some(address) = self.seat.address(self.acceptor.leader()) {
            io.reply(self.accepted(false).to(self.acceptor.leader()), address);
        }
    }

    fn accepted(&self, gap: bool) -> Header {
        let position = self.acceptor.position();
        let mut header = self.seat.header(
            FrameKind::Accepted,
            self.acceptor.ballot(),
            [position.next, position.acknowledged, Slot::ZERO],
        );
        if gap {
            header.flags |= flags::GAP;
        }
        header
    }

    // ---- messages ------------------------------------------------------------------------------

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

    // ---- arrivals ------------------------------------------------------------------------------

    /// A well-formed frame of this group and cluster. Ends in exactly one `Rx*` counter.
    pub(crate) fn handle_frame(
        &mut self,
        header: &Header,
        datagram: &[u8],
        from: SocketAddr,
        io: &mut Io,
        now: Time,
    ) {
        let member = match self.admit(header, datagram, from, io) {
            Ok(member) => member,
            Err(refusal) => return io.stats.add(refusal.into(), 1),
        };
        let body = datagram.get(HEADER_LEN..).unwrap_or_default();
        match header.kind {
            FrameKind::Accept => self.handle_accept(header, body, member, from, io, now),
            FrameKind::Probe => self.handle_probe(header, member, from, io, now),
            FrameKind::Accepted | FrameKind::ProbeAck => self.handle_reply(header, member, io, now),
            FrameKind::Refused => self.handle_refused(header, io),
            FrameKind::Message => self.handle_message(member, body, io),
        }
    }

    /// Invariant 10. A message reaches no rule, so it may come from a member of another incarnation;
    /// then only its address says who it is.
    fn admit(
        &self,
        header: &Header,
        datagram: &[u8],
        from: SocketAddr,
        io: &Io,
    ) -> Result<MemberIndex, Refusal> {
        let member = match self.seat.gate.admit(header) {
            Ok(member) if self.seat.address(member) == Some(from) => member,
            Ok(_) => return Err(Refusal::WrongAddress),
            Err(Refusal::StaleIncarnation | Refusal::FutureIncarnation)
                if header.kind == FrameKind::Message =>
            {
                self.seat.at(from).ok_or(Refusal::WrongAddress)?
            }
            Err(refusal) => return Err(refusal),
        };
        if let Some(key) = &io.config.key {
            let (head, body) = datagram.split_first_chunk().ok_or(Refusal::BadTag)?;
            if !header.is_tagged() || tag_frame(key, head, body) != header.tag {
                return Err(Refusal::BadTag);
            }
        }
        Ok(member)
    }

    fn handle_accept(
        &mut self,
        header: &Header,
        body: &[u8],
        member: MemberIndex,
        from: SocketAddr,
        io: &mut Io,
        now: Time,
    ) {
        let proposal = Proposal {
            ballot: header.ballot,
            sender: member,
            first: header.first,
            last: header.last,
            commit: header.commit,
        };
        self.attend(now);
        let commit = self.acceptor.commit();
        let room = self.acceptor.wants(&proposal, now)
            && self.log.reserve(proposal.ballot, proposal.first, proposal.last, body);
        let verdict = self.acceptor.offer(&proposal, now, room);
        if verdict == Verdict::Stored {
            self.log.commit();
        } else {
            self.log.discard();
        }
        io.stats.add(verdict.into(), 1);
        if verdict == Verdict::Stored || self.acceptor.commit() > commit {
            self.wakers.fire(Interest::Log, &mut io.wakes);
        }
        if verdict.replies(self.acceptor.mode()) {
            io.reply(self.accepted(verdict == Verdict::Gap).to(member), from);
        } else {
            self.handle_foreign_ballot(verdict, header, member, from, io);
        }
    }

    fn handle_probe(
        &mut self,
        header: &Header,
        member: MemberIndex,
        from: SocketAddr,
        io: &mut Io,
        now: Time,
    ) {
        self.attend(now);
        let commit = self.acceptor.commit();
        let verdict = self.acceptor.probe(header.ballot, member, header.commit, now);
        io.stats.add(verdict.into(), 1);
        if self.acceptor.commit() > commit {
            self.wakers.fire(Interest::Log, &mut io.wakes);
        }
        if verdict == Verdict::Confirmed {
            let position = self.acceptor.position();
            let slots = [header.first, position.acknowledged, position.next];
            let reply = self.seat.header(FrameKind::ProbeAck, header.ballot, slots);
            io.reply(reply.to(member), from);
        } else {
            self.handle_foreign_ballot(verdict, header, member, from, io);
        }
    }

    /// Whoever waits for the log is alive: its lease runs from the arrival that wakes it.
    fn attend(&mut self, now: Time) {
        if self.wakers.is_waiting(Interest::Log) {
            self.acceptor.renew(now.after_ns(self.lease_ns()));
        }
    }

    /// A leader of the past is told so; one of the future is shown to the library.
    fn handle_foreign_ballot(
        &mut self,
        verdict: Verdict,
        header: &Header,
        member: MemberIndex,
        from: SocketAddr,
        io: &mut Io,
    ) {
        match verdict {
            Verdict::Stale => {
                let promised = Slot(self.acceptor.fence().0);
                let slots = [promised, Slot::ZERO, Slot::ZERO];
                let reply = self.seat.header(FrameKind::Refused, header.ballot, slots);
                io.reply(reply.to(member), from);
            }
            Verdict::Unarmed if header.ballot > self.observed => {
                self.observed = header.ballot;
                self.wakers.fire(Interest::Log, &mut io.wakes);
                self.supersede(header.ballot, io);
            }
            _ => {}
        }
    }

    fn supersede(&mut self, by: Ballot, io: &mut Io) {
        if self.leader.as_mut().is_some_and(|leader| leader.supersede(by)) {
            for interest in [Interest::Quorum, Interest::Probe] {
                self.wakers.fire(interest, &mut io.wakes);
            }
        }
    }

    fn handle_reply(&mut self, header: &Header, member: MemberIndex, io: &mut Io, now: Time) {
        let Some(leader) = &mut self.leader else {
            return io.stats.add(Counter::RxAckStale, 1);
        };
        let heard = leader.handle_reply(header, member, &self.seat, io, now);
        if heard.quorum {
            self.wakers.fire(Interest::Quorum, &mut io.wakes);
            self.wakers.fire(Interest::Window, &mut io.wakes);
        }
        if heard.probe {
            self.wakers.fire(Interest::Probe, &mut io.wakes);
        }
    }

    fn handle_refused(&mut self, header: &Header, io: &mut Io) {
        io.stats.add(Counter::RxRefused, 1);
        if self.leader.as_ref().is_some_and(|leader| leader.ballot() == header.ballot) {
            self.supersede(Ballot(header.first.0), io);
        }
    }

    fn handle_message(&mut self, member: MemberIndex, body: &[u8], io: &mut Io) {
        let Some(from) = self.seat.membership.member(member).map(|member| member.id) else {
            return io.stats.add(Counter::RxNotMember, 1);
        };
        if self.inbox.push(from, body) {
            io.stats.add(Counter::RxMessage, 1);
            self.wakers.fire(Interest::Message, &mut io.wakes);
        } else {
            io.stats.add(Counter::RxInboxFull, 1);
        }
    }

    // ---- time ----------------------------------------------------------------------------------

    pub(crate) fn handle_timeout(&mut self, io: &mut Io, now: Time) {
        if let Some(leader) = &mut self.leader {
            leader.handle_timeout(&self.seat, io, now);
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Time> {
        self.leader.as_ref().and_then(Leader::next_timeout)
    }
}

fn check_next(next: Slot) -> Result<()> {
    if next == Slot::ZERO || next > Slot::MAX {
        return Err(TransportError::SlotOutOfOrder { offered: next, expected: Slot(1) });
    }
    Ok(())
}

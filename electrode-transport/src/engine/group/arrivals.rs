//! What arrives: admission, then the rules, then the reply.

use std::net::SocketAddr;

use super::{Group, Io};
use crate::capabilities::Interest;
use crate::engine::keeper::Keeper;
use crate::engine::mutant::Mutant;
use crate::ident::{Ballot, MemberIndex, Slot, Time};
use crate::rules::{Proposal, Refusal, Verdict};
use crate::stats::Counter;
use crate::wire::{FrameKind, HEADER_LEN, Header, tag_frame};

impl<K: Keeper> Group<K> {
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
            Err(refusal) => {
                self.mutate_refusal(header, from, io);
                return io.stats.add(refusal.into(), 1);
            }
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
        let admitted = self.mutate_admission(self.seat.gate.admit(header), header, io);
        let member = match admitted {
            Ok(member) if self.seat.address(member) == Some(from) => member,
            Ok(member) if Self::mutant_takes_any_address(header, io) => member,
            Ok(_) => return Err(Refusal::WrongAddress),
            Err(Refusal::StaleIncarnation | Refusal::FutureIncarnation)
                if header.kind == FrameKind::Message =>
            {
                if header.is_tagged() && io.config.key.is_none() {
                    return Err(Refusal::BadTag);
                }
                self.seat.at(from).ok_or(Refusal::WrongAddress)?
            }
            Err(refusal) => return Err(refusal),
        };
        if let Some(key) = &io.config.key
            && !io.mutation.is(Mutant::SkipTagCheck)
        {
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
        let mut proposal = Proposal {
            ballot: header.ballot,
            sender: member,
            first: header.first,
            last: header.last,
            commit: header.commit,
        };
        self.mutate_proposal(&mut proposal, io, now);
        let commit = self.keeper.acceptor().commit();
        let verdict = self.mutate_offer(&proposal, body, io, now);
        io.stats.add(verdict.into(), 1);
        let told = self.mutate_verdict(verdict, &proposal, body, from, io);
        let news = verdict == Verdict::Stored && !io.mutation.is(Mutant::LogWakeUpLost);
        let acceptor = self.keeper.acceptor();
        if news || acceptor.commit() > commit {
            self.wakers.fire(Interest::Log, &mut io.wakes);
        }
        if told {
            return;
        }
        if verdict.replies(acceptor.mode()) {
            io.reply(self.accepted(&acceptor, verdict == Verdict::Gap).to(member), from);
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
        self.mutate_lease(io, now);
        let commit = self.keeper.acceptor().commit();
        let verdict = self.keeper.probe(header.ballot, member, header.commit, now);
        io.stats.add(verdict.into(), 1);
        let acceptor = self.keeper.acceptor();
        if acceptor.commit() > commit {
            self.wakers.fire(Interest::Log, &mut io.wakes);
        }
        let past = verdict == Verdict::Stale && io.mutation.is(Mutant::ProbeIgnoresFence);
        if verdict == Verdict::Confirmed || past {
            let position = acceptor.position();
            let slots = [header.first, position.acknowledged, position.next];
            let reply = self.seat.header(FrameKind::ProbeAck, header.ballot, slots);
            io.reply(reply.to(member), from);
        } else {
            self.handle_foreign_ballot(verdict, header, member, from, io);
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
                let promised = Slot(self.keeper.acceptor().fence().0);
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
        let (header, member) = self.mutate_vote(header, member, io);
        let Some((leader, mut turn)) = self.turn(io, now) else {
            return io.stats.add(Counter::RxAckStale, 1);
        };
        let heard = leader.handle_reply(&header, member, &mut turn);
        if heard.quorum && !io.mutation.is(Mutant::LostWakeUp) {
            self.wakers.fire(Interest::Quorum, &mut io.wakes);
            self.wakers.fire(Interest::Window, &mut io.wakes);
        }
        if heard.probe {
            self.wakers.fire(Interest::Probe, &mut io.wakes);
        }
    }

    fn handle_refused(&mut self, header: &Header, io: &mut Io) {
        io.stats.add(Counter::RxRefused, 1);
        let ours = self.leader.as_ref().is_some_and(|leader| leader.ballot() == header.ballot);
        if ours && !io.mutation.is(Mutant::IgnoreRefusal) {
            self.supersede(Ballot(header.first.0), io);
        }
    }

    fn handle_message(&mut self, member: MemberIndex, body: &[u8], io: &mut Io) {
        let Some(from) = self.seat.membership.member(member).map(|member| member.id) else {
            return io.stats.add(Counter::RxNotMember, 1);
        };
        if self.inbox.push(from, Self::mutate_message(body, io)) {
            io.stats.add(Counter::RxMessage, 1);
            self.wakers.fire(Interest::Message, &mut io.wakes);
        } else {
            io.stats.add(Counter::RxInboxFull, 1);
        }
    }
}

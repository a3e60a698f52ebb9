//! The calls of a leader.

use super::{Group, Io};
use crate::capabilities::{Acked, Interest, Probe, Quorum};
use crate::contract::Result;
use crate::engine::leader::Leader;
use crate::engine::mutant::Mutant;
use crate::error::TransportError;
use crate::ident::{Ballot, Slot, Time};
use crate::log::Frame;
use crate::rules::AckMode;

impl Group {
    pub(super) fn leading(&mut self, ballot: Ballot) -> Result<&mut Leader> {
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
        let early = io.mutation.is(Mutant::OwnVoteEarly);
        let mode = if early { AckMode::Received } else { self.config.mode };
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

    pub(crate) fn quorum(&mut self, ballot: Ballot, io: &mut Io) -> Result<Quorum> {
        let mut quorum = self.leading(ballot)?.quorum();
        if io.mutation.is(Mutant::ToldOnce) {
            let before = io.mutation.mark();
            io.mutation.set_mark(quorum.through.0);
            quorum.through = Slot(if quorum.through.0 > before { quorum.through.0 } else { 0 });
        }
        Ok(quorum)
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

    pub(crate) fn confirmed(&mut self, probe: Probe, io: &Io) -> Result<bool> {
        let leader = self.leading(probe.ballot)?;
        let unasked = io.mutation.is(Mutant::ConfirmAtOnce);
        if leader.tally.probe_quorum() >= probe.number || unasked {
            return Ok(true);
        }
        match leader.superseded() {
            Some(by) => Err(TransportError::Superseded { ballot: probe.ballot, by }),
            None => Ok(false),
        }
    }
}

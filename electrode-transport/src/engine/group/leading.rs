//! The calls of a leader.

use super::{Group, Io};
use crate::capabilities::{Acked, Interest, Probe, Quorum};
use crate::contract::Result;
use crate::engine::keeper::{Keeper, TallyView};
use crate::engine::leader::Leader;
use crate::engine::mutant::Mutant;
use crate::error::TransportError;
use crate::ident::{Ballot, Slot, Time};
use crate::log::Frame;
use crate::rules::AckMode;

impl<K: Keeper> Group<K> {
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
        let before = self.keeper.tally().quorum();
        let Some((leader, mut turn)) = self.turn(io, now) else {
            return Err(TransportError::NotLeading { ballot });
        };
        let taken = leader.broadcast(frames, mode, &mut turn);
        if self.keeper.tally().quorum() > before {
            self.wakers.fire(Interest::Quorum, &mut io.wakes);
            self.wakers.fire(Interest::Window, &mut io.wakes);
        }
        taken
    }

    pub(crate) fn quorum(&mut self, ballot: Ballot, io: &mut Io) -> Result<Quorum> {
        self.leading(ballot)?;
        let Some(leader) = &self.leader else {
            return Err(TransportError::NotLeading { ballot });
        };
        let mut quorum = leader.quorum(&self.keeper);
        if io.mutation.is(Mutant::ToldOnce) {
            let before = io.mutation.mark();
            io.mutation.set_mark(quorum.through.0);
            quorum.through = Slot(if quorum.through.0 > before { quorum.through.0 } else { 0 });
        }
        Ok(quorum)
    }

    pub(crate) fn acked(&mut self, ballot: Ballot) -> Result<Acked> {
        self.leading(ballot)?;
        let Some(leader) = &self.leader else {
            return Err(TransportError::NotLeading { ballot });
        };
        Ok(leader.acked(&self.keeper, &self.seat))
    }

    pub(crate) fn set_commit(&mut self, ballot: Ballot, commit: Slot) -> Result<()> {
        self.leading(ballot).map(|leader| leader.set_commit(commit))
    }

    pub(crate) fn probe(&mut self, ballot: Ballot, io: &mut Io, now: Time) -> Result<Probe> {
        self.leading(ballot)?;
        let Some((leader, mut turn)) = self.turn(io, now) else {
            return Err(TransportError::NotLeading { ballot });
        };
        let probe = leader.start_probe(&mut turn);
        if self.keeper.tally().probe_quorum() >= probe.number {
            self.wakers.fire(Interest::Probe, &mut io.wakes);
        }
        Ok(probe)
    }

    pub(crate) fn confirmed(&mut self, probe: Probe, io: &Io) -> Result<bool> {
        let superseded = self.leading(probe.ballot)?.superseded();
        let unasked = io.mutation.is(Mutant::ConfirmAtOnce);
        if self.keeper.tally().probe_quorum() >= probe.number || unasked {
            return Ok(true);
        }
        match superseded {
            Some(by) => Err(TransportError::Superseded { ballot: probe.ballot, by }),
            None => Ok(false),
        }
    }
}

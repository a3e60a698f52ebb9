//! Leading: recovered values first, then batches of commands, many slots on their way at once.

use std::collections::BTreeMap;
use std::time::Duration;

use electrode_transport::{AckMode, Ballot, Frame, Probe, QuorumTransport, Slot, TransportError};

use super::requests::PendingRead;
use super::{Replica, Result, Role};
use crate::error::ReplicaError;
use crate::machine::StateMachine;
use crate::message::Message;
use crate::store::{LogEntry, LogStore};
use crate::value;

/// Frames handed to the transport in one call.
const FRAMES_MAX: usize = 64;

/// A member that leads.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) ballot: Ballot,
    /// The first slot that is this leadership's own. Once it is chosen, so is everything that an
    /// earlier leader may have answered a client about.
    pub(super) barrier: Slot,
    /// The highest slot in the own log.
    stored: Slot,
    /// The highest slot that the transport has taken.
    sent: Slot,
    heartbeat_at: Duration,
    /// When a quorum was last known to follow.
    pub(super) confirmed_at: Duration,
    pub(super) probe: Option<Probe>,
    /// The reads that `probe` will confirm.
    pub(super) reads: Vec<PendingRead>,
}

impl Leader {
    pub(super) fn in_flight(&self, chosen: Slot) -> usize {
        self.stored.0.saturating_sub(chosen.0) as usize
    }
}

impl<T: QuorumTransport, L: LogStore, S: StateMachine> Replica<T, L, S> {
    /// Begins to lead with what phase 1 found above `chosen`: every slot up to the highest gets the
    /// value of the highest ballot, or nothing where nobody had one, and one slot more is the
    /// leadership's own.
    pub(super) fn lead(&mut self, mut values: BTreeMap<Slot, (Ballot, Vec<u8>)>) -> Result<()> {
        let Some(token) = &self.token else { return Ok(()) };
        let ballot = token.ballot();
        let first = self.chosen.next();
        let barrier = values.last_key_value().map_or(first, |(slot, _)| slot.next());
        let max = self.value_len_max();
        let mut entries = Vec::new();
        for slot in (first.0..=barrier.0).map(Slot) {
            let value = match values.remove(&slot) {
                Some((_, value)) => {
                    self.counters.values_recovered += 1;
                    value
                }
                None => {
                    self.counters.holes_filled += u64::from(slot < barrier);
                    value::noop()
                }
            };
            if value.len() > max {
                return Err(ReplicaError::ValueTooLarge { slot, len: value.len(), max });
            }
            entries.push(LogEntry { slot, ballot, value });
        }
        self.transport.lead(token, first)?;
        self.put(entries)?;
        self.counters.leaderships += 1;
        self.fetch = None;
        self.role = Role::Leader(Leader {
            ballot,
            barrier,
            stored: barrier,
            sent: self.chosen,
            heartbeat_at: self.now,
            confirmed_at: self.now,
            probe: None,
            reads: Vec::new(),
        });
        self.send_to_others(&Message::Lead { ballot, chosen: self.chosen })?;
        self.poll_leader()
    }

    pub(super) fn leader_deadline(&self, leader: &Leader) -> Duration {
        let room = leader.in_flight(self.chosen) < self.config.slots_in_flight_max;
        if self.requests.has_queued() && room { self.now } else { leader.heartbeat_at }
    }

    pub(super) fn poll_leader(&mut self) -> Result<()> {
        if !self.poll_quorum()? {
            return Ok(());
        }
        self.propose_queued()?;
        self.broadcast_stored()?;
        self.vote()?;
        if self.poll_quorum()? {
            self.beat()?;
        }
        Ok(())
    }

    /// Learns how far the quorum has come; `false` if the leadership is over.
    fn poll_quorum(&mut self) -> Result<bool> {
        let Role::Leader(leader) = &self.role else { return Ok(false) };
        let ballot = leader.ballot;
        let quorum = self.transport.quorum(ballot)?;
        if quorum.through > self.chosen {
            self.set_chosen(quorum.through)?;
            self.transport.set_commit(ballot, quorum.through)?;
        }
        if let Some(by) = quorum.superseded_by {
            self.note_ballot(by);
            self.step_down()?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Cuts what waits into values, as many slots as may be on their way.
    fn propose_queued(&mut self) -> Result<()> {
        let max = self.value_len_max();
        let Role::Leader(leader) = &mut self.role else { return Ok(()) };
        let mut entries = Vec::new();
        while leader.in_flight(self.chosen) < self.config.slots_in_flight_max
            && let Some((value, commands)) = self.requests.cut(max)
        {
            leader.stored = leader.stored.next();
            self.counters.slots_proposed += 1;
            self.counters.commands_proposed += commands;
            entries.push(LogEntry { slot: leader.stored, ballot: leader.ballot, value });
        }
        self.put(entries)?;
        Ok(())
    }

    /// Hands the transport what it has room for. The rest is in the log and follows.
    fn broadcast_stored(&mut self) -> Result<()> {
        let Role::Leader(leader) = &mut self.role else { return Ok(()) };
        while leader.sent < leader.stored {
            let frames: Vec<_> = self
                .unapplied
                .range(leader.sent.next()..)
                .take(FRAMES_MAX)
                .map(|(&slot, value)| Frame::single(slot, value))
                .collect();
            match self.transport.try_broadcast(leader.ballot, &frames) {
                Ok(taken) => leader.sent = Slot(leader.sent.0 + taken as u64),
                Err(TransportError::Backpressure) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The leader's own vote, under everybody's rule: what it votes for is synced. The frames have
    /// left already, so that the followers' syncs run meanwhile.
    fn vote(&mut self) -> Result<()> {
        let Role::Leader(leader) = &self.role else { return Ok(()) };
        if self.config.mode == AckMode::Persisted {
            let (ballot, sent) = (leader.ballot, leader.sent);
            let own = self.transport.acked(ballot)?.of(self.seats.node);
            if own.is_none_or(|own| own.acked < sent) {
                self.store.sync()?;
                self.transport.acknowledge(ballot, sent)?;
            }
        }
        Ok(())
    }

    /// Lets everybody know that this leader lives, tells those who lag to catch up, and gives up if
    /// it has not reached a quorum for as long as an election takes.
    fn beat(&mut self) -> Result<()> {
        let Role::Leader(leader) = &mut self.role else { return Ok(()) };
        if self.now < leader.heartbeat_at {
            return Ok(());
        }
        leader.heartbeat_at = self.now + self.config.heartbeat;
        let ballot = leader.ballot;
        if self.now.saturating_sub(leader.confirmed_at) > self.config.election_max {
            return self.step_down();
        }
        let probe = self.transport.probe(ballot)?;
        // An older probe that reads wait for is confirmed by this one's answers as well.
        leader.probe.get_or_insert(probe);
        let behind = self.transport.acked(ballot)?.behind();
        for progress in behind {
            let message = Message::Lead { ballot, chosen: self.chosen };
            self.send(progress.member, &message)?;
        }
        Ok(())
    }
}

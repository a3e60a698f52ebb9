//! The follower's fast path: entries from the transport into the log, one sync for many, then the
//! acknowledgement.

use electrode_transport::{AckMode, LogBatch, QuorumTransport, Slot};

use super::{Replica, Result, Role};
use crate::ballots;
use crate::error::ReplicaError;
use crate::machine::StateMachine;
use crate::store::{LogEntry, LogStore};

/// Batches of one poll: the rest waits for the next, so that messages and timers have their turn.
const BATCHES_MAX: usize = 8;
/// Bytes of the log read at once.
const READ_BYTES: usize = 1 << 20;

impl<T: QuorumTransport, L: LogStore, S: StateMachine> Replica<T, L, S> {
    pub(super) fn poll_entries(&mut self) -> Result<()> {
        if matches!(self.role, Role::Recovering(_)) {
            return Ok(());
        }
        let mut batch = core::mem::take(&mut self.batch);
        let polled = self.poll_batches(&mut batch);
        let status = *batch.status();
        self.batch = batch;
        let stored = polled?;
        if stored {
            self.store.sync()?;
            self.acknowledge(self.accepted)?;
        }
        if let Role::Follower(follower) = &mut self.role
            && follower.leader.is_some()
            && status.ballot == self.promised
        {
            let ago = status.heard_ago.unwrap_or_default();
            follower.heard = follower.heard.max(self.now.saturating_sub(ago));
            self.commit = self.commit.max(status.commit);
            self.advance_chosen()?;
        }
        match status.higher_ballot {
            Some(ballot) if ballot > self.promised && ballots::is_sane(ballot) => {
                self.adopt(ballot)
            }
            _ => Ok(()),
        }
    }

    /// Whether anything was put into the store.
    fn poll_batches(&mut self, batch: &mut LogBatch) -> Result<bool> {
        let mut stored = false;
        for _ in 0..BATCHES_MAX {
            if self.transport.try_poll_log(batch)? == 0 {
                break;
            }
            stored |= self.accept(batch)?;
        }
        Ok(stored)
    }

    /// Puts accepted entries into the store, not synced yet. Entries that came by state transfer
    /// meanwhile are left out. Returns whether there were any.
    pub(super) fn accept(&mut self, batch: &LogBatch) -> Result<bool> {
        let mut entries = Vec::with_capacity(batch.len());
        let before = self.accepted;
        for entry in batch.iter().filter(|entry| entry.last > before) {
            let expected = self.accepted.next();
            if entry.first != expected || entry.last != expected {
                return Err(ReplicaError::OutOfOrder { slot: entry.first, expected });
            }
            self.accepted = entry.last;
            let value = entry.body.to_vec();
            entries.push(LogEntry { slot: entry.first, ballot: entry.ballot, value });
        }
        self.put(entries)
    }

    /// Puts entries into the store and keeps their values for applying. Returns whether there were
    /// any.
    pub(super) fn put(&mut self, entries: Vec<LogEntry>) -> Result<bool> {
        if entries.is_empty() {
            return Ok(false);
        }
        self.store.put(&entries)?;
        let applied = self.applied;
        self.unapplied.extend(
            entries
                .into_iter()
                .filter(|entry| entry.slot > applied)
                .map(|entry| (entry.slot, entry.value)),
        );
        Ok(true)
    }

    /// Tells the transport that the log is stored through `through`. In `Received` mode it knows of
    /// what it accepted itself, and of the rest by [`claim_chosen`](Self::claim_chosen).
    fn acknowledge(&mut self, through: Slot) -> Result<()> {
        let follows = matches!(&self.role, Role::Follower(follower) if follower.leader.is_some());
        if follows && self.config.mode == AckMode::Persisted {
            self.transport.acknowledge(self.promised, through)?;
        }
        Ok(())
    }

    /// Slots came by state transfer and are stored, synced: the followed leader need not send them.
    pub(super) fn claim_chosen(&mut self) -> Result<()> {
        self.accepted = self.accepted.max(self.chosen);
        if matches!(&self.role, Role::Follower(follower) if follower.leader.is_some()) {
            self.transport.acknowledge(self.promised, self.chosen)?;
        }
        Ok(())
    }

    /// A slot is chosen here once its leader says so and its entry is that leader's, or an earlier
    /// leader said so and the entry is a later one's.
    pub(super) fn advance_chosen(&mut self) -> Result<()> {
        self.set_chosen(self.commit.min(self.accepted))
    }

    pub(super) fn set_chosen(&mut self, chosen: Slot) -> Result<()> {
        if chosen > self.chosen {
            self.chosen = chosen;
            self.lag_since = None;
            self.store.set_chosen(chosen)?;
        }
        Ok(())
    }

    /// Finds how far the log holds entries of the promised ballot without a hole: after a restart
    /// they need not come again.
    pub(super) fn reload_accepted(&mut self) -> Result<()> {
        self.accepted = self.chosen;
        loop {
            let entries = self.store.read(self.accepted.next(), READ_BYTES)?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in entries {
                if entry.slot != self.accepted.next() || entry.ballot != self.promised {
                    return Ok(());
                }
                self.accepted = entry.slot;
                if entry.slot > self.applied {
                    self.unapplied.insert(entry.slot, entry.value);
                }
            }
        }
    }

    /// Every entry above `chosen`, as accepted here at whatever ballot.
    pub(super) fn read_unchosen(&self) -> Result<Vec<LogEntry>> {
        let mut from = self.chosen.next();
        let mut all = Vec::new();
        loop {
            let entries = self.store.read(from, READ_BYTES)?;
            let Some(last) = entries.last() else { return Ok(all) };
            from = last.slot.next();
            all.extend(entries);
        }
    }
}

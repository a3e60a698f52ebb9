//! Phase 1: promises from a quorum, and what they oblige the new leader to propose.

use std::collections::BTreeMap;
use std::time::Duration;

use electrode_transport::{Ballot, NodeId, QuorumTransport, Slot};

use super::{Replica, Result, Role};
use crate::machine::StateMachine;
use crate::message::{ENTRY_OVERHEAD, Message};
use crate::store::{LogEntry, LogStore};

/// A member that collects promises for its ballot.
#[derive(Debug)]
pub(super) struct Candidate {
    ballot: Ballot,
    attempt: u64,
    /// The first slot that promises must tell of.
    from: Slot,
    promises: BTreeMap<NodeId, Promise>,
    /// For each slot the value of the highest ballot that anybody accepted it at.
    values: BTreeMap<Slot, (Ballot, Vec<u8>)>,
    patience: Duration,
    until: Duration,
    resend_at: Duration,
}

#[derive(Debug)]
struct Promise {
    next: Slot,
    done: bool,
    chosen: Slot,
    lives: Vec<u32>,
}

impl Candidate {
    pub(super) fn new(
        ballot: Ballot,
        attempt: u64,
        from: Slot,
        now: Duration,
        patience: Duration,
    ) -> Self {
        Self {
            ballot,
            attempt,
            from,
            promises: BTreeMap::new(),
            values: BTreeMap::new(),
            patience,
            until: now + patience,
            resend_at: now,
        }
    }

    pub(super) fn deadline(&self) -> Duration {
        self.until.min(self.resend_at)
    }

    /// There is progress: no reason to give up yet.
    pub(super) fn extend(&mut self, now: Duration) {
        self.until = now + self.patience;
    }

    /// Keeps a value unless one of a higher ballot is known.
    fn learn(&mut self, entry: LogEntry) {
        let known = self.values.get(&entry.slot).map_or(Ballot::NONE, |(ballot, _)| *ballot);
        if entry.ballot > known {
            self.values.insert(entry.slot, (entry.ballot, entry.value));
        }
    }
}

impl<T: QuorumTransport, L: LogStore, S: StateMachine> Replica<T, L, S> {
    pub(super) fn poll_candidate(&mut self) -> Result<()> {
        let Role::Candidate(candidate) = &mut self.role else { return Ok(()) };
        if self.now >= candidate.until {
            self.await_leader(Duration::ZERO, self.config.election_min);
            return Ok(());
        }
        if self.now >= candidate.resend_at {
            self.ask_for_promises()?;
        }
        self.try_to_lead()
    }

    fn ask_for_promises(&mut self) -> Result<()> {
        let Role::Candidate(candidate) = &mut self.role else { return Ok(()) };
        candidate.resend_at = self.now + self.config.resend;
        let (ballot, attempt) = (candidate.ballot, candidate.attempt);
        let mut asked = Vec::new();
        for node in self.seats.others() {
            let promise = candidate.promises.get(&node);
            // Complete promises are asked for again too: it keeps their givers from standing.
            let from = promise.map_or(candidate.from, |promise| promise.next);
            asked.push((node, Message::Prepare { ballot, attempt, from }));
        }
        for (node, message) in asked {
            self.counters.messages_resent += 1;
            self.send(node, &message)?;
        }
        Ok(())
    }

    pub(super) fn handle_prepare(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        attempt: u64,
        slot: Slot,
    ) -> Result<()> {
        if !self.owns(from, ballot) {
            return Ok(());
        }
        if ballot < self.promised {
            return self.send(from, &Message::Nack { ballot, promised: self.promised });
        }
        if ballot > self.promised {
            self.adopt(ballot)?;
        }
        if let Role::Follower(follower) = &mut self.role
            && follower.leader == Some(from)
        {
            follower.heard = self.now;
        }
        let Some(token) = &self.token else { return Ok(()) };
        if token.ballot() != ballot {
            return Ok(());
        }
        let message = self.promise_from(slot, ballot, attempt)?;
        self.send(from, &message)
    }

    /// A run of the accepted entries that fits one message. Nothing below the promised ballot is
    /// accepted any more, so runs sent at different times are of one set.
    fn promise_from(&self, from: Slot, ballot: Ballot, attempt: u64) -> Result<Message> {
        let mut room = self.entries_room();
        let start = from.max(self.chosen.next());
        let (mut entries, mut next, mut done) = (Vec::new(), start, true);
        for entry in self.store.read(start, room)? {
            let Some(rest) = room.checked_sub(ENTRY_OVERHEAD + entry.value.len()) else {
                done = false;
                break;
            };
            room = rest;
            next = entry.slot.next();
            entries.push(entry);
        }
        let done = done && self.store.last() < next;
        let (chosen, lives) = (self.chosen, self.lives.clone());
        Ok(Message::Promise { ballot, attempt, from, next, done, chosen, lives, entries })
    }

    pub(super) fn handle_promise(&mut self, node: NodeId, message: Message) -> Result<()> {
        let Message::Promise { ballot, attempt, from, next, done, chosen, lives, entries } =
            message
        else {
            return Ok(());
        };
        let Some(index) = self.seats.index_of(node) else { return Ok(()) };
        let Role::Candidate(candidate) = &mut self.role else { return Ok(()) };
        let ours = (ballot, attempt) == (candidate.ballot, candidate.attempt);
        if !ours || !self.seats.is_voter(node) || lives.len() != self.seats.count() {
            return Ok(());
        }
        let first = candidate.from;
        let promise = candidate.promises.entry(node).or_insert_with(|| Promise {
            next: first,
            done: false,
            chosen: Slot::ZERO,
            lives: lives.clone(),
        });
        if promise.lives[index] != lives[index] {
            // It lost its memory between two runs: they are not of one set.
            candidate.promises.remove(&node);
            return Ok(());
        }
        if promise.done || promise.next != from || next < from {
            return Ok(());
        }
        promise.next = next;
        promise.done = done;
        promise.chosen = promise.chosen.max(chosen);
        promise.lives = lives;
        for entry in entries {
            candidate.learn(entry);
        }
        candidate.extend(self.now);
        if !done {
            return self.send(node, &Message::Prepare { ballot, attempt, from: next });
        }
        self.try_to_lead()
    }

    pub(super) fn handle_nack(&mut self, ballot: Ballot, promised: Ballot) {
        self.note_ballot(promised);
        if matches!(&self.role, Role::Candidate(candidate) if candidate.ballot == ballot)
            && promised > ballot
        {
            self.await_leader(Duration::ZERO, self.config.election_min);
        }
    }

    /// Leads, once a quorum has promised and everything that is known to be chosen is here.
    fn try_to_lead(&mut self) -> Result<()> {
        self.drop_outlived_promises();
        let Role::Candidate(candidate) = &self.role else { return Ok(()) };
        let complete = || candidate.promises.iter().filter(|(_, promise)| promise.done);
        if complete().count() + 1 < self.seats.election_needed {
            return Ok(());
        }
        let best = complete().max_by_key(|(_, promise)| promise.chosen);
        if let Some((&node, promise)) = best
            && promise.chosen > self.chosen
        {
            let chosen = promise.chosen;
            return self.want(chosen, node);
        }
        self.become_leader()
    }

    /// A promise counts for nothing once its sender has lost its memory (Michael et al., DISC 2017):
    /// it may have acknowledged at a lower ballot since. Whoever answered its recovery says so.
    fn drop_outlived_promises(&mut self) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        for promise in candidate.promises.values() {
            for (known, life) in self.lives.iter_mut().zip(&promise.lives) {
                *known = (*known).max(*life);
            }
        }
        let before = candidate.promises.len();
        candidate.promises.retain(|node, promise| {
            let index = self.seats.index_of(*node).unwrap_or_default();
            promise.lives[index] >= self.lives[index]
        });
        self.counters.promises_outlived += (before - candidate.promises.len()) as u64;
    }

    fn become_leader(&mut self) -> Result<()> {
        let own = self.read_unchosen()?;
        let Role::Candidate(candidate) = &mut self.role else { return Ok(()) };
        for entry in own {
            candidate.learn(entry);
        }
        let values = candidate.values.split_off(&self.chosen.next());
        self.lead(values)
    }
}

//! Stores and transports that break a rule on purpose, to show that the checks see it. Without a bug
//! they hand everything through.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use electrode_multi_paxos::{LogEntry, LogStore, MemoryStore, Snapshot, StoreError};
use electrode_transport::memory::MemoryTransport;
use electrode_transport::{
    Acked, Ballot, Capabilities, FenceToken, Fenced, Frame, GroupId, Interest, LogBatch,
    Membership, NodeId, Probe, Quorum, QuorumTransport, Result, Slot, Stats, TransportCore,
};

/// What is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bug {
    /// The store says that it has synced, and has not.
    VotesWithoutStoring,
    /// The store forgets promises when it crashes.
    ForgetsPromises,
    /// Leaderships are taken for confirmed without asking.
    ReadsWithoutConfirming,
    /// A leader takes what it has sent for chosen.
    CommitsWithoutQuorum,
    /// Clients repeat a request in a new session.
    RetriesInANewSession,
}

/// A log in memory, possibly with a bug.
#[derive(Clone, Debug)]
pub(crate) struct SimStore {
    pub(crate) inner: MemoryStore,
    bug: Option<Bug>,
}

impl SimStore {
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        Self { inner: MemoryStore::new(), bug }
    }
}

impl LogStore for SimStore {
    fn promise(&self) -> Ballot {
        if self.bug == Some(Bug::ForgetsPromises) { Ballot::NONE } else { self.inner.promise() }
    }

    fn set_promise(&mut self, ballot: Ballot) -> Result<(), StoreError> {
        if self.bug == Some(Bug::ForgetsPromises) {
            return Ok(());
        }
        self.inner.set_promise(ballot)
    }

    fn put(&mut self, entries: &[LogEntry]) -> Result<(), StoreError> {
        self.inner.put(entries)
    }

    fn set_chosen(&mut self, chosen: Slot) -> Result<(), StoreError> {
        self.inner.set_chosen(chosen)
    }

    fn chosen(&self) -> Slot {
        self.inner.chosen()
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        if self.bug == Some(Bug::VotesWithoutStoring) {
            return Ok(());
        }
        self.inner.sync()
    }

    fn read(&self, from: Slot, bytes_max: usize) -> Result<Vec<LogEntry>, StoreError> {
        self.inner.read(from, bytes_max)
    }

    fn last(&self) -> Slot {
        self.inner.last()
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        self.inner.snapshot()
    }

    fn install(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.inner.install(snapshot)
    }
}

/// A transport in memory, possibly with a bug.
#[derive(Clone, Debug)]
pub(crate) struct SimTransport {
    pub(crate) inner: MemoryTransport,
    pub(crate) bug: Option<Bug>,
}

impl TransportCore for SimTransport {
    fn group(&self) -> GroupId {
        self.inner.group()
    }

    fn node(&self) -> NodeId {
        self.inner.node()
    }

    fn membership(&self) -> Result<Arc<Membership>> {
        self.inner.membership()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }

    fn fence(&self, ballot: Ballot) -> Result<Fenced> {
        self.inner.fence(ballot)
    }

    fn lead(&self, token: &FenceToken, next: Slot) -> Result<()> {
        self.inner.lead(token, next)
    }

    fn follow(&self, token: &FenceToken, leader: NodeId, next: Slot) -> Result<()> {
        self.inner.follow(token, leader, next)
    }

    fn resign(&self, ballot: Ballot) -> Result<()> {
        self.inner.resign(ballot)
    }

    fn reconfigure(&self, membership: Membership) -> Result<()> {
        self.inner.reconfigure(membership)
    }

    fn close(&self) {
        self.inner.close();
    }

    fn try_broadcast(&self, ballot: Ballot, frames: &[Frame<'_>]) -> Result<usize> {
        self.inner.try_broadcast(ballot, frames)
    }

    fn quorum(&self, ballot: Ballot) -> Result<Quorum> {
        let mut quorum = self.inner.quorum(ballot)?;
        if self.bug == Some(Bug::CommitsWithoutQuorum) {
            quorum.through = self.inner.acked(ballot)?.sent;
        }
        Ok(quorum)
    }

    fn acked(&self, ballot: Ballot) -> Result<Acked> {
        self.inner.acked(ballot)
    }

    fn set_commit(&self, ballot: Ballot, commit: Slot) -> Result<()> {
        self.inner.set_commit(ballot, commit)
    }

    fn probe(&self, ballot: Ballot) -> Result<Probe> {
        self.inner.probe(ballot)
    }

    fn try_confirmed(&self, probe: Probe) -> Result<bool> {
        if self.bug == Some(Bug::ReadsWithoutConfirming) {
            return Ok(true);
        }
        self.inner.try_confirmed(probe)
    }

    fn try_poll_log(&self, batch: &mut LogBatch) -> Result<usize> {
        self.inner.try_poll_log(batch)
    }

    fn acknowledge(&self, ballot: Ballot, through: Slot) -> Result<()> {
        self.inner.acknowledge(ballot, through)
    }

    fn try_send(&self, to: NodeId, body: &[u8]) -> Result<()> {
        self.inner.try_send(to, body)
    }

    fn try_recv(&self, body: &mut Vec<u8>) -> Result<Option<NodeId>> {
        self.inner.try_recv(body)
    }

    fn drive(&self) -> Result<()> {
        self.inner.drive()
    }

    fn wait(&self, max: Duration) -> Result<()> {
        self.inner.wait(max)
    }

    fn watch(&self, interest: Interest, waker: &Waker) -> Result<()> {
        self.inner.watch(interest, waker)
    }
}

impl QuorumTransport for SimTransport {}

//! The contract over any host of an engine.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use std::vec::Vec;

use super::{Engine, GroupKey, Keeper};
use crate::capabilities::{Acked, Capabilities, Interest, Probe, Quorum};
use crate::contract::{QuorumTransport, Result, TransportCore};
use crate::ident::{Ballot, GroupId, NodeId, Slot, Time};
use crate::log::{FenceToken, Fenced, Frame, LogBatch};
use crate::membership::Membership;
use crate::stats::Stats;

/// A backend as the contract sees it: an engine behind a lock, a clock, and a network.
pub trait Host: Send + Sync + 'static {
    /// Who keeps the groups' state: [`LocalKeeper`](super::LocalKeeper), or a kernel.
    type Keeper: Keeper;

    /// Runs `call` on the engine at the current time, sends what it leaves in the outbox as far as
    /// the network takes it, and wakes whom it says once the lock is released.
    fn with<R>(&self, call: impl FnOnce(&mut Engine<Self::Keeper>, Time) -> R) -> R;

    /// Runs `call` on the engine where it sends nothing and wakes nobody: the hot read paths.
    fn look<R>(&self, call: impl FnOnce(&mut Engine<Self::Keeper>, Time) -> R) -> R {
        self.with(call)
    }

    /// As [`look`](Self::look), where the time does not matter: to read a clock is a good part of it.
    fn read<R>(&self, call: impl FnOnce(&mut Engine<Self::Keeper>) -> R) -> R {
        self.look(|engine, _| call(engine))
    }

    /// This node.
    fn node(&self) -> NodeId;

    /// What the backend can do.
    fn capabilities(&self) -> Capabilities;

    /// The endpoint's counters, with those that only the backend has.
    fn stats(&self) -> Stats {
        self.look(|engine, _| *engine.stats())
    }

    /// As [`TransportCore::drive`].
    ///
    /// # Errors
    /// As there.
    fn drive(&self) -> Result<()>;

    /// As [`TransportCore::wait`].
    ///
    /// # Errors
    /// As there.
    fn wait(&self, max: Duration) -> Result<()>;

    /// Sees to it that somebody drives the endpoint while tasks sleep.
    ///
    /// # Errors
    /// As [`TransportCore::watch`].
    fn attend(&self) -> Result<()>;
}

/// One member's handle on one group of a host. Clones are handles on the same group.
#[derive(Debug)]
pub struct GroupHandle<H> {
    host: Arc<H>,
    key: GroupKey,
    node: NodeId,
}

impl<H> Clone for GroupHandle<H> {
    fn clone(&self) -> Self {
        Self { host: Arc::clone(&self.host), key: self.key, node: self.node }
    }
}

impl<H: Host> GroupHandle<H> {
    /// A handle on an open group.
    #[must_use]
    pub fn new(host: Arc<H>, key: GroupKey) -> Self {
        let node = host.node();
        Self { host, key, node }
    }

    /// The backend's endpoint.
    #[must_use]
    pub fn host(&self) -> &Arc<H> {
        &self.host
    }
}

impl<H: Host> TransportCore for GroupHandle<H> {
    fn group(&self) -> GroupId {
        self.key.group
    }

    fn node(&self) -> NodeId {
        self.node
    }

    fn membership(&self) -> Result<Arc<Membership>> {
        self.host.read(|engine| Ok(Arc::clone(&engine.group(self.key)?.0.seat.membership)))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { mode: self.key.mode, ..self.host.capabilities() }
    }

    fn stats(&self) -> Stats {
        self.host.stats()
    }

    fn fence(&self, ballot: Ballot) -> Result<Fenced> {
        self.host.with(|engine, _| {
            let (group, io) = engine.group(self.key)?;
            group.fence(ballot, io)
        })
    }

    fn lead(&self, token: &FenceToken, next: Slot) -> Result<()> {
        self.host.with(|engine, now| {
            engine.group_and_timer(self.key, |group, io| group.lead(token, next, io, now))
        })
    }

    fn follow(&self, token: &FenceToken, leader: NodeId, next: Slot) -> Result<()> {
        self.host.with(|engine, now| {
            engine.group_and_timer(self.key, |group, io| group.follow(token, leader, next, io, now))
        })
    }

    fn resign(&self, ballot: Ballot) -> Result<()> {
        self.host.with(|engine, _| {
            let (group, io) = engine.group(self.key)?;
            group.resign(ballot, io)
        })
    }

    fn reconfigure(&self, membership: Membership) -> Result<()> {
        self.host.with(|engine, now| {
            engine.group_and_timer(self.key, |group, io| group.reconfigure(membership, io, now))
        })
    }

    fn close(&self) {
        self.host.with(|engine, _| engine.close(self.key));
    }

    fn try_broadcast(&self, ballot: Ballot, frames: &[Frame<'_>]) -> Result<usize> {
        self.host.with(|engine, now| {
            engine.group_and_timer(self.key, |group, io| group.broadcast(ballot, frames, io, now))
        })
    }

    fn quorum(&self, ballot: Ballot) -> Result<Quorum> {
        self.host.read(|engine| {
            let (group, io) = engine.group(self.key)?;
            group.quorum(ballot, io)
        })
    }

    fn acked(&self, ballot: Ballot) -> Result<Acked> {
        self.host.read(|engine| engine.group(self.key)?.0.acked(ballot))
    }

    fn set_commit(&self, ballot: Ballot, commit: Slot) -> Result<()> {
        self.host.read(|engine| engine.group(self.key)?.0.set_commit(ballot, commit))
    }

    fn probe(&self, ballot: Ballot) -> Result<Probe> {
        self.host.with(|engine, now| {
            engine.group_and_timer(self.key, |group, io| group.probe(ballot, io, now))
        })
    }

    fn try_confirmed(&self, probe: Probe) -> Result<bool> {
        self.host.read(|engine| {
            let (group, io) = engine.group(self.key)?;
            group.confirmed(probe, io)
        })
    }

    fn try_poll_log(&self, batch: &mut LogBatch) -> Result<usize> {
        self.host.look(|engine, now| {
            let (group, io) = engine.group(self.key)?;
            Ok(group.poll_log(batch, io, now))
        })
    }

    fn acknowledge(&self, ballot: Ballot, through: Slot) -> Result<()> {
        self.host.with(|engine, _| {
            let (group, io) = engine.group(self.key)?;
            group.acknowledge(ballot, through, io)
        })
    }

    fn try_send(&self, to: NodeId, body: &[u8]) -> Result<()> {
        self.host.with(|engine, _| {
            let (group, io) = engine.group(self.key)?;
            group.send(to, body, io)
        })
    }

    fn try_recv(&self, body: &mut Vec<u8>) -> Result<Option<NodeId>> {
        body.clear();
        self.host.read(|engine| Ok(engine.group(self.key)?.0.recv(body)))
    }

    fn drive(&self) -> Result<()> {
        self.host.drive()
    }

    fn wait(&self, max: Duration) -> Result<()> {
        self.host.wait(max)
    }

    fn watch(&self, interest: Interest, waker: &Waker) -> Result<()> {
        self.host.with(|engine, _| {
            engine.group_and_timer(self.key, |group, _| {
                group.watch(interest, waker);
                Ok(())
            })
        })?;
        self.host.attend()
    }
}

impl<H: Host> QuorumTransport for GroupHandle<H> {}

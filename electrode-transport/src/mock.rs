//! A mock of the contract, for unit tests of what is generic over it.
#![allow(missing_docs, reason = "mockall's expectations mirror the documented methods")]

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use std::vec::Vec;

use async_trait::async_trait;

use crate::capabilities::{Acked, Capabilities, Interest, Probe, Quorum};
use crate::contract::{Message, QuorumTransport, Result, TransportCore};
use crate::ident::{Ballot, GroupId, NodeId, Slot};
use crate::log::{FenceToken, Fenced, Frame, LogBatch};
use crate::membership::Membership;
use crate::stats::Stats;

mockall::mock! {
    /// Expects and answers calls of [`QuorumTransport`] and [`TransportCore`], each method on its own:
    /// `expect_fence`, `expect_await_quorum` and so on. Frames come as [`OwnedFrame`]s. The `poll_*`
    /// methods run as provided, over the mocked `try_*` ones.
    ///
    /// ```
    /// use electrode_transport::{
    ///     Ballot, FenceToken, Fenced, GroupId, LogBatch, MockQuorumTransport, QuorumTransport, Slot,
    /// };
    ///
    /// /// What a library does when a candidate asks for its vote.
    /// fn vote(transport: &dyn QuorumTransport, ballot: Ballot, log: &mut Vec<Slot>) -> bool {
    ///     let Ok(fenced) = transport.fence(ballot) else { return false };
    ///     log.extend(fenced.entries.iter().map(|entry| entry.last));
    ///     true
    /// }
    ///
    /// let mut transport = MockQuorumTransport::new();
    /// transport.expect_fence().withf(|ballot| *ballot == Ballot(4)).once().returning(|ballot| {
    ///     let mut entries = LogBatch::default();
    ///     entries.push(Ballot(3), Slot(7), Slot(7), [b"late", b""]);
    ///     Ok(Fenced { token: FenceToken::issue(GroupId(1), ballot), entries })
    /// });
    /// let mut log = Vec::new();
    /// assert!(vote(&transport, Ballot(4), &mut log));
    /// assert_eq!(log, [Slot(7)], "an entry acknowledged before the vote is part of the log");
    /// ```
    pub QuorumTransport {
        pub fn group(&self) -> GroupId;
        pub fn node(&self) -> NodeId;
        pub fn membership(&self) -> Result<Arc<Membership>>;
        pub fn capabilities(&self) -> Capabilities;
        pub fn stats(&self) -> Stats;
        pub fn fence(&self, ballot: Ballot) -> Result<Fenced>;
        pub fn lead(&self, token: &FenceToken, next: Slot) -> Result<()>;
        pub fn follow(&self, token: &FenceToken, leader: NodeId, next: Slot) -> Result<()>;
        pub fn resign(&self, ballot: Ballot) -> Result<()>;
        pub fn reconfigure(&self, membership: Membership) -> Result<()>;
        pub fn close(&self);
        pub fn try_broadcast(&self, ballot: Ballot, frames: Vec<OwnedFrame>) -> Result<usize>;
        pub fn quorum(&self, ballot: Ballot) -> Result<Quorum>;
        pub fn acked(&self, ballot: Ballot) -> Result<Acked>;
        pub fn set_commit(&self, ballot: Ballot, commit: Slot) -> Result<()>;
        pub fn probe(&self, ballot: Ballot) -> Result<Probe>;
        pub fn try_confirmed(&self, probe: Probe) -> Result<bool>;
        pub fn try_poll_log(&self, batch: &mut LogBatch) -> Result<usize>;
        pub fn acknowledge(&self, ballot: Ballot, through: Slot) -> Result<()>;
        pub fn try_send(&self, to: NodeId, body: &[u8]) -> Result<()>;
        pub fn try_recv(&self, body: &mut Vec<u8>) -> Result<Option<NodeId>>;
        pub fn drive(&self) -> Result<()>;
        pub fn wait(&self, max: Duration) -> Result<()>;
        pub fn watch(&self, interest: Interest, waker: &Waker) -> Result<()>;
        pub fn broadcast(&self, ballot: Ballot, frames: Vec<OwnedFrame>) -> Result<()>;
        pub fn await_quorum(&self, ballot: Ballot, slot: Slot) -> Result<Quorum>;
        pub fn confirm_leadership(&self, ballot: Ballot) -> Result<()>;
        pub fn poll_log(&self, batch: &mut LogBatch) -> Result<usize>;
        pub fn send(&self, to: NodeId, body: &[u8]) -> Result<()>;
        pub fn recv(&self) -> Result<Message>;
    }
}

/// A [`Frame`] as an expectation sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedFrame {
    /// The first slot.
    pub first: Slot,
    /// The last slot.
    pub last: Slot,
    /// The body.
    pub body: Vec<u8>,
}

fn owned(frames: &[Frame<'_>]) -> Vec<OwnedFrame> {
    let own = |frame: &Frame<'_>| OwnedFrame {
        first: frame.first,
        last: frame.last,
        body: frame.body.to_vec(),
    };
    frames.iter().map(own).collect()
}

impl TransportCore for MockQuorumTransport {
    fn group(&self) -> GroupId {
        Self::group(self)
    }

    fn node(&self) -> NodeId {
        Self::node(self)
    }

    fn membership(&self) -> Result<Arc<Membership>> {
        Self::membership(self)
    }

    fn capabilities(&self) -> Capabilities {
        Self::capabilities(self)
    }

    fn stats(&self) -> Stats {
        Self::stats(self)
    }

    fn fence(&self, ballot: Ballot) -> Result<Fenced> {
        Self::fence(self, ballot)
    }

    fn lead(&self, token: &FenceToken, next: Slot) -> Result<()> {
        Self::lead(self, token, next)
    }

    fn follow(&self, token: &FenceToken, leader: NodeId, next: Slot) -> Result<()> {
        Self::follow(self, token, leader, next)
    }

    fn resign(&self, ballot: Ballot) -> Result<()> {
        Self::resign(self, ballot)
    }

    fn reconfigure(&self, membership: Membership) -> Result<()> {
        Self::reconfigure(self, membership)
    }

    fn close(&self) {
        Self::close(self);
    }

    fn try_broadcast(&self, ballot: Ballot, frames: &[Frame<'_>]) -> Result<usize> {
        Self::try_broadcast(self, ballot, owned(frames))
    }

    fn quorum(&self, ballot: Ballot) -> Result<Quorum> {
        Self::quorum(self, ballot)
    }

    fn acked(&self, ballot: Ballot) -> Result<Acked> {
        Self::acked(self, ballot)
    }

    fn set_commit(&self, ballot: Ballot, commit: Slot) -> Result<()> {
        Self::set_commit(self, ballot, commit)
    }

    fn probe(&self, ballot: Ballot) -> Result<Probe> {
        Self::probe(self, ballot)
    }

    fn try_confirmed(&self, probe: Probe) -> Result<bool> {
        Self::try_confirmed(self, probe)
    }

    fn try_poll_log(&self, batch: &mut LogBatch) -> Result<usize> {
        Self::try_poll_log(self, batch)
    }

    fn acknowledge(&self, ballot: Ballot, through: Slot) -> Result<()> {
        Self::acknowledge(self, ballot, through)
    }

    fn try_send(&self, to: NodeId, body: &[u8]) -> Result<()> {
        Self::try_send(self, to, body)
    }

    fn try_recv(&self, body: &mut Vec<u8>) -> Result<Option<NodeId>> {
        Self::try_recv(self, body)
    }

    fn drive(&self) -> Result<()> {
        Self::drive(self)
    }

    fn wait(&self, max: Duration) -> Result<()> {
        Self::wait(self, max)
    }

    fn watch(&self, interest: Interest, waker: &Waker) -> Result<()> {
        Self::watch(self, interest, waker)
    }
}

#[async_trait]
impl QuorumTransport for MockQuorumTransport {
    async fn broadcast(&self, ballot: Ballot, frames: &[Frame<'_>]) -> Result<()> {
        Self::broadcast(self, ballot, owned(frames))
    }

    async fn await_quorum(&self, ballot: Ballot, slot: Slot) -> Result<Quorum> {
        Self::await_quorum(self, ballot, slot)
    }

    async fn confirm_leadership(&self, ballot: Ballot) -> Result<()> {
        Self::confirm_leadership(self, ballot)
    }

    async fn poll_log(&self, batch: &mut LogBatch) -> Result<usize> {
        Self::poll_log(self, batch)
    }

    async fn send(&self, to: NodeId, body: &[u8]) -> Result<()> {
        Self::send(self, to, body)
    }

    async fn recv(&self) -> Result<Message> {
        Self::recv(self)
    }
}

//! The contract: [`TransportCore`], which never blocks, and [`QuorumTransport`], its async face.
//!
//! A value of either is one member's handle on one group. Calls that depend on a leadership name
//! its ballot, so that a task which has not noticed the change yet cannot act in the next one.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::vec::Vec;

use async_trait::async_trait;

use crate::capabilities::{Acked, Capabilities, Interest, Probe, Quorum};
use crate::error::TransportError;
use crate::ident::{Ballot, GroupId, NodeId, Slot};
use crate::log::{FenceToken, Fenced, Frame, LogBatch};
use crate::membership::Membership;
use crate::stats::Stats;

/// The result of every fallible call of the contract.
pub type Result<T, E = TransportError> = core::result::Result<T, E>;

/// A message of the library's own, as `recv` yields it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The member that sent it; its address (and tag) have been checked.
    pub from: NodeId,
    /// The body, to the byte.
    pub body: Vec<u8>,
}

/// The non-blocking core of the contract: one member's handle on one group.
///
/// `try_*` and the control calls never wait. Frames and acknowledgements move when somebody calls
/// [`drive`](Self::drive): a plain thread in its loop, or the backend's own driver, which starts
/// with the first `poll_*` or async call. All calls may come from any thread.
///
/// Ballots, slots and votes are judged by [`Acceptor`](crate::rules::Acceptor) and
/// [`Tally`](crate::rules::Tally) and by nothing else, on every backend.
pub trait TransportCore: Send + Sync {
    /// Which group this handle is for.
    fn group(&self) -> GroupId;

    /// Which member this node is.
    fn node(&self) -> NodeId;

    /// The membership in force.
    ///
    /// # Errors
    /// [`TransportError::Closed`].
    fn membership(&self) -> Result<Arc<Membership>>;

    /// What the backend can do here.
    fn capabilities(&self) -> Capabilities;

    /// The endpoint's counters, over all its groups.
    fn stats(&self) -> Stats;

    /// Raises the fence: once this returns, no frame below `ballot` is accepted, and everything that
    /// this member has acknowledged below it, or whose acknowledgement is still on its way out, is in
    /// the caller's hands: polled before, or in [`Fenced::entries`] (invariant 2). Following and
    /// leading below `ballot` have ended.
    ///
    /// At the fence's own ballot it changes nothing and still hands over what was not polled.
    ///
    /// # Errors
    /// [`TransportError::BallotBackwards`] below the fence in force, or at ballot zero.
    fn fence(&self, ballot: Ballot) -> Result<Fenced>;

    /// From now on counts acknowledgements for the token's ballot. The first broadcast begins at
    /// `next`, and everything before it is in this leader's log. Ends following.
    ///
    /// A ballot is led once: repeating it, also after [`resign`](Self::resign), is an error, so that
    /// two tasks cannot both believe that they lead and one slot cannot get two values.
    ///
    /// # Errors
    /// [`TransportError::StaleToken`] if the token is not the newest fence's,
    /// [`TransportError::LeaderConflict`] if this ballot is led or followed already,
    /// [`TransportError::SlotOutOfOrder`] if `next` is zero or past the last slot.
    fn lead(&self, token: &FenceToken, next: Slot) -> Result<()>;

    /// From now on accepts `leader`'s frames at the token's ballot, contiguous from `next`, and tells
    /// the leader so. Everything before `next` agrees with the leader's log and is kept as the
    /// acknowledgement mode demands: it counts as acknowledged.
    ///
    /// Again, at the same ballot and leader, it moves forward over slots that came another way;
    /// entries of those slots that wait in the log are dropped.
    ///
    /// # Errors
    /// [`TransportError::StaleToken`] as for `lead`; [`TransportError::LeaderConflict`] if the ballot
    /// is led here or followed under another leader; [`TransportError::SlotOutOfOrder`] if `next`
    /// would take back what is stored; [`TransportError::InsideFrame`]; an unknown leader is
    /// [`ConfigError::UnknownMember`](crate::ConfigError::UnknownMember).
    fn follow(&self, token: &FenceToken, leader: NodeId, next: Slot) -> Result<()>;

    /// Stops leading at `ballot`: the window is dropped and nothing is retransmitted or counted any
    /// more. The fence stays. What a quorum had stored stays stored.
    ///
    /// # Errors
    /// [`TransportError::NotLeading`].
    fn resign(&self, ballot: Ballot) -> Result<()>;

    /// Puts a new membership in force, of a higher incarnation. Acknowledgements of members that stay
    /// keep counting; the window is retransmitted under the new incarnation; the watermark never
    /// falls. Frames of other incarnations are dropped from now on, except messages between members
    /// of both, so that the library can bring everybody along.
    ///
    /// # Errors
    /// [`ConfigError`](crate::ConfigError) if the incarnation is not higher or the membership does
    /// not fit this node.
    fn reconfigure(&self, membership: Membership) -> Result<()>;

    /// Closes the group: nothing of it is acknowledged or counted any more, nothing new is sent (what
    /// was on its way out already may still leave, and is true), and every waiting
    /// call ends with [`TransportError::Closed`]. Closing twice is not an error. Dropping the last
    /// handle of an endpoint closes all of its groups.
    fn close(&self);

    /// Hands frames to the network for every other member and keeps them in the window, from which
    /// they are retransmitted until acknowledged. Returns how many were taken, at least one unless
    /// `frames` is empty. `Ok` means handed to the network and no more.
    ///
    /// In `Received` mode the leader's own vote counts at once, so its log must have the entry first.
    ///
    /// # Errors
    /// [`TransportError::Backpressure`] if the window has no room for the first frame;
    /// [`TransportError::NotLeading`]; [`TransportError::SlotOutOfOrder`];
    /// [`TransportError::TooLarge`]. Only frames before the offending one may have been taken, and
    /// then the call returns their count instead; the error comes when the rest is tried.
    fn try_broadcast(&self, ballot: Ballot, frames: &[Frame<'_>]) -> Result<usize>;

    /// How far the quorum has come at `ballot`. Level-triggered: it only rises while the leadership
    /// lasts, and asking again loses nothing. A kernel that counts shows it here as soon as it has
    /// counted ([`Capabilities::kernel_quorum`](crate::Capabilities)); elsewhere what has arrived counts
    /// when somebody drives.
    ///
    /// # Errors
    /// [`TransportError::NotLeading`].
    fn quorum(&self, ballot: Ballot) -> Result<Quorum>;

    /// Each member's acknowledged slot at the led ballot.
    ///
    /// # Errors
    /// [`TransportError::NotLeading`] if nothing is led.
    fn acked(&self, ballot: Ballot) -> Result<Acked>;

    /// The commit slot that frames and probes carry from now on. It never falls. Idle followers
    /// learn it with the next probe.
    ///
    /// # Errors
    /// [`TransportError::NotLeading`].
    fn set_commit(&self, ballot: Ballot, commit: Slot) -> Result<()>;

    /// Asks every follower whether it still follows `ballot`; also the heartbeat that feeds their
    /// election timers and carries the commit slot. Retransmitted until a quorum has answered.
    ///
    /// # Errors
    /// [`TransportError::NotLeading`].
    fn probe(&self, ballot: Ballot) -> Result<Probe>;

    /// Whether a quorum (the leader's own voice included) has answered a probe sent after
    /// [`probe`](Self::probe) was called: whatever was committed before the call is then still the
    /// newest, so a read is linearizable (Raft section 6.4).
    ///
    /// # Errors
    /// [`TransportError::NotLeading`], [`TransportError::Superseded`].
    fn try_confirmed(&self, probe: Probe) -> Result<bool>;

    /// Moves accepted entries into `batch`, in slot order, each once over all calls, and fills in its
    /// status. Clears the batch first. Returns the number of entries. Renews the liveness lease.
    ///
    /// # Errors
    /// [`TransportError::Closed`].
    fn try_poll_log(&self, batch: &mut LogBatch) -> Result<usize>;

    /// This member holds every slot through `through` of `ballot`'s log as the mode demands: after
    /// storing what was polled (`Persisted`), or after slots came another way, which are then not
    /// yielded by the log any more. On the leader it is its own vote. Never goes back.
    ///
    /// A leader does not believe an acknowledgement of slots that it has not broadcast at this ballot:
    /// it counts for nothing (`rx_ack_beyond`). So bring a member no further by another way than its
    /// leader has broadcast.
    ///
    /// # Errors
    /// [`TransportError::NotFollowing`] if `ballot` is neither followed nor led (a late word about an
    /// earlier ballot must not become a vote); on the leader [`TransportError::SlotOutOfOrder`] past
    /// what was broadcast; [`TransportError::InsideFrame`].
    fn acknowledge(&self, ballot: Ballot, through: Slot) -> Result<()>;

    /// Sends a message to a member: at most once, unordered, never acknowledged by the transport.
    ///
    /// # Errors
    /// [`TransportError::TooLarge`]; [`TransportError::SendToSelf`]; an unknown member;
    /// [`TransportError::Backpressure`] if the way out is full.
    fn try_send(&self, to: NodeId, body: &[u8]) -> Result<()>;

    /// The next message, its body in `body` (cleared first), and who sent it; `None` if none waits.
    ///
    /// # Errors
    /// [`TransportError::Closed`].
    fn try_recv(&self, body: &mut Vec<u8>) -> Result<Option<NodeId>>;

    /// Moves the whole endpoint: takes in what has arrived, answers it, retransmits what is due.
    /// Never blocks.
    ///
    /// # Errors
    /// [`TransportError::Io`] if the endpoint itself is broken; a lost datagram is not an error.
    fn drive(&self) -> Result<()>;

    /// As [`drive`](Self::drive), but first sleeps until something arrives, a retransmission is due,
    /// or `max` has passed. For the one thread that drives an endpoint without a runtime.
    ///
    /// # Errors
    /// As `drive`.
    fn wait(&self, max: Duration) -> Result<()>;

    /// Wakes `waker` once when `interest` may have come about, and sees to it that somebody drives
    /// the endpoint meanwhile. Check after calling it: what happened before is not told again.
    ///
    /// # Errors
    /// [`TransportError::Closed`]; [`TransportError::Io`] if no driver can be started.
    fn watch(&self, interest: Interest, waker: &Waker) -> Result<()>;

    /// As [`try_broadcast`](Self::try_broadcast), pending while the window is full.
    ///
    /// # Errors
    /// As `try_broadcast`, without `Backpressure`.
    fn poll_broadcast(
        &self,
        cx: &mut Context<'_>,
        ballot: Ballot,
        frames: &[Frame<'_>],
    ) -> Poll<Result<usize>> {
        for attempt in 0..2 {
            match self.try_broadcast(ballot, frames) {
                Err(TransportError::Backpressure) => {}
                done => return Poll::Ready(done),
            }
            if attempt == 0 {
                self.watch(Interest::Window, cx.waker())?;
            }
        }
        Poll::Pending
    }

    /// Ready once a quorum has stored `slot` at `ballot`.
    ///
    /// # Errors
    /// [`TransportError::NotLeading`]; [`TransportError::Superseded`] if a member has promised a
    /// higher ballot and the quorum is not there.
    fn poll_quorum(
        &self,
        cx: &mut Context<'_>,
        ballot: Ballot,
        slot: Slot,
    ) -> Poll<Result<Quorum>> {
        for attempt in 0..2 {
            let quorum = self.quorum(ballot)?;
            if quorum.through >= slot {
                return Poll::Ready(Ok(quorum));
            }
            if let Some(by) = quorum.superseded_by {
                return Poll::Ready(Err(TransportError::Superseded { ballot, by }));
            }
            if attempt == 0 {
                self.watch(Interest::Quorum, cx.waker())?;
            }
        }
        Poll::Pending
    }

    /// Ready once `probe` is confirmed.
    ///
    /// # Errors
    /// As [`try_confirmed`](Self::try_confirmed).
    fn poll_confirmed(&self, cx: &mut Context<'_>, probe: Probe) -> Poll<Result<()>> {
        for attempt in 0..2 {
            if self.try_confirmed(probe)? {
                return Poll::Ready(Ok(()));
            }
            if attempt == 0 {
                self.watch(Interest::Probe, cx.waker())?;
            }
        }
        Poll::Pending
    }

    /// Ready with at least one entry, or when the commit slot has risen above the one that `batch`
    /// shows from its last poll, or a higher ballot than it shows was seen.
    ///
    /// While it is pending it is woken every half lease, and renews the lease by polling again: a
    /// future that was dropped, or whose task hangs, does not (invariant 11).
    ///
    /// # Errors
    /// As [`try_poll_log`](Self::try_poll_log).
    fn poll_log_ready(&self, cx: &mut Context<'_>, batch: &mut LogBatch) -> Poll<Result<usize>> {
        let before = *batch.status();
        for attempt in 0..2 {
            let count = self.try_poll_log(batch)?;
            let now = batch.status();
            let news = now.commit > before.commit || now.higher_ballot > before.higher_ballot;
            if count > 0 || news {
                return Poll::Ready(Ok(count));
            }
            if attempt == 0 {
                self.watch(Interest::Log, cx.waker())?;
            }
        }
        Poll::Pending
    }

    /// Ready with the next message.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv).
    fn poll_recv(&self, cx: &mut Context<'_>, body: &mut Vec<u8>) -> Poll<Result<NodeId>> {
        for attempt in 0..2 {
            if let Some(from) = self.try_recv(body)? {
                return Poll::Ready(Ok(from));
            }
            if attempt == 0 {
                self.watch(Interest::Message, cx.waker())?;
            }
        }
        Poll::Pending
    }
}

/// The async face of [`TransportCore`]: what a consensus library depends on, statically or as
/// `Arc<dyn QuorumTransport>`.
///
/// Every method is cancel-safe: dropping a future and asking again loses nothing, and each says
/// what has happened by then. The futures are boxed (`async-trait`, so that the trait is
/// object-safe); generic code that must not allocate uses the `poll_*` methods with
/// [`poll_fn`].
#[async_trait]
pub trait QuorumTransport: TransportCore {
    /// Sends `frames` to every other member, waiting for room in the window as needed.
    ///
    /// Dropped: a prefix of the frames has been taken; `acked(ballot)?.sent` tells how far.
    ///
    /// # Errors
    /// As [`TransportCore::try_broadcast`], without `Backpressure`.
    async fn broadcast(&self, ballot: Ballot, frames: &[Frame<'_>]) -> Result<()> {
        let mut rest = frames;
        while !rest.is_empty() {
            let taken = poll_fn(|cx| self.poll_broadcast(cx, ballot, rest)).await?;
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Waits until `slot`, and so every slot before it, is stored by a quorum at `ballot`; names the
    /// voters.
    ///
    /// Dropped: nothing is lost, the watermark stays.
    ///
    /// # Errors
    /// As [`TransportCore::poll_quorum`].
    async fn await_quorum(&self, ballot: Ballot, slot: Slot) -> Result<Quorum> {
        poll_fn(|cx| self.poll_quorum(cx, ballot, slot)).await
    }

    /// Proves that this node still led at `ballot` at some moment after the call began: a quorum
    /// round without a log entry.
    ///
    /// Dropped: the probe is answered or not, nobody hears of it.
    ///
    /// # Errors
    /// As [`TransportCore::try_confirmed`].
    async fn confirm_leadership(&self, ballot: Ballot) -> Result<()> {
        let probe = self.probe(ballot)?;
        poll_fn(|cx| self.poll_confirmed(cx, probe)).await
    }

    /// Waits for entries, or news of the commit slot or of a higher ballot, and moves them into
    /// `batch`. May return 0 entries when only the status has news.
    ///
    /// Dropped: what was not moved stays in the log. Moved entries are in `batch`, also if the future
    /// is dropped right after.
    ///
    /// # Errors
    /// As [`TransportCore::try_poll_log`].
    async fn poll_log(&self, batch: &mut LogBatch) -> Result<usize> {
        poll_fn(|cx| self.poll_log_ready(cx, batch)).await
    }

    /// As [`TransportCore::try_send`]. It does not wait: a full way out is for the library to see.
    ///
    /// Dropped: the message was sent or not.
    ///
    /// # Errors
    /// As `try_send`.
    async fn send(&self, to: NodeId, body: &[u8]) -> Result<()> {
        self.try_send(to, body)
    }

    /// Waits for the next message.
    ///
    /// Dropped: the message stays in the inbox.
    ///
    /// # Errors
    /// As [`TransportCore::try_recv`].
    async fn recv(&self) -> Result<Message> {
        let mut body = Vec::new();
        let from = poll_fn(|cx| self.poll_recv(cx, &mut body)).await?;
        Ok(Message { from, body })
    }
}

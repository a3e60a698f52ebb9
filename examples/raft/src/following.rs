//! The follower's side: what the transport accepted becomes raft's append messages, and what raft
//! answers to them becomes the transport's acknowledgement.

use electrode_transport::{Ballot, Frame, LogBatch, NodeId, QuorumTransport, Slot, TransportError};
use raft::StateRole;
use raft::eraftpb::{Message, MessageType};

use crate::codec::entries_of;
use crate::error::{Error, Result};
use crate::machine::StateMachine;
use crate::node::{Node, Seat};

/// A leader is followed at the fence's ballot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Following {
    pub(crate) leader: u64,
    /// The log agrees with the leader's through here, and is on disk.
    pub(crate) matched: u64,
}

impl<T: QuorumTransport, M: StateMachine> Node<T, M> {
    /// Polls the log until it is empty.
    pub(crate) fn take_log(&mut self) -> Result<()> {
        let mut batch = core::mem::take(&mut self.batch);
        let mut count = self.transport.try_poll_log(&mut batch)?;
        loop {
            if let Some(last) = self.feed(&batch, false)? {
                self.settle_through(last)?;
            }
            if count == 0 {
                break;
            }
            count = self.transport.try_poll_log(&mut batch)?;
        }
        self.batch = batch;
        Ok(())
    }

    /// The transport heard the leader since the last tick, which may have come late: raft's election
    /// timer must know.
    pub(crate) fn note_leader_lives(&mut self) -> Result<()> {
        let heard_ago = self.batch.status().heard_ago;
        if heard_ago.is_some_and(|ago| ago <= 2 * self.options.tick) {
            let batch = core::mem::take(&mut self.batch);
            if let Some(last) = self.feed(&batch, true)? {
                self.settle_through(last)?;
            }
            self.batch = batch;
        }
        Ok(())
    }

    /// Steps raft with a batch as one append message of the followed leader. Without entries it is
    /// only stepped for a newer commit index, or if `always`. Returns the index through which raft
    /// must have it after settling.
    pub(crate) fn feed(&mut self, batch: &LogBatch, always: bool) -> Result<Option<u64>> {
        let Seat::Following(Following { leader, matched }) = self.seat else { return Ok(None) };
        let mut entries = Vec::new();
        for polled in batch.iter() {
            let frame = Frame { first: polled.first, last: polled.last, body: polled.body };
            let decoded = entries_of(polled.ballot.0, &frame)
                .ok_or(Error::Undecodable { what: "frame", from: NodeId(leader) })?;
            // What came by message meanwhile is there already.
            entries.extend(decoded.into_iter().filter(|entry| entry.index > matched));
        }
        if entries.first().is_some_and(|first| first.index != matched + 1) {
            return Err(Error::Discontinuous { matched });
        }
        let last = matched + entries.len() as u64;
        let log = &self.raw.raft.raft_log;
        let commit = batch.status().commit.0;
        if entries.is_empty() && commit.min(last) <= log.committed && !always {
            return Ok(None);
        }
        let mut append = Message {
            from: leader,
            to: self.raw.raft.id,
            term: self.raw.raft.term,
            index: matched,
            log_term: log.term(matched)?,
            commit,
            ..Message::default()
        };
        append.set_msg_type(MessageType::MsgAppend);
        append.set_entries(entries.into());
        self.raw.step(append)?;
        Ok(Some(last))
    }

    /// What the transport yields always continues the leader's log, so raft must have appended it.
    fn settle_through(&mut self, last: u64) -> Result<()> {
        self.settle()?;
        match self.seat {
            Seat::Following(Following { matched, .. }) if matched < last => {
                Err(Error::Discontinuous { matched })
            }
            _ => Ok(()),
        }
    }

    /// Whether a message says that this node's log agrees with its leader's and is on disk. Raft
    /// sends the same kind, with index zero, to tell an overtaken leader of a higher term.
    pub(crate) fn is_acknowledgement(&self, message: &Message) -> bool {
        message.get_msg_type() == MessageType::MsgAppendResponse
            && !message.reject
            && message.index > 0
            && self.raw.raft.state == StateRole::Follower
            && message.to == self.raw.raft.leader_id
    }

    /// The log agrees with the leader's through the message's index, and is on disk: the transport
    /// may say so. The first time at a ballot is what makes this node follow; only then the message
    /// goes out itself too, for the leader to hear of it at once.
    pub(crate) fn acknowledge(&mut self, message: Message) -> Result<()> {
        let through = Slot(message.index);
        match &mut self.seat {
            Seat::Following(following) => {
                following.matched = following.matched.max(through.0);
                match self.transport.acknowledge(Ballot(message.term), through) {
                    // The rest of that frame waits in the log; its own acknowledgement covers this.
                    Ok(()) | Err(TransportError::InsideFrame { .. }) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
            Seat::Idle => {
                let Some(token) = &self.token else { return Ok(()) };
                self.transport.follow(token, NodeId(message.to), through.next())?;
                let (leader, matched) = (message.to, through.0);
                self.seat = Seat::Following(Following { leader, matched });
                self.send(&message)
            }
            Seat::Leading(_) => Ok(()),
        }
    }
}

//! Raft's `Ready`s: in its order, what must be on disk before it is told to anybody.

use electrode_transport::QuorumTransport;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use raft::{Ready, SnapshotStatus, StateRole};

use crate::error::Result;
use crate::machine::StateMachine;
use crate::node::{Node, Seat};

impl<T: QuorumTransport, M: StateMachine> Node<T, M> {
    /// Works until raft has nothing to do any more.
    pub(crate) fn settle(&mut self) -> Result<()> {
        if matches!(self.seat, Seat::Leading(_)) && self.raw.raft.state != StateRole::Leader {
            // Under CheckQuorum a leader gives up without a higher term.
            self.transport.resign(self.fence_ballot())?;
            self.leave_seat();
        }
        while self.raw.has_ready() {
            self.process_ready()?;
            for member in core::mem::take(&mut self.snapshots_lost) {
                self.raw.report_snapshot(member, SnapshotStatus::Failure);
            }
        }
        self.take_snapshot_if_due()
    }

    /// Neither leads nor follows any more; what was sent as a leader is not sent again.
    pub(crate) fn leave_seat(&mut self) {
        self.seat = Seat::Idle;
        self.links.values_mut().for_each(|link| link.sender.clear());
    }

    fn process_ready(&mut self) -> Result<()> {
        let mut ready = self.raw.ready();
        let leads =
            self.raw.raft.state == StateRole::Leader && self.raw.raft.term == self.fence_ballot().0;
        if leads {
            // A leader may send while it stores (Raft dissertation, section 10.2.1).
            self.broadcast(ready.entries())?;
        }
        self.route(ready.take_messages())?;
        self.persist(&ready)?;
        self.route(ready.take_persisted_messages())?;
        self.apply(ready.take_committed_entries());
        self.reads.extend(ready.take_read_states());

        let mut light = self.raw.advance(ready);
        if let Some(commit) = light.commit_index() {
            self.disk.set_commit(commit);
        }
        self.route(light.take_messages())?;
        self.apply(light.take_committed_entries());
        self.raw.advance_apply();
        let log = &self.raw.raft.raft_log;
        self.tell_progress(log.persisted, log.committed)
    }

    fn persist(&mut self, ready: &Ready) -> Result<()> {
        if !ready.snapshot().is_empty() {
            self.disk.install(ready.snapshot())?;
            self.machine.restore(&ready.snapshot().data);
        }
        self.disk.append(ready.entries())?;
        if let Some(state) = ready.hs() {
            self.disk.set_hard_state(state);
        }
        Ok(())
    }

    /// Each message to where it belongs: the transport's fast path, or the member.
    fn route(&mut self, messages: Vec<Message>) -> Result<()> {
        let mut heartbeats = Vec::new();
        for mut message in messages {
            // What raft said before the fence rose is over. (Proposals and reads carry no term.)
            if message.term != 0 && message.term < self.fence_ballot().0 {
                continue;
            }
            match message.get_msg_type() {
                MessageType::MsgHeartbeat => heartbeats.push(message),
                MessageType::MsgAppend if self.is_on_fast_lane(message.to) => {}
                MessageType::MsgAppend => {
                    self.hold_back(&mut message);
                    self.send(&message)?;
                }
                _ if self.is_acknowledgement(&message) => self.acknowledge(message)?,
                _ => self.send(&message)?,
            }
        }
        if heartbeats.is_empty() { Ok(()) } else { self.beat(heartbeats) }
    }

    fn apply(&mut self, committed: Vec<Entry>) {
        for entry in committed {
            if entry.get_entry_type() == EntryType::EntryNormal && !entry.data.is_empty() {
                self.machine.apply(entry.index, &entry.data);
            }
        }
    }

    fn take_snapshot_if_due(&mut self) -> Result<()> {
        let (applied, every) = (self.applied(), self.options.snapshot_every);
        let newest = self.disk.newest_snapshot().get_metadata().index;
        if applied >= newest.saturating_add(every) {
            let state = self.machine.snapshot();
            self.disk.compact(applied, state, self.options.snapshot_keep)?;
        }
        Ok(())
    }
}

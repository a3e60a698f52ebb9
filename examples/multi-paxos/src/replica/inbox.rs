//! Messages in and out.

use electrode_transport::{NodeId, QuorumTransport, TransportError};

use super::{Replica, Result, Role};
use crate::ballots;
use crate::machine::StateMachine;
use crate::message::Message;
use crate::store::LogStore;

/// Messages of one poll: the rest waits for the next, so that entries and timers have their turn.
const MESSAGES_MAX: usize = 1_024;

impl<T: QuorumTransport, L: LogStore, S: StateMachine> Replica<T, L, S> {
    pub(super) fn poll_messages(&mut self) -> Result<()> {
        let mut body = Vec::new();
        for _ in 0..MESSAGES_MAX {
            let Some(from) = self.transport.try_recv(&mut body)? else { break };
            match Message::decode(&body) {
                Ok(message) => self.handle(from, message)?,
                Err(_) => self.counters.messages_malformed += 1,
            }
        }
        Ok(())
    }

    fn handle(&mut self, from: NodeId, message: Message) -> Result<()> {
        match message {
            Message::Chosen { ballot, burst_end, chosen, entries } => {
                self.handle_chosen(from, ballot, [burst_end, chosen], entries)
            }
            part @ Message::SnapshotPart { .. } => self.handle_snapshot_part(from, part),
            answer @ Message::Recovery { .. } => self.handle_recovery(from, answer),
            // Without its memory a member must not answer for what it may have forgotten.
            _ if matches!(self.role, Role::Recovering(_)) => Ok(()),
            Message::PreVote { attempt } => self.handle_pre_vote(from, attempt),
            Message::PreVoteReply { attempt, granted, promised } => {
                self.handle_pre_vote_reply(from, attempt, granted, promised);
                Ok(())
            }
            Message::Prepare { ballot, attempt, from: slot } => {
                self.handle_prepare(from, ballot, attempt, slot)
            }
            promise @ Message::Promise { .. } => self.handle_promise(from, promise),
            Message::Nack { ballot, promised } => {
                self.handle_nack(ballot, promised);
                Ok(())
            }
            Message::Lead { ballot, chosen } => self.handle_lead(from, ballot, chosen),
            Message::Fetch { from: slot, snapshot } => self.handle_fetch(from, slot, snapshot),
            Message::Recover { nonce, life } => self.handle_recover(from, nonce, life),
        }
    }

    /// Whether a ballot is its sender's own, and leaves room for higher ones.
    pub(super) fn owns(&self, from: NodeId, ballot: electrode_transport::Ballot) -> bool {
        self.seats.leader_of(ballot) == Some(from) && ballots::is_sane(ballot)
    }

    /// Sends a message, or loses it if the way out is full: whoever needs an answer asks again.
    pub(super) fn send(&mut self, to: NodeId, message: &Message) -> Result<()> {
        self.outbox.clear();
        message.encode(&mut self.outbox);
        match self.transport.try_send(to, &self.outbox) {
            Ok(()) | Err(TransportError::Backpressure) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn send_to_others(&mut self, message: &Message) -> Result<()> {
        for node in self.seats.others() {
            self.send(node, message)?;
        }
        Ok(())
    }
}

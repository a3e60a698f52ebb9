//! Messages to and from the other nodes, in parts if they are long.

use electrode_transport::{NodeId, QuorumTransport, TransportError};
use raft::SnapshotStatus;
use raft::eraftpb::{Message, MessageType};

use crate::codec;
use crate::envelope::{Envelope, WHOLE_OVERHEAD};
use crate::error::Result;
use crate::machine::StateMachine;
use crate::node::Node;
use crate::parts::{Outcome, PART_OVERHEAD, Receiver, Sender};

/// Messages taken in one poll, so that a flood of them does not keep the log waiting.
const MESSAGES_PER_POLL: usize = 256;

/// The long messages to and from one node.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
}

impl<T: QuorumTransport, M: StateMachine> Node<T, M> {
    /// Takes in messages.
    pub(crate) fn take_messages(&mut self) -> Result<()> {
        let mut body = Vec::new();
        for _ in 0..MESSAGES_PER_POLL {
            let Some(from) = self.transport.try_recv(&mut body)? else { break };
            match Envelope::decode(&body) {
                Some(Envelope::Whole(bytes)) => self.handle_message(from, bytes)?,
                Some(Envelope::Part(part)) => {
                    let Some(link) = self.links.get_mut(&from.0) else { continue };
                    let (have, message) = link.receiver.handle_part(&part);
                    if let Some(have) = have {
                        self.send_envelope(from.0, &Envelope::Have(have))?;
                    }
                    if let Some(bytes) = message {
                        self.handle_message(from, &bytes)?;
                    }
                }
                Some(Envelope::Have(have)) => {
                    let part_len = self.part_len();
                    let Some(link) = self.links.get_mut(&from.0) else { continue };
                    if link.sender.handle_have(have, part_len) == Some(Outcome::Arrived) {
                        self.raw.report_snapshot(from.0, SnapshotStatus::Finish);
                        self.settle()?;
                    }
                }
                None => tracing::warn!(%from, "dropped a malformed datagram of a member"),
            }
        }
        Ok(())
    }

    fn handle_message(&mut self, from: NodeId, bytes: &[u8]) -> Result<()> {
        let Some(mut message) = codec::decode(bytes) else {
            tracing::warn!(%from, "dropped an undecodable message of a member");
            return Ok(());
        };
        // The transport has checked who sent it; only a passed-on wish names somebody else.
        if message.from != from.0 && message.get_msg_type() != MessageType::MsgTransferLeader {
            tracing::warn!(%from, claimed = message.from, "dropped a message under another's name");
            return Ok(());
        }
        if message.get_msg_type() == MessageType::MsgTransferLeader {
            // Raft stamps the wish with a term when it passes it on, and panics if the next node must
            // pass it on again.
            message.term = 0;
        }
        // Another node's limit may be higher than this one's.
        let len_max = self.transport.capabilities().body_len_max;
        if message.get_msg_type() == MessageType::MsgPropose
            && message.entries.iter().any(|entry| codec::entry_len(entry) > len_max)
        {
            tracing::warn!(%from, "dropped a proposal that does not fit a frame");
            return Ok(());
        }
        self.step(message)
    }

    /// Sends a message by the transport's `send`: as unreliable as raft expects it to be.
    pub(crate) fn send(&mut self, message: &Message) -> Result<()> {
        let bytes = codec::encode(message);
        if WHOLE_OVERHEAD + bytes.len() <= self.transport.capabilities().body_len_max {
            return self.send_envelope(message.to, &Envelope::Whole(&bytes)).map(|_| ());
        }
        let is_snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
        let queued = self
            .links
            .get_mut(&message.to)
            .is_some_and(|link| link.sender.push(bytes, is_snapshot));
        if is_snapshot && !queued {
            self.snapshots_lost.push(message.to);
        }
        Ok(())
    }

    /// Sends parts of long messages while the way out takes them.
    pub(crate) fn send_parts(&mut self) -> Result<()> {
        let part_len = self.part_len();
        let (transport, mut failure) = (&self.transport, None);
        for (&member, link) in &mut self.links {
            link.sender.send(part_len, |part| {
                match transport.try_send(NodeId(member), &Envelope::Part(part).encode()) {
                    Ok(()) => true,
                    Err(TransportError::Backpressure) => false,
                    Err(error) => {
                        failure = Some(error);
                        false
                    }
                }
            });
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    fn part_len(&self) -> usize {
        self.transport.capabilities().body_len_max.saturating_sub(PART_OVERHEAD).max(1)
    }

    /// Returns whether it left; if the way out is full the message is lost.
    fn send_envelope(&self, to: u64, envelope: &Envelope<'_>) -> Result<bool> {
        match self.transport.try_send(NodeId(to), &envelope.encode()) {
            Ok(()) => Ok(true),
            Err(TransportError::Backpressure) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

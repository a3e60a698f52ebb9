//! What clients have asked of this replica and wait for.

use std::collections::{BTreeSet, VecDeque};

use electrode_transport::{NodeId, QuorumTransport};

use super::{Replica, Role};
use crate::error::ProposeError;
use crate::event::{ClientId, Event, Outcome, ReadOutcome, Request};
use crate::machine::StateMachine;
use crate::sessions::Known;
use crate::store::LogStore;
use crate::value::{Command, ValueBuilder};

/// A read that waits for the leadership to be confirmed.
#[derive(Debug)]
pub(super) struct PendingRead {
    pub(super) tag: u64,
    pub(super) query: Vec<u8>,
}

/// Open requests, bounded by `requests_max` a kind.
#[derive(Debug, Default)]
pub(super) struct Requests {
    queue: VecDeque<Command>,
    executing: BTreeSet<(ClientId, u64)>,
    opening: BTreeSet<u64>,
    pub(super) reads: Vec<PendingRead>,
}

impl Requests {
    pub(super) fn waiting_count(&self) -> usize {
        self.executing.len() + self.opening.len() + self.reads.len()
    }

    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn open(
        &mut self,
        tag: u64,
        origin: NodeId,
        requests_max: usize,
    ) -> Result<(), ProposeError> {
        if self.opening.len() >= requests_max {
            return Err(ProposeError::Busy);
        }
        if self.opening.insert(tag) {
            self.queue.push_back(Command::Open { origin: origin.0, tag });
        }
        Ok(())
    }

    pub(super) fn read(
        &mut self,
        tag: u64,
        query: Vec<u8>,
        requests_max: usize,
    ) -> Result<(), ProposeError> {
        if self.reads.len() >= requests_max {
            return Err(ProposeError::Busy);
        }
        self.reads.push(PendingRead { tag, query });
        Ok(())
    }

    /// Queues a request, unless it is on its way already.
    fn execute(&mut self, request: Request, requests_max: usize) -> Result<(), ProposeError> {
        let Request { client, sequence, command } = request;
        if self.executing.contains(&(client, sequence)) {
            return Ok(());
        }
        if self.executing.len() >= requests_max {
            return Err(ProposeError::Busy);
        }
        self.executing.insert((client, sequence));
        self.queue.push_back(Command::Execute { client, sequence, command });
        Ok(())
    }

    /// Whether somebody here waits for this session.
    pub(super) fn opened(&mut self, tag: u64) -> bool {
        self.opening.remove(&tag)
    }

    /// Whether somebody here waits for this reply.
    pub(super) fn executed(&mut self, client: ClientId, sequence: u64) -> bool {
        self.executing.remove(&(client, sequence))
    }

    /// The next value of up to `value_len_max` bytes, and how many commands it holds.
    pub(super) fn cut(&mut self, value_len_max: usize) -> Option<(Vec<u8>, u64)> {
        self.queue.front()?;
        let mut builder = ValueBuilder::new();
        let mut count = 0;
        while let Some(command) = self.queue.front() {
            if !builder.has_room(command, value_len_max) && count > 0 {
                break;
            }
            builder.push(command);
            count += 1;
            self.queue.pop_front();
        }
        Some((builder.finish(), count))
    }
}

impl<T: QuorumTransport, L: LogStore, S: StateMachine> Replica<T, L, S> {
    pub(super) fn take_request(&mut self, request: Request) -> Result<(), ProposeError> {
        let Request { client, sequence, .. } = request;
        // What was applied here was chosen, so this answer stands whoever leads by now.
        let outcome = match self.sessions.look(client, sequence) {
            Known::Repeated(reply) => Outcome::Done(reply.to_vec()),
            Known::Superseded => Outcome::Superseded,
            // An unknown session may be one that is not applied here yet.
            Known::New | Known::Unknown => {
                return self.requests.execute(request, self.config.requests_max);
            }
        };
        self.counters.duplicates_answered += 1;
        self.events.push_back(Event::Reply { client, sequence, outcome });
        Ok(())
    }

    /// Tells everybody who waits here to ask another replica. What was proposed may still be chosen;
    /// repeating it there executes it once all the same.
    pub(super) fn fail_requests(&mut self, leader: Option<NodeId>) {
        let Requests { executing, opening, mut reads, .. } = core::mem::take(&mut self.requests);
        if let Role::Leader(role) = &mut self.role {
            reads.append(&mut role.reads);
        }
        let opened = opening.into_iter().map(|tag| Event::NotOpened { tag, leader });
        let executed = executing.into_iter().map(|(client, sequence)| {
            let outcome = Outcome::NotLeader { leader };
            Event::Reply { client, sequence, outcome }
        });
        let outcome = ReadOutcome::NotLeader { leader };
        let read =
            reads.into_iter().map(|read| Event::Read { tag: read.tag, outcome: outcome.clone() });
        self.events.extend(opened.chain(executed).chain(read));
    }
}

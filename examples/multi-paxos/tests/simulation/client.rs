//! Clients: one operation at a time, repeated at other replicas until it is answered.

use std::time::Duration;

use electrode_multi_paxos::{ClientId, Event, Outcome, ProposeError, ReadOutcome, Request};
use electrode_transport::NodeId;
use rand::RngExt;

use crate::history::{CallId, Operation};
use crate::machine::{Command, Kind, answer};
use crate::planted::Bug;
use crate::run::{Run, Violation};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// How long a client waits for an answer.
const PATIENCE: Duration = ms(60);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Thinks, or waits before it tries again.
    Idle(Duration),
    Opening(u64, Duration),
    Requesting(Duration),
    Reading(u64, Duration),
}

#[derive(Clone, Copy, Debug)]
struct Open {
    call: CallId,
    key: u8,
    /// `None` is a read without a log entry.
    command: Option<(Command, usize)>,
}

#[derive(Debug)]
pub(crate) struct Client {
    state: State,
    session: Option<ClientId>,
    sequence: u64,
    open: Option<Open>,
    target: usize,
    last_seen: u64,
    pub(crate) done: u64,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Idle(Duration::ZERO),
            session: None,
            sequence: 0,
            open: None,
            target: 0,
            last_seen: 0,
            done: 0,
        }
    }
}

impl Run {
    pub(crate) fn step_client(&mut self, index: usize) {
        let client = &mut self.clients[index];
        match client.state {
            State::Idle(at) if at <= self.now => {
                if client.open.is_none() {
                    self.choose(index);
                }
                self.attempt(index);
            }
            State::Opening(_, until) | State::Requesting(until) | State::Reading(_, until)
                if until <= self.now =>
            {
                if self.plan.bug == Some(Bug::RetriesInANewSession) {
                    client.session = None;
                }
                self.totals.client_retries += 1;
                self.clients[index].target = self.dice.random_range(0..self.nodes.len());
                self.attempt(index);
            }
            _ => {}
        }
    }

    /// Begins another operation.
    fn choose(&mut self, index: usize) {
        self.next_id += 1;
        let (id, key) = (self.next_id, self.dice.random_range(0..self.plan.keys));
        let expect = self.clients[index].last_seen;
        let (kind, open) = match self.dice.random_range(0..10) {
            0..3 => (Some(Kind::Put(id)), Some(Operation::Put(id))),
            3..6 => {
                let open = Operation::MaybeCas { expect, new: id };
                (Some(Kind::Cas { expect, new: id }), Some(open))
            }
            6 => (Some(Kind::Get), None),
            _ => (None, None),
        };
        let padding = self.dice.random_range(0..90);
        let command = kind.map(|kind| (Command { id, key, kind }, padding));
        let call = self.history.begin(key, open);
        let client = &mut self.clients[index];
        client.open = Some(Open { call, key, command });
        if command.is_some() {
            client.sequence += 1;
        }
    }

    fn attempt(&mut self, index: usize) {
        let client = &self.clients[index];
        let Some(open) = client.open else { return };
        let (target, until) = (client.target, self.now + PATIENCE);
        self.next_id += 1;
        let tag = self.next_id;
        let soon = self.now + Duration::from_micros(self.dice.random_range(1..100));
        let node = &mut self.nodes[target];
        let Some(replica) = node.replica() else {
            return self.retry(index, None);
        };
        let (taken, state) = match (open.command, client.session) {
            (None, _) => (replica.read(tag, vec![open.key]), State::Reading(tag, until)),
            (Some(_), None) => (replica.open_session(tag), State::Opening(tag, until)),
            (Some((command, padding)), Some(session)) => {
                let sequence = client.sequence;
                let command = command.encode(padding);
                let request = Request { client: session, sequence, command };
                (replica.propose(request), State::Requesting(until))
            }
        };
        node.hurry(soon);
        match taken {
            Ok(()) => self.clients[index].state = state,
            Err(ProposeError::NotLeader { leader }) => self.retry(index, leader),
            Err(_) => self.retry(index, None),
        }
    }

    /// Tries again a little later, where the leader is said to be or anywhere.
    fn retry(&mut self, index: usize, leader: Option<NodeId>) {
        let hinted = leader.and_then(|id| self.nodes.iter().position(|node| node.id == id));
        let anywhere = self.dice.random_range(0..self.nodes.len());
        let later = self.now + Duration::from_micros(self.dice.random_range(100..6_000));
        let client = &mut self.clients[index];
        client.target = hinted.unwrap_or(anywhere);
        client.state = State::Idle(later);
        self.totals.client_retries += 1;
    }

    pub(crate) fn handle_event(&mut self, event: Event) -> Result<(), Violation> {
        let lost = self.dice.random_bool(self.plan.reply_loss);
        match event {
            Event::Opened { tag, client: session } => {
                if let Some(index) =
                    self.waiting(|state| matches!(state, State::Opening(t, _) if t == tag))
                {
                    let client = &mut self.clients[index];
                    client.session = Some(session);
                    client.sequence = 1;
                    self.attempt(index);
                }
            }
            Event::NotOpened { tag, leader } => {
                if let Some(index) =
                    self.waiting(|state| matches!(state, State::Opening(t, _) if t == tag))
                {
                    self.retry(index, leader);
                }
            }
            Event::Read { tag, outcome } => {
                if let Some(index) =
                    self.waiting(|state| matches!(state, State::Reading(t, _) if t == tag))
                {
                    match outcome {
                        ReadOutcome::Done(bytes) => self.finish(index, &bytes),
                        ReadOutcome::NotLeader { leader } => self.retry(index, leader),
                        _ => return Err("an unknown read outcome".to_owned()),
                    }
                }
            }
            Event::Reply { .. } if lost => self.totals.replies_lost += 1,
            Event::Reply { client, sequence, outcome } => {
                return self.handle_reply(client, sequence, outcome);
            }
            _ => {}
        }
        Ok(())
    }

    fn waiting(&self, matches: impl Fn(State) -> bool) -> Option<usize> {
        self.clients.iter().position(|client| matches(client.state))
    }

    fn handle_reply(
        &mut self,
        session: ClientId,
        sequence: u64,
        outcome: Outcome,
    ) -> Result<(), Violation> {
        let Some(index) = self.clients.iter().position(|client| {
            matches!(client.state, State::Requesting(_))
                && (client.session, client.sequence) == (Some(session), sequence)
        }) else {
            return Ok(());
        };
        match outcome {
            Outcome::Done(bytes) => self.finish(index, &bytes),
            Outcome::NotLeader { leader } => self.retry(index, leader),
            Outcome::SessionExpired => {
                // Whether it was executed is not known: the call stays open, the client goes on.
                self.totals.sessions_expired += 1;
                let client = &mut self.clients[index];
                client.session = None;
                client.open = None;
                client.state = State::Idle(self.now + ms(1));
            }
            outcome => {
                return Err(format!("{session:?} got {outcome:?} for its newest request"));
            }
        }
        Ok(())
    }

    fn finish(&mut self, index: usize, bytes: &[u8]) {
        let think = Duration::from_micros(self.dice.random_range(0..self.plan.think_us));
        let client = &mut self.clients[index];
        let Some(open) = client.open.take() else { return };
        let (flag, value) = answer(bytes);
        let operation = match open.command.map(|(command, _)| command.kind) {
            Some(Kind::Put(new)) => Operation::Put(new),
            Some(Kind::Cas { expect, new }) => Operation::Cas { expect, new, swapped: flag },
            Some(Kind::Get) | None => Operation::Get(value),
        };
        self.history.end(open.call, operation);
        client.last_seen = value;
        client.done += 1;
        client.state = State::Idle(self.now + think);
    }
}

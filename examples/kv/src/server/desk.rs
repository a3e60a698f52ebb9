//! The desk between clients and the replica: passes requests in, keeps who waits for what, passes
//! answers out.

use std::collections::HashMap;
use std::net::SocketAddr;

use electrode_multi_paxos::{
    ClientId, Event, LogStore, Outcome, ProposeError, ReadOutcome, Replica, Request, StateMachine,
};
use electrode_transport::{NodeId, QuorumTransport};

use crate::command::Answer;
use crate::config::ServeConfig;
use crate::machine::KvMachine;
use crate::protocol::{RequestBody, ResponseBody, Status};
use crate::server::connection::ReplyTo;
use crate::server::inbox::Incoming;

/// Reads that may wait for this replica to catch up.
const HELD_MAX: usize = 1_024;

/// A read from this replica's own state that is waiting for a slot.
#[derive(Debug)]
struct Held {
    at_least: u64,
    query: Vec<u8>,
    reply: ReplyTo,
}

/// Who waits for what.
#[derive(Debug)]
pub(super) struct Desk {
    clients: HashMap<NodeId, SocketAddr>,
    about: Status,
    next_tag: u64,
    opening: HashMap<u64, ReplyTo>,
    reading: HashMap<u64, ReplyTo>,
    executing: HashMap<(ClientId, u64), Vec<ReplyTo>>,
    held: Vec<Held>,
}

impl Desk {
    pub(super) fn new(
        config: &ServeConfig,
        chosen: &electrode::Selected,
        command_len_max: usize,
    ) -> Self {
        let about = Status {
            cluster: config.cluster.0,
            node: config.node.0,
            mode: config.mode.to_string(),
            backend: chosen.name.into(),
            backend_why: chosen.why.clone(),
            command_len_max: command_len_max as u64,
            ..Status::default()
        };
        Self {
            clients: config.members.iter().map(|member| (member.id, member.client)).collect(),
            about,
            // An `Open` of an earlier life may still be on its way to the log: its tag is another.
            next_tag: rand::random(),
            opening: HashMap::new(),
            reading: HashMap::new(),
            executing: HashMap::new(),
            held: Vec::new(),
        }
    }

    fn tag(&mut self) -> u64 {
        self.next_tag = self.next_tag.wrapping_add(1);
        self.next_tag
    }

    fn redirect(&self, leader: Option<NodeId>) -> ResponseBody {
        let address = leader.and_then(|leader| self.clients.get(&leader));
        ResponseBody::Redirect { leader: address.map(SocketAddr::to_string) }
    }

    fn refuse(&self, reply: ReplyTo, error: ProposeError) {
        reply.send(match error {
            ProposeError::NotLeader { leader } => self.redirect(leader),
            ProposeError::Busy => ResponseBody::Busy,
            ProposeError::TooLarge { len, max } => {
                ResponseBody::TooLarge { len: len as u64, max: max as u64 }
            }
            // Another replica may do better.
            _ => self.redirect(None),
        });
    }

    /// Takes a client's request in.
    pub(super) fn take<T: QuorumTransport, L: LogStore>(
        &mut self,
        replica: &mut Replica<T, L, KvMachine>,
        Incoming { body, reply }: Incoming,
    ) {
        match body {
            RequestBody::Open => {
                let tag = self.tag();
                match replica.open_session(tag) {
                    Ok(()) => drop(self.opening.insert(tag, reply)),
                    Err(error) => self.refuse(reply, error),
                }
            }
            RequestBody::Execute { session, sequence, command } => {
                let client = ClientId(session);
                match replica.propose(Request { client, sequence, command }) {
                    Ok(()) => self.executing.entry((client, sequence)).or_default().push(reply),
                    Err(error) => self.refuse(reply, error),
                }
            }
            RequestBody::Read { query } => {
                let tag = self.tag();
                match replica.read(tag, query) {
                    Ok(()) => drop(self.reading.insert(tag, reply)),
                    Err(error) => self.refuse(reply, error),
                }
            }
            RequestBody::ReadHere { at_least, query } => {
                if self.held.len() >= HELD_MAX {
                    return reply.send(ResponseBody::Busy);
                }
                self.held.push(Held { at_least, query, reply });
            }
            RequestBody::Status => reply.send(ResponseBody::Status(self.status(replica))),
        }
    }

    /// Passes out everything that the replica has to tell.
    pub(super) fn pass_out<T: QuorumTransport, L: LogStore>(
        &mut self,
        replica: &mut Replica<T, L, KvMachine>,
    ) {
        let mut applied = replica.status().applied.0;
        while let Some(event) = replica.next_event() {
            self.pass(event, applied);
        }
        applied = applied.max(replica.status().applied.0);
        let (ready, held) = self.held.drain(..).partition(|held: &Held| held.at_least <= applied);
        self.held = held;
        for Held { query, reply, .. } in ready {
            let answer = replica.machine().query(&query);
            reply.send(ResponseBody::Answer { slot: applied, answer });
        }
    }

    fn pass(&mut self, event: Event, slot: u64) {
        match event {
            Event::Opened { tag, client } => {
                if let Some(reply) = self.opening.remove(&tag) {
                    reply.send(ResponseBody::Opened { session: client.0 });
                }
            }
            Event::NotOpened { tag, leader } => {
                if let Some(reply) = self.opening.remove(&tag) {
                    reply.send(self.redirect(leader));
                }
            }
            Event::Reply { client, sequence, outcome } => {
                for reply in self.executing.remove(&(client, sequence)).into_iter().flatten() {
                    reply.send(self.outcome(&outcome, slot));
                }
            }
            Event::Read { tag, outcome } => {
                if let Some(reply) = self.reading.remove(&tag) {
                    reply.send(match outcome {
                        ReadOutcome::Done(answer) => ResponseBody::Answer { slot, answer },
                        ReadOutcome::NotLeader { leader } => self.redirect(leader),
                        _ => self.redirect(None),
                    });
                }
            }
            _ => {}
        }
    }

    fn outcome(&self, outcome: &Outcome, slot: u64) -> ResponseBody {
        match outcome {
            Outcome::Done(answer) => ResponseBody::Answer { slot, answer: answer.clone() },
            Outcome::SessionExpired => ResponseBody::Expired,
            Outcome::NotLeader { leader } => self.redirect(*leader),
            Outcome::Superseded => {
                ResponseBody::Refused { why: "the session has gone on to a later command".into() }
            }
            _ => self.redirect(None),
        }
    }

    fn status<T: QuorumTransport, L: LogStore>(
        &self,
        replica: &Replica<T, L, KvMachine>,
    ) -> Status {
        let status = replica.status();
        let answer = replica.machine().query(&crate::command::Query::Summary.encode());
        let summary = match Answer::decode(&answer) {
            Ok(Answer::Summary(summary)) => summary,
            _ => crate::command::Summary::default(),
        };
        Status {
            role: format!("{:?}", status.role).to_lowercase(),
            leader: status.leader.map(|leader| leader.0),
            ballot: status.ballot.0,
            chosen: status.commit.0,
            applied: status.applied.0,
            keys: summary.keys,
            writes: summary.writes,
            digest: summary.digest,
            repeats: replica.counters().duplicates_answered,
            ..self.about.clone()
        }
    }
}

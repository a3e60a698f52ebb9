//! Client sessions: what makes a repeated request execute once (Raft thesis, section 6.3).
//!
//! Part of the replicated state: opened, used and evicted by applied commands alone, so equal on all
//! replicas, and in every snapshot. Sessions are named by the log, never by clients, so that an
//! evicted name cannot come back and be taken for new.

use std::collections::{BTreeMap, BTreeSet};

use crate::codec::{DecodeError, Decoded, Reader, put_bytes, put_u32, put_u64};
use crate::event::ClientId;

#[derive(Clone, PartialEq, Eq, Debug)]
struct Session {
    sequence: u64,
    reply: Vec<u8>,
    used: u64,
}

/// What to do with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Known<'a> {
    /// Execute it.
    New,
    /// It was executed; this was the reply.
    Repeated(&'a [u8]),
    /// The session has gone on.
    Superseded,
    /// There is no such session.
    Unknown,
}

/// All sessions, at most `max`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sessions {
    max: usize,
    clock: u64,
    by_client: BTreeMap<ClientId, Session>,
    by_use: BTreeSet<(u64, ClientId)>,
    pub(crate) evicted: u64,
}

impl Sessions {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, clock: 0, by_client: BTreeMap::new(), by_use: BTreeSet::new(), evicted: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_client.len()
    }

    /// Opens a session, evicting the least recently used if there is no room.
    pub(crate) fn open(&mut self) -> ClientId {
        while self.by_client.len() >= self.max {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.by_client.remove(&oldest);
            self.evicted += 1;
        }
        self.clock += 1;
        let client = ClientId(self.clock);
        let session = Session { sequence: 0, reply: Vec::new(), used: self.clock };
        self.by_use.insert((self.clock, client));
        self.by_client.insert(client, session);
        client
    }

    /// What is known of a request.
    pub(crate) fn look(&self, client: ClientId, sequence: u64) -> Known<'_> {
        let Some(session) = self.by_client.get(&client) else { return Known::Unknown };
        if sequence > session.sequence {
            Known::New
        } else if sequence == session.sequence && sequence > 0 {
            Known::Repeated(&session.reply)
        } else {
            Known::Superseded
        }
    }

    /// Notes an executed request's reply. The session exists.
    pub(crate) fn executed(&mut self, client: ClientId, sequence: u64, reply: &[u8]) {
        self.clock += 1;
        if let Some(session) = self.by_client.get_mut(&client) {
            self.by_use.remove(&(session.used, client));
            self.by_use.insert((self.clock, client));
            session.used = self.clock;
            session.sequence = sequence;
            session.reply.clear();
            session.reply.extend_from_slice(reply);
        }
    }

    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        put_u64(into, self.clock);
        put_u32(into, self.by_client.len() as u32);
        for (client, session) in &self.by_client {
            put_u64(into, client.0);
            put_u64(into, session.sequence);
            put_u64(into, session.used);
            put_bytes(into, &session.reply);
        }
    }

    /// Reads what `encode` wrote.
    pub(crate) fn decode(reader: &mut Reader<'_>, max: usize) -> Decoded<Self> {
        let mut sessions = Self::new(max);
        sessions.clock = reader.u64()?;
        for _ in 0..reader.u32()? {
            let client = ClientId(reader.u64()?);
            let (sequence, used) = (reader.u64()?, reader.u64()?);
            let reply = reader.bytes()?.to_vec();
            if used > sessions.clock || client.0 > sessions.clock {
                return Err(DecodeError::Range { field: "session's last use", value: used });
            }
            sessions.by_use.insert((used, client));
            sessions.by_client.insert(client, Session { sequence, reply, used });
        }
        if sessions.by_use.len() != sessions.by_client.len() {
            let value = sessions.by_client.len() as u64;
            return Err(DecodeError::Range { field: "sessions", value });
        }
        Ok(sessions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_request_is_answered_and_an_old_one_is_not_executed() {
        let mut sessions = Sessions::new(4);
        let client = sessions.open();
        assert_eq!(sessions.look(client, 1), Known::New);
        sessions.executed(client, 1, b"one");
        assert_eq!(sessions.look(client, 1), Known::Repeated(b"one"));
        assert_eq!(sessions.look(client, 2), Known::New);
        sessions.executed(client, 5, b"five");
        assert_eq!(sessions.look(client, 1), Known::Superseded);
        assert_eq!(sessions.look(client, 0), Known::Superseded);
        assert_eq!(sessions.look(ClientId(99), 1), Known::Unknown);
    }

    #[test]
    fn the_least_recently_used_session_makes_room_and_never_comes_back() {
        let mut sessions = Sessions::new(2);
        let (first, second) = (sessions.open(), sessions.open());
        sessions.executed(first, 1, b"");
        let third = sessions.open();
        assert_eq!(sessions.look(second, 1), Known::Unknown);
        assert_eq!(sessions.look(first, 1), Known::Repeated(b""));
        assert!(third != first && third != second);
        assert_eq!((sessions.len(), sessions.evicted), (2, 1));
    }

    #[test]
    fn sessions_come_out_of_a_snapshot_as_they_went_in() {
        let mut sessions = Sessions::new(3);
        for round in 0..5 {
            let client = sessions.open();
            sessions.executed(client, round + 1, &round.to_le_bytes());
        }
        let mut bytes = Vec::new();
        sessions.encode(&mut bytes);
        let mut decoded = Sessions::decode(&mut Reader::new(&bytes), 3).expect("just encoded");
        decoded.evicted = sessions.evicted;
        assert_eq!(decoded, sessions);
        for len in 0..bytes.len() {
            assert!(Sessions::decode(&mut Reader::new(&bytes[..len]), 3).is_err());
        }
    }
}

//! Chosen values into the state machine, once each request; snapshots out of it and into it.

use electrode_transport::{QuorumTransport, Slot};

use super::{Replica, Result};
use crate::checksum::checksum;
use crate::codec::{Decoded, Reader, put_u64};
use crate::error::ReplicaError;
use crate::event::{ClientId, Event, Outcome};
use crate::machine::StateMachine;
use crate::sessions::{Known, Sessions};
use crate::store::{LogStore, Snapshot};
use crate::value::{self, Command};

const SNAPSHOT_VERSION: u8 = 1;
/// Bytes of the log read back at once.
const READ_BYTES: usize = 1 << 20;
/// Charged for each slot beside its value when the log's growth is reckoned.
const SLOT_OVERHEAD: u64 = 32;

impl<T: QuorumTransport, L: LogStore, S: StateMachine> Replica<T, L, S> {
    pub(super) fn apply_chosen(&mut self) -> Result<()> {
        while self.applied < self.chosen {
            let slot = self.applied.next();
            let value = match self.unapplied.remove(&slot) {
                Some(value) => value,
                None => self.read_chosen(slot)?,
            };
            self.apply(slot, &value)?;
        }
        Ok(())
    }

    /// Reads a chosen value back, and those after it while at it.
    fn read_chosen(&mut self, slot: Slot) -> Result<Vec<u8>> {
        let chosen = self.chosen;
        let entries = self.store.read(slot, READ_BYTES)?.into_iter();
        for entry in entries.take_while(|entry| entry.slot <= chosen) {
            self.unapplied.entry(entry.slot).or_insert(entry.value);
        }
        self.unapplied.remove(&slot).ok_or(ReplicaError::Hole { slot })
    }

    fn apply(&mut self, slot: Slot, value: &[u8]) -> Result<()> {
        let commands = value::decode(value).map_err(|source| ReplicaError::Undecodable {
            what: "a value",
            slot,
            source,
        })?;
        for command in commands {
            match command {
                Command::Open { origin, tag } => {
                    let client = self.sessions.open();
                    if origin == self.seats.node.0 && self.requests.opened(tag) {
                        self.events.push_back(Event::Opened { tag, client });
                    }
                }
                Command::Execute { client, sequence, command } => {
                    self.execute(client, sequence, &command);
                }
            }
        }
        self.applied = slot;
        self.digest = checksum(self.digest ^ slot.0, value);
        self.bytes_since_snapshot += value.len() as u64 + SLOT_OVERHEAD;
        if self.config.trace_applied {
            self.events.push_back(Event::Applied { slot, digest: self.digest });
        }
        Ok(())
    }

    fn execute(&mut self, client: ClientId, sequence: u64, command: &[u8]) {
        let outcome = match self.sessions.look(client, sequence) {
            Known::New => {
                let reply = self.machine.apply(command);
                self.sessions.executed(client, sequence, &reply);
                Outcome::Done(reply)
            }
            Known::Repeated(reply) => {
                let reply = reply.to_vec();
                self.counters.duplicates_answered += 1;
                Outcome::Done(reply)
            }
            Known::Superseded => Outcome::Superseded,
            Known::Unknown => Outcome::SessionExpired,
        };
        if self.requests.executed(client, sequence) {
            self.events.push_back(Event::Reply { client, sequence, outcome });
        }
    }

    pub(super) fn snapshot_if_due(&mut self) -> Result<()> {
        let slots = self.applied.0 - self.snapshot.0;
        let long = slots >= self.config.snapshot_slots
            || self.bytes_since_snapshot >= self.config.snapshot_bytes;
        if slots == 0 || !long {
            return Ok(());
        }
        let mut state = vec![SNAPSHOT_VERSION];
        put_u64(&mut state, self.digest);
        self.sessions.encode(&mut state);
        state.extend_from_slice(&self.machine.snapshot());
        let snapshot = Snapshot { through: self.applied, state };
        self.store.install(&snapshot)?;
        self.snapshot = snapshot.through;
        self.bytes_since_snapshot = 0;
        self.counters.snapshots_taken += 1;
        Ok(())
    }

    /// Replaces the applied state by a snapshot's; the log is the caller's affair.
    pub(super) fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let slot = snapshot.through;
        let (digest, mut sessions, machine) = self
            .take_apart(&snapshot.state)
            .map_err(|source| ReplicaError::Undecodable { what: "a snapshot", slot, source })?;
        self.machine.restore(machine).map_err(|why| ReplicaError::Machine { slot, why })?;
        sessions.evicted = self.sessions.evicted;
        self.sessions = sessions;
        self.digest = digest;
        self.applied = slot;
        self.snapshot = slot;
        self.bytes_since_snapshot = 0;
        self.chosen = self.chosen.max(slot);
        self.accepted = self.accepted.max(self.chosen);
        self.unapplied = self.unapplied.split_off(&slot.next());
        Ok(())
    }

    fn take_apart<'a>(&self, state: &'a [u8]) -> Decoded<(u64, Sessions, &'a [u8])> {
        let mut reader = Reader::new(state);
        reader.version(SNAPSHOT_VERSION)?;
        let digest = reader.u64()?;
        let sessions = Sessions::decode(&mut reader, self.config.sessions_max)?;
        let machine = reader.take(reader.len())?;
        Ok((digest, sessions, machine))
    }
}

//! The library's own messages, one datagram each: elections, state transfer, recovery.
//!
//! All are idempotent: any may be lost, doubled or late. Whoever needs an answer asks again.

use electrode_transport::{Ballot, Slot};

use crate::codec::{DecodeError, Decoded, Reader, put_bytes, put_u16, put_u32, put_u64};
use crate::store::LogEntry;

const VERSION: u8 = 1;
/// Members whose lives a message may list: as many as a group can have.
const LIVES_MAX: usize = electrode_transport::MEMBERS_MAX;
/// What an entry takes beside its value.
pub(crate) const ENTRY_OVERHEAD: usize = 20;
/// What the largest message with entries takes beside them and beside its lives.
const ENTRIES_OVERHEAD: usize = 54;
/// What a part of a snapshot takes beside its bytes.
pub(crate) const PART_OVERHEAD: usize = 62;

/// The bytes that entries may take in a message of `body_len_max` bytes.
#[must_use]
pub(crate) const fn entries_room(body_len_max: usize, members: usize) -> usize {
    body_len_max.saturating_sub(ENTRIES_OVERHEAD + 4 * members)
}

/// One message between replicas.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Message {
    /// Would you promise me a ballot, if I asked? Changes nothing (Raft thesis, section 9.6).
    PreVote {
        /// The asker's nonce.
        attempt: u64,
    },
    /// The answer.
    PreVoteReply {
        /// The asker's nonce.
        attempt: u64,
        /// Yes or no.
        granted: bool,
        /// What the answerer has promised.
        promised: Ballot,
    },
    /// Phase 1a: promise this ballot, and show what you have accepted from a slot on.
    Prepare {
        /// The candidate's ballot.
        ballot: Ballot,
        /// The candidate's nonce.
        attempt: u64,
        /// The first slot asked for.
        from: Slot,
    },
    /// Phase 1b: promised durably, under a fence; a run of the accepted entries.
    Promise {
        /// The promised ballot.
        ballot: Ballot,
        /// The candidate's nonce.
        attempt: u64,
        /// The slot that was asked for; which run this is.
        from: Slot,
        /// Ask for this slot next, unless `done`.
        next: Slot,
        /// Nothing is accepted from `next` on.
        done: bool,
        /// Everything through this slot is chosen; it is not among the entries.
        chosen: Slot,
        /// How often each member has lost its memory, as far as the sender knew.
        lives: Vec<u32>,
        /// The run.
        entries: Vec<LogEntry>,
    },
    /// A higher ballot was promised.
    Nack {
        /// The refused ballot.
        ballot: Ballot,
        /// The promised one.
        promised: Ballot,
    },
    /// The sender leads at a ballot, and everything through a slot is chosen.
    Lead {
        /// The ballot.
        ballot: Ballot,
        /// The slot.
        chosen: Slot,
    },
    /// State transfer: send what is chosen.
    Fetch {
        /// From this slot on.
        from: Slot,
        /// Or go on with this snapshot: its slot, its checksum, and from where.
        snapshot: Option<(Slot, u64, u64)>,
    },
    /// State transfer: chosen entries.
    Chosen {
        /// What the sender has promised: nothing of this was chosen at a higher ballot.
        ballot: Ballot,
        /// The last slot of the burst that this message is part of.
        burst_end: Slot,
        /// Everything through this slot is chosen.
        chosen: Slot,
        /// A part of the burst.
        entries: Vec<LogEntry>,
    },
    /// State transfer: a part of a snapshot.
    SnapshotPart {
        /// As in `Chosen`.
        ballot: Ballot,
        /// The last slot that it contains.
        through: Slot,
        /// The checksum of the whole.
        checksum: u64,
        /// The length of the whole.
        len: u64,
        /// Where this part begins.
        offset: u64,
        /// Where the burst ends that this message is part of.
        burst_end: u64,
        /// Everything through this slot is chosen.
        chosen: Slot,
        /// The part.
        bytes: Vec<u8>,
    },
    /// A replica without memory asks where things stand.
    Recover {
        /// Its nonce.
        nonce: u64,
        /// Which life this is; zero while it does not know.
        life: u32,
    },
    /// The answer of a replica that is not recovering itself.
    Recovery {
        /// The asker's nonce.
        nonce: u64,
        /// The asker's life, as it was asked.
        life: u32,
        /// What the sender has promised.
        promised: Ballot,
        /// Whether it leads at that ballot.
        leads: bool,
        /// The highest slot in its log.
        last: Slot,
        /// Everything through this slot is chosen.
        chosen: Slot,
        /// How often each member has lost its memory, as far as the sender knows.
        lives: Vec<u32>,
    },
}

impl Message {
    /// Appends the message's bytes.
    pub fn encode(&self, into: &mut Vec<u8>) {
        into.push(VERSION);
        into.push(self.kind());
        match self {
            Self::PreVote { attempt } => put_u64(into, *attempt),
            Self::PreVoteReply { attempt, granted, promised } => {
                put_u64(into, *attempt);
                into.push((*granted).into());
                put_u64(into, promised.0);
            }
            Self::Prepare { ballot, attempt, from } => {
                put_all(into, [ballot.0, *attempt, from.0]);
            }
            Self::Promise { ballot, attempt, from, next, done, chosen, lives, entries } => {
                put_all(into, [ballot.0, *attempt, from.0, next.0, chosen.0]);
                into.push((*done).into());
                put_lives(into, lives);
                put_entries(into, entries);
            }
            Self::Nack { ballot, promised } => put_all(into, [ballot.0, promised.0]),
            Self::Lead { ballot, chosen } => put_all(into, [ballot.0, chosen.0]),
            Self::Fetch { from, snapshot } => {
                put_u64(into, from.0);
                into.push(snapshot.is_some().into());
                if let Some((through, checksum, offset)) = snapshot {
                    put_all(into, [through.0, *checksum, *offset]);
                }
            }
            Self::Chosen { ballot, burst_end, chosen, entries } => {
                put_all(into, [ballot.0, burst_end.0, chosen.0]);
                put_entries(into, entries);
            }
            Self::SnapshotPart {
                ballot,
                through,
                checksum,
                len,
                offset,
                burst_end,
                chosen,
                bytes,
            } => {
                let part = [*checksum, *len, *offset, *burst_end];
                put_all(into, [ballot.0, through.0, chosen.0]);
                put_all(into, part);
                put_bytes(into, bytes);
            }
            Self::Recover { nonce, life } => {
                put_u64(into, *nonce);
                put_u32(into, *life);
            }
            Self::Recovery { nonce, life, promised, leads, last, chosen, lives } => {
                put_u64(into, *nonce);
                put_u32(into, *life);
                into.push((*leads).into());
                put_all(into, [promised.0, last.0, chosen.0]);
                put_lives(into, lives);
            }
        }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::PreVote { .. } => 1,
            Self::PreVoteReply { .. } => 2,
            Self::Prepare { .. } => 3,
            Self::Promise { .. } => 4,
            Self::Nack { .. } => 5,
            Self::Lead { .. } => 6,
            Self::Fetch { .. } => 7,
            Self::Chosen { .. } => 8,
            Self::SnapshotPart { .. } => 9,
            Self::Recover { .. } => 10,
            Self::Recovery { .. } => 11,
        }
    }

    /// Reads a message. Any bytes give a message or an error, and never more memory than they have.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.version(VERSION)?;
        let kind = reader.u8()?;
        let message = Self::decode_body(kind, &mut reader)?;
        reader.finish()?;
        Ok(message)
    }

    fn decode_body(kind: u8, r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(match kind {
            1 => Self::PreVote { attempt: r.u64()? },
            2 => Self::PreVoteReply {
                attempt: r.u64()?,
                granted: r.flag("granted")?,
                promised: Ballot(r.u64()?),
            },
            3 => Self::Prepare { ballot: Ballot(r.u64()?), attempt: r.u64()?, from: slot(r)? },
            4 => {
                let (ballot, attempt) = (Ballot(r.u64()?), r.u64()?);
                let (from, next, chosen) = (slot(r)?, slot(r)?, slot(r)?);
                let done = r.flag("done")?;
                let (lives, entries) = (take_lives(r)?, take_entries(r)?);
                Self::Promise { ballot, attempt, from, next, done, chosen, lives, entries }
            }
            5 => Self::Nack { ballot: Ballot(r.u64()?), promised: Ballot(r.u64()?) },
            6 => Self::Lead { ballot: Ballot(r.u64()?), chosen: slot(r)? },
            7 => {
                let from = slot(r)?;
                let snapshot = match r.flag("snapshot")? {
                    true => Some((slot(r)?, r.u64()?, r.u64()?)),
                    false => None,
                };
                Self::Fetch { from, snapshot }
            }
            8 => Self::Chosen {
                ballot: Ballot(r.u64()?),
                burst_end: slot(r)?,
                chosen: slot(r)?,
                entries: take_entries(r)?,
            },
            9 => Self::SnapshotPart {
                ballot: Ballot(r.u64()?),
                through: slot(r)?,
                chosen: slot(r)?,
                checksum: r.u64()?,
                len: r.u64()?,
                offset: r.u64()?,
                burst_end: r.u64()?,
                bytes: r.bytes()?.to_vec(),
            },
            10 => Self::Recover { nonce: r.u64()?, life: r.u32()? },
            11 => {
                let (nonce, life, leads) = (r.u64()?, r.u32()?, r.flag("leads")?);
                let (promised, last, chosen) = (Ballot(r.u64()?), slot(r)?, slot(r)?);
                let lives = take_lives(r)?;
                Self::Recovery { nonce, life, promised, leads, last, chosen, lives }
            }
            found => return Err(DecodeError::Kind { found }),
        })
    }
}

fn put_all<const N: usize>(into: &mut Vec<u8>, words: [u64; N]) {
    for word in words {
        put_u64(into, word);
    }
}

fn put_lives(into: &mut Vec<u8>, lives: &[u32]) {
    into.push(lives.len() as u8);
    for &life in lives {
        put_u32(into, life);
    }
}

fn put_entries(into: &mut Vec<u8>, entries: &[LogEntry]) {
    put_u16(into, entries.len() as u16);
    for entry in entries {
        put_all(into, [entry.slot.0, entry.ballot.0]);
        put_bytes(into, &entry.value);
    }
}

/// A slot that leaves room for the next one.
fn slot(r: &mut Reader<'_>) -> Decoded<Slot> {
    let value = r.u64()?;
    if value > Slot::MAX.0 {
        Err(DecodeError::Range { field: "slot", value })
    } else {
        Ok(Slot(value))
    }
}

fn take_lives(r: &mut Reader<'_>) -> Decoded<Vec<u32>> {
    let count = r.u8()?;
    if usize::from(count) > LIVES_MAX {
        return Err(DecodeError::Range { field: "lives", value: count.into() });
    }
    (0..count).map(|_| r.u32()).collect()
}

fn take_entries(r: &mut Reader<'_>) -> Decoded<Vec<LogEntry>> {
    let count = usize::from(r.u16()?);
    if count * ENTRY_OVERHEAD > r.len() {
        return Err(DecodeError::Truncated);
    }
    (0..count)
        .map(|_| {
            let (slot, ballot) = (slot(r)?, Ballot(r.u64()?));
            Ok(LogEntry { slot, ballot, value: r.bytes()?.to_vec() })
        })
        .collect()
}

#[cfg(test)]
mod tests;

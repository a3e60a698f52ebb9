//! The records in `log.redb` and their seals.
//!
//! Every record begins with a SipHash-1-3 of its bytes, its kind and its place, so that a record
//! which has rotted, or has ended up in another's place, is seen whatever redb makes of its page.
//! Integers are little-endian.

use std::hash::Hasher;

use electrode_transport::{AckMode, Ballot, ClusterId, NodeId, Slot};
use redb::{ReadableTable, TableDefinition};
use siphasher::sip::SipHasher13;

use super::StoreIdentity;
use crate::store::{LogEntry, Snapshot};

/// Single values by [`Field`].
pub(super) const META: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("meta");
/// Slot to ballot and value.
pub(super) const ENTRIES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("entries");
/// Chunk index to bytes of the snapshot's state.
pub(super) const SNAPSHOT: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("snapshot");

/// A snapshot is kept in pieces of this size, so that no redb page grows to its whole length.
pub(super) const SNAPSHOT_CHUNK_LEN: usize = 1 << 20;

/// What this program writes. A change of any record raises it.
pub(super) const LAYOUT_VERSION: u32 = 1;

const SEAL_LEN: usize = 8;

/// The rows of [`META`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub(super) enum Field {
    /// Layout version and [`StoreIdentity`].
    Header = 1,
    /// The promised ballot.
    Promise = 2,
    /// The chosen watermark.
    Chosen = 3,
    /// The number of the commit that wrote this row: every commit does.
    Commits = 4,
    /// The snapshot's slot and length.
    Snapshot = 5,
}

/// What a record is, for its seal.
#[repr(u8)]
enum Kind {
    Field = 1,
    Entry = 2,
    Chunk = 3,
    Anchor = 4,
}

/// Seals records and checks seals.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal;

impl Seal {
    fn of(kind: Kind, place: u64, parts: &[&[u8]]) -> [u8; SEAL_LEN] {
        // The keys are fixed: this guards against accidents, not against whoever writes the disk.
        let mut hasher = SipHasher13::new_with_keys(0x656c_6563_7472_6f64, 0x6c6f_672d_7365_616c);
        hasher.write_u8(kind as u8);
        hasher.write_u64(place);
        for part in parts {
            hasher.write(part);
        }
        hasher.finish().to_le_bytes()
    }

    fn record(kind: Kind, place: u64, parts: &[&[u8]]) -> Vec<u8> {
        let seal = Self::of(kind, place, parts);
        let mut record =
            Vec::with_capacity(SEAL_LEN + parts.iter().map(|p| p.len()).sum::<usize>());
        record.extend_from_slice(&seal);
        for part in parts {
            record.extend_from_slice(part);
        }
        record
    }

    fn payload<'a>(
        kind: Kind,
        place: u64,
        record: &'a [u8],
        name: &str,
    ) -> Result<&'a [u8], String> {
        match record.split_at_checked(SEAL_LEN) {
            Some((seal, payload)) if seal == Self::of(kind, place, &[payload]) => Ok(payload),
            _ => Err(format!("the checksum of {name} does not match")),
        }
    }

    pub(super) fn number(self, field: Field, value: u64) -> Vec<u8> {
        Self::record(Kind::Field, field as u64, &[&value.to_le_bytes()])
    }

    pub(super) fn open_number(self, field: Field, record: &[u8]) -> Result<u64, String> {
        let payload = Self::payload(Kind::Field, field as u64, record, &format!("{field:?}"))?;
        let mut fields = Fields(payload);
        fields.u64()
    }

    pub(super) fn header(self, identity: StoreIdentity) -> Vec<u8> {
        let parts: [&[u8]; 4] = [
            &LAYOUT_VERSION.to_le_bytes(),
            &identity.cluster.0.to_le_bytes(),
            &identity.node.0.to_le_bytes(),
            &[identity.mode as u8],
        ];
        Self::record(Kind::Field, Field::Header as u64, &parts)
    }

    /// The layout version, and the identity if the version is this program's.
    pub(super) fn open_header(self, record: &[u8]) -> Result<Result<StoreIdentity, u32>, String> {
        let payload = Self::payload(Kind::Field, Field::Header as u64, record, "the header")?;
        let mut fields = Fields(payload);
        let version = fields.u32()?;
        if version != LAYOUT_VERSION {
            return Ok(Err(version));
        }
        let (cluster, node) = (ClusterId(fields.u64()?), NodeId(fields.u64()?));
        let mode = match fields.take(1)? {
            [0] => AckMode::Persisted,
            [1] => AckMode::Received,
            other => return Err(format!("the header names an unknown mode {other:?}")),
        };
        Ok(Ok(StoreIdentity { cluster, node, mode }))
    }

    pub(super) fn entry(self, entry: &LogEntry) -> Vec<u8> {
        Self::record(Kind::Entry, entry.slot.0, &[&entry.ballot.0.to_le_bytes(), &entry.value])
    }

    pub(super) fn open_entry(self, slot: Slot, record: &[u8]) -> Result<LogEntry, String> {
        let payload = Self::payload(Kind::Entry, slot.0, record, &format!("slot {slot}"))?;
        let mut fields = Fields(payload);
        let ballot = Ballot(fields.u64()?);
        Ok(LogEntry { slot, ballot, value: fields.0.to_vec() })
    }

    pub(super) fn snapshot(self, through: Slot, len: u64) -> Vec<u8> {
        let parts: [&[u8]; 2] = [&through.0.to_le_bytes(), &len.to_le_bytes()];
        Self::record(Kind::Field, Field::Snapshot as u64, &parts)
    }

    /// The snapshot's slot and the length of its state.
    pub(super) fn open_snapshot_record(self, record: &[u8]) -> Result<(Slot, u64), String> {
        let place = Field::Snapshot as u64;
        let mut fields = Fields(Self::payload(Kind::Field, place, record, "the snapshot record")?);
        Ok((Slot(fields.u64()?), fields.u64()?))
    }

    pub(super) fn chunk(self, through: Slot, index: u64, bytes: &[u8]) -> Vec<u8> {
        Self::record(Kind::Chunk, index, &[&through.0.to_le_bytes(), bytes])
    }

    /// Puts the snapshot together from its record and chunks.
    pub(super) fn open_snapshot(
        self,
        record: &[u8],
        chunks: &impl ReadableTable<u64, &'static [u8]>,
    ) -> Result<Result<Snapshot, String>, redb::Error> {
        let (through, len) = match self.open_snapshot_record(record) {
            Ok(read) => read,
            Err(why) => return Ok(Err(why)),
        };
        let mut state = Vec::new();
        for (expected, row) in chunks.iter()?.enumerate() {
            let (index, record) = row?;
            let name = format!("snapshot chunk {expected}");
            let payload = Self::payload(Kind::Chunk, expected as u64, record.value(), &name);
            let part = payload.and_then(|payload| {
                let mut fields = Fields(payload);
                if index.value() != expected as u64 || fields.u64()? != through.0 {
                    return Err(format!("{name} is of another snapshot"));
                }
                Ok(fields.0)
            });
            match part {
                Ok(part) => state.extend_from_slice(part),
                Err(why) => return Ok(Err(why)),
            }
        }
        if state.len() as u64 != len {
            return Ok(Err(format!("the snapshot has {} bytes instead of {len}", state.len())));
        }
        Ok(Ok(Snapshot { through, state }))
    }

    pub(super) fn anchor(self, place: u64, commit: u64) -> Vec<u8> {
        Self::record(Kind::Anchor, place, &[&commit.to_le_bytes()])
    }

    pub(super) fn open_anchor(self, place: u64, record: &[u8]) -> Result<u64, String> {
        Fields(Self::payload(Kind::Anchor, place, record, "the anchor")?).u64()
    }
}

/// Reads integers off the front of a payload whose seal was good.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or("a record is too short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, String> {
        let bytes = self.take(4)?.try_into().map_err(|_| "a record is too short")?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn u64(&mut self) -> Result<u64, String> {
        let bytes = self.take(8)?.try_into().map_err(|_| "a record is too short")?;
        Ok(u64::from_le_bytes(bytes))
    }
}

//! A [`LogStore`] on disk, over redb.
//!
//! Why redb and not an LSM store such as fjall: this log must tell "the last, never reported write
//! was torn" from "bytes that were reported durable have rotted". redb is copy-on-write with a
//! checksum in every page, and can check the whole file at open. fjall cuts its journal at the first
//! record it cannot read and goes on, and brings background threads, compaction and a directory of
//! files for what is here one bounded run of slots. redb writes more bytes per commit; group commit
//! pays for that.
//!
//! A directory holds three files:
//! - `lock`, held by the process that has the directory open;
//! - `log.redb`: the header, promise, chosen watermark, entries and snapshot, each record sealed
//!   with a checksum that is bound to its place ([`mod@format`]);
//! - `anchor`: the number of the newest durable commit ([`mod@anchor`]), so that a log which has lost
//!   its newest commit is refused. redb alone would step back to the commit before without a word.
//!
//! One [`sync`](LogStore::sync) is one durable transaction: one `fdatasync`, whatever the batch.

mod anchor;
mod format;
mod open;

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use electrode_transport::{AckMode, Ballot, ClusterId, NodeId, Slot};
use redb::{Database, ReadableDatabase, WriteTransaction};

use super::{LogEntry, LogStore, Snapshot, StoreError};
use anchor::Anchor;
use format::{ENTRIES, Field, META, SNAPSHOT, SNAPSHOT_CHUNK_LEN, Seal};

/// Whose data a directory holds. A directory of another identity is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreIdentity {
    /// The deployment.
    pub cluster: ClusterId,
    /// The replica.
    pub node: NodeId,
    /// The acknowledgement mode: what was written under `Received` promises less than `Persisted`.
    pub mode: AckMode,
}

impl std::fmt::Display for StoreIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mode = match self.mode {
            AckMode::Persisted => "persisted",
            AckMode::Received => "received",
        };
        write!(f, "node {} of cluster {} in {mode} mode", self.node, self.cluster)
    }
}

/// What was set since the last sync.
#[derive(Default)]
struct Pending {
    entries: BTreeMap<Slot, LogEntry>,
    promise: bool,
    chosen: bool,
}

/// A replica's log in a directory of its own. See the module's source for the layout.
///
/// Opening reads and verifies the whole file: its size is bounded by the snapshots that the replica
/// installs. Errors are sticky: after one, every call fails, and the directory must be opened again.
pub struct DiskStore {
    database: Database,
    anchor: Anchor,
    path: PathBuf,
    commits: u64,
    promise: Ballot,
    chosen: Slot,
    last: Slot,
    snapshot_through: Slot,
    pending: Pending,
    failed: bool,
    // Last, so that the directory is unlocked only after the database has closed.
    _lock: File,
}

impl std::fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskStore")
            .field("path", &self.path)
            .field("commits", &self.commits)
            .field("promise", &self.promise)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl DiskStore {
    /// Opens the directory, creating it if it is not there.
    ///
    /// # Errors
    /// [`StoreError::Foreign`] if it is another cluster's, node's or mode's; [`StoreError::InUse`] if
    /// another process has it open; [`StoreError::Corrupt`] if a file in it is missing, torn,
    /// truncated or altered, or lacks a commit that was reported durable; [`StoreError::Full`];
    /// [`StoreError::Io`].
    pub fn open(directory: impl AsRef<Path>, identity: StoreIdentity) -> Result<Self, StoreError> {
        open::open(directory.as_ref(), identity)
    }

    /// How many transactions were made durable over the directory's life.
    #[must_use]
    pub const fn commits(&self) -> u64 {
        self.commits
    }

    fn check(&self, operation: &'static str) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Io {
                operation,
                path: self.path.display().to_string(),
                why: "the store failed before: restart the replica".into(),
            });
        }
        Ok(())
    }

    /// One durable transaction: what is pending, and whatever `more` adds.
    fn commit(
        &mut self,
        more: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let number = self.commits + 1;
        let (database, pending) = (&self.database, &self.pending);
        let (promise, chosen) = (self.promise.0, self.chosen.0);
        let done = guarded(&self.path, "commit", || {
            let transaction = database.begin_write()?;
            {
                let mut meta = transaction.open_table(META)?;
                for (field, value) in
                    [(Field::Commits, number), (Field::Promise, promise), (Field::Chosen, chosen)]
                {
                    meta.insert(field as u64, &*Seal.number(field, value))?;
                }
                let mut entries = transaction.open_table(ENTRIES)?;
                for entry in pending.entries.values() {
                    entries.insert(entry.slot.0, &*Seal.entry(entry))?;
                }
            }
            more(&transaction)?;
            transaction.commit()?;
            Ok(())
        })
        .and_then(|()| self.anchor.advance(number));
        self.failed = done.is_err();
        done?;
        self.commits = number;
        self.pending = Pending::default();
        Ok(())
    }
}

impl LogStore for DiskStore {
    fn promise(&self) -> Ballot {
        self.promise
    }

    fn set_promise(&mut self, ballot: Ballot) -> Result<(), StoreError> {
        self.check("set the promise")?;
        if ballot > self.promise {
            self.promise = ballot;
            self.pending.promise = true;
        }
        Ok(())
    }

    fn put(&mut self, entries: &[LogEntry]) -> Result<(), StoreError> {
        self.check("append")?;
        for entry in entries.iter().filter(|entry| entry.slot > self.snapshot_through) {
            self.last = self.last.max(entry.slot);
            self.pending.entries.insert(entry.slot, entry.clone());
        }
        Ok(())
    }

    fn set_chosen(&mut self, chosen: Slot) -> Result<(), StoreError> {
        self.check("set the chosen slot")?;
        if chosen > self.chosen {
            self.chosen = chosen;
            self.pending.chosen = true;
        }
        Ok(())
    }

    fn chosen(&self) -> Slot {
        self.chosen
    }

    /// The chosen watermark alone is not worth a transaction: it goes along with the next one, or
    /// with closing.
    fn sync(&mut self) -> Result<(), StoreError> {
        self.check("sync")?;
        if self.pending.entries.is_empty() && !self.pending.promise {
            return Ok(());
        }
        self.commit(|_| Ok(()))
    }

    fn read(&self, from: Slot, bytes_max: usize) -> Result<Vec<LogEntry>, StoreError> {
        self.check("read")?;
        let stored = read_stored(&self.database, &self.path, from, bytes_max)?;
        // A full stored run may end before pending slots that lie beyond it: those must wait.
        let end = match stored.last() {
            Some(last) if stored_len(&stored) >= bytes_max => last.slot,
            _ => Slot::MAX,
        };
        let mut merged: BTreeMap<Slot, LogEntry> =
            stored.into_iter().map(|entry| (entry.slot, entry)).collect();
        let pending = self.pending.entries.range(from..=end.max(from));
        merged.extend(pending.map(|(slot, entry)| (*slot, entry.clone())));
        let mut room = bytes_max;
        let mut entries = Vec::with_capacity(merged.len());
        for entry in merged.into_values() {
            if entry.value.len() > room && !entries.is_empty() {
                break;
            }
            room = room.saturating_sub(entry.value.len());
            entries.push(entry);
        }
        Ok(entries)
    }

    fn last(&self) -> Slot {
        self.last
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        self.check("read the snapshot")?;
        let database = &self.database;
        let read = guarded(&self.path, "read the snapshot", || {
            let transaction = database.begin_read()?;
            let meta = transaction.open_table(META)?;
            let chunks = transaction.open_table(SNAPSHOT)?;
            Ok(match meta.get(Field::Snapshot as u64)? {
                None => Ok(None),
                Some(record) => Seal.open_snapshot(record.value(), &chunks)?.map(Some),
            })
        })?;
        read.map_err(|why| corrupt(&self.path, why))
    }

    fn install(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.check("install a snapshot")?;
        if snapshot.through <= self.snapshot_through {
            return Ok(());
        }
        let through = snapshot.through;
        self.snapshot_through = through;
        self.last = self.last.max(through);
        self.chosen = self.chosen.max(through);
        self.pending.entries = self.pending.entries.split_off(&through.next());
        self.commit(|transaction| {
            let mut chunks = transaction.open_table(SNAPSHOT)?;
            chunks.retain(|_, _| false)?;
            for (index, bytes) in snapshot.state.chunks(SNAPSHOT_CHUNK_LEN).enumerate() {
                let index = index as u64;
                chunks.insert(index, &*Seal.chunk(through, index, bytes))?;
            }
            let record = Seal.snapshot(through, snapshot.state.len() as u64);
            transaction.open_table(META)?.insert(Field::Snapshot as u64, &*record)?;
            transaction.open_table(ENTRIES)?.retain_in(..=through.0, |_, _| false)?;
            Ok(())
        })
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        if self.pending.chosen && !self.failed {
            // Only a hint that saves work after a restart; a crash may lose it too.
            let _lost = self.commit(|_| Ok(()));
        }
    }
}

fn stored_len(entries: &[LogEntry]) -> usize {
    entries.iter().map(|entry| entry.value.len()).sum()
}

/// Entries from `from` on until `bytes_max` is reached or passed.
fn read_stored(
    database: &Database,
    path: &Path,
    from: Slot,
    bytes_max: usize,
) -> Result<Vec<LogEntry>, StoreError> {
    let read = guarded(path, "read", || {
        let table = database.begin_read()?.open_table(ENTRIES)?;
        let mut entries = Vec::new();
        let mut len = 0;
        for row in table.range(from.0..)? {
            let (slot, record) = row?;
            match Seal.open_entry(Slot(slot.value()), record.value()) {
                Ok(entry) => {
                    len += entry.value.len();
                    entries.push(entry);
                }
                Err(why) => return Ok(Err(why)),
            }
            if len >= bytes_max {
                break;
            }
        }
        Ok(Ok(entries))
    })?;
    read.map_err(|why| corrupt(path, why))
}

/// Runs a redb call, its errors made ours. redb verifies pages when the file is opened and trusts
/// them afterwards: should one rot while it is open, redb may panic on it, and that too must end as
/// an error of this store and not take the process down.
fn guarded<T>(
    path: &Path,
    operation: &'static str,
    call: impl FnOnce() -> Result<T, redb::Error>,
) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(open::fault(path, operation, error)),
        Err(_) => Err(corrupt(path, "the database gave up on a page that it cannot read".into())),
    }
}

fn corrupt(path: &Path, why: String) -> StoreError {
    StoreError::Corrupt { path: path.display().to_string(), why }
}

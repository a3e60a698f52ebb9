//! What survives a crash: raft's `MemStorage` stands for the disk, with the newest snapshot's data
//! beside it, which `MemStorage` does not keep.

use std::sync::{Arc, PoisonError, RwLock};

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::storage::MemStorage;
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

/// One node's disk. Clones are the same disk, so that a test keeps one over a crash.
#[derive(Clone)]
pub struct Disk {
    log: MemStorage,
    snapshot: Arc<RwLock<Snapshot>>,
}

impl Disk {
    /// An empty disk of a cluster with these voters.
    #[must_use]
    pub fn new(voters: impl IntoIterator<Item = u64>) -> Self {
        let voters: Vec<u64> = voters.into_iter().collect();
        let log = MemStorage::new_with_conf_state((voters, Vec::new()));
        Self { log, snapshot: Arc::default() }
    }

    /// The newest snapshot; its index is zero if there is none.
    #[must_use]
    pub fn newest_snapshot(&self) -> Snapshot {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep_snapshot(&self, snapshot: Snapshot) {
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    /// Replaces the log by a leader's snapshot.
    pub(crate) fn install(&self, snapshot: &Snapshot) -> raft::Result<()> {
        self.log.wl().apply_snapshot(snapshot.clone())?;
        self.keep_snapshot(snapshot.clone());
        Ok(())
    }

    /// Appends entries, over those of the same index and after.
    pub(crate) fn append(&self, entries: &[Entry]) -> raft::Result<()> {
        self.log.wl().append(entries)
    }

    pub(crate) fn set_hard_state(&self, state: &HardState) {
        self.log.wl().set_hardstate(state.clone());
    }

    pub(crate) fn set_commit(&self, commit: u64) {
        self.log.wl().mut_hard_state().commit = commit;
    }

    /// Keeps the state machine's state as of `index`, and only the last `keep` entries before it.
    pub(crate) fn compact(&self, index: u64, state: Vec<u8>, keep: u64) -> raft::Result<()> {
        let mut snapshot = Snapshot::default();
        snapshot.mut_metadata().index = index;
        snapshot.mut_metadata().term = self.log.term(index)?;
        snapshot.mut_metadata().set_conf_state(self.conf_state()?);
        snapshot.data = state.into();
        self.keep_snapshot(snapshot);
        self.log.wl().compact(index.saturating_sub(keep))
    }

    fn conf_state(&self) -> raft::Result<ConfState> {
        Ok(self.log.initial_state()?.conf_state)
    }
}

impl Storage for Disk {
    fn initial_state(&self) -> raft::Result<RaftState> {
        self.log.initial_state()
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        self.log.entries(low, high, max_size, context)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        self.log.term(index)
    }

    fn first_index(&self) -> raft::Result<u64> {
        self.log.first_index()
    }

    fn last_index(&self) -> raft::Result<u64> {
        self.log.last_index()
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let snapshot = self.newest_snapshot();
        if snapshot.get_metadata().index < request_index {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compaction_keeps_the_state_and_a_tail_of_the_log() {
        let disk = Disk::new([1, 2, 3]);
        let entry = |index| Entry { index, term: 2, ..Entry::default() };
        disk.append(&(1..=20).map(entry).collect::<Vec<_>>()).unwrap();
        disk.set_commit(18);
        disk.compact(15, b"state".to_vec(), 5).unwrap();

        assert_eq!(disk.first_index().unwrap(), 10);
        assert_eq!(disk.last_index().unwrap(), 20);
        let snapshot = disk.snapshot(15, 2).unwrap();
        assert_eq!((snapshot.get_metadata().index, snapshot.get_metadata().term), (15, 2));
        assert_eq!(&snapshot.data[..], b"state");
        assert_eq!(snapshot.get_metadata().get_conf_state().voters, [1, 2, 3]);
        assert!(disk.snapshot(16, 2).is_err(), "none as new as that");
    }
}

//! A log in memory that loses on a crash what was not synced, as a disk does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use electrode_transport::{Ballot, Slot};

use super::{LogEntry, LogStore, Snapshot, StoreError};

const PATH: &str = "the log in memory";

#[derive(Clone, Debug)]
enum Write {
    Promise(Ballot),
    Put(Vec<LogEntry>),
    Chosen(Slot),
}

#[derive(Clone, Debug, Default)]
struct Image {
    promise: Ballot,
    chosen: Slot,
    entries: BTreeMap<Slot, (Ballot, Vec<u8>)>,
    snapshot: Option<Snapshot>,
}

impl Image {
    fn snapshot_through(&self) -> Slot {
        self.snapshot.as_ref().map_or(Slot::ZERO, |snapshot| snapshot.through)
    }

    fn apply(&mut self, write: &Write) {
        match write {
            Write::Promise(ballot) => self.promise = self.promise.max(*ballot),
            Write::Chosen(chosen) => self.chosen = self.chosen.max(*chosen),
            Write::Put(entries) => {
                let snapshot = self.snapshot_through();
                for entry in entries.iter().filter(|entry| entry.slot > snapshot) {
                    self.entries.insert(entry.slot, (entry.ballot, entry.value.clone()));
                }
            }
        }
    }

    fn install(&mut self, snapshot: &Snapshot) {
        if snapshot.through > self.snapshot_through() {
            self.entries = self.entries.split_off(&snapshot.through.next());
            self.chosen = self.chosen.max(snapshot.through);
            self.snapshot = Some(snapshot.clone());
        }
    }
}

#[derive(Debug, Default)]
struct State {
    current: Image,
    durable: Image,
    unsynced: Vec<Write>,
    full: bool,
}

/// A log in memory. Clones are the same log, so that whoever starts a replica on it can start
/// another one on it after a crash.
///
/// For `Received` mode, which keeps its log in memory, and for simulations of `Persisted` mode, where
/// [`crash`](Self::crash) loses what was not synced.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

impl MemoryStore {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a power failure does: of the writes since the last sync only the first `kept` remain, as
    /// if the disk had got so far.
    pub fn crash(&self, kept: usize) {
        let mut state = self.state();
        let unsynced = core::mem::take(&mut state.unsynced);
        for write in unsynced.iter().take(kept) {
            state.durable.apply(write);
        }
        state.current = state.durable.clone();
    }

    /// How many writes wait for a sync.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.state().unsynced.len()
    }

    /// Makes every write fail as on a full disk, or lets them succeed again.
    pub fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    fn write(&self, write: Write) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.full {
            return Err(StoreError::Full { path: PATH.to_owned() });
        }
        state.current.apply(&write);
        state.unsynced.push(write);
        Ok(())
    }
}

impl LogStore for MemoryStore {
    fn promise(&self) -> Ballot {
        self.state().current.promise
    }

    fn set_promise(&mut self, ballot: Ballot) -> Result<(), StoreError> {
        self.write(Write::Promise(ballot))
    }

    fn put(&mut self, entries: &[LogEntry]) -> Result<(), StoreError> {
        self.write(Write::Put(entries.to_vec()))
    }

    fn set_chosen(&mut self, chosen: Slot) -> Result<(), StoreError> {
        self.write(Write::Chosen(chosen))
    }

    fn chosen(&self) -> Slot {
        self.state().current.chosen
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.full {
            return Err(StoreError::Full { path: PATH.to_owned() });
        }
        for write in core::mem::take(&mut state.unsynced) {
            state.durable.apply(&write);
        }
        Ok(())
    }

    fn read(&self, from: Slot, bytes_max: usize) -> Result<Vec<LogEntry>, StoreError> {
        let state = self.state();
        let mut entries = Vec::new();
        let mut bytes = 0;
        for (&slot, (ballot, value)) in state.current.entries.range(from..) {
            bytes += value.len();
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(LogEntry { slot, ballot: *ballot, value: value.clone() });
        }
        Ok(entries)
    }

    fn last(&self) -> Slot {
        let state = self.state();
        let entry = state.current.entries.last_key_value().map_or(Slot::ZERO, |(slot, _)| *slot);
        entry.max(state.current.snapshot_through())
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        Ok(self.state().current.snapshot.clone())
    }

    fn install(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.sync()?;
        let mut state = self.state();
        state.current.install(snapshot);
        state.durable.install(snapshot);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(slot: u64, ballot: u64) -> LogEntry {
        LogEntry { slot: Slot(slot), ballot: Ballot(ballot), value: vec![slot as u8; 10] }
    }

    #[test]
    fn a_crash_loses_what_was_not_synced_and_no_more() {
        let mut store = MemoryStore::new();
        store.set_promise(Ballot(1)).expect("room");
        store.put(&[entry(1, 1)]).expect("room");
        store.sync().expect("room");
        store.put(&[entry(2, 1)]).expect("room");
        store.put(&[entry(3, 1)]).expect("room");
        store.set_promise(Ballot(2)).expect("room");
        assert_eq!((store.last(), store.promise(), store.unsynced()), (Slot(3), Ballot(2), 3));
        store.crash(1);
        assert_eq!((store.last(), store.promise(), store.unsynced()), (Slot(2), Ballot(1), 0));
    }

    #[test]
    fn a_snapshot_replaces_the_log_before_it() {
        let mut store = MemoryStore::new();
        store.put(&[entry(1, 1), entry(2, 1), entry(3, 1)]).expect("room");
        let snapshot = Snapshot { through: Slot(2), state: b"two".to_vec() };
        store.install(&snapshot).expect("room");
        store.put(&[entry(2, 9)]).expect("room");
        store.crash(0);
        assert_eq!(store.read(Slot(1), 1_000).expect("in memory"), [entry(3, 1)]);
        assert_eq!(store.snapshot().expect("in memory"), Some(snapshot));
        assert_eq!((store.chosen(), store.last()), (Slot(2), Slot(3)));
    }

    #[test]
    fn reads_are_bounded_and_a_full_disk_is_an_error() {
        let mut store = MemoryStore::new();
        store.put(&[entry(1, 1), entry(2, 1), entry(3, 1)]).expect("room");
        assert_eq!(store.read(Slot(1), 20).expect("in memory").len(), 2);
        assert_eq!(store.read(Slot(2), 0).expect("in memory").len(), 1);
        store.set_full(true);
        assert!(matches!(store.put(&[entry(4, 1)]), Err(StoreError::Full { .. })));
        assert!(matches!(store.sync(), Err(StoreError::Full { .. })));
    }
}

//! The log on disk as a replica uses it: what is put comes back, group commit, and whose it is.
#![cfg(feature = "disk")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use electrode_multi_paxos::{DiskStore, LogEntry, LogStore, Snapshot, StoreError, StoreIdentity};
use electrode_transport::{AckMode, Ballot, ClusterId, NodeId, Slot};
use tempfile::TempDir;

const OWNER: StoreIdentity =
    StoreIdentity { cluster: ClusterId(7), node: NodeId(2), mode: AckMode::Persisted };

fn entry(slot: u64, ballot: u64, len: usize) -> LogEntry {
    let value = (0..len).map(|index| (slot as usize * 31 + index) as u8).collect();
    LogEntry { slot: Slot(slot), ballot: Ballot(ballot), value }
}

fn open(directory: &TempDir) -> DiskStore {
    DiskStore::open(directory.path(), OWNER).unwrap()
}

#[test]
fn what_was_synced_is_there_after_reopening() {
    let directory = TempDir::new().unwrap();
    let entries: Vec<_> = (1..=50).map(|slot| entry(slot, 3, 100)).collect();
    {
        let mut store = open(&directory);
        assert_eq!(store.last(), Slot::ZERO);
        store.set_promise(Ballot(3)).unwrap();
        store.put(&entries).unwrap();
        store.set_chosen(Slot(40)).unwrap();
        store.sync().unwrap();
    }
    let store = open(&directory);
    assert_eq!(store.promise(), Ballot(3));
    assert_eq!(store.chosen(), Slot(40));
    assert_eq!(store.last(), Slot(50));
    assert_eq!(store.read(Slot(1), usize::MAX).unwrap(), entries);
    assert_eq!(store.read(Slot(49), usize::MAX).unwrap(), entries[48..]);
    assert_eq!(store.snapshot().unwrap(), None);
}

#[test]
fn a_batch_is_one_commit_and_an_empty_sync_none() {
    let directory = TempDir::new().unwrap();
    let mut store = open(&directory);
    let before = store.commits();
    for slot in 1..=100 {
        store.put(&[entry(slot, 1, 64)]).unwrap();
    }
    store.set_promise(Ballot(1)).unwrap();
    store.sync().unwrap();
    store.sync().unwrap();
    assert_eq!(store.commits(), before + 1);
}

#[test]
fn reads_merge_what_is_not_synced_yet_and_keep_to_the_limit() {
    let directory = TempDir::new().unwrap();
    let mut store = open(&directory);
    store.put(&[entry(1, 1, 10), entry(2, 1, 10), entry(4, 1, 10)]).unwrap();
    store.sync().unwrap();
    store.put(&[entry(2, 5, 8), entry(3, 5, 10), entry(9, 5, 10)]).unwrap();
    let slots = |from, bytes_max| -> Vec<_> {
        let read = store.read(Slot(from), bytes_max).unwrap();
        read.into_iter().map(|entry| (entry.slot.0, entry.ballot.0)).collect()
    };
    assert_eq!(slots(1, usize::MAX), [(1, 1), (2, 5), (3, 5), (4, 1), (9, 5)]);
    assert_eq!(slots(1, 20), [(1, 1), (2, 5)]);
    assert_eq!(slots(3, 1), [(3, 5)], "at least one entry comes, whatever its length");
    assert_eq!(slots(10, 100), []);
}

#[test]
fn a_read_with_a_limit_skips_no_slot_between_stored_and_pending_ones() {
    let directory = TempDir::new().unwrap();
    let mut store = open(&directory);
    store.put(&[entry(1, 1, 100), entry(2, 1, 100), entry(3, 1, 100)]).unwrap();
    store.sync().unwrap();
    store.put(&[entry(1, 2, 1), entry(7, 2, 1)]).unwrap();
    let mut seen = Vec::new();
    let mut from = Slot(1);
    while let Some(last) = {
        let read = store.read(from, 120).unwrap();
        seen.extend(read.iter().map(|entry| entry.slot.0));
        read.last().map(|entry| entry.slot)
    } {
        from = last.next();
    }
    assert_eq!(seen, [1, 2, 3, 7]);
}

#[test]
fn the_promise_never_falls() {
    let directory = TempDir::new().unwrap();
    let mut store = open(&directory);
    store.set_promise(Ballot(9)).unwrap();
    store.set_promise(Ballot(4)).unwrap();
    store.sync().unwrap();
    drop(store);
    assert_eq!(open(&directory).promise(), Ballot(9));
}

#[test]
fn a_snapshot_replaces_the_entries_that_it_contains() {
    let directory = TempDir::new().unwrap();
    let state: Vec<u8> = (0..3_000_000u32).map(|index| (index / 7) as u8).collect();
    let snapshot = Snapshot { through: Slot(30), state };
    {
        let mut store = open(&directory);
        store.put(&(1..=40).map(|slot| entry(slot, 1, 20)).collect::<Vec<_>>()).unwrap();
        store.install(&snapshot).unwrap();
        assert_eq!(store.chosen(), Slot(30));
        store.put(&[entry(30, 8, 20)]).unwrap();
        assert_eq!(store.read(Slot(1), 1).unwrap(), [entry(31, 1, 20)]);
        // An older one changes nothing.
        store.install(&Snapshot { through: Slot(10), state: vec![1] }).unwrap();
    }
    let mut store = open(&directory);
    assert_eq!(store.last(), Slot(40));
    assert_eq!(store.snapshot().unwrap(), Some(snapshot));
    assert_eq!(store.read(Slot(1), usize::MAX).unwrap().len(), 10);
    let newer = Snapshot { through: Slot(60), state: Vec::new() };
    store.install(&newer).unwrap();
    drop(store);
    let store = open(&directory);
    assert_eq!((store.last(), store.snapshot().unwrap()), (Slot(60), Some(newer)));
    assert_eq!(store.read(Slot(1), usize::MAX).unwrap(), []);
}

#[test]
fn the_directory_of_another_replica_cluster_or_mode_is_foreign() {
    let directory = TempDir::new().unwrap();
    drop(open(&directory));
    for other in [
        StoreIdentity { cluster: ClusterId(8), ..OWNER },
        StoreIdentity { node: NodeId(3), ..OWNER },
        StoreIdentity { mode: AckMode::Received, ..OWNER },
    ] {
        let error = DiskStore::open(directory.path(), other).unwrap_err();
        assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains("node 2 of cluster 7 in persisted mode"), "{said}");
        assert!(said.contains(&other.to_string()), "{said}");
    }
    open(&directory);
}

#[test]
fn a_directory_that_is_open_is_in_use() {
    let directory = TempDir::new().unwrap();
    let held = open(&directory);
    let error = DiskStore::open(directory.path(), OWNER).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    drop(held);
    open(&directory);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("plain");
    std::fs::write(&file, b"in the way").unwrap();
    let error = DiskStore::open(&file, OWNER).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert!(error.to_string().contains("plain"), "{error}");
}

#[test]
fn an_interrupted_creation_is_taken_up_again() {
    let directory = TempDir::new().unwrap();
    drop(open(&directory));
    // The crash came after the log was put in place and before the anchor was.
    std::fs::remove_file(directory.path().join("anchor")).unwrap();
    std::fs::write(directory.path().join("log.redb.new"), b"half").unwrap();
    open(&directory);
    assert!(directory.path().join("anchor").exists());
}

//! Damaged files: whatever is done to them, opening says so or shows exactly what was there. It
//! never panics and never shows something older or other.
#![cfg(feature = "disk")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use electrode_multi_paxos::{DiskStore, LogEntry, LogStore, Snapshot, StoreError, StoreIdentity};
use electrode_transport::{AckMode, Ballot, ClusterId, NodeId, Slot};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

const OWNER: StoreIdentity =
    StoreIdentity { cluster: ClusterId(7), node: NodeId(2), mode: AckMode::Persisted };
const FILES: [&str; 2] = ["log.redb", "anchor"];

#[derive(PartialEq, Debug)]
struct Contents {
    promise: Ballot,
    last: Slot,
    entries: Vec<LogEntry>,
    snapshot: Option<Snapshot>,
}

fn contents(directory: &Path) -> Result<Contents, StoreError> {
    let store = DiskStore::open(directory, OWNER)?;
    Ok(Contents {
        promise: store.promise(),
        last: store.last(),
        entries: store.read(Slot(1), usize::MAX)?,
        snapshot: store.snapshot()?,
    })
}

fn copy(from: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    for file in FILES {
        fs::copy(from.join(file), to.path().join(file)).unwrap();
    }
    to
}

/// A directory as `kill -9` leaves it: copied while it is open, after `commits` syncs.
fn directory(commits: u64) -> TempDir {
    let home = TempDir::new().unwrap();
    let mut store = DiskStore::open(home.path(), OWNER).unwrap();
    for commit in 1..=commits {
        store.set_promise(Ballot(commit)).unwrap();
        let entries: Vec<_> = (0..4)
            .map(|index| LogEntry {
                slot: Slot(commit * 4 + index),
                ballot: Ballot(commit),
                value: format!("commit {commit} value {index}").repeat(8).into_bytes(),
            })
            .collect();
        store.put(&entries).unwrap();
        store.sync().unwrap();
        if commit == 5 {
            let state = b"a state machine's state ".repeat(500);
            store.install(&Snapshot { through: Slot(12), state }).unwrap();
        }
    }
    copy(home.path())
}

/// Opens a damaged directory; `true` if the damage was refused.
fn refused(damaged: &TempDir, expected: &Contents, what: &str) -> bool {
    match contents(damaged.path()) {
        Ok(found) => {
            assert_eq!(&found, expected, "{what}: opened with other contents");
            false
        }
        Err(StoreError::Corrupt { why, .. }) => {
            assert!(!why.is_empty(), "{what}: no reason is given");
            true
        }
        Err(other) => panic!("{what}: {other}"),
    }
}

#[test]
fn flipped_bits_are_refused_or_harmless() {
    let seed: u64 = 0x00e1_ec70;
    let mut random = StdRng::seed_from_u64(seed);
    let healthy = directory(12);
    let expected = contents(copy(healthy.path()).path()).unwrap();
    assert_eq!((expected.promise, expected.entries.len()), (Ballot(12), 39));
    let mut refusals = 0;
    for file in FILES {
        let bytes = fs::read(healthy.path().join(file)).unwrap();
        let written: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != 0).collect();
        // All of the head, where the commit slots and the anchor's records are, and samples of the
        // pages that were written and of the rest.
        let mut samples: Vec<usize> = (0..bytes.len().min(400)).collect();
        for _ in 0..400 {
            samples.push(written[random.random_range(0..written.len())]);
        }
        for _ in 0..60 {
            samples.push(random.random_range(0..bytes.len()));
        }
        for at in samples {
            let damaged = copy(healthy.path());
            let mut altered = bytes.clone();
            altered[at] ^= 1 << random.random_range(0..8);
            fs::write(damaged.path().join(file), altered).unwrap();
            let what = format!("seed {seed}, a bit of byte {at} of {file} flipped");
            refusals += u32::from(refused(&damaged, &expected, &what));
        }
    }
    assert!(refusals > 100, "only {refusals} flips were refused: the damage missed the data");
}

#[test]
fn a_flip_in_the_newest_commit_is_not_a_silent_step_back() {
    let healthy = directory(12);
    let expected = contents(copy(healthy.path()).path()).unwrap();
    let bytes = fs::read(healthy.path().join("log.redb")).unwrap();
    let newest = b"commit 12 value 3commit 12";
    let places: Vec<usize> = (0..bytes.len() - newest.len())
        .filter(|&at| &bytes[at..at + newest.len()] == newest)
        .collect();
    assert!(!places.is_empty());
    for at in places {
        let damaged = copy(healthy.path());
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        fs::write(damaged.path().join("log.redb"), altered).unwrap();
        assert!(refused(&damaged, &expected, "newest value"), "byte {at} was not missed");
    }
}

#[test]
fn truncated_files_are_refused() {
    let healthy = directory(12);
    let expected = contents(copy(healthy.path()).path()).unwrap();
    for file in FILES {
        let bytes = fs::read(healthy.path().join(file)).unwrap();
        let used = bytes.iter().rposition(|&byte| byte != 0).unwrap();
        for len in [0, 1, 8, 15, 64, 511, 512, 4096, used / 2, used - 1] {
            if len > used {
                continue;
            }
            let damaged = copy(healthy.path());
            fs::write(damaged.path().join(file), &bytes[..len]).unwrap();
            let what = format!("{file} cut to {len} bytes");
            // Half an anchor may still hold its newest record.
            let refused = refused(&damaged, &expected, &what);
            assert!(refused || file == "anchor" && len >= 16, "{what} was not missed");
        }
    }
}

#[test]
fn garbage_is_refused() {
    let mut random = StdRng::seed_from_u64(3);
    let healthy = directory(3);
    let expected = contents(copy(healthy.path()).path()).unwrap();
    for file in FILES {
        for len in [7, 4096, 100_000] {
            let damaged = copy(healthy.path());
            let garbage: Vec<u8> = (0..len).map(|_| random.random()).collect();
            fs::write(damaged.path().join(file), garbage).unwrap();
            assert!(refused(&damaged, &expected, &format!("{len} bytes of garbage as {file}")));
        }
    }
}

#[test]
fn zeroed_pages_are_refused_or_harmless() {
    let healthy = directory(12);
    let expected = contents(copy(healthy.path()).path()).unwrap();
    let bytes = fs::read(healthy.path().join("log.redb")).unwrap();
    let mut refusals = 0;
    for page in 0..bytes.len() / 4096 {
        let range = page * 4096..(page + 1) * 4096;
        if bytes[range.clone()].iter().all(|&byte| byte == 0) {
            continue;
        }
        let damaged = copy(healthy.path());
        let mut altered = bytes.clone();
        altered[range].fill(0);
        fs::write(damaged.path().join("log.redb"), altered).unwrap();
        refusals += u32::from(refused(&damaged, &expected, &format!("page {page} zeroed")));
    }
    assert!(refusals > 3, "only {refusals} zeroed pages were refused");
}

#[test]
fn a_missing_file_is_refused() {
    let healthy = directory(3);
    let expected = contents(copy(healthy.path()).path()).unwrap();
    for file in FILES {
        let damaged = copy(healthy.path());
        fs::remove_file(damaged.path().join(file)).unwrap();
        assert!(refused(&damaged, &expected, &format!("{file} removed")));
    }
}

#[test]
fn an_older_copy_of_the_log_is_refused() {
    let (older, newer) = (directory(3), directory(9));
    let expected = contents(copy(newer.path()).path()).unwrap();
    let damaged = copy(newer.path());
    fs::copy(older.path().join("log.redb"), damaged.path().join("log.redb")).unwrap();
    assert!(refused(&damaged, &expected, "an older log under a newer anchor"));
}

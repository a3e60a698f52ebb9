//! Opening a data directory: lock it, find whose it is, verify it, and say what is wrong.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use electrode_transport::{Ballot, Slot};
use redb::{Builder, Database, ReadableDatabase, ReadableTable};

use super::anchor::Anchor;
use super::format::{ENTRIES, Field, LAYOUT_VERSION, META, SNAPSHOT, Seal};
use super::{DiskStore, Pending, StoreIdentity, corrupt, guarded};
use crate::store::StoreError;

/// redb's page cache; the log of a replica that takes snapshots fits.
const CACHE_BYTES: usize = 64 << 20;

/// The number of the commit that writes the header.
const FIRST_COMMIT: u64 = 1;

/// What a verified log holds.
struct Contents {
    commits: u64,
    promise: Ballot,
    chosen: Slot,
    last: Slot,
    snapshot_through: Slot,
}

pub(super) fn open(directory: &Path, identity: StoreIdentity) -> Result<DiskStore, StoreError> {
    std::fs::create_dir_all(directory)
        .map_err(|error| io_fault(directory, "create the directory", error))?;
    let lock = lock(directory)?;
    let path = directory.join("log.redb");
    let anchor_path = directory.join("anchor");
    let anchor = Anchor::open(&anchor_path)?;
    let exists = path.try_exists().map_err(|error| io_fault(&path, "look for", error))?;
    if !exists {
        if anchor.is_some() {
            return Err(corrupt(&path, "it is missing while its anchor is there".into()));
        }
        create(&path, identity)?;
    }
    let database = open_verified(&path)?;
    let contents = guarded(&path, "read", || read_contents(&database, &path, identity))??;
    let anchor = match anchor {
        Some((_, noted)) if noted > contents.commits => {
            let why = format!(
                "its newest commit is {}, but commit {noted} was reported durable",
                contents.commits
            );
            return Err(corrupt(&path, why));
        }
        Some((anchor, _)) => anchor,
        // A crash between the two creations.
        None if contents.commits == FIRST_COMMIT => Anchor::create(&anchor_path, FIRST_COMMIT)?,
        None => return Err(corrupt(&anchor_path, "it is missing".into())),
    };
    sync_directory(directory)?;
    Ok(DiskStore {
        database,
        anchor,
        path,
        commits: contents.commits,
        promise: contents.promise,
        chosen: contents.chosen,
        last: contents.last,
        snapshot_through: contents.snapshot_through,
        pending: Pending::default(),
        failed: false,
        _lock: lock,
    })
}

fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| io_fault(&path, "open", error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(StoreError::InUse { path: directory.display().to_string() })
        }
        Err(TryLockError::Error(error)) => Err(io_fault(&path, "lock", error)),
    }
}

/// Makes a log with its header under another name and puts it in place when it is durable: a
/// `log.redb` that has no header was damaged, not interrupted.
fn create(path: &Path, identity: StoreIdentity) -> Result<(), StoreError> {
    let fresh = path.with_extension("redb.new");
    match std::fs::remove_file(&fresh) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_fault(&fresh, "remove", error)),
    }
    guarded(&fresh, "create", || {
        let database = Builder::new().set_cache_size(CACHE_BYTES).create(&fresh)?;
        let transaction = database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert(Field::Header as u64, &*Seal.header(identity))?;
            meta.insert(Field::Commits as u64, &*Seal.number(Field::Commits, FIRST_COMMIT))?;
            meta.insert(Field::Promise as u64, &*Seal.number(Field::Promise, 0))?;
            meta.insert(Field::Chosen as u64, &*Seal.number(Field::Chosen, 0))?;
            transaction.open_table(ENTRIES)?;
            transaction.open_table(SNAPSHOT)?;
        }
        transaction.commit()?;
        Ok(())
    })?;
    std::fs::rename(&fresh, path).map_err(|error| io_fault(path, "put in place", error))?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Opens an existing file and verifies every page of it.
fn open_verified(path: &Path) -> Result<Database, StoreError> {
    let open = || {
        let mut builder = Builder::new();
        Ok(builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).open(path)?)
    };
    guarded(path, "open", open)
}

/// Checks every record's seal. Damage is the inner error, what redb says the outer.
fn read_contents(
    database: &Database,
    path: &Path,
    identity: StoreIdentity,
) -> Result<Result<Contents, StoreError>, redb::Error> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let Some(header) = meta.get(Field::Header as u64)? else {
        return Ok(Err(corrupt(path, "it has no header".into())));
    };
    match Seal.open_header(header.value()) {
        Ok(Ok(found)) if found == identity => {}
        Ok(Ok(found)) => {
            return Ok(Err(StoreError::Foreign {
                path: path.display().to_string(),
                found: found.to_string(),
                expected: identity.to_string(),
            }));
        }
        Ok(Err(version)) => {
            let why = format!(
                "it has layout version {version} and this program reads {LAYOUT_VERSION}: run the release that wrote it"
            );
            let path = path.display().to_string();
            return Ok(Err(StoreError::Io { operation: "reading the header", path, why }));
        }
        Err(why) => return Ok(Err(corrupt(path, why))),
    }
    let mut numbers = [0; 3];
    for (number, field) in numbers.iter_mut().zip([Field::Commits, Field::Promise, Field::Chosen]) {
        let Some(record) = meta.get(field as u64)? else {
            return Ok(Err(corrupt(path, format!("{field:?} is missing"))));
        };
        match Seal.open_number(field, record.value()) {
            Ok(value) => *number = value,
            Err(why) => return Ok(Err(corrupt(path, why))),
        }
    }
    let mut snapshot_through = Slot::ZERO;
    if let Some(record) = meta.get(Field::Snapshot as u64)? {
        match Seal.open_snapshot(record.value(), &transaction.open_table(SNAPSHOT)?)? {
            Ok(snapshot) => snapshot_through = snapshot.through,
            Err(why) => return Ok(Err(corrupt(path, why))),
        }
    }
    let mut last = snapshot_through;
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (slot, record) = row?;
        let slot = Slot(slot.value());
        if let Err(why) = Seal.open_entry(slot, record.value()) {
            return Ok(Err(corrupt(path, why)));
        }
        last = last.max(slot);
    }
    let [commits, promise, chosen] = numbers;
    let (promise, chosen) = (Ballot(promise), Slot(chosen));
    Ok(Ok(Contents { commits, promise, chosen, last, snapshot_through }))
}

/// A rename is durable once its directory is; other systems have no such call.
fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        File::open(directory)
            .and_then(|opened| opened.sync_all())
            .map_err(|error| io_fault(directory, "flush", error))?;
    }
    Ok(())
}

/// redb's error as ours.
pub(super) fn fault(path: &Path, operation: &'static str, error: redb::Error) -> StoreError {
    match error {
        redb::Error::Io(error) => io_fault(path, operation, error),
        redb::Error::DatabaseAlreadyOpen => StoreError::InUse { path: path.display().to_string() },
        redb::Error::Corrupted(why) => corrupt(path, why),
        // A file that opens but is not laid out as this store's.
        redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::UpgradeRequired(_)
        | redb::Error::RepairAborted => corrupt(path, error.to_string()),
        other => {
            StoreError::Io { operation, path: path.display().to_string(), why: other.to_string() }
        }
    }
}

pub(super) fn io_fault(path: &Path, operation: &'static str, error: io::Error) -> StoreError {
    let path = path.display().to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            StoreError::Full { path }
        }
        // What redb says of a file that is not its own, or ends too early.
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            StoreError::Corrupt { path, why: error.to_string() }
        }
        _ => StoreError::Io { operation, path, why: error.to_string() },
    }
}

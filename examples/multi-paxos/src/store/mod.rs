//! Where a replica keeps its log: the promise, the accepted entries, and the snapshot.

#[cfg(feature = "disk")]
mod disk;
mod memory;

#[cfg(feature = "disk")]
pub use disk::{DiskStore, StoreIdentity};
pub use memory::MemoryStore;

use electrode_transport::{Ballot, Slot};

/// One slot of the log: the value accepted there, and the ballot at which it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    /// The slot.
    pub slot: Slot,
    /// The ballot at which this member accepted the value.
    pub ballot: Ballot,
    /// The value.
    pub value: Vec<u8>,
}

/// A state machine's state after every slot through `through` was applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// The last slot that it contains.
    pub through: Slot,
    /// The state machine's own encoding, sessions included.
    pub state: Vec<u8>,
}

/// Why a store could not do what was asked. After an error the store must not be used further: the
/// replica stops, so that nothing is acknowledged that is not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory belongs to another cluster, node or acknowledgement mode.
    #[error(
        "{path} belongs to {found}, not to {expected}: give this replica its own data directory"
    )]
    Foreign {
        /// The directory or file.
        path: String,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// The file is torn or its checksums do not match.
    #[error(
        "{path} is damaged ({why}): keep this replica stopped; the others go on without it. Do not start it on an empty directory or an older copy: it would forget what it promised, and acknowledged writes could be lost"
    )]
    Corrupt {
        /// The file.
        path: String,
        /// What was found.
        why: String,
    },
    /// No space is left; nothing of the batch was acknowledged.
    #[error(
        "no space left on the disk of {path}: free some and restart the replica; nothing acknowledged is lost"
    )]
    Full {
        /// The file.
        path: String,
    },
    /// Another process has the directory open.
    #[error(
        "{path} is in use by another process: stop it, or give this replica its own data directory"
    )]
    InUse {
        /// The file.
        path: String,
    },
    /// The system refused.
    #[error("{operation} failed on {path}: {why}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: String,
        /// What the store said.
        why: String,
    },
}

/// A replica's durable state. Writes are buffered until [`sync`](Self::sync): one sync covers a batch
/// (group commit), and nothing may be promised or acknowledged before it has returned.
pub trait LogStore {
    /// The highest promised ballot that was synced (or set, before a sync).
    fn promise(&self) -> Ballot;

    /// Sets the promise. Never falls.
    ///
    /// # Errors
    /// [`StoreError`].
    fn set_promise(&mut self, ballot: Ballot) -> Result<(), StoreError>;

    /// Puts entries, each replacing what the slot held. Slots need not be contiguous with what is
    /// there; entries at or below the snapshot are ignored.
    ///
    /// # Errors
    /// [`StoreError`].
    fn put(&mut self, entries: &[LogEntry]) -> Result<(), StoreError>;

    /// Notes that every slot through `chosen` is chosen, so that a restart need not learn it again.
    /// May be lost in a crash.
    ///
    /// # Errors
    /// [`StoreError`].
    fn set_chosen(&mut self, chosen: Slot) -> Result<(), StoreError>;

    /// The chosen watermark as far as it is known.
    fn chosen(&self) -> Slot;

    /// Makes everything so far durable.
    ///
    /// # Errors
    /// [`StoreError`].
    fn sync(&mut self) -> Result<(), StoreError>;

    /// Entries from `from` on, in slot order, until their values exceed `bytes_max` (at least one).
    ///
    /// # Errors
    /// [`StoreError`].
    fn read(&self, from: Slot, bytes_max: usize) -> Result<Vec<LogEntry>, StoreError>;

    /// The highest slot that holds an entry or is in the snapshot.
    fn last(&self) -> Slot;

    /// The newest snapshot, if any.
    ///
    /// # Errors
    /// [`StoreError`].
    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError>;

    /// Keeps a snapshot and drops the entries that it contains. Durable when it returns.
    ///
    /// # Errors
    /// [`StoreError`].
    fn install(&mut self, snapshot: &Snapshot) -> Result<(), StoreError>;
}

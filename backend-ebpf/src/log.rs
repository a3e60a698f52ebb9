//! One group's log between the rings and the library: entries in order, whatever CPUs took them in.

use std::collections::BTreeMap;

use electrode_ebpf_abi::{RECORD_CHARGE, Record};
use electrode_transport::engine::LogRing;
use electrode_transport::rules::Acceptor;
use electrode_transport::{Ballot, LogBatch, Slot};

use crate::pin::Shelf;

/// Where accepted entries are.
#[derive(Debug)]
pub(crate) enum Log {
    /// In this process's memory.
    Own(Merged),
    /// In memory that outlives it.
    Pinned(Box<Shelf>),
}

/// The rings' records in order, in this process's memory.
#[derive(Debug)]
pub(crate) struct Merged {
    ring: LogRing,
    /// Records that another CPU's ring gave out before an earlier one was seen.
    early: BTreeMap<u64, Early>,
    /// The number of the newest record in the ring.
    sequence: u64,
    /// Charged bytes of the records that came into the ring so far.
    charged: u64,
    /// Wrong on purpose, for a test that must notice: records are taken as the rings give them.
    #[cfg(test)]
    is_unordered: bool,
}

#[derive(Debug)]
struct Early {
    head: Record,
    body: Vec<u8>,
}

impl Merged {
    pub(crate) fn new(log_bytes: usize) -> Self {
        Self {
            ring: LogRing::new(log_bytes),
            early: BTreeMap::new(),
            sequence: 0,
            charged: 0,
            #[cfg(test)]
            is_unordered: false,
        }
    }

    #[inline]
    fn take(&mut self, head: &Record, body: &[u8]) {
        #[cfg(test)]
        if self.is_unordered {
            return self.append(head, body);
        }
        if head.sequence != self.sequence + 1 {
            if head.sequence > self.sequence {
                self.early.insert(head.sequence, Early { head: *head, body: body.to_vec() });
            }
            return;
        }
        self.append(head, body);
        while let Some(early) = self.early.remove(&(self.sequence + 1)) {
            self.append(&early.head, &early.body);
        }
    }

    /// The kernel accepted the record only because there was room for it here.
    fn append(&mut self, head: &Record, body: &[u8]) {
        let (ballot, first, last) = (Ballot(head.ballot), Slot(head.first), Slot(head.last));
        let stored = self.ring.reserve(ballot, first, last, body);
        debug_assert!(stored, "the kernel keeps the same account of the log's room");
        self.ring.commit();
        self.sequence = head.sequence;
        self.charged += body.len() as u64 + RECORD_CHARGE;
    }
}

impl Log {
    /// Takes in a record, in whatever order the rings gave them.
    #[inline]
    pub(crate) fn take(&mut self, head: &Record, body: &[u8]) {
        match self {
            Self::Own(log) => log.take(head, body),
            Self::Pinned(shelf) => shelf.take(head, body),
        }
    }

    /// Moves entries into `batch` while they fit. A pinned log asks how the follower stands: what the
    /// library has taken depends on it.
    #[inline]
    pub(crate) fn poll(&mut self, batch: &mut LogBatch, acceptor: impl FnOnce() -> Acceptor) {
        match self {
            Self::Own(log) => log.ring.poll(batch),
            Self::Pinned(shelf) => shelf.poll(batch, &acceptor()),
        }
    }

    pub(crate) fn splits(&self, through: Slot) -> Option<Slot> {
        match self {
            Self::Own(log) => log.ring.splits(through),
            Self::Pinned(shelf) => shelf.splits(through),
        }
    }

    #[inline]
    pub(crate) fn discard_through(&mut self, through: Slot) {
        match self {
            Self::Own(log) => log.ring.discard_through(through),
            Self::Pinned(shelf) => shelf.discard_through(through),
        }
    }

    #[inline]
    pub(crate) fn polled(&self) -> Slot {
        match self {
            Self::Own(log) => log.ring.polled(),
            Self::Pinned(shelf) => shelf.polled(),
        }
    }

    pub(crate) fn reset_polled(&mut self, through: Slot) {
        match self {
            Self::Own(log) => log.ring.reset_polled(through),
            Self::Pinned(shelf) => shelf.reset_polled(through),
        }
    }

    /// Charged bytes that were handed on: what the kernel may fill again.
    #[inline]
    pub(crate) fn released(&self) -> u64 {
        match self {
            Self::Own(log) => log.charged - log.ring.charged() as u64,
            Self::Pinned(shelf) => shelf.released(),
        }
    }

    #[cfg(test)]
    pub(crate) fn set_unordered(&mut self, is_unordered: bool) {
        if let Self::Own(log) = self {
            log.is_unordered = is_unordered;
        }
    }

    /// The log as it outlives the process, if it does.
    pub(crate) fn shelf(&mut self) -> Option<&mut Shelf> {
        match self {
            Self::Own(_) => None,
            Self::Pinned(shelf) => Some(shelf),
        }
    }
}

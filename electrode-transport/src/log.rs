//! What goes into a broadcast and what comes out of the log.

use std::time::Duration;
use std::vec::Vec;

use crate::ident::{Ballot, GroupId, Slot};

/// One frame to broadcast: a body for a run of slots. What the body holds is the library's affair;
/// the transport stores, acknowledges and yields the run as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// The first slot, one after the last one broadcast.
    pub first: Slot,
    /// The last slot; at most 65,536 slots a frame.
    pub last: Slot,
    /// The body, up to `Capabilities::body_len_max` bytes, possibly empty.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// A frame for one slot.
    #[must_use]
    pub const fn single(slot: Slot, body: &'a [u8]) -> Self {
        Self { first: slot, last: slot, body }
    }
}

/// One accepted frame as `poll_log` yields it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// The ballot at which it was accepted.
    pub ballot: Ballot,
    /// The first slot it covers.
    pub first: Slot,
    /// The last slot it covers.
    pub last: Slot,
    /// The body, to the byte.
    pub body: &'a [u8],
}

/// A follower's view beside the entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FollowerStatus {
    /// The followed ballot, [`Ballot::NONE`] if nothing is followed.
    pub ballot: Ballot,
    /// The newest commit slot the leader told of. May be ahead of what is stored here: apply up to
    /// the lower of the two.
    pub commit: Slot,
    /// The slot expected next: everything before it is stored here or with the library.
    pub next: Slot,
    /// Every slot through this one has been, or may be, acknowledged.
    pub acknowledged: Slot,
    /// How long ago the followed leader was last heard, or began to be followed. `None` if nothing
    /// is followed. Election time-outs live on it.
    pub heard_ago: Option<Duration>,
    /// A ballot higher than the followed one and not below the fence, seen on a frame that was
    /// therefore refused: there is a leader that this member has not followed yet. At the fence's own
    /// ballot it is the candidate that this member promised to.
    pub higher_ballot: Option<Ballot>,
}

#[derive(Clone, Copy, Debug)]
struct Meta {
    ballot: Ballot,
    first: Slot,
    last: Slot,
    end: usize,
}

/// A reusable buffer of polled entries. After it has grown to its working size, polling allocates
/// nothing.
#[derive(Clone, Debug)]
pub struct LogBatch {
    bytes: Vec<u8>,
    entries: Vec<Meta>,
    entries_max: usize,
    bytes_max: usize,
    status: FollowerStatus,
}

impl Default for LogBatch {
    /// Up to 256 entries or 256 KiB a poll.
    fn default() -> Self {
        Self::with_limits(256, 256 << 10)
    }
}

impl LogBatch {
    /// A buffer that takes up to `entries_max` entries (at least one) and about `bytes_max` bytes a
    /// poll; an entry larger than that still comes, alone.
    #[must_use]
    pub fn with_limits(entries_max: usize, bytes_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            entries: Vec::new(),
            entries_max: entries_max.max(1),
            bytes_max,
            status: FollowerStatus::default(),
        }
    }

    /// The entries, in slot order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Entry<'_>> + ExactSizeIterator {
        self.entries.iter().enumerate().map(|(index, meta)| {
            let start = index.checked_sub(1).map_or(0, |before| self.entries[before].end);
            let Meta { ballot, first, last, end } = *meta;
            Entry { ballot, first, last, body: &self.bytes[start..end] }
        })
    }

    /// How many entries it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The follower's view as of the poll that filled it.
    #[must_use]
    pub const fn status(&self) -> &FollowerStatus {
        &self.status
    }

    /// The last entry's last slot.
    #[must_use]
    pub fn last_slot(&self) -> Option<Slot> {
        self.entries.last().map(|meta| meta.last)
    }

    /// Forgets the entries, keeps the memory and the status.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    /// For backends: whether another entry of `len` bytes fits.
    #[must_use]
    pub fn has_room(&self, len: usize) -> bool {
        self.entries.is_empty()
            || self.entries.len() < self.entries_max && self.bytes.len() + len <= self.bytes_max
    }

    /// For backends: appends an entry whose body is the concatenation of `parts`.
    pub fn push(&mut self, ballot: Ballot, first: Slot, last: Slot, parts: [&[u8]; 2]) {
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.entries.push(Meta { ballot, first, last, end: self.bytes.len() });
    }

    /// For backends: sets the follower's view.
    pub fn set_status(&mut self, status: FollowerStatus) {
        self.status = status;
    }
}

/// Proof that a group's fence stands at a ballot. Promising, voting, starting an election,
/// truncating, leading and following all need it.
#[derive(PartialEq, Eq, Hash, Debug)]
#[must_use = "whoever promises or votes must hold the token while doing so"]
pub struct FenceToken {
    group: GroupId,
    ballot: Ballot,
}

impl FenceToken {
    /// For backends and mocks: call it only after the fence stands.
    pub const fn issue(group: GroupId, ballot: Ballot) -> Self {
        Self { group, ballot }
    }

    /// The ballot at which the fence stood when it was issued.
    #[must_use]
    pub const fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// The group that it fences.
    #[must_use]
    pub const fn group(&self) -> GroupId {
        self.group
    }
}

/// What a fence hands over.
#[derive(Debug)]
#[must_use = "the entries were acknowledged, or may yet be: they must reach the library's log"]
pub struct Fenced {
    /// The token to promise with.
    pub token: FenceToken,
    /// Every accepted entry that had not been polled, in slot order. `poll_log` will not yield them
    /// again. Together with what was polled before, this is everything this member may ever have
    /// acknowledged below the ballot.
    pub entries: LogBatch,
}

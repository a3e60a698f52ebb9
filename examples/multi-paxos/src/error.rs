//! What can go wrong, said so that the reader knows what to do next.

use electrode_transport::{NodeId, Slot, TransportError};

use crate::codec::DecodeError;
use crate::store::StoreError;

/// Why a replica could not start, or has stopped. After it nothing more is promised, acknowledged or
/// answered by this replica: the group is closed. Nothing acknowledged before is lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// A setting that cannot work.
    #[error("the setting {field} is wrong: {why}")]
    Config {
        /// Which.
        field: &'static str,
        /// Why, and what would work.
        why: &'static str,
    },
    /// The log failed. What was not synced was not acknowledged.
    #[error("the replica stopped because its log failed")]
    Store(#[from] StoreError),
    /// The transport failed or was closed.
    #[error("the replica stopped because its transport failed")]
    Transport(#[from] TransportError),
    /// The log lacks a slot that it says is chosen.
    #[error(
        "the log has no entry for the chosen slot {slot}: restore the data directory from a backup"
    )]
    Hole {
        /// Which slot.
        slot: Slot,
    },
    /// A chosen value or a snapshot that this version cannot read.
    #[error(
        "{what} through slot {slot} cannot be read: all replicas must run versions that understand each other's log"
    )]
    Undecodable {
        /// A value or a snapshot.
        what: &'static str,
        /// Which slot.
        slot: Slot,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The state machine refused a snapshot.
    #[error(
        "the state machine refused the snapshot through slot {slot} ({why}): all replicas must run the same state machine"
    )]
    Machine {
        /// The snapshot's slot.
        slot: Slot,
        /// What it said.
        why: String,
    },
    /// Another replica's snapshot is larger than this one takes.
    #[error(
        "the snapshot through slot {slot} has {len} bytes, but snapshot_len_max is {max}: raise it"
    )]
    SnapshotTooLarge {
        /// The snapshot's slot.
        slot: Slot,
        /// Its length.
        len: u64,
        /// What is taken.
        max: u64,
    },
    /// A value of the log is larger than frames can be now.
    #[error(
        "slot {slot} holds {len} bytes, but frames hold {max}: raise the datagram limit to what it was when the slot was written"
    )]
    ValueTooLarge {
        /// Which slot.
        slot: Slot,
        /// Its value's length.
        len: usize,
        /// What fits.
        max: usize,
    },
    /// The transport yielded a slot out of order: it does not keep its contract.
    #[error(
        "the transport yielded slot {slot} where {expected} was due: this backend breaks its contract, report it"
    )]
    OutOfOrder {
        /// What came.
        slot: Slot,
        /// What was due.
        expected: Slot,
    },
    /// `bootstrap` or `recover` was called on a log that is not empty.
    #[error(
        "the log is not empty, but bootstrap and recover start without memory: give them a new log, or use open"
    )]
    NotEmpty,
    /// The replica stopped earlier.
    #[error("the replica has stopped: start it again")]
    Stopped,
}

/// Why a request was not taken. It will not be executed because of this call.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// Another replica leads, or nobody does yet.
    #[error("this replica does not lead: ask {}", hint(*leader))]
    NotLeader {
        /// Who leads, as far as this replica knows.
        leader: Option<NodeId>,
    },
    /// Too many requests wait. Try again after the next events.
    #[error("too many requests wait at the leader: try again a little later")]
    Busy,
    /// The command does not fit one slot.
    #[error(
        "a command of {len} bytes is too large: at most {max} fit a slot; split it, or raise the datagram limit"
    )]
    TooLarge {
        /// Its length.
        len: usize,
        /// What fits.
        max: usize,
    },
    /// The replica has stopped.
    #[error("the replica has stopped: ask another one")]
    Stopped,
}

fn hint(leader: Option<NodeId>) -> String {
    leader.map_or_else(|| "another one in a moment".to_owned(), |node| format!("node {node}"))
}

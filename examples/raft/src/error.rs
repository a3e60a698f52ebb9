//! Why a node's call failed, and what to do about it.

use electrode_transport::{AckMode, Ballot, NodeId, TransportError};

/// The result of a node's calls.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// What can go wrong in a node. Unless the variant says otherwise the node must not go on: it has
/// neither answered nor acknowledged what it failed at, and a restart from its disk is safe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The transport failed or was closed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Raft failed; with a working disk it does not.
    #[error("raft cannot go on: {0}")]
    Raft(#[from] raft::Error),
    /// Raft counts an entry once it is on disk, so the group must be opened as `Persisted`.
    #[error("raft needs a group in Persisted mode, this one is in {mode:?}: open it again")]
    Mode {
        /// The group's mode.
        mode: AckMode,
    },
    /// The proposal does not fit one frame. The node goes on: split the command.
    #[error("a command of {len} bytes is too large: the limit is {max}; split it")]
    TooLarge {
        /// Bytes given.
        len: usize,
        /// Bytes that fit.
        max: usize,
    },
    /// Nobody is known to lead, or too much is uncommitted. The node goes on: try again later.
    #[error("the proposal was dropped: try again, at the leader ({leader:?}) if one is known")]
    Dropped {
        /// Who leads as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Raft took up a term that was not fenced before. Nothing was stored or sent at it.
    #[error("raft is at term {term} but the fence stands at {fence}: the prediction is wrong")]
    Unfenced {
        /// Raft's term.
        term: u64,
        /// The fence in force.
        fence: Ballot,
    },
    /// What the log yielded does not continue what it yielded before: the transport broke its
    /// contract.
    #[error("the log yielded entries that raft could not append after index {matched}")]
    Discontinuous {
        /// The last index known to agree with the leader's log.
        matched: u64,
    },
    /// A frame or message that no node of this version encodes.
    #[error("an undecodable {what} from node {from}: do all nodes run the same version?")]
    Undecodable {
        /// What it was.
        what: &'static str,
        /// Who sent it.
        from: NodeId,
    },
}

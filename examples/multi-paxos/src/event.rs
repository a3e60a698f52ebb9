//! What goes into a replica and what comes out.

use electrode_transport::{Ballot, NodeId, Slot};

/// A client's session, named by the cluster when it was opened and never given out twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(pub u64);

/// One command of a client.
///
/// A client sends one command at a time, each with a higher sequence, beginning at 1, and repeats it
/// with the same sequence, at any replica, until it has the reply: then it is executed exactly
/// once. A client that wants several under way opens several sessions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The session.
    pub client: ClientId,
    /// Its number within the session.
    pub sequence: u64,
    /// For the state machine.
    pub command: Vec<u8>,
}

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It was executed, now or before, once; this is what the state machine answered.
    Done(Vec<u8>),
    /// It was not executed by this proposal: the session is unknown, or was the least recently used
    /// when room was needed. Whether an earlier proposal of it was executed is not known any more.
    /// Open a new session.
    SessionExpired,
    /// The session has gone on to a higher sequence; this one is not executed any more.
    Superseded,
    /// This replica leads no longer. Repeat the request, with the same sequence, at the leader.
    NotLeader {
        /// Who leads, as far as this replica knows.
        leader: Option<NodeId>,
    },
}

/// What became of a read.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ReadOutcome {
    /// The state machine's answer, at some moment between the call and this event.
    Done(Vec<u8>),
    /// This replica leads no longer. Ask the leader.
    NotLeader {
        /// Who leads, as far as this replica knows.
        leader: Option<NodeId>,
    },
}

/// Something that a replica tells its caller.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A session was opened for the call with this tag.
    Opened {
        /// The caller's.
        tag: u64,
        /// The session.
        client: ClientId,
    },
    /// A session could not be opened here. Ask the leader.
    NotOpened {
        /// The caller's tag.
        tag: u64,
        /// Who leads, as far as this replica knows.
        leader: Option<NodeId>,
    },
    /// What became of a request that was proposed here.
    Reply {
        /// The session.
        client: ClientId,
        /// The request's number.
        sequence: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// What became of a read.
    Read {
        /// The caller's tag.
        tag: u64,
        /// What became of it.
        outcome: ReadOutcome,
    },
    /// A slot was applied; only with `trace_applied`.
    Applied {
        /// Which.
        slot: Slot,
        /// A checksum of this and every earlier value; equal on all replicas.
        digest: u64,
    },
}

/// What a replica is doing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum RoleName {
    /// It follows a leader, or waits for one.
    Follower,
    /// It collects promises.
    Candidate,
    /// It leads.
    Leader,
    /// It lost its memory and learns from a quorum what it may have promised and acknowledged.
    Recovering,
    /// It has failed.
    Stopped,
}

impl RoleName {
    /// Whether requests are taken here.
    #[must_use]
    pub const fn is_leader(self) -> bool {
        matches!(self, Self::Leader)
    }
}

/// Where a replica stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// This replica.
    pub node: NodeId,
    /// What it is doing.
    pub role: RoleName,
    /// The ballot that it has promised, leads or follows.
    pub ballot: Ballot,
    /// Who leads at it, if that is known.
    pub leader: Option<NodeId>,
    /// Every slot through this one is chosen, and stored here.
    pub commit: Slot,
    /// Every slot through this one is applied to the state machine.
    pub applied: Slot,
    /// The highest slot stored here.
    pub last: Slot,
    /// The log through this slot was replaced by a snapshot.
    pub snapshot: Slot,
    /// A checksum of everything applied; equal on replicas with equal `applied`.
    pub digest: u64,
    /// How many client sessions are kept.
    pub sessions: usize,
    /// Slots on their way without a quorum; zero on followers.
    pub in_flight: usize,
    /// Requests and reads that wait for an answer here.
    pub waiting: usize,
}

/// What a replica has done since it was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Elections begun.
    pub elections: u64,
    /// Elections won.
    pub leaderships: u64,
    /// Values of earlier ballots brought in again by a new leader.
    pub values_recovered: u64,
    /// Slots that a new leader filled with nothing because nobody had a value.
    pub holes_filled: u64,
    /// Slots proposed as leader.
    pub slots_proposed: u64,
    /// Commands in them.
    pub commands_proposed: u64,
    /// Reads answered after a confirmed probe.
    pub reads_confirmed: u64,
    /// Requests answered from a session instead of executed again.
    pub duplicates_answered: u64,
    /// Sessions that made room for others.
    pub sessions_evicted: u64,
    /// Slots that came by state transfer.
    pub slots_fetched: u64,
    /// Snapshots taken.
    pub snapshots_taken: u64,
    /// Snapshots that came by state transfer.
    pub snapshots_installed: u64,
    /// Messages of the library's own sent again.
    pub messages_resent: u64,
    /// Promises left out because their sender has lost its memory since.
    pub promises_outlived: u64,
    /// Recoveries from a quorum completed.
    pub recoveries: u64,
    /// Messages that could not be read.
    pub messages_malformed: u64,
}

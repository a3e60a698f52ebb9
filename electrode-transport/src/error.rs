//! What can go wrong, said so that the reader knows what to do next.

use std::io;
use std::net::SocketAddr;

use crate::ident::{Ballot, GroupId, Incarnation, NodeId, Slot};
use crate::obstacle::Obstacle;

/// A configuration or membership that cannot work.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// None, or more than 32.
    #[error("a group has 1 to 32 members, this one {count}")]
    MemberCount {
        /// How many there were.
        count: usize,
    },
    /// The same id twice.
    #[error("member {member} is listed twice: give each member its own id")]
    DuplicateMember {
        /// The id.
        member: NodeId,
    },
    /// The same address twice.
    #[error("members {first} and {second} share the address {address}: each needs its own")]
    DuplicateAddress {
        /// The address.
        address: SocketAddr,
        /// Who has it.
        first: NodeId,
        /// Who has it too.
        second: NodeId,
    },
    /// An id that the membership does not list.
    #[error(
        "node {member} is not a member of this group: add it to the membership or correct the id"
    )]
    UnknownMember {
        /// The id.
        member: NodeId,
    },
    /// A quorum nobody can reach, or that needs nobody.
    #[error("a quorum of {needed} out of {voters} voters is impossible: {}", quorum_advice(*.voters))]
    QuorumSize {
        /// How many would be needed.
        needed: u32,
        /// How many vote.
        voters: u32,
    },
    /// This node's address in the membership is not where its endpoint is bound.
    #[error(
        "the membership lists this node at {member} but its endpoint is bound to {bound}: peers would drop its frames; bind the listed address, or correct the membership"
    )]
    OwnAddress {
        /// What the membership says.
        member: SocketAddr,
        /// What is bound.
        bound: SocketAddr,
    },
    /// IPv4 and IPv6 mixed.
    #[error(
        "member address {member} and bound address {bound} are of different IP versions: use one version for the whole group"
    )]
    AddressFamily {
        /// The member's.
        member: SocketAddr,
        /// The endpoint's.
        bound: SocketAddr,
    },
    /// A number out of range.
    #[error("{field} is {value}; it must be at least {min} and at most {max}")]
    OutOfRange {
        /// Which.
        field: &'static str,
        /// What it was.
        value: u64,
        /// The least that works.
        min: u64,
        /// The most that works.
        max: u64,
    },
    /// The group is open on this endpoint already.
    #[error("group {group} is open on this endpoint already: close it first")]
    GroupOpen {
        /// Which.
        group: GroupId,
    },
    /// A membership that is not newer than the one in force.
    #[error(
        "incarnation {offered} is not above {current}, which is in force: every change of membership needs a higher one"
    )]
    IncarnationBackwards {
        /// What was given.
        offered: Incarnation,
        /// What is in force.
        current: Incarnation,
    },
}

fn quorum_advice(voters: u32) -> String {
    match voters {
        0 => "the group has no voters, let at least one member vote".to_owned(),
        _ => format!("use 1 to {voters}"),
    }
}

/// Why a call of the contract failed. No failure loses an entry, a vote or a fence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// See [`ConfigError`].
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The body does not fit one datagram. Split it, or raise the datagram limit with the MTU.
    #[error(
        "{len} bytes do not fit a frame: the limit is {max}; split it, or raise the datagram limit if the network's MTU allows"
    )]
    TooLarge {
        /// Bytes given.
        len: usize,
        /// Bytes that fit.
        max: usize,
    },
    /// The window, or the way to the network, is full. Wait for a quorum (or await `broadcast`) and
    /// go on from the first frame that was not taken.
    #[error("the send window is full: wait for a quorum to make room, then broadcast the rest")]
    Backpressure,
    /// Ballots only rise. Take a higher one.
    #[error("ballot {offered} is behind: this node stands at {current}; take a higher one")]
    BallotBackwards {
        /// What was given.
        offered: Ballot,
        /// What is in force.
        current: Ballot,
    },
    /// The token is of another group, or a later fence has overtaken it.
    #[error("this fence token (group {group}, ballot {ballot}) is not the newest: fence again")]
    StaleToken {
        /// Its group.
        group: GroupId,
        /// Its ballot.
        ballot: Ballot,
    },
    /// This node does not lead at that ballot: it never did, was fenced, or resigned.
    #[error("not leading at ballot {ballot}: to lead, fence at a higher ballot and lead there")]
    NotLeading {
        /// The ballot given.
        ballot: Ballot,
    },
    /// This node does not follow at that ballot.
    #[error("not following at ballot {ballot}: fence at its leader's ballot and follow it first")]
    NotFollowing {
        /// The ballot given.
        ballot: Ballot,
    },
    /// A member has promised a higher ballot, so this leadership is ending. What a quorum has stored
    /// stays told; for the rest, fence at a higher ballot.
    #[error(
        "ballot {ballot} is superseded: a member has promised {by}; follow it or fence above it"
    )]
    Superseded {
        /// The ballot asked about.
        ballot: Ballot,
        /// What a member has promised.
        by: Ballot,
    },
    /// At one ballot every member follows one leader, and a leader follows nobody.
    #[error("ballot {ballot} has a leader already, node {leader}: take a higher ballot")]
    LeaderConflict {
        /// The ballot.
        ballot: Ballot,
        /// Who leads there.
        leader: NodeId,
    },
    /// Slots go out, and are followed, one after the other.
    #[error("slot {offered} is out of order: {expected} is next")]
    SlotOutOfOrder {
        /// What was given.
        offered: Slot,
        /// What was expected (or the lowest possible).
        expected: Slot,
    },
    /// The slot splits a frame that waits in the log. Poll the log first.
    #[error("slot {through} lies inside a frame that ends at {last}: poll the log first")]
    InsideFrame {
        /// What was given.
        through: Slot,
        /// Where the frame ends.
        last: Slot,
    },
    /// A member cannot send to itself through the transport.
    #[error("node {member} is this node: handle its message locally")]
    SendToSelf {
        /// This node.
        member: NodeId,
    },
    /// The group, or its whole endpoint, was closed.
    #[error("the group is closed: open it again on a running endpoint")]
    Closed,
    /// The own address is on no interface of this machine.
    #[error(
        "address {address} is not on this machine: bind one of its own, or bring the interface up"
    )]
    AddressNotLocal {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else has the port.
    #[error("address {address} is in use: stop the other process, or choose another port")]
    AddressInUse {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The backend that was asked for cannot run here, or cannot any more: then its endpoint is closed.
    #[error("the {backend} backend is not available: {why}")]
    Unavailable {
        /// Which.
        backend: &'static str,
        /// Why, for programs.
        reason: Obstacle,
        /// Why, and what would help.
        why: String,
    },
    /// The system refused.
    #[error("{operation} failed on {subject}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which address or interface.
        subject: String,
        /// What the system said.
        source: io::Error,
    },
}

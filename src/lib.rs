//! Electrode: kernel-accelerated transports for consensus, behind one trait.
//!
//! A consensus library depends on this crate, is generic over [`QuorumTransport`] (or holds an
//! `Arc<dyn QuorumTransport>`), and leaves the backend to whoever runs the service: [`open`] picks
//! one at run time and says why, [`Transport`] names the one that the features select.
//!
//! | feature | what it adds |
//! |---|---|
//! | `socket` (default) | the contract over UDP sockets: any system, no privileges |
//! | `memory` | many nodes in one process over a seeded network with virtual time, for tests |
//! | `mock` | `MockQuorumTransport`, for unit tests |
#![forbid(unsafe_code)]

#[cfg(feature = "socket")]
mod open;

#[cfg(feature = "socket")]
pub use open::{Choice, Endpoint, Options, Selected, Transport, open};

#[cfg(feature = "socket")]
pub use electrode_backend_socket::{SocketEndpoint, SocketOptions, SocketTransport};
#[cfg(feature = "memory")]
pub use electrode_transport::memory;
pub use electrode_transport::{
    AckMode, Acked, Ballot, Capabilities, ClusterId, ConfigError, Counter, EndpointConfig, Entry,
    FenceToken, Fenced, FollowerStatus, Frame, GroupConfig, GroupId, Incarnation, Interest,
    LogBatch, MEMBERS_MAX, Member, MemberIndex, MemberSet, Membership, Message, NodeId, Probe,
    Progress, Quorum, QuorumRule, QuorumTransport, Result, Role, Slot, Stats, Time, TransportCore,
    TransportError, rules, wire,
};
#[cfg(feature = "mock")]
pub use electrode_transport::{MockQuorumTransport, OwnedFrame};

/// The README's code compiles and runs as written.
#[cfg(all(doctest, feature = "socket"))]
#[doc = include_str!("../README.md")]
struct Readme;

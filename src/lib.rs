//! Replication's three hot operations behind one trait, [`QuorumTransport`]: broadcast to all,
//! acknowledge what was stored, wait for a quorum.
//!
//! A consensus library depends on the trait and is generic over it. Whoever runs the service picks the
//! backend: at run time with [`open`], which gives `Arc<dyn QuorumTransport>` and says what it picked
//! and why, or at build time with the alias `Transport`, the handle of the best backend among the
//! features. Nothing else changes but the speed.
//!
//! | feature | what it adds |
//! |---|---|
//! | `socket` (default) | the backend over UDP sockets: any system, no privileges |
//! | `memory` | [`memory`]: many nodes in one process, simulated network, virtual time |
//! | `mock` | `MockQuorumTransport` |
//!
//! The backend that does all this in the kernel (feature `ebpf`) comes with a later release, behind
//! the same [`open`]. Until then [`Choice::Ebpf`] is an error that says so.
//!
//! ```
//! # #[cfg(feature = "socket")]
//! # fn main() -> electrode::Result<()> {
//! use electrode::{
//!     ClusterId, EndpointConfig, GroupConfig, GroupId, Incarnation, Member, Membership, NodeId,
//!     Options, QuorumRule,
//! };
//!
//! let bind = "127.0.0.1:0".parse().expect("an address");
//! let endpoint = electrode::open(Options::new(EndpointConfig::new(ClusterId(1), NodeId(1), bind)))?;
//! println!("{}", endpoint.backend());
//!
//! let members = [Member::voter(NodeId(1), endpoint.local_addr())];
//! let membership = Membership::new(Incarnation(1), members, QuorumRule::Majority)?;
//! let transport = endpoint.join(GroupConfig::new(GroupId(1), membership))?;
//! assert_eq!(transport.capabilities().backend, endpoint.backend().name);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "socket"))]
//! # fn main() {}
//! ```
#![forbid(unsafe_code)]

mod backend;
mod open;

pub use electrode_transport::{
    AckMode, Acked, Ballot, Capabilities, ClusterId, ConfigError, Counter, EndpointConfig, Entry,
    FenceToken, Fenced, FollowerStatus, Frame, GroupConfig, GroupId, Incarnation, Interest,
    LogBatch, MEMBERS_MAX, Member, MemberIndex, MemberSet, Membership, Message, NodeId, Probe,
    Progress, Quorum, QuorumRule, QuorumTransport, Result, Role, Slot, Stats, TransportCore,
    TransportError, wire::Key,
};
pub use open::{Choice, Endpoint, Options, Selected, UnknownChoice, open};

#[cfg(feature = "memory")]
pub use electrode_transport::memory;
#[cfg(feature = "mock")]
pub use electrode_transport::{MockQuorumTransport, OwnedFrame};

#[cfg(feature = "socket")]
pub use electrode_backend_socket::{SocketEndpoint, SocketOptions, SocketTransport};

/// The handle of the best backend among this build's features, for code that is not to pay for
/// dynamic dispatch: written against it, or generic over `T: QuorumTransport`, a program changes its
/// backend by a feature flag. [`open`] instead decides at run time.
#[cfg(feature = "socket")]
pub type Transport = SocketTransport;

/// The endpoint on which [`Transport`]s are opened.
#[cfg(feature = "socket")]
pub type TransportEndpoint = SocketEndpoint;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

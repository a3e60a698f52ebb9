//! Replication's three hot operations behind one trait, [`QuorumTransport`]: broadcast to all,
//! acknowledge what was stored, wait for a quorum.
//!
//! A consensus library depends on the trait and is generic over it. Whoever runs the service picks the
//! backend: at run time with [`open`], which gives `Arc<dyn QuorumTransport>` and says what it picked
//! and why, or at build time by naming a backend's own endpoint. Nothing else changes but the speed.
//!
//! | feature | what it adds |
//! |---|---|
//! | `socket` (default) | the backend over UDP sockets: any system, no privileges |
//! | `ebpf` | the backend in the kernel: Linux 6.6, `CAP_BPF`, `CAP_PERFMON` and `CAP_NET_ADMIN` |
//! | `metrics` | `metrics`: the counters for Prometheus and the like |
//! | `memory` | `memory`: many nodes in one process, simulated network, virtual time |
//! | `mock` | `MockQuorumTransport` |
//!
//! With `ebpf` on, [`open`] tries the kernel first and falls back to sockets, loudly; [`Choice::Ebpf`]
//! refuses instead. `probe` says what works on an interface, and why the rest does not; the example
//! `doctor` prints it.
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
mod candidates;
#[cfg(feature = "metrics")]
pub mod metrics;
mod open;

pub use electrode_transport::{
    AckMode, Acked, Ballot, Capabilities, ClusterId, ConfigError, Counter, EndpointConfig, Entry,
    FenceToken, Fenced, FollowerStatus, Frame, GroupConfig, GroupId, Incarnation, Interest,
    LogBatch, MEMBERS_MAX, Member, MemberIndex, MemberSet, Membership, Message, NodeId, Obstacle,
    Probe, Progress, Quorum, QuorumRule, QuorumTransport, Result, Role, Slot, Stats, TransportCore,
    TransportError, wire::Key,
};
pub use open::{Choice, Endpoint, Fallback, Options, Selected, UnknownChoice, open};

#[cfg(feature = "memory")]
pub use electrode_transport::memory;
#[cfg(feature = "mock")]
pub use electrode_transport::{MockQuorumTransport, OwnedFrame};

#[cfg(feature = "socket")]
pub use electrode_backend_socket::{SocketEndpoint, SocketOptions, SocketTransport};

#[cfg(all(feature = "ebpf", target_os = "linux"))]
pub use electrode_backend_ebpf::{
    EbpfEndpoint, EbpfError, HookReport, ProbeTarget, Proof, Report, Survey, Ticks, probe,
};
#[cfg(feature = "ebpf")]
pub use electrode_backend_ebpf::{EbpfOptions, Hook, HookChoice, UnknownHook};

/// The handle of the default backend, for code that is not to pay for dynamic dispatch.
///
/// It is the socket backend's whatever other features are on: features add up over all crates of a
/// build, and one that a crate far away turns on must not change what another one runs on, the less so
/// to something that needs privileges. Code that is generic over `T: QuorumTransport` takes any
/// backend's handle; [`open`] decides at run time.
#[cfg(feature = "socket")]
pub type Transport = SocketTransport;

/// The endpoint on which [`Transport`]s are opened.
#[cfg(feature = "socket")]
pub type TransportEndpoint = SocketEndpoint;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

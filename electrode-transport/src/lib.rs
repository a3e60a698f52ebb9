//! The contract of Electrode: replication's three hot operations (broadcast to all, acknowledge
//! what was stored, wait for a quorum) behind one trait, [`QuorumTransport`], with backends that do
//! them over sockets or in the kernel.
//!
//! - [`wire`] is the frame format, [`rules`] the two rules. Both are `no_std` and compile to BPF.
//! - [`TransportCore`] and [`QuorumTransport`] are the contract (feature `std`).
//! - [`engine`] is everything about the contract that needs no I/O: backends feed it datagrams and
//!   time, and send what it says.
//! - `memory` (feature `memory`) runs many nodes in one process over a simulated network.
//! - `MockQuorumTransport` (feature `mock`) is for unit tests of libraries that are generic over the
//!   trait.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

mod ident;
pub mod rules;
pub mod wire;

#[cfg(feature = "std")]
mod capabilities;
#[cfg(feature = "std")]
mod config;
#[cfg(feature = "std")]
mod contract;
#[cfg(feature = "std")]
pub mod engine;
#[cfg(feature = "std")]
mod error;
#[cfg(feature = "std")]
mod log;
#[cfg(feature = "std")]
mod membership;
#[cfg(feature = "memory")]
pub mod memory;
#[cfg(feature = "mock")]
mod mock;
#[cfg(feature = "std")]
mod stats;

pub use ident::{
    Ballot, ClusterId, GroupId, Incarnation, MEMBERS_MAX, MemberIndex, MemberSet, NodeId, Slot,
    Time,
};
pub use rules::AckMode;

#[cfg(feature = "std")]
pub use capabilities::{Acked, Capabilities, Interest, Probe, Progress, Quorum};
#[cfg(feature = "std")]
pub use config::{EndpointConfig, GroupConfig};
#[cfg(feature = "std")]
pub use contract::{Message, QuorumTransport, Result, TransportCore};
#[cfg(feature = "std")]
pub use error::{ConfigError, TransportError};
#[cfg(feature = "std")]
pub use log::{Entry, FenceToken, Fenced, FollowerStatus, Frame, LogBatch};
#[cfg(feature = "std")]
pub use membership::{Member, Membership, QuorumRule, Role};
#[cfg(feature = "mock")]
pub use mock::{MockQuorumTransport, OwnedFrame};
#[cfg(feature = "std")]
pub use stats::{Counter, Stats};

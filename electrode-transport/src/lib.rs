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
//!
//! A leader and a follower of a library, once an election has given them `ballot` and the log ends
//! before `next`. What is stored where, and what an entry means, stays the library's affair:
//!
//! ```
//! # #[cfg(feature = "std")] mod library {
//! use electrode_transport::{
//!     Ballot, Frame, LogBatch, NodeId, QuorumTransport, Result, Slot, TransportError,
//! };
//!
//! trait Store {
//!     fn append(&mut self, first: Slot, last: Slot, body: &[u8]);
//!     fn sync(&mut self);
//! }
//!
//! async fn lead(
//!     transport: &impl QuorumTransport,
//!     store: &mut impl Store,
//!     ballot: Ballot,
//!     next: Slot,
//!     proposals: &[&[u8]],
//! ) -> Result<()> {
//!     // Whatever was accepted below the ballot is in hand before anything is promised or led.
//!     let fenced = transport.fence(ballot)?;
//!     for entry in fenced.entries.iter() {
//!         store.append(entry.first, entry.last, entry.body);
//!     }
//!     transport.lead(&fenced.token, next)?;
//!     let mut slot = next;
//!     for &body in proposals {
//!         transport.broadcast(ballot, &[Frame::single(slot, body)]).await?;
//!         store.append(slot, slot, body);
//!         store.sync();
//!         transport.acknowledge(ballot, slot)?; // Its own vote, under the same rule as everybody's.
//!         let quorum = transport.await_quorum(ballot, slot).await?;
//!         transport.set_commit(ballot, quorum.through)?;
//!         slot = slot.next();
//!     }
//!     transport.confirm_leadership(ballot).await // From here on a read is linearizable.
//! }
//!
//! async fn follow(
//!     transport: &impl QuorumTransport,
//!     store: &mut impl Store,
//!     leader: NodeId,
//!     ballot: Ballot,
//!     next: Slot,
//! ) -> Result<()> {
//!     let fenced = transport.fence(ballot)?;
//!     for entry in fenced.entries.iter() {
//!         store.append(entry.first, entry.last, entry.body);
//!     }
//!     store.sync();
//!     transport.follow(&fenced.token, leader, next)?;
//!     let mut batch = LogBatch::default();
//!     loop {
//!         transport.poll_log(&mut batch).await?;
//!         for entry in batch.iter() {
//!             store.append(entry.first, entry.last, entry.body);
//!         }
//!         if let Some(last) = batch.last_slot() {
//!             store.sync(); // One for the whole batch, and only then the vote.
//!             match transport.acknowledge(ballot, last) {
//!                 Err(TransportError::NotFollowing { .. }) => return Ok(()), // Fenced meanwhile.
//!                 other => other?,
//!             }
//!         }
//!         if batch.status().higher_ballot.is_some() {
//!             return Ok(()); // Somebody else leads: promise there, and follow it.
//!         }
//!     }
//! }
//! # }
//! ```
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
mod obstacle;
#[cfg(feature = "std")]
mod shared;
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
pub use obstacle::Obstacle;
#[cfg(feature = "std")]
pub use stats::{Counter, Stats};

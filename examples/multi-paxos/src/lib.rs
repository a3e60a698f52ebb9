//! Multi-Paxos, complete, generic over the Electrode transport contract.
//!
//! A [`Replica`] is one member: it owns its handle on the group ([`QuorumTransport`]), its log
//! ([`LogStore`]) and what is replicated ([`StateMachine`]). It has no thread, no clock and no
//! runtime of its own: the caller drives the transport, says what time it is, and takes the events
//! that come out. A service's thread and a simulation run the very same code:
//!
//! ```
//! use electrode_multi_paxos::{Event, MemoryStore, Replica, ReplicaConfig, StateMachine};
//! use electrode_transport::memory::MemoryNetwork;
//! use electrode_transport::{AckMode, GroupConfig, GroupId, NodeId, QuorumRule, TransportCore};
//! use std::time::Duration;
//!
//! /// Counts the commands that it was given.
//! struct Counter(u64);
//!
//! impl StateMachine for Counter {
//!     fn apply(&mut self, _command: &[u8]) -> Vec<u8> {
//!         self.0 += 1;
//!         self.0.to_le_bytes().to_vec()
//!     }
//!     fn query(&self, _query: &[u8]) -> Vec<u8> {
//!         self.0.to_le_bytes().to_vec()
//!     }
//!     fn snapshot(&self) -> Vec<u8> {
//!         self.0.to_le_bytes().to_vec()
//!     }
//!     fn restore(&mut self, state: &[u8]) -> Result<(), String> {
//!         self.0 = u64::from_le_bytes(state.try_into().map_err(|_| "not eight bytes")?);
//!         Ok(())
//!     }
//! }
//!
//! let network = MemoryNetwork::new(7);
//! let membership = network.membership(1, QuorumRule::Majority);
//! let transport = network.endpoint(NodeId(1))?.join(GroupConfig::new(GroupId(1), membership))?;
//! let config = ReplicaConfig::new(AckMode::Persisted, 42);
//! let mut replica =
//!     Replica::open(config, transport, MemoryStore::new(), Counter(0), Duration::ZERO)?;
//!
//! let mut now = Duration::ZERO;
//! let opened = loop {
//!     replica.transport().wait(replica.next_deadline().saturating_sub(now))?;
//!     now = Duration::from_nanos(network.now().0);
//!     replica.poll(now)?;
//!     if replica.status().role.is_leader() {
//!         replica.open_session(1)?;
//!         replica.poll(now)?;
//!     }
//!     if let Some(Event::Opened { client, .. }) = replica.next_event() {
//!         break client;
//!     }
//! };
//! assert!(opened.0 > 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`QuorumTransport`]: electrode_transport::QuorumTransport

mod ballots;
mod checksum;
mod codec;
mod config;
mod dice;
mod error;
mod event;
mod machine;
mod message;
mod replica;
mod seats;
mod sessions;
mod store;
mod value;

pub use ballots::{leader_index, round};
pub use codec::DecodeError;
pub use config::ReplicaConfig;
pub use error::{ProposeError, ReplicaError};
pub use event::{ClientId, Counters, Event, Outcome, ReadOutcome, Request, RoleName, Status};
pub use machine::StateMachine;
pub use message::Message;
pub use replica::Replica;
#[cfg(feature = "disk")]
pub use store::{DiskStore, StoreIdentity};
pub use store::{LogEntry, LogStore, MemoryStore, Snapshot, StoreError};

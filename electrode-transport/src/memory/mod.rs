//! The contract in memory: many nodes in one process over a seeded, simulated network with virtual
//! time. Same seed and same calls, same run, byte for byte ([`MemoryNetwork::digest`]).
//!
//! Nothing moves by itself: [`MemoryNetwork::step`], [`run_until`](MemoryNetwork::run_until) and
//! [`block_on`](MemoryNetwork::block_on) move time from event to event, so a test that covers an
//! hour of time-outs takes milliseconds and never flakes. It is the same
//! [`Engine`](crate::engine::Engine) that the socket backend runs.
//!
//! ```
//! use electrode_transport::memory::MemoryNetwork;
//! use electrode_transport::{Ballot, Frame, GroupConfig, GroupId, LogBatch, QuorumRule, Slot};
//! use electrode_transport::{AckMode, QuorumTransport, TransportCore};
//!
//! let network = MemoryNetwork::new(7);
//! let membership = network.membership(3, QuorumRule::Majority);
//! let mut config = GroupConfig::new(GroupId(1), membership.clone());
//! config.mode = AckMode::Received;
//!
//! let nodes: Vec<_> = membership
//!     .members()
//!     .iter()
//!     .map(|member| network.endpoint(member.id)?.join(config.clone()))
//!     .collect::<Result<_, _>>()?;
//!
//! let tokens: Vec<_> =
//!     nodes.iter().map(|node| node.fence(Ballot(1))).collect::<Result<_, _>>()?;
//! nodes[0].lead(&tokens[0].token, Slot(1))?;
//! for follower in [1, 2] {
//!     nodes[follower].follow(&tokens[follower].token, membership.members()[0].id, Slot(1))?;
//! }
//!
//! let quorum = network.block_on(async {
//!     nodes[0].broadcast(Ballot(1), &[Frame::single(Slot(1), b"hello")]).await?;
//!     nodes[0].await_quorum(Ballot(1), Slot(1)).await
//! })?;
//! assert_eq!(quorum.through, Slot(1));
//!
//! network.run_until_quiet();
//! let mut batch = LogBatch::default();
//! assert_eq!(nodes[1].try_poll_log(&mut batch)?, 1);
//! assert_eq!(batch.iter().next().map(|entry| entry.body), Some(&b"hello"[..]));
//! # Ok::<(), electrode_transport::TransportError>(())
//! ```

mod faults;
mod network;
mod world;

pub use faults::{Captured, Faults};
pub use network::{MemoryEndpoint, MemoryHost, MemoryNetwork, MemoryTransport};

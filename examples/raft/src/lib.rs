//! An unmodified `raft` 0.7 (tikv's, a sans-IO library) on the Electrode contract, over any
//! [`QuorumTransport`](electrode_transport::QuorumTransport).
//!
//! | raft says | the transport does |
//! |---|---|
//! | term, log index | ballot, slot: the same numbers |
//! | takes up a term (a vote, a campaign, a new leader) | `fence`, before raft decides anything at it; what it hands over goes to raft's log first |
//! | became leader | `lead`, from the first entry of its own |
//! | stepped down at its own term (CheckQuorum) | `resign` |
//! | `MsgAppend` to followers, one each | `broadcast`, one frame to all |
//! | ... to one that is behind the window or does not follow yet | `send`, in parts if it is long |
//! | `MsgAppendResponse` of a follower, its log on disk | the first one `follow`, then `acknowledge` |
//! | the leader steps `MsgAppendResponse` | read from `acked` |
//! | `MsgHeartbeat` and its responses, also those of reads | `probe`, and who answered it in `acked` |
//! | the leader's commit index | `set_commit`, which frames and probes carry |
//! | everything else: votes, pre-votes, snapshots, forwarded proposals | `send` and `recv` |
//!
//! What makes the appends' way around raft sound is raft's own log matching: a follower calls
//! `follow` only from where raft has accepted an append message of that leader, so the transport's
//! contiguity from there on is raft's.
//!
//! Entries of older terms never travel in a frame. A new leader broadcasts from its own first entry;
//! whoever lacks earlier ones gets them from raft, by message, and follows from where that ends.

// raft's build generates code with a `protoc` that its build dependency carries for these hosts.
#![cfg(not(all(target_os = "macos", target_arch = "aarch64")))]

mod codec;
mod disk;
mod envelope;
mod error;
mod following;
#[cfg(test)]
mod handover_tests;
mod leading;
mod links;
mod machine;
mod node;
mod parts;
mod ready;
mod serve;
mod term;
mod ticker;

pub use disk::Disk;
pub use error::{Error, Result};
pub use machine::StateMachine;
pub use node::{Node, Options};
pub use serve::serve;
pub use ticker::Ticker;

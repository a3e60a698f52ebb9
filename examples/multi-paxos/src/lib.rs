//! Multi-Paxos, complete, generic over the Electrode transport contract.

mod machine;
mod store;

pub use machine::StateMachine;
pub use store::{LogEntry, LogStore, Snapshot, StoreError};

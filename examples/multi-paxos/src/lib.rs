//! Multi-Paxos, complete, generic over the Electrode transport contract.

mod machine;
mod store;

pub use machine::StateMachine;
#[cfg(feature = "disk")]
pub use store::{DiskStore, StoreIdentity};
pub use store::{LogEntry, LogStore, Snapshot, StoreError};

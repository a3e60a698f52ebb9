//! An unmodified raft-rs cluster over the Electrode transport contract.

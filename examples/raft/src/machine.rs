//! What the log is for.

/// A state machine: the same commands in the same order give the same state on every node.
pub trait StateMachine {
    /// Applies the command at `index`. Called once for each index in order; raft's own entries, which
    /// carry no command, are left out.
    fn apply(&mut self, index: u64, command: &[u8]);

    /// The whole state.
    fn snapshot(&self) -> Vec<u8>;

    /// Becomes the state that [`snapshot`](Self::snapshot) gave on some node.
    fn restore(&mut self, state: &[u8]);
}

//! What is replicated: a deterministic state machine over bytes.

/// A deterministic state machine. Client sessions and at-most-once execution are the replica's
/// work, above it.
pub trait StateMachine {
    /// Executes a command and returns what its client is told. Equal states and commands give equal
    /// states and answers on every replica.
    fn apply(&mut self, command: &[u8]) -> Vec<u8>;

    /// Answers a read without changing anything.
    fn query(&self, query: &[u8]) -> Vec<u8>;

    /// The whole state, encoded.
    fn snapshot(&self) -> Vec<u8>;

    /// Replaces the state by an encoded one.
    ///
    /// # Errors
    /// Says what is wrong with the bytes; the state is unchanged then.
    fn restore(&mut self, state: &[u8]) -> Result<(), String>;
}

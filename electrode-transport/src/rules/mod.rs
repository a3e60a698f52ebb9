//! The rules: what may reach them ([`Gate`]), what may be acknowledged ([`Acceptor`]), and what is
//! a quorum ([`Tally`]).
//!
//! These are the only places that decide so. They are pure functions over plain `repr(C)` structs,
//! without allocation, recursion or panics: the kernel programs keep the structs in map values and
//! call the same functions under the group's spin lock; sockets and memory call them under a mutex.

mod acceptor;
mod gate;
mod marks;
mod tally;

pub use acceptor::{Acceptor, AckMode, ArmError, Position, Proposal, Verdict};
pub use gate::{Gate, Refusal};
pub use tally::{Tally, TallyVerdict, VoterSet, Voters};

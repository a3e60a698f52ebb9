//! A thread's loop around a node, on any transport that real time drives.

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use electrode_transport::QuorumTransport;

use crate::error::{Error, Result};
use crate::machine::StateMachine;
use crate::node::Node;
use crate::ticker::Ticker;

/// A proposal waits for this long at most before the loop looks for it.
const PROPOSAL_WAIT_MAX: Duration = Duration::from_millis(2);

/// Drives a node and its transport's endpoint, and proposes what comes in, until `go_on` says no. It
/// is asked after each round, and sees what has come of it. Proposals that raft drops, for want of a
/// leader or of room, are tried again each round.
///
/// # Errors
/// The first [`Error`] after which the node must not go on.
pub fn serve<T: QuorumTransport, M: StateMachine>(
    node: &mut Node<T, M>,
    proposals: &Receiver<Vec<u8>>,
    mut go_on: impl FnMut(&mut Node<T, M>) -> bool,
) -> Result<()> {
    let start = Instant::now();
    let mut ticker = Ticker::new(node.options.tick, start.elapsed());
    let mut waiting = VecDeque::new();
    while go_on(node) {
        let sleep = ticker.until_next(start.elapsed()).min(PROPOSAL_WAIT_MAX);
        node.transport().wait(sleep)?;
        node.poll()?;
        if ticker.is_due(start.elapsed()) {
            node.tick()?;
        }
        waiting.extend(proposals.try_iter());
        while let Some(command) = waiting.front() {
            match node.propose(Vec::clone(command)) {
                Ok(()) => waiting.pop_front(),
                Err(Error::Dropped { .. }) => break,
                Err(error) => return Err(error),
            };
        }
    }
    Ok(())
}

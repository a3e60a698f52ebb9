//! The library's messages between arrival and `recv`.

use std::collections::VecDeque;
use std::vec::Vec;

use crate::ident::NodeId;

/// A bounded queue that recycles its buffers.
#[derive(Debug)]
pub(crate) struct Inbox {
    waiting: VecDeque<(NodeId, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
    max: usize,
}

/// Buffers kept for reuse; more are freed.
const SPARE_MAX: usize = 64;

impl Inbox {
    pub(crate) fn new(max: usize) -> Self {
        Self { waiting: VecDeque::new(), spare: Vec::new(), max }
    }

    /// Queues a message; `false` if the queue is full.
    pub(crate) fn push(&mut self, from: NodeId, message: &[u8]) -> bool {
        if self.waiting.len() >= self.max {
            return false;
        }
        let mut body = self.spare.pop().unwrap_or_default();
        body.extend_from_slice(message);
        self.waiting.push_back((from, body));
        true
    }

    /// Swaps the next message into `body`.
    pub(crate) fn pop(&mut self, body: &mut Vec<u8>) -> Option<NodeId> {
        let (from, message) = self.waiting.pop_front()?;
        let mut spare = core::mem::replace(body, message);
        if self.spare.len() < SPARE_MAX {
            spare.clear();
            self.spare.push(spare);
        }
        Some(from)
    }
}

#[cfg(test)]
#[path = "inbox_tests.rs"]
mod tests;

//! The leader's window: frames broadcast and kept until they need not be sent again.

use std::collections::VecDeque;
use std::vec::Vec;

use crate::ident::{Slot, Time};
use crate::log::Frame;

/// One broadcast frame.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) first: Slot,
    pub(crate) last: Slot,
    pub(crate) sent_at: Time,
    /// Sent more than once: its acknowledgement says nothing about the round trip (Karn's rule).
    pub(crate) resent: bool,
    pub(crate) body: Vec<u8>,
}

/// Bounded by frames and bytes. Only frames that a quorum has stored may leave to make room.
#[derive(Debug)]
pub(crate) struct Window {
    frames: VecDeque<Kept>,
    spare: Vec<Vec<u8>>,
    bytes: usize,
    frames_max: usize,
    bytes_max: usize,
}

impl Window {
    pub(crate) fn new(frames_max: usize, bytes_max: usize) -> Self {
        Self { frames: VecDeque::new(), spare: Vec::new(), bytes: 0, frames_max, bytes_max }
    }

    /// Keeps a frame; `false` if the window is full of frames without a quorum.
    pub(crate) fn push(&mut self, frame: &Frame<'_>, now: Time, quorum: Slot) -> bool {
        while self.frames.len() >= self.frames_max
            || self.bytes + frame.body.len() > self.bytes_max && !self.frames.is_empty()
        {
            if self.frames.front().is_none_or(|oldest| oldest.last > quorum) {
                return false;
            }
            self.pop();
        }
        let mut body = self.spare.pop().unwrap_or_default();
        body.extend_from_slice(frame.body);
        self.bytes += body.len();
        self.frames.push_back(Kept {
            first: frame.first,
            last: frame.last,
            sent_at: now,
            resent: false,
            body,
        });
        true
    }

    fn pop(&mut self) {
        if let Some(mut kept) = self.frames.pop_front() {
            self.bytes -= kept.body.len();
            kept.body.clear();
            self.spare.push(kept.body);
        }
    }

    /// Forgets frames that every member has acknowledged.
    pub(crate) fn release(&mut self, through: Slot) {
        while self.frames.front().is_some_and(|oldest| oldest.last <= through) {
            self.pop();
        }
    }

    /// The first slot that is still kept.
    pub(crate) fn start(&self) -> Option<Slot> {
        self.frames.front().map(|kept| kept.first)
    }

    /// The place of the frame that covers `slot`.
    pub(crate) fn find(&self, slot: Slot) -> Option<usize> {
        let index = self.frames.partition_point(|kept| kept.last < slot);
        self.frames.get(index).filter(|kept| kept.first <= slot).map(|_| index)
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Kept> {
        self.frames.get(index)
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Kept> {
        self.frames.get_mut(index)
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;

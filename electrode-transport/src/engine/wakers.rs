//! Who waits for what. Wakers are collected under the lock and woken after it.

use std::task::Waker;
use std::vec::Vec;

use crate::capabilities::Interest;

/// Tasks that wait on one group, by interest.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    waiting: [Vec<Waker>; Interest::COUNT],
}

impl Wakers {
    pub(crate) fn register(&mut self, interest: Interest, waker: &Waker) {
        let waiting = &mut self.waiting[interest as usize];
        if !waiting.iter().any(|other| other.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    pub(crate) fn is_waiting(&self, interest: Interest) -> bool {
        !self.waiting[interest as usize].is_empty()
    }

    pub(crate) fn fire(&mut self, interest: Interest, into: &mut WakeList) {
        for waker in self.waiting[interest as usize].drain(..) {
            into.push(waker);
        }
    }

    pub(crate) fn fire_all(&mut self, into: &mut WakeList) {
        for waker in self.waiting.iter_mut().flat_map(|waiting| waiting.drain(..)) {
            into.push(waker);
        }
    }
}

const INLINE: usize = 8;

/// Wakers to wake once the lock is released; the usual few need no allocation.
#[derive(Debug, Default)]
#[must_use = "wake them, or tasks sleep for ever"]
pub struct WakeList {
    inline: [Option<Waker>; INLINE],
    count: usize,
    more: Vec<Waker>,
}

impl WakeList {
    fn push(&mut self, waker: Waker) {
        match self.inline.get_mut(self.count) {
            Some(place) => {
                *place = Some(waker);
                self.count += 1;
            }
            None => self.more.push(waker),
        }
    }

    /// Wakes them all.
    pub fn wake(self) {
        for waker in self.inline.into_iter().flatten().chain(self.more) {
            waker.wake();
        }
    }
}

#[cfg(test)]
#[path = "wakers_tests.rs"]
mod tests;

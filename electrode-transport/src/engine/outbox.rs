//! Datagrams on their way out: each encoded once, however many members it goes to.

use std::net::SocketAddr;
use std::vec::Vec;

use crate::wire::{HEADER_LEN, Header, Key, flags, tag_frame};

/// One datagram to one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit<'a> {
    /// Where to.
    pub to: SocketAddr,
    /// The datagram.
    pub bytes: &'a [u8],
}

impl Transmit<'_> {
    /// Whether both are copies of one broadcast, for different members. Copies are neighbours in
    /// the queue.
    #[must_use]
    pub fn is_copy_of(&self, other: &Transmit<'_>) -> bool {
        core::ptr::eq(self.bytes, other.bytes)
    }
}

#[derive(Clone, Copy, Debug)]
struct Item {
    to: SocketAddr,
    start: usize,
    end: usize,
}

/// A bounded queue of datagrams, emptied by the backend from the front.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    items: Vec<Item>,
    sent: usize,
}

/// More datagrams than this wait only if the network takes none: that is back-pressure.
const ITEMS_MAX: usize = 4_096;
/// The same for bytes.
const BYTES_MAX: usize = 4 << 20;

impl Outbox {
    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sent == self.items.len()
    }

    /// How many datagrams wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len() - self.sent
    }

    /// The waiting datagrams, oldest first. Those of one broadcast are neighbours and share bytes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Transmit<'_>> + Clone {
        self.items[self.sent..]
            .iter()
            .map(|item| Transmit { to: item.to, bytes: &self.bytes[item.start..item.end] })
    }

    /// The oldest `count` were handed over, or given up.
    pub fn advance(&mut self, count: usize) {
        self.sent = (self.sent + count).min(self.items.len());
        if self.is_empty() {
            self.items.clear();
            self.bytes.clear();
            self.sent = 0;
        }
    }

    /// Takes out of the queue what somebody else brings to its receiver; the order of the rest stays.
    pub fn leave_out(&mut self, mut is_covered: impl FnMut(&Transmit<'_>) -> bool) {
        let bytes = &self.bytes;
        self.items.drain(..self.sent);
        self.sent = 0;
        self.items.retain(|item| {
            !is_covered(&Transmit { to: item.to, bytes: &bytes[item.start..item.end] })
        });
        self.advance(0);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= ITEMS_MAX || self.bytes.len() >= BYTES_MAX
    }

    /// Encodes a frame once for all of `to`. `header.body_len`, `flags` and `tag` are filled in here.
    pub(crate) fn push(
        &mut self,
        mut header: Header,
        body: &[u8],
        key: Option<&Key>,
        to: impl IntoIterator<Item = SocketAddr>,
    ) -> usize {
        let start = self.bytes.len();
        let before = self.items.len();
        let end = start + HEADER_LEN + body.len();
        self.items.extend(to.into_iter().map(|to| Item { to, start, end }));
        let count = self.items.len() - before;
        if count == 0 {
            return 0;
        }
        header.body_len = body.len() as u16;
        header.tag = 0;
        let mut head = [0; HEADER_LEN];
        if let Some(key) = key {
            header.flags |= flags::TAGGED;
            header.encode(&mut head);
            header.tag = tag_frame(key, &head, body);
        }
        header.encode(&mut head);
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(body);
        count
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;

//! The log ring: accepted entries between acceptance and `poll_log`, in bounded memory.
//!
//! It keeps the kernel's order: reserve and copy first, then ask the rule, then commit or discard.

use std::boxed::Box;
use std::collections::VecDeque;
use std::vec;

use crate::ident::{Ballot, Slot};
use crate::log::LogBatch;

/// Charged for each record beside its body, so that empty bodies are bounded too.
const RECORD_OVERHEAD: usize = 48;

#[derive(Clone, Copy, Debug)]
struct Record {
    ballot: Ballot,
    first: Slot,
    last: Slot,
    len: usize,
}

/// A ring of records with circular body storage. Never allocates after it has warmed up.
#[derive(Debug)]
pub struct LogRing {
    bytes: Box<[u8]>,
    head: usize,
    used: usize,
    charged: usize,
    records: VecDeque<Record>,
    reserved: Option<Record>,
    polled: Slot,
}

impl LogRing {
    /// An empty ring for bodies of `capacity` bytes altogether.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            bytes: vec![0; capacity].into_boxed_slice(),
            head: 0,
            used: 0,
            charged: 0,
            records: VecDeque::new(),
            reserved: None,
            polled: Slot::ZERO,
        }
    }

    /// Copies the body behind what is committed; `false` if there is no room, and then nothing has
    /// changed.
    pub fn reserve(&mut self, ballot: Ballot, first: Slot, last: Slot, body: &[u8]) -> bool {
        let charge = body.len() + RECORD_OVERHEAD;
        if self.used + body.len() > self.bytes.len() || self.charged + charge > self.limit() {
            return false;
        }
        let start = (self.head + self.used) % self.bytes.len();
        let until_wrap = body.len().min(self.bytes.len() - start);
        let (front, back) = body.split_at(until_wrap);
        self.bytes[start..start + front.len()].copy_from_slice(front);
        self.bytes[..back.len()].copy_from_slice(back);
        self.reserved = Some(Record { ballot, first, last, len: body.len() });
        true
    }

    /// A ring of one body's size must still take that body.
    fn limit(&self) -> usize {
        self.bytes.len() + RECORD_OVERHEAD
    }

    /// Makes the reserved record readable.
    pub fn commit(&mut self) {
        if let Some(record) = self.reserved.take() {
            self.used += record.len;
            self.charged += record.len + RECORD_OVERHEAD;
            self.records.push_back(record);
        }
    }

    /// Gives the reserved record's place back.
    pub fn discard(&mut self) {
        self.reserved = None;
    }

    fn pop(&mut self) -> Option<Record> {
        let record = self.records.pop_front()?;
        self.head = (self.head + record.len) % self.bytes.len();
        self.used -= record.len;
        self.charged -= record.len + RECORD_OVERHEAD;
        Some(record)
    }

    /// Moves records into `batch` while they fit.
    pub fn poll(&mut self, batch: &mut LogBatch) {
        while let Some(&record) = self.records.front() {
            if !batch.has_room(record.len) {
                break;
            }
            let end = self.head + record.len;
            let wrap = self.bytes.len();
            let parts =
                [&self.bytes[self.head..end.min(wrap)], &self.bytes[..end.saturating_sub(wrap)]];
            batch.push(record.ballot, record.first, record.last, parts);
            self.polled = record.last;
            self.pop();
        }
    }

    /// Whether the slot lies inside a waiting record without being its last: its end then.
    #[must_use]
    pub fn splits(&self, through: Slot) -> Option<Slot> {
        self.records
            .iter()
            .find(|record| record.first <= through && through < record.last)
            .map(|record| record.last)
    }

    /// Drops waiting records that end at or before `through`: the library has them already.
    pub fn discard_through(&mut self, through: Slot) {
        while self.records.front().is_some_and(|record| record.last <= through) {
            self.pop();
        }
    }

    /// Bytes charged for what waits: each body's, and 48 more for its record.
    #[must_use]
    pub const fn charged(&self) -> usize {
        self.charged
    }

    /// The last slot that `poll` has handed out.
    #[must_use]
    pub fn polled(&self) -> Slot {
        self.polled
    }

    /// A new ballot counts from anew.
    pub fn reset_polled(&mut self, through: Slot) {
        self.polled = through;
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;

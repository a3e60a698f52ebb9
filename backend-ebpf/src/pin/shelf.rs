//! A pinned group's log between the rings and the library, in memory that outlives the process.
//!
//! A record goes from its CPU's ring to the shelf at once, so the ring is free again, whatever groups
//! share it and whoever polls them. On the shelf it stays until the library has *taken* it:
//!
//! - in `Received` mode, what was handed out is taken when the library polls again, or acknowledges it;
//! - in `Persisted` mode, when the library acknowledges it. What it never will, of a ballot that is no
//!   longer followed, is taken when it polls again;
//! - in both, when the library follows or leads another ballot: by that it says where its log ends.
//!
//! What was not taken when a process died is handed out again to the next one: at least once over a
//! crash, exactly once within a life.
//!
//! Every step is made by one word, written last, so a process can die between any two instructions.
//! A record takes exactly the bytes that are charged for it, so positions on the shelf and the
//! kernel's account are the same numbers: the board's `released` is where the shelf begins, and the
//! kernel accepts no record that it has no room for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;

use electrode_ebpf_abi::{RECORD_CHARGE, Record};
use electrode_transport::rules::{Acceptor, AckMode};
use electrode_transport::{Ballot, Incarnation, LogBatch, MEMBERS_MAX, Membership, NodeId, Slot};

use crate::kernel::Mapping;

/// The words before the records, by their place.
mod word {
    /// Where the newest record ends.
    pub(super) const TAIL: usize = 0;
    /// The number of the newest record that the library has taken, and with it all before.
    pub(super) const TAKEN: usize = 1;
    /// The highest ballot that was led.
    pub(super) const LED: usize = 2;
    /// Who the members are, twice over: the newer one may be half written.
    pub(super) const ROSTERS: [usize; 2] = [8, 64];
}

/// Bytes before the records.
const HEAD: usize = 4_096;

/// One group's shelf. There must be no other process that has it.
#[derive(Debug)]
pub(crate) struct Shelf {
    memory: Mapping,
    /// Bytes for records.
    capacity: u64,
    /// Where the oldest record begins.
    head: u64,
    tail: u64,
    taken: u64,
    /// The number of the next record that is handed out after those that wait.
    next: u64,
    /// The records as they lie there: which, and where each ends.
    order: VecDeque<(u64, u64)>,
    /// Handed out and not taken.
    handed: VecDeque<Spot>,
    /// To be handed out.
    waiting: VecDeque<Spot>,
    /// Records that another CPU's ring gave out before an earlier one was seen.
    early: BTreeMap<u64, Spot>,
    polled: Slot,
    /// The next poll is the fence's: it takes nothing.
    fenced: bool,
}

/// Where a record is.
#[derive(Clone, Copy, Debug)]
struct Spot {
    sequence: u64,
    ballot: Ballot,
    first: Slot,
    last: Slot,
    /// Where its body begins.
    at: u64,
    len: u64,
}

impl Shelf {
    /// How many bytes of memory a shelf takes that has room for so many charged bytes.
    pub(super) const fn memory_len(limit: u64) -> usize {
        HEAD + limit as usize
    }

    /// A shelf as it is found, with `released` from the board. All zero is an empty one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn open(memory: Mapping, limit: u64, released: u64) -> Result<Self, String> {
        let read = |index: usize| memory.word(8 * index).load(Ordering::Acquire);
        let (tail, taken) = (read(word::TAIL), read(word::TAKEN));
        if limit == 0 || memory.len() < Self::memory_len(limit) {
            return Err(format!("a log of {} bytes instead of {limit}", memory.len()));
        }
        if tail < released || tail - released > limit {
            return Err(format!("a log from {released} to {tail} of {limit} bytes"));
        }
        let mut shelf = Self {
            memory,
            capacity: limit,
            head: released,
            tail,
            taken,
            next: taken + 1,
            order: VecDeque::new(),
            handed: VecDeque::new(),
            waiting: VecDeque::new(),
            early: BTreeMap::new(),
            polled: Slot::ZERO,
            fenced: false,
        };
        shelf.find_records()?;
        shelf.queue();
        shelf.free();
        Ok(shelf)
    }

    fn find_records(&mut self) -> Result<(), String> {
        let mut at = self.head;
        while at < self.tail {
            if self.tail - at < RECORD_CHARGE {
                return Err(format!("a record cut off at {at}"));
            }
            let mut words = [0; 5];
            for (index, value) in words.iter_mut().enumerate() {
                let mut bytes = [0; 8];
                self.copy_out(at + 8 * index as u64, &mut bytes);
                *value = u64::from_ne_bytes(bytes);
            }
            let [sequence, ballot, first, last, len] = words;
            let end = at.checked_add(RECORD_CHARGE).and_then(|body| body.checked_add(len));
            let Some(end) = end.filter(|&end| end <= self.tail) else {
                return Err(format!("a record of {len} bytes at {at}"));
            };
            let (ballot, first, last) = (Ballot(ballot), Slot(first), Slot(last));
            let spot = Spot { sequence, ballot, first, last, at: at + RECORD_CHARGE, len };
            self.order.push_back((sequence, end));
            if sequence > self.taken && self.early.insert(sequence, spot).is_some() {
                return Err(format!("the record {sequence} twice"));
            }
            at = end;
        }
        Ok(())
    }

    /// Takes in a record, in whatever order the rings give them; what an earlier life took in already is
    /// left out.
    ///
    /// # Panics
    /// If there is no room: the kernel's account of it is the same.
    pub(crate) fn take(&mut self, head: &Record, body: &[u8]) {
        let Record { sequence, ballot, first, last, .. } = *head;
        if sequence < self.next || self.early.contains_key(&sequence) {
            return;
        }
        let (at, len) = (self.tail, body.len() as u64);
        let end = at + RECORD_CHARGE + len;
        assert!(end - self.head <= self.capacity, "the kernel keeps the same account of the room");
        for (index, value) in [sequence, ballot, first, last, len].into_iter().enumerate() {
            self.copy_in(at + 8 * index as u64, &value.to_ne_bytes());
        }
        self.copy_in(at + RECORD_CHARGE, body);
        self.tail = end;
        self.write(word::TAIL, end);
        self.order.push_back((sequence, end));
        let (ballot, first, last) = (Ballot(ballot), Slot(first), Slot(last));
        let spot = Spot { sequence, ballot, first, last, at: at + RECORD_CHARGE, len };
        if sequence == self.next && self.early.is_empty() {
            self.waiting.push_back(spot);
            self.next += 1;
        } else {
            self.early.insert(sequence, spot);
            self.queue();
        }
    }

    /// Moves what is next in turn to those that wait.
    fn queue(&mut self) {
        while let Some(spot) = self.early.remove(&self.next) {
            self.waiting.push_back(spot);
            self.next += 1;
        }
    }

    /// Moves records into `batch` while they fit. What was handed out before is taken first, as the
    /// module says; `acceptor` tells the mode, the followed ballot, and what is acknowledged.
    pub(crate) fn poll(&mut self, batch: &mut LogBatch, acceptor: &Acceptor) {
        if !std::mem::take(&mut self.fenced) {
            let (ballot, through) = (acceptor.ballot(), acceptor.position().acknowledged);
            let promised = acceptor.mode() == AckMode::Persisted;
            self.settle(|spot| !promised || spot.ballot != ballot || spot.last <= through);
        }
        while let Some(&spot) = self.waiting.front() {
            if !batch.has_room(spot.len as usize) {
                break;
            }
            let parts = self.parts(spot.at, spot.len as usize);
            batch.push(spot.ballot, spot.first, spot.last, parts);
            self.polled = spot.last;
            self.waiting.pop_front();
            self.handed.push_back(spot);
        }
    }

    /// The next poll hands over what a fence does: the library takes that, and what came before, when it
    /// polls after it.
    pub(crate) fn note_fence(&mut self) {
        self.fenced = true;
    }

    /// Takes everything that was handed out: the library says where its log ends.
    pub(crate) fn settle_all(&mut self) {
        self.settle(|_| true);
    }

    /// Takes the oldest of what was handed out, while `is_taken`.
    fn settle(&mut self, is_taken: impl Fn(&Spot) -> bool) {
        let mut taken = self.taken;
        while let Some(spot) = self.handed.front()
            && is_taken(spot)
        {
            taken = spot.sequence;
            self.handed.pop_front();
        }
        if taken != self.taken {
            self.taken = taken;
            self.write(word::TAKEN, taken);
            self.free();
        }
    }

    /// The shelf begins where the oldest record does that was not taken.
    fn free(&mut self) {
        while let Some(&(sequence, end)) = self.order.front()
            && sequence <= self.taken
        {
            self.head = end;
            self.order.pop_front();
        }
    }

    /// As [`LogRing::splits`](electrode_transport::engine::LogRing::splits).
    pub(crate) fn splits(&self, through: Slot) -> Option<Slot> {
        self.waiting
            .iter()
            .find(|spot| spot.first <= through && through < spot.last)
            .map(|spot| spot.last)
    }

    /// The library has everything through `through`: what waits of it is not handed out, and what was
    /// handed out of it is taken.
    pub(crate) fn discard_through(&mut self, through: Slot) {
        while self.waiting.front().is_some_and(|spot| spot.last <= through) {
            self.handed.extend(self.waiting.pop_front());
        }
        self.settle(|spot| spot.last <= through);
    }

    pub(crate) const fn polled(&self) -> Slot {
        self.polled
    }

    pub(crate) const fn reset_polled(&mut self, through: Slot) {
        self.polled = through;
    }

    /// Charged bytes that were taken: what the kernel may fill again.
    pub(crate) const fn released(&self) -> u64 {
        self.head
    }

    /// For how many charged bytes there is room.
    pub(crate) const fn limit(&self) -> u64 {
        self.capacity
    }

    /// The highest ballot that was led, in whichever life.
    pub(crate) fn led(&self) -> Ballot {
        Ballot(self.read(word::LED))
    }

    /// Notes a ballot before it is led.
    pub(crate) fn note_led(&self, ballot: Ballot) {
        if ballot > self.led() {
            self.write(word::LED, ballot.0);
        }
    }

    /// Notes who the members are, before the membership comes into force. The one in force until then
    /// stays noted too.
    pub(crate) fn note_roster(&self, membership: &Membership, in_force: Option<Incarnation>) {
        let [at, other] = word::ROSTERS;
        let is_taken = in_force.is_some_and(|incarnation| self.read(at) == stamp(incarnation));
        let at = if is_taken { other } else { at };
        // Whoever finds it half written must not believe it.
        self.write(at, 0);
        for (index, member) in membership.members().iter().enumerate() {
            self.write(at + 2 + index, member.id.0);
        }
        self.write(at + 1, membership.members().len() as u64);
        self.write(at, stamp(membership.incarnation()));
    }

    /// Who a member was at an incarnation, if that is known.
    pub(crate) fn member(&self, incarnation: Incarnation, index: usize) -> Option<NodeId> {
        let at = word::ROSTERS.into_iter().find(|&at| self.read(at) == stamp(incarnation))?;
        let is_member = index < MEMBERS_MAX && (index as u64) < self.read(at + 1);
        is_member.then(|| NodeId(self.read(at + 2 + index)))
    }

    fn read(&self, index: usize) -> u64 {
        self.memory.word(8 * index).load(Ordering::Acquire)
    }

    fn write(&self, index: usize, value: u64) {
        self.memory.word(8 * index).store(value, Ordering::Release);
    }

    /// The memory behind a position, as far as it goes before it begins anew, and the rest.
    fn split(&self, at: u64, len: usize) -> [(usize, usize); 2] {
        let start = (at % self.capacity) as usize;
        let until_wrap = len.min(self.capacity as usize - start);
        [(HEAD + start, until_wrap), (HEAD, len - until_wrap)]
    }

    fn parts(&self, at: u64, len: usize) -> [&[u8]; 2] {
        // Nobody writes there while the record is on the shelf.
        self.split(at, len).map(|(offset, len)| self.memory.bytes(offset, len))
    }

    fn copy_in(&mut self, at: u64, bytes: &[u8]) {
        let [front, back] = self.split(at, bytes.len());
        self.memory.write(front.0, &bytes[..front.1]);
        self.memory.write(back.0, &bytes[front.1..]);
    }

    fn copy_out(&self, at: u64, bytes: &mut [u8]) {
        let [front, back] = self.parts(at, bytes.len());
        bytes[..front.len()].copy_from_slice(front);
        bytes[front.len()..].copy_from_slice(back);
    }
}

/// A roster begins with it once it is whole.
fn stamp(incarnation: Incarnation) -> u64 {
    u64::from(incarnation.0) + 1
}

const _: () = {
    assert!(word::ROSTERS[0] > word::LED);
    assert!(word::ROSTERS[1] >= word::ROSTERS[0] + 2 + MEMBERS_MAX);
    assert!(8 * (word::ROSTERS[1] + 2 + MEMBERS_MAX) <= HEAD);
    assert!(RECORD_CHARGE >= 5 * 8);
};

#[cfg(test)]
#[path = "shelf_tests.rs"]
mod tests;

//! Messages longer than a datagram: sent in parts, asked for again until they are all there.
//!
//! A message is named by a hash of its bytes, so that a sender that restarted, or gave up and began
//! again, goes on where the receiver stands, and parts of two messages never mix.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};

/// Parts under way without an answer.
const WINDOW: u32 = 32;
/// The most parts a message may have: about 80 MiB in ordinary datagrams.
const PARTS_MAX: u32 = 1 << 16;
/// Messages that wait for one member; more are dropped, as a network would.
const QUEUE_MAX: usize = 8;
/// Ticks without progress after which a message is given up.
const IDLE_TICKS_MAX: u32 = 100;

/// The bytes before a part's own: kind, message, place, count.
pub(crate) const PART_OVERHEAD: usize = 1 + 8 + 4 + 4;

fn name(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// One part as it travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part<'a> {
    pub(crate) message: u64,
    pub(crate) place: u32,
    pub(crate) count: u32,
    pub(crate) bytes: &'a [u8],
}

/// How far the receiver of a message has come: it has every part before `next`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Have {
    pub(crate) message: u64,
    pub(crate) next: u32,
}

#[derive(Debug)]
struct Outgoing {
    name: u64,
    bytes: Vec<u8>,
    is_snapshot: bool,
    acked: u32,
    sent: u32,
    idle: u32,
}

/// The way to one member.
#[derive(Debug, Default)]
pub(crate) struct Sender {
    queue: VecDeque<Outgoing>,
}

/// What became of a message with a snapshot, for raft to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Arrived,
    GivenUp,
}

impl Sender {
    /// Queues a message; `false` if it was dropped.
    pub(crate) fn push(&mut self, bytes: Vec<u8>, is_snapshot: bool) -> bool {
        let name = name(&bytes);
        if self.queue.iter().any(|outgoing| outgoing.name == name) {
            return true;
        }
        if self.queue.len() >= QUEUE_MAX {
            return false;
        }
        self.queue.push_back(Outgoing { name, bytes, is_snapshot, acked: 0, sent: 0, idle: 0 });
        true
    }

    /// Sends what the window has room for. `part_len` is how much of a message one part carries;
    /// `send` says whether the part left.
    pub(crate) fn send(&mut self, part_len: usize, mut send: impl FnMut(Part<'_>) -> bool) {
        let Some(outgoing) = self.queue.front_mut() else { return };
        let count = outgoing.bytes.len().div_ceil(part_len) as u32;
        while outgoing.sent < count.min(outgoing.acked + WINDOW) {
            let start = outgoing.sent as usize * part_len;
            let end = outgoing.bytes.len().min(start + part_len);
            let bytes = &outgoing.bytes[start..end];
            let part = Part { message: outgoing.name, place: outgoing.sent, count, bytes };
            if !send(part) {
                return;
            }
            outgoing.sent += 1;
        }
    }

    /// The receiver's answer. Says so when a snapshot has arrived.
    pub(crate) fn handle_have(&mut self, have: Have, part_len: usize) -> Option<Outcome> {
        let outgoing = self.queue.front_mut().filter(|front| front.name == have.message)?;
        let count = outgoing.bytes.len().div_ceil(part_len) as u32;
        if have.next > outgoing.acked && have.next <= count {
            outgoing.acked = have.next;
            outgoing.sent = outgoing.sent.max(have.next);
            outgoing.idle = 0;
        }
        if outgoing.acked < count {
            return None;
        }
        let arrived = self.queue.pop_front()?;
        arrived.is_snapshot.then_some(Outcome::Arrived)
    }

    /// Time passes: what was not answered is sent again. Says so when a snapshot is given up.
    pub(crate) fn tick(&mut self) -> Option<Outcome> {
        let outgoing = self.queue.front_mut()?;
        outgoing.idle += 1;
        if outgoing.idle > 1 {
            outgoing.sent = outgoing.acked;
        }
        if outgoing.idle < IDLE_TICKS_MAX {
            return None;
        }
        let given_up = self.queue.pop_front()?;
        given_up.is_snapshot.then_some(Outcome::GivenUp)
    }

    /// Drops everything: it was sent in an office that is no more.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
    }
}

/// The way from one member: one message at a time.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
    message: u64,
    bytes: Vec<u8>,
    next: u32,
    early: BTreeMap<u32, Vec<u8>>,
    done: bool,
}

impl Receiver {
    /// Takes a part in. Gives what to answer, and the message if this completed it.
    pub(crate) fn handle_part(&mut self, part: &Part<'_>) -> (Option<Have>, Option<Vec<u8>>) {
        if part.count > PARTS_MAX || part.place >= part.count {
            return (None, None);
        }
        if part.message != self.message {
            *self = Self { message: part.message, ..Self::default() };
        }
        if !self.done && part.place >= self.next && part.place - self.next < WINDOW {
            self.early.entry(part.place).or_insert_with(|| part.bytes.to_vec());
            while let Some(bytes) = self.early.remove(&self.next) {
                self.bytes.extend_from_slice(&bytes);
                self.next += 1;
            }
        }
        let have = Have { message: self.message, next: self.next };
        if self.done || self.next < part.count {
            return (Some(have), None);
        }
        self.done = true;
        self.early.clear();
        let bytes = core::mem::take(&mut self.bytes);
        (Some(have), (name(&bytes) == self.message).then_some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Both ends over a network that loses, doubles and reorders; returns what came out.
    fn transfer(seed: u64, message: &[u8]) -> (Vec<Vec<u8>>, Option<Outcome>) {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let (mut sender, mut receiver) = (Sender::default(), Receiver::default());
        let (mut arrived, mut outcome) = (Vec::new(), None);
        assert!(sender.push(message.to_vec(), true));
        while outcome.is_none() {
            let mut wire = Vec::new();
            sender.send(10, |part| {
                let copies = dice.random_range(0..3);
                wire.extend(
                    (0..copies)
                        .map(|_| (part.message, part.place, part.count, part.bytes.to_vec())),
                );
                true
            });
            while !wire.is_empty() {
                let picked = dice.random_range(0..wire.len());
                let (message, place, count, bytes) = wire.swap_remove(picked);
                let part = Part { message, place, count, bytes: &bytes };
                let (have, done) = receiver.handle_part(&part);
                arrived.extend(done);
                if let Some(have) = have.filter(|_| dice.random_bool(0.5)) {
                    outcome = outcome.or(sender.handle_have(have, 10));
                }
            }
            outcome = outcome.or(sender.tick());
        }
        (arrived, outcome)
    }

    #[test]
    fn a_message_arrives_whole_and_once() {
        for seed in 0..50 {
            let message: Vec<u8> = (0..1_234u32).map(|i| (i * 7 + seed as u32) as u8).collect();
            let (arrived, outcome) = transfer(seed, &message);
            assert_eq!(arrived, [message], "seed {seed}");
            assert_eq!(outcome, Some(Outcome::Arrived), "seed {seed}");
        }
    }

    #[test]
    fn a_silent_receiver_is_given_up() {
        let mut sender = Sender::default();
        assert!(sender.push(vec![1; 100], true));
        let given_up = (0..IDLE_TICKS_MAX).find_map(|_| sender.tick());
        assert_eq!(given_up, Some(Outcome::GivenUp));
    }

    #[test]
    fn a_new_message_ends_an_old_one_and_a_false_name_is_not_believed() {
        let mut receiver = Receiver::default();
        let part = |message, place, bytes| Part { message, place, count: 2, bytes };
        assert_eq!(receiver.handle_part(&part(1, 0, b"a")).1, None);
        assert_eq!(receiver.handle_part(&part(name(b"xy"), 1, b"y")).1, None);
        assert_eq!(receiver.handle_part(&part(name(b"xy"), 0, b"x")).1, Some(b"xy".to_vec()));
        assert_eq!(receiver.handle_part(&part(9, 0, b"c")).1, None);
        let (have, message) = receiver.handle_part(&part(9, 1, b"d"));
        assert_eq!((have.map(|have| have.next), message), (Some(2), None));
    }
}

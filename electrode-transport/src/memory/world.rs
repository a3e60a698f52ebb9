//! The simulation's state: engines, datagrams under way, time, and the dice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;
use std::vec::Vec;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::faults::{Captured, Faults};
use crate::engine::{Engine, WakeList};
use crate::ident::Time;
use crate::wire::{Key, Tagger};

/// One life of a node: a restart begins another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Life(u64);

#[derive(Debug)]
struct Node {
    address: SocketAddr,
    engine: Engine,
    paused: bool,
    /// Arrived while paused: a frozen process' socket buffer.
    held: Vec<(SocketAddr, Vec<u8>)>,
}

#[derive(Debug)]
struct UnderWay {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Time,
    dice: ChaCha8Rng,
    nodes: BTreeMap<Life, Node>,
    bound: BTreeMap<SocketAddr, Life>,
    under_way: BTreeMap<(Time, u64), UnderWay>,
    sequence: u64,
    lives: u64,
    pub(super) default_faults: Faults,
    pub(super) link_faults: BTreeMap<(SocketAddr, SocketAddr), Faults>,
    pub(super) cut: BTreeSet<(SocketAddr, SocketAddr)>,
    digest: Tagger,
    digested: usize,
    pub(super) capture: Option<Vec<Captured>>,
    #[cfg(feature = "mutants")]
    pub(super) mutant: Option<crate::engine::Mutant>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            now: Time(1),
            dice: ChaCha8Rng::seed_from_u64(seed),
            nodes: BTreeMap::new(),
            bound: BTreeMap::new(),
            under_way: BTreeMap::new(),
            sequence: 0,
            lives: 0,
            default_faults: Faults::default(),
            link_faults: BTreeMap::new(),
            cut: BTreeSet::new(),
            digest: Tagger::new(&Key([0; 16])),
            digested: 0,
            capture: None,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }

    /// Starts a node, unless its address is taken.
    pub(super) fn start(&mut self, address: SocketAddr, engine: Engine) -> Option<Life> {
        if self.bound.contains_key(&address) {
            return None;
        }
        self.lives += 1;
        let life = Life(self.lives);
        self.bound.insert(address, life);
        self.nodes.insert(life, Node { address, engine, paused: false, held: Vec::new() });
        Some(life)
    }

    /// Ends a node's life: its engine closes, what it had not sent is lost.
    pub(super) fn stop(&mut self, life: Life) -> WakeList {
        let Some(node) = self.nodes.get_mut(&life) else { return WakeList::default() };
        node.engine.close_all();
        node.held.clear();
        if self.bound.get(&node.address) == Some(&life) {
            self.bound.remove(&node.address);
        }
        node.engine.take_wakes()
    }

    pub(super) fn forget(&mut self, life: Life) {
        self.nodes.remove(&life);
    }

    pub(super) fn life_at(&self, address: SocketAddr) -> Option<Life> {
        self.bound.get(&address).copied()
    }

    pub(super) fn engine(&mut self, life: Life) -> Option<&mut Engine> {
        self.nodes.get_mut(&life).map(|node| &mut node.engine)
    }

    /// Puts what a node wants to send under way.
    pub(super) fn flush(&mut self, life: Life) {
        let Some(node) = self.nodes.get_mut(&life) else { return };
        let from = node.address;
        let outbox = node.engine.outbox();
        if outbox.is_empty() {
            return;
        }
        let leaving: Vec<_> =
            outbox.iter().map(|transmit| (transmit.to, transmit.bytes.to_vec())).collect();
        outbox.advance(leaving.len());
        node.engine.flushed();
        for (to, bytes) in leaving {
            self.send(from, to, bytes);
        }
    }

    /// A datagram leaves: the dice say how often and when it arrives.
    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.note(from, to, &bytes);
        if let Some(capture) = &mut self.capture {
            capture.push(Captured { at: self.now, from, to, bytes: bytes.clone() });
        }
        let faults = self.link_faults.get(&(from, to)).copied().unwrap_or(self.default_faults);
        if self.cut.contains(&(from, to)) || self.dice.random_bool(faults.loss) {
            return;
        }
        if self.dice.random_bool(faults.duplication) {
            self.schedule(&faults, from, to, bytes.clone());
        }
        self.schedule(&faults, from, to, bytes);
    }

    fn schedule(&mut self, faults: &Faults, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let (min, max) = (nanos(faults.delay_min), nanos(faults.delay_max));
        let mut delay = self.dice.random_range(min..=max.max(min));
        if self.dice.random_bool(faults.reordering) {
            delay = delay.saturating_add(max.saturating_mul(10));
        }
        self.arrive_at(self.now.after_ns(delay), from, to, bytes);
    }

    pub(super) fn arrive_at(&mut self, at: Time, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.sequence += 1;
        self.under_way.insert((at, self.sequence), UnderWay { from, to, bytes });
    }

    /// Mixes a departure into the digest.
    fn note(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.digest.word(self.now.0);
        self.digest.word(u64::from(from.port()) << 16 | u64::from(to.port()));
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.digest.word(u64::from_le_bytes(word));
        }
        self.digested += bytes.len();
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest.finish(self.digested as u64, self.digested)
    }

    /// When something happens next.
    pub(super) fn next_event(&self) -> Option<Time> {
        let arrival = self.under_way.keys().next().map(|(at, _)| *at);
        let timer = self
            .nodes
            .values()
            .filter(|node| !node.paused)
            .filter_map(|node| node.engine.poll_timeout())
            .min();
        match (arrival, timer) {
            (Some(arrival), Some(timer)) => Some(arrival.min(timer)),
            (one, other) => one.or(other),
        }
    }

    /// Lets everything happen that is due at `now`, and collects whom to wake.
    pub(super) fn happen(&mut self, wakes: &mut Vec<WakeList>) {
        while let Some(entry) = self.under_way.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let UnderWay { from, to, bytes } = entry.remove();
            self.deliver(from, to, bytes);
        }
        let lives: Vec<_> = self.nodes.keys().copied().collect();
        for life in lives {
            if let Some(node) = self.nodes.get_mut(&life) {
                if !node.paused {
                    node.engine.handle_timeout(self.now);
                }
                wakes.push(node.engine.take_wakes());
            }
            self.flush(life);
        }
    }

    fn deliver(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let Some(life) = self.life_at(to) else { return };
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&life) else { return };
        if node.paused {
            node.held.push((from, bytes));
            return;
        }
        node.engine.handle_datagram(now, from, &bytes);
        self.flush(life);
    }

    /// Freezes or thaws a node. What arrived meanwhile is delivered when it thaws.
    pub(super) fn set_paused(&mut self, life: Life, paused: bool) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&life) else { return };
        node.paused = paused;
        if !paused {
            let to = node.address;
            for (from, bytes) in core::mem::take(&mut node.held) {
                self.arrive_at(now, from, to, bytes);
            }
        }
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

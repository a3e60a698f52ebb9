//! What links do to datagrams: one implementation for every harness over real time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::harness::Link;

/// How long a datagram is held back that others are to overtake.
const HELD_BACK: Duration = Duration::from_millis(2);

/// Something on its way, held back.
#[derive(Debug)]
pub(crate) struct Held {
    due: Instant,
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) bytes: Vec<u8>,
}

/// The directed links between nodes. What the dice say depends on the seed and on the order in
/// which things arrive.
#[derive(Debug)]
pub(crate) struct Faults {
    links: BTreeMap<(usize, usize), Link>,
    held: Vec<Held>,
    dice: ChaCha8Rng,
}

impl Faults {
    /// Clean links.
    pub(crate) fn new(seed: u64) -> Self {
        Self { links: BTreeMap::new(), held: Vec::new(), dice: ChaCha8Rng::seed_from_u64(seed) }
    }

    pub(crate) fn set_link(&mut self, from: usize, to: usize, link: Link) {
        self.links.insert((from, to), link);
    }

    /// How many copies go on at once. Others may be held back.
    pub(crate) fn pass(&mut self, from: usize, to: usize, bytes: &[u8]) -> usize {
        let link = self.links.get(&(from, to)).copied().unwrap_or(Link::CLEAN);
        if link.cut || self.dice.random_bool(link.loss) {
            return 0;
        }
        let copies = if self.dice.random_bool(link.duplication) { 2 } else { 1 };
        let mut at_once = 0;
        for _ in 0..copies {
            if self.dice.random_bool(link.reordering) {
                let due = Instant::now() + HELD_BACK;
                self.held.push(Held { due, from, to, bytes: bytes.to_vec() });
            } else {
                at_once += 1;
            }
        }
        at_once
    }

    /// What was held back for long enough, oldest first.
    pub(crate) fn take_due(&mut self) -> Vec<Held> {
        if self.held.is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        let (due, held) =
            core::mem::take(&mut self.held).into_iter().partition(|held| held.due <= now);
        self.held = held;
        due
    }
}

//! What happens next: drawn from a seed, mostly something that makes sense in the model's state.

mod frames;
mod orders;
mod spoil;
mod whole;

use std::ops::RangeInclusive;

use electrode_ebpf_abi::{OWN_MARK, RECORD_CHARGE};
use electrode_transport::{MemberIndex, Slot};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

pub(super) use spoil::options;

use super::model::{Bytes, Group, Hook, Model, PLACES, Step};

/// A lease that outlives the test: a hundred years from the machine's start.
const FAR: u64 = 100 * 365 * 86_400 * 1_000_000_000;

/// What a test run of a TC program takes (Linux 6.18): the packet has a whole IP header and lies in one
/// page, with what the kernel puts before and behind it.
const TC_LEN: RangeInclusive<usize> = 54..=3_520;

/// As many notices as a ring of one page holds, and some more.
const NEWS_MAX: u32 = 270;

/// A source of steps.
pub(super) struct Draw {
    /// Bytes for bodies, cut out anywhere: drawing each anew takes longer than the programs do.
    pool: Vec<u8>,
    body_len_max: usize,
    /// The rest of a burst: so many news of one place, with nobody reading them.
    burst: Option<(usize, u32)>,
}

impl Draw {
    pub(super) fn new(dice: &mut ChaCha8Rng, model: &Model) -> Self {
        let mut pool = vec![0; 1 << 15];
        dice.fill_bytes(&mut pool);
        Self { pool, body_len_max: model.endpoint.body_len_max as usize, burst: None }
    }

    pub(super) fn step(&mut self, dice: &mut ChaCha8Rng, model: &Model) -> Step {
        if let Some((place, left)) = self.burst {
            self.burst = left.checked_sub(1).map(|left| (place, left));
            return Step::Arrive(Hook::Xdp, Bytes(frames::news(dice, model, place)));
        }
        let place = dice.random_range(0..PLACES);
        if dice.random_ratio(1, 8_000) {
            self.burst = Some((place, NEWS_MAX));
        }
        let group = &model.groups[place];
        match dice.random_range(0..1_000) {
            0..20 => Step::Drain,
            20..50 => Step::Lease(place as u32, lease(dice)),
            50..80 => Step::Release(place as u32, released(dice, group)),
            80..230 => Step::Order(self.order(dice, model, place)),
            230..245 => {
                let (packet, step) = self.whole_departure(dice, model, place);
                Step::LeaveWhole(Bytes(packet), step)
            }
            245..290 => {
                let mark = if dice.random_bool(0.05) { OWN_MARK } else { 0 };
                let mut packet = self.departure(dice, model, place);
                if dice.random_bool(0.05) {
                    spoil::spoil(dice, &mut packet, model.is_ipv6());
                    packet.resize(packet.len().clamp(*TC_LEN.start(), *TC_LEN.end()), 0);
                }
                Step::Leave(Bytes(packet), mark)
            }
            _ if !group.is_open && dice.random_bool(0.5) => {
                Step::Order(self.order(dice, model, place))
            }
            290..360 => {
                let (mut packet, step) = self.whole(dice, model, place);
                if dice.random_bool(0.1) {
                    spoil::spoil(dice, &mut packet, model.is_ipv6());
                }
                packet.resize(packet.len().clamp(*TC_LEN.start(), *TC_LEN.end()), 0);
                Step::ArriveWhole(Bytes(packet), step)
            }
            _ => self.arrival(dice, model, place),
        }
    }

    fn arrival(&self, dice: &mut ChaCha8Rng, model: &Model, place: usize) -> Step {
        let mut packet = self.packet(dice, model, place);
        if dice.random_bool(0.12) {
            spoil::spoil(dice, &mut packet, model.is_ipv6());
        }
        let is_xdp = !TC_LEN.contains(&packet.len()) || dice.random_bool(0.5);
        Step::Arrive(if is_xdp { Hook::Xdp } else { Hook::Tc }, Bytes(packet))
    }

    /// Bytes of a body: every class of the log's records and their edges.
    fn body(&self, dice: &mut ChaCha8Rng) -> Vec<u8> {
        let len = match dice.random_range(0..100) {
            0..70 => dice.random_range(0..100),
            70..76 => dice.random_range(210..=222),
            76..82 => dice.random_range(1_490..=1_502),
            82..96 => dice.random_range(0..=1_600),
            96..99 => dice.random_range(0..=self.body_len_max),
            _ => dice.random_range(self.body_len_max - 3..=self.body_len_max + 3),
        };
        let at = dice.random_range(0..self.pool.len() - len);
        self.pool[at..at + len].to_vec()
    }
}

fn lease(dice: &mut ChaCha8Rng) -> u64 {
    match dice.random_range(0..10) {
        0 => 0,
        1 => dice.random_range(0..1_000),
        _ => FAR + dice.random_range(0..1_000),
    }
}

/// Mostly all; or a part of it, so that the log is nearly full again soon; or more than ever was.
fn released(dice: &mut ChaCha8Rng, group: &Group) -> u64 {
    let held = group.charged.wrapping_sub(group.released);
    match dice.random_range(0..20) {
        0 => group.released.wrapping_add(dice.random_range(0..=held.min(1 << 40))),
        1 => group.charged.saturating_sub(dice.random_range(0..=2 * RECORD_CHARGE)),
        2 if dice.random_bool(0.1) => group.charged + dice.random_range(0..100),
        _ => group.charged,
    }
}

/// A number near another one, or one of those where arithmetic ends.
fn near(dice: &mut ChaCha8Rng, number: u64, edge: f64) -> u64 {
    if dice.random_bool(edge) {
        let edges = [0, 1, u64::MAX, u64::MAX - 1, 1 << 32, u64::from(u32::MAX), 1 << 63];
        return edges[dice.random_range(0..edges.len())];
    }
    match dice.random_range(0..4) {
        0 => number.saturating_sub(dice.random_range(0..4)),
        1 => number.saturating_add(dice.random_range(0..4)),
        _ => number,
    }
}

/// Another member of the group, if it has one.
fn other(dice: &mut ChaCha8Rng, group: &Group) -> MemberIndex {
    let count = group.gate.members.max(2);
    let index = dice.random_range(0..count - 1);
    MemberIndex(if index < group.gate.own.0 { index } else { index + 1 })
}

fn next(group: &Group) -> Slot {
    group.acceptor.position().next
}

/// A fair draw of any number.
fn any(dice: &mut ChaCha8Rng) -> u64 {
    dice.next_u64() >> dice.random_range(0..64)
}

//! What user space asks.

use electrode_ebpf_abi::{Command, NOBODY, Op, Opening, Peer, Seating, seat};
use electrode_transport::rules::{Gate, VoterSet, Voters};
use electrode_transport::{ClusterId, Incarnation, MemberIndex, MemberSet};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::super::bench::now;
use super::super::model::{Bytes, Group, Model, Order};
use super::{Draw, near, next, other};

impl Draw {
    pub(super) fn order(&self, dice: &mut ChaCha8Rng, model: &Model, place: usize) -> Order {
        let group = &model.groups[place];
        let at = place as u32;
        if !group.is_open && dice.random_bool(0.9) {
            return Order::Open(at, Box::new(opening(dice, model, place)));
        }
        let drawn = dice.random_range(0..1_000);
        if drawn < 10 {
            return Order::Close(at);
        }
        if drawn < 60 {
            return Order::Seat(at, Box::new(reseating(dice, model, group)));
        }
        if drawn < 200 {
            let command = offered(dice, group, at);
            return Order::Offer(command, Bytes(self.body(dice)));
        }
        // Whoever follows nobody mostly begins to.
        let is_idle = group.acceptor.ballot().0 == 0 && dice.random_bool(0.5);
        let drawn = if is_idle { dice.random_range(200..450) } else { drawn };
        let (op, command) = plain(dice, group, drawn);
        Order::Plain(op, Command { place: at, ..command })
    }
}

/// Ops that need no more than a command.
fn plain(dice: &mut ChaCha8Rng, group: &Group, drawn: u32) -> (Op, Command) {
    let none = Command::default();
    let (acceptor, tally) = (&group.acceptor, &group.tally);
    let (fence, led) = (acceptor.fence().0, tally.ballot().0);
    let member = u32::from(other(dice, group).0);
    match drawn {
        // A fence ends what is followed: soon after it somebody is followed again.
        200..260 => (Op::Fence, Command { ballot: fence.saturating_add(1), ..none }),
        260..270 => (Op::Fence, Command { ballot: near(dice, fence, 0.02), ..none }),
        270..450 => {
            let first = if dice.random_bool(0.7) { next(group).0 } else { near(dice, 5, 0.01) };
            let member = if dice.random_bool(0.02) { 255 } else { member };
            let ballot = near(dice, fence.max(1), 0.0);
            let ballot = if dice.random_bool(0.8) { fence } else { ballot };
            (Op::Arm, Command { ballot, member, first, now: moment(dice), ..none })
        }
        450..560 => {
            let ballot = near(dice, acceptor.ballot().0, 0.01);
            let edge = if dice.random_bool(0.01) { 0.2 } else { 0.0 };
            let last = near(dice, next(group).prev().0, edge);
            (Op::Acknowledge, Command { ballot, last, ..none })
        }
        560..600 => {
            let command = Command { now: moment(dice), ..offered(dice, group, 0) };
            (Op::Probe, Command { first: 0, last: 0, ..command })
        }
        600..660 => {
            let last = if dice.random_bool(0.9) { tally.sent().0 } else { near(dice, 7, 0.1) };
            (Op::Lead, Command { ballot: near(dice, led.max(1), 0.01), last, ..none })
        }
        660..665 => (Op::Resign, none),
        665..800 => {
            let ballot = near(dice, led, 0.01);
            let edge = if dice.random_bool(0.01) { 0.2 } else { 0.0 };
            let last = near(dice, tally.sent().0.saturating_add(1), edge);
            let first = u64::from(dice.random_bool(0.5));
            (Op::Sending, Command { ballot, last, first, ..none })
        }
        800..870 => {
            let last = near(dice, tally.sent().0, 0.02);
            let first = if dice.random_bool(0.3) { 0 } else { near(dice, last, 0.02) };
            let ballot = near(dice, led, 0.01);
            let member = if dice.random_bool(0.1) { 32 + member } else { member };
            (Op::Count, Command { ballot, member, first, last, ..none })
        }
        870..930 => {
            let (ballot, last) = (near(dice, led, 0.01), near(dice, tally.probe_sent(), 0.02));
            (Op::CountProbe, Command { ballot, member, last, ..none })
        }
        _ => (Op::StartProbe, none),
    }
}

/// A frame that came as a datagram, mostly the next.
fn offered(dice: &mut ChaCha8Rng, group: &Group, place: u32) -> Command {
    let first = near(dice, next(group).0, 0.001).max(1);
    let ballot = near(dice, group.acceptor.ballot().0, 0.001);
    let leader = group.acceptor.leader();
    let member = if dice.random_bool(0.9) { leader } else { other(dice, group) };
    Command {
        place,
        ballot,
        first,
        last: first.saturating_add(dice.random_range(0..3)).min(u64::MAX - 1),
        commit: near(dice, group.acceptor.commit().0.max(1), 0.0),
        now: moment(dice),
        member: member.0.into(),
        ..Command::default()
    }
}

/// Before any lease, now, or after every lease. The model takes it from the command, so that a seed
/// does the same again but for this number.
fn moment(dice: &mut ChaCha8Rng) -> u64 {
    match dice.random_range(0..10) {
        0 => 0,
        1 => u64::MAX,
        _ => now().0,
    }
}

fn opening(dice: &mut ChaCha8Rng, model: &Model, place: usize) -> Opening {
    let any: u32 = dice.random();
    // The last three bits tell the places apart: an id is open at one place only.
    let id = match place {
        0 if any.is_multiple_of(2) => 0,
        7 if any.is_multiple_of(2) => u32::MAX,
        _ => any & !7 | place as u32,
    };
    let log_limit = match dice.random_range(0..10) {
        0 => dice.random_range(0..500),
        1..4 => dice.random_range(500..5_000),
        4..7 => 1 << 30,
        _ => u64::MAX,
    };
    let incarnation = Incarnation(dice.random_range(0..4));
    let seating = seating(dice, model, incarnation);
    let seating = Seating { change: seat::MEMBERSHIP, ..seating };
    Opening { id, mode: dice.random_range(0..2), log_limit, seating }
}

/// A new membership, or the same one elsewhere.
fn reseating(dice: &mut ChaCha8Rng, model: &Model, group: &Group) -> Seating {
    let incarnation = group.gate.incarnation.0.saturating_add(dice.random_range(0..2));
    let mut new = seating(dice, model, Incarnation(incarnation));
    if dice.random_bool(0.3) {
        return Seating { change: 0, gate: group.gate, peers: group.peers, ..new };
    }
    new.change = seat::MEMBERSHIP | seat::TALLY;
    if dice.random_bool(0.7) {
        new.change |= seat::LEADER;
        if dice.random_bool(0.2) {
            new.leader = NOBODY;
        }
    }
    new
}

fn seating(dice: &mut ChaCha8Rng, model: &Model, incarnation: Incarnation) -> Seating {
    let members = if dice.random_bool(0.8) {
        [2, 3, 5, 7][dice.random_range(0..4)]
    } else {
        dice.random_range(1..=32)
    };
    let own = dice.random_range(0..members);
    let gate = Gate {
        // The last bits all the same: what a comparison of half a word does not tell apart.
        cluster: ClusterId(u64::from(dice.random_range(0..2u32)) << 40 | 7),
        incarnation,
        own: MemberIndex(own),
        members,
        keyed: model.endpoint.keyed,
        reserved: 0,
    };
    let current = voters(dice, members);
    let has_joint = dice.random_bool(0.3);
    let joint = if has_joint { voters(dice, members) } else { VoterSet::default() };
    let peers = std::array::from_fn(|index| peer(dice, model, index));
    let is_carried = dice.random_bool(0.8) && members > 1;
    let carrier = if own == 0 { 1 } else { 0 };
    let everybody = u32::MAX >> (32 - u32::from(members));
    let copies: u32 = everybody & dice.random::<u32>() & !(1 << own) & !(1 << carrier);
    Seating {
        gate,
        voters: Voters { current, joint },
        change: 0,
        leader: dice.random_range(0..members),
        carrier: if is_carried { carrier } else { NOBODY },
        reserved: 0,
        copies: if dice.random_bool(0.5) { copies } else { 0 },
        peers,
    }
}

fn voters(dice: &mut ChaCha8Rng, members: u8) -> VoterSet {
    let everybody = u32::MAX >> (32 - u32::from(members));
    let learners = if dice.random_bool(0.3) { dice.random::<u32>() } else { 0 };
    let voting = everybody & !learners;
    let needed = match dice.random_range(0..10) {
        0 => dice.random_range(0..34),
        1 => voting.count_ones(),
        _ => voting.count_ones() / 2 + 1,
    };
    VoterSet { members: MemberSet(voting), needed }
}

/// Members differ in one byte of their address or in one of their port.
fn peer(dice: &mut ChaCha8Rng, model: &Model, index: usize) -> Peer {
    let mut address = model.endpoint.address;
    let last = if model.is_ipv6() { 15 } else { 3 };
    let port = u16::from_be_bytes(model.endpoint.port);
    let mut to = port;
    if index.is_multiple_of(4) {
        to = port.wrapping_add(1 + index as u16);
    } else {
        address[dice.random_range(last - 3..=last)] ^= 1 + index as u8;
    }
    Peer { address, port: to.to_be_bytes(), mac: dice.random(), reachable: 1, reserved: [0; 7] }
}

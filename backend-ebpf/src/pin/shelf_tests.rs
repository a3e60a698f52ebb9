//! The shelf against every moment at which a process can die: what was not taken comes again, in
//! order, and the room is the kernel's account of it.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use electrode_transport::{
    Ballot, Incarnation, LogBatch, Member, MemberIndex, Membership, NodeId, QuorumRule, Slot, Time,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Acceptor, AckMode, Mapping, RECORD_CHARGE, Record, Shelf};

/// Memory that outlives a shelf, as a pinned map does.
struct Memory(OwnedFd);

impl Memory {
    fn new(limit: u64) -> Self {
        // SAFETY: a name that outlives the call.
        let fd = unsafe { libc::memfd_create(c"shelf".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(fd >= 0, "a memory file");
        // SAFETY: just opened, and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let file = std::fs::File::from(fd);
        file.set_len(Shelf::memory_len(limit) as u64).expect("its length");
        Self(file.into())
    }

    fn open(&self, limit: u64, released: u64) -> Result<Shelf, String> {
        let memory = Mapping::new(self.0.as_fd(), 0, Shelf::memory_len(limit), true);
        Shelf::open(memory.expect("a mapping"), limit, released)
    }
}

fn record(sequence: u64, ballot: u64, len: usize) -> (Record, Vec<u8>) {
    let body = (0..len).map(|index| (index as u64 ^ (sequence * 7)) as u8).collect();
    let (first, last, len) = (sequence, sequence, len as u32);
    (Record { sequence, ballot, first, last, place: 3, len }, body)
}

fn follower(mode: AckMode, ballot: u64, acknowledged: u64) -> Acceptor {
    let mut acceptor = Acceptor::new(mode);
    acceptor.raise_fence(Ballot(ballot));
    acceptor.arm(Ballot(ballot), MemberIndex(1), Slot(acknowledged + 1), Time(1)).expect("armed");
    acceptor
}

fn poll(shelf: &mut Shelf, acceptor: &Acceptor, entries_max: usize) -> Vec<u64> {
    let mut batch = LogBatch::with_limits(entries_max, usize::MAX);
    shelf.poll(&mut batch, acceptor);
    for entry in batch.iter() {
        let (_, body) = record(entry.first.0, entry.ballot.0, entry.body.len());
        assert_eq!(entry.body, body, "slot {}", entry.first);
    }
    batch.iter().map(|entry| entry.first.0).collect()
}

const LIMIT: u64 = 4_000;

#[test]
fn received_entries_are_taken_by_the_next_poll() {
    let memory = Memory::new(LIMIT);
    let follower = follower(AckMode::Received, 4, 0);
    let mut shelf = memory.open(LIMIT, 0).expect("an empty shelf");
    for sequence in 1..=6 {
        let (head, body) = record(sequence, 4, 10);
        shelf.take(&head, &body);
    }
    assert_eq!(poll(&mut shelf, &follower, 2), [1, 2]);
    assert_eq!(shelf.released(), 0, "handed out is not taken");
    let mut shelf = memory.open(LIMIT, shelf.released()).expect("the shelf");
    assert_eq!(poll(&mut shelf, &follower, 3), [1, 2, 3], "again, after a crash");
    assert_eq!(poll(&mut shelf, &follower, 1), [4], "each once within a life");
    assert_eq!(shelf.released(), 3 * (RECORD_CHARGE + 10));
    shelf.discard_through(Slot(4));
    assert_eq!(shelf.released(), 4 * (RECORD_CHARGE + 10), "acknowledged is taken");
    // The board may be a step behind.
    let mut shelf = memory.open(LIMIT, 0).expect("the shelf");
    assert_eq!(shelf.released(), 4 * (RECORD_CHARGE + 10));
    assert_eq!(poll(&mut shelf, &follower, 9), [5, 6]);
}

#[test]
fn persisted_entries_are_taken_when_they_are_acknowledged() {
    let memory = Memory::new(LIMIT);
    let mut shelf = memory.open(LIMIT, 0).expect("an empty shelf");
    for sequence in 1..=6 {
        let (head, body) = record(sequence, 4, 10);
        shelf.take(&head, &body);
    }
    let behind = follower(AckMode::Persisted, 4, 0);
    assert_eq!(poll(&mut shelf, &behind, 3), [1, 2, 3]);
    assert_eq!(poll(&mut shelf, &behind, 1), [4]);
    assert_eq!(shelf.released(), 0, "polled, not acknowledged");
    shelf.discard_through(Slot(2));
    let mut shelf = memory.open(LIMIT, shelf.released()).expect("the shelf");
    assert_eq!(poll(&mut shelf, &behind, 9), [3, 4, 5, 6]);
    // A ballot that is followed no more: nobody will acknowledge these.
    shelf.note_fence();
    let later = follower(AckMode::Persisted, 5, 0);
    assert_eq!(poll(&mut shelf, &later, 9), [0; 0]);
    assert_eq!(shelf.released(), 2 * (RECORD_CHARGE + 10), "the fence itself takes nothing");
    assert_eq!(poll(&mut shelf, &later, 9), [0; 0]);
    assert_eq!(shelf.released(), 6 * (RECORD_CHARGE + 10));
}

/// A process dies after any of its steps; records come by several rings, some of them twice because
/// the ring was not released yet.
#[test]
fn nothing_is_lost_or_doubled_over_any_crash() {
    for seed in 0..300 {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let memory = Memory::new(LIMIT);
        let mode = if seed % 2 == 0 { AckMode::Received } else { AckMode::Persisted };
        let mut acknowledged = 0;
        let mut shelf = memory.open(LIMIT, 0).expect("an empty shelf");
        let (mut sequence, mut charged) = (0, 0);
        // What the kernel stored and the rings still hold.
        let mut rings: Vec<(Record, Vec<u8>)> = Vec::new();
        let (mut seen, mut in_this_life) = (0, 0);
        for _ in 0..400 {
            match dice.random_range(0..10) {
                0..=3 => {
                    let len = dice.random_range(0..300);
                    let charge = RECORD_CHARGE + len as u64;
                    if charged - shelf.released() + charge <= LIMIT {
                        sequence += 1;
                        charged += charge;
                        rings.push(record(sequence, 4, len));
                    }
                }
                4..=5 if !rings.is_empty() => {
                    let (head, body) = rings.remove(dice.random_range(0..rings.len()));
                    shelf.take(&head, &body);
                    if dice.random_bool(0.2) {
                        rings.push((head, body));
                    }
                }
                6..=7 => {
                    let follower = follower(mode, 4, acknowledged);
                    let slots = poll(&mut shelf, &follower, dice.random_range(1..6));
                    for slot in slots {
                        assert!(slot <= seen + 1, "seed {seed}: {slot} after {seen}");
                        assert!(slot > in_this_life, "seed {seed}: {slot} twice in a life");
                        (seen, in_this_life) = (seen.max(slot), slot);
                    }
                }
                8 if mode == AckMode::Persisted => {
                    acknowledged = dice.random_range(acknowledged..=seen);
                    shelf.discard_through(Slot(acknowledged));
                }
                9 => {
                    let released = shelf.released();
                    let behind = if dice.random_bool(0.5) { released } else { shelf.head };
                    shelf = memory.open(LIMIT, behind).unwrap_or_else(|error| {
                        panic!("seed {seed}: {error}");
                    });
                    in_this_life = 0;
                }
                _ => {}
            }
        }
        for (head, body) in rings {
            shelf.take(&head, &body);
        }
        let mut shelf = memory.open(LIMIT, shelf.released()).expect("the shelf");
        for slot in poll(&mut shelf, &follower(mode, 4, acknowledged), usize::MAX) {
            assert!(slot <= seen + 1, "seed {seed}: {slot} after {seen}");
            seen = seen.max(slot);
        }
        assert_eq!(seen, sequence, "seed {seed}: everything that was stored comes out");
    }
}

#[test]
fn a_torn_shelf_is_refused() {
    let memory = Memory::new(LIMIT);
    let mut shelf = memory.open(LIMIT, 0).expect("an empty shelf");
    let (head, body) = record(1, 4, 100);
    shelf.take(&head, &body);
    assert!(memory.open(LIMIT, 200).is_err(), "begins after it ends");
    assert!(memory.open(LIMIT, 120).is_err(), "begins inside a record");
    assert!(memory.open(40, 0).is_err(), "more than its limit");
    shelf.copy_in(4 * 8, &u64::MAX.to_ne_bytes());
    assert!(memory.open(LIMIT, 0).is_err(), "a record longer than the shelf");
}

#[test]
fn two_rosters_are_known_and_a_torn_one_is_not() {
    let memory = Memory::new(LIMIT);
    let shelf = memory.open(LIMIT, 0).expect("an empty shelf");
    let membership = |incarnation, ids: &[u64]| {
        let address = |id: u64| std::net::SocketAddr::from(([10, 0, 0, id as u8], 7_400));
        let members = ids.iter().map(|&id| Member::voter(NodeId(id), address(id)));
        Membership::new(Incarnation(incarnation), members.collect::<Vec<_>>(), QuorumRule::Majority)
            .expect("a fine membership")
    };
    shelf.note_roster(&membership(0, &[1, 2, 3]), None);
    assert_eq!(shelf.member(Incarnation(0), 1), Some(NodeId(2)));
    shelf.note_roster(&membership(4, &[2, 3]), Some(Incarnation(0)));
    assert_eq!(shelf.member(Incarnation(0), 1), Some(NodeId(2)), "still in force");
    assert_eq!(shelf.member(Incarnation(4), 1), Some(NodeId(3)));
    assert_eq!(shelf.member(Incarnation(4), 2), None, "not a member");
    shelf.note_roster(&membership(6, &[3]), Some(Incarnation(4)));
    assert_eq!(shelf.member(Incarnation(4), 0), Some(NodeId(2)));
    assert_eq!(shelf.member(Incarnation(0), 1), None, "overwritten");
    shelf.note_led(Ballot(7));
    shelf.note_led(Ballot(5));
    assert_eq!(memory.open(LIMIT, 0).expect("the shelf").led(), Ballot(7));
}

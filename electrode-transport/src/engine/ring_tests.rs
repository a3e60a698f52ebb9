//! The ring against a queue that simply keeps everything.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const BALLOT: Ballot = Ballot(1);

fn store(ring: &mut LogRing, slot: u64, body: &[u8]) -> bool {
    let room = ring.reserve(BALLOT, Slot(slot), Slot(slot), body);
    if room {
        ring.commit();
    }
    room
}

fn drain(ring: &mut LogRing) -> Vec<(u64, Vec<u8>)> {
    let mut batch = LogBatch::with_limits(usize::MAX, usize::MAX);
    ring.poll(&mut batch);
    batch.iter().map(|entry| (entry.last.0, entry.body.to_vec())).collect()
}

#[test]
fn a_ring_of_one_body_takes_that_body() {
    let mut ring = LogRing::new(8);
    assert!(!store(&mut ring, 1, &[7; 9]));
    assert!(store(&mut ring, 1, &[7; 8]));
    assert!(!store(&mut ring, 2, &[]), "empty bodies are charged for their record");
    assert_eq!(drain(&mut ring), [(1, vec![7; 8])]);
    assert!(store(&mut ring, 2, &[8; 8]));
}

#[test]
fn a_body_wraps_around_the_end() {
    let mut ring = LogRing::new(RECORD_OVERHEAD * 4);
    let third = [1; RECORD_OVERHEAD];
    assert!(store(&mut ring, 1, &third));
    assert!(store(&mut ring, 2, &third));
    assert_eq!(drain(&mut ring).len(), 2);
    let long: Vec<u8> = (0..=150).collect();
    assert!(store(&mut ring, 3, &long));
    assert_eq!(ring.head, 2 * RECORD_OVERHEAD, "it begins where only part of it fits");
    assert_eq!(drain(&mut ring), [(3, long)]);
}

#[test]
fn what_is_discarded_leaves_no_trace() {
    let mut ring = LogRing::new(64);
    assert!(ring.reserve(BALLOT, Slot(1), Slot(1), b"refused by the rule"));
    ring.discard();
    assert!(drain(&mut ring).is_empty());
    ring.commit();
    assert!(drain(&mut ring).is_empty(), "nothing was reserved");
    assert!(store(&mut ring, 1, &[3; 64]), "all of its place is free again");
    assert!(!ring.reserve(BALLOT, Slot(2), Slot(2), b"x"));
    ring.commit();
    assert_eq!(drain(&mut ring), [(1, vec![3; 64])], "what was not reserved is not committed");
}

#[test]
fn a_batch_takes_what_fits_and_the_rest_stays() {
    let mut ring = LogRing::new(1_000);
    for slot in 1..=5 {
        assert!(store(&mut ring, slot, &[slot as u8; 10]));
    }
    let mut small = LogBatch::with_limits(usize::MAX, 25);
    ring.poll(&mut small);
    assert_eq!(small.len(), 2);
    assert_eq!(ring.polled(), Slot(2));
    let mut single = LogBatch::with_limits(0, 0);
    ring.poll(&mut single);
    assert_eq!(single.len(), 1, "an entry larger than the batch still comes, alone");
    assert_eq!(drain(&mut ring), [(4, vec![4; 10]), (5, vec![5; 10])]);
}

#[test]
fn runs_are_split_by_nobody() {
    let mut ring = LogRing::new(1_000);
    for (first, last) in [(5, 8), (9, 9), (10, 20)] {
        assert!(ring.reserve(BALLOT, Slot(first), Slot(last), b"run"));
        ring.commit();
    }
    for (through, inside) in
        [(4, None), (5, Some(8)), (7, Some(8)), (8, None), (9, None), (10, Some(20)), (20, None)]
    {
        assert_eq!(ring.splits(Slot(through)), inside.map(Slot), "through {through}");
    }
    ring.discard_through(Slot(9));
    let mut batch = LogBatch::default();
    ring.poll(&mut batch);
    let left: Vec<_> = batch.iter().map(|entry| (entry.first, entry.last)).collect();
    assert_eq!(left, [(Slot(10), Slot(20))]);
    ring.discard_through(Slot(100));
    ring.reset_polled(Slot(3));
    assert_eq!(ring.polled(), Slot(3));
}

proptest! {
    /// Bytes go in and come out, each once, in order, whatever the sizes and the interleaving; and
    /// the ring refuses only for want of room.
    #[test]
    fn agrees_with_a_queue(
        capacity in 100..700usize,
        steps in proptest::collection::vec((0..10u8, 0..300usize), 1..300),
    ) {
        let mut ring = LogRing::new(capacity);
        let mut queue: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
        let mut slot = 0;
        for (choice, size) in steps {
            let held = |queue: &VecDeque<(u64, Vec<u8>)>, overhead: usize| {
                queue.iter().map(|(_, body)| body.len() + overhead).sum::<usize>()
            };
            match choice {
                0..=5 => {
                    let body: Vec<u8> = (0..size % (capacity + 2)).map(|at| (at + size) as u8).collect();
                    let fits = held(&queue, 0) + body.len() <= capacity
                        && held(&queue, RECORD_OVERHEAD) + body.len() <= capacity;
                    prop_assert_eq!(store(&mut ring, slot + 1, &body), fits);
                    if fits {
                        slot += 1;
                        queue.push_back((slot, body));
                    }
                }
                6 => {
                    ring.reserve(BALLOT, Slot(slot + 1), Slot(slot + 1), &vec![0xdd; size]);
                    ring.discard();
                }
                7 => {
                    let through = slot.saturating_sub(size as u64 % 4);
                    ring.discard_through(Slot(through));
                    queue.retain(|(slot, _)| *slot > through);
                }
                _ => {
                    let mut batch = LogBatch::with_limits(size % 5, size);
                    ring.poll(&mut batch);
                    for entry in batch.iter() {
                        let (slot, body) = queue.pop_front().unwrap();
                        prop_assert_eq!((entry.first, entry.last), (Slot(slot), Slot(slot)));
                        prop_assert_eq!(entry.body, &body[..]);
                    }
                    prop_assert!(!batch.is_empty() || queue.is_empty());
                }
            }
        }
        prop_assert_eq!(drain(&mut ring), Vec::from(queue));
        prop_assert_eq!((ring.used, ring.charged), (0, 0));
    }
}

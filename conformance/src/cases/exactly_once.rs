//! Invariant 8: `poll_log` yields each accepted slot once, in order.

use std::task::{Context, Poll};

use electrode_transport::{AckMode, Ballot, Frame, GroupId, LogBatch, Slot, TransportError};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::MODES;
use crate::case::Stage;
use crate::harness::{Link, SetupError};
use crate::lab::{Bell, Lab};
use crate::spec::{ClusterSpec, node_id};

cases! { ExactlyOnce, "exactly-once";
    "across-batches", Core, [RECEIVED PERSISTED], across_batches,
        "Entries come once and in order whatever a batch takes; one larger than the batch comes alone.";
    "large-and-small", Lossy, [RECEIVED PERSISTED FAULTS], large_and_small,
        "Large and small entries keep their order, on a bad network too.";
    "new-leader-has-its-own-log", Fence, [RECEIVED PERSISTED], new_leader,
        "A member that becomes leader is handed what it accepted as follower.";
    "across-ballots", Fence, [RECEIVED PERSISTED FAULTS], across_ballots,
        "Through leader changes each ballot's entries come once, and none after the fence above it.";
    "slots-that-came-another-way", Core, [RECEIVED PERSISTED], another_way,
        "Slots that the library acknowledged, or followed past, are not yielded any more.";
    "sleeping-follower-is-woken", Core, [RECEIVED PERSISTED], sleeping_follower,
        "Whoever waits for the log is woken by an entry, and by nothing else having to happen.";
    "another-group-hides-nothing", ManyGroups, [RECEIVED PERSISTED GROUPS PAUSE], another_group,
        "Whoever waits for one group's log is woken, also if a call on another group is the first to look.";
    "storm-of-everything", Lossy, [RECEIVED PERSISTED FAULTS TAP CRASH PAUSE], super::chaos::everything,
        "Random histories of everything at once keep every invariant.";
}

/// Polls a node once with this batch and enters what it yields.
fn poll_with(lab: &mut Lab, node: usize, batch: &mut LogBatch) -> usize {
    let count = lab.node(node).try_poll_log(batch).expect("the group is open");
    assert_eq!(count, batch.len(), "the count is the batch's");
    for entry in batch.iter() {
        lab.ledger.yielded((node, lab.group), &entry);
    }
    count
}

fn across_batches(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let spec = ClusterSpec::voters(2, mode);
        let mut lab = stage.lab(&spec)?;
        lab.elect(0, 1, 1);
        let bodies: Vec<_> = (1..=40_usize)
            .map(|slot| vec![slot as u8; if slot % 7 == 0 { spec.body_len_max() } else { slot }])
            .collect();
        let frames: Vec<_> =
            (1..).map(Slot).zip(&bodies).map(|(slot, body)| Frame::single(slot, body)).collect();
        assert_eq!(lab.broadcast_frames(0, 1, &frames)?, 40);
        let next = |lab: &Lab| {
            let acked = lab.node(0).acked(Ballot(1)).expect("it leads");
            acked.of(node_id(1)).map(|progress| progress.next)
        };
        lab.until("all are accepted", |lab| next(lab) == Some(Slot(41)));
        for (entries, bytes) in [(1, 1 << 20), (3, 1 << 20), (100, 64), (100, 0), (5, 400)] {
            let mut batch = LogBatch::with_limits(entries, bytes);
            for _ in 0..3 {
                let count = poll_with(&mut lab, 1, &mut batch);
                assert!(
                    (1..=entries).contains(&count),
                    "{count} entries, the batch takes {entries}"
                );
                let total: usize = batch.iter().map(|entry| entry.body.len()).sum();
                assert!(count == 1 || total <= bytes, "{total} bytes, the batch takes {bytes}");
            }
        }
        lab.until("the rest comes", |lab| {
            poll_with(lab, 1, &mut LogBatch::default());
            lab.held(1, 1) == 40
        });
        assert_eq!(poll_with(&mut lab, 1, &mut LogBatch::default()), 0, "and then no more");
        lab.check();
    }
    Ok(())
}

fn large_and_small(stage: &Stage<'_>) -> Result<(), SetupError> {
    stage.each_seed(25, 2, |seed| {
        for mode in MODES {
            let mut dice = ChaCha8Rng::seed_from_u64(seed);
            let spec = ClusterSpec { log_bytes: 6_000, ..ClusterSpec::voters(3, mode) };
            let mut lab = stage.lab_seeded(&spec, seed)?;
            lab.elect(0, 1, 1);
            lab.set_links(Link::BAD);
            for slot in 1..=60 {
                let large = dice.random_bool(0.3);
                let len =
                    if large { dice.random_range(900..1_380) } else { dice.random_range(0..40) };
                let body: Vec<u8> = (0..len).map(|_| dice.random_range(0..=255_u8)).collect();
                lab.broadcast_frames(0, 1, &[Frame::single(Slot(slot), &body)])?;
                if dice.random_bool(0.3) {
                    let entries = dice.random_range(1..5);
                    poll_with(&mut lab, 1, &mut LogBatch::with_limits(entries, 2_000));
                }
                lab.advance(std::time::Duration::from_micros(dice.random_range(0..400)));
            }
            lab.set_links(Link::CLEAN);
            lab.until_all(0, 1, 60);
            lab.check();
        }
        Ok(())
    })
}

fn new_leader(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.elect(0, 1, 1);
        lab.propose(0, 1, 1..=12);
        lab.until("node 1 has accepted all", |lab| {
            let acked = lab.node(0).acked(Ballot(1)).expect("it leads");
            acked.of(node_id(1)).is_some_and(|progress| progress.next == Slot(13))
        });
        lab.lead(1, 2, 13);
        assert_eq!(lab.held(1, 1), 12, "all that it may have acknowledged is in its hands");
        assert_eq!(lab.poll(1), 0);
        lab.follow(2, 1, 2, 13);
        lab.propose(1, 2, 13..=15);
        lab.until("the new ballot goes on", |lab| {
            lab.serve(2, 2);
            lab.quorum(1, 2) == 15
        });
        lab.check();
    }
    Ok(())
}

fn across_ballots(stage: &Stage<'_>) -> Result<(), SetupError> {
    stage.each_seed(25, 2, |seed| {
        for mode in MODES {
            let mut dice = ChaCha8Rng::seed_from_u64(seed);
            let mut lab = stage.lab_seeded(&ClusterSpec::voters(3, mode), seed)?;
            lab.set_links(Link::BAD);
            let mut next = 1;
            for ballot in 1..=8 {
                let leader = dice.random_range(0..3);
                lab.elect(leader, ballot, next);
                let count = dice.random_range(1..10);
                lab.propose(leader, ballot, next..=next + count - 1);
                next += count;
                lab.advance(std::time::Duration::from_micros(dice.random_range(0..4_000)));
                let node = dice.random_range(0..3);
                lab.poll(node);
            }
            lab.set_links(Link::CLEAN);
            lab.elect(0, 9, next);
            lab.propose(0, 9, next..=next);
            lab.until_all(0, 9, next);
            lab.check();
        }
        Ok(())
    })
}

fn another_way(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.elect(0, 1, 1);
        lab.propose(0, 1, 1..=10);
        lab.until("node 1 has accepted all", |lab| {
            let acked = lab.node(0).acked(Ballot(1)).expect("it leads");
            acked.of(node_id(1)).is_some_and(|progress| progress.next == Slot(11))
        });
        lab.acknowledge(1, 1, 4);
        let mut batch = LogBatch::with_limits(2, 1 << 20);
        assert_eq!(poll_with(&mut lab, 1, &mut batch), 2, "slots 5 and 6");
        let token = lab.fence_without_log(1, 1, 4);
        lab.ledger.follows((1, lab.group), Ballot(1), Slot(15));
        lab.node(1).follow(&token, node_id(0), Slot(15))?;
        assert_eq!(lab.poll(1), 0, "slots 7 to 14 came another way");
        let back = lab.node(1).follow(&token, node_id(0), Slot(12));
        let told = matches!(
            back,
            Err(TransportError::SlotOutOfOrder { offered: Slot(12), expected: Slot(15) })
        );
        assert!(told, "what is stored cannot be taken back: {back:?}");
        lab.propose(0, 1, 11..=16);
        lab.until("slots 15 and 16 come", |lab| {
            lab.serve(1, 1);
            lab.held(1, 1) == 16
        });
        lab.check();
    }
    Ok(())
}

impl Lab {
    /// Fences at the ballot in force, which hands over what waits: these many entries.
    fn fence_without_log(
        &mut self,
        node: usize,
        ballot: u64,
        waiting: usize,
    ) -> electrode_transport::FenceToken {
        let before = self.held(node, ballot);
        let token = self.fence(node, ballot);
        assert_eq!(
            self.held(node, ballot),
            before + waiting as u64,
            "the fence hands over the rest"
        );
        token
    }
}

fn another_group(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let groups = vec![GroupId(1), GroupId(2)];
        let mut lab = stage.lab(&ClusterSpec { groups, ..ClusterSpec::voters(3, mode) })?;
        for group in [GroupId(1), GroupId(2)] {
            lab.group = group;
            lab.elect(0, 1, 1);
        }
        let sleeper = lab.node(1);
        let mut batch = LogBatch::default();
        for slot in 1..=5 {
            lab.group = GroupId(2);
            let (bell, waker) = Bell::new();
            let mut cx = Context::from_waker(&waker);
            assert!(sleeper.poll_log_ready(&mut cx, &mut batch).is_pending(), "nothing to yield");
            lab.set_paused(1, true);
            lab.propose(0, 1, slot..=slot);
            lab.advance_ms(20);
            lab.group = GroupId(1);
            assert_eq!(lab.poll(1), 0, "nothing in this group");
            lab.set_paused(1, false);
            lab.until("the sleeper is woken", |_| bell.rings() > 0);
            lab.group = GroupId(2);
            lab.serve(1, 1);
        }
        lab.until_all(0, 1, 5);
        lab.check();
    }
    Ok(())
}

fn sleeping_follower(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.elect(0, 1, 1);
        let follower = lab.node(1);
        let mut batch = LogBatch::default();
        for slot in 1..=10 {
            let (bell, waker) = Bell::new();
            let mut cx = Context::from_waker(&waker);
            assert!(follower.poll_log_ready(&mut cx, &mut batch).is_pending(), "nothing to yield");
            lab.propose(0, 1, slot..=slot);
            lab.until("the sleeper is woken", |_| bell.rings() > 0);
            let polled = follower.poll_log_ready(&mut cx, &mut batch);
            assert!(matches!(polled, Poll::Ready(Ok(1))), "the entry is there: {polled:?}");
            for entry in batch.iter() {
                lab.ledger.yielded((1, lab.group), &entry);
            }
            if mode == AckMode::Persisted {
                lab.acknowledge(1, 1, slot);
            }
        }
        lab.until_all(0, 1, 10);
        lab.check();
    }
    Ok(())
}

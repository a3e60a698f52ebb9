//! Invariant 2: after a fence nothing below it is accepted, and what was acknowledged is in hand.

use std::time::Duration;

use electrode_transport::wire::FrameKind;
use electrode_transport::{AckMode, Ballot, Counter, GroupId, LogBatch, Slot, TransportError};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::MODES;
use crate::case::Stage;
use crate::harness::{Link, SetupError};
use crate::lab::Lab;
use crate::spec::{ClusterSpec, node_id};

cases! { Fenced, "fenced";
    "nothing-below-is-accepted", Fence, [RECEIVED PERSISTED TAP INJECT], nothing_below,
        "Once the fence stands, no frame or probe of a lower ballot is stored, acknowledged or confirmed.";
    "hands-over-what-is-unpolled", Fence, [RECEIVED PERSISTED], hands_over,
        "The fence hands over every accepted entry that was not polled, once.";
    "ack-after-fence-on-wire", Fence, [RECEIVED PERSISTED FAULTS TAP], ack_after_fence_on_wire,
        "Every acknowledgement below the fence, early or late on the wire, is for an entry in the caller's hands.";
    "frozen-leader-comes-back", Fence, [RECEIVED PERSISTED PAUSE], frozen_leader_comes_back,
        "A leader frozen through a leader change commits nothing when it wakes.";
    "promise-supersedes-the-leader", Fence, [RECEIVED PERSISTED], promise_supersedes,
        "A leader learns that a member has promised a higher ballot; what a quorum had stored stays told.";
    "leading-ends", Fence, [TAP], leading_ends,
        "Fencing above the led ballot ends the leadership: nothing is sent, retransmitted or counted.";
    "ballots-only-rise", Fence, [], ballots_only_rise,
        "A fence below the one in force, or at ballot zero, is refused and changes nothing.";
    "tokens-of-the-newest-fence", Fence, [GROUPS], tokens,
        "Only the newest fence's token of the same group leads or follows.";
    "storm-of-leader-changes", Fence, [RECEIVED PERSISTED FAULTS TAP PAUSE], super::chaos::leader_changes,
        "Random leader changes, idle promises and frozen leaders: no fence is ever passed.";
}

fn nothing_below(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.follow(1, 0, 3, 1);
        lab.say_accept(0, 1, 3, 1);
        lab.until("slot 1 is stored", |lab| lab.count(1, Counter::RxStored) == 1);
        lab.raise(1, 5);
        assert_eq!(lab.held(1, 3), 1, "the fence hands over slot 1");
        lab.take_seen();
        let before = lab.node(1).stats().received();
        for attempt in 1..=3 {
            lab.say_accept(0, 1, 3, 1);
            lab.say_accept(0, 1, 3, 2);
            let probe = lab.header(FrameKind::Probe, 0, 3, [1, 0, 0]);
            lab.say(0, 1, probe, &[]);
            lab.until("all three have arrived", |lab| {
                lab.node(1).stats().received() >= before + 3 * attempt
            });
        }
        let refused = lab.count(1, Counter::RxStaleBallot);
        let replies = lab.take_seen();
        for reply in replies.iter().filter(|seen| seen.from == 1) {
            assert_eq!(reply.header.kind, FrameKind::Refused, "{reply:?}");
            assert_eq!(reply.header.first, Slot(5), "the promised ballot is told");
        }
        assert!(replies.iter().any(|seen| seen.from == 1), "the old leader is told");
        assert_eq!(refused, 9, "each is counted");
        assert_eq!(lab.poll(1), 0, "nothing of the old ballot is yielded");
        lab.check();
    }
    Ok(())
}

fn hands_over(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.elect(0, 1, 1);
        lab.propose(0, 1, 1..=10);
        lab.until("the follower has accepted everything", |lab| {
            let acked = lab.node(0).acked(Ballot(1)).expect("it leads");
            acked.of(node_id(1)).is_some_and(|progress| progress.next == Slot(11))
        });
        lab.raise(1, 7);
        assert_eq!(lab.held(1, 1), 10, "all that was accepted is handed over");
        assert_eq!(lab.poll(1), 0, "and not yielded again");
        let again = lab.node(1).fence(Ballot(7)).expect("a fence may be repeated");
        assert!(again.entries.is_empty(), "nor handed over again");
        lab.check();
    }
    Ok(())
}

fn ack_after_fence_on_wire(stage: &Stage<'_>) -> Result<(), SetupError> {
    stage.each_seed(40, 2, |seed| {
        for mode in MODES {
            let mut dice = ChaCha8Rng::seed_from_u64(seed);
            let mut lab = stage.lab_seeded(&ClusterSpec::voters(3, mode), seed)?;
            lab.set_links(Link::BAD);
            let mut next = 1;
            for ballot in 1..=6 {
                lab.elect(0, ballot, next);
                for _ in 0..4 {
                    let count = dice.random_range(1..=8);
                    lab.propose(0, ballot, next..=next + count - 1);
                    next += count;
                    if dice.random_bool(0.5) {
                        lab.serve(1, ballot);
                    }
                    lab.advance(Duration::from_micros(dice.random_range(0..1_500)));
                }
                // Node 1 promises while frames and acknowledgements of the ballot are on their way.
                lab.raise(1, ballot + 1);
                lab.advance(Duration::from_micros(dice.random_range(0..3_000)));
                lab.check();
            }
        }
        Ok(())
    })
}

fn frozen_leader_comes_back(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.elect(0, 1, 1);
        lab.propose(0, 1, 1..=3);
        lab.until_all(0, 1, 3);
        lab.set_paused(0, true);
        lab.follow(2, 1, 2, 4);
        lab.lead(1, 2, 4);
        lab.propose(1, 2, 4..=6);
        lab.until("the new leader has its quorum", |lab| {
            lab.serve(2, 2);
            lab.quorum(1, 2) == 6
        });
        lab.set_paused(0, false);
        lab.propose(0, 1, 4..=6);
        lab.until("the old leader learns of its end", |lab| {
            lab.serve(2, 2);
            lab.quorum_of(0, 1).superseded_by == Some(Ballot(2))
        });
        lab.throughout(Duration::from_millis(60), "the old leader commits nothing", |lab| {
            lab.serve(2, 2);
            lab.quorum(0, 1) == 3
        });
        assert_eq!(lab.quorum(1, 2), 6);
        lab.check();
    }
    Ok(())
}

fn promise_supersedes(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.elect(0, 1, 1);
        lab.propose(0, 1, 1..=2);
        lab.until_all(0, 1, 2);
        lab.raise(1, 9);
        lab.raise(2, 8);
        lab.propose(0, 1, 3..=3);
        lab.until("the leader learns of the promise", |lab| {
            lab.quorum_of(0, 1).superseded_by == Some(Ballot(9))
        });
        let leader = lab.node(0);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let told = leader.poll_quorum(&mut cx, Ballot(1), Slot(2));
        assert!(told.ready_and(|told| told.is_ok()), "what was stored stays told");
        let ended = leader.poll_quorum(&mut cx, Ballot(1), Slot(3));
        let by = |error: &TransportError| {
            matches!(error, TransportError::Superseded { ballot: Ballot(1), by: Ballot(9) })
        };
        assert!(
            ended.ready_and(|ended| ended.as_ref().is_err_and(by)),
            "waiting for more ends with Superseded"
        );
        lab.check();
    }
    Ok(())
}

/// What a ready poll holds.
trait ReadyAnd<T> {
    fn ready_and(self, condition: impl FnOnce(T) -> bool) -> bool;
}

impl<T> ReadyAnd<T> for std::task::Poll<T> {
    fn ready_and(self, condition: impl FnOnce(T) -> bool) -> bool {
        match self {
            Self::Ready(value) => condition(value),
            Self::Pending => false,
        }
    }
}

fn leading_ends(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Persisted))?;
    lab.elect(0, 1, 1);
    lab.propose(0, 1, 1..=2);
    lab.raise(0, 2);
    lab.take_seen();
    let leader = lab.node(0);
    let ended = |result: Result<(), TransportError>| {
        assert!(
            matches!(result, Err(TransportError::NotLeading { ballot: Ballot(1) })),
            "{result:?}"
        );
    };
    ended(leader.quorum(Ballot(1)).map(drop));
    ended(leader.acked(Ballot(1)).map(drop));
    ended(leader.probe(Ballot(1)).map(drop));
    ended(leader.set_commit(Ballot(1), Slot(1)));
    ended(leader.resign(Ballot(1)));
    ended(leader.try_broadcast(Ballot(1), &[]).map(drop));
    lab.advance_ms(50);
    let sent = lab.take_seen();
    assert!(
        !sent.iter().any(|seen| seen.from == 0 && seen.header.kind == FrameKind::Accept),
        "an ended leadership retransmits: {sent:?}"
    );
    lab.check();
    Ok(())
}

fn ballots_only_rise(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Persisted))?;
    lab.elect(0, 5, 1);
    let node = lab.node(1);
    for offered in [0, 1, 4] {
        let refused = node.fence(Ballot(offered)).map(drop);
        let told = matches!(
            refused,
            Err(TransportError::BallotBackwards { offered: o, current: Ballot(5) }) if o.0 == offered
        );
        assert!(told, "fence({offered}) after fence(5): {refused:?}");
    }
    // None of it ended the following.
    lab.raise(1, 5);
    lab.propose(0, 5, 1..=3);
    lab.until_all(0, 5, 3);
    lab.check();
    Ok(())
}

fn tokens(stage: &Stage<'_>) -> Result<(), SetupError> {
    let spec = ClusterSpec {
        groups: vec![GroupId(1), GroupId(2)],
        ..ClusterSpec::voters(3, AckMode::Persisted)
    };
    let mut lab: Lab = stage.lab(&spec)?;
    let old = lab.fence(1, 3);
    let newest = lab.fence(1, 4);
    lab.group = GroupId(2);
    let foreign = lab.fence(1, 4);
    lab.group = GroupId(1);
    let node = lab.node(1);
    for token in [&old, &foreign] {
        for result in [node.lead(token, Slot(1)), node.follow(token, node_id(0), Slot(1))] {
            assert!(matches!(result, Err(TransportError::StaleToken { .. })), "{result:?}");
        }
    }
    let mut batch = LogBatch::default();
    node.try_poll_log(&mut batch)?;
    assert_eq!(batch.status().ballot, Ballot::NONE, "a refused token armed nothing");
    lab.ledger.follows((1, GroupId(1)), Ballot(4), Slot(1));
    node.follow(&newest, node_id(0), Slot(1))?;
    lab.check();
    Ok(())
}

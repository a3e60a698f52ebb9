//! Invariant 6: once a quorum has stored a slot, the leader learns it, whatever the network does.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use electrode_transport::wire::FrameKind;
use electrode_transport::{AckMode, Ballot, Counter, GroupId, QuorumRule, Slot};

use super::MODES;
use crate::case::Stage;
use crate::harness::{Link, SetupError};
use crate::lab::Bell;
use crate::spec::{ClusterSpec, Roster, node_id};

cases! { QuorumTold, "quorum-told";
    "lost-tail-is-sent-again", Lossy, [RECEIVED PERSISTED FAULTS], lost_tail,
        "What is in the window is retransmitted until acknowledged, with no later frame to reveal the loss.";
    "lost-acknowledgements", Lossy, [RECEIVED PERSISTED FAULTS], lost_acks,
        "A lost acknowledgement is asked for again.";
    "fast-path-resumes-after-a-gap", Lossy, [RECEIVED FAULTS], fast_path_resumes,
        "Once a gap is repaired, followers acknowledge by themselves as before.";
    "late-doubled-reordered", Quorum, [RECEIVED PERSISTED INJECT], late_doubled_reordered,
        "Acknowledgements count in whatever order and number they come.";
    "sleeping-leader-is-woken", Quorum, [RECEIVED PERSISTED], sleeping_leader,
        "A task that waits for a quorum is woken when it is there.";
    "another-group-hides-nothing", ManyGroups, [RECEIVED GROUPS PAUSE], another_group,
        "Whoever waits for one group's quorum is woken, also if a call on another group is the first to look.";
    "asking-again-loses-nothing", Quorum, [RECEIVED PERSISTED], asking_again,
        "The watermark is level-triggered: a dropped wait and a new one see the same.";
    "straggler-beyond-the-window", Lossy, [RECEIVED PERSISTED FAULTS], straggler,
        "A member behind the window shows in acked; brought up to date, its fast path resumes.";
    "broadcast-reaches-32-members", Core, [RECEIVED TAP], broadcast_reaches_32,
        "A broadcast goes to every other member, up to 32 of them.";
    "groups-of-1-to-7", Core, [RECEIVED PERSISTED], groups_of_1_to_7,
        "Groups of every usual size come to their quorum.";
    "quorum-rules", Quorum, [RECEIVED INJECT], quorum_rules,
        "Majority, all, and a chosen size are met by exactly as many voters.";
    "lost-probe", Lossy, [PERSISTED FAULTS], lost_probe,
        "A leadership probe is sent again until a quorum has answered.";
    "probe-through-a-reconfiguration", Quorum, [PERSISTED FAULTS], probe_reconfigured,
        "A probe under way is confirmed under the next membership too.";
    "window-keeps-what-lacks-a-quorum", Lossy, [RECEIVED PERSISTED FAULTS], window_keeps,
        "A full window is back-pressure; no frame without a quorum leaves it.";
    "idle-rejoiner", CrashRestart, [PERSISTED CRASH], idle_rejoiner,
        "A member that comes back behind is brought up to date from the window without a new broadcast.";
    "storm-of-partitions", Lossy, [RECEIVED PERSISTED FAULTS TAP], super::chaos::partitions,
        "Random partitions on a bad network: once it is whole, every quorum is told.";
}

fn lost_tail(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.elect(0, 1, 1);
        lab.propose(0, 1, 1..=3);
        lab.until_all(0, 1, 3);
        lab.set_link(0, 1, Link::CUT);
        lab.set_link(0, 2, Link::CUT);
        lab.propose(0, 1, 4..=8);
        lab.advance_ms(10);
        lab.set_links(Link::CLEAN);
        lab.until_all(0, 1, 8);
        lab.until_quorum(0, 1, 8);
        lab.check();
    }
    Ok(())
}

fn lost_acks(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.elect(0, 1, 1);
        lab.advance_ms(2);
        lab.set_link(1, 0, Link::CUT);
        lab.set_link(2, 0, Link::CUT);
        lab.propose(0, 1, 1..=5);
        lab.until("both followers have all", |lab| {
            lab.serve_all(0, 1);
            lab.held(1, 1) == 5 && lab.held(2, 1) == 5
        });
        lab.advance_ms(5);
        assert_eq!(lab.quorum(0, 1), 0);
        lab.set_links(Link::CLEAN);
        // Nothing more happens in the libraries: the transport repairs it alone.
        lab.until("the quorum is told", |lab| lab.quorum(0, 1) == 5);
        lab.check();
    }
    Ok(())
}

fn fast_path_resumes(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Received))?;
    lab.elect(0, 1, 1);
    lab.propose(0, 1, 1..=3);
    lab.until("both have acknowledged", |lab| lab.acked(0, 1, 1) == 3);
    lab.set_link(0, 1, Link::CUT);
    lab.propose(0, 1, 4..=6);
    lab.advance_ms(1);
    lab.set_link(0, 1, Link::CLEAN);
    lab.propose(0, 1, 7..=7);
    lab.until("the gap is repaired", |lab| lab.acked(0, 1, 1) == 7);
    let stored = lab.count(1, Counter::RxStored);
    let gaps = lab.count(1, Counter::RxGap);
    for slot in 8..=20 {
        lab.propose(0, 1, slot..=slot);
        lab.until("it acknowledges by itself", |lab| lab.acked(0, 1, 1) == slot);
    }
    assert_eq!(lab.count(1, Counter::RxStored), stored + 13, "each as it came");
    assert_eq!(lab.count(1, Counter::RxGap), gaps, "without another gap");
    lab.check();
    Ok(())
}

fn late_doubled_reordered(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.lead(0, 1, 1);
        lab.propose(0, 1, 1..=9);
        let mut best = 0;
        for (member, through) in [(1, 5), (1, 3), (2, 2), (1, 5), (2, 7), (1, 1), (2, 4), (1, 9)] {
            lab.say_accepted(member, 0, 1, through);
            best = best.max(through);
            lab.until("the highest is told", |lab| lab.quorum(0, 1) == best);
        }
        lab.check();
    }
    Ok(())
}

fn sleeping_leader(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.elect(0, 1, 1);
        for slot in 1..=10 {
            let leader = lab.node(0);
            let (bell, waker) = Bell::new();
            let mut cx = Context::from_waker(&waker);
            // Whoever is not yet stored anywhere cannot have its quorum: this wait is a real one.
            assert!(leader.poll_quorum(&mut cx, Ballot(1), Slot(slot)).is_pending());
            lab.propose(0, 1, slot..=slot);
            lab.until("the sleeper is woken", |lab| {
                lab.serve_all(0, 1);
                bell.rings() > 0
            });
            lab.until("and finds its quorum", |_| {
                matches!(leader.poll_quorum(&mut cx, Ballot(1), Slot(slot)), Poll::Ready(Ok(q)) if q.through >= Slot(slot))
            });
        }
        lab.check();
    }
    Ok(())
}

fn another_group(stage: &Stage<'_>) -> Result<(), SetupError> {
    let groups = vec![GroupId(1), GroupId(2)];
    let mut lab =
        stage.lab(&ClusterSpec { groups, ..ClusterSpec::voters(3, AckMode::Received) })?;
    for group in [GroupId(1), GroupId(2)] {
        lab.group = group;
        lab.elect(0, 1, 1);
    }
    for slot in 1..=5 {
        lab.group = GroupId(2);
        let leader = lab.node(0);
        let (bell, waker) = Bell::new();
        let mut cx = Context::from_waker(&waker);
        assert!(leader.poll_quorum(&mut cx, Ballot(1), Slot(slot)).is_pending());
        lab.propose(0, 1, slot..=slot);
        lab.set_paused(0, true);
        lab.advance_ms(20);
        lab.group = GroupId(1);
        assert_eq!(lab.poll(0), 0, "a leader accepts nothing");
        lab.set_paused(0, false);
        lab.until("the sleeper is woken", |_| bell.rings() > 0);
    }
    lab.group = GroupId(2);
    lab.until_quorum(0, 1, 5);
    lab.check();
    Ok(())
}

fn asking_again(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.elect(0, 1, 1);
        let leader = lab.node(0);
        let mut cx = Context::from_waker(Waker::noop());
        let abandoned = leader.await_quorum(Ballot(1), Slot(3));
        let mut abandoned = Box::pin(abandoned);
        assert!(abandoned.as_mut().poll(&mut cx).is_pending());
        drop(abandoned);
        lab.propose(0, 1, 1..=3);
        lab.until_quorum(0, 1, 3);
        for _ in 0..3 {
            assert_eq!(lab.quorum(0, 1), 3, "asked again and again");
            let told = Box::pin(leader.await_quorum(Ballot(1), Slot(2))).as_mut().poll(&mut cx);
            assert!(matches!(told, Poll::Ready(Ok(quorum)) if quorum.through == Slot(3)));
        }
        lab.check();
    }
    Ok(())
}

fn straggler(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let spec = ClusterSpec { window_frames: 8, ..ClusterSpec::voters(3, mode) };
        let mut lab = stage.lab(&spec)?;
        lab.elect(0, 1, 1);
        lab.advance_ms(2);
        lab.partition(&[2]);
        for slot in 1..=40 {
            lab.propose(0, 1, slot..=slot);
            lab.until("the two others are a quorum", |lab| {
                lab.serve(1, 1);
                lab.quorum(0, 1) == slot
            });
        }
        assert_eq!(lab.acked(0, 1, 2), 0);
        let behind = lab.node(0).acked(Ballot(1))?.behind();
        assert!(behind.iter().any(|progress| progress.member == node_id(2)), "{behind:?}");
        lab.set_links(Link::CLEAN);
        lab.propose(0, 1, 41..=42);
        lab.advance_ms(20);
        assert_eq!(lab.acked(0, 1, 2), 0, "the window cannot help any more");
        // The library has shipped it the log through slot 40.
        lab.acknowledge(2, 1, 40);
        lab.until_all(0, 1, 42);
        lab.propose(0, 1, 43..=43);
        lab.until_all(0, 1, 43);
        lab.check();
    }
    Ok(())
}

fn broadcast_reaches_32(stage: &Stage<'_>) -> Result<(), SetupError> {
    for count in [8, 9, 16, 17, 32] {
        // Retransmission would hide a broadcast that skips somebody: it stays far away.
        let spec = ClusterSpec {
            retransmit_min: Duration::from_secs(2),
            retransmit_max: Duration::from_secs(4),
            ..ClusterSpec::voters(count, AckMode::Received)
        };
        let mut lab = stage.lab(&spec)?;
        lab.elect(0, 1, 1);
        lab.advance_ms(2);
        lab.take_seen();
        lab.broadcast(0, 1, 1..=1)?;
        let mut to: Vec<_> = Vec::new();
        lab.until("the frame has left for everybody", |lab| {
            let seen = lab.take_seen();
            let accepts = seen.iter().filter(|seen| seen.header.kind == FrameKind::Accept);
            to.extend(accepts.filter_map(|seen| seen.to));
            to.len() + 1 >= count
        });
        to.sort_unstable();
        to.dedup();
        assert_eq!(to, (1..count).collect::<Vec<_>>(), "to each of the others");
        assert_eq!(lab.count(0, Counter::TxRetransmits), 0, "by the broadcast itself");
        lab.until("everybody has it", |lab| (1..count).all(|node| lab.acked(0, 1, node) == 1));
        lab.check();
    }
    Ok(())
}

fn groups_of_1_to_7(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        for count in [1, 2, 3, 5, 7] {
            let mut lab = stage.lab(&ClusterSpec::voters(count, mode))?;
            lab.elect(0, 1, 1);
            lab.propose(0, 1, 1..=10);
            lab.until_quorum(0, 1, 10);
            lab.until_all(0, 1, 10);
            let probe = lab.probe(0, 1);
            lab.until("the leadership is confirmed", |lab| lab.confirmed(0, probe));
            lab.check();
        }
    }
    Ok(())
}

fn quorum_rules(stage: &Stage<'_>) -> Result<(), SetupError> {
    let rules = [
        (QuorumRule::Majority, 3),
        (QuorumRule::All, 5),
        (QuorumRule::Size(2), 2),
        (QuorumRule::Size(4), 4),
        (QuorumRule::Size(1), 1),
    ];
    for (rule, needed) in rules {
        let roster = Roster { rule, ..Roster::voters(5) };
        let spec = ClusterSpec { roster, ..ClusterSpec::voters(5, AckMode::Received) };
        let mut lab = stage.lab(&spec)?;
        lab.lead(0, 1, 1);
        lab.propose(0, 1, 1..=1);
        for votes in 1..=5 {
            let there = u64::from(votes >= needed);
            lab.until("the votes are counted", |lab| {
                (1..votes).all(|node| lab.acked(0, 1, node) == 1)
            });
            assert_eq!(lab.quorum(0, 1), there, "{votes} of 5 under {rule:?}");
            if votes < 5 {
                lab.say_accepted(votes, 0, 1, 1);
            }
        }
        lab.check();
    }
    Ok(())
}

fn lost_probe(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Persisted))?;
    lab.elect(0, 1, 1);
    lab.advance_ms(2);
    for (from, to) in [(0, 1), (1, 0)] {
        lab.set_links(Link::CUT);
        let probe = lab.probe(0, 1);
        lab.advance_ms(3);
        // Only one follower, and one direction at a time, comes back.
        lab.set_link(from, to, Link::CLEAN);
        lab.advance_ms(20);
        assert!(!lab.confirmed(0, probe), "half a link answers nothing");
        lab.set_link(to, from, Link::CLEAN);
        lab.until("the probe is confirmed after all", |lab| lab.confirmed(0, probe));
    }
    lab.check();
    Ok(())
}

fn probe_reconfigured(stage: &Stage<'_>) -> Result<(), SetupError> {
    for count in [2, 3] {
        let mut lab = stage.lab(&ClusterSpec::voters(count, AckMode::Persisted))?;
        lab.elect(0, 1, 1);
        lab.advance_ms(2);
        lab.set_links(Link::CUT);
        let probe = lab.probe(0, 1);
        lab.advance_ms(2);
        let roster = lab.roster(0);
        let next = roster.next(&roster.voters);
        for node in 0..count {
            lab.reconfigure(node, &next);
        }
        // Of three, one stays away: the leader's own voice must still count.
        lab.set_link(0, 1, Link::CLEAN);
        lab.set_link(1, 0, Link::CLEAN);
        lab.until("the probe is confirmed", |lab| lab.confirmed(0, probe));
        lab.check();
    }
    Ok(())
}

fn window_keeps(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let spec = ClusterSpec { window_frames: 4, ..ClusterSpec::voters(3, mode) };
        let mut lab = stage.lab(&spec)?;
        lab.elect(0, 1, 1);
        lab.advance_ms(2);
        lab.set_links(Link::CUT);
        assert_eq!(lab.broadcast(0, 1, 1..=6)?, Slot(4), "four fit");
        let full = lab.broadcast(0, 1, 5..=6);
        assert!(matches!(full, Err(electrode_transport::TransportError::Backpressure)), "{full:?}");
        assert!(lab.count(0, Counter::TxBackpressure) > 0, "it is counted");
        lab.advance_ms(20);
        lab.set_links(Link::CLEAN);
        if mode == AckMode::Persisted {
            lab.acknowledge(0, 1, 4);
        }
        lab.until_quorum(0, 1, 4);
        assert_eq!(lab.broadcast(0, 1, 5..=6)?, Slot(6), "a quorum makes room");
        lab.until_all(0, 1, 6);
        lab.check();
    }
    Ok(())
}

fn idle_rejoiner(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Persisted))?;
    lab.elect(0, 1, 1);
    lab.propose(0, 1, 1..=6);
    // Node 2 stores through 4 and is handed the rest, which dies with it.
    lab.until("node 2 was handed all", |lab| {
        lab.poll(2);
        lab.held(2, 1) == 6
    });
    lab.acknowledge(2, 1, 4);
    lab.until("node 2 counts through 4", |lab| lab.acked(0, 1, 2) == 4);
    lab.until_quorum_with(1, 6);
    lab.crash(2);
    lab.advance_ms(20);
    lab.restart(2);
    lab.follow(2, 0, 1, 5);
    lab.until_all(0, 1, 6);
    lab.check();
    Ok(())
}

impl crate::lab::Lab {
    /// Waits for a quorum through `slot` with only this follower serving.
    fn until_quorum_with(&mut self, follower: usize, slot: u64) {
        self.until("the quorum is there", |lab| {
            lab.serve(follower, 1);
            lab.quorum(0, 1) == slot
        });
    }
}

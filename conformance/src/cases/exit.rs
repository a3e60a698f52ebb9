//! Invariant 12: closing or crashing leaves no acker behind.

use std::task::{Context, Poll};

use electrode_transport::wire::FrameKind;
use electrode_transport::{
    AckMode, Ballot, ConfigError, Counter, Frame, LogBatch, Slot, TransportError,
};

use super::MODES;
use crate::case::Stage;
use crate::harness::{Link, SetupError};
use crate::lab::Bell;
use crate::spec::{ClusterSpec, node_id};

cases! { CleanExit, "clean-exit";
    "closed-follower-is-silent", FastAck, [RECEIVED PERSISTED TAP], closed_follower,
        "A closed group acknowledges, answers and stores nothing any more.";
    "closed-leader-is-silent", Core, [RECEIVED PERSISTED TAP FAULTS], closed_leader,
        "A closed leader sends and retransmits nothing any more.";
    "waiters-end-with-closed", Core, [PERSISTED FAULTS], waiters_end,
        "Closing wakes every waiting call, and each ends with Closed; closing twice is no error.";
    "reopened-group-starts-anew", Core, [RECEIVED INJECT], reopened,
        "A group opened again follows nothing and remembers nothing; handles on the old one stay closed.";
    "crashed-followers-are-silent", CrashRestart, [RECEIVED PERSISTED CRASH], crashed_followers,
        "With the followers' processes killed nothing more is committed.";
    "restarted-follower-answers-nothing-old", CrashRestart, [RECEIVED TAP CRASH INJECT], restarted_follower,
        "A member that comes back answers for nothing that its former life held.";
    "storm-of-crashes", CrashRestart, [RECEIVED PERSISTED FAULTS TAP CRASH], super::chaos::crashes,
        "Random crashes and restarts: no life answers for another.";
}

fn closed_follower(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.elect(0, 1, 1);
        lab.propose(0, 1, 1..=2);
        lab.until_all(0, 1, 2);
        let closed = lab.node(1);
        closed.close();
        lab.advance_ms(1);
        lab.take_seen();
        lab.propose(0, 1, 3..=5);
        let probe = lab.probe(0, 1);
        lab.until("the other follower serves", |lab| {
            lab.serve(2, 1);
            lab.acked(0, 1, 2) == 5 && lab.confirmed(0, probe)
        });
        lab.until("the closed one was asked again", |lab| {
            closed.stats().count(Counter::RxUnknownGroup) > 4 || lab.now().as_secs() > 5
        });
        let seen = lab.take_seen();
        assert!(!seen.iter().any(|seen| seen.from == 1), "a closed group speaks: {seen:?}");
        assert_eq!(lab.acked(0, 1, 1), 2);
    }
    Ok(())
}

fn closed_leader(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.elect(0, 1, 1);
        lab.advance_ms(2);
        lab.set_link(0, 1, Link::CUT);
        lab.propose(0, 1, 1..=3);
        lab.node(0).close();
        lab.advance_ms(1);
        lab.take_seen();
        lab.advance_ms(60);
        let seen = lab.take_seen();
        assert!(!seen.iter().any(|seen| seen.from == 0), "a closed leader speaks: {seen:?}");
    }
    Ok(())
}

fn waiters_end(stage: &Stage<'_>) -> Result<(), SetupError> {
    let spec = ClusterSpec { window_frames: 1, ..ClusterSpec::voters(3, AckMode::Persisted) };
    let mut lab = stage.lab(&spec)?;
    lab.elect(0, 1, 1);
    lab.set_links(Link::CUT);
    lab.broadcast(0, 1, 1..=1)?;
    let probe = lab.probe(0, 1);
    let leader = lab.node(0);
    let mut batch = LogBatch::default();
    let mut body = Vec::new();
    let frames = [Frame::single(Slot(2), b"no room")];
    let bells: Vec<_> = (0..5).map(|_| Bell::new()).collect();
    let mut poll_all = |closed: bool| {
        let mut cx: Vec<_> = bells.iter().map(|(_, waker)| Context::from_waker(waker)).collect();
        let results = [
            leader.poll_broadcast(&mut cx[0], Ballot(1), &frames).map_ok(drop),
            leader.poll_quorum(&mut cx[1], Ballot(1), Slot(1)).map_ok(drop),
            leader.poll_confirmed(&mut cx[2], probe),
            leader.poll_log_ready(&mut cx[3], &mut batch).map_ok(drop),
            leader.poll_recv(&mut cx[4], &mut body).map_ok(drop),
        ];
        for (index, result) in results.into_iter().enumerate() {
            match (closed, result) {
                (false, Poll::Pending) | (true, Poll::Ready(Err(TransportError::Closed))) => {}
                (_, other) => panic!("waiting call {index}, closed {closed}: {other:?}"),
            }
        }
    };
    poll_all(false);
    leader.close();
    lab.until("every waiter is woken", |_| bells.iter().all(|(bell, _)| bell.rings() > 0));
    poll_all(true);
    leader.close();
    let closed = |result: Result<(), TransportError>| {
        assert!(matches!(result, Err(TransportError::Closed)), "{result:?}");
    };
    closed(leader.fence(Ballot(9)).map(drop));
    closed(leader.membership().map(drop));
    closed(leader.try_send(node_id(1), b"x"));
    closed(leader.acknowledge(Ballot(1), Slot(1)));
    closed(leader.reconfigure(lab.membership(0, &lab.roster(0).next(&[0, 1, 2]))));
    Ok(())
}

fn reopened(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Received))?;
    lab.follow(1, 0, 1, 1);
    lab.say_accept(0, 1, 1, 1);
    lab.until("slot 1 is stored", |lab| lab.count(1, Counter::RxStored) == 1);
    let roster = lab.roster(1);
    let (group, old) = (lab.group, lab.node(1));
    let twice = lab.open(1, group, &roster).map(drop);
    assert!(
        matches!(twice, Err(TransportError::Config(ConfigError::GroupOpen { group: g })) if g == group),
        "an open group is not opened again: {twice:?}"
    );
    old.close();
    lab.open(1, group, &roster)?;
    lab.look();
    lab.ledger.forget(1);
    let mut batch = LogBatch::default();
    assert_eq!(lab.node(1).try_poll_log(&mut batch)?, 0, "nothing is left over");
    assert_eq!(batch.status().ballot, Ballot::NONE, "it follows nothing");
    lab.take_seen();
    let unarmed = lab.count(1, Counter::RxUnarmed);
    lab.say_accept(0, 1, 1, 2);
    lab.until("a frame finds nobody", |lab| lab.count(1, Counter::RxUnarmed) == unarmed + 1);
    assert!(lab.take_seen().iter().all(|seen| seen.from != 1));
    let stale = old.try_poll_log(&mut batch);
    assert!(matches!(stale, Err(TransportError::Closed)), "{stale:?}");
    lab.follow(1, 0, 2, 5);
    lab.say_accept(0, 1, 2, 5);
    lab.until("it follows anew", |lab| lab.poll(1) == 1);
    lab.check();
    Ok(())
}

fn crashed_followers(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.elect(0, 1, 1);
        lab.propose(0, 1, 1..=4);
        lab.until_all(0, 1, 4);
        lab.crash(1);
        lab.crash(2);
        lab.propose(0, 1, 5..=8);
        lab.advance_ms(60);
        assert_eq!(lab.quorum(0, 1), 4, "dead processes acknowledge nothing");
        lab.restart(1);
        lab.follow(1, 0, 1, 5);
        lab.until_quorum(0, 1, 8);
        lab.check();
    }
    Ok(())
}

fn restarted_follower(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Received))?;
    lab.follow(1, 0, 1, 1);
    for slot in 1..=3 {
        lab.say_accept(0, 1, 1, slot);
    }
    lab.until("three are stored", |lab| lab.count(1, Counter::RxStored) == 3);
    lab.crash(1);
    lab.restart(1);
    lab.take_seen();
    lab.say_accept(0, 1, 1, 2);
    lab.say_accept(0, 1, 1, 4);
    let probe = lab.header(FrameKind::Probe, 0, 1, [1, 0, 0]);
    lab.say(0, 1, probe, &[]);
    lab.until("none finds a follower", |lab| lab.count(1, Counter::RxUnarmed) == 3);
    lab.advance_ms(1);
    let seen = lab.take_seen();
    assert!(!seen.iter().any(|seen| seen.from == 1), "a new life answers for the old: {seen:?}");
    lab.check();
    Ok(())
}

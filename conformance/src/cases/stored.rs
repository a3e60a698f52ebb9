//! Invariant 1: no acknowledgement leaves unless exactly those bytes sit in the log.

use electrode_transport::wire::FrameKind;
use electrode_transport::{AckMode, Counter, Frame, LogBatch, Slot};

use super::MODES;
use crate::case::Stage;
use crate::harness::SetupError;
use crate::lab::Lab;
use crate::spec::ClusterSpec;

cases! { StoredBeforeAcked, "stored-before-acked";
    "claims-match-the-log", Core, [RECEIVED PERSISTED TAP], claims_match_the_log,
        "Every acknowledgement on the wire is for entries that the log yields, to the byte.";
    "full-log-acknowledges-nothing", FastAck, [RECEIVED TAP INJECT], full_log_received,
        "A full log means no acknowledgement, ever, on any retransmission.";
    "full-log-stores-nothing", AckModes, [PERSISTED TAP INJECT], full_log_persisted,
        "In Persisted mode too a full log expects the entry that it could not take.";
    "full-log-under-load", FastAck, [RECEIVED PERSISTED TAP], full_log_under_load,
        "A slow library is back-pressure for the leader and loses nothing.";
    "own-vote-waits-for-storage", AckModes, [PERSISTED], own_vote_waits_for_storage,
        "In Persisted mode the leader's own vote counts on its own acknowledge.";
    "own-vote-at-once-when-received", AckModes, [RECEIVED], own_vote_at_once,
        "In Received mode the leader's own vote counts at once, and followers need no library.";
    "persisted-waits-for-the-library", AckModes, [PERSISTED TAP], persisted_waits,
        "In Persisted mode nothing is acknowledged before the library says so.";
    "bodies-to-the-byte", Core, [RECEIVED PERSISTED], bodies_to_the_byte,
        "Exactly the broadcast bytes are stored, from empty bodies to the largest.";
    "storm-of-small-logs", Lossy, [RECEIVED PERSISTED FAULTS TAP], super::chaos::small_logs,
        "Random histories with logs that run full: no claim ever exceeds the log.";
}

fn claims_match_the_log(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.elect(0, 1, 1);
        lab.propose(0, 1, 1..=20);
        lab.until_quorum(0, 1, 20);
        lab.propose(0, 1, 21..=21);
        lab.until_all(0, 1, 21);
        lab.check();
    }
    Ok(())
}

/// A log that takes one frame of this many bytes and not a second.
const BIG: usize = 1_000;

fn small_log(mode: AckMode) -> ClusterSpec {
    let spec = ClusterSpec::voters(3, mode);
    ClusterSpec { log_bytes: spec.body_len_max(), ..spec }
}

/// The case plays leader 0 at ballot 1 towards node 1: a big frame.
fn say_big(lab: &mut Lab, slot: u64) {
    let body = vec![slot as u8; BIG];
    let frame = (Slot(slot), Slot(slot), body.as_slice());
    lab.ledger.offers(lab.group, 1.into(), frame);
    let header = lab.header(FrameKind::Accept, 0, 1, [slot, slot, 0]);
    lab.say(0, 1, header, &body);
}

fn full_log_received(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&small_log(AckMode::Received))?;
    lab.follow(1, 0, 1, 1);
    say_big(&mut lab, 1);
    lab.until("slot 1 is stored", |lab| lab.count(1, Counter::RxStored) == 1);
    lab.take_seen();
    for attempt in 1..=4 {
        let before = lab.node(1).stats().received();
        say_big(&mut lab, 2);
        lab.until("it arrives", |lab| lab.node(1).stats().received() > before);
        let full = lab.count(1, Counter::RxLogFull);
        let replies = lab.take_seen();
        assert!(!replies.iter().any(|seen| seen.from == 1), "a full log answered: {replies:?}");
        assert_eq!(full, attempt, "the full log is counted");
    }
    let replies = lab.take_seen();
    assert!(replies.iter().all(|seen| seen.from != 1), "a full log answered: {replies:?}");
    assert_eq!(lab.poll(1), 1, "only slot 1 was stored");
    say_big(&mut lab, 2);
    lab.until("slot 2 is stored", |lab| lab.poll(1) == 1);
    let last =
        lab.take_seen().iter().filter(|seen| seen.from == 1).map(|seen| seen.header.last).max();
    assert_eq!(last, Some(Slot(2)), "once there is room the retransmission is acknowledged");
    lab.check();
    Ok(())
}

fn full_log_persisted(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&small_log(AckMode::Persisted))?;
    lab.follow(1, 0, 1, 1);
    say_big(&mut lab, 1);
    lab.until("slot 1 is stored", |lab| lab.count(1, Counter::RxStored) == 1);
    for attempt in 1..=3 {
        say_big(&mut lab, 2);
        lab.until("the full log is counted", |lab| lab.count(1, Counter::RxLogFull) == attempt);
    }
    lab.take_seen();
    let probe = lab.header(FrameKind::Probe, 0, 1, [0, 0, 0]);
    lab.say(0, 1, probe, &[]);
    let mut next = None;
    lab.until("the probe is answered", |lab| {
        next = lab.take_seen().iter().find(|seen| seen.from == 1).map(|seen| seen.header.commit);
        next.is_some()
    });
    assert_eq!(next, Some(Slot(2)), "the entry that found no room is expected still");
    lab.check();
    Ok(())
}

fn full_log_under_load(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&small_log(mode))?;
        lab.elect(0, 1, 1);
        let body = vec![7; 600];
        let frames: Vec<_> = (1..=24).map(|slot| Frame::single(Slot(slot), &body)).collect();
        assert_eq!(lab.broadcast_frames(0, 1, &frames)?, frames.len());
        if mode == AckMode::Persisted {
            lab.acknowledge(0, 1, 24);
        }
        // Nobody polls: the logs fill up, and retransmissions find them full.
        lab.until("both logs are full", |lab| {
            (1..=2).all(|node| lab.count(node, Counter::RxLogFull) > 2)
        });
        assert!(lab.quorum(0, 1) <= 2, "what fits a log of two frames");
        lab.until_all(0, 1, 24);
        lab.check();
    }
    Ok(())
}

fn own_vote_waits_for_storage(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Persisted))?;
    lab.elect(0, 1, 1);
    lab.broadcast(0, 1, 1..=3)?;
    lab.until("one follower has acknowledged", |lab| {
        lab.serve(1, 1);
        lab.acked(0, 1, 1) == 3
    });
    assert_eq!(lab.quorum(0, 1), 0, "one follower and an unstored own copy are no quorum");
    lab.acknowledge(0, 1, 2);
    assert_eq!(lab.quorum(0, 1), 2, "the leader's word makes the quorum, as far as it goes");
    lab.check();
    Ok(())
}

fn own_vote_at_once(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(1, AckMode::Received))?;
    lab.lead(0, 1, 1);
    lab.broadcast(0, 1, 1..=3)?;
    assert_eq!(lab.quorum(0, 1), 3, "a group of one is a quorum by itself");

    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Received))?;
    lab.elect(0, 1, 1);
    lab.broadcast(0, 1, 1..=3)?;
    lab.until("the followers have acknowledged by themselves", |lab| lab.quorum(0, 1) == 3);
    lab.check();
    Ok(())
}

fn persisted_waits(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Persisted))?;
    lab.elect(0, 1, 1);
    lab.propose(0, 1, 1..=4);
    lab.until("a follower has been handed everything", |lab| {
        lab.poll(1);
        lab.held(1, 1) == 4
    });
    // The leader asks again and again, and no answer must claim anything.
    lab.until("the leader has asked again", |lab| {
        lab.count(1, Counter::RxDuplicate) + lab.count(1, Counter::RxProbe) > 3
    });
    assert_eq!(lab.acked(0, 1, 1), 0, "polled is not persisted");
    assert_eq!(lab.quorum(0, 1), 0);
    lab.acknowledge(1, 1, 3);
    lab.until("the library's word arrives", |lab| lab.acked(0, 1, 1) == 3);
    assert_eq!(lab.quorum(0, 1), 3);
    lab.check();
    Ok(())
}

fn bodies_to_the_byte(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let spec = ClusterSpec::voters(3, mode);
        let mut lab = stage.lab(&spec)?;
        lab.elect(0, 1, 1);
        let lengths = [0, 1, 7, 8, 9, 255, 256, spec.body_len_max() - 1, spec.body_len_max()];
        let bodies: Vec<Vec<u8>> =
            lengths.iter().map(|&len| (0..len).map(|at| (at * 31 + len) as u8).collect()).collect();
        let frames: Vec<_> =
            (1..).map(Slot).zip(&bodies).map(|(s, b)| Frame::single(s, b)).collect();
        assert_eq!(lab.broadcast_frames(0, 1, &frames)?, frames.len());
        let mut got = Vec::new();
        let mut batch = LogBatch::default();
        lab.until("a follower was handed every body", |lab| {
            lab.node(1).try_poll_log(&mut batch).expect("the group is open");
            for entry in batch.iter() {
                lab.ledger.yielded((1, lab.group), &entry);
                got.push(entry.body.to_vec());
            }
            got.len() == bodies.len()
        });
        assert_eq!(got, bodies, "every body arrives to the byte");
        lab.check();
    }
    Ok(())
}

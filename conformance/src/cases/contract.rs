//! What the documentation of the methods says beside the invariants: errors, limits, statuses.

use std::time::Duration;

use electrode_transport::{
    AckMode, Ballot, ConfigError, Counter, Frame, GroupId, LogBatch, Slot, TransportError,
};

use super::MODES;
use crate::case::Stage;
use crate::harness::SetupError;
use crate::spec::{ClusterSpec, node_id};

cases! { Contract, "contract";
    "not-leading", Core, [], not_leading,
        "Calls that need a leadership name its ballot and fail without it.";
    "too-large", Core, [], too_large,
        "A body over the limit is TooLarge with the limit; frames before it are taken.";
    "unknown-members", Core, [], unknown_members,
        "A member that the membership does not list, and this node itself, are refused by name.";
    "bases-out-of-range", Core, [], bases,
        "Slot zero and slots past the end are no base to lead or follow from.";
    "acknowledge-refusals", AckModes, [PERSISTED], acknowledge_refusals,
        "An acknowledgement past what was broadcast, or inside a waiting frame, is refused.";
    "reconfigure-refusals", Quorum, [], reconfigure_refusals,
        "A membership that is not newer, or lacks this node, is refused and changes nothing.";
    "resigning", Fence, [TAP], resigning,
        "Resigning drops the window and keeps the fence.";
    "commit-travels", Core, [RECEIVED PERSISTED], commit_travels,
        "Followers learn the commit slot from frames and from probes; it never falls.";
    "leader-last-heard", Core, [PERSISTED PAUSE], last_heard,
        "The status tells how long ago the followed leader was heard: election time-outs live on it.";
    "higher-ballot-is-shown", Fence, [RECEIVED INJECT], higher_ballot,
        "A frame of a higher ballot is refused and shown to the library.";
    "capabilities", Core, [], capabilities,
        "The capabilities are those of the configuration.";
    "inbox-is-bounded", Core, [], inbox_bounded,
        "Messages beyond the inbox are dropped and counted.";
    "window-bytes", Core, [PERSISTED], window_bytes,
        "The window is bounded in bytes as in frames, and says so.";
}

fn not_leading(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Persisted))?;
    lab.elect(0, 4, 1);
    for (node, ballot) in [(1, 4), (0, 3), (0, 5)] {
        let node = lab.node(node);
        let ballot = Ballot(ballot);
        let refused = |result: Result<(), TransportError>| {
            let told =
                matches!(result, Err(TransportError::NotLeading { ballot: b }) if b == ballot);
            assert!(told, "{result:?} at ballot {ballot}");
        };
        refused(node.try_broadcast(ballot, &[Frame::single(Slot(1), b"x")]).map(drop));
        refused(node.quorum(ballot).map(drop));
        refused(node.acked(ballot).map(drop));
        refused(node.set_commit(ballot, Slot(1)));
        refused(node.probe(ballot).map(drop));
        refused(node.resign(ballot));
    }
    lab.check();
    Ok(())
}

fn too_large(stage: &Stage<'_>) -> Result<(), SetupError> {
    let spec = ClusterSpec::voters(3, AckMode::Persisted);
    let limit = spec.body_len_max();
    let mut lab = stage.lab(&spec)?;
    lab.elect(0, 1, 1);
    assert_eq!(lab.node(0).capabilities().body_len_max, limit);
    let (fits, over) = (vec![1; limit], vec![2; limit + 1]);
    let told = |error: TransportError| {
        let right = matches!(error, TransportError::TooLarge { len, max } if len == limit + 1 && max == limit);
        assert!(right, "{error:?}");
    };
    let frames = [Frame::single(Slot(1), &fits), Frame::single(Slot(2), &over)];
    assert_eq!(lab.broadcast_frames(0, 1, &frames)?, 1, "what comes before is taken");
    told(lab.node(0).try_broadcast(Ballot(1), &frames[1..]).expect_err("it does not fit"));
    told(lab.node(0).try_send(node_id(1), &over).expect_err("nor as a message"));
    lab.node(0).try_send(node_id(1), &fits)?;
    lab.until_all(0, 1, 1);
    lab.check();
    Ok(())
}

fn unknown_members(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Persisted))?;
    let token = lab.fence(1, 1);
    let node = lab.node(1);
    for result in [node.follow(&token, node_id(77), Slot(1)), node.try_send(node_id(77), b"x")] {
        let told = matches!(
            result,
            Err(TransportError::Config(ConfigError::UnknownMember { member })) if member == node_id(77)
        );
        assert!(told, "{result:?}");
    }
    let own = node.try_send(node_id(1), b"x");
    assert!(
        matches!(own, Err(TransportError::SendToSelf { member }) if member == node_id(1)),
        "{own:?}"
    );
    let own = node.follow(&token, node_id(1), Slot(1));
    assert!(matches!(own, Err(TransportError::LeaderConflict { .. })), "{own:?}");
    lab.check();
    Ok(())
}

fn bases(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Persisted))?;
    let token = lab.fence(1, 1);
    let node = lab.node(1);
    for slot in [Slot::ZERO, Slot(u64::MAX)] {
        for result in [node.lead(&token, slot), node.follow(&token, node_id(0), slot)] {
            let told = matches!(result, Err(TransportError::SlotOutOfOrder { offered, .. }) if offered == slot);
            assert!(told, "{result:?}");
        }
    }
    lab.ledger.leads((1, lab.group), Ballot(1), Slot(1));
    node.lead(&token, Slot(1))?;
    lab.check();
    Ok(())
}

fn acknowledge_refusals(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Persisted))?;
    lab.elect(0, 1, 1);
    let token = lab.fence(2, 1);
    let run = Frame { first: Slot(1), last: Slot(10), body: b"run" };
    assert_eq!(lab.broadcast_frames(0, 1, &[run])?, 1);
    let past = lab.node(0).acknowledge(Ballot(1), Slot(11));
    let told = matches!(
        past,
        Err(TransportError::SlotOutOfOrder { offered: Slot(11), expected: Slot(10) })
    );
    assert!(told, "{past:?}");
    lab.until("the run waits in the log", |lab| lab.count(1, Counter::RxStored) == 1);
    let inside = lab.node(1).acknowledge(Ballot(1), Slot(4));
    let told =
        matches!(inside, Err(TransportError::InsideFrame { through: Slot(4), last: Slot(10) }));
    assert!(told, "{inside:?}");
    lab.until("the run waits at node 2", |lab| lab.count(2, Counter::RxStored) == 1);
    let inside = lab.node(2).follow(&token, node_id(0), Slot(5));
    assert!(matches!(inside, Err(TransportError::InsideFrame { .. })), "{inside:?}");
    assert_eq!(lab.acked(0, 1, 1), 0, "a refused word is no vote");
    lab.until_all(0, 1, 10);
    lab.check();
    Ok(())
}

fn reconfigure_refusals(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Persisted))?;
    lab.elect(0, 1, 1);
    let roster = lab.roster(0);
    let same = lab.node(0).reconfigure(lab.membership(0, &roster));
    assert!(
        matches!(same, Err(TransportError::Config(ConfigError::IncarnationBackwards { .. }))),
        "{same:?}"
    );
    let without = lab.node(0).reconfigure(lab.membership(0, &roster.next(&[1, 2])));
    let told = matches!(
        without,
        Err(TransportError::Config(ConfigError::UnknownMember { member })) if member == node_id(0)
    );
    assert!(told, "{without:?}");
    assert_eq!(lab.node(0).membership()?.incarnation(), roster.incarnation);
    lab.propose(0, 1, 1..=3);
    lab.until_all(0, 1, 3);
    lab.check();
    Ok(())
}

fn resigning(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Persisted))?;
    lab.elect(0, 2, 1);
    lab.propose(0, 2, 1..=3);
    lab.node(0).resign(Ballot(2))?;
    lab.advance_ms(1);
    lab.take_seen();
    lab.advance_ms(50);
    let seen = lab.take_seen();
    assert!(!seen.iter().any(|seen| seen.from == 0), "it retransmits after resigning: {seen:?}");
    let backwards = lab.node(0).fence(Ballot(1)).map(drop);
    assert!(matches!(backwards, Err(TransportError::BallotBackwards { .. })), "{backwards:?}");
    lab.elect(0, 3, 4);
    lab.propose(0, 3, 4..=5);
    lab.until_all(0, 3, 5);
    lab.check();
    Ok(())
}

fn commit_travels(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.elect(0, 1, 1);
        lab.propose(0, 1, 1..=4);
        lab.until_all(0, 1, 4);
        let mut batch = LogBatch::default();
        let mut commit = |lab: &crate::lab::Lab| {
            lab.node(1).try_poll_log(&mut batch).expect("the group is open");
            batch.status().commit
        };
        lab.node(0).set_commit(Ballot(1), Slot(4))?;
        lab.probe(0, 1);
        lab.until("a probe carries it", |lab| commit(lab) == Slot(4));
        lab.node(0).set_commit(Ballot(1), Slot(2))?;
        lab.probe(0, 1);
        lab.advance_ms(5);
        assert_eq!(commit(&lab), Slot(4), "it never falls");
        lab.node(0).set_commit(Ballot(1), Slot(5))?;
        lab.propose(0, 1, 5..=5);
        lab.until("a frame carries it", |lab| {
            lab.serve(1, 1);
            commit(lab) == Slot(5)
        });
        lab.check();
    }
    Ok(())
}

fn last_heard(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Persisted))?;
    let mut batch = LogBatch::default();
    let mut heard = |lab: &crate::lab::Lab| {
        lab.node(1).try_poll_log(&mut batch).expect("the group is open");
        batch.status().heard_ago
    };
    assert_eq!(heard(&lab), None, "nothing is followed");
    lab.elect(0, 1, 1);
    lab.propose(0, 1, 1..=1);
    lab.until_all(0, 1, 1);
    lab.set_paused(0, true);
    let silence = Duration::from_millis(60);
    lab.advance(silence);
    assert!(heard(&lab) >= Some(silence), "the leader has been silent: {:?}", heard(&lab));
    lab.set_paused(0, false);
    lab.probe(0, 1);
    lab.until("a probe is a heartbeat", |lab| heard(lab) < Some(silence));
    lab.check();
    Ok(())
}

fn higher_ballot(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Received))?;
    lab.follow(1, 0, 2, 1);
    let mut batch = LogBatch::default();
    for (ballot, shown) in [(7, 7), (5, 7), (9, 9)] {
        let before = lab.count(1, Counter::RxUnarmed);
        lab.say_accept(2, 1, ballot, 1);
        lab.until("it is refused", |lab| lab.count(1, Counter::RxUnarmed) == before + 1);
        assert_eq!(lab.node(1).try_poll_log(&mut batch)?, 0, "and not stored");
        assert_eq!(batch.status().higher_ballot, Some(Ballot(shown)));
    }
    lab.raise(1, 9);
    lab.node(1).try_poll_log(&mut batch)?;
    assert_eq!(batch.status().higher_ballot, Some(Ballot(9)), "its leader is not followed yet");
    lab.follow(1, 2, 9, 1);
    lab.node(1).try_poll_log(&mut batch)?;
    assert_eq!(batch.status().higher_ballot, None, "now it is");
    lab.check();
    Ok(())
}

fn capabilities(stage: &Stage<'_>) -> Result<(), SetupError> {
    let spec =
        ClusterSpec { datagram_len_max: 1_000, ..ClusterSpec::voters(3, AckMode::Persisted) };
    let lab = stage.lab(&spec)?;
    for node in 0..3 {
        let transport = lab.node(node);
        let capabilities = transport.capabilities();
        assert_eq!(capabilities.body_len_max, spec.body_len_max());
        assert!(!capabilities.authenticated && !capabilities.backend.is_empty());
        assert_eq!((transport.node(), transport.group()), (node_id(node), GroupId(1)));
        assert_eq!(transport.membership()?.count(), 3);
    }
    Ok(())
}

fn inbox_bounded(stage: &Stage<'_>) -> Result<(), SetupError> {
    let spec = ClusterSpec { inbox_messages: 3, ..ClusterSpec::voters(2, AckMode::Persisted) };
    let mut lab = stage.lab(&spec)?;
    for number in 0..8_u8 {
        lab.node(0).try_send(node_id(1), &[number])?;
    }
    lab.until("the rest is dropped", |lab| lab.count(1, Counter::RxInboxFull) == 5);
    let (mut body, mut got) = (Vec::new(), Vec::new());
    while lab.node(1).try_recv(&mut body)?.is_some() {
        got.push(body.clone());
    }
    assert_eq!(got.len(), 3, "{got:?}");
    lab.node(0).try_send(node_id(1), b"again")?;
    lab.until("there is room again", |lab| {
        lab.node(1).try_recv(&mut body).expect("the group is open").is_some()
    });
    Ok(())
}

fn window_bytes(stage: &Stage<'_>) -> Result<(), SetupError> {
    let spec = ClusterSpec { window_bytes: 3_000, ..ClusterSpec::voters(3, AckMode::Persisted) };
    let mut lab = stage.lab(&spec)?;
    lab.elect(0, 1, 1);
    let body = vec![3; 1_000];
    let frames: Vec<_> = (1..=5).map(|slot| Frame::single(Slot(slot), &body)).collect();
    assert_eq!(lab.broadcast_frames(0, 1, &frames)?, 3, "three fit");
    let full = lab.node(0).try_broadcast(Ballot(1), &frames[3..]);
    assert!(matches!(full, Err(TransportError::Backpressure)), "{full:?}");
    lab.acknowledge(0, 1, 3);
    lab.until_quorum(0, 1, 3);
    assert_eq!(lab.broadcast_frames(0, 1, &frames[3..])?, 2, "a quorum makes room");
    lab.until_all(0, 1, 5);
    lab.check();
    let empty = lab.node(0).try_broadcast(Ballot(1), &[]);
    assert!(matches!(empty, Ok(0)), "{empty:?}");
    Ok(())
}

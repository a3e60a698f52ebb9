//! Invariant 7: a leader is never told of a quorum that is not there.

use std::time::Duration;

use electrode_transport::wire::FrameKind;
use electrode_transport::{AckMode, Ballot, Counter, GroupId, Incarnation, Slot, TransportError};

use super::MODES;
use crate::case::Stage;
use crate::harness::{Link, Origin, SetupError};
use crate::spec::{ClusterSpec, Roster};

cases! { QuorumTrue, "quorum-true";
    "other-ballots-do-not-count", Quorum, [RECEIVED PERSISTED INJECT], other_ballots,
        "An acknowledgement of an older or another ballot is no vote at this one.";
    "votes-do-not-outlive-their-ballot", Quorum, [RECEIVED PERSISTED INJECT], votes_end,
        "A new leadership starts with no vote counted.";
    "foreign-groups-do-not-count", ManyGroups, [RECEIVED INJECT GROUPS], foreign_groups,
        "An acknowledgement counts in its own group only.";
    "former-members-do-not-count", Quorum, [RECEIVED INJECT], former_members,
        "Who has left the membership votes no more, by old frames or new.";
    "unsent-slots-do-not-count", Quorum, [RECEIVED INJECT], unsent_slots,
        "An acknowledgement of more than was sent counts for nothing, then or later.";
    "joint-phase-needs-both", Quorum, [RECEIVED INJECT], joint_phase,
        "In a joint phase both voter sets must be met.";
    "watermark-survives-reconfiguration", Quorum, [RECEIVED INJECT], watermark_survives,
        "What a quorum has stored stays told through a change of membership, and no more than that.";
    "partitioned-leader-is-not-confirmed", Fence, [PERSISTED FAULTS TAP], partitioned_leader,
        "A leader without a quorum's answer is not confirmed, whatever it is told later.";
    "answers-are-to-this-probe", Quorum, [RECEIVED INJECT], answers_to_this_probe,
        "Only answers to this probe or a later one, at this ballot, confirm it.";
    "late-word-is-no-vote", AckModes, [PERSISTED], late_word,
        "A library's late word about an earlier ballot does not become a vote at the next.";
    "restarted-leader-counts-anew", CrashRestart, [RECEIVED PERSISTED CRASH], restarted_leader,
        "A leader that comes back counts from nothing and reaches its quorum again.";
    "storm-of-reconfigurations", Quorum, [RECEIVED PERSISTED FAULTS TAP], super::chaos::reconfigurations,
        "Random changes of membership: no quorum is ever told that the votes on the wire do not make.";
}

fn other_ballots(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let led = (1 << 32) + 5;
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.lead(0, led, 1);
        lab.propose(0, led, 1..=3);
        for ballot in [1, 5, led - 1, led + 1, led + (1 << 32)] {
            lab.lie_accepted(1, 0, ballot, 3);
            assert_eq!(lab.quorum(0, led), 0, "a vote at ballot {ballot}");
        }
        assert_eq!(lab.count(0, Counter::RxAckStale), 5, "each is counted");
        lab.say_accepted(1, 0, led, 3);
        lab.until("the true vote counts", |lab| lab.quorum(0, led) == 3);
        lab.check();
    }
    Ok(())
}

fn votes_end(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.lead(0, 1, 1);
        lab.propose(0, 1, 1..=5);
        lab.say_accepted(1, 0, 1, 5);
        lab.until("the first ballot has its quorum", |lab| lab.quorum(0, 1) == 5);
        lab.lead(0, 2, 3);
        lab.propose(0, 2, 3..=7);
        lab.say_accepted(1, 0, 2, 2);
        lab.until("the second ballot's vote arrived", |lab| lab.acked(0, 2, 1) == 2);
        assert!(lab.quorum(0, 2) <= 2, "slots 3 to 5 have no vote at this ballot");
        lab.say_accepted(2, 0, 2, 4);
        lab.until("new votes count", |lab| lab.quorum(0, 2) == 4);
        lab.check();
    }
    Ok(())
}

fn foreign_groups(stage: &Stage<'_>) -> Result<(), SetupError> {
    let groups = vec![GroupId(1), GroupId(2)];
    let spec = ClusterSpec { groups, ..ClusterSpec::voters(3, AckMode::Received) };
    let mut lab = stage.lab(&spec)?;
    for group in [1, 2] {
        lab.group = GroupId(group);
        lab.lead(0, 1, 1);
        lab.propose(0, 1, 1..=3);
    }
    lab.say_accepted(1, 0, 1, 3);
    lab.group = GroupId(1);
    assert_eq!(lab.quorum(0, 1), 0, "group 1 has no vote");
    lab.group = GroupId(2);
    assert_eq!(lab.quorum(0, 1), 3, "group 2 has its quorum");
    lab.group = GroupId(1);
    let mut unknown = lab.header(FrameKind::Accepted, 1, 1, [4, 3, 0]);
    unknown.group = GroupId(77);
    lab.say(1, 0, unknown, &[]);
    lab.until("an unknown group is counted", |lab| lab.count(0, Counter::RxUnknownGroup) == 1);
    assert_eq!(lab.quorum(0, 1), 0);
    lab.check();
    Ok(())
}

fn former_members(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(5, AckMode::Received))?;
    lab.lead(0, 1, 1);
    lab.propose(0, 1, 1..=4);
    lab.say_accepted(4, 0, 1, 4);
    lab.until("node 4 is counted", |lab| lab.acked(0, 1, 4) == 4);
    let old = lab.header(FrameKind::Accepted, 3, 1, [5, 4, 0]);
    let next = lab.roster(0).next(&[0, 1, 2]);
    lab.reconfigure(0, &next);
    assert_eq!(lab.quorum(0, 1), 0, "of the three, only the leader has stored anything");
    // By the old membership's frames, and by frames that claim a place in the new one.
    for (member, sender) in [(3, 3), (4, 4), (1, 1), (2, 2)] {
        // Those who stay have left the old membership too: its frames are history.
        let mut late = old;
        late.sender.0 = sender;
        let bytes = lab.datagram(late, &[]);
        lab.say_heard(Origin::Node(member), 0, &bytes);
        assert_eq!(lab.quorum(0, 1), 0, "an old frame of node {member}");
    }
    assert_eq!(lab.count(0, Counter::RxStaleIncarnation), 4);
    for index in [1, 2, 3, 4] {
        let mut usurped = old;
        usurped.incarnation = Incarnation(2);
        usurped.sender.0 = index;
        lab.say(3, 0, usurped, &[]);
    }
    lab.until("the new ones too", |lab| {
        lab.count(0, Counter::RxWrongAddress) + lab.count(0, Counter::RxNotMember) == 4
    });
    assert_eq!(lab.quorum(0, 1), 0);
    let mut vote = old;
    (vote.incarnation, vote.sender.0) = (Incarnation(2), 2);
    lab.ledger.credit(lab.group, Ballot(1), 2, Slot(3));
    (vote.first, vote.last) = (Slot(4), Slot(3));
    lab.say(2, 0, vote, &[]);
    lab.until("a current member's vote counts", |lab| lab.quorum(0, 1) == 3);
    Ok(())
}

fn unsent_slots(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Received))?;
    lab.lead(0, 1, 1);
    lab.propose(0, 1, 1..=3);
    for through in [4, 10, u64::MAX - 2] {
        lab.lie_accepted(1, 0, 1, through);
    }
    assert_eq!(lab.quorum(0, 1), 0, "not even the part that was sent");
    assert_eq!(lab.count(0, Counter::RxAckBeyond), 3, "each is counted");
    lab.propose(0, 1, 4..=10);
    assert_eq!(lab.quorum(0, 1), 0, "nor once it is sent");
    lab.check();
    Ok(())
}

fn joint_phase(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(5, AckMode::Received))?;
    let mut joint = lab.roster(0).next(&[0, 1, 2]);
    joint.learners = vec![3, 4];
    joint.joint = Some(vec![0, 3, 4]);
    for node in 0..5 {
        lab.reconfigure(node, &joint);
    }
    lab.lead(0, 1, 1);
    lab.propose(0, 1, 1..=5);
    for (member, through) in [(1, 5), (2, 5)] {
        lab.say_accepted(member, 0, 1, through);
    }
    lab.until("the first set is met", |lab| lab.acked(0, 1, 2) == 5);
    assert_eq!(lab.quorum(0, 1), 0, "one set of two");
    lab.say_accepted(4, 0, 1, 3);
    lab.until("both sets are met as far as slot 3", |lab| lab.quorum(0, 1) == 3);
    let probe = lab.probe(0, 1);
    let answer = lab.header(FrameKind::ProbeAck, 1, 1, [probe.number, 5, 6]);
    lab.say(1, 0, answer, &[]);
    lab.until("an answer arrived", |lab| lab.count(0, Counter::RxAckCounted) >= 3);
    assert!(!lab.node(0).try_confirmed(probe)?, "one set of two does not confirm either");
    Ok(())
}

fn watermark_survives(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Received))?;
    lab.lead(0, 1, 1);
    lab.propose(0, 1, 1..=6);
    lab.say_accepted(1, 0, 1, 4);
    lab.until("slot 4 has its quorum", |lab| lab.quorum(0, 1) == 4);
    lab.say_accepted(2, 0, 1, 2);
    lab.until("node 2 is counted", |lab| lab.acked(0, 1, 2) == 2);
    // Node 1, which made the quorum, leaves.
    let next = Roster { voters: vec![0, 2], ..lab.roster(0).next(&[0, 2]) };
    lab.reconfigure(0, &next);
    assert_eq!(lab.quorum(0, 1), 4, "told stays told");
    assert_eq!(lab.acked(0, 1, 2), 2, "who stays keeps counting");
    lab.ledger.seat((2, lab.group), &next);
    lab.say_accepted(2, 0, 1, 6);
    lab.until("the new membership goes on", |lab| lab.quorum(0, 1) == 6);
    Ok(())
}

fn partitioned_leader(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(5, AckMode::Persisted))?;
    lab.elect(0, 1, 1);
    lab.propose(0, 1, 1..=2);
    lab.until_all(0, 1, 2);
    let before = lab.probe(0, 1);
    lab.until("it is confirmed while all is well", |lab| lab.confirmed(0, before));
    lab.partition(&[0, 1]);
    let probe = lab.probe(0, 1);
    for node in [3, 4] {
        lab.follow(node, 2, 2, 3);
    }
    lab.lead(2, 2, 3);
    let other = lab.probe(2, 2);
    lab.until("the new leader is confirmed", |lab| lab.confirmed(2, other));
    lab.throughout(Duration::from_millis(60), "the old one is not", |lab| !lab.confirmed(0, probe));
    lab.set_links(Link::CLEAN);
    lab.until("the old leader learns of its end", |lab| match lab.node(0).try_confirmed(probe) {
        Err(TransportError::Superseded { by: Ballot(2), .. }) => true,
        Ok(false) => false,
        other => panic!("an old leader was answered {other:?}"),
    });
    lab.check();
    Ok(())
}

fn answers_to_this_probe(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Received))?;
    lab.lead(0, 3, 1);
    let first = lab.probe(0, 3);
    let answer = |lab: &mut crate::lab::Lab, ballot, number| {
        let header = lab.header(FrameKind::ProbeAck, 1, ballot, [number, 0, 1]);
        let before = lab.node(0).stats().received();
        lab.say(1, 0, header, &[]);
        lab.until("the answer arrived", |lab| lab.node(0).stats().received() > before);
    };
    answer(&mut lab, 3, 0);
    answer(&mut lab, 2, first.number);
    answer(&mut lab, 4, first.number);
    answer(&mut lab, 3, first.number + 1);
    assert!(!lab.node(0).try_confirmed(first)?, "no answer was to this probe");
    answer(&mut lab, 3, first.number);
    assert!(lab.node(0).try_confirmed(first)?);
    let second = lab.probe(0, 3);
    answer(&mut lab, 3, first.number);
    assert!(!lab.node(0).try_confirmed(second)?, "an old answer, again");
    answer(&mut lab, 3, second.number);
    assert!(lab.node(0).try_confirmed(second)?);
    Ok(())
}

fn late_word(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Persisted))?;
    lab.elect(0, 1, 1);
    lab.propose(0, 1, 1..=5);
    lab.until("node 1 was handed all", |lab| {
        lab.poll(1);
        lab.held(1, 1) == 5
    });
    lab.elect(2, 2, 1);
    lab.propose(2, 2, 1..=5);
    let late = lab.node(1).acknowledge(Ballot(1), Slot(5));
    assert!(matches!(late, Err(TransportError::NotFollowing { ballot: Ballot(1) })), "{late:?}");
    let never = lab.node(1).acknowledge(Ballot(3), Slot(5));
    assert!(matches!(never, Err(TransportError::NotFollowing { ballot: Ballot(3) })), "{never:?}");
    lab.advance_ms(20);
    assert_eq!(lab.acked(2, 2, 1), 0, "it has not said a word about ballot 2");
    assert_eq!(lab.quorum(2, 2), 0);
    lab.check();
    Ok(())
}

fn restarted_leader(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.elect(0, 1, 1);
        lab.propose(0, 1, 1..=5);
        lab.until_all(0, 1, 5);
        for ballot in 2..=4 {
            lab.crash(0);
            lab.restart(0);
            let next = 5 * (ballot - 1) + 1;
            lab.lead(0, ballot, next);
            lab.propose(0, ballot, next..=next + 4);
            assert!(lab.quorum(0, ballot) < next, "its new life has no vote yet");
            lab.follow(1, 0, ballot, next);
            lab.follow(2, 0, ballot, next);
            lab.until_quorum(0, ballot, next + 4);
            lab.check();
        }
    }
    Ok(())
}

//! Invariant 5: distinct current members count, at the current ballot, each once.

use electrode_transport::wire::FrameKind;
use electrode_transport::{AckMode, Counter, MemberIndex, MemberSet};

use super::MODES;
use crate::case::Stage;
use crate::harness::{Origin, SetupError};
use crate::lab::Lab;
use crate::spec::{ClusterSpec, Roster};

cases! { OneVoterOneVote, "one-voter-one-vote";
    "doubled-acknowledgement", Quorum, [RECEIVED PERSISTED INJECT], doubled,
        "However often a member's acknowledgement arrives, it is one vote.";
    "strangers-do-not-vote", Quorum, [INJECT], strangers,
        "An acknowledgement counts only from the address of the member that it names.";
    "index-is-range-checked", Quorum, [INJECT], index_range,
        "An index off the wire that names no other member is refused before it is used.";
    "learners-do-not-vote", Quorum, [RECEIVED PERSISTED], learners,
        "A learner stores, acknowledges and shows in acked, and counts for nothing.";
    "each-for-what-it-stored", Quorum, [RECEIVED PERSISTED INJECT], each_for_its_own,
        "A vote counts for the slots that the member has stored, and no further.";
    "voters-are-named", Quorum, [RECEIVED INJECT], voters_named,
        "The answer names exactly the voters that have acknowledged the watermark.";
}

/// A leader at ballot 1 that has sent slots 1 to `sent`; the case plays the other members.
fn solo_leader(stage: &Stage<'_>, spec: &ClusterSpec, sent: u64) -> Result<Lab, SetupError> {
    let mut lab = stage.lab(spec)?;
    lab.lead(0, 1, 1);
    lab.propose(0, 1, 1..=sent);
    Ok(lab)
}

fn doubled(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = solo_leader(stage, &ClusterSpec::voters(5, mode), 3)?;
        for copies in 0..6 {
            lab.say_accepted(1, 0, 1, 3);
            assert_eq!(lab.quorum(0, 1), 0, "one follower and the leader are two of five");
            assert_eq!(lab.count(0, Counter::RxAckRepeat), copies);
        }
        lab.say_accepted(2, 0, 1, 2);
        lab.until("a third voter makes the quorum", |lab| lab.quorum(0, 1) == 2);
        lab.check();
    }
    Ok(())
}

fn strangers(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = solo_leader(stage, &ClusterSpec::voters(5, AckMode::Received), 3)?;
    for member in 1..5 {
        let vote = lab.header(FrameKind::Accepted, member, 1, [4, 3, 0]);
        let bytes = lab.datagram(vote, &[]);
        lab.say_heard(Origin::Stranger, 0, &bytes);
        // A member that votes in another's name.
        lab.say_heard(Origin::Node(member % 4 + 1), 0, &bytes);
        assert_eq!(lab.quorum(0, 1), 0, "node {member} has not voted");
    }
    assert_eq!(lab.count(0, Counter::RxWrongAddress), 8, "all are refused");
    assert!((1..5).all(|member| lab.acked(0, 1, member) == 0), "nobody has acknowledged");
    lab.check();
    Ok(())
}

fn index_range(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = solo_leader(stage, &ClusterSpec::voters(3, AckMode::Received), 3)?;
    let indices = [0, 3, 4, 31, 32, 33, 34, 64, 65, 127, 128, 129, 255];
    for index in indices {
        let mut vote = lab.header(FrameKind::Accepted, 1, 1, [4, 3, 0]);
        vote.sender = MemberIndex(index);
        let bytes = lab.datagram(vote, &[]);
        lab.say_heard(Origin::Node(1), 0, &bytes);
        assert_eq!(lab.quorum(0, 1), 0, "index {index} is no voter's");
    }
    assert_eq!(lab.count(0, Counter::RxNotMember), indices.len() as u64);
    lab.check();
    Ok(())
}

fn learners(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut roster = Roster::voters(3);
        roster.learners = vec![3, 4];
        let spec = ClusterSpec { nodes: 5, roster, ..ClusterSpec::voters(5, mode) };
        let mut lab = stage.lab(&spec)?;
        lab.follow(3, 0, 1, 1);
        lab.follow(4, 0, 1, 1);
        lab.lead(0, 1, 1);
        lab.propose(0, 1, 1..=4);
        lab.until("both learners have all", |lab| {
            lab.serve(3, 1);
            lab.serve(4, 1);
            lab.acked(0, 1, 3) == 4 && lab.acked(0, 1, 4) == 4
        });
        assert_eq!(lab.quorum(0, 1), 0, "two learners and the leader are one voter");
        lab.follow(1, 0, 1, 1);
        lab.until_quorum_of(1);
        lab.check();
    }
    Ok(())
}

impl Lab {
    /// Waits for the quorum of slot 4 with only this follower serving.
    fn until_quorum_of(&mut self, follower: usize) {
        self.until("a voter makes the quorum", |lab| {
            lab.serve(follower, 1);
            lab.quorum(0, 1) == 4
        });
    }
}

fn each_for_its_own(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = solo_leader(stage, &ClusterSpec::voters(5, mode), 10)?;
        for (member, through, quorum) in [(1, 7, 0), (2, 3, 3), (3, 5, 5), (2, 9, 7), (4, 10, 9)] {
            lab.say_accepted(member, 0, 1, through);
            lab.until("the vote is counted", |lab| lab.acked(0, 1, member) == through);
            assert_eq!(lab.quorum(0, 1), quorum, "after node {member} said {through}");
        }
        lab.check();
    }
    Ok(())
}

fn voters_named(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = solo_leader(stage, &ClusterSpec::voters(5, AckMode::Received), 4)?;
    lab.say_accepted(4, 0, 1, 2);
    lab.say_accepted(2, 0, 1, 4);
    lab.until("the quorum is there", |lab| lab.quorum(0, 1) == 2);
    let named = |indices: &[u8]| {
        indices.iter().fold(MemberSet::EMPTY, |set, &index| set.with(MemberIndex(index)))
    };
    assert_eq!(lab.quorum_of(0, 1).voters, named(&[0, 2, 4]));
    lab.say_accepted(1, 0, 1, 1);
    lab.until("node 1 is counted", |lab| lab.acked(0, 1, 1) == 1);
    assert_eq!(lab.quorum_of(0, 1).voters, named(&[0, 2, 4]), "node 1 has not slot 2");
    lab.say_accepted(1, 0, 1, 3);
    lab.until("the quorum moves on", |lab| lab.quorum(0, 1) == 3);
    assert_eq!(lab.quorum_of(0, 1).voters, named(&[0, 1, 2]));
    lab.check();
    Ok(())
}

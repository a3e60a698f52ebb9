//! The tally case by case.

use super::*;

const BALLOT: Ballot = Ballot(7);

fn set(members: &[u8], needed: u32) -> VoterSet {
    let members = members.iter().fold(MemberSet::EMPTY, |set, &index| set.with(MemberIndex(index)));
    VoterSet { members, needed }
}

fn only(current: VoterSet) -> Voters {
    Voters { current, joint: VoterSet::default() }
}

/// Member 0 leads three at ballot 7 and has sent through slot 10.
fn three() -> Tally {
    Tally::lead(BALLOT, Slot(10), only(set(&[0, 1, 2], 2)), 3, MemberIndex(0))
}

fn ack(tally: &mut Tally, member: u8, through: u64) -> TallyVerdict {
    tally.ack(BALLOT, MemberIndex(member), Slot(through))
}

#[test]
fn a_story_of_three() {
    use TallyVerdict::*;
    let mut tally = three();
    for (what, ballot, member, through, verdict, quorum) in [
        ("one voice is no quorum", 7, 1, 5, Counted, 0),
        ("said twice it is still one voice", 7, 1, 5, Repeat, 0),
        ("an older word is overtaken", 7, 1, 3, Repeat, 0),
        ("another ballot's voice", 6, 2, 5, Stale, 0),
        ("a later ballot's voice", 8, 2, 5, Stale, 0),
        ("no ballot at all", 0, 2, 5, Stale, 0),
        ("an index off the wire", 7, 3, 5, NotMember, 0),
        ("an index past every table", 7, 255, 5, NotMember, 0),
        ("more than was sent", 7, 2, 11, Beyond, 0),
        ("the quorum goes as far as both", 7, 2, 4, Quorum, 4),
        ("and further", 7, 2, 10, Quorum, 5),
        ("a third voice alone moves nothing", 7, 0, 5, Counted, 5),
        ("it moves with the second highest", 7, 0, 9, Quorum, 9),
        ("the last voice is counted too", 7, 1, 9, Counted, 9),
        ("and all of it is there", 7, 1, 10, Quorum, 10),
        ("nothing is left to say", 7, 1, 10, Repeat, 10),
    ] {
        let told = tally.ack(Ballot(ballot), MemberIndex(member), Slot(through));
        assert_eq!(told, verdict, "{what}");
        assert_eq!(tally.quorum(), Slot(quorum), "{what}");
    }
    assert_eq!(tally.voters_of(Slot(10)), MemberSet(0b110));
    assert_eq!(tally.voters_of(Slot(9)), MemberSet(0b111));
    assert_eq!(tally.acked(MemberIndex(0)), Slot(9));
    assert_eq!(tally.acked(MemberIndex(200)), Slot::ZERO);
}

#[test]
fn zeroed_it_leads_and_counts_nothing() {
    let mut tally = Tally::default();
    assert_eq!(tally.ack(Ballot(1), MemberIndex(0), Slot(1)), TallyVerdict::NotMember);
    assert_eq!(tally.probe_ack(Ballot::NONE, MemberIndex(0), 0), TallyVerdict::NotMember);
    let mut nobody = Tally::lead(BALLOT, Slot(9), Voters::default(), 3, MemberIndex(0));
    for member in 0..3 {
        assert_eq!(ack(&mut nobody, member, 9), TallyVerdict::Counted);
    }
    assert_eq!(nobody.quorum(), Slot::ZERO, "no voters, no quorum");
    nobody.start_probe();
    assert_eq!(nobody.probe_quorum(), 0);
}

#[test]
fn what_is_believable_only_grows() {
    let mut tally = three();
    tally.arm(Slot(4));
    assert_eq!(tally.sent(), Slot(10));
    assert_eq!(ack(&mut tally, 1, 11), TallyVerdict::Beyond);
    assert_eq!(tally.acked(MemberIndex(1)), Slot::ZERO, "an unbelievable claim leaves no trace");
    tally.arm(Slot(11));
    assert_eq!(ack(&mut tally, 1, 11), TallyVerdict::Counted);
}

#[test]
fn learners_are_heard_and_count_for_nothing() {
    let mut tally = Tally::lead(BALLOT, Slot(5), only(set(&[0, 2], 2)), 4, MemberIndex(0));
    assert_eq!(ack(&mut tally, 1, 5), TallyVerdict::Counted);
    assert_eq!(ack(&mut tally, 3, 5), TallyVerdict::Counted);
    assert_eq!(ack(&mut tally, 0, 5), TallyVerdict::Counted);
    assert_eq!(tally.quorum(), Slot::ZERO);
    assert_eq!(tally.acked(MemberIndex(3)), Slot(5), "a learner's progress shows");
    assert_eq!(ack(&mut tally, 2, 5), TallyVerdict::Quorum);
    assert_eq!(tally.voters_of(Slot(5)), MemberSet(0b101), "learners are not named as voters");
}

#[test]
fn a_joint_phase_needs_both_sets() {
    let voters = Voters { current: set(&[0, 1, 2], 2), joint: set(&[2, 3, 4], 2) };
    let mut tally = Tally::lead(BALLOT, Slot(9), voters, 5, MemberIndex(0));
    for (member, through, verdict, quorum) in [
        (0, 9, TallyVerdict::Counted, 0),
        (1, 9, TallyVerdict::Counted, 0),
        (3, 6, TallyVerdict::Counted, 0),
        (4, 5, TallyVerdict::Quorum, 5),
        (2, 9, TallyVerdict::Quorum, 6),
        (4, 9, TallyVerdict::Quorum, 9),
    ] {
        assert_eq!(ack(&mut tally, member, through), verdict, "member {member} at {through}");
        assert_eq!(tally.quorum(), Slot(quorum), "member {member} at {through}");
    }
    let impossible = Voters { current: set(&[0], 1), joint: set(&[1], 0) };
    let mut tally = Tally::lead(BALLOT, Slot(9), impossible, 2, MemberIndex(0));
    ack(&mut tally, 0, 9);
    ack(&mut tally, 1, 9);
    assert_eq!(tally.quorum(), Slot::ZERO, "a set that needs nobody is met by nobody");
}

#[test]
fn all_and_one_and_thirty_two() {
    let everybody: Vec<u8> = (0..32).collect();
    for (needed, quorum_at) in [(1, 1), (17, 17), (32, 32)] {
        let mut tally =
            Tally::lead(BALLOT, Slot(1), only(set(&everybody, needed)), 32, MemberIndex(31));
        for (&member, voices) in everybody.iter().zip(1..) {
            let verdict = ack(&mut tally, member, 1);
            let expected =
                if voices == quorum_at { TallyVerdict::Quorum } else { TallyVerdict::Counted };
            assert_eq!(verdict, expected, "{needed} needed, {voices} there");
        }
    }
    assert_eq!(
        Tally::lead(BALLOT, Slot(1), only(set(&everybody, 32)), 200, MemberIndex(0)).ack(
            BALLOT,
            MemberIndex(32),
            Slot(1)
        ),
        TallyVerdict::NotMember,
        "a count past the 32nd is cut off"
    );
}

#[test]
fn the_ends_of_the_numbers() {
    let top = Ballot(u64::MAX);
    let voters = only(set(&[0, 1], 2));
    let mut tally = Tally::lead(top, Slot::MAX, voters, 2, MemberIndex(0));
    assert_eq!(tally.ack(top, MemberIndex(1), Slot::MAX), TallyVerdict::Counted);
    assert_eq!(tally.ack(top, MemberIndex(0), Slot(u64::MAX)), TallyVerdict::Beyond);
    assert_eq!(tally.ack(top, MemberIndex(0), Slot::MAX), TallyVerdict::Quorum);
    assert_eq!(tally.quorum(), Slot::MAX);
    assert_eq!(tally.ack(top, MemberIndex(0), Slot::ZERO), TallyVerdict::Repeat);
}

#[test]
fn probes() {
    use TallyVerdict::*;
    let mut tally = three();
    assert_eq!((tally.start_probe(), tally.start_probe()), (1, 2));
    assert_eq!(tally.probe_quorum(), 0, "its own voice alone is no quorum of three");
    for (what, ballot, member, number, verdict, quorum) in [
        ("an answer to no probe", 7, 1, 3, Beyond, 0),
        ("a position without confirmation", 7, 1, 0, Repeat, 0),
        ("an older ballot's answer", 6, 1, 2, Stale, 0),
        ("a stranger's", 7, 9, 2, NotMember, 0),
        ("with its own voice it is a quorum", 7, 1, 1, Quorum, 1),
        ("the same voice again", 7, 1, 1, Repeat, 1),
        ("an answer confirms every earlier probe", 7, 2, 2, Quorum, 2),
        ("one more is counted", 7, 1, 2, Counted, 2),
    ] {
        let told = tally.probe_ack(Ballot(ballot), MemberIndex(member), number);
        assert_eq!(told, verdict, "{what}");
        assert_eq!(tally.probe_quorum(), quorum, "{what}");
    }
    assert_eq!(tally.quorum(), Slot::ZERO, "an answer is no acknowledgement");
    let mut alone = Tally::lead(BALLOT, Slot(0), only(set(&[0], 1)), 1, MemberIndex(0));
    assert_eq!((alone.start_probe(), alone.probe_quorum()), (1, 1), "alone it is its own quorum");
}

/// What is forgotten, what is kept, and what a smaller quorum makes of it.
#[test]
fn reseating() {
    let mut tally = three();
    ack(&mut tally, 0, 9);
    ack(&mut tally, 1, 3);
    assert_eq!(tally.quorum(), Slot(3));
    let probe = tally.start_probe();

    // Members 0, 2 and a new one; 0 sits last now.
    let old = |index: MemberIndex| {
        [Some(MemberIndex(2)), None, Some(MemberIndex(0))]
            .get(usize::from(index))
            .copied()
            .flatten()
    };
    let mut seated = tally.reseated(only(set(&[0, 1, 2], 2)), 3, MemberIndex(2), old);
    assert_eq!((seated.ballot(), seated.sent()), (BALLOT, Slot(10)));
    assert_eq!(seated.quorum(), Slot(3), "what a quorum stored stays told");
    assert_eq!(seated.acked(MemberIndex(2)), Slot(9), "who stays keeps counting");
    assert_eq!(seated.acked(MemberIndex(1)), Slot::ZERO, "a new member has said nothing");
    assert_eq!(seated.voters_of(Slot(1)), MemberSet(0b100), "a former member is not named");
    assert_eq!(ack(&mut seated, 1, 2), TallyVerdict::Counted, "no quorum is told twice");
    assert_eq!(ack(&mut seated, 1, 5), TallyVerdict::Quorum);

    assert_eq!(seated.probe_sent(), probe, "numbers are never used again");
    assert_eq!(seated.probe_ack(BALLOT, MemberIndex(0), probe), TallyVerdict::Quorum);
    assert_eq!(seated.start_probe(), probe + 1);

    let alone = tally.reseated(only(set(&[0], 1)), 1, MemberIndex(0), Some);
    assert_eq!(alone.quorum(), Slot(9), "a smaller membership's quorum may be there already");
    assert_eq!(alone.probe_quorum(), probe, "and so may a probe's");
}

#[test]
fn a_joint_phase_neither_takes_back_nor_runs_ahead() {
    let mut tally = three();
    ack(&mut tally, 0, 8);
    ack(&mut tally, 1, 8);
    let joint = Voters { current: set(&[0, 1, 2], 2), joint: set(&[0, 3, 4], 2) };
    let old = |index: MemberIndex| (index.0 < 3).then_some(index);
    let mut seated = tally.reseated(joint, 5, MemberIndex(0), old);
    assert_eq!(seated.quorum(), Slot(8));
    assert_eq!(ack(&mut seated, 0, 10), TallyVerdict::Counted);
    assert_eq!(ack(&mut seated, 1, 10), TallyVerdict::Counted, "the old set alone");
    assert_eq!(seated.quorum(), Slot(8));
    assert_eq!(ack(&mut seated, 3, 9), TallyVerdict::Quorum);
    assert_eq!(seated.quorum(), Slot(9));
}

//! The acceptor case by case. A row is a story: who follows what, a frame, the verdict, and what a
//! reply may claim afterwards.
#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use super::*;

const LEADER: MemberIndex = MemberIndex(2);
const OTHER: MemberIndex = MemberIndex(1);
const LEASE_END: Time = Time(1_000);

/// Follows `LEADER` at ballot 5 from slot 10, the lease running until 1,000.
fn follower(mode: AckMode) -> Acceptor {
    let mut acceptor = Acceptor::new(mode);
    assert!(acceptor.raise_fence(Ballot(5)));
    acceptor.arm(Ballot(5), LEADER, Slot(10), Time(0)).unwrap();
    acceptor.renew(LEASE_END);
    acceptor
}

fn proposal(ballot: u64, sender: MemberIndex, first: u64, last: u64) -> Proposal {
    Proposal {
        ballot: Ballot(ballot),
        sender,
        first: Slot(first),
        last: Slot(last),
        commit: Slot::ZERO,
    }
}

fn claims(acceptor: &Acceptor) -> (u64, u64) {
    let Position { next, acknowledged } = acceptor.position();
    (next.0, acknowledged.0)
}

struct Story {
    what: &'static str,
    frame: (u64, MemberIndex, u64, u64),
    now: u64,
    room: bool,
    verdict: Verdict,
    /// `(next, acknowledged)` afterwards, when storing and when receiving is what counts.
    persisted: (u64, u64),
    received: (u64, u64),
}

const STORIES: &[Story] = &[
    Story {
        what: "the next slot is stored",
        frame: (5, LEADER, 10, 10),
        now: 0,
        room: true,
        verdict: Verdict::Stored,
        persisted: (11, 9),
        received: (11, 10),
    },
    Story {
        what: "a run of slots is stored as a whole",
        frame: (5, LEADER, 10, 13),
        now: 999,
        room: true,
        verdict: Verdict::Stored,
        persisted: (14, 9),
        received: (14, 13),
    },
    Story {
        what: "what was stored before is a duplicate, room or not",
        frame: (5, LEADER, 8, 9),
        now: 0,
        room: false,
        verdict: Verdict::Duplicate,
        persisted: (10, 9),
        received: (10, 9),
    },
    Story {
        what: "a frame ahead of a missing one is a gap",
        frame: (5, LEADER, 11, 12),
        now: 0,
        room: true,
        verdict: Verdict::Gap,
        persisted: (10, 9),
        received: (10, 9),
    },
    Story {
        what: "a frame cut differently straddles",
        frame: (5, LEADER, 9, 10),
        now: 0,
        room: true,
        verdict: Verdict::Straddle,
        persisted: (10, 9),
        received: (10, 9),
    },
    Story {
        what: "without room nothing is stored and nothing advances",
        frame: (5, LEADER, 10, 10),
        now: 0,
        room: false,
        verdict: Verdict::Full,
        persisted: (10, 9),
        received: (10, 9),
    },
    Story {
        what: "an older ballot is stale, whoever sends it",
        frame: (4, OTHER, 10, 10),
        now: 0,
        room: true,
        verdict: Verdict::Stale,
        persisted: (10, 9),
        received: (10, 9),
    },
    Story {
        what: "a higher ballot is for the library to sort out",
        frame: (6, LEADER, 10, 10),
        now: 0,
        room: true,
        verdict: Verdict::Unarmed,
        persisted: (10, 9),
        received: (10, 9),
    },
    Story {
        what: "another member does not lead this ballot",
        frame: (5, OTHER, 10, 10),
        now: 0,
        room: true,
        verdict: Verdict::NotLeader,
        persisted: (10, 9),
        received: (10, 9),
    },
    Story {
        what: "the lease ends at its end, not after it",
        frame: (5, LEADER, 10, 10),
        now: 1_000,
        room: true,
        verdict: Verdict::Lapsed,
        persisted: (10, 9),
        received: (10, 9),
    },
    Story {
        what: "a lapsed follower does not even acknowledge again",
        frame: (5, LEADER, 9, 9),
        now: 2_000,
        room: true,
        verdict: Verdict::Lapsed,
        persisted: (10, 9),
        received: (10, 9),
    },
    Story {
        what: "the last slot of all can be stored, by a frame from afar only if nothing is missing",
        frame: (5, LEADER, Slot::MAX.0, Slot::MAX.0),
        now: 0,
        room: true,
        verdict: Verdict::Gap,
        persisted: (10, 9),
        received: (10, 9),
    },
];

#[test]
fn stories() {
    for story in STORIES {
        for (mode, after) in
            [(AckMode::Persisted, story.persisted), (AckMode::Received, story.received)]
        {
            let mut acceptor = follower(mode);
            let (ballot, sender, first, last) = story.frame;
            let frame = proposal(ballot, sender, first, last);
            let wanted = acceptor.wants(&frame, Time(story.now));
            let verdict = acceptor.offer(&frame, Time(story.now), story.room);
            assert_eq!(verdict, story.verdict, "{} ({mode:?})", story.what);
            assert_eq!(claims(&acceptor), after, "{} ({mode:?})", story.what);
            let storable = matches!(verdict, Verdict::Stored | Verdict::Full);
            assert_eq!(wanted, storable, "the look beforehand: {} ({mode:?})", story.what);
        }
    }
}

#[test]
fn replies_leave_only_for_what_is_true() {
    use Verdict::*;
    for (verdict, persisted, received) in [
        (Stored, false, true),
        (Duplicate, true, true),
        (Gap, true, true),
        (Straddle, true, true),
        (Full, false, false),
        (Stale, false, false),
        (Unarmed, false, false),
        (NotLeader, false, false),
        (Lapsed, false, false),
        (Confirmed, true, true),
    ] {
        assert_eq!(verdict.replies(AckMode::Persisted), persisted, "{verdict:?}");
        assert_eq!(verdict.replies(AckMode::Received), received, "{verdict:?}");
    }
}

#[test]
fn a_new_or_zeroed_acceptor_accepts_nothing() {
    for mut acceptor in [Acceptor::new(AckMode::Received), Acceptor::default()] {
        acceptor.renew(LEASE_END);
        let frame = proposal(1, MemberIndex(0), 1, 1);
        assert_eq!(acceptor.offer(&frame, Time(0), true), Verdict::Unarmed);
        assert_eq!(acceptor.probe(Ballot(1), LEADER, Slot(1), Time(0)), Verdict::Unarmed);
        assert_eq!(acceptor.acknowledge(Ballot(1), Slot(1)), Err(ArmError::Ballot));
        assert_eq!(acceptor.acknowledge(Ballot::NONE, Slot(1)), Err(ArmError::Ballot));
        assert_eq!(acceptor.commit(), Slot::ZERO);
    }
}

#[test]
fn probes() {
    let probe = |acceptor: &mut Acceptor, ballot, sender, now| {
        acceptor.probe(Ballot(ballot), sender, Slot(7), Time(now))
    };
    let mut acceptor = follower(AckMode::Persisted);
    assert_eq!(probe(&mut acceptor, 5, OTHER, 1), Verdict::NotLeader);
    assert_eq!(probe(&mut acceptor, 6, LEADER, 1), Verdict::Unarmed);
    assert_eq!(probe(&mut acceptor, 4, LEADER, 1), Verdict::Stale);
    assert_eq!((acceptor.commit(), acceptor.heard()), (Slot::ZERO, Time(0)), "not the leader's");
    assert_eq!(probe(&mut acceptor, 5, LEADER, 3), Verdict::Confirmed);
    assert_eq!((acceptor.commit(), acceptor.heard()), (Slot(7), Time(3)));
    assert_eq!(probe(&mut acceptor, 5, LEADER, 1_000), Verdict::Lapsed);
    assert_eq!(acceptor.heard(), Time(1_000), "a lapsed follower still hears");
    assert_eq!(claims(&acceptor), (10, 9));
}

#[test]
fn the_commit_slot_never_falls() {
    let mut acceptor = follower(AckMode::Received);
    for (commit, newest) in [(4, 4), (3, 4), (90, 90), (0, 90)] {
        let frame = Proposal { commit: Slot(commit), ..proposal(5, LEADER, 1, 1) };
        assert_eq!(acceptor.offer(&frame, Time(0), true), Verdict::Duplicate);
        assert_eq!(acceptor.commit(), Slot(newest));
    }
    assert!(acceptor.raise_fence(Ballot(6)));
    assert_eq!(acceptor.commit(), Slot(90), "what is committed outlives its ballot");
}

#[test]
fn a_fence_never_falls_and_ends_what_is_below_it() {
    let mut acceptor = follower(AckMode::Received);
    assert!(!acceptor.raise_fence(Ballot(4)));
    assert!(!acceptor.raise_fence(Ballot::NONE));
    assert_eq!((acceptor.fence(), acceptor.ballot()), (Ballot(5), Ballot(5)));
    assert!(acceptor.raise_fence(Ballot(5)), "its own ballot changes nothing");
    assert_eq!(acceptor.ballot(), Ballot(5));
    assert!(acceptor.raise_fence(Ballot(8)));
    assert_eq!((acceptor.fence(), acceptor.ballot()), (Ballot(8), Ballot::NONE));
    for (ballot, verdict) in [(5, Verdict::Stale), (7, Verdict::Stale), (8, Verdict::Unarmed)] {
        let frame = proposal(ballot, LEADER, 10, 10);
        assert_eq!(acceptor.offer(&frame, Time(0), true), verdict, "ballot {ballot}");
        assert!(!acceptor.wants(&frame, Time(0)));
    }
    assert_eq!(acceptor.acknowledge(Ballot(5), Slot(12)), Err(ArmError::Ballot));
    assert_eq!(claims(&acceptor), (10, 9), "nothing moved after the fence");
}

#[test]
fn arming() {
    let arm = |acceptor: &mut Acceptor, ballot, leader, next| {
        acceptor.arm(Ballot(ballot), leader, Slot(next), Time(77))
    };
    let mut acceptor = Acceptor::new(AckMode::Persisted);
    assert_eq!(arm(&mut acceptor, 0, LEADER, 1), Err(ArmError::Ballot), "no ballot");
    assert_eq!(arm(&mut acceptor, 5, LEADER, 1), Err(ArmError::Ballot), "not promised");
    assert!(acceptor.raise_fence(Ballot(5)));
    assert_eq!(arm(&mut acceptor, 4, LEADER, 1), Err(ArmError::Ballot), "below the fence");
    assert_eq!(arm(&mut acceptor, 6, LEADER, 1), Err(ArmError::Ballot), "above the fence");
    assert_eq!(arm(&mut acceptor, 5, LEADER, 0), Err(ArmError::Slot), "the first slot is 1");
    assert_eq!(acceptor.ballot(), Ballot::NONE, "an error changes nothing");
    assert_eq!(arm(&mut acceptor, 5, LEADER, 10), Ok(()));
    assert_eq!((acceptor.leader(), acceptor.heard()), (LEADER, Time(77)));
    assert_eq!(claims(&acceptor), (10, 9));
    assert_eq!(arm(&mut acceptor, 5, OTHER, 10), Err(ArmError::Leader));
    assert_eq!(arm(&mut acceptor, 5, LEADER, 9), Err(ArmError::Slot), "nothing is taken back");
    assert_eq!(arm(&mut acceptor, 5, LEADER, 10), Ok(()), "saying it twice is harmless");
    assert_eq!(arm(&mut acceptor, 5, LEADER, 20), Ok(()), "slots 10 to 19 came another way");
    assert_eq!(claims(&acceptor), (20, 19));
}

/// A new ballot may overwrite what an older one left uncommitted, and so claims nothing of it.
#[test]
fn a_new_ballot_may_begin_below_the_old_position() {
    let mut acceptor = follower(AckMode::Received);
    assert_eq!(acceptor.offer(&proposal(5, LEADER, 10, 30), Time(0), true), Verdict::Stored);
    assert!(acceptor.raise_fence(Ballot(6)));
    acceptor.arm(Ballot(6), OTHER, Slot(15), Time(0)).unwrap();
    assert_eq!(claims(&acceptor), (15, 14), "30 was acknowledged at ballot 5, not at 6");
    assert_eq!(acceptor.offer(&proposal(6, OTHER, 15, 15), Time(0), true), Verdict::Stored);
}

#[test]
fn acknowledging() {
    let mut acceptor = follower(AckMode::Persisted);
    assert_eq!(acceptor.offer(&proposal(5, LEADER, 10, 12), Time(0), true), Verdict::Stored);
    assert_eq!(claims(&acceptor), (13, 9));
    for (what, ballot, through, result, after) in [
        ("an earlier ballot's word", 4, 12, Err(ArmError::Ballot), (13, 9)),
        ("a ballot that is not followed", 6, 12, Err(ArmError::Ballot), (13, 9)),
        ("part of what was stored", 5, 11, Ok(()), (13, 11)),
        ("an older word, late", 5, 10, Ok(()), (13, 11)),
        ("all of it", 5, 12, Ok(()), (13, 12)),
        ("slots that came another way", 5, 40, Ok(()), (41, 40)),
        ("past the last slot of all", 5, u64::MAX, Err(ArmError::Slot), (41, 40)),
        ("the last slot of all", 5, Slot::MAX.0, Ok(()), (u64::MAX, Slot::MAX.0)),
    ] {
        assert_eq!(acceptor.acknowledge(Ballot(ballot), Slot(through)), result, "{what}");
        assert_eq!(claims(&acceptor), after, "{what}");
    }
}

#[test]
fn a_lease_is_only_ever_extended() {
    let mut acceptor = follower(AckMode::Received);
    acceptor.renew(Time(500));
    assert_eq!(acceptor.lease_until(), LEASE_END);
    acceptor.renew(Time(3_000));
    assert_eq!(acceptor.offer(&proposal(5, LEADER, 10, 10), Time(2_999), true), Verdict::Stored);
    assert_eq!(acceptor.offer(&proposal(5, LEADER, 11, 11), Time(3_000), true), Verdict::Lapsed);
    acceptor.renew(Time(3_001));
    assert_eq!(acceptor.offer(&proposal(5, LEADER, 11, 11), Time(3_000), true), Verdict::Stored);
}

#[test]
fn a_leader_that_moves_is_followed_at_its_new_index() {
    let mut acceptor = follower(AckMode::Received);
    acceptor.reseat(Some(MemberIndex(0)));
    let moved = proposal(5, MemberIndex(0), 10, 10);
    assert_eq!(acceptor.offer(&proposal(5, LEADER, 10, 10), Time(0), true), Verdict::NotLeader);
    assert_eq!(acceptor.offer(&moved, Time(0), true), Verdict::Stored);
}

/// Following again from a lower slot, or under another leader, would give one slot of this ballot
/// two values (invariant 4) or yield it twice (invariant 8).
#[test]
fn a_ballot_whose_leader_left_is_over() {
    let mut acceptor = follower(AckMode::Received);
    assert_eq!(acceptor.offer(&proposal(5, LEADER, 10, 12), Time(0), true), Verdict::Stored);
    acceptor.reseat(None);
    assert_eq!(acceptor.ballot(), Ballot::NONE);
    assert_eq!(acceptor.offer(&proposal(5, LEADER, 13, 13), Time(0), true), Verdict::Unarmed);
    for (leader, next) in [(LEADER, 10), (OTHER, 10), (OTHER, 13)] {
        assert_eq!(
            acceptor.arm(Ballot(5), leader, Slot(next), Time(0)),
            Err(ArmError::Leader),
            "{leader:?} from {next}"
        );
    }
    assert!(acceptor.has_followed(Ballot(5)));
    assert!(acceptor.raise_fence(Ballot(5)));
    assert!(acceptor.has_followed(Ballot(5)), "the same fence again forgets nothing");
    assert!(acceptor.raise_fence(Ballot(6)));
    assert!(!acceptor.has_followed(Ballot(6)) && !acceptor.has_followed(Ballot(5)));
    acceptor.arm(Ballot(6), OTHER, Slot(11), Time(0)).unwrap();
    assert_eq!(claims(&acceptor), (11, 10));
}

#[test]
fn an_unknown_mode_byte_reads_as_the_safe_mode() {
    let acceptor = Acceptor { mode: 77, ..Acceptor::default() };
    assert_eq!(acceptor.mode(), AckMode::Persisted);
}

#[test]
fn words_are_the_memory_of_a_little_endian_machine() {
    use core::mem::offset_of;
    // Byte by byte: the value of each tells where it lies.
    let mut bytes = [0; 64];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = place as u8;
    }
    let words = core::array::from_fn(|word| {
        u64::from_le_bytes(core::array::from_fn(|byte| bytes[8 * word + byte]))
    });
    let acceptor = Acceptor::from_words(words);
    assert_eq!(acceptor.to_words(), words, "nothing is lost on the way");
    let at = |offset: usize| words[offset / 8];
    assert_eq!(acceptor.fence.0, at(offset_of!(Acceptor, fence)));
    assert_eq!(acceptor.ballot.0, at(offset_of!(Acceptor, ballot)));
    assert_eq!(acceptor.next.0, at(offset_of!(Acceptor, next)));
    assert_eq!(acceptor.acknowledged.0, at(offset_of!(Acceptor, acknowledged)));
    assert_eq!(acceptor.commit.0, at(offset_of!(Acceptor, commit)));
    assert_eq!(acceptor.heard.0, at(offset_of!(Acceptor, heard)));
    assert_eq!(acceptor.lease_until.0, at(offset_of!(Acceptor, lease_until)));
    assert_eq!(usize::from(acceptor.leader), offset_of!(Acceptor, leader));
    assert_eq!(usize::from(acceptor.mode), offset_of!(Acceptor, mode));
    assert_eq!(usize::from(acceptor.ended), offset_of!(Acceptor, ended));
    assert_eq!(usize::from(acceptor.reserved[0]), offset_of!(Acceptor, reserved));
    assert_eq!(usize::from(acceptor.reserved[4]), size_of::<Acceptor>() - 1);
}

//! The acceptor against a slow, obvious model: explicit sets of slots instead of watermarks.
#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Slots of a run, counted from its base.
const SLOTS: u64 = 24;

#[derive(Clone, Debug)]
enum Step {
    Offer { ballot: u64, sender: u8, first: u64, more: u64, commit: u64, room: bool },
    Probe { ballot: u64, sender: u8, commit: u64 },
    Fence { ballot: u64 },
    Arm { ballot: u64, leader: u8, next: u64 },
    Acknowledge { ballot: u64, through: u64 },
    Renew { ahead: u64 },
    Pass { time: u64 },
    Reseat { leader: Option<u8> },
}

fn step() -> impl Strategy<Value = Step> {
    let (ballot, member) = (0..5u64, 0..3u8);
    prop_oneof![
        6 => (ballot.clone(), member.clone(), 1..=SLOTS, 0..4u64, 0..SLOTS, any::<bool>()).prop_map(
            |(ballot, sender, first, more, commit, room)| {
                let more = more.min(SLOTS - first);
                Step::Offer { ballot, sender, first, more, commit, room }
            }
        ),
        1 => (ballot.clone(), member.clone(), 0..SLOTS)
            .prop_map(|(ballot, sender, commit)| Step::Probe { ballot, sender, commit }),
        1 => ballot.clone().prop_map(|ballot| Step::Fence { ballot }),
        2 => (ballot.clone(), member.clone(), 1..=SLOTS + 1)
            .prop_map(|(ballot, leader, next)| Step::Arm { ballot, leader, next }),
        2 => (ballot, 0..=SLOTS + 1)
            .prop_map(|(ballot, through)| Step::Acknowledge { ballot, through }),
        2 => (0..60u64).prop_map(|ahead| Step::Renew { ahead }),
        1 => (0..30u64).prop_map(|time| Step::Pass { time }),
        1 => prop::option::weighted(0.7, member).prop_map(|leader| Step::Reseat { leader }),
    ]
}

/// What a follower knows, written down in full.
struct Model {
    mode: AckMode,
    base: u64,
    now: u64,
    lease_until: u64,
    fence: u64,
    following: Option<(u64, u8)>,
    /// Ballots that were followed once and ended.
    over: BTreeSet<u64>,
    /// Slots that hold what the followed leader has in them.
    stored: BTreeSet<u64>,
    /// Slots that may be counted as votes.
    claimed: BTreeSet<u64>,
    commit: u64,
    heard: u64,
    /// Everything ever stored from a frame, by ballot: nothing may come twice.
    history: BTreeSet<(u64, u64)>,
}

impl Model {
    fn hear(&mut self, ballot: u64, sender: u8, commit: u64) -> Result<(), Verdict> {
        if ballot < self.fence {
            return Err(Verdict::Stale);
        }
        let Some((_, leader)) = self.following.filter(|&(followed, _)| followed == ballot) else {
            return Err(Verdict::Unarmed);
        };
        if leader != sender {
            return Err(Verdict::NotLeader);
        }
        self.heard = self.now;
        self.commit = self.commit.max(commit);
        if self.now < self.lease_until { Ok(()) } else { Err(Verdict::Lapsed) }
    }

    fn offer(&mut self, ballot: u64, sender: u8, slots: &BTreeSet<u64>, room: bool) -> Verdict {
        let first = *slots.first().unwrap();
        if slots.is_subset(&self.stored) {
            return Verdict::Duplicate;
        }
        if (1..first).any(|before| !self.stored.contains(&before)) {
            return Verdict::Gap;
        }
        if !slots.is_disjoint(&self.stored) {
            return Verdict::Straddle;
        }
        if !room {
            return Verdict::Full;
        }
        assert_eq!(self.following, Some((ballot, sender)));
        for &slot in slots {
            assert!(self.history.insert((ballot, slot)), "slot {slot} stored twice at {ballot}");
        }
        self.stored.extend(slots);
        if self.mode == AckMode::Received {
            self.claimed.extend(slots);
        }
        Verdict::Stored
    }

    fn fence(&mut self, ballot: u64) -> bool {
        if ballot == 0 || ballot < self.fence {
            return false;
        }
        self.fence = ballot;
        self.following = self.following.filter(|&(followed, _)| followed >= ballot);
        true
    }

    fn arm(&mut self, ballot: u64, leader: u8, next: u64) -> Result<(), ArmError> {
        if ballot == 0 || ballot != self.fence {
            return Err(ArmError::Ballot);
        }
        if self.over.contains(&ballot) {
            return Err(ArmError::Leader);
        }
        match self.following {
            Some((_, followed)) if followed != leader => return Err(ArmError::Leader),
            Some(_) if self.stored.iter().any(|&slot| slot >= next) => return Err(ArmError::Slot),
            Some(_) => {}
            None => {
                self.stored.clear();
                self.claimed.clear();
                self.heard = self.now;
            }
        }
        self.following = Some((ballot, leader));
        self.stored.extend(1..next);
        self.claimed.extend(1..next);
        Ok(())
    }

    fn acknowledge(&mut self, ballot: u64, through: u64) -> Result<(), ArmError> {
        if self.following.is_none_or(|(followed, _)| followed != ballot) {
            return Err(ArmError::Ballot);
        }
        if self.base + through > Slot::MAX.0 {
            return Err(ArmError::Slot);
        }
        self.stored.extend(1..=through);
        self.claimed.extend(1..=through);
        Ok(())
    }

    fn reseat(&mut self, leader: Option<u8>) {
        if let (Some((ballot, _)), None) = (self.following, leader) {
            self.over.insert(ballot);
        }
        self.following = self.following.and_then(|(ballot, _)| Some((ballot, leader?)));
    }

    fn position(&self) -> Position {
        let next = (1..).find(|slot| !self.stored.contains(slot)).unwrap();
        let unclaimed = (1..).find(|slot| !self.claimed.contains(slot)).unwrap();
        Position { next: Slot(self.base + next), acknowledged: Slot(self.base + unclaimed - 1) }
    }
}

/// Takes one step on both sides and compares what they answer.
fn take(acceptor: &mut Acceptor, model: &mut Model, step: &Step) {
    let (base, now) = (model.base, Time(model.now));
    match *step {
        Step::Offer { ballot, sender, first, more, commit, room } => {
            let proposal = Proposal {
                ballot: Ballot(ballot),
                sender: MemberIndex(sender),
                first: Slot(base + first),
                last: Slot(base + first + more),
                commit: Slot(commit),
            };
            let wanted = acceptor.wants(&proposal, now);
            let expected = match model.hear(ballot, sender, commit) {
                Ok(()) => model.offer(ballot, sender, &(first..=first + more).collect(), room),
                Err(verdict) => verdict,
            };
            assert_eq!(acceptor.offer(&proposal, now, room), expected);
            assert_eq!(wanted, matches!(expected, Verdict::Stored | Verdict::Full));
        }
        Step::Probe { ballot, sender, commit } => {
            let expected = model.hear(ballot, sender, commit).err().unwrap_or(Verdict::Confirmed);
            let verdict = acceptor.probe(Ballot(ballot), MemberIndex(sender), Slot(commit), now);
            assert_eq!(verdict, expected);
        }
        Step::Fence { ballot } => {
            assert_eq!(acceptor.raise_fence(Ballot(ballot)), model.fence(ballot));
        }
        Step::Arm { ballot, leader, next } => {
            let armed = acceptor.arm(Ballot(ballot), MemberIndex(leader), Slot(base + next), now);
            assert_eq!(armed, model.arm(ballot, leader, next));
        }
        Step::Acknowledge { ballot, through } => {
            let through_slot = Slot(base + through);
            assert_eq!(
                acceptor.acknowledge(Ballot(ballot), through_slot),
                model.acknowledge(ballot, through)
            );
        }
        Step::Renew { ahead } => {
            acceptor.renew(now.after_ns(ahead));
            model.lease_until = model.lease_until.max(model.now + ahead);
        }
        Step::Pass { time } => model.now += time,
        Step::Reseat { leader } => {
            acceptor.reseat(leader.map(MemberIndex));
            model.reseat(leader);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn agrees_with_the_model(
        received: bool,
        high: bool,
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mode = if received { AckMode::Received } else { AckMode::Persisted };
        let mut acceptor = Acceptor::new(mode);
        let mut model = Model {
            mode,
            base: if high { Slot::MAX.0 - SLOTS } else { 0 },
            now: 0,
            lease_until: 0,
            fence: 0,
            following: None,
            over: BTreeSet::new(),
            stored: BTreeSet::new(),
            claimed: BTreeSet::new(),
            commit: 0,
            heard: 0,
            history: BTreeSet::new(),
        };
        for step in &steps {
            let before = acceptor.position();
            take(&mut acceptor, &mut model, step);
            prop_assert_eq!(acceptor.fence(), Ballot(model.fence));
            let followed = model.following.map_or(0, |(ballot, _)| ballot);
            prop_assert_eq!(acceptor.ballot(), Ballot(followed));
            prop_assert_eq!(acceptor.commit(), Slot(model.commit));
            prop_assert_eq!(acceptor.lease_until(), Time(model.lease_until));
            let Some((_, leader)) = model.following else {
                prop_assert_eq!(acceptor.position(), before, "without a leader nothing moves");
                continue;
            };
            prop_assert_eq!(acceptor.leader(), MemberIndex(leader));
            prop_assert_eq!(acceptor.heard(), Time(model.heard));
            prop_assert_eq!(acceptor.position(), model.position());
            prop_assert!(model.claimed.is_subset(&model.stored), "a vote for what is not stored");
        }
    }

    /// Whatever the numbers, also ones that the wire refuses: no panic, and what must never fall
    /// does not.
    #[test]
    fn any_numbers_at_all(
        calls in proptest::collection::vec(
            (0..8u8, any::<u8>(), any::<bool>(), prop::array::uniform5(prop_oneof![
                any::<u64>(), 0..3u64, (u64::MAX - 2)..=u64::MAX,
            ])),
            1..60,
        ),
    ) {
        let mut acceptor = Acceptor::new(AckMode::Received);
        for (call, member, flag, [ballot, first, last, commit, time]) in calls {
            let member = MemberIndex(member % 3);
            let ballot = if flag { acceptor.fence() } else { Ballot(ballot) };
            let (before, position) = (acceptor, acceptor.position());
            match call {
                0 | 1 => {
                    let proposal = Proposal {
                        ballot, sender: member, first: Slot(first), last: Slot(last),
                        commit: Slot(commit),
                    };
                    let verdict = acceptor.offer(&proposal, Time(time), true);
                    let moved = acceptor.position() != position;
                    prop_assert!(!moved || verdict == Verdict::Stored, "{verdict:?} moved it");
                }
                2 => { acceptor.probe(ballot, member, Slot(commit), Time(time)); }
                3 => { acceptor.raise_fence(ballot); }
                4 => { let _ = acceptor.arm(ballot, member, Slot(first), Time(time)); }
                5 => { let _ = acceptor.acknowledge(ballot, Slot(last)); }
                6 => acceptor.renew(Time(time)),
                _ => acceptor.reseat(flag.then_some(member)),
            }
            prop_assert!(acceptor.fence() >= before.fence());
            prop_assert!(acceptor.commit() >= before.commit());
            prop_assert!(acceptor.lease_until() >= before.lease_until());
            if acceptor.ballot() == before.ballot() {
                prop_assert!(acceptor.position().next >= position.next);
                prop_assert!(acceptor.position().acknowledged >= position.acknowledged);
            }
        }
    }
}

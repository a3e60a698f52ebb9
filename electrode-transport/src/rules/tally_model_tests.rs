//! The tally against a slow, obvious model: for each slot the set of those who have stored it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Slots of a run, counted from its base.
const SLOTS: u64 = 16;
const BALLOT: u64 = 3;

/// A member by a name that it keeps when it sits elsewhere.
type Name = u32;

#[derive(Clone, Debug)]
enum Step {
    Ack { ballot: u64, member: u8, through: u64 },
    Arm { through: u64 },
    StartProbe,
    ProbeAck { ballot: u64, member: u8, number: u64 },
    Reseat { voters: Voters, seats: Vec<Option<u8>>, own: u8 },
}

fn ballot() -> impl Strategy<Value = u64> {
    prop_oneof![10 => Just(BALLOT), 1 => 0..6u64]
}

fn voter_set() -> impl Strategy<Value = VoterSet> {
    let mask = prop_oneof![any::<u32>(), 0..128u32, Just(u32::MAX), Just(0)];
    (mask, 0..5u32).prop_map(|(mask, needed)| VoterSet { members: MemberSet(mask), needed })
}

fn voters() -> impl Strategy<Value = Voters> {
    let joint = prop_oneof![3 => Just(VoterSet::default()), 1 => voter_set()];
    (voter_set(), joint).prop_map(|(current, joint)| Voters { current, joint })
}

fn step() -> impl Strategy<Value = Step> {
    let member = || prop_oneof![8 => 0..7u8, 1 => any::<u8>()];
    let seats = proptest::collection::vec(prop::option::weighted(0.8, member()), 0..33);
    prop_oneof![
        12 => (ballot(), member(), 0..=SLOTS)
            .prop_map(|(ballot, member, through)| Step::Ack { ballot, member, through }),
        3 => (0..=SLOTS).prop_map(|through| Step::Arm { through }),
        2 => Just(Step::StartProbe),
        6 => (ballot(), member(), 0..6u64)
            .prop_map(|(ballot, member, number)| Step::ProbeAck { ballot, member, number }),
        1 => (voters(), seats, member()).prop_map(|(voters, mut seats, own)| {
            let mut taken = BTreeSet::new();
            for seat in &mut seats {
                *seat = seat.filter(|&old| taken.insert(old));
            }
            Step::Reseat { voters, seats, own }
        }),
    ]
}

struct Model {
    base: u64,
    /// Who sits where, by index.
    seats: Vec<Name>,
    names: Name,
    own: u8,
    voters: Voters,
    sent: u64,
    /// Slot by slot, who has stored it.
    stored: BTreeMap<u64, BTreeSet<Name>>,
    told: Option<u64>,
    /// Probe by probe, who has answered it.
    answered: BTreeMap<u64, BTreeSet<Name>>,
    probes: u64,
    confirmed: u64,
}

impl Model {
    /// With a base of zero there is no slot zero to store.
    fn lowest(&self) -> u64 {
        u64::from(self.base == 0)
    }

    /// Whether these are enough of each set: every voter looked up by hand.
    fn is_quorum(&self, there: impl Fn(Name) -> bool) -> bool {
        let enough = |set: &VoterSet| {
            let voices = self
                .seats
                .iter()
                .enumerate()
                .filter(|&(index, &name)| set.members.0 >> index & 1 == 1 && there(name))
                .count();
            set.needed > 0 && voices >= set.needed as usize
        };
        enough(&self.voters.current)
            && (self.voters.joint.members.is_empty() || enough(&self.voters.joint))
    }

    /// The highest slot such that enough members have stored it and all before it.
    fn quorum(&self) -> Option<u64> {
        let has = |slot, name| self.stored.get(&slot).is_some_and(|by| by.contains(&name));
        (self.lowest()..=SLOTS)
            .rfind(|&top| self.is_quorum(|name| (self.lowest()..=top).all(|slot| has(slot, name))))
            .max(self.told)
    }

    fn confirmed(&self) -> u64 {
        let has = |number, name| self.answered.get(&number).is_some_and(|by| by.contains(&name));
        let newest = (1..=self.probes).rfind(|&number| self.is_quorum(|name| has(number, name)));
        newest.unwrap_or(0).max(self.confirmed)
    }

    fn named(&self, ballot: u64, member: u8) -> Result<Name, TallyVerdict> {
        let name = self.seats.get(usize::from(member)).ok_or(TallyVerdict::NotMember)?;
        if ballot == BALLOT { Ok(*name) } else { Err(TallyVerdict::Stale) }
    }

    fn ack(&mut self, ballot: u64, member: u8, through: u64) -> Result<TallyVerdict, TallyVerdict> {
        let name = self.named(ballot, member)?;
        if through > self.sent {
            return Err(TallyVerdict::Beyond);
        }
        let mut news = false;
        for slot in self.lowest()..=through {
            news |= self.stored.entry(slot).or_default().insert(name);
        }
        let before = self.told;
        self.told = self.quorum();
        Ok(verdict(news, self.told > before))
    }

    fn start_probe(&mut self) -> u64 {
        self.probes += 1;
        if let Some(&own) = self.seats.get(usize::from(self.own)) {
            self.answer(own, self.probes);
        }
        self.confirmed = self.confirmed();
        self.probes
    }

    fn answer(&mut self, name: Name, number: u64) -> bool {
        let mut news = false;
        for number in 1..=number {
            news |= self.answered.entry(number).or_default().insert(name);
        }
        news
    }

    fn probe_ack(
        &mut self,
        ballot: u64,
        member: u8,
        number: u64,
    ) -> Result<TallyVerdict, TallyVerdict> {
        let name = self.named(ballot, member)?;
        if number > self.probes {
            return Err(TallyVerdict::Beyond);
        }
        let news = self.answer(name, number);
        let before = self.confirmed;
        self.confirmed = self.confirmed();
        Ok(verdict(news, self.confirmed > before))
    }

    fn reseat(&mut self, voters: Voters, seats: &[Option<u8>], own: u8) {
        let mut sitting = Vec::new();
        for &seat in seats.iter().take(MEMBERS_MAX) {
            let stays = seat.and_then(|old| self.seats.get(usize::from(old)).copied());
            sitting.push(stays.unwrap_or_else(|| {
                self.names += 1;
                self.names
            }));
        }
        for by in self.stored.values_mut() {
            by.retain(|name| sitting.contains(name));
        }
        self.answered.clear();
        (self.seats, self.voters, self.own) = (sitting, voters, own);
        if let Some(&own) = self.seats.get(usize::from(own)) {
            self.answer(own, self.probes);
        }
        self.told = self.quorum();
        self.confirmed = self.confirmed();
    }
}

fn verdict(news: bool, quorum: bool) -> TallyVerdict {
    match (news, quorum) {
        (false, _) => TallyVerdict::Repeat,
        (true, false) => TallyVerdict::Counted,
        (true, true) => TallyVerdict::Quorum,
    }
}

fn either(result: Result<TallyVerdict, TallyVerdict>) -> TallyVerdict {
    result.unwrap_or_else(|refused| refused)
}

fn take(tally: &mut Tally, model: &mut Model, step: &Step) {
    let base = model.base;
    match step {
        &Step::Ack { ballot, member, through } => {
            let told = tally.ack(Ballot(ballot), MemberIndex(member), Slot(base + through));
            assert_eq!(told, either(model.ack(ballot, member, through)));
        }
        &Step::Arm { through } => {
            tally.arm(Slot(base + through));
            model.sent = model.sent.max(through);
        }
        Step::StartProbe => assert_eq!(tally.start_probe(), model.start_probe()),
        &Step::ProbeAck { ballot, member, number } => {
            let told = tally.probe_ack(Ballot(ballot), MemberIndex(member), number);
            assert_eq!(told, either(model.probe_ack(ballot, member, number)));
        }
        Step::Reseat { voters, seats, own } => {
            let old = |index: MemberIndex| seats[usize::from(index)].map(MemberIndex);
            // Only members of the old membership have an index in it.
            let count = model.seats.len();
            let old = |index| old(index).filter(|&index| usize::from(index) < count);
            *tally = tally.reseated(*voters, seats.len() as u8, MemberIndex(*own), old);
            model.reseat(*voters, seats, *own);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn agrees_with_the_model(
        high: bool,
        voters in voters(),
        members in prop_oneof![3 => 1..7u8, 1 => 0..=40u8],
        own in 0..7u8,
        sent in 0..SLOTS,
        steps in proptest::collection::vec(step(), 1..100),
    ) {
        let base = if high { Slot::MAX.0 - SLOTS } else { 0 };
        let mut tally =
            Tally::lead(Ballot(BALLOT), Slot(base + sent), voters, members, MemberIndex(own));
        let mut model = Model {
            base,
            seats: (0..u32::from(members.min(32))).collect(),
            names: 1_000,
            own,
            voters,
            sent,
            stored: BTreeMap::new(),
            told: None,
            answered: BTreeMap::new(),
            probes: 0,
            confirmed: 0,
        };
        for step in &steps {
            let before = (tally.quorum(), tally.probe_quorum());
            take(&mut tally, &mut model, step);
            prop_assert_eq!(tally.quorum(), Slot(model.told.map_or(0, |told| base + told)));
            prop_assert_eq!(tally.probe_quorum(), model.confirmed);
            prop_assert_eq!(tally.sent(), Slot(base + model.sent));
            prop_assert!((tally.quorum(), tally.probe_quorum()) >= before, "a watermark fell");
            for (index, name) in model.seats.iter().enumerate() {
                let index = MemberIndex(index as u8);
                let newest = model.stored.iter().rfind(|(_, by)| by.contains(name));
                let acked = newest.map_or(0, |(slot, _)| base + slot);
                prop_assert_eq!(tally.acked(index), Slot(acked));
            }
        }
    }

    /// Whatever the numbers: no panic, nothing falls, nothing runs past what was sent.
    #[test]
    fn any_numbers_at_all(
        voters in (any::<[u32; 4]>()),
        (members, own) in any::<(u8, u8)>(),
        calls in proptest::collection::vec(
            (0..4u8, any::<u8>(), prop::array::uniform2(prop_oneof![
                any::<u64>(), 0..3u64, (u64::MAX - 2)..=u64::MAX,
            ])),
            1..60,
        ),
    ) {
        let [current, needed, joint, joint_needed] = voters;
        let set = |members, needed| VoterSet { members: MemberSet(members), needed };
        let voters = Voters { current: set(current, needed % 34), joint: set(joint, joint_needed) };
        let mut tally =
            Tally::lead(Ballot(u64::MAX), Slot(7), voters, members, MemberIndex(own));
        for (call, member, [number, ballot]) in calls {
            let (member, ballot) = (MemberIndex(member), Ballot(ballot.max(u64::MAX - 1)));
            let before = (tally.quorum(), tally.probe_quorum());
            match call {
                0 => { tally.ack(ballot, member, Slot(number)); }
                1 => tally.arm(Slot(number)),
                2 => { tally.start_probe(); }
                _ => { tally.probe_ack(ballot, member, number); }
            }
            prop_assert!(tally.quorum() >= before.0 && tally.probe_quorum() >= before.1);
            prop_assert!(tally.quorum() <= tally.sent());
            prop_assert!(tally.probe_quorum() <= tally.probe_sent());
        }
    }
}

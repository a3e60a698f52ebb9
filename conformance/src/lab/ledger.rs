//! The suite's own books: what was broadcast, what each member was handed and said it holds, and what
//! it claimed on the wire. Every observation is entered here, and whatever contradicts an earlier one
//! breaks an invariant.

use std::collections::BTreeMap;

use electrode_transport::wire::{FrameKind, Header};
use electrode_transport::{AckMode, Ballot, Entry, GroupId, Incarnation, Quorum, Slot};

use crate::spec::{Roster, node_id};

/// One node's place in one group.
pub(crate) type Place = (usize, GroupId);

/// What a node holds at one ballot.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Every slot through this one was handed over, or came before the base, or another way.
    through: Slot,
    /// Every slot through this one may count as this node's vote.
    voted: Slot,
}

/// A leadership.
#[derive(Clone, Copy, Debug)]
struct Lead {
    node: usize,
    sent: Slot,
    /// The last slot of a frame that was seen to leave.
    left: Slot,
    own: Slot,
    told: Slot,
}

/// A claim made on the wire that can only be judged once everything was polled.
#[derive(Clone, Copy, Debug)]
struct Claim {
    place: Place,
    ballot: Ballot,
    last: Slot,
    next: Slot,
}

/// A frame as it was broadcast: its last slot and body, by group, ballot and first slot.
type Values = BTreeMap<(GroupId, Ballot, Slot), (Slot, Vec<u8>)>;

#[derive(Debug)]
pub(crate) struct Ledger {
    mode: AckMode,
    values: Values,
    floors: BTreeMap<Place, Ballot>,
    held: BTreeMap<(Place, Ballot), Held>,
    leads: BTreeMap<(GroupId, Ballot), Lead>,
    /// The highest claim that left each node, by group and ballot.
    votes: BTreeMap<(GroupId, Ballot, usize), Slot>,
    /// The highest probe that each node has answered.
    probed: BTreeMap<(GroupId, Ballot, usize), u64>,
    open: Vec<Claim>,
    rosters: BTreeMap<(GroupId, Incarnation), Roster>,
    /// The roster in force on each node.
    seated: BTreeMap<Place, Roster>,
}

impl Ledger {
    pub(crate) fn new(mode: AckMode) -> Self {
        Self {
            mode,
            values: Values::new(),
            floors: BTreeMap::new(),
            held: BTreeMap::new(),
            leads: BTreeMap::new(),
            votes: BTreeMap::new(),
            probed: BTreeMap::new(),
            open: Vec::new(),
            rosters: BTreeMap::new(),
            seated: BTreeMap::new(),
        }
    }

    pub(crate) fn seat(&mut self, place: Place, roster: &Roster) {
        self.rosters.insert((place.1, roster.incarnation), roster.clone());
        self.seated.insert(place, roster.clone());
    }

    pub(crate) fn roster(&self, place: Place) -> &Roster {
        self.seated.get(&place).expect("the node was given a roster")
    }

    // ---- what the case does --------------------------------------------------------------------

    pub(crate) fn leads(&mut self, place: Place, ballot: Ballot, next: Slot) {
        let base = next.prev();
        let (left, own, told) = (base, Slot::ZERO, Slot::ZERO);
        let lead = Lead { node: place.0, sent: base, left, own, told };
        let before = self.leads.insert((place.1, ballot), lead);
        assert!(before.is_none(), "no-equivocation: ballot {ballot} is led twice");
    }

    /// The newest ballot that a node was made to lead.
    pub(crate) fn led_by(&self, place: Place) -> Option<Ballot> {
        let mut led = self.leads.iter().rev();
        led.find(|((group, _), lead)| (lead.node, *group) == place).map(|((_, ballot), _)| *ballot)
    }

    /// A frame is about to be broadcast. It counts as sent once [`sent`](Self::sent) says so.
    pub(crate) fn offers(&mut self, group: GroupId, ballot: Ballot, frame: (Slot, Slot, &[u8])) {
        let (first, last, body) = frame;
        self.values.insert((group, ballot, first), (last, body.to_vec()));
    }

    pub(crate) fn sent(&mut self, place: Place, ballot: Ballot, through: Slot) {
        let lead = self.leads.get_mut(&(place.1, ballot)).expect("the case led this ballot");
        lead.sent = lead.sent.max(through);
        if self.mode == AckMode::Received {
            lead.own = lead.sent;
        }
    }

    pub(crate) fn sent_through(&self, group: GroupId, ballot: Ballot) -> Slot {
        self.leads.get(&(group, ballot)).map_or(Slot::ZERO, |lead| lead.sent)
    }

    pub(crate) fn follows(&mut self, place: Place, ballot: Ballot, next: Slot) {
        let base = next.prev();
        let held = self.held.entry((place, ballot)).or_insert(Held { through: base, voted: base });
        held.through = held.through.max(base);
        held.voted = held.voted.max(base);
    }

    pub(crate) fn acknowledges(&mut self, place: Place, ballot: Ballot, through: Slot) {
        if let Some(lead) = self.leads.get_mut(&(place.1, ballot))
            && lead.node == place.0
        {
            lead.own = lead.own.max(through);
            return;
        }
        let held = self.held.get_mut(&(place, ballot)).expect("the case followed this ballot");
        held.through = held.through.max(through);
        held.voted = held.voted.max(through);
    }

    /// Everything through the returned slot is in this node's hands at `ballot`.
    pub(crate) fn held_through(&self, place: Place, ballot: Ballot) -> Slot {
        self.held.get(&(place, ballot)).map_or(Slot::ZERO, |held| held.through)
    }

    /// The fence has returned; what it handed over was entered before.
    pub(crate) fn fenced(&mut self, place: Place, ballot: Ballot) {
        let floor = self.floors.entry(place).or_default();
        *floor = (*floor).max(ballot);
    }

    /// The node's memory is gone: another life begins with nothing held and no fence. Claims that
    /// wait for a poll cannot be judged any more; those of `Persisted` mode were judged at once.
    pub(crate) fn forget(&mut self, node: usize) {
        self.open.retain(|claim| claim.place.0 != node);
        self.held.retain(|(place, _), _| place.0 != node);
        self.floors.retain(|place, _| place.0 != node);
    }

    /// The case itself played this member and claimed this, truthfully.
    pub(crate) fn credit(&mut self, group: GroupId, ballot: Ballot, node: usize, through: Slot) {
        let vote = self.votes.entry((group, ballot, node)).or_default();
        *vote = (*vote).max(through);
    }

    // ---- what the transport yields -------------------------------------------------------------

    pub(crate) fn yielded(&mut self, place: Place, entry: &Entry<'_>) {
        let Entry { ballot, first, last, body } = *entry;
        let (node, group) = place;
        let floor = self.floors.get(&place).copied().unwrap_or_default();
        assert!(
            ballot >= floor,
            "fenced: node {node} yields slot {first} of ballot {ballot} after its fence at {floor}"
        );
        let Some(held) = self.held.get_mut(&(place, ballot)) else {
            panic!("node {node} yields slot {first} of ballot {ballot}, which it does not follow");
        };
        assert_eq!(
            first,
            held.through.next(),
            "exactly-once, in order: node {node} yields {first}..={last} of ballot {ballot} after {}",
            held.through
        );
        let Some((sent_last, sent_body)) = self.values.get(&(group, ballot, first)) else {
            panic!("node {node} yields slot {first} of ballot {ballot}, which nobody broadcast");
        };
        assert_eq!(last, *sent_last, "node {node} yields slot {first} with another end");
        assert!(
            body == sent_body,
            "no-equivocation: node {node} yields other bytes for slot {first} of ballot {ballot} than were broadcast ({} and {} bytes)",
            body.len(),
            sent_body.len()
        );
        held.through = last;
        if self.mode == AckMode::Received {
            held.voted = held.voted.max(last);
        }
    }

    // ---- what leaves a node --------------------------------------------------------------------

    pub(crate) fn left(&mut self, node: usize, header: &Header, body: &[u8]) {
        let place = (node, header.group);
        let roster = self
            .rosters
            .get(&(header.group, header.incarnation))
            .unwrap_or_else(|| panic!("node {node} sends under an unknown incarnation"));
        assert_eq!(
            Some(header.sender.0),
            roster.index_of(node),
            "node {node} sends under another's index"
        );
        match header.kind {
            FrameKind::Accept => self.accept_left(place, header, body),
            FrameKind::Accepted => self.claim_left(place, header, header.first),
            FrameKind::ProbeAck => {
                let probed = self.probed.entry((header.group, header.ballot, node)).or_default();
                *probed = (*probed).max(header.first.0);
                self.claim_left(place, header, header.commit);
            }
            FrameKind::Refused => {
                let floor = self.floors.get(&place).copied().unwrap_or_default();
                assert!(
                    header.first.0 <= floor.0,
                    "node {node} says that it promised {}, but its fence is at {floor}",
                    header.first
                );
            }
            FrameKind::Probe | FrameKind::Message => {}
        }
    }

    /// Whether a leader's frames through this slot were broadcast and not all seen to leave yet.
    pub(crate) fn is_leaving(&self, group: GroupId, ballot: Ballot, through: Slot) -> bool {
        let lead = self.leads.get(&(group, ballot));
        lead.is_some_and(|lead| lead.left < through && through <= lead.sent)
    }

    fn accept_left(&mut self, place: Place, header: &Header, body: &[u8]) {
        let (node, group) = place;
        let lead = self.leads.get(&(group, header.ballot));
        assert!(
            lead.is_some_and(|lead| lead.node == node),
            "node {node} sends accept frames at ballot {}, which it does not lead",
            header.ballot
        );
        let value = self.values.get(&(group, header.ballot, header.first));
        assert!(
            value.is_some_and(|(last, sent)| *last == header.last && sent == body),
            "no-equivocation: node {node} sends other bytes for slot {} than were broadcast",
            header.first
        );
        if let Some(lead) = self.leads.get_mut(&(group, header.ballot)) {
            lead.left = lead.left.max(header.last);
        }
    }

    fn claim_left(&mut self, place: Place, header: &Header, next: Slot) {
        let (ballot, last) = (header.ballot, header.last);
        self.credit(place.1, ballot, place.0, last);
        let claim = Claim { place, ballot, last, next };
        if self.mode == AckMode::Persisted {
            let voted = self.held.get(&(place, ballot)).map(|held| held.voted);
            assert!(
                voted.is_some_and(|voted| last <= voted),
                "stored-before-acked: node {} acknowledges through {last} at ballot {ballot}, but its library said {voted:?}",
                place.0
            );
        }
        self.open.push(claim);
    }

    /// Everything that a node had was polled: its claims can be judged now.
    pub(crate) fn judge(&mut self, place: Place) {
        let (mine, others): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.open).into_iter().partition(|claim| claim.place == place);
        self.open = others;
        for claim in mine {
            let Claim { ballot, last, next, .. } = claim;
            let held = self.held.get(&(place, ballot)).copied();
            assert!(
                held.is_some_and(|held| last <= held.voted.max(held.through)),
                "stored-before-acked: node {} acknowledged through {last} at ballot {ballot}, but its log holds {held:?}",
                place.0
            );
            assert!(
                held.is_some_and(|held| next <= held.through.next()),
                "contiguous: node {} expected {next} next at ballot {ballot}, but its log holds {held:?}",
                place.0
            );
        }
    }

    // ---- what a leader is told -----------------------------------------------------------------

    fn support(&self, lead: &Lead, group: GroupId, ballot: Ballot, node: usize) -> Slot {
        if node == lead.node {
            return lead.own;
        }
        self.votes.get(&(group, ballot, node)).copied().unwrap_or_default()
    }

    /// Judges a quorum that a leader was told of, by the votes that have left.
    pub(crate) fn told(&mut self, place: Place, quorum: &Quorum) {
        let (node, group) = place;
        let Quorum { ballot, through, .. } = *quorum;
        let lead = *self.leads.get(&(group, ballot)).expect("the case led this ballot");
        assert!(
            through >= lead.told,
            "quorum-told: the watermark of node {node} fell from {} to {through}",
            lead.told
        );
        let roster = self.roster(place).clone();
        let supports = |voter| self.support(&lead, group, ballot, voter) >= through;
        if through > lead.told {
            assert!(
                roster.is_quorum(supports),
                "quorum-true: node {node} is told that slot {through} has a quorum at ballot {ballot}; of {:?} only {:?} have acknowledged it",
                roster.voters,
                roster.members().filter(|&voter| supports(voter)).collect::<Vec<_>>()
            );
        }
        if through > Slot::ZERO {
            for index in quorum.voters.iter() {
                let voter = roster.members().nth(usize::from(index));
                assert!(
                    voter.is_some_and(supports),
                    "one-voter-one-vote: node {node} is told that {index} acknowledged {through}, which is not so"
                );
            }
        }
        if let Some(lead) = self.leads.get_mut(&(group, ballot)) {
            lead.told = through;
        }
    }

    /// Judges what `acked` says of one member.
    pub(crate) fn acked(&self, group: GroupId, ballot: Ballot, node: usize, acked: Slot) {
        let lead = self.leads.get(&(group, ballot)).expect("the case led this ballot");
        let support = self.support(lead, group, ballot, node);
        assert!(
            acked <= support,
            "one-voter-one-vote: {} counts as acknowledged through {acked}, it said {support}",
            node_id(node)
        );
    }

    /// Judges a confirmed leadership: a quorum must have answered this probe.
    pub(crate) fn confirmed(&self, place: Place, ballot: Ballot, number: u64) {
        let answered = |voter| {
            voter == place.0
                || self.probed.get(&(place.1, ballot, voter)).is_some_and(|&got| got >= number)
        };
        assert!(
            self.roster(place).is_quorum(answered),
            "quorum-true: node {} is confirmed at ballot {ballot} without a quorum's answer to probe {number}",
            place.0
        );
    }
}

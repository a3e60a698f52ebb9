//! What a case does to nodes through the contract, each call entered in the ledger.

use core::ops::RangeInclusive;

use electrode_transport::{AckMode, Ballot, FenceToken, Frame, Probe, Quorum, Slot};

use super::Lab;
use super::forge::body;
use crate::spec::{Roster, node_id};

impl Lab {
    /// Raises a node's fence and enters what it hands over.
    #[track_caller]
    pub(crate) fn fence(&mut self, node: usize, ballot: u64) -> FenceToken {
        let fenced = self.node(node).fence(Ballot(ballot)).expect("the case's ballots rise");
        let place = (node, self.group);
        for entry in fenced.entries.iter() {
            self.ledger.yielded(place, &entry);
        }
        self.ledger.fenced(place, Ballot(ballot));
        fenced.token
    }

    /// As `fence`, for a case that only promises.
    #[track_caller]
    pub(crate) fn raise(&mut self, node: usize, ballot: u64) {
        let _token = self.fence(node, ballot);
    }

    #[track_caller]
    pub(crate) fn lead(&mut self, node: usize, ballot: u64, next: u64) {
        let token = self.fence(node, ballot);
        self.ledger.leads((node, self.group), Ballot(ballot), Slot(next));
        self.node(node).lead(&token, Slot(next)).expect("a fresh ballot can be led");
    }

    #[track_caller]
    pub(crate) fn follow(&mut self, node: usize, leader: usize, ballot: u64, next: u64) {
        let token = self.fence(node, ballot);
        self.ledger.follows((node, self.group), Ballot(ballot), Slot(next));
        self.node(node)
            .follow(&token, node_id(leader), Slot(next))
            .expect("a fresh ballot can be followed");
    }

    /// The leader leads and every other living member follows, from `next`.
    #[track_caller]
    pub(crate) fn elect(&mut self, leader: usize, ballot: u64, next: u64) {
        let members: Vec<_> = self.roster(leader).members().collect();
        for node in members.into_iter().filter(|&node| node != leader) {
            if self.is_alive(node) {
                self.follow(node, leader, ballot, next);
            }
        }
        self.lead(leader, ballot, next);
    }

    /// Broadcasts the suite's values for these slots as far as the window takes them. Returns the
    /// last slot taken.
    #[track_caller]
    pub(crate) fn broadcast(
        &mut self,
        node: usize,
        ballot: u64,
        slots: RangeInclusive<u64>,
    ) -> electrode_transport::Result<Slot> {
        let first = *slots.start();
        let bodies: Vec<_> = slots.map(|slot| body(ballot, slot)).collect();
        let slot_at = |index: usize| Slot(first + index as u64);
        let frames: Vec<_> = bodies
            .iter()
            .enumerate()
            .map(|(index, body)| Frame::single(slot_at(index), body))
            .collect();
        self.broadcast_frames(node, ballot, &frames)?;
        Ok(self.ledger.sent_through(self.group, Ballot(ballot)))
    }

    /// As `broadcast`, with frames of the case's own. Returns how many were taken.
    #[track_caller]
    pub(crate) fn broadcast_frames(
        &mut self,
        node: usize,
        ballot: u64,
        frames: &[Frame<'_>],
    ) -> electrode_transport::Result<usize> {
        for frame in frames {
            let value = (frame.first, frame.last, frame.body);
            self.ledger.offers(self.group, Ballot(ballot), value);
        }
        let taken = self.node(node).try_broadcast(Ballot(ballot), frames)?;
        if let Some(last) = taken.checked_sub(1).and_then(|index| frames.get(index)) {
            self.ledger.sent((node, self.group), Ballot(ballot), last.last);
        }
        Ok(taken)
    }

    /// Broadcasts all of these slots; the leader stores them first, as it must.
    #[track_caller]
    pub(crate) fn propose(&mut self, node: usize, ballot: u64, slots: RangeInclusive<u64>) {
        let last = *slots.end();
        let sent = self.broadcast(node, ballot, slots).expect("the leader broadcasts");
        assert_eq!(sent, Slot(last), "the window takes every frame");
        if self.spec.mode == AckMode::Persisted {
            self.acknowledge(node, ballot, last);
        }
    }

    /// Takes every waiting entry off a node's log. Returns how many there were.
    pub(crate) fn poll(&mut self, node: usize) -> usize {
        let transport = self.node(node);
        let (place, mut total) = ((node, self.group), 0);
        loop {
            let count = transport.try_poll_log(&mut self.batch).expect("the group is open");
            for entry in self.batch.iter() {
                self.ledger.yielded(place, &entry);
            }
            total += count;
            if count == 0 {
                return total;
            }
        }
    }

    #[track_caller]
    pub(crate) fn acknowledge(&mut self, node: usize, ballot: u64, through: u64) {
        // Entered first: on a real clock the acknowledgement may be seen before the call returns.
        self.ledger.acknowledges((node, self.group), Ballot(ballot), Slot(through));
        self.node(node)
            .acknowledge(Ballot(ballot), Slot(through))
            .expect("the node follows or leads this ballot");
    }

    /// Polls a follower and, in `Persisted` mode, acknowledges all that it holds.
    pub(crate) fn serve(&mut self, node: usize, ballot: u64) {
        self.poll(node);
        let held = self.ledger.held_through((node, self.group), Ballot(ballot));
        if self.spec.mode == AckMode::Persisted && held > Slot::ZERO {
            self.acknowledge(node, ballot, held.0);
        }
    }

    /// Serves every living member but the leader.
    pub(crate) fn serve_all(&mut self, leader: usize, ballot: u64) {
        let members: Vec<_> = self.roster(leader).members().collect();
        for node in members.into_iter().filter(|&node| node != leader) {
            if self.is_alive(node) {
                self.serve(node, ballot);
            }
        }
    }

    /// Everything through this slot is in the node's hands at this ballot.
    pub(crate) fn held(&self, node: usize, ballot: u64) -> u64 {
        self.ledger.held_through((node, self.group), Ballot(ballot)).0
    }

    /// Asks a leader how far the quorum is, and judges the answer.
    #[track_caller]
    pub(crate) fn quorum(&mut self, node: usize, ballot: u64) -> u64 {
        self.quorum_of(node, ballot).through.0
    }

    #[track_caller]
    pub(crate) fn quorum_of(&mut self, node: usize, ballot: u64) -> Quorum {
        let quorum = self.node(node).quorum(Ballot(ballot)).expect("the node leads");
        self.look();
        self.ledger.told((node, self.group), &quorum);
        quorum
    }

    /// Judges what a leader says of every member's progress; returns one member's.
    #[track_caller]
    pub(crate) fn acked(&mut self, leader: usize, ballot: u64, member: usize) -> u64 {
        let acked = self.node(leader).acked(Ballot(ballot)).expect("the node leads");
        self.look();
        for node in self.roster(leader).members() {
            let progress = acked.of(node_id(node)).expect("every member has a line");
            self.ledger.acked(self.group, Ballot(ballot), node, progress.acked);
        }
        acked.of(node_id(member)).map_or(0, |progress| progress.acked.0)
    }

    #[track_caller]
    pub(crate) fn probe(&mut self, node: usize, ballot: u64) -> Probe {
        self.node(node).probe(Ballot(ballot)).expect("the node leads")
    }

    /// Whether a probe is confirmed, judged by the answers that have left.
    #[track_caller]
    pub(crate) fn confirmed(&mut self, node: usize, probe: Probe) -> bool {
        let confirmed = self.node(node).try_confirmed(probe).expect("the leadership stands");
        self.look();
        if confirmed {
            self.ledger.confirmed((node, self.group), probe.ballot, probe.number);
        }
        confirmed
    }

    #[track_caller]
    pub(crate) fn reconfigure(&mut self, node: usize, roster: &Roster) {
        self.look();
        // What the old membership decided stays decided. A kernel counts votes as they arrive, nobody
        // need have driven it: so the leader is asked once more, and nothing moves in between.
        if let Some(ballot) = self.ledger.led_by((node, self.group))
            && let Ok(quorum) = self.node(node).quorum(ballot)
        {
            self.ledger.told((node, self.group), &quorum);
        }
        let membership = self.membership(node, roster);
        self.ledger.seat((node, self.group), roster);
        self.node(node).reconfigure(membership).expect("a higher incarnation fits");
    }

    /// Waits until the leader knows of a quorum through `slot`, with every follower serving.
    #[track_caller]
    pub(crate) fn until_quorum(&mut self, leader: usize, ballot: u64, slot: u64) {
        self.until(&format!("slot {slot} has its quorum at ballot {ballot}"), |lab| {
            lab.serve_all(leader, ballot);
            lab.quorum(leader, ballot) >= slot
        });
    }

    /// Waits until every living follower holds, and the leader knows it acknowledged, `slot`.
    #[track_caller]
    pub(crate) fn until_all(&mut self, leader: usize, ballot: u64, slot: u64) {
        let members: Vec<_> = self.roster(leader).members().collect();
        self.until(&format!("everybody has slot {slot} at ballot {ballot}"), |lab| {
            lab.serve_all(leader, ballot);
            let waiting = |lab: &mut Self, node| {
                node != leader && lab.is_alive(node) && lab.acked(leader, ballot, node) < slot
            };
            !members.iter().any(|&node| waiting(lab, node))
        });
    }

    /// Judges everything that is open: polls every living node dry and holds its claims against it.
    pub(crate) fn check(&mut self) {
        self.look();
        let here = self.group;
        for group in self.spec.groups.clone() {
            self.group = group;
            for node in 0..self.spec.nodes {
                let is_member = self.roster(node).index_of(node).is_some();
                if self.is_alive(node) && is_member {
                    self.poll(node);
                    self.ledger.judge((node, group));
                }
            }
        }
        self.group = here;
    }
}

//! A group's keeper: reads are loads from the board, steps are commands to the programs.

use std::sync::{Arc, MutexGuard};

use electrode_ebpf_abi::{Command, NOBODY, Op, Opening, seat};
use electrode_transport::engine::{Keeper, Leading, Reseating, TallyView};
use electrode_transport::rules::{
    Acceptor, ArmError, Gate, Proposal, TallyVerdict, Verdict, Voters,
};
use electrode_transport::{
    AckMode, Ballot, GroupConfig, MEMBERS_MAX, MemberIndex, MemberSet, Slot, Time, TransportError,
};

use crate::error::EbpfError;
use crate::log::{Log, Merged};
use crate::pin::Shelf;
use crate::place::{Lead, Place};
use crate::shared::{Shared, State, attached};

/// Keeps one group's rule state in the kernel.
#[derive(Debug)]
pub(crate) struct KernelKeeper {
    shared: Arc<Shared>,
    place: u32,
    view: BoardView,
    mode: AckMode,
    /// The library closed the group itself.
    ended: bool,
}

/// The tally as the board shows it.
#[derive(Debug)]
pub(crate) struct BoardView {
    shared: Arc<Shared>,
    place: u32,
    /// As far as this process has let frames go; the kernel arms as they leave.
    sent: Slot,
    voters: Voters,
}

impl KernelKeeper {
    /// Opens the group in the kernel, or goes on with what an earlier process left of it there.
    pub(crate) fn open(
        shared: &Arc<Shared>,
        config: &GroupConfig,
        gate: Gate,
        hops: impl FnOnce(&mut Place),
    ) -> Result<Self, TransportError> {
        let mut state = shared.state();
        if let Some(place) = state.dormant_place(config.group) {
            crate::pin::resume(shared, &mut state, place, config, gate, hops)?;
            return Ok(Self::at(shared, place, config));
        }
        let full = || EbpfError::TooManyGroups { max: electrode_ebpf_abi::GROUPS_MAX };
        let place = state.free_place().ok_or_else(full)?;
        let membership = config.membership.clone();
        let log_limit = crate::pin::log_limit(config);
        let log = match &shared.kernel.pins {
            None => Log::Own(Merged::new(config.log_bytes)),
            Some(pins) => {
                let shelf = pins.add_shelf(place, log_limit)?;
                shelf.note_roster(&membership, None);
                Log::Pinned(Box::new(shelf))
            }
        };
        let mut opened = Place::new(config.group, config.mode, gate, membership, log);
        hops(&mut opened);
        opened.choose_carrier();
        let opening = Opening {
            id: config.group.0,
            mode: config.mode as u32,
            log_limit,
            seating: opened.seating(seat::MEMBERSHIP, NOBODY),
        };
        // Records of the place's last group must not be taken for this one's.
        state.harvest_all();
        shared.kernel.open(place, &opening)?;
        shared.briefing.follow(place, &opened);
        state.seat(place, opened);
        Ok(Self::at(shared, place, config))
    }

    fn at(shared: &Arc<Shared>, place: u32, config: &GroupConfig) -> Self {
        let voters = config.membership.voters();
        let view = BoardView { shared: Arc::clone(shared), place, sent: Slot::ZERO, voters };
        Self { shared: Arc::clone(shared), place, view, mode: config.mode, ended: false }
    }

    fn command(&self, op: Op, command: Command) -> u32 {
        self.shared.command(op, Command { place: self.place, ..command })
    }

    /// The place, with everything that the rings hold.
    fn with_place<R>(&self, call: impl FnOnce(&mut Place) -> R) -> Option<R> {
        let mut state: MutexGuard<'_, State> = self.shared.state();
        if state.are_rings_ripe() {
            state.harvest();
        }
        let place = state.places.get_mut(&self.place)?;
        let result = call(place);
        self.shared.kernel.boards.set_released(self.place, place.log.released());
        Some(result)
    }

    /// The group's part of the pins, if it has one.
    fn with_shelf<R>(&self, call: impl FnOnce(&mut Shelf) -> R) -> Option<R> {
        self.shared.kernel.pins.as_ref()?;
        self.shared.state().places.get_mut(&self.place)?.log.shelf().map(call)
    }

    fn note_lead(&self, lead: Option<Lead>) {
        if let Some(place) = self.shared.state().places.get_mut(&self.place) {
            place.leading = lead;
        }
    }
}

fn arm_result(answer: u32) -> Result<(), ArmError> {
    match answer {
        1 => Ok(()),
        4 => Err(ArmError::Leader),
        5 => Err(ArmError::Slot),
        _ => Err(ArmError::Ballot),
    }
}

fn verdict(answer: u32) -> Verdict {
    const ALL: [Verdict; 10] = [
        Verdict::Stored,
        Verdict::Duplicate,
        Verdict::Gap,
        Verdict::Straddle,
        Verdict::Full,
        Verdict::Stale,
        Verdict::Unarmed,
        Verdict::NotLeader,
        Verdict::Lapsed,
        Verdict::Confirmed,
    ];
    ALL.into_iter().find(|verdict| *verdict as u32 == answer).unwrap_or(Verdict::Full)
}

fn tally_verdict(answer: u32) -> TallyVerdict {
    const ALL: [TallyVerdict; 6] = [
        TallyVerdict::Quorum,
        TallyVerdict::Counted,
        TallyVerdict::Repeat,
        TallyVerdict::Stale,
        TallyVerdict::NotMember,
        TallyVerdict::Beyond,
    ];
    ALL.into_iter().find(|verdict| *verdict as u32 == answer).unwrap_or(TallyVerdict::Stale)
}

impl Keeper for KernelKeeper {
    fn acceptor(&self) -> Acceptor {
        let boards = &self.shared.kernel.boards;
        let mut acceptor = Acceptor::from_words(boards.acceptor(self.place));
        acceptor.renew(Time(boards.lease(self.place)));
        acceptor
    }

    fn raise_fence(&mut self, ballot: Ballot) -> bool {
        let answer = self.command(Op::Fence, Command { ballot: ballot.0, ..Command::default() });
        // Whoever was let past the old fence had reserved a record before (invariant 2).
        self.shared.state().harvest_all();
        self.with_shelf(Shelf::note_fence);
        answer == 1
    }

    fn arm(
        &mut self,
        ballot: Ballot,
        leader: MemberIndex,
        next: Slot,
        now: Time,
    ) -> Result<(), ArmError> {
        if self.shared.kernel.pins.is_some() && self.acceptor().ballot() != ballot {
            // First: an entry that the library gave up must not come again at the new ballot.
            self.with_shelf(Shelf::settle_all);
        }
        let (ballot, first, now, member) = (ballot.0, next.0, now.0, leader.0.into());
        let command = Command { ballot, first, now, member, ..Command::default() };
        let result = arm_result(self.command(Op::Arm, command));
        self.shared.state().harvest_all();
        result
    }

    fn acknowledge(&mut self, ballot: Ballot, through: Slot) -> Result<(), ArmError> {
        let command = Command { ballot: ballot.0, last: through.0, ..Command::default() };
        let result = arm_result(self.command(Op::Acknowledge, command));
        // A jump forward may have passed over records that were stored just before it.
        self.shared.state().harvest_all();
        result
    }

    fn renew(&mut self, until: Time) {
        let boards = &self.shared.kernel.boards;
        if until.0 > boards.lease(self.place) {
            boards.set_lease(self.place, until.0);
        }
    }

    fn offer(&mut self, proposal: &Proposal, body: &[u8], now: Time) -> Verdict {
        let command = Command {
            place: self.place,
            ballot: proposal.ballot.0,
            first: proposal.first.0,
            last: proposal.last.0,
            commit: proposal.commit.0,
            now: now.0,
            member: proposal.sender.0.into(),
            ..Command::default()
        };
        verdict(self.shared.insist(|| self.shared.kernel.offer(command, body)))
    }

    fn probe(&mut self, ballot: Ballot, sender: MemberIndex, commit: Slot, now: Time) -> Verdict {
        let (ballot, commit, now, member) = (ballot.0, commit.0, now.0, sender.0.into());
        let command = Command { ballot, commit, now, member, ..Command::default() };
        match self.command(Op::Probe, command) {
            0 => Verdict::Lapsed,
            answer => verdict(answer),
        }
    }

    fn poll(&mut self, batch: &mut electrode_transport::LogBatch) {
        self.with_place(|place| place.log.poll(batch, || self.acceptor()));
    }

    fn splits(&mut self, through: Slot) -> Option<Slot> {
        self.with_place(|place| place.log.splits(through)).flatten()
    }

    fn discard_through(&mut self, through: Slot) {
        self.with_place(|place| place.log.discard_through(through));
    }

    fn polled(&self) -> Slot {
        let state = self.shared.state();
        state.places.get(&self.place).map_or(Slot::ZERO, |place| place.log.polled())
    }

    fn reset_polled(&mut self, through: Slot) {
        self.with_place(|place| place.log.reset_polled(through));
    }

    fn lead(&mut self, leading: &Leading) {
        let (ballot, sent) = (leading.ballot, leading.sent);
        // First: a ballot that may have been led is not led again, whenever this process dies.
        self.with_shelf(|shelf| {
            shelf.settle_all();
            shelf.note_led(ballot);
        });
        self.command(Op::Lead, Command { ballot: ballot.0, last: sent.0, ..Command::default() });
        self.view.sent = sent;
        self.view.voters = leading.voters;
        self.note_lead(Some(Lead { ballot, base: sent, sent }));
    }

    fn resign(&mut self) {
        self.command(Op::Resign, Command::default());
        self.view.sent = Slot::ZERO;
        self.note_lead(None);
    }

    fn sending(&mut self, through: Slot, vote: bool) {
        self.view.sent = self.view.sent.max(through);
        let mut state = self.shared.state();
        let Some(place) = state.places.get_mut(&self.place) else { return };
        let Some(lead) = &mut place.leading else { return };
        lead.sent = lead.sent.max(through);
        let ballot = lead.ballot.0;
        // A frame to the carrier meets the egress program, which does this as it leaves.
        if self.shared.is_attached(attached::EGRESS) && place.carrier != NOBODY {
            return;
        }
        drop(state);
        let (last, first) = (through.0, vote.into());
        self.command(Op::Sending, Command { ballot, last, first, ..Command::default() });
    }

    fn count(
        &mut self,
        ballot: Ballot,
        member: MemberIndex,
        through: Slot,
        next: Slot,
    ) -> TallyVerdict {
        let (ballot, last, member, first) = (ballot.0, through.0, member.0.into(), next.0);
        let count = Command { ballot, last, member, first, ..Command::default() };
        let verdict = tally_verdict(self.command(Op::Count, count));
        if verdict != TallyVerdict::Beyond || through > self.view.sent {
            return verdict;
        }
        // It was let go, and no program saw it leave: it still waits, was refused, went in fragments or
        // by another interface. The rule asks for what was let go, and a vote is not cast twice.
        let vote = u64::from(self.mode == AckMode::Received);
        self.command(Op::Sending, Command { ballot, last, first: vote, ..Command::default() });
        tally_verdict(self.command(Op::Count, count))
    }

    fn count_probe(&mut self, ballot: Ballot, member: MemberIndex, number: u64) -> TallyVerdict {
        let (ballot, last, member) = (ballot.0, number, member.0.into());
        tally_verdict(
            self.command(Op::CountProbe, Command { ballot, last, member, ..Command::default() }),
        )
    }

    fn start_probe(&mut self) -> u64 {
        self.command(Op::StartProbe, Command::default());
        self.view.probe_sent()
    }

    fn tally(&self) -> &impl TallyView {
        &self.view
    }

    fn heard_next(&self, member: MemberIndex) -> Option<Slot> {
        Some(Slot(self.shared.kernel.boards.next(self.place, member)))
    }

    fn reseat(&mut self, change: &Reseating<'_>) {
        let boards = &self.shared.kernel.boards;
        let acked: Vec<Slot> = (0..MEMBERS_MAX as u8)
            .map(|index| Slot(boards.acked(self.place, MemberIndex(index))))
            .collect();
        let mut state = self.shared.state();
        let Some(place) = state.places.get_mut(&self.place) else { return };
        if let Some(shelf) = place.log.shelf() {
            shelf.note_roster(change.new, Some(place.gate.incarnation));
        }
        place.gate = change.gate;
        place.membership = change.new.clone();
        place.choose_carrier();
        self.shared.briefing.follow(self.place, place);
        let leading = place.leading;
        let mut what = seat::MEMBERSHIP;
        if self.acceptor().ballot() != Ballot::NONE {
            what |= seat::LEADER;
        }
        if leading.is_some() {
            what |= seat::TALLY;
        }
        let seating = place.seating(what, change.leader.map_or(NOBODY, |leader| leader.0));
        drop(state);
        self.shared.insist(|| self.shared.kernel.seat(self.place, &seating));
        self.view.voters = change.voters;
        let Some(lead) = leading else { return };
        // What was sent may still be on its way past the egress program.
        self.command(
            Op::Sending,
            Command { ballot: lead.ballot.0, last: lead.sent.0, ..Command::default() },
        );
        for index in (0..change.gate.members).map(MemberIndex) {
            if let Some(old) = change.former(index) {
                self.count(lead.ballot, index, acked[usize::from(old.0)], Slot::ZERO);
            }
        }
    }

    fn led(&self) -> Ballot {
        self.with_shelf(|shelf| shelf.led()).unwrap_or(Ballot::NONE)
    }

    fn end(&mut self) {
        self.ended = true;
    }
}

impl TallyView for BoardView {
    fn sent(&self) -> Slot {
        self.sent
    }

    fn quorum(&self) -> Slot {
        Slot(self.shared.kernel.boards.quorum(self.place))
    }

    fn acked(&self, member: MemberIndex) -> Slot {
        Slot(self.shared.kernel.boards.acked(self.place, member))
    }

    fn probed(&self, member: MemberIndex) -> u64 {
        self.shared.kernel.boards.probed(self.place, member)
    }

    fn probe_sent(&self) -> u64 {
        self.shared.kernel.boards.probe_sent(self.place)
    }

    fn probe_quorum(&self) -> u64 {
        self.shared.kernel.boards.probe_quorum(self.place)
    }

    fn voters_of(&self, slot: Slot) -> MemberSet {
        self.voters
            .all()
            .iter()
            .filter(|&member| self.acked(member) >= slot)
            .fold(MemberSet::EMPTY, MemberSet::with)
    }
}

/// Its group ends: nothing of it is judged any more. One that is pinned ends by its user's word alone,
/// and otherwise is left to the next process.
impl Drop for KernelKeeper {
    fn drop(&mut self) {
        let pins = self.shared.kernel.pins.as_ref();
        if let Some(pins) = pins
            && !self.ended
            && !pins.is_ending()
        {
            self.shared.briefing.forget(self.place);
            return self.shared.state().lay_down(self.place);
        }
        self.shared.insist(|| self.shared.kernel.close_group(self.place));
        self.shared.briefing.forget(self.place);
        let mut state = self.shared.state();
        state.harvest_all();
        state.unseat(self.place);
        if let Some(pins) = pins {
            pins.remove_shelf(self.place);
        }
    }
}

const _: () = {
    assert!(AckMode::Persisted as u32 == 0 && AckMode::Received as u32 == 1);
    assert!(ArmError::Leader as u32 == 2 && ArmError::Slot as u32 == 3);
};

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;

//! A leadership: the window, and the calls of a leader. The tally is with the group's keeper; the
//! retransmission of what is outstanding is in a file of its own.

mod lines;

use std::vec::Vec;

use super::keeper::{Keeper, Reseating, TallyView};
use super::mutant::Mutant;
use super::peer::Peer;
use super::window::Window;
use super::{Io, Seat};
use crate::capabilities::{Acked, Probe, Progress, Quorum};
use crate::contract::Result;
use crate::error::TransportError;
use crate::ident::{Ballot, MemberIndex, Slot, Time};
use crate::log::Frame;
use crate::rules::{AckMode, TallyVerdict};
use crate::stats::Counter;
use crate::wire::{FrameKind, Header, SLOTS_PER_FRAME_MAX, flags};

#[derive(Debug)]
pub(crate) struct Leader {
    ballot: Ballot,
    window: Window,
    peers: Vec<Peer>,
    commit: Slot,
    superseded: Ballot,
    probe_deadline: Option<Time>,
    probe_rounds: u32,
}

/// What a leader works with during a call.
#[derive(Debug)]
pub(crate) struct Turn<'a, K> {
    pub(crate) keeper: &'a mut K,
    pub(crate) seat: &'a Seat,
    pub(crate) io: &'a mut Io,
    pub(crate) now: Time,
}

/// What came of a reply.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) quorum: bool,
    pub(crate) probe: bool,
}

impl Leader {
    pub(crate) fn new(ballot: Ballot, next: Slot, members: u8, window: Window) -> Self {
        Self {
            ballot,
            window,
            peers: (0..members).map(|_| Peer::new(next)).collect(),
            commit: Slot::ZERO,
            superseded: Ballot::NONE,
            probe_deadline: None,
            probe_rounds: 0,
        }
    }

    pub(crate) const fn ballot(&self) -> Ballot {
        self.ballot
    }

    pub(crate) fn superseded(&self) -> Option<Ballot> {
        (self.superseded > self.ballot).then_some(self.superseded)
    }

    /// Somebody has promised `by`. Returns whether that is news.
    pub(crate) fn supersede(&mut self, by: Ballot) -> bool {
        let news = by > self.superseded && by > self.ballot;
        self.superseded = self.superseded.max(by);
        news
    }

    pub(crate) fn quorum(&self, keeper: &impl Keeper) -> Quorum {
        let tally = keeper.tally();
        let through = tally.quorum();
        Quorum {
            ballot: self.ballot,
            through,
            voters: tally.voters_of(through),
            superseded_by: self.superseded(),
        }
    }

    pub(crate) fn acked(&self, keeper: &impl Keeper, seat: &Seat) -> Acked {
        let tally = keeper.tally();
        let sent = tally.sent();
        let positions = seat.membership.members().iter().enumerate().map(|(place, member)| {
            let index = MemberIndex(place as u8);
            let next = if index == seat.gate.own {
                sent.next()
            } else {
                heard_next(keeper, index).unwrap_or(self.peers[place].next)
            };
            Progress {
                member: member.id,
                acked: tally.acked(index),
                next,
                probed: tally.probed(index),
                unaided: next <= sent && !self.keeps_frame_at(next),
            }
        });
        let start = self.window.start().unwrap_or(sent.next());
        Acked::collect(self.ballot, start, sent, positions)
    }

    fn keeps_frame_at(&self, slot: Slot) -> bool {
        let kept = self.window.find(slot).and_then(|index| self.window.get(index));
        kept.is_some_and(|kept| kept.first == slot)
    }

    pub(crate) fn set_commit(&mut self, commit: Slot) {
        self.commit = self.commit.max(commit);
    }

    /// Takes frames from the front while they are in order and fit. The error is that of the first
    /// frame; frames after a taken one just end the run.
    pub(crate) fn broadcast(
        &mut self,
        frames: &[Frame<'_>],
        mode: AckMode,
        turn: &mut Turn<'_, impl Keeper>,
    ) -> Result<usize> {
        self.catch_up(turn);
        for (taken, frame) in frames.iter().enumerate() {
            if let Err(error) = self.broadcast_one(frame, mode, turn) {
                return if taken > 0 { Ok(taken) } else { Err(error) };
            }
        }
        Ok(frames.len())
    }

    fn broadcast_one(
        &mut self,
        frame: &Frame<'_>,
        mode: AckMode,
        turn: &mut Turn<'_, impl Keeper>,
    ) -> Result<()> {
        let Turn { keeper, seat, io, now } = turn;
        let expected = keeper.tally().sent().next();
        if frame.first != expected {
            return Err(TransportError::SlotOutOfOrder { offered: frame.first, expected });
        }
        let too_long = frame.last > Slot::MAX
            || frame.last.0.saturating_sub(frame.first.0) >= SLOTS_PER_FRAME_MAX;
        if frame.last < frame.first || too_long {
            return Err(TransportError::SlotOutOfOrder { offered: frame.last, expected });
        }
        let max = io.config.body_len_max();
        if frame.body.len() > max {
            return Err(TransportError::TooLarge { len: frame.body.len(), max });
        }
        let dropping = io.mutation.is(Mutant::WindowDropsUnstored);
        let stored = if dropping { Slot::MAX } else { keeper.tally().quorum() };
        if !io.has_room() || !self.window.push(frame, *now, stored) {
            io.stats.add(Counter::TxBackpressure, 1);
            return Err(TransportError::Backpressure);
        }
        keeper.sending(frame.last, mode == AckMode::Received);
        let header =
            seat.header(FrameKind::Accept, self.ballot, [frame.first, frame.last, self.commit]);
        io.send_all(seat, header, frame.body);
        for index in seat.others() {
            self.peers[usize::from(index)].arm(*now, &io.config);
        }
        Ok(())
    }

    pub(crate) fn start_probe(&mut self, turn: &mut Turn<'_, impl Keeper>) -> Probe {
        let number = turn.keeper.start_probe();
        if !turn.io.outbox.is_full() {
            // Otherwise the time-out asks: probes must not pile up before a network that takes none.
            let mut header = self.probe_header(turn.seat, number);
            if turn.io.mutation.is(Mutant::ProbeWithoutCommit) {
                header.commit = Slot::ZERO;
            }
            turn.io.send_all(turn.seat, header, &[]);
        }
        self.probe_rounds = 0;
        self.arm_probe(turn);
        Probe { ballot: self.ballot, number }
    }

    fn probe_header(&self, seat: &Seat, number: u64) -> Header {
        seat.header(FrameKind::Probe, self.ballot, [Slot(number), Slot::ZERO, self.commit])
    }

    /// Sets the time-out of the newest probe, or ends it: then the probe is confirmed.
    fn arm_probe(&mut self, turn: &Turn<'_, impl Keeper>) {
        let Turn { keeper, seat, io, now } = turn;
        self.probe_deadline = None;
        let tally = keeper.tally();
        if tally.probe_quorum() < tally.probe_sent() {
            let slowest = seat
                .others()
                .map(|index| self.peers[usize::from(index)].timeout_ns(&io.config))
                .min()
                .unwrap_or(u64::MAX);
            let max = io.config.retransmit_max.as_nanos() as u64;
            let timeout = slowest.saturating_mul(1 << self.probe_rounds.min(16)).min(max);
            self.probe_deadline = Some(now.after_ns(timeout));
        }
    }

    /// A member's `Accepted` or `ProbeAck`.
    pub(crate) fn handle_reply(
        &mut self,
        header: &Header,
        member: MemberIndex,
        turn: &mut Turn<'_, impl Keeper>,
    ) -> Heard {
        let is_probe = header.kind == FrameKind::ProbeAck;
        let ignored = |verdict| {
            !matches!(verdict, TallyVerdict::Quorum | TallyVerdict::Counted | TallyVerdict::Repeat)
        };
        let probed = if is_probe {
            turn.keeper.count_probe(header.ballot, member, header.first.0)
        } else {
            TallyVerdict::Repeat
        };
        // What the member expects is believed only of an answer that is believed whole.
        let next = match is_probe {
            true if ignored(probed) => Slot::ZERO,
            true => header.commit,
            false => header.first,
        };
        let counted = turn.keeper.count(header.ballot, member, header.last, next);
        let told = if probed == TallyVerdict::Repeat { counted } else { probed };
        turn.io.stats.add(told.into(), 1);
        let heard = Heard {
            quorum: counted == TallyVerdict::Quorum,
            probe: probed == TallyVerdict::Quorum,
        };
        if ignored(counted) || ignored(probed) {
            // Half of it may have counted all the same, and then who waits for that must be told.
            return heard;
        }
        if probed == TallyVerdict::Quorum {
            self.arm_probe(turn);
        }
        let progressed = counted != TallyVerdict::Repeat;
        if progressed {
            self.measure(member, header.last, turn.now);
        }
        let gap = header.flags & flags::GAP != 0;
        self.note_position(member, next, progressed, gap, turn);
        self.window.release(self.acked_by_all(turn));
        heard
    }

    fn acked_by_all(&self, turn: &Turn<'_, impl Keeper>) -> Slot {
        let tally = turn.keeper.tally();
        turn.seat
            .others()
            .map(|index| tally.acked(index))
            .min()
            .unwrap_or(Slot::MAX)
            .min(tally.quorum())
    }

    pub(crate) fn next_timeout(&self) -> Option<Time> {
        self.peers.iter().filter_map(|peer| peer.deadline).chain(self.probe_deadline).min()
    }

    /// The same leadership under a new membership, which the keeper has taken over already.
    pub(crate) fn reseat(&mut self, change: &Reseating<'_>, turn: &mut Turn<'_, impl Keeper>) {
        let next = turn.keeper.tally().sent().next();
        self.peers = (0..change.gate.members)
            .map(|index| match change.former(MemberIndex(index)) {
                Some(old) => self.peers[usize::from(old)].clone(),
                None => Peer::new(next),
            })
            .collect();
        self.probe_rounds = 0;
        self.arm_probe(turn);
        self.arm_outstanding(turn);
    }
}

/// What the keeper knows of a member's position beside the engine, if anything.
#[inline(always)]
fn heard_next(keeper: &impl Keeper, member: MemberIndex) -> Option<Slot> {
    keeper
        .heard_next(member)
        .filter(|&next| next != Slot::ZERO)
        .map(|next| next.min(keeper.tally().sent().next()))
}

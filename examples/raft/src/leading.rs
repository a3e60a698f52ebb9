//! The leader's side: what raft appends becomes broadcast frames, its heartbeats become probes, and
//! what the members acknowledged and answered becomes raft's response messages.
//!
//! Each member is on one of two lanes. On the fast one the transport brings it everything, so raft's
//! own append messages to it are dropped. A member that does not follow yet, has fallen behind the
//! window, or answers no more is on the slow lane: raft's messages go out, until the member shows by
//! an acknowledgement that the transport reaches it again.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use electrode_transport::{Ballot, Frame, NodeId, Progress, QuorumTransport, Slot, TransportError};
use raft::eraftpb::{Entry, Message, MessageType};

use crate::codec::{entry_len, push_entry};
use crate::error::Result;
use crate::machine::StateMachine;
use crate::node::{Node, Seat};

/// Heartbeat intervals for which a member may answer nothing, or make no progress, before it is taken
/// off the fast lane.
const PATIENCE: u32 = 3;
/// Heartbeat rounds whose answers are waited for.
const ROUNDS_MAX: usize = 16;
/// Frames handed over in one call.
const FRAMES_PER_CALL: usize = 32;

struct Body {
    first: u64,
    last: u64,
    bytes: Vec<u8>,
}

/// A member as the transport shows it.
#[derive(Debug)]
struct Lane {
    seen: Progress,
    /// Ticks since it last answered anything; at the start it never has.
    silent: u32,
    /// Ticks since its position last moved although something was outstanding.
    stuck: u32,
    is_fast: bool,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={} in {} bytes", self.first, self.last, self.bytes.len())
    }
}

/// One heartbeat of raft as a probe.
#[derive(Debug)]
struct Round {
    number: u64,
    context: Vec<u8>,
    answered: Vec<u64>,
}

/// A leadership at the fence's ballot.
#[derive(Debug)]
pub(crate) struct Leading {
    ballot: Ballot,
    /// The last index that was broadcast.
    sent: u64,
    /// Frames that the window had no room for yet; raft's limit of uncommitted bytes bounds them.
    waiting: VecDeque<Body>,
    lanes: BTreeMap<u64, Lane>,
    rounds: VecDeque<Round>,
    /// Ticks for which a member may be silent or stuck.
    patience: u32,
}

impl Leading {
    fn new(ballot: Ballot, first: u64, others: impl Iterator<Item = u64>, patience: u32) -> Self {
        let lane = |id| {
            let seen = Progress { member: NodeId(id), next: Slot(first), ..Progress::default() };
            (id, Lane { seen, silent: patience, stuck: 0, is_fast: false })
        };
        Self {
            ballot,
            sent: first - 1,
            waiting: VecDeque::new(),
            lanes: others.map(lane).collect(),
            rounds: VecDeque::new(),
            patience,
        }
    }

    pub(crate) fn tick(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.silent = lane.silent.saturating_add(1);
            lane.stuck = lane.stuck.saturating_add(1);
        }
    }

    /// Packs entries into as few frames as they fit.
    fn pack(&mut self, entries: &[Entry], body_len_max: usize) {
        let mut open = false;
        for entry in entries {
            let last = self.waiting.back_mut().filter(|_| open);
            match last.filter(|body| body.bytes.len() + entry_len(entry) <= body_len_max) {
                Some(body) => {
                    push_entry(&mut body.bytes, entry);
                    body.last = entry.index;
                }
                None => {
                    let mut bytes = Vec::new();
                    push_entry(&mut bytes, entry);
                    self.waiting.push_back(Body { first: entry.index, last: entry.index, bytes });
                    open = true;
                }
            }
        }
    }

    /// Notes where a member stands. Returns whether it just fell off the fast lane.
    fn observe(&mut self, now: Progress, window_start: Slot) -> bool {
        let Some(lane) = self.lanes.get_mut(&now.member.0) else { return false };
        if now != lane.seen {
            lane.silent = 0;
        }
        if now.next != lane.seen.next || now.next.0 > self.sent {
            lane.stuck = 0;
        }
        lane.seen = now;
        let was_fast = lane.is_fast;
        lane.is_fast =
            lane.silent < self.patience && lane.stuck < self.patience && now.next >= window_start;
        was_fast && !lane.is_fast
    }

    /// The rounds' contexts that a member has answered and raft has not heard of.
    fn answers_of(&mut self, now: Progress) -> Vec<Vec<u8>> {
        let member = now.member.0;
        let mut answers = Vec::new();
        for round in &mut self.rounds {
            if now.probed >= round.number && !round.answered.contains(&member) {
                round.answered.push(member);
                answers.push(round.context.clone());
            }
        }
        let lanes = self.lanes.len();
        self.rounds.retain(|round| round.answered.len() < lanes);
        answers
    }

    pub(crate) fn is_fast(&self, member: u64) -> bool {
        self.lanes.get(&member).is_some_and(|lane| lane.is_fast)
    }
}

impl<T: QuorumTransport, M: StateMachine> Node<T, M> {
    /// Raft leads at the fence's ballot and has appended `entries`, its first ones perhaps.
    pub(crate) fn broadcast(&mut self, entries: &[Entry]) -> Result<()> {
        if let (Seat::Idle, Some(token), Some(first)) = (&self.seat, &self.token, entries.first()) {
            self.transport.lead(token, Slot(first.index))?;
            let others = self.links.keys().copied();
            let patience = PATIENCE * self.options.heartbeat_ticks as u32;
            let leading = Leading::new(token.ballot(), first.index, others, patience);
            self.seat = Seat::Leading(leading);
        }
        if let Seat::Leading(leading) = &mut self.seat {
            leading.pack(entries, self.transport.capabilities().body_len_max);
        }
        self.flush_frames()
    }

    /// Hands waiting frames to the transport while its window has room.
    fn flush_frames(&mut self) -> Result<()> {
        let Seat::Leading(leading) = &mut self.seat else { return Ok(()) };
        while !leading.waiting.is_empty() {
            let frames: Vec<Frame<'_>> = leading
                .waiting
                .iter()
                .take(FRAMES_PER_CALL)
                .map(|body| Frame {
                    first: Slot(body.first),
                    last: Slot(body.last),
                    body: &body.bytes,
                })
                .collect();
            match self.transport.try_broadcast(leading.ballot, &frames) {
                Ok(taken) => {
                    let mut taken = leading.waiting.drain(..taken);
                    leading.sent = taken.next_back().map_or(leading.sent, |body| body.last);
                }
                Err(TransportError::Backpressure) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The leader's own log is on disk through `persisted`, and raft has committed through `commit`.
    pub(crate) fn tell_progress(&mut self, persisted: u64, commit: u64) -> Result<()> {
        if let Seat::Leading(leading) = &self.seat {
            let through = Slot(persisted.min(leading.sent));
            self.transport.acknowledge(leading.ballot, through)?;
            self.transport.set_commit(leading.ballot, Slot(commit))?;
        }
        Ok(())
    }

    /// Raft's heartbeats: one probe for all who follow, messages for the others.
    pub(crate) fn beat(&mut self, heartbeats: Vec<Message>) -> Result<()> {
        let Seat::Leading(leading) = &mut self.seat else { return Ok(()) };
        let mut contexts: Vec<&[u8]> = heartbeats.iter().map(|beat| &beat.context[..]).collect();
        contexts.dedup();
        for context in contexts {
            let probe = self.transport.probe(leading.ballot)?;
            let context = context.to_vec();
            leading.rounds.push_back(Round { number: probe.number, context, answered: Vec::new() });
        }
        while leading.rounds.len() > ROUNDS_MAX {
            leading.rounds.pop_front();
        }
        for beat in heartbeats {
            if !self.is_on_fast_lane(beat.to) {
                self.send(&beat)?;
            }
        }
        Ok(())
    }

    /// An append message for the slow lane, without what was not broadcast yet. A member must not be
    /// ahead of the transport: its acknowledgement of slots that were never broadcast is not believed,
    /// and the window, waiting for it, would never move again.
    pub(crate) fn hold_back(&self, append: &mut Message) {
        if let Seat::Leading(leading) = &self.seat {
            let entries: Vec<Entry> = append.take_entries().into();
            let sent = entries.into_iter().filter(|entry| entry.index <= leading.sent);
            append.set_entries(sent.collect::<Vec<_>>().into());
        }
    }

    pub(crate) fn is_on_fast_lane(&self, member: u64) -> bool {
        matches!(&self.seat, Seat::Leading(leading) if leading.is_fast(member))
    }

    /// Feeds raft's progress from what the members acknowledged and answered.
    pub(crate) fn watch_followers(&mut self) -> Result<()> {
        let Seat::Leading(leading) = &mut self.seat else { return Ok(()) };
        let ballot = leading.ballot;
        if let Some(by) = self.transport.quorum(ballot)?.superseded_by {
            return self.adopt(by.0);
        }
        let acked = self.transport.acked(ballot)?;
        let (own, mut responses, mut lost) = (self.transport.node(), Vec::new(), Vec::new());
        for now in acked.iter().filter(|progress| progress.member != own) {
            let before =
                leading.lanes.get(&now.member.0).map_or(Slot::ZERO, |lane| lane.seen.acked);
            if now.acked > before {
                responses.push(response(now, MessageType::MsgAppendResponse));
            }
            for context in leading.answers_of(now) {
                let mut answer = response(now, MessageType::MsgHeartbeatResponse);
                answer.context = context.into();
                responses.push(answer);
            }
            if leading.observe(now, acked.window_start) {
                lost.push(now.member.0);
            }
        }
        for mut response in responses {
            response.to = own.0;
            response.term = ballot.0;
            self.step(response)?;
        }
        for member in lost {
            // What raft believes to be on its way came from the transport, and will come no more.
            self.raw.report_unreachable(member);
        }
        self.settle()?;
        self.flush_frames()?;
        let log = &self.raw.raft.raft_log;
        self.tell_progress(log.persisted, log.committed)
    }
}

/// What raft would have received from a member, had it answered by message.
fn response(progress: Progress, kind: MessageType) -> Message {
    let mut response =
        Message { from: progress.member.0, index: progress.acked.0, ..Message::default() };
    response.set_msg_type(kind);
    response
}

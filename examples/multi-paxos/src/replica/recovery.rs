//! A member that has lost its memory (`Received` mode) learns from the others what it may have
//! promised and acknowledged, before it does either again.
//!
//! After Viewstamped Replication Revisited (Liskov and Cowling, 2012), section 4.3: answers of a
//! quorum of the others, none of them recovering, and the log of the newest leader among them. And
//! after Michael et al. (DISC 2017), who found that too little: a promise sent before the crash could
//! be counted after it. So each member counts its lives, announces a new one to a quorum first, and
//! candidates leave out promises of a life that anybody in their quorum knows to be over.
//!
//! Why the acknowledgements of the lost life do no harm: they were to leaders at or below the newest
//! ballot that the quorum knows. What was chosen with their help below it, phase 1 of the newest
//! leader has found, without this member's help or with a promise that told of it. And at it, the
//! newest leader had in its log, before this member's answer, whatever it was acknowledged; this
//! member waits until it has all of that, chosen.

use std::collections::BTreeMap;
use std::time::Duration;

use electrode_transport::{AckMode, Ballot, NodeId, QuorumTransport, Slot};

use super::{Replica, Result, Role};
use crate::ballots;
use crate::machine::StateMachine;
use crate::message::Message;
use crate::store::LogStore;

/// A member without memory.
#[derive(Debug)]
pub(super) struct Recovering {
    nonce: u64,
    /// Which life this is; zero until a quorum has told of the earlier ones.
    life: u32,
    hellos: BTreeMap<NodeId, u32>,
    answers: BTreeMap<NodeId, Answer>,
    goal: Option<Goal>,
    /// The highest ballot that state was transferred from.
    pub(super) floor: Ballot,
    resend_at: Duration,
}

#[derive(Debug)]
struct Answer {
    promised: Ballot,
    leads: bool,
    last: Slot,
    lives: Vec<u32>,
}

/// What must be here, chosen, before this member takes part again.
#[derive(Clone, Copy, Debug)]
struct Goal {
    ballot: Ballot,
    last: Slot,
}

impl Recovering {
    pub(super) fn new(nonce: u64, now: Duration) -> Self {
        Self {
            nonce,
            life: 0,
            hellos: BTreeMap::new(),
            answers: BTreeMap::new(),
            goal: None,
            floor: Ballot::NONE,
            resend_at: now,
        }
    }

    pub(super) fn deadline(&self) -> Duration {
        self.resend_at
    }
}

impl<T: QuorumTransport, L: LogStore, S: StateMachine> Replica<T, L, S> {
    pub(super) fn poll_recovering(&mut self) -> Result<()> {
        let Role::Recovering(recovering) = &mut self.role else { return Ok(()) };
        if self.now >= recovering.resend_at {
            recovering.resend_at = self.now + self.config.resend;
            let message = Message::Recover { nonce: recovering.nonce, life: recovering.life };
            self.send_to_others(&message)?;
        }
        self.finish_recovery()
    }

    /// Answers a member without memory, and remembers its new life from here on: promises of this
    /// member tell of it.
    pub(super) fn handle_recover(&mut self, node: NodeId, nonce: u64, life: u32) -> Result<()> {
        let Some(index) = self.seats.index_of(node) else { return Ok(()) };
        if self.config.mode != AckMode::Received {
            return Ok(());
        }
        self.lives[index] = self.lives[index].max(life);
        let answer = Message::Recovery {
            nonce,
            life,
            promised: self.promised,
            leads: matches!(self.role, Role::Leader(_)),
            last: self.store.last(),
            chosen: self.chosen,
            lives: self.lives.clone(),
        };
        self.send(node, &answer)
    }

    pub(super) fn handle_recovery(&mut self, node: NodeId, answer: Message) -> Result<()> {
        let Message::Recovery { nonce, life, promised, leads, last, lives, .. } = answer else {
            return Ok(());
        };
        let Role::Recovering(recovering) = &mut self.role else { return Ok(()) };
        let sane = promised == Ballot::NONE || ballots::is_sane(promised);
        let ours = nonce == recovering.nonce && lives.len() == self.seats.count() && sane;
        if !ours || !self.seats.is_voter(node) {
            return Ok(());
        }
        if recovering.life == 0 {
            let own = usize::from(self.seats.own);
            recovering.hellos.insert(node, lives[own]);
            if recovering.hellos.len() >= self.seats.recovery_needed {
                let before = recovering.hellos.values().copied().max().unwrap_or_default();
                recovering.life = before.saturating_add(1);
                recovering.resend_at = self.now;
                self.lives[own] = recovering.life;
            }
            return Ok(());
        }
        if life == recovering.life {
            recovering.answers.insert(node, Answer { promised, leads, last, lives });
            return self.set_goal();
        }
        Ok(())
    }

    /// A quorum of answers, each of a member's present life, with the newest leader's among them,
    /// says what this member must have. A leader that fell meanwhile makes way for the next one's.
    fn set_goal(&mut self) -> Result<()> {
        let Role::Recovering(recovering) = &mut self.role else { return Ok(()) };
        for answer in recovering.answers.values() {
            for (known, life) in self.lives.iter_mut().zip(&answer.lives) {
                *known = (*known).max(*life);
            }
        }
        recovering.answers.retain(|node, answer| {
            let index = self.seats.index_of(*node).unwrap_or_default();
            answer.lives[index] >= self.lives[index]
        });
        if recovering.answers.len() < self.seats.recovery_needed {
            return Ok(());
        }
        let newest = recovering.answers.values().map(|answer| answer.promised).max();
        let ballot = newest.unwrap_or(Ballot::NONE);
        let Some(leader) = self.seats.leader_of(ballot) else { return Ok(()) };
        let Some(answer) = recovering.answers.get(&leader) else { return Ok(()) };
        let stands = answer.leads && answer.promised == ballot;
        if !stands || recovering.goal.is_some_and(|goal| goal.ballot >= ballot) {
            return Ok(());
        }
        let last = answer.last;
        recovering.goal = Some(Goal { ballot, last });
        self.want(last, leader)
    }

    fn finish_recovery(&mut self) -> Result<()> {
        let Role::Recovering(recovering) = &self.role else { return Ok(()) };
        let Some(goal) = recovering.goal else { return Ok(()) };
        if self.chosen < goal.last {
            // The fetch ends where its peer's chosen slots did; what was in flight takes longer.
            let leader = self.seats.leader_of(goal.ballot);
            return leader.map_or(Ok(()), |leader| self.want(goal.last, leader));
        }
        let ballot = goal.ballot.max(recovering.floor);
        self.counters.recoveries += 1;
        self.adopt(ballot)
    }
}

//! Following, falling silent, and standing for election.

use std::time::Duration;

use electrode_transport::{Ballot, Fenced, NodeId, QuorumTransport, TransportError};

use super::candidate::Candidate;
use super::{Replica, Result, Role};
use crate::ballots;
use crate::machine::StateMachine;
use crate::message::Message;
use crate::store::LogStore;

/// A member that follows a leader, or waits for one.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) leader: Option<NodeId>,
    /// When the leader was last heard, or the waiting began.
    pub(super) heard: Duration,
    timeout: Duration,
    pre_vote: Option<PreVote>,
}

/// A question round before an election, so that a member that merely cannot hear the leader does not
/// depose it (Raft thesis, section 9.6).
#[derive(Debug)]
struct PreVote {
    attempt: u64,
    granted: Vec<NodeId>,
    until: Duration,
}

impl Follower {
    pub(super) fn unled(now: Duration, timeout: Duration) -> Self {
        Self { leader: None, heard: now, timeout, pre_vote: None }
    }

    pub(super) fn deadline(&self) -> Duration {
        self.pre_vote.as_ref().map_or(self.heard + self.timeout, |pre_vote| pre_vote.until)
    }
}

impl<T: QuorumTransport, L: LogStore, S: StateMachine> Replica<T, L, S> {
    /// Raises the fence and makes the promise durable. Afterwards nothing below `ballot` is accepted
    /// here, everything that was is in the store, and the token is held.
    pub(super) fn promise(&mut self, ballot: Ballot) -> Result<()> {
        let Fenced { token, entries } = self.transport.fence(ballot)?;
        self.accept(&entries)?;
        self.advance_chosen()?;
        if ballot > self.store.promise() {
            self.store.set_promise(ballot)?;
        }
        self.store.sync()?;
        self.promised = ballot;
        self.seen = self.seen.max(ballot);
        self.token = Some(token);
        self.accepted = self.chosen;
        drop(self.unapplied.split_off(&self.chosen.next()));
        Ok(())
    }

    /// Promises `ballot` and follows its owner from here on. The owner may not lead yet: following
    /// it already changes nothing until it does, and spares another round.
    pub(super) fn adopt(&mut self, ballot: Ballot) -> Result<()> {
        self.step_down()?;
        self.promise(ballot)?;
        self.await_leader(self.config.election_min, self.config.election_max);
        let Some(leader) = self.seats.leader_of(ballot).filter(|id| *id != self.seats.node) else {
            return Ok(());
        };
        self.reload_accepted()?;
        if let (Some(token), Role::Follower(follower)) = (&self.token, &mut self.role) {
            self.transport.follow(token, leader, self.accepted.next())?;
            follower.leader = Some(leader);
        }
        Ok(())
    }

    /// Waits for a leader, for some time between the two.
    pub(super) fn await_leader(&mut self, min: Duration, max: Duration) {
        let timeout = self.dice.between(min, max);
        self.role = Role::Follower(Follower::unled(self.now, timeout));
    }

    /// Stops leading, if it leads. Whoever waits is told to ask the next leader.
    pub(super) fn step_down(&mut self) -> Result<()> {
        let Role::Leader(leader) = &self.role else { return Ok(()) };
        match self.transport.resign(leader.ballot) {
            Ok(()) | Err(TransportError::NotLeading { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.fail_requests(None);
        // It was the leader, so it is likely the best informed: its turn comes first.
        self.await_leader(Duration::ZERO, self.config.election_min);
        Ok(())
    }

    /// Somebody stands at `ballot`. Ballots that leave none above are damage.
    pub(super) fn note_ballot(&mut self, ballot: Ballot) {
        if ballots::is_sane(ballot) {
            self.seen = self.seen.max(ballot);
        }
    }

    pub(super) fn poll_follower(&mut self) -> Result<()> {
        if !self.seats.is_voter(self.seats.node) {
            return Ok(());
        }
        let Role::Follower(follower) = &mut self.role else { return Ok(()) };
        let silent = self.now >= follower.heard + follower.timeout;
        match &follower.pre_vote {
            Some(_) if !silent => follower.pre_vote = None,
            Some(pre_vote) if pre_vote.granted.len() + 1 >= self.seats.election_needed => {
                return self.start_election();
            }
            Some(pre_vote) if self.now < pre_vote.until => {}
            None if !silent => {}
            _ => return self.start_pre_vote(),
        }
        Ok(())
    }

    fn start_pre_vote(&mut self) -> Result<()> {
        if self.seats.election_needed <= 1 {
            return self.start_election();
        }
        let attempt = self.dice.number();
        let until = self.now + self.dice.between(self.config.heartbeat, self.config.election_min);
        if let Role::Follower(follower) = &mut self.role {
            follower.pre_vote = Some(PreVote { attempt, granted: Vec::new(), until });
        }
        self.send_to_others(&Message::PreVote { attempt })
    }

    pub(super) fn handle_pre_vote(&mut self, from: NodeId, attempt: u64) -> Result<()> {
        let granted = match &self.role {
            Role::Follower(follower) => {
                let silence = self.now.saturating_sub(follower.heard);
                follower.leader.is_none_or(|leader| leader == from)
                    || silence >= self.config.election_min
            }
            Role::Candidate(_) => true,
            _ => false,
        };
        let promised = self.promised;
        self.send(from, &Message::PreVoteReply { attempt, granted, promised })?;
        if let Role::Leader(leader) = &self.role {
            let message = Message::Lead { ballot: leader.ballot, chosen: self.chosen };
            self.send(from, &message)?;
        }
        Ok(())
    }

    pub(super) fn handle_pre_vote_reply(
        &mut self,
        from: NodeId,
        attempt: u64,
        granted: bool,
        promised: Ballot,
    ) {
        self.note_ballot(promised);
        let voter = self.seats.is_voter(from);
        let Role::Follower(Follower { pre_vote: Some(pre_vote), .. }) = &mut self.role else {
            return;
        };
        if pre_vote.attempt == attempt && granted && voter && !pre_vote.granted.contains(&from) {
            pre_vote.granted.push(from);
        }
    }

    fn start_election(&mut self) -> Result<()> {
        self.counters.elections += 1;
        let top = self.promised.max(self.seen);
        let ballot = ballots::ballot(ballots::round(top) + 1, self.seats.own);
        self.promise(ballot)?;
        let attempt = self.dice.number();
        let patience = self.dice.between(self.config.election_min, self.config.election_max);
        self.fetch = None;
        let from = self.chosen.next();
        let candidate = Candidate::new(ballot, attempt, from, self.now, patience);
        self.role = Role::Candidate(candidate);
        self.poll_candidate()
    }

    /// A leader makes itself known, or tells a member that it lags behind.
    pub(super) fn handle_lead(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        chosen: electrode_transport::Slot,
    ) -> Result<()> {
        if self.seats.leader_of(ballot) != Some(from) || ballot < self.promised {
            return Ok(());
        }
        if ballot > self.promised {
            if !ballots::is_sane(ballot) {
                return Ok(());
            }
            self.adopt(ballot)?;
        }
        if let Role::Follower(follower) = &self.role
            && follower.leader == Some(from)
            && chosen > self.chosen
        {
            self.want(chosen, from)?;
        }
        Ok(())
    }
}

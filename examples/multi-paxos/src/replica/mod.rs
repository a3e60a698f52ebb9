//! One member of a Multi-Paxos group (Lamport, "Paxos Made Simple", 2001; van Renesse and
//! Altinbuken, "Paxos Made Moderately Complex", 2015).
//!
//! What holds at all times, and what the modules rely on:
//!
//! - Entries through `chosen` are chosen values, and none was chosen at a ballot above `promised`:
//!   whoever learns from a member at a higher ballot raises its own fence first. So this member's
//!   log through `chosen` agrees with that of the leader of `promised`, and may be claimed to it.
//! - Entries through `accepted` agree with the followed leader's log.
//! - A promise is in the store, synced, before anybody hears of it, and the token of its fence is
//!   held as long as it is the newest.
//! - What is acknowledged is in the store, synced.

mod apply;
mod candidate;
mod election;
mod entries;
mod fetch;
mod inbox;
mod leader;
mod reads;
mod recovery;
mod requests;
mod serve;
mod start;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use electrode_transport::{Ballot, FenceToken, LogBatch, NodeId, QuorumTransport, Slot};

use self::candidate::Candidate;
use self::election::Follower;
use self::fetch::Fetch;
use self::leader::Leader;
use self::recovery::Recovering;
use self::requests::Requests;
use self::serve::Served;
use crate::config::ReplicaConfig;
use crate::dice::Dice;
use crate::error::{ProposeError, ReplicaError};
use crate::event::{Counters, Event, Request, RoleName, Status};
use crate::machine::StateMachine;
use crate::message::{ENTRY_OVERHEAD, entries_room};
use crate::seats::Seats;
use crate::sessions::Sessions;
use crate::store::LogStore;
use crate::value;

pub(crate) type Result<T, E = ReplicaError> = core::result::Result<T, E>;

#[derive(Debug)]
enum Role {
    Follower(Follower),
    Candidate(Candidate),
    Leader(Leader),
    Recovering(Recovering),
    Stopped,
}

/// One member of a Multi-Paxos group. See the crate's documentation for how to drive it.
///
/// It never blocks (the store's sync excepted), never reads a clock, and two replicas with equal
/// seeds, calls and transports do the same.
#[derive(Debug)]
pub struct Replica<T, L, S> {
    config: ReplicaConfig,
    transport: T,
    store: L,
    machine: S,
    seats: Seats,
    dice: Dice,
    now: Duration,
    role: Role,
    promised: Ballot,
    token: Option<FenceToken>,
    /// The highest ballot heard of, promised or not: elections begin above it.
    seen: Ballot,
    /// The commit slot that the followed leader told of.
    commit: Slot,
    chosen: Slot,
    accepted: Slot,
    applied: Slot,
    /// Values above `applied` that are chosen or accepted at `promised`, to spare reading them back.
    unapplied: BTreeMap<Slot, Vec<u8>>,
    sessions: Sessions,
    digest: u64,
    snapshot: Slot,
    bytes_since_snapshot: u64,
    requests: Requests,
    fetch: Option<Fetch>,
    /// Since when slots are known to be chosen that are not here.
    lag_since: Option<Duration>,
    served: Option<Served>,
    /// How often each member has lost its memory (`Received` mode), as far as is known here.
    lives: Vec<u32>,
    events: VecDeque<Event>,
    batch: LogBatch,
    outbox: Vec<u8>,
    counters: Counters,
}

impl<T: QuorumTransport, L: LogStore, S: StateMachine> Replica<T, L, S> {
    /// Does everything that is due: takes in messages and entries, stores, acknowledges, elects,
    /// proposes, applies. `now` is the time since a start of the caller's choosing and never falls.
    ///
    /// Call it whenever the transport may have something ([`wait`] has returned), after requests
    /// were put in (a batch of them costs one call and one sync), and at
    /// [`next_deadline`](Self::next_deadline) at the latest. It does not call [`drive`].
    ///
    /// # Errors
    /// The replica has stopped and the group is closed: [`ReplicaError`] says why, and
    /// [`ReplicaError::Stopped`] from then on.
    ///
    /// [`wait`]: electrode_transport::TransportCore::wait
    /// [`drive`]: electrode_transport::TransportCore::drive
    pub fn poll(&mut self, now: Duration) -> Result<()> {
        if matches!(self.role, Role::Stopped) {
            return Err(ReplicaError::Stopped);
        }
        self.now = self.now.max(now);
        let done = self.poll_all();
        if done.is_err() {
            self.stop();
        }
        done
    }

    fn poll_all(&mut self) -> Result<()> {
        self.poll_messages()?;
        self.poll_entries()?;
        self.poll_fetch()?;
        match self.role {
            Role::Follower(_) => self.poll_follower()?,
            Role::Candidate(_) => self.poll_candidate()?,
            Role::Leader(_) => self.poll_leader()?,
            Role::Recovering(_) => self.poll_recovering()?,
            Role::Stopped => {}
        }
        self.apply_chosen()?;
        self.poll_reads()?;
        self.snapshot_if_due()
    }

    /// Ends this replica: closes the group, and tells everybody who waits to ask another one.
    pub fn stop(&mut self) {
        self.transport.close();
        self.fail_requests(None);
        self.role = Role::Stopped;
        self.token = None;
    }

    /// When [`poll`](Self::poll) must be called again even if nothing arrives. May be in the past:
    /// then at once.
    pub fn next_deadline(&self) -> Duration {
        let role = match &self.role {
            Role::Follower(follower) => follower.deadline(),
            Role::Candidate(candidate) => candidate.deadline(),
            Role::Leader(leader) => self.leader_deadline(leader),
            Role::Recovering(recovering) => recovering.deadline(),
            Role::Stopped => return Duration::MAX,
        };
        let fetch = self.fetch.as_ref().map(|fetch| fetch.deadline(self.config.resend));
        let lag = self.lag_since.map(|since| since + self.lag_allowed());
        [Some(role), fetch.or(lag)].into_iter().flatten().min().unwrap_or(role)
    }

    /// The next event, oldest first. Take them all after each call of [`poll`](Self::poll),
    /// [`propose`](Self::propose) or [`read`](Self::read): the queue has no other bound than the
    /// requests that are open.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Opens a client session: the answer is an [`Event::Opened`] (or [`Event::NotOpened`]) with this
    /// tag. Opening is not idempotent, but a session too many only takes room until it is evicted.
    ///
    /// # Errors
    /// [`ProposeError`]; nothing has happened then.
    pub fn open_session(&mut self, tag: u64) -> Result<(), ProposeError> {
        self.check_leading()?;
        self.requests.open(tag, self.seats.node, self.config.requests_max)
    }

    /// Takes a client's command for execution, once, however often it is proposed, here or on other
    /// replicas. The answer is an [`Event::Reply`]: at once if it was executed before, else after a
    /// quorum has stored it, which needs [`poll`](Self::poll).
    ///
    /// # Errors
    /// [`ProposeError`]; nothing has happened then.
    pub fn propose(&mut self, request: Request) -> Result<(), ProposeError> {
        self.check_leading()?;
        let (len, max) = (request.command.len(), self.command_len_max());
        if len > max {
            return Err(ProposeError::TooLarge { len, max });
        }
        self.take_request(request)
    }

    /// Answers a query from the state as it is at some moment after the call: linearizable. No log
    /// entry is written; a quorum confirms the leadership, for all waiting reads at once. The answer
    /// is an [`Event::Read`] with this tag.
    ///
    /// # Errors
    /// [`ProposeError::NotLeader`], [`ProposeError::Busy`], [`ProposeError::Stopped`].
    pub fn read(&mut self, tag: u64, query: Vec<u8>) -> Result<(), ProposeError> {
        self.check_leading()?;
        self.requests.read(tag, query, self.config.requests_max)
    }

    fn check_leading(&self) -> Result<(), ProposeError> {
        match self.role {
            Role::Leader(_) => Ok(()),
            Role::Stopped => Err(ProposeError::Stopped),
            _ => Err(ProposeError::NotLeader { leader: self.leader() }),
        }
    }

    /// The longest command that fits a slot.
    pub fn command_len_max(&self) -> usize {
        value::command_len_max(self.value_len_max())
    }

    /// A value must fit a broadcast frame, and a promise with everything that it carries beside.
    fn value_len_max(&self) -> usize {
        self.entries_room().saturating_sub(ENTRY_OVERHEAD)
    }

    fn entries_room(&self) -> usize {
        entries_room(self.transport.capabilities().body_len_max, self.seats.count())
    }

    /// Who leads, as far as this replica knows.
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Leader(_) => Some(self.seats.node),
            Role::Follower(follower) => follower.leader,
            _ => None,
        }
    }

    /// Where this replica stands.
    pub fn status(&self) -> Status {
        let (role, in_flight) = match &self.role {
            Role::Follower(_) => (RoleName::Follower, 0),
            Role::Candidate(_) => (RoleName::Candidate, 0),
            Role::Leader(leader) => (RoleName::Leader, leader.in_flight(self.chosen)),
            Role::Recovering(_) => (RoleName::Recovering, 0),
            Role::Stopped => (RoleName::Stopped, 0),
        };
        Status {
            node: self.seats.node,
            role,
            ballot: self.promised,
            leader: self.leader(),
            commit: self.chosen,
            applied: self.applied,
            last: self.store.last(),
            snapshot: self.snapshot,
            digest: self.digest,
            sessions: self.sessions.len(),
            in_flight,
            waiting: self.requests.waiting_count(),
        }
    }

    /// What this replica has done since it was started.
    pub fn counters(&self) -> Counters {
        Counters { sessions_evicted: self.sessions.evicted, ..self.counters }
    }

    /// The state machine as applied here: not linearizable, for status pages and tests.
    pub fn machine(&self) -> &S {
        &self.machine
    }

    /// The transport, for its waiting, driving and counters. Calls that lead, follow or fence are the
    /// replica's own affair.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// Gives the leadership up, as before maintenance: whoever waits is told to ask another one, and
    /// this replica stands again only if the others have let two elections pass. Does nothing on a
    /// replica that does not lead.
    ///
    /// # Errors
    /// [`ReplicaError::Transport`].
    pub fn resign(&mut self) -> Result<()> {
        if matches!(self.role, Role::Leader(_)) {
            self.step_down()?;
            self.await_leader(self.config.election_max * 2, self.config.election_max * 3);
        }
        Ok(())
    }
}

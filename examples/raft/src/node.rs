//! One raft node on a transport: its inputs are what has arrived, time, and proposals.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use electrode_transport::{AckMode, Ballot, FenceToken, Fenced, LogBatch, NodeId, QuorumTransport};
use raft::eraftpb::Message;
use raft::{Config, RawNode, ReadState, SnapshotStatus, StateRole};

use crate::codec::command_len_max;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::following::Following;
use crate::leading::Leading;
use crate::links::Link;
use crate::machine::StateMachine;
use crate::parts::Outcome;
use crate::term::{self, Raise};

/// How a node behaves. The same on all nodes, except that their `election_ticks` may differ.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often [`Node::tick`] is called.
    pub tick: Duration,
    /// Ticks between two heartbeats of a leader.
    pub heartbeat_ticks: usize,
    /// Raft picks each election time-out in this range of ticks.
    pub election_ticks: Range<usize>,
    /// Entries applied between two snapshots.
    pub snapshot_every: u64,
    /// Entries before a snapshot that stay in the log, for followers a little behind.
    pub snapshot_keep: u64,
    /// Bytes of log entries in one message to a follower that is behind the transport's window.
    pub catch_up_len_max: u64,
    /// Bytes of commands that may be uncommitted before proposals are dropped.
    pub uncommitted_len_max: u64,
}

impl Default for Options {
    /// Ticks of 10 ms, heartbeats each 30, elections after 150 to 300; a snapshot each 10,000
    /// entries, of which 1,000 stay; catch-up by 16 KiB; 4 MiB uncommitted.
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(10),
            heartbeat_ticks: 3,
            election_ticks: 15..30,
            snapshot_every: 10_000,
            snapshot_keep: 1_000,
            catch_up_len_max: 16 << 10,
            uncommitted_len_max: 4 << 20,
        }
    }
}

/// What the node is to the transport at the fence's ballot.
#[derive(Debug)]
pub(crate) enum Seat {
    Idle,
    Following(Following),
    Leading(Leading),
}

/// A raft node whose appends, acknowledgements and heartbeats the transport carries.
///
/// It never blocks and starts no thread: whoever owns it drives the transport, calls
/// [`poll`](Self::poll) when something may have arrived and [`tick`](Self::tick) each
/// [`Options::tick`]. Unless an [`Error`] says otherwise, it must be dropped after one.
pub struct Node<T, M> {
    pub(crate) raw: RawNode<Disk>,
    pub(crate) disk: Disk,
    pub(crate) transport: T,
    pub(crate) machine: M,
    pub(crate) options: Options,
    /// Holds the fence at raft's term; none at term zero, where nothing is promised yet.
    pub(crate) token: Option<FenceToken>,
    pub(crate) seat: Seat,
    pub(crate) batch: LogBatch,
    pub(crate) links: BTreeMap<u64, Link>,
    pub(crate) reads: Vec<ReadState>,
    /// Snapshots that could not be sent, to be reported once raft may be called again.
    pub(crate) snapshots_lost: Vec<u64>,
}

impl<T: QuorumTransport, M> fmt::Debug for Node<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let raft = &self.raw.raft;
        f.debug_struct("Node")
            .field("id", &raft.id)
            .field("term", &raft.term)
            .field("state", &raft.state)
            .field("leader", &raft.leader_id)
            .field("log", &raft.raft_log.last_index())
            .field("committed", &raft.raft_log.committed)
            .field("applied", &raft.raft_log.applied)
            .field("seat", &self.seat)
            .finish_non_exhaustive()
    }
}

impl<T: QuorumTransport, M: StateMachine> Node<T, M> {
    /// A node that goes on from what is on its disk. `machine` is in its initial state.
    ///
    /// # Errors
    /// [`Error::Mode`] unless the group is `Persisted`; [`Error::Transport`]; [`Error::Raft`].
    pub fn new(transport: T, disk: Disk, mut machine: M, options: Options) -> Result<Self> {
        let mode = transport.capabilities().mode;
        if mode != AckMode::Persisted {
            return Err(Error::Mode { mode });
        }
        let snapshot = disk.newest_snapshot();
        let applied = snapshot.get_metadata().index;
        if applied > 0 {
            machine.restore(&snapshot.data);
        }
        let config = raft_config(transport.node().0, applied, &options);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, disk.clone(), &logger)?;
        // The fence is not on disk but the term is: before anything is heard, it must stand again.
        let term = Ballot(raw.raft.term);
        let token = match term {
            Ballot::NONE => None,
            term => Some(transport.fence(term)?.token),
        };
        let own = transport.node();
        let membership = transport.membership()?;
        let others = membership.members().iter().filter(|member| member.id != own);
        let links = others.map(|member| (member.id.0, Link::default())).collect();
        Ok(Self {
            raw,
            disk,
            transport,
            machine,
            options,
            token,
            seat: Seat::Idle,
            batch: LogBatch::default(),
            links,
            reads: Vec::new(),
            snapshots_lost: Vec::new(),
        })
    }

    /// Takes in what the transport has: accepted entries, messages, acknowledgements.
    ///
    /// # Errors
    /// [`Error`]; the node must not go on.
    pub fn poll(&mut self) -> Result<()> {
        self.take_log()?;
        self.take_messages()?;
        self.watch_followers()?;
        self.send_parts()
    }

    /// Lets one tick of raft's time pass.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn tick(&mut self) -> Result<()> {
        self.take_log()?;
        self.note_leader_lives()?;
        for (&member, link) in &mut self.links {
            if link.sender.tick() == Some(Outcome::GivenUp) {
                self.raw.report_snapshot(member, SnapshotStatus::Failure);
            }
        }
        if let Seat::Leading(leading) = &mut self.seat {
            leading.tick();
        }
        if term::times_out_next(&self.raw.raft) {
            self.fence_before_time_out()?;
        }
        self.raw.tick();
        self.align()?;
        self.send_parts()
    }

    /// Stands for election now.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn campaign(&mut self) -> Result<()> {
        self.fence_before_time_out()?;
        self.raw.campaign()?;
        self.align()
    }

    /// Proposes a command. `Ok` means that raft took it up or passed it to the leader, no more: it is
    /// lost if that leader is.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::Dropped`], after which the node goes on; others as
    /// [`poll`](Self::poll).
    pub fn propose(&mut self, command: Vec<u8>) -> Result<()> {
        let max = command_len_max(self.transport.capabilities().body_len_max);
        if command.len() > max {
            return Err(Error::TooLarge { len: command.len(), max });
        }
        match self.raw.propose(Vec::new(), command) {
            Ok(()) => self.settle(),
            Err(raft::Error::ProposalDropped) => Err(Error::Dropped { leader: self.leader() }),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks for a linearizable read (Raft section 6.4, by a probe of the transport). Its answer comes
    /// with `context` in [`take_reads`](Self::take_reads); none comes if nobody leads, so ask again.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn read(&mut self, context: Vec<u8>) -> Result<()> {
        self.raw.read_index(context);
        self.settle()
    }

    /// The reads that may be served once [`applied`](Self::applied) has reached their index.
    pub fn take_reads(&mut self) -> Vec<ReadState> {
        core::mem::take(&mut self.reads)
    }

    /// Hands leadership to another node, if it has caught up in time.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn transfer_leadership(&mut self, to: NodeId) -> Result<()> {
        self.raw.transfer_leader(to.0);
        self.settle()
    }

    /// Who leads as far as this node knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        Some(NodeId(self.raw.raft.leader_id)).filter(|id| id.0 != raft::INVALID_ID)
    }

    /// Whether this node leads as far as it knows.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// Raft's term, which is the transport's ballot.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.raw.raft.term
    }

    /// The last index applied to the state machine.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.raw.raft.raft_log.applied
    }

    /// The state machine.
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    /// The transport.
    pub const fn transport(&self) -> &T {
        &self.transport
    }

    pub(crate) fn fence_ballot(&self) -> Ballot {
        self.token.as_ref().map_or(Ballot::NONE, FenceToken::ballot)
    }

    // ---- terms ---------------------------------------------------------------------------------

    /// Steps raft with a message, after fencing the term that it will make raft take up.
    pub(crate) fn step(&mut self, message: Message) -> Result<()> {
        while let Some(raise) = term::raise_by_message(&self.raw.raft, &message) {
            match raise {
                Raise::Adopts(term) => self.adopt(term)?,
                Raise::Campaigns(term) => {
                    self.fence(term)?;
                    break;
                }
            }
        }
        match self.raw.step(message) {
            Ok(()) => {}
            // A message that no longer fits is lost, as in any network.
            Err(
                raft::Error::StepPeerNotFound
                | raft::Error::StepLocalMsg
                | raft::Error::ProposalDropped,
            ) => {}
            Err(error) => return Err(error.into()),
        }
        self.align()
    }

    /// Fences `term`, and brings what that hands over to raft's log and disk while raft still is at
    /// the term at which it was accepted.
    fn fence(&mut self, term: u64) -> Result<()> {
        let Fenced { token, entries } = self.transport.fence(Ballot(term))?;
        self.token = Some(token);
        self.feed(&entries, false)?;
        self.leave_seat();
        self.settle()
    }

    fn fence_before_time_out(&mut self) -> Result<()> {
        match term::raise_by_timeout(&self.raw.raft) {
            Some(Raise::Campaigns(term) | Raise::Adopts(term)) => self.fence(term),
            None => Ok(()),
        }
    }

    /// Takes up somebody else's term, fenced.
    pub(crate) fn adopt(&mut self, term: u64) -> Result<()> {
        self.fence(term)?;
        self.align()
    }

    /// After every input: raft stands at the fence. It can only be behind, if it did not campaign
    /// although it could have; at a term that was not fenced it must not answer anything.
    fn align(&mut self) -> Result<()> {
        let (term, fence) = (self.raw.raft.term, self.fence_ballot());
        if term > fence.0 {
            return Err(Error::Unfenced { term, fence });
        }
        if term < fence.0 {
            let own = self.raw.raft.id;
            self.raw.step(term::notice(own, own, fence.0))?;
        }
        self.settle()
    }
}

fn raft_config(id: u64, applied: u64, options: &Options) -> Config {
    Config {
        id,
        applied,
        heartbeat_tick: options.heartbeat_ticks,
        election_tick: options.election_ticks.start,
        min_election_tick: options.election_ticks.start,
        max_election_tick: options.election_ticks.end,
        max_size_per_msg: options.catch_up_len_max,
        max_uncommitted_size: options.uncommitted_len_max,
        // A leader cut off from its quorum resigns, and a node that was cut off disturbs nobody.
        check_quorum: true,
        pre_vote: true,
        // Frames and probes carry the commit slot.
        skip_bcast_commit: false,
        ..Config::default()
    }
}

//! How a replica comes to life: from its log, for the first time, or without its memory.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use electrode_transport::{AckMode, Ballot, LogBatch, QuorumTransport, Slot};

use super::election::Follower;
use super::recovery::Recovering;
use super::requests::Requests;
use super::{Replica, Result, Role};
use crate::config::ReplicaConfig;
use crate::dice::Dice;
use crate::error::ReplicaError;
use crate::event::Counters;
use crate::machine::StateMachine;
use crate::seats::Seats;
use crate::sessions::Sessions;
use crate::store::LogStore;

impl<T: QuorumTransport, L: LogStore, S: StateMachine> Replica<T, L, S> {
    /// Starts a replica in `Persisted` mode from its log: the first time from an empty one, later
    /// from what it left, also after `kill -9`. `machine` is in its initial state.
    ///
    /// Never give a member that has taken part an empty log: it would have forgotten its promises.
    ///
    /// # Errors
    /// [`ReplicaError::Config`], also in `Received` mode; [`ReplicaError::Store`] and the others if
    /// the log cannot be read; [`ReplicaError::Transport`].
    pub fn open(
        config: ReplicaConfig,
        transport: T,
        store: L,
        machine: S,
        now: Duration,
    ) -> Result<Self> {
        if config.mode != AckMode::Persisted {
            let why = "open is for Persisted; in Received mode use bootstrap or recover";
            return Err(ReplicaError::Config { field: "mode", why });
        }
        let mut replica = Self::new(config, transport, store, machine, now)?;
        replica.load()?;
        Ok(replica)
    }

    /// Starts a replica in `Received` mode for the very first time of its cluster. A restarted
    /// replica must use [`recover`](Self::recover) instead: it would have forgotten its promises.
    ///
    /// # Errors
    /// [`ReplicaError::Config`], also in `Persisted` mode; [`ReplicaError::NotEmpty`];
    /// [`ReplicaError::Transport`].
    pub fn bootstrap(
        config: ReplicaConfig,
        transport: T,
        store: L,
        machine: S,
        now: Duration,
    ) -> Result<Self> {
        Self::without_memory(config, transport, store, machine, now)
    }

    /// Starts a replica in `Received` mode that has run before and lost its memory. It learns from a
    /// quorum of the others, the newest leader among them, before it promises or acknowledges
    /// anything. Needs a leader elected without it, so it never ends while too many are down at once.
    ///
    /// The protocol is that of VR revisited, section 4.3, with the crash counts of Michael et al.
    /// ("Recovering Shared Objects Without Stable Storage", DISC 2017), without which a promise from
    /// before the crash can be counted after it.
    ///
    /// # Errors
    /// As [`bootstrap`](Self::bootstrap); also [`ReplicaError::Config`] if the group is too small to
    /// recover anybody.
    pub fn recover(
        config: ReplicaConfig,
        transport: T,
        store: L,
        machine: S,
        now: Duration,
    ) -> Result<Self> {
        let mut replica = Self::without_memory(config, transport, store, machine, now)?;
        if replica.seats.recovery_needed > replica.seats.count() - 1 {
            let why = "too few members to recover one from the others: use Persisted";
            return Err(ReplicaError::Config { field: "mode", why });
        }
        let nonce = replica.dice.number();
        replica.role = Role::Recovering(Recovering::new(nonce, now));
        Ok(replica)
    }

    fn without_memory(
        config: ReplicaConfig,
        transport: T,
        store: L,
        machine: S,
        now: Duration,
    ) -> Result<Self> {
        if config.mode != AckMode::Received {
            let why = "bootstrap and recover are for Received; in Persisted mode use open";
            return Err(ReplicaError::Config { field: "mode", why });
        }
        if store.last() != Slot::ZERO || store.promise() != Ballot::NONE {
            return Err(ReplicaError::NotEmpty);
        }
        Self::new(config, transport, store, machine, now)
    }

    fn new(
        config: ReplicaConfig,
        transport: T,
        store: L,
        machine: S,
        now: Duration,
    ) -> Result<Self> {
        config.validate()?;
        if transport.capabilities().mode != config.mode {
            // Over `Received` acknowledgements a log that counts on `Persisted` ones loses writes.
            let why = "the transport's group acknowledges in the other mode: give both the same";
            return Err(ReplicaError::Config { field: "mode", why });
        }
        let membership = transport.membership()?;
        let seats = Seats::new(&membership, transport.node()).ok_or(ReplicaError::Config {
            field: "node",
            why: "it is not a member of the transport's group",
        })?;
        let mut dice = Dice::new(config.seed ^ seats.node.0.wrapping_mul(0x9e37_79b9));
        let timeout = dice.between(config.election_min, config.election_max);
        let replica = Self {
            role: Role::Follower(Follower::unled(now, timeout)),
            lives: vec![0; seats.count()],
            sessions: Sessions::new(config.sessions_max),
            seats,
            dice,
            now,
            promised: Ballot::NONE,
            token: None,
            seen: Ballot::NONE,
            commit: Slot::ZERO,
            chosen: Slot::ZERO,
            accepted: Slot::ZERO,
            applied: Slot::ZERO,
            unapplied: BTreeMap::new(),
            digest: 0,
            snapshot: Slot::ZERO,
            bytes_since_snapshot: 0,
            requests: Requests::default(),
            fetch: None,
            lag_since: None,
            served: None,
            events: VecDeque::new(),
            batch: LogBatch::default(),
            outbox: Vec::new(),
            counters: Counters::default(),
            config,
            transport,
            store,
            machine,
        };
        if replica.command_len_max() == 0 {
            let why = "the transport's datagram limit leaves no room for a command: raise it";
            return Err(ReplicaError::Config { field: "datagram_len_max", why });
        }
        Ok(replica)
    }

    /// Takes up where the log ends: state, promise, and the leader of the promised ballot.
    fn load(&mut self) -> Result<()> {
        if let Some(snapshot) = self.store.snapshot()? {
            self.restore(&snapshot)?;
        }
        self.chosen = self.chosen.max(self.store.chosen());
        self.accepted = self.chosen;
        self.apply_chosen()?;
        let promised = self.store.promise();
        if promised != Ballot::NONE {
            self.adopt(promised)?;
        }
        Ok(())
    }
}

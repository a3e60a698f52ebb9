//! Catching up by state transfer: chosen entries, or a snapshot and the entries after it.
//!
//! The member that lags asks, for one burst at a time, and asks again from where it stands: lost,
//! doubled and late parts cost time and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use electrode_transport::{Ballot, NodeId, QuorumTransport, Slot};

use super::{Replica, Result, Role};
use crate::ballots;
use crate::checksum::checksum;
use crate::error::ReplicaError;
use crate::machine::StateMachine;
use crate::message::Message;
use crate::store::{LogEntry, LogStore, Snapshot};

/// Questions without an answer before another member is asked.
const TRIES_MAX: u32 = 3;
/// Entries and parts ahead of a gap that are kept; more come again.
const AHEAD_MAX: usize = 1_024;
/// A snapshot that nobody has asked for in this long is not kept for serving.
const SERVED_IDLE: Duration = Duration::from_secs(10);

/// A state transfer on its way.
#[derive(Debug)]
pub(super) struct Fetch {
    peer: NodeId,
    /// Every slot through this one is known to be chosen.
    target: Slot,
    asked_at: Duration,
    tries: u32,
    burst_end: Slot,
    entries: BTreeMap<Slot, LogEntry>,
    incoming: Option<Incoming>,
}

/// A snapshot on its way.
#[derive(Debug)]
struct Incoming {
    through: Slot,
    checksum: u64,
    len: u64,
    burst_end: u64,
    bytes: Vec<u8>,
    ahead: BTreeMap<u64, Vec<u8>>,
}

impl Incoming {
    /// Appends what has no gap before it.
    fn join(&mut self) {
        while let Some(entry) = self.ahead.first_entry() {
            let offset = *entry.key();
            if offset > self.bytes.len() as u64 {
                break;
            }
            let part = entry.remove();
            let known = (self.bytes.len() as u64 - offset) as usize;
            self.bytes.extend_from_slice(part.get(known..).unwrap_or_default());
        }
    }

    fn received(&self) -> u64 {
        self.bytes.len() as u64
    }
}

impl Fetch {
    pub(super) fn deadline(&self, resend: Duration) -> Duration {
        self.asked_at + resend
    }
}

impl<T: QuorumTransport, L: LogStore, S: StateMachine> Replica<T, L, S> {
    /// Everything through `target` is chosen, and `peer` has it: get it.
    pub(super) fn want(&mut self, target: Slot, peer: NodeId) -> Result<()> {
        if target <= self.chosen {
            return Ok(());
        }
        if let Some(fetch) = &mut self.fetch {
            fetch.target = fetch.target.max(target);
            return Ok(());
        }
        self.fetch = Some(Fetch {
            peer,
            target,
            asked_at: self.now,
            tries: 0,
            burst_end: Slot::ZERO,
            entries: BTreeMap::new(),
            incoming: None,
        });
        self.ask()
    }

    fn ask(&mut self) -> Result<()> {
        let Some(fetch) = &mut self.fetch else { return Ok(()) };
        fetch.asked_at = self.now;
        let snapshot = fetch
            .incoming
            .as_ref()
            .map(|incoming| (incoming.through, incoming.checksum, incoming.received()));
        let peer = fetch.peer;
        self.send(peer, &Message::Fetch { from: self.chosen.next(), snapshot })
    }

    /// How long the fast path may take to repair a gap by itself.
    pub(super) fn lag_allowed(&self) -> Duration {
        self.config.resend * 2
    }

    pub(super) fn poll_fetch(&mut self) -> Result<()> {
        if self.served.as_ref().is_some_and(|served| self.now > served.used_at + SERVED_IDLE) {
            self.served = None;
        }
        self.notice_lag()?;
        let before = self.chosen;
        self.take_entries()?;
        self.take_snapshot()?;
        if self.chosen > before
            && let Role::Candidate(candidate) = &mut self.role
        {
            candidate.extend(self.now);
        }
        self.ask_on()
    }

    /// A follower whose leader has committed what is not here waits a little for the transport to
    /// repair it, then fetches.
    fn notice_lag(&mut self) -> Result<()> {
        let Role::Follower(follower) = &self.role else { return Ok(()) };
        let Some(leader) = follower.leader else { return Ok(()) };
        if self.commit <= self.chosen || self.fetch.is_some() {
            self.lag_since = None;
            return Ok(());
        }
        let since = *self.lag_since.get_or_insert(self.now);
        if self.now >= since + self.lag_allowed() {
            self.lag_since = None;
            return self.want(self.commit, leader);
        }
        Ok(())
    }

    /// Goes on, asks again, asks somebody else, or is done.
    fn ask_on(&mut self) -> Result<()> {
        let leads = matches!(self.role, Role::Leader(_));
        let Some(fetch) = &mut self.fetch else { return Ok(()) };
        if leads || self.chosen >= fetch.target {
            self.fetch = None;
            return Ok(());
        }
        let burst_done = match &fetch.incoming {
            Some(incoming) => incoming.burst_end > 0 && incoming.received() >= incoming.burst_end,
            None => fetch.burst_end > Slot::ZERO && self.chosen >= fetch.burst_end,
        };
        if burst_done {
            fetch.tries = 0;
            fetch.burst_end = Slot::ZERO;
            if let Some(incoming) = &mut fetch.incoming {
                incoming.burst_end = 0;
            }
            return self.ask();
        }
        if self.now < fetch.deadline(self.config.resend) {
            return Ok(());
        }
        fetch.tries += 1;
        self.counters.messages_resent += 1;
        if fetch.tries > TRIES_MAX {
            fetch.tries = 0;
            fetch.incoming = None;
            fetch.entries.clear();
            fetch.peer = self.seats.after(fetch.peer).unwrap_or(fetch.peer);
        }
        self.ask()
    }

    /// Whether an answer is awaited from this member. One that stands at a higher ballot may tell of
    /// what was chosen there: nothing below may be acknowledged any more once that is known.
    fn fetches_from(&mut self, node: NodeId, ballot: Ballot) -> Result<bool> {
        if self.fetch.as_ref().is_none_or(|fetch| fetch.peer != node) {
            return Ok(false);
        }
        if ballot <= self.promised {
            return Ok(true);
        }
        if !ballots::is_sane(ballot) {
            return Ok(false);
        }
        if let Role::Recovering(recovering) = &mut self.role {
            recovering.floor = recovering.floor.max(ballot);
        } else {
            self.adopt(ballot)?;
        }
        Ok(true)
    }

    pub(super) fn handle_chosen(
        &mut self,
        node: NodeId,
        ballot: Ballot,
        [burst_end, peer_chosen]: [Slot; 2],
        entries: Vec<LogEntry>,
    ) -> Result<()> {
        if !self.fetches_from(node, ballot)? {
            return Ok(());
        }
        let chosen = self.chosen;
        let Some(fetch) = &mut self.fetch else { return Ok(()) };
        if peer_chosen < fetch.target && burst_end <= chosen {
            // It has nothing for us: somebody else does.
            fetch.tries = TRIES_MAX;
            return Ok(());
        }
        fetch.burst_end = fetch.burst_end.max(burst_end);
        for entry in entries.into_iter().filter(|entry| entry.slot > chosen) {
            if fetch.entries.len() < AHEAD_MAX {
                fetch.entries.insert(entry.slot, entry);
            }
        }
        Ok(())
    }

    /// Puts fetched entries that have no gap before them into the log: one sync for all.
    fn take_entries(&mut self) -> Result<()> {
        let Some(fetch) = &mut self.fetch else { return Ok(()) };
        let (mut through, mut taken) = (self.chosen, Vec::new());
        fetch.entries = fetch.entries.split_off(&through.next());
        while let Some(entry) = fetch.entries.remove(&through.next()) {
            through = entry.slot;
            taken.push(entry);
        }
        let count = taken.len() as u64;
        if self.put(taken)? {
            self.store.sync()?;
            self.counters.slots_fetched += count;
            self.set_chosen(through)?;
            self.claim_chosen()?;
        }
        Ok(())
    }

    pub(super) fn handle_snapshot_part(&mut self, node: NodeId, part: Message) -> Result<()> {
        let Message::SnapshotPart {
            ballot, through, checksum, len, offset, burst_end, bytes, ..
        } = part
        else {
            return Ok(());
        };
        if !self.fetches_from(node, ballot)? || through <= self.chosen {
            return Ok(());
        }
        let max = self.config.snapshot_len_max;
        if len > max {
            return Err(ReplicaError::SnapshotTooLarge { slot: through, len, max });
        }
        let Some(fetch) = &mut self.fetch else { return Ok(()) };
        let same = fetch.incoming.as_ref().is_some_and(|incoming| {
            (incoming.through, incoming.checksum, incoming.len) == (through, checksum, len)
        });
        if !same {
            if offset > 0 || fetch.incoming.as_ref().is_some_and(|old| old.through > through) {
                return Ok(());
            }
            let (bytes, ahead) = (Vec::new(), BTreeMap::new());
            let burst_end = 0;
            fetch.incoming = Some(Incoming { through, checksum, len, burst_end, bytes, ahead });
        }
        let Some(incoming) = &mut fetch.incoming else { return Ok(()) };
        incoming.burst_end = incoming.burst_end.max(burst_end);
        let fits = offset.checked_add(bytes.len() as u64).is_some_and(|end| end <= len);
        if fits && offset >= incoming.received() && incoming.ahead.len() < AHEAD_MAX {
            incoming.ahead.insert(offset, bytes);
            incoming.join();
        }
        Ok(())
    }

    /// Installs a snapshot that has come in whole.
    fn take_snapshot(&mut self) -> Result<()> {
        let Some(fetch) = &mut self.fetch else { return Ok(()) };
        let complete = |incoming: &mut Incoming| incoming.received() == incoming.len;
        let Some(incoming) = fetch.incoming.take_if(complete) else { return Ok(()) };
        fetch.burst_end = Slot::ZERO;
        let through = incoming.through;
        let intact = checksum(through.0, &incoming.bytes) == incoming.checksum;
        if intact && through > self.chosen {
            let snapshot = Snapshot { through, state: incoming.bytes };
            self.restore(&snapshot)?;
            self.store.install(&snapshot)?;
            self.counters.snapshots_installed += 1;
            self.claim_chosen()?;
        }
        self.ask()
    }
}

//! Serving those who lag: chosen entries from the log, or the snapshot that has replaced them.

use std::time::Duration;

use electrode_transport::{NodeId, QuorumTransport, Slot};

use super::{Replica, Result};
use crate::checksum::checksum;
use crate::machine::StateMachine;
use crate::message::{ENTRY_OVERHEAD, Message, PART_OVERHEAD};
use crate::store::{LogEntry, LogStore};

/// Messages of one answer: as much as fits a default socket buffer.
const BURST_MESSAGES: usize = 32;

/// A snapshot that somebody is fetching, kept as it was when that began.
#[derive(Debug)]
pub(super) struct Served {
    through: Slot,
    checksum: u64,
    state: Vec<u8>,
    pub(super) used_at: Duration,
}

impl<T: QuorumTransport, L: LogStore, S: StateMachine> Replica<T, L, S> {
    pub(super) fn handle_fetch(
        &mut self,
        node: NodeId,
        from: Slot,
        snapshot: Option<(Slot, u64, u64)>,
    ) -> Result<()> {
        if from <= self.snapshot {
            self.serve_snapshot(node, snapshot)
        } else {
            self.serve_entries(node, from)
        }
    }

    fn serve_entries(&mut self, node: NodeId, from: Slot) -> Result<()> {
        let (ballot, chosen) = (self.promised, self.chosen);
        let room = self.entries_room();
        let mut entries = Vec::new();
        if from <= chosen {
            entries = self.store.read(from, room * BURST_MESSAGES)?;
            entries.retain(|entry| entry.slot <= chosen);
        }
        let mut runs = cut_runs(entries, room);
        runs.truncate(BURST_MESSAGES);
        let last = runs.last().and_then(|run| run.last());
        let burst_end = last.map_or(from.prev().min(chosen), |entry| entry.slot);
        if runs.is_empty() {
            runs.push(Vec::new());
        }
        for entries in runs {
            self.send(node, &Message::Chosen { ballot, burst_end, chosen, entries })?;
        }
        Ok(())
    }

    fn serve_snapshot(&mut self, node: NodeId, asked: Option<(Slot, u64, u64)>) -> Result<()> {
        let known = |served: &&Served| {
            asked.is_some_and(|(through, sum, _)| {
                (through, sum) == (served.through, served.checksum)
            })
        };
        let resumed = self.served.as_ref().filter(known).is_some();
        if !resumed && self.served.as_ref().is_none_or(|served| served.through < self.snapshot) {
            let Some(snapshot) = self.store.snapshot()? else { return Ok(()) };
            self.served = Some(Served {
                through: snapshot.through,
                checksum: checksum(snapshot.through.0, &snapshot.state),
                state: snapshot.state,
                used_at: self.now,
            });
        }
        let start = asked.filter(|_| resumed).map_or(0, |(_, _, offset)| offset);
        for part in self.cut_parts(start) {
            self.send(node, &part)?;
        }
        Ok(())
    }

    /// A burst of the served snapshot's parts from an offset on.
    fn cut_parts(&mut self, start: u64) -> Vec<Message> {
        let (ballot, chosen) = (self.promised, self.chosen);
        let part_len = self.transport.capabilities().body_len_max - PART_OVERHEAD;
        let Some(served) = &mut self.served else { return Vec::new() };
        served.used_at = self.now;
        let len = served.state.len() as u64;
        let start = start.min(len) as usize;
        let end = (start + part_len * BURST_MESSAGES).min(served.state.len());
        served.state[start..end]
            .chunks(part_len)
            .enumerate()
            .map(|(index, bytes)| Message::SnapshotPart {
                ballot,
                through: served.through,
                checksum: served.checksum,
                len,
                offset: (start + index * part_len) as u64,
                burst_end: end as u64,
                chosen,
                bytes: bytes.to_vec(),
            })
            .collect()
    }
}

/// Runs of entries that fit a message each.
fn cut_runs(entries: Vec<LogEntry>, room: usize) -> Vec<Vec<LogEntry>> {
    let mut runs: Vec<Vec<LogEntry>> = Vec::new();
    let mut left = 0;
    for entry in entries {
        let len = ENTRY_OVERHEAD + entry.value.len();
        if len > left || runs.is_empty() {
            runs.push(Vec::new());
            left = room;
        }
        left = left.saturating_sub(len);
        if let Some(run) = runs.last_mut() {
            run.push(entry);
        }
    }
    runs
}

//! Linearizable reads without a log entry (Raft section 6.4): note what is chosen, have a quorum
//! confirm the leadership, answer.

use electrode_transport::{QuorumTransport, TransportError};

use super::{Replica, Result, Role};
use crate::event::{Event, ReadOutcome};
use crate::machine::StateMachine;
use crate::store::LogStore;

impl<T: QuorumTransport, L: LogStore, S: StateMachine> Replica<T, L, S> {
    /// Answers the reads whose probe is confirmed and starts one for those that have come since.
    /// Everything chosen is applied when this is called, so what was chosen when a read came is too.
    pub(super) fn poll_reads(&mut self) -> Result<()> {
        let Role::Leader(leader) = &mut self.role else { return Ok(()) };
        if let Some(probe) = leader.probe {
            match self.transport.try_confirmed(probe) {
                Ok(false) => return Ok(()),
                Ok(true) => {
                    leader.probe = None;
                    leader.confirmed_at = self.now;
                    let reads = core::mem::take(&mut leader.reads);
                    self.counters.reads_confirmed += reads.len() as u64;
                    for read in reads {
                        let outcome = ReadOutcome::Done(self.machine.query(&read.query));
                        self.events.push_back(Event::Read { tag: read.tag, outcome });
                    }
                }
                Err(TransportError::Superseded { by, .. }) => {
                    self.note_ballot(by);
                    return self.step_down();
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.start_reads()
    }

    /// Before its own first slot is chosen a new leader does not know what its predecessors had
    /// answered, so reads wait until then (Raft thesis, section 6.4).
    fn start_reads(&mut self) -> Result<()> {
        let Role::Leader(leader) = &mut self.role else { return Ok(()) };
        if leader.probe.is_some() || self.requests.reads.is_empty() || self.applied < leader.barrier
        {
            return Ok(());
        }
        leader.reads = core::mem::take(&mut self.requests.reads);
        leader.probe = Some(self.transport.probe(leader.ballot)?);
        Ok(())
    }
}

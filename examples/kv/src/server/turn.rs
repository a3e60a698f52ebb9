//! The replica's thread: one turn after the other.
//!
//! A turn takes in what clients have put into the inbox, lets the replica do what is due (one sync
//! for the whole batch), and passes the answers out. Between turns the thread sleeps until a client
//! puts something in, the transport has something, or the replica's next deadline has come. The
//! transport moves itself meanwhile: its own driver, which starts with the first wait.

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use electrode_multi_paxos::{LogStore, Replica, ReplicaError, RoleName};
use electrode_transport::{Interest, QuorumTransport};

use crate::machine::KvMachine;
use crate::server::desk::Desk;
use crate::server::inbox::{Outlet, Unpark};

/// Requests taken in a turn, so that the transport is never kept waiting for long.
const REQUESTS_A_TURN: usize = 1_024;

/// The longest sleep: a bound on how late an interruption can be seen.
const SLEEP_MAX: Duration = Duration::from_millis(200);

const INTERESTS: [Interest; Interest::COUNT] =
    [Interest::Quorum, Interest::Log, Interest::Message, Interest::Window, Interest::Probe];

/// What the replica's thread works with from turn to turn.
pub(super) struct Turns {
    outlet: Outlet,
    desk: Desk,
    started: Instant,
    waker: Waker,
    role: Option<RoleName>,
}

impl Turns {
    /// For the thread that calls this.
    pub(super) fn new(outlet: Outlet, desk: Desk, started: Instant) -> Self {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        Self { outlet, desk, started, waker, role: None }
    }

    /// One turn, and the sleep before it if there is nothing to do.
    pub(super) fn turn<T: QuorumTransport, L: LogStore>(
        &mut self,
        replica: &mut Replica<T, L, KvMachine>,
    ) -> Result<(), ReplicaError> {
        // Watching before looking: what happens in between ends the sleep at once.
        for interest in INTERESTS {
            replica.transport().watch(interest, &self.waker)?;
        }
        let mut taken = 0;
        while taken < REQUESTS_A_TURN
            && let Some(incoming) = self.outlet.take()
        {
            self.desk.take(replica, incoming);
            taken += 1;
        }
        replica.poll(self.started.elapsed())?;
        self.desk.pass_out(replica);
        self.note_role(replica);
        if taken == 0 {
            let deadline = replica.next_deadline().saturating_sub(self.started.elapsed());
            std::thread::park_timeout(deadline.min(SLEEP_MAX));
        }
        Ok(())
    }

    fn note_role<T: QuorumTransport, L: LogStore>(&mut self, replica: &Replica<T, L, KvMachine>) {
        let status = replica.status();
        if self.role != Some(status.role) {
            self.role = Some(status.role);
            let leader = status.leader.map(|leader| leader.0);
            tracing::info!(role = ?status.role, ballot = status.ballot.0, leader, "role");
        }
    }
}

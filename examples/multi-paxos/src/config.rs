//! What a replica is told when it is started.

use std::time::Duration;

use electrode_transport::AckMode;

use crate::error::ReplicaError;

/// One replica's settings. The membership is the transport's.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// What an acknowledgement promises; the same as the transport's group was opened with.
    pub mode: AckMode,
    /// Decides election jitter and nonces. Give each start of each replica another one, except
    /// where a run is to be repeated.
    pub seed: u64,
    /// How often a leader lets everybody know that it lives. Well below `election_min`.
    pub heartbeat: Duration,
    /// The shortest silence of a leader that starts an election.
    pub election_min: Duration,
    /// The longest. Each replica takes a time in between, anew for each election.
    pub election_max: Duration,
    /// After how long a message of the library's own is sent again if nothing has come of it.
    pub resend: Duration,
    /// How many slots a leader has on their way without a quorum before it lets requests wait. At
    /// most the transport's `window_frames`.
    pub slots_in_flight_max: usize,
    /// How many requests may wait or be on their way; more are refused
    /// ([`ProposeError::Busy`](crate::ProposeError::Busy)).
    pub requests_max: usize,
    /// How many client sessions are kept; the least recently used makes room. The same on all
    /// replicas, or they diverge.
    pub sessions_max: usize,
    /// After how many slots a snapshot is taken and the log before it dropped.
    pub snapshot_slots: u64,
    /// After how many bytes of log a snapshot is taken, whichever comes first.
    pub snapshot_bytes: u64,
    /// The largest snapshot to take from another replica.
    pub snapshot_len_max: u64,
    /// Whether every applied slot shows as an [`Event::Applied`](crate::Event::Applied), for tests.
    pub trace_applied: bool,
}

impl ReplicaConfig {
    /// The defaults: heartbeats every 50 ms, elections after 300 to 600 ms of silence, 256 slots on
    /// their way, 65,536 requests, 16,384 sessions, a snapshot every 50,000 slots or 64 MiB.
    #[must_use]
    pub const fn new(mode: AckMode, seed: u64) -> Self {
        Self {
            mode,
            seed,
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(300),
            election_max: Duration::from_millis(600),
            resend: Duration::from_millis(40),
            slots_in_flight_max: 256,
            requests_max: 65_536,
            sessions_max: 16_384,
            snapshot_slots: 50_000,
            snapshot_bytes: 64 << 20,
            snapshot_len_max: 1 << 30,
            trace_applied: false,
        }
    }

    /// Checks that the numbers fit each other.
    ///
    /// # Errors
    /// [`ReplicaError::Config`] names the field.
    pub fn validate(&self) -> Result<(), ReplicaError> {
        let wrong = |field, why| Err(ReplicaError::Config { field, why });
        if self.heartbeat.is_zero() || self.heartbeat * 2 > self.election_min {
            return wrong("heartbeat", "it must be above zero and at most half of election_min");
        }
        if self.election_min >= self.election_max {
            return wrong("election_max", "it must be above election_min");
        }
        if self.resend.is_zero() {
            return wrong("resend", "it must be above zero");
        }
        if self.slots_in_flight_max == 0 || self.requests_max == 0 || self.sessions_max == 0 {
            return wrong(
                "slots_in_flight_max, requests_max, sessions_max",
                "each must be at least one",
            );
        }
        if self.snapshot_slots == 0 || self.snapshot_bytes == 0 {
            return wrong("snapshot_slots, snapshot_bytes", "each must be at least one");
        }
        Ok(())
    }
}

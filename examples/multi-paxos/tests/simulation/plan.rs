//! What a seed means: how many replicas, which mode, how bad the network is, how long.

use std::time::Duration;

use electrode_multi_paxos::ReplicaConfig;
use electrode_transport::AckMode;
use electrode_transport::memory::Faults;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::planted::Bug;

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) replicas: u8,
    pub(crate) mode: AckMode,
    pub(crate) clients: usize,
    pub(crate) keys: u8,
    pub(crate) faults: Faults,
    pub(crate) datagram_len_max: usize,
    pub(crate) window_frames: usize,
    pub(crate) replica: ReplicaConfig,
    /// How long faults go on.
    pub(crate) chaos: Duration,
    /// The time from one fault to the next, at most.
    pub(crate) fault_gap: Duration,
    /// How long a crashed node stays down, at most.
    pub(crate) down_max: Duration,
    /// How long after an arrival a replica is polled, at most.
    pub(crate) poll_lag_us: u64,
    /// How long a client thinks between operations, at most.
    pub(crate) think_us: u64,
    /// How likely the answer to a client gets lost.
    pub(crate) reply_loss: f64,
    pub(crate) bug: Option<Bug>,
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Plan {
    pub(crate) fn of(seed: u64, bug: Option<Bug>) -> Self {
        let mut dice = ChaCha8Rng::seed_from_u64(seed ^ 0x9_1a2e);
        let mode = match bug {
            Some(Bug::VotesWithoutStoring | Bug::ForgetsPromises) => AckMode::Persisted,
            _ if dice.random_bool(0.4) => AckMode::Received,
            _ => AckMode::Persisted,
        };
        let bad = |dice: &mut ChaCha8Rng, most: f64| dice.random_range(0.0..most);
        let faults = Faults {
            delay_min: Duration::from_micros(50),
            delay_max: Duration::from_micros(dice.random_range(60..1_500)),
            loss: bad(&mut dice, 0.15),
            duplication: bad(&mut dice, 0.15),
            reordering: bad(&mut dice, 0.1),
        };
        let mut plan = Self {
            seed,
            replicas: if dice.random_bool(0.6) { 3 } else { 5 },
            mode,
            clients: dice.random_range(2..6),
            keys: dice.random_range(1..4),
            faults,
            datagram_len_max: dice.random_range(400..1_452),
            window_frames: dice.random_range(40..200),
            replica: replica(mode, seed, &mut dice),
            chaos: ms(dice.random_range(1_000..6_000)),
            fault_gap: ms(dice.random_range(20..200)),
            down_max: ms(dice.random_range(4..160)),
            poll_lag_us: if dice.random_bool(0.5) { 150 } else { 3_000 },
            think_us: dice.random_range(5_000..60_000),
            reply_loss: bad(&mut dice, 0.1),
            bug,
        };
        if bug == Some(Bug::ForgetsPromises) {
            // A forgotten promise matters only while the leader that it was against still lives.
            (plan.fault_gap, plan.down_max, plan.chaos) = (ms(25), ms(5), ms(8_000));
            (plan.replicas, plan.think_us) = (3, 2_000);
        }
        plan
    }
}

fn replica(mode: AckMode, seed: u64, dice: &mut ChaCha8Rng) -> ReplicaConfig {
    let mut config = ReplicaConfig::new(mode, seed);
    config.heartbeat = ms(8);
    config.election_min = ms(50);
    config.election_max = ms(100);
    config.resend = ms(8);
    config.slots_in_flight_max = dice.random_range(1..32);
    config.sessions_max = dice.random_range(5..12);
    config.snapshot_slots = dice.random_range(8..60);
    config.snapshot_bytes = dice.random_range(1_000..20_000);
    config.trace_applied = true;
    config
}

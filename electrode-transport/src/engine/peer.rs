//! What a leader knows of each member's line: where it stands, how long a round trip takes, when to
//! send again (RFC 6298 with Karn's rule).

use crate::config::EndpointConfig;
use crate::ident::{Slot, Time};

/// Nine years: whatever the clock did, the sums below do not overflow.
const SAMPLE_NS_MAX: u64 = 1 << 58;

#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// What the member said it expects next, in its newest reply. It can go back: a restarted
    /// member may have lost what it had stored but not acknowledged.
    pub(crate) next: Slot,
    /// What it had acknowledged at the last look, and when that was: where the keeper hears replies
    /// that never come by here.
    pub(crate) acked: Slot,
    pub(crate) looked_at: Time,
    /// When to send again, if anything is outstanding.
    pub(crate) deadline: Option<Time>,
    /// The last slot of the newest burst of retransmissions, zero outside recovery.
    pub(crate) burst_end: Slot,
    burst_at: Time,
    backoff: u32,
    srtt_ns: u64,
    rttvar_ns: u64,
}

impl Peer {
    pub(crate) fn new(next: Slot) -> Self {
        Self {
            next,
            acked: Slot::ZERO,
            looked_at: Time(0),
            deadline: None,
            burst_end: Slot::ZERO,
            burst_at: Time(0),
            backoff: 0,
            srtt_ns: 0,
            rttvar_ns: 0,
        }
    }

    /// The retransmission time-out, without back-off.
    pub(crate) fn timeout_ns(&self, config: &EndpointConfig) -> u64 {
        let (min, max) = bounds_ns(config);
        if self.srtt_ns == 0 {
            return min.saturating_mul(2).min(max);
        }
        (self.srtt_ns + 4 * self.rttvar_ns).clamp(min, max)
    }

    /// Something is outstanding: make sure that it will be sent again.
    pub(crate) fn arm(&mut self, now: Time, config: &EndpointConfig) {
        if self.deadline.is_none() {
            self.deadline = Some(now.after_ns(self.timeout_ns(config)));
        }
    }

    /// The member made progress: start the time-out over, or stop it.
    pub(crate) fn rearm(&mut self, outstanding: bool, now: Time, config: &EndpointConfig) {
        self.backoff = 0;
        self.deadline = None;
        if outstanding {
            self.arm(now, config);
        }
    }

    /// The time-out passed: wait twice as long the next time.
    pub(crate) fn back_off(&mut self, now: Time, config: &EndpointConfig) {
        let (_, max) = bounds_ns(config);
        self.backoff = (self.backoff + 1).min(16);
        let timeout = self.timeout_ns(config).saturating_mul(1 << self.backoff).min(max);
        self.deadline = Some(now.after_ns(timeout));
    }

    /// A frame sent once was acknowledged after `sample_ns`.
    pub(crate) fn measure(&mut self, sample_ns: u64) {
        let sample = sample_ns.clamp(1, SAMPLE_NS_MAX);
        if self.srtt_ns == 0 {
            self.srtt_ns = sample;
            self.rttvar_ns = sample / 2;
            return;
        }
        self.rttvar_ns = (3 * self.rttvar_ns + self.srtt_ns.abs_diff(sample)) / 4;
        self.srtt_ns = (7 * self.srtt_ns + sample) / 8;
    }

    /// Whether a burst may go out now: not twice within a round trip.
    pub(crate) fn may_burst(&self, now: Time, config: &EndpointConfig) -> bool {
        self.burst_end == Slot::ZERO || now.since_ns(self.burst_at) >= self.pace_ns(config)
    }

    /// A frame sent longer ago than this and not acknowledged is taken for lost.
    pub(crate) fn pace_ns(&self, config: &EndpointConfig) -> u64 {
        if self.srtt_ns == 0 { bounds_ns(config).0 } else { self.srtt_ns + self.rttvar_ns }
    }

    pub(crate) fn burst_sent(&mut self, end: Slot, now: Time) {
        self.burst_end = end;
        self.burst_at = now;
    }
}

fn bounds_ns(config: &EndpointConfig) -> (u64, u64) {
    (config.retransmit_min.as_nanos() as u64, config.retransmit_max.as_nanos() as u64)
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;

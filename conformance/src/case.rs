//! A case: one sentence of the contract, and a run that can refute it.

use std::fmt;

use crate::features::Features;
use crate::harness::{Harness, SetupError};
use crate::lab::Lab;
use crate::seeds::Seeds;
use crate::spec::ClusterSpec;

/// The invariants of the contract, by the names that reports use, and its plain clauses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Invariant {
    /// No acknowledgement leaves unless exactly those bytes sit in the log.
    StoredBeforeAcked,
    /// After `fence(b)` returns, nothing below b is accepted or newly acknowledged.
    Fenced,
    /// An acknowledgement through s implies every slot from the base to s.
    Contiguous,
    /// At one ballot and slot, one value.
    NoEquivocation,
    /// Distinct current members count, at the current ballot, each once.
    OneVoterOneVote,
    /// Once a quorum has stored a slot, the leader learns it.
    QuorumTold,
    /// It never learns it falsely.
    QuorumTrue,
    /// `poll_log` yields each accepted slot once, in order.
    ExactlyOnce,
    /// Traffic that is not ours passes untouched.
    Bystanders,
    /// Only a member's frames reach the rules; replies never exceed requests.
    Admission,
    /// Whoever has stopped polling stops acknowledging within the lease.
    LivenessLease,
    /// Closing or crashing leaves no acker behind.
    CleanExit,
    /// What the documentation of a method says beside the invariants.
    Contract,
}

impl Invariant {
    /// All of them, in the design's order.
    pub const ALL: &'static [Self] = &[
        Self::StoredBeforeAcked,
        Self::Fenced,
        Self::Contiguous,
        Self::NoEquivocation,
        Self::OneVoterOneVote,
        Self::QuorumTold,
        Self::QuorumTrue,
        Self::ExactlyOnce,
        Self::Bystanders,
        Self::Admission,
        Self::LivenessLease,
        Self::CleanExit,
        Self::Contract,
    ];

    /// Its name, with which the ids of its cases begin.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StoredBeforeAcked => "stored-before-acked",
            Self::Fenced => "fenced",
            Self::Contiguous => "contiguous",
            Self::NoEquivocation => "no-equivocation",
            Self::OneVoterOneVote => "one-voter-one-vote",
            Self::QuorumTold => "quorum-told",
            Self::QuorumTrue => "quorum-true",
            Self::ExactlyOnce => "exactly-once",
            Self::Bystanders => "bystanders",
            Self::Admission => "admission",
            Self::LivenessLease => "liveness-lease",
            Self::CleanExit => "clean-exit",
            Self::Contract => "contract",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Groups of cases that a backend can be said to pass.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Profile {
    /// What every backend owes on a good network.
    Core,
    /// Loss, duplication, reordering, partitions.
    Lossy,
    /// `Received` and `Persisted`, and that they are never confused.
    AckModes,
    /// What a follower answers by itself.
    FastAck,
    /// Counting votes.
    Quorum,
    /// Leader changes.
    Fence,
    /// Members that die and come back.
    CrashRestart,
    /// Many groups on an endpoint.
    ManyGroups,
}

impl Profile {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Lossy => "lossy",
            Self::AckModes => "acknowledgement-modes",
            Self::FastAck => "fast-ack",
            Self::Quorum => "quorum",
            Self::Fence => "fence",
            Self::CrashRestart => "crash-restart",
            Self::ManyGroups => "many-groups",
        }
    }
}

/// One case of the suite.
#[derive(Clone, Copy)]
pub struct Case {
    /// Stable: `invariant/what-it-shows`.
    pub id: &'static str,
    /// What it would break.
    pub invariant: Invariant,
    /// The sentence of the contract that it proves.
    pub clause: &'static str,
    /// Its profile.
    pub profile: Profile,
    /// What it takes to run it.
    pub needs: Features,
    /// Panics if the contract is broken.
    pub run: fn(&Stage<'_>) -> Result<(), SetupError>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.id).finish()
    }
}

/// Where a case runs: a harness and the seeds.
#[derive(Clone, Copy)]
pub struct Stage<'a> {
    pub(crate) harness: &'a dyn Harness,
    pub(crate) seeds: Seeds,
}

impl fmt::Debug for Stage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("harness", &self.harness.name()).finish()
    }
}

impl<'a> Stage<'a> {
    /// A stage on this harness.
    #[must_use]
    pub const fn new(harness: &'a dyn Harness, seeds: Seeds) -> Self {
        Self { harness, seeds }
    }

    pub(crate) fn lab(&self, spec: &ClusterSpec) -> Result<Lab, SetupError> {
        self.lab_seeded(spec, self.seeds.first())
    }

    pub(crate) fn lab_seeded(&self, spec: &ClusterSpec, seed: u64) -> Result<Lab, SetupError> {
        Ok(Lab::new(self.harness.cluster(spec, seed)?, spec))
    }

    pub(crate) fn is_virtual(&self) -> bool {
        self.harness.declares().contains(Features::VIRTUAL_TIME)
    }

    /// Runs every seed: `many` of them where time is virtual, `few` where it is real.
    pub(crate) fn each_seed(
        &self,
        many: u64,
        few: u64,
        run: impl FnMut(u64) -> Result<(), SetupError>,
    ) -> Result<(), SetupError> {
        self.seeds.each(if self.is_virtual() { many } else { few }, run)
    }
}

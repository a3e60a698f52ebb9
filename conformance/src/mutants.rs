//! The deliberately broken engines, each with the case that must catch it.

use crate::case::Invariant;

/// A broken engine and the case that catches it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MutantCase {
    /// The mutant's name, as in `electrode_transport::engine::Mutant`.
    pub name: &'static str,
    /// What it does wrong.
    pub what: &'static str,
    /// The case that must fail with it. Its prefix is the invariant that it breaks.
    pub caught_by: &'static str,
}

impl MutantCase {
    /// The invariant that it breaks.
    #[must_use]
    pub fn invariant(&self) -> Invariant {
        let prefix = self.caught_by.split('/').next().unwrap_or_default();
        Invariant::ALL
            .iter()
            .copied()
            .find(|invariant| invariant.name() == prefix)
            .unwrap_or(Invariant::Contract)
    }
}

/// Every mutant.
pub const MUTANTS: &[MutantCase] = &[
    mutant(
        "ack-before-store",
        "With a full log the rule is told that there was room.",
        "stored-before-acked/full-log-acknowledges-nothing",
    ),
    mutant(
        "ack-retransmission-after-full",
        "A frame that found the log full counts as stored when it comes again.",
        "stored-before-acked/full-log-acknowledges-nothing",
    ),
    mutant(
        "own-vote-early",
        "The leader's vote counts at once in `Persisted` mode.",
        "stored-before-acked/own-vote-waits-for-storage",
    ),
    mutant(
        "persisted-acks-early",
        "A follower acknowledges on receipt in `Persisted` mode.",
        "stored-before-acked/persisted-waits-for-the-library",
    ),
    mutant(
        "store-other-bytes",
        "The log stores other bytes than arrived.",
        "stored-before-acked/bodies-to-the-byte",
    ),
    mutant(
        "accept-after-fence",
        "The follower's rule does not learn of the fence.",
        "fenced/nothing-below-is-accepted",
    ),
    mutant(
        "ack-after-fence",
        "A frame below the fence is acknowledged, though not stored.",
        "fenced/ack-after-fence-on-wire",
    ),
    mutant(
        "probe-ignores-fence",
        "A probe below the fence is answered.",
        "fenced/nothing-below-is-accepted",
    ),
    mutant(
        "fence-keeps-entries",
        "The fence leaves the accepted entries in the log.",
        "fenced/hands-over-what-is-unpolled",
    ),
    mutant(
        "fence-loses-entries",
        "The fence drops the accepted entries: a new leader loses what it acknowledged as follower.",
        "exactly-once/new-leader-has-its-own-log",
    ),
    mutant("fence-falls", "A fence may fall.", "fenced/ballots-only-rise"),
    mutant("stale-token-leads", "Any token leads.", "fenced/tokens-of-the-newest-fence"),
    mutant(
        "ignore-refusal",
        "A member's promise does not reach the leader's library.",
        "fenced/promise-supersedes-the-leader",
    ),
    mutant(
        "accept-over-gap",
        "A frame beyond a missing one is stored.",
        "contiguous/gap-is-not-stored",
    ),
    mutant(
        "gap-acked",
        "A frame beyond a missing one is acknowledged, though not stored.",
        "contiguous/random-arrivals",
    ),
    mutant(
        "resend-acked-newest",
        "A duplicate is acknowledged with the newest slot seen.",
        "contiguous/resend-acked-with-what-is-stored",
    ),
    mutant(
        "straddle-acked",
        "A straddling frame is acknowledged.",
        "contiguous/straddling-frame-claims-nothing",
    ),
    mutant(
        "cut-to-32-bits",
        "Slots and ballots lose their upper half on arrival.",
        "contiguous/slots-of-64-bits",
    ),
    mutant(
        "duplicate-stored-twice",
        "A duplicate is stored again.",
        "no-equivocation/duplicate-is-stored-once",
    ),
    mutant(
        "replace-value",
        "A second value for a stored slot replaces the first.",
        "no-equivocation/second-value-is-not-taken",
    ),
    mutant("lead-twice", "A ballot may be led again.", "no-equivocation/a-ballot-is-led-once"),
    mutant(
        "accept-from-any-member",
        "Any member's frames are taken for the leader's.",
        "no-equivocation/a-ballot-has-one-leader",
    ),
    mutant(
        "resend-other-bytes",
        "A retransmission carries other bytes.",
        "no-equivocation/retransmissions-carry-the-same-bytes",
    ),
    mutant(
        "count-twice",
        "A repeated acknowledgement counts for somebody else.",
        "one-voter-one-vote/doubled-acknowledgement",
    ),
    mutant(
        "count-stranger",
        "An acknowledgement counts from whatever address.",
        "one-voter-one-vote/strangers-do-not-vote",
    ),
    mutant(
        "index-unchecked",
        "An index out of range is wrapped instead of refused.",
        "one-voter-one-vote/index-is-range-checked",
    ),
    mutant(
        "count-learner",
        "A learner's acknowledgement counts as a voter's.",
        "one-voter-one-vote/learners-do-not-vote",
    ),
    mutant("forget-lost-tail", "Nothing is sent again.", "quorum-told/lost-tail-is-sent-again"),
    mutant(
        "ack-once",
        "A duplicate is not acknowledged again.",
        "quorum-told/lost-acknowledgements",
    ),
    mutant(
        "fast-path-stops-at-gap",
        "After a gap a follower never stores again.",
        "quorum-told/fast-path-resumes-after-a-gap",
    ),
    mutant(
        "lost-wake-up",
        "Whoever waits for a quorum is not woken.",
        "quorum-told/sleeping-leader-is-woken",
    ),
    mutant(
        "told-once",
        "The watermark is told once, like an event.",
        "quorum-told/asking-again-loses-nothing",
    ),
    mutant(
        "broadcast-stops-at-eight",
        "A broadcast ends silently after eight members.",
        "quorum-told/broadcast-reaches-32-members",
    ),
    mutant("probe-once", "A lost probe stays lost.", "quorum-told/lost-probe"),
    mutant(
        "window-drops-unstored",
        "The window makes room by dropping frames without a quorum.",
        "quorum-told/window-keeps-what-lacks-a-quorum",
    ),
    mutant(
        "count-other-ballots",
        "Acknowledgements of any ballot count.",
        "quorum-true/other-ballots-do-not-count",
    ),
    mutant(
        "votes-survive-ballot",
        "A new leadership starts with the last one's votes.",
        "quorum-true/votes-do-not-outlive-their-ballot",
    ),
    mutant(
        "count-foreign-group",
        "An acknowledgement counts in whichever group comes first.",
        "quorum-true/foreign-groups-do-not-count",
    ),
    mutant(
        "stale-incarnation-counts",
        "Acknowledgements under a former membership count.",
        "quorum-true/former-members-do-not-count",
    ),
    mutant(
        "reseat-by-index",
        "A new membership takes votes over by index instead of by name.",
        "quorum-true/watermark-survives-reconfiguration",
    ),
    mutant(
        "count-unsent",
        "Acknowledgements of slots that were never sent count.",
        "quorum-true/unsent-slots-do-not-count",
    ),
    mutant(
        "joint-ignored",
        "Only one of a joint phase's voter sets is asked.",
        "quorum-true/joint-phase-needs-both",
    ),
    mutant(
        "quorum-of-one-less",
        "One voter fewer makes a quorum.",
        "quorum-true/partitioned-leader-is-not-confirmed",
    ),
    mutant(
        "confirm-at-once",
        "A probe counts as confirmed without an answer.",
        "quorum-true/answers-are-to-this-probe",
    ),
    mutant(
        "count-any-probe-answer",
        "An answer to any probe confirms the newest.",
        "quorum-true/answers-are-to-this-probe",
    ),
    mutant(
        "late-word-votes",
        "A word about an earlier ballot counts at the present one.",
        "quorum-true/late-word-is-no-vote",
    ),
    mutant("reorder-log", "The log yields a batch backwards.", "exactly-once/large-and-small"),
    mutant("yield-twice", "An entry is yielded twice.", "exactly-once/across-ballots"),
    mutant(
        "drop-what-does-not-fit",
        "An entry that does not fit the batch is lost.",
        "exactly-once/across-batches",
    ),
    mutant(
        "yield-acknowledged",
        "Entries that the library has acknowledged are yielded still.",
        "exactly-once/slots-that-came-another-way",
    ),
    mutant(
        "log-wake-up-lost",
        "Whoever waits for the log is not woken.",
        "exactly-once/sleeping-follower-is-woken",
    ),
    mutant(
        "lenient-length",
        "A frame whose length does not match its datagram is handled.",
        "bystanders/malformed-datagrams",
    ),
    mutant("uncounted-drop", "Malformed datagrams are not counted.", "bystanders/any-bytes"),
    mutant(
        "behead-messages",
        "A message loses its head on the way to the library.",
        "bystanders/messages-arrive-whole",
    ),
    mutant("skip-cluster-check", "Another cluster's frames are admitted.", "admission/gate"),
    mutant(
        "skip-incarnation-check",
        "Other incarnations' frames are admitted.",
        "admission/replayed-incarnation",
    ),
    mutant(
        "skip-address-check",
        "Frames from other addresses than the member's are admitted.",
        "admission/gate",
    ),
    mutant(
        "skip-destination-check",
        "Frames meant for other members are admitted.",
        "admission/gate",
    ),
    mutant("skip-tag-check", "Tags are not checked.", "admission/tags"),
    mutant("answer-strangers", "A refused frame is answered.", "admission/gate"),
    mutant("reply-twice", "Each reply leaves twice.", "admission/replies-never-exceed-requests"),
    mutant(
        "ignore-lease",
        "Every arrival renews the lease: the kernels that went on acknowledging for dead processes.",
        "liveness-lease/both-followers-silent",
    ),
    mutant(
        "no-roll-call",
        "Whoever waits for the log is not woken to renew the lease.",
        "liveness-lease/waiting-renews",
    ),
    mutant(
        "ack-after-close",
        "A closed group goes on as if it were open.",
        "clean-exit/closed-follower-is-silent",
    ),
    mutant("close-wakes-nobody", "Closing wakes nobody.", "clean-exit/waiters-end-with-closed"),
    mutant("resign-keeps-leading", "Resigning ends nothing.", "contract/resigning"),
    mutant(
        "probe-without-commit",
        "A probe does not carry the commit slot.",
        "contract/commit-travels",
    ),
];

const fn mutant(name: &'static str, what: &'static str, caught_by: &'static str) -> MutantCase {
    MutantCase { name, what, caught_by }
}

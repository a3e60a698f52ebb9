//! Deliberately broken engines (feature `mutants`), by which the conformance suite shows that it sees
//! what it claims to see.
//!
//! Without the feature nothing can be broken: [`Mutation`] is empty, [`Mutation::is`] is constantly
//! false, and the hooks compile away. The rules themselves have no hooks.

macro_rules! mutants {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// What a broken engine does wrong. Never enable the feature in production.
        #[cfg_attr(
            not(feature = "mutants"),
            allow(unreachable_pub, reason = "public only where an engine can be broken")
        )]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Mutant { $($(#[$doc])* $name),* }

        #[cfg(feature = "mutants")]
        impl Mutant {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

mutants! {
    /// With a full log the rule is told that there was room.
    AckBeforeStore = "ack-before-store",
    /// A frame that found the log full counts as stored when it comes again.
    AckRetransmissionAfterFull = "ack-retransmission-after-full",
    /// The leader's vote counts at once in `Persisted` mode.
    OwnVoteEarly = "own-vote-early",
    /// A follower acknowledges on receipt in `Persisted` mode.
    PersistedAcksEarly = "persisted-acks-early",
    /// The log stores other bytes than arrived.
    StoreOtherBytes = "store-other-bytes",
    /// The follower's rule does not learn of the fence.
    AcceptAfterFence = "accept-after-fence",
    /// A frame below the fence is acknowledged, though not stored.
    AckAfterFence = "ack-after-fence",
    /// A probe below the fence is answered.
    ProbeIgnoresFence = "probe-ignores-fence",
    /// The fence leaves the accepted entries in the log.
    FenceKeepsEntries = "fence-keeps-entries",
    /// The fence drops the accepted entries.
    FenceLosesEntries = "fence-loses-entries",
    /// A fence may fall.
    FenceFalls = "fence-falls",
    /// Any token leads.
    StaleTokenLeads = "stale-token-leads",
    /// A member's promise does not reach the leader's library.
    IgnoreRefusal = "ignore-refusal",
    /// A frame beyond a missing one is stored.
    AcceptOverGap = "accept-over-gap",
    /// A frame beyond a missing one is acknowledged, though not stored.
    GapAcked = "gap-acked",
    /// A duplicate is acknowledged with the newest slot seen.
    ResendAckedNewest = "resend-acked-newest",
    /// A straddling frame is acknowledged.
    StraddleAcked = "straddle-acked",
    /// Slots and ballots lose their upper half on arrival.
    CutTo32Bits = "cut-to-32-bits",
    /// A duplicate is stored again.
    DuplicateStoredTwice = "duplicate-stored-twice",
    /// A second value for a stored slot replaces the first.
    ReplaceValue = "replace-value",
    /// A ballot may be led again.
    LeadTwice = "lead-twice",
    /// Any member's frames are taken for the leader's.
    AcceptFromAnyMember = "accept-from-any-member",
    /// A retransmission carries other bytes.
    ResendOtherBytes = "resend-other-bytes",
    /// A repeated acknowledgement counts for somebody else.
    CountTwice = "count-twice",
    /// An acknowledgement counts from whatever address.
    CountStranger = "count-stranger",
    /// An index out of range is wrapped instead of refused.
    IndexUnchecked = "index-unchecked",
    /// A learner's acknowledgement counts as a voter's.
    CountLearner = "count-learner",
    /// Nothing is sent again.
    ForgetLostTail = "forget-lost-tail",
    /// A duplicate is not acknowledged again.
    AckOnce = "ack-once",
    /// After a gap a follower never stores again.
    FastPathStopsAtGap = "fast-path-stops-at-gap",
    /// Whoever waits for a quorum is not woken.
    LostWakeUp = "lost-wake-up",
    /// The watermark is told once, like an event.
    ToldOnce = "told-once",
    /// A broadcast ends after eight members.
    BroadcastStopsAtEight = "broadcast-stops-at-eight",
    /// A lost probe stays lost.
    ProbeOnce = "probe-once",
    /// The window makes room by dropping frames without a quorum.
    WindowDropsUnstored = "window-drops-unstored",
    /// Acknowledgements of any ballot count.
    CountOtherBallots = "count-other-ballots",
    /// A new leadership starts with the last one's votes.
    VotesSurviveBallot = "votes-survive-ballot",
    /// An acknowledgement counts in whichever group comes first.
    CountForeignGroup = "count-foreign-group",
    /// Acknowledgements under a former membership count.
    StaleIncarnationCounts = "stale-incarnation-counts",
    /// A new membership takes votes over by index instead of by name.
    ReseatByIndex = "reseat-by-index",
    /// Acknowledgements of slots that were never sent count.
    CountUnsent = "count-unsent",
    /// Only one of a joint phase's voter sets is asked.
    JointIgnored = "joint-ignored",
    /// One voter fewer makes a quorum.
    QuorumOfOneLess = "quorum-of-one-less",
    /// A probe counts as confirmed without an answer.
    ConfirmAtOnce = "confirm-at-once",
    /// An answer to any probe confirms the newest.
    CountAnyProbeAnswer = "count-any-probe-answer",
    /// A word about an earlier ballot counts at the present one.
    LateWordVotes = "late-word-votes",
    /// The log yields a batch backwards.
    ReorderLog = "reorder-log",
    /// An entry is yielded twice.
    YieldTwice = "yield-twice",
    /// An entry that does not fit the batch is lost.
    DropWhatDoesNotFit = "drop-what-does-not-fit",
    /// Entries that the library has acknowledged are yielded still.
    YieldAcknowledged = "yield-acknowledged",
    /// Whoever waits for the log is not woken.
    LogWakeUpLost = "log-wake-up-lost",
    /// A frame whose length does not match its datagram is handled.
    LenientLength = "lenient-length",
    /// Malformed datagrams are not counted.
    UncountedDrop = "uncounted-drop",
    /// A message loses its head on the way to the library.
    BeheadMessages = "behead-messages",
    /// Another cluster's frames are admitted.
    SkipClusterCheck = "skip-cluster-check",
    /// Other incarnations' frames are admitted.
    SkipIncarnationCheck = "skip-incarnation-check",
    /// Frames from other addresses than the member's are admitted.
    SkipAddressCheck = "skip-address-check",
    /// Frames meant for other members are admitted.
    SkipDestinationCheck = "skip-destination-check",
    /// Tags are not checked.
    SkipTagCheck = "skip-tag-check",
    /// A refused frame is answered.
    AnswerStrangers = "answer-strangers",
    /// Each reply leaves twice.
    ReplyTwice = "reply-twice",
    /// Every arrival renews the lease.
    IgnoreLease = "ignore-lease",
    /// Whoever waits for the log is not woken to renew the lease.
    NoRollCall = "no-roll-call",
    /// A closed group goes on as if it were open.
    AckAfterClose = "ack-after-close",
    /// Closing wakes nobody.
    CloseWakesNobody = "close-wakes-nobody",
    /// Resigning ends nothing.
    ResignKeepsLeading = "resign-keeps-leading",
    /// A probe does not carry the commit slot.
    ProbeWithoutCommit = "probe-without-commit",
}

/// What an engine does wrong, if anything, and what a broken one remembers for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mutation {
    #[cfg(feature = "mutants")]
    pub(crate) which: Option<Mutant>,
    #[cfg(feature = "mutants")]
    mark: u64,
}

#[cfg(feature = "mutants")]
impl Mutation {
    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.which == Some(mutant)
    }

    pub(crate) fn mark(&self) -> u64 {
        self.mark
    }

    pub(crate) fn set_mark(&mut self, mark: u64) {
        self.mark = mark;
    }
}

#[cfg(not(feature = "mutants"))]
impl Mutation {
    #[inline(always)]
    pub(crate) const fn is(&self, _mutant: Mutant) -> bool {
        false
    }

    #[inline(always)]
    pub(crate) const fn mark(&self) -> u64 {
        0
    }

    #[inline(always)]
    pub(crate) const fn set_mark(&mut self, _mark: u64) {}
}

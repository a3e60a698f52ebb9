//! Counters by verdict and reason. Those of arrival add up to what arrived.

use std::fmt;

use crate::rules::{Refusal, TallyVerdict, Verdict};
use crate::wire::WireError;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// What is counted. The `Rx*` counters are exclusive: each datagram adds to exactly one, so
        /// their sum is the number of datagrams received.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum Counter { $($(#[$doc])* $name),* }

        impl Counter {
            /// Every counter.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name in metrics and reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

counters! {
    /// An accept frame, new and stored.
    RxStored = "rx_stored",
    /// An accept frame stored before.
    RxDuplicate = "rx_duplicate",
    /// An accept frame ahead of a missing one.
    RxGap = "rx_gap",
    /// An accept frame that overlaps what is stored.
    RxStraddle = "rx_straddle",
    /// An accept frame without room in the log.
    RxLogFull = "rx_log_full",
    /// An accept frame or probe of an old ballot.
    RxStaleBallot = "rx_stale_ballot",
    /// An accept frame or probe of a ballot that is not followed.
    RxUnarmed = "rx_unarmed",
    /// An accept frame or probe from a member that does not lead the followed ballot.
    RxNotLeader = "rx_not_leader",
    /// An accept frame or probe after the lease ran out.
    RxLapsed = "rx_lapsed",
    /// A probe answered.
    RxProbe = "rx_probe",
    /// An acknowledgement or probe answer that brought a quorum.
    RxAckQuorum = "rx_ack_quorum",
    /// An acknowledgement or probe answer counted.
    RxAckCounted = "rx_ack_counted",
    /// An acknowledgement or probe answer that says nothing new.
    RxAckRepeat = "rx_ack_repeat",
    /// An acknowledgement or probe answer at another ballot than the led one.
    RxAckStale = "rx_ack_stale",
    /// An acknowledgement or probe answer that claims more than was sent.
    RxAckBeyond = "rx_ack_beyond",
    /// A member's notice that it has promised a higher ballot.
    RxRefused = "rx_refused",
    /// A message queued for `recv`.
    RxMessage = "rx_message",
    /// A message dropped because the inbox was full.
    RxInboxFull = "rx_inbox_full",
    /// Shorter than a header.
    RxTruncated = "rx_truncated",
    /// Not an Electrode frame.
    RxMagic = "rx_magic",
    /// A wire version not spoken here.
    RxVersion = "rx_version",
    /// An unknown kind, flag or reserved byte.
    RxUnknown = "rx_unknown",
    /// A body length that is not the datagram's, or longer than the endpoint's limit.
    RxLength = "rx_length",
    /// Slots or ballot out of range.
    RxRange = "rx_range",
    /// A group not open here.
    RxUnknownGroup = "rx_unknown_group",
    /// Another cluster's frame.
    RxForeignCluster = "rx_foreign_cluster",
    /// A former membership's frame.
    RxStaleIncarnation = "rx_stale_incarnation",
    /// A later membership's frame.
    RxFutureIncarnation = "rx_future_incarnation",
    /// A sender index that is no other member's.
    RxNotMember = "rx_not_member",
    /// Addressed to another member.
    RxMisdirected = "rx_misdirected",
    /// Not from the member's address.
    RxWrongAddress = "rx_wrong_address",
    /// Tag missing, wrong or unexpected.
    RxBadTag = "rx_bad_tag",
    /// Datagrams handed to the network.
    TxDatagrams = "tx_datagrams",
    /// Of those, accept frames sent again.
    TxRetransmits = "tx_retransmits",
    /// Datagrams that the system refused for good (retransmission makes up for it).
    TxErrors = "tx_errors",
    /// Replies dropped because the way out was full (the leader will ask again).
    TxRepliesDropped = "tx_replies_dropped",
    /// Broadcasts turned away by a full window.
    TxBackpressure = "tx_backpressure",
    /// System calls that sent.
    SyscallsSend = "syscalls_send",
    /// System calls that received.
    SyscallsReceive = "syscalls_receive",
    /// The endpoint runs on another backend than the best of those that were wanted: 1 from the start
    /// if that one could not be opened.
    Fallbacks = "fallbacks",
    /// Times that a part of the backend in the kernel was found missing: user space does its work.
    OffloadLost = "offload_lost",
    /// Times that such a part was put back.
    OffloadRegained = "offload_regained",
}

/// A snapshot of an endpoint's counters since it was opened, over all of its groups.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    values: [u64; Counter::ALL.len()],
}

impl Default for Stats {
    fn default() -> Self {
        Self { values: [0; Counter::ALL.len()] }
    }
}

impl Stats {
    /// One counter's value.
    #[inline]
    #[must_use]
    pub const fn count(&self, counter: Counter) -> u64 {
        self.values[counter as usize]
    }

    /// For backends: adds to a counter.
    #[inline]
    pub const fn add(&mut self, counter: Counter, by: u64) {
        self.values[counter as usize] = self.values[counter as usize].wrapping_add(by);
    }

    /// Datagrams received: the sum of every `Rx*` counter.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.iter().filter(|(counter, _)| counter.name().starts_with("rx_")).map(|(_, n)| n).sum()
    }

    /// Every counter with its value.
    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        Counter::ALL.iter().map(|&counter| (counter, self.count(counter)))
    }
}

/// Only what is not zero, so that a log line or a failed test can be read.
impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (counter, value) in self.iter().filter(|(_, value)| *value != 0) {
            map.entry(&format_args!("{}", counter.name()), &value);
        }
        map.finish()
    }
}

impl From<WireError> for Counter {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Truncated => Self::RxTruncated,
            WireError::Magic => Self::RxMagic,
            WireError::Version => Self::RxVersion,
            WireError::Unknown => Self::RxUnknown,
            WireError::Length => Self::RxLength,
            WireError::Range => Self::RxRange,
        }
    }
}

impl From<Refusal> for Counter {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::ForeignCluster => Self::RxForeignCluster,
            Refusal::StaleIncarnation => Self::RxStaleIncarnation,
            Refusal::FutureIncarnation => Self::RxFutureIncarnation,
            Refusal::NotMember => Self::RxNotMember,
            Refusal::Misdirected => Self::RxMisdirected,
            Refusal::WrongAddress => Self::RxWrongAddress,
            Refusal::BadTag => Self::RxBadTag,
        }
    }
}

impl From<Verdict> for Counter {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Stored => Self::RxStored,
            Verdict::Duplicate => Self::RxDuplicate,
            Verdict::Gap => Self::RxGap,
            Verdict::Straddle => Self::RxStraddle,
            Verdict::Full => Self::RxLogFull,
            Verdict::Stale => Self::RxStaleBallot,
            Verdict::Unarmed => Self::RxUnarmed,
            Verdict::NotLeader => Self::RxNotLeader,
            Verdict::Lapsed => Self::RxLapsed,
            Verdict::Confirmed => Self::RxProbe,
        }
    }
}

impl From<TallyVerdict> for Counter {
    fn from(verdict: TallyVerdict) -> Self {
        match verdict {
            TallyVerdict::Quorum => Self::RxAckQuorum,
            TallyVerdict::Counted => Self::RxAckCounted,
            TallyVerdict::Repeat => Self::RxAckRepeat,
            TallyVerdict::Stale => Self::RxAckStale,
            TallyVerdict::NotMember => Self::RxNotMember,
            TallyVerdict::Beyond => Self::RxAckBeyond,
        }
    }
}

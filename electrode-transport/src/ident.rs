//! The words of the contract as types: ballot, slot, member, group, cluster, incarnation, time.
//!
//! All are plain integers in memory (`repr(transparent)`), so that the kernel programs lay them
//! out in map values exactly as user space does.

use core::fmt;

/// The most members a group can have: a voter set is one 32-bit mask.
pub const MEMBERS_MAX: usize = 32;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

number! {
    /// Who may propose now, and since when: Paxos' ballot, Raft's term, VR's view.
    ///
    /// At most one member ever leads at a ballot; seeing to that is the consensus library's duty
    /// (a vote, or the node's number in the low bits). Zero means "none" and never goes on the wire.
    Ballot(u64)
}

number! {
    /// A position in a group's log: Paxos' instance, Raft's log index, VR's op-number.
    ///
    /// The first slot is 1. Zero is the position before it, as in "acknowledged through 0: nothing".
    Slot(u64)
}

number! {
    /// A member's name, chosen by the library and stable across restarts and reconfigurations.
    NodeId(u64)
}

number! {
    /// One replicated log among those that an endpoint serves.
    GroupId(u32)
}

number! {
    /// Which deployment a frame belongs to; frames of another cluster are dropped at the door.
    ClusterId(u64)
}

number! {
    /// Which version of a group's membership: [`MemberIndex`]es mean something only within one.
    Incarnation(u32)
}

number! {
    /// A member's place in its group's membership, `0..32`: what the wire and the rules use.
    ///
    /// Off the wire it is a number like any other: check it against the membership before use.
    MemberIndex(u8)
}

impl Ballot {
    /// No ballot: nothing is led, followed or promised.
    pub const NONE: Self = Self(0);
}

impl Slot {
    /// Before the first slot.
    pub const ZERO: Self = Self(0);
    /// The highest usable slot. One below the integer's own, so that `next` never overflows.
    pub const MAX: Self = Self(u64::MAX - 1);

    /// The slot after this one.
    #[inline(always)]
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The slot before this one; that of zero is zero.
    #[inline(always)]
    #[must_use]
    pub const fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

/// A moment on the endpoint's own monotonic clock, in nanoseconds since a start of its choosing.
///
/// Moments of two endpoints do not compare. The memory backend's clock is virtual.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct Time(pub u64);

impl Time {
    /// This moment plus `ns` nanoseconds, saturating at the end of time.
    #[inline(always)]
    #[must_use]
    pub const fn after_ns(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Nanoseconds from `earlier` to this moment; zero if `earlier` is later.
    #[inline(always)]
    #[must_use]
    pub const fn since_ns(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A set of members of one membership, by index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(transparent)]
pub struct MemberSet(pub u32);

impl MemberSet {
    /// Nobody.
    pub const EMPTY: Self = Self(0);

    /// How many members the set holds.
    #[inline(always)]
    #[must_use]
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether the set holds nobody.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `member` is in the set; an index past the 32nd never is.
    #[inline(always)]
    #[must_use]
    pub const fn contains(self, member: MemberIndex) -> bool {
        (member.0 as usize) < MEMBERS_MAX && self.0 & (1 << member.0) != 0
    }

    /// The set with `member` added; an index past the 32nd changes nothing.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, member: MemberIndex) -> Self {
        if (member.0 as usize) < MEMBERS_MAX { Self(self.0 | 1 << member.0) } else { self }
    }

    /// The members, lowest index first.
    pub fn iter(self) -> impl Iterator<Item = MemberIndex> {
        (0..MEMBERS_MAX as u8).map(MemberIndex).filter(move |member| self.contains(*member))
    }
}

//! What a harness can do, and so which cases apply to it.

use std::fmt;
use std::ops::BitOr;

/// A set of abilities of a backend and its harness. A case whose needs are not all declared is
/// reported as not supported; a declared one that fails is a failure.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Features(u32);

macro_rules! features {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal;)*) => {
        impl Features {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*
            /// Everything.
            pub const ALL: Self = Self(0 $(| 1 << $bit)*);
            const NAMES: &'static [(Self, &'static str)] = &[$((Self::$name, $text)),*];
        }
    };
}

features! {
    /// Acknowledgement on receipt (`AckMode::Received`).
    RECEIVED = 0, "received";
    /// Acknowledgement after storage (`AckMode::Persisted`).
    PERSISTED = 1, "persisted";
    /// Loss, duplication, reordering, delay and cuts, link by link.
    FAULTS = 2, "faults";
    /// Every datagram that leaves a member can be seen.
    TAP = 3, "tap";
    /// Any bytes can be delivered from a member's address or a stranger's.
    INJECT = 4, "inject";
    /// A member can be killed and started again.
    CRASH = 5, "crash";
    /// A member can be frozen and thawed.
    PAUSE = 6, "pause";
    /// Frames can carry tags.
    TAGS = 7, "tags";
    /// An endpoint serves many groups.
    GROUPS = 8, "groups";
    /// Members at IPv6 addresses.
    IPV6 = 9, "ipv6";
    /// Time is virtual: waiting costs nothing, so randomised cases run many seeds.
    VIRTUAL_TIME = 10, "virtual-time";
}

impl Features {
    /// No ability at all: every backend has it.
    pub const NONE: Self = Self(0);

    /// Both sets together, for constants.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` is in here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of what it holds.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(one, _)| self.contains(*one)).map(|(_, name)| *name)
    }
}

impl BitOr for Features {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.and(other)
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("-");
        }
        for (index, name) in self.names().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{name}")?;
        }
        Ok(())
    }
}

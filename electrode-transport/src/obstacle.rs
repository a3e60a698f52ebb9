//! Why a backend cannot run, as a program sees it.

use std::fmt;

/// What keeps a backend from running here: the typed half of
/// [`TransportError::Unavailable`](crate::TransportError::Unavailable), for whoever counts, alerts or
/// decides by it. The sentence beside it is for people and says what would help.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Obstacle {
    /// This build leaves the backend out.
    NotBuilt,
    /// The backend does not exist for this operating system.
    System,
    /// The process lacks a privilege.
    Privileges,
    /// The kernel is too old, or was built without something that is needed.
    Kernel,
    /// The kernel's verifier refused a program.
    Verifier,
    /// Library and kernel programs (or what was pinned of them) are of different versions.
    Version,
    /// There is no such interface, or it is of a kind that cannot serve.
    Interface,
    /// A program of somebody else sits where ours should.
    Occupied,
    /// The interface carries frames shorter than a datagram may be.
    Mtu,
    /// Everything was in place and nothing answered.
    NoAnswer,
    /// A bound of the backend or of the machine is reached.
    Limit,
    /// The system refused for another reason.
    Refused,
}

impl Obstacle {
    /// Every obstacle.
    pub const ALL: &'static [Self] = &[
        Self::NotBuilt,
        Self::System,
        Self::Privileges,
        Self::Kernel,
        Self::Verifier,
        Self::Version,
        Self::Interface,
        Self::Occupied,
        Self::Mtu,
        Self::NoAnswer,
        Self::Limit,
        Self::Refused,
    ];

    /// A word for metrics and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotBuilt => "not_built",
            Self::System => "system",
            Self::Privileges => "privileges",
            Self::Kernel => "kernel",
            Self::Verifier => "verifier",
            Self::Version => "version",
            Self::Interface => "interface",
            Self::Occupied => "occupied",
            Self::Mtu => "mtu",
            Self::NoAnswer => "no_answer",
            Self::Limit => "limit",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
